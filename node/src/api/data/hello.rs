//! What is asked before anything else: who serves here, and where everything is.

use super::unheard_of;
use crate::access::action::Action;
use crate::access::policy::decide;
use crate::api::Api;
use crate::api::convert::Result;
use crate::api::guard::Call;
use crate::meta::shard_row::ShardRow;
use crate::meta::view::MetaView;
use engine::ids::NodeId;
use proto::v1::hello_server::Hello;
use proto::{v1, version};
use raft::types::GroupId;
use tonic::{Request, Response, Status};

impl Api {
    fn route(&self, call: &Call, asked: &v1::RouteRequest) -> Result<v1::RouteResponse> {
        let meta = self.backend.meta();
        if asked.tenant.is_empty() {
            decide(&call.caller, Action::RouteAll, None)?;
            let data = meta.shards.values().filter(|row| row.group != GroupId::META);
            let shards = data.map(|row| self.shard(&meta, row)).collect();
            let generation = self.backend.generation();
            return Ok(v1::RouteResponse { tenant: 0, map_version: meta.version, shards, generation });
        }
        decide(&call.caller, Action::Route, Some(&asked.tenant))?;
        let row = meta.tenant_named(&asked.tenant).ok_or_else(unheard_of)?;
        let shards = meta.shard_of(row.id).map(|shard| self.shard(&meta, shard)).into_iter().collect();
        let generation = self.backend.generation();
        Ok(v1::RouteResponse { tenant: row.id.0, map_version: meta.version, shards, generation })
    }

    fn shard(&self, meta: &MetaView, row: &ShardRow) -> v1::Shard {
        let address = |node: &NodeId| meta.nodes.get(node).map(|row| row.client_address.clone());
        let leader = self.backend.leader(row.group);
        v1::Shard {
            group: row.group.0,
            start: row.start.0,
            end: row.end.map_or(0, |end| end.0),
            leader: leader.as_ref().and_then(address).unwrap_or_default(),
            // A delayed replica answers nobody.
            replicas: row.answering().filter_map(|node| address(&node)).collect(),
            ..v1::Shard::default()
        }
    }
}

#[tonic::async_trait]
impl Hello for Api {
    async fn hello(
        &self,
        _: Request<v1::HelloRequest>,
    ) -> std::result::Result<Response<v1::HelloResponse>, Status> {
        Ok(Response::new(v1::HelloResponse {
            cluster: self.backend.cluster().0.to_vec().into(),
            node: self.backend.node().0,
            protocol_min: version::PROTOCOL_MIN,
            protocol_max: version::PROTOCOL_MAX,
            features: version::FEATURES,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn route(
        &self,
        request: Request<v1::RouteRequest>,
    ) -> std::result::Result<Response<v1::RouteResponse>, Status> {
        let call = Call::of(&request);
        self.answered(Self::route(self, &call, &request.into_inner()))
    }
}
