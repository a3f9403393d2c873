//! Pure: the rows of wrapped keys. What they hold is opaque here.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_u32, append_u64, malformed, read_version};
use crate::limits;
use engine::error::Damage;
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use engine::wire::{Reader, append_bytes32};
use std::fmt;

/// Version of the rows this build writes.
pub const VERSION: u8 = 1;

/// What a data key is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Every node is to have it before anything is sealed with it. Number 1.
    #[default]
    Waiting,
    /// New bytes are sealed with it. Number 2.
    Active,
    /// It opens old bytes. Number 3.
    Retired,
    /// It is no more. Number 4.
    Destroyed,
}

impl KeyState {
    /// The number that stands for it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Waiting => 1,
            Self::Active => 2,
            Self::Retired => 3,
            Self::Destroyed => 4,
        }
    }

    /// What `number` stands for.
    ///
    /// # Errors
    /// `Malformed`: nothing.
    pub fn from_number(number: u8) -> Result<Self, Damage> {
        match number {
            1 => Ok(Self::Waiting),
            2 => Ok(Self::Active),
            3 => Ok(Self::Retired),
            4 => Ok(Self::Destroyed),
            _ => Err(malformed("an unknown state of a key")),
        }
    }

    /// Whether it may become `next`: it only gets older.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self < next
    }
}

/// A key of a tenant, which wraps its data keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TenantKeyRow {
    /// Whose.
    pub tenant: TenantId,
    /// Which of the tenant's.
    pub epoch: KeyEpoch,
    /// By which key of the cluster it is wrapped.
    pub wrapped_by: KeyEpoch,
    /// The key, wrapped; nothing once it is destroyed.
    pub wrapped: Vec<u8>,
}

/// A data key.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKeyRow {
    /// Whose.
    pub owner: Owner,
    /// What for.
    pub purpose: Purpose,
    /// Which of them.
    pub epoch: KeyEpoch,
    /// What it is there for.
    pub state: KeyState,
    /// By which key of its owner it is wrapped.
    pub wrapped_by: KeyEpoch,
    /// The key, wrapped; nothing once it is destroyed.
    pub wrapped: Vec<u8>,
}

impl fmt::Debug for TenantKeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantKeyRow({} {}, wrapped by {})", self.tenant, self.epoch, self.wrapped_by)
    }
}

impl fmt::Debug for DataKeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, purpose, epoch, state, wrapped_by, .. } = self;
        write!(f, "DataKeyRow({owner} {purpose} {epoch} {state:?}, wrapped by {wrapped_by})")
    }
}

/// A state of a key, as it stands in a row.
#[must_use]
pub fn state(state: crate::keys::KeyState) -> KeyState {
    match state {
        crate::keys::KeyState::Pending => KeyState::Waiting,
        crate::keys::KeyState::Active => KeyState::Active,
        crate::keys::KeyState::OpenOnly | crate::keys::KeyState::Disabled => KeyState::Retired,
        crate::keys::KeyState::Destroyed => KeyState::Destroyed,
    }
}

/// The change that puts a key which was just made, or wrapped for the first time.
#[must_use]
pub fn put(row: &crate::keys::KeyRow) -> super::command::Change {
    use super::command::Change;
    let name = row.key.name;
    match (name.owner, name.purpose) {
        (Owner::Tenant(tenant), Purpose::Wrap) => {
            let (epoch, wrapped) = (name.epoch, row.key.wrapped.clone());
            Change::PutTenantKey(TenantKeyRow { tenant, epoch, wrapped_by: row.wrapped_by, wrapped }, None)
        }
        (owner, purpose) => {
            let state = state(row.state);
            let (epoch, wrapped_by, wrapped) = (name.epoch, row.wrapped_by, row.key.wrapped.clone());
            Change::PutDataKey(DataKeyRow { owner, purpose, epoch, state, wrapped_by, wrapped }, None)
        }
    }
}

fn read_wrapped(reader: &mut Reader<'_>) -> Result<Vec<u8>, Damage> {
    Ok(reader.bytes32(limits::SECRET_BYTES_MAX)?.to_vec())
}

impl TenantKeyRow {
    /// The key of its row.
    #[must_use]
    pub fn key(tenant: TenantId, epoch: KeyEpoch) -> Vec<u8> {
        [&tenant.0.to_be_bytes()[..], &epoch.0.to_be_bytes()].concat()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u32(&mut out, self.wrapped_by.0);
        append_bytes32(&mut out, &self.wrapped);
        out
    }

    /// Reads what [`TenantKeyRow::key`] and [`TenantKeyRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let (tenant, epoch) = (TenantId(key.u64()?), KeyEpoch(key.u32()?));
        key.end()?;
        read_version(&mut reader, VERSION)?;
        let (wrapped_by, wrapped) = (KeyEpoch(reader.u32()?), read_wrapped(&mut reader)?);
        reader.end()?;
        if tenant.0 == 0 || epoch.0 == 0 || wrapped_by.0 == 0 {
            return Err(malformed("a tenant's key that cannot be"));
        }
        Ok(Self { tenant, epoch, wrapped_by, wrapped })
    }
}

impl DataKeyRow {
    /// The key of its row.
    #[must_use]
    pub fn key(owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> Vec<u8> {
        let mut out = vec![owner.kind()];
        append_u64(&mut out, owner.id());
        out.push(purpose as u8);
        append_u32(&mut out, epoch.0);
        out
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.state.number()];
        append_u32(&mut out, self.wrapped_by.0);
        append_bytes32(&mut out, &self.wrapped);
        out
    }

    /// Reads what [`DataKeyRow::key`] and [`DataKeyRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(value);
        let (owner, purpose, epoch) = read_name_of_key(&mut Reader::new(key))?;
        read_version(&mut reader, VERSION)?;
        let state = KeyState::from_number(reader.u8()?)?;
        let (wrapped_by, wrapped) = (KeyEpoch(reader.u32()?), read_wrapped(&mut reader)?);
        reader.end()?;
        if wrapped_by.0 == 0 || (state == KeyState::Destroyed) != wrapped.is_empty() {
            return Err(malformed("a data key that cannot be"));
        }
        Ok(Self { owner, purpose, epoch, state, wrapped_by, wrapped })
    }
}

/// Owner, purpose and epoch that a row's key names; nothing may follow.
///
/// # Errors
/// `Malformed`.
pub fn read_name_of_key(reader: &mut Reader<'_>) -> Result<(Owner, Purpose, KeyEpoch), Damage> {
    let owner = Owner::from_parts(reader.u8()?, reader.u64()?);
    let (purpose, epoch) = (Purpose::from_number(reader.u8()?), KeyEpoch(reader.u32()?));
    reader.end()?;
    match (owner, purpose) {
        (Some(owner), Some(purpose)) if epoch.0 > 0 => Ok((owner, purpose, epoch)),
        _ => Err(malformed("a data key of nobody, for nothing, or without epoch")),
    }
}
