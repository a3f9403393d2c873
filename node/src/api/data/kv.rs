//! The service `Kv`: it only hands on, and makes refusals travel.

use crate::api::Api;
use crate::api::guard::Call;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use proto::v1;
use proto::v1::kv_server::Kv;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Kv for Api {
    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let call = Call::of(&request);
        self.answered(self.get(&call, request.into_inner()).await)
    }

    async fn multi_get(&self, request: Request<v1::MultiGetRequest>) -> Answer<v1::MultiGetResponse> {
        let call = Call::of(&request);
        self.answered(self.multi_get(&call, request.into_inner()).await)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::WriteResponse> {
        let call = Call::of(&request);
        self.answered(self.put(&call, request.into_inner()).await)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::WriteResponse> {
        let call = Call::of(&request);
        self.answered(self.delete(&call, request.into_inner()).await)
    }

    async fn delete_range(&self, request: Request<v1::DeleteRangeRequest>) -> Answer<v1::WriteResponse> {
        let call = Call::of(&request);
        self.answered(self.delete_range(&call, request.into_inner()).await)
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Answer<v1::WriteResponse> {
        let call = Call::of(&request);
        self.answered(self.batch(&call, request.into_inner()).await)
    }

    type ScanStream = BoxStream<'static, Result<v1::ScanPage, Status>>;

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Answer<Self::ScanStream> {
        let call = Call::of(&request);
        let scanning =
            self.scan(&call, request.into_inner()).await.map_err(|refused| self.status(&refused))?;
        let api = self.clone();
        Ok(Response::new(scanning.pages().map_err(move |refused| api.status(&refused)).boxed()))
    }

    type HistoryStream = BoxStream<'static, Result<v1::HistoryPage, Status>>;

    async fn history(&self, request: Request<v1::HistoryRequest>) -> Answer<Self::HistoryStream> {
        let call = Call::of(&request);
        let pages =
            self.history(&call, request.into_inner()).await.map_err(|refused| self.status(&refused))?;
        let api = self.clone();
        Ok(Response::new(pages.pages().map_err(move |refused| api.status(&refused)).boxed()))
    }

    async fn collections(&self, request: Request<v1::CollectionsRequest>) -> Answer<v1::CollectionsResponse> {
        let call = Call::of(&request);
        self.answered(self.collections(&call, &request.get_ref().tenant).await)
    }

    type StreamStream = BoxStream<'static, Result<v1::StreamResponse, Status>>;

    async fn stream(&self, request: Request<Streaming<v1::StreamRequest>>) -> Answer<Self::StreamStream> {
        let call = Call::of(&request);
        Ok(Response::new(Self::stream(self, call, request.into_inner()).boxed()))
    }
}
