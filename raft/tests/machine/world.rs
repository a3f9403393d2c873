//! A node with a log, a pool and the machine of one group, all on one simulated disk; and commands that mean something.

use crate::rig::{CLUSTER, NODE, id};
pub use crate::rig::{Shreds, give};
use bytes::Bytes;
use engine::Stamp;
use engine::catalog::MemoryCatalog;
use engine::clock::ManualClock;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::{CollectionId, NodeId, Owner, Purpose, TenantId};
use engine::key::KeyRange;
use engine::sealed::{Keyring, Sealer};
use engine::tablet::pool::{Parts, Pool, PoolConfig};
use engine::wire::{Reader, append_bytes32};
use raft::command::Counts;
use raft::group::birth::Here;
use raft::group::birth::{self, Birth};
use raft::log::store::Watch;
use raft::log::{Entry, Log, LogConfig, LogParts, Stepped};
use raft::machine::note::Note;
use raft::machine::operations::{Operations, Rows};
use raft::machine::snapshot::Parcel;
use raft::machine::{Machine, MachineParts, NoFeed, stamping};
use raft::proposal::{Replies, Reply};
use raft::seal::{self, Times, Unsealed};
use raft::types::{GroupId, LogId, Membership, ReplicaId, Role, Seat};
use raft::{Error, Result, payload};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

pub const GROUP: GroupId = GroupId(5);
pub const A: TenantId = TenantId(9);
pub const B: TenantId = TenantId(8);
pub const C: CollectionId = CollectionId(1);
/// When tests begin, in milliseconds.
pub const START_MS: u64 = 1_000_000;

/// One thing that a command of these tests does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a row, with expiry.
    Put(Vec<u8>, Vec<u8>, u64),
    Delete(Vec<u8>),
    Range(Vec<u8>, Option<Vec<u8>>),
    /// Answers with what is there.
    Get(Vec<u8>),
    /// Adds one to the number that is there, and answers with it.
    Count(Vec<u8>),
    /// So many rows of so many bytes.
    Fill(u32, u32),
    /// So many ranges, each with an end of so many bytes.
    Ranges(u32, u32),
    /// Reads a key of so many bytes.
    GetLong(u32),
    /// An answer of so many bytes.
    Answer(u32),
    /// Writes too much, and fails of something else.
    Fail,
}

pub fn put(key: &[u8], value: &[u8]) -> Op {
    Op::Put(key.to_vec(), value.to_vec(), 0)
}

pub fn get(key: &[u8]) -> Op {
    Op::Get(key.to_vec())
}

pub fn count(key: &[u8]) -> Op {
    Op::Count(key.to_vec())
}

/// The body of a command that does `ops`.
pub fn body(ops: &[Op]) -> Bytes {
    let mut out = Vec::new();
    for op in ops {
        let (tag, fields): (u8, Vec<Vec<u8>>) = match op.clone() {
            Op::Put(key, value, expires_ms) => (1, vec![key, value, expires_ms.to_be_bytes().to_vec()]),
            Op::Delete(key) => (2, vec![key]),
            Op::Range(start, Some(end)) => (3, vec![start, end]),
            Op::Range(start, None) => (4, vec![start]),
            Op::Get(key) => (5, vec![key]),
            Op::Count(key) => (6, vec![key]),
            Op::Fill(count, bytes) => (7, vec![count.to_be_bytes().to_vec(), bytes.to_be_bytes().to_vec()]),
            Op::Ranges(count, bytes) => (8, vec![count.to_be_bytes().to_vec(), bytes.to_be_bytes().to_vec()]),
            Op::GetLong(bytes) => (9, vec![bytes.to_be_bytes().to_vec()]),
            Op::Answer(bytes) => (10, vec![bytes.to_be_bytes().to_vec()]),
            Op::Fail => (11, vec![]),
        };
        out.push(tag);
        fields.iter().for_each(|field| append_bytes32(&mut out, field));
    }
    out.into()
}

/// Does what [`body`] says, all in collection [`C`].
pub struct Doing;

impl Operations for Doing {
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> Result<Bytes> {
        let (mut reader, mut reply) = (Reader::new(body), Vec::new());
        while reader.left() > 0 {
            let tag = reader.u8()?;
            let mut field = || reader.bytes32(1 << 20).map(<[u8]>::to_vec);
            let number = |bytes: Vec<u8>| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
            match tag {
                1 => {
                    let (key, value) = (field()?, field()?);
                    let expires_ms = u64::from_be_bytes(field()?.try_into().unwrap());
                    rows.put(tenant, C, &key, &value, expires_ms)?;
                }
                2 => rows.delete(tenant, C, &field()?)?,
                3 => rows.delete_range(tenant, C, &field()?, Some(&field()?))?,
                4 => rows.delete_range(tenant, C, &field()?, None)?,
                5 => reply.extend(answer(rows.get(tenant, C, &field()?)?.map(|row| row.value).as_deref())),
                6 => {
                    let key = field()?;
                    let old = rows.get(tenant, C, &key)?;
                    let new = old.map_or(0, |row| u64::from_be_bytes(row.value[..].try_into().unwrap())) + 1;
                    rows.put(tenant, C, &key, &new.to_be_bytes(), 0)?;
                    reply.extend(new.to_be_bytes());
                }
                7 => {
                    let (count, bytes) = (number(field()?), number(field()?));
                    for n in 0..count {
                        rows.put(tenant, C, &fill_key(n), &vec![7; bytes], 0)?;
                    }
                }
                8 => {
                    let (count, bytes) = (number(field()?), number(field()?));
                    for _ in 0..count {
                        rows.delete_range(tenant, C, b"", Some(&vec![0; bytes]))?;
                    }
                }
                9 => {
                    let found = rows.get(tenant, C, &vec![1; number(field()?)])?;
                    reply.extend(answer(found.map(|row| row.value).as_deref()));
                }
                10 => reply.resize(number(field()?), 7),
                _ => {
                    let _ = rows.put(tenant, C, b"", &vec![0; engine::limits::VALUE_BYTES_MAX + 1], 0);
                    return Err(Error::Invalid("what cannot go on"));
                }
            }
        }
        Ok(reply.into())
    }
}

pub fn fill_key(n: usize) -> Vec<u8> {
    format!("fill {n}").into_bytes()
}

/// How a row that was read is answered.
pub fn answer(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        Some(value) => [&[1], &(value.len() as u32).to_be_bytes()[..], value].concat(),
        None => vec![0],
    }
}

/// A command of tenant [`A`] that may run twice.
pub fn command(ops: &[Op]) -> Unsealed {
    command_of(A, ops)
}

pub fn command_of(tenant: TenantId, ops: &[Op]) -> Unsealed {
    let (session, number, valid_until, counts) = ([0; 16], 0, Stamp::ZERO, Counts::default());
    Unsealed { tenant, session, number, valid_until, counts, body: body(ops) }
}

/// One that may not, good until `until_ms`.
pub fn once(number: u64, until_ms: u64, ops: &[Op]) -> Unsealed {
    Unsealed { session: [3; 16], number, valid_until: Stamp::new(until_ms, 0), ..command(ops) }
}

pub fn ran(reply: &[u8]) -> Reply {
    Reply::Ran(Bytes::copy_from_slice(reply))
}

/// An entry of these commands, whose leader proposes `stamp`.
pub fn entry(stamp: Stamp, commands: &[Unsealed]) -> Bytes {
    let keys = keyring(&[A, B]);
    // Nothing that is sealed twice is the same; the entry's name is another one for each content, so that runs repeat.
    let seed = commands
        .iter()
        .flat_map(|one| one.body.iter())
        .fold(stamp.0, |n, b| n.rotate_left(5) ^ u64::from(*b));
    let sealer = Sealer::new(CLUSTER, keys, Arc::new(Seeded::new(seed))).unwrap();
    let times = Times { stamp, closed: stamp, meta_index: 0 };
    seal::seal(&sealer, &Seeded::new(seed), GROUP, times, commands).unwrap().encode()
}

pub fn at(ms: u64) -> Stamp {
    Stamp::new(START_MS + ms, 0)
}

pub fn keyring(tenants: &[TenantId]) -> Arc<Keyring> {
    let keys = Keyring::new();
    let mut owned = vec![
        (Owner::Node(NODE), Purpose::Mac),
        (Owner::Node(NODE), Purpose::Catalog),
        (Owner::Cluster, Purpose::Mac),
        (Owner::Cluster, Purpose::Meta),
    ];
    owned.extend(tenants.iter().map(|tenant| (Owner::Tenant(*tenant), Purpose::Data)));
    owned.extend(tenants.iter().map(|tenant| (Owner::Tenant(*tenant), Purpose::Log)));
    owned.iter().for_each(|(owner, purpose)| give(&keys, *owner, *purpose));
    Arc::new(keys)
}

/// What a crash leaves: a disk and a catalog that shares its fate.
pub struct World {
    pub disk: SimDisk,
    pub catalog: MemoryCatalog,
    pub keys: Arc<Keyring>,
    pub shreds: Arc<Shreds>,
    pub seed: u64,
    pub starts: Cell<u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let catalog = MemoryCatalog::on(disk.clone());
        Self { disk, catalog, keys: keyring(&[A, B]), shreds: Arc::default(), seed, starts: Cell::new(0) }
    }

    /// The same content, with a fate of its own.
    pub fn copy(&self, seed: u64) -> Self {
        let disk = self.disk.clone_disk(seed);
        let catalog = self.catalog.deep_clone(Some(disk.clone()));
        let (keys, shreds) = (self.keys.clone(), self.shreds.clone());
        Self { disk, catalog, keys, shreds, seed, starts: Cell::new(self.starts.get()) }
    }

    pub fn start(&self) -> Result<Node> {
        self.starts.set(self.starts.get() + 1);
        let entropy = Arc::new(Seeded::new(self.seed << 20 | self.starts.get()));
        let sealer = Arc::new(Sealer::new(CLUSTER, self.keys.clone(), entropy.clone()).unwrap());
        let disk = Arc::new(self.disk.clone());
        let log = LogParts {
            disk: disk.clone(),
            sealer: sealer.clone(),
            entropy: entropy.clone(),
            node: NODE,
            stats: Arc::default(),
        };
        let config = LogConfig {
            segment_bytes: 64 << 10,
            write_bytes: 16 << 10,
            cache_bytes: 16 << 10,
            entry_bytes_max: 16 << 10,
            groups_max: 12,
            peers_max: 12,
            ..LogConfig::new("/log")
        };
        let log = Log::open(config, log)?;
        let clock = Arc::new(ManualClock::new(START_MS));
        let pool = Parts {
            disk: disk.clone(),
            catalog: self.catalog.opener(),
            sealer: sealer.clone(),
            clock: clock.clone(),
            node: NODE,
        };
        let pool = Pool::open(PoolConfig { threads: 0, ..PoolConfig::new("/data") }, pool)?;
        let parts = MachineParts {
            meta: Arc::default(),
            pool,
            disk,
            spool: "/spool".into(),
            sealer,
            entropy,
            log,
            operations: Arc::new(Doing),
            feed: Arc::new(NoFeed),
            shredded: self.shreds.clone(),
        };
        Ok(Node { parts, clock })
    }

    /// A node with a founder of [`GROUP`].
    pub fn founded(&self) -> (Node, Arc<Machine>) {
        let node = self.start().unwrap();
        let machine = node.bear(&founder(GROUP)).unwrap();
        (node, machine)
    }

    /// A start after a crash or a stop: the one machine that is found.
    pub fn reopen(&self) -> (Node, Arc<Machine>) {
        let node = self.start().unwrap();
        let Here { mut machines, half_born, .. } = birth::find(&node.parts, &BTreeSet::new()).unwrap();
        assert_eq!((machines.len(), half_born), (1, vec![]));
        assert_eq!(node.parts.pool.tablets().len(), 1, "what an install left behind is dropped");
        (node, machines.remove(0))
    }
}

pub fn founder(group: GroupId) -> Birth {
    let seat = Seat { node: NodeId(7), role: Role::Voter };
    let founders = Membership { voters: vec![[ReplicaId(1)].into()], seats: [(ReplicaId(1), seat)].into() };
    Birth { group, replica: ReplicaId(1), range: KeyRange::all(), founders: Some(founders) }
}

pub fn joiner() -> Birth {
    Birth { founders: None, replica: ReplicaId(2), ..founder(GROUP) }
}

/// A node that runs.
pub struct Node {
    pub parts: MachineParts,
    /// By which its tablets go.
    pub clock: Arc<ManualClock>,
}

pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

impl Node {
    /// Bears a replica; the log is stepped meanwhile.
    pub fn bear(&self, birth: &Birth) -> Result<Arc<Machine>> {
        let log = self.parts.log.clone();
        let steps = async {
            loop {
                log.step();
                tokio::task::yield_now().await;
            }
        };
        run(async {
            tokio::select! {
                biased;
                machine = birth::bear(birth, self.parts.clone()) => machine,
                () = steps => unreachable!("it steps for ever"),
            }
        })
    }

    /// Puts an entry into the log, makes it durable, tells the machine, and applies it.
    pub fn commit(&self, machine: &Machine, index: u64, payload: &Bytes) -> Result<Replies> {
        self.append(machine, index, payload)?;
        run(machine.apply_command(id(1, index), payload))
    }

    pub fn append(&self, machine: &Machine, index: u64, payload: &Bytes) -> Result<()> {
        let log = &self.parts.log;
        let last = log.last_stamp(GROUP)?.map_or(machine.applied().last, Stamp);
        let stamp = stamping::last_after(last, payload::COMMAND, payload).0;
        let entry = Entry { log_id: id(1, index), kind: payload::COMMAND, stamp, payload: payload.clone() };
        log.append(GROUP, vec![entry], Box::new(|_| ()))?;
        if log.step() == Stepped::Fenced {
            return Err(Error::Fenced { cause: "the log".to_owned() });
        }
        machine.durable_upto(id(1, index));
        Ok(())
    }

    /// Applies what the log has and the machine has not.
    pub fn replay(&self, machine: &Machine) {
        let Some(last) = machine.applied().applied else { return };
        let next = last.index + 1;
        let (_, end) = self.parts.log.bounds(GROUP).unwrap();
        if next < end {
            for entry in self.parts.log.entries(GROUP, next, end, u64::MAX).unwrap() {
                run(machine.apply_command(entry.log_id, &entry.payload)).unwrap();
            }
        }
    }

    /// Makes durable what may be.
    pub fn flush(&self, machine: &Machine) {
        machine.tablet().freeze();
        self.parts.pool.settle();
    }
}

/// What the log tells a machine, under a name of its own: [`Machine::durable`] asks.
pub trait Told {
    fn durable_upto(&self, upto: LogId);
}

impl Told for Machine {
    fn durable_upto(&self, upto: LogId) {
        Watch::durable(self, upto);
    }
}

/// What is in the tablet, at the last stamp: nothing is expired.
pub fn rows(machine: &Machine, tenant: TenantId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let view = machine.tablet().view(0).unwrap();
    let page = view.scan(&engine::tablet::view::Scan::all(tenant, C), None).unwrap();
    assert!(page.next.is_none());
    page.entries.into_iter().map(|entry| (entry.key, entry.found.value.to_vec())).collect()
}

/// Carries a snapshot into the spool of `machine`, in pieces of `piece_bytes`.
pub fn carry(machine: &Machine, parcel: &Parcel, piece_bytes: usize) -> Result<Parcel> {
    let Parcel::Here(checkpoint, note) = parcel else { unreachable!("a snapshot that is here") };
    let spool = machine.spool();
    for (id, from) in spool.offer(checkpoint.listing(), &machine.present())? {
        let file = checkpoint.files().into_iter().find(|file| file.id == id).unwrap();
        for at in (from..file.bytes).step_by(piece_bytes) {
            let mut piece = vec![0; usize::try_from(file.bytes - at).unwrap().min(piece_bytes)];
            checkpoint.read_file(id, at, &mut piece)?;
            spool.write(id, at, &piece)?.unwrap();
        }
    }
    spool.finish(checkpoint.listing())?;
    Ok(Parcel::Spooled(spool.dir().to_owned(), note.clone()))
}

/// Carries a snapshot and installs it.
pub fn install(machine: &Machine, parcel: &Parcel) -> Result<Note> {
    let spooled = carry(machine, parcel, 700)?;
    machine.install(parcel.note().applied, spooled)?;
    Ok(machine.applied())
}
