//! Pure: what a kv command is answered. Whoever asks again is told the same.
//! Format: kv_command, `docs/formats/kv_command.md`.

use super::command::VERSION;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::wire::Reader;

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

/// What a kv command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvReply {
    /// It made no sense.
    Malformed,
    /// Done, at this stamp: also when it is told again.
    Applied(Stamp),
    /// Nothing is done: this condition, counted from 0, is the first that does not hold, and so its key stands.
    Failed {
        /// Which.
        condition: u16,
        /// The stamp of the value that is there; `None` if there is none.
        now: Option<Stamp>,
    },
}

impl KvReply {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let (kind, condition, stamp) = match self {
            Self::Malformed => return vec![VERSION, 0],
            Self::Applied(stamp) => (1, 0, stamp),
            Self::Failed { condition, now } => (2, condition, now.unwrap_or_default()),
        };
        let mut out = vec![VERSION, kind];
        out.extend_from_slice(&condition.to_be_bytes());
        out.extend_from_slice(&stamp.0.to_be_bytes());
        out
    }

    /// Reads what [`KvReply::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`: not what the format allows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        if bytes == [VERSION, 0] {
            return Ok(Self::Malformed);
        }
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(malformed("a reply of an unknown version"));
        }
        let (kind, condition, stamp) = (reader.u8()?, reader.u16()?, Stamp(reader.u64()?));
        reader.end()?;
        match kind {
            1 if condition == 0 => Ok(Self::Applied(stamp)),
            2 => Ok(Self::Failed { condition, now: (stamp != Stamp::ZERO).then_some(stamp) }),
            _ => Err(malformed("an unknown kind of reply")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_back_and_nothing_else_does() {
        let now = Some(Stamp::new(1_000, 2));
        for reply in [
            KvReply::Malformed,
            KvReply::Applied(Stamp::new(1_000, 1)),
            KvReply::Failed { condition: 7, now },
            KvReply::Failed { condition: 0, now: None },
        ] {
            let bytes = reply.encode();
            assert_eq!(KvReply::decode(&bytes).unwrap(), reply);
            assert!(KvReply::decode(&bytes[..bytes.len() - 1]).is_err());
            assert!(KvReply::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert!(KvReply::decode(&[]).is_err() && KvReply::decode(&[2, 0]).is_err());
    }
}
