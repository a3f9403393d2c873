//! The one reader of the system's clocks. A wall clock is believed as long as it goes with the boot clock, and peers agree with it.

use engine::clock::Clock;
use engine::ids::NodeId;
use raft::limits::CLOCK_PART_MS_MAX;
use raft::time::BootClock;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a peer said of its clock counts for so long, in milliseconds.
const HEARD_MS: u64 = 30_000;

/// The clocks of this machine, and what peers say of theirs.
#[derive(Default)]
pub struct SystemClock {
    known: Mutex<Known>,
    /// What it reads in a simulation.
    #[cfg(feature = "simulated")]
    pretended: Option<std::sync::Arc<dyn BootClock>>,
}

/// What peers have said. It is kept against the boot clock, which nobody sets: when the wall clock here jumps, all that was heard before
/// disputes it at once.
#[derive(Debug, Default)]
struct Known(BTreeMap<NodeId, Heard>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// The wall clock of the peer, less the boot clock here.
    apart_ms: i64,
    /// When it said so, by the boot clock here.
    boot_ms: u64,
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Known {
    /// A peer that was asked at `asked_ms` says at `boot_ms` that its wall clock is at `wall_ms`.
    fn hears(&mut self, peer: NodeId, wall_ms: u64, asked_ms: u64, boot_ms: u64) {
        // It said so somewhere between question and answer.
        let half_ms = boot_ms.saturating_sub(asked_ms) / 2;
        let apart_ms = signed(wall_ms).saturating_sub(signed(boot_ms - half_ms));
        self.0.insert(peer, Heard { apart_ms, boot_ms });
    }

    /// What they say of a wall clock that is at `wall_ms` when the boot clock is at `boot_ms`.
    fn agreement(&self, wall_ms: u64, boot_ms: u64) -> Agreement {
        let apart_ms = signed(wall_ms).saturating_sub(signed(boot_ms));
        let fresh = |heard: &&Heard| boot_ms.saturating_sub(heard.boot_ms) <= HEARD_MS;
        agreement(self.0.values().filter(fresh).map(|heard| heard.apart_ms.saturating_sub(apart_ms)))
    }
}

/// What peers say of a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nobody was heard of late.
    Unheard,
    /// It is where the middle of all is, within the bound.
    Agreed {
        /// Milliseconds that it is ahead of that; below 0 it is behind.
        ahead_ms: i64,
    },
    /// It is ahead of the middle of all by so much.
    Disputed {
        /// Milliseconds; below 0 it is behind.
        ahead_ms: i64,
    },
}

/// Pure: whether a clock is where the middle of all is. `ahead_ms` is how far each peer is ahead of it.
#[must_use]
pub fn agreement(ahead_ms: impl IntoIterator<Item = i64>) -> Agreement {
    let mut all: Vec<i64> = ahead_ms.into_iter().collect();
    if all.is_empty() {
        return Agreement::Unheard;
    }
    all.push(0);
    all.sort_unstable();
    // Of an even number the one that is nearer: two clocks alone cannot say which of them is wrong unless they are far apart.
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    let middle = if low.unsigned_abs() < high.unsigned_abs() { low } else { high };
    let apart = if all.len() == 2 { all[0].abs_diff(all[1]) } else { middle.unsigned_abs() };
    let ahead_ms = if all.len() == 2 { all[0].saturating_add(all[1]) } else { middle }.saturating_neg();
    if apart <= CLOCK_PART_MS_MAX {
        return Agreement::Agreed { ahead_ms };
    }
    Agreement::Disputed { ahead_ms }
}

fn ms(id: ClockId) -> u64 {
    let now = clock_gettime(id);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000 + nanos / 1_000_000
}

/// Microseconds of the clock that nobody sets: for how long things take.
#[must_use]
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000_000 + nanos / 1_000
}

impl SystemClock {
    /// One that goes as `clock` does, in a simulation.
    #[cfg(feature = "simulated")]
    #[must_use]
    pub fn pretended(clock: std::sync::Arc<dyn BootClock>) -> Self {
        Self { pretended: Some(clock), ..Self::default() }
    }

    /// What the machine says: its clock `id`, or in a simulation what `pretended` reads.
    fn read(&self, id: ClockId, pretended: fn(&dyn BootClock) -> u64) -> u64 {
        #[cfg(feature = "simulated")]
        if let Some(clock) = &self.pretended {
            return pretended(&**clock);
        }
        let _ = pretended;
        match id {
            ClockId::Realtime => shifted(ms(id)),
            id => ms(id),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer has said that its wall clock is at `wall_ms`; it was asked when the boot clock here was at `asked_ms`, and has answered now.
    pub fn hears(&self, peer: NodeId, wall_ms: u64, asked_ms: u64) {
        self.known().hears(peer, wall_ms, asked_ms, self.boot_ms());
    }

    /// What peers say of the wall clock here.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        self.known().agreement(self.now_ms(), self.boot_ms())
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        self.read(ClockId::Realtime, |clock| clock.wall_ms())
    }
}

/// What the wall clock says: that of the system, unless a test has set it.
fn shifted(system_ms: u64) -> u64 {
    #[cfg(feature = "clock-offset")]
    return system_ms.saturating_add_signed(crate::clock_offset::offset_ms());
    #[cfg(not(feature = "clock-offset"))]
    system_ms
}

impl BootClock for SystemClock {
    fn boot_ms(&self) -> u64 {
        self.read(ClockId::Boottime, |clock| clock.boot_ms())
    }

    fn monotonic_ms(&self) -> u64 {
        self.read(ClockId::Monotonic, |clock| clock.monotonic_ms())
    }

    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }

    fn is_disputed(&self) -> bool {
        matches!(self.agreement(), Agreement::Disputed { .. })
    }

    fn agreed_ms(&self) -> Option<u64> {
        matches!(self.agreement(), Agreement::Agreed { .. }).then(|| self.now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_all_says_whether_a_clock_is_right() {
        assert_eq!(agreement([]), Agreement::Unheard);
        assert!(matches!(agreement([3, -4]), Agreement::Agreed { .. }));
        assert!(matches!(agreement([250]), Agreement::Agreed { .. }));
        assert_eq!(agreement([251]), Agreement::Disputed { ahead_ms: -251 });
        // One that is wrong does not make the others wrong.
        assert!(matches!(agreement([9_000, 2]), Agreement::Agreed { .. }));
        assert_eq!(agreement([-9_000, -9_001]), Agreement::Disputed { ahead_ms: 9_000 });
        // Half of four are wrong: the nearer half is believed.
        assert!(matches!(agreement([0, 5_000, 5_001]), Agreement::Agreed { .. }));
    }

    #[test]
    fn what_a_peer_says_counts_for_a_while_and_against_a_clock_that_jumps() {
        let (mut known, wall, boot) = (Known::default(), 1_800_000_000_000, 5_000);
        assert_eq!(known.agreement(wall, boot), Agreement::Unheard);
        // The way there and back takes 80 ms, so it spoke 40 ms ago.
        known.hears(NodeId(2), wall - 40, boot - 80, boot);
        assert!(matches!(known.agreement(wall, boot), Agreement::Agreed { .. }));
        assert!(matches!(known.agreement(wall + 10_000, boot + 10_000), Agreement::Agreed { .. }));
        // Nothing new was heard, but the wall clock has gone another way than the boot clock.
        assert_eq!(known.agreement(wall + 9_000, boot + 1_000), Agreement::Disputed { ahead_ms: 8_000 });
        assert_eq!(known.agreement(wall - 8_000, boot + 1_000), Agreement::Disputed { ahead_ms: -9_000 });
        assert!(
            matches!(known.agreement(wall + 1_000, boot + 1_000), Agreement::Agreed { .. }),
            "it is set right again"
        );
        assert!(matches!(known.agreement(wall + HEARD_MS, boot + HEARD_MS), Agreement::Agreed { .. }));
        assert_eq!(known.agreement(wall + HEARD_MS, boot + HEARD_MS + 1), Agreement::Unheard);
        // Whatever a peer says, nothing overflows.
        known.hears(NodeId(2), u64::MAX, boot + 1, boot);
        assert!(matches!(known.agreement(0, u64::MAX), Agreement::Unheard));
        assert!(matches!(known.agreement(0, boot), Agreement::Disputed { .. }));
    }

    #[test]
    fn the_clocks_of_the_system_are_asked() {
        let clock = SystemClock::default();
        assert!(!clock.is_disputed() && clock.agreed_ms().is_none(), "nobody was heard");
        clock.hears(NodeId(2), clock.now_ms() + 5_000, clock.boot_ms());
        assert!(clock.is_disputed() && clock.agreed_ms().is_none());
        clock.hears(NodeId(2), clock.now_ms(), clock.boot_ms());
        assert!(!clock.is_disputed() && clock.agreed_ms().is_some_and(|ms| ms > 1_700_000_000_000));
    }
}
