//! One connection of a peer that is served. Calls are first polled in the order in which they came; answers leave as they are there.

use super::frame::{Decoder, Farewell, Frame, Kind};
use super::limits::{BODY_BYTES_MAX, SERVED_BYTES_MAX, SERVED_CALLS_MAX};
use super::queue::Queue;
use super::serving::Serve;
use super::wire::{End, Scribe, Sight, next, read};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use raft::net::heard::Voice;
use raft::net::link::BoxFuture;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use tracing::Instrument;

/// What is under way of a lane of a peer, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Load {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    freed: Notify,
}

/// One call's part of it, until its answer is written.
pub(super) struct Part {
    load: Arc<Load>,
    bytes: usize,
}

impl Load {
    fn has_room(&self) -> bool {
        let calls = self.calls.load(Ordering::Acquire);
        calls < SERVED_CALLS_MAX && self.bytes.load(Ordering::Acquire) < SERVED_BYTES_MAX
    }

    fn begin(self: &Arc<Self>, bytes: usize) -> Part {
        self.calls.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Part { load: self.clone(), bytes }
    }
}

impl Part {
    /// The call is gone, and its answer is there.
    fn becomes(&mut self, bytes: usize) {
        self.load.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.load.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.bytes = bytes;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.load.calls.fetch_sub(1, Ordering::AcqRel);
        self.load.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.load.freed.notify_one();
    }
}

/// A call that is served.
struct Flight {
    call: u64,
    answer: BoxFuture<Bytes>,
    part: Option<Part>,
}

/// An answer that waits to be written.
struct Answer {
    call: u64,
    body: Bytes,
    _part: Option<Part>,
}

impl Future for Flight {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let body = ready!(self.answer.as_mut().poll(cx));
        let mut part = self.part.take();
        if let Some(part) = &mut part {
            part.becomes(body.len());
        }
        Poll::Ready(Answer { call: self.call, body, _part: part })
    }
}

/// Calls that are served at once.
pub(super) struct Flights(FuturesUnordered<Flight>);

impl Flights {
    /// Lets all of them come to their end. Nobody hears their answers.
    pub(super) async fn land(mut self) {
        while self.0.next().await.is_some() {}
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// A connection that is served.
pub(super) struct Served {
    pub(super) serve: Arc<dyn Serve>,
    /// Who calls.
    pub(super) by: Voice,
    pub(super) load: Arc<Load>,
}

impl Served {
    /// Serves a connection until it ends, or `ends` says why it must. What is still under way is handed back.
    pub(super) async fn run(
        &self,
        stream: TlsStream<TcpStream>,
        ends: impl Future<Output = End>,
    ) -> (Flights, End) {
        let (mut reader, writer) = tokio::io::split(stream);
        let (mut scribe, sight) = (Scribe::new(writer), Sight::default());
        let mut flights = Flights(FuturesUnordered::new());
        // What waits in it is bounded by the load.
        let answers = Queue::new(usize::MAX);
        let line = |answer: &mut Answer| {
            let Answer { call, body, .. } = answer;
            if body.len() > BODY_BYTES_MAX {
                tracing::error!(bytes = body.len(), "an answer over the limit of a frame is not sent");
                let body = Bytes::copy_from_slice(&[Farewell::Malformed.number()]);
                return Ok(Frame { kind: Kind::Refused, call: *call, body });
            }
            Ok(Frame { kind: Kind::Answer, call: *call, body: body.clone() })
        };
        let end = tokio::select! {
            biased;
            end = ends => end,
            end = self.take_in(&mut reader, &sight, (&mut flights, &answers)) => end,
            end = scribe.write_all(&answers, &sight, line) => end,
            end = sight.feel() => end,
        };
        scribe.bid_farewell(&end).await;
        (flights, end)
    }

    /// Reads calls and begins them, as long as there is room, and brings those that end to their answers.
    async fn take_in(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        sight: &Sight,
        (flights, answers): (&mut Flights, &Queue<Answer>),
    ) -> End {
        let (mut decoder, mut last) = (Decoder::default(), 0);
        loop {
            while self.load.has_room() {
                let begun = match next(&mut decoder, sight) {
                    Ok(Some(frame)) => self.begin(frame, &mut last, (flights, answers)).await,
                    Ok(None) => break,
                    Err(end) => Err(end),
                };
                if let Err(end) = begun {
                    return end;
                }
            }
            let has_room = self.load.has_room();
            sight.waits(decoder.has_part(), !has_room);
            let came = tokio::select! {
                biased;
                Some(answer) = flights.0.next(), if !flights.0.is_empty() => put(answers, answer),
                came = read(reader, &mut decoder, sight), if has_room => came,
                () = self.load.freed.notified(), if !has_room => Ok(()),
            };
            if let Err(end) = came {
                return end;
            }
        }
    }

    /// Begins a call: polls it once, so that it stands behind all that came before and ahead of all that come after.
    async fn begin(
        &self,
        frame: Frame,
        last: &mut u64,
        (flights, answers): (&mut Flights, &Queue<Answer>),
    ) -> Result<(), End> {
        match frame.kind {
            Kind::Ping => return Ok(()),
            Kind::Call if frame.call > *last => *last = frame.call,
            _ => return Err(End::Tell(Farewell::Malformed)),
        }
        let part = Some(self.load.begin(frame.body.len()));
        let span = tracing::trace_span!("peer served", from = %self.by.node, bytes = frame.body.len());
        let mut answer = self.serve.serve(self.by, frame.body);
        if !span.is_disabled() {
            answer = Box::pin(answer.instrument(span));
        }
        let mut flight = Flight { call: frame.call, answer, part };
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut flight).poll(cx))).await {
            Poll::Ready(answer) => put(answers, answer),
            Poll::Pending => {
                flights.0.push(flight);
                Ok(())
            }
        }
    }
}

fn put(answers: &Queue<Answer>, answer: Answer) -> Result<(), End> {
    answers.push(answer.body.len(), answer).map_err(End::Lost)
}
