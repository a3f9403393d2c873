//! Pure: what a replica is asked of the rows that it holds, and what it says.

use crate::machine::range_digest::{RowRange, RowSum};
use crate::types::{GroupId, ReplicaId};
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::limits::KEY_BYTES_MAX;

/// A collection of a tenant.
pub type Collection = (TenantId, CollectionId);

/// A question to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of which group.
    pub group: GroupId,
    /// Which replica.
    pub replica: ReplicaId,
    /// What.
    pub what: Question,
}

/// What a replica is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The first collection behind this one, or at all, of which it keeps anything.
    Next(Option<Collection>),
    /// What stands in a range.
    Sum(SumOf),
}

/// What stands in a range, as far as one answer goes?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumOf {
    /// As of which stamp; `None`: the last that it has applied.
    pub at: Option<Stamp>,
    /// Where.
    pub range: RowRange,
    /// After so many rows it may end, and more than `STATE_ROWS_MAX` it never reads at once.
    pub rows_max: u32,
}

/// What a replica says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of this collection; `None`: there is none.
    Next(Option<Collection>),
    /// What stands there.
    Sum(Sum),
    /// Nothing.
    Not(WhyNot),
}

/// What stands in a range, or in its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// As of this stamp.
    pub at: Stamp,
    /// The sum of its rows.
    pub rows: RowSum,
    /// The first user key that was not looked at any more; `None`: all of the range was.
    pub upto: Option<Vec<u8>>,
}

/// Why a replica says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyNot {
    /// It does not run there.
    NotHere,
    /// It has not applied the stamp yet.
    Behind,
    /// What stood there at the stamp is not known any more.
    HistoryGone,
    /// The tenant is gone for good: it has no rows to compare.
    Shredded,
    /// It cannot read its rows.
    Unread,
}

impl WhyNot {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NotHere, Self::Behind, Self::HistoryGone, Self::Shredded, Self::Unread];

    /// Its number, for ever.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::NotHere => 1,
            Self::Behind => 2,
            Self::HistoryGone => 3,
            Self::Shredded => 4,
            Self::Unread => 5,
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotHere => "it does not run",
            Self::Behind => "it is behind",
            Self::HistoryGone => "its history is too short",
            Self::Shredded => "the tenant is gone",
            Self::Unread => "it cannot read its rows",
        }
    }
}

/// The least user key above this one; `None`: there is none.
#[must_use]
pub fn key_after(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() < KEY_BYTES_MAX {
        return Some([key, &[0]].concat());
    }
    engine::key::after_prefix(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_a_key_and_the_one_after_it_there_is_none() {
        for key in [&b""[..], b"a", b"a\0", b"\xff", b"\xff\xff"] {
            assert_eq!(key_after(key), Some([key, &[0]].concat()));
        }
        let mut longest = vec![b'a'; KEY_BYTES_MAX];
        let mut after = longest.clone();
        *after.last_mut().unwrap() = b'b';
        assert_eq!(key_after(&longest), Some(after));
        longest[1..].fill(0xff);
        assert_eq!(key_after(&longest), Some(b"b".to_vec()));
        assert_eq!(key_after(&[0xff; KEY_BYTES_MAX]), None);
    }

    #[test]
    fn reasons_have_numbers_of_their_own() {
        let numbers: Vec<u8> = WhyNot::ALL.iter().map(|why| why.number()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }
}
