//! One whole node behind its real doors, and those who come to them.

use engine::clock::Clock;
use engine::ids::TenantId;
use engine::sealed::SecretBytes;
use node::boot::identity::NodeFolder;
use node::boot::init::{self, FirstAdmin};
use node::boot::{authority, subject::Identity};
use node::clock::SystemClock;
use node::entropy::SystemEntropy;
use node::keys::hierarchy;
use node::keys::kms::Passphrase;
use node::keys::kms::file::Cost;
use node::meta::command::{Change, MetaCommand, MetaReply};
use node::server::Server;
use node::server::disk::{Space, SystemSpace};
use node::tenants::rules::Quota;
use node::tls::{self, Credentials, Tls};
use node::{api, config, dial, server};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;

const WAIT_MS: u64 = 5_000;
const ROUNDS: usize = 600;

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    pub client: SocketAddr,
    pub admin: SocketAddr,
    pub peer: SocketAddr,
    pub metrics: SocketAddr,
}

pub struct One {
    dir: tempfile::TempDir,
    config: Arc<config::Config>,
    pub server: Arc<Server>,
    pub doors: Doors,
    admin: FirstAdmin,
}

pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..ROUNDS {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be that {what}");
}

/// Waits for `talk`, but not for ever.
pub async fn soon<T>(talk: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), talk).await.expect("it takes too long")
}

fn passphrase() -> Passphrase {
    Passphrase::from(b"a passphrase for tests".to_vec())
}

fn config(folder: &Path, doors: Doors, more: &[(&str, &str)]) -> Arc<config::Config> {
    let set = [
        ("data_dir", folder.display().to_string()),
        ("name", "a-node".to_owned()),
        ("listen.client", doors.client.to_string()),
        ("listen.admin", doors.admin.to_string()),
        ("listen.peer", doors.peer.to_string()),
        ("listen.metrics", doors.metrics.to_string()),
        ("raft.heartbeat", "100ms".to_owned()),
        ("raft.election_min", "400ms".to_owned()),
        ("raft.election_max", "800ms".to_owned()),
        ("log.segment_bytes", "64 MiB".to_owned()),
        ("engine.memtable_bytes", "32 MiB".to_owned()),
        ("engine.cache_bytes", "32 MiB".to_owned()),
    ];
    let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let flags = set.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(more);
    Arc::new(config::file::load(None, [], flags).unwrap())
}

/// A node that has founded its cluster.
pub async fn one(more: &[(&str, &str)]) -> One {
    one_over(more, Arc::new(SystemSpace(std::env::temp_dir()))).await
}

/// One whose disk has so much room.
pub async fn one_over(more: &[(&str, &str)], space: Arc<dyn Space>) -> One {
    one_of(more, space, 0).await
}

/// One whose cluster was made so many seconds ago.
pub async fn one_aged(age_s: u64) -> One {
    one_of(&[], Arc::new(SystemSpace(std::env::temp_dir())), age_s).await
}

async fn one_of(more: &[(&str, &str)], space: Arc<dyn Space>, age_s: u64) -> One {
    one_in(tempfile::tempdir().unwrap(), more, space, age_s).await
}

/// One whose folder lies in `dir`.
pub async fn one_in(dir: tempfile::TempDir, more: &[(&str, &str)], space: Arc<dyn Space>, age_s: u64) -> One {
    let folder = dir.path().join("one");
    let new = init::NewCluster {
        name: "test",
        shards: 2,
        node: ("one", "eu"),
        hosts: &["127.0.0.1".to_owned()],
        admin: "root",
        passphrase: &passphrase(),
        cost: Cost::LEAST,
        now_s: SystemClock::default().now_ms() / 1_000 - age_s,
    };
    let admin = init::init(&folder, &new, Arc::new(SystemEntropy)).unwrap();
    let mut listeners = Vec::new();
    for _ in 0..4 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let [client, admins, peer, metrics] = listeners.try_into().unwrap();
    let at = |listener: &TcpListener| listener.local_addr().unwrap();
    let doors = Doors { client: at(&client), admin: at(&admins), peer: at(&peer), metrics: at(&metrics) };
    drop(metrics);
    let config = config(&folder, doors, more);
    let server = start(&config, [client, admins, peer], space).await;
    One { dir, config, server, doors, admin }
}

/// A node that was stopped: what it needs to start anew.
pub struct Stopped {
    dir: tempfile::TempDir,
    config: Arc<config::Config>,
    doors: Doors,
}

impl Stopped {
    /// Its doors are taken again. The folder goes with the last of what is returned.
    pub async fn doors(self) -> (Arc<config::Config>, server::porch::Doors, tempfile::TempDir) {
        let Self { dir, config, doors } = self;
        let (client, admin, peer) =
            (bind(doors.client).await, bind(doors.admin).await, bind(doors.peer).await);
        (config, server::porch::Doors { client, admin, peer }, dir)
    }
}

async fn start(
    config: &Arc<config::Config>,
    [client, admins, peer]: [TcpListener; 3],
    space: Arc<dyn Space>,
) -> Arc<Server> {
    let make = Box::new(api::forward::make);
    let server = Server::start_over(config.clone(), passphrase(), peer, make, space).await.unwrap();
    server.serve((client, admins)).unwrap();
    eventually("it is founded and leads everything", async || {
        let shards = &server.meta().shards;
        !shards.is_empty() && shards.keys().all(|group| server.leader(*group) == Some(server.node()))
    })
    .await;
    server
}

async fn bind(at: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(at).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl One {
    /// Its folder.
    pub fn folder(&self) -> NodeFolder {
        NodeFolder::at(&self.dir.path().join("one"))
    }

    /// Stops it. It is to start anew with these settings too.
    pub async fn stopped(self, more: &[(&str, &str)]) -> Stopped {
        let config = config(&self.dir.path().join("one"), self.doors, more);
        let Self { dir, server, doors, .. } = self;
        server.stop(0).await;
        let held = Arc::downgrade(&server);
        drop(server);
        eventually("its connections are gone", async || held.strong_count() == 0).await;
        Stopped { dir, config, doors }
    }

    /// Stops it, does something to its folder, and starts it again.
    pub async fn restart(self, meanwhile: impl FnOnce(&NodeFolder)) -> Self {
        self.restart_over(Arc::new(SystemSpace(std::env::temp_dir())), meanwhile).await
    }

    /// The same, on a disk that has so much room then.
    pub async fn restart_over(self, space: Arc<dyn Space>, meanwhile: impl FnOnce(&NodeFolder)) -> Self {
        let folder = self.folder();
        let Self { dir, config, server, doors, admin } = self;
        server.stop(0).await;
        let held = Arc::downgrade(&server);
        drop(server);
        eventually("its connections are gone", async || held.strong_count() == 0).await;
        meanwhile(&folder);
        let listeners = [bind(doors.client).await, bind(doors.admin).await, bind(doors.peer).await];
        let server = start(&config, listeners, space).await;
        Self { dir, config, server, doors, admin }
    }

    /// A certificate and its key that were made so many seconds ago, or in so many if that is below 0.
    pub fn made(&self, identity: &Identity, age_s: i64) -> (String, SecretBytes) {
        let request = authority::request().unwrap();
        let now_s = (SystemClock::default().now_ms() / 1_000).checked_add_signed(-age_s).unwrap();
        let authority = self.server.authority().unwrap();
        let issued = authority.issue(identity, &[], &request.pem, now_s, &SystemEntropy).unwrap();
        (issued.pem, request.key)
    }

    pub fn tls(&self, certificate: &str, key: &[u8]) -> Tls {
        let clock = Arc::new(SystemClock::default());
        let credentials =
            Credentials::load(self.admin.cluster, certificate, key, &self.admin.authority, &*clock).unwrap();
        Tls::new(credentials, clock)
    }

    /// TLS of the first administrator.
    pub fn admin(&self) -> Tls {
        self.tls(&self.admin.certificate, &self.admin.key)
    }

    /// TLS of somebody new.
    pub fn issued(&self, identity: &Identity) -> Tls {
        let (certificate, key) = self.made(identity, 0);
        self.tls(&certificate, &key)
    }

    /// TLS of a service of a tenant.
    pub fn service(&self, tenant: &str) -> Tls {
        self.issued(&Identity::service(self.admin.cluster, tenant).unwrap())
    }

    /// A tenant more.
    pub async fn tenant(&self, name: &str) -> TenantId {
        let id = TenantId(node::entropy::random_id(&SystemEntropy));
        let keys = hierarchy::make_tenant(self.server.keys().sealer(), id, Arc::new(SystemEntropy)).unwrap();
        let (quota, name) = (Quota::default(), name.to_owned());
        let mut changes = vec![Change::CreateTenant { id, name, quota, history_ms: 3_600_000 }];
        changes.extend(keys.iter().map(node::meta::key_row::put));
        let reply = self.server.change(MetaCommand::new(changes), WAIT_MS).await.unwrap();
        assert!(matches!(reply, MetaReply::Applied { .. }), "{reply:?}");
        id
    }
}

/// A channel of gRPC.
pub fn channel(address: SocketAddr, tls: &Tls) -> Channel {
    dial::channel(&address.to_string(), tls.client(None, tls::GRPC).unwrap()).unwrap()
}

/// A connection on which TLS is spoken, and nothing inside yet.
pub async fn inside(address: SocketAddr, tls: &Tls, protocol: &[u8]) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    soon(shake(stream, tls.client(None, protocol).unwrap())).await.unwrap()
}

/// Shakes hands on a connection.
pub async fn shake(stream: TcpStream, tls: Arc<rustls::ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(tls).connect(ServerName::try_from(dial::NAME).unwrap(), stream).await
}

/// Writes bytes and hears what comes until the other end closes; whatever goes wrong meanwhile is an end too.
pub async fn throw(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    let talk = async {
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut heard).await;
    };
    soon(talk).await;
    heard
}

/// Bytes that follow from a number.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// How often anything in this process has panicked, from the first call on.
pub fn panics() -> usize {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(info);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}
