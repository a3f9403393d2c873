//! Takes connections: TLS of our own, and from the certificate who comes. At most so many at once, and none that is slow to say who it is.

use super::guard::Peer;
use crate::access::action::Caller;
use crate::boot::certificate::PeerIdentity;
use crate::boot::subject::Role;
use crate::limits;
use crate::tls::Tls;
use crate::work::Spawner;
use rustls::ServerConfig;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// After the system has refused to let somebody in, in milliseconds.
const BREATH_MS: u64 = 50;
/// Connections that have shaken hands and wait to be served.
const WAITING_MAX: usize = 64;

/// A connection of somebody who may be known.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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

/// Who takes connections of one door.
struct Porter {
    tls: Tls,
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    taken: mpsc::Sender<io::Result<Connection>>,
}

/// Connections of `listener`, as they come.
#[must_use]
pub fn connections(
    listener: TcpListener,
    tls: &Tls,
    demanded: Arc<ServerConfig>,
    spawner: &Spawner,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (taken, waiting) = mpsc::channel(WAITING_MAX);
    let porter = Arc::new(Porter {
        tls: tls.clone(),
        acceptor: demanded.into(),
        places: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
        strangers: Arc::new(Semaphore::new(limits::STRANGERS_MAX)),
        handshakes: Arc::new(Semaphore::new(limits::HANDSHAKES_MAX)),
        taken,
    });
    let shakes = spawner.clone();
    spawner.spawn("accept", async move {
        loop {
            // Whoever comes while all places are taken waits in the queue of the system.
            let Ok(place) = porter.handshakes.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let porter = porter.clone();
                    shakes.spawn("handshake", async move { porter.shake(stream, place).await });
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
    async fn shake(&self, stream: TcpStream, _handshake: OwnedSemaphorePermit) {
        // It only makes small answers leave at once.
        let _ = stream.set_nodelay(true);
        let within = Duration::from_millis(limits::HANDSHAKE_MS);
        let shaken = tokio::time::timeout(within, self.acceptor.accept(stream)).await;
        let Ok(Ok(stream)) = shaken else {
            tracing::debug!("a handshake has failed");
            return;
        };
        let shown = self.tls.peer(stream.get_ref().1.peer_certificates());
        let Ok(identity) = shown else { return };
        let places = if identity.is_some() { &self.places } else { &self.strangers };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!("as many connections as there may be: one is sent away");
            return;
        };
        let peer = caller(identity.as_ref());
        // It fails when the node ends.
        let _ = self.taken.send(Ok(Connection { stream, peer, _place: place })).await;
    }
}
