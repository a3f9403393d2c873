//! Pure: who holds the gate of a delayed node, since when and why; and what a person has let pass.
//! Format: hold_note, `docs/formats/hold_note.md`.

use crate::limits;
use crate::meta::fields::{append_text, append_u64, malformed, read_text};
use engine::Stamp;
use engine::error::Damage;
use engine::wire::Reader;

/// Version of the note this build writes.
pub const VERSION: u8 = 1;
/// Name of the node-local catalog row that holds it. For ever; see `docs/formats/README.md`.
pub const NOTE_ROW: u32 = 80;

/// What holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Nothing. Number 0.
    #[default]
    Nobody,
    /// A person. Number 1.
    Person,
    /// The node itself, for what came in is suspicious. Number 2.
    Node,
}

/// The note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldNote {
    /// What holds it.
    pub holder: Holder,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What came in up to here a person has let pass: it holds the gate no more.
    pub passed: Stamp,
}

impl HoldNote {
    /// Its bytes. Texts are cut to their bounds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let holder = match self.holder {
            Holder::Nobody => 0,
            Holder::Person => 1,
            Holder::Node => 2,
        };
        let mut out = vec![VERSION, holder];
        append_u64(&mut out, self.since_ms);
        append_u64(&mut out, self.passed.0);
        append_text(&mut out, cut(&self.by, limits::HOLDER_BYTES_MAX));
        append_text(&mut out, cut(&self.reason, limits::REASON_BYTES_MAX));
        out
    }

    /// Reads what [`HoldNote::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(malformed("a note of an unknown version"));
        }
        let holder = match reader.u8()? {
            0 => Holder::Nobody,
            1 => Holder::Person,
            2 => Holder::Node,
            _ => return Err(malformed("an unknown holder")),
        };
        let (since_ms, passed) = (reader.u64()?, Stamp(reader.u64()?));
        let by = read_text(&mut reader, limits::HOLDER_BYTES_MAX)?;
        let reason = read_text(&mut reader, limits::REASON_BYTES_MAX)?;
        reader.end()?;
        let note = Self { holder, since_ms, by, reason, passed };
        let is_empty = note.since_ms == 0 && note.by.is_empty() && note.reason.is_empty();
        if holder == Holder::Nobody && !is_empty {
            return Err(malformed("a note of nobody that says why"));
        }
        Ok(note)
    }

    /// The note once it is released; all up to `passed` was looked at.
    #[must_use]
    pub fn released(&self, passed: Stamp) -> Self {
        Self { passed: self.passed.max(passed), ..Self::default() }
    }
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> HoldNote {
        let (by, reason) = ("dana".to_owned(), "INC-4711".to_owned());
        HoldNote { holder: Holder::Person, since_ms: 1_700_000_000_000, by, reason, passed: Stamp(9) }
    }

    #[test]
    fn what_was_written_is_read() {
        let nobody = HoldNote { passed: Stamp(77), ..HoldNote::default() };
        let own = HoldNote { holder: Holder::Node, ..note() };
        for one in [note(), nobody, own] {
            assert_eq!(HoldNote::decode(&one.encode()).unwrap(), one);
            let bytes = one.encode();
            assert!((0..bytes.len()).all(|end| HoldNote::decode(&bytes[..end]).is_err()));
            assert!(HoldNote::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        for (at, byte) in [(0, 2), (1, 3), (1, 0)] {
            let mut bytes = note().encode();
            bytes[at] = byte;
            assert!(HoldNote::decode(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let long = HoldNote { reason: "\u{e9}".repeat(limits::REASON_BYTES_MAX), ..note() };
        let read = HoldNote::decode(&long.encode()).unwrap();
        assert!(
            read.reason.len() <= limits::REASON_BYTES_MAX && read.reason.len() > limits::REASON_BYTES_MAX - 2
        );
    }

    #[test]
    fn what_was_let_pass_stays_so() {
        assert_eq!(note().released(Stamp(4)), HoldNote { passed: Stamp(9), ..HoldNote::default() });
        assert_eq!(note().released(Stamp(40)).passed, Stamp(40));
    }
}
