//! Delayed nodes: how they stand, and what people say to them.

use super::{Api, allowed};
use crate::access::action::{Action, Caller};
use crate::api::convert::{self, Result, malformed};
use crate::api::guard::Call;
use crate::delayed::donate::{Keys, Wish};
use crate::delayed::order::{Answer, Order};
use crate::delayed::state::Late;
use crate::delayed::suspects::Burst;
use crate::delayed::wire;
use crate::limits;
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::survey::Surveys;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::takeover::order as takeover;
use crate::takeover::wire as of_takeover;
use engine::Stamp;
use engine::ids::NodeId;
use proto::errors::code;
use proto::v1;
use proto::v1::delayed_server::Delayed;
use tonic::{Request, Response, Status};

type Answered<T> = std::result::Result<Response<T>, Status>;

/// Who asks, by name.
pub(super) fn who(call: &Call) -> String {
    match &call.caller {
        Caller::Admin(name) | Caller::Service(name) => name.clone(),
        Caller::Node(node) => NodeId(*node).to_string(),
        Caller::Anonymous => "nobody".to_owned(),
    }
}

/// A reason must be given, and have an end.
pub(super) fn reason(text: String) -> Result<String> {
    if text.trim().is_empty() {
        return Err(malformed("say why: a reason stands in the log and in the status"));
    }
    if text.len() > limits::REASON_BYTES_MAX {
        return Err(malformed("the reason is too long"));
    }
    Ok(text)
}

fn suspect(meta: &MetaView, burst: &Burst) -> v1::Suspect {
    wire::suspect(burst, meta.tenants.get(&burst.tenant).map_or("", |row| &row.name))
}

/// A node as it said that it stands; without a state if it did not answer.
fn shown(meta: &MetaView, row: &NodeRow, late: Option<&Late>) -> v1::DelayedNode {
    let known = late.map(wire::node).unwrap_or_default();
    v1::DelayedNode {
        node: row.id.0,
        name: row.name.clone(),
        region: row.region.clone(),
        delay_ms: row.delay_ms,
        suspect: late.and_then(|late| late.suspect.as_ref()).map(|burst| suspect(meta, burst)),
        ..known
    }
}

/// All delayed nodes.
pub(super) fn nodes_shown(meta: &MetaView, surveys: &Surveys) -> Vec<v1::DelayedNode> {
    let there = meta.nodes.values().filter(|row| row.is_delayed() && row.state != NodeState::Removed);
    let late = |row: &NodeRow| surveys.0.get(&row.id).and_then(|survey| survey.late.as_ref());
    there.map(|row| shown(meta, row, late(row))).collect()
}

/// What is to go back, as far as it makes sense.
fn wish(meta: &MetaView, asked: v1::DonateRequest) -> Result<Wish> {
    let tenant = meta.tenant_named(&asked.tenant).ok_or_else(|| Refused::new(code::TENANT_UNKNOWN))?.id;
    if asked.before == 0 {
        return Err(malformed("name a moment: it must be said as of when"));
    }
    let has_range = !asked.start.is_empty() || asked.end.is_some();
    let keys = if asked.collection.is_empty() {
        if has_range || !asked.keys.is_empty() {
            return Err(malformed("keys and ranges are those of a collection: name it"));
        }
        Keys::All
    } else {
        let collection = meta.collection(tenant, &asked.collection);
        let collection = collection.ok_or_else(|| malformed("the tenant has no collection of this name"))?;
        asked.keys.iter().try_for_each(|key| convert::key(key))?;
        if has_range && !asked.keys.is_empty() {
            return Err(malformed("keys or a range, not both"));
        }
        if asked.keys.len() > limits::DONATED_KEYS_MAX {
            return Err(malformed("too many keys at once: name a range"));
        }
        match asked.keys.is_empty() {
            false => Keys::These(collection, asked.keys),
            true => {
                let (start, end) = convert::range(asked.start, asked.end.unwrap_or_default())?;
                Keys::Range(collection, start, end)
            }
        }
    };
    let on_conflict = wire::on_conflict(asked.on_conflict);
    Ok(Wish { tenant, keys, before: Stamp(asked.before), is_mirror: asked.mirror, on_conflict })
}

impl Api {
    async fn order(&self, call: &Call, node: u64, order: Order) -> Result<Answer> {
        self.backend.order(Some(NodeId(node)), who(call), order, call.wait_ms).await
    }

    /// Does it, and shows the node after that.
    async fn ordered(&self, call: &Call, node: u64, order: Order) -> Result<v1::DelayedResponse> {
        let Answer::State(late) = self.order(call, node, order).await? else {
            return Err(Refused::new(code::INTERNAL));
        };
        let meta = self.backend.meta();
        let row = meta.nodes.get(&NodeId(node)).ok_or_else(|| Refused::new(code::NODE_UNKNOWN))?;
        Ok(v1::DelayedResponse { node: Some(shown(&meta, row, Some(&*late))) })
    }

    async fn said(
        &self,
        request: Request<v1::HoldRequest>,
        order: impl FnOnce(String) -> Order,
    ) -> Answered<v1::DelayedResponse> {
        let done = match allowed(&request, Action::AdminDelayed) {
            Ok(call) => {
                let v1::HoldRequest { node, reason: why } = request.into_inner();
                match reason(why) {
                    Ok(why) => self.ordered(&call, node, order(why)).await,
                    Err(refused) => Err(refused),
                }
            }
            Err(refused) => Err(refused),
        };
        self.answered(done)
    }

    async fn forwarded(&self, request: Request<v1::ForwardRequest>) -> Result<v1::DelayedResponse> {
        let call = allowed(&request, Action::AdminDelayed)?;
        let v1::ForwardRequest { node, before, reason: why } = request.into_inner();
        let order = Order::Forward { before: Stamp(before), reason: reason(why)? };
        self.ordered(&call, node, order).await
    }

    async fn suspected(&self, request: Request<v1::SuspectsRequest>) -> Result<v1::SuspectsResponse> {
        let call = allowed(&request, Action::AdminDelayed)?;
        let node = request.into_inner().node;
        let Answer::Suspects(bursts) = self.order(&call, node, Order::Suspects).await? else {
            return Err(Refused::new(code::INTERNAL));
        };
        let meta = self.backend.meta();
        Ok(v1::SuspectsResponse { suspects: bursts.iter().map(|one| suspect(&meta, one)).collect() })
    }

    async fn donated(&self, request: Request<v1::DonateRequest>) -> Result<v1::DonateResponse> {
        let call = allowed(&request, Action::AdminDelayed)?;
        let asked = request.into_inner();
        let (node, wish) = (asked.node, wish(&self.backend.meta(), asked)?);
        let Answer::Job(job) = self.order(&call, node, Order::Donate(wish)).await? else {
            return Err(Refused::new(code::INTERNAL));
        };
        Ok(v1::DonateResponse { job })
    }
}

impl Api {
    async fn promoted(&self, request: Request<v1::PromoteRequest>) -> Result<v1::PromoteResponse> {
        let call = allowed(&request, Action::AdminDelayed)?;
        let asked = request.into_inner();
        let node = asked.node;
        if !asked.plan {
            reason(asked.reason.clone())?;
            let meta = self.backend.meta();
            let name = meta.nodes.get(&NodeId(node)).map(|row| row.name.as_str());
            if name != Some(asked.confirm.as_str()) {
                return Err(Refused::new(code::PLAN_FIRST));
            }
        }
        let no_target = "say as of when it takes over: a moment, or all that it has; never both";
        let ask = of_takeover::promote_heard(asked).ok_or_else(|| malformed(no_target))?;
        match self.order(&call, node, Order::TakeOver(ask)).await? {
            Answer::TakeOver(takeover::Answer::Plan(plan)) => Ok(of_takeover::plan_sent(&plan)),
            _ => Err(Refused::new(code::INTERNAL)),
        }
    }

    async fn cut_off(&self, request: Request<v1::TailRequest>) -> Result<v1::TailResponse> {
        let call = allowed(&request, Action::AdminDelayed)?;
        let v1::TailRequest { node, generation } = request.into_inner();
        let order = Order::TakeOver(takeover::Ask::Tail(generation));
        let answer = self.order(&call, node, order).await?;
        let Answer::TakeOver(takeover::Answer::Tail(all, left_out)) = answer else {
            return Err(Refused::new(code::INTERNAL));
        };
        let meta = self.backend.meta();
        let name = |tenant| meta.tenants.get(&tenant).map_or("", |row| &*row.name);
        Ok(of_takeover::tail_sent((&all, left_out), name))
    }
}

#[tonic::async_trait]
impl Delayed for Api {
    async fn promote(&self, request: Request<v1::PromoteRequest>) -> Answered<v1::PromoteResponse> {
        let done = self.promoted(request).await;
        self.answered(done)
    }

    async fn tail(&self, request: Request<v1::TailRequest>) -> Answered<v1::TailResponse> {
        let done = self.cut_off(request).await;
        self.answered(done)
    }

    async fn list(&self, request: Request<v1::ListDelayedRequest>) -> Answered<v1::ListDelayedResponse> {
        let listed = match allowed(&request, Action::AdminDelayed) {
            Ok(_) => {
                let (surveys, meta) = (self.backend.surveys().await, self.backend.meta());
                Ok(v1::ListDelayedResponse { nodes: nodes_shown(&meta, &surveys) })
            }
            Err(refused) => Err(refused),
        };
        self.answered(listed)
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Answered<v1::DelayedResponse> {
        self.said(request, |reason| Order::Hold { reason }).await
    }

    async fn release(&self, request: Request<v1::HoldRequest>) -> Answered<v1::DelayedResponse> {
        self.said(request, |reason| Order::Release { reason }).await
    }

    async fn accept(&self, request: Request<v1::HoldRequest>) -> Answered<v1::DelayedResponse> {
        self.said(request, |reason| Order::Accept { reason }).await
    }

    async fn forward(&self, request: Request<v1::ForwardRequest>) -> Answered<v1::DelayedResponse> {
        let done = self.forwarded(request).await;
        self.answered(done)
    }

    async fn suspects(&self, request: Request<v1::SuspectsRequest>) -> Answered<v1::SuspectsResponse> {
        let done = self.suspected(request).await;
        self.answered(done)
    }

    async fn donate(&self, request: Request<v1::DonateRequest>) -> Answered<v1::DonateResponse> {
        let done = self.donated(request).await;
        self.answered(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::rows::MetaRow;
    use crate::meta::tenant_row::{CollectionRow, TenantNameRow, TenantRow};
    use engine::ids::{CollectionId, TenantId};

    fn meta() -> MetaView {
        let tenant = TenantRow { id: TenantId(9), name: "acme".into(), ..TenantRow::default() };
        let name = TenantNameRow { name: "acme".into(), tenant: TenantId(9) };
        let row = CollectionRow { tenant: TenantId(9), name: "users".into(), id: CollectionId(3) };
        let late = NodeRow { id: NodeId(7), name: "d1".into(), delay_ms: 60_000, ..NodeRow::default() };
        let usual = NodeRow { id: NodeId(8), name: "n1".into(), ..NodeRow::default() };
        let rows = [
            MetaRow::Tenant(tenant),
            MetaRow::TenantName(name),
            MetaRow::Collection(row),
            MetaRow::Node(late),
            MetaRow::Node(usual),
        ];
        MetaView::of(rows, 1)
    }

    fn asked() -> v1::DonateRequest {
        v1::DonateRequest { tenant: "acme".into(), before: 5, ..v1::DonateRequest::default() }
    }

    #[test]
    fn what_goes_back_is_named_whole_or_not_at_all() {
        let meta = meta();
        let of = |asked| wish(&meta, asked).map_err(|refused| refused.code);
        assert_eq!(of(asked()).map(|wish| (wish.tenant, wish.before)), Ok((TenantId(9), Stamp(5))));
        let users = || v1::DonateRequest { collection: "users".into(), ..asked() };
        assert!(matches!(of(users()), Ok(Wish { keys: Keys::Range(CollectionId(3), _, None), .. })));
        let keys = v1::DonateRequest { keys: vec!["k".into()], ..users() };
        assert!(matches!(of(keys.clone()), Ok(Wish { keys: Keys::These(..), .. })));
        let range = v1::DonateRequest { start: "b".into(), end: Some("c".into()), ..users() };
        assert!(matches!(of(range.clone()), Ok(Wish { keys: Keys::Range(_, _, Some(_)), .. })));
        for (bad, why) in [
            (v1::DonateRequest { tenant: "fir".into(), ..asked() }, code::TENANT_UNKNOWN),
            (v1::DonateRequest { before: 0, ..asked() }, code::MALFORMED),
            (v1::DonateRequest { collection: "x".into(), ..asked() }, code::MALFORMED),
            (v1::DonateRequest { collection: String::new(), ..keys.clone() }, code::MALFORMED),
            (v1::DonateRequest { collection: String::new(), ..range.clone() }, code::MALFORMED),
            (v1::DonateRequest { start: "b".into(), ..keys }, code::MALFORMED),
            (v1::DonateRequest { start: "d".into(), ..range }, code::RANGE_INVALID),
        ] {
            assert_eq!(of(bad.clone()).map(drop), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_reason_is_given() {
        assert!(reason("INC-1".into()).is_ok());
        assert!(reason(" ".into()).is_err() && reason("x".repeat(limits::REASON_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn delayed_nodes_are_shown_and_those_that_do_not_answer_have_no_state() {
        let meta = meta();
        let shown = nodes_shown(&meta, &Surveys::default());
        assert_eq!((shown.len(), &*shown[0].name, &*shown[0].state), (1, "d1", ""));
        let survey = crate::meta::survey::Survey { late: Some(Late::default()), ..Default::default() };
        let shown = nodes_shown(&meta, &Surveys([(NodeId(7), survey)].into()));
        assert_eq!((&*shown[0].state, shown[0].delay_ms), ("ready", 60_000));
    }
}
