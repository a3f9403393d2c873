//! The door for peers: who comes must show the certificate of a node of this cluster, say that it is that node, and do so soon.

use super::PeerParts;
use super::frame::{Farewell, Hello, VERSIONS, chosen};
use super::limits::{GOODBYE_MS, STRANGER_MS, STRANGERS};
use super::served::{Load, Served};
use super::serving::Server;
use super::wire::{End, hear, say};
use crate::work::crowd::{Crowd, Place};
use crate::work::{Spawner, Task};
use engine::ids::NodeId;
use engine::stats::Counter;
use raft::net::heard::Voice;
use raft::net::link::Lane;
use rustls::{AlertDescription, ServerConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// After the system has refused to let somebody in, such as for want of file descriptors, in milliseconds.
const BREATH_MS: u64 = 50;

/// Takes the connections of peers.
#[derive(Clone)]
pub struct PeerServer(Arc<Inside>);

/// Whose turn it is, by peer and lane.
type Turns = BTreeMap<(NodeId, Lane), Arc<Turn>>;

struct Inside {
    parts: PeerParts,
    tls: TlsAcceptor,
    spawner: Spawner,
    /// Connections that have not said who they are.
    strangers: Arc<Crowd>,
    /// Of those, such as were not let in.
    refused: Counter,
    /// Of those, such as had, or wanted, certificates of another cluster.
    foreign: Counter,
    turns: Mutex<Turns>,
}

/// Whose turn it is on a lane of a peer. A newer connection waits until the one before takes no frames any more.
#[derive(Default)]
struct Turn {
    newest: watch::Sender<u64>,
    floor: tokio::sync::Mutex<()>,
    load: Arc<Load>,
}

/// A connection of a peer that has said who it is.
struct Guest {
    stream: TlsStream<TcpStream>,
    hello: Hello,
    version: u16,
    server: Server,
}

impl fmt::Debug for PeerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerServer").finish_non_exhaustive()
    }
}

impl PeerServer {
    /// One that shows and demands certificates as `tls` says, which must ask for one of the client. Tasks are those of `spawner`.
    #[must_use]
    pub fn new(parts: PeerParts, tls: Arc<ServerConfig>, spawner: Spawner) -> Self {
        let (strangers, turns) = (Arc::new(Crowd::new(STRANGERS)), Mutex::default());
        let (tls, refused, foreign) = (tls.into(), Counter::default(), Counter::default());
        Self(Arc::new(Inside { parts, tls, spawner, strangers, refused, foreign, turns }))
    }

    /// Takes connections of `listener`, until the tasks end.
    pub fn listen(&self, listener: TcpListener) -> Task {
        let inside = self.0.clone();
        self.0.spawner.spawn("peer door", async move {
            loop {
                match listener.accept().await {
                    Ok((tcp, from)) => inside.clone().admit(tcp, from.ip()),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be taken");
                        sleep(Duration::from_millis(BREATH_MS)).await;
                    }
                }
            }
        })
    }

    /// Ends the connections of a node. Whoever removes it lets [`PeerParts::identify`] know nobody by its certificate before: else it
    /// comes again.
    pub fn forget(&self, node: NodeId) {
        let turns = self.0.turns();
        for turn in turns.iter().filter(|((of, _), _)| *of == node).map(|(_, turn)| turn) {
            turn.newest.send_modify(|number| *number += 1);
        }
    }

    /// Connections that have not said who they are.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.0.strangers.count()
    }

    /// Connections whose other end belongs to another cluster, or takes this one for another.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.0.foreign.read()
    }

    /// Connections that never became those of a peer: they said nothing in time, or were refused, or had to make place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.read()
    }
}

/// Whether a handshake has failed because one of both does not trust the certificate of the other.
fn is_foreign(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => true,
        Some(rustls::Error::AlertReceived(alert)) => matches!(
            alert,
            AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
        ),
        _ => false,
    }
}

impl Inside {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, node: NodeId, lane: Lane) -> Arc<Turn> {
        self.turns().entry((node, lane)).or_default().clone()
    }

    /// Lets a connection in as a stranger. If there are too many, the oldest must go.
    fn admit(self: Arc<Self>, tcp: TcpStream, from: IpAddr) {
        let place = self.strangers.enter(from.into());
        self.spawner.clone().spawn("peer connection", self.receive(tcp, place));
    }

    async fn receive(self: Arc<Self>, tcp: TcpStream, mut place: Place) {
        let within = Duration::from_millis(STRANGER_MS);
        let met = tokio::select! {
            met = timeout(within, self.meet(tcp)) => met.ok(),
            () = place.goes() => None,
        };
        drop(place);
        if !matches!(met, Some(Ok(_))) {
            self.refused.add(1);
        }
        let end = match met {
            Some(Ok(guest)) => self.serve(guest).await,
            Some(Err(end)) => end,
            None => End::Lost("a stranger that says nothing".to_owned()),
        };
        tracing::debug!(%end, "a connection of a peer ends");
    }

    /// Hears who it is.
    async fn meet(&self, tcp: TcpStream) -> Result<Guest, End> {
        tcp.set_nodelay(true)?;
        let accepted = self.tls.accept(tcp).await;
        let mut stream = accepted.inspect_err(|error| {
            if is_foreign(error) {
                self.foreign.add(1);
            }
        })?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = (self.parts.identify)(chain);
        let (cluster, node) = shown.ok_or_else(|| End::Lost("no certificate of a node".to_owned()))?;
        let hello = hear(&mut stream).await?;
        let server = self.parts.serving.now();
        let version = chosen(VERSIONS, hello.versions);
        let refusal = if (cluster, hello.cluster) != (self.parts.cluster, self.parts.cluster) {
            self.foreign.add(1);
            Farewell::OtherCluster
        } else if hello.by.node != node || node == self.parts.node {
            Farewell::OtherNode
        } else if hello.refusal.is_some() {
            Farewell::Malformed
        } else {
            match (version, server) {
                (Some(version), Some(server)) => return Ok(Guest { stream, hello, version, server }),
                (None, _) => Farewell::Version,
                (_, None) => Farewell::NotReady,
            }
        };
        tracing::debug!(%node, %refusal, "a peer is refused");
        say(&mut stream, &Hello { refusal: Some(refusal), ..self.hello(&hello, None) }).await?;
        // Whoever is refused may be gone.
        let _ = timeout(Duration::from_millis(GOODBYE_MS), stream.shutdown()).await;
        Err(End::Tell(refusal))
    }

    /// What answers a hello.
    fn hello(&self, asked: &Hello, voice: Option<Voice>) -> Hello {
        let by = Voice { node: self.parts.node, ..voice.unwrap_or_default() };
        Hello { versions: VERSIONS, lane: asked.lane, refusal: None, cluster: self.parts.cluster, by }
    }

    /// Serves a peer on one of its lanes, when nobody else does any more.
    async fn serve(&self, guest: Guest) -> End {
        let Guest { mut stream, hello, version, mut server } = guest;
        let turn = self.turn(hello.by.node, hello.lane);
        let mut newest = turn.newest.subscribe();
        let own = {
            let mut own = 0;
            turn.newest.send_modify(|number| {
                *number += 1;
                own = *number;
            });
            own
        };
        let (flights, end) = {
            let Ok(_floor) = timeout(Duration::from_millis(STRANGER_MS), turn.floor.lock()).await else {
                return End::Lost("the connection before does not end".to_owned());
            };
            let (serve, versions) = (server.serve.clone(), (version, version));
            let answer = Hello { versions, ..self.hello(&hello, Some(serve.voice())) };
            let answered = say(&mut stream, &answer);
            match timeout(Duration::from_millis(STRANGER_MS), answered).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return End::Lost("a hello that is not taken".to_owned()),
            }
            let ends = async {
                tokio::select! {
                    () = server.changed() => End::Tell(Farewell::OtherVoice),
                    _ = newest.wait_for(|newest| *newest != own) => End::Tell(Farewell::Replaced),
                }
            };
            Served { serve, by: hello.by, load: turn.load.clone() }.run(stream, ends).await
        };
        if flights.count() > 0 {
            // What is begun goes on, though nobody hears the answer.
            self.spawner.spawn("peer calls of a lost link", flights.land());
        }
        end
    }
}
