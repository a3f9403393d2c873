//! The machine of one group: from committed entry to tablet.
//!
//! An entry goes: decode -> open what is sealed -> give out stamps ([`stamping`]) -> has the request run before ([`once`])? -> evaluate
//! ([`operations`]) -> one batch of the engine, with the note ([`note`]) that says how far it is -> reply, and the change feed.
//! Every replica comes to the same: nothing here depends on a clock, on randomness, or on how entries are grouped.

pub mod adapter;
pub mod apply;
pub mod compare;
pub mod digest;
mod feed;
pub mod meta_reach;
pub mod note;
pub mod once;
pub mod operations;
pub mod overlay;
pub mod range_digest;
pub mod replay;
pub mod snapshot;
pub mod spool;
pub mod stamping;
mod stopped;

pub use feed::{AppliedEntry, Feed, NoFeed};

use crate::error::{Error, Result};
use crate::group::life::Life;
use crate::group::lifecycle::Event;
use crate::group::start_fault::StartFault;
use crate::log::Log;
use crate::log::store::Watch;
use crate::planted::{self, Planted};
use crate::stats::Stats;
use crate::types::{GroupId, LogId};
use engine::Stamp;
use engine::checkpoint::listing::UnverifiedListing;
use engine::disk::Disk;
use engine::entropy::Entropy;
use engine::ids::{LogIndex, TabletId, TenantId};
use engine::sealed::Sealer;
use engine::tablet::Tablet;
use engine::tablet::pool::Pool;
use meta_reach::MetaReach;
use note::Note;
use operations::Operations;
use snapshot::Parcel;
use spool::Spool;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// What a machine is given by its owner.
#[derive(Clone)]
pub struct MachineParts {
    /// Where its tablet is.
    pub pool: Arc<Pool>,
    /// The disk of the pool.
    pub disk: Arc<dyn Disk>,
    /// The folder in which snapshots arrive, all groups' of the node.
    pub spool: PathBuf,
    /// Opens bodies.
    pub sealer: Arc<Sealer>,
    /// Names tablets.
    pub entropy: Arc<dyn Entropy>,
    /// The log, which is told what the tablet has made durable.
    pub log: Arc<Log>,
    /// What commands mean.
    pub operations: Arc<dyn Operations>,
    /// Hears of everything applied.
    pub feed: Arc<dyn Feed>,
    /// Which tenants are shredded.
    pub shredded: Arc<dyn Shredded>,
    /// How far the meta group has applied on this node.
    pub meta: Arc<MetaReach>,
}

/// Knows which tenants' keys are gone for good. What it once says of a tenant at an entry it must say at that entry for ever.
pub trait Shredded: Send + Sync + 'static {
    /// Whether the keys of `tenant` are gone.
    fn is_shredded(&self, tenant: TenantId) -> bool;
}

/// Nobody is shredded.
#[derive(Clone, Copy, Debug, Default)]
pub struct NobodyShredded;

impl Shredded for NobodyShredded {
    fn is_shredded(&self, _: TenantId) -> bool {
        false
    }
}

/// The machine of one group.
pub struct Machine {
    group: GroupId,
    parts: MachineParts,
    spool: Spool,
    tablet: RwLock<Arc<Tablet>>,
    note: Mutex<Note>,
    /// What has broken, so that it refuses all work.
    fenced: Mutex<Option<String>>,
    /// Of what kind that is; before, of what kind the last failure was.
    fault: Mutex<Option<StartFault>>,
    /// Why this instance was let go, and refuses all work as well.
    retired: Mutex<Option<String>>,
    /// Of what applying an entry, or another work of consensus here, has panicked.
    panicked: Mutex<Option<String>>,
    life: Arc<Life>,
    /// What the log was last told to be durable here.
    told: Mutex<Option<LogId>>,
    /// What entries applied here have needed of the meta group.
    meta_needed: AtomicU64,
    /// How often a tablet has come here, by opening or by a snapshot: what its entries have needed of the meta group is not known.
    came_times: AtomicU64,
    /// Of these, up to which one the meta group was asked since.
    assured_times: AtomicU64,
    /// Whether its tablet came by a snapshot: for a planted bug alone.
    #[cfg(feature = "planted")]
    came: std::sync::atomic::AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The index an entry has in the engine, where 0 is before the first.
#[must_use]
pub fn engine_index(index: u64) -> LogIndex {
    LogIndex(index + 1)
}

impl Machine {
    /// The machine over the group's tablet, as its note says it stands.
    ///
    /// # Errors
    /// `Damaged`: the note cannot be read. `WrongGroup`: it is of another group.
    pub fn open(group: GroupId, tablet: Arc<Tablet>, parts: MachineParts) -> Result<Arc<Self>> {
        let life = Life::created(group);
        life.may_happen(Event::Opened);
        Self::open_in(life, group, tablet, parts)
    }

    /// The same for a replica whose birth is durable, at this place of its life.
    pub(crate) fn open_in(
        life: Arc<Life>,
        group: GroupId,
        tablet: Arc<Tablet>,
        parts: MachineParts,
    ) -> Result<Arc<Self>> {
        let note = read_note(group, &tablet.applied().note)?;
        if note.applied.is_some() {
            // Whoever has anything has been filled: a joiner begins with a snapshot, which holds all up to its last entry.
            life.may_happen(Event::Filled);
        }
        let spool = Spool::new(parts.disk.clone(), parts.spool.join(group.to_string()));
        if let (GroupId::META, Some(applied)) = (group, note.applied) {
            parts.meta.reaches(applied.index);
        }
        // What a start finds in the log is durable; of what comes later the log says when it is.
        let found = parts.log.state(group)?.last.map_or(LogIndex(0), |last| engine_index(last.index));
        tablet.set_log_durable(found.max(tablet.durable().index));
        Ok(Arc::new(Self {
            group,
            parts,
            spool,
            tablet: RwLock::new(tablet),
            note: Mutex::new(note),
            fenced: Mutex::default(),
            fault: Mutex::default(),
            retired: Mutex::default(),
            panicked: Mutex::default(),
            life,
            told: Mutex::default(),
            meta_needed: AtomicU64::default(),
            came_times: AtomicU64::new(1),
            assured_times: AtomicU64::default(),
            #[cfg(feature = "planted")]
            came: std::sync::atomic::AtomicBool::default(),
        }))
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Its tablet. Another after a snapshot has been installed.
    #[must_use]
    pub fn tablet(&self) -> Arc<Tablet> {
        self.tablet.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it stands.
    #[must_use]
    pub fn applied(&self) -> Note {
        lock(&self.note).clone()
    }

    /// The last entry applied, and the last stamp given out. Cheaper than all of [`Machine::applied`].
    #[must_use]
    pub fn reached(&self) -> (Option<LogId>, Stamp) {
        let note = lock(&self.note);
        (note.applied, note.last)
    }

    /// Where it would stand after a crash.
    ///
    /// # Errors
    /// `Damaged`: the note cannot be read.
    pub fn durable(&self) -> Result<Note> {
        read_note(self.group, &self.tablet().durable().note)
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.parts.log.stats()
    }

    /// Its replica's life.
    #[must_use]
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Whether the keys of `tenant` are gone for good.
    #[must_use]
    pub fn is_shredded(&self, tenant: TenantId) -> bool {
        self.parts.shredded.is_shredded(tenant)
    }

    /// Where snapshots arrive.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The machine of the same replica once more, from what its tablet holds: for the instance after one that has died.
    ///
    /// # Errors
    /// As [`Machine::open`]; `NoSuchTablet`.
    pub(crate) fn again(&self) -> Result<Arc<Self>> {
        let tablet = crate::group::birth::tablet_of(&self.parts.pool, self.group)?;
        let tablet = tablet.ok_or_else(|| engine::Error::NoSuchTablet(self.tablet().id()))?;
        Self::open_in(self.life.clone(), self.group, tablet, self.parts.clone())
    }

    /// Tells the log what has become durable here since it was last told, for a start that compares both. Cheap if nothing has.
    ///
    /// # Errors
    /// `Damaged`: the note. `Fenced`: the log.
    pub fn note_durable(&self) -> Result<()> {
        let (index, note) = (self.tablet().durable().index, self.durable()?);
        let mut told = lock(&self.told);
        if *told != note.applied {
            self.parts.log.note_manifest(self.group, index.0, note.applied)?;
            *told = note.applied;
        }
        Ok(())
    }

    /// A pinned picture of what is durable here.
    ///
    /// # Errors
    /// As [`Tablet::checkpoint`]; `Damaged`.
    pub fn checkpoint(&self) -> Result<Parcel> {
        let checkpoint = self.tablet().checkpoint()?;
        let mut note = read_note(self.group, &checkpoint.levels().applied.note)?;
        if planted::is(Planted::SnapshotClaimsMore) {
            note = self.applied();
        }
        Ok(Parcel::Here(Arc::new(checkpoint), note))
    }

    /// Makes a tablet of a snapshot that has come whole, every byte verified. It counts once it is installed; after a crash it counts if it
    /// is further than what is here, for what a leader sends is committed.
    ///
    /// # Errors
    /// `Damaged`: a file is not what the listing says; `WrongGroup`; `Invalid`: it holds less than what is here, or another entry than
    /// `last`. Nothing has changed then, and the next transfer begins anew. Disk, catalog.
    pub fn stage(&self, last: Option<LogId>, dir: &Path) -> Result<Parcel> {
        self.stage_if(last, dir, &|_| None)
    }

    /// The same, unless `fault` finds one in what the snapshot holds: asked before there is a tablet that a start might find.
    ///
    /// # Errors
    /// As [`Machine::stage`]; `Invalid`: the fault.
    pub fn stage_if(
        &self,
        last: Option<LogId>,
        dir: &Path,
        fault: &dyn Fn(&Note) -> Option<&'static str>,
    ) -> Result<Parcel> {
        self.allows()?;
        let arrived = self.arrived(last).and_then(|note| {
            if let Some(fault) = fault(&note) {
                return Err(Error::Invalid(fault));
            }
            if planted::is(Planted::InstallInTwoSteps) {
                self.parts.pool.drop_tablet(self.tablet().id())?;
            }
            let id = self.fresh_tablet_id();
            Ok((note, self.parts.pool.import_from_dir(&*self.parts.disk, dir, id)?.tablet))
        });
        match arrived {
            Ok((note, tablet)) => Ok(Parcel::Staged(tablet, note)),
            Err(error) => {
                // Whatever is wrong with what came; if it cannot be cleared now, then by the next offer.
                let _ = self.spool.clear();
                Err(error)
            }
        }
    }

    /// Puts a snapshot in the place of what is here: all of it or nothing, whenever the power goes.
    ///
    /// # Errors
    /// As [`Machine::stage`].
    pub fn install(&self, last: Option<LogId>, parcel: Parcel) -> Result<()> {
        self.allows()?;
        let (note, tablet) = match parcel {
            // What is here already: consensus installs it again at a start.
            Parcel::Here(..) => return Ok(()),
            Parcel::Spooled(dir, _) => match self.stage(last, &dir)? {
                Parcel::Staged(tablet, note) => (note, tablet),
                Parcel::Here(..) | Parcel::Spooled(..) => return Ok(()),
            },
            Parcel::Staged(tablet, note) => (note, tablet),
        };
        tablet.set_log_durable(tablet.durable().index);
        let note = match planted::is(Planted::SnapshotForgetsDigest) {
            true => Note { digest: digest::Digest::default(), ..note },
            false => note,
        };
        // Before anything of it can be seen.
        self.came_times.fetch_add(1, Ordering::AcqRel);
        let old = {
            let mut current = self.tablet.write().unwrap_or_else(PoisonError::into_inner);
            *lock(&self.note) = note.clone();
            std::mem::replace(&mut *current, tablet)
        };
        #[cfg(feature = "planted")]
        self.came.store(true, std::sync::atomic::Ordering::SeqCst);
        self.tell_reach(&note);
        self.stats().machine.installed_snapshots.add(1);
        self.parts.feed.installed(self.group, &note);
        // From here on the new one counts, also after a crash: of two tablets of a group, the one that is further.
        if !planted::is(Planted::InstallInTwoSteps) {
            self.parts.pool.drop_tablet(old.id())?;
        }
        self.note_durable()?;
        self.life.may_happen(Event::Filled);
        self.spool.installed()
    }

    /// Who waits for the meta group goes on, if this is its machine.
    fn tell_reach(&self, note: &Note) {
        if let (GroupId::META, Some(applied)) = (self.group, note.applied) {
            self.parts.meta.reaches(applied.index);
        }
    }

    /// A planted bug: what came by a snapshot has no replies kept.
    #[cfg(feature = "planted")]
    fn forgets_replies(&self) -> bool {
        planted::is(Planted::SnapshotForgetsReplies) && self.came.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// A planted bug that is not built in.
    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "the other one needs it")]
    const fn forgets_replies(&self) -> bool {
        false
    }

    /// Forgets a snapshot that was staged and is not installed. One that is stays.
    ///
    /// # Errors
    /// Catalog.
    pub fn unstage(&self, staged: &Tablet) -> Result<()> {
        if self.tablet().id() == staged.id() || self.parts.pool.tablet(staged.id()).is_err() {
            return Ok(());
        }
        Ok(self.parts.pool.drop_tablet(staged.id())?)
    }

    /// The note in the listing that came, if it holds `last` and all that is here. Looked at before there is a tablet of it: a start
    /// takes a tablet for what its note says.
    fn arrived(&self, last: Option<LogId>) -> Result<Note> {
        let listing = UnverifiedListing::decode(&self.spool.listing()?)?.verify(&self.parts.sealer)?;
        let note = read_note(self.group, &listing.levels.applied.note)?;
        if note.applied != last {
            return Err(Error::Invalid("a snapshot that does not hold what it was said to"));
        }
        let is_newer = note.applied.map(|id| id.index) >= self.applied().applied.map(|id| id.index);
        if is_newer { Ok(note) } else { Err(Error::Invalid("a snapshot that holds less than what is here")) }
    }

    fn fresh_tablet_id(&self) -> TabletId {
        fresh_tablet_id(&*self.parts.entropy, &self.parts.pool)
    }

    /// Which files of a snapshot need not come: they are here.
    #[must_use]
    pub fn present(&self) -> BTreeSet<engine::ids::TableId> {
        self.parts.pool.tables_present()
    }
}

/// An id that no tablet here has.
#[must_use]
pub fn fresh_tablet_id(entropy: &dyn Entropy, pool: &Pool) -> TabletId {
    loop {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let id = TabletId(u64::from_be_bytes(bytes));
        let is_taken = pool.tablet(id).is_ok() || pool.unreadable().contains_key(&id);
        if id.0 != 0 && !is_taken {
            return id;
        }
    }
}

/// Reads the note of a tablet of `group`.
///
/// # Errors
/// `Damaged`; `WrongGroup`.
pub fn read_note(group: GroupId, bytes: &[u8]) -> Result<Note> {
    let note = Note::decode(bytes)?;
    if note.group == group { Ok(note) } else { Err(Error::WrongGroup { group, found: note.group }) }
}

impl Watch for Machine {
    fn applied_stamp(&self) -> Stamp {
        lock(&self.note).last
    }

    fn durable(&self, upto: LogId) {
        let upto = if planted::is(Planted::FlushBeforeLog) { u64::MAX - 1 } else { upto.index };
        self.tablet().set_log_durable(engine_index(upto));
    }

    fn failed(&self, error: &Error) {
        self.has_failed(error);
    }
}
