//! What is around the nodes of a run: their disks and catalogs, the sites of archives, randomness, and the work that threads do elsewhere.

use super::calls::Doors;
use crate::seed::{Dice, Swarm};
use crate::world::chores::write_log;
use crate::world::clock::WallClock;
use crate::world::hardware::Hardware;
use crate::world::net::{Net, Serve};
use bytes::Bytes;
use engine::catalog::MemoryCatalog;
use engine::disk::{Disk, SimDisk};
use engine::entropy::{Entropy, Seeded};
use engine::ids::NodeId;
use engine::tablet::pool::{CatalogOpener, Pool, PoolConfig};
use node::archive::site::Store;
use node::archive::site::faulty::Faulty;
use node::peer::Serving;
use node::simulated::World;
use raft::log::{Log, LogConfig};
use raft::net::heard::Voice;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two looks of the engine at what it has to do, in milliseconds.
const WORK_MS: u64 = 20;

/// The machine of one node, through all its lives. Clones are the same.
#[derive(Clone)]
pub struct Machine {
    /// Its disk.
    pub disk: SimDisk,
    /// What its catalog holds.
    pub catalog: MemoryCatalog,
    /// Its clocks.
    pub clock: Arc<WallClock>,
    /// What else of it can fail.
    pub hardware: Hardware,
}

/// The tasks of one life of a node that are threads elsewhere.
type Threads = BTreeMap<PathBuf, Vec<JoinHandle<()>>>;

/// The outside of a run.
pub struct Outside {
    swarm: Swarm,
    net: Net,
    doors: Doors,
    entropy: Seeded,
    machines: RefCell<BTreeMap<PathBuf, Machine>>,
    sites: RefCell<BTreeMap<PathBuf, Arc<Faulty>>>,
    threads: RefCell<Threads>,
}

impl Outside {
    /// One without machines.
    #[must_use]
    pub fn new(swarm: &Swarm, net: Net, doors: Doors) -> Self {
        let entropy = Seeded::new(Dice::new(swarm.seed, "entropy").number());
        let (machines, sites, threads) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { swarm: swarm.clone(), net, doors, entropy, machines, sites, threads }
    }

    /// All paths below `at` are on the disk of this machine.
    pub fn mount(&self, at: &Path, machine: Machine) {
        self.machines.borrow_mut().insert(at.to_owned(), machine);
    }

    /// What works for the node of this folder ends.
    pub fn end_threads(&self, at: &Path) {
        let threads = self.threads.borrow_mut().remove(at);
        threads.into_iter().flatten().for_each(|thread| thread.abort());
    }

    /// The place of an archive that a path names.
    pub fn place(&self, at: &Path) -> Arc<Faulty> {
        self.sites.borrow_mut().entry(at.to_owned()).or_insert_with(|| Arc::new(Faulty::memory())).clone()
    }

    fn machine(&self, at: &Path) -> Machine {
        let machines = self.machines.borrow();
        let found = machines.iter().find(|(folder, _)| at.starts_with(folder));
        found.expect("every path of a run is on the disk of a machine").1.clone()
    }

    fn begin(&self, at: &Path, work: impl Future<Output = ()> + Send + 'static) {
        let thread = raft::type_config::spawn(work);
        self.threads.borrow_mut().entry(at.to_owned()).or_default().push(thread);
    }
}

impl World for Outside {
    fn fill(&self, out: &mut [u8]) {
        self.entropy.fill(out);
    }

    fn disk(&self, at: &Path) -> Arc<dyn Disk> {
        Arc::new(self.machine(at).disk)
    }

    fn catalog(&self, at: &Path) -> CatalogOpener {
        self.machine(at).catalog.opener()
    }

    fn site(&self, at: &Path) -> Arc<dyn Store> {
        self.place(at)
    }

    fn pool_config(&self, config: PoolConfig) -> PoolConfig {
        let small = crate::world::sizes::pool(&self.swarm);
        let (dir, is_archived) = (config.dir, config.is_archived);
        PoolConfig { dir, is_archived, scrub_bytes_per_s: config.scrub_bytes_per_s, ..small }
    }

    fn log_config(&self, config: LogConfig) -> LogConfig {
        let (dir, generation) = (config.dir, config.generation);
        LogConfig { dir, generation, ..crate::world::sizes::log(&self.swarm) }
    }

    fn write_log(&self, at: &Path, log: &Arc<Log>) {
        let dice = Dice::new(
            self.swarm.seed,
            &format!("sync {} {}", at.display(), self.machine(at).disk.operations()),
        );
        self.begin(at, write_log(log.clone(), dice, self.swarm.clone(), self.machine(at).hardware));
    }

    fn work(&self, at: &Path, pool: &Arc<Pool>) {
        let (pool, hardware) = (pool.clone(), self.machine(at).hardware);
        self.begin(at, async move {
            loop {
                tokio::time::sleep(Duration::from_millis(WORK_MS + hardware.slow_ms())).await;
                for _ in 0..4 {
                    pool.step();
                }
            }
        });
    }

    fn link(&self, node: NodeId, serving: &Serving) -> Arc<dyn PeerLink> {
        let life = self.doors.life(node);
        let machine = self.doors.machine(node).expect("a node that starts has a machine");
        let door = Door { node, serving: serving.clone(), machine, voice: Mutex::default() };
        self.net.listen(node, life, Arc::new(door));
        Arc::new(Way { serving: serving.clone(), plug: self.net.plug(node, life) })
    }
}

/// Where frames of peers come in, for one life of a node.
struct Door {
    node: NodeId,
    serving: Serving,
    machine: Machine,
    /// As whom it spoke last.
    voice: Mutex<Voice>,
}

impl Serve for Door {
    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Option<Bytes>> {
        let Some(serve) = self.serving.who() else { return Box::pin(std::future::ready(None)) };
        let Machine { hardware, clock, .. } = &self.machine;
        // Who stands still takes nothing: what comes waits at its door.
        let served = async move { Some(serve.serve(by, frame).await) };
        Box::pin(hardware.pause.within(clock.node().scope(served)))
    }

    fn voice(&self) -> Voice {
        let mut voice = self.voice.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.serving.voice();
        *voice = now.unwrap_or(Voice { node: self.node, ..*voice });
        *voice
    }

    fn is_heard(&self, _: &Bytes, _: &Bytes) {}
}

/// The way of a node to its peers: one that has not read its disk says nothing.
struct Way {
    serving: Serving,
    plug: Arc<crate::world::net::Plug>,
}

impl PeerLink for Way {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        if self.serving.voice().is_none() {
            let cause = "this node does not speak yet".to_owned();
            return Box::pin(std::future::ready(Err(Unreachable { node: to, cause })));
        }
        self.plug.call(to, lane, frame)
    }
}
