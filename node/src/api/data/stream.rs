//! Many calls on one stream: each is let in for itself, runs beside the others, and is answered when it is done.

use crate::api::Api;
use crate::api::convert::{Result, malformed};
use crate::api::errors::status_number;
use crate::api::guard::Call;
use crate::limits;
use crate::refused::Refused;
use crate::telemetry::trace::Trace;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::{FuturesUnordered, unfold};
use futures_util::{Stream, StreamExt};
use proto::errors::code;
use proto::v1;
use proto::v1::stream_request::What;
use proto::v1::stream_response::What as Answer;
use proto::v1::{StreamRequest, StreamResponse};
use raft::net::link::BoxFuture;
use std::collections::BTreeMap;
use tonic::Status;
use tracing::Instrument;

/// A stream of calls.
struct Calls<S> {
    api: Api,
    /// Who sends all of them.
    call: Call,
    frames: Option<S>,
    under_way: FuturesUnordered<BoxFuture<(u64, std::result::Result<Answer, Aborted>)>>,
    /// Those that are under way, by number.
    known: BTreeMap<u64, AbortHandle>,
}

impl Api {
    /// Answers the calls of a stream, until it ends and all are answered.
    pub(super) fn stream<S>(
        &self,
        call: Call,
        frames: S,
    ) -> impl Stream<Item = std::result::Result<StreamResponse, Status>> + Send + use<S>
    where
        S: Stream<Item = std::result::Result<StreamRequest, Status>> + Send + Unpin + 'static,
    {
        let calls = Calls {
            api: self.clone(),
            call,
            frames: Some(frames),
            under_way: FuturesUnordered::new(),
            known: BTreeMap::new(),
        };
        unfold(calls, |mut calls| async move { calls.next().await.map(|answer| (answer, calls)) })
    }

    async fn scan_page(&self, call: &Call, asked: v1::ScanRequest) -> Result<v1::ScanPage> {
        self.scan(call, asked).await?.next().await
    }

    async fn history_page(&self, call: &Call, asked: v1::HistoryRequest) -> Result<v1::HistoryPage> {
        self.history(call, asked).await?.next().await
    }

    async fn answer(&self, call: &Call, what: What) -> Answer {
        let trace = call.trace.unwrap_or_else(|| self.new_trace());
        let counted = self.begins(path(&what), trace);
        let answered = trace.within(self.ask(call, what)).instrument(counted.span().clone()).await;
        let span = counted.span().clone();
        self.answers(counted, answered.as_ref().map_or_else(status_number, |_| 0));
        answered.unwrap_or_else(|refused| Answer::Failure(span.in_scope(|| self.failure(&refused))))
    }

    async fn ask(&self, call: &Call, what: What) -> Result<Answer> {
        match what {
            What::Get(asked) => self.get(call, asked).await.map(Answer::Get),
            What::MultiGet(asked) => self.multi_get(call, asked).await.map(Answer::MultiGet),
            What::Put(asked) => self.put(call, asked).await.map(Answer::Write),
            What::Delete(asked) => self.delete(call, asked).await.map(Answer::Write),
            What::DeleteRange(asked) => self.delete_range(call, asked).await.map(Answer::Write),
            What::Batch(asked) => self.batch(call, asked).await.map(Answer::Write),
            What::Scan(asked) => self.scan_page(call, asked).await.map(Answer::Scan),
            What::History(asked) => self.history_page(call, asked).await.map(Answer::History),
            What::Outcome(asked) => self.outcome(call, asked).await.map(Answer::Outcome),
            What::Cancel(_) => Err(malformed("a cancel is no call")),
        }
    }
}

/// The method that does the same for whoever asks it alone.
fn path(what: &What) -> &'static str {
    match what {
        What::Get(_) => "/dewpond.v1.Kv/Get",
        What::MultiGet(_) => "/dewpond.v1.Kv/MultiGet",
        What::Put(_) => "/dewpond.v1.Kv/Put",
        What::Delete(_) => "/dewpond.v1.Kv/Delete",
        What::DeleteRange(_) => "/dewpond.v1.Kv/DeleteRange",
        What::Batch(_) => "/dewpond.v1.Kv/Batch",
        What::Scan(_) => "/dewpond.v1.Kv/Scan",
        What::History(_) => "/dewpond.v1.Kv/History",
        What::Outcome(_) => "/dewpond.v1.Txn/Outcome",
        What::Cancel(_) => "",
    }
}

impl<S: Stream<Item = std::result::Result<StreamRequest, Status>> + Unpin> Calls<S> {
    /// The next answer; nothing if none will come any more.
    async fn next(&mut self) -> Option<std::result::Result<StreamResponse, Status>> {
        loop {
            let has_room = self.under_way.len() < limits::STREAM_CALLS_MAX;
            let frames = self.frames.as_mut().filter(|_| has_room);
            if frames.is_none() && self.under_way.is_empty() {
                return None;
            }
            let hears = async {
                match frames {
                    Some(frames) => frames.next().await,
                    None => std::future::pending().await,
                }
            };
            // What has come is begun before anything is answered: so that what came together goes into one entry.
            tokio::select! {
                biased;
                frame = hears => match frame {
                    Some(Ok(frame)) => if let Some(refused) = self.begin(frame) {
                        return Some(Ok(refused));
                    },
                    // Whoever has gone does not wait: what is under way ends with the stream.
                    Some(Err(status)) => {
                        self.frames = None;
                        self.under_way.clear();
                        return Some(Err(status));
                    }
                    None => self.frames = None,
                },
                Some((call, done)) = self.under_way.next() => {
                    self.known.remove(&call);
                    if let Ok(what) = done {
                        return Some(Ok(StreamResponse { call, what: Some(what) }));
                    }
                }
            }
        }
    }

    /// Begins what a frame asks, or says at once why not.
    fn begin(&mut self, frame: StreamRequest) -> Option<StreamResponse> {
        let StreamRequest { call, remaining_ms, what, trace } = frame;
        let refuse = |api: &Api, refused: &Refused| {
            Some(StreamResponse { call, what: Some(Answer::Failure(api.failure(refused))) })
        };
        let Some(what) = what else {
            let refused =
                Refused::new(code::FEATURE_MISSING).saying("the frame asks nothing that is known here");
            return refuse(&self.api, &refused);
        };
        if let What::Cancel(_) = what {
            // It may have been answered meanwhile.
            if let Some(handle) = self.known.get(&call) {
                handle.abort();
            }
            return None;
        }
        if self.known.contains_key(&call) {
            return refuse(&self.api, &malformed("a call of this number is under way"));
        }
        let (handle, registration) = AbortHandle::new_pair();
        self.known.insert(call, handle);
        let (api, of) = (self.api.clone(), self.call.within(remaining_ms, Trace::of_frame(&trace)));
        let answer = async move { api.answer(&of, what).await };
        self.under_way.push(Box::pin(async move { (call, Abortable::new(answer, registration).await) }));
        None
    }
}
