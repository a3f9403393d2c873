//! Bugs that can be planted, one a thread, to show that the judges of the simulator find them. Only the simulator turns the feature
//! on; without it every question here is answered no, when the code is built.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// The log says that entries are durable before they are.
    AcknowledgeBeforeSync,
    /// A vote is given and not stored.
    ForgetVote,
    /// A truncation is not written down.
    ForgetTruncation,
    /// A leader that restarts leads on in the same term.
    RestoreLeader,
    /// A replica that restarts votes at once, whatever lease it had granted.
    OpenStartGuard,
    /// A leader answers reads without asking anybody.
    ReadWithoutQuorum,
    /// Two entries that come together are applied in the wrong order.
    ApplyOutOfOrder,
    /// A request that comes again runs again.
    RunAgain,
    /// A stamp is what the leader proposed, whatever was given out before.
    KeepProposedStamp,
    /// A snapshot says that it holds what is only in memory.
    SnapshotClaimsMore,
    /// A snapshot leaves out what became of commands.
    SnapshotForgetsDigest,
    /// A tablet makes durable what the log has not.
    FlushBeforeLog,
    /// A record of the log is believed, whatever its checksum says.
    SkipChecksum,
    /// A new segment of the log gets its name, and the folder is not synced.
    SkipNameSync,
    /// The log is purged up to what is committed, be it durable in the tablet or not.
    PurgeAboveFloor,
    /// A node runs, whatever its peers remember of a newer disk.
    AcceptOlderDisk,
    /// Some replicas leave out the writes of an entry now and then.
    ApplyInPart,
    /// Some replicas leave writes out of their digest.
    DigestInPart,
    /// Some replicas leave rows out of what they say of a range.
    SkipInRange,
    /// A file of a snapshot is taken for one that is here.
    DropSnapshotFile,
    /// The old tablet goes before the one that a snapshot makes is there.
    InstallInTwoSteps,
    /// Compare-and-set does not compare.
    IgnoreExpected,
    /// A replica id that has ended is given out again.
    ReuseReplica,
    /// A delayed replica is told one entry more than its gate lets through.
    GateEarly,
    /// A lease outlives the sleep of its leader's machine. (Consensus itself grants none longer, by its clock, than that of the votes.)
    StaleLease,
    /// What came by a snapshot has no replies kept.
    SnapshotForgetsReplies,
    /// A bounded read is answered, however old what is applied here is.
    BoundedWithoutProof,
    /// A read as of a stamp is answered before the stamp is closed.
    PastBeforeClosed,
    /// A leader leads on, whatever peers say of its wall clock.
    LeadByWrongClock,
    /// A service is let in to the rows of whichever tenant it names.
    AskNobodyWhose,
    /// A write goes ahead whatever version its condition names.
    HoldAnyStamp,
    /// A watch is not told of some entries.
    KeepEntriesFromWatches,
    /// The gate of a delayed node goes by a clock that is ahead.
    GateAhead,
    /// A tenant that was dropped is served until it is purged.
    ServeTheDropped,
    /// A node that has not heard of a collection says that nothing is in it.
    TakeUnheardForEmpty,
    /// The files of a tick are told to be in the archive, and are not.
    TellFilesThatAreNotPut,
}

/// Every one of them.
pub const ALL: [Planted; 36] = [
    Planted::AcknowledgeBeforeSync,
    Planted::ForgetVote,
    Planted::ForgetTruncation,
    Planted::RestoreLeader,
    Planted::OpenStartGuard,
    Planted::ReadWithoutQuorum,
    Planted::ApplyOutOfOrder,
    Planted::RunAgain,
    Planted::KeepProposedStamp,
    Planted::SnapshotClaimsMore,
    Planted::SnapshotForgetsDigest,
    Planted::FlushBeforeLog,
    Planted::SkipChecksum,
    Planted::SkipNameSync,
    Planted::PurgeAboveFloor,
    Planted::AcceptOlderDisk,
    Planted::ApplyInPart,
    Planted::DigestInPart,
    Planted::SkipInRange,
    Planted::DropSnapshotFile,
    Planted::InstallInTwoSteps,
    Planted::IgnoreExpected,
    Planted::ReuseReplica,
    Planted::GateEarly,
    Planted::StaleLease,
    Planted::SnapshotForgetsReplies,
    Planted::BoundedWithoutProof,
    Planted::PastBeforeClosed,
    Planted::LeadByWrongClock,
    Planted::AskNobodyWhose,
    Planted::HoldAnyStamp,
    Planted::KeepEntriesFromWatches,
    Planted::GateAhead,
    Planted::ServeTheDropped,
    Planted::TakeUnheardForEmpty,
    Planted::TellFilesThatAreNotPut,
];

#[cfg(feature = "planted")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in everything that this thread does from now on, or takes it out.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Planted>) {
    ACTIVE.set(bug);
}

/// Whether this bug is planted here.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Planted) -> bool {
    ACTIVE.get() == Some(bug)
}

/// Whether this bug is planted here: no.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Planted) -> bool {
    false
}
