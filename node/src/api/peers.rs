//! What other nodes ask of the meta group.

use super::Api;
use super::convert::malformed;
use super::guard::Call;
use engine::ids::TableId;
use proto::peer_v1::meta_server::Meta;
use proto::peer_v1::{
    ChangeRequest, ChangeResponse, IndexRequest, IndexResponse, ShardRequest, ShardResponse, SurveyRequest,
    SurveyResponse, TableRequest, TableResponse,
};
use raft::types::GroupId;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Meta for Api {
    async fn change(&self, request: Request<ChangeRequest>) -> Result<Response<ChangeResponse>, Status> {
        let call = Call::of(&request);
        let reply = self.backend.change_here(request.into_inner().command, call.wait_ms).await;
        self.answered(reply.map(|reply| ChangeResponse { reply }))
    }

    async fn shard(&self, request: Request<ShardRequest>) -> Result<Response<ShardResponse>, Status> {
        let meta = self.backend.meta();
        let row = meta.shards.get(&GroupId(request.into_inner().group)).map(|row| row.value().into());
        Ok(Response::new(ShardResponse { row }))
    }

    async fn index(&self, request: Request<IndexRequest>) -> Result<Response<IndexResponse>, Status> {
        let call = Call::of(&request);
        let index = self.backend.meta_index(call.wait_ms).await;
        self.answered(index.map(|index| IndexResponse { index }))
    }

    async fn survey(&self, _: Request<SurveyRequest>) -> Result<Response<SurveyResponse>, Status> {
        Ok(Response::new(self.backend.survey().into()))
    }

    async fn table(&self, request: Request<TableRequest>) -> Result<Response<TableResponse>, Status> {
        let TableRequest { table, at } = request.into_inner();
        let read = match table[..].try_into() {
            Ok(id) => self.backend.table(TableId(id), at).await,
            Err(_) => Err(malformed("the id of a table has 16 bytes")),
        };
        self.answered(read.map(|bytes| TableResponse { bytes }))
    }
}
