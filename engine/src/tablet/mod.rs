//! The store of one shard replica: open, write, read, checkpoint, close. Decides nothing itself.
//!
//! A write goes: [`Tablet::apply`] -> active memtable -> frozen -> flushed to a sealed table -> manifest edit, which makes
//! tables and applied position durable together. There is no log here: after a crash the tablet stands at
//! [`Tablet::durable`], and whoever holds the log applies from there again.

pub mod batch;
pub mod changes;
mod compared;
pub(crate) mod files;
pub(crate) mod ground;
pub mod health;
pub mod history;
pub mod kept;
pub mod pool;
mod reopen;
pub(crate) mod requests;
pub(crate) mod snapshot;
mod split;
pub mod view;

use crate::error::{Error, Result};
use crate::ids::{KeyEpoch, LogIndex, TableId, TabletId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::manifest::edit::{Applied, Edit};
use crate::manifest::journal::{Position, Prepared};
use crate::manifest::levels::Levels;
use crate::stamp::Stamp;
use crate::stats::TabletStats;
use crate::table::{Table, TableMeta};
use crate::work::stall::{self, Load, Pressure};
use batch::Batch;
use ground::Ground;
use health::Health;
use requests::Requests;
use snapshot::{Frozen, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The store of one shard replica.
pub struct Tablet {
    id: TabletId,
    pub(crate) ground: Arc<Ground>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Greatest applied stamp: what a new view may see. Stored after the memtable has the batch.
    visible: AtomicU64,
    writer: Mutex<Applied>,
    /// When it was opened or a batch came last, in time that has passed.
    moved_ms: AtomicU64,
    /// No flush makes a position durable beyond this log index.
    log_durable: AtomicU64,
    pub(crate) manifest: Mutex<Manifest>,
    health: Mutex<Health>,
    /// One flush and one compaction at a time, side by side.
    pub(crate) flushing: Mutex<()>,
    pub(crate) compacting: Mutex<()>,
    pub(crate) requests: Mutex<Requests>,
    /// Whether the manifest has a pending edit, for those who must not wait for a commit under way.
    has_pending: AtomicBool,
    closed: AtomicBool,
    archived: AtomicU64,
}

/// The journal's place, and an edit whose commit failed: whether it happened is unknown, so it is committed again
/// before anything else.
pub(crate) struct Manifest {
    pub(crate) position: Position,
    pending: Option<Pending>,
}

struct Pending {
    prepared: Prepared,
    opened: Vec<Arc<Table>>,
    flushed: Option<Arc<Frozen>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is replaced whole, never left half done, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tablet {
    pub(crate) fn open(id: TabletId, ground: Arc<Ground>, levels: Arc<Levels>, position: Position) -> Self {
        let tables = open_tables(&ground, &levels);
        let applied = levels.applied.clone();
        let snapshot = Snapshot::new(levels, tables, &ground.memtables);
        Self {
            id,
            snapshot: RwLock::new(Arc::new(snapshot)),
            visible: AtomicU64::new(applied.stamp.0),
            writer: Mutex::new(applied),
            moved_ms: AtomicU64::new(ground.passed.ms()),
            log_durable: AtomicU64::new(u64::MAX),
            manifest: Mutex::new(Manifest { position, pending: None }),
            health: Mutex::default(),
            flushing: Mutex::default(),
            compacting: Mutex::default(),
            requests: Mutex::default(),
            has_pending: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            archived: AtomicU64::new(if ground.config.is_archived { 0 } else { u64::MAX }),
            ground,
        }
    }

    /// Which tablet this is.
    #[must_use]
    pub fn id(&self) -> TabletId {
        self.id
    }

    /// The rows it holds.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        self.snapshot().levels.range.clone()
    }

    /// Applies a batch: all of it is visible to views made afterwards, or none. Durable only once flushed; until then
    /// the caller's log must keep it.
    ///
    /// # Errors
    /// * `Invalid`: over a limit, outside the range, or not after the batches before. Nothing changed.
    /// * `Unavailable`: `Overloaded` or `WritesStopped`. Nothing changed; the same batch later.
    /// * `Stop`: the tablet is fenced or closed.
    pub fn apply(&self, batch: &Batch) -> Result<()> {
        batch.check()?;
        let mut last = lock(&self.writer);
        self.allows(|health| health.allows_writes(self.id))?;
        let (least, greatest) = (batch.least_stamp(), batch.greatest_stamp());
        let is_rising = batch.index() > last.index && (batch.is_empty() || least > last.stamp);
        if !is_rising {
            let (index, last_index, last_stamp) = (batch.index(), last.index, last.stamp);
            return Err(Error::NotRising { index, stamp: least, last_index, last_stamp });
        }
        let snapshot = self.snapshot();
        self.check_range(batch, &snapshot.levels.range)?;
        if self.pressure_of(&snapshot) == Pressure::Stop {
            self.ground.counters.writes_refused.add(1);
            self.ground.bell.ring();
            return Err(Error::Overloaded { tablet: self.id, retry_ms: 10 });
        }
        let before = snapshot.active.memtable.bytes();
        snapshot.active.memtable.apply(batch);
        let after = snapshot.active.memtable.bytes();
        self.ground.memtables.add(after.saturating_sub(before));
        last.index = batch.index();
        last.stamp = last.stamp.max(greatest);
        if let Some(note) = batch.note() {
            last.note = note.to_vec();
        }
        self.visible.store(last.stamp.0, Ordering::Release);
        self.moved_ms.store(self.ground.passed.ms(), Ordering::Relaxed);
        self.ground.counters.batches.add(1);
        let tombstones = snapshot.active.memtable.tombstones_len();
        if after >= self.ground.config.memtable_bytes_per_tablet
            || tombstones >= limits::MEMTABLE_RANGE_TOMBSTONES_MAX
        {
            self.freeze_locked(&last);
        } else if self.ground.memtables.live_bytes() >= self.ground.config.freeze_bytes() {
            self.ground.bell.ring();
        }
        Ok(())
    }

    fn check_range(&self, batch: &Batch, range: &KeyRange) -> Result<()> {
        let is_all = range.start.is_empty() && range.end.is_none();
        if is_all || batch.rows_within(range) { Ok(()) } else { Err(Error::OutsideRange { tablet: self.id }) }
    }

    fn allows(&self, rule: impl FnOnce(&Health) -> Result<()>) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        rule(&lock(&self.health))
    }

    pub(crate) fn allows_reads(&self) -> Result<()> {
        self.allows(|health| health.allows_reads(self.id))
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A picture and the newest stamp that is whole in it, taken together: no freeze comes between.
    pub(crate) fn snapshot_and_stamp(&self) -> (Arc<Snapshot>, Stamp) {
        let guard = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        (guard.clone(), Stamp(self.visible.load(Ordering::Acquire)))
    }

    /// The position applied last; in memory, perhaps not yet durable.
    #[must_use]
    pub fn applied(&self) -> Applied {
        lock(&self.writer).clone()
    }

    /// Stamp of the position applied last; waits for no writer.
    #[must_use]
    pub fn applied_stamp(&self) -> Stamp {
        Stamp(self.visible.load(Ordering::Acquire))
    }

    /// Milliseconds that have passed since the last batch, or since it was opened.
    pub(crate) fn rested_ms(&self) -> u64 {
        self.ground.passed.ms().saturating_sub(self.moved_ms.load(Ordering::Relaxed))
    }

    /// The position that a crash leaves: the log must keep everything after it.
    #[must_use]
    pub fn durable(&self) -> Applied {
        self.snapshot().levels.applied.clone()
    }

    /// Tells how far the caller's log is durable: no flush makes a later position durable, so that the tablet never
    /// knows of entries its log has lost. Until told, there is no bound.
    pub fn set_log_durable(&self, index: LogIndex) {
        self.log_durable.store(index.0, Ordering::Release);
        if self.flushable(&self.snapshot()) > 0 {
            self.ground.bell.ring();
        }
    }

    pub(crate) fn log_durable(&self) -> LogIndex {
        LogIndex(self.log_durable.load(Ordering::Acquire))
    }

    /// How many frozen memtables may be flushed now.
    pub(crate) fn flushable(&self, snapshot: &Snapshot) -> usize {
        let durable = self.log_durable();
        snapshot.frozen.iter().filter(|frozen| frozen.applied.index <= durable).count()
    }

    /// Freezes the active memtable so that background work will flush it. Nothing happens if it is empty and the
    /// applied position is durable.
    pub fn freeze(&self) {
        let last = lock(&self.writer);
        self.freeze_locked(&last);
    }

    fn freeze_locked(&self, last: &Applied) {
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let newest =
            snapshot.frozen.first().map_or(snapshot.levels.applied.index, |frozen| frozen.applied.index);
        if last.index > newest {
            *snapshot = Arc::new(snapshot.frozen_at(last.clone(), &self.ground.memtables));
            drop(snapshot);
            self.ground.bell.ring();
        }
    }

    /// Whether writers should slow down or stop.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.pressure_of(&self.snapshot())
    }

    fn pressure_of(&self, snapshot: &Snapshot) -> Pressure {
        stall::pressure(&Load {
            frozen: snapshot.frozen.len(),
            level0: snapshot.tables.first().map_or(0, Vec::len),
            memtable_bytes: self.ground.memtables.live_bytes(),
            pinned_bytes: self.ground.memtables.pinned_bytes(),
            memtable_budget: self.ground.config.memtable_bytes,
        })
    }

    /// Waits until pressure is below `Stop`, about `ms` milliseconds at most. Only of use with background threads.
    /// Tells whether it is.
    #[must_use]
    pub fn await_room(&self, ms: u64) -> bool {
        let until_ms = self.ground.clock.now_ms().saturating_add(ms);
        let mut left = ms;
        loop {
            let heard = self.ground.bell.heard();
            if self.pressure() != Pressure::Stop {
                return true;
            }
            let is_over = left == 0 || self.ground.clock.now_ms() >= until_ms;
            if is_over || self.ground.bell.is_closing() {
                return false;
            }
            let piece = left.min(20);
            // A ring costs nothing of the time allowed; a piece waited out does, whatever the clock says.
            if !self.ground.bell.wait(heard, piece) {
                left -= piece;
            }
        }
    }

    /// What the tablet can do now, and why.
    #[must_use]
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    pub(crate) fn set_health(&self, change: impl FnOnce(&Health) -> Health) {
        let mut health = lock(&self.health);
        *health = change(&health);
    }

    /// Refuses all further work on this tablet.
    pub fn fence(&self, cause: impl Into<String>) {
        *lock(&self.health) = Health::Fenced { cause: cause.into() };
        self.ground.counters.fenced.add(1);
        // Nobody reads or flushes its memtables any more; they must not weigh on the others.
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let bare = Arc::new(snapshot.without_memtables(&self.ground.memtables));
        let old = std::mem::replace(&mut *snapshot, bare);
        drop(snapshot);
        old.retire();
    }

    /// Why one of its tables cannot be read, if one cannot.
    pub(crate) fn first_unreadable(&self) -> Option<Error> {
        self.snapshot().tables.iter().flatten().find_map(|table| table.unreadable().map(Error::again))
    }

    /// Tables found damaged or unreadable when the tablet was opened or read by background work.
    #[must_use]
    pub fn damaged(&self) -> Vec<TableId> {
        let snapshot = self.snapshot();
        let mut found = lock(&self.requests).damaged.clone();
        found.extend(
            snapshot
                .tables
                .iter()
                .flatten()
                .filter(|table| table.unreadable().is_some())
                .map(|t| t.meta().id),
        );
        found.into_iter().collect()
    }

    /// Bytes sealed in tables, by tenant and key epoch: what a rotation has reached. Needs no key.
    #[must_use]
    pub fn coverage(&self) -> BTreeMap<(TenantId, KeyEpoch), u64> {
        self.snapshot().levels.coverage()
    }

    /// Asks background work to merge all tables down, dropping what the history window allows.
    pub fn request_compaction(&self) {
        lock(&self.requests).compact_all.ask();
        lock(&self.ground.attention).insert(self.id);
        self.ground.bell.ring();
    }

    /// Figures of this tablet.
    #[must_use]
    pub fn stats(&self) -> TabletStats {
        let snapshot = self.snapshot();
        TabletStats {
            memtable_bytes: snapshot.active.memtable.bytes(),
            frozen_memtables: snapshot.frozen.len(),
            frozen_bytes: snapshot.frozen.iter().map(|frozen| frozen.counted.memtable.bytes()).sum(),
            tables_by_level: snapshot.tables.iter().map(Vec::len).collect(),
            bytes_by_level: snapshot.levels.bytes_by_level(),
            applied: self.applied(),
            durable: snapshot.levels.applied.clone(),
            pressure: self.pressure_of(&snapshot),
            health: self.health(),
        }
    }

    /// Lets go of memtables and tables, once closed for good: whoever still holds the handle holds no file.
    pub(crate) fn let_go(&self) {
        let mut guard = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let empty = Snapshot::new(guard.levels.clone(), Vec::new(), &self.ground.memtables);
        let old = std::mem::replace(&mut *guard, Arc::new(empty));
        drop(guard);
        drop(old);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Charges work on this tablet for `bytes` moved, and waits if it moves too many.
    ///
    /// # Errors
    /// `Closed`: the work ends here.
    pub(crate) fn charge(&self, bytes: u64) -> Result<()> {
        self.ground.charge(bytes);
        self.check_open()
    }

    /// The same for work that writers wait for: it is counted, and others wait for it.
    ///
    /// # Errors
    /// `Closed`: the work ends here.
    pub(crate) fn charge_ahead(&self, bytes: u64) -> Result<()> {
        self.ground.charge_ahead(bytes);
        self.check_open()
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() || self.ground.bell.is_closing() { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn has_pending_edit(&self) -> bool {
        self.has_pending.load(Ordering::Acquire)
    }

    /// Commits an edit and puts its picture in place. `flushed` is the memtable that went into the added tables.
    ///
    /// # Errors
    /// `Unavailable` if the catalog failed: the edit stays pending and is committed again by background work, or an earlier
    /// one still cannot be committed. Whenever the edit did not happen, the files of its tables are handed over for removal.
    pub(crate) fn install(&self, edit: Edit, flushed: Option<Arc<Frozen>>) -> Result<()> {
        let added: Vec<TableId> = edit.added.iter().map(|(_, meta)| meta.id).collect();
        let mut manifest = lock(&self.manifest);
        let prepared =
            self.commit_pending(&mut manifest).and_then(|()| self.prepare(&manifest, edit, flushed));
        let pending = prepared.inspect_err(|_| added.iter().for_each(|id| self.ground.files.discard(*id)))?;
        manifest.pending = Some(pending);
        self.has_pending.store(true, Ordering::Release);
        self.commit_pending(&mut manifest)
    }

    fn prepare(&self, manifest: &Manifest, edit: Edit, flushed: Option<Arc<Frozen>>) -> Result<Pending> {
        let metas = edit.added.iter().map(|(_, meta)| Arc::new(meta.clone()));
        let opened: Vec<_> = metas.map(|meta| open_table(&self.ground, &meta)).collect();
        if let Some(error) = opened.iter().find_map(|table| table.unreadable()) {
            return Err(error.again());
        }
        let prepared = self.ground.journal.prepare(&self.snapshot().levels, &manifest.position, edit)?;
        Ok(Pending { prepared, opened, flushed })
    }

    /// Commits an edit whose commit failed before, if there is one.
    pub(crate) fn retry_pending(&self) -> Result<()> {
        self.commit_pending(&mut lock(&self.manifest))
    }

    fn commit_pending(&self, manifest: &mut Manifest) -> Result<()> {
        let Some(pending) = &manifest.pending else { return Ok(()) };
        self.ground.journal.commit(&pending.prepared.changes)?;
        if let Some(Pending { prepared, opened, flushed }) = manifest.pending.take() {
            self.has_pending.store(false, Ordering::Release);
            manifest.position = prepared.position;
            self.replace_tables(prepared.levels, &opened, flushed.as_ref());
        }
        Ok(())
    }

    fn replace_tables(&self, levels: Arc<Levels>, opened: &[Arc<Table>], flushed: Option<&Arc<Frozen>>) {
        let mut guard = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let old = guard.clone();
        let mut by_id: BTreeMap<TableId, Arc<Table>> = BTreeMap::new();
        for table in old.tables.iter().flatten().chain(opened) {
            by_id.insert(table.meta().id, table.clone());
        }
        for table in opened {
            self.ground.files.name(table.meta().id);
        }
        let pick = |meta: &Arc<TableMeta>| {
            by_id.get(&meta.id).expect("a table in the picture is old or just opened")
        };
        let tables: Vec<Vec<_>> =
            levels.levels.iter().map(|level| level.iter().map(|meta| pick(meta).clone()).collect()).collect();
        let kept: BTreeSet<TableId> =
            tables.iter().flatten().map(|table: &Arc<Table>| table.meta().id).collect();
        *guard = Arc::new(old.with_tables(levels, tables, flushed));
        drop(guard);
        if let Some(flushed) = flushed {
            flushed.counted.retire();
        }
        for table in old.tables.iter().flatten().filter(|table| !kept.contains(&table.meta().id)) {
            self.ground.files.unname(table.meta().id);
        }
        self.ground.bell.ring();
    }
}

fn open_table(ground: &Ground, meta: &Arc<TableMeta>) -> Arc<Table> {
    ground.files.table(&ground.sealer, &ground.blocks, meta)
}

pub(crate) fn open_tables(ground: &Ground, levels: &Levels) -> Vec<Vec<Arc<Table>>> {
    levels.levels.iter().map(|level| level.iter().map(|meta| open_table(ground, meta)).collect()).collect()
}

/// The row key of a user key, checked against the limit.
pub(crate) fn checked_row(
    tenant: TenantId,
    collection: crate::ids::CollectionId,
    user_key: &[u8],
) -> Result<Vec<u8>> {
    if user_key.len() > limits::KEY_BYTES_MAX {
        let (got, max) = (user_key.len() as u64, limits::KEY_BYTES_MAX as u64);
        return Err(Error::TooLarge { what: "key bytes", got, max });
    }
    Ok(key::row(tenant, collection, user_key))
}
