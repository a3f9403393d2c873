//! Pure: what is asked of delayed nodes, and what they answer, in the words of the wire and back. What comes over it is trusted no further
//! than its bounds.

use super::donate::{Keys, OnConflict, Progress, Tally, Wish};
use super::note::{HoldNote, Holder};
use super::order::{Answer, Order, Row, RowsAsked, RowsPage};
use super::state::{Late, State};
use super::suspects::{Act, Burst, Commit, Slot};
use crate::limits;
use crate::takeover::order::{self as takeover, Ask};
use crate::takeover::wire as of_takeover;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use proto::peer_v1::order_request::What as Asks;
use proto::peer_v1::order_response::What as Says;
use proto::{peer_v1, v1};
use raft::types::GroupId;

/// A burst as it is told; the name of the tenant is for whoever knows it.
#[must_use]
pub fn suspect(burst: &Burst, name: &str) -> v1::Suspect {
    v1::Suspect {
        tenant: burst.tenant.0,
        name: name.to_owned(),
        act: burst.act.name().to_owned(),
        keys: burst.slot.keys,
        first: burst.slot.first.stamp.0,
        last: burst.slot.last.stamp.0,
        group: burst.slot.last.group.0,
    }
}

/// The burst that was told; of a later version's acts, a write.
#[must_use]
pub fn burst(said: &v1::Suspect) -> Burst {
    let all = [Act::Drop, Act::DeleteRange, Act::Delete, Act::Put];
    let act = all.into_iter().find(|act| act.name() == said.act).unwrap_or(Act::Put);
    let commit = |stamp| Commit { stamp: Stamp(stamp), group: GroupId(said.group) };
    let slot = Slot { keys: said.keys, first: commit(said.first), last: commit(said.last) };
    Burst { tenant: TenantId(said.tenant), act, slot }
}

/// How a node stands; which node, whoever shows it knows.
#[must_use]
pub fn node(late: &Late) -> v1::DelayedNode {
    let stamp = |stamp: Option<Stamp>| stamp.unwrap_or_default().0;
    let holder = match late.note.holder {
        Holder::Nobody => "",
        Holder::Person => "person",
        Holder::Node => "node",
    };
    v1::DelayedNode {
        state: late.state.name().to_owned(),
        delay_ms: late.delay_ms,
        gate: late.gate.0,
        received: stamp(late.received),
        limit: stamp(late.limit),
        void_until_ms: late.void_until_ms,
        apply_gap_ms: late.apply_gap_ms,
        receive_lag_ms: late.receive_lag_ms,
        pending_bytes: late.pending_bytes,
        forward_eta_ms: late.forward_eta_ms,
        runway_ms: late.runway_ms,
        stopped_by: late.stopped_by.clone(),
        holder: holder.to_owned(),
        held_ms: late.note.since_ms,
        held_by: late.note.by.clone(),
        reason: late.note.reason.clone(),
        suspect: late.suspect.as_ref().map(|one| suspect(one, "")),
        ..v1::DelayedNode::default()
    }
}

/// How a node said that it stands.
#[must_use]
pub fn late(said: v1::DelayedNode) -> Late {
    let stamp = |stamp: u64| Some(Stamp(stamp)).filter(|stamp| *stamp != Stamp::ZERO);
    let holder = match said.holder.as_str() {
        "person" => Holder::Person,
        "node" => Holder::Node,
        _ => Holder::Nobody,
    };
    Late {
        state: State::named(&said.state),
        delay_ms: said.delay_ms,
        gate: Stamp(said.gate),
        received: stamp(said.received),
        limit: stamp(said.limit),
        void_until_ms: said.void_until_ms,
        apply_gap_ms: said.apply_gap_ms,
        receive_lag_ms: said.receive_lag_ms,
        pending_bytes: said.pending_bytes,
        forward_eta_ms: said.forward_eta_ms,
        runway_ms: said.runway_ms,
        stopped_by: said.stopped_by,
        note: HoldNote {
            holder,
            since_ms: said.held_ms,
            by: said.held_by,
            reason: said.reason,
            passed: Stamp::ZERO,
        },
        suspect: said.suspect.as_ref().map(burst),
        donations: Vec::new(),
    }
}

/// A donation as it is told.
#[must_use]
pub fn donation(one: &Progress) -> peer_v1::Donation {
    let Tally { restored, same, overwritten, conflicts, extra, deleted, expired } = one.tally;
    peer_v1::Donation {
        job: one.job,
        tenant: one.tenant.0,
        before: one.before.0,
        tally: vec![restored, same, overwritten, conflicts, extra, deleted, expired],
        conflicts: one.conflicts.iter().map(|stamp| stamp.0).collect(),
        begun_ms: one.begun_ms,
        ended_ms: one.ended_ms,
        failure: one.failure.clone(),
    }
}

/// A donation that was told.
#[must_use]
pub fn progress(said: peer_v1::Donation) -> Progress {
    let at = |n: usize| said.tally.get(n).copied().unwrap_or(0);
    Progress {
        job: said.job,
        tenant: TenantId(said.tenant),
        before: Stamp(said.before),
        tally: Tally {
            restored: at(0),
            same: at(1),
            overwritten: at(2),
            conflicts: at(3),
            extra: at(4),
            deleted: at(5),
            expired: at(6),
        },
        conflicts: said
            .conflicts
            .iter()
            .take(limits::CONFLICTS_TOLD_MAX)
            .map(|stamp| Stamp(*stamp))
            .collect(),
        begun_ms: said.begun_ms,
        ended_ms: said.ended_ms,
        failure: said.failure,
    }
}

/// What becomes of keys in conflict, as it is asked.
#[must_use]
pub fn on_conflict(number: i32) -> OnConflict {
    match v1::OnConflict::try_from(number) {
        Ok(v1::OnConflict::Skip) => OnConflict::Skip,
        Ok(v1::OnConflict::Overwrite) => OnConflict::Overwrite,
        _ => OnConflict::List,
    }
}

fn wish_asked(wish: Wish) -> peer_v1::Wish {
    let Wish { tenant, keys, before, is_mirror, on_conflict } = wish;
    let asked = peer_v1::Wish {
        tenant: tenant.0,
        before: before.0,
        mirror: is_mirror,
        on_conflict: match on_conflict {
            OnConflict::List => v1::OnConflict::List,
            OnConflict::Skip => v1::OnConflict::Skip,
            OnConflict::Overwrite => v1::OnConflict::Overwrite,
        }
        .into(),
        ..peer_v1::Wish::default()
    };
    match keys {
        Keys::All => asked,
        Keys::Range(collection, start, end) => {
            peer_v1::Wish { collection: Some(collection.0), start, end, ..asked }
        }
        Keys::These(collection, keys) => peer_v1::Wish { collection: Some(collection.0), keys, ..asked },
    }
}

fn wish(asked: peer_v1::Wish) -> Option<Wish> {
    let is_key = |key: &bytes::Bytes| key.len() <= limits::KEY_BYTES_MAX;
    let is_bounded = asked.keys.len() <= limits::DONATED_KEYS_MAX && asked.keys.iter().all(is_key);
    if !is_bounded || !is_key(&asked.start) || !asked.end.as_ref().is_none_or(is_key) {
        return None;
    }
    let keys = match asked.collection.map(CollectionId) {
        None => Keys::All,
        Some(collection) if asked.keys.is_empty() => Keys::Range(collection, asked.start, asked.end),
        Some(collection) => Keys::These(collection, asked.keys),
    };
    Some(Wish {
        tenant: TenantId(asked.tenant),
        keys,
        before: Stamp(asked.before),
        is_mirror: asked.mirror,
        on_conflict: on_conflict(asked.on_conflict),
    })
}

/// An order as one node sends it to another.
#[must_use]
pub fn order_sent(by: String, order: Order) -> peer_v1::OrderRequest {
    let said = |reason| v1::HoldRequest { node: 0, reason };
    let what = match order {
        Order::Hold { reason } => Asks::Hold(said(reason)),
        Order::Release { reason } => Asks::Release(said(reason)),
        Order::Accept { reason } => Asks::Accept(said(reason)),
        Order::Forward { before, reason } => {
            Asks::Forward(v1::ForwardRequest { node: 0, before: before.0, reason })
        }
        Order::Suspects => Asks::Suspects(v1::SuspectsRequest { node: 0 }),
        Order::Donate(wish) => Asks::Donate(wish_asked(wish)),
        Order::TakeOver(Ask::Promote { target, reason, is_plan }) => {
            Asks::Promote(of_takeover::promote_sent(target, reason, is_plan))
        }
        Order::TakeOver(Ask::Tail(generation)) => Asks::Tail(v1::TailRequest { node: 0, generation }),
        Order::TakeOver(Ask::Digest(tenant, upto)) => {
            Asks::Digest(peer_v1::DigestAtRequest { tenant: tenant.0, upto: upto.0 })
        }
    };
    peer_v1::OrderRequest { by, what: Some(what) }
}

/// The order that was sent; nothing if it is none that is known here.
#[must_use]
pub fn order_heard(sent: peer_v1::OrderRequest) -> Option<(String, Order)> {
    let order = match sent.what? {
        Asks::Hold(said) => Order::Hold { reason: said.reason },
        Asks::Release(said) => Order::Release { reason: said.reason },
        Asks::Accept(said) => Order::Accept { reason: said.reason },
        Asks::Forward(said) => Order::Forward { before: Stamp(said.before), reason: said.reason },
        Asks::Suspects(_) => Order::Suspects,
        Asks::Donate(asked) => Order::Donate(wish(asked)?),
        Asks::Promote(asked) => Order::TakeOver(of_takeover::promote_heard(asked)?),
        Asks::Tail(asked) => Order::TakeOver(Ask::Tail(asked.generation)),
        Asks::Digest(asked) => Order::TakeOver(Ask::Digest(TenantId(asked.tenant), Stamp(asked.upto))),
    };
    Some((sent.by, order))
}

/// An answer as one node sends it to another.
#[must_use]
pub fn answer_sent(answer: &Answer) -> peer_v1::OrderResponse {
    let what = match answer {
        Answer::State(late) => Says::Node(node(late)),
        Answer::Suspects(bursts) => {
            let suspects = bursts.iter().map(|one| suspect(one, "")).collect();
            Says::Suspects(v1::SuspectsResponse { suspects })
        }
        Answer::Job(job) => Says::Donate(v1::DonateResponse { job: *job }),
        Answer::TakeOver(takeover::Answer::Plan(plan)) => Says::Promote(of_takeover::plan_sent(plan)),
        Answer::TakeOver(takeover::Answer::Tail(all, left_out)) => {
            Says::Tail(of_takeover::tail_sent((all, *left_out), |_| ""))
        }
        Answer::TakeOver(takeover::Answer::Digest(rows, sha256)) => {
            Says::Digest(peer_v1::DigestAtResponse { rows: *rows, sha256: sha256.to_vec().into() })
        }
    };
    peer_v1::OrderResponse { what: Some(what) }
}

/// The answer that was sent; nothing if it is none that is known here.
#[must_use]
pub fn answer_heard(sent: peer_v1::OrderResponse) -> Option<Answer> {
    Some(match sent.what? {
        Says::Node(said) => Answer::State(Box::new(late(said))),
        Says::Suspects(said) => Answer::Suspects(said.suspects.iter().map(burst).collect()),
        Says::Donate(said) => Answer::Job(said.job),
        Says::Promote(said) => Answer::TakeOver(takeover::Answer::Plan(of_takeover::plan_heard(said))),
        Says::Tail(said) => Answer::TakeOver(of_takeover::tail_heard(&said)),
        Says::Digest(said) => {
            Answer::TakeOver(takeover::Answer::Digest(said.rows, said.sha256[..].try_into().ok()?))
        }
    })
}

/// Rows that are asked for.
#[must_use]
pub fn rows_asked(asked: RowsAsked) -> peer_v1::RowsRequest {
    let RowsAsked { tenant, collection, start, end } = asked;
    peer_v1::RowsRequest { tenant: tenant.0, collection: collection.0, start, end }
}

/// The same as it is heard.
#[must_use]
pub fn rows_heard(asked: peer_v1::RowsRequest) -> RowsAsked {
    let peer_v1::RowsRequest { tenant, collection, start, end } = asked;
    RowsAsked { tenant: TenantId(tenant), collection: CollectionId(collection), start, end }
}

/// Rows that are given.
#[must_use]
pub fn page_sent(page: RowsPage) -> peer_v1::RowsResponse {
    let row = |Row { key, value, stamp, expires_ms }| peer_v1::Row { key, value, stamp: stamp.0, expires_ms };
    peer_v1::RowsResponse { rows: page.rows.into_iter().map(row).collect(), next: page.next }
}

/// The same as they are heard.
#[must_use]
pub fn page_heard(said: peer_v1::RowsResponse) -> RowsPage {
    let row =
        |peer_v1::Row { key, value, stamp, expires_ms }| Row { key, value, stamp: Stamp(stamp), expires_ms };
    RowsPage { rows: said.rows.into_iter().map(row).collect(), next: said.next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_burst() -> Burst {
        let commit = |n| Commit { stamp: Stamp(n), group: GroupId(3) };
        let slot = Slot { keys: 9, first: commit(5), last: commit(6) };
        Burst { tenant: TenantId(4), act: Act::DeleteRange, slot }
    }

    #[test]
    fn how_a_node_stands_comes_over_the_wire() {
        let note = HoldNote {
            holder: Holder::Node,
            since_ms: 4,
            by: "it".into(),
            reason: "so".into(),
            passed: Stamp::ZERO,
        };
        let one = Late {
            state: State::Forwarding,
            delay_ms: 1,
            gate: Stamp(2),
            received: Some(Stamp(3)),
            limit: Some(Stamp(5)),
            void_until_ms: 6,
            apply_gap_ms: -7,
            receive_lag_ms: 8,
            pending_bytes: 9,
            forward_eta_ms: 10,
            runway_ms: Some(11),
            stopped_by: "why".into(),
            note,
            suspect: Some(a_burst()),
            donations: Vec::new(),
        };
        assert_eq!(late(node(&one)), one);
        let bare = Late::default();
        assert_eq!(late(node(&bare)), bare);
        let tally =
            Tally { restored: 1, same: 2, overwritten: 3, conflicts: 4, extra: 5, deleted: 6, expired: 7 };
        let going = Progress {
            job: 1,
            tenant: TenantId(2),
            before: Stamp(3),
            tally,
            conflicts: vec![Stamp(8)],
            begun_ms: 9,
            ended_ms: 10,
            failure: "why".into(),
        };
        assert_eq!(progress(donation(&going)), going);
    }

    #[test]
    fn orders_and_answers_come_over_the_wire() {
        let reason = || "why".to_owned();
        let of = |keys, on_conflict| {
            Order::Donate(Wish { tenant: TenantId(7), keys, before: Stamp(8), is_mirror: true, on_conflict })
        };
        let c = CollectionId(3);
        for order in [
            Order::Hold { reason: reason() },
            Order::Release { reason: reason() },
            Order::Accept { reason: reason() },
            Order::Forward { before: Stamp(9), reason: reason() },
            Order::Suspects,
            Order::TakeOver(Ask::Tail(2)),
            Order::TakeOver(Ask::Digest(TenantId(7), Stamp(8))),
            of(Keys::All, OnConflict::List),
            of(Keys::Range(c, "a".into(), Some("b".into())), OnConflict::Skip),
            of(Keys::Range(c, bytes::Bytes::new(), None), OnConflict::Overwrite),
            of(Keys::These(c, vec!["k".into(), "l".into()]), OnConflict::List),
        ] {
            let sent = order_sent("dana".to_owned(), order.clone());
            assert_eq!(order_heard(sent), Some(("dana".to_owned(), order)));
        }
        assert_eq!(order_heard(peer_v1::OrderRequest::default()), None);
        for answer in [
            Answer::State(Box::default()),
            Answer::Suspects(vec![a_burst()]),
            Answer::Job(5),
            Answer::TakeOver(takeover::Answer::Digest(9, [7; 32])),
            Answer::TakeOver(takeover::Answer::Plan(takeover::Plan::default())),
        ] {
            assert_eq!(answer_heard(answer_sent(&answer)), Some(answer));
        }
    }

    #[test]
    fn what_is_over_its_bound_is_no_order() {
        let long = vec![0; limits::KEY_BYTES_MAX + 1];
        let wish = |keys: Vec<Vec<u8>>| peer_v1::Wish {
            collection: Some(1),
            keys: keys.into_iter().map(Into::into).collect(),
            ..peer_v1::Wish::default()
        };
        let heard = |wish| {
            order_heard(peer_v1::OrderRequest { by: String::new(), what: Some(Asks::Donate(wish)) }).is_some()
        };
        assert!(heard(wish(vec![vec![1]])));
        assert!(!heard(wish(vec![long.clone()])));
        assert!(!heard(wish(vec![vec![1]; limits::DONATED_KEYS_MAX + 1])));
        assert!(!heard(peer_v1::Wish { start: long.clone().into(), ..wish(Vec::new()) }));
        assert!(!heard(peer_v1::Wish { end: Some(long.into()), ..wish(Vec::new()) }));
    }

    #[test]
    fn rows_come_over_the_wire() {
        let row = Row { key: "k".into(), value: "v".into(), stamp: Stamp(5), expires_ms: 6 };
        let page = RowsPage { rows: vec![row], next: Some("l".into()) };
        assert!(page_heard(page_sent(page.clone())) == page);
        let asked = RowsAsked {
            tenant: TenantId(1),
            collection: CollectionId(2),
            start: "a".into(),
            end: Some("b".into()),
        };
        assert!(rows_heard(rows_asked(asked.clone())) == asked);
    }
}
