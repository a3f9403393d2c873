//! A node's clocks: a wall clock, which is the simulated time and how far the node believes it to be elsewhere; and those that nobody
//! sets, which go at a rate of their own.

use engine::clock::Clock;
use engine::ids::NodeId;
use raft::limits::CLOCK_PART_MS_MAX;
use raft::node_time::NodeClock;
use raft::time::BootClock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::time::Instant;

/// Where the simulated time begins: milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_750_000_000_000;

/// The true time of a run.
#[derive(Clone, Copy, Debug)]
pub struct Time(Instant);

impl Time {
    /// Begins now. Must be called inside the run.
    #[must_use]
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the run began.
    #[must_use]
    pub fn ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Clocks of nodes that ask each other what time it is.
pub type Clocks = Arc<Mutex<BTreeMap<NodeId, Arc<WallClock>>>>;

/// One node's clocks.
pub struct WallClock {
    time: Time,
    off_ms: AtomicI64,
    /// How far it was ever off, in either direction.
    worst_ms: AtomicU64,
    /// What consensus goes by.
    node: NodeClock,
    /// Whom it asks.
    peers: Weak<Mutex<BTreeMap<NodeId, Arc<WallClock>>>>,
}

impl WallClock {
    /// A wall clock that is right, and asks `peers`; and a monotonic one that goes on by `permille` milliseconds in a second.
    #[must_use]
    pub fn new(time: Time, peers: &Clocks, permille: u32) -> Arc<Self> {
        let (off_ms, worst_ms) = (AtomicI64::new(0), AtomicU64::new(0));
        let (node, peers) = (NodeClock::new(permille), Arc::downgrade(peers));
        Arc::new(Self { time, off_ms, worst_ms, node, peers })
    }

    /// Moves it against the true time, in milliseconds.
    pub fn set_off(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::SeqCst);
        self.worst_ms.fetch_max(off_ms.unsigned_abs(), Ordering::SeqCst);
    }

    /// The true time since the run began, which no node can set.
    #[must_use]
    pub fn true_ms(&self) -> u64 {
        self.time.ms()
    }

    /// How far it is off, in milliseconds.
    #[must_use]
    pub fn off_ms(&self) -> i64 {
        self.off_ms.load(Ordering::SeqCst)
    }

    /// How far it was ever off, in milliseconds.
    #[must_use]
    pub fn worst_ms(&self) -> u64 {
        self.worst_ms.load(Ordering::SeqCst)
    }

    /// What consensus of the node goes by.
    #[must_use]
    pub fn node(&self) -> &NodeClock {
        &self.node
    }

    /// Whether it is where the median of those is that it asks.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        let Some(peers) = self.peers.upgrade() else { return false };
        let peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut off: Vec<i64> = peers.values().map(|clock| clock.off_ms()).collect();
        off.sort_unstable();
        let median = off.get(off.len() / 2).copied().unwrap_or(0);
        self.off_ms().abs_diff(median) <= CLOCK_PART_MS_MAX
    }
}

impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        (EPOCH_MS + self.time.ms()).saturating_add_signed(self.off_ms())
    }
}

impl BootClock for WallClock {
    fn boot_ms(&self) -> u64 {
        self.node.boot_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.node.monotonic_ms()
    }

    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }

    fn is_disputed(&self) -> bool {
        !self.is_agreed()
    }

    fn agreed_ms(&self) -> Option<u64> {
        self.is_agreed().then(|| self.now_ms())
    }
}
