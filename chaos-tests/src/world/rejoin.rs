//! A node that starts makes its claim, and its peers answer with what they remember: whether its disk is older than what it said.

use super::memory::Memory;
use super::node::Opened;
use super::running::Running;
use engine::ids::NodeId;
use raft::group::rejoin::{Answer, Claim, GroupClaim, GroupWord, Verdict, Voters, judge};
use raft::planted::{self, Planted};
use raft::types::{GroupId, LogId, ReplicaId};
use std::collections::BTreeMap;

/// Makes the claim of a node whose log and tablets are open, and in which nothing runs. `came` is the last entry of the newest snapshot
/// that came to its replica of a group.
///
/// # Errors
/// A log or a note that cannot be read.
pub fn claim(node: NodeId, opened: &Opened, came: impl Fn(GroupId) -> Option<LogId>) -> raft::Result<Claim> {
    let log = &opened.parts.log;
    let found = log.found();
    let mut groups = BTreeMap::new();
    for (group, machine) in &opened.machines {
        let (state, applied) = (log.state(*group)?, machine.durable()?.applied);
        let here = GroupClaim {
            replica: state.replica,
            vote: state.vote,
            last: state.last,
            applied,
            manifest: machine.tablet().durable().index.0,
            manifest_noted: found.manifests.get(group).map_or(0, |(index, _)| *index),
            is_from_snapshot: applied.is_some() && came(*group) == applied,
        };
        groups.insert(*group, here);
    }
    Ok(Claim {
        node,
        log: found.log.0,
        log_end: found.end,
        // This start is not one that anybody can have heard of.
        incarnation: found.incarnation.saturating_sub(1),
        boot_nonce: [0; 16],
        groups,
    })
}

/// What a node that runs, or that waits itself, answers about another.
#[must_use]
pub fn answer(
    (about, is_voter): (NodeId, bool),
    memory: &Memory,
    groups: &[GroupId],
    running: Option<&Running>,
) -> Answer {
    let replica = ReplicaId(about.0);
    let word = |group: &GroupId| {
        let standing = running
            .and_then(|running| running.registry.get(*group))
            .map(|receiver| receiver.group().standing())
            .filter(|standing| standing.is_leader);
        let matched = standing
            .as_ref()
            .and_then(|standing| Some((standing.vote, standing.matched.get(&replica).copied().flatten()?)));
        let is_leader = standing.is_some();
        (*group, GroupWord { replica, is_leader, is_voter, matched, ..GroupWord::default() })
    };
    Answer {
        is_meta_voter: is_voter,
        logs: memory.logs_of(about),
        alive: None,
        groups: groups.iter().map(word).collect(),
    }
}

/// What becomes of the node, where as many as `voters` vote in every group; whether it does says `is_voter`.
#[must_use]
pub fn verdict(claim: &Claim, answers: &BTreeMap<NodeId, Answer>, voters: usize, is_voter: bool) -> Verdict {
    if planted::is(Planted::AcceptOlderDisk) {
        return Verdict::Runs { replace: [].into() };
    }
    let groups = claim.groups.keys().map(|group| (*group, (voters, is_voter))).collect();
    judge(claim, answers, &Voters { meta: voters, is_meta_voter: is_voter, groups })
}
