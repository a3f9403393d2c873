//! What other nodes ask of delayed nodes, and delayed nodes of the live cluster.

use super::Api;
use super::convert::malformed;
use super::guard::Call;
use crate::delayed::wire;
use crate::shard::door::WriteId;
use engine::ids::TenantId;
use proto::peer_v1::delayed_server::Delayed;
use proto::peer_v1::{
    OrderRequest, OrderResponse, RowsRequest, RowsResponse, WriteRowsRequest, WriteRowsResponse,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Delayed for Api {
    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderResponse>, Status> {
        let call = Call::of(&request);
        let done = match wire::order_heard(request.into_inner()) {
            Some((by, order)) => self.backend.order(None, by, order, call.wait_ms).await,
            None => Err(malformed("an order that is not known here")),
        };
        self.answered(done.map(|answer| wire::answer_sent(&answer)))
    }

    async fn rows(&self, request: Request<RowsRequest>) -> Result<Response<RowsResponse>, Status> {
        let call = Call::of(&request);
        let asked = wire::rows_heard(request.into_inner());
        let page = self.backend.rows(asked, call.wait_ms).await;
        self.answered(page.map(wire::page_sent))
    }

    async fn write(&self, request: Request<WriteRowsRequest>) -> Result<Response<WriteRowsResponse>, Status> {
        let call = Call::of(&request);
        let WriteRowsRequest { tenant, command, session, number, valid_until_ms } = request.into_inner();
        let written = match session[..].try_into() {
            Ok(session) => {
                let id = WriteId { session, number, valid_until_ms };
                self.backend.write_rows(TenantId(tenant), command, id, call.wait_ms).await
            }
            Err(_) => Err(malformed("a write session has 16 bytes")),
        };
        self.answered(written.map(|stamp| WriteRowsResponse { stamp: stamp.0 }))
    }
}
