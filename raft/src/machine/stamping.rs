//! Pure: which stamps an entry gives out. All follows from the head of the entry and the last stamp before, so that it is known when an
//! entry is stored, before it is applied or opened.

use crate::command::Command;
use crate::error::{Error, Result};
use crate::payload;
use crate::planted::{self, Planted};
use engine::Stamp;

/// The stamps of one entry: as many in a row as it has commands, all of one millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    first: Stamp,
    count: u64,
}

impl Run {
    /// That of the first command; of an entry without commands, the last stamp there is.
    #[must_use]
    pub fn first(&self) -> Stamp {
        self.first
    }

    /// That of command `n`, from 0.
    #[must_use]
    pub fn nth(&self, n: usize) -> Stamp {
        Stamp(self.first.0 + n as u64)
    }

    /// The last stamp given out once the entry is applied.
    #[must_use]
    pub fn last(&self) -> Stamp {
        Stamp(self.first.0 + self.count.saturating_sub(1))
    }
}

/// The stamps of an entry with `count` commands whose leader proposed `proposed` and promises to give out none at or below `closed`
/// any more; `last` was the last one before.
///
/// # Errors
/// `StampsEnded`: there are no more. The group is fenced.
pub fn run(last: Stamp, proposed: Stamp, closed: Stamp, count: usize) -> Result<Run> {
    if count == 0 {
        // It gives out none, and its promise binds every entry after it.
        return Ok(Run { first: last.max(closed), count: 0 });
    }
    let count = count as u64;
    if planted::is(Planted::KeepProposedStamp) {
        return Ok(Run { first: proposed, count });
    }
    let mut first = proposed.max(Stamp(last.0.checked_add(1).ok_or(Error::StampsEnded)?));
    if u64::from(first.counter()) + count > 1 << 16 {
        // The counter would run over: the next millisecond has room for all.
        let next = (first.ms() + 1).checked_shl(16).filter(|next| *next > first.0);
        first = Stamp(next.ok_or(Error::StampsEnded)?);
    }
    // One is left over, so that there is a last stamp that everything is below.
    first.0.checked_add(count).ok_or(Error::StampsEnded)?;
    Ok(Run { first, count })
}

/// The last stamp given out once a stored entry is applied, whatever is in it. An entry that cannot be read gives out none; it
/// fences the group when it is applied.
#[must_use]
pub fn last_after(last: Stamp, kind: u8, payload: &[u8]) -> Stamp {
    if kind != payload::COMMAND {
        return last;
    }
    let stamps = Command::stamps(payload).ok();
    let run = stamps.and_then(|(stamp, closed, count)| run(last, stamp, closed, count).ok());
    run.map_or(last, |run| run.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_entry() -> impl Strategy<Value = (u64, u64, usize)> {
        let near = 1_000_u64 << 16;
        (near..near + 400_000, near..near + 400_000, prop_oneof![Just(0_usize), 1..600_usize])
    }

    proptest! {
        #[test]
        fn stamps_only_rise_and_promises_hold(entries in proptest::collection::vec(some_entry(), 1..80)) {
            let (mut last, mut closed_max) = (Stamp::ZERO, Stamp::ZERO);
            for (proposed, closed, count) in entries {
                let run = run(last, Stamp(proposed), Stamp(closed), count).unwrap();
                if count > 0 {
                    prop_assert!(run.first() > last && run.first() >= Stamp(proposed));
                    prop_assert!(run.first() > closed_max, "a stamp at or below what was closed");
                    prop_assert_eq!(run.first().ms(), run.last().ms());
                    prop_assert_eq!(run.nth(count - 1), run.last());
                } else {
                    closed_max = closed_max.max(Stamp(closed));
                    prop_assert_eq!(run.last(), last.max(Stamp(closed)));
                }
                last = run.last();
            }
        }
    }

    #[test]
    fn a_run_never_crosses_a_millisecond() {
        let late = Stamp::new(7, u16::MAX - 1);
        let two = run(Stamp::ZERO, late, Stamp::ZERO, 2).unwrap();
        assert_eq!((two.first(), two.last()), (late, Stamp::new(7, u16::MAX)));
        let three = run(Stamp::ZERO, late, Stamp::ZERO, 3).unwrap();
        assert_eq!((three.first(), three.last()), (Stamp::new(8, 0), Stamp::new(8, 2)));
    }

    #[test]
    fn when_stamps_end_it_is_said() {
        for (last, count) in [(Stamp::MAX, 1), (Stamp(Stamp::MAX.0 - 1), 2), (Stamp(Stamp::MAX.0 - 5), 600)] {
            assert!(matches!(run(last, Stamp::ZERO, Stamp::ZERO, count), Err(Error::StampsEnded)));
        }
    }
}
