//! What happens to the machine of one node: it stands still, its disk takes long or is full, its keys are away, bytes of its log rot. All but
//! the last end by themselves, whoever waits for what.

use crate::nemesis::Nemesis;
use crate::world::hardware::Hardware;
use engine::disk::sim::Faults;
use engine::disk::{Disk, SimDisk};
use raft::log::segment::FileName;
use raft::type_config::spawn;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// A node stands still for so long, in milliseconds: past every lease and election, or hardly.
const PAUSES_MS: [RangeInclusive<u64>; 2] = [20..=400, 800..=5_000];
/// A disk that is full takes at most so many bytes more.
const ROOM_BYTES_MAX: u64 = 256 << 10;

impl Nemesis {
    /// Lets `ends` happen to the machine of a node, when its time has come.
    fn ends(
        &mut self,
        at: usize,
        within_ms: &RangeInclusive<u64>,
        ends: impl FnOnce(&Hardware, &SimDisk) + Send + 'static,
    ) {
        let (hardware, disk) = {
            let nodes = self.stage.nodes.borrow();
            (nodes[at].hardware.clone(), nodes[at].disk.clone())
        };
        let ms = self.dice.within(within_ms);
        spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            ends(&hardware, &disk);
        });
    }

    /// A node stands still, and goes on as if nothing had happened: more often than others one that leads.
    pub(crate) fn pauses(&mut self, at: usize) -> bool {
        let group = self.group();
        let at = self.leader(group).filter(|_| self.dice.is_lucky(500)).unwrap_or(at);
        let range = PAUSES_MS[usize::from(self.dice.is_lucky(600))].clone();
        self.stands_still(at, &range)
    }

    /// A node stands still for so long, in milliseconds. False if it does already, or does not run.
    pub(crate) fn stands_still(&mut self, at: usize, within_ms: &RangeInclusive<u64>) -> bool {
        {
            let nodes = self.stage.nodes.borrow();
            if nodes[at].running().is_none() || nodes[at].hardware.pause.is_paused() {
                return false;
            }
            self.world.diary.note(nodes[at].id, "stands still");
            nodes[at].hardware.pause.pause();
        }
        self.ends(at, within_ms, |hardware, _| hardware.pause.go_on());
        true
    }

    /// The disk of a node takes long.
    pub(crate) fn disk_is_slow(&mut self, at: usize) -> bool {
        let ms = 20 + self.dice.below(300);
        self.stage.nodes.borrow()[at].hardware.slow(ms);
        self.ends(at, &(300..=4_000), |hardware, _| hardware.slow(0));
        true
    }

    /// The disk of a node takes only a little more, until there is room again.
    pub(crate) fn disk_is_full(&mut self, at: usize) -> bool {
        let more_bytes = self.dice.below(ROOM_BYTES_MAX);
        {
            let nodes = self.stage.nodes.borrow();
            if self.image.is_some() || nodes[at].disk.is_down() || nodes[at].hardware.is_full() {
                return false;
            }
            nodes[at].hardware.fill(&nodes[at].disk, more_bytes);
        }
        self.ends(at, &(500..=8_000), Hardware::make_room);
        true
    }

    /// Nobody unwraps the keys of tenants for a node. Less long than an entry waits for them: after that its group is fenced for good.
    pub(crate) fn keys_are_away(&mut self, at: usize) -> bool {
        self.stage.nodes.borrow()[at].hardware.keys.set_away(true);
        self.ends(at, &(300..=9_000), |hardware, _| hardware.keys.set_away(false));
        true
    }

    /// The power of a node goes in the middle of whatever it does.
    pub(crate) fn will_crash(&mut self, at: usize) {
        let nodes = self.stage.nodes.borrow();
        let crash_at = Some(nodes[at].disk.operations() + 1 + self.dice.below(40));
        nodes[at].hardware.set_faults(&nodes[at].disk, Faults { crash_at, ..Faults::default() });
    }

    /// A byte of the log of a node changes, somewhere in what was written.
    pub(crate) fn rot(&mut self, at: usize) -> bool {
        let disk = self.stage.nodes.borrow()[at].disk.clone();
        let dir = Path::new("/log");
        let names = disk.list(dir).unwrap_or_default();
        let segments: Vec<String> = names
            .into_iter()
            .filter(|name| matches!(FileName::parse(name), Some(FileName::Segment(_))))
            .collect();
        let (Some(name), number) = (self.dice.pick(&segments), self.dice.number()) else { return false };
        let rotted = disk.tamper(&dir.join(name), |bytes| {
            let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
            let place = usize::try_from(number % (written + 1)).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << (number >> 61);
            }
        });
        rotted.is_ok()
    }
}
