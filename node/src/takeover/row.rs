//! Pure: the row of a generation: from which node, and from which moment, the cluster went on.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use crate::limits;
use crate::meta::fields::{append_text, append_u64, malformed, read_text, read_version};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::NodeId;
use engine::wire::Reader;

/// Version of the rows this build writes.
const VERSION: u8 = 1;

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
}

impl GenerationRow {
    /// The key of its row.
    #[must_use]
    pub fn key(generation: u64) -> Vec<u8> {
        generation.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for number in [self.parent, self.upto.0, self.node.0, self.decided_ms] {
            append_u64(&mut out, number);
        }
        append_text(&mut out, &self.by);
        append_text(&mut out, &self.reason);
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
        read_version(&mut reader, VERSION)?;
        let row = Self {
            generation,
            parent: reader.u64()?,
            upto: Stamp(reader.u64()?),
            node: NodeId(reader.u64()?),
            decided_ms: reader.u64()?,
            by: read_text(&mut reader, limits::REASON_BYTES_MAX)?,
            reason: read_text(&mut reader, limits::REASON_BYTES_MAX)?,
        };
        reader.end()?;
        if row.parent == 0 || row.generation <= row.parent || row.node.0 == 0 {
            return Err(malformed("a generation that cannot follow, or of nobody"));
        }
        Ok(row)
    }
}
