//! The service `Txn`: what became of a write whose answer was lost.

use crate::access::action::Action;
use crate::api::Api;
use crate::api::convert::{self, Result};
use crate::api::guard::Call;
use crate::shard::outcome::Outcome;
use proto::v1;
use proto::v1::outcome_response::What;
use proto::v1::txn_server::Txn;
use tonic::{Request, Response, Status};

impl Api {
    /// Says what became of a write, and closes it.
    pub(super) async fn outcome(
        &self,
        call: &Call,
        asked: v1::OutcomeRequest,
    ) -> Result<v1::OutcomeResponse> {
        let at = self.enter(call, asked.place, Action::KvWrite)?;
        let id = convert::write_asked(asked.id)?;
        let what = match self.backend.outcome(at.tenant, id, call.wait_ms).await? {
            Outcome::Applied(stamp) => What::Applied(stamp.0),
            Outcome::NotApplied => What::NotApplied(v1::NotApplied {}),
            Outcome::Forgotten => What::Forgotten(v1::Forgotten {}),
        };
        Ok(v1::OutcomeResponse { what: Some(what) })
    }
}

#[tonic::async_trait]
impl Txn for Api {
    async fn outcome(
        &self,
        request: Request<v1::OutcomeRequest>,
    ) -> std::result::Result<Response<v1::OutcomeResponse>, Status> {
        let call = Call::of(&request);
        self.answered(Self::outcome(self, &call, request.into_inner()).await)
    }
}
