//! Transactions as closures: reads at one stamp, writes kept back, one batch in the end on the condition that nothing read has changed.

use super::range::KeyRange;
use super::read::get;
use super::scan::{Row, Scan};
use super::shape::{Doc, Docs, Raw, Shape, Versioned, opened, written};
use super::write::Batch;
use crate::call::Aim;
use crate::clock::Deadline;
use crate::entropy;
use crate::error::{Error, Result, code};
use crate::limits::TXN_SCAN_ROWS_MAX;
use crate::retry::backoff;
use crate::stamp::Stamp;
use crate::tenant::{Moment, Tenant};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use proto::v1::Version;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// A collection and a key in it.
type Name = (String, Bytes);

/// A transaction that is under way.
pub struct Txn {
    tenant: Tenant,
    deadline: Deadline,
    at: OnceCell<Stamp>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    reads: BTreeMap<Name, Option<Version>>,
    writes: BTreeMap<Name, Option<Bytes>>,
    on_commit: Vec<Box<dyn FnOnce(Stamp) + Send>>,
}

impl Tenant {
    /// Runs a closure and commits what it wrote, if nothing it read has changed meanwhile; else runs it again, until the deadline. So it
    /// must have no effects of its own. Write it as `async move`, and let it own what it captures.
    ///
    /// # Errors
    /// What the closure returns; conflict, if others were faster until the deadline; unknown, if it may have been committed.
    pub async fn txn<R, F>(&self, mut run: F) -> Result<R>
    where
        F: AsyncFnMut(&Txn) -> Result<R>,
    {
        let deadline = Deadline::after(self.time);
        let mut attempt = 0;
        loop {
            let txn = Txn { tenant: self.clone(), deadline, at: OnceCell::new(), kept: Mutex::default() };
            let result = run(&txn).await?;
            let error = match txn.commit().await {
                Ok(()) => return Ok(result),
                Err(error) => error,
            };
            attempt += 1;
            let wait = backoff(attempt, 0, entropy::number());
            if error.code() != code::CONDITION_FAILED || wait >= deadline.left() {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Txn {
    /// Reads a document.
    ///
    /// # Errors
    /// What reading can meet.
    pub async fn get<D: Doc>(&self, key: impl AsRef<[u8]>) -> Result<Option<D>> {
        let found = self.read(D::COLLECTION, key.as_ref()).await?;
        found.map(opened::<Docs<D>>).transpose().map(|found| found.map(|versioned| versioned.value))
    }

    /// Reads a document that must be there.
    ///
    /// # Errors
    /// Conflict, if it is not; what reading can meet.
    pub async fn require<D: Doc>(&self, key: impl AsRef<[u8]>) -> Result<D> {
        self.get(key).await?.ok_or_else(|| {
            Error::new(
                code::CONDITION_FAILED,
                format!("a document of {} that is needed is not there", D::COLLECTION),
            )
        })
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// What reading can meet.
    pub async fn get_raw(&self, collection: &str, key: impl AsRef<[u8]>) -> Result<Option<Versioned<Bytes>>> {
        self.read(collection, key.as_ref()).await?.map(opened::<Raw>).transpose()
    }

    /// Reads a range of documents, 1,000 at most, with what this transaction itself has written to it.
    ///
    /// The commit is refused, and the closure runs again, if one of the rows that were read has been changed or removed meanwhile. A row that
    /// has **come into** the range is not noticed, for a condition names a key: where that matters, let everybody who adds to the range write one
    /// key, and read that key in the transaction.
    ///
    /// # Errors
    /// Invalid, if there are more rows; what reading can meet.
    pub async fn scan<D: Doc>(&self, range: impl Into<KeyRange>) -> Result<Vec<Row<String, D>>> {
        self.scanned::<Docs<D>>(D::COLLECTION, range.into()).await
    }

    /// Reads a range of bytes, as [`Txn::scan`].
    ///
    /// # Errors
    /// Invalid, if there are more rows; what reading can meet.
    pub async fn scan_raw(
        &self,
        collection: &str,
        range: impl Into<KeyRange>,
    ) -> Result<Vec<Row<Bytes, Bytes>>> {
        self.scanned::<Raw>(collection, range.into()).await
    }

    /// Writes a document when the transaction commits.
    ///
    /// # Errors
    /// Invalid, if it cannot be written as JSON.
    pub fn put<D: Doc>(&self, document: &D) -> Result<()> {
        let key: String = document.key().into();
        self.kept().writes.insert((D::COLLECTION.to_owned(), key.into()), Some(written(document)?));
        Ok(())
    }

    /// Writes bytes when the transaction commits.
    pub fn put_raw(&self, collection: &str, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        let name = (collection.to_owned(), Bytes::copy_from_slice(key.as_ref()));
        self.kept().writes.insert(name, Some(value.into()));
    }

    /// Removes a document when the transaction commits.
    pub fn delete<D: Doc>(&self, key: impl AsRef<[u8]>) {
        self.delete_raw(D::COLLECTION, key);
    }

    /// Removes a key when the transaction commits.
    pub fn delete_raw(&self, collection: &str, key: impl AsRef<[u8]>) {
        let name = (collection.to_owned(), Bytes::copy_from_slice(key.as_ref()));
        self.kept().writes.insert(name, None);
    }

    /// Is called once, when it is known that the transaction is committed.
    pub fn on_commit(&self, call: impl FnOnce(Stamp) + Send + 'static) {
        self.kept().on_commit.push(Box::new(call));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn scanned<S: Shape>(
        &self,
        collection: &str,
        range: KeyRange,
    ) -> Result<Vec<Row<S::Key, S::Value>>> {
        let mut spot = self.tenant.spot(collection);
        let at = match self.at.get() {
            Some(at) => *at,
            None => {
                // Any key will do: the answer tells the stamp. It is no read of the transaction.
                spot.time = self.deadline.left();
                let found = self.at.get_or_try_init(|| async {
                    get(&spot, Bytes::from_static(&[0]), None, Aim::Leader).await.map(|(_, at)| at)
                });
                *found.await?
            }
        };
        spot.time = self.deadline.left();
        let scan = Scan::<Raw>::new(spot, range.clone()).limit(TXN_SCAN_ROWS_MAX + 1).at(at.into());
        let found: Vec<Row<Bytes, Bytes>> = scan.try_collect().await?;
        if found.len() as u64 > TXN_SCAN_ROWS_MAX {
            let text =
                format!("a scan in a transaction has {TXN_SCAN_ROWS_MAX} rows at most: narrow its range");
            return Err(Error::new(code::BATCH_TOO_LARGE, text));
        }
        let mut rows = BTreeMap::new();
        let mut kept = self.kept();
        for Row { key, version } in found {
            let expires_ms = version.expires_ms.unwrap_or(0);
            let version = Version { stamp: version.stamp.0, value: version.value, expires_ms };
            // What was read is a condition of the commit, whatever is written over it.
            kept.reads.insert((collection.to_owned(), key.clone()), Some(version.clone()));
            rows.insert(key, version);
        }
        for ((_, key), own) in
            kept.writes.iter().filter(|((of, key), _)| of == collection && range.holds(key))
        {
            match own {
                Some(value) => {
                    drop(rows.insert(key.clone(), Version { value: value.clone(), ..Version::default() }))
                }
                None => drop(rows.remove(key)),
            }
        }
        drop(kept);
        let opened = |(key, version)| Ok(Row { key: S::open_key(key)?, version: opened::<S>(version)? });
        rows.into_iter().map(opened).collect()
    }

    async fn read(&self, collection: &str, key: &[u8]) -> Result<Option<Version>> {
        let name = (collection.to_owned(), Bytes::copy_from_slice(key));
        {
            let kept = self.kept();
            if let Some(own) = kept.writes.get(&name) {
                return Ok(own.clone().map(|value| Version { value, ..Version::default() }));
            }
            if let Some(seen) = kept.reads.get(&name) {
                return Ok(seen.clone());
            }
        }
        let mut spot = self.tenant.spot(collection);
        spot.time = self.deadline.left();
        let mut first = None;
        // The first read finds the stamp, and whoever comes meanwhile waits for it.
        let at = self.at.get_or_try_init(|| async {
            let (version, at) = get(&spot, name.1.clone(), None, Aim::Leader).await?;
            first = Some(version);
            Ok::<_, Error>(at)
        });
        let at = *at.await?;
        let version = match first {
            Some(version) => version,
            None => get(&spot, name.1.clone(), Moment::from(at).asked(), Aim::Leader).await?.0,
        };
        self.kept().reads.insert(name, version.clone());
        Ok(version)
    }

    async fn commit(self) -> Result<()> {
        let Self { tenant, deadline, at, kept } = self;
        let Kept { reads, writes, on_commit } = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut stamp = at.get().copied().unwrap_or_default();
        if !writes.is_empty() {
            let mut batch: Batch = tenant.deadline(deadline.left()).batch();
            for ((collection, key), version) in &reads {
                batch =
                    batch.if_version(collection, key, version.as_ref().map(|version| Stamp(version.stamp)));
            }
            for ((collection, key), value) in writes {
                batch = match value {
                    Some(value) => batch.put(&collection, key, value),
                    None => batch.delete(&collection, key),
                };
            }
            stamp = batch.await?;
        }
        for call in on_commit {
            call(stamp);
        }
        Ok(())
    }
}
