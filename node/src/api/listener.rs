//! Takes connections: TLS of our own, and from the certificate who comes. Whoever is slow to say who it is, or says nothing at all, keeps
//! nobody out: see [`crate::work::crowd`].

use super::guard::Peer;
use crate::access::action::Caller;
use crate::boot::certificate::PeerIdentity;
use crate::boot::subject::Role;
use crate::limits;
use crate::tls::Tls;
use crate::work::Spawner;
use crate::work::crowd::{Bounds, Crowd, Place, Places, Source, Taken};
use rustls::ServerConfig;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// After the system has refused to let somebody in, in milliseconds.
const BREATH_MS: u64 = 50;
/// Connections that have shaken hands and wait to be served.
const WAITING_MAX: usize = 64;
/// Bytes with which a connection of HTTP/2 begins: before them there is nothing that whoever serves it could ask for a sign of life.
const BEGINNING_BYTES: usize = 24;

/// A connection of somebody who may be known.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    standing: Standing,
    /// Bytes that have come.
    heard: usize,
    /// When it is over; nothing: when one of both ends it.
    ends: Option<Pin<Box<Sleep>>>,
    /// When the door is shut: whoever serves connections does not end them then.
    shut: Shut,
    is_over: bool,
}

/// Ready when the door is shut.
type Shut = Pin<Box<dyn Future<Output = ()> + Send>>;

/// As what a connection is here.
enum Standing {
    /// It is known, and stays.
    Known { _place: Taken },
    /// Nobody knows it: it asks one thing and goes, or makes place.
    Stranger(Place),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

fn in_ms(ms: u64) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
}

impl Connection {
    /// Whether it must end now. It stays so: what has said so is not asked again.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.is_over = self.is_over || self.must_end(context);
        self.is_over
    }

    fn must_end(&mut self, context: &mut Context<'_>) -> bool {
        let must_go = match &mut self.standing {
            Standing::Known { .. } => false,
            Standing::Stranger(place) => place.poll_goes(context).is_ready(),
        };
        let is_shut = self.shut.as_mut().poll(context).is_ready();
        must_go || is_shut || self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(context).is_ready())
    }

    /// So many bytes more have come. Whoever has begun is asked for signs of life from then on.
    fn hears(&mut self, bytes: usize) {
        let has_begun = self.heard >= BEGINNING_BYTES;
        self.heard = self.heard.saturating_add(bytes);
        if !has_begun && self.heard >= BEGINNING_BYTES {
            self.ends = match self.standing {
                Standing::Known { .. } => None,
                Standing::Stranger(_) => Some(in_ms(limits::STRANGER_MS)),
            };
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.hears(buffer.filled().len() - before);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn caller(identity: Option<&PeerIdentity>) -> Peer {
    let Some(shown) = identity else { return Peer::anonymous() };
    let caller = match &shown.identity.role {
        Role::Node(node) => Caller::Node(node.0),
        Role::Service(tenant) => Caller::Service(tenant.clone()),
        Role::Admin(name) => Caller::Admin(name.clone()),
    };
    Peer { caller, serial: shown.serial.clone(), ends_s: shown.ends_s }
}

/// Who is at a door, and who was not let in there.
#[derive(Debug)]
pub struct Attendance {
    known: Arc<Places>,
    strangers: Arc<Crowd>,
    handshakes: Arc<Crowd>,
    failed: AtomicU64,
}

impl Attendance {
    /// Nobody yet; `known` is how many of those with a certificate there may be.
    #[must_use]
    pub fn new(known: Bounds) -> Self {
        let strangers = Bounds { all: limits::STRANGERS_MAX, of_source: limits::SOURCE_STRANGERS_MAX };
        let handshakes = Bounds { all: limits::HANDSHAKES_MAX, of_source: limits::SOURCE_HANDSHAKES_MAX };
        Self {
            known: Arc::new(Places::new(known)),
            strangers: Arc::new(Crowd::new(strangers)),
            handshakes: Arc::new(Crowd::new(handshakes)),
            failed: AtomicU64::new(0),
        }
    }

    /// How many of those with a certificate there may be from now on.
    pub fn set_known(&self, bounds: Bounds) {
        self.known.set_bounds(bounds);
    }

    /// Connections that are served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.known.count() + self.strangers.count()
    }

    /// Handshakes that have failed or came to no end, those that had to make place among them.
    #[must_use]
    pub fn refused_handshakes(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Connections that were sent away after their handshake: there was no place for one with a certificate, or one without had to make
    /// place.
    #[must_use]
    pub fn refused_connections(&self) -> u64 {
        self.known.refused() + self.strangers.sent_away()
    }
}

/// Who takes connections of one door.
struct Porter {
    tls: Tls,
    acceptor: TlsAcceptor,
    attendance: Arc<Attendance>,
    taken: mpsc::Sender<io::Result<Connection>>,
    /// It ends with the task that takes connections.
    open: watch::Receiver<()>,
}

/// Connections of `listener`, as they come.
#[must_use]
pub fn connections(
    listener: TcpListener,
    tls: &Tls,
    demanded: Arc<ServerConfig>,
    attendance: Arc<Attendance>,
    spawner: &Spawner,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (taken, waiting) = mpsc::channel(WAITING_MAX);
    let (is_open, open) = watch::channel(());
    let porter = Arc::new(Porter { tls: tls.clone(), acceptor: demanded.into(), attendance, taken, open });
    let shakes = spawner.clone();
    spawner.spawn("accept", async move {
        let _is_open = is_open;
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (porter, source) = (porter.clone(), from.ip().into());
                    let place = porter.attendance.handshakes.enter(source);
                    shakes.spawn("handshake", async move { porter.admit(stream, source, place).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(Duration::from_millis(BREATH_MS)).await;
                }
            }
        }
    });
    waiting
}

impl Porter {
    async fn admit(&self, stream: TcpStream, source: Source, mut place: Place) {
        // It only makes small answers leave at once.
        let _ = stream.set_nodelay(true);
        let within = Duration::from_millis(limits::HANDSHAKE_MS);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(within, self.acceptor.accept(stream)) => shaken.ok(),
            () = place.goes() => None,
        };
        drop(place);
        let Some(Ok(stream)) = shaken else {
            self.attendance.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a handshake has failed");
            return;
        };
        let shown = self.tls.peer(stream.get_ref().1.peer_certificates());
        let Ok(identity) = shown else { return };
        let standing = match identity {
            None => Standing::Stranger(self.attendance.strangers.enter(source)),
            Some(_) => match self.attendance.known.take(source) {
                Some(place) => Standing::Known { _place: place },
                None => {
                    tracing::debug!("as many connections as there may be: one is sent away");
                    return;
                }
            },
        };
        let mut open = self.open.clone();
        // Nothing is ever sent: it fails when the door is shut.
        let shut: Shut = Box::pin(async move { drop(open.changed().await) });
        let (peer, ends) = (caller(identity.as_ref()), Some(in_ms(limits::HANDSHAKE_MS)));
        // It fails when the node ends.
        let taken = Connection { stream, peer, standing, heard: 0, ends, shut, is_over: false };
        let _ = self.taken.send(Ok(taken)).await;
    }
}
