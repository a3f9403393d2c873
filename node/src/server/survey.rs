//! What this node knows best, and what all the others say of themselves.

use super::Server;
use crate::finding::NODE_SEALED;
use crate::keys::coverage;
use crate::limits::SURVEY_MS;
use crate::meta::node_row::NodeState;
use crate::meta::survey::{Led, Standing, Survey, Surveys};
use crate::refused::Refused;
use crate::running::replicas::Seated;
use engine::ids::NodeId;
use futures_util::future::join_all;
use proto::errors::code;
use std::sync::Arc;
use std::time::Duration;

/// A group that is led here.
fn led(seated: &Seated) -> Option<Led> {
    let group = seated.receiver.group();
    if !group.leads() {
        return None;
    }
    let known = group.standing();
    let (_, membership) = &known.membership;
    let members = membership.seats.iter().map(|(replica, seat)| {
        let matched = known.matched.get(replica).and_then(|at| at.as_ref()).map_or(0, |at| at.index);
        let votes = membership.voters.iter().any(|voters| voters.contains(replica));
        (*replica, Standing { seat: *seat, votes, matched_index: matched })
    });
    Some(Led { group: group.id(), term: known.vote.term, members: members.collect() })
}

impl Server {
    /// What this node knows best.
    pub fn survey_here(&self) -> Survey {
        let findings = self.findings();
        let Ok(running) = self.running() else { return Survey { findings, ..Survey::default() } };
        let tablets = running.pool().tablets();
        Survey {
            led: running.replicas().iter().filter_map(|seated| led(seated)).collect(),
            sealed: coverage::sum(tablets.iter().map(|tablet| tablet.coverage())),
            findings,
            scrub: self.scrubbed.shown(),
            late: self.late(),
            is_sealed: false,
        }
    }

    /// What every node says of itself. All are asked at once; who does not answer in time is missing.
    pub async fn surveys(self: &Arc<Self>) -> Surveys {
        let meta = self.meta();
        let there = meta.nodes.values().filter(|row| row.state != NodeState::Removed && row.id != self.node);
        let asked = there.map(|row| {
            let (node, answer) = (row.id, self.forward.survey(row.id));
            async move { Some((node, heard(within(answer).await?)?)) }
        });
        let mut all: Vec<(NodeId, Survey)> = join_all(asked).await.into_iter().flatten().collect();
        all.push((self.node, self.survey_here()));
        Surveys(all.into_iter().collect())
    }
}

async fn within<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(SURVEY_MS), answer).await.ok()
}

/// What was heard of a node: one that is sealed says so by its refusal.
fn heard(answer: Result<Survey, Refused>) -> Option<Survey> {
    match answer {
        Ok(survey) => Some(survey),
        Err(refused) if refused.code == code::SEALED => {
            let findings = vec![NODE_SEALED.found(refused.text)];
            Some(Survey { findings, is_sealed: true, ..Survey::default() })
        }
        Err(_) => None,
    }
}
