//! Pure: which rows of a cut go back into the live cluster, and how. What is there now and was the same then stays as it is; what is gone
//! comes back; what has another value now is a conflict, and stays unless the wish says otherwise; what is there now and was not then goes
//! only if the wish is a mirror. Each write names what it saw: what changes meanwhile is looked at once more.

use super::order::Row;
use crate::shard::command::{Condition, Expected, Expiry, KvCommand, Operation};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use std::cmp::Ordering;
use std::fmt;

/// What becomes of a key that has another value now than then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It stays, and is told with the commit that changed it.
    #[default]
    List,
    /// It stays, and is counted.
    Skip,
    /// It gets the value of then.
    Overwrite,
}

/// Which keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Keys {
    /// All of the tenant.
    All,
    /// Those of one collection, from the first to before the second; `None`: to the end.
    Range(CollectionId, Bytes, Option<Bytes>),
    /// These, of one collection.
    These(CollectionId, Vec<Bytes>),
}

/// What is to go back.
#[derive(Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub keys: Keys,
    /// As they were just before this stamp.
    pub before: Stamp,
    /// Whether what was not there then is deleted.
    pub is_mirror: bool,
    /// What becomes of what has another value now.
    pub on_conflict: OnConflict,
}

// A tenant's byte never reaches a line of the log.
impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, before, is_mirror, on_conflict, .. } = self;
        write!(f, "Wish({tenant} before {before}, mirror {is_mirror}, {on_conflict:?})")
    }
}

/// What has become of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Brought back.
    pub restored: u64,
    /// Were the same.
    pub same: u64,
    /// Given the value of then in the place of another.
    pub overwritten: u64,
    /// Have another value now, and keep it.
    pub conflicts: u64,
    /// Are there now and were not then, and stay.
    pub extra: u64,
    /// Deleted, for they were not there then.
    pub deleted: u64,
    /// Would have gone by themselves meanwhile.
    pub expired: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            restored: self.restored + other.restored,
            same: self.same + other.same,
            overwritten: self.overwritten + other.overwritten,
            conflicts: self.conflicts + other.conflicts,
            extra: self.extra + other.extra,
            deleted: self.deleted + other.deleted,
            expired: self.expired + other.expired,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restored, same, overwritten, conflicts, extra, deleted, expired } = self;
        write!(
            f,
            "{restored} brought back, {same} the same, {overwritten} overwritten, {conflicts} in conflict, {extra} newer left, {deleted} deleted, \
             {expired} expired"
        )
    }
}

/// How far a donation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its job.
    pub job: u64,
    /// Whose.
    pub tenant: TenantId,
    /// As of when, exclusive.
    pub before: Stamp,
    /// What has become of keys so far.
    pub tally: Tally,
    /// Versions that are in conflict, some of them: the stamps of the commits that wrote what is there now.
    pub conflicts: Vec<Stamp>,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// When it ended, in milliseconds since 1970; 0: it has not.
    pub ended_ms: u64,
    /// Why it failed; empty if it did not.
    pub failure: String,
}

/// What is to be done with some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    /// What is written, with what it must find; nothing if there are no operations.
    pub command: Option<KvCommand<Bytes>>,
    /// What has become of the keys once it is written.
    pub tally: Tally,
    /// Stamps of what is in conflict, if the wish is to list it.
    pub conflicts: Vec<Stamp>,
}

/// Decides over rows: `then` are all of some stretch of keys as they were, `now` all of the same stretch as they are, both in the order of
/// their keys. `now_ms` is the time.
#[must_use]
pub fn decide(wish: &Wish, collection: CollectionId, (then, now): (&[Row], &[Row]), now_ms: u64) -> Deed {
    let mut deed = Deed::default();
    let (mut conditions, mut operations) = (Vec::new(), Vec::new());
    let mut write = |key: &Bytes, expected, operation| {
        conditions.push(Condition { collection, key: key.clone(), expected });
        operations.push(operation);
    };
    let put = |row: &Row| Operation::Put {
        collection,
        key: row.key.clone(),
        value: row.value.clone(),
        expiry: if row.expires_ms == 0 { Expiry::Never } else { Expiry::At(row.expires_ms) },
    };
    let is_over = |row: &Row| row.expires_ms != 0 && row.expires_ms <= now_ms;
    let (mut then, mut now) = (then.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (then.peek(), now.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        let old = if order.is_le() { then.next() } else { None };
        let new = if order.is_ge() { now.next() } else { None };
        let tally = &mut deed.tally;
        match (old, new) {
            (Some(old), _) if is_over(old) => tally.expired += 1,
            (Some(old), None) => {
                write(&old.key, Expected::Absent, put(old));
                tally.restored += 1;
            }
            (Some(old), Some(new)) if (&old.value, old.expires_ms) == (&new.value, new.expires_ms) => {
                tally.same += 1;
            }
            (Some(old), Some(new)) => match wish.on_conflict {
                OnConflict::Overwrite => {
                    write(&old.key, Expected::Stamp(new.stamp), put(old));
                    tally.overwritten += 1;
                }
                OnConflict::List => {
                    deed.conflicts.push(new.stamp);
                    tally.conflicts += 1;
                }
                OnConflict::Skip => tally.conflicts += 1,
            },
            (None, Some(new)) if wish.is_mirror => {
                let delete = Operation::Delete { collection, key: new.key.clone() };
                write(&new.key, Expected::Stamp(new.stamp), delete);
                tally.deleted += 1;
            }
            (None, Some(_)) => tally.extra += 1,
            (None, None) => break,
        }
    }
    deed.command = (!operations.is_empty()).then_some(KvCommand { conditions, operations });
    deed
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: CollectionId = CollectionId(3);
    const NOW_MS: u64 = 1_000_000;

    fn row(key: &str, value: &str, stamp: u64) -> Row {
        Row { key: key.to_owned().into(), value: value.to_owned().into(), stamp: Stamp(stamp), expires_ms: 0 }
    }

    fn wish(is_mirror: bool, on_conflict: OnConflict) -> Wish {
        Wish { tenant: TenantId(7), keys: Keys::All, before: Stamp(100), is_mirror, on_conflict }
    }

    fn rows() -> (Vec<Row>, Vec<Row>) {
        let then = vec![row("a", "1", 10), row("b", "2", 11), row("c", "3", 12), row("d", "4", 13)];
        let now = vec![row("b", "2", 11), row("c", "other", 150), row("e", "new", 160)];
        (then, now)
    }

    fn of(wish: &Wish) -> Deed {
        let (then, now) = rows();
        decide(wish, C, (&then, &now), NOW_MS)
    }

    fn keys(deed: &Deed) -> Vec<(String, Expected)> {
        let conditions = deed.command.iter().flat_map(|command| &command.conditions);
        conditions.map(|one| (String::from_utf8(one.key.to_vec()).unwrap(), one.expected)).collect()
    }

    #[test]
    fn what_is_gone_comes_back_and_nothing_else_is_touched() {
        let deed = of(&wish(false, OnConflict::List));
        assert_eq!(keys(&deed), [("a".to_owned(), Expected::Absent), ("d".to_owned(), Expected::Absent)]);
        let wanted = Tally { restored: 2, same: 1, conflicts: 1, extra: 1, ..Tally::default() };
        assert_eq!((deed.tally, deed.conflicts), (wanted, vec![Stamp(150)]));
        assert!(of(&wish(false, OnConflict::Skip)).conflicts.is_empty());
    }

    #[test]
    fn a_mirror_deletes_and_an_overwrite_overwrites_what_it_saw() {
        let deed = of(&wish(true, OnConflict::Overwrite));
        let wanted = [
            ("a".to_owned(), Expected::Absent),
            ("c".to_owned(), Expected::Stamp(Stamp(150))),
            ("d".to_owned(), Expected::Absent),
            ("e".to_owned(), Expected::Stamp(Stamp(160))),
        ];
        assert_eq!(keys(&deed), wanted);
        let command = deed.command.unwrap();
        command.check().unwrap();
        assert!(matches!(command.operations[3], Operation::Delete { .. }));
        assert!(matches!(&command.operations[1], Operation::Put { value, .. } if value == "3"));
        let wanted = Tally { restored: 2, same: 1, overwritten: 1, deleted: 1, ..Tally::default() };
        assert_eq!(deed.tally, wanted);
    }

    #[test]
    fn what_would_be_gone_by_itself_stays_away() {
        let over = Row { expires_ms: NOW_MS, ..row("a", "1", 10) };
        let lives = Row { expires_ms: NOW_MS + 1, ..row("b", "2", 10) };
        let deed = decide(&wish(false, OnConflict::List), C, (&[over, lives], &[]), NOW_MS);
        assert_eq!(deed.tally, Tally { restored: 1, expired: 1, ..Tally::default() });
        let operations = deed.command.unwrap().operations;
        assert!(
            matches!(operations[..], [Operation::Put { expiry: Expiry::At(at), .. }] if at == NOW_MS + 1)
        );
    }

    #[test]
    fn done_again_nothing_is_left_to_do() {
        let (then, _) = rows();
        let deed = decide(&wish(true, OnConflict::Overwrite), C, (&then, &then), NOW_MS);
        assert_eq!((deed.command, deed.tally), (None, Tally { same: 4, ..Tally::default() }));
    }

    #[test]
    fn no_byte_of_a_tenant_is_printed() {
        let keys = Keys::These(C, vec!["secret".into()]);
        let wish = Wish { keys, ..wish(false, OnConflict::List) };
        assert!(!format!("{wish:?} {:?}", row("secret", "secret", 1)).contains("secret"));
    }
}
