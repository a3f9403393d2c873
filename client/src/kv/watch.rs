//! Watches: every change of a range from a stamp on, each once and in order per key. A watch that is cut or silent goes on elsewhere
//! by itself, behind the last stamp up to which everything was delivered; what was delivered beyond is remembered and left out.

use super::range::KeyRange;
use super::read::get;
use super::shape::{Shape, Versioned, opened};
use crate::call::{Aim, Attempts, named};
use crate::clock::Deadline;
use crate::error::{Error, Result, code};
use crate::limits::{MESSAGE_BYTES_MAX, WATCH_CREDIT, WATCH_SEEN_MAX, WATCH_SILENCE_MS};
use crate::stamp::Stamp;
use crate::tenant::Spot;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, try_unfold};
use proto::errors::RetryClass;
use proto::v1::reset::Why;
use proto::v1::watch_client::WatchClient;
use proto::v1::watch_request::What as Said;
use proto::v1::watch_response::What as Heard;
use proto::v1::{OpenWatch, WatchRequest, WatchResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is written from now on.
    Now,
    /// With what was written behind this stamp.
    After(Stamp),
}

/// Why changes cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetCause {
    /// They are older than the history that is kept.
    Trimmed,
    /// This client was too slow.
    Lagged,
    /// The history of the cluster has forked since: what was told may not have happened.
    Restored,
    /// The watch went on elsewhere, or after a long time, and what comes next is not kept there.
    Moved,
    /// The server gives none that this build knows.
    Other,
}

/// What a watch hears.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change<K, V> {
    /// A key was written.
    Put {
        /// The key.
        key: K,
        /// What it is now.
        version: Versioned<V>,
    },
    /// A key was removed.
    Delete {
        /// The key.
        key: K,
        /// When.
        stamp: Stamp,
    },
    /// All keys of a range were removed at once: whatever of it was written at this stamp or before is gone, but for what comes behind this
    /// with the same stamp.
    DeleteRange {
        /// The first, as it is stored.
        start: Bytes,
        /// The first behind; nothing: all that follow.
        end: Option<Bytes>,
        /// When.
        stamp: Stamp,
    },
    /// Everything up to this stamp has been delivered.
    Progress(Stamp),
    /// Some changes cannot be told: read all as of `from`. The watch goes on behind it.
    Reset {
        /// Where it goes on.
        from: Stamp,
        /// Why.
        why: ResetCause,
    },
}

type Changes<S> = BoxStream<'static, Result<Change<<S as Shape>::Key, <S as Shape>::Value>>>;

/// A stream of changes. It ends only with an error that no waiting heals. Nothing is sent before it is polled first.
#[must_use = "nothing is heard before it is polled"]
pub struct Watch<S: Shape> {
    spot: Spot,
    range: KeyRange,
    start: Start,
    aim: Aim,
    changes: Option<Changes<S>>,
}

/// An open watch.
struct Ear {
    say: mpsc::Sender<WatchRequest>,
    heard: Streaming<WatchResponse>,
}

struct Walk {
    spot: Spot,
    range: KeyRange,
    aim: Aim,
    /// The generation of the cluster that was heard of; 0: none was.
    generation: u64,
    /// Everything up to here was delivered; unknown before the first question.
    after: Option<u64>,
    /// The newest stamp of each key that was delivered beyond `after`.
    seen: BTreeMap<Bytes, u64>,
    /// The ranges that were removed beyond it, by stamp.
    seen_ranges: BTreeSet<(u64, Bytes, Bytes)>,
    ear: Option<Ear>,
    unpaid: u32,
    address: String,
    attempts: Attempts,
}

impl<S: Shape> Watch<S> {
    pub(crate) fn new(spot: Spot, range: KeyRange, start: Start) -> Self {
        Self { spot, range, start, aim: Aim::Leader, changes: None }
    }

    /// Any replica may tell, not only the one that leads: so it takes nothing of that, and hears the same a little later.
    pub fn anywhere(mut self) -> Self {
        self.aim = Aim::Replica;
        self
    }
}

impl<S: Shape> Stream for Watch<S> {
    type Item = Result<Change<S::Key, S::Value>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { spot, range, start, aim, changes } = &mut *self;
        let changes = changes.get_or_insert_with(|| {
            let walk = Walk::new(spot.clone(), range.clone(), (*start, *aim));
            let changes = try_unfold(walk, |mut walk| async move {
                let change = walk.next::<S>().await?;
                Ok(Some((change, walk)))
            });
            changes.boxed()
        });
        changes.poll_next_unpin(context)
    }
}

impl Walk {
    fn new(spot: Spot, range: KeyRange, (start, aim): (Start, Aim)) -> Self {
        let after = match start {
            Start::Now => None,
            Start::After(stamp) => Some(stamp.0),
        };
        let attempts = spot.link.attempts(spot.time);
        let (ear, address) = (None, String::new());
        let (seen, seen_ranges) = (BTreeMap::new(), BTreeSet::new());
        Self { spot, range, aim, generation: 0, after, seen, seen_ranges, ear, unpaid: 0, address, attempts }
    }

    async fn next<S: Shape>(&mut self) -> Result<Change<S::Key, S::Value>> {
        loop {
            let heard = match self.hear().await {
                Ok(heard) => heard,
                Err(error) => {
                    self.lose(error).await?;
                    continue;
                }
            };
            self.attempts.again(self.spot.time);
            if let Some(change) = self.take::<S>(heard)? {
                return Ok(change);
            }
        }
    }

    /// Waits, and goes on elsewhere. A watch has no deadline: it ends with what no waiting heals.
    async fn lose(&mut self, error: Error) -> Result<()> {
        self.ear = None;
        if !matches!(error.class(), RetryClass::Same | RetryClass::Ask) {
            return Err(error);
        }
        let address = std::mem::take(&mut self.address);
        self.attempts.deadline = Deadline::after(self.spot.time);
        self.spot.link.failed(&mut self.attempts, &self.spot.tenant, &address, error).await
    }

    async fn hear(&mut self) -> Result<Heard> {
        if self.ear.is_none() {
            self.ear = Some(self.open().await?);
        }
        self.pay().await?;
        let Some(ear) = &mut self.ear else { return Err(Error::lost()) };
        match tokio::time::timeout(Duration::from_millis(WATCH_SILENCE_MS), ear.heard.message()).await {
            Ok(Ok(Some(WatchResponse { what: Some(Heard::Failure(failure)), .. }))) => {
                Err(Error::failed(failure))
            }
            Ok(Ok(Some(WatchResponse { what: Some(heard), generation }))) => {
                if generation != 0 {
                    self.generation = generation;
                }
                Ok(heard)
            }
            Ok(Ok(_)) => Err(Error::lost()),
            Ok(Err(status)) => Err(Error::from_status(status)),
            Err(_) => Err(Error::new(code::UNREACHABLE, "the watch fell silent")),
        }
    }

    async fn open(&mut self) -> Result<Ear> {
        let after = match self.after {
            Some(after) => after,
            None => {
                // A read tells what `now` is, so that nothing is missed if the watch is cut before its first progress.
                let (_, at) = get(&self.spot, Bytes::from_static(&[0]), None, Aim::Leader).await?;
                *self.after.insert(at.0)
            }
        };
        let node =
            self.spot.link.node(&self.spot.tenant, self.aim, &self.attempts, &mut self.address).await?;
        let (say, said) = mpsc::channel(8);
        let open = OpenWatch {
            place: self.spot.place(),
            range: Some(self.range.sent()),
            after,
            generation: self.generation,
            ..OpenWatch::default()
        };
        for what in [Said::Open(open), Said::Credit(WATCH_CREDIT)] {
            say.send(WatchRequest { what: Some(what) }).await.map_err(|_| Error::lost())?;
        }
        self.unpaid = 0;
        let mut client = WatchClient::new(node.channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let opened = tokio::time::timeout(
            Duration::from_millis(WATCH_SILENCE_MS),
            client.watch(named(ReceiverStream::new(said), self.attempts.trace)),
        );
        let opened =
            opened.await.map_err(|_| Error::new(code::UNREACHABLE, "the watch was not opened in time"))?;
        Ok(Ear { say, heard: opened.map_err(Error::from_status)?.into_inner() })
    }

    /// Gives credit for what was taken, unless too much must be remembered already.
    async fn pay(&mut self) -> Result<()> {
        if self.unpaid < WATCH_CREDIT / 2 || self.seen.len() + self.seen_ranges.len() >= WATCH_SEEN_MAX {
            return Ok(());
        }
        if let Some(ear) = &self.ear {
            let what = Some(Said::Credit(self.unpaid));
            ear.say.send(WatchRequest { what }).await.map_err(|_| Error::lost())?;
            self.unpaid = 0;
        }
        Ok(())
    }

    fn take<S: Shape>(&mut self, heard: Heard) -> Result<Option<Change<S::Key, S::Value>>> {
        match heard {
            Heard::Change(change) => {
                self.unpaid += 1;
                let version = change.version.unwrap_or_default();
                let stamp = version.stamp;
                let is_old = self.after.is_some_and(|after| stamp <= after);
                if is_old || self.seen.get(&change.key).is_some_and(|seen| stamp <= *seen) {
                    return Ok(None);
                }
                self.seen.insert(change.key.clone(), stamp);
                let key = S::open_key(change.key)?;
                Ok(Some(if change.is_removed {
                    Change::Delete { key, stamp: Stamp(stamp) }
                } else {
                    Change::Put { key, version: opened::<S>(version)? }
                }))
            }
            Heard::RangeRemoved(removed) => {
                self.unpaid += 1;
                let (range, stamp) = (removed.range.unwrap_or_default(), removed.stamp);
                let is_old = self.after.is_some_and(|after| stamp <= after);
                if is_old || !self.seen_ranges.insert((stamp, range.start.clone(), range.end.clone())) {
                    return Ok(None);
                }
                let end = Some(range.end).filter(|end| !end.is_empty());
                Ok(Some(Change::DeleteRange { start: range.start, end, stamp: Stamp(stamp) }))
            }
            Heard::Progress(stamp) => {
                self.after = Some(self.after.unwrap_or(0).max(stamp));
                self.seen.retain(|_, seen| *seen > stamp);
                self.seen_ranges.retain(|(seen, _, _)| *seen > stamp);
                Ok(Some(Change::Progress(Stamp(stamp))))
            }
            Heard::Reset(reset) => {
                self.after = Some(reset.from);
                self.seen.clear();
                self.seen_ranges.clear();
                let why = match reset.why() {
                    Why::Trimmed => ResetCause::Trimmed,
                    Why::Lagged => ResetCause::Lagged,
                    Why::Restored => ResetCause::Restored,
                    Why::Moved => ResetCause::Moved,
                    Why::Unspecified => ResetCause::Other,
                };
                Ok(Some(Change::Reset { from: Stamp(reset.from), why }))
            }
            Heard::Failure(failure) => Err(Error::failed(failure)),
        }
    }
}
