//! Lets a new node in: the token that it shows is the proof.

use crate::api::Api;
use crate::api::convert::{self, malformed};
use crate::api::guard::Call;
use crate::limits;
use crate::server::joining::Newcomer;
use proto::v1;
use proto::v1::join_server::Join;
use tonic::{Request, Response, Status};

impl Api {
    async fn join(&self, call: &Call, asked: v1::JoinRequest) -> convert::Result<v1::JoinResponse> {
        convert::name(&asked.name)?;
        convert::name(&asked.region)?;
        let addresses = [&asked.peer_address, &asked.client_address];
        if addresses
            .iter()
            .any(|at| at.is_empty() || at.len() > limits::ADDRESS_BYTES_MAX || at.contains(' '))
        {
            return Err(malformed("an address is host and port"));
        }
        let newcomer = Newcomer {
            secret: asked.secret.to_vec(),
            request: asked.request,
            name: asked.name,
            region: asked.region,
            peer_address: asked.peer_address,
            client_address: asked.client_address,
            delay_ms: asked.delay_ms,
        };
        let let_in = self.backend.admit(newcomer, call.wait_ms).await?;
        let peers = let_in.peers.into_iter().map(|(node, at)| v1::PeerAddress {
            node: node.0,
            address: at.peer,
            client_address: at.client,
        });
        Ok(v1::JoinResponse {
            node: let_in.node.0,
            cluster: let_in.cluster.0.to_vec().into(),
            generation: let_in.generation,
            authority: let_in.authority,
            certificate: let_in.certificate,
            root: let_in.root.into(),
            peers: peers.collect(),
        })
    }
}

#[tonic::async_trait]
impl Join for Api {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let call = Call::of(&request);
        self.answered(Self::join(self, &call, request.into_inner()).await)
    }
}
