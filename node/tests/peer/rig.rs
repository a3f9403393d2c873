//! Nodes with certificates, a peer that notes what it is asked, and a cable that can be cut.

use bytes::Bytes;
use engine::ids::{ClusterId, NodeId};
use node::peer::{Addresses, Identify, PeerParts, PeerServer, Serve, Serving, TlsLink};
use node::work::{Fate, Tasks};
use raft::log::LogName;
use raft::net::heard::Voice;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub const NAME: &str = "node.dewpond";

/// The authority of a cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

pub fn uri(cluster: ClusterId, role: &str, id: u64) -> String {
    let hex: String = cluster.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("dewpond://{hex}/{role}/{id}")
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    fn issue(&self, uri: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    pub fn server(&self, uri: &str) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let (chain, key) = self.issue(uri);
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = config.with_client_cert_verifier(clients.build().unwrap());
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }

    pub fn client(&self, uri: Option<&str>) -> Arc<ClientConfig> {
        self.client_that_trusts(self, uri)
    }

    /// Dials with a certificate of this authority those with one of another.
    pub fn client_that_trusts(&self, other: &Self, uri: Option<&str>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = config.with_root_certificates(other.roots());
        Arc::new(match uri.map(|uri| self.issue(uri)) {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        })
    }
}

/// Reads the name in a certificate.
pub fn identify() -> Identify {
    Arc::new(|chain| {
        let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        names.value.general_names.iter().find_map(|name| {
            let x509_parser::extensions::GeneralName::URI(uri) = name else { return None };
            let (cluster, id) = uri.strip_prefix("dewpond://")?.split_once("/node/")?;
            let cluster = u128::from_str_radix(cluster, 16).ok()?.to_be_bytes();
            Some((ClusterId(cluster), NodeId(id.parse().ok()?)))
        })
    })
}

pub fn voice(node: u64, incarnation: u64) -> Voice {
    Voice { node: NodeId(node), log: LogName([node as u8; 16]), incarnation, start: 0 }
}

/// How a peer answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With what it was asked, sooner or later.
    Echoes,
    /// At once, and notes nothing.
    Returns,
    /// Never.
    Stalls,
    /// After so many milliseconds.
    Takes(u64),
    /// With so many bytes.
    Swells(usize),
}

/// Notes what it is asked.
pub struct Peer {
    voice: Voice,
    manner: Manner,
    pub asked: Mutex<Vec<(Voice, Bytes)>>,
    pub ended: Arc<AtomicUsize>,
    /// Calls that were given to it, polled or not.
    given: AtomicUsize,
    /// Calls that were given to it while one before was not polled yet.
    pub early: AtomicUsize,
}

impl Peer {
    pub fn new(voice: Voice, manner: Manner) -> Arc<Self> {
        Arc::new(Self {
            voice,
            manner,
            asked: Mutex::default(),
            ended: Arc::default(),
            given: AtomicUsize::new(0),
            early: AtomicUsize::new(0),
        })
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A handle that serves as the peer does.
pub struct Handed(pub Arc<Peer>);

impl Serve for Handed {
    fn voice(&self) -> Voice {
        self.0.voice
    }

    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Bytes> {
        let peer = self.0.clone();
        if peer.manner == Manner::Returns {
            return Box::pin(std::future::ready(frame));
        }
        let given = peer.given.fetch_add(1, Ordering::Relaxed);
        peer.early.fetch_add(usize::from(given > peer.count()), Ordering::Relaxed);
        Box::pin(async move {
            // The first poll.
            let count = {
                let mut asked = peer.asked.lock().unwrap();
                asked.push((by, frame.clone()));
                asked.len()
            };
            let answer = match peer.manner {
                Manner::Returns => frame,
                Manner::Echoes => {
                    for _ in 0..count % 4 {
                        tokio::task::yield_now().await;
                    }
                    frame
                }
                Manner::Stalls => std::future::pending().await,
                Manner::Takes(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    frame
                }
                Manner::Swells(bytes) => vec![7; bytes].into(),
            };
            peer.ended.fetch_add(1, Ordering::Relaxed);
            answer
        })
    }
}

/// Where nodes are.
pub type Book = Arc<Mutex<BTreeMap<NodeId, String>>>;

/// A node.
pub struct Node {
    pub id: NodeId,
    pub tasks: Tasks,
    pub fates: Arc<Mutex<Vec<Fate>>>,
    pub serving: Serving,
    pub link: Arc<TlsLink>,
    pub server: PeerServer,
    pub book: Book,
    pub address: String,
}

impl Node {
    /// A node that listens at `at`, serves as `peer` and finds others in `book`.
    pub async fn start(authority: &Authority, peer: &Arc<Peer>, book: &Book, at: &str) -> Self {
        let id = peer.voice.node;
        Self::with(authority, &uri(CLUSTER, "node", id.0), (CLUSTER, peer), book, at).await
    }

    pub async fn with(
        authority: &Authority,
        uri: &str,
        (cluster, peer): (ClusterId, &Arc<Peer>),
        book: &Book,
        at: &str,
    ) -> Self {
        let (id, fates) = (peer.voice.node, Arc::<Mutex<Vec<Fate>>>::default());
        let told = fates.clone();
        let tasks = Tasks::new(Arc::new(move |fate| told.lock().unwrap().push(fate)));
        let serving = Serving::default();
        serving.set(Arc::new(Handed(peer.clone())));
        let parts = PeerParts { node: id, cluster, serving: serving.clone(), identify: identify() };
        let server = PeerServer::new(parts.clone(), authority.server(uri), tasks.spawner());
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        server.listen(listener);
        book.lock().unwrap().insert(id, address.clone());
        let found = book.clone();
        let addresses: Addresses = Arc::new(move |node| found.lock().unwrap().get(&node).cloned());
        let name = ServerName::try_from(NAME).unwrap();
        let link = TlsLink::new(parts, (authority.client(Some(uri)), name), addresses, tasks.spawner());
        Self { id, tasks, fates, serving, link, server, book: book.clone(), address }
    }

    /// Asks until there is an answer.
    pub async fn ask(&self, to: NodeId, lane: Lane, frame: &[u8]) -> Said {
        let frame = Bytes::copy_from_slice(frame);
        let asked = async {
            loop {
                match self.link.call(to, lane, frame.clone()).await {
                    Ok(said) => return said,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        soon(asked).await
    }

    pub async fn call(&self, to: NodeId, frame: &[u8]) -> Result<Said, Unreachable> {
        soon(self.link.call(to, Lane::Control, Bytes::copy_from_slice(frame))).await
    }

    /// No task has panicked.
    pub fn is_whole(&self) {
        assert_eq!(*self.fates.lock().unwrap(), [], "tasks of {}", self.id);
    }
}

/// Two nodes, 1 and 2. The second answers in a manner.
pub async fn pair(manner: Manner) -> (Authority, Node, Node, Arc<Peer>) {
    let (authority, book) = (Authority::new(), Book::default());
    let peer = Peer::new(voice(2, 1), manner);
    let one = Node::start(&authority, &Peer::new(voice(1, 1), Manner::Echoes), &book, "127.0.0.1:0").await;
    let two = Node::start(&authority, &peer, &book, "127.0.0.1:0").await;
    (authority, one, two, peer)
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it comes soon")
}

pub async fn until(what: impl Fn() -> bool) {
    let comes = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(comes).await;
}

/// A TLS connection to a node, made by hand.
pub async fn dial(address: &str, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(tls).connect(ServerName::try_from(NAME).unwrap(), tcp).await
}

/// A cable to a node.
pub struct Cable {
    pub address: String,
    wires: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
    is_still: tokio::sync::watch::Sender<bool>,
}

impl Cable {
    pub async fn to(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, wires) = (listener.local_addr().unwrap().to_string(), Arc::<Mutex<Vec<_>>>::default());
        let (is_still, laid) = (tokio::sync::watch::Sender::new(false), wires.clone());
        let still = is_still.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (far, still) = (TcpStream::connect(&address).await, still.subscribe());
                let Ok(far) = far else { continue };
                let wire = tokio::spawn(async move {
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(carry(near_in, far_out, still.clone()), carry(far_in, near_out, still));
                });
                laid.lock().unwrap().push(wire.abort_handle());
            }
        });
        Self { address: own, wires, is_still }
    }

    /// How many connections were made since the last cut.
    pub fn connections(&self) -> usize {
        self.wires.lock().unwrap().len()
    }

    /// All connections break.
    pub fn cut(&self) -> usize {
        let wires = std::mem::take(&mut *self.wires.lock().unwrap());
        wires.iter().for_each(tokio::task::AbortHandle::abort);
        wires.len()
    }

    /// Nothing moves, and nobody is told.
    pub fn stand_still(&self, is_still: bool) {
        self.is_still.send_replace(is_still);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut still: tokio::sync::watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if still.wait_for(|is_still| !is_still).await.is_err() || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}
