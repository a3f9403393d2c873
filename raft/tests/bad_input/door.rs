//! One replica at work, and what is said to it at its door by whoever takes the part of its peers.

use crate::cluster::{CLUSTER, Hub, Node, Running, TENANT};
use bytes::Bytes;
use engine::Stamp;
use engine::entropy::Seeded;
use engine::ids::NodeId;
use engine::key::KeyRange;
use engine::sealed::Keyring;
use raft::command::Counts;
use raft::delay::{GateState, GateStore, Keeper};
use raft::group::birth::{self, Birth, FIRST};
use raft::log::Entry;
use raft::log::record::GroupState;
use raft::machine::note::Note;
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::heard::Voice;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{Append, AppendReply};
use raft::payload;
use raft::seal::{self, Times, Unsealed};
use raft::types::{GroupId, LogId, Membership, ReplicaId, Role, Seat, Vote};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const GROUP: GroupId = GroupId(3);
/// Who listens.
pub const OWN: ReplicaId = ReplicaId(1);
/// Who leads.
pub const LEADER: ReplicaId = ReplicaId(2);
pub const GENERATION: u64 = 5;

pub fn id(index: u64) -> LogId {
    LogId { term: 7, replica: LEADER, index }
}

pub fn vote() -> Vote {
    Vote { term: 7, replica: LEADER, is_committed: true }
}

/// Three voters, of whom the first is here; and a learner.
pub fn membership() -> Membership {
    let seat = |n, role| (ReplicaId(n), Seat { node: NodeId(n), role });
    Membership {
        voters: vec![[1, 2, 3].map(ReplicaId).into()],
        seats: [seat(1, Role::Voter), seat(2, Role::Voter), seat(3, Role::Voter), seat(4, Role::Learner)]
            .into(),
    }
}

/// The replica that listens.
pub struct Door {
    pub running: Running,
    /// What its node has of keys.
    pub keys: Arc<Keyring>,
}

/// Remembers a gate.
struct Shelf(Mutex<GateState>);

impl GateStore for Shelf {
    fn load(&self) -> raft::Result<Option<GateState>> {
        Ok(Some(*self.0.lock().unwrap()))
    }

    fn store(&self, state: &GateState) -> raft::Result<()> {
        *self.0.lock().unwrap() = *state;
        Ok(())
    }
}

/// Everything of it that a peer could change.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    log: GroupState,
    entries: Vec<Entry>,
    vote: Vote,
    committed: Option<LogId>,
    note: Note,
    fenced: Option<String>,
    stopped: Option<String>,
}

impl Door {
    /// `replica` of a group with these founders; none if it joins.
    pub async fn open(replica: ReplicaId, founders: Option<Membership>) -> Self {
        Self::open_behind(replica, founders, None).await
    }

    /// One that joins a group on a node whose gate stands at `gate`.
    pub async fn late(replica: ReplicaId, gate: Stamp) -> Self {
        Self::open_behind(replica, None, Some(gate)).await
    }

    async fn open_behind(replica: ReplicaId, founders: Option<Membership>, gate: Option<Stamp>) -> Self {
        let mut node = Node::new(replica.0, &Hub::default());
        let mut offline = node.open().unwrap();
        let birth = Birth { group: GROUP, replica, range: KeyRange::all(), founders };
        let machine = birth::bear(&birth, offline.parts.clone()).await.unwrap();
        offline.machines.insert(GROUP, machine);
        let keeper = gate.map(|gate| {
            let state = GateState { number: 1, gate, delay_ms: 60_000, ..GateState::default() };
            let stats = offline.log.stats().clone();
            Keeper::open(Arc::new(Shelf(Mutex::new(state))), (gate, 60_000), stats).unwrap()
        });
        let running = node.run_with(offline, GENERATION, keeper).await.unwrap();
        Self { running, keys: node.keys.clone() }
    }

    /// One of the three voters, that has followed its leader up to entry 3, and heard that it is committed.
    pub async fn following() -> Self {
        let door = Self::open(OWN, Some(membership())).await;
        let entries = vec![blank(2), door.command(3, b"kwritten")];
        let append = Append { vote: vote(), prev: Some(FIRST), entries, commit: Some(id(3)) };
        assert_eq!(door.says(Message::Append(append)).await, Message::AppendReply(AppendReply::Accepted));
        door.running.until("applied", |running| running.get(GROUP, b'k').is_some()).await;
        door
    }

    pub fn picture(&self) -> Picture {
        let (log, group) = (&self.running.offline.log, self.running.group(GROUP));
        let (first, end) = log.bounds(GROUP).unwrap();
        let entries = if first < end { log.entries(GROUP, first, end, u64::MAX).unwrap() } else { vec![] };
        let (standing, machine) = (group.standing(), group.machine());
        Picture {
            log: log.state(GROUP).unwrap(),
            entries,
            vote: standing.vote,
            committed: standing.committed,
            note: machine.applied(),
            fenced: machine.fenced(),
            stopped: standing.stopped,
        }
    }

    /// The frame in which the leader says this.
    pub fn frame(&self, message: Message) -> Frame {
        let (tag, to) = (cluster_tag(CLUSTER, GENERATION), self.running.group(GROUP).replica());
        Frame { tag, group: GROUP, from: LEADER, to, sequence: 77, durable: 0, message }
    }

    /// What is answered to these bytes.
    pub async fn answer(&self, bytes: Bytes) -> Message {
        Frame::decode(&self.running.registry.serve(&Voice::default(), bytes).await).unwrap().message
    }

    pub async fn says(&self, message: Message) -> Message {
        self.answer(self.frame(message).encode()).await
    }

    /// These bytes are refused by this name, and nothing is another then.
    pub async fn refuses(&self, what: &str, bytes: Bytes, refusal: Refusal) {
        // What was under way before has come to rest.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = self.picture();
        assert_eq!(self.answer(bytes).await, Message::Refused(refusal), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(self.picture(), before, "{what}");
    }

    pub async fn refuses_to_hear(&self, what: &str, message: Message, refusal: Refusal) {
        self.refuses(what, self.frame(message).encode(), refusal).await;
    }

    /// The group goes on: the leader's next entry is stored and applied.
    pub async fn goes_on(&self) {
        let (prev, next) = (self.picture().log.last.unwrap(), self.picture().log.last.unwrap().index + 1);
        let entries = vec![self.command(next, b"zgoes on")];
        let append = Append { vote: vote(), prev: Some(prev), entries, commit: Some(id(next)) };
        assert_eq!(self.says(Message::Append(append)).await, Message::AppendReply(AppendReply::Accepted));
        self.running.until("applied", |running| running.get(GROUP, b'z').is_some()).await;
    }

    /// An entry that sets a row: the first byte of `body` is its key.
    pub fn command(&self, index: u64, body: &'static [u8]) -> Entry {
        self.command_at(1_000_000 + index, index, body)
    }

    /// The same of a leader whose clock says `ms`.
    pub fn command_at(&self, ms: u64, index: u64, body: &'static [u8]) -> Entry {
        let (session, number, valid_until, counts) = ([0; 16], 0, Stamp::ZERO, Counts::default());
        let body = Bytes::from_static(body);
        let one = Unsealed { tenant: TENANT, session, number, valid_until, counts, body };
        let times = Times { stamp: Stamp::new(ms, 0), ..Times::default() };
        let sealer = &self.running.offline.parts.sealer;
        let sealed = seal::seal(sealer, &Seeded::new(index), GROUP, times, &[one]).unwrap();
        Entry { log_id: id(index), kind: payload::COMMAND, stamp: 0, payload: sealed.encode() }
    }
}

pub fn blank(index: u64) -> Entry {
    Entry { log_id: id(index), kind: payload::BLANK, ..Entry::default() }
}

/// The frame with `bytes` at `at`, and a checksum that agrees with that.
pub fn mended(frame: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut out = frame.to_vec();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    out[12..16].fill(0);
    let crc32 = crc32fast::hash(&out);
    out[12..16].copy_from_slice(&crc32.to_be_bytes());
    out.into()
}
