//! Pure: no vote is given until a lease that was granted before the start has surely ended.
//!
//! A replica that restarts has forgotten to which leader it granted a lease by answering it. Would it vote at once, another could
//! lead while the old one still answers reads from its lease. So from the build of each instance, one that is only built again
//! included, until 1.1 times the longest election timeout has passed, it gives neither vote nor pre-vote and does not stand for
//! election. A vote for a transfer passes: the old leader asked for it, and answers nothing from its lease any more.
//!
//! A group that was just born has granted nothing, and needs no guard.

use crate::limits;

/// The guard of one instance of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartGuard {
    /// When it opens, ms of the monotonic clock; `None`: it is open.
    opens_at_ms: Option<u64>,
}

/// For what a vote is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// Would you vote for me?
    PreVote,
    /// Vote for me.
    Vote,
    /// Vote for me: the leader wants me to follow it.
    Transfer,
}

impl StartGuard {
    /// The guard of an instance built at `now_ms` of the monotonic clock. `election_max_ms` is the longest election timeout of the
    /// cluster, which is how long a lease lasts.
    #[must_use]
    pub fn built(now_ms: u64, election_max_ms: u64) -> Self {
        let wait_ms = u128::from(election_max_ms) * u128::from(limits::GUARD_PERCENT);
        let wait_ms = u64::try_from(wait_ms.div_ceil(100)).unwrap_or(u64::MAX);
        Self { opens_at_ms: Some(now_ms.saturating_add(wait_ms)) }
    }

    /// The guard of a group that was born here just now.
    #[must_use]
    pub fn born() -> Self {
        Self { opens_at_ms: None }
    }

    /// When it opens, ms of the monotonic clock.
    #[must_use]
    pub fn opens_at_ms(&self) -> u64 {
        self.opens_at_ms.unwrap_or(0)
    }

    /// Whether the replica may stand for election.
    #[must_use]
    pub fn allows_elections(&self, now_ms: u64) -> bool {
        self.opens_at_ms.is_none_or(|opens_at_ms| now_ms >= opens_at_ms)
    }

    /// Whether the request may be handed on. If not, the answer is an error of transport, not a vote against.
    #[must_use]
    pub fn allows(&self, ballot: Ballot, now_ms: u64) -> bool {
        ballot == Ballot::Transfer || self.allows_elections(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transfer_passes_before_a_lease_has_ended() {
        let guard = StartGuard::built(10_000, 1_800);
        assert_eq!(guard.opens_at_ms(), 11_980);
        for (now_ms, is_open) in
            [(0, false), (10_000, false), (11_979, false), (11_980, true), (u64::MAX, true)]
        {
            assert_eq!(guard.allows_elections(now_ms), is_open);
            assert_eq!(guard.allows(Ballot::Vote, now_ms), is_open);
            assert_eq!(guard.allows(Ballot::PreVote, now_ms), is_open);
            assert!(guard.allows(Ballot::Transfer, now_ms));
        }
        assert!(StartGuard::born().allows(Ballot::Vote, 0));
    }

    #[test]
    fn the_wait_is_longer_than_any_lease() {
        for max_ms in [0, 1, 7, 600, 1_800, 5_000, u64::MAX / 2] {
            let guard = StartGuard::built(0, max_ms);
            assert!(
                u128::from(guard.opens_at_ms()) * 10 >= u128::from(max_ms) * 11
                    || guard.opens_at_ms() > 1 << 62
            );
            assert!(max_ms == 0 || !guard.allows(Ballot::Vote, max_ms));
        }
    }
}
