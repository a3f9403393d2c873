//! What a node does beside answering: it writes its log, flushes and merges tables, purges, and keeps in mind what peers have.

use super::clock::WallClock;
use super::hardware::Hardware;
use super::node::World;
use crate::seed::{Dice, Swarm};
use engine::clock::Clock;
use engine::ids::NodeId;
use engine::tablet::pool::Pool;
use raft::group::batcher::Batcher;
use raft::group::closing::{self, Now};
use raft::group::handle::Group;
use raft::group::registry::Registry;
use raft::group::upkeep::Upkeep;
use raft::log::Log;
use raft::log::purge::{Needs, Worth};
use raft::net::hearsay::Gossip;
use raft::net::inbound::Receiver;
use raft::net::request::Requests;
use raft::net::words::Words;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks of the engine at what it has to do, in milliseconds.
const WORK_MS: u64 = 20;
/// Between two times that replicas elsewhere are asked for their word, in milliseconds.
const ASK_MS: u64 = 500;
/// So long the others keep entries for a delayed node that is away, in milliseconds.
const BUDGET_MS: u64 = 4_000;

/// The thread of the log, as a task: a sync takes its time.
pub async fn write_log(log: Arc<Log>, mut dice: Dice, swarm: Swarm, hardware: Hardware) {
    while log.fenced().is_none() {
        let ms = dice.within(&swarm.sync_ms).max(1) + hardware.slow_ms();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        log.step();
    }
}

/// When a purge is worth its while: at so many entries of a usual size, or after as long as so many take.
const fn worth(entries: u64) -> Worth {
    Worth { bytes: entries * 1_024, ms: entries * 200 }
}

/// Background work of the engine, elections, purging, and what peers were heard to have.
pub async fn work(
    (pool, hardware): (Arc<Pool>, Hardware),
    (registry, words): (Arc<Registry>, Arc<Words>),
    log: Arc<Log>,
    (clock, world): (Arc<WallClock>, World),
) {
    let upkeep = Upkeep::new(worth(world.swarm.purge_entries));
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(Duration::from_millis(WORK_MS)).await;
        round += 1;
        for receiver in registry.all() {
            let needs = needs(&receiver, &words, world.time.ms());
            // It fails with a log or a group that has stopped, which the overseer of both sees.
            let _ = upkeep.look(&receiver, needs, world.time.ms()).await;
        }
        registry.set_clock_agreed(clock.is_agreed());
        if round.is_multiple_of(5) {
            let _ = registry.heard().note_in(&log);
        }
        // A disk that takes long does so for tables as well.
        if round.is_multiple_of(1 + hardware.slow_ms() / WORK_MS) {
            step(&pool);
        }
    }
}

/// Who needs the log of a replica beside itself: delayed ones, until they were away for longer than the others wait here.
fn needs(receiver: &Receiver, words: &Words, now_ms: u64) -> Needs {
    let group = receiver.group();
    let mut delayed = words.delayed(group.id(), &group.standing().membership.1, now_ms);
    delayed.retain(|need| need.away_ms < BUDGET_MS);
    Needs { delayed, ..Needs::default() }
}

/// Asks the others for the word of their replicas, and passes on what was heard.
pub async fn ask(
    own: NodeId,
    requests: Arc<Requests>,
    (registry, words): (Arc<Registry>, Arc<Words>),
    world: World,
) {
    let gossip = Gossip::default();
    loop {
        tokio::time::sleep(Duration::from_millis(ASK_MS)).await;
        let asks = words.ask(&requests, &registry, world.time.ms());
        tokio::join!(asks, gossip.tell(own, &requests, &registry));
    }
}

/// What the threads of the engine do meanwhile.
fn step(pool: &Pool) {
    for _ in 0..4 {
        pool.step();
    }
}

/// Waits for what is done at a start. The engine works beside it, as its threads do in production: what is applied again needs room.
pub async fn beside_engine<T>(pool: &Pool, start: impl Future<Output = T>) -> T {
    let mut start = std::pin::pin!(start);
    loop {
        match tokio::time::timeout(Duration::from_millis(WORK_MS), start.as_mut()).await {
            Ok(done) => return done,
            Err(_) => step(pool),
        }
    }
}

/// Closes the time of one group, whenever this node leads it and nothing else does.
pub async fn close(
    group: Arc<Group>,
    batcher: Arc<Batcher>,
    log: Arc<Log>,
    clock: Arc<WallClock>,
    world: World,
) {
    let tick_ms = if world.swarm.late_ms.is_some() { 1_000 } else { 5_000 };
    loop {
        tokio::time::sleep(Duration::from_millis(tick_ms / 4)).await;
        let now = Now { wall_ms: clock.now_ms(), is_agreed: clock.is_agreed(), tick_ms };
        let closing = closing::close_if_due(&group, &batcher, &log, now);
        let _ = tokio::time::timeout(Duration::from_millis(tick_ms), closing).await;
    }
}
