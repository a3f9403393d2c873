//! Stores through `object_store`: a local folder, S3 and what speaks like it, and memory as their twin.

use super::{Created, Listed, SiteError, Store};
use bytes::Bytes;
use engine::disk::{Disk, RealDisk, create_dir_durably};
use engine::error::with_sources;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Objects of a listing, at most: a listing beyond would take all memory, and wants a narrower prefix.
const LISTED_MAX: usize = 4_000_000;

/// A store through `object_store`.
pub struct Objects {
    inner: Arc<dyn ObjectStore>,
    folder: Option<Arc<Folder>>,
}

/// A folder of this machine. What stands in it must be durable, and so must be the names of its folders.
struct Folder {
    path: PathBuf,
    /// Folders whose names are durable.
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Folder {
    fn of(&self, name: &str) -> Option<PathBuf> {
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('#');
        name.split('/').all(is_plain).then(|| self.path.join(name))
    }

    /// Makes the folder of an object, and its name durable: a put that finds it there does not.
    fn make_parent(&self, name: &str) -> engine::Result<()> {
        let path = self.of(name).ok_or(engine::Error::Invalid("a name that no object has"))?;
        let Some(parent) = path.parent() else { return Ok(()) };
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(parent) {
            return Ok(());
        }
        create_dir_durably(&RealDisk, parent)?;
        // Folders of past hours are not asked for again.
        if durable.len() >= 1_024 {
            durable.clear();
        }
        durable.insert(parent.to_owned());
        Ok(())
    }

    fn sync(&self, name: &str) -> engine::Result<()> {
        let path = self.of(name).ok_or(engine::Error::Invalid("a name that no object has"))?;
        let synced = RealDisk.open(&path).and_then(|file| file.sync());
        synced.map_err(|error| engine::Error::io("sync", &path, error))?;
        let parent = path.parent().unwrap_or(Path::new("."));
        RealDisk.sync_dir(parent).map_err(|error| engine::Error::io("sync folder", parent, error))
    }
}

fn away(what: &'static str, error: &dyn std::error::Error) -> SiteError {
    SiteError::Away { what, cause: with_sources(error) }
}

fn told(what: &'static str, name: &str, error: object_store::Error) -> SiteError {
    match error {
        object_store::Error::NotFound { .. } => SiteError::NotFound { name: name.to_owned() },
        other => away(what, &other),
    }
}

fn path(name: &str) -> Result<ObjectPath, SiteError> {
    ObjectPath::parse(name).map_err(|error| away("know the name", &error))
}

impl Objects {
    /// A folder of this machine, which is made if it is not there.
    ///
    /// # Errors
    /// `Away`: it cannot be made, or opened.
    pub fn folder(dir: &Path) -> Result<Self, SiteError> {
        create_dir_durably(&RealDisk, dir).map_err(|error| away("open", &error))?;
        let inner = LocalFileSystem::new_with_prefix(dir).map_err(|error| away("open", &error))?;
        let folder = Folder { path: dir.to_owned(), durable: Mutex::default() };
        Ok(Self { inner: Arc::new(inner.with_fsync(true)), folder: Some(Arc::new(folder)) })
    }

    /// Memory of this process: the twin, for tests.
    #[must_use]
    pub fn memory() -> Self {
        Self { inner: Arc::new(InMemory::new()), folder: None }
    }

    /// A bucket at S3, or at what speaks like it.
    ///
    /// # Errors
    /// `Away`: the settings make no sense.
    #[cfg(feature = "s3")]
    pub fn s3(bucket: &super::s3::S3Bucket) -> Result<Self, SiteError> {
        let inner = super::s3::open(bucket).map_err(|error| away("open", &error))?;
        Ok(Self { inner: Arc::new(inner), folder: None })
    }

    /// Does what blocks elsewhere, if this is a folder.
    async fn in_folder(
        &self,
        what: &'static str,
        name: &str,
        act: fn(&Folder, &str) -> engine::Result<()>,
    ) -> Result<(), SiteError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let (folder, name) = (folder.clone(), name.to_owned());
        let acted = crate::work::aside(move || act(&folder, &name)).await;
        let panicked = |_| SiteError::Away { what, cause: "asking the disk panicked".to_owned() };
        acted.map_err(panicked)?.map_err(|error| away(what, &error))
    }
}

impl Store for Objects {
    fn create<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Created, SiteError>> {
        Box::pin(async move {
            let what = "take an object";
            self.in_folder(what, name, Folder::make_parent).await?;
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.inner.put_opts(&path(name)?, PutPayload::from_bytes(bytes), options).await {
                Ok(_) => Ok(Created::New),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Taken),
                Err(error) => Err(away(what, &error)),
            }
        })
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), SiteError>> {
        Box::pin(self.in_folder("keep an object", name, Folder::sync))
    }

    fn read<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, SiteError>> {
        Box::pin(async move {
            let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
            let found = self.inner.get_opts(&path(name)?, options).await;
            let found = found.map_err(|error| told("give an object", name, error))?;
            found.bytes().await.map_err(|error| told("give an object", name, error))
        })
    }

    fn size<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64, SiteError>> {
        Box::pin(async move {
            let found = self.inner.head(&path(name)?).await;
            Ok(found.map_err(|error| told("tell a size", name, error))?.size)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SiteError>> {
        Box::pin(async move {
            let what = "list";
            let below = path(prefix.trim_end_matches('/'))?;
            let mut objects = self.inner.list(Some(&below));
            let mut found = Vec::new();
            while let Some(one) = objects.try_next().await.map_err(|error| away(what, &error))? {
                if found.len() >= LISTED_MAX {
                    let cause = format!("more than {LISTED_MAX} objects below {prefix}");
                    return Err(SiteError::Away { what, cause });
                }
                found.push(Listed { name: one.location.to_string(), bytes: one.size });
            }
            found.sort();
            Ok(found)
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), SiteError>> {
        Box::pin(async move {
            match self.inner.delete(&path(name)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(away("remove an object", &error)),
            }
        })
    }
}
