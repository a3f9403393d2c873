//! Pure: for every bug that can be planted, the runs that bring it to light: plain mixes of faults find some of them only by luck.

use crate::aim::Aim;
use crate::run::Plan;
use crate::seed::Fault::{self, Clock, Crash, Cut, CutPair, Membership, Purge, Slow, Snapshot, Transfer};
use crate::whole;
use raft::planted::Planted;

/// Faults and how often each, the milliseconds between two, and what is aimed at.
type Schedule = (&'static [(Fault, u32)], u64, Option<Aim>);

fn schedule(bug: Planted) -> Schedule {
    match bug {
        Planted::AcknowledgeBeforeSync | Planted::ForgetVote | Planted::SkipNameSync => {
            (&[(Crash, 6), (CutPair, 1), (Transfer, 1)], 500, None)
        }
        Planted::ForgetTruncation => (&[], 0, Some(Aim::LeaderWasCutOff)),
        Planted::RestoreLeader => (&[], 0, Some(Aim::LeaderIsBack)),
        Planted::OpenStartGuard | Planted::ReadWithoutQuorum => (&[], 0, Some(Aim::LeaseAcrossRestart)),
        Planted::BoundedWithoutProof | Planted::PastBeforeClosed => {
            (&[(Crash, 2), (Cut, 2), (Slow, 1), (Transfer, 1)], 700, None)
        }
        Planted::LeadByWrongClock => (&[], 0, Some(Aim::LeaderAhead)),
        Planted::StaleLease => (&[], 0, Some(Aim::LeaderSleeps)),
        Planted::SnapshotClaimsMore | Planted::SnapshotForgetsDigest | Planted::DropSnapshotFile => {
            (&[(Purge, 6), (Snapshot, 2)], 400, Some(Aim::Away))
        }
        Planted::InstallInTwoSteps => (&[(Purge, 6)], 400, Some(Aim::AwayThenCrash)),
        Planted::FlushBeforeLog => (&[], 0, Some(Aim::FlushThenCrash)),
        Planted::PurgeAboveFloor => (&[(Crash, 3), (Purge, 4)], 400, None),
        Planted::RunAgain => (&[(Crash, 3), (Cut, 2), (Transfer, 6)], 250, None),
        Planted::KeepProposedStamp => (&[(Clock, 4), (Transfer, 2), (Cut, 1)], 400, None),
        Planted::ReuseReplica => (&[(Membership, 1), (Crash, 1)], 1_500, None),
        Planted::GateEarly => (&[(Crash, 1), (Transfer, 1)], 1_000, None),
        Planted::SnapshotForgetsReplies => {
            (&[(Crash, 4), (Cut, 2), (Transfer, 12), (Purge, 6)], 150, Some(Aim::Away))
        }
        Planted::SkipChecksum => (&[], 0, Some(Aim::RotWhereItIsRead)),
        Planted::AcceptOlderDisk => (&[(CutPair, 1)], 1_500, Some(Aim::OlderDisk)),
        Planted::ApplyOutOfOrder
        | Planted::ApplyInPart
        | Planted::DigestInPart
        | Planted::SkipInRange
        | Planted::IgnoreExpected => (&[(Crash, 2), (Cut, 1), (Transfer, 1), (Slow, 1)], 700, None),
        // Of whole nodes.
        Planted::AskNobodyWhose
        | Planted::HoldAnyStamp
        | Planted::KeepEntriesFromWatches
        | Planted::GateAhead
        | Planted::ServeTheDropped
        | Planted::TakeUnheardForEmpty
        | Planted::TellFilesThatAreNotPut => (&[], 0, None),
    }
}

/// The runs for a bug, which is not planted in them yet.
#[must_use]
pub fn plan(bug: Planted) -> Plan {
    let (faults, fault_every_ms, aim) = schedule(bug);
    let faults = faults.iter().copied().collect();
    Plan { fault_ms: 12_000, quiet_ms: 20_000, planted: None, faults, fault_every_ms, keys_min: 40, aim }
}

/// The runs of whole nodes for a bug, with it, if groups of consensus alone do not have the room it is in.
#[must_use]
pub fn whole_plan(bug: Planted) -> Option<whole::run::Plan> {
    let late_ms = (bug == Planted::GateAhead).then_some(3_000);
    let is_whole = matches!(
        bug,
        Planted::AskNobodyWhose
            | Planted::HoldAnyStamp
            | Planted::KeepEntriesFromWatches
            | Planted::GateAhead
            | Planted::ServeTheDropped
            | Planted::TakeUnheardForEmpty
            | Planted::TellFilesThatAreNotPut
    );
    let is_archived = bug == Planted::TellFilesThatAreNotPut;
    let plan =
        whole::run::Plan { fault_ms: 15_000, planted: Some(bug), late_ms, is_archived, schedule: None };
    is_whole.then_some(plan)
}
