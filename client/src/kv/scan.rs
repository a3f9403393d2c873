//! Scans: pages of one stamp, joined into one stream of rows. When a connection is lost the scan goes on behind its last page; rows
//! that would leave a hole or come twice end it with an error.

use super::range::KeyRange;
use super::shape::{Shape, Versioned, opened};
use crate::call::{Aim, Attempts, kv, named};
use crate::clock::ms;
use crate::error::{Error, Result, code};
use crate::tenant::{Moment, Spot};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, try_unfold};
use proto::v1::consistency::How;
use proto::v1::{Consistency, ScanPage, ScanRequest};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Streaming;

/// A row of a scan.
#[derive(Clone)]
#[non_exhaustive]
pub struct Row<K, V> {
    /// Its key.
    pub key: K,
    /// Its value and when it was written. Of a scan without values the value is empty bytes.
    pub version: Versioned<V>,
}

type Rows<S> = BoxStream<'static, Result<Row<<S as Shape>::Key, <S as Shape>::Value>>>;

/// A stream of rows. Nothing is sent before it is polled first.
#[must_use = "nothing is read before it is polled"]
pub struct Scan<S: Shape> {
    spot: Spot,
    request: ScanRequest,
    aim: Aim,
    rows: Option<Rows<S>>,
}

/// Where a scan is.
struct Walk {
    spot: Spot,
    request: ScanRequest,
    aim: Aim,
    pages: Option<Streaming<ScanPage>>,
    address: String,
    attempts: Attempts,
    rows: VecDeque<proto::v1::Row>,
    last: Option<Bytes>,
    at: Option<u64>,
    is_over: bool,
}

impl<S: Shape> Scan<S> {
    pub(crate) fn new(spot: Spot, range: KeyRange) -> Self {
        let request =
            ScanRequest { place: spot.place(), range: Some(range.sent()), ..ScanRequest::default() };
        Self { spot, request, aim: Aim::Leader, rows: None }
    }

    /// From the end backward.
    pub fn reverse(mut self) -> Self {
        self.request.reverse = true;
        self
    }

    /// At most so many rows.
    pub fn limit(mut self, rows: u64) -> Self {
        self.request.limit = rows;
        self
    }

    /// May miss what is younger than this, and is answered by any replica.
    pub fn bounded(mut self, age: Duration) -> Self {
        self.request.consistency = Some(Consistency { how: Some(How::BoundedMs(ms(age))) });
        self.aim = Aim::Replica;
        self
    }

    pub(crate) fn at(mut self, at: Moment) -> Self {
        self.request.consistency = at.asked();
        self
    }
}

impl Scan<super::shape::Raw> {
    /// Leaves the values out.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }
}

impl<S: Shape> Stream for Scan<S> {
    type Item = Result<Row<S::Key, S::Value>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { spot, request, aim, rows } = &mut *self;
        let rows = rows.get_or_insert_with(|| {
            let walk = Walk::new(spot.clone(), request.clone(), *aim);
            let rows = try_unfold(walk, |mut walk| async move {
                let Some(row) = walk.next().await? else { return Ok(None) };
                let key = S::open_key(row.key)?;
                let version = opened::<S>(row.version.unwrap_or_default())?;
                Ok(Some((Row { key, version }, walk)))
            });
            rows.boxed()
        });
        rows.poll_next_unpin(context)
    }
}

impl Walk {
    fn new(spot: Spot, request: ScanRequest, aim: Aim) -> Self {
        let attempts = spot.link.attempts(spot.time);
        Self {
            spot,
            request,
            aim,
            pages: None,
            address: String::new(),
            attempts,
            rows: VecDeque::new(),
            last: None,
            at: None,
            is_over: false,
        }
    }

    async fn next(&mut self) -> Result<Option<proto::v1::Row>> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.page().await {
                Ok(page) => self.take(page)?,
                Err(error) => {
                    self.pages = None;
                    let address = std::mem::take(&mut self.address);
                    self.spot.link.failed(&mut self.attempts, &self.spot.tenant, &address, error).await?;
                }
            }
        }
    }

    async fn page(&mut self) -> Result<ScanPage> {
        if self.pages.is_none() {
            // The time counts from the last page on: a long scan is no late one.
            let node =
                self.spot.link.node(&self.spot.tenant, self.aim, &self.attempts, &mut self.address).await?;
            let mut client = kv(node.channel);
            let asked = client.scan(named(self.request.clone(), self.attempts.trace));
            let late = |_| Error::new(code::DEADLINE, "the scan did not begin in time");
            let opened = tokio::time::timeout(self.attempts.deadline.left(), asked).await.map_err(late)?;
            self.pages = Some(opened.map_err(Error::from_status)?.into_inner());
        }
        let Some(pages) = &mut self.pages else { return Err(Error::lost()) };
        match tokio::time::timeout(self.attempts.deadline.left(), pages.message()).await {
            Ok(Ok(Some(page))) => Ok(page),
            Ok(Ok(None)) => Err(Error::lost()),
            Ok(Err(status)) => Err(Error::from_status(status)),
            Err(_) => Err(Error::new(code::DEADLINE, "no page came in time")),
        }
    }

    /// Joins a page to what came before.
    fn take(&mut self, page: ScanPage) -> Result<()> {
        if self.at.is_some_and(|at| at != page.at) {
            return Err(Error::new(code::INTERNAL, "a page of a scan is of another stamp"));
        }
        self.at = Some(page.at);
        for row in &page.rows {
            let is_behind = match (&self.last, self.request.reverse) {
                (None, _) => true,
                (Some(last), false) => row.key > *last,
                (Some(last), true) => row.key < *last,
            };
            if !is_behind {
                return Err(Error::new(code::INTERNAL, "a page of a scan does not join the one before it"));
            }
            self.last = Some(row.key.clone());
        }
        if self.request.limit > 0 {
            let count = page.rows.len() as u64;
            self.is_over = count >= self.request.limit;
            self.request.limit = self.request.limit.saturating_sub(count);
        }
        self.is_over |= page.resume.is_empty();
        self.request.resume = page.resume;
        self.rows = page.rows.into();
        self.attempts.again(self.spot.time);
        Ok(())
    }
}
