//! Handles of a tenant and its collections: cheap to clone, and nothing is sent before an operation is awaited.

use crate::call::{Aim, Link, kv, timed};
use crate::error::{Error, Result};
use crate::kv::history::History;
use crate::kv::range::KeyRange;
use crate::kv::read::{Get, MultiGet};
use crate::kv::scan::Scan;
use crate::kv::shape::{Doc, Docs, Raw, Shape, written};
use crate::kv::watch::{Start, Watch};
use crate::kv::write::{Batch, Delete, DeleteRange, Put};
use crate::stamp::{Commit, Stamp};
use bytes::Bytes;
use proto::v1::{CollectionsRequest, Consistency, Place, consistency::How};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A tenant.
#[derive(Clone)]
pub struct Tenant {
    pub(crate) link: Arc<Link>,
    pub(crate) name: Arc<str>,
    pub(crate) time: Duration,
}

/// A collection.
pub struct Collection<S> {
    pub(crate) spot: Spot,
    shape: PhantomData<fn() -> S>,
}

/// A tenant as it was.
#[derive(Clone)]
pub struct View {
    tenant: Tenant,
    at: Moment,
}

/// A collection as it was: it cannot be written.
pub struct PastCollection<S> {
    now: Collection<S>,
    at: Moment,
}

/// Which collection, of whom, and how long a call may take.
#[derive(Clone)]
pub(crate) struct Spot {
    pub link: Arc<Link>,
    pub tenant: Arc<str>,
    pub collection: Arc<str>,
    pub time: Duration,
}

impl Spot {
    pub(crate) fn place(&self) -> Option<Place> {
        let (tenant, collection) = (self.tenant.to_string(), self.collection.to_string());
        Some(Place { tenant, collection, ..Place::default() })
    }
}

/// As of when, and whether the archive is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub at: Stamp,
    pub is_archived: bool,
}

impl From<Stamp> for Moment {
    fn from(at: Stamp) -> Self {
        Self { at, is_archived: false }
    }
}

impl Moment {
    pub(crate) fn asked(self) -> Option<Consistency> {
        let how = if self.is_archived { How::Archived(self.at.0) } else { How::AsOf(self.at.0) };
        Some(Consistency { how: Some(how) })
    }
}

impl Tenant {
    pub(crate) fn new(link: Arc<Link>, name: String) -> Self {
        let time = link.deadline;
        Self { link, name: name.into(), time }
    }

    /// The same, with another deadline for each call.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The collection of these documents.
    #[must_use]
    pub fn collection<D: Doc>(&self) -> Collection<Docs<D>> {
        self.open(D::COLLECTION)
    }

    /// A collection of bytes.
    #[must_use]
    pub fn raw(&self, name: impl Into<String>) -> Collection<Raw> {
        self.open(&name.into())
    }

    /// The names of its collections: those that were ever written to.
    ///
    /// # Errors
    /// Denied, for anybody but a service of the tenant.
    pub async fn collections(&self) -> Result<Vec<String>> {
        let mut attempts = self.link.attempts(self.time);
        loop {
            let mut address = String::new();
            let asked = async {
                let node = self.link.node(&self.name, Aim::Replica, &attempts, &mut address).await?;
                let request = CollectionsRequest { tenant: self.name.to_string() };
                let told =
                    kv(node.channel).collections(timed(request, attempts.deadline, attempts.trace)).await;
                told.map_err(Error::from_status)
            };
            let error = match asked.await {
                Ok(told) => return Ok(told.into_inner().names),
                Err(error) => error,
            };
            self.link.failed(&mut attempts, &self.name, &address, error).await?;
        }
    }

    /// The commit of a write that was answered with this stamp: a restore goes to it, or to just before it.
    ///
    /// # Errors
    /// Unavailable, if nobody tells where the tenant is.
    pub async fn commit(&self, stamp: Stamp) -> Result<Commit> {
        Ok(Commit { stamp, group: self.link.group(&self.name, self.time).await? })
    }

    /// Several writes, all or none of which happen. Their collections are named in each.
    pub fn batch(&self) -> Batch {
        Batch::new(self.spot(""))
    }

    /// The tenant as it was at a stamp or a moment, within its history window.
    #[must_use]
    pub fn as_of(&self, at: impl Into<Stamp>) -> View {
        View { tenant: self.clone(), at: at.into().into() }
    }

    pub(crate) fn spot(&self, collection: &str) -> Spot {
        Spot {
            link: self.link.clone(),
            tenant: self.name.clone(),
            collection: collection.into(),
            time: self.time,
        }
    }

    fn open<S>(&self, collection: &str) -> Collection<S> {
        Collection { spot: self.spot(collection), shape: PhantomData }
    }
}

impl View {
    /// The same, read in the archive, where the history window does not reach. A first read takes seconds; several keys at once, and scans
    /// backward, are refused.
    #[must_use]
    pub fn archived(mut self) -> Self {
        self.at.is_archived = true;
        self
    }

    /// The collection of these documents.
    #[must_use]
    pub fn collection<D: Doc>(&self) -> PastCollection<Docs<D>> {
        PastCollection { now: self.tenant.collection(), at: self.at }
    }

    /// A collection of bytes.
    #[must_use]
    pub fn raw(&self, name: impl Into<String>) -> PastCollection<Raw> {
        PastCollection { now: self.tenant.raw(name), at: self.at }
    }
}

impl<S> Clone for Collection<S> {
    fn clone(&self) -> Self {
        Self { spot: self.spot.clone(), shape: PhantomData }
    }
}

impl<S> Clone for PastCollection<S> {
    fn clone(&self) -> Self {
        Self { now: self.now.clone(), at: self.at }
    }
}

impl<S: Shape> Collection<S> {
    /// The same, with another deadline for each call.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.spot.time = time;
        self
    }

    /// Reads one key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Get<S> {
        Get::new(self.spot.clone(), Bytes::copy_from_slice(key.as_ref()))
    }

    /// Reads several keys at one stamp.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> MultiGet<S> {
        let keys = keys.into_iter().map(|key| Bytes::copy_from_slice(key.as_ref())).collect();
        MultiGet::new(self.spot.clone(), keys)
    }

    /// Removes one key.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Delete {
        Delete::new(self.spot.clone(), Bytes::copy_from_slice(key.as_ref()))
    }

    /// Removes all keys of a range.
    pub fn delete_range(&self, range: impl Into<KeyRange>) -> DeleteRange {
        DeleteRange::new(self.spot.clone(), range.into())
    }

    /// Reads a range, all at one stamp.
    pub fn scan(&self, range: impl Into<KeyRange>) -> Scan<S> {
        Scan::new(self.spot.clone(), range.into())
    }

    /// Reads the versions of a key, newest first.
    pub fn history(&self, key: impl AsRef<[u8]>) -> History<S> {
        History::new(self.spot.clone(), Bytes::copy_from_slice(key.as_ref()))
    }

    /// Hears of all changes of a range, from a stamp on.
    pub fn watch(&self, range: impl Into<KeyRange>, start: Start) -> Watch<S> {
        Watch::new(self.spot.clone(), range.into(), start)
    }
}

impl<D: Doc> Collection<Docs<D>> {
    /// Writes a document under its key.
    pub fn put(&self, document: &D) -> Put {
        let key: String = document.key().into();
        Put::new(self.spot.clone(), key.into(), written(document))
    }
}

impl Collection<Raw> {
    /// Writes a value under a key.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Put {
        let value: Result<Bytes> = Ok(value.into());
        Put::new(self.spot.clone(), Bytes::copy_from_slice(key.as_ref()), value)
    }
}

impl<S: Shape> PastCollection<S> {
    /// Reads one key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Get<S> {
        self.now.get(key).at(self.at)
    }

    /// Reads several keys.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> MultiGet<S> {
        self.now.multi_get(keys).at(self.at)
    }

    /// Reads a range.
    pub fn scan(&self, range: impl Into<KeyRange>) -> Scan<S> {
        self.now.scan(range).at(self.at)
    }
}
