//! The pool: all tablets of a node, and what they share: memtable budget, block cache, file handles, threads.

use super::files::Files;
use super::ground::{Bell, CachedBlocks, Ground, MemtableBudget};
use super::{Tablet, lock};
use crate::catalog::rows::{self, RowKey};
use crate::catalog::{Catalog, Change, sealer};
use crate::clock::{Clock, Passed};
use crate::compaction::retention::Policy;
use crate::disk::{DirLock, Disk, create_dir_durably, take_lock};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{LogIndex, NodeId, Owner, Purpose, TabletId};
use crate::key::KeyRange;
use crate::limits;
use crate::manifest::edit::{Applied, Edit};
use crate::manifest::journal::{Journal, Loaded, Position};
use crate::manifest::levels::Levels;
use crate::read::block_cache::BlockCache;
use crate::sealed::Sealer;
use crate::stamp::Stamp;
use crate::stats::{Counters, PoolStats};
use crate::work::board::Board;
use crate::work::throttle::Bucket;
use crate::work::{self, Done};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

/// Settings of a pool. Read once, when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The folder that is this pool's alone.
    pub dir: PathBuf,
    /// Bytes all memtables may hold together, frozen ones included.
    pub memtable_bytes: usize,
    /// Bytes at which one tablet's memtable is frozen.
    pub memtable_bytes_per_tablet: usize,
    /// Bytes of opened blocks kept in memory.
    pub cache_bytes: usize,
    /// Table files kept open.
    pub handles_max: usize,
    /// Background threads. 0: no thread; [`Pool::step`] does the work, in an order that depends on nothing else.
    pub threads: usize,
    /// Bytes a second that background work may read and write; 0 is no limit.
    pub background_bytes_per_s: u64,
    /// Bytes a second that a scrub may read; 0 is no limit.
    pub scrub_bytes_per_s: u64,
    /// Raw bytes at which a data block is closed.
    pub block_bytes: usize,
    /// Bytes at which a compaction begins its next table.
    pub table_bytes: u64,
    /// Bytes level 1 holds before it is merged down; each deeper level holds ten times more.
    pub level1_bytes: u64,
    /// Whether somebody archives: then nothing is compacted away of a tablet before [`super::Tablet::set_archived`] has told how far.
    pub is_archived: bool,
}

impl PoolConfig {
    /// Settings for a node that does other things too: 128 MiB of memtables, 256 MiB of cache, two threads.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            memtable_bytes: 128 << 20,
            memtable_bytes_per_tablet: 32 << 20,
            cache_bytes: 256 << 20,
            handles_max: 512,
            threads: 2,
            background_bytes_per_s: 0,
            scrub_bytes_per_s: 0,
            block_bytes: 4 << 10,
            table_bytes: 32 << 20,
            level1_bytes: 128 << 20,
            is_archived: false,
        }
    }

    /// Memtable bytes from which the largest memtable is frozen, whoever it belongs to.
    pub(crate) fn freeze_bytes(&self) -> usize {
        self.memtable_bytes / 2
    }

    fn check(&self) -> Result<()> {
        let is_sane = self.block_bytes >= 256
            && self.block_bytes <= limits::BLOCK_BYTES_MAX
            && self.memtable_bytes >= 64 << 10
            && self.memtable_bytes_per_tablet > 0
            && self.table_bytes >= 4 << 10
            && self.table_bytes <= limits::FILE_BYTES_MAX / 4
            && self.level1_bytes >= self.table_bytes;
        if is_sane { Ok(()) } else { Err(Error::Invalid("pool settings are out of bounds; see PoolConfig")) }
    }
}

/// What a pool is given by its owner.
pub struct Parts {
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// Opens the catalog, given the pool's folder. Called once the folder is locked.
    pub catalog: CatalogOpener,
    /// Seals and opens.
    pub sealer: Arc<Sealer>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The node whose key seals the catalog.
    pub node: NodeId,
}

/// Opens a catalog in a folder.
pub type CatalogOpener = Box<dyn FnOnce(&Path) -> Result<Arc<dyn Catalog>>>;

/// A tablet to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTablet {
    /// Its id, never used before on this node.
    pub id: TabletId,
    /// The rows it holds.
    pub range: KeyRange,
    /// The position it is born with.
    pub applied: Applied,
}

impl NewTablet {
    /// An empty tablet before the first entry of its log.
    #[must_use]
    pub fn empty(id: TabletId, range: KeyRange) -> Self {
        Self { id, range, applied: Applied { index: LogIndex(0), stamp: Stamp::ZERO, note: Vec::new() } }
    }
}

/// All tablets of a node.
pub struct Pool {
    pub(crate) ground: Arc<Ground>,
    pub(crate) board: Arc<Board>,
    catalog: Arc<dyn Catalog>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held for as long as the pool lives.
    _lock: Box<dyn DirLock>,
}

impl Pool {
    /// Locks and opens a folder: its catalog, every tablet, every table's footer.
    ///
    /// A tablet whose manifest is damaged is left out and listed by [`Pool::unreadable`]; a table that is damaged
    /// answers reads of its rows with that damage. Nothing is removed while a manifest cannot be read.
    ///
    /// # Errors
    /// * `Stop`: `InUse` by another process, `Unsupported` format.
    /// * `Key`: the node's or cluster's key is missing.
    /// * `Damaged`: the identity row. `Unavailable`: disk or catalog failed. `Invalid`: settings out of bounds.
    pub fn open(config: PoolConfig, parts: Parts) -> Result<Arc<Self>> {
        config.check()?;
        let disk = parts.disk;
        let io = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| Error::io(verb, &path, source)
        };
        create_dir_durably(&*disk, &config.dir)?;
        let lock = take_lock(&*disk, &config.dir)?;
        let tables = config.dir.join("tables");
        disk.create_dir(&tables).map_err(io("create folder", &tables))?;
        let catalog = (parts.catalog)(&config.dir)?;
        // The catalog's folder is in it too, and must be there for as long as what is committed there.
        disk.sync_dir(&config.dir).map_err(io("sync folder", &config.dir))?;
        let has_tables = !disk.list(&tables).map_err(io("list", &tables))?.is_empty();
        check_identity(&*catalog, &parts.sealer, parts.node, has_tables)?;
        let now_ms = parts.clock.now_ms();
        let cache = Arc::new(BlockCache::new(config.cache_bytes, config.threads));
        let ground = Arc::new(Ground {
            files: Files::new(disk, &config),
            blocks: Arc::new(CachedBlocks(cache.clone())),
            cache,
            journal: Journal::new(catalog.clone(), parts.sealer.clone(), parts.node),
            bucket: Mutex::new(Bucket::new(config.background_bytes_per_s, now_ms)),
            scrub_bucket: Mutex::new(Bucket::new(config.scrub_bytes_per_s, now_ms)),
            sealer: parts.sealer,
            passed: Passed::new(now_ms),
            clock: parts.clock,
            memtables: Arc::new(MemtableBudget::default()),
            policy: RwLock::new(Arc::new(Policy::default())),
            bell: Bell::default(),
            attention: Mutex::default(),
            counters: Counters::default(),
            config,
        });
        let board = Arc::new(Board::new(ground.clone()));
        let pool = Self { ground, board, catalog, threads: Mutex::default(), _lock: lock };
        pool.load_tablets()?;
        *super::lock(&pool.threads) = work::start_threads(&pool.board, pool.ground.config.threads)?;
        Ok(Arc::new(pool))
    }

    fn load_tablets(&self) -> Result<()> {
        let mut readable = Vec::new();
        for (id, loaded) in self.ground.journal.load()? {
            match loaded {
                Ok(loaded) => readable.push((id, loaded)),
                // The identity row has proved the node's key; an epoch that is missing here may be a flipped bit.
                Err(
                    error @ (Error::Damaged(_)
                    | Error::Unsupported { .. }
                    | Error::KeyMissing { .. }
                    | Error::WrongKey { .. }),
                ) => self.board.add_unreadable(id, error.to_string()),
                Err(other) => return Err(other),
            }
        }
        for (_, Loaded { levels, .. }) in &readable {
            levels.tables().for_each(|meta| self.ground.files.name(meta.id));
        }
        for (id, Loaded { levels, position }) in readable {
            self.board.add(Arc::new(Tablet::open(id, self.ground.clone(), Arc::new(levels), position)));
        }
        if self.board.unreadable().is_empty() {
            self.ground.files.doom_orphans()?;
        }
        Ok(())
    }

    /// Creates tablets, all or none, in one durable commit.
    ///
    /// # Errors
    /// `Invalid`: an id that is here already, a bound inside a row, or over `TABLETS_MAX`. `Unavailable`: the catalog failed; open the pool
    /// again to see whether the tablets are there.
    pub fn create(&self, wanted: &[NewTablet]) -> Result<Vec<Arc<Tablet>>> {
        let birth = |new: &NewTablet| Edit::birth(new.id, new.range.clone(), new.applied.clone());
        self.bear(wanted.iter().map(birth).collect())
    }

    /// Creates the tablet `id` with tables that are on the disk already.
    pub(crate) fn adopt(&self, id: TabletId, levels: &Levels) -> Result<Arc<Tablet>> {
        let mut born = self.bear(vec![levels.whole_edit(id, 1)])?;
        born.pop().ok_or(Error::NoSuchTablet(id))
    }

    /// Creates the tablets that `edits`, each a whole picture, describe.
    fn bear(&self, edits: Vec<Edit>) -> Result<Vec<Arc<Tablet>>> {
        let _births = self.board.births();
        let mut changes = Vec::new();
        let mut born = BTreeMap::new();
        for edit in edits {
            let id = edit.tablet;
            if self.board.knows(id) || born.contains_key(&id) {
                return Err(Error::TabletExists(id));
            }
            let prepared = self.ground.journal.prepare(&Levels::default(), &Position::default(), edit)?;
            changes.extend(prepared.changes);
            born.insert(id, (prepared.levels, prepared.position));
        }
        let count = self.board.tablets().len() + born.len();
        if count > limits::TABLETS_MAX {
            return Err(Error::TooLarge {
                what: "tablets",
                got: count as u64,
                max: limits::TABLETS_MAX as u64,
            });
        }
        // Opened before they exist, so that a disk that fails leaves nothing half born.
        let mut tablets = Vec::with_capacity(born.len());
        for (id, (levels, position)) in born {
            levels.tables().for_each(|meta| self.ground.files.name(meta.id));
            tablets.push(Arc::new(Tablet::open(id, self.ground.clone(), levels, position)));
        }
        let unreadable = tablets.iter().find_map(|tablet| tablet.first_unreadable());
        if let Some(error) = unreadable {
            self.unname_all(&tablets);
            return Err(error);
        }
        // If it is not known whether this happened, the files stay named until the pool is opened again.
        self.ground.journal.commit(&changes)?;
        tablets.iter().for_each(|tablet| self.board.add(tablet.clone()));
        self.ground.bell.ring();
        Ok(tablets)
    }

    fn unname_all(&self, tablets: &[Arc<Tablet>]) {
        for tablet in tablets {
            tablet.snapshot().levels.tables().for_each(|meta| self.ground.files.unname(meta.id));
        }
    }

    /// The tablet `id`.
    ///
    /// # Errors
    /// `NoSuchTablet`, or the damage of its manifest.
    pub fn tablet(&self, id: TabletId) -> Result<Arc<Tablet>> {
        self.board.tablet(id)
    }

    /// All readable tablets, by id.
    #[must_use]
    pub fn tablets(&self) -> Vec<Arc<Tablet>> {
        self.board.tablets()
    }

    /// Tablets whose manifest cannot be read, and why.
    #[must_use]
    pub fn unreadable(&self) -> BTreeMap<TabletId, String> {
        self.board.unreadable()
    }

    /// Forgets a tablet for good, a readable one or one whose manifest cannot be read; files that no other tablet, reader or
    /// checkpoint needs are removed afterwards.
    ///
    /// # Errors
    /// `NoSuchTablet`. `Unavailable`: the catalog failed; call again.
    pub fn drop_tablet(&self, id: TabletId) -> Result<()> {
        let _births = self.board.births();
        if self.board.unreadable().contains_key(&id) {
            return self.drop_unreadable(id);
        }
        let tablet = self.board.tablet(id)?;
        // Closed first: work under way on it ends early.
        tablet.close();
        let _flushing = lock(&tablet.flushing);
        let _compacting = lock(&tablet.compacting);
        // An edit of unknown outcome may have left a row that the journal's position does not count.
        tablet.retry_pending()?;
        let changes: Vec<Change> = Journal::removals(id, &lock(&tablet.manifest).position).collect();
        self.ground.journal.commit(&changes)?;
        self.board.remove(id);
        self.unname_all(std::slice::from_ref(&tablet));
        tablet.let_go();
        self.ground.bell.ring();
        Ok(())
    }

    fn drop_unreadable(&self, id: TabletId) -> Result<()> {
        let rows = self.catalog.scan(&RowKey::manifest_edits_of(id))?;
        let changes: Vec<Change> = rows.into_iter().map(|(key, _)| Change::Remove { key }).collect();
        self.ground.journal.commit(&changes)?;
        // Which files were its own is not known: what is left over goes when the pool is opened again.
        self.board.remove_unreadable(id);
        self.ground.bell.ring();
        Ok(())
    }

    /// What history to keep, and which tenants' bytes may go. Takes effect with the next flush or compaction. Until it is
    /// called everything is kept.
    pub fn set_policy(&self, policy: Policy) {
        *self.ground.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.board.look_again();
    }

    /// Drops everything derived from keys of `owner`, and every opened block. For after the key source has forgotten the keys
    /// and no request of the owner is under way. What is in memtables stays until it is flushed, or left behind by policy.
    pub fn forget_keys(&self, owner: Owner) {
        self.ground.files.forget_keys(owner);
        self.ground.cache.clear();
    }

    /// Asks background work to rewrite everything sealed under another than its owner's active epoch. Follow it with
    /// [`Tablet::coverage`].
    ///
    /// # Errors
    /// `Key`: an owner that is not dropped has no active epoch. Nothing was asked.
    pub fn request_reseal(&self) -> Result<()> {
        let tablets = self.board.tablets();
        let dropped = self.ground.policy(Stamp::MAX, 0).dropped;
        for (tenant, _) in tablets.iter().flat_map(|tablet| tablet.coverage().into_keys()) {
            if !dropped.contains(&tenant) {
                self.ground.sealer.keys().active(crate::table::owner_of(tenant), Purpose::Data)?;
            }
        }
        tablets.iter().for_each(|tablet| lock(&tablet.requests).reseal.ask());
        self.board.look_again();
        Ok(())
    }

    /// Does one unit of background work, or tells that there is none to do now. With `threads` 0 this is the only way
    /// work gets done, and its order depends on nothing but the calls before.
    pub fn step(&self) -> Done {
        work::step(&self.board)
    }

    /// Steps until there is nothing left to do now. Tells how many steps did something.
    pub fn settle(&self) -> usize {
        let mut steps = 0;
        while self.step() != Done::Nothing {
            steps += 1;
        }
        steps
    }

    /// Why files that nobody needs are still there, if removing one has failed since the last success.
    #[must_use]
    pub fn removal_failure(&self) -> Option<String> {
        self.board.removal_failure()
    }

    /// Figures of the pool.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let ground = &self.ground;
        PoolStats {
            tablets: self.board.tablets().len(),
            unreadable_tablets: self.board.unreadable().len(),
            memtable_bytes: ground.memtables.live_bytes(),
            pinned_memtable_bytes: ground.memtables.pinned_bytes(),
            cache_bytes: ground.cache.bytes(),
            cache_hits: ground.cache.hits(),
            cache_misses: ground.cache.misses(),
            open_files: ground.files.handles(),
            files_to_remove: ground.files.doomed(),
            counters: ground.counters.read(),
        }
    }

    /// The catalog, for rows of the node's own.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Stops background work and refuses all further calls. What was not flushed is in the caller's log.
    pub fn close(&self) {
        self.ground.bell.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A worker's panic was heard when it happened: its tablet is fenced.
            let _ = thread.join();
        }
        self.board.tablets().iter().for_each(|tablet| tablet.close());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// The first row of a catalog says whose it is; opening it proves that the node's key is right.
/// A catalog without it is new, and then there must be no tables: else the catalog was lost, and every table would look
/// like one that nobody needs.
fn check_identity(catalog: &dyn Catalog, sealer: &Sealer, node: NodeId, has_tables: bool) -> Result<()> {
    let key = RowKey::NodeLocal { name: rows::IDENTITY }.encode();
    let mut identity = sealer.cluster().0.to_vec();
    identity.extend_from_slice(&Owner::Node(node).id().to_be_bytes());
    let Some(found) = catalog.get(&key)? else {
        if has_tables {
            return Err(Damage::of(Nature::Missing, "the catalog is empty, but tables are here")
                .at("catalog")
                .into());
        }
        let value = sealer::seal_row(sealer, node, &key, 0, &[0; 16], &identity)?;
        return catalog.commit(&[Change::Put { key, value }]);
    };
    let opened = sealer::open_row(sealer, node, &key, 0, &[0; 16], &found)
        .map_err(|error| error.at("catalog identity"))?;
    if *opened != *identity {
        return Err(Damage::of(Nature::WrongPlace, "the catalog is another node's")
            .at("catalog identity")
            .into());
    }
    Ok(())
}
