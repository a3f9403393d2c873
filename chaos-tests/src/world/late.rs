//! What a delayed node has beside what every node has: its gate, and what time it surely is. And what all nodes know of clocks.

use super::clock::{Clocks, WallClock};
use super::node::World;
use engine::Stamp;
use engine::clock::Clock;
use engine::ids::NodeId;
use raft::delay::receive::{Delayed, GateStamp};
use raft::delay::{CatalogGate, GroupProgress, Keeper, SafeNow, Step};
use raft::group::registry::Registry;
use raft::log::Log;
use raft::machine::{Machine, MachineParts};
use raft::time::BootClock;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks at the gate, in milliseconds.
const LOOK_MS: u64 = 100;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clocks of the voters. Clones are the same.
#[derive(Clone, Default)]
pub struct Heard {
    clocks: Clocks,
}

impl Heard {
    /// A voter's clock.
    pub fn clock(&self, node: NodeId, clock: Arc<WallClock>) {
        lock(&self.clocks).insert(node, clock);
    }

    /// The clocks of the voters: whom every node asks.
    #[must_use]
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// How many of the voters' clocks are wrong.
    #[must_use]
    pub fn wrong(&self) -> usize {
        lock(&self.clocks).values().filter(|clock| clock.off_ms() != 0).count()
    }
}

/// The gate of a delayed node in one of its lives.
pub struct Late {
    /// The gate.
    pub keeper: Arc<Keeper>,
    safe: Mutex<SafeNow>,
    clock: Arc<WallClock>,
    world: World,
    node: NodeId,
    log: Arc<Log>,
}

impl Late {
    /// The gate as it is stored, or as it is born.
    ///
    /// # Errors
    /// Of the catalog.
    pub fn open(
        world: &World,
        (node, clock): (NodeId, Arc<WallClock>),
        parts: &MachineParts,
        late_ms: u64,
    ) -> raft::Result<Arc<Self>> {
        let store = Arc::new(CatalogGate::new(parts.pool.clone(), parts.sealer.clone(), node));
        let born = (Stamp::new(clock.now_ms(), 0), late_ms);
        let keeper = Keeper::open(store, born, parts.log.stats().clone())?;
        let own = Self {
            keeper,
            safe: Mutex::default(),
            clock,
            world: world.clone(),
            node,
            log: parts.log.clone(),
        };
        own.world.overseer.gate_recovered(node, own.keeper.stamp(), late_ms);
        Ok(Arc::new(own))
    }

    /// The delayed replica of a group.
    ///
    /// # Errors
    /// Of the log.
    pub fn replica(&self, log: &Arc<Log>, machine: &Machine) -> raft::Result<Arc<Delayed>> {
        let delayed = Delayed::new(log.clone(), machine.group(), &machine.applied(), self.keeper.clone())?;
        if self.keeper.may_lift().is_ok() {
            delayed.lift();
        }
        Ok(Arc::new(delayed))
    }

    /// How far its groups have come.
    #[must_use]
    pub fn progress(&self, registry: &Registry) -> BTreeMap<GroupId, GroupProgress> {
        let of = |receiver: Arc<raft::net::inbound::Receiver>| {
            let note = receiver.group().machine().applied();
            Some((receiver.group().id(), receiver.delayed()?.progress(&note)))
        };
        // Of a replica that is being built again nothing is known: the gate waits for it too.
        let all = self.log.groups().into_keys().map(|group| (group, GroupProgress::default()));
        all.chain(registry.all().into_iter().filter_map(of)).collect()
    }

    fn safe_now_ms(&self) -> Option<u64> {
        let (wall_ms, boot_ms) = (self.clock.now_ms(), self.clock.boot_ms());
        let mut safe = lock(&self.safe);
        match self.clock.is_agreed() {
            true => safe.agree(wall_ms, boot_ms),
            false => safe.disagree(),
        }
        safe.at(wall_ms, boot_ms)
    }

    /// Drives the gate.
    pub async fn work(self: Arc<Self>, registry: Arc<Registry>) {
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            let groups = self.progress(&registry);
            let gate = self.keeper.stamp();
            if groups.values().all(|group| group.is_at(gate)) && self.keeper.void_until_ms() == 0 {
                self.world.overseer.at_rest();
            }
            if let Ok(Step::To(gate)) = self.keeper.step(self.safe_now_ms(), &groups) {
                self.world.diary.note(self.node, format_args!("opens the gate up to {gate}"));
                self.world.overseer.gate_opened(gate);
            }
            for receiver in registry.all() {
                let _ = receiver.nudge().await;
            }
        }
    }
}
