//! A node that starts makes its claim, and its peers answer with what they remember: whether its disk is older than what it said.

use super::memory::Memory;
use super::node::Opened;
use super::running::Running;
use engine::ids::NodeId;
use raft::group::birth::membership;
use raft::group::rejoin::{Answer, Claim, GroupClaim, GroupWord, Verdict, Voters, judge};
use raft::log::Log;
use raft::machine::Machine;
use raft::planted::{self, Planted};
use raft::types::{GroupId, LogId, Membership, ReplicaId, Seat};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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

/// Who belongs to a group as the log has it: what is durable of the machine may be from before its replica was a voter, and with all nodes
/// down nobody would ever have a quorum.
fn belongs(log: &Log, machine: &Machine) -> Membership {
    membership(log, machine).unwrap_or_else(|_| machine.applied().membership)
}

/// What a node that runs, or that waits itself, answers about another: by its log it knows its own replicas, by its machines who
/// belongs to each group.
#[must_use]
pub fn answer(
    about: NodeId,
    memory: &Memory,
    log: &Log,
    machines: &BTreeMap<GroupId, Arc<Machine>>,
    running: Option<&Running>,
) -> Answer {
    let word = |(group, machine): (&GroupId, &Arc<Machine>)| {
        let standing =
            running.and_then(|running| running.registry.get(*group)).map(|one| one.group().standing());
        let membership = match &standing {
            Some(standing) => standing.membership.1.clone(),
            None => belongs(log, machine),
        };
        let of = |(replica, seat): (&ReplicaId, &Seat)| (seat.node == about).then_some(*replica);
        let replica = membership.seats.iter().find_map(of).unwrap_or_default();
        let leading = standing.filter(|standing| standing.is_leader);
        let matched = leading
            .as_ref()
            .and_then(|standing| Some((standing.vote, standing.matched.get(&replica).copied().flatten()?)));
        let is_voter = log.state(*group).is_ok_and(|state| membership.is_voter(state.replica));
        let is_leader = leading.is_some();
        (*group, GroupWord { replica, is_leader, is_voter, matched, ..GroupWord::default() })
    };
    let groups: BTreeMap<_, _> = machines.iter().map(word).collect();
    Answer {
        is_meta_voter: groups.values().any(|word| word.is_voter),
        logs: memory.logs_of(about),
        alive: None,
        groups,
    }
}

/// What becomes of the node, of as many voters of the meta group as `meta`.
#[must_use]
pub fn verdict(
    opened: &Opened,
    claim: &Claim,
    answers: &BTreeMap<NodeId, Answer>,
    meta: (usize, bool),
) -> Verdict {
    if planted::is(Planted::AcceptOlderDisk) {
        return Verdict::Runs { replace: [].into() };
    }
    let voters = |(group, machine): (&GroupId, &Arc<Machine>)| {
        let membership = belongs(&opened.parts.log, machine);
        let all: BTreeSet<_> = membership.voters.iter().flatten().collect();
        let replica = claim.groups.get(group).map(|here| here.replica);
        (*group, (all.len(), replica.is_some_and(|replica| all.contains(&replica))))
    };
    let groups = opened.machines.iter().map(voters).collect();
    judge(claim, answers, &Voters { meta: meta.0, is_meta_voter: meta.1, groups })
}
