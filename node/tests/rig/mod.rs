//! What the tests of commands stand on: a tablet on a simulated disk, in which one entry after the other is applied; and fixtures.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod samples;

use bytes::Bytes;
use engine::Stamp;
use engine::catalog::MemoryCatalog;
use engine::clock::ManualClock;
use engine::disk::SimDisk;
use engine::entropy::{Entropy, Seeded};
use engine::ids::{ClusterId, KeyEpoch, LogIndex, NodeId, Owner, Purpose, TabletId, TenantId};
use engine::key::KeyRange;
use engine::sealed::{Keyring, Sealer, SecretKey};
use engine::tablet::Tablet;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::View;
use node::shard::operations::NodeOperations;
use raft::machine::operations::{Operations, Rows, Unapplied};
use std::path::PathBuf;
use std::sync::Arc;

pub const NODE: NodeId = NodeId(7);
pub const TENANT: TenantId = TenantId(9);
pub const OTHER: TenantId = TenantId(8);

/// One tablet.
pub struct Rig {
    pub pool: Arc<Pool>,
    pub tablet: Arc<Tablet>,
    pub index: u64,
    pub stamp: Stamp,
}

impl Rig {
    pub fn new(range: KeyRange) -> Self {
        let keys = Keyring::new();
        let mut owned = vec![(Owner::Node(NODE), Purpose::Mac), (Owner::Node(NODE), Purpose::Catalog)];
        for owner in [Owner::Cluster, Owner::Tenant(TENANT), Owner::Tenant(OTHER)] {
            owned.extend([Purpose::Mac, Purpose::Meta, Purpose::Data].map(|purpose| (owner, purpose)));
        }
        for (owner, purpose) in owned {
            keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([0x5e; 32])).unwrap();
            keys.activate(owner, purpose, KeyEpoch(1)).unwrap();
        }
        let disk = SimDisk::new(1);
        let sealer = Sealer::new(ClusterId([0xc1; 16]), Arc::new(keys), Arc::new(Seeded::new(1))).unwrap();
        let parts = Parts {
            disk: Arc::new(disk.clone()),
            catalog: MemoryCatalog::on(disk).opener(),
            sealer: Arc::new(sealer),
            clock: Arc::new(ManualClock::new(1_000_000)),
            node: NODE,
        };
        let pool = Pool::open(PoolConfig { threads: 0, ..PoolConfig::new("/data") }, parts).unwrap();
        let tablet = pool.create(&[NewTablet::empty(TabletId(1), range)]).unwrap().remove(0);
        Self { pool, tablet, index: 0, stamp: Stamp::new(1_000_000, 0) }
    }

    /// Applies the bodies as the commands of one entry at `ms`; returns what they are answered.
    pub fn apply(&mut self, ms: u64, bodies: &[(TenantId, Vec<u8>)]) -> Vec<Bytes> {
        let (view, range) = (self.view(0), self.tablet.range());
        let mut unapplied = Unapplied::default();
        let mut replies = Vec::new();
        for (tenant, body) in bodies {
            self.stamp = self.stamp.next().max(Stamp::new(ms, 0));
            let mut rows = Rows::new(&view, &mut unapplied, self.stamp).within(&range);
            match NodeOperations.evaluate(*tenant, body, &mut rows) {
                Ok(reply) => replies.push(reply),
                Err(raft::Error::OutsideRange) => {
                    rows.undo();
                    replies.push(Bytes::from_static(b"outside"));
                }
                Err(error) => panic!("the group would stop: {error}"),
            }
        }
        self.index += 1;
        self.tablet.apply(&unapplied.batch(LogIndex(self.index)).unwrap()).unwrap();
        replies
    }

    pub fn view(&self, now_ms: u64) -> View {
        self.tablet.view(now_ms).unwrap()
    }
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
pub fn items(list: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut items) = (list, Vec::new());
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (item, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        items.push(item.to_vec());
        rest = more;
    }
    items
}
