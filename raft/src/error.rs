//! Pure: what can go wrong, named for the rule that was broken. The kind is an instruction to the caller.

use crate::group::start_fault::StartFault;
use crate::types::{GroupId, LogId, ReplicaId};
use engine::error::Damage;
use engine::{Kind, Stamp};
use std::fmt;

/// Every error of replication.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One of the engine's: disk, keys, damage.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The log refuses all further work: a write failed, and what of it is durable is not known.
    #[error("the log is fenced: {cause}")]
    Fenced {
        /// What happened.
        cause: String,
    },
    /// The log is damaged where later writes prove that it was durable: nothing may be cut off there.
    #[error(
        "the log is damaged in segment {segment} at byte {offset}, before what was durable: {damage}; replace this node"
    )]
    DamagedInside {
        /// Number of the segment.
        segment: u64,
        /// Byte of its file.
        offset: u64,
        /// What was found there.
        damage: Damage,
    },
    /// A segment that must be there is not.
    #[error("segment {segment} of the log is missing; replace this node")]
    SegmentMissing {
        /// Its number.
        segment: u64,
    },
    /// A segment of another log stands in the folder.
    #[error("segment {segment} belongs to another {what}; put the right folder back")]
    Foreign {
        /// Its number.
        segment: u64,
        /// What differs.
        what: &'static str,
    },
    /// No replica of the group lives here.
    #[error("there is no replica of {0} here")]
    NoSuchGroup(GroupId),
    /// A replica id that has lived here before, or is below one that has.
    #[error("{replica} of {group} cannot be born: ids up to {greatest} have lived here; allot a greater one")]
    ReplicaUsed {
        /// The group.
        group: GroupId,
        /// The id asked for.
        replica: ReplicaId,
        /// The greatest there was.
        greatest: ReplicaId,
    },
    /// A replica of the group lives here already.
    #[error("{replica} of {group} lives here already")]
    ReplicaLives {
        /// The group.
        group: GroupId,
        /// The one that does.
        replica: ReplicaId,
    },
    /// An entry that does not follow the last.
    #[error("entry {entry} of {group} does not follow {last}")]
    Gap {
        /// The group.
        group: GroupId,
        /// The entry.
        entry: LogId,
        /// What it should follow.
        last: Last,
    },
    /// Entries asked for that are purged, or not there yet.
    #[error("entries {from}..{to} of {group} are not all here; it has {first}..{end}")]
    NotHere {
        /// The group.
        group: GroupId,
        /// First index asked for.
        from: u64,
        /// First index not asked for.
        to: u64,
        /// First index that is here.
        first: u64,
        /// First index that is not here any more.
        end: u64,
    },
    /// Something is larger than its limit.
    #[error("{what} of {got} is over the limit of {max}; send less")]
    TooLarge {
        /// What, with its unit.
        what: &'static str,
        /// How large it is.
        got: u64,
        /// How large it may be.
        max: u64,
    },
    /// The group refuses all further work here: something that must hold does not.
    #[error("{group} is fenced here: {cause}; replace this replica")]
    GroupFenced {
        /// The group.
        group: GroupId,
        /// What does not hold.
        cause: String,
    },
    /// Consensus of the group has stopped, or this instance of it was let go.
    #[error("{group} has stopped here: {cause}")]
    Stopped {
        /// The group.
        group: GroupId,
        /// Why.
        cause: String,
    },
    /// A replica could not be built from what its log and its tablet hold. Its files stay as they are.
    #[error("{group} could not be built here: {cause}")]
    NotBuilt {
        /// The group.
        group: GroupId,
        /// What is to be done.
        fault: StartFault,
        /// What failed.
        cause: String,
    },
    /// What should be one group's is another's.
    #[error("what should be of {group} is of {found}")]
    WrongGroup {
        /// The group.
        group: GroupId,
        /// Whose it is.
        found: GroupId,
    },
    /// An entry comes to the machine that does not follow the last.
    #[error("entry {entry} is to be applied after {last}")]
    OutOfOrder {
        /// The entry.
        entry: LogId,
        /// What is applied.
        last: Last,
    },
    /// The catalog is older than the log: it was put back to an earlier time.
    #[error(
        "the log knows that {group} was durable up to {known}, the catalog has {durable}: replace this replica"
    )]
    CatalogOlder {
        /// The group.
        group: GroupId,
        /// What the log knows.
        known: u64,
        /// What the catalog has.
        durable: u64,
    },
    /// A node that starts may not go on.
    #[error("this node may not go on: {verdict}")]
    NotAdmitted {
        /// Why.
        verdict: String,
    },
    /// There are no stamps left.
    #[error("there are no stamps left; a clock has run ahead without end")]
    StampsEnded,
    /// An entry that does not follow the last, or whose last stamp lies below that of the last.
    #[error("entry {entry} with last stamp {stamp} does not follow {last}")]
    StampOrder {
        /// The entry.
        entry: LogId,
        /// Its last stamp.
        stamp: Stamp,
        /// What it should follow.
        last: Last,
    },
    /// The log does not give an entry whose stamp is asked for: what lies at or below a stamp is not known now.
    #[error("the stamp of entry {index} is not known now")]
    StampUnknown {
        /// Its place.
        index: u64,
    },
    /// What is said of a log contradicts what is proven committed in it.
    #[error("{what} at {said}, but {proven} is committed: fence the group and compare its replicas")]
    AgainstCommitted {
        /// What is said.
        what: &'static str,
        /// Where.
        said: Last,
        /// What is proven committed.
        proven: LogId,
    },
    /// The gate of a delayed node cannot go where it was sent.
    #[error(transparent)]
    ForwardRefused(#[from] crate::delay::gate::ForwardRefused),
    /// The clamps of a delayed node cannot be lifted.
    #[error(transparent)]
    NotLifted(#[from] crate::delay::gate::NotLifted),
    /// A disaster start would drop what is applied.
    #[error(
        "{group} has applied {applied} here, which is behind {wanted}: go on from there or later, or from an earlier cut"
    )]
    BelowApplied {
        /// The group.
        group: GroupId,
        /// The last entry that was to be kept.
        wanted: LogId,
        /// The last that is applied, durably.
        applied: LogId,
    },
    /// What a group has applied could not be made durable.
    #[error("{group} has applied up to {applied} here, and only {durable} could be made durable: try again")]
    CutNotDurable {
        /// The group.
        group: GroupId,
        /// Position in the tablet that is applied.
        applied: u64,
        /// Position that is durable.
        durable: u64,
    },
    /// Commands cannot be sealed.
    #[error(transparent)]
    NotSealed(#[from] crate::seal::NotSealed),
    /// An entry needs more of the meta group than has been applied on this node, though it has waited.
    #[error(
        "an entry of {group} needs entry {needs} of the meta group, and {reached} is applied on this node; see to its meta replica"
    )]
    MetaBehind {
        /// The group.
        group: GroupId,
        /// What it needs.
        needs: u64,
        /// How far the meta group is here.
        reached: u64,
    },
    /// A command asks for a row that its group does not hold.
    #[error("a row outside the range of the group; look up which group holds it")]
    OutsideRange,
    /// Settings that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The last entry of a log, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last(pub Option<LogId>);

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id}"),
            None => f.write_str("an empty log"),
        }
    }
}

/// What most functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::NotSealed(tenants) => tenants.kind(),
            Self::Fenced { .. } | Self::SegmentMissing { .. } | Self::Foreign { .. } => Kind::Stop,
            Self::GroupFenced { .. } | Self::OutOfOrder { .. } | Self::StampsEnded => Kind::Stop,
            Self::WrongGroup { .. } | Self::CatalogOlder { .. } | Self::NotAdmitted { .. } => Kind::Stop,
            Self::Stopped { .. } => Kind::Unavailable,
            Self::NotBuilt { fault, .. } => fault.kind(),
            Self::AgainstCommitted { .. } => Kind::Stop,
            Self::StampUnknown { .. } | Self::CutNotDurable { .. } | Self::MetaBehind { .. } => {
                Kind::Unavailable
            }
            Self::DamagedInside { .. } => Kind::Damaged,
            Self::NoSuchGroup(_)
            | Self::ReplicaUsed { .. }
            | Self::ReplicaLives { .. }
            | Self::Gap { .. }
            | Self::NotHere { .. }
            | Self::StampOrder { .. }
            | Self::TooLarge { .. }
            | Self::BelowApplied { .. }
            | Self::ForwardRefused(_)
            | Self::NotLifted(_)
            | Self::OutsideRange
            | Self::Invalid(_) => Kind::Invalid,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Engine(damage.into())
    }
}
