//! Pure: what restores change of the rows of the meta group.
//! Format: meta_command, `docs/formats/meta_command.md`.

use super::rows::RestoreRow;
use crate::limits;
use crate::meta::fields::{
    append_option, append_text, append_u32, append_u64, malformed, read_name, read_option,
};
use crate::tenants::rules::Quota;
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{CollectionId, TenantId};
use engine::wire::{Reader, append_bytes32};

/// Bytes of the value of a row, at most: as of every row of the meta group.
const ROW_BYTES_MAX: usize = 64 << 10;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreChange {
    /// Sets the row of a restore, if its version is the expected one and the row may follow that. A restore that goes on holds its tenant; if
    /// another one holds it, the change is refused. Number 60.
    Put(Box<RestoreRow>, Option<u64>),
    /// Makes a tenant that is to be a copy, if neither id nor name is taken. It is frozen until it is whole. Number 61.
    Copy {
        /// Its id.
        id: TenantId,
        /// Its name.
        name: String,
        /// What it may use.
        quota: Quota,
        /// How far back it may read, in milliseconds.
        history_ms: u64,
        /// Of which it is a copy.
        of: TenantId,
        /// As of when.
        at: Stamp,
        /// The restore that makes it.
        restore: u64,
    },
    /// Gives a tenant that is a copy a collection of this name and number. Number 62.
    PutCollection(TenantId, String, CollectionId),
    /// Closes a tenant, in whose place that other one is put by that restore: neither is served. Number 63.
    Close(TenantId, TenantId, u64),
    /// Takes that back. Number 64.
    Open(TenantId),
    /// Puts a tenant in the place of one that is closed for it: it gets the name of that, its state and what it may use, and that one goes
    /// aside, frozen. Number 65.
    Swap {
        /// The one that goes aside.
        old: TenantId,
        /// The one that comes in its place.
        new: TenantId,
        /// What the one that goes aside is called from now on.
        aside: String,
        /// How long it is kept, in milliseconds since 1970.
        until_ms: u64,
        /// A stamp of the new one's shard at which it is whole.
        whole: Stamp,
        /// A stamp behind everything that was told of the old one.
        forked: Stamp,
    },
    /// Ends a tenant that has stood aside for long enough, or a copy that is not whole and that no restore makes any more: its keys can be
    /// destroyed. Number 66.
    End(TenantId),
    /// Says that a copy is whole at this stamp of its shard: it serves from now on. Number 67.
    Whole(TenantId, Stamp),
    /// Forgets a restore that does not go on, before its time: there is no room for more. Number 68.
    Forget(u64),
}

fn read_tenant(reader: &mut Reader<'_>) -> Result<TenantId, Damage> {
    let tenant = TenantId(reader.u64()?);
    if tenant.0 == 0 { Err(malformed("a tenant of number 0")) } else { Ok(tenant) }
}

impl RestoreChange {
    /// Appends it, its number first.
    pub fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(row, expected) => {
                out.push(60);
                append_option(out, *expected);
                append_u64(out, row.id);
                append_bytes32(out, &row.value());
            }
            Self::Copy { id, name, quota, history_ms, of, at, restore } => {
                out.push(61);
                append_u64(out, id.0);
                append_u64(out, quota.bytes);
                append_u32(out, quota.operations_per_second);
                for number in [*history_ms, of.0, at.0, *restore] {
                    append_u64(out, number);
                }
                append_text(out, name);
            }
            Self::PutCollection(tenant, name, id) => {
                out.push(62);
                append_u64(out, tenant.0);
                append_u32(out, id.0);
                append_text(out, name);
            }
            Self::Close(tenant, now, restore) => {
                out.push(63);
                [tenant.0, now.0, *restore].into_iter().for_each(|number| append_u64(out, number));
            }
            Self::Open(tenant) => {
                out.push(64);
                append_u64(out, tenant.0);
            }
            Self::Swap { old, new, aside, until_ms, whole, forked } => {
                out.push(65);
                for number in [old.0, new.0, *until_ms, whole.0, forked.0] {
                    append_u64(out, number);
                }
                append_text(out, aside);
            }
            Self::End(tenant) => {
                out.push(66);
                append_u64(out, tenant.0);
            }
            Self::Forget(restore) => {
                out.push(68);
                append_u64(out, *restore);
            }
            Self::Whole(tenant, stamp) => {
                out.push(67);
                append_u64(out, tenant.0);
                append_u64(out, stamp.0);
            }
        }
    }

    /// Reads the rest of a change of this number.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(number: u8, reader: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(match number {
            60 => {
                let (expected, id) = (read_option(reader)?, reader.u64()?);
                let row = RestoreRow::decode(&RestoreRow::key(id), reader.bytes32(ROW_BYTES_MAX)?)?;
                Self::Put(Box::new(row), expected)
            }
            61 => {
                let id = read_tenant(reader)?;
                let quota = Quota { bytes: reader.u64()?, operations_per_second: reader.u32()? };
                let history_ms = reader.u64()?;
                if history_ms > limits::HISTORY_MS_MAX {
                    return Err(malformed("too long a history"));
                }
                let (of, at, restore) = (TenantId(reader.u64()?), Stamp(reader.u64()?), reader.u64()?);
                Self::Copy { id, name: read_name(reader)?, quota, history_ms, of, at, restore }
            }
            62 => {
                let (tenant, id) = (read_tenant(reader)?, CollectionId(reader.u32()?));
                if !(1..=limits::COLLECTIONS_MAX).contains(&id.0) {
                    return Err(malformed("a collection that cannot be"));
                }
                Self::PutCollection(tenant, read_name(reader)?, id)
            }
            63 => Self::Close(read_tenant(reader)?, read_tenant(reader)?, reader.u64()?),
            64 => Self::Open(read_tenant(reader)?),
            65 => {
                let (old, new, until_ms) = (read_tenant(reader)?, read_tenant(reader)?, reader.u64()?);
                let (whole, forked) = (Stamp(reader.u64()?), Stamp(reader.u64()?));
                Self::Swap { old, new, aside: read_name(reader)?, until_ms, whole, forked }
            }
            66 => Self::End(read_tenant(reader)?),
            67 => Self::Whole(read_tenant(reader)?, Stamp(reader.u64()?)),
            68 => Self::Forget(reader.u64()?),
            _ => return Err(malformed("an unknown change")),
        })
    }
}
