//! What can fail of the machine of one node, beside its power: its disk takes long or is full, its keys are away, all of it stands still.

use super::keys::TenantKeys;
use engine::Kind;
use engine::disk::SimDisk;
use engine::disk::sim::Faults;
use raft::pause::Pause;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The machine of one node, through all its lives. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Hardware {
    /// What works on it stands still meanwhile.
    pub pause: Pause,
    /// Whether the keys of tenants are away.
    pub keys: Arc<TenantKeys>,
    slow_ms: Arc<AtomicU64>,
    /// Whether syncs of the disk fail.
    fails: Arc<AtomicBool>,
    /// Bytes that the disk takes; 0 without end.
    room_bytes: Arc<AtomicU64>,
}

impl Hardware {
    /// So much longer the disk takes for whatever it writes, in milliseconds.
    #[must_use]
    pub fn slow_ms(&self) -> u64 {
        self.slow_ms.load(Ordering::SeqCst)
    }

    /// From now on the disk takes so much longer, in milliseconds.
    pub fn slow(&self, ms: u64) {
        self.slow_ms.store(ms, Ordering::SeqCst);
    }

    /// Whether its disk has an end now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room_bytes.load(Ordering::SeqCst) > 0
    }

    /// Bytes that its disk takes, if it has an end now.
    #[must_use]
    pub fn room_bytes(&self) -> Option<u64> {
        Some(self.room_bytes.load(Ordering::SeqCst)).filter(|bytes| *bytes > 0)
    }

    /// Lets `disk` take so many bytes more, whatever is started on it, until there is room again.
    pub fn fill(&self, disk: &SimDisk, more_bytes: u64) {
        self.room_bytes.store((disk.bytes_taken() + more_bytes).max(1), Ordering::SeqCst);
        self.set_faults(disk, Faults::default());
    }

    /// It goes on, there is room again, the disk is as fast as ever, and the keys are here.
    pub fn mend(&self, disk: &SimDisk) {
        self.pause.go_on();
        self.slow(0);
        self.keys.set_away(false);
        self.make_room(disk);
    }

    /// Whether a node on it may say, instead of starting, that its disk fails, or that it lacks room or keys.
    #[must_use]
    pub fn excuses(&self, kind: Kind) -> bool {
        match kind {
            Kind::Unavailable => self.is_full() || self.fails.load(Ordering::SeqCst),
            Kind::Key => self.keys.are_away(),
            _ => false,
        }
    }

    /// There is room again.
    pub fn make_room(&self, disk: &SimDisk) {
        self.room_bytes.store(0, Ordering::SeqCst);
        if !disk.is_down() {
            disk.set_faults(Faults::default());
        }
    }

    /// What goes wrong with `disk` from now on, beside that it may be full.
    pub fn set_faults(&self, disk: &SimDisk, faults: Faults) {
        let room_bytes = self.room_bytes.load(Ordering::SeqCst);
        self.fails.store(faults.fail_syncs, Ordering::SeqCst);
        let capacity_bytes = (room_bytes > 0).then_some(room_bytes);
        disk.set_faults(Faults { capacity_bytes, ..faults });
    }
}
