//! The versions of one key, newest first.

use super::shape::{Shape, Versioned, opened};
use crate::call::{Aim, Attempts, kv, named};
use crate::error::{Error, Result, code};
use crate::stamp::Stamp;
use crate::tenant::Spot;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, try_unfold};
use proto::v1::{HistoryPage, HistoryRequest, PastVersion};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Streaming;

/// What a key was once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Past<V> {
    /// It had this value from then on.
    Value(Versioned<V>),
    /// It was removed then.
    Removed(Stamp),
}

/// A stream of versions. Nothing is sent before it is polled first.
#[must_use = "nothing is read before it is polled"]
pub struct History<S: Shape> {
    spot: Spot,
    key: Bytes,
    limit: u64,
    /// The archive is read as well, of it what is newer than a stamp.
    since: Option<Stamp>,
    versions: Option<BoxStream<'static, Result<Past<S::Value>>>>,
}

struct Walk {
    spot: Spot,
    request: HistoryRequest,
    pages: Option<Streaming<HistoryPage>>,
    address: String,
    attempts: Attempts,
    versions: VecDeque<PastVersion>,
    oldest: u64,
    is_over: bool,
}

impl<S: Shape> History<S> {
    pub(crate) fn new(spot: Spot, key: Bytes) -> Self {
        Self { spot, key, limit: 0, since: None, versions: None }
    }

    /// At most so many versions.
    pub fn limit(mut self, versions: u64) -> Self {
        self.limit = versions;
        self
    }

    /// What the archive has comes behind what the cluster has: of it what is newer than a stamp, or all of it with [`Stamp::default`]. Takes
    /// seconds.
    pub fn archived(mut self, since: Stamp) -> Self {
        self.since = Some(since);
        self
    }
}

impl<S: Shape> Stream for History<S> {
    type Item = Result<Past<S::Value>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { spot, key, limit, since, versions } = &mut *self;
        let versions = versions.get_or_insert_with(|| {
            let walk = Walk::new(spot.clone(), key.clone(), (*limit, *since));
            let versions = try_unfold(walk, |mut walk| async move {
                let Some(past) = walk.next().await? else { return Ok(None) };
                let version = past.version.unwrap_or_default();
                let past = if past.is_removed {
                    Past::Removed(Stamp(version.stamp))
                } else {
                    Past::Value(opened::<S>(version)?)
                };
                Ok(Some((past, walk)))
            });
            versions.boxed()
        });
        versions.poll_next_unpin(context)
    }
}

impl Walk {
    fn new(spot: Spot, key: Bytes, (limit, since): (u64, Option<Stamp>)) -> Self {
        let request = HistoryRequest {
            place: spot.place(),
            key,
            limit,
            is_archived: since.is_some(),
            since: since.unwrap_or_default().0,
            ..HistoryRequest::default()
        };
        let attempts = spot.link.attempts(spot.time);
        let (pages, versions) = (None, VecDeque::new());
        Self {
            spot,
            request,
            pages,
            address: String::new(),
            attempts,
            versions,
            oldest: u64::MAX,
            is_over: false,
        }
    }

    async fn next(&mut self) -> Result<Option<PastVersion>> {
        loop {
            while let Some(past) = self.versions.pop_front() {
                // After a loss the history comes from its beginning: what was told is left out.
                let stamp = past.version.as_ref().map_or(0, |version| version.stamp);
                if stamp < self.oldest {
                    self.oldest = stamp;
                    return Ok(Some(past));
                }
            }
            if self.is_over {
                return Ok(None);
            }
            match self.page().await {
                Ok(page) => {
                    self.is_over = page.is_last;
                    self.versions = page.versions.into();
                    self.attempts.again(self.spot.time);
                }
                Err(error) => {
                    self.pages = None;
                    let address = std::mem::take(&mut self.address);
                    self.spot.link.failed(&mut self.attempts, &self.spot.tenant, &address, error).await?;
                }
            }
        }
    }

    async fn page(&mut self) -> Result<HistoryPage> {
        if self.pages.is_none() {
            let node = self
                .spot
                .link
                .node(&self.spot.tenant, Aim::Leader, &self.attempts, &mut self.address)
                .await?;
            let mut client = kv(node.channel);
            let asked = client.history(named(self.request.clone(), self.attempts.trace));
            let late = |_| Error::new(code::DEADLINE, "the history did not begin in time");
            let opened = tokio::time::timeout(self.attempts.deadline.left(), asked).await.map_err(late)?;
            self.pages = Some(opened.map_err(Error::from_status)?.into_inner());
        }
        let Some(pages) = &mut self.pages else { return Err(Error::lost()) };
        match tokio::time::timeout(self.attempts.deadline.left(), pages.message()).await {
            Ok(Ok(Some(page))) => Ok(page),
            // With a limit, the server ends when it is reached.
            Ok(Ok(None)) => Ok(HistoryPage { is_last: true, ..HistoryPage::default() }),
            Ok(Err(status)) => Err(Error::from_status(status)),
            Err(_) => Err(Error::new(code::DEADLINE, "no page came in time")),
        }
    }
}
