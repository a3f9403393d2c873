//! Pure: the row of a tenant, that of its name, and those of its collections.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_u32, append_u64, malformed, read_name, read_version, text};
use crate::limits;
use crate::tenants::rules::{Quota, TenantState, is_name};
use engine::error::Damage;
use engine::ids::{CollectionId, TenantId};
use engine::wire::Reader;

/// Version of the rows this build writes.
pub const VERSION: u8 = 1;
/// Version of the row of a tenant whose drop can be undone for another time than the usual one.
pub const VERSION_OF_WINDOW: u8 = 2;

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id: random, never 0, never given twice.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// Where it is in its life.
    pub state: TenantState,
    /// What it may use.
    pub quota: Quota,
    /// How far back it may read, in milliseconds.
    pub history_ms: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// The number of its next collection.
    pub next_collection: CollectionId,
}

/// Until when a drop can be undone, if nobody said otherwise; 0 of a tenant that is not dropped.
fn usual_until_ms(state: u8, since_ms: u64) -> u64 {
    if matches!(state, 3 | 4) { since_ms.saturating_add(limits::QUARANTINE_MS) } else { 0 }
}

/// Reads version and state. What the first version can say is not said by the second.
fn read_state(reader: &mut Reader<'_>) -> Result<TenantState, Damage> {
    let (version, state, since_ms) = (reader.u8()?, reader.u8()?, reader.u64()?);
    let usual_ms = usual_until_ms(state, since_ms);
    let until_ms = match version {
        VERSION => usual_ms,
        VERSION_OF_WINDOW => Some(reader.u64()?)
            .filter(|ms| *ms != usual_ms)
            .ok_or(malformed("the usual window, as another"))?,
        _ => return Err(malformed("an unknown version")),
    };
    match (state, since_ms, until_ms) {
        (1, 0, 0) => Ok(TenantState::Active),
        (2, 0, 0) => Ok(TenantState::Frozen),
        (3 | 4, ..) => Ok(TenantState::Dropped { since_ms, until_ms, was_frozen: state == 4 }),
        (5, 0, 0) => Ok(TenantState::Purged),
        _ => Err(malformed("an unknown state of a tenant")),
    }
}

impl TenantRow {
    /// The key of its row.
    #[must_use]
    pub fn key(id: TenantId) -> Vec<u8> {
        id.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let (state, since_ms, until_ms) = match self.state {
            TenantState::Active => (1, 0, 0),
            TenantState::Frozen => (2, 0, 0),
            TenantState::Dropped { since_ms, until_ms, was_frozen: false } => (3, since_ms, until_ms),
            TenantState::Dropped { since_ms, until_ms, was_frozen: true } => (4, since_ms, until_ms),
            TenantState::Purged => (5, 0, 0),
        };
        let is_usual = until_ms == usual_until_ms(state, since_ms);
        let mut out = vec![if is_usual { VERSION } else { VERSION_OF_WINDOW }, state];
        append_u64(&mut out, since_ms);
        if !is_usual {
            append_u64(&mut out, until_ms);
        }
        append_u64(&mut out, self.quota.bytes);
        append_u32(&mut out, self.quota.operations_per_second);
        append_u64(&mut out, self.history_ms);
        append_u64(&mut out, self.created_ms);
        append_u32(&mut out, self.next_collection.0);
        super::fields::append_text(&mut out, &self.name);
        out
    }

    /// Reads what [`TenantRow::key`] and [`TenantRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let id = TenantId(key.u64()?);
        key.end()?;
        let state = read_state(&mut reader)?;
        let row = Self {
            id,
            state,
            quota: Quota { bytes: reader.u64()?, operations_per_second: reader.u32()? },
            history_ms: reader.u64()?,
            created_ms: reader.u64()?,
            next_collection: CollectionId(reader.u32()?),
            name: read_name(&mut reader)?,
        };
        reader.end()?;
        if id.0 == 0 || row.history_ms > limits::HISTORY_MS_MAX || row.next_collection.0 == 0 {
            return Err(malformed("a tenant that cannot be"));
        }
        Ok(row)
    }
}

/// Whose a name is. It stands as long as the tenant may come back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantNameRow {
    /// The name.
    pub name: String,
    /// Whose.
    pub tenant: TenantId,
}

impl TenantNameRow {
    /// The key of its row.
    #[must_use]
    pub fn key(name: &str) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.tenant.0);
        out
    }

    /// Reads what [`TenantNameRow::key`] and [`TenantNameRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (name, mut reader) = (text(key)?, Reader::new(value));
        read_version(&mut reader, VERSION)?;
        let tenant = TenantId(reader.u64()?);
        reader.end()?;
        if !is_name(&name) || tenant.0 == 0 {
            return Err(malformed("a name that is none, or nobody's"));
        }
        Ok(Self { name, tenant })
    }
}

/// A collection of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionRow {
    /// Whose.
    pub tenant: TenantId,
    /// What it is called there.
    pub name: String,
    /// Its number there, never given twice.
    pub id: CollectionId,
}

impl CollectionRow {
    /// The key of its row.
    #[must_use]
    pub fn key(tenant: TenantId, name: &str) -> Vec<u8> {
        [&tenant.0.to_be_bytes(), name.as_bytes()].concat()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u32(&mut out, self.id.0);
        out
    }

    /// Reads what [`CollectionRow::key`] and [`CollectionRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let tenant = TenantId(key.u64()?);
        let name = text(key.take(key.left())?)?;
        read_version(&mut reader, VERSION)?;
        let id = CollectionId(reader.u32()?);
        reader.end()?;
        if !is_name(&name) || tenant.0 == 0 || !(1..=limits::COLLECTIONS_MAX).contains(&id.0) {
            return Err(malformed("a collection that cannot be"));
        }
        Ok(Self { tenant, name, id })
    }
}
