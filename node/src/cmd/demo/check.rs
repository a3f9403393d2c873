//! The tour of the demo, done and checked step by step.

use super::super::Failure;
use super::canaries::{Canaries, Searched};
use super::clients::{client, is_settled, make_tenant, node_of, place_of_leader};
use super::findings::{Findings, SCHEMA};
use super::store::{self, Store};
use super::world::World;
use crate::entropy::{self, SystemEntropy};
use dewpond::wire::rotate_request::What;
use dewpond::wire::{ListKeysResponse, RotateRequest};
use dewpond::{Client, Past, Row};
use futures_util::TryStreamExt as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The tenant that gets the first import.
pub const FIRST: &str = "birch";
/// The tenant that gets the second.
pub const SECOND: &str = "cedar";
/// Within which a cluster is whole again, in milliseconds.
pub const SETTLED_MS: u64 = 60_000;
/// How long a batch is under way when its leader is killed.
const UNDER_WAY: Duration = Duration::from_millis(2);
/// Counts the snapshots that a node has put in the place of what it had.
const SNAPSHOTS: &str = "dewpond_machine_installed_snapshots";
/// More than the metrics of a node of the demo are.
const METRICS_BYTES_MAX: u64 = 4 << 20;
/// What every canary begins with.
const CANARY: &str = "canary-";

/// A tour under way.
pub struct Tour<'a> {
    world: &'a mut World,
    store: Store,
    canary: String,
    /// What it has found.
    pub found: Findings,
    begun_ms: u64,
}

/// Nothing, if it is so.
///
/// # Errors
/// It is not.
pub fn ensure(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(otherwise().into()) }
}

/// Starts three nodes, the first founding the cluster and the others joining it, and two tenants.
///
/// # Errors
/// A node, or what it answers.
pub async fn found_cluster(world: &mut World) -> Result<(), Failure> {
    let admin = grow_cluster(world, &[]).await?;
    for tenant in [FIRST, SECOND] {
        make_tenant(world, &admin, tenant).await?;
    }
    Ok(())
}

/// Starts three nodes; `how` is said to the one that makes the cluster.
///
/// # Errors
/// A node, or what it answers.
pub async fn grow_cluster(world: &mut World, how: &[&str]) -> Result<Client, Failure> {
    let first = world.add()?;
    let admin_dir = super::clients::folder(world, "admin").display().to_string();
    world.run(first, &[&["init", "--cluster", "demo", "--admin-dir", &admin_dir], how].concat())?;
    world.start(first)?;
    let admin = client(world, "admin", &[first])?;
    let serves = async || admin.admin().status().await.ok().filter(|status| status.groups.len() > 1);
    world.until("the first node serves", SETTLED_MS, serves).await?;
    for _ in 0..2 {
        join(world, &admin, &[]).await?;
    }
    let settled = async || admin.admin().groups().await.ok().filter(|groups| is_settled(groups));
    world.until("three nodes hold every group", SETTLED_MS, settled).await?;
    Ok(admin)
}

/// Lets one more node join; `how` is said to it.
///
/// # Errors
/// The node, or what it is answered.
pub async fn join(world: &mut World, admin: &Client, how: &[&str]) -> Result<usize, Failure> {
    let place = world.add()?;
    let token = admin.admin().add_node(0).await?.token;
    world.run(place, &[&["join", "--token", &token], how].concat())?;
    world.start(place)?;
    Ok(place)
}

impl<'a> Tour<'a> {
    /// Before its first step.
    ///
    /// # Errors
    /// The sample is broken.
    pub fn new(world: &'a mut World) -> Result<Self, Failure> {
        let canary = format!("{CANARY}{:016x}", entropy::random_id(&SystemEntropy));
        let found = Findings { schema: SCHEMA, ..Findings::default() };
        let begun_ms = world.now_ms();
        Ok(Self { store: Store::read()?, world, canary, found, begun_ms })
    }

    /// All steps. What was found says how far it came.
    pub async fn run(&mut self) {
        let ended = self.steps().await;
        self.found.seconds = (self.world.now_ms() - self.begun_ms) as f64 / 1_000.0;
        self.found.passed = ended.is_ok();
        self.found.failed = ended.err().map(|why| engine::error::with_sources(&*why).to_string());
    }

    async fn steps(&mut self) -> Result<(), Failure> {
        found_cluster(self.world).await?;
        self.tell("three nodes in three regions serve, with TLS and two tenants");
        self.plant().await?;
        self.import().await?;
        self.tell("every record is imported, and read back through each node");
        self.lose_leader().await?;
        self.tell("the leader was killed in the middle of a second import: nothing is lost, nothing doubled");
        self.bring_back().await?;
        self.tell("the killed node has caught up");
        self.restart_all().await?;
        self.tell("all nodes were stopped and started: every record is there");
        self.fourth_node().await?;
        self.tell("a fourth node has taken over replicas");
        self.look_back().await?;
        self.tell("overwritten records can be read as they were");
        self.cross_borders().await?;
        self.tell("a tenant's identity is refused the data of another");
        self.rotate().await?;
        self.tell("new keys: everything in tables is sealed with them");
        self.search().await?;
        self.tell("nothing readable lies in any file of any node");
        Ok(())
    }

    fn tell(&self, what: &str) {
        let seconds = (self.world.now_ms() - self.begun_ms) as f64 / 1_000.0;
        eprintln!("{seconds:6.1} s  {what}");
    }

    fn everywhere(&self) -> Vec<usize> {
        (0..self.world.nodes.len()).collect()
    }

    /// Keys and values that no file may hold, in both tenants; one overwritten, one removed.
    async fn plant(&self) -> Result<(), Failure> {
        for name in [FIRST, SECOND] {
            let tenant = client(self.world, name, &self.everywhere())?.tenant(name);
            let planted = tenant.raw("canaries");
            for number in 0..50 {
                let text = format!("{}-{number}", self.canary);
                planted.put(text.clone(), text.repeat(20).into_bytes()).await?;
            }
            planted.put(format!("{}-1", self.canary), self.canary.clone().into_bytes()).await?;
            planted.delete(format!("{}-2", self.canary)).await?;
        }
        Ok(())
    }

    async fn import(&mut self) -> Result<(), Failure> {
        let tenant = client(self.world, FIRST, &self.everywhere())?.tenant(FIRST);
        for batch in self.store.batches() {
            store::write(&tenant, batch).await?;
        }
        self.found.records = self.store.count();
        for place in self.everywhere() {
            let same = self.whole(FIRST, &[place]).await?;
            self.found.read_back.push(same);
        }
        Ok(())
    }

    /// Every record of a tenant is there, with its value, and no other.
    async fn whole(&self, tenant: &str, places: &[usize]) -> Result<usize, Failure> {
        let compared = self.store.compare(&client(self.world, tenant, places)?, tenant).await?;
        ensure(compared.same == self.store.count() && compared.wrong == 0 && compared.strange == 0, || {
            format!("{tenant} through {places:?}: {compared:?}")
        })?;
        Ok(compared.same)
    }

    async fn lose_leader(&mut self) -> Result<(), Failure> {
        let tenant = client(self.world, SECOND, &self.everywhere())?.tenant(SECOND);
        let batches: Vec<_> = self.store.batches().collect();
        let (before, behind) = batches.split_at(batches.len() / 2);
        for batch in before {
            store::write(&tenant, batch).await?;
        }
        let admin = client(self.world, "admin", &self.everywhere())?;
        let place = place_of_leader(self.world, &admin, SECOND).await?;
        let [next, rest @ ..] = behind else { return Err("the sample is too small".into()) };
        self.found.killed = self.world.nodes[place].name.clone();
        // The batch is on its way while the leader dies.
        let world = &mut *self.world;
        let kill = async {
            tokio::time::sleep(UNDER_WAY).await;
            world.nodes[place].crash().map(|()| world.now_ms())
        };
        let (written, killed_ms) = tokio::join!(store::write(&tenant, next), kill);
        written?;
        let killed_ms = killed_ms?;
        let Some((first, rest)) = rest.split_first() else { return Err("the sample is too small".into()) };
        store::write(&tenant, first).await?;
        self.found.failover_ms = self.world.now_ms() - killed_ms;
        for batch in rest {
            store::write(&tenant, batch).await?;
        }
        let others: Vec<usize> = self.everywhere().into_iter().filter(|other| *other != place).collect();
        let second = client(self.world, SECOND, &others)?;
        let compared = self.store.compare(&second, SECOND).await?;
        self.found.lost = compared.wrong;
        self.found.doubled = self.written_twice(&second).await?;
        ensure(self.found.lost + self.found.doubled + compared.strange == 0, || {
            format!("after the loss of the leader: {compared:?}, {} written twice", self.found.doubled)
        })
    }

    /// Of records around the kill: those with more than one version.
    async fn written_twice(&self, second: &Client) -> Result<usize, Failure> {
        let (tenant, half) = (second.tenant(SECOND), self.store.batches().count() / 2);
        let mut twice = 0;
        for ((collection, key), _) in self.store.batches().skip(half.saturating_sub(1)).take(3).flatten() {
            let versions: Vec<_> = tenant.raw(collection.clone()).history(key.clone()).try_collect().await?;
            twice += usize::from(versions.len() != 1 || matches!(versions[0], Past::Removed(_)));
        }
        Ok(twice)
    }

    async fn bring_back(&mut self) -> Result<(), Failure> {
        let place = self
            .world
            .nodes
            .iter()
            .position(|node| node.name == self.found.killed)
            .ok_or("nobody was killed")?;
        let others: Vec<usize> = self.everywhere().into_iter().filter(|other| *other != place).collect();
        let wanted = client(self.world, "admin", &others)?.admin().groups().await?;
        let begun_ms = self.world.now_ms();
        self.world.start(place)?;
        let here = client(self.world, "admin", &[place])?;
        let caught_up = async || {
            let groups = here.admin().groups().await.ok()?;
            let has =
                |id: u64, index: u64| groups.iter().any(|one| one.id == id && one.applied_index >= index);
            wanted.iter().all(|group| has(group.id, group.applied_index)).then_some(())
        };
        self.world.until("the killed node has all that the others have", SETTLED_MS, caught_up).await?;
        self.found.caught_up_ms = self.world.now_ms() - begun_ms;
        self.whole(SECOND, &[place]).await.map(drop)
    }

    async fn restart_all(&mut self) -> Result<(), Failure> {
        self.world.stop().await?;
        for place in self.everywhere() {
            self.world.start(place)?;
        }
        for place in self.everywhere() {
            let admin = client(self.world, "admin", &[place])?;
            let led = async || {
                let groups = admin.admin().groups().await.ok()?;
                groups.iter().all(|group| group.leader != 0).then_some(())
            };
            self.world.until("every group has a leader again", SETTLED_MS, led).await?;
        }
        for (tenant, place) in [(FIRST, 0), (SECOND, 2)] {
            self.found.after_restart += self.whole(tenant, &[place]).await?;
        }
        Ok(())
    }

    async fn fourth_node(&mut self) -> Result<(), Failure> {
        let admin = client(self.world, "admin", &self.everywhere())?;
        let place = join(self.world, &admin, &[]).await?;
        let id = node_of(self.world, &admin, place).await?.id;
        let here = client(self.world, "admin", &[place])?;
        let taken_over = async || {
            let groups = here.admin().groups().await.ok()?;
            let is_here = |group: &&dewpond::wire::Group| {
                group.applied_index > 0
                    && group.replicas.iter().any(|one| one.node == id && one.role == "voter")
            };
            let count = groups.iter().filter(is_here).count();
            (count > 0 && is_settled(&groups)).then_some(count)
        };
        self.found.on_fourth =
            self.world.until("the fourth node holds replicas", SETTLED_MS, taken_over).await?;
        let taken = metric(&self.world.nodes[place].metrics(), SNAPSHOTS).await?;
        self.found.snapshots_on_fourth = taken;
        ensure(taken >= self.found.on_fourth as u64, || {
            format!("the fourth node has taken {taken} snapshots")
        })?;
        self.whole(FIRST, &[place]).await.map(drop)
    }

    async fn look_back(&mut self) -> Result<(), Failure> {
        let tenant = client(self.world, FIRST, &self.everywhere())?.tenant(FIRST);
        let customers = tenant.raw("customers");
        let before = customers.put("000000", "the mark before").await?;
        let records: Vec<_> = self.store.of("customers").collect();
        for ((_, key), _) in &records {
            customers.put(key.clone(), "{\"name\":\"somebody else\"}").await?;
        }
        let then = tenant.as_of(before).raw("customers");
        for ((_, key), value) in &records {
            let (past, now) = (then.get(key.clone()).await?, customers.get(key.clone()).await?);
            let is_so =
                past.is_some_and(|past| past.value == *value) && now.is_some_and(|now| now.value != *value);
            ensure(is_so, || format!("customers/{key} as of {before} is not what it was"))?;
            self.found.as_of += 1;
        }
        for ((_, key), value) in &records {
            customers.put(key.clone(), value.clone()).await?;
        }
        customers.delete("000000").await?;
        Ok(())
    }

    async fn cross_borders(&mut self) -> Result<(), Failure> {
        let second = client(self.world, SECOND, &self.everywhere())?;
        let refused = second.tenant(FIRST).raw("customers").get("000001").await;
        let Err(error) = refused else { return Err("a tenant's identity reads another tenant".into()) };
        self.found.foreign_read = format!("DEW-{:04}", error.code());
        let mut rows = second.tenant(FIRST).raw("customers").scan(..);
        let scanned: Result<Option<Row<_, _>>, _> = rows.try_next().await;
        ensure(scanned.is_err(), || "a tenant's identity scans another tenant".to_owned())?;
        let admin = client(self.world, "admin", &self.everywhere())?;
        let read = admin.tenant(FIRST).raw("customers").get("000001").await;
        ensure(read.is_err(), || "an administrator reads a tenant's data".to_owned())
    }

    async fn rotate(&mut self) -> Result<(), Failure> {
        let admins = self.everywhere().into_iter().map(|place| client(self.world, "admin", &[place]));
        let admins: Vec<Client> = admins.collect::<Result<_, _>>()?;
        let asked = RotateRequest { what: Some(What::Data(FIRST.to_owned())) };
        let epoch = admins[0].admin().rotate(asked).await?.epoch;
        for (place, admin) in admins.iter().enumerate() {
            let begun = admin.admin().keys(Some(FIRST)).await?;
            self.found.old_key_bytes += old_bytes(&begun, epoch);
            let covered = async || {
                let keys = admin.admin().keys(Some(FIRST)).await.ok()?;
                let is_active = keys.keys.iter().any(|one| one.epoch == epoch && one.state == "active");
                (is_active && keys.coverage_permille.get(FIRST) == Some(&1_000)).then_some(())
            };
            let what = format!("{} has sealed all with the new key", self.world.nodes[place].name);
            self.world.until(&what, SETTLED_MS, covered).await?;
        }
        self.found.coverage_permille = 1_000;
        ensure(self.found.old_key_bytes > 0, || {
            "no table was under the old key: nothing was sealed again".to_owned()
        })?;
        self.whole(FIRST, &self.everywhere()).await.map(drop)
    }

    async fn search(&mut self) -> Result<(), Failure> {
        let mut needles = self.store.secrets()?;
        needles.push(self.canary.clone().into_bytes());
        let canaries = Canaries::new(needles);
        // What cannot find a readable byte proves nothing: it has to find one first.
        let control = self.world.folder.join("control");
        std::fs::create_dir(&control)?;
        std::fs::write(control.join("readable"), format!("before {} behind", self.canary))?;
        let mut searched = Searched::default();
        canaries.search(&control, &mut searched)?;
        ensure(searched.found.len() == 1, || "the search finds nothing where something is".to_owned())?;
        for when in ["while they run", "after they stopped"] {
            let mut searched = Searched::default();
            for node in &self.world.nodes {
                canaries.search(&node.data, &mut searched)?;
                let log = std::fs::read(self.world.folder.join(format!("{}.log", node.name)))?;
                std::fs::write(control.join("readable"), log)?;
                canaries.search(&control, &mut searched)?;
            }
            (self.found.files, self.found.bytes) = (searched.files, searched.bytes);
            self.found.readable = searched.found.len();
            ensure(searched.found.is_empty(), || format!("readable {when}: {:?}", searched.found))?;
            self.world.stop().await?;
        }
        Ok(())
    }
}

/// A figure that a node shows, added up over its labels.
async fn metric(at: &str, name: &str) -> Result<u64, Failure> {
    let mut stream = tokio::net::TcpStream::connect(at).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await?;
    let mut text = String::new();
    stream.take(METRICS_BYTES_MAX).read_to_string(&mut text).await?;
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        (series.split('{').next() == Some(name)).then(|| value.parse::<u64>().ok())?
    };
    let found: Vec<u64> = text.lines().filter_map(value).collect();
    if found.is_empty() { Err(format!("{at} shows no {name}").into()) } else { Ok(found.iter().sum()) }
}

/// Bytes in tables under keys before `epoch`.
fn old_bytes(keys: &ListKeysResponse, epoch: u32) -> u64 {
    keys.keys.iter().filter(|one| one.purpose == "data" && one.epoch < epoch).map(|one| one.bytes).sum()
}
