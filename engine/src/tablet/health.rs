//! Pure: what a tablet can still do, and why.

use crate::error::{Error, Result};
use crate::ids::TabletId;
use crate::limits;

/// Background work whose failure stops writes. The success of the same work lets them in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Flushing, and committing what it flushed.
    Flush,
    /// Merging tables.
    Compaction,
}

/// What a tablet can do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Everything.
    #[default]
    Serving,
    /// Reads only: background work failed and is tried again.
    WritesStopped {
        /// Which work failed.
        work: Work,
        /// How it failed.
        cause: String,
        /// When it is tried again: milliseconds since 1970.
        retry_at_ms: u64,
        /// How often it has failed since it last succeeded.
        failures: u32,
    },
    /// Nothing: a bug or a lost worker. Open it again, or replace it from a peer.
    Fenced {
        /// What happened.
        cause: String,
    },
}

impl Health {
    /// Whether a batch may be applied.
    ///
    /// # Errors
    /// `WritesStopped` or `Fenced`.
    pub fn allows_writes(&self, tablet: TabletId) -> Result<()> {
        match self {
            Self::Serving => Ok(()),
            Self::WritesStopped { cause, .. } => Err(Error::WritesStopped { tablet, cause: cause.clone() }),
            Self::Fenced { cause } => Err(Error::Fenced { tablet, cause: cause.clone() }),
        }
    }

    /// Whether anything may be read.
    ///
    /// # Errors
    /// `Fenced`.
    pub fn allows_reads(&self, tablet: TabletId) -> Result<()> {
        match self {
            Self::Fenced { cause } => Err(Error::Fenced { tablet, cause: cause.clone() }),
            _ => Ok(()),
        }
    }

    /// Whether writes are stopped because `work` failed last.
    #[must_use]
    pub fn is_stopped_by(&self, which: Work) -> bool {
        matches!(self, Self::WritesStopped { work, .. } if *work == which)
    }

    /// Whether background work may be tried at `now_ms`.
    #[must_use]
    pub fn allows_work(&self, now_ms: u64) -> bool {
        match self {
            Self::Serving => true,
            // A clock that went back must not keep us waiting for ever.
            Self::WritesStopped { retry_at_ms, failures, .. } => {
                now_ms >= *retry_at_ms || retry_at_ms - now_ms > pause_ms(*failures)
            }
            Self::Fenced { .. } => false,
        }
    }

    /// Health after `work` failed with `cause` at `now_ms`.
    #[must_use]
    pub fn after_failure(&self, work: Work, cause: String, now_ms: u64) -> Self {
        match self {
            Self::Fenced { .. } => self.clone(),
            Self::WritesStopped { work: before, failures, .. } if *before == work => {
                stopped(work, cause, now_ms, failures.saturating_add(1))
            }
            _ => stopped(work, cause, now_ms, 1),
        }
    }

    /// Health after `work` succeeded.
    #[must_use]
    pub fn after_success(&self, done: Work) -> Self {
        match self {
            Self::WritesStopped { work, .. } if *work == done => Self::Serving,
            other => other.clone(),
        }
    }
}

fn stopped(work: Work, cause: String, now_ms: u64, failures: u32) -> Health {
    Health::WritesStopped { work, cause, retry_at_ms: now_ms.saturating_add(pause_ms(failures)), failures }
}

/// Milliseconds between a failure and the next try: twice as long after each in a row.
fn pause_ms(failures: u32) -> u64 {
    limits::RETRY_MS << failures.saturating_sub(1).min(limits::RETRY_DOUBLINGS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_stops_writes_success_resumes_a_fence_stays() {
        let tablet = TabletId(3);
        let stopped = Health::Serving.after_failure(Work::Flush, "full".into(), 5_000);
        assert!(matches!(stopped.allows_writes(tablet), Err(Error::WritesStopped { .. })));
        assert!(stopped.allows_reads(tablet).is_ok());
        assert!(!stopped.allows_work(5_999) && stopped.allows_work(6_000) && stopped.allows_work(10));
        assert_eq!(stopped.after_success(Work::Compaction), stopped, "another work's success proves nothing");
        assert_eq!(stopped.after_success(Work::Flush), Health::Serving);
        let again = stopped.after_failure(Work::Flush, "full".into(), 6_000);
        assert!(!again.allows_work(7_999) && again.allows_work(8_000), "twice as long");
        let often = (0..99).fold(again, |health, _| health.after_failure(Work::Flush, "full".into(), 0));
        assert!(!often.allows_work(31_999) && often.allows_work(32_000), "and no longer than that");
        let fenced = Health::Fenced { cause: "panic".into() };
        assert!(matches!(fenced.allows_reads(tablet), Err(Error::Fenced { .. })));
        assert!(!fenced.allows_work(u64::MAX));
        assert_eq!(fenced.after_success(Work::Flush), fenced);
        assert_eq!(fenced.after_failure(Work::Flush, "x".into(), 0), fenced);
    }
}
