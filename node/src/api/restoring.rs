//! What other nodes ask for a restore, and how this one asks them.

use super::Api;
use super::convert::malformed;
use super::guard::Call;
use crate::dial::Line;
use crate::refused::Refused;
use crate::restore::asked::{Answer, Ask, Page, PageAsked, PageRow, Reach};
use crate::shard::door::WriteId;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use proto::errors::code;
use proto::peer_v1 as wire;
use proto::peer_v1::restoring_client::RestoringClient;
use proto::peer_v1::restoring_server::Restoring;
use tonic::{Request, Response, Status};

fn odd() -> Refused {
    Refused::new(code::INTERNAL).saying("another question was answered")
}

fn page_asked(asked: wire::PageRequest) -> PageAsked {
    PageAsked {
        tenant: TenantId(asked.tenant),
        collection: CollectionId(asked.collection),
        start: asked.start,
        end: asked.end,
        after: asked.after,
        at: Stamp(asked.at),
        keys_only: asked.keys_only,
    }
}

fn page_told(page: Page) -> wire::PageResponse {
    let row = |row: PageRow| wire::PageRow {
        key: row.key,
        value: row.value,
        stamp: row.stamp.0,
        expires_ms: row.expires_ms,
    };
    wire::PageResponse { rows: page.rows.into_iter().map(row).collect(), next: page.next, at: page.at.0 }
}

fn page_heard(page: wire::PageResponse) -> Page {
    let row = |row: wire::PageRow| PageRow {
        key: row.key,
        value: row.value,
        stamp: Stamp(row.stamp),
        expires_ms: row.expires_ms,
    };
    Page { rows: page.rows.into_iter().map(row).collect(), next: page.next, at: Stamp(page.at) }
}

#[tonic::async_trait]
impl Restoring for Api {
    async fn page(
        &self,
        request: Request<wire::PageRequest>,
    ) -> Result<Response<wire::PageResponse>, Status> {
        let wait_ms = Call::of(&request).wait_ms;
        let ask = Ask::Page(page_asked(request.into_inner()));
        let answered = match self.backend.restoring(ask, wait_ms).await {
            Ok(Answer::Page(page)) => Ok(page_told(page)),
            Ok(_) => Err(odd()),
            Err(refused) => Err(refused),
        };
        self.answered(answered)
    }

    async fn write(
        &self,
        request: Request<wire::WriteRequest>,
    ) -> Result<Response<wire::WriteResponse>, Status> {
        let wait_ms = Call::of(&request).wait_ms;
        let wire::WriteRequest { tenant, command, session, number, valid_until_ms, is_serving } =
            request.into_inner();
        let answered = match session[..].try_into() {
            Ok(session) => {
                let id = WriteId { session, number, valid_until_ms };
                let ask = Ask::Write { tenant: TenantId(tenant), command, id, is_serving };
                self.backend.restoring(ask, wait_ms).await
            }
            Err(_) => Err(malformed("a write session has 16 bytes")),
        };
        let stamp = |answer| match answer {
            Answer::Stamp(stamp) => Ok(wire::WriteResponse { stamp: stamp.0 }),
            _ => Err(odd()),
        };
        self.answered(answered.and_then(stamp))
    }

    async fn settle(
        &self,
        request: Request<wire::SettleRequest>,
    ) -> Result<Response<wire::SettleResponse>, Status> {
        let wait_ms = Call::of(&request).wait_ms;
        let wire::SettleRequest { tenant, index } = request.into_inner();
        let ask = Ask::Settle { tenant: TenantId(tenant), index };
        let answered = match self.backend.restoring(ask, wait_ms).await {
            Ok(Answer::Settled { stamp, is_bound }) => Ok(wire::SettleResponse { stamp: stamp.0, is_bound }),
            Ok(_) => Err(odd()),
            Err(refused) => Err(refused),
        };
        self.answered(answered)
    }

    async fn count(
        &self,
        request: Request<wire::CountRequest>,
    ) -> Result<Response<wire::CountResponse>, Status> {
        let wait_ms = Call::of(&request).wait_ms;
        let wire::CountRequest { tenant, after } = request.into_inner();
        let ask = Ask::Count { tenant: TenantId(tenant), after: Stamp(after) };
        let answered = match self.backend.restoring(ask, wait_ms).await {
            Ok(Answer::Count(writes)) => Ok(wire::CountResponse { writes }),
            Ok(_) => Err(odd()),
            Err(refused) => Err(refused),
        };
        self.answered(answered)
    }

    async fn reach(
        &self,
        request: Request<wire::ReachRequest>,
    ) -> Result<Response<wire::ReachResponse>, Status> {
        let wait_ms = Call::of(&request).wait_ms;
        let ask = Ask::Reach(TenantId(request.into_inner().tenant));
        let answered = match self.backend.restoring(ask, wait_ms).await {
            Ok(Answer::Reach(Reach { oldest, newest, bytes })) => {
                Ok(wire::ReachResponse { oldest: oldest.0, newest: newest.0, bytes })
            }
            Ok(_) => Err(odd()),
            Err(refused) => Err(refused),
        };
        self.answered(answered)
    }
}

/// Asks the node at the other end of a line. `question` says how long it is waited for.
///
/// # Errors
/// What it says.
pub(super) async fn ask(line: Line, ask: Ask, question: impl Questions) -> Result<Answer, Status> {
    let max = crate::limits::MESSAGE_BYTES_MAX;
    let mut client = RestoringClient::new(line).max_decoding_message_size(max).max_encoding_message_size(max);
    Ok(match ask {
        Ask::Reach(tenant) => {
            let asked = question.ask(wire::ReachRequest { tenant: tenant.0 });
            let wire::ReachResponse { oldest, newest, bytes } = client.reach(asked).await?.into_inner();
            Answer::Reach(Reach { oldest: Stamp(oldest), newest: Stamp(newest), bytes })
        }
        Ask::Page(asked) => {
            let PageAsked { tenant, collection, start, end, after, at, keys_only } = asked;
            let (tenant, collection, at) = (tenant.0, collection.0, at.0);
            let asked = wire::PageRequest { tenant, collection, start, end, after, at, keys_only };
            Answer::Page(page_heard(client.page(question.ask(asked)).await?.into_inner()))
        }
        Ask::Write { tenant, command, id, is_serving } => {
            let WriteId { session, number, valid_until_ms } = id;
            let (tenant, session) = (tenant.0, session.to_vec().into());
            let asked = wire::WriteRequest { tenant, command, session, number, valid_until_ms, is_serving };
            Answer::Stamp(Stamp(client.write(question.ask(asked)).await?.into_inner().stamp))
        }
        Ask::Settle { tenant, index } => {
            let asked = question.ask(wire::SettleRequest { tenant: tenant.0, index });
            let wire::SettleResponse { stamp, is_bound } = client.settle(asked).await?.into_inner();
            Answer::Settled { stamp: Stamp(stamp), is_bound }
        }
        Ask::Count { tenant, after } => {
            let asked = question.ask(wire::CountRequest { tenant: tenant.0, after: after.0 });
            Answer::Count(client.count(asked).await?.into_inner().writes)
        }
    })
}

/// Makes requests of messages.
pub(super) trait Questions {
    /// One that is waited for as long as it should.
    fn ask<T>(&self, message: T) -> Request<T>;
}
