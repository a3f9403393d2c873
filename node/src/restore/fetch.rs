//! Brings what a restore needs of an archive to a folder of this node, and opens it as one view of the past.
//!
//! Every object is held against the size and the SHA-256 that a signed manifest has said of it. One that is damaged or gone at one site is
//! taken from another; where no site has it, it is named, and nothing is restored rather than less. What lies in the folder after a crash is
//! held against its digest again, and not fetched twice.

use super::asked::{Page, PageRow};
use super::past::KeyRange;
use super::plan::behind;
use crate::archive::chain::Archive;
use crate::archive::manifest::MANIFEST_BYTES_MAX;
use crate::archive::manifest::snapshot::SnapshotPart;
use crate::archive::naming::{Name, SnapshotId};
use crate::archive::site::{Site, SiteError};
use crate::archive::tick::check_content;
use crate::archive::window::{Needed, NotRestorable, Scope, base_for, objects_for};
use crate::limits;
use crate::meta::CLUSTER_TENANT;
use crate::meta::rows::{self, MetaRow};
use bytes::Bytes;
use engine::Stamp;
use engine::disk::{Disk, atomic, create_dir_durably};
use engine::error::Damage;
use engine::ids::{CollectionId, TenantId};
use engine::loose::{Loose, LooseFile, LooseRange, LooseWalk};
use engine::sealed::Sealer;
use futures_util::StreamExt;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Objects that are fetched at once.
const FETCHES: usize = 8;
/// Bytes of one object: a table file with its ends.
const OBJECT_BYTES_MAX: u64 = engine::limits::FILE_BYTES_MAX + engine::limits::FILE_ENDS_BYTES_MAX;

/// Why the past cannot be brought here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The archive does not reach the instant.
    #[error(transparent)]
    NotRestorable(#[from] NotRestorable),
    /// It takes more than may be fetched for it.
    #[error("it takes {bytes} bytes of the archive, and at most {max} are fetched for a read")]
    TooLarge {
        /// Bytes of what it takes.
        bytes: u64,
        /// Most that may be.
        max: u64,
    },
    /// Objects that no site has as they should be.
    #[error("no site has what the archive names: {}", lost.join("; "))]
    Lost {
        /// Each, with what is wrong with it at each site.
        lost: Vec<String>,
    },
    /// A site that may have it does not answer: the same later.
    #[error(transparent)]
    Away(SiteError),
    /// The engine says so: a key that is not here, a disk.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl FetchError {
    /// Whether the same may go well later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Engine(error) => matches!(error.kind(), engine::Kind::Unavailable | engine::Kind::Key),
            _ => false,
        }
    }
}

/// Sites of one archive, and what it says of itself.
#[derive(Clone)]
pub struct Sources {
    /// The best first.
    pub sites: Vec<Arc<Site>>,
    /// What its manifests say.
    pub archive: Arc<Archive>,
}

/// Where what was fetched lies, and what opens it.
pub struct Workshop {
    /// Holds the folder.
    pub disk: Arc<dyn Disk>,
    /// The folder: of this restore alone.
    pub folder: PathBuf,
    /// Opens what lies there.
    pub sealer: Arc<Sealer>,
}

/// The past of some tenants, as an archive has it.
pub struct Gathered {
    loose: Loose,
    /// From which snapshot; `None`: from the beginning of everything.
    pub base: Option<SnapshotId>,
    /// Files that it is read from.
    pub files: usize,
    /// Bytes of these.
    pub bytes: u64,
}

/// One object that is needed.
struct Wanted {
    name: Name,
    bytes: u64,
    sha256: [u8; 32],
    /// What of it counts lies between these stamps.
    between: (Stamp, Stamp),
}

impl Sources {
    /// What it takes to see `tenants` as of `at`.
    ///
    /// # Errors
    /// The archive does not reach it.
    pub fn needed(&self, tenants: &BTreeSet<TenantId>, at: Stamp) -> Result<Needed, NotRestorable> {
        let scope = Scope { groups: None, tenants: Some(tenants.clone()) };
        let base = base_for(&self.archive, &scope, at)?;
        objects_for(&self.archive, &scope, base, at)
    }

    /// The bytes of an object, from the first site that has it as it should be; `check` says whether it is.
    async fn object(
        &self,
        name: &Name,
        bytes_max: u64,
        check: impl Fn(&Bytes) -> Result<(), Damage>,
    ) -> Result<Result<Bytes, String>, SiteError> {
        let (mut wrong, mut away) = (Vec::new(), None);
        for site in &self.sites {
            let why = match site.get(&name.to_string(), bytes_max).await {
                Ok(bytes) => match check(&bytes) {
                    Ok(()) => return Ok(Ok(bytes)),
                    Err(damage) => damage.to_string(),
                },
                Err(error) if error.is_away() => {
                    away = Some(error);
                    continue;
                }
                Err(error) => error.to_string(),
            };
            tracing::warn!(object = %name, site = %site.name(), why, "an object of the archive is not as it should be");
            wrong.push(format!("{}: {why}", site.name()));
        }
        match away {
            Some(error) => Err(error),
            None => Ok(Err(format!("{name} ({})", wrong.join(", ")))),
        }
    }

    /// The parts of a snapshot.
    async fn parts(&self, snapshot: SnapshotId) -> Result<Vec<SnapshotPart>, FetchError> {
        let snapshots = self.archive.snapshots();
        let rows = snapshots.get(&snapshot).map(|one| one.done.parts.clone()).unwrap_or_default();
        let (mut parts, mut lost) = (Vec::new(), Vec::new());
        for row in rows {
            let group = GroupId(row.group);
            let name = Name::SnapshotPart(snapshot, group);
            let check = |bytes: &Bytes| self.archive.part(snapshot, group, bytes).map(drop);
            match self.object(&name, MANIFEST_BYTES_MAX as u64, check).await.map_err(FetchError::Away)? {
                Ok(bytes) => {
                    parts.push(self.archive.part(snapshot, group, &bytes).map_err(engine::Error::from)?)
                }
                Err(why) => lost.push(why),
            }
        }
        if lost.is_empty() { Ok(parts) } else { Err(FetchError::Lost { lost }) }
    }

    async fn wanted(
        &self,
        tenants: &BTreeSet<TenantId>,
        (from, at): (Option<Stamp>, Stamp),
    ) -> Result<(Option<SnapshotId>, Vec<Wanted>), FetchError> {
        let needed = match from {
            None => self.needed(tenants, at)?,
            Some(from) => {
                let scope = Scope { groups: None, tenants: Some(tenants.clone()) };
                let base = base_for(&self.archive, &scope, from)?;
                objects_for(&self.archive, &scope, base, at)?
            }
        };
        let cut = needed.base.map_or(Stamp::ZERO, |id| id.cut.upto());
        // A snapshot may hold what came behind its cut, but nothing of that is ours where the cluster has left that life line.
        let snapshots = self.archive.snapshots();
        let of_base = needed.base.and_then(|id| snapshots.get(&id)).map(|one| one.done.generation());
        let lineage = self.archive.lineage();
        let limit = lineage.iter().find(|(of, _)| Some(*of) == of_base).map_or(Stamp::MAX, |(_, upto)| *upto);
        let mut wanted: BTreeMap<Name, Wanted> = BTreeMap::new();
        for part in match needed.base {
            Some(base) => self.parts(base).await?,
            None => Vec::new(),
        } {
            for file in part.files.iter().filter(|file| tenants.iter().any(|one| file.holds(*one))) {
                let sha256 = file.digest().map_err(engine::Error::from)?;
                let name = Name::Data(sha256);
                let between = (Stamp::ZERO, limit);
                wanted.insert(name.clone(), Wanted { name, bytes: file.bytes, sha256, between });
            }
        }
        for tick in &needed.ticks {
            let name = Name::TickFile(tick.file.name().map_err(engine::Error::from)?);
            let sha256 = tick.file.digest().map_err(engine::Error::from)?;
            // What is before the cut stands in the base, or was let go there for good.
            let between = (cut, tick.upto);
            wanted.insert(name.clone(), Wanted { name, bytes: tick.file.bytes, sha256, between });
        }
        Ok((needed.base, wanted.into_values().collect()))
    }

    /// Bytes of all objects that it takes to see `tenants` as of `at`.
    ///
    /// # Errors
    /// As [`Sources::gather`].
    pub async fn bytes_needed(&self, tenants: &BTreeSet<TenantId>, at: Stamp) -> Result<u64, FetchError> {
        let (_, wanted) = self.wanted(tenants, (None, at)).await?;
        Ok(wanted.iter().map(|one| one.bytes).sum())
    }

    /// Brings here what it takes to see `tenants` as of `at`, and opens it.
    ///
    /// # Errors
    /// See [`FetchError`]. What was fetched stays in the folder.
    pub async fn gather(
        &self,
        shop: &Workshop,
        tenants: &BTreeSet<TenantId>,
        at: Stamp,
    ) -> Result<Gathered, FetchError> {
        self.gather_within(shop, tenants, (None, at), u64::MAX).await
    }

    /// The same with every version behind a stamp, if one is given, and only if it takes no more bytes than that.
    ///
    /// # Errors
    /// See [`FetchError`]. What was fetched stays in the folder.
    pub async fn gather_within(
        &self,
        shop: &Workshop,
        tenants: &BTreeSet<TenantId>,
        (from, at): (Option<Stamp>, Stamp),
        bytes_max: u64,
    ) -> Result<Gathered, FetchError> {
        create_dir_durably(&*shop.disk, &shop.folder)?;
        let (base, wanted) = self.wanted(tenants, (from, at)).await?;
        let all: u64 = wanted.iter().map(|one| one.bytes).sum();
        if all > bytes_max {
            return Err(FetchError::TooLarge { bytes: all, max: bytes_max });
        }
        let (mut files, mut lost, mut bytes) = (Vec::new(), Vec::new(), 0);
        let fetch = |one: Wanted| async move {
            let name = one.name.to_string().replace('/', "_");
            let fetched = self.fetch(shop, &one, &name).await;
            (one, shop.folder.join(name), fetched)
        };
        let mut fetched = futures_util::stream::iter(wanted.into_iter().map(fetch)).buffer_unordered(FETCHES);
        while let Some((one, path, fetched)) = fetched.next().await {
            match fetched? {
                Ok(()) => {
                    bytes += one.bytes;
                    let (after, upto) = one.between;
                    files.push(LooseFile { path, after, upto });
                }
                Err(why) => lost.push(why),
            }
        }
        drop(fetched);
        if !lost.is_empty() {
            lost.sort_unstable();
            return Err(FetchError::Lost { lost });
        }
        let (disk, sealer, count) = (shop.disk.clone(), shop.sealer.clone(), files.len());
        let opened = crate::work::aside(move || Loose::open(disk, &sealer, &files)).await;
        let loose = opened.map_err(|_| engine::Error::Invalid("opening an archive has panicked"))??;
        Ok(Gathered { loose, base, files: count, bytes })
    }

    async fn fetch(
        &self,
        shop: &Workshop,
        one: &Wanted,
        file: &str,
    ) -> Result<Result<(), String>, FetchError> {
        if is_there(&*shop.disk, &shop.folder.join(file), one) {
            return Ok(Ok(()));
        }
        let check = |bytes: &Bytes| check_content(&one.name, bytes, one.bytes, &one.sha256);
        let max = one.bytes.min(OBJECT_BYTES_MAX);
        match self.object(&one.name, max, check).await.map_err(FetchError::Away)? {
            Ok(bytes) => {
                let (disk, folder, file) = (shop.disk.clone(), shop.folder.clone(), file.to_owned());
                let write = move || {
                    let written = atomic::replace(&*disk, &folder, &file, &bytes);
                    written.map_err(|source| engine::Error::io("write", &folder.join(file), source))
                };
                let written = crate::work::aside(write).await;
                written.map_err(|_| engine::Error::Invalid("writing to a folder has panicked"))??;
                Ok(Ok(()))
            }
            Err(why) => Ok(Err(why)),
        }
    }
}

/// Whether what was fetched before a crash is whole.
fn is_there(disk: &dyn Disk, path: &Path, one: &Wanted) -> bool {
    let Ok(file) = disk.open(path) else { return false };
    if file.len().ok() != Some(one.bytes) {
        return false;
    }
    let mut bytes = vec![0; usize::try_from(one.bytes).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).is_ok()
        && check_content(&one.name, &bytes, one.bytes, &one.sha256).is_ok()
}

/// Takes away what was fetched.
///
/// # Errors
/// `Unavailable`.
pub fn clear(disk: &dyn Disk, folder: &Path) -> engine::Result<()> {
    let Ok(names) = disk.list(folder) else { return Ok(()) };
    for name in names {
        let path = folder.join(name);
        disk.remove(&path).map_err(|source| engine::Error::io("remove", &path, source))?;
    }
    Ok(())
}

impl Gathered {
    /// What was fetched, as one view of the past.
    #[must_use]
    pub fn loose(&self) -> &Loose {
        &self.loose
    }

    /// The rows of the meta group of one kind, as they were.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`.
    pub fn meta_rows(&self, kind: CollectionId, at: Stamp) -> engine::Result<Vec<MetaRow>> {
        let asked = LooseRange { tenant: CLUSTER_TENANT, collection: kind, start: None, end: None };
        let mut walk = self.loose.walk(&asked, at)?;
        let mut rows = Vec::new();
        loop {
            let page = walk.page(limits::RESTORE_BATCH_ROWS, limits::RESTORE_BATCH_BYTES)?;
            for entry in page.entries {
                rows.push(MetaRow::decode(kind, &entry.key, &entry.found.value)?);
            }
            if page.is_last {
                return Ok(rows);
            }
        }
    }

    /// The collections of a tenant, as they were.
    ///
    /// # Errors
    /// As [`Gathered::meta_rows`].
    pub fn collections(&self, tenant: TenantId, at: Stamp) -> engine::Result<Vec<(String, CollectionId)>> {
        let rows = self.meta_rows(rows::COLLECTIONS, at)?;
        let of_tenant = rows.into_iter().filter_map(|row| match row {
            MetaRow::Collection(row) if row.tenant == tenant => Some((row.name, row.id)),
            _ => None,
        });
        Ok(of_tenant.collect())
    }

    /// Bytes of a tenant in what was fetched, older versions among them.
    #[must_use]
    pub fn bytes_of(&self, tenant: TenantId) -> u64 {
        self.loose.bytes_of(tenant)
    }
}

/// Reads a tenant of what was gathered, page by page; who asks for what comes next goes on where the last page has ended.
pub struct Reading {
    gathered: Arc<Gathered>,
    tenant: TenantId,
    at: Stamp,
    walk: Mutex<Option<(CollectionId, Bytes, LooseWalk)>>,
}

impl Reading {
    /// Of a tenant, as of a stamp.
    #[must_use]
    pub fn new(gathered: Arc<Gathered>, tenant: TenantId, at: Stamp) -> Self {
        Self { gathered, tenant, at, walk: Mutex::default() }
    }

    /// What it reads from.
    #[must_use]
    pub fn gathered(&self) -> &Arc<Gathered> {
        &self.gathered
    }

    /// Some rows of a range, behind a key or from its start.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`.
    pub fn page(&self, range: &KeyRange, after: Option<&Bytes>) -> engine::Result<Page> {
        let taken = self.walk.lock().unwrap_or_else(PoisonError::into_inner).take();
        let goes_on = taken.filter(|(of, at, _)| *of == range.collection && Some(at) == after);
        let mut walk = match goes_on {
            Some((.., walk)) => walk,
            None => self.begin(range, after)?,
        };
        let page = walk.page(limits::RESTORE_BATCH_ROWS, limits::RESTORE_BATCH_BYTES)?;
        let rows: Vec<PageRow> = page
            .entries
            .into_iter()
            .map(|entry| PageRow {
                key: entry.key.into(),
                value: entry.found.value,
                stamp: entry.found.stamp,
                expires_ms: entry.found.expires_ms,
            })
            .collect();
        let next = rows.last().map(|row| row.key.clone()).filter(|_| !page.is_last);
        if let Some(next) = &next {
            let kept = (range.collection, next.clone(), walk);
            *self.walk.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        Ok(Page { rows, next, at: self.at })
    }

    fn begin(&self, range: &KeyRange, after: Option<&Bytes>) -> engine::Result<LooseWalk> {
        let start = match after {
            // Behind the last of all keys there is nothing: the end of the range says so.
            Some(after) => behind(after).or_else(|| range.end.as_ref().map(|end| end.to_vec())),
            None => Some(range.start.to_vec()).filter(|start| !start.is_empty()),
        };
        let end = range.end.as_ref().map(|end| end.to_vec());
        let asked = LooseRange { tenant: self.tenant, collection: range.collection, start, end };
        self.gathered.loose.walk(&asked, self.at)
    }
}
