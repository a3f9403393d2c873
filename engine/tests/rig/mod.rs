//! A pool on a simulated disk, driven step by step, with what a test needs to break it.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod oracle;
pub mod script;
pub mod tables;

use engine::catalog::MemoryCatalog;
use engine::clock::ManualClock;
use engine::disk::SimDisk;
use engine::entropy::{Entropy, Seeded};
use engine::ids::{ClusterId, CollectionId, KeyEpoch, NodeId, Owner, Purpose, TabletId, TenantId};
use engine::sealed::{Keyring, Sealer, SecretKey};
use engine::tablet::pool::{Parts, Pool, PoolConfig};
use std::sync::Arc;

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub const NODE: NodeId = NodeId(5);
pub const T1: TenantId = TenantId(0x1111_0000_0000_0001);
pub const T2: TenantId = TenantId(0x2222_0000_0000_0002);
pub const C: CollectionId = CollectionId(7);
pub const TABLET: TabletId = TabletId(1);
/// Where the clock stands at first: far enough from zero for any window.
pub const START_MS: u64 = 1_000_000;

/// A key whose bytes follow from its scope, so that every rig of a seed has the same keys.
pub fn key_of(owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> SecretKey {
    let seed = owner.id() ^ u64::from(owner.kind()) << 56 ^ (purpose as u64) << 40 ^ u64::from(epoch.0) << 20;
    let mut bytes = [0; 32];
    Seeded::new(seed).fill(&mut bytes);
    SecretKey::new(bytes)
}

pub fn add_key(keys: &Keyring, owner: Owner, purpose: Purpose, epoch: u32) {
    keys.insert(owner, purpose, KeyEpoch(epoch), key_of(owner, purpose, KeyEpoch(epoch))).unwrap();
    keys.activate(owner, purpose, KeyEpoch(epoch)).unwrap();
}

pub fn keyring() -> Arc<Keyring> {
    let keys = Keyring::new();
    add_key(&keys, Owner::Cluster, Purpose::Mac, 1);
    add_key(&keys, Owner::Cluster, Purpose::Meta, 1);
    add_key(&keys, Owner::Node(NODE), Purpose::Catalog, 1);
    for tenant in [T1, T2] {
        add_key(&keys, Owner::Tenant(tenant), Purpose::Data, 1);
    }
    Arc::new(keys)
}

pub struct Rig {
    pub disk: SimDisk,
    pub catalog: MemoryCatalog,
    pub keys: Arc<Keyring>,
    pub clock: Arc<ManualClock>,
    pub entropy: Arc<Seeded>,
    pub config: PoolConfig,
}

/// Settings so small that everything happens often.
pub fn small_config() -> PoolConfig {
    PoolConfig {
        memtable_bytes: 64 << 10,
        memtable_bytes_per_tablet: 4 << 10,
        cache_bytes: 64 << 10,
        handles_max: 3,
        threads: 0,
        block_bytes: 512,
        table_bytes: 4 << 10,
        level1_bytes: 8 << 10,
        ..PoolConfig::new("/pool")
    }
}

impl Rig {
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        Self {
            catalog: MemoryCatalog::on(disk.clone()),
            disk,
            keys: keyring(),
            clock: Arc::new(ManualClock::new(START_MS)),
            entropy: Arc::new(Seeded::new(seed ^ 0xabcd)),
            config: small_config(),
        }
    }

    pub fn sealer(&self) -> Arc<Sealer> {
        Arc::new(Sealer::new(CLUSTER, self.keys.clone(), self.entropy.clone()).unwrap())
    }

    pub fn try_open(&self) -> engine::Result<Arc<Pool>> {
        let parts = Parts {
            disk: Arc::new(self.disk.clone()),
            catalog: self.catalog.opener(),
            sealer: self.sealer(),
            clock: self.clock.clone(),
            node: NODE,
        };
        Pool::open(self.config.clone(), parts)
    }

    pub fn open(&self) -> Arc<Pool> {
        self.try_open().unwrap()
    }
}

/// Dice that follow from a seed.
pub struct Dice(Seeded);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    pub fn below(&self, n: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % n
    }

    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&self, n: u64) -> Vec<u8> {
        let mut out = vec![0; usize::try_from(n).unwrap()];
        self.0.fill(&mut out);
        out
    }
}

/// Seeds for a test: one a case, beginning at `DEWPOND_SEED` (printed) or at a fixed number.
pub fn seeds(default_cases: u64) -> impl Iterator<Item = u64> {
    #[expect(clippy::disallowed_methods, reason = "a test run is steered from outside, and prints by what")]
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("DEWPOND_SEED").unwrap_or(1);
    let cases = number("DEWPOND_CASES").unwrap_or(default_cases);
    println!("seeds {first}..{} (DEWPOND_SEED, DEWPOND_CASES)", first + cases);
    first..first + cases
}
