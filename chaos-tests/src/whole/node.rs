//! One whole node, through all its lives.

use super::calls::{Doors, Lines};
use super::outside::{Machine, Outside};
use crate::seed::{Dice, Swarm};
use crate::world::clock::{Clocks, Time, WallClock};
use crate::world::diary::Diary;
use crate::world::hardware::Hardware;
use crate::world::net::{Net, disk_seed};
use engine::catalog::MemoryCatalog;
use engine::disk::SimDisk;
use engine::ids::NodeId;
use node::clock::SystemClock;
use node::config;
use node::keys::kms::Passphrase;
use node::server::Server;
use node::server::disk::{Room, Space};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What opens the keys of every node.
const PASSPHRASE: &[u8] = b"a passphrase of a run";
/// Bytes of a disk that has no end, as a node sees it.
const DISK_BYTES: u64 = 1 << 30;
/// So long a node that is gone may take to end all that it did, in milliseconds: nothing of it waits for anybody.
const END_MS: u64 = 5_000;
/// Where history is shipped to, in runs with an archive.
pub const ARCHIVE: &str = "/archive";
/// What a node has joined with before it has an id: the first node of a cluster is number 1.
pub const FIRST: NodeId = NodeId(1);

/// What opens the keys.
#[must_use]
pub fn passphrase() -> Passphrase {
    Passphrase::from(PASSPHRASE.to_vec())
}

/// What all nodes of a run share.
#[derive(Clone)]
pub struct Ground {
    /// Its configuration.
    pub swarm: Swarm,
    /// The true time.
    pub time: Time,
    /// What happened.
    pub diary: Diary,
    /// The network.
    pub net: Net,
    /// The doors of all nodes.
    pub doors: Doors,
    /// What is around all nodes.
    pub outside: Rc<Outside>,
    /// The clocks that ask each other.
    pub clocks: Clocks,
    /// Whether history is shipped to an archive.
    pub is_archived: bool,
}

/// One whole node.
pub struct WholeNode {
    /// What people call it.
    pub name: String,
    /// Which.
    pub id: NodeId,
    /// By how many milliseconds it is late; 0: it is not.
    pub late_ms: u64,
    /// Its machine.
    pub machine: Machine,
    ground: Ground,
    life: u64,
    server: Option<Arc<Server>>,
}

/// How much room a pretended disk has.
struct RoomOf(SimDisk, Hardware);

impl Space for RoomOf {
    fn room(&self) -> io::Result<Room> {
        let taken = self.0.bytes_taken();
        let whole_bytes = self.1.room_bytes().unwrap_or(DISK_BYTES).max(taken);
        Ok(Room { free_bytes: whole_bytes - taken, whole_bytes })
    }
}

impl WholeNode {
    /// One that was never started: the `number`th, with a disk that is empty.
    #[must_use]
    pub fn new(ground: &Ground, number: u64, late_ms: u64) -> Self {
        let name = format!("n{number}");
        let disk = SimDisk::new(disk_seed(ground.swarm.seed, NodeId(number), 0));
        let permille = Dice::new(ground.swarm.seed, &format!("clock {number}")).within(&(950..=1_050));
        let clock = WallClock::new(ground.time, &ground.clocks, u32::try_from(permille).unwrap_or(1_000));
        let catalog = MemoryCatalog::on(disk.clone());
        let machine = Machine { disk, catalog, clock, hardware: Hardware::default() };
        let node = Self { name, id: FIRST, late_ms, machine, ground: ground.clone(), life: 0, server: None };
        ground.outside.mount(&node.folder(), node.machine.clone());
        node
    }

    /// The same node, not running: what stands in its place while it starts or ends.
    #[must_use]
    pub fn shadow(&self) -> Self {
        let Self { name, id, late_ms, machine, ground, life, server: _ } = self;
        let (name, machine, ground) = (name.clone(), machine.clone(), ground.clone());
        Self { name, id: *id, late_ms: *late_ms, machine, ground, life: *life, server: None }
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        PathBuf::from("/").join(&self.name)
    }

    /// Where others reach it: nobody looks there.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}.test:7400", self.name)
    }

    /// It, if it runs.
    #[must_use]
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.server.as_ref()
    }

    /// In which life it is, or was last.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    fn config(&self) -> Result<Arc<config::Config>, String> {
        let folder = self.folder().display().to_string();
        let is_long = Dice::new(self.ground.swarm.seed, "quarantine").is_lucky(500);
        let flags = [
            ("name", self.name.clone()),
            ("region", "here".to_owned()),
            ("data_dir", folder),
            ("advertise.peer", self.address()),
            ("advertise.client", self.address()),
            ("advertise.admin", self.address()),
            ("raft.heartbeat", "100ms".to_owned()),
            ("raft.election_min", "400ms".to_owned()),
            ("raft.election_max", "800ms".to_owned()),
            ("metrics.enabled", "false".to_owned()),
            ("tenant.quarantine", if is_long { "30s" } else { "1s" }.to_owned()),
            // What is suspicious holds it, and nobody is there who lets it go.
            ("delayed.hold.auto", "false".to_owned()),
        ];
        let archive =
            [("archive.sites", format!("home=file://{ARCHIVE}")), ("archive.tick", "1s".to_owned())];
        let archive = archive.into_iter().filter(|_| self.ground.is_archived);
        let flags = flags.into_iter().chain(archive).map(|(key, value)| (key.to_owned(), value));
        config::file::load(None, [], flags).map(Arc::new).map_err(|error| error.to_string())
    }

    /// Begins its next life. What waits for peers goes on beside.
    ///
    /// # Errors
    /// What keeps it from starting at all.
    pub async fn start(&mut self) -> Result<(), String> {
        self.life += 1;
        let Ground { diary, doors, .. } = self.ground.clone();
        let (id, life, machine) = (self.id, self.life, self.machine.clone());
        diary.note(id, format_args!("starts life {life}"));
        if machine.disk.is_down() {
            machine.disk.restart();
            machine.hardware.set_faults(&machine.disk, engine::disk::sim::Faults::default());
        }
        // A process that stood still while it was there is not the one that begins.
        machine.hardware.pause.go_on();
        doors.begin(id, life, machine.clone());
        let config = self.config()?;
        let pretended = Arc::new(SystemClock::pretended(machine.clock.clone()));
        let reach = Arc::new(Lines { from: id, doors: doors.clone() });
        let space = Arc::new(RoomOf(machine.disk.clone(), machine.hardware.clone()));
        let starts = async { Server::start_pretended(config, &passphrase(), &pretended, reach, space) };
        let started = machine.hardware.pause.within(machine.clock.node().scope(starts)).await;
        let server = started.map_err(|error| engine::error::with_sources(&error))?;
        doors.open(&server);
        self.server = Some(server);
        Ok(())
    }

    /// Cuts its power: what was not synced is lost, kept in part, or torn.
    pub async fn crash(&mut self) {
        self.ground.diary.note(self.id, "loses power");
        self.machine.disk.crash();
        self.end(0).await;
    }

    /// Ends it in order.
    pub async fn stop(&mut self, grace_ms: u64) {
        self.ground.diary.note(self.id, "stops");
        self.end(grace_ms).await;
    }

    async fn end(&mut self, grace_ms: u64) {
        let Some(server) = self.server.take() else { return };
        if grace_ms == 0 {
            self.shut();
        }
        if self.machine.disk.is_down()
            && let Ok(running) = server.running()
        {
            // Whoever waits for the disk hears at once that it is gone.
            running.log().close();
        }
        self.machine.hardware.pause.go_on();
        let stops = self.machine.clock.node().scope(server.stop(grace_ms));
        let ended = tokio::time::timeout(Duration::from_millis(grace_ms + END_MS), stops).await;
        self.shut();
        self.ground.outside.end_threads(&self.folder());
        if ended.is_err() {
            self.ground.diary.note(self.id, "does not end in time");
        }
    }

    fn shut(&self) {
        self.ground.net.unplug(self.id);
        self.ground.doors.shut(self.id);
    }
}
