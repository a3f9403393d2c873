//! The service that holds the root key. It wraps the cluster key and nothing else, so it is asked at a start, at a rotation and at a
//! shred. Every provider passes one suite.

pub mod file;
pub mod passphrase;
pub mod passphrase_root;
pub mod sim;
#[cfg(test)]
mod suite;

use engine::ids::ClusterId;
use engine::sealed::{SecretBytes, SecretKey};

/// What a wrapped key is bound to: unwrapped with another context it does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The cluster.
    pub cluster: ClusterId,
    /// Version of the root key.
    pub root: u32,
    /// Version of the key that is wrapped.
    pub version: u32,
}

/// Whether the service can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsStatus {
    /// It can: these versions of the root key are there.
    Ready(Vec<u32>),
    /// It cannot, and why.
    Away(String),
}

/// What is certain after a root key was destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// In the words of the provider.
    pub assurance: &'static str,
}

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// The passphrase, or whatever lets us in, is wrong.
    #[error("the passphrase does not open the root key")]
    Denied,
    /// The passphrase is too short or too long.
    #[error(
        "a passphrase has {min} to {max} bytes; take five random words",
        min = crate::limits::PASSPHRASE_BYTES_MIN,
        max = crate::limits::PASSPHRASE_BYTES_MAX
    )]
    Unfit,
    /// There is no root key of this version.
    #[error("there is no root key of version {0}")]
    NoSuchRoot(u32),
    /// There is one already.
    #[error("there is a root key of version {0} already")]
    Exists(u32),
    /// What was to be unwrapped was not wrapped with this context, or was changed.
    #[error("a wrapped key does not open: it is of another cluster or version, or was changed")]
    NotOpened,
    /// It cannot be asked now.
    #[error("the key service is away: {0}")]
    Away(String),
    /// What is kept of the root key is not what it should be.
    #[error("what is kept of the root key is damaged: {0}")]
    Damaged(&'static str),
}

/// Holds root keys.
pub trait Kms: Send + Sync {
    /// Whether it can be asked.
    fn status(&self) -> KmsStatus;

    /// Makes the root key of a version.
    ///
    /// # Errors
    /// `Exists`. `Away`.
    fn create(&self, root: u32) -> Result<(), KmsError>;

    /// Wraps a key.
    ///
    /// # Errors
    /// `NoSuchRoot`. `Away`.
    fn wrap(&self, context: &KeyContext, key: &SecretKey) -> Result<Vec<u8>, KmsError>;

    /// Unwraps a key.
    ///
    /// # Errors
    /// `NoSuchRoot`. `NotOpened`. `Away`.
    fn unwrap(&self, context: &KeyContext, wrapped: &[u8]) -> Result<SecretKey, KmsError>;

    /// Destroys the root key of a version: what it wrapped never opens again.
    ///
    /// # Errors
    /// `NoSuchRoot`. `Away`.
    fn destroy(&self, root: u32) -> Result<Destroyed, KmsError>;

    /// What must be kept of it beside what it wraps, sealed; empty if it keeps all itself.
    fn kept(&self) -> Vec<u8>;

    /// Takes over what another node's service keeps, once root keys were made or destroyed there. A service that keeps all itself has nothing
    /// to take.
    ///
    /// # Errors
    /// `Denied`: it is behind another passphrase, and nothing changes. `Damaged`. `Away`.
    fn adopt(&self, kept: &[u8]) -> Result<(), KmsError>;
}

/// What lets somebody in.
pub type Passphrase = SecretBytes;
