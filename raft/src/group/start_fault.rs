//! Pure: what keeps a node, or one of its replicas, from starting or running, sorted by what a person does about it. Whoever starts a node
//! acts on these, and never on the words of an error. Each is told under a code of its own, of which `docs/errors.md` says cause and action.

use super::rejoin::Verdict;
use crate::error::Error;
use engine::Kind;
use std::io::ErrorKind;

/// What keeps something from starting, by what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartFault {
    /// Another process works in the folder: stop that one.
    InUse,
    /// The folder holds what belongs to another node, cluster or log: put the right one back.
    Foreign,
    /// It was written by a newer build: start that one. Nothing was touched.
    Newer,
    /// The log has lost what it had made durable: remove the node, wipe it, let it join anew.
    LogDamaged,
    /// Bytes of one replica do not verify: its replica is replaced, and the disk looked at.
    Damaged,
    /// The disk, or its catalog alone, is older than what was acknowledged: put the right one back, or let the node join anew.
    Older,
    /// Two starts of one node live: stop the one whose disk is a copy.
    Copied,
    /// A key is missing, is another one or is used up: bring it, then start again.
    Key,
    /// There is no room: make some outside the folder, then start again.
    Full,
    /// The disk, or the catalog on it, gives errors: start once more; if it comes again, replace the disk and let the node join anew.
    Disk,
    /// Something does not hold which must: the replica is replaced. It may be a bug.
    Broken,
    /// What is needed is not here yet: the meta group here is behind, or peers do not answer. See to those.
    Waits,
    /// A setting or a request cannot be: correct it.
    Settings,
    /// This machine or build computes wrongly: use another one.
    Unfit,
    /// A panic: a bug to be reported. It is built again a few times by itself.
    Bug,
}

impl StartFault {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::InUse,
        Self::Foreign,
        Self::Newer,
        Self::LogDamaged,
        Self::Damaged,
        Self::Older,
        Self::Copied,
        Self::Key,
        Self::Full,
        Self::Disk,
        Self::Broken,
        Self::Waits,
        Self::Settings,
        Self::Unfit,
        Self::Bug,
    ];

    /// That of an error of replication.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Engine(error) => Self::of_engine(error),
            Error::NotBuilt { fault, .. } => *fault,
            Error::Fenced { .. } => Self::Disk,
            Error::DamagedInside { .. } | Error::SegmentMissing { .. } => Self::LogDamaged,
            Error::Foreign { .. } | Error::WrongGroup { .. } => Self::Foreign,
            Error::CatalogOlder { .. } | Error::NotAdmitted { .. } | Error::BelowApplied { .. } => {
                Self::Older
            }
            Error::NotSealed(_) => Self::Key,
            Error::MetaBehind { .. }
            | Error::StampUnknown { .. }
            | Error::CutNotDurable { .. }
            | Error::NotHere { .. } => Self::Waits,
            Error::GroupFenced { .. }
            | Error::Stopped { .. }
            | Error::OutOfOrder { .. }
            | Error::Gap { .. }
            | Error::StampOrder { .. }
            | Error::StampsEnded
            | Error::AgainstCommitted { .. }
            | Error::NoSuchGroup(_)
            | Error::ReplicaUsed { .. }
            | Error::ReplicaLives { .. }
            | Error::OutsideRange => Self::Broken,
            Error::TooLarge { .. } | Error::ForwardRefused(_) | Error::NotLifted(_) | Error::Invalid(_) => {
                Self::Settings
            }
        }
    }

    /// That of an error of the engine.
    #[must_use]
    pub fn of_engine(error: &engine::Error) -> Self {
        match error {
            engine::Error::InUse { .. } => Self::InUse,
            engine::Error::Unsupported { .. } => Self::Newer,
            engine::Error::KnownAnswer(_) => Self::Unfit,
            engine::Error::CatalogWentBack { .. } => Self::Older,
            engine::Error::Io { source, .. } if is_full(source.kind()) => Self::Full,
            other => match other.kind() {
                Kind::Damaged => Self::Damaged,
                Kind::Key => Self::Key,
                Kind::Unavailable => Self::Disk,
                Kind::Invalid => Self::Settings,
                Kind::Stop => Self::Broken,
            },
        }
    }

    /// What whoever asked for the start should do.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Damaged | Self::LogDamaged => Kind::Damaged,
            Self::Key => Kind::Key,
            Self::Full | Self::Disk | Self::Waits | Self::Bug => Kind::Unavailable,
            Self::Settings => Kind::Invalid,
            Self::InUse
            | Self::Foreign
            | Self::Newer
            | Self::Older
            | Self::Copied
            | Self::Broken
            | Self::Unfit => Kind::Stop,
        }
    }

    /// That of what the peers say of a node that starts; `None` if it runs.
    #[must_use]
    pub fn of_verdict(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Runs { .. } => None,
            Verdict::Refused(_) => Some(Self::Older),
            Verdict::Cloned => Some(Self::Copied),
            Verdict::Waits { .. } => Some(Self::Waits),
        }
    }
}

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Last;
    use crate::group::rejoin::Finding;
    use crate::types::{GroupId, LogId, ReplicaId};
    use engine::error::{Damage, Nature};
    use engine::ids::{KeyEpoch, Owner, Purpose, TabletId, TenantId};
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    fn engine_errors() -> Vec<(engine::Error, StartFault)> {
        let (owner, purpose, epoch) = (Owner::Tenant(TenantId(7)), Purpose::Log, KeyEpoch(1));
        let io =
            |kind: ErrorKind| engine::Error::Io { verb: "read", path: PathBuf::new(), source: kind.into() };
        let (path, tablet) = (PathBuf::new(), TabletId(3));
        vec![
            (engine::Error::InUse { path: path.clone(), holder: "7".to_owned() }, StartFault::InUse),
            (
                engine::Error::Unsupported { what: "a segment".to_owned(), found: 9, supported: "1" },
                StartFault::Newer,
            ),
            (engine::Error::KnownAnswer("a cipher"), StartFault::Unfit),
            (engine::Error::CatalogWentBack { path }, StartFault::Older),
            (io(ErrorKind::StorageFull), StartFault::Full),
            (io(ErrorKind::QuotaExceeded), StartFault::Full),
            (io(ErrorKind::PermissionDenied), StartFault::Disk),
            (io(ErrorKind::Other), StartFault::Disk),
            (engine::Error::Catalog { verb: "read", cause: String::new() }, StartFault::Disk),
            (Damage::of(Nature::Rot, "a block").into(), StartFault::Damaged),
            (engine::Error::KeyMissing { owner, purpose, epoch }, StartFault::Key),
            (engine::Error::KeyUsedUp { owner, purpose, epoch }, StartFault::Key),
            (engine::Error::Fenced { tablet, cause: String::new() }, StartFault::Broken),
            (engine::Error::Invalid("a size"), StartFault::Settings),
        ]
    }

    #[test]
    fn what_is_to_be_done_follows_from_the_error_and_not_from_its_words() {
        let (group, id) = (GroupId(3), LogId { term: 1, replica: ReplicaId(1), index: 9 });
        let damage = Damage::of(Nature::Rot, "a record");
        let mut cases = vec![
            (Error::Fenced { cause: String::new() }, StartFault::Disk),
            (Error::DamagedInside { segment: 1, offset: 2, damage }, StartFault::LogDamaged),
            (Error::SegmentMissing { segment: 1 }, StartFault::LogDamaged),
            (Error::Foreign { segment: 1, what: "node" }, StartFault::Foreign),
            (Error::CatalogOlder { group, known: 2, durable: 1 }, StartFault::Older),
            (Error::NotAdmitted { verdict: String::new() }, StartFault::Older),
            (Error::MetaBehind { group, needs: 2, reached: 1 }, StartFault::Waits),
            (Error::GroupFenced { group, cause: String::new() }, StartFault::Broken),
            (Error::OutOfOrder { entry: id, last: Last(None) }, StartFault::Broken),
            (Error::Invalid("times that cannot be"), StartFault::Settings),
        ];
        for fault in StartFault::ALL {
            cases.push((Error::NotBuilt { group, fault, cause: String::new() }, fault));
        }
        let of_engine = engine_errors().into_iter().map(|(error, fault)| (Error::Engine(error), fault));
        for (error, wanted) in cases.into_iter().chain(of_engine) {
            assert_eq!(StartFault::of(&error), wanted, "{error}");
        }
    }

    #[test]
    fn a_verdict_says_what_is_to_be_done_unless_the_node_runs() {
        let waits = Verdict::Waits { meta: (1, 2), groups: BTreeSet::new() };
        let older = Verdict::Refused(Finding::UnknownLog);
        for (verdict, wanted) in [
            (Verdict::Runs { replace: BTreeSet::new() }, None),
            (Verdict::Cloned, Some(StartFault::Copied)),
            (waits, Some(StartFault::Waits)),
            (older, Some(StartFault::Older)),
        ] {
            assert_eq!(StartFault::of_verdict(&verdict), wanted);
        }
    }
}
