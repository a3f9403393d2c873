//! An embedded, ordered, versioned key-value store in which every byte of a tenant is sealed with that tenant's key before
//! it reaches the disk.
#![deny(unsafe_code)]

pub mod catalog;
pub mod checkpoint;
pub mod clock;
pub mod compaction;
pub mod disk;
pub mod entropy;
pub mod error;
pub mod ids;
pub mod key;
pub mod limits;
pub mod magic;
pub mod manifest;
pub mod memtable;
pub mod range_tombstone;
pub mod read;
pub mod sealed;
pub mod stamp;
pub mod stats;
pub mod table;
pub mod tablet;
mod wire;
pub mod work;

pub use error::{Damage, Error, Kind, Nature, Result};
pub use stamp::Stamp;
