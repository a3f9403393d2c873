//! Pure: when writers slow down, and when they wait.

use crate::limits;

/// What a writer should do before its next batch. A plain value: the caller decides how to obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Go on.
    #[default]
    None,
    /// Background work is falling behind: let fewer writes in.
    Slow,
    /// Writes are refused until background work has caught up.
    Stop,
}

/// What pressure is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Frozen memtables of the tablet that wait to be flushed.
    pub frozen: usize,
    /// Tables in the tablet's level 0.
    pub level0: usize,
    /// Bytes in all memtables of the pool that take writes or wait to be flushed.
    pub memtable_bytes: usize,
    /// Bytes in memtables that are in tables already, and still held by readers.
    pub pinned_bytes: usize,
    /// The budget for them.
    pub memtable_budget: usize,
}

/// The pressure of `load`.
#[must_use]
pub fn pressure(load: &Load) -> Pressure {
    // What long-lived readers hold does not stop writers, up to as much again as the budget.
    let is_full = load.memtable_bytes >= load.memtable_budget || load.pinned_bytes >= load.memtable_budget;
    if is_full || load.frozen >= limits::FROZEN_MEMTABLES_MAX || load.level0 >= limits::LEVEL0_STOP_TABLES {
        return Pressure::Stop;
    }
    let is_filling = load.memtable_bytes >= load.memtable_budget / 8 * 7;
    if is_filling
        || load.frozen + 1 >= limits::FROZEN_MEMTABLES_MAX
        || load.level0 >= limits::LEVEL0_SLOW_TABLES
    {
        return Pressure::Slow;
    }
    Pressure::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_slows_then_stops() {
        let calm = Load { frozen: 0, level0: 3, memtable_bytes: 10, pinned_bytes: 70, memtable_budget: 80 };
        let cases = [
            (calm, Pressure::None),
            (Load { frozen: 3, ..calm }, Pressure::Slow),
            (Load { frozen: 4, ..calm }, Pressure::Stop),
            (Load { level0: 11, ..calm }, Pressure::None),
            (Load { level0: 12, ..calm }, Pressure::Slow),
            (Load { level0: 24, ..calm }, Pressure::Stop),
            (Load { memtable_bytes: 70, ..calm }, Pressure::Slow),
            (Load { memtable_bytes: 80, ..calm }, Pressure::Stop),
            (Load { pinned_bytes: 80, ..calm }, Pressure::Stop),
        ];
        for (load, want) in cases {
            assert_eq!(pressure(&load), want, "{load:?}");
        }
    }
}
