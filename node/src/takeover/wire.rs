//! Pure: what is asked of a node that is to take over, and what it answers, in the words of the wire and back.

use super::order::{Answer, Ask, Plan, Target};
use super::tail::Lost;
use crate::limits;
use engine::Stamp;
use engine::ids::{NodeId, TenantId};
use proto::v1;
use raft::types::GroupId;

/// A promotion as it is asked.
#[must_use]
pub fn promote_sent(target: Target, reason: String, is_plan: bool) -> v1::PromoteRequest {
    let (upto, newest) = match target {
        Target::Upto(upto) => (upto.0, false),
        Target::Newest => (0, true),
    };
    v1::PromoteRequest { node: 0, upto, newest, reason, plan: is_plan, confirm: String::new() }
}

/// The promotion that was asked for; nothing if it does not say as of when.
#[must_use]
pub fn promote_heard(asked: v1::PromoteRequest) -> Option<Ask> {
    let v1::PromoteRequest { upto, newest, reason, plan, .. } = asked;
    let target = match (upto, newest) {
        (0, true) => Target::Newest,
        (upto, false) if upto != 0 => Target::Upto(Stamp(upto)),
        _ => return None,
    };
    (reason.len() <= limits::REASON_BYTES_MAX).then_some(Ask::Promote { target, reason, is_plan: plan })
}

/// A plan as it is told.
#[must_use]
pub fn plan_sent(plan: &Plan) -> v1::PromoteResponse {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    v1::PromoteResponse {
        generation: plan.generation,
        upto: plan.upto.0,
        gate: plan.gate.0,
        received: plan.received.unwrap_or_default().0,
        lost_ms: plan.lost_ms,
        pending_bytes: plan.pending_bytes,
        living: ids(&plan.living),
        silent: ids(&plan.silent),
        decided: plan.is_decided,
    }
}

/// The plan that was told.
#[must_use]
pub fn plan_heard(said: v1::PromoteResponse) -> Plan {
    let ids = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
    Plan {
        generation: said.generation,
        upto: Stamp(said.upto),
        gate: Stamp(said.gate),
        received: Some(Stamp(said.received)).filter(|stamp| *stamp != Stamp::ZERO),
        lost_ms: said.lost_ms,
        pending_bytes: said.pending_bytes,
        living: ids(said.living),
        silent: ids(said.silent),
        is_decided: said.decided,
    }
}

fn lost_sent(lost: &Lost, name: &str) -> v1::LostWrites {
    v1::LostWrites {
        tenant: lost.tenant.0,
        name: name.to_owned(),
        group: lost.group.0,
        puts: lost.puts,
        deletes: lost.deletes,
        range_deletes: lost.range_deletes,
        first: lost.first.0,
        last: lost.last.0,
    }
}

fn lost_heard(said: &v1::LostWrites) -> Lost {
    Lost {
        tenant: TenantId(said.tenant),
        group: GroupId(said.group),
        puts: said.puts,
        deletes: said.deletes,
        range_deletes: said.range_deletes,
        first: Stamp(said.first),
        last: Stamp(said.last),
    }
}

/// What was cut off, with how many rows there is no room for; `name` names a tenant for whoever knows it.
#[must_use]
pub fn tail_sent<'a>(
    (all, left_out): (&[Lost], u64),
    name: impl Fn(TenantId) -> &'a str,
) -> v1::TailResponse {
    let told = all.iter().take(limits::TAIL_TOLD_MAX);
    let tenants: Vec<_> = told.map(|one| lost_sent(one, name(one.tenant))).collect();
    let left_out = left_out + (all.len() - tenants.len()) as u64;
    v1::TailResponse { tenants, left_out }
}

/// What was cut off, as it was told.
#[must_use]
pub fn tail_heard(said: &v1::TailResponse) -> Answer {
    let all: Vec<Lost> = said.tenants.iter().take(limits::TAIL_TOLD_MAX).map(lost_heard).collect();
    let left_out = said.left_out.saturating_add((said.tenants.len() - all.len()) as u64);
    Answer::Tail(all, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_says_as_of_when_or_is_none() {
        for target in [Target::Upto(Stamp(5)), Target::Newest] {
            let sent = promote_sent(target, "why".into(), true);
            assert_eq!(
                promote_heard(sent),
                Some(Ask::Promote { target, reason: "why".into(), is_plan: true })
            );
        }
        for (upto, newest) in [(0, false), (5, true)] {
            let asked = v1::PromoteRequest { upto, newest, ..v1::PromoteRequest::default() };
            assert_eq!(promote_heard(asked), None, "{upto} {newest}");
        }
        let long = promote_sent(Target::Newest, "x".repeat(limits::REASON_BYTES_MAX + 1), false);
        assert_eq!(promote_heard(long), None);
    }

    #[test]
    fn plans_and_tails_come_over_the_wire() {
        let plan = Plan {
            generation: 2,
            upto: Stamp(3),
            gate: Stamp(1),
            received: Some(Stamp(4)),
            lost_ms: 5,
            pending_bytes: 6,
            living: vec![NodeId(7)],
            silent: vec![NodeId(8), NodeId(9)],
            is_decided: true,
        };
        for plan in [plan, Plan::default()] {
            assert_eq!(plan_heard(plan_sent(&plan)), plan);
        }
        let lost = Lost {
            tenant: TenantId(1),
            group: GroupId(2),
            puts: 3,
            deletes: 4,
            range_deletes: 5,
            first: Stamp(6),
            last: Stamp(7),
        };
        let sent = tail_sent((std::slice::from_ref(&lost), 0), |_| "acme");
        assert_eq!(sent.tenants[0].name, "acme");
        assert_eq!(tail_heard(&sent), Answer::Tail(vec![lost.clone()], 0));
        // What there is no room for is counted, by whoever leaves it out.
        let many = vec![lost; limits::TAIL_TOLD_MAX + 7];
        let sent = tail_sent((&many, 5), |_| "");
        assert_eq!((sent.tenants.len(), sent.left_out), (limits::TAIL_TOLD_MAX, 12));
        let Answer::Tail(told, left_out) = tail_heard(&sent) else { panic!("another answer") };
        assert_eq!((told.len(), left_out), (limits::TAIL_TOLD_MAX, 12));
    }
}
