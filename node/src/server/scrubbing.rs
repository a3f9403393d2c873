//! Looks for damage before a reader meets it: all tables of the node are walked from time to time, block by block, slowly. What is damaged is
//! told by file and block, and mended: the file from a peer that has the same one; where nobody has, the replica is given up, so that
//! another takes its place and gets all of it from the leader. What cannot be mended so stays told.

use super::Server;
use crate::boot::files;
use crate::limits::{CHANGE_MS, DAMAGE_TOLD_MAX, MEND_MS, SCRUB_LOOK_MS, TABLE_PIECE_BYTES};
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::forward::Forward;
use crate::meta::node_row::NodeState;
use crate::meta::survey::Scrub;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::running::replicas::Running;
use bytes::Bytes;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::{NodeId, TableId, TabletId};
use engine::tablet::pool::Pool;
use proto::errors::code;
use raft::machine::note::Note;
use raft::time::BootClock;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// The setting of the cluster that says when a scrub was asked for, in milliseconds since 1970.
pub const ASKED: &str = "scrub.asked";
/// The file in the data directory that says when the last one was begun, in milliseconds since 1970.
const BEGUN_FILE: &str = "scrub.begun";
/// Bytes of that file.
const BEGUN_BYTES_MAX: u64 = 32;

/// What scrubs have found, and what has become of it.
#[derive(Default)]
pub struct Scrubbed(Mutex<State>);

#[derive(Default)]
struct State {
    scrub: Option<Scrub>,
    is_under_way: bool,
    harmed: BTreeMap<TableId, Harm>,
    mended: u64,
    replaced: u64,
}

/// A table that is damaged.
struct Harm {
    /// By file and block.
    told: Vec<String>,
    /// When it is tried to mend it, by the clock that nobody sets.
    due_ms: u64,
    /// Whether its replica was given up for it.
    is_given_up: bool,
}

impl Scrubbed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest one.
    #[must_use]
    pub fn shown(&self) -> Option<Scrub> {
        let state = self.lock();
        let damaged = state.harmed.len() as u64;
        let nothing = (damaged > 0).then(Scrub::default);
        state.scrub.or(nothing).map(|scrub| Scrub { damaged, ..scrub })
    }

    /// What a person should know.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let state = self.lock();
        let all: Vec<&String> = state.harmed.values().flat_map(|harm| &harm.told).collect();
        let mut told: Vec<String> = all
            .iter()
            .take(DAMAGE_TOLD_MAX)
            .map(|text| format!("a table is damaged, and is being mended: {text}"))
            .collect();
        if all.len() > DAMAGE_TOLD_MAX {
            told.push(format!("{} more places in tables are damaged", all.len() - DAMAGE_TOLD_MAX));
        }
        told
    }

    /// Files the newest has walked, tables that are damaged now, tables mended and replicas given up since the start.
    #[must_use]
    pub fn figures(&self) -> [u64; 4] {
        let state = self.lock();
        let files = state.scrub.map_or(0, |scrub| scrub.files);
        [files, state.harmed.len() as u64, state.mended, state.replaced]
    }
}

/// Pure: whether a scrub is to be begun: somebody has asked for it since the last one, or it is time.
#[must_use]
pub fn is_due(begun_ms: u64, asked_ms: u64, interval_ms: u64, now_ms: u64) -> bool {
    asked_ms > begun_ms || (interval_ms > 0 && now_ms.saturating_sub(begun_ms) >= interval_ms)
}

/// The file of a table as a peer has it, piece by piece.
struct Copy {
    forward: Arc<dyn Forward>,
    runtime: Handle,
    from: NodeId,
    table: TableId,
    at: u64,
    piece: Bytes,
}

impl Read for Copy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let asked = self.forward.table(self.from, self.table, self.at);
            self.piece =
                self.runtime.block_on(asked).map_err(|refused| io::Error::other(refused.to_string()))?;
            self.at += self.piece.len() as u64;
        }
        let taken = self.piece.split_to(out.len().min(self.piece.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

/// When the last scrub was begun; nothing if there was none.
fn begun(folder: &Path) -> Option<u64> {
    let bytes = files::read(&folder.join(BEGUN_FILE), BEGUN_BYTES_MAX).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

fn note_begun(folder: &Path, now_ms: u64) {
    if let Err(error) = files::replace(&folder.join(BEGUN_FILE), now_ms.to_string().as_bytes()) {
        tracing::warn!(cause = with_sources(&error), "when a scrub was begun is not written down");
    }
}

impl Server {
    /// Bytes of the file of a table here, for a peer that mends the same one.
    ///
    /// # Errors
    /// `STARTING`. `MALFORMED`: there is no such table here. `DAMAGED`, `OVERLOADED`: its file cannot be read.
    pub async fn read_table(&self, table: TableId, at: u64) -> Result<Bytes, Refused> {
        let pool = self.running()?.pool().clone();
        let read = crate::work::aside(move || pool.read_table(table, at, TABLE_PIECE_BYTES));
        Ok(read.await.map_err(|_| Refused::new(code::INTERNAL))??.into())
    }

    /// Begins scrubs when it is time or somebody asks, and mends what they find, until the tasks end.
    pub(super) async fn scrub_tables(self: Arc<Self>) {
        // A folder that was never scrubbed is as good as new.
        let mut begun_ms = begun(&self.folder).unwrap_or_else(|| {
            let now_ms = self.clock.now_ms();
            note_begun(&self.folder, now_ms);
            now_ms
        });
        loop {
            tokio::time::sleep(Duration::from_millis(SCRUB_LOOK_MS)).await;
            let Ok(running) = self.running().cloned() else { continue };
            let (meta, now_ms) = (self.meta(), self.clock.now_ms());
            let asked_ms = meta.settings.get(ASKED).and_then(|at| at.parse().ok()).unwrap_or(0);
            self.collect(running.pool());
            let is_free = !self.scrubbed.lock().is_under_way;
            if is_free && is_due(begun_ms, asked_ms, self.live().scrub_interval.ms(), now_ms) {
                // Whoever has asked may have a clock that is ahead.
                begun_ms = now_ms.max(asked_ms);
                note_begun(&self.folder, begun_ms);
                tracing::info!("a scrub begins: all tables are walked for damage");
                running.pool().request_scrub(true);
                let mut state = self.scrubbed.lock();
                (state.scrub, state.is_under_way) =
                    (Some(Scrub { begun_ms: now_ms, ..Scrub::default() }), true);
            }
            self.mend_all(&running, &meta).await;
        }
    }

    /// Takes what the scrub and other background work have found.
    fn collect(&self, pool: &Pool) {
        let report = pool.scrub_report();
        let mut state = self.scrubbed.lock();
        let mut found = pool.damaged();
        if state.is_under_way {
            if let Some(scrub) = &mut state.scrub {
                (scrub.files, scrub.files_left) = (report.files, report.files_left);
            }
            found.extend(report.damaged.iter().map(|id| (*id, pool.holders(*id))));
            if report.is_done {
                state.is_under_way = false;
                for (id, cause) in &report.unjudged {
                    tracing::warn!(%id, cause, "a table could not be judged by the scrub");
                }
                tracing::info!(
                    files = report.files,
                    bytes = report.bytes,
                    found = report.findings_count,
                    "the scrub is done"
                );
            }
        }
        for (id, holders) in found {
            // Merged away meanwhile, or its replica has ended.
            if holders.is_empty() || state.harmed.contains_key(&id) {
                continue;
            }
            let name = id.to_string();
            let told = report.findings.iter().filter(|damage| damage.place.contains(&name));
            let mut told: Vec<String> = told.map(ToString::to_string).collect();
            if told.is_empty() {
                told.push(format!("{id} cannot be read"));
            }
            tracing::error!(table = %id, damage = told.join("; "), "a table is damaged");
            state.harmed.insert(id, Harm { told, due_ms: 0, is_given_up: false });
        }
    }

    /// Tries to mend what is due.
    async fn mend_all(self: &Arc<Self>, running: &Arc<Running>, meta: &MetaView) {
        let now_ms = self.clock.boot_ms();
        let due: Vec<TableId> = {
            let mut state = self.scrubbed.lock();
            let due = state.harmed.iter_mut().filter(|(_, harm)| harm.due_ms <= now_ms);
            due.map(|(id, harm)| {
                harm.due_ms = now_ms + MEND_MS;
                *id
            })
            .collect()
        };
        for id in due {
            let holders = running.pool().holders(id);
            if holders.is_empty() {
                let gone = self.scrubbed.lock().harmed.remove(&id);
                tracing::info!(table = %id, given_up = gone.is_some_and(|harm| harm.is_given_up), "a damaged table is here no more");
                continue;
            }
            if self.mend(running, meta, id).await {
                let mut state = self.scrubbed.lock();
                state.harmed.remove(&id);
                state.mended += 1;
            } else {
                self.give_up(running, meta, id, &holders).await;
            }
        }
    }

    /// Mends a table from a peer that has the same file. Tells whether it is whole now.
    async fn mend(&self, running: &Arc<Running>, meta: &MetaView, id: TableId) -> bool {
        let there = meta.nodes.values().filter(|row| row.state != NodeState::Removed && row.id != self.node);
        for row in there {
            // Who has no such table says so at once.
            match self.forward.table(row.id, id, 0).await {
                Ok(_) => {}
                Err(why) => {
                    tracing::debug!(table = %id, node = %row.id, %why, "no copy of a damaged table there");
                    continue;
                }
            }
            let mut copy = Copy {
                forward: self.forward.clone(),
                runtime: Handle::current(),
                from: row.id,
                table: id,
                at: 0,
                piece: Bytes::new(),
            };
            let pool = running.pool().clone();
            match crate::work::aside(move || pool.repair(id, &mut copy)).await {
                Ok(Ok(())) => {
                    tracing::info!(table = %id, node = %row.id, "a damaged table was mended from a peer");
                    return true;
                }
                Ok(Err(error)) => {
                    tracing::warn!(table = %id, node = %row.id, cause = with_sources(&error), "a table is not mended");
                }
                Err(_) => tracing::error!(table = %id, "mending a table has panicked"),
            }
        }
        false
    }

    /// Nobody has the same file: the replicas that have it are given up, one at a time and never the last. That of the meta group is not: from
    /// it alone the node would hear what comes then.
    async fn give_up(&self, running: &Running, meta: &MetaView, id: TableId, holders: &[TabletId]) {
        for tablet in holders {
            let Some(group) = group_of(running.pool(), *tablet).filter(|group| *group != GroupId::META)
            else {
                continue;
            };
            let replica = running.living().get(&group).copied();
            let row = meta.shards.get(&group);
            let Some(next) = row.zip(replica).and_then(|(row, replica)| row.without(replica)) else {
                continue;
            };
            let command = MetaCommand::new(vec![Change::PutShard(next, row.map(|row| row.version))]);
            match self.change(command, CHANGE_MS).await {
                Ok(MetaReply::Applied { .. }) => {
                    tracing::warn!(%group, table = %id, "nobody has the file of a damaged table: the replica is given up for another");
                    let mut state = self.scrubbed.lock();
                    state.replaced += 1;
                    if let Some(harm) = state.harmed.get_mut(&id) {
                        harm.is_given_up = true;
                    }
                }
                other => tracing::debug!(%group, ?other, "a damaged replica is not given up now"),
            }
        }
    }
}

/// The group whose replica a tablet is.
fn group_of(pool: &Pool, tablet: TabletId) -> Option<GroupId> {
    let tablet = pool.tablet(tablet).ok()?;
    Note::decode(&tablet.durable().note).ok().map(|note| note.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrub_is_due_when_it_is_time_or_somebody_has_asked_since() {
        for (begun, asked, interval, now, due) in [
            (100, 0, 50, 149, false),
            (100, 0, 50, 150, true),
            (100, 100, 50, 101, false),
            (100, 101, 50, 102, true),
            (100, 101, 0, 102, true),
            (100, 0, 0, u64::MAX, false),
            // A clock that went back begins none.
            (100, 0, 50, 10, false),
        ] {
            assert_eq!(is_due(begun, asked, interval, now), due, "{begun} {asked} {interval} {now}");
        }
    }

    #[test]
    fn what_is_damaged_is_told_by_place_and_no_more_than_a_screen_of_it() {
        let scrubbed = Scrubbed::default();
        assert_eq!((scrubbed.shown(), scrubbed.told().len()), (None, 0));
        let told = (0..DAMAGE_TOLD_MAX + 3).map(|n| format!("rot in t block {n}")).collect();
        let harm = Harm { told, due_ms: 0, is_given_up: false };
        scrubbed.lock().harmed.insert(TableId([1; 16]), harm);
        let lines = scrubbed.told();
        assert_eq!(lines.len(), DAMAGE_TOLD_MAX + 1);
        assert!(lines[0].contains("t block 0") && lines[DAMAGE_TOLD_MAX].starts_with("3 more"));
        assert_eq!((scrubbed.shown().unwrap().damaged, scrubbed.figures()), (1, [0, 1, 0, 0]));
    }

    #[test]
    fn when_the_last_one_was_begun_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(begun(folder.path()), None);
        note_begun(folder.path(), 77);
        assert_eq!(begun(folder.path()), Some(77));
        files::replace(&folder.path().join(BEGUN_FILE), b"nonsense").unwrap();
        assert_eq!(begun(folder.path()), None);
    }
}
