//! Pure: the row of a generation: from which node, and from which moment, the cluster went on, without whom, and as which groups.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use crate::limits;
use crate::meta::fields::{append_text, append_u64, malformed, read_text};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::NodeId;
use engine::wire::Reader;
use raft::types::GroupId;

/// Version of a row that says no more than what was decided.
const DECIDED: u8 = 1;
/// Version of a row that says more.
const VERSION: u8 = 2;
/// Nodes and groups that a row names, at most.
const NAMED_MAX: usize = 4_096;

/// A group that goes on in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoesOn {
    /// Which it was.
    pub was: GroupId,
    /// Which it is, another one.
    pub is: GroupId,
    /// What is behind this stamp is archived of the one that it is, what is not of the one that it was.
    pub after: Stamp,
}

/// A generation that began with a takeover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationRow {
    /// Its number.
    pub generation: u64,
    /// That which it left.
    pub parent: u64,
    /// Up to which stamp it has the history of that one; 0: a survivor went on with all it had.
    pub upto: Stamp,
    /// The node it began with.
    pub node: NodeId,
    /// When that was decided, in milliseconds since 1970.
    pub decided_ms: u64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Of a survivor: up to which stamp it had everything; 0: that is not known, or it is none.
    pub whole: Stamp,
    /// Nodes of the generation before that do not belong to it, ascending.
    pub gone: Vec<NodeId>,
    /// Groups that were archived and go on as others, ascending.
    pub goes_on: Vec<GoesOn>,
}

impl GenerationRow {
    /// As it was asked for: without what was found when it was written.
    #[must_use]
    pub fn asked(&self) -> Self {
        Self { gone: Vec::new(), goes_on: Vec::new(), ..self.clone() }
    }

    /// Up to which stamp the history of the generation before counts; `None`: all of it does.
    #[must_use]
    pub fn counts_upto(&self) -> Option<Stamp> {
        [self.upto, self.whole].into_iter().find(|stamp| *stamp != Stamp::ZERO)
    }

    fn is_longer(&self) -> bool {
        self.whole != Stamp::ZERO || !self.gone.is_empty() || !self.goes_on.is_empty()
    }

    /// The key of its row.
    #[must_use]
    pub fn key(generation: u64) -> Vec<u8> {
        generation.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![if self.is_longer() { VERSION } else { DECIDED }];
        for number in [self.parent, self.upto.0, self.node.0, self.decided_ms] {
            append_u64(&mut out, number);
        }
        append_text(&mut out, &self.by);
        append_text(&mut out, &self.reason);
        if self.is_longer() {
            append_u64(&mut out, self.whole.0);
            append_u64(&mut out, self.gone.len() as u64);
            self.gone.iter().for_each(|node| append_u64(&mut out, node.0));
            append_u64(&mut out, self.goes_on.len() as u64);
            let numbers = self.goes_on.iter().flat_map(|one| [one.was.0, one.is.0, one.after.0]);
            numbers.for_each(|number| append_u64(&mut out, number));
        }
        out
    }

    /// Reads what [`GenerationRow::key`] and [`GenerationRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let generation = key.u64()?;
        key.end()?;
        let version = reader.u8()?;
        if version != DECIDED && version != VERSION {
            return Err(malformed("a version of a generation that is not known to this build"));
        }
        let mut row = Self {
            generation,
            parent: reader.u64()?,
            upto: Stamp(reader.u64()?),
            node: NodeId(reader.u64()?),
            decided_ms: reader.u64()?,
            by: read_text(&mut reader, limits::REASON_BYTES_MAX)?,
            reason: read_text(&mut reader, limits::REASON_BYTES_MAX)?,
            ..Self::default()
        };
        if version == VERSION {
            row.whole = Stamp(reader.u64()?);
            row.gone = read_many(&mut reader, |reader| reader.u64().map(NodeId))?;
            row.goes_on = read_many(&mut reader, |reader| {
                let (was, is) = (GroupId(reader.u64()?), GroupId(reader.u64()?));
                Ok(GoesOn { was, is, after: Stamp(reader.u64()?) })
            })?;
        }
        reader.end()?;
        if row.parent == 0 || row.generation <= row.parent || row.node.0 == 0 {
            return Err(malformed("a generation that cannot follow, or of nobody"));
        }
        let is_rising = row.gone.windows(2).all(|pair| pair[0] < pair[1])
            && row.goes_on.windows(2).all(|pair| pair[0].was < pair[1].was);
        let are_others = !row.gone.contains(&row.node) && row.goes_on.iter().all(|one| one.was != one.is);
        let is_one = row.upto == Stamp::ZERO || row.whole == Stamp::ZERO;
        if !is_rising || !are_others || !is_one || row.is_longer() != (version == VERSION) {
            return Err(malformed("a generation that names nobody rightly"));
        }
        Ok(row)
    }
}

fn read_many<'a, T>(
    reader: &mut Reader<'a>,
    read: impl Fn(&mut Reader<'a>) -> Result<T, Damage>,
) -> Result<Vec<T>, Damage> {
    let count = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
    if count > NAMED_MAX {
        return Err(malformed("a generation that names too much"));
    }
    (0..count).map(|_| read(reader)).collect()
}
