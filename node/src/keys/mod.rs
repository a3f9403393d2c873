//! Keys of the cluster, of this node and of tenants, each wrapped by the one above it:
//!
//! ```text
//! root key (at the key service) > cluster key > system keys, this node's keys, tenant keys > data keys of a tenant
//! ```
//!
//! * [`kms`] is where the root key lives: it wraps and unwraps the cluster key, and is needed at a start, a rotation and a shred, never to
//!   read or write;
//! * [`root_file`] is what a node must have to start at all: cluster key, system keys and its own, all wrapped;
//! * [`hierarchy`] makes, wraps and unwraps; [`turn`] makes the keys of a rotation; [`held`] is the root file while the node runs;
//! * [`rotation`] says which keys a rotation makes, and when old ones may go; [`coverage`] how far it has come;
//! * [`source`] is what the engine asks: the keys that are unwrapped, as rows of the meta group bring them.

pub mod coverage;
pub mod held;
pub mod hierarchy;
pub mod kms;
pub mod root_file;
pub mod rotation;
pub mod source;
#[cfg(test)]
mod tests;
pub mod turn;

use engine::ids::{KeyEpoch, Owner, Purpose};
use kms::KmsError;
use std::fmt;

/// Names a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName {
    /// Whose.
    pub owner: Owner,
    /// What for; [`Purpose::Wrap`] names the key that wraps the owner's others.
    pub purpose: Purpose,
    /// Which.
    pub epoch: KeyEpoch,
}

/// A key that another one wraps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which.
    pub name: KeyName,
    /// The envelope.
    pub wrapped: Vec<u8>,
}

/// What a key may do. The order is that of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Known, and not used until every node has it.
    Pending,
    /// Seals and opens.
    Active,
    /// Opens.
    OpenOnly,
    /// Is kept, and refused.
    Disabled,
    /// Is gone; its name is kept.
    Destroyed,
}

/// A key of a tenant, as the meta group has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key. Nothing is wrapped in it once it is destroyed.
    pub key: WrappedKey,
    /// What it may do.
    pub state: KeyState,
    /// Which key of whoever wraps it.
    pub wrapped_by: KeyEpoch,
}

impl KeyName {
    /// The name under which it is wrapped: kind, id, purpose, epoch.
    #[must_use]
    pub fn bytes(&self) -> [u8; 14] {
        let mut out = [0; 14];
        (out[0], out[9]) = (self.owner.kind(), self.purpose as u8);
        out[1..9].copy_from_slice(&self.owner.id().to_be_bytes());
        out[10..].copy_from_slice(&self.epoch.0.to_be_bytes());
        out
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.owner, self.purpose, self.epoch.0)
    }
}

/// Why a key is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key service says so.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The engine says so: a key is missing, or an envelope does not open.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The root file cannot be written.
    #[error(transparent)]
    File(#[from] crate::boot::BootError),
    /// The root file is not what it should be.
    #[error("the root file is damaged: {0}")]
    RootFile(&'static str),
    /// The root file has a version that this build does not know.
    #[error("the root file has version {found}; this build knows 1")]
    Version {
        /// The one found.
        found: u16,
    },
}

/// What comes of it, or [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
