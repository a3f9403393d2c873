//! Archives: shipped history, from which any recovery point can be restored without the cluster.
//!
//! * [`naming`] says how objects are called, [`manifest`] what an archive says of itself, [`tick`] what a tick file is;
//! * [`site`] is one place of it: nothing there is ever overwritten;
//! * [`chain`] is what a reader trusts: everything that a signed marker or snapshot names, by size and SHA-256, and nothing else.
//!
//! Invariants: an object is put once, under its final name, whole; "archived" is said only after that; no key is ever in an archive of
//! data, not even wrapped.

pub mod chain;
pub mod civil;
pub mod closed;
pub mod closing;
pub mod collect;
pub mod load;
pub mod manifest;
pub mod naming;
pub mod pace;
pub mod pull;
pub mod retain;
pub mod schedule;
pub mod ship;
pub mod site;
pub mod sites;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod tick;
pub mod verify;
pub mod window;

use engine::error::Damage;

/// Why something of an archive failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine says so: a key, a disk, damaged bytes.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The site says so.
    #[error(transparent)]
    Site(#[from] site::SiteError),
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Engine(damage.into())
    }
}

/// What comes of it, or [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
