//! Figures of what is stored and applied: the log, the machines, the gate.

use crate::proposal::Reply;
use engine::stats::Counter;

figures! {
    /// Figures of the log of a node.
    "log", LogStats, LogFigures;
    /// Records written, with those that open a segment.
    written_records: Counter,
    /// Bytes of writes, as they stand in segments.
    written_bytes: Counter,
    /// Writes made durable, each by one sync: records by syncs is how many share one.
    write_syncs: Counter,
    /// Segments there are.
    kept_segments: Gauge,
    /// Bytes from the beginning of the oldest segment to the end of what is durable.
    kept_bytes: Gauge,
    /// Files that wait to become segments.
    spare_segments: Gauge,
    /// Segments begun, the one of the start among them.
    begun_segments: Counter,
    /// Segments begun in a file without blocks, because none was ready: more is written than is filled ahead.
    hollow_segments: Counter,
    /// Segments emptied, because a group that lags kept them.
    evacuated_segments: Counter,
    /// Entries written again so that their segment could be emptied.
    moved_entries: Counter,
    /// Entries asked for that were in memory.
    cache_hit_entries: Counter,
    /// Entries asked for that were not in memory.
    cache_missed_entries: Counter,
    /// Reads of one entry from its segment, with those that had to look again.
    disk_reads: Counter,
    /// 1 once it refuses all work, because a write failed; else 0.
    fenced_flag: Gauge,
}

figures! {
    /// Figures of the machines of a node, all groups together.
    "machine", MachineStats, MachineFigures;
    /// Entries applied, those without commands among them.
    applied_entries: Counter,
    /// Commands that ran.
    ran_commands: Counter,
    /// Commands that had run before, and were answered as then.
    repeated_commands: Counter,
    /// Commands that came after their retry window.
    expired_commands: Counter,
    /// Commands of a tenant whose keys are gone for good.
    shredded_commands: Counter,
    /// Commands that asked to be remembered for too long.
    overlong_commands: Counter,
    /// Commands that wanted to write more than fits an entry.
    oversized_commands: Counter,
    /// Commands that asked for a row which their group does not hold.
    misplaced_commands: Counter,
    /// Commands that had run before and came with another retry window.
    mismatched_commands: Counter,
    /// Times that an entry had to wait because the engine was full.
    stalled_times: Counter,
    /// Times that an entry had to wait for the meta group to apply here what it needs of it.
    meta_waits: Counter,
    /// Snapshots of peers put in the place of what was here.
    installed_snapshots: Counter,
}

figures! {
    /// Figures of delayed replicas: the gate of a node that is delayed, and what others keep for such nodes.
    "delay", DelayStats, DelayFigures;
    /// The delay that is set.
    set_ms: Gauge,
    /// How far the gate lies behind the safe time, when that was last known.
    lag_ms: Gauge,
    /// 1 while a person holds the gate; else 0.
    held_flag: Gauge,
    /// Times that the gate has risen.
    gate_steps: Counter,
    /// Snapshots that were not taken because they are newer than the gate: their replica is parked.
    parked_snapshots: Counter,
    /// Delayed replicas elsewhere that were away too long: the log here waits for them no more.
    forsaken_replicas: Counter,
}

impl MachineStats {
    /// What became of a command that was applied.
    pub(crate) fn became(&self, reply: &Reply) -> &Counter {
        match reply {
            Reply::Ran(_) => &self.ran_commands,
            Reply::RanBefore(_) => &self.repeated_commands,
            Reply::Expired => &self.expired_commands,
            Reply::Shredded => &self.shredded_commands,
            Reply::WindowTooLong => &self.overlong_commands,
            Reply::TooLarge => &self.oversized_commands,
            Reply::OutsideRange => &self.misplaced_commands,
            Reply::OtherWindow => &self.mismatched_commands,
        }
    }
}
