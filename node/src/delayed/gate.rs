//! The gate of a delayed node at work: several times a tick it is looked at what came in, then whether the gate may rise, then every group
//! is told. Nothing rises past an entry whose head was not read.

use super::donate::Progress;
use super::hold::Counted;
use super::note::{HoldNote, NOTE_ROW};
use super::state::{self, Late, Seen};
use super::suspects::Suspects;
use crate::clock::Agreement;
use crate::limits;
use crate::meta::command::{Change, MetaCommand};
use crate::meta::node_row::NodeRow;
use crate::running::replicas::Running;
use crate::server::Server;
use crate::server::disk::{Level, Room};
use engine::Stamp;
use engine::catalog::rows::RowKey;
use engine::catalog::{Change as RowChange, sealer};
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::TenantId;
use raft::delay::{Bound, GroupProgress, Keeper, Rest, SafeNow, Step, gate};
use raft::planted::{self, Planted};
use raft::time::BootClock;
use raft::types::{GroupId, Role};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks whether the node is delayed at all, in milliseconds.
const WAIT_MS: u64 = 500;
/// Between two tries to tell the cluster of another delay, in milliseconds.
const TELL_MS: u64 = 5_000;

/// What a delayed node remembers while it runs.
#[derive(Default)]
pub struct Delayed {
    known: Mutex<Known>,
    donations: Mutex<Vec<Progress>>,
    /// Orders come one after the other.
    pub(crate) alone: tokio::sync::Mutex<()>,
}

/// What it knows.
#[derive(Default)]
pub(super) struct Known {
    safe: SafeNow,
    /// Who holds it. Read from the disk before anything else is done.
    pub note: HoldNote,
    /// What came in and is not applied.
    pub suspects: Suspects,
    /// Of each group the index of the next entry whose head is to be read.
    pub read: BTreeMap<GroupId, u64>,
    /// Whether all heads were read of what is proven.
    pub is_read: bool,
    /// Keys of tenants, and when they were counted, by the clock that nobody sets.
    pub counted: BTreeMap<TenantId, (Counted, u64)>,
    /// Tenants whose drop was seen, with its moment.
    pub dropped: BTreeMap<TenantId, u64>,
    /// Why the gate stood at the last look.
    rest: Option<Rest>,
    rates: Rates,
}

/// How fast bytes come in and are applied.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    /// When it was measured last, by the clock that nobody sets.
    at_ms: u64,
    /// Bytes that were stored and applied then, since the start of the log.
    stored: u64,
    applied: u64,
    receive: u64,
    apply: u64,
}

impl Rates {
    /// Looks at so many bytes in all, at `now_ms`. A measure counts half, so that one look does not say all.
    fn look(&mut self, now_ms: u64, stored: u64, applied: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        if self.at_ms != 0 && passed_ms < limits::RATE_MS {
            return;
        }
        if self.at_ms != 0 {
            let rate = |more: u64| more.saturating_mul(1_000) / passed_ms.max(1);
            let received = rate(stored.saturating_sub(self.stored));
            self.receive = if self.receive == 0 { received } else { self.receive / 2 + received / 2 };
            // How fast it can apply is seen only where it is held up by nothing else.
            self.apply = self.apply.max(rate(applied.saturating_sub(self.applied)));
        }
        (self.at_ms, self.stored, self.applied) = (now_ms, stored, applied);
    }
}

impl Delayed {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn donations(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.donations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the data groups of a delayed node have come. Of one that is wanted here and does not run nothing is known: the gate waits for it.
pub(crate) fn progress(server: &Server, running: &Running) -> BTreeMap<GroupId, GroupProgress> {
    let (meta, own) = (server.meta(), server.node());
    let is_here = |seat: &raft::types::Seat| seat.node == own && seat.role == Role::Delayed;
    let wanted = meta.shards.values().filter(|row| row.seats.values().any(is_here)).map(|row| row.group);
    let living = running.living().into_keys().filter(|group| *group != GroupId::META);
    let mut all: BTreeMap<GroupId, GroupProgress> =
        wanted.chain(living).map(|group| (group, GroupProgress::default())).collect();
    for receiver in running.registry().all() {
        if let Some(delayed) = receiver.delayed() {
            let note = receiver.group().machine().applied();
            all.insert(receiver.group().id(), delayed.progress(&note));
        }
    }
    all
}

/// A data group of the cluster of which this node holds nothing yet.
pub(crate) fn missing(server: &Server, groups: &BTreeMap<GroupId, GroupProgress>) -> Option<GroupId> {
    let meta = server.meta();
    meta.shards.keys().copied().find(|group| *group != GroupId::META && !groups.contains_key(group))
}

/// The stamp up to which everything has come in; nothing, while a group is missing or has not said so.
pub(crate) fn received(server: &Server, groups: &BTreeMap<GroupId, GroupProgress>) -> Option<Stamp> {
    let known = groups.values().map(|one| one.closed).min().flatten();
    known.filter(|_| missing(server, groups).is_none())
}

/// What keeps a gate from rising, in words; nothing if that is as it should be.
fn stopped_by(rest: Option<Rest>) -> String {
    match rest {
        Some(Rest::At(Bound::Clock)) => "it is not sure what time it is".to_owned(),
        Some(Rest::At(Bound::NoGroup)) => "it has no data yet".to_owned(),
        Some(Rest::At(Bound::Closed(group))) => format!("of group {group} nothing newer has come in"),
        Some(Rest::Applying(group)) => format!("group {group} applies what it may"),
        Some(Rest::Storing | Rest::At(Bound::Delay | Bound::Held)) | None => String::new(),
    }
}

fn note_key() -> Vec<u8> {
    RowKey::NodeLocal { name: NOTE_ROW }.encode()
}

impl Server {
    /// Keeps the node late, if it is a delayed one, until it ends.
    pub(crate) async fn keep_late(self: Arc<Self>) {
        let (running, keeper) = loop {
            if let Ok(running) = self.running()
                && let Some(keeper) = running.late()
            {
                break (running.clone(), keeper.clone());
            }
            tokio::time::sleep(Duration::from_millis(WAIT_MS)).await;
        };
        while let Err(error) = self.read_note(&running) {
            tracing::error!(cause = with_sources(&error), "who holds the gate is not known: it stands");
            tokio::time::sleep(Duration::from_millis(WAIT_MS)).await;
        }
        self.take_delay(&keeper).await;
        let mut told_ms = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(limits::LATE_LOOK_MS)).await;
            self.look_at_gate(&running, &keeper).await;
            let now_ms = self.clock.boot_ms();
            if now_ms.saturating_sub(told_ms) >= TELL_MS {
                told_ms = now_ms;
                self.tell_delay(&keeper).await;
            }
        }
    }

    /// Another delay than the one it was made with, if the configuration says so.
    async fn take_delay(&self, keeper: &Arc<Keeper>) {
        let Some(wanted_ms) = self.wanted_delay_ms.filter(|ms| *ms != keeper.state().delay_ms) else {
            return;
        };
        let keeper = keeper.clone();
        let before_ms = keeper.state().delay_ms;
        let stored = crate::work::aside(move || keeper.set_delay(wanted_ms)).await;
        tracing::warn!(
            before_ms,
            wanted_ms,
            is_stored = matches!(stored, Ok(Ok(_))),
            "the node has another delay"
        );
    }

    /// Lets the row of the node say how late it is.
    async fn tell_delay(&self, keeper: &Keeper) {
        let (meta, delay_ms) = (self.meta(), keeper.state().delay_ms);
        let Some(row) = meta.nodes.get(&self.node).filter(|row| row.delay_ms != delay_ms) else { return };
        let next = NodeRow { delay_ms, generation: row.generation + 1, ..row.clone() };
        let command = MetaCommand::new(vec![Change::PutNode(next, Some(row.generation))]);
        if let Err(why) = self.change(command, limits::CHANGE_MS).await {
            tracing::debug!(%why, "the row of the node does not say yet how late it is");
        }
    }

    async fn look_at_gate(self: &Arc<Self>, running: &Arc<Running>, keeper: &Arc<Keeper>) {
        let is_read = self.read_heads(running, keeper).await;
        self.look_for_drops(keeper).await;
        let ahead_ms = if planted::is(Planted::GateAhead) { keeper.state().delay_ms / 2 } else { 0 };
        let safe_now_ms = self.safe_now_ms().map(|now_ms| now_ms + ahead_ms);
        let groups = progress(self, running);
        if is_read {
            let keeper = keeper.clone();
            let stepped = crate::work::aside(move || keeper.step(safe_now_ms, &groups)).await;
            match stepped {
                Ok(Ok(Step::Rest(rest))) => self.delayed.known().rest = Some(rest),
                Ok(Ok(Step::To(gate))) => {
                    let mut known = self.delayed.known();
                    known.rest = None;
                    known.suspects.forget(gate);
                }
                Ok(Err(error)) => {
                    tracing::warn!(cause = with_sources(&error), "the gate is not stored: it stands");
                }
                Err(_) => {}
            }
        }
        for receiver in running.registry().all() {
            if let Err(error) = receiver.nudge().await {
                tracing::debug!(group = %receiver.group().id(), cause = with_sources(&error), "a replica is not told now");
            }
        }
        let (stored, applied) = running.replicas().iter().fold((0, 0), |(stored, applied), seated| {
            let group = seated.receiver.group();
            let (one, other) = if group.id() == GroupId::META { (0, 0) } else { weighed(running, group) };
            (stored + one, applied + other)
        });
        self.delayed.known().rates.look(self.clock.boot_ms(), stored, applied);
    }

    fn safe_now_ms(&self) -> Option<u64> {
        let (wall_ms, boot_ms) = (self.clock.now_ms(), self.clock.boot_ms());
        let mut known = self.delayed.known();
        match self.clock.agreement() {
            Agreement::Agreed { .. } => known.safe.agree(wall_ms, boot_ms),
            Agreement::Disputed { .. } => known.safe.disagree(),
            // The boot clock goes on from when peers last agreed.
            Agreement::Unheard => {}
        }
        known.safe.at(wall_ms, boot_ms)
    }

    fn read_note(&self, running: &Running) -> engine::Result<()> {
        let key = note_key();
        let Some(sealed) = running.pool().catalog().get(&key)? else { return Ok(()) };
        let sealer = self.keys.sealer();
        let opened = sealer::open_row(sealer, self.node, &key, 0, &[0; sealer::TAG_BYTES], &sealed)?;
        self.delayed.known().note = HoldNote::decode(&opened)?;
        Ok(())
    }

    /// Makes a note what a start finds, and what is told from now on.
    pub(super) async fn write_note(&self, running: &Arc<Running>, note: HoldNote) -> engine::Result<()> {
        let (key, plain) = (note_key(), note.encode());
        self.delayed.known().note = note;
        let value =
            sealer::seal_row(self.keys.sealer(), self.node, &key, 0, &[0; sealer::TAG_BYTES], &plain)?;
        let pool = running.pool().clone();
        let stored = crate::work::aside(move || pool.catalog().commit(&[RowChange::Put { key, value }]));
        stored.await.unwrap_or(Err(engine::Error::Closed))
    }

    /// How this node stands, if it is delayed.
    #[must_use]
    pub fn late(&self) -> Option<Late> {
        let running = self.running().ok()?;
        let keeper = running.late()?;
        let groups = progress(self, running);
        let received = received(self, &groups);
        let parked: Vec<GroupId> = running
            .registry()
            .all()
            .iter()
            .filter(|receiver| receiver.delayed().is_some_and(|delayed| delayed.is_parked()))
            .map(|receiver| receiver.group().id())
            .collect();
        let data = running.replicas();
        let data =
            data.iter().map(|seated| seated.receiver.group()).filter(|group| group.id() != GroupId::META);
        let pending_bytes = data
            .filter_map(|group| {
                let applied = group.machine().applied().applied.map_or(0, |id| id.index + 1);
                Some(group.extent().ok()?.bytes_between(applied, u64::MAX))
            })
            .sum();
        let disk = self.disk.known();
        let safe_now_ms = self.safe_now_ms();
        let known = self.delayed.known();
        let silent = safe_now_ms.map(|now_ms| gate::silent(now_ms, &groups)).unwrap_or_default();
        let seen = Seen {
            silent,
            gate: keeper.state(),
            received,
            safe_now_ms,
            now_ms: self.clock.now_ms(),
            parked,
            pending_bytes,
            apply_rate: known.rates.apply,
            receive_rate: known.rates.receive,
            room_bytes: disk.room.map(|room| room_left(room, self.live().disk_stop_percent)),
            is_full: disk.level == Level::Brimming,
            stopped_by: stopped_by(known.rest),
            note: known.note.clone(),
        };
        let suspect = known.suspects.bursts(1).first().copied();
        drop(known);
        let donations = self.delayed.donations().clone();
        Some(Late { suspect, donations, ..state::of(&seen) })
    }
}

/// Bytes of the log of a group that were ever stored here and applied: those that were purged count as the mean of what is there.
fn weighed(running: &Running, group: &raft::group::handle::Group) -> (u64, u64) {
    let Ok(extent) = running.log().extent(group.id()) else { return (0, 0) };
    let applied = group.machine().applied().applied.map_or(0, |id| id.index + 1);
    let mean = extent.bytes / (extent.end - extent.first).max(1);
    let of = |upto: u64| mean.saturating_mul(upto);
    (of(extent.end), of(applied))
}

/// Bytes that a disk takes before it is full.
fn room_left(room: Room, stop_percent: u64) -> u64 {
    let kept = room.whole_bytes / 100 * (100 - stop_percent.min(100));
    room.free_bytes.saturating_sub(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_measured_over_a_while() {
        let mut rates = Rates::default();
        rates.look(1_000, 0, 0);
        rates.look(2_000, 9_999_999, 9_999_999);
        assert_eq!((rates.receive, rates.apply), (0, 0), "too short a while");
        rates.look(1_000 + limits::RATE_MS, 10_000_000, 500_000);
        assert_eq!((rates.receive, rates.apply), (1_000_000, 50_000));
        rates.look(1_000 + 2 * limits::RATE_MS, 10_000_000, 500_000);
        assert_eq!((rates.receive, rates.apply), (500_000, 50_000));
    }

    #[test]
    fn the_room_that_is_left_ends_where_writes_do() {
        let room = Room { free_bytes: 300, whole_bytes: 1_000 };
        assert_eq!((room_left(room, 95), room_left(room, 60)), (250, 0));
    }

    #[test]
    fn what_stops_the_gate_is_told_unless_it_is_the_delay() {
        assert_eq!(stopped_by(Some(Rest::At(Bound::Delay))), "");
        assert!(stopped_by(Some(Rest::At(Bound::Closed(GroupId(3))))).contains("g-3"));
    }
}
