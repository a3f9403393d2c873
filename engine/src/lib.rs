//! An embedded, ordered, versioned key-value store in which every byte of a tenant is sealed with that tenant's own key
//! before it reaches the disk.
//!
//! * [`tablet::pool::Pool`] opens a folder; [`tablet::Tablet`] is the store of one shard replica in it.
//! * A [`tablet::batch::Batch`] is applied whole, with its position in the caller's log. The log is the caller's: after a crash
//!   a tablet stands at [`tablet::Tablet::durable`], and the caller applies from there again.
//! * A [`tablet::view::View`] reads at one stamp: the newest, or any inside the history window.
//! * Whatever the disk gives back is parsed or refused with an error that names file and block; nothing read panics.
//! * Time and randomness come from the caller ([`clock::Clock`], [`entropy::Entropy`]), so that one seed is one run.
//!
//! ```
//! use engine::catalog::MemoryCatalog;
//! use engine::{clock::ManualClock, disk::SimDisk, entropy::Seeded, ids::*, key::KeyRange, sealed::*, tablet::pool::*};
//! use engine::{Stamp, tablet::batch::Batch};
//! use std::sync::Arc;
//!
//! let (tenant, collection) = (TenantId(7), CollectionId(1));
//! let keys = Keyring::new();
//! for (owner, purpose) in [
//!     (Owner::Cluster, Purpose::Mac),
//!     (Owner::Node(NodeId(1)), Purpose::Catalog),
//!     (Owner::Tenant(tenant), Purpose::Data),
//! ] {
//!     keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([42; 32]))?;
//!     keys.activate(owner, purpose, KeyEpoch(1))?;
//! }
//! let parts = Parts {
//!     disk: Arc::new(SimDisk::new(1)), // or engine::disk::RealDisk
//!     catalog: MemoryCatalog::new().opener(), // or engine::catalog::SledCatalog::opener()
//!     sealer: Arc::new(Sealer::new(ClusterId([1; 16]), Arc::new(keys), Arc::new(Seeded::new(1)))?),
//!     clock: Arc::new(ManualClock::new(1_000)),
//!     node: NodeId(1),
//! };
//! let pool = Pool::open(PoolConfig { threads: 0, ..PoolConfig::new("/data") }, parts)?;
//! let tablet = pool.create(&[NewTablet::empty(TabletId(1), KeyRange::all())])?.remove(0);
//! let mut batch = Batch::new(LogIndex(1));
//! batch.put(tenant, collection, b"name", b"Ada", Stamp::new(1_000, 0), 0)?;
//! tablet.apply(&batch)?;
//! let found = tablet.view(1_000)?.get(tenant, collection, b"name")?;
//! assert_eq!(found.map(|found| found.value), Some("Ada".into()));
//! # Ok::<(), engine::Error>(())
//! ```
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
pub mod loose;
pub mod magic;
pub mod manifest;
pub mod memtable;
pub mod range_tombstone;
pub mod read;
mod redact;
pub mod sealed;
pub mod stamp;
pub mod stats;
pub mod table;
pub mod tablet;
pub mod wire;
pub mod work;

pub use error::{Damage, Error, Kind, Nature, Result};
pub use stamp::Stamp;
