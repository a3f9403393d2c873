//! Pure: what keeps the node, or one of its replicas, from running, under the code that says what to do about it.

use super::Error;
use proto::errors::{self, code};
use raft::group::start_fault::StartFault;
use std::fmt;

/// Why a replica here does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRunning {
    /// What is to be done.
    pub fault: StartFault,
    /// In its own words.
    pub cause: String,
}

/// The code under which a fault is told: `docs/errors.md` says cause and action.
#[must_use]
pub fn code(fault: StartFault) -> u32 {
    match fault {
        StartFault::InUse => code::IN_USE,
        StartFault::Foreign => code::DISK_FOREIGN,
        StartFault::Newer => code::DATA_NEWER,
        StartFault::LogDamaged => code::LOG_DAMAGED,
        StartFault::Damaged => code::REPLICA_DAMAGED,
        StartFault::Older => code::NOT_ADMITTED,
        StartFault::Copied => code::NODE_COPIED,
        StartFault::Key => code::KEY_LACKING,
        StartFault::Full => code::START_FULL,
        StartFault::Disk => code::DISK_FAILED,
        StartFault::Broken => code::REPLICA_BROKEN,
        StartFault::Waits => code::REPLICA_WAITS,
        StartFault::Settings => code::CONFIG_INVALID,
        StartFault::Unfit => code::MACHINE_UNFIT,
        StartFault::Bug => code::INTERNAL,
    }
}

/// A failure with its code before it, and what to do behind it.
#[must_use]
pub fn told(fault: StartFault, cause: &str) -> String {
    match errors::find(code(fault)) {
        Some(entry) => format!("{}: {cause}; {}", entry.label(), entry.action),
        None => cause.to_owned(),
    }
}

impl fmt::Display for NotRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&told(self.fault, &self.cause))
    }
}

impl Error {
    /// What is to be done; `None` if it ends as it was told to.
    #[must_use]
    pub fn fault(&self) -> Option<StartFault> {
        match self {
            Self::Raft(error) => Some(StartFault::of(error)),
            Self::Engine(error) => Some(StartFault::of_engine(error)),
            Self::NotAdmitted(verdict) => StartFault::of_verdict(verdict),
            Self::Ending => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::group::rejoin::Verdict;
    use std::collections::BTreeSet;

    #[test]
    fn each_fault_has_a_code_of_its_own_with_something_to_do() {
        let codes: BTreeSet<u32> = StartFault::ALL.into_iter().map(code).collect();
        assert_eq!(codes.len(), StartFault::ALL.len());
        for fault in StartFault::ALL {
            let entry = errors::find(code(fault)).unwrap();
            let text = told(fault, "what happened");
            assert_eq!(text, format!("{}: what happened; {}", entry.label(), entry.action));
        }
    }

    #[test]
    fn an_error_of_a_start_is_told_by_what_it_is() {
        let damaged = raft::Error::SegmentMissing { segment: 4 };
        let in_use = engine::Error::InUse { path: "/data".into(), holder: "7".to_owned() };
        for (error, wanted) in [
            (Error::Raft(damaged), Some(code::LOG_DAMAGED)),
            (Error::Raft(raft::Error::Engine(engine::Error::Invalid("a size"))), Some(code::CONFIG_INVALID)),
            (Error::Engine(in_use), Some(code::IN_USE)),
            (Error::NotAdmitted(Verdict::Cloned), Some(code::NODE_COPIED)),
            (Error::Ending, None),
        ] {
            assert_eq!(error.fault().map(code), wanted, "{error}");
        }
        let down = NotRunning { fault: StartFault::Disk, cause: "sync /log/7".to_owned() };
        assert!(down.to_string().starts_with("DEW-6116: sync /log/7; "), "{down}");
    }
}
