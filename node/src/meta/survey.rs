//! Pure: what one node knows that others cannot know as well, and its form on the wire. Whoever shows the whole cluster asks every node.

use crate::delayed::state::Late;
use crate::delayed::wire as late;
use crate::finding::Finding;
use crate::keys::coverage::{self, Sealed};
use engine::ids::{KeyEpoch, NodeId, TenantId};
use proto::peer_v1 as wire;
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::collections::{BTreeMap, BTreeSet};

/// What one node knows that others cannot know as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The groups that it leads.
    pub led: Vec<Led>,
    /// What its tables hold.
    pub sealed: Sealed,
    /// What a person should know of it.
    pub findings: Vec<Finding>,
    /// Its newest scrub.
    pub scrub: Option<Scrub>,
    /// How it stands, if it is delayed.
    pub late: Option<Late>,
    /// Whether its keys are not open, so that it knows nothing else. It does not travel: whoever is sealed refuses to answer.
    pub is_sealed: bool,
}

/// A scrub of the tables of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// Files it has walked.
    pub files: u64,
    /// Files it has still to walk.
    pub files_left: u64,
    /// Tables that are damaged now.
    pub damaged: u64,
}

/// A group, as the node that leads it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// The group.
    pub group: GroupId,
    /// Its term.
    pub term: u64,
    /// Its members.
    pub members: BTreeMap<ReplicaId, Standing>,
}

/// How a member of a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it lives, and what it is to be.
    pub seat: Seat,
    /// Whether it votes now.
    pub votes: bool,
    /// How far its log agrees with that of the leader.
    pub matched_index: u64,
}

/// What the nodes of a cluster have said, each for itself. Who is missing was not heard.
#[derive(Clone, Debug, Default)]
pub struct Surveys(pub BTreeMap<NodeId, Survey>);

impl Surveys {
    /// Whether a node has answered, and has its keys.
    #[must_use]
    pub fn hears(&self, node: NodeId) -> bool {
        self.0.get(&node).is_some_and(|survey| !survey.is_sealed)
    }

    /// Who leads a group, and how it is for them. Of two that think they lead, the one with the greater term does.
    #[must_use]
    pub fn led(&self, group: GroupId) -> Option<(NodeId, &Led)> {
        let of = self.0.iter().flat_map(|(node, one)| one.led.iter().map(move |led| (*node, led)));
        of.filter(|(_, led)| led.group == group).max_by_key(|(_, led)| led.term)
    }

    /// What all tables hold.
    #[must_use]
    pub fn sealed(&self) -> Sealed {
        coverage::sum(self.0.values().map(|one| one.sealed.clone()))
    }
}

/// How a role is called.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Voter => "voter",
        Role::Learner => "learner",
        Role::Delayed => "delayed",
    }
}

fn role(name: &str) -> Option<Role> {
    [Role::Voter, Role::Learner, Role::Delayed].into_iter().find(|role| role_name(*role) == name)
}

impl From<Survey> for wire::SurveyResponse {
    fn from(survey: Survey) -> Self {
        let member = |(replica, one): (ReplicaId, Standing)| wire::Member {
            replica: replica.0,
            node: one.seat.node.0,
            role: role_name(one.seat.role).to_owned(),
            votes: one.votes,
            matched_index: one.matched_index,
        };
        let led = |led: Led| wire::Led {
            group: led.group.0,
            term: led.term,
            members: led.members.into_iter().map(member).collect(),
        };
        let sealed = |((tenant, epoch), bytes): ((TenantId, KeyEpoch), u64)| wire::Sealed {
            tenant: tenant.0,
            epoch: epoch.0,
            bytes,
        };
        let found = |Finding { name, is_failure, text, command }: Finding| wire::Found {
            is_failure,
            text,
            command,
            name,
        };
        Self {
            led: survey.led.into_iter().map(led).collect(),
            sealed: survey.sealed.into_iter().map(sealed).collect(),
            found: survey.findings.into_iter().map(found).collect(),
            scrub: survey.scrub.map(|one| wire::Scrub {
                begun_ms: one.begun_ms,
                files: one.files,
                files_left: one.files_left,
                damaged: one.damaged,
            }),
            donations: survey.late.iter().flat_map(|one| &one.donations).map(late::donation).collect(),
            delayed: survey.late.as_ref().map(late::node),
        }
    }
}

impl From<wire::SurveyResponse> for Survey {
    /// Roles of a later version count as learners: they do not vote.
    fn from(said: wire::SurveyResponse) -> Self {
        let member = |one: wire::Member| {
            let seat = Seat { node: NodeId(one.node), role: role(&one.role).unwrap_or(Role::Learner) };
            (ReplicaId(one.replica), Standing { seat, votes: one.votes, matched_index: one.matched_index })
        };
        let led = |led: wire::Led| Led {
            group: GroupId(led.group),
            term: led.term,
            members: led.members.into_iter().map(member).collect(),
        };
        let sealed = |one: wire::Sealed| ((TenantId(one.tenant), KeyEpoch(one.epoch)), one.bytes);
        let found = |wire::Found { is_failure, text, command, name }: wire::Found| Finding {
            name,
            is_failure,
            text,
            command,
        };
        Self {
            led: said.led.into_iter().map(led).collect(),
            sealed: said.sealed.into_iter().map(sealed).collect(),
            findings: said.found.into_iter().map(found).collect(),
            scrub: said.scrub.map(|one| Scrub {
                begun_ms: one.begun_ms,
                files: one.files,
                files_left: one.files_left,
                damaged: one.damaged,
            }),
            late: said.delayed.map(|one| {
                let donations = said.donations.into_iter().map(late::progress).collect();
                Late { donations, ..late::late(one) }
            }),
            is_sealed: false,
        }
    }
}

/// Where a group is on the move: who is wanted and does not belong to it yet as wanted, and who belongs to it and is not wanted.
#[must_use]
pub fn moving(wanted: &BTreeMap<ReplicaId, Seat>, led: &Led) -> (BTreeSet<ReplicaId>, BTreeSet<ReplicaId>) {
    let is_there = |(replica, seat): &(&ReplicaId, &Seat)| {
        let member = led.members.get(replica);
        member.is_some_and(|one| one.votes == (seat.role == Role::Voter))
    };
    let coming = wanted.iter().filter(|one| !is_there(one)).map(|(replica, _)| *replica).collect();
    let leaving = led.members.keys().filter(|replica| !wanted.contains_key(replica)).copied().collect();
    (coming, leaving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delayed::donate::Progress;
    use crate::finding::DISK_FULL;

    fn seat(node: u64, role: Role) -> Seat {
        Seat { node: NodeId(node), role }
    }

    fn member(node: u64, votes: bool) -> Standing {
        Standing { seat: seat(node, Role::Voter), votes, matched_index: 7 }
    }

    #[test]
    fn what_a_node_says_comes_over_the_wire() {
        let members = [
            (ReplicaId(1), member(1, true)),
            (ReplicaId(4), Standing { seat: seat(2, Role::Delayed), votes: false, matched_index: 0 }),
        ];
        let survey = Survey {
            led: vec![Led { group: GroupId(3), term: 9, members: members.into() }],
            sealed: [((TenantId(7), KeyEpoch(2)), 99)].into(),
            findings: vec![DISK_FULL.found("disk")],
            scrub: Some(Scrub { begun_ms: 5, files: 6, files_left: 7, damaged: 8 }),
            late: Some(Late {
                donations: vec![Progress { job: 9, ..Progress::default() }],
                ..Late::default()
            }),
            is_sealed: false,
        };
        let mut wire = wire::SurveyResponse::from(survey.clone());
        assert_eq!(Survey::from(wire.clone()), survey);
        wire.led[0].members[0].role = "of tomorrow".into();
        assert_eq!(Survey::from(wire).led[0].members[&ReplicaId(1)].seat.role, Role::Learner);
    }

    #[test]
    fn the_greater_term_leads() {
        let says = |term| Survey {
            led: vec![Led { group: GroupId(3), term, members: BTreeMap::new() }],
            ..Survey::default()
        };
        let all =
            Surveys([(NodeId(1), says(2)), (NodeId(2), says(5)), (NodeId(3), Survey::default())].into());
        assert_eq!(all.led(GroupId(3)).map(|(node, _)| node), Some(NodeId(2)));
        assert!(all.led(GroupId(4)).is_none() && all.hears(NodeId(3)) && !all.hears(NodeId(4)));
    }

    #[test]
    fn a_learner_that_is_to_vote_is_still_coming() {
        let wanted: BTreeMap<_, _> =
            [1, 2, 3].map(|id| (ReplicaId(id), seat(id, Role::Voter))).into_iter().collect();
        let mut members: BTreeMap<_, _> = [1, 2].map(|id| (ReplicaId(id), member(id, true))).into();
        members.insert(ReplicaId(3), member(3, false));
        members.insert(ReplicaId(9), member(9, true));
        let mut led = Led { group: GroupId(3), term: 1, members };
        assert_eq!(moving(&wanted, &led), ([ReplicaId(3)].into(), [ReplicaId(9)].into()));
        led.members.remove(&ReplicaId(9));
        led.members.insert(ReplicaId(3), member(3, true));
        assert_eq!(moving(&wanted, &led), (BTreeSet::new(), BTreeSet::new()));
        led.members.remove(&ReplicaId(3));
        assert_eq!(moving(&wanted, &led).0, [ReplicaId(3)].into());
    }
}
