//! The service `Watch`: one stream a watch. Nothing is sent that was not given credit for, but for words of how far all is told; and whoever
//! may not watch any more hears so on the stream. The protocol: `docs/protocols/watch.md`.

use crate::access::action::Action;
use crate::api::Api;
use crate::api::convert::{self, Result, malformed};
use crate::api::guard::{Call, Peer};
use crate::limits;
use crate::refused::Refused;
use crate::shard::watch::{Begin, Heard, Lost, Source, Watch, Watched};
use bytes::Bytes;
use engine::Stamp;
use engine::tablet::changes::Change;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt};
use proto::errors::code;
use proto::v1;
use proto::v1::reset::Why;
use proto::v1::watch_request::What as Said;
use proto::v1::watch_response::What as Told;
use raft::net::link::BoxFuture;
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tonic::{Request, Response, Status, Streaming};

/// Where the service stands; who may come to it is asked again while a watch goes on.
const PATH: &str = "/dewpond.v1.Watch/Watch";

#[tonic::async_trait]
impl v1::watch_server::Watch for Api {
    type WatchStream = BoxStream<'static, std::result::Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> std::result::Result<Response<Self::WatchStream>, Status> {
        let call = Call::of(&request);
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(Peer::anonymous);
        let watching = Watching::new(self.clone(), (call, peer), request.into_inner());
        let told = unfold(Some(watching), |watching| async move {
            let mut watching = watching?;
            let said = |what, generation| Ok(v1::WatchResponse { what: Some(what), generation });
            match watching.next().await {
                Ok(Some(what)) => Some((said(what, watching.generation()), Some(watching))),
                Ok(None) => None,
                Err(refused) => Some((said(Told::Failure(watching.api.failure(&refused)), 0), None)),
            }
        });
        Ok(Response::new(told.boxed()))
    }
}

/// What comes next of a watch, with the watch.
type Next = BoxFuture<(Watch, Result<Heard>)>;

/// A watch that is open.
struct Open {
    /// It waits for what comes next; nothing while what came before is sent.
    next: Option<Next>,
    /// While it does not wait.
    rests: Option<Watch>,
    source: Source,
    /// What may be sent.
    pending: VecDeque<Told>,
    /// All that was written up to here was sent.
    after: Stamp,
    /// It was told how far all is told.
    is_told: bool,
    /// The generation of the cluster, until that is told.
    generation: u64,
}

/// A watcher, before it has opened its watch and after.
struct Watching<S> {
    api: Api,
    call: Call,
    peer: Peer,
    said: S,
    credit: u64,
    open: Option<Open>,
    /// When something must be said.
    quiet: Pin<Box<Sleep>>,
}

impl<S> Watching<S>
where
    S: Stream<Item = std::result::Result<v1::WatchRequest, Status>> + Send + Unpin,
{
    fn new(api: Api, (call, peer): (Call, Peer), said: S) -> Self {
        let quiet = quiet();
        Self { api, call, peer, said, credit: 0, open: None, quiet }
    }

    /// What is told next; nothing if the watcher has ended its watch.
    async fn next(&mut self) -> Result<Option<Told>> {
        if self.open.is_none() {
            match self.opened().await? {
                Some(open) => self.open = Some(open),
                None => return Ok(None),
            }
        }
        loop {
            let Some(open) = &mut self.open else { return Ok(None) };
            if let Some(told) = open.told(&mut self.credit) {
                self.quiet = quiet();
                return Ok(Some(told));
            }
            tokio::select! {
                biased;
                said = self.said.next() => match said {
                    Some(Ok(v1::WatchRequest { what: Some(Said::Credit(more)) })) => {
                        self.credit = (self.credit + u64::from(more)).min(limits::WATCH_CREDIT_MAX);
                    }
                    Some(Ok(v1::WatchRequest { what: Some(Said::Cancel(_)) })) | Some(Err(_)) | None => {
                        return Ok(None);
                    }
                    Some(Ok(_)) => return Err(malformed("a watch is opened once, and then given credit")),
                },
                () = &mut self.quiet => {
                    self.api.admit(&self.peer, PATH)?;
                    open.source.check()?;
                    open.pending.push_front(Told::Progress(open.after.0));
                }
                (watch, heard) = open.hears() => open.take(watch, heard?),
            }
        }
    }

    /// The generation of the cluster, once.
    fn generation(&mut self) -> u64 {
        self.open.as_mut().map_or(0, |open| std::mem::take(&mut open.generation))
    }

    /// Hears which watch is wanted, and opens it.
    async fn opened(&mut self) -> Result<Option<Open>> {
        let wait = Duration::from_millis(self.call.wait_ms);
        let late = |_| Refused::new(code::DEADLINE).saying("a watch is opened at once");
        let asked = match tokio::time::timeout(wait, self.said.next()).await.map_err(late)? {
            Some(Ok(v1::WatchRequest { what: Some(Said::Open(asked)) })) => asked,
            Some(Ok(_)) => return Err(malformed("a watch is opened first")),
            Some(Err(_)) => return Err(malformed("what was said is no message of a watch")),
            None => return Ok(None),
        };
        let at = self.api.enter(&self.call, asked.place, Action::KvWatch)?;
        let (start, end) = convert::range_of(asked.range, &asked.prefix)?;
        let watched = Watched {
            tenant: at.tenant,
            collection: at.collection,
            start: start.to_vec(),
            end: end.map(|end| end.to_vec()),
        };
        let begin = Begin { after: Stamp(asked.after), generation: asked.generation };
        let watch = self.api.backend.watch(watched, begin, self.call.wait_ms).await?;
        let (source, after, generation) =
            (watch.source().clone(), watch.after(), watch.source().generation());
        let (pending, is_told) = (VecDeque::new(), false);
        Ok(Some(Open { next: None, rests: Some(watch), source, pending, after, is_told, generation }))
    }
}

impl Open {
    /// What may be sent now, if anything may.
    fn told(&mut self, credit: &mut u64) -> Option<Told> {
        let is_free = matches!(self.pending.front()?, Told::Progress(_) | Told::Reset(_));
        if !is_free {
            *credit = credit.checked_sub(1)?;
        }
        let told = self.pending.pop_front()?;
        match &told {
            Told::Progress(stamp) => self.after = self.after.max(Stamp(*stamp)),
            // It may lie before what was told in another generation.
            Told::Reset(reset) => self.after = Stamp(reset.from),
            _ => return Some(told),
        }
        self.is_told = true;
        Some(told)
    }

    /// What comes next. If nobody waits any more, the next call goes on waiting for the same.
    async fn hears(&mut self) -> (Watch, Result<Heard>) {
        if !self.pending.is_empty() {
            // First what was heard before must go.
            return std::future::pending().await;
        }
        if let Some(mut watch) = self.rests.take() {
            self.next = Some(Box::pin(async move {
                let heard = watch.next().await;
                (watch, heard)
            }));
        }
        match &mut self.next {
            Some(next) => next.await,
            None => std::future::pending().await,
        }
    }

    /// Takes what was heard.
    fn take(&mut self, watch: Watch, heard: Heard) {
        (self.next, self.rests) = (None, Some(watch));
        match heard {
            Heard::Changes { changes, upto } => {
                let is_news = !changes.is_empty() || !self.is_told;
                let (mut untold, mut last) = (0, self.after);
                for (stamp, change) in changes {
                    // What happened at one stamp stays together.
                    if untold >= limits::WATCH_UNTOLD_MAX && stamp > last {
                        self.pending.push_back(Told::Progress(last.0));
                        untold = 0;
                    }
                    (untold, last) = (untold + 1, stamp);
                    self.pending.push_back(told(stamp, change));
                }
                if is_news {
                    self.pending.push_back(Told::Progress(upto.0));
                } else {
                    self.after = self.after.max(upto);
                }
            }
            Heard::Reset { from, why } => {
                let why = match why {
                    Lost::Trimmed => Why::Trimmed,
                    Lost::Lagged => Why::Lagged,
                    Lost::Restored => Why::Restored,
                    Lost::Moved => Why::Moved,
                };
                self.pending.push_back(Told::Reset(v1::Reset { from: from.0, why: why.into() }));
            }
        }
    }
}

/// Ends when something must be said.
fn quiet() -> Pin<Box<Sleep>> {
    Box::pin(sleep(Duration::from_millis(limits::WATCH_PROGRESS_MS)))
}

fn told(stamp: Stamp, change: Change) -> Told {
    let stamp = stamp.0;
    match change {
        Change::Put { key, value, expires_ms } => Told::Change(v1::Change {
            key: key.into(),
            version: Some(v1::Version { stamp, value, expires_ms }),
            is_removed: false,
        }),
        Change::Delete { key } => Told::Change(v1::Change {
            key: key.into(),
            version: Some(v1::Version { stamp, ..v1::Version::default() }),
            is_removed: true,
        }),
        Change::DeleteRange { start, end } => Told::RangeRemoved(v1::RangeRemoved {
            range: Some(v1::Range { start: start.into(), end: end.map(Bytes::from).unwrap_or_default() }),
            stamp,
        }),
    }
}
