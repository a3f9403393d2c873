//! Raft groups.

use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::GroupStanding;
use crate::meta::shard_row::ShardRow;
use engine::ids::NodeId;
use proto::v1;
use proto::v1::groups_server::Groups;
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;

fn group(row: &ShardRow, here: Option<&GroupStanding>) -> v1::Group {
    let is_meta = row.group == GroupId::META;
    let mut seats: BTreeMap<ReplicaId, (Seat, bool, bool)> =
        row.seats.iter().map(|(replica, seat)| (*replica, (*seat, true, false))).collect();
    for (replica, seat) in here.into_iter().flat_map(|here| &here.seats) {
        seats
            .entry(*replica)
            .and_modify(|(_, is_coming, _)| *is_coming = false)
            .or_insert((*seat, false, true));
    }
    let replica = |(replica, (seat, is_coming, is_leaving)): (ReplicaId, (Seat, bool, bool))| {
        let role = match seat.role {
            Role::Voter => "voter",
            Role::Learner => "learner",
            Role::Delayed => "delayed",
        };
        let matched = here.and_then(|here| here.matched.get(&replica)).copied();
        v1::Replica {
            id: replica.0,
            node: seat.node.0,
            role: role.to_owned(),
            is_coming: is_coming && here.is_some(),
            is_leaving,
            matched_index: matched.unwrap_or(0),
        }
    };
    v1::Group {
        id: row.group.0,
        start: if is_meta { 0 } else { row.start.0 },
        end: if is_meta { 0 } else { row.end.map_or(0, |end| end.0) },
        leader: here.and_then(|here| here.leader).map_or(0, |node| node.0),
        replicas: seats.into_iter().map(replica).collect(),
        term: here.map_or(0, |here| here.term),
        last_index: here.map_or(0, |here| here.last_index),
        applied_index: here.map_or(0, |here| here.applied_index),
        failure: here.map(|here| here.failure.clone()).unwrap_or_default(),
    }
}

impl Api {
    pub(super) fn groups_shown(&self) -> Vec<v1::Group> {
        let (meta, here) = (self.backend.meta(), self.backend.groups());
        let of = |row: &ShardRow| here.iter().find(|one| one.group == row.group);
        meta.shards.values().map(|row| group(row, of(row))).collect()
    }
}

#[tonic::async_trait]
impl Groups for Api {
    async fn list(&self, request: Request<v1::ListGroupsRequest>) -> Answer<v1::ListGroupsResponse> {
        let listed = allowed(&request, Action::AdminGroups);
        self.answered(listed.map(|_| v1::ListGroupsResponse { groups: self.groups_shown() }))
    }

    async fn transfer(&self, request: Request<v1::TransferRequest>) -> Answer<v1::TransferResponse> {
        let moved = match allowed(&request, Action::AdminGroups) {
            Ok(_) => {
                let asked = request.into_inner();
                self.backend.transfer(GroupId(asked.group), NodeId(asked.node)).await
            }
            Err(refused) => Err(refused),
        };
        self.answered(moved.map(|()| v1::TransferResponse {}))
    }
}
