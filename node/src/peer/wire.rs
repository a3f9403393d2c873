//! Bytes of one connection: hellos and frames are written and read, and its pulse is felt.

use super::frame::{Decoder, Farewell, Frame, HELLO_BYTES, Hello, Kind, head};
use super::limits::{BEAT_MS, COPIED_BYTES_MAX, GATHER_BYTES, GATHER_CALLS, GOODBYE_MS, WRITE_MS};
use super::pulse::{Beat, Pulse, Seen};
use super::queue::Queue;
use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Why a connection ends.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum End {
    /// The peer says so.
    #[error("the peer ends the link: {0}")]
    Told(Farewell),
    /// We say so.
    #[error("the link is ended: {0}")]
    Tell(Farewell),
    /// It broke.
    #[error("the link is lost: {0}")]
    Lost(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// What is seen of a connection, by those of its halves that beat for it.
#[derive(Debug, Default)]
pub(super) struct Sight {
    reads: AtomicU64,
    frames: AtomicU64,
    writes: AtomicU64,
    has_part: AtomicBool,
    is_deaf: AtomicBool,
    /// Rings when somebody should say that we live.
    ping: Notify,
}

impl Sight {
    /// Feels the pulse, until there is none.
    pub(super) async fn feel(&self) -> End {
        let (mut pulse, mut beats) = (Pulse::default(), interval(Duration::from_millis(BEAT_MS)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            match pulse.beat(self.seen()) {
                Beat::Rest => {}
                Beat::Ping => self.ping.notify_one(),
                Beat::Lost(why) => {
                    tracing::debug!(why, "a link has no pulse");
                    return End::Tell(Farewell::Silent);
                }
            }
        }
    }

    /// A read brought something.
    pub(super) fn reads(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame came whole.
    pub(super) fn frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether part of another has come, and whether nothing more is read now.
    pub(super) fn waits(&self, has_part: bool, is_deaf: bool) {
        self.has_part.store(has_part, Ordering::Relaxed);
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    fn seen(&self) -> Seen {
        Seen {
            reads: self.reads.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            has_part: self.has_part.load(Ordering::Relaxed),
            is_deaf: self.is_deaf.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }
}

/// Says a hello.
pub(super) async fn say(stream: &mut (impl AsyncWrite + Unpin), hello: &Hello) -> io::Result<()> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await
}

/// Hears one.
pub(super) async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, End> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await?;
    Hello::decode(&bytes).map_err(|damage| End::Lost(damage.to_string()))
}

/// Reads what there is, at least something.
pub(super) async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    decoder: &mut Decoder,
    sight: &Sight,
) -> Result<(), End> {
    if reader.read_buf(decoder.room()).await? == 0 {
        return Err(End::Lost("it was closed".to_owned()));
    }
    sight.reads();
    Ok(())
}

/// The next frame, if it has come whole. A goodbye is an end.
pub(super) fn next(decoder: &mut Decoder, sight: &Sight) -> Result<Option<Frame>, End> {
    let frame = decoder.take().map_err(|damage| {
        tracing::warn!(%damage, "a peer sends what is no frame");
        End::Tell(Farewell::Malformed)
    })?;
    let Some(frame) = frame else { return Ok(None) };
    sight.frame();
    if frame.kind == Kind::Refused && frame.call == 0 {
        let farewell = frame.body.first().and_then(|number| Farewell::of(*number));
        return Err(farewell.map_or_else(|| End::Lost("it was ended".to_owned()), End::Told));
    }
    Ok(Some(frame))
}

/// Writes frames, many at once.
pub(super) struct Scribe<W> {
    writer: W,
    gathered: Vec<u8>,
    /// A frame may be half written.
    is_amid: bool,
}

impl<W: AsyncWrite + Unpin> Scribe<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, gathered: Vec::new(), is_amid: false }
    }

    /// A frame, to be written with the next flush at the latest.
    async fn put(&mut self, kind: Kind, call: u64, body: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(&head(kind, call, body.len()));
        if body.len() <= COPIED_BYTES_MAX {
            self.gathered.extend_from_slice(body);
            return Ok(());
        }
        self.write_gathered().await?;
        self.writer.write_all(body).await
    }

    async fn write_gathered(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.gathered).await?;
        self.gathered.clear();
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write_gathered().await?;
        self.writer.flush().await
    }

    /// Writes what is in the queue whenever something is, all of it at once, and pings. `line` makes frames of
    /// what waits; that is dropped once it is written.
    pub(super) async fn write_all<T>(
        &mut self,
        queue: &Queue<T>,
        sight: &Sight,
        mut line: impl FnMut(&mut T) -> Result<Frame, End>,
    ) -> End {
        let mut items = Vec::new();
        loop {
            let is_ping = tokio::select! {
                biased;
                () = queue.take(&mut items, (GATHER_BYTES, GATHER_CALLS)) => false,
                () = sight.ping.notified() => true,
            };
            let mut frames = Vec::with_capacity(items.len().max(1));
            if is_ping {
                frames.push(Frame { kind: Kind::Ping, call: 0, body: Bytes::new() });
            }
            for item in &mut items {
                match line(item) {
                    Ok(frame) => frames.push(frame),
                    Err(end) => return end,
                }
            }
            if let Err(end) = self.write(&frames).await {
                return end;
            }
            sight.writes.fetch_add(1, Ordering::Relaxed);
            items.clear();
        }
    }

    async fn write(&mut self, frames: &[Frame]) -> Result<(), End> {
        self.is_amid = true;
        let written = async {
            for Frame { kind, call, body } in frames {
                self.put(*kind, *call, body).await?;
            }
            self.flush().await
        };
        match timeout(Duration::from_millis(WRITE_MS), written).await {
            Ok(written) => written?,
            Err(_) => return Err(End::Lost("what is sent is not taken".to_owned())),
        }
        self.is_amid = false;
        Ok(())
    }

    /// Says why the link ends, if that is ours to say, and closes it.
    pub(super) async fn bid_farewell(mut self, end: &End) {
        let goodbye = async {
            // In the middle of a frame it would be taken for a part of that.
            if let (End::Tell(farewell), false) = (end, self.is_amid) {
                self.put(Kind::Refused, 0, &[farewell.number()]).await?;
                self.flush().await?;
            }
            self.writer.shutdown().await
        };
        // Whoever does not listen misses it.
        let _ = timeout(Duration::from_millis(GOODBYE_MS), goodbye).await;
    }
}
