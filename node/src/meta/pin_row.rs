//! Pure: the rows of retention: what must not be collected from archives whatever their policy says, and who collects now.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_text, append_u64, malformed, read_text, read_version};
use crate::archive::manifest::keep::Pin;
use crate::archive::naming::{SnapshotId, TickEnd};
use crate::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::NodeId;
use engine::wire::Reader;

/// Version of the rows this build writes.
const VERSION: u8 = 1;
/// Snapshots that one pin names, at most.
const SNAPSHOTS_MAX: u64 = 1_024;
/// How long the row of an ended pin is kept, in milliseconds: an older cluster may not bring it back unseen.
const KEPT_MS: u64 = 400 * 86_400_000;

/// Something that stays in archives. It is only ever renewed to more, until it is ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinRow {
    /// Its id: random.
    pub id: [u8; 8],
    /// Counts its changes, from 1.
    pub renewal: u32,
    /// Whether the law wants it: then it never ends by itself.
    pub is_hold: bool,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// Every instant behind this stamp
    pub after: Stamp,
    /// and up to this one; 0: none.
    pub upto: Stamp,
    /// Snapshots, ascending.
    pub snapshots: Vec<SnapshotId>,
    /// Who made the last change.
    pub by: String,
    /// Why.
    pub why: String,
}

impl PinRow {
    /// The key of its row.
    #[must_use]
    pub fn key(id: [u8; 8]) -> Vec<u8> {
        id.to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.is_hold)];
        out.extend_from_slice(&self.renewal.to_be_bytes());
        let numbers = [self.made_ms, self.until_ms, self.after.0, self.upto.0, self.snapshots.len() as u64];
        numbers.into_iter().for_each(|number| append_u64(&mut out, number));
        for id in &self.snapshots {
            append_u64(&mut out, id.cut.0);
            out.extend_from_slice(&id.random);
        }
        append_text(&mut out, &self.by);
        append_text(&mut out, &self.why);
        out
    }

    /// Reads what [`PinRow::key`] and [`PinRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let id = key.try_into().map_err(|_| malformed("a pin without an id"))?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let is_hold = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(malformed("a pin neither of the law nor not")),
        };
        let renewal = reader.u32()?;
        let (made_ms, until_ms) = (reader.u64()?, reader.u64()?);
        let (after, upto, count) = (Stamp(reader.u64()?), Stamp(reader.u64()?), reader.u64()?);
        if count > SNAPSHOTS_MAX {
            return Err(malformed("a pin of too many snapshots"));
        }
        let one =
            |reader: &mut Reader<'_>| Ok(SnapshotId { cut: TickEnd(reader.u64()?), random: reader.array()? });
        let snapshots = (0..count).map(|_| one(&mut reader)).collect::<Result<Vec<_>, Damage>>()?;
        let (by, why) = (read_text(&mut reader, NAME_BYTES_MAX)?, read_text(&mut reader, REASON_BYTES_MAX)?);
        reader.end()?;
        let is_rising = snapshots.windows(2).all(|pair| pair[0] < pair[1]);
        let keeps = !snapshots.is_empty() || after < upto;
        if renewal == 0 || !is_rising || !keeps || after > upto {
            return Err(malformed("a pin that is none"));
        }
        Ok(Self { id, renewal, is_hold, made_ms, until_ms, after, upto, snapshots, by, why })
    }

    /// Whether it holds at `now_ms`, in milliseconds since 1970.
    #[must_use]
    pub fn lives(&self, now_ms: u64) -> bool {
        self.until_ms > now_ms
    }

    /// When its row goes by itself, in milliseconds since 1970; 0: never.
    #[must_use]
    pub fn forgotten_ms(&self) -> u64 {
        self.until_ms.checked_add(KEPT_MS).unwrap_or(0)
    }

    /// Whether this may be the row behind `old` at `now_ms`: it keeps everything that `old` keeps, for as long.
    #[must_use]
    pub fn renews(&self, old: &Self, now_ms: u64) -> bool {
        let keeps_all = old.snapshots.iter().all(|id| self.snapshots.binary_search(id).is_ok())
            && (old.upto == Stamp::ZERO || self.after <= old.after && self.upto >= old.upto);
        self.renewal == old.renewal + 1
            && (self.id, self.is_hold, self.made_ms) == (old.id, old.is_hold, old.made_ms)
            && old.lives(now_ms)
            && self.until_ms >= old.until_ms
            && keeps_all
    }

    /// The same as a site keeps it.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin {
            until_ms: self.until_ms,
            reason: if self.is_hold {
                crate::archive::retain::keep::LEGAL
            } else {
                crate::archive::retain::keep::PERSON
            },
            snapshots: self.snapshots.iter().map(ToString::to_string).collect(),
            after: self.after.0,
            upto: self.upto.0,
        }
    }
}

/// Who deletes from archives now: nobody begins a snapshot meanwhile, which might count on what goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepRow {
    /// The node.
    pub node: NodeId,
    /// Until when: milliseconds since 1970.
    pub until_ms: u64,
}

impl SweepRow {
    /// The key of its row: there is only one.
    #[must_use]
    pub fn key() -> Vec<u8> {
        Vec::new()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.node.0);
        append_u64(&mut out, self.until_ms);
        out
    }

    /// Reads what [`SweepRow::key`] and [`SweepRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        Reader::new(key).end()?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let row = Self { node: NodeId(reader.u64()?), until_ms: reader.u64()? };
        reader.end()?;
        if row.node.0 == 0 { Err(malformed("a collector that is nobody")) } else { Ok(row) }
    }

    /// Whether somebody deletes at `now_ms`, in milliseconds since 1970.
    #[must_use]
    pub fn lives(&self, now_ms: u64) -> bool {
        self.until_ms > now_ms
    }
}

/// How far every further site that is required has everything: what is behind stays on the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedRow {
    /// Up to this stamp.
    pub upto: Stamp,
}

impl CarriedRow {
    /// The key of its row: there is only one.
    #[must_use]
    pub fn key() -> Vec<u8> {
        Vec::new()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.upto.0);
        out
    }

    /// Reads what [`CarriedRow::key`] and [`CarriedRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        Reader::new(key).end()?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let row = Self { upto: Stamp(reader.u64()?) };
        reader.end()?;
        Ok(row)
    }
}
