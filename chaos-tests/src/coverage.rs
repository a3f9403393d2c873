//! Pure: what a batch of runs must have seen at least once. What no run has entered was not tried, however often nothing was found.

use crate::report::Batch;
use crate::seed::FAULTS;

/// Runs below this number prove nothing by what they have not seen.
pub const RUNS_MIN: u64 = 50;
/// Milliseconds with faults of each of them, as well.
pub const FAULT_MS_MIN: u64 = 60_000;

/// A rare branch, and what is not tried if nobody enters it.
type Branch = (&'static str, &'static str);

/// Beside every kind of fault. Each is entered five times at least in most batches of [`RUNS_MIN`], so that none is missed by bad luck.
pub const BRANCHES: [Branch; 32] = [
    ("elections", "a group finds a leader"),
    ("changes of the leader", "another one leads, while clients write"),
    ("snapshots installed", "who lags too far is filled by a snapshot"),
    ("logs purged", "the head of a log goes"),
    ("tails that conflicted cut off", "a later leader has other entries"),
    ("joint memberships", "two majorities decide"),
    ("replicas replaced", "a replica with a new id becomes a voter in the place of another"),
    ("nodes refused", "a disk that rotted or is older is told, and its node stays down"),
    ("torn tails cut off", "the last write of a log was cut short by a crash"),
    ("power cut in the middle of an operation", "a crash between any two steps of a disk"),
    ("logs fenced by a failed sync", "a sync that failed is never believed again"),
    ("logs fenced by a full disk", "no room for the log: nothing is acknowledged any more"),
    ("starts put off", "a node without room, keys or power starts later"),
    ("requests answered by their kept reply", "a request that comes again does not run again"),
    ("frames doubled", "a frame comes twice"),
    ("frames overtaken in their lane", "heartbeats and votes come in another order"),
    ("keys missed", "somebody needs a key of a tenant while it is away"),
    ("frames of another generation", "who comes back after a disaster start is refused by name"),
    ("one node survived", "a group goes on from one replica alone"),
    ("a gate is held", "a person stops a delayed node"),
    ("a gate is released", "and lets it go on"),
    ("a gate is sent forward", "and moves it to just before a commit"),
    ("a delayed node goes down", "the gate survives a crash"),
    ("a clock of a delayed node jumps", "nothing is applied early by a wrong clock"),
    ("a delayed node became a voter", "the delay ends, and it leads"),
    ("steps of a gate", "a gate opens by itself"),
    ("cuts of a delayed node", "a delayed node stands at one cut"),
    ("recoveries compared", "the ledger is held against what a start finds"),
    ("digests compared", "replicas at one entry hold the same"),
    ("replicas held against what was acknowledged", "the oracle is asked in the end"),
    ("ranges compared", "replicas say the same of every range"),
    ("replicas compared as a server does it", "a comparison goes over all rows and finds no difference"),
];

/// What this batch should have seen and has not, each with what was not tried.
#[must_use]
pub fn unseen(batch: &Batch) -> Vec<String> {
    let faults = FAULTS.into_iter().filter(|fault| batch.faults.get(fault).is_none_or(|count| *count == 0));
    let wanted: Vec<&'static str> = BRANCHES.iter().map(|(branch, _)| *branch).collect();
    let unseen = batch.unseen(&wanted);
    let branches = BRANCHES.into_iter().filter(|(branch, _)| unseen.contains(branch));
    let faults = faults.map(|fault| format!("{fault:?}: this fault was never injected"));
    faults.chain(branches.map(|(branch, why)| format!("{branch}: {why}"))).collect()
}

/// Runs of whole nodes below this number prove nothing by what they have not seen.
pub const WHOLE_RUNS_MIN: u64 = 20;

/// What a batch of runs of whole nodes must have seen.
pub const WHOLE: [&str; 15] = [
    "writes sent again",
    "reads of the past",
    "foreign questions refused",
    "transfers",
    "looks held against what was acknowledged",
    "writes that watches had to tell",
    "keys rotated",
    "tenants dropped",
    "leads handed over",
    "looks at a delayed node",
    "delayed nodes that caught up",
    "replicas compared",
    "bytes searched",
    "archives verified",
    "nodes undrained",
];

/// What this batch of runs of whole nodes should have seen and has not.
#[must_use]
pub fn unseen_whole(batch: &Batch) -> Vec<String> {
    let is_missing = |fault: &crate::seed::Fault| batch.faults.get(fault).is_none_or(|count| *count == 0);
    let faults = crate::whole::nemesis::FAULTS.into_iter().filter(is_missing);
    let faults = faults.map(|fault| format!("{fault:?}"));
    faults.chain(batch.unseen(&WHOLE).into_iter().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn whole() -> Batch {
        let mut batch = Batch { runs: RUNS_MIN, ..Batch::default() };
        batch.faults.extend(FAULTS.map(|fault| (fault, 1)));
        batch.sometimes.extend(BRANCHES.map(|(branch, _)| (branch, 1)));
        batch
    }

    #[test]
    fn a_batch_that_has_seen_everything_is_whole() {
        assert_eq!(unseen(&whole()), Vec::<String>::new());
        let names: BTreeSet<_> = BRANCHES.iter().map(|(branch, _)| branch).collect();
        assert_eq!(names.len(), BRANCHES.len());
    }

    #[test]
    fn whatever_is_taken_away_is_told() {
        for (branch, why) in BRANCHES {
            let mut batch = whole();
            batch.sometimes.insert(branch, 0);
            assert_eq!(unseen(&batch), [format!("{branch}: {why}")]);
            batch.sometimes.remove(branch);
            assert_eq!(unseen(&batch).len(), 1);
        }
        for fault in FAULTS {
            let mut batch = whole();
            batch.faults.remove(&fault);
            assert_eq!(unseen(&batch), [format!("{fault:?}: this fault was never injected")]);
        }
    }
}
