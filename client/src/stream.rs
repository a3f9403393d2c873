//! Many calls on one stream to one node: each has a number, answers come in any order. The stream is opened at once and never opened
//! again: when it ends, every call on it hears that its answer is lost, and the pool makes a new one.

use crate::clock::ms;
use crate::error::{Error, Result, code};
use crate::limits::{IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, OUTBOUND_MAX};
use crate::trace::TraceId;
use proto::v1::kv_client::KvClient;
use proto::v1::stream_request::What as Request;
use proto::v1::stream_response::What as Answer;
use proto::v1::{Cancel, StreamRequest};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

type Waiting = BTreeMap<u64, oneshot::Sender<Result<Answer>>>;

/// What the reader of the stream and the callers both see.
#[derive(Default)]
struct Calls {
    waiting: Mutex<Waiting>,
    is_over: AtomicBool,
}

/// A stream of calls to one node.
pub(crate) struct CallStream {
    calls: Arc<Calls>,
    requests: mpsc::Sender<StreamRequest>,
    places: Semaphore,
    next: AtomicU64,
}

/// Takes a call back if nobody waits for it any more.
struct Ticket<'a> {
    stream: &'a CallStream,
    call: u64,
}

impl CallStream {
    /// Opens one. Calls may be put on it at once.
    pub(crate) fn open(channel: Channel) -> Self {
        let (requests, outbound) = mpsc::channel(OUTBOUND_MAX);
        let calls = Arc::new(Calls::default());
        tokio::spawn(read(channel, outbound, calls.clone()));
        Self { calls, requests, places: Semaphore::new(IN_FLIGHT_MAX), next: AtomicU64::new(1) }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.calls.is_over.load(Ordering::Acquire)
    }

    /// Makes one call. Dropping the future takes it back.
    ///
    /// # Errors
    /// What the server says; that the answer is lost.
    pub(crate) async fn call(&self, what: Request, left: Duration, trace: TraceId) -> Result<Answer> {
        let _place = self.places.acquire().await.map_err(|_| unsent())?;
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.calls.waiting().insert(call, sender);
        let ticket = Ticket { stream: self, call };
        // The reader sets the flag first and empties the map then, so one of both sees this call.
        if self.is_over() {
            return Err(unsent());
        }
        let request =
            StreamRequest { call, remaining_ms: ms(left).max(1), trace: trace.bytes(), what: Some(what) };
        self.requests.send(request).await.map_err(|_| unsent())?;
        let answer = answer.await.unwrap_or_else(|_| Err(Error::lost()));
        drop(ticket);
        match answer? {
            Answer::Failure(failure) => Err(Error::failed(failure)),
            answer => Ok(answer),
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.stream.calls.waiting().remove(&self.call).is_some() {
            let what = Some(Request::Cancel(Cancel {}));
            // If there is no room, the server finds out by the deadline.
            let cancel = StreamRequest { call: self.call, what, ..StreamRequest::default() };
            let _ = self.stream.requests.try_send(cancel);
        }
    }
}

impl Calls {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: impl Fn() -> Error) {
        self.is_over.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *self.waiting());
        for sender in waiting.into_values() {
            let _ = sender.send(Err(why()));
        }
    }
}

fn unsent() -> Error {
    Error::new(code::UNREACHABLE, "the connection ended before the request was sent")
}

async fn read(channel: Channel, outbound: mpsc::Receiver<StreamRequest>, calls: Arc<Calls>) {
    let mut client = KvClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let mut answers = match client.stream(ReceiverStream::new(outbound)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return calls.end(|| Error::from_status(status.clone())),
    };
    loop {
        match answers.message().await {
            Ok(Some(response)) => {
                let sender = calls.waiting().remove(&response.call);
                if let (Some(sender), Some(what)) = (sender, response.what) {
                    let _ = sender.send(Ok(what));
                }
            }
            Ok(None) => return calls.end(Error::lost),
            Err(status) => return calls.end(|| Error::from_status(status.clone())),
        }
    }
}
