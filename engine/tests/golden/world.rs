//! The world the fixtures were made in: its names, its keys, its randomness. None of it ever changes, or they no longer open.
#![allow(dead_code, reason = "each test binary uses its part")]

use engine::catalog::MemoryCatalog;
use engine::clock::ManualClock;
use engine::disk::SimDisk;
use engine::entropy::Entropy;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::sealed::{Keyring, Sealer, SecretKey};
use engine::tablet::pool::{Parts, Pool, PoolConfig};
use std::path::PathBuf;
use std::sync::Arc;

pub const CLUSTER: ClusterId =
    ClusterId(*b"\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb\xcc\xcd\xce\xcf");
pub const NODE: NodeId = NodeId(5);
pub const T1: TenantId = TenantId(0x0102_0304_0506_0708);
pub const T2: TenantId = TenantId(0x1112_1314_1516_1718);
pub const T3: TenantId = TenantId(u64::MAX);
pub const C: CollectionId = CollectionId(9);
/// Where the clock stands.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// Every owner with its active epoch.
pub const OWNERS: [(Owner, u32); 5] = [
    (Owner::Cluster, 1),
    (Owner::Node(NODE), 2),
    (Owner::Tenant(T1), 9),
    (Owner::Tenant(T2), 3),
    (Owner::Tenant(T3), 1),
];
/// An epoch that follows the active one, for every owner and purpose.
pub const NEXT: u32 = 1;

/// The formats, each with a fixture of this name.
pub const FORMATS: [&str; 14] = [
    "batch",
    "block_file",
    "catalog_rows",
    "checkpoint_listing",
    "checkpoint_stream",
    "context",
    "data_block",
    "envelope",
    "filter",
    "key",
    "key_index",
    "manifest_edit",
    "range_tombstones",
    "stripe",
];

/// Those whose fixture is one object as it stands on a disk; all others are lists, see [`split`].
pub const WHOLE: [&str; 3] = ["block_file", "checkpoint_listing", "checkpoint_stream"];

/// Randomness that is one byte for ever, so that no fixture depends on how often or in which order somebody draws.
pub struct Same(pub u8);

impl Entropy for Same {
    fn fill(&self, out: &mut [u8]) {
        out.fill(self.0);
    }
}

/// The key of a scope. That of tenant 1 at epoch 9 is the one of the formats' published answers, 00 to 1f.
fn key_of(owner: Owner, purpose: Purpose, epoch: u32) -> SecretKey {
    let mut bytes = [purpose as u8; 32];
    if (owner, epoch) == (Owner::Tenant(T1), 9) {
        (0..).zip(&mut bytes).for_each(|(n, byte)| *byte = n);
    } else {
        bytes[0] = owner.kind();
        bytes[1..9].copy_from_slice(&owner.id().to_be_bytes());
        bytes[9..13].copy_from_slice(&epoch.to_be_bytes());
    }
    SecretKey::new(bytes)
}

/// All keys: of every owner and purpose the active epoch and the next one.
pub fn keyring() -> Arc<Keyring> {
    let keys = Keyring::new();
    for (owner, active) in OWNERS {
        for purpose in Purpose::ALL {
            for epoch in [active, active + NEXT] {
                keys.insert(owner, purpose, KeyEpoch(epoch), key_of(owner, purpose, epoch)).unwrap();
            }
            keys.activate(owner, purpose, KeyEpoch(active)).unwrap();
        }
    }
    Arc::new(keys)
}

pub fn sealer(entropy: impl Entropy + 'static) -> Arc<Sealer> {
    Arc::new(Sealer::new(CLUSTER, keyring(), Arc::new(entropy)).unwrap())
}

/// Settings so small that a few rows make several tables. Threads there are none.
pub fn pool_config() -> PoolConfig {
    PoolConfig {
        memtable_bytes: 64 << 10,
        memtable_bytes_per_tablet: 16 << 10,
        cache_bytes: 64 << 10,
        handles_max: 4,
        threads: 0,
        block_bytes: 512,
        table_bytes: 4 << 10,
        level1_bytes: 8 << 10,
        ..PoolConfig::new("/pool")
    }
}

pub fn open_pool(disk: &SimDisk, catalog: &MemoryCatalog, sealer: Arc<Sealer>) -> Arc<Pool> {
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let parts = Parts { disk: Arc::new(disk.clone()), catalog: catalog.opener(), sealer, clock, node: NODE };
    Pool::open(pool_config(), parts).unwrap()
}

/// The folder of the fixtures of version 1.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// A list as bytes: of each item its length, u32 big-endian, then its bytes.
pub fn join<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let item = item.as_ref();
        out.extend_from_slice(&u32::try_from(item.len()).unwrap().to_be_bytes());
        out.extend_from_slice(item);
    }
    out
}

/// The items of a list.
pub fn split(mut list: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    while let Some((length, rest)) = list.split_first_chunk::<4>() {
        let (item, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        items.push(item.to_vec());
        list = rest;
    }
    assert!(list.is_empty(), "a list with bytes behind its last item");
    items
}
