//! Pure: from a seed to dice, and from dice to the configuration of a run. Each seed draws its own sizes and its own mix of
//! faults, because a fixed mix hides what only another one shows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The name of one run: everything in it follows from this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

/// Numbers that follow from a seed and nothing else (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

/// A kind of misfortune.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node loses power: what was not synced is lost, kept in part, or torn.
    Crash,
    /// A node stops and goes on later, with its memory.
    Pause,
    /// No message passes between two halves of the cluster.
    Cut,
    /// Messages pass in one direction only.
    CutOneWay,
    /// Two nodes do not hear each other, and a third hears both.
    CutPair,
    /// A link comes and goes.
    Flap,
    /// What a node says to another arrives, and it hears no answer.
    HalfOpen,
    /// A link stops moving, and nobody is told.
    Still,
    /// Messages wait long.
    Slow,
    /// A sync fails.
    FailedSync,
    /// The disk is full for a while.
    DiskFull,
    /// The disk takes long.
    SlowDisk,
    /// Bytes of a file change.
    Rot,
    /// A disk is put back to an earlier time.
    OldDisk,
    /// A clock jumps, drifts or stops.
    Clock,
    /// The keys of tenants are away from a node.
    KeysAway,
    /// A replica joins, leaves, or changes its role.
    Membership,
    /// Leadership is handed over.
    Transfer,
    /// A snapshot is made now.
    Snapshot,
    /// The log is purged as far as it may be.
    Purge,
    /// Consensus of one replica panics.
    Panic,
}

/// All of them, in the order of their names above.
pub const FAULTS: [Fault; 21] = [
    Fault::Crash,
    Fault::Pause,
    Fault::Cut,
    Fault::CutOneWay,
    Fault::CutPair,
    Fault::Flap,
    Fault::HalfOpen,
    Fault::Still,
    Fault::Slow,
    Fault::FailedSync,
    Fault::DiskFull,
    Fault::SlowDisk,
    Fault::Rot,
    Fault::OldDisk,
    Fault::Clock,
    Fault::KeysAway,
    Fault::Membership,
    Fault::Transfer,
    Fault::Snapshot,
    Fault::Purge,
    Fault::Panic,
];

/// The configuration of one run. Sizes are so small that everything that happens to a cluster happens every few seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// Where it was drawn from.
    pub seed: Seed,
    /// Nodes.
    pub nodes: u32,
    /// Raft groups beside the first.
    pub groups: u32,
    /// One more node is delayed by so many milliseconds, if one is.
    pub late_ms: Option<u64>,
    /// A message takes between the two, in milliseconds.
    pub delay_ms: RangeInclusive<u64>,
    /// Of a thousand messages, how many are lost.
    pub loss_permille: u32,
    /// Of a thousand messages, how many come twice.
    pub duplicate_permille: u32,
    /// Of a thousand messages without entries, how many are overtaken by later ones of their lane.
    pub reorder_permille: u32,
    /// A sync takes between the two, in milliseconds.
    pub sync_ms: RangeInclusive<u64>,
    /// Between two heartbeats of a leader, in milliseconds.
    pub heartbeat_ms: u64,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// A memtable is frozen at this many bytes.
    pub memtable_bytes: u64,
    /// A purge of a group is worth its while after about this many entries.
    pub purge_entries: u64,
    /// Clients that ask one after the other.
    pub clients: u32,
    /// Keys they ask for.
    pub keys: u64,
    /// A client waits up to this long between two requests, in milliseconds.
    pub think_ms: u64,
    /// A client gives up after this long, in milliseconds: the outcome is then unknown.
    pub patience_ms: u64,
    /// Between two faults, about, in milliseconds.
    pub fault_every_ms: u64,
    /// How often each kind of fault is chosen, against the sum of all. Kinds that are absent do not happen in this run.
    pub faults: BTreeMap<Fault, u32>,
}

impl Dice {
    /// The dice of a seed. Different `purpose`s give dice that know nothing of each other, so that one more throw of the network
    /// does not change what the clients do.
    #[must_use]
    pub fn new(seed: Seed, purpose: &str) -> Self {
        Self(seed.0 ^ xxhash_rust::xxh3::xxh3_64(purpose.as_bytes()))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// A number of the range, both ends included; its start if it is empty.
    pub fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let more = range.end().saturating_sub(*range.start());
        range.start() + self.below(more.saturating_add(1))
    }

    /// True `permille` times of a thousand.
    pub fn is_lucky(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// One of them; none of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }

    /// One of them, each as often as its weight says; none if all weigh nothing.
    pub fn weighted<T: Copy>(&mut self, of: &BTreeMap<T, u32>) -> Option<T> {
        let sum = of.values().map(|weight| u64::from(*weight)).sum();
        let mut rest = self.below(sum);
        for (one, weight) in of {
            match rest.checked_sub(u64::from(*weight)) {
                Some(less) => rest = less,
                None => return Some(*one),
            }
        }
        None
    }

    /// A number of `low ..= high` whose logarithm is even: small ones as often as large ones.
    fn scaled(&mut self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high / low.max(1)).max(1).ilog2());
        let base = low << self.below(doublings + 1);
        (base + self.below(base)).min(high)
    }
}

impl Swarm {
    /// The configuration of a seed.
    #[must_use]
    pub fn draw(seed: Seed) -> Self {
        let dice = &mut Dice::new(seed, "swarm");
        let delay_min = dice.within(&(0..=3));
        let sync_min = dice.within(&(0..=2));
        let is_bad_network = dice.is_lucky(500);
        let mut bad = |max: u64| if is_bad_network { dice.below(max + 1) as u32 } else { 0 };
        let (loss_permille, duplicate_permille) = (bad(50), bad(30));
        let order = &mut Dice::new(seed, "order");
        let reorder_permille = if order.is_lucky(400) { order.within(&(1..=100)) as u32 } else { 0 };
        let late = &mut Dice::new(seed, "late");
        let late_ms = late.is_lucky(400).then(|| late.within(&(1_000..=6_000)));
        let panics = &mut Dice::new(seed, "panics");
        let panics = panics.is_lucky(500).then(|| (Fault::Panic, 1 << panics.below(3)));
        Self {
            seed,
            nodes: dice.within(&(3..=5)) as u32,
            groups: dice.within(&(1..=4)) as u32,
            late_ms,
            delay_ms: delay_min..=delay_min + dice.scaled(1, 60),
            loss_permille,
            duplicate_permille,
            reorder_permille,
            sync_ms: sync_min..=sync_min + dice.scaled(1, 30),
            heartbeat_ms: dice.within(&(40..=120)),
            segment_bytes: dice.scaled(64 << 10, 1 << 20),
            memtable_bytes: dice.scaled(4 << 10, 256 << 10),
            purge_entries: dice.scaled(30, 2_000),
            clients: dice.within(&(2..=12)) as u32,
            keys: dice.scaled(1, 300),
            think_ms: dice.scaled(1, 100),
            patience_ms: dice.scaled(200, 4_000),
            fault_every_ms: dice.scaled(200, 8_000),
            faults: Self::mix(dice).into_iter().chain(panics).collect(),
        }
    }

    /// Some kinds not at all, and of the others some often. At least one kind happens.
    fn mix(dice: &mut Dice) -> BTreeMap<Fault, u32> {
        let mut mix = BTreeMap::new();
        // Panics are drawn from dice of their own: they came later, and the runs of old seeds should stay what they were.
        let mixed = FAULTS.into_iter().filter(|fault| *fault != Fault::Panic);
        for fault in mixed.filter(|_| dice.is_lucky(500)).collect::<Vec<_>>() {
            mix.insert(fault, 1 << dice.below(4));
        }
        if mix.is_empty() {
            mix.insert(Fault::Crash, 1);
        }
        mix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn dice_are_splitmix64_for_ever() {
        // From the reference implementation with state 0: a change of the dice makes old seeds other runs.
        let mut dice = Dice(0);
        let wanted = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!([dice.number(), dice.number(), dice.number()], wanted);
    }

    #[test]
    fn a_seed_draws_the_same_swarm_and_two_purposes_do_not_share_dice() {
        assert_eq!(Swarm::draw(Seed(7)), Swarm::draw(Seed(7)));
        assert_ne!(Swarm::draw(Seed(7)), Swarm { seed: Seed(7), ..Swarm::draw(Seed(8)) });
        assert_ne!(Dice::new(Seed(7), "network").number(), Dice::new(Seed(7), "clients").number());
    }

    #[test]
    fn a_thousand_seeds_reach_both_ends_of_every_range() {
        let swarms: Vec<Swarm> = (0..1000).map(|seed| Swarm::draw(Seed(seed))).collect();
        let all = |read: fn(&Swarm) -> u64| swarms.iter().map(read).collect::<BTreeSet<u64>>();
        let ends = |read: fn(&Swarm) -> u64| {
            let seen = all(read);
            (seen.first().copied().unwrap(), seen.last().copied().unwrap())
        };
        assert_eq!(all(|swarm| u64::from(swarm.nodes)), BTreeSet::from([3, 4, 5]));
        assert_eq!(ends(|swarm| u64::from(swarm.groups)), (1, 4));
        let late = swarms.iter().filter_map(|swarm| swarm.late_ms);
        assert!((350..450).contains(&late.clone().count()), "{}", late.clone().count());
        assert!(late.clone().all(|ms| (1_000..=6_000).contains(&ms)) && late.max() > Some(5_500));
        assert_eq!(ends(|swarm| u64::from(swarm.loss_permille)), (0, 50));
        assert_eq!(ends(|swarm| u64::from(swarm.duplicate_permille)), (0, 30));
        assert_eq!(ends(|swarm| u64::from(swarm.reorder_permille)), (0, 100));
        assert_eq!(ends(|swarm| u64::from(swarm.clients)), (2, 12));
        let (least, most) = ends(|swarm| swarm.segment_bytes);
        assert!(least < 70 << 10 && most > 900 << 10, "{least} {most}");
        assert!(swarms.iter().all(|swarm| swarm.delay_ms.start() < swarm.delay_ms.end()));
        for fault in FAULTS {
            let with = swarms.iter().filter(|swarm| swarm.faults.contains_key(&fault)).count();
            assert!((350..650).contains(&with), "{fault:?} in {with}");
        }
        assert!(swarms.iter().all(|swarm| !swarm.faults.is_empty()));
    }

    #[test]
    fn weights_are_kept() {
        let (mut dice, of) =
            (Dice::new(Seed(1), "weights"), BTreeMap::from([('a', 1), ('b', 0), ('c', 3), ('d', 4)]));
        let throws: Vec<char> = (0..4000).filter_map(|_| dice.weighted(&of)).collect();
        let count = |one| throws.iter().filter(|thrown| **thrown == one).count();
        assert_eq!((throws.len(), count('b')), (4000, 0));
        let counts = ['a', 'c', 'd'].map(count);
        let around = |wanted: usize, at: usize| counts[at].abs_diff(wanted) < 100;
        assert!(around(500, 0) && around(1500, 1) && around(2000, 2), "{counts:?}");
        assert_eq!(dice.weighted::<char>(&BTreeMap::new()), None);
        assert_eq!(dice.pick::<char>(&[]), None);
        assert_eq!((dice.below(0), dice.within(&(5..=5))), (0, 5));
    }
}
