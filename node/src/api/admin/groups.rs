//! Raft groups.

use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::GroupStanding;
use crate::limits::VERIFY_TELL_MS;
use crate::meta::shard_row::ShardRow;
use crate::meta::survey::{Led, Surveys, moving, role_name};
use crate::server::verifying::Comparing;
use engine::ids::NodeId;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt};
use proto::v1;
use proto::v1::groups_server::Groups;
use raft::compare::verdict::Difference;
use raft::machine::range_digest::RowSum;
use raft::types::GroupId;
use std::collections::BTreeSet;
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;

/// A group: who belongs to it is said by the one that leads it, the rest by the replica here.
fn group(row: &ShardRow, led: Option<(NodeId, &Led)>, here: Option<&GroupStanding>) -> v1::Group {
    let is_meta = row.group == GroupId::META;
    let (coming, leaving) = led.map(|(_, led)| moving(&row.seats, led)).unwrap_or_default();
    let members = led.into_iter().flat_map(|(_, led)| &led.members);
    let left = members.clone().filter(|(replica, _)| !row.seats.contains_key(replica));
    let seats = row.seats.iter().map(|(replica, seat)| (replica, *seat));
    let seats = seats.chain(left.map(|(replica, member)| (replica, member.seat)));
    let replicas = seats.map(|(replica, seat)| v1::Replica {
        id: replica.0,
        node: seat.node.0,
        role: role_name(seat.role).to_owned(),
        is_coming: coming.contains(replica),
        is_leaving: leaving.contains(replica),
        matched_index: members.clone().find(|(of, _)| *of == replica).map_or(0, |(_, one)| one.matched_index),
    });
    v1::Group {
        id: row.group.0,
        start: if is_meta { 0 } else { row.start.0 },
        end: if is_meta { 0 } else { row.end.map_or(0, |end| end.0) },
        leader: led.map_or(0, |(node, _)| node.0),
        replicas: replicas.collect(),
        term: here.map_or(0, |here| here.term),
        last_index: here.map_or(0, |here| here.last_index),
        applied_index: here.map_or(0, |here| here.applied_index),
        failure: here.map(|here| here.failure.clone()).unwrap_or_default(),
    }
}

impl Api {
    pub(super) fn groups_shown(&self, surveys: &Surveys) -> Vec<v1::Group> {
        let (meta, here) = (self.backend.meta(), self.backend.groups());
        let of = |row: &ShardRow| here.iter().find(|one| one.group == row.group);
        meta.shards.values().map(|row| group(row, surveys.led(row.group), of(row))).collect()
    }
}

#[tonic::async_trait]
impl Groups for Api {
    async fn list(&self, request: Request<v1::ListGroupsRequest>) -> Answer<v1::ListGroupsResponse> {
        let listed = match allowed(&request, Action::AdminGroups) {
            Ok(_) => Ok(v1::ListGroupsResponse { groups: self.groups_shown(&self.backend.surveys().await) }),
            Err(refused) => Err(refused),
        };
        self.answered(listed)
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

    type VerifyStream = BoxStream<'static, Result<v1::VerifyGroupResponse, Status>>;

    async fn verify(&self, request: Request<v1::VerifyGroupRequest>) -> Answer<Self::VerifyStream> {
        let begun = allowed(&request, Action::AdminGroups)
            .and_then(|_| self.backend.archives()?.comparison(GroupId(request.get_ref().group)));
        self.answered(begun.map(|comparing| progress(comparing, self.clone()).boxed()))
    }
}

/// How far a comparison is, again and again; the last one says that it is done. It goes on as long as somebody listens.
fn progress(
    comparing: Comparing,
    api: Api,
) -> impl Stream<Item = Result<v1::VerifyGroupResponse, Status>> + Send {
    unfold(Some(comparing), move |comparing| {
        let backend = api.backend.clone();
        async move {
            let mut comparing = comparing?;
            let since_ms = backend.monotonic_ms();
            let mut goes_on = true;
            while goes_on && backend.monotonic_ms().saturating_sub(since_ms) < VERIFY_TELL_MS {
                goes_on = comparing.step().await;
            }
            let told = verified(&comparing, !goes_on);
            Some((Ok(told), goes_on.then_some(comparing)))
        }
    })
}

fn verified(comparing: &Comparing, is_done: bool) -> v1::VerifyGroupResponse {
    let report = comparing.report();
    let node = |replica| comparing.node_of(replica).map_or(0, |node| node.0);
    let difference = |one: &Difference| {
        let odd = one.odd();
        let sums: BTreeSet<_> = one.said.values().map(|sum| (sum.rows, sum.sum)).collect();
        let likeness = |sum: &RowSum| sums.range(..(sum.rows, sum.sum)).count();
        let held = one.said.iter().map(|(replica, sum)| v1::RowsHeld {
            replica: replica.0,
            node: node(*replica),
            rows: sum.rows,
            likeness: u32::try_from(likeness(sum)).unwrap_or(u32::MAX),
            is_odd: odd.contains(replica),
        });
        v1::RowDifference {
            tenant: one.range.tenant.0,
            collection: one.range.collection.0,
            stamp: one.at.0,
            held: held.collect(),
        }
    };
    let uncompared = report.out.iter().map(|(replica, why)| v1::UncomparedReplica {
        id: replica.0,
        node: node(*replica),
        why: why.words().to_owned(),
    });
    v1::VerifyGroupResponse {
        is_done,
        rows: report.rows,
        ranges: report.ranges,
        compared: report.replicas.iter().map(|replica| replica.0).collect(),
        uncompared: uncompared.collect(),
        differences: report.differences.iter().map(difference).collect(),
        more_differences: report.more,
        left_out: report.left_out.iter().map(|tenant| tenant.0).collect(),
    }
}
