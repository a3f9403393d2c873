//! Pure: what a restore may be, which instants it may go to, and what may be done to it.

use super::asked::Reach;
use super::plan::{OnConflict, Plan, Route, Ttl};
use super::rows::{Mode, RestoreRow, State};
use super::target::shown;
use crate::archive::window::NotRestorable;
use crate::limits;
use crate::refused::Refused;
use engine::Stamp;
use proto::errors::code;

/// What comes of it, or why not.
pub type Result<T> = std::result::Result<T, Refused>;

/// What is to be planned.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PlanAsked {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the collection; empty: all.
    pub collection: String,
    /// The first key.
    pub from: Vec<u8>,
    /// The first key behind; empty: all that follow.
    pub to: Vec<u8>,
    /// One key; empty: none.
    pub key: Vec<u8>,
    /// The instant; empty: `before` says it.
    pub at: String,
    /// What is just left out; empty: `at` says it.
    pub before: String,
    /// Name of the tenant that is made; empty: none.
    pub into: String,
    /// The tenant itself is put back.
    pub in_place: bool,
    /// What is done with conflicts.
    pub on_conflict: OnConflict,
    /// Keys that were not there then go.
    pub mirror: bool,
    /// What becomes of values that expire.
    pub ttl: Ttl,
    /// Where it comes from; `None`: from the history if that reaches, else from the archive.
    pub route: Option<Route>,
}

/// What is done to a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It waits.
    Pause,
    /// It goes on.
    Resume,
    /// It ends.
    Cancel,
    /// It is taken back.
    Undo,
}

pub(super) fn malformed(text: &str) -> Refused {
    Refused::new(code::MALFORMED).saying(text)
}

/// What a plan makes.
pub(super) fn mode(asked: &PlanAsked) -> Result<Mode> {
    let is_whole = asked.collection.is_empty() && asked.key.is_empty();
    let is_range = !asked.from.is_empty() || !asked.to.is_empty();
    match (asked.into.is_empty(), asked.in_place) {
        (false, true) => Err(malformed("it is either put into a new tenant or in place")),
        (false, false) if is_whole && !is_range => Ok(Mode::Tenant),
        (true, true) if is_whole && !is_range => Ok(Mode::InPlace),
        (false, _) | (_, true) => Err(malformed(
            "into a new tenant or in place a tenant is restored whole: leave out what names a part",
        )),
        (true, false) if asked.collection.is_empty() => Err(malformed(
            "say what to restore: a collection or a key of it, or the whole tenant --into tenant:NAME or --in-place",
        )),
        (true, false) if asked.key.is_empty() => Ok(Mode::Range),
        (true, false) if is_range => Err(malformed("it is either one key or a range")),
        (true, false) => Ok(Mode::Key),
    }
}

/// Whether a target lies where something is kept; if not, the nearest that do are told.
pub(super) fn check_reach(upto: Stamp, reach: Reach, now_ms: u64) -> Result<()> {
    let newest = reach.newest.max(Stamp::end_of_ms(now_ms));
    let refused = |text: String| Err(Refused::new(code::TARGET_UNREACHABLE).saying(text));
    if upto > newest {
        return refused(format!(
            "{} has not come yet: the nearest is latest, {}",
            shown(upto),
            shown(reach.newest)
        ));
    }
    if upto < reach.oldest {
        let oldest = reach.oldest;
        return refused(format!(
            "{} is before what the history keeps of the tenant: the nearest is {} ({oldest}), and nothing before it",
            shown(upto),
            shown(oldest)
        ));
    }
    Ok(())
}

/// Why an archive does not reach an instant, and which it does.
pub(super) fn nearest(why: &NotRestorable) -> String {
    let at =
        |stamp: &Option<Stamp>| stamp.map_or_else(|| "none".to_owned(), |at| format!("{} ({at})", shown(at)));
    match why {
        NotRestorable::NotYet { nearest } => {
            format!("it is not archived yet: the nearest is {}", at(nearest))
        }
        NotRestorable::InHole { before, behind } => {
            format!(
                "the archive has a hole there: the nearest are {} before and {} behind",
                at(before),
                at(behind)
            )
        }
        NotRestorable::NotFromThere => why.to_string(),
    }
}

/// Which restore is forgotten to make room for one more: of those that do not go on and cannot be taken back, the one that moved first.
pub(super) fn forgotten<'a>(all: impl Iterator<Item = &'a RestoreRow>, now_ms: u64) -> Result<Option<u64>> {
    let all: Vec<_> = all.collect();
    if all.len() < limits::RESTORES_MAX {
        return Ok(None);
    }
    let is_over = |row: &&&RestoreRow| {
        !row.state.is_open() && (row.state != State::Done || now_ms >= row.undo_until_ms)
    };
    let first = all.iter().filter(is_over).min_by_key(|row| (row.changed_ms, row.id)).map(|row| row.id);
    first.map(Some).ok_or_else(|| Refused::new(code::RESTORE_BUSY).saying("too many restores are under way"))
}

/// What becomes of a restore.
pub(super) fn acted(row: &RestoreRow, act: Act, now_ms: u64) -> Result<RestoreRow> {
    let no = |text: &str| Err(Refused::new(code::RESTORE_STATE).saying(text));
    let state = match (act, row.state) {
        (Act::Pause, State::Running) => State::Paused,
        (Act::Resume, State::Paused) => State::Running,
        (Act::Cancel, State::Planned | State::Running | State::Paused) => State::Cancelled,
        (Act::Undo, State::Done) if row.mode != Mode::InPlace => {
            return no(
                "only a restore in place is taken back: a new tenant is dropped, and what was written back has its older versions in the history",
            );
        }
        (Act::Undo, State::Done) if now_ms >= row.undo_until_ms => {
            return no("it can no longer be taken back: what was there before is no longer kept");
        }
        (Act::Undo, State::Done) => State::Undoing,
        (_, state) => return no(&format!("it is {}", state.word())),
    };
    let mut next = RestoreRow { version: row.version + 1, state, changed_ms: now_ms, ..row.clone() };
    if state == State::Cancelled {
        next.plan.clear();
    }
    next.text.clear();
    Ok(next)
}

/// How much of a restore is done, of 1000: of bytes as they are read. Not all of it before it is done.
#[must_use]
pub fn permille(row: &RestoreRow) -> u32 {
    if matches!(row.state, State::Done | State::Undoing | State::Undone) {
        return 1_000;
    }
    let at_most = Plan::decode(&row.plan).ok().and_then(|plan| plan.bytes_at_most.parse::<u64>().ok());
    let at_most = at_most.unwrap_or(0).max(row.tally.bytes).max(1);
    u32::try_from(row.tally.bytes.saturating_mul(900) / at_most).unwrap_or(900)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_follows_from_what_is_asked() {
        let of = |into: &str, in_place, collection: &str, from: &str, key: &str| {
            let (into, collection) = (into.to_owned(), collection.to_owned());
            let (from, key) = (from.into(), key.into());
            mode(&PlanAsked { into, in_place, collection, from, key, ..PlanAsked::default() }).ok()
        };
        assert_eq!(of("copy", false, "", "", ""), Some(Mode::Tenant));
        assert_eq!(of("", true, "", "", ""), Some(Mode::InPlace));
        assert_eq!(of("", false, "users", "", ""), Some(Mode::Range));
        assert_eq!(of("", false, "users", "a", ""), Some(Mode::Range));
        assert_eq!(of("", false, "users", "", "7"), Some(Mode::Key));
        for (into, in_place, collection, from, key) in [
            ("copy", true, "", "", ""),
            ("copy", false, "users", "", ""),
            ("", true, "users", "", ""),
            ("", true, "", "", "7"),
            ("", true, "", "a", ""),
            ("", false, "", "", ""),
            ("", false, "", "", "7"),
            ("", false, "users", "a", "7"),
        ] {
            assert_eq!(of(into, in_place, collection, from, key), None, "{into} {in_place} {collection}");
        }
    }

    #[test]
    fn an_instant_that_is_not_kept_is_refused_with_the_nearest_that_is() {
        let reach = Reach { oldest: Stamp::new(1_000, 3), newest: Stamp::new(5_000, 0), bytes: 0 };
        let of = |upto| check_reach(upto, reach, 6_000);
        for good in [reach.oldest, reach.newest, Stamp::end_of_ms(6_000)] {
            assert_eq!(of(good), Ok(()));
        }
        let early = of(Stamp::new(1_000, 2)).unwrap_err();
        assert_eq!(early.code, code::TARGET_UNREACHABLE);
        assert!(early.text.contains("1000.3") && early.text.contains("1970-01-01T00:00:01.000Z"), "{early}");
        let late = of(Stamp::new(6_001, 0)).unwrap_err();
        assert!(late.text.contains("latest"), "{late}");
    }

    #[test]
    fn what_may_be_done_to_a_restore_follows_from_its_state() {
        let of = |state, mode, act| {
            let row = RestoreRow { state, mode, undo_until_ms: 100, version: 4, ..RestoreRow::default() };
            acted(&row, act, 50).map(|next| (next.state, next.version)).ok()
        };
        use State::{Cancelled, Done, Paused, Planned, Running, Undoing};
        assert_eq!(of(Running, Mode::Key, Act::Pause), Some((Paused, 5)));
        assert_eq!(of(Paused, Mode::Key, Act::Resume), Some((Running, 5)));
        for state in [Planned, Running, Paused] {
            assert_eq!(of(state, Mode::Key, Act::Cancel), Some((Cancelled, 5)));
        }
        assert_eq!(of(Done, Mode::InPlace, Act::Undo), Some((Undoing, 5)));
        for (state, mode, act) in [
            (Done, Mode::Tenant, Act::Undo),
            (Running, Mode::InPlace, Act::Undo),
            (Paused, Mode::Key, Act::Pause),
            (Done, Mode::InPlace, Act::Cancel),
            (Planned, Mode::Key, Act::Resume),
        ] {
            assert_eq!(of(state, mode, act), None, "{state:?} {act:?}");
        }
        let late =
            RestoreRow { state: Done, mode: Mode::InPlace, undo_until_ms: 50, ..RestoreRow::default() };
        assert!(acted(&late, Act::Undo, 50).is_err());
    }
}
