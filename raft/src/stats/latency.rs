//! How long the parts of a write's way take, as histograms with few and fixed steps. Each is some additions and two looks at a clock, an
//! entry or a sync. Who measures is given a clock when its node starts; without one, as in a simulation, nothing is measured.

use engine::stats::Counter;

/// Up to how many microseconds something has taken is counted: an answer from memory, a sync of a good disk and of a bad one, an election.
pub const LATENCY_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// A moment of the clock of [`super::Stats`], if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment(pub(super) Option<u64>);

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Took {
    /// By step; the last is of what took longer than all.
    steps: [Counter; LATENCY_US.len() + 1],
    sum_us: Counter,
}

/// How long the parts of a write's way took.
#[derive(Debug, Default)]
pub struct Times {
    /// From a proposal handed to consensus to a quorum that has it.
    pub(crate) commit: Took,
    /// From there to its answer.
    pub(crate) apply: Took,
    /// From entries put into the log to the word that they are durable.
    pub(crate) append: Took,
    /// One sync of the log.
    pub(crate) sync: Took,
}

/// A histogram under the name that whoever serves metrics gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// `dewpond_<room>_<noun>_us`.
    pub name: &'static str,
    /// How often it took no longer than each of [`LATENCY_US`], and longer than the one before.
    pub steps: [u64; LATENCY_US.len()],
    /// How often it took longer than all of them.
    pub longer: u64,
    /// All of it together, in microseconds.
    pub sum_us: u64,
}

impl Took {
    /// Something began and ended.
    pub(crate) fn took(&self, began: Moment, ended: Moment) {
        let (Some(began_us), Some(ended_us)) = (began.0, ended.0) else { return };
        let us = ended_us.saturating_sub(began_us);
        let step = LATENCY_US.iter().position(|most| us <= *most).unwrap_or(LATENCY_US.len());
        self.steps[step].add(1);
        self.sum_us.add(us);
    }

    fn read(&self, name: &'static str) -> Histogram {
        let steps = std::array::from_fn(|step| self.steps[step].read());
        Histogram { name, steps, longer: self.steps[LATENCY_US.len()].read(), sum_us: self.sum_us.read() }
    }
}

impl Times {
    pub(super) fn read(&self) -> [Histogram; 4] {
        [
            self.commit.read("dewpond_proposal_commit_took_us"),
            self.apply.read("dewpond_proposal_apply_took_us"),
            self.append.read("dewpond_log_append_took_us"),
            self.sync.read("dewpond_log_sync_took_us"),
        ]
    }
}

impl Histogram {
    /// How often in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.steps.iter().sum::<u64>() + self.longer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_step_counts_there_and_what_took_longer_in_the_next() {
        let took = Took::default();
        for (began, ended) in
            [(0, 0), (7, 57), (7, 58), (0, 10_000_000), (0, 10_000_001), (0, u64::MAX), (9, 3)]
        {
            took.took(Moment(Some(began)), Moment(Some(ended)));
        }
        took.took(Moment(None), Moment(Some(9)));
        took.took(Moment(Some(9)), Moment(None));
        let read = took.read("dewpond_log_sync_took_us");
        let mut steps = [0; LATENCY_US.len()];
        (steps[0], steps[1], steps[LATENCY_US.len() - 1]) = (3, 1, 1);
        assert_eq!((read.steps, read.longer, read.count()), (steps, 2, 7));
        assert!(LATENCY_US.is_sorted_by(|one, next| one < next));
    }
}
