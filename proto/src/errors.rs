//! Pure: the one table of errors. The kind says what to do and is closed; the code says what happened and grows for ever: it is never
//! given to anything else, and never taken away. `docs/errors.md` is made from this table.

mod table;
mod wire;

pub use table::{TABLE, code};
pub use wire::FAILURE_METADATA;

/// What the caller should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Correct the request.
    Invalid,
    /// Stop.
    Denied,
    /// Read again, and decide again.
    Conflict,
    /// Send the same again, after the time that is told.
    Unavailable,
    /// Ask for the outcome first.
    Unknown,
    /// Begin from a newer state, or stop.
    Gone,
    /// Ask another replica: this one does not verify.
    Damaged,
    /// Report it.
    Internal,
}

/// Whether the same may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RetryClass {
    /// It fails again.
    Never,
    /// Only after reading what there is now.
    Reread,
    /// The same, after a while.
    Same,
    /// The same: it is applied once at most, and answered with its outcome.
    Ask,
}

/// One error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub code: u32,
    /// Its name.
    pub name: &'static str,
    /// What the caller should do.
    pub kind: Kind,
    /// Whether the same may be sent again.
    pub retry: RetryClass,
    /// The version that has it first.
    pub since: &'static str,
    /// What has happened.
    pub says: &'static str,
    /// Why it does.
    pub cause: &'static str,
    /// What to do.
    pub action: &'static str,
    /// The page for whoever must mend it, without its folder and ending, if there is one.
    pub runbook: Option<&'static str>,
}

impl Kind {
    /// The status of gRPC that goes with it, as its number.
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Self::Invalid => 3,
            Self::Unknown => 4,
            Self::Denied => 7,
            Self::Gone => 9,
            Self::Conflict => 10,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Damaged => 15,
        }
    }
}

impl Entry {
    /// How it is written: `DEW-4003`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("DEW-{:04}", self.code)
    }

    /// The status of gRPC that goes with it, as its number: that of its kind, or a closer one.
    #[must_use]
    pub fn status(&self) -> i32 {
        const NOT_FOUND: i32 = 5;
        const ALREADY_EXISTS: i32 = 6;
        const RESOURCE_EXHAUSTED: i32 = 8;
        const OUT_OF_RANGE: i32 = 11;
        const UNAUTHENTICATED: i32 = 16;
        match self.code {
            code::TENANT_UNKNOWN | code::NODE_UNKNOWN | code::GROUP_UNKNOWN | code::JOB_UNKNOWN => NOT_FOUND,
            code::TENANT_EXISTS => ALREADY_EXISTS,
            code::QUOTA_RATE | code::OVERLOADED | code::WATCH_LIMIT => RESOURCE_EXHAUSTED,
            code::STAMP_AHEAD => OUT_OF_RANGE,
            code::CERTIFICATE_NEEDED | code::CERTIFICATE_EXPIRED => UNAUTHENTICATED,
            _ => self.kind.status(),
        }
    }
}

/// The entry of a code.
#[must_use]
pub fn find(code: u32) -> Option<&'static Entry> {
    TABLE.binary_search_by_key(&code, |entry| entry.code).ok().and_then(|at| TABLE.get(at))
}

/// The page of all errors.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Errors\n\nMade from `proto/src/errors.rs`. `dew explain CODE` prints the same.\n\n\
         | code | name | kind | again | what happened | cause | what to do |\n|---|---|---|---|---|---|---|\n",
    );
    for entry in TABLE {
        let Entry { name, kind, retry, says, cause, action, .. } = entry;
        let label = entry.label();
        out.push_str(&format!("| {label} | {name} | {kind:?} | {retry:?} | {says} | {cause} | {action} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_error_says_why_and_what_to_do() {
        let names: BTreeSet<_> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TABLE.len(), "a name is given twice");
        assert!(TABLE.is_sorted_by(|one, next| one.code < next.code), "codes are unique and in order");
        for entry in TABLE {
            let texts = [entry.says, entry.cause, entry.action];
            assert!(texts.iter().all(|text| text.len() > 3 && !text.contains('|')), "{}", entry.label());
            assert!((1000..10_000).contains(&entry.code) && find(entry.code) == Some(entry));
        }
        assert_eq!(find(1), None);
        assert!(TABLE.len() > 50 && find(code::OVERLOADED).is_some_and(|entry| entry.name == "OVERLOADED"));
    }

    #[test]
    fn a_closer_status_is_one_that_its_kind_allows() {
        for entry in TABLE {
            let allowed: &[i32] = match entry.kind {
                Kind::Invalid => &[3, 5, 11],
                Kind::Denied => &[7, 16],
                Kind::Conflict => &[6, 10],
                Kind::Unavailable => &[8, 14],
                kind => &[kind.status()],
            };
            assert!(allowed.contains(&entry.status()), "{}", entry.label());
        }
    }

    #[test]
    fn a_kind_that_may_be_sent_again_says_so() {
        for entry in TABLE {
            let may = matches!(entry.retry, RetryClass::Same | RetryClass::Ask);
            let should = matches!(entry.kind, Kind::Unavailable | Kind::Damaged | Kind::Unknown);
            assert_eq!(may, should, "{}", entry.label());
        }
    }
}
