//! The cluster of a run: processes of the server on loopback, each with a folder of its own, all of whose connections pass the proxy.

use super::events::{Events, Lane};
use super::fault::Fault;
use super::lost_sync::Hold;
use super::lost_sync::undo::{self, Lost};
use super::plan::Plan;
use super::proxy::{Door, Proxy};
use super::small_disk::SmallDisk;
use crate::seed::Dice;
use dewpond::wire::Group;
use dewpond::{Client, Identity};
use node::clock_offset::VARIABLE;
use node::cmd::Failure;
use node::cmd::demo::clients::{self, is_settled};
use node::cmd::demo::world::World;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Small memory and small files, so that tables are made and logs are purged all the time.
const SETTINGS: &str =
    "[engine]\nmemtable_bytes = \"1 MiB\"\ncache_bytes = \"16 MiB\"\n\n[log]\nsegment_bytes = \"32 MiB\"\n";
/// The tenants.
pub const TENANTS: [&str; 2] = ["birch", "cedar"];
/// Between two looks whether something has happened.
pub const LOOK: Duration = Duration::from_millis(100);
/// Within which a cluster is founded, in milliseconds.
const FOUNDED_MS: u64 = 90_000;
/// Within which a process that is told to stop has to be gone, in milliseconds.
const STOP_MS: u64 = 40_000;
/// How long an administrator waits.
const ADMIN: Duration = Duration::from_secs(10);

/// The cluster.
pub struct Cluster {
    /// Its processes and folders.
    pub world: World,
    /// What all connections pass.
    pub proxy: Proxy,
    /// What happens to it.
    pub events: Events,
    /// Places of nodes that are to run.
    pub places: BTreeSet<usize>,
    /// What each place runs.
    pub programs: BTreeMap<usize, PathBuf>,
    /// Those that lie on a file system of their own.
    pub small: BTreeMap<usize, SmallDisk>,
    /// Why a kind of fault cannot happen here.
    pub skipped: BTreeMap<Fault, String>,
    hold: Option<Hold>,
}

impl Cluster {
    /// An empty one in `folder`, which is made.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path, program: PathBuf, events: Events) -> Result<Self, Failure> {
        let world = World::new(folder, program, SETTINGS)?;
        let mut skipped = BTreeMap::new();
        let hold = Hold::compile(folder).map_err(|why| {
            skipped.insert(Fault::LosePower, why.clone());
            skipped.insert(Fault::LosePowerAll, why);
        });
        let (programs, small, places) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (proxy, hold) = (Proxy::default(), hold.ok());
        Ok(Self { world, proxy, events, places, programs, small, skipped, hold })
    }

    /// Founds it, with its tenants.
    ///
    /// # Errors
    /// A node, or what it answers.
    pub async fn found(&mut self, plan: &Plan) -> Result<(), Failure> {
        let first = self.add(false).await?;
        let admin_dir = clients::folder(&self.world, "admin").display().to_string();
        self.world.run(first, &["init", "--cluster", "chaos", "--admin-dir", &admin_dir])?;
        self.start(first)?;
        let serves = async |cluster: &mut Self| {
            let status = cluster.admin(&[first]).ok()?.admin().status().await.ok()?;
            (status.groups.len() > 1).then_some(())
        };
        self.until("the first node serves", FOUNDED_MS, serves).await?;
        for number in 1..plan.nodes {
            self.join(number == 1).await?;
        }
        self.until("all groups have three voters", FOUNDED_MS, async |cluster| cluster.settled().await)
            .await?;
        let admin = self.admin(&[first])?;
        for tenant in TENANTS {
            clients::make_tenant(&self.world, &admin, tenant).await?;
        }
        Ok(())
    }

    /// One more place, with its doors at the proxy; nothing runs there yet.
    async fn add(&mut self, is_small: bool) -> Result<usize, Failure> {
        let place = self.world.nodes.len();
        let peer = self.proxy.open(place, Door::Peer).await?;
        let client = self.proxy.open(place, Door::Client).await?;
        let settings = format!("[advertise]\nclient = \"{client}\"\npeer = \"{peer}\"\n\n");
        self.world.add_with(&settings)?;
        let clock = self.clock_file(place).display().to_string();
        let node = &mut self.world.nodes[place];
        self.proxy.lead(place, Door::Peer, node.peer().parse::<SocketAddr>()?);
        self.proxy.lead(place, Door::Client, node.client().parse::<SocketAddr>()?);
        let (data, undo) = (node.data.clone(), self.world.folder.join(format!("undo-{}", node.name)));
        node.environment = vec![(VARIABLE.to_owned(), clock)];
        if is_small {
            match SmallDisk::mount(&data) {
                Ok(disk) => drop(self.small.insert(place, disk)),
                Err(why) => drop(self.skipped.insert(Fault::Full, why)),
            }
        }
        // What is held back lies on the same file system as the folder, and a small one has no room for it.
        if let Some(hold) = self.hold.as_ref().filter(|_| !self.small.contains_key(&place)) {
            fs::create_dir_all(&undo)?;
            self.world.nodes[place].environment.extend(hold.environment(&data, &undo));
        }
        self.places.insert(place);
        self.programs.insert(place, self.world.program.clone());
        Ok(place)
    }

    /// A node joins, and runs.
    ///
    /// # Errors
    /// It is not let in.
    pub async fn join(&mut self, is_small: bool) -> Result<usize, Failure> {
        let others: Vec<usize> = self.places.iter().copied().collect();
        let place = self.add(is_small).await?;
        let token = self.admin(&others)?.admin().add_node(0).await?.token;
        self.world.run(place, &["join", "--token", &token])?;
        self.start(place)?;
        Ok(place)
    }

    /// The file that says how far the clock of a node is ahead.
    #[must_use]
    pub fn clock_file(&self, place: usize) -> PathBuf {
        self.world.folder.join(format!("clock-n{}", place + 1))
    }

    /// An administrator, at these nodes.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn admin(&self, places: &[usize]) -> Result<Client, Failure> {
        let at = clients::folder(&self.world, "admin");
        let nodes = places.iter().map(|place| self.world.nodes[*place].admin());
        let identity = Identity::from_files(at.join("admin.crt"), at.join("admin.key"))?;
        let builder = Client::builder().admin_endpoints(nodes).authority(fs::read(at.join("ca.crt"))?);
        Ok(builder.identity(identity).app("chaos").deadline(ADMIN).build()?)
    }

    /// The service of a tenant, at the doors of the proxy that lead to these nodes.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn service(&self, tenant: &str, doors: &[String]) -> Result<Client, Failure> {
        let at = clients::folder(&self.world, tenant);
        let file = |ending: &str| at.join(format!("{tenant}.{ending}"));
        let identity = Identity::from_files(file("crt"), file("key"))?;
        let builder = Client::builder().endpoints(doors).authority(fs::read(at.join("ca.crt"))?);
        Ok(builder.identity(identity).app("chaos").build()?)
    }

    /// Where clients are told that nodes are.
    ///
    /// # Errors
    /// No node answers.
    pub async fn doors(&self) -> Result<Vec<String>, Failure> {
        let places: Vec<usize> = self.places.iter().copied().collect();
        let nodes = self.admin(&places)?.admin().nodes().await?;
        Ok(nodes.into_iter().filter(|node| node.state == "active").map(|node| node.client_address).collect())
    }

    /// The id of the node at a place.
    ///
    /// # Errors
    /// Nobody knows it.
    pub async fn id(&self, place: usize) -> Result<u64, Failure> {
        let others: Vec<usize> = self.places.iter().copied().filter(|other| *other != place).collect();
        let nodes = self.admin(&others)?.admin().nodes().await?;
        let name = &self.world.nodes[place].name;
        let found = nodes.into_iter().find(|node| node.name == *name);
        found.map(|node| node.id).ok_or_else(|| format!("nobody knows {name}").into())
    }

    /// All groups, if each has its voters and a leader.
    pub async fn settled(&self) -> Option<Vec<Group>> {
        let places: Vec<usize> = self.places.iter().copied().collect();
        let groups =
            self.admin(&places).ok()?.admin().deadline(Duration::from_secs(2)).groups().await.ok()?;
        is_settled(&groups).then_some(groups)
    }

    /// Starts a process, of the program of its place.
    ///
    /// # Errors
    /// The system does not.
    pub fn start(&mut self, place: usize) -> Result<(), Failure> {
        let (program, folder) = (self.programs[&place].clone(), self.world.folder.clone());
        let node = &mut self.world.nodes[place];
        node.start(&program, &folder)?;
        if let Some(process) = node.process() {
            self.proxy.dialers.learn(place, process);
        }
        Ok(())
    }

    /// Stops a process short, as the end of a machine does. What it wrote is there.
    ///
    /// # Errors
    /// The system does not.
    pub fn crash(&mut self, place: usize) -> Result<(), Failure> {
        self.world.nodes[place].crash()
    }

    /// The same, and what it did not sync is gone. Nothing is lost where nothing is held.
    ///
    /// # Errors
    /// The system does not.
    pub fn lose_power(&mut self, place: usize, dice: &mut Dice) -> Result<Lost, Failure> {
        self.crash(place)?;
        let node = &self.world.nodes[place];
        let undo = self.world.folder.join(format!("undo-{}", node.name));
        if !undo.is_dir() {
            return Ok(Lost::default());
        }
        Ok(undo::lose(&node.data, &undo, dice)?)
    }

    /// Tells a process to stop, and waits until it has.
    ///
    /// # Errors
    /// It goes on.
    pub async fn stop(&mut self, place: usize) -> Result<(), Failure> {
        self.world.nodes[place].signal(Signal::TERM)?;
        let since_ms = self.events.since.ms();
        while self.world.nodes[place].runs() {
            if self.events.since.ms() > since_ms + STOP_MS {
                return Err(format!("n{} was told to stop, and goes on", place + 1).into());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.crash(place)
    }

    /// Places whose process has ended, though it should run.
    pub fn ended(&mut self) -> Vec<usize> {
        let places: Vec<usize> = self.places.iter().copied().collect();
        places.into_iter().filter(|place| !self.world.nodes[*place].runs()).collect()
    }

    /// Waits until `look` finds what it waits for.
    ///
    /// # Errors
    /// The time is over: says of what.
    pub async fn until<T>(
        &mut self,
        what: &str,
        limit_ms: u64,
        mut look: impl AsyncFnMut(&mut Self) -> Option<T>,
    ) -> Result<T, Failure> {
        let begun_ms = self.events.since.ms();
        loop {
            if let Some(found) = look(self).await {
                return Ok(found);
            }
            if self.events.since.ms() > begun_ms + limit_ms {
                return Err(format!("{what}: not within {} s", limit_ms / 1_000).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The log of a node, as text.
    #[must_use]
    pub fn log(&self, place: usize) -> String {
        let name = format!("{}.log", self.world.nodes[place].name);
        String::from_utf8_lossy(&fs::read(self.world.folder.join(name)).unwrap_or_default()).into_owned()
    }

    /// Says what cannot happen here.
    pub fn say_skipped(&self) {
        for (fault, why) in &self.skipped {
            self.events.note(Lane::Run, format!("{fault:?} is skipped: {why}"));
        }
    }
}
