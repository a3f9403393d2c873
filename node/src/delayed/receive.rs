//! Reads the clear heads of entries as they come in, a whole delay before they would be applied, and holds the gate if what they do is
//! suspicious. Only what is proven committed counts: what a leader may yet take back deletes nothing.

use super::hold::{self, Counted, Judgement, Thresholds};
use super::note::{HoldNote, Holder};
use super::suspects::{Act, Commit, Slot};
use crate::limits;
use crate::running::replicas::{Running, Seated};
use crate::server::Server;
use crate::shard::command::{KvCommand, Operation};
use crate::tenants::rules::TenantState;
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::TenantId;
use engine::tablet::view::Scan;
use raft::command::Command;
use raft::delay::{Keeper, Limit};
use raft::log::Entry;
use raft::seal::Opened;
use raft::time::BootClock;
use raft::types::GroupId;
use std::sync::Arc;

impl Server {
    fn thresholds(&self) -> Thresholds {
        self.live().delayed_hold
    }

    /// Reads what is proven and was not read. False: there is more, and the gate must not rise.
    pub(super) async fn read_heads(self: &Arc<Self>, running: &Arc<Running>, keeper: &Arc<Keeper>) -> bool {
        let mut is_read = true;
        for seated in running.replicas() {
            is_read &= self.read_group(running, keeper, &seated).await;
        }
        self.delayed.known().is_read = is_read;
        is_read
    }

    async fn read_group(
        self: &Arc<Self>,
        running: &Arc<Running>,
        keeper: &Arc<Keeper>,
        seated: &Arc<Seated>,
    ) -> bool {
        let group = seated.receiver.group();
        let Some(proven) = seated.receiver.delayed().and_then(|delayed| delayed.proven()) else {
            return true;
        };
        let log = running.log();
        let Ok((first, end)) = log.bounds(group.id()) else { return true };
        let applied = group.machine().applied().applied.map_or(0, |id| id.index + 1);
        let known = self.delayed.known().read.get(&group.id()).copied().unwrap_or(0);
        let (from, to) = (known.max(first).max(applied), end.min(proven.index + 1));
        if from >= to {
            return true;
        }
        let entries = match log.entries_aside(group.id(), (from, to), limits::HEADS_BYTES_MAX, ()).await {
            Ok(entries) => entries,
            Err(error) => {
                // The gate stands until it is read: what nobody has looked at is not let through.
                tracing::warn!(group = %group.id(), cause = with_sources(&error), "heads of what came in cannot be read");
                return false;
            }
        };
        let mut next = from;
        for entry in &entries {
            self.read_entry((running, keeper), seated, entry).await;
            next = entry.log_id.index + 1;
        }
        self.delayed.known().read.insert(group.id(), next);
        next >= to
    }

    async fn read_entry(
        self: &Arc<Self>,
        (running, keeper): (&Arc<Running>, &Arc<Keeper>),
        seated: &Arc<Seated>,
        entry: &Entry,
    ) {
        if entry.kind != raft::payload::COMMAND {
            return;
        }
        // Whoever applies it stops there, and says so.
        let Ok(command) = Command::decode(&entry.payload) else { return };
        let group = seated.receiver.group().id();
        let before = (command.rows.len() as u64).saturating_sub(1);
        let commit = Commit { stamp: Stamp(entry.stamp.saturating_sub(before)), group };
        for part in &command.parts {
            let (tenant, counts) = (part.tenant, part.counts);
            for (act, keys) in [(Act::Put, counts.puts), (Act::Delete, counts.deletes)] {
                if keys > 0 {
                    self.delayed.known().suspects.see(tenant, act, u64::from(keys), commit);
                }
            }
            if counts.range_deletes > 0 {
                let keys = self.keys_in_ranges(seated, (group, &command), tenant, keeper.state().gate).await;
                self.delayed.known().suspects.see(tenant, Act::DeleteRange, keys, commit);
                if hold::ranges(&self.thresholds(), keys) == Judgement::Hold {
                    let slot = Slot { keys, first: commit, last: commit };
                    self.hold_itself((running, keeper), tenant, Act::DeleteRange, slot).await;
                }
            }
            if counts.deletes > 0 {
                self.judge_deletes((running, keeper), seated, tenant, commit).await;
            }
        }
    }

    /// Holds the gate if the tenant deletes too much.
    async fn judge_deletes(
        self: &Arc<Self>,
        at: (&Arc<Running>, &Arc<Keeper>),
        seated: &Arc<Seated>,
        tenant: TenantId,
        commit: Commit,
    ) {
        let thresholds = self.thresholds();
        let window = {
            let known = self.delayed.known();
            let (of, passed) = ((tenant, Act::Delete), known.note.passed);
            known.suspects.within(of, commit.stamp, thresholds.window_ms, passed)
        };
        let Some(slot) = window else { return };
        let mut counted = self.counted(tenant);
        loop {
            match hold::deletes(&thresholds, slot.keys, counted) {
                Judgement::Pass => return,
                Judgement::Hold => return self.hold_itself(at, tenant, Act::Delete, slot).await,
                Judgement::Count(upto) => {
                    let gate = at.1.state().gate;
                    let scans = self.scans_of(tenant);
                    let Some(found) = count(seated, gate, scans, upto).await else { return };
                    counted = Counted { keys: found, is_all: found < upto };
                    let now_ms = self.clock.boot_ms();
                    self.delayed.known().counted.insert(tenant, (counted, now_ms));
                }
            }
        }
    }

    /// All keys of a tenant.
    fn scans_of(&self, tenant: TenantId) -> Vec<Scan> {
        self.meta().collections(tenant).map(|(_, collection)| Scan::all(tenant, collection)).collect()
    }

    fn counted(&self, tenant: TenantId) -> Counted {
        let now_ms = self.clock.boot_ms();
        let known = self.delayed.known();
        let fresh = known.counted.get(&tenant);
        let fresh = fresh.filter(|(_, at_ms)| now_ms.saturating_sub(*at_ms) <= limits::COUNTED_MS);
        fresh.map(|(counted, _)| *counted).unwrap_or_default()
    }

    /// About how many keys lie in the ranges that the commands of a tenant delete, as the node has applied them. Of a tenant that is younger
    /// than the gate, as many as it was seen to write.
    async fn keys_in_ranges(
        &self,
        seated: &Arc<Seated>,
        (group, command): (GroupId, &Command),
        tenant: TenantId,
        gate: Stamp,
    ) -> u64 {
        let sealer = self.keys.sealer();
        let opened = match raft::seal::open(sealer, group, command, &|other| other != tenant) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%tenant, cause = with_sources(&error), "ranges that are deleted cannot be looked at");
                return 0;
            }
        };
        let most = self.thresholds().range_keys.max(1);
        let ranges = opened.iter().flat_map(|one| ranges_of(tenant, one)).collect();
        let keys = count(seated, gate, ranges, most).await.unwrap_or(0);
        if keys == 0 && count(seated, gate, self.scans_of(tenant), 1).await == Some(0) {
            return self.delayed.known().suspects.puts(tenant);
        }
        keys
    }

    /// Tenants that were dropped: the rows of the meta group are not late.
    pub(super) async fn look_for_drops(self: &Arc<Self>, keeper: &Arc<Keeper>) {
        let Ok(running) = self.running().cloned() else { return };
        let (meta, gate) = (self.meta(), keeper.state().gate);
        for row in meta.tenants.values() {
            let TenantState::Dropped { since_ms, .. } = row.state else { continue };
            let at = Stamp::new(since_ms, 0);
            let passed = {
                let mut known = self.delayed.known();
                if at <= gate || known.dropped.insert(row.id, since_ms) == Some(since_ms) {
                    continue;
                }
                let commit = Commit { stamp: at, group: GroupId::META };
                known.suspects.see(row.id, Act::Drop, 0, commit);
                known.note.passed
            };
            if hold::drops(&self.thresholds(), at, (gate, passed)) == Judgement::Hold {
                let commit = Commit { stamp: at, group: GroupId::META };
                let slot = Slot { keys: 0, first: commit, last: commit };
                self.hold_itself((&running, keeper), row.id, Act::Drop, slot).await;
            }
        }
    }

    /// The gate is held, unless it is already, or goes to where a person has sent it.
    async fn hold_itself(
        self: &Arc<Self>,
        (running, keeper): (&Arc<Running>, &Arc<Keeper>),
        tenant: TenantId,
        act: Act,
        slot: Slot,
    ) {
        let is_passed = slot.last.stamp <= self.delayed.known().note.passed;
        if keeper.state().limit != Limit::None || is_passed {
            return;
        }
        let keeper = keeper.clone();
        let held = crate::work::aside(move || keeper.hold()).await;
        tracing::error!(%tenant, act = act.name(), keys = slot.keys, first = %slot.first, last = %slot.last, "the gate holds itself");
        if !matches!(held, Ok(Ok(_))) {
            tracing::warn!("that the gate is held is not stored yet: it holds while the node runs");
        }
        let meta = self.meta();
        let name = meta.tenants.get(&tenant).map_or_else(|| tenant.to_string(), |row| row.name.clone());
        let note = HoldNote {
            holder: Holder::Node,
            since_ms: self.clock.now_ms(),
            by: "the node itself".to_owned(),
            reason: hold::reason(act, &name, &slot),
            passed: self.delayed.known().note.passed,
        };
        if let Err(error) = self.write_note(running, note).await {
            tracing::warn!(cause = with_sources(&error), "why the gate is held is not stored");
        }
    }
}

/// The ranges that a command of a tenant deletes.
fn ranges_of(tenant: TenantId, opened: &Opened) -> Vec<Scan> {
    let Opened::Body(body) = opened else { return Vec::new() };
    let Ok(command) = KvCommand::decode(body) else { return Vec::new() };
    let range = |one: &Operation<&[u8]>| match one {
        Operation::DeleteRange { collection, start, end } => Some(Scan {
            start: Some(start.to_vec()),
            end: end.map(<[u8]>::to_vec),
            ..Scan::all(tenant, *collection)
        }),
        _ => None,
    };
    command.operations.iter().filter_map(range).collect()
}

/// Counts keys as they stand at the gate, up to so many or a few more. Nothing: they cannot be read now.
async fn count(seated: &Arc<Seated>, gate: Stamp, scans: Vec<Scan>, upto: u64) -> Option<u64> {
    let tablet = seated.receiver.group().machine().tablet();
    let counting = crate::work::aside(move || {
        let view = tablet.view(gate.ms())?;
        let mut keys = 0;
        for scan in scans {
            let mut cursor = None;
            while keys < upto {
                let page = view.scan(&scan, cursor.as_ref())?;
                keys += page.entries.len() as u64;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok::<u64, engine::Error>(keys)
    });
    match counting.await {
        Ok(Ok(keys)) => Some(keys),
        Ok(Err(error)) => {
            tracing::warn!(cause = with_sources(&error), "keys cannot be counted");
            None
        }
        Err(_) => None,
    }
}
