//! Nodes in one process.

use bytes::Bytes;
use engine::Stamp;
use engine::entropy::Entropy;
use engine::ids::{CollectionId, NodeId, TableId, TenantId};
use node::api::Backend;
use node::boot::subject::Identity;
use node::boot::{authority, init, join, peers};
use node::clock::SystemClock;
use node::config;
use node::delayed::order::{Answer, Order, RowsAsked, RowsPage};
use node::entropy::SystemEntropy;
use node::keys::hierarchy;
use node::keys::kms::Passphrase;
use node::keys::kms::file::Cost;
use node::meta::command::{Change, MetaCommand, MetaReply};
use node::meta::forward::Forward;
use node::meta::shard_row::ShardRow;
use node::meta::survey::Survey;
use node::refused::Refused;
use node::restore::asked::{self, Ask};
use node::server::Server;
use node::server::backend::Called;
use node::server::joining::Newcomer;
use node::shard::command::KvCommand;
use node::shard::door::{Consistency, WriteId};
use node::tenants::rules::Quota;
use node::tls::{Credentials, Tls};
use raft::net::link::BoxFuture;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Channel;

/// Where all tests write.
pub const DATA: CollectionId = CollectionId(1);
const WAIT_MS: u64 = 5_000;
const ROUNDS: usize = 600;

type All = Arc<Mutex<BTreeMap<NodeId, Weak<Server>>>>;

/// Asks nodes in this process.
struct Near(All);

impl Near {
    fn at(&self, node: NodeId) -> Result<Arc<Server>, Refused> {
        let away = || Refused::new(proto::errors::code::NO_LEADER);
        self.0.lock().unwrap().get(&node).and_then(Weak::upgrade).ok_or_else(away)
    }
}

impl Forward for Near {
    fn change(&self, to: NodeId, command: Bytes, wait_ms: u64) -> BoxFuture<Result<Bytes, Refused>> {
        let at = self.at(to);
        Box::pin(async move { at?.door()?.change_bytes(command, wait_ms).await })
    }

    fn shard(&self, to: NodeId, group: GroupId) -> BoxFuture<Result<Option<Bytes>, Refused>> {
        let at = self.at(to);
        Box::pin(async move {
            let meta = at?.meta();
            Ok(meta.shards.get(&group).map(|row: &ShardRow| row.value().into()))
        })
    }

    fn meta_index(&self, to: NodeId, wait_ms: u64) -> BoxFuture<Result<u64, Refused>> {
        let at = self.at(to);
        Box::pin(async move { at?.door()?.meta_index(wait_ms).await })
    }

    fn table(&self, to: NodeId, table: TableId, at: u64) -> BoxFuture<Result<Bytes, Refused>> {
        let server = self.at(to);
        Box::pin(async move { server?.read_table(table, at).await })
    }

    fn restoring(&self, to: NodeId, ask: Ask, wait_ms: u64) -> BoxFuture<Result<asked::Answer, Refused>> {
        let at = self.at(to);
        Box::pin(async move { at?.door()?.restoring(ask, wait_ms).await })
    }

    fn survey(&self, to: NodeId) -> BoxFuture<Result<Survey, Refused>> {
        let at = self.at(to);
        Box::pin(async move { Ok(at?.survey_here()) })
    }

    fn order(&self, to: NodeId, by: String, order: Order, _: u64) -> BoxFuture<Result<Answer, Refused>> {
        let at = self.at(to);
        Box::pin(async move { at?.order_here(&by, order).await })
    }

    fn rows(&self, to: NodeId, asked: RowsAsked, wait_ms: u64) -> BoxFuture<Result<RowsPage, Refused>> {
        let at = self.at(to);
        Box::pin(async move { at?.rows_here(asked, wait_ms).await })
    }

    fn write_rows(
        &self,
        to: NodeId,
        tenant: TenantId,
        command: Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>> {
        let at = self.at(to);
        Box::pin(async move { at?.write_rows_here(tenant, &command, id, wait_ms).await })
    }
}

struct One {
    folder: PathBuf,
    address: String,
    server: Option<Arc<Server>>,
    /// Where clients are served.
    clients: String,
}

pub struct Cluster {
    dir: tempfile::TempDir,
    all: All,
    nodes: Vec<One>,
    used: Mutex<Option<Newcomer>>,
    /// What is said of every node beside what the tests need.
    said: Vec<(String, String)>,
}

pub fn passphrase() -> Passphrase {
    Passphrase::from(b"a passphrase for tests".to_vec())
}

pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..ROUNDS {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be that {what}");
}

fn config(folder: &Path, address: &str, said: &[(String, String)]) -> Arc<config::Config> {
    let set = [
        ("data_dir", folder.display().to_string()),
        ("name", "a-node".to_owned()),
        ("region", "eu".to_owned()),
        ("advertise.peer", address.to_owned()),
        ("advertise.client", address.to_owned()),
        ("advertise.admin", address.to_owned()),
        ("raft.heartbeat", "100ms".to_owned()),
        ("raft.election_min", "400ms".to_owned()),
        ("raft.election_max", "800ms".to_owned()),
        ("log.segment_bytes", "64 MiB".to_owned()),
        ("engine.memtable_bytes", "32 MiB".to_owned()),
        ("engine.cache_bytes", "32 MiB".to_owned()),
    ];
    let flags = set.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(said.iter().cloned());
    Arc::new(config::file::load(None, [], flags.collect::<Vec<_>>()).unwrap())
}

impl Cluster {
    /// A cluster of one node.
    pub async fn found() -> Self {
        Self::found_with(|_| Vec::new()).await
    }

    /// A cluster of one node, of which more is said: `say` is told its folder.
    pub async fn found_with(say: impl FnOnce(&Path) -> Vec<(&'static str, String)>) -> Self {
        // What goes wrong is told by the test that fails.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("one");
        let new = init::NewCluster {
            name: "test",
            shards: 2,
            node: ("one", "eu"),
            hosts: &["127.0.0.1".to_owned()],
            admin: "root",
            passphrase: &passphrase(),
            cost: Cost::LEAST,
            now_s: engine::clock::Clock::now_ms(&node::clock::SystemClock::default()) / 1_000,
        };
        init::init(&folder, &new, Arc::new(SystemEntropy)).unwrap();
        let said = say(dir.path()).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut cluster = Self { dir, all: All::default(), nodes: Vec::new(), used: Mutex::default(), said };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        cluster.nodes.push(One { folder, address, server: None, clients: String::new() });
        cluster.run(0, listener).await;
        eventually("it is founded", || cluster.server(0).meta().cluster.is_some()).await;
        cluster
    }

    async fn run(&mut self, at: usize, listener: TcpListener) {
        let (folder, address) = (self.nodes[at].folder.clone(), self.nodes[at].address.clone());
        let near = Near(self.all.clone());
        let make = Box::new(move |_: &node::tls::Tls, _| Arc::new(near) as Arc<dyn Forward>);
        let server =
            Server::start(config(&folder, &address, &self.said), passphrase(), listener, make).await.unwrap();
        self.all.lock().unwrap().insert(server.node(), Arc::downgrade(&server));
        let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.nodes[at].clients = clients.local_addr().unwrap().to_string();
        server.serve((clients, TcpListener::bind("127.0.0.1:0").await.unwrap())).unwrap();
        self.nodes[at].server = Some(server);
    }

    /// The folder below which everything is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The node of this id, if it runs.
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|one| one.server.as_ref().is_some_and(|server| server.node() == node))
    }

    /// Starts a node in a folder that is a copy of another's, at the address of that one, which does not run.
    pub async fn start_copy(&self, at: usize, folder: &Path) -> Arc<Server> {
        let address = &self.nodes[at].address;
        let mut listener = TcpListener::bind(address).await;
        while listener.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            listener = TcpListener::bind(address).await;
        }
        let near = Near(self.all.clone());
        let make = Box::new(move |_: &node::tls::Tls, _| Arc::new(near) as Arc<dyn Forward>);
        let config = config(folder, address, &self.said);
        let server = Server::start(config, passphrase(), listener.unwrap(), make).await.unwrap();
        self.all.lock().unwrap().insert(server.node(), Arc::downgrade(&server));
        server
    }

    /// What a node in a folder is told.
    pub fn config_of(&self, at: usize, folder: &Path) -> Arc<config::Config> {
        config(folder, &self.nodes[at].address, &self.said)
    }

    /// The folder of a node.
    pub fn folder(&self, at: usize) -> PathBuf {
        self.nodes[at].folder.clone()
    }

    /// Stops a node.
    pub async fn stop_one(&mut self, at: usize) {
        self.nodes[at].server.take().unwrap().stop(1_000).await;
    }

    pub async fn start(&mut self, at: usize) {
        let mut listener = TcpListener::bind(&self.nodes[at].address).await;
        while listener.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            listener = TcpListener::bind(&self.nodes[at].address).await;
        }
        self.run(at, listener.unwrap()).await;
    }

    pub async fn restart(&mut self, at: usize) {
        self.nodes[at].server.take().unwrap().stop(1_000).await;
        self.start(at).await;
        eventually("it runs again", || self.server(at).meta().cluster.is_some()).await;
    }

    /// A channel to a node for a service of a tenant.
    pub fn service(&self, at: usize, tenant: &str) -> Channel {
        let (server, clock) = (self.server(at), Arc::new(SystemClock::default()));
        let authority = Called(server.clone()).authority().unwrap();
        let identity = Identity::service(Called(server.clone()).cluster(), tenant).unwrap();
        let request = authority::request().unwrap();
        let issued = authority.issue(&identity, &[], &request.pem, self.now_ms() / 1_000, &SystemEntropy);
        let certificate = issued.unwrap().pem;
        let own = Credentials::load(
            Called(server.clone()).cluster(),
            &certificate,
            request.key.as_ref(),
            authority.pem(),
            &*clock,
        );
        let tls = Tls::new(own.unwrap(), clock).client(None, node::tls::GRPC).unwrap();
        node::dial::channel(&self.nodes[at].clients, tls).unwrap()
    }

    /// The node that leads the shard of a tenant.
    pub fn leader_of(&self, tenant: TenantId) -> Option<usize> {
        let leads = |server: &Arc<Server>| {
            let shard = server.meta().shard_of(tenant).map(|row| row.group);
            let seated = server.running().ok().zip(shard).and_then(|(running, group)| running.replica(group));
            seated.is_some_and(|seated| seated.receiver.group().leads())
        };
        self.nodes.iter().position(|one| one.server.as_ref().is_some_and(leads))
    }

    pub fn server(&self, at: usize) -> &Arc<Server> {
        self.nodes[at].server.as_ref().unwrap()
    }

    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.nodes.iter().filter_map(|one| one.server.as_ref())
    }

    pub fn now_ms(&self) -> u64 {
        engine::clock::Clock::now_ms(&node::clock::SystemClock::default())
    }

    pub async fn tenant(&self, name: &str) -> TenantId {
        self.tenant_keeping(name, 3_600_000).await
    }

    /// A tenant whose history is kept for so long.
    pub async fn tenant_keeping(&self, name: &str, history_ms: u64) -> TenantId {
        let server = self.server(0);
        let id = TenantId(node::entropy::random_id(&SystemEntropy));
        let keys = hierarchy::make_tenant(server.keys().sealer(), id, Arc::new(SystemEntropy)).unwrap();
        let (quota, name) = (Quota::default(), name.to_owned());
        let mut changes = vec![Change::CreateTenant { id, name, quota, history_ms }];
        changes.extend(keys.iter().map(node::meta::key_row::put));
        let reply = server.change(MetaCommand::new(changes), WAIT_MS).await.unwrap();
        assert!(matches!(reply, MetaReply::Applied { .. }), "{reply:?}");
        id
    }

    /// Writes wherever the shard is led.
    pub async fn write(
        &self,
        tenant: TenantId,
        command: &KvCommand<Bytes>,
        id: WriteId,
    ) -> Result<Stamp, Refused> {
        let mut refused = None;
        for _ in 0..ROUNDS {
            for server in self.servers() {
                let Ok(door) = server.door() else { continue };
                match door.write(tenant, command, id, WAIT_MS).await {
                    Ok(stamp) => return Ok(stamp),
                    Err(why) => refused = Some(why),
                }
            }
            use proto::errors::code::*;
            let again = [WRONG_NODE, NO_LEADER, STARTING, KEY_AWAY, OVERLOADED];
            if refused.as_ref().is_some_and(|why| !again.contains(&why.code)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(refused.unwrap())
    }

    pub async fn read(&self, tenant: TenantId, key: &str) -> Option<String> {
        for _ in 0..ROUNDS {
            for server in self.servers() {
                let Ok(door) = server.door() else { continue };
                if let Ok(view) = door.view(tenant, Consistency::Linearizable, WAIT_MS).await {
                    let found = view.get(tenant, DATA, key.as_bytes()).unwrap();
                    return found.map(|found| String::from_utf8(found.value.to_vec()).unwrap());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{key} cannot be read");
    }

    /// A node more.
    pub async fn join(&mut self, name: &str, region: &str) {
        self.join_late(name, region, 0).await;
    }

    /// A node more, that is so late.
    pub async fn join_late(&mut self, name: &str, region: &str, delay_ms: u64) {
        let secret = {
            let mut secret = [0; 32];
            SystemEntropy.fill(&mut secret);
            secret
        };
        let until_ms = self.now_ms() + 60_000;
        let token = Change::MakeToken(node::boot::token::hash(&secret), until_ms);
        self.server(0).change(MetaCommand::new(vec![token]), WAIT_MS).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let request = authority::request().unwrap();
        let newcomer = Newcomer {
            secret: secret.to_vec(),
            request: request.pem.clone(),
            name: name.to_owned(),
            region: region.to_owned(),
            peer_address: address.clone(),
            client_address: address.clone(),
            delay_ms,
        };
        let admittance = self.server(0).admit(&newcomer, WAIT_MS).await.unwrap();
        *self.used.lock().unwrap() = Some(newcomer);
        let folder = self.dir.path().join(name);
        let entropy = Arc::new(SystemEntropy);
        join::settle(&folder, &admittance, (name, region), request.key, &passphrase(), entropy).unwrap();
        assert!(!peers::read(&folder).unwrap().is_empty());
        self.nodes.push(One { folder, address, server: None, clients: String::new() });
        self.run(self.nodes.len() - 1, listener).await;
    }

    /// The token of the last one, once more.
    pub async fn join_again(&self, name: &str) -> Result<(), Refused> {
        let newcomer = self.used.lock().unwrap().clone().unwrap();
        let request = authority::request().unwrap().pem;
        self.server(0)
            .admit(&Newcomer { name: name.to_owned(), request, ..newcomer }, WAIT_MS)
            .await
            .map(drop)
    }

    pub fn voters(&self, group: GroupId) -> usize {
        let standing = |server: &Arc<Server>| {
            let standing = server.running().ok()?.replica(group)?.receiver.group().standing();
            let voters = &standing.membership.1.voters;
            (standing.is_leader && voters.len() == 1).then(|| voters[0].len())
        };
        self.servers().find_map(standing).unwrap_or(0)
    }

    /// Kills the node that leads a group: nothing of it ends in order.
    pub async fn kill_leader(&mut self, group: GroupId) -> usize {
        let leads = |server: &Arc<Server>| {
            server
                .running()
                .is_ok_and(|running| running.replica(group).is_some_and(|one| one.receiver.group().leads()))
        };
        for _ in 0..ROUNDS {
            let at = self.nodes.iter().position(|one| one.server.as_ref().is_some_and(leads));
            if let Some(at) = at {
                let server = self.nodes[at].server.take().unwrap();
                server.stop(0).await;
                return at;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody leads");
    }

    pub fn is_caught_up(&self, at: usize, group: GroupId) -> bool {
        let applied = |server: &Arc<Server>| {
            Some(server.running().ok()?.replica(group)?.receiver.group().machine().applied().applied?.index)
        };
        let all: Vec<Option<u64>> = self.servers().map(applied).collect();
        let here = applied(self.server(at));
        here.is_some() && all.iter().flatten().max() == here.as_ref()
    }

    /// Whether a replica of the meta group is left on a node: it does not hear of its own end.
    pub fn has_meta(&self, at: usize) -> bool {
        self.server(at).running().is_ok_and(|running| running.living().contains_key(&GroupId::META))
    }

    pub async fn stop(self) {
        for one in self.nodes {
            if let Some(server) = one.server {
                server.stop(0).await;
            }
        }
    }
}
