//! Schedules that aim at one kind of bug, because a plain mix of faults comes upon it only by luck: what must happen shortly one after
//! the other is made to. Each goes round and round as long as faults last; what can be survived once only is done once.

use crate::check::Violation;
use crate::nemesis::{Due, Nemesis};
use crate::seed::Swarm;
use engine::disk::sim::Faults;
use engine::disk::{Disk, SimDisk};
use raft::log::record::{ALIGN_BYTES, HEAD_BYTES, MAGIC};
use raft::log::segment::{FileName, HEADER_BYTES};
use raft::net::message::Message;
use raft::types::GroupId;
use std::path::Path;

/// What a run aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A leader loses power and is back before anybody else could lead.
    LeaderIsBack,
    /// A node that does not hear the leader would vote for one that does. That one restarts and stands for election, within the lease it
    /// has granted, while clients still read at the leader.
    LeaseAcrossRestart,
    /// The machine of a leader sleeps until another leads, and is asked as soon as it wakes.
    LeaderSleeps,
    /// The wall clock of a leader goes a second ahead: it must give way.
    LeaderAhead,
    /// What a node that was away needs rots in the leader's log meanwhile.
    RotWhereItIsRead,
    /// A leader that was cut off with entries of its own loses power soon after it has heard of its successor.
    LeaderWasCutOff,
    /// Nodes are away until only a snapshot helps them.
    Away,
    /// The same, and the power goes while the snapshot is taken in.
    AwayThenCrash,
    /// A node loses power right behind a flush, while its log has still to write what the others have committed with it.
    FlushThenCrash,
    /// A disk is put back to an earlier time.
    OlderDisk,
    /// A leader stands still until another leads and has taken writes. Clients wait at its door for what they read.
    LeaderStoodStill,
}

/// How far a run is with what it aims at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    stage: u32,
    next_ms: u64,
    /// Nodes that have a part in it.
    one: usize,
    other: usize,
}

/// Where an entry's payload begins, behind the head of its record.
const PAYLOAD_AT: usize = HEAD_BYTES + 40;

impl Aim {
    /// The configuration in which it can be hit.
    pub fn set(self, swarm: &mut Swarm) {
        swarm.faults.clear();
        swarm.late_ms = None;
        (swarm.loss_permille, swarm.duplicate_permille, swarm.reorder_permille) = (0, 0, 0);
        match self {
            Self::LeaseAcrossRestart | Self::LeaderSleeps => {
                (swarm.nodes, swarm.groups) = (3, 1);
                (swarm.delay_ms, swarm.sync_ms) = (0..=2, 1..=2);
            }
            Self::RotWhereItIsRead => {
                (swarm.nodes, swarm.clients, swarm.think_ms) = (3, 8, 5);
                (swarm.purge_entries, swarm.sync_ms) = (100_000, 1..=3);
            }
            Self::Away | Self::AwayThenCrash => {
                (swarm.clients, swarm.think_ms) = (5, 20);
                (swarm.purge_entries, swarm.memtable_bytes) = (30, 16 << 10);
                (swarm.delay_ms, swarm.sync_ms) = (0..=5, 1..=3);
            }
            Self::FlushThenCrash => {
                (swarm.clients, swarm.think_ms) = (6, 10);
                (swarm.delay_ms, swarm.sync_ms) = (0..=2, 1..=60);
            }
            Self::LeaderStoodStill => {
                (swarm.nodes, swarm.groups, swarm.patience_ms) = (3, 1, 2_000);
                (swarm.delay_ms, swarm.sync_ms) = (0..=2, 1..=2);
            }
            Self::LeaderIsBack | Self::LeaderAhead | Self::LeaderWasCutOff | Self::OlderDisk => {}
        }
    }

    /// A node with this disk is about to answer.
    pub fn is_asked(self, disk: &SimDisk, message: &Message) {
        if let (Self::AwayThenCrash, Message::SnapshotFinish(_)) = (self, message) {
            let now = disk.operations();
            disk.set_faults(Faults { crash_at: Some(now + 1 + now % 31), ..Faults::default() });
        }
    }
}

/// Changes a byte of every entry in the log of a disk; the checksums stay as they were.
fn rot_entries(disk: &SimDisk, dir: &Path) {
    for name in disk.list(dir).unwrap_or_default() {
        if !matches!(FileName::parse(&name), Some(FileName::Segment(_))) {
            continue;
        }
        let rotted = disk.tamper(&dir.join(name), |bytes| {
            let mut at = HEADER_BYTES as usize;
            while at + PAYLOAD_AT < bytes.len() {
                let length = u32::from_be_bytes([bytes[at + 4], bytes[at + 5], bytes[at + 6], bytes[at + 7]]);
                let end = at + HEAD_BYTES + length as usize;
                let is_entry = bytes[at..at + 2] == MAGIC && bytes[at + 3] == 3;
                if is_entry && (at + PAYLOAD_AT + 1..=bytes.len()).contains(&end) {
                    bytes[end - 1] ^= 1;
                }
                at += ALIGN_BYTES;
            }
        });
        rotted.expect("the file was listed just now");
    }
}

impl Nemesis {
    /// Goes on with what the run aims at, when it is time.
    pub(crate) async fn pursue(&mut self, aim: Aim) {
        let now = self.world.time.ms();
        if now < self.progress.next_ms {
            return;
        }
        let wait_ms = match aim {
            Aim::LeaderIsBack => self.leader_is_back(),
            Aim::LeaseAcrossRestart => self.lease_across_restart().await,
            Aim::LeaderSleeps => self.leader_sleeps(),
            Aim::LeaderAhead => self.leader_ahead(),
            Aim::RotWhereItIsRead => self.rot_where_it_is_read(),
            Aim::LeaderWasCutOff => self.leader_was_cut_off(),
            Aim::Away | Aim::AwayThenCrash => self.away(),
            Aim::FlushThenCrash => self.flush_then_crash(),
            Aim::OlderDisk => self.older_disk(),
            Aim::LeaderStoodStill => self.leader_stood_still(),
        };
        self.progress.next_ms = now + wait_ms;
    }

    /// Another node than this.
    fn another(&mut self, than: usize) -> usize {
        let count = self.world.swarm.nodes as usize;
        let more = 1 + usize::try_from(self.dice.below(count as u64 - 1)).unwrap_or(0);
        (than + more) % count
    }

    /// The next stage, of `count`.
    fn turn(&mut self, count: u32) -> u32 {
        let stage = self.progress.stage;
        self.progress.stage = (stage + 1) % count;
        stage
    }

    fn leader_is_back(&mut self) -> u64 {
        let group = self.group();
        let Some(leader) = self.leader(group) else { return 100 };
        self.crash(leader);
        self.later(Due::Start(leader), 1, 40);
        1_000 + self.dice.below(1_000)
    }

    async fn lease_across_restart(&mut self) -> u64 {
        let group = self.group();
        let Some(leader) = self.leader(group) else { return 100 };
        match self.turn(3) {
            0 => {
                self.progress.one = leader;
                self.progress.other = self.another(leader);
                self.cut_pair(leader, self.progress.other);
                self.stage.pins.borrow_mut().reader = Some(leader);
                1_000
            }
            1 if leader == self.progress.one => {
                // The third: of the three, 0 to 2, the sum is 3.
                let voter = 3 - leader - self.progress.other;
                self.cut_pair(leader, voter);
                // Its consensus is built again: a node that starts asks its peers first, which takes longer than any lease.
                self.panic(voter, group).await;
                // The one that was away longer has not what the other has: it is the one that restarted that can lead, with its vote.
                self.stage.pins.borrow_mut().writer = Some(voter);
                2_000
            }
            _ => {
                self.progress.stage = 0;
                self.world.net.heal();
                *self.stage.pins.borrow_mut() = crate::workload::Pins::default();
                1_500
            }
        }
    }

    fn leader_sleeps(&mut self) -> u64 {
        match self.turn(3) {
            0 => {
                let group = self.group();
                let Some(leader) = self.leader(group) else {
                    self.progress.stage = 0;
                    return 100;
                };
                self.progress.one = leader;
                self.stage.pins.borrow_mut().reader = Some(leader);
                let others = (0..self.world.swarm.nodes as usize).filter(|other| *other != leader);
                others.for_each(|other| self.cut_pair(leader, other));
                self.sleeps(leader, true);
                1_500 + self.dice.below(1_000)
            }
            1 => {
                // It wakes before any peer is heard: its connections are gone.
                self.stage.pins.borrow_mut().writer = self.leader_but(self.progress.one);
                self.sleeps(self.progress.one, false);
                300
            }
            _ => {
                self.world.net.heal();
                *self.stage.pins.borrow_mut() = crate::workload::Pins::default();
                1_500
            }
        }
    }

    fn leader_ahead(&mut self) -> u64 {
        let group = GroupId(1);
        let Some(leader) = self.leader(group) else { return 100 };
        match self.turn(3) {
            0 => {
                self.progress.one = leader;
                self.stage.nodes.borrow()[leader].clock.set_off(1_000);
                4_000
            }
            1 if leader == self.progress.one => {
                let what = format!("n-{} leads {group}, a second ahead of all others", leader + 1);
                self.world.overseer.accuse(Violation::broken("liveness", what));
                0
            }
            1 => {
                self.stage.counts("leaders ahead that gave way");
                self.stage.nodes.borrow()[self.progress.one].clock.set_off(0);
                1_000
            }
            _ => 500,
        }
    }

    /// Who leads the first group, but for one who may not know that it does not any more.
    fn leader_but(&self, not: usize) -> Option<usize> {
        let nodes = self.stage.nodes.borrow();
        (0..nodes.len()).filter(|at| *at != not).find(|at| {
            let receiver = nodes[*at].running().and_then(|running| running.registry.get(GroupId(1)));
            receiver.is_some_and(|receiver| receiver.group().leads())
        })
    }

    /// The machine of a node sleeps, or wakes.
    fn sleeps(&self, at: usize, is_asleep: bool) {
        let does = if is_asleep { "sleeps" } else { "wakes" };
        self.world.diary.note("nemesis", format_args!("n-{} {does}", at + 1));
        self.stage.nodes.borrow()[at].clock.node().set_asleep(is_asleep);
    }

    fn rot_where_it_is_read(&mut self) -> u64 {
        let group = self.group();
        let Some(leader) = self.leader(group) else { return 100 };
        match self.progress.stage {
            0 => {
                (self.progress.stage, self.progress.one) = (1, self.another(leader));
                self.crash(self.progress.one);
                2_000
            }
            1 => {
                self.progress.stage = 2;
                self.lost = Some(leader);
                self.world.diary.note("nemesis", format_args!("the log of n-{} rots", leader + 1));
                rot_entries(&self.stage.nodes.borrow()[leader].disk, Path::new("/log"));
                self.later(Due::Start(self.progress.one), 0, 50);
                u64::MAX / 2
            }
            _ => u64::MAX / 2,
        }
    }

    fn leader_was_cut_off(&mut self) -> u64 {
        match self.turn(3) {
            0 => {
                let group = self.group();
                let Some(leader) = self.leader(group) else {
                    self.progress.stage = 0;
                    return 100;
                };
                self.progress.one = leader;
                let others = (0..self.world.swarm.nodes as usize).filter(|other| *other != leader);
                others.for_each(|other| self.cut_pair(leader, other));
                1_500
            }
            1 => {
                self.world.net.heal();
                50 + self.dice.below(200)
            }
            _ => {
                self.crash(self.progress.one);
                self.later(Due::Start(self.progress.one), 50, 300);
                1_500
            }
        }
    }

    fn away(&mut self) -> u64 {
        let group = self.group();
        let Some(leader) = self.leader(group) else { return 100 };
        let one = self.another(leader);
        if !self.down.contains(&one) {
            self.crash(one);
            self.later(Due::Start(one), 1_500, 2_500);
        }
        3_500
    }

    fn flush_then_crash(&mut self) -> u64 {
        let (at, group) = (self.any(), self.group());
        let Some((receiver, pool)) = self.receiver(at, group) else { return 50 };
        receiver.group().machine().tablet().freeze();
        pool.settle();
        self.crash(at);
        self.later(Due::Start(at), 50, 200);
        700 + self.dice.below(300)
    }

    fn leader_stood_still(&mut self) -> u64 {
        let group = self.group();
        let Some(leader) = self.leader(group) else { return 100 };
        match self.turn(3) {
            0 => {
                self.progress.one = leader;
                self.stands_still(leader, &(2_500..=2_500));
                self.stage.pins.borrow_mut().reader = Some(leader);
                1_300
            }
            1 => {
                let other = Some(leader).filter(|leader| *leader != self.progress.one);
                self.stage.pins.borrow_mut().writer = other;
                1_500
            }
            _ => {
                *self.stage.pins.borrow_mut() = crate::workload::Pins::default();
                500
            }
        }
    }

    fn older_disk(&mut self) -> u64 {
        match self.progress.stage {
            0 => {
                self.progress.stage = 1;
                1_000
            }
            1 => {
                self.progress.stage = 2;
                let at = self.any();
                self.keep_image(at, 1_000, 3_000);
                u64::MAX / 2
            }
            _ => u64::MAX / 2,
        }
    }
}
