//! A cluster in this process, for tests of applications: no imitation but whole nodes, with their access checks, groups of voters, engine and
//! sealing, over TLS on loopback, in a folder that goes with them. Mostly of one node; of three, to see what becomes of an application when
//! a leader is lost.

use crate::api::{self, Backend as _};
use crate::boot::init::{self, FirstAdmin, NewCluster};
use crate::boot::subject::Identity;
use crate::boot::{authority, join, token};
use crate::clock::SystemClock;
use crate::cmd::Failure;
use crate::config;
use crate::entropy::{self, SystemEntropy};
use crate::keys::hierarchy;
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::Cost;
use crate::limits;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::key_row;
use crate::server::Server;
use crate::server::backend::Called;
use crate::server::joining::Newcomer;
use crate::tenants::rules::Quota;
use engine::clock::Clock as _;
use engine::ids::TenantId;
use engine::sealed::SecretBytes;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Within which something comes to be, in milliseconds.
const WAIT_MS: u64 = 60_000;
/// How long a change of the meta group may take.
const CHANGE_MS: u64 = 10_000;
/// How long it may take to hand over, which a node alone cannot, and one that is lost does not.
const NO_GRACE_MS: u64 = 0;
/// How long the token of a node holds.
const TOKEN_MS: u64 = 60_000;
/// As many voters as a group has at most.
const VOTERS_MAX: usize = 3;

/// A node.
struct One {
    name: String,
    data: PathBuf,
    /// For peers, clients and administrators.
    addresses: [String; 3],
    /// None while it is lost.
    server: Option<Arc<Server>>,
    /// All of it runs here: what is lost ends with its connections, as with a process.
    runtime: Option<Runtime>,
}

impl Drop for One {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Who a service of a tenant is.
pub struct Service {
    /// Its certificate, PEM.
    pub certificate: String,
    /// The key of that, PEM.
    pub key: SecretBytes,
}

/// A cluster in this process.
pub struct Double {
    nodes: Vec<One>,
    admin: FirstAdmin,
    secret: [u8; 24],
    folder: TempDir,
}

/// Looks again and again until it is so.
async fn until(is_so: impl Fn() -> bool) -> Result<(), Failure> {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_millis(WAIT_MS), looks).await?)
}

fn doors(addresses: Option<&[String; 3]>) -> Result<[TcpListener; 3], Failure> {
    let mut listeners = Vec::new();
    for door in 0..3 {
        let address = addresses.map_or("127.0.0.1:0", |addresses| &addresses[door]);
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    Ok(listeners.try_into().map_err(|_| "three doors")?)
}

impl One {
    /// One with addresses of its own, which nobody knows yet; and its doors.
    fn new(folder: &TempDir, name: String) -> Result<(Self, [TcpListener; 3]), Failure> {
        let doors = doors(None)?;
        let at = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
        let addresses = [at(&doors[0])?, at(&doors[1])?, at(&doors[2])?];
        Ok((Self { data: folder.path().join(&name), name, addresses, server: None, runtime: None }, doors))
    }

    fn config(&self) -> Result<Arc<config::Config>, Failure> {
        let [peer, client, admin] = self.addresses.clone();
        let flags = [
            ("name", self.name.clone()),
            ("region", "here".to_owned()),
            ("data_dir", self.data.display().to_string()),
            ("advertise.peer", peer),
            ("advertise.client", client),
            ("advertise.admin", admin),
            ("raft.heartbeat", "100ms".to_owned()),
            ("raft.election_min", "400ms".to_owned()),
            ("raft.election_max", "800ms".to_owned()),
            ("log.segment_bytes", "32 MiB".to_owned()),
            ("engine.memtable_bytes", "4 MiB".to_owned()),
            ("engine.cache_bytes", "4 MiB".to_owned()),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value));
        Ok(Arc::new(config::file::load(None, [], flags)?))
    }
}

impl Double {
    /// Founds a cluster of one node, and waits until it serves.
    ///
    /// # Errors
    /// No port, no folder, or what keeps a node from starting.
    pub async fn start() -> Result<Self, Failure> {
        Box::pin(Self::of(1)).await
    }

    /// Founds a cluster of so many nodes, and waits until all of them serve and groups have as many voters as they are to have.
    ///
    /// # Errors
    /// No port, no folder, or what keeps a node from starting.
    pub async fn of(nodes: usize) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let secret: [u8; 24] = entropy::random(&SystemEntropy);
        let secret = secret.map(|byte| b'a' + byte % 26);
        let (first, doors) = One::new(&folder, "double".to_owned())?;
        let new = NewCluster {
            name: "double",
            shards: 1,
            node: (&first.name, "here"),
            hosts: &["127.0.0.1".to_owned()],
            admin: "admin",
            passphrase: &Passphrase::from(secret.to_vec()),
            cost: Cost::LEAST,
            now_s: SystemClock::default().now_ms() / 1_000,
        };
        let admin = init::init(&first.data, &new, Arc::new(SystemEntropy))?;
        let mut double = Self { nodes: vec![first], admin, secret, folder };
        double.run(0, doors).await?;
        for node in 1..nodes {
            Box::pin(double.join(format!("double-{node}"), 0)).await?;
        }
        until(|| double.is_whole()).await?;
        Ok(double)
    }

    /// Whether every group has as many voters as it is to have, and somebody leads it.
    fn is_whole(&self) -> bool {
        let wanted = self.nodes.len().min(VOTERS_MAX);
        let voters = |server: &Arc<Server>, group| {
            let standing = server.running().ok()?.replica(group)?.receiver.group().standing();
            let voters = &standing.membership.1.voters;
            (standing.is_leader && voters.len() == 1).then(|| voters[0].len())
        };
        let servers = || self.nodes.iter().filter_map(|one| one.server.as_ref());
        let groups: Vec<_> =
            servers().flat_map(|server| server.meta().shards.keys().copied().collect::<Vec<_>>()).collect();
        !groups.is_empty()
            && groups.iter().all(|group| {
                servers().any(|server| voters(server, *group).is_some_and(|count| count >= wanted))
            })
    }

    fn server(&self, node: usize) -> Option<&Arc<Server>> {
        self.nodes.get(node)?.server.as_ref()
    }

    async fn run(&mut self, node: usize, doors: [TcpListener; 3]) -> Result<(), Failure> {
        let one = self.nodes.get_mut(node).ok_or("there is no such node")?;
        let [peer, client, admin] = doors;
        let (config, passphrase) = (one.config()?, Passphrase::from(self.secret.to_vec()));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let starts = async move {
            let door = |listener| Ok::<_, Failure>(tokio::net::TcpListener::from_std(listener)?);
            let server = Server::start(config, passphrase, door(peer)?, Box::new(api::forward::make)).await?;
            server.serve((door(client)?, door(admin)?))?;
            Ok::<_, Failure>(server)
        };
        let started = runtime.spawn(starts).await?;
        one.runtime = Some(runtime);
        let server = started?;
        one.server = Some(server.clone());
        tokio::select! {
            serves = until(|| server.meta().cluster.is_some() || server.fenced().is_some()) => serves,
            why = server.failed() => Err(why.into()),
        }
    }

    /// A node more, of this name, that applies so many milliseconds late and answers no client.
    ///
    /// # Errors
    /// No port, no folder, a delay that none may have, or what keeps a node from starting.
    pub async fn join_late(&mut self, name: &str, delay_ms: u64) -> Result<(), Failure> {
        Box::pin(self.join(name.to_owned(), delay_ms)).await
    }

    /// A node more.
    async fn join(&mut self, name: String, delay_ms: u64) -> Result<(), Failure> {
        let node = self.nodes.len();
        let (one, doors) = One::new(&self.folder, name)?;
        let first = self.server(0).ok_or("nobody lets it in")?;
        let secret: [u8; 32] = entropy::random(&SystemEntropy);
        let ends_ms = SystemClock::default().now_ms() + TOKEN_MS;
        let made = MetaCommand::new(vec![Change::MakeToken(token::hash(&secret), ends_ms)]);
        Box::pin(first.change(made, CHANGE_MS)).await?;
        let request = authority::request()?;
        let newcomer = Newcomer {
            secret: secret.to_vec(),
            request: request.pem,
            name: one.name.clone(),
            region: "here".to_owned(),
            peer_address: one.addresses[0].clone(),
            client_address: one.addresses[1].clone(),
            delay_ms,
        };
        let admittance = Box::pin(first.admit(&newcomer, CHANGE_MS)).await?;
        let (names, passphrase) = ((one.name.as_str(), "here"), Passphrase::from(self.secret.to_vec()));
        join::settle(&one.data, &admittance, names, request.key, &passphrase, Arc::new(SystemEntropy))?;
        self.nodes.push(one);
        self.run(node, doors).await
    }

    /// Where clients reach the first node.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.nodes[0].addresses[1]
    }

    /// Where clients reach each node, lost ones too.
    #[must_use]
    pub fn endpoints(&self) -> Vec<&str> {
        self.nodes.iter().map(|one| one.addresses[1].as_str()).collect()
    }

    /// Where administrators reach the first node.
    #[must_use]
    pub fn admin_endpoint(&self) -> &str {
        &self.nodes[0].addresses[2]
    }

    /// Where administrators reach each node, lost ones too.
    #[must_use]
    pub fn admin_endpoints(&self) -> Vec<&str> {
        self.nodes.iter().map(|one| one.addresses[2].as_str()).collect()
    }

    /// The certificate of its authority, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.admin.authority
    }

    /// The certificate of an administrator, PEM.
    #[must_use]
    pub fn admin_certificate(&self) -> &str {
        &self.admin.certificate
    }

    /// The key of that, PEM.
    #[must_use]
    pub fn admin_key(&self) -> &[u8] {
        &self.admin.key
    }

    /// Makes a tenant, and a certificate for its service.
    ///
    /// # Errors
    /// There is one of this name, or the name is none.
    pub async fn tenant(&self, name: &str) -> Result<Service, Failure> {
        let server = self.nodes.iter().find_map(|one| one.server.as_ref()).ok_or("no node runs")?;
        let (id, entropy) = (TenantId(entropy::random_id(&SystemEntropy)), Arc::new(SystemEntropy));
        let keys = hierarchy::make_tenant(server.keys().sealer(), id, entropy)?;
        let (quota, history_ms) = (Quota::default(), limits::HISTORY_MS);
        let mut changes = vec![Change::CreateTenant { id, name: name.to_owned(), quota, history_ms }];
        changes.extend(keys.iter().map(key_row::put));
        match server.change(MetaCommand::new(changes), CHANGE_MS).await? {
            MetaReply::Applied { .. } => {}
            other => return Err(format!("the tenant is refused: {other:?}").into()),
        }
        let servers = || self.nodes.iter().filter_map(|one| one.server.as_ref());
        until(|| servers().all(|server| server.meta().tenant_named(name).is_some())).await?;
        let authority = server.authority()?;
        let identity = Identity::service(Called(server.clone()).cluster(), name).ok_or("that is no name")?;
        let (request, now_s) = (authority::request()?, SystemClock::default().now_ms() / 1_000);
        let issued = authority.issue(&identity, &[], &request.pem, now_s, &SystemEntropy)?;
        Ok(Service { certificate: issued.pem, key: request.key })
    }

    /// The node that leads the shard of a tenant, if one does.
    #[must_use]
    pub fn leader(&self, tenant: &str) -> Option<usize> {
        let leads = |one: &One| {
            let server = one.server.as_ref()?;
            let meta = server.meta();
            let group = meta.shard_of(meta.tenant_named(tenant)?.id)?.group;
            Some(server.running().ok()?.replica(group)?.receiver.group().leads())
        };
        self.nodes.iter().position(|one| leads(one) == Some(true))
    }

    /// Whether a node runs.
    #[must_use]
    pub fn runs(&self, node: usize) -> bool {
        self.server(node).is_some()
    }

    /// Ends a node without a word to anybody. What it has on its disk stays.
    ///
    /// # Errors
    /// There is no such node, or it is lost already.
    pub async fn lose(&mut self, node: usize) -> Result<(), Failure> {
        let one = self.nodes.get_mut(node).ok_or("there is no such node")?;
        let server = one.server.take().ok_or("it is lost already")?;
        server.stop(NO_GRACE_MS).await;
        if let Some(runtime) = one.runtime.take() {
            runtime.shutdown_background();
        }
        // Its folder is free when nothing of it is left.
        let held = Arc::downgrade(&server);
        drop(server);
        until(|| held.strong_count() == 0).await
    }

    /// Starts a node that was lost.
    ///
    /// # Errors
    /// There is no such node, or what keeps it from starting.
    pub async fn come_back(&mut self, node: usize) -> Result<(), Failure> {
        let addresses = self.nodes.get(node).ok_or("there is no such node")?.addresses.clone();
        let opens = async {
            loop {
                // Who was there before may not be gone wholly.
                match doors(Some(&addresses)) {
                    Ok(doors) => return doors,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let doors = tokio::time::timeout(Duration::from_millis(WAIT_MS), opens).await?;
        self.run(node, doors).await
    }

    /// Starts a node again that wants to be, because it takes over or is fenced.
    ///
    /// # Errors
    /// It does not run, or what keeps it from starting.
    pub async fn begin_again(&mut self, node: usize) -> Result<(), Failure> {
        let server = self.server(node).ok_or("it does not run")?.clone();
        server.begins_again().await;
        drop(server);
        self.lose(node).await?;
        self.come_back(node).await
    }

    /// Ends it in order.
    pub async fn stop(self) {
        for one in &self.nodes {
            if let Some(server) = &one.server {
                server.stop(NO_GRACE_MS).await;
            }
        }
    }
}
