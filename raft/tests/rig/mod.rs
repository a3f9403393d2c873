//! What the tests of the log stand on: a simulated disk, keys, and a picture of what the log must hold.

#![allow(dead_code, reason = "each test uses a part of it")]

use bytes::Bytes;
use engine::disk::{Disk, SimDisk};
use engine::entropy::{Entropy, Seeded};
use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::sealed::{Keyring, Sealer, SecretKey};
use raft::log::{Done, Entry, Log, LogConfig, LogParts, Stepped};
use raft::machine::Shredded;
use raft::types::{GroupId, LogId, ReplicaId};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub const NODE: NodeId = NodeId(7);

/// A tenant whose key is here.
pub const TENANT: TenantId = TenantId(9);

/// Keys of the cluster, the node and one tenant.
pub fn sealer() -> Arc<Sealer> {
    sealer_of(CLUSTER, NODE, Arc::new(Seeded::new(1)))
}

/// Those of any node.
pub fn sealer_of(cluster: ClusterId, node: NodeId, entropy: Arc<Seeded>) -> Arc<Sealer> {
    Arc::new(Sealer::new(cluster, keys_of(node), entropy).unwrap())
}

/// The keys that a node has.
pub fn keys_of(node: NodeId) -> Arc<Keyring> {
    let keys = Keyring::new();
    let owned = [
        (Owner::Node(node), Purpose::Mac),
        (Owner::Node(node), Purpose::Catalog),
        (Owner::Cluster, Purpose::Mac),
        (Owner::Cluster, Purpose::Meta),
        (Owner::Tenant(TENANT), Purpose::Data),
        (Owner::Tenant(TENANT), Purpose::Log),
    ];
    owned.into_iter().for_each(|(owner, purpose)| give(&keys, owner, purpose));
    Arc::new(keys)
}

/// Brings a key.
pub fn give(keys: &Keyring, owner: Owner, purpose: Purpose) {
    keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([0x5e; 32])).unwrap();
    keys.activate(owner, purpose, KeyEpoch(1)).unwrap();
}

/// Which tenants are shredded.
#[derive(Default)]
pub struct Shreds(pub Mutex<BTreeSet<TenantId>>);

impl Shredded for Shreds {
    fn is_shredded(&self, tenant: TenantId) -> bool {
        self.0.lock().unwrap().contains(&tenant)
    }
}

/// One node's disk and what it opens its log with.
pub struct Rig {
    pub disk: SimDisk,
    pub config: LogConfig,
    pub seed: u64,
    starts: Cell<u64>,
}

impl Rig {
    pub fn new(seed: u64) -> Self {
        let segment_bytes = raft::limits::SEGMENT_BYTES_MIN;
        let config = LogConfig {
            segment_bytes,
            write_bytes: 3_000,
            cache_bytes: 2_000,
            segments_kept: 2,
            entry_bytes_max: 1_000,
            groups_max: 12,
            peers_max: 12,
            ..LogConfig::new("/log")
        };
        Self { disk: SimDisk::new(seed), config, seed, starts: Cell::new(0) }
    }

    pub fn try_open(&self) -> raft::Result<Arc<Log>> {
        self.starts.set(self.starts.get() + 1);
        // Each start has its own randomness, as on a machine.
        let entropy = Arc::new(Seeded::new(self.seed << 20 | self.starts.get()));
        let (disk, stats) = (Arc::new(self.disk.clone()), Arc::default());
        let parts = LogParts { disk, sealer: sealer(), entropy, node: NODE, stats };
        Log::open(self.config.clone(), parts)
    }

    pub fn open(&self) -> Arc<Log> {
        self.try_open().unwrap()
    }
}

/// A log in which groups 1 to `groups` live.
pub fn opened(rig: &Rig, groups: u64) -> Arc<Log> {
    let log = rig.open();
    (1..=groups).for_each(|n| log.open_replica(GroupId(n), ReplicaId(1), nobody()).unwrap());
    while log.step() != Stepped::Nothing {}
    log
}

/// Segments there are.
pub fn segments(rig: &Rig) -> usize {
    rig.disk.list(Path::new("/log")).unwrap().iter().filter(|name| name.ends_with(".log")).count()
}

/// Reproducible choices.
pub struct Dice(Seeded);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    pub fn below(&self, n: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes) % n
    }
}

pub fn id(term: u64, index: u64) -> LogId {
    LogId { term, replica: ReplicaId(1), index }
}

/// An entry whose content follows from its name.
pub fn entry(group: GroupId, term: u64, index: u64) -> Entry {
    let payload: Vec<u8> = (0..(index * 37 + group.0 * 11 + term) % 300).map(|n| (n + index) as u8).collect();
    Entry { log_id: id(term, index), kind: 1, stamp: index * 10, payload: payload.into() }
}

/// Nobody waits.
pub fn nobody() -> Done {
    Box::new(|_| {})
}

/// Raises `acknowledged` to what `step` is by then, when what waits is durable.
pub fn acknowledge(acknowledged: &Arc<AtomicU64>, step: &Arc<AtomicU64>) -> Done {
    let (acknowledged, step) = (acknowledged.clone(), step.clone());
    Box::new(move |outcome| {
        if outcome.is_ok() {
            acknowledged.fetch_max(step.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    })
}

/// Seeds to try: `DEWPOND_CASES` of them from `DEWPOND_SEED` on.
#[expect(clippy::disallowed_methods, reason = "the person who runs the tests chooses")]
pub fn seeds(default_cases: u64) -> impl Iterator<Item = u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("DEWPOND_SEED").unwrap_or(1);
    let cases: u64 = number("DEWPOND_CASES").unwrap_or(default_cases);
    println!("seeds {first}..{}", first.wrapping_add(cases));
    (0..cases).map(move |n| first.wrapping_add(n))
}

/// The fixture `name`; made first if it is not there and the person who adds a format asks for it.
pub fn stored(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name);
    #[expect(clippy::disallowed_methods, reason = "the person who adds a format asks for its fixture")]
    let is_asked = std::env::var("DEWPOND_WRITE_FIXTURES").is_ok();
    if is_asked && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, make()).unwrap();
    }
    std::fs::read(path).unwrap()
}

/// Items as one list: of each its length, u32 big-endian, then its bytes.
pub fn listed(items: &[Vec<u8>]) -> Vec<u8> {
    let with_length = |item: &Vec<u8>| [&u32::try_from(item.len()).unwrap().to_be_bytes()[..], item].concat();
    items.iter().flat_map(with_length).collect()
}

/// The items of such a list.
pub fn items(list: &[u8]) -> Vec<Bytes> {
    let (mut rest, mut items) = (list, Vec::new());
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (item, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        items.push(Bytes::copy_from_slice(item));
        rest = more;
    }
    items
}
