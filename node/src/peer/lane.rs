//! One lane to one peer: dialled when there is something to say, and again after a pause when it is lost.

use super::PeerParts;
use super::frame::{Decoder, Farewell, Frame, Hello, Kind, VERSIONS, chosen};
use super::limits::{DIAL_MS, QUEUE_BYTES_MAX, again_ms};
use super::link::Dial;
use super::queue::Queue;
use super::serving::Server;
use super::wire::{End, Scribe, Sight, hear, next, read, say};
use bytes::Bytes;
use engine::ids::NodeId;
use raft::net::heard::Voice;
use raft::net::link::{Lane, Said, Unreachable};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Who waits for an answer. Dropped unanswered, it says that there will be none.
pub(super) type Told = oneshot::Sender<Result<Said, Unreachable>>;

/// A call that waits to be written.
pub(super) struct Call {
    pub(super) frame: Bytes,
    pub(super) waits: Option<Waits>,
}

/// Its caller, and the place the call takes in its lane until it is answered.
pub(super) struct Waits {
    pub(super) told: Told,
    pub(super) _place: Place,
}

/// A place among the calls of a lane.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// One more, if there are fewer than `max`.
    pub(super) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count| (count < max).then_some(count + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lane, as those that call see it.
pub(super) struct Calls {
    pub(super) queue: Queue<Call>,
    pub(super) taken: Arc<AtomicUsize>,
    /// Why there is no link, until there is one.
    trouble: Mutex<Option<String>>,
}

impl Calls {
    pub(super) fn new() -> Arc<Self> {
        let queue = Queue::new(QUEUE_BYTES_MAX);
        Arc::new(Self { queue, taken: Arc::default(), trouble: Mutex::default() })
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A lane, as the task sees it that keeps it. When it goes, nobody waits for it any more.
pub(super) struct Keeper {
    pub(super) parts: PeerParts,
    pub(super) dial: Dial,
    pub(super) to: NodeId,
    pub(super) lane: Lane,
    pub(super) calls: Arc<Calls>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.calls.queue.end();
    }
}

/// A connection on which both have said who they are.
struct Linked {
    stream: TlsStream<TcpStream>,
    server: Server,
    /// Who answers.
    by: Voice,
}

/// Calls that were written, by number, and who answers them.
struct Pending {
    by: Voice,
    calls: Mutex<BTreeMap<u64, Waits>>,
}

impl Pending {
    fn calls(&self) -> MutexGuard<'_, BTreeMap<u64, Waits>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Keeps the lane, for ever.
    pub(super) async fn keep(self) {
        let mut failures: u32 = 0;
        loop {
            self.calls.queue.ready().await;
            let dialled = timeout(Duration::from_millis(DIAL_MS), self.dial()).await;
            let dialled =
                dialled.unwrap_or_else(|_| Err(End::Lost("it does not answer the door".to_owned())));
            let end = match dialled {
                Ok(linked) => {
                    self.calls.set_trouble(None);
                    let (has_answered, is_changed, end) = self.talk(linked).await;
                    if has_answered || is_changed {
                        failures = 0;
                    }
                    if is_changed {
                        self.shut(&end);
                        self.calls.queue.open();
                        continue;
                    }
                    end
                }
                Err(end) => end,
            };
            failures = failures.saturating_add(1);
            let (to, lane) = (self.to, self.lane);
            tracing::debug!(%to, ?lane, failures, %end, "no link to a peer");
            self.calls.set_trouble(Some(end.to_string()));
            self.shut(&end);
            sleep(Duration::from_millis(again_ms(failures))).await;
            self.calls.queue.open();
        }
    }

    /// Until the lane is opened again whoever calls is told why there is no link, and whoever waits to be sent is told now.
    fn shut(&self, end: &End) {
        let calls = self.calls.queue.shut(end.to_string());
        self.deny(calls.into_iter().filter_map(|call| call.waits), end);
    }

    fn deny(&self, waiting: impl Iterator<Item = Waits>, end: &End) {
        for waits in waiting {
            // Whoever has given up hears nothing.
            let _ = waits.told.send(Err(Unreachable { node: self.to, cause: end.to_string() }));
        }
    }

    /// Makes a connection on which both have said who they are.
    async fn dial(&self) -> Result<Linked, End> {
        let lost = |cause: &str| End::Lost(cause.to_owned());
        let server = self.parts.serving.now().ok_or_else(|| lost("this node does not speak yet"))?;
        let address = (self.dial.addresses)(self.to).ok_or_else(|| lost("it has no address"))?;
        let tcp = TcpStream::connect(&address).await?;
        tcp.set_nodelay(true)?;
        let mut stream = self.dial.tls.connect(self.dial.name.clone(), tcp).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let is_peer = (self.parts.identify)(chain) == Some((self.parts.cluster, self.to));
        if !is_peer {
            return Err(lost("whoever answers at its address has the certificate of another"));
        }
        let cluster = self.parts.cluster;
        let by = server.serve.voice();
        say(&mut stream, &Hello { versions: VERSIONS, lane: self.lane, refusal: None, cluster, by }).await?;
        let hello = hear(&mut stream).await?;
        if let Some(refusal) = hello.refusal {
            return Err(End::Told(refusal));
        }
        let is_said = (hello.cluster, hello.by.node, hello.lane) == (cluster, self.to, self.lane);
        if !is_said || chosen(VERSIONS, hello.versions).is_none() {
            return Err(lost("it says that it is another"));
        }
        Ok(Linked { stream, server, by: hello.by })
    }

    /// Writes calls and hears answers until the connection ends: whether there was any answer, whether it ended because this node speaks
    /// with another voice, and why.
    async fn talk(&self, linked: Linked) -> (bool, bool, End) {
        let Linked { stream, mut server, by } = linked;
        let (mut reader, writer) = tokio::io::split(stream);
        let (mut scribe, sight) = (Scribe::new(writer), Sight::default());
        let pending = Pending { by, calls: Mutex::default() };
        let (mut number, mut has_answered) = (0_u64, false);
        let speaker = server.clone();
        let line = |call: &mut Call| {
            // What was given after the voice has changed is not of the one that was said.
            if speaker.is_changed() {
                return Err(End::Tell(Farewell::OtherVoice));
            }
            number += 1;
            if let Some(waits) = call.waits.take() {
                pending.calls().insert(number, waits);
            }
            Ok(Frame { kind: Kind::Call, call: number, body: call.frame.clone() })
        };
        let end = tokio::select! {
            biased;
            () = server.changed() => End::Tell(Farewell::OtherVoice),
            end = hear_answers(&mut reader, &sight, &pending, &mut has_answered) => end,
            end = scribe.write_all(&self.calls.queue, &sight, line) => end,
            end = sight.feel() => end,
        };
        let is_changed = speaker.is_changed();
        let waiting = std::mem::take(&mut *pending.calls());
        self.deny(waiting.into_values(), &end);
        scribe.bid_farewell(&end).await;
        (has_answered, is_changed, end)
    }
}

/// Gives answers to those that wait for them, until the connection ends.
async fn hear_answers(
    reader: &mut (impl AsyncRead + Unpin),
    sight: &Sight,
    pending: &Pending,
    has_answered: &mut bool,
) -> End {
    let mut decoder = Decoder::default();
    loop {
        loop {
            let Frame { kind, call, body } = match next(&mut decoder, sight) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(end) => return end,
            };
            match kind {
                Kind::Ping => continue,
                Kind::Call => return End::Tell(Farewell::Malformed),
                Kind::Answer | Kind::Refused => {}
            }
            let Some(waits) = pending.calls().remove(&call) else {
                return End::Tell(Farewell::Malformed);
            };
            *has_answered = true;
            if kind == Kind::Answer {
                // Whoever has given up hears nothing.
                let _ = waits.told.send(Ok(Said { by: pending.by, frame: body }));
            }
        }
        sight.waits(decoder.has_part(), false);
        if let Err(end) = read(reader, &mut decoder, sight).await {
            return end;
        }
    }
}
