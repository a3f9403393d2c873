//! Nodes: tokens for new ones, and the way out.

use super::{Api, allowed, codes};
use crate::access::action::Action;
use crate::api::convert::{Result, malformed};
use crate::api::guard::Call;
use crate::boot::token::JoinToken;
use crate::entropy::SystemEntropy;
use crate::limits;
use crate::meta::command::{Change, MetaCommand};
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::survey::Surveys;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::server::scrubbing::ASKED;
use engine::ids::NodeId;
use proto::errors::code;
use proto::v1;
use proto::v1::nodes_server::Nodes;
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;

impl Api {
    pub(super) fn node_shown(meta: &MetaView, surveys: &Surveys, row: &NodeRow) -> v1::Node {
        let replicas = meta.replicas_on(row.id);
        let state = match row.state {
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Removed => "removed",
        };
        v1::Node {
            id: row.id.0,
            name: row.name.clone(),
            region: row.region.clone(),
            state: state.to_owned(),
            peer_address: row.peer_address.clone(),
            client_address: row.client_address.clone(),
            admin_address: String::new(),
            is_heard: surveys.hears(row.id),
            replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
            delay_ms: row.delay_ms,
        }
    }

    async fn add(&self, call: &Call, asked: v1::AddNodeRequest) -> Result<v1::AddNodeResponse> {
        let valid_ms = match asked.valid_ms {
            0 => limits::TOKEN_MS,
            ms if ms <= limits::TOKEN_MS_MAX => ms,
            _ => return Err(malformed("a token holds for a week at most")),
        };
        let meta = self.backend.meta();
        let active = meta.nodes.values().filter(|row| row.state == NodeState::Active);
        let addresses: Vec<String> =
            active.map(|row| row.client_address.clone()).take(limits::TOKEN_ADDRESSES_MAX).collect();
        let authority = self.backend.authority()?.fingerprint();
        let token = JoinToken::make(self.backend.cluster(), authority, addresses, &SystemEntropy);
        let expires_ms = self.backend.now_ms().saturating_add(valid_ms);
        let command = MetaCommand::new(vec![Change::MakeToken(token.hash(), expires_ms)]);
        self.change(command, call.wait_ms, |_| code::CHANGE_REFUSED).await?;
        Ok(v1::AddNodeResponse { token: token.text(), expires_ms })
    }

    async fn node_becomes(&self, call: &Call, node: u64, state: NodeState) -> Result<v1::NodeResponse> {
        let meta = self.backend.meta();
        let row = meta.nodes.get(&NodeId(node)).ok_or_else(|| Self::unknown(code::NODE_UNKNOWN))?;
        if state == NodeState::Removed && meta.replicas_on(row.id) > 0 {
            return Err(Refused::new(code::NODE_STATE)
                .saying("it still has replicas: drain it first, and wait until it has none"));
        }
        let command = MetaCommand::new(vec![Change::SetNodeState(row.id, state)]);
        let of = codes(code::NODE_UNKNOWN, code::NODE_STATE, code::NODE_STATE);
        self.change(command, call.wait_ms, of).await?;
        let shown = Self::node_shown(&meta, &self.backend.surveys().await, &NodeRow { state, ..row.clone() });
        Ok(v1::NodeResponse { node: Some(shown), ..v1::NodeResponse::default() })
    }

    /// Every node begins a scrub once it hears of this.
    async fn ask_for_scrub(&self, call: &Call) -> Result<v1::ScrubResponse> {
        let asked_ms = self.backend.now_ms();
        let setting = Change::PutSetting(ASKED.to_owned(), Some(asked_ms.to_string()));
        self.change(MetaCommand::new(vec![setting]), call.wait_ms, |_| code::CHANGE_REFUSED).await?;
        Ok(v1::ScrubResponse { asked_ms })
    }

    async fn node_set(
        &self,
        request: Request<v1::NodeRequest>,
        state: NodeState,
    ) -> Answer<v1::NodeResponse> {
        let set = match allowed(&request, Action::AdminNodes) {
            Ok(call) => self.node_becomes(&call, request.into_inner().node, state).await,
            Err(refused) => Err(refused),
        };
        self.answered(set)
    }
}

#[tonic::async_trait]
impl Nodes for Api {
    async fn list(&self, request: Request<v1::ListNodesRequest>) -> Answer<v1::ListNodesResponse> {
        let listed = match allowed(&request, Action::AdminNodes) {
            Ok(_) => {
                let (surveys, meta) = (self.backend.surveys().await, self.backend.meta());
                let nodes = meta.nodes.values().map(|row| Self::node_shown(&meta, &surveys, row)).collect();
                Ok(v1::ListNodesResponse { nodes })
            }
            Err(refused) => Err(refused),
        };
        self.answered(listed)
    }

    async fn add(&self, request: Request<v1::AddNodeRequest>) -> Answer<v1::AddNodeResponse> {
        let made = match allowed(&request, Action::AdminNodes) {
            Ok(call) => Self::add(self, &call, request.into_inner()).await,
            Err(refused) => Err(refused),
        };
        self.answered(made)
    }

    async fn drain(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeResponse> {
        self.node_set(request, NodeState::Draining).await
    }

    async fn undrain(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeResponse> {
        self.node_set(request, NodeState::Active).await
    }

    async fn remove(&self, request: Request<v1::NodeRequest>) -> Answer<v1::NodeResponse> {
        self.node_set(request, NodeState::Removed).await
    }

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Answer<v1::ScrubResponse> {
        let asked = match allowed(&request, Action::AdminNodes) {
            Ok(call) => self.ask_for_scrub(&call).await,
            Err(refused) => Err(refused),
        };
        self.answered(asked)
    }
}
