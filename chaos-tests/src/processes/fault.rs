//! Pure: what goes wrong in a run of real processes, and in which order: each lane of faults is a deck that is shuffled by the seed and
//! gone through, so that every kind comes before any comes twice.

use crate::seed::Dice;
use std::collections::BTreeMap;

/// A kind of misfortune.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is stopped short (SIGKILL) and started again.
    Crash,
    /// All processes at once.
    CrashAll,
    /// A process stands still (SIGSTOP) and goes on.
    Pause,
    /// A process is told to stop, and started again.
    Restart,
    /// Processes are stopped short again and again, also while they start.
    Storm,
    /// One node after the other is told to stop, and started again.
    Rolling,
    /// A machine loses power: its process is stopped short, and what was not synced is gone.
    LosePower,
    /// All machines lose power at once.
    LosePowerAll,
    /// The file system of a node is full for a while.
    Full,
    /// Bytes of a file change while its node is stopped; the node is replaced by a new one in the end.
    Rot,
    /// The wall clock of a node is wrong for a while.
    Clock,
    /// No connection stands between a node and others, or its clients.
    Cut,
    /// A node cannot reach others, and they reach it.
    CutOneWay,
    /// Bytes take longer.
    Delay,
    /// Few bytes pass.
    Throttle,
    /// One end has lost its connections and the other believes in them.
    HalfOpen,
    /// Bytes stop in one direction, and come later.
    Still,
}

/// All of them, in the order of their names above.
pub const FAULTS: [Fault; 17] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::Pause,
    Fault::Restart,
    Fault::Storm,
    Fault::Rolling,
    Fault::LosePower,
    Fault::LosePowerAll,
    Fault::Full,
    Fault::Rot,
    Fault::Clock,
    Fault::Cut,
    Fault::CutOneWay,
    Fault::Delay,
    Fault::Throttle,
    Fault::HalfOpen,
    Fault::Still,
];

impl Fault {
    /// Whether it is one of links; the others are of nodes.
    #[must_use]
    pub fn is_of_links(self) -> bool {
        self >= Self::Cut
    }
}

/// Kinds in the order in which they come.
#[derive(Clone, Debug)]
pub struct Deck {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
    dice: Dice,
    rounds: u64,
}

impl Deck {
    /// One of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<Fault>, dice: Dice) -> Self {
        Self { kinds, left: vec![], dice, rounds: 0 }
    }

    /// The next kind; none if there are none.
    pub fn draw(&mut self) -> Option<Fault> {
        if self.left.is_empty() {
            self.rounds += u64::from(!self.kinds.is_empty());
            let mut rest = self.kinds.clone();
            while !rest.is_empty() {
                let at = self.dice.below(rest.len() as u64) as usize;
                self.left.push(rest.swap_remove(at));
            }
        }
        self.left.pop()
    }

    /// Whether every kind has come once.
    #[must_use]
    pub fn is_through(&self) -> bool {
        self.kinds.is_empty() || self.rounds > 1 || self.rounds == 1 && self.left.is_empty()
    }
}

/// How often everything has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults by kind.
    pub hits: BTreeMap<Fault, u64>,
    /// Kinds that cannot happen here, and why.
    pub skipped: BTreeMap<Fault, String>,
    /// Processes that were stopped short.
    pub kills: u64,
    /// Losses of power in which something that was not synced was lost.
    pub lost_syncs: u64,
    /// Bytes that were lost by them.
    pub lost_bytes: u64,
    /// Names that were lost by them.
    pub lost_names: u64,
    /// Nodes that refused to run on a file that had rotted.
    pub rot_refused: u64,
    /// Nodes that ran and told of it.
    pub rot_told: u64,
    /// Nodes that ran and had not met it, until they were replaced.
    pub rot_unmet: u64,
    /// Nodes that came in the place of another.
    pub replaced: u64,
    /// Nodes that went on with a newer program.
    pub upgraded: u64,
}

impl Tally {
    /// It has happened.
    pub fn hit(&mut self, fault: Fault) {
        *self.hits.entry(fault).or_default() += 1;
    }

    /// Kinds that could have happened and have not.
    #[must_use]
    pub fn unhit(&self) -> Vec<Fault> {
        let is_unhit = |fault: &Fault| !self.hits.contains_key(fault) && !self.skipped.contains_key(fault);
        FAULTS.into_iter().filter(is_unhit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn every_kind_comes_before_any_comes_twice() {
        for seed in 0..20 {
            let mut deck = Deck::new(FAULTS.to_vec(), Dice::new(Seed(seed), "deck"));
            let mut first: Vec<Fault> = FAULTS.iter().filter_map(|_| deck.draw()).collect();
            assert!(deck.is_through());
            first.sort();
            assert_eq!(first, FAULTS);
        }
        let mut deck = Deck::new(vec![Fault::Cut, Fault::Delay], Dice::new(Seed(1), "deck"));
        deck.draw();
        assert!(!deck.is_through());
        assert!(Deck::new(vec![], Dice::new(Seed(1), "deck")).draw().is_none());
    }

    #[test]
    fn a_kind_that_never_came_is_told_unless_it_cannot_come_here() {
        let mut tally = Tally::default();
        FAULTS.into_iter().filter(|fault| *fault != Fault::Full).for_each(|fault| tally.hit(fault));
        assert_eq!(tally.unhit(), [Fault::Full]);
        tally.skipped.insert(Fault::Full, "no right to mount".to_owned());
        assert_eq!(tally.unhit(), []);
    }

    #[test]
    fn links_are_told_from_nodes() {
        assert!(Fault::Cut.is_of_links() && Fault::Still.is_of_links());
        assert!(!Fault::Clock.is_of_links() && !Fault::Crash.is_of_links());
    }
}
