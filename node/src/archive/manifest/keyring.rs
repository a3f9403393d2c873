//! Pure: the keys of a cluster and its tenants, each wrapped, as they are kept for a restore: `e<root version>-<number>.env`, in another store
//! than the archive. Nothing of it opens without the root key at the key service.
//! Format: archive_manifest, `docs/formats/archive_manifest.md`.

use super::{Body, malformed};
use crate::keys::root_file::RootFile;
use engine::error::Damage;
use engine::ids::{KeyEpoch, Owner, Purpose};

/// A wrapped key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyKept {
    /// Kind of its owner: 1 the cluster, 3 a tenant.
    #[prost(uint32, tag = "1")]
    pub owner_kind: u32,
    /// Number of its owner.
    #[prost(fixed64, tag = "2")]
    pub owner: u64,
    /// What it is for; 0 wraps the others.
    #[prost(uint32, tag = "3")]
    pub purpose: u32,
    /// Which epoch.
    #[prost(uint32, tag = "4")]
    pub epoch: u32,
    /// What it may do: 1 waits, 2 active, 3 only opens.
    #[prost(uint32, tag = "5")]
    pub state: u32,
    /// By which key above it is wrapped.
    #[prost(uint32, tag = "6")]
    pub wrapped_by: u32,
    /// The key, wrapped.
    #[prost(bytes = "vec", tag = "7")]
    pub wrapped: Vec<u8>,
}

impl KeyKept {
    /// Which key it is, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<(Owner, Purpose, KeyEpoch)> {
        let purpose = Purpose::from_number(u8::try_from(self.purpose).ok()?)?;
        let owner = Owner::from_parts(u8::try_from(self.owner_kind).ok()?, self.owner)?;
        Some((owner, purpose, KeyEpoch(self.epoch)))
    }
}

/// All keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Keyring {
    /// The part of the root file that all nodes have alike: the cluster key, wrapped by the root key, and the system keys under it.
    #[prost(bytes = "vec", tag = "1")]
    pub root: Vec<u8>,
    /// Keys of tenants, those that wrap and those that seal; what is destroyed is not among them.
    #[prost(message, repeated, tag = "2")]
    pub keys: Vec<KeyKept>,
    /// The private key of the cluster's authority, sealed.
    #[prost(bytes = "vec", tag = "3")]
    pub authority: Vec<u8>,
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub made_ms: u64,
}

impl Keyring {
    /// The part of the root file.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn root(&self) -> Result<RootFile, Damage> {
        RootFile::decode(&self.root).map_err(|_| malformed("a root file that is none"))
    }
}

impl Body for Keyring {
    const KIND: u16 = 14;

    fn check(&self) -> Result<(), Damage> {
        self.root()?;
        let are_keys = self.keys.iter().all(|key| key.name().is_some() && !key.wrapped.is_empty());
        if are_keys { Ok(()) } else { Err(malformed("a key that is none")) }
    }
}
