//! Pure: is this disk older than what it once acknowledged?
//!
//! One log orders all that a node says, so its durable log position covers all its groups. Peers keep the greatest they heard. Before
//! Raft runs, and before anything is written, a node sends its **claim**; peers answer with what they remember. One proof that the
//! disk is older is enough to refuse it; to let it in takes a majority of the voters of the meta group and, for each group, its leader
//! or a majority of its voters, this node counted. (Cluster and generation are compared when the link is made.)

use crate::types::{GroupId, LogId, ReplicaId, Vote};
use engine::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a node says of one group on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupClaim {
    /// The replica that lives here.
    pub replica: ReplicaId,
    /// Its vote.
    pub vote: Option<Vote>,
    /// The last entry of its log.
    pub last: Option<LogId>,
    /// The last entry that is applied and durable.
    pub applied: Option<LogId>,
    /// Number of the last edit of its manifest.
    pub manifest: u64,
    /// Number of the last such edit that the log knows to be durable.
    pub manifest_noted: u64,
    /// Whether the log's head is a snapshot that reaches further than the entries before it.
    pub is_from_snapshot: bool,
}

/// What a node says of its disk when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// Its log: random, another after a wipe.
    pub log: [u8; 16],
    /// Where that log ends.
    pub log_end: u64,
    /// How often it was started.
    pub incarnation: u64,
    /// A number of this start alone.
    pub boot_nonce: [u8; 16],
    /// By group.
    pub groups: BTreeMap<GroupId, GroupClaim>,
}

/// What a peer remembers of one log of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMark {
    /// The greatest durable position heard.
    pub position: u64,
    /// The greatest start number heard.
    pub incarnation: u64,
}

/// What a peer knows of the node's replica of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupWord {
    /// The replica it knows there.
    pub replica: ReplicaId,
    /// Whether the peer leads the group.
    pub is_leader: bool,
    /// Whether the peer is a voter of it.
    pub is_voter: bool,
    /// Under which vote it leads, or led last, and what the replica had acknowledged to it then.
    pub matched: Option<(Vote, LogId)>,
    /// The greatest vote that the replica granted it.
    pub granted: Option<Vote>,
    /// The greatest number of a manifest edit it heard of.
    pub manifest: u64,
}

/// What a peer answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is a voter of the meta group.
    pub is_meta_voter: bool,
    /// The logs it knows of the node.
    pub logs: BTreeMap<[u8; 16], LogMark>,
    /// The nonce of a start of the node that lives now, if it hears one.
    pub alive: Option<[u8; 16]>,
    /// By group.
    pub groups: BTreeMap<GroupId, GroupWord>,
}

/// How many voters there are, so that a majority is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Voters of the meta group.
    pub meta: usize,
    /// Whether this node is one.
    pub is_meta_voter: bool,
    /// Of each group of the claim: its voters, and whether the replica here is one.
    pub groups: BTreeMap<GroupId, (usize, bool)>,
}

/// What proves that something here is older than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The log ends before what a peer heard to be durable.
    LogEnd {
        /// Where it ends.
        ends: u64,
        /// What the peer holds.
        held: u64,
    },
    /// It has started less often than a peer heard.
    Incarnation {
        /// How often, by the log.
        claimed: u64,
        /// How often, by the peer.
        held: u64,
    },
    /// Peers know other logs of this node, and not this one.
    UnknownLog,
    /// A leader was told of more entries.
    Matched {
        /// The group.
        group: GroupId,
        /// The last entry here.
        last: Option<LogId>,
        /// What the leader holds.
        held: LogId,
    },
    /// A vote was given that is not here.
    Vote {
        /// The group.
        group: GroupId,
        /// The vote here.
        claimed: Option<Vote>,
        /// What the peer holds.
        held: Vote,
    },
    /// More is applied than the log has, and no snapshot says why.
    Applied {
        /// The group.
        group: GroupId,
        /// What is applied.
        applied: LogId,
        /// The last entry here.
        last: Option<LogId>,
    },
}

/// What becomes of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs; the replicas of these groups are replaced, because their manifests are older than they were.
    Runs {
        /// Those groups.
        replace: BTreeSet<GroupId>,
    },
    /// It serves admin alone: its disk is older than what it acknowledged.
    Refused(Finding),
    /// Another start of it lives: both are fenced.
    Cloned,
    /// Too few have answered.
    Waits {
        /// Answers of voters of the meta group, itself counted, and how many it needs.
        meta: (usize, usize),
        /// Groups of which too few voters have answered.
        groups: BTreeSet<GroupId>,
    },
}

/// Judges a claim by what the peers answered so far.
#[must_use]
pub fn judge(claim: &Claim, answers: &BTreeMap<NodeId, Answer>, voters: &Voters) -> Verdict {
    if let Some(finding) = claim.groups.iter().find_map(|(group, here)| older_log(*group, here)) {
        return Verdict::Refused(finding);
    }
    let is_other = |answer: &Answer| answer.alive.is_some_and(|nonce| nonce != claim.boot_nonce);
    if answers.values().any(is_other) {
        return Verdict::Cloned;
    }
    let older = answers.values().find_map(|answer| {
        older_node(claim, answer).or_else(|| {
            claim.groups.iter().find_map(|(id, here)| older_group(*id, here, answer.groups.get(id)?))
        })
    });
    if let Some(finding) = older {
        return Verdict::Refused(finding);
    }
    let (meta, groups) = missing(claim, answers, voters);
    if meta.0 < meta.1 || !groups.is_empty() {
        return Verdict::Waits { meta, groups };
    }
    let is_behind = |id: &GroupId, here: &GroupClaim| {
        let said = answers.values().filter_map(|answer| answer.groups.get(id));
        let heard = said.filter(|word| word.replica == here.replica).map(|word| word.manifest).max();
        here.manifest < here.manifest_noted || Some(here.manifest) < heard
    };
    let replace = claim.groups.iter().filter(|(id, here)| is_behind(id, here)).map(|(id, _)| *id).collect();
    Verdict::Runs { replace }
}

fn older_log(group: GroupId, here: &GroupClaim) -> Option<Finding> {
    let applied = here.applied?;
    let is_behind = here.last.is_none_or(|last| last.index < applied.index) && !here.is_from_snapshot;
    is_behind.then_some(Finding::Applied { group, applied, last: here.last })
}

fn older_node(claim: &Claim, answer: &Answer) -> Option<Finding> {
    let Some(mark) = answer.logs.get(&claim.log) else {
        return (!answer.logs.is_empty()).then_some(Finding::UnknownLog);
    };
    if claim.log_end < mark.position {
        return Some(Finding::LogEnd { ends: claim.log_end, held: mark.position });
    }
    let held = mark.incarnation;
    (claim.incarnation < held).then_some(Finding::Incarnation { claimed: claim.incarnation, held })
}

/// A vote that was given is here, or a later one: of a later term, or in the same term for a greater replica, as votes are ordered. What
/// was acknowledged under a vote is here, or a later vote is, whose leader may have cut it off.
fn older_group(group: GroupId, here: &GroupClaim, word: &GroupWord) -> Option<Finding> {
    if word.replica != here.replica {
        return None;
    }
    let given = [word.granted, word.matched.map(|(vote, _)| vote)];
    let order = |vote: Vote| (vote.term, vote.replica);
    let has = |held: &Vote| here.vote.is_some_and(|vote| order(vote) >= order(*held));
    if let Some(held) = given.into_iter().flatten().find(|held| !has(held)) {
        return Some(Finding::Vote { group, claimed: here.vote, held });
    }
    let (vote, held) = word.matched?;
    let is_same = here.vote.map(order) == Some(order(vote));
    let is_short = here.last.is_none_or(|last| last.index < held.index);
    (is_same && is_short).then_some(Finding::Matched { group, last: here.last, held })
}

/// Answers of meta voters and how many it takes; groups that have too few.
fn missing(
    claim: &Claim,
    answers: &BTreeMap<NodeId, Answer>,
    voters: &Voters,
) -> ((usize, usize), BTreeSet<GroupId>) {
    let meta = answers.iter().filter(|(node, answer)| **node != claim.node && answer.is_meta_voter).count();
    let meta = (meta + usize::from(voters.is_meta_voter), voters.meta / 2 + 1);
    let is_missing = |id: &GroupId| {
        let Some((count, is_voter)) = voters.groups.get(id) else { return true };
        let others = answers.iter().filter(|(node, _)| **node != claim.node);
        let said: Vec<&GroupWord> = others.filter_map(|(_, answer)| answer.groups.get(id)).collect();
        let votes = said.iter().filter(|word| word.is_voter).count() + usize::from(*is_voter);
        !said.iter().any(|word| word.is_leader) && votes <= count / 2
    };
    (meta, claim.groups.keys().filter(|id| is_missing(id)).copied().collect())
}

struct Maybe<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk is older than what this node acknowledged: ")?;
        match self {
            Self::LogEnd { ends, held } => write!(f, "log ends at {ends}, peers hold {held}"),
            Self::Incarnation { claimed, held } => write!(f, "start {claimed}, peers have seen {held}"),
            Self::UnknownLog => f.write_str("peers know other logs of it, and not this one"),
            Self::Matched { group, last, held } => {
                write!(f, "{group} ends at {}, its leader holds {held}", Maybe(*last))
            }
            Self::Vote { group, claimed, held } => {
                let claimed = Maybe(claimed.map(|vote| vote.term));
                write!(f, "{group} has voted in term {claimed}, a peer holds its vote of term {}", held.term)
            }
            Self::Applied { group, applied, last } => {
                write!(f, "{group} has applied {applied}, its log ends at {}", Maybe(*last))
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs { replace } if replace.is_empty() => f.write_str("it may run"),
            Self::Runs { replace } => {
                write!(f, "it may run; {} of its replicas must be replaced", replace.len())
            }
            Self::Refused(finding) => finding.fmt(f),
            Self::Cloned => {
                f.write_str("another start of the same node lives: one of the two is a copy; stop both")
            }
            Self::Waits { meta: (said, needed), groups } => write!(
                f,
                "{said} of {needed} voters of the meta group have answered; of {} groups too few have",
                groups.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: GroupId = GroupId(4);
    const LOG: [u8; 16] = [1; 16];
    const NONCE: [u8; 16] = [2; 16];

    fn id(index: u64) -> LogId {
        LogId { term: 5, replica: ReplicaId(1), index }
    }

    fn vote(term: u64, replica: u64) -> Vote {
        Vote { term, replica: ReplicaId(replica), is_committed: true }
    }

    fn claim() -> Claim {
        let here = GroupClaim {
            replica: ReplicaId(3),
            vote: Some(vote(5, 1)),
            last: Some(id(100)),
            applied: Some(id(90)),
            manifest: 8,
            manifest_noted: 8,
            is_from_snapshot: false,
        };
        let groups = [(G, here)].into();
        Claim { node: NodeId(3), log: LOG, log_end: 5_000, incarnation: 7, boot_nonce: NONCE, groups }
    }

    /// Of peers 1 and 2, with peer 1 leading.
    fn answers() -> BTreeMap<NodeId, Answer> {
        let answer = |is_leader: bool| {
            let matched = is_leader.then_some((vote(5, 1), id(100)));
            let granted = is_leader.then_some(vote(5, 1));
            let word =
                GroupWord { replica: ReplicaId(3), is_leader, is_voter: true, matched, granted, manifest: 8 };
            let mark = LogMark { position: 5_000, incarnation: 7 };
            Answer {
                is_meta_voter: true,
                logs: [(LOG, mark)].into(),
                alive: None,
                groups: [(G, word)].into(),
            }
        };
        [(NodeId(1), answer(true)), (NodeId(2), answer(false))].into()
    }

    fn voters() -> Voters {
        Voters { meta: 3, is_meta_voter: true, groups: [(G, (3, true))].into() }
    }

    fn with_claim(change: impl FnOnce(&mut Claim, &mut GroupClaim)) -> Verdict {
        let mut claim = claim();
        let mut here = claim.groups[&G];
        change(&mut claim, &mut here);
        claim.groups.insert(G, here);
        judge(&claim, &answers(), &voters())
    }

    fn with_leader(change: impl FnOnce(&mut Answer, &mut GroupWord)) -> Verdict {
        let mut answers = answers();
        let answer = answers.get_mut(&NodeId(1)).unwrap();
        let mut word = answer.groups[&G];
        change(answer, &mut word);
        answer.groups.insert(G, word);
        judge(&claim(), &answers, &voters())
    }

    #[test]
    fn a_disk_as_it_was_left_runs() {
        let runs = Verdict::Runs { replace: BTreeSet::new() };
        assert_eq!(judge(&claim(), &answers(), &voters()), runs);
        assert_eq!(with_claim(|claim, _| claim.log_end = 9_000), runs);
        assert_eq!(with_leader(|answer, _| answer.logs.clear()), runs, "it knows no log of a new node");
        assert_eq!(with_leader(|answer, _| answer.alive = Some(NONCE)), runs);
        // A later leader may have cut it off.
        let later = |_: &mut Claim, here: &mut GroupClaim| {
            (here.vote, here.last) = (Some(vote(6, 2)), Some(id(95)));
        };
        assert_eq!(with_claim(later), runs);
        // In the same term a greater replica may have been voted for after.
        let greater = |_: &mut Claim, here: &mut GroupClaim| {
            (here.vote, here.last) = (Some(vote(5, 2)), Some(id(95)));
        };
        assert_eq!(with_claim(greater), runs);
        // What is said of an earlier replica says nothing of this one.
        let earlier = with_leader(|_, word| {
            let held = Some(vote(9, 1));
            *word = GroupWord { replica: ReplicaId(2), granted: held, manifest: 99, ..*word };
        });
        assert_eq!(earlier, runs);
    }

    #[test]
    fn what_proves_an_older_disk_refuses_it_and_is_named() {
        let older = Verdict::Refused;
        let log_end = Finding::LogEnd { ends: 4_999, held: 5_000 };
        assert_eq!(with_claim(|claim, _| claim.log_end = 4_999), older(log_end));
        let started = Finding::Incarnation { claimed: 6, held: 7 };
        assert_eq!(with_claim(|claim, _| claim.incarnation = 6), older(started));
        assert_eq!(with_claim(|claim, _| claim.log = [9; 16]), older(Finding::UnknownLog));
        let matched = Finding::Matched { group: G, last: Some(id(99)), held: id(100) };
        assert_eq!(with_claim(|_, here| here.last = Some(id(99))), older(matched));
        for claimed in [None, Some(vote(4, 1)), Some(vote(5, 0))] {
            let lost = Finding::Vote { group: G, claimed, held: vote(5, 1) };
            assert_eq!(with_claim(|_, here| here.vote = claimed), older(lost));
        }
        let held = vote(6, 2);
        let granted = Finding::Vote { group: G, claimed: Some(vote(5, 1)), held };
        assert_eq!(with_leader(|_, word| word.granted = Some(held)), older(granted));
        let applied = Finding::Applied { group: G, applied: id(101), last: Some(id(100)) };
        assert_eq!(with_claim(|_, here| here.applied = Some(id(101))), older(applied));
        assert!(log_end.to_string().ends_with("acknowledged: log ends at 4999, peers hold 5000"));
        assert!(matched.to_string().contains("g-4 ends at 5.1.99, its leader holds 5.1.100"));
    }

    #[test]
    fn only_an_older_manifest_replaces_the_replica() {
        let replaced = Verdict::Runs { replace: [G].into() };
        assert_eq!(with_leader(|_, word| word.manifest = 9), replaced);
        assert_eq!(with_claim(|_, here| here.manifest_noted = 9), replaced);
        let snapshot = |_: &mut Claim, here: &mut GroupClaim| {
            (here.applied, here.is_from_snapshot) = (Some(id(101)), true);
        };
        assert_eq!(with_claim(snapshot), Verdict::Runs { replace: BTreeSet::new() });
    }

    #[test]
    fn a_clone_is_told_before_all_else_that_peers_say() {
        let cloned = with_leader(|answer, _| {
            answer.alive = Some([8; 16]);
            answer.logs.insert(LOG, LogMark { position: 9_000, incarnation: 9 });
        });
        assert_eq!(cloned, Verdict::Cloned);
    }

    #[test]
    fn too_few_answers_wait_and_one_proof_does_not() {
        let waits =
            |meta, groups: &[GroupId]| Verdict::Waits { meta, groups: groups.iter().copied().collect() };
        assert_eq!(judge(&claim(), &BTreeMap::new(), &voters()), waits((1, 2), &[G]));
        let mut few = answers();
        few.remove(&NodeId(1));
        assert_eq!(
            judge(&claim(), &few, &voters()),
            Verdict::Runs { replace: BTreeSet::new() },
            "two of three"
        );
        let five = Voters { meta: 5, groups: [(G, (5, true))].into(), ..voters() };
        assert_eq!(judge(&claim(), &few, &five), waits((2, 3), &[G]));
        assert_eq!(judge(&claim(), &answers(), &five), Verdict::Runs { replace: BTreeSet::new() });
        let learner = Voters { meta: 3, is_meta_voter: false, groups: [(G, (3, false))].into() };
        assert_eq!(judge(&claim(), &few, &learner), waits((1, 2), &[G]));
        assert_eq!(
            judge(&claim(), &answers(), &Voters { groups: BTreeMap::new(), ..voters() }),
            waits((3, 2), &[G])
        );
        few.get_mut(&NodeId(2)).unwrap().logs.insert(LOG, LogMark { position: 5_001, incarnation: 1 });
        let proof = Finding::LogEnd { ends: 5_000, held: 5_001 };
        assert_eq!(judge(&claim(), &few, &five), Verdict::Refused(proof));
        // The node's own words about itself do not count.
        let own = [(NodeId(3), answers()[&NodeId(2)].clone())].into();
        assert_eq!(judge(&claim(), &own, &voters()), waits((1, 2), &[G]));
    }
}
