//! Asks other nodes of the meta group, at their address for clients. Whoever answers must be that very node. What is asked for a request
//! of a client goes under the name of that.

use super::errors::failure_in;
use super::restoring::{self, Questions};
use crate::boot::peers::Known;
use crate::delayed::order::{Answer, Order, RowsAsked, RowsPage};
use crate::delayed::wire;
use crate::dial::{self, Line};
use crate::limits::{self, SURVEY_MS};
use crate::meta::forward::Forward;
use crate::meta::survey::Survey;
use crate::refused::Refused;
use crate::restore::asked::{self, Ask};
use crate::shard::door::WriteId;
use crate::telemetry::trace;
use crate::tls::{self, Tls};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{NodeId, TableId, TenantId};
use proto::errors::code;
use proto::peer_v1::delayed_client::DelayedClient;
use proto::peer_v1::meta_client::MetaClient;
use proto::peer_v1::{
    ChangeRequest, IndexRequest, ShardRequest, SurveyRequest, TableRequest, WriteRowsRequest,
};
use raft::net::link::BoxFuture;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tracing::{Instrument, Span};

/// So long a row is waited for, in milliseconds.
const ROW_MS: u64 = 2_000;

/// A channel, with what it was made for: the address, and the serial number of the certificate that was shown.
type Made = (String, Vec<u8>, Channel);

/// Finds the lines to other nodes.
pub trait Reach: Send + Sync + 'static {
    /// That to one of them, as long as it is where it is.
    ///
    /// # Errors
    /// `NO_LEADER`: where it is, is not known here.
    fn line(&self, to: NodeId) -> Result<Line, Refused>;
}

/// Asks other nodes, whatever finds the lines to them.
struct Asks(Arc<dyn Reach>);

/// Channels to other nodes. Each is made anew when the node there moves, or the certificate here is another one.
struct Channels {
    tls: Tls,
    known: Arc<RwLock<Known>>,
    made: Mutex<BTreeMap<NodeId, Made>>,
}

/// What asks other nodes, with the certificate of `tls`, at the addresses in `known`.
#[must_use]
pub fn make(tls: &Tls, known: Arc<RwLock<Known>>) -> Arc<dyn Forward> {
    over(Arc::new(Channels { tls: tls.clone(), known, made: Mutex::default() }))
}

/// What asks other nodes over the lines that `reach` finds.
#[must_use]
pub fn over(reach: Arc<dyn Reach>) -> Arc<dyn Forward> {
    Arc::new(Asks(reach))
}

impl Asks {
    fn client(&self, to: NodeId) -> Result<MetaClient<Line>, Refused> {
        self.0.line(to).map(MetaClient::new)
    }

    fn delayed(&self, to: NodeId) -> Result<DelayedClient<Line>, Refused> {
        let max = limits::MESSAGE_BYTES_MAX;
        self.0.line(to).map(|line| {
            DelayedClient::new(line).max_decoding_message_size(max).max_encoding_message_size(max)
        })
    }
}

impl Reach for Channels {
    fn line(&self, to: NodeId) -> Result<Line, Refused> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let address = known.get(&to).map(|at| at.client.clone());
        let address = address
            .ok_or_else(|| Refused::new(code::NO_LEADER).saying("where that node is, is not known here"))?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = self.tls.current().own.serial.clone();
        if let Some((.., channel)) = made.get(&to).filter(|(of, by, _)| *of == address && *by == serial) {
            return Ok(dial::line(channel.clone()));
        }
        let wrong = |error: &dyn std::fmt::Display| Refused::new(code::NO_LEADER).saying(error.to_string());
        let tls = self.tls.client(Some(to), tls::GRPC).map_err(|error| wrong(&error))?;
        let channel = dial::channel(&address, tls).map_err(|error| wrong(&error))?;
        made.insert(to, (address, serial, channel.clone()));
        Ok(dial::line(channel))
    }
}

/// What a status of another node says.
fn refused(status: &Status) -> Refused {
    match failure_in(status) {
        Some(failure) => {
            let condition = (failure.code == code::CONDITION_FAILED).then(|| {
                (failure.condition, Some(Stamp(failure.stamp)).filter(|stamp| *stamp != Stamp::ZERO))
            });
            let refused = Refused::new(failure.code).saying(failure.text).after(failure.retry_after_ms);
            Refused { condition, ..refused }
        }
        // It was not reached, or has gone meanwhile.
        None => Refused::new(code::NO_LEADER).saying(status.message()),
    }
}

/// The same of a write: where nothing was heard, it may have been done.
fn doubtful(status: &Status) -> Refused {
    match failure_in(status) {
        Some(_) => refused(status),
        None => Refused::new(code::UNKNOWN_OUTCOME).saying(status.message()),
    }
}

/// A question that is waited for so long.
fn question<T>(message: T, wait_ms: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(wait_ms));
    if let Some(header) = trace::current().and_then(|trace| trace.header().parse().ok()) {
        request.metadata_mut().insert(trace::HEADER, header);
    }
    request
}

/// Questions that are waited for so long.
struct Within(u64);

impl Questions for Within {
    fn ask<T>(&self, message: T) -> Request<T> {
        question(message, self.0)
    }
}

fn asking(to: NodeId, what: &'static str) -> Span {
    tracing::debug_span!("forward", %to, what)
}

impl Forward for Asks {
    fn change(&self, to: NodeId, command: Bytes, wait_ms: u64) -> BoxFuture<Result<Bytes, Refused>> {
        let client = self.client(to);
        let request = question(ChangeRequest { command }, wait_ms);
        let asked = async move {
            let answer = client?.change(request).await.map_err(|status| refused(&status))?;
            Ok(answer.into_inner().reply)
        };
        Box::pin(asked.instrument(asking(to, "change")))
    }

    fn shard(&self, to: NodeId, group: GroupId) -> BoxFuture<Result<Option<Bytes>, Refused>> {
        let client = self.client(to);
        let request = question(ShardRequest { group: group.0 }, ROW_MS);
        let asked = async move {
            let answer = client?.shard(request).await.map_err(|status| refused(&status))?;
            Ok(answer.into_inner().row)
        };
        Box::pin(asked.instrument(asking(to, "shard")))
    }

    fn meta_index(&self, to: NodeId, wait_ms: u64) -> BoxFuture<Result<u64, Refused>> {
        let client = self.client(to);
        let request = question(IndexRequest {}, wait_ms);
        let asked = async move {
            Ok(client?.index(request).await.map_err(|status| refused(&status))?.into_inner().index)
        };
        Box::pin(asked.instrument(asking(to, "index")))
    }

    fn survey(&self, to: NodeId) -> BoxFuture<Result<Survey, Refused>> {
        let client = self.client(to);
        let request = question(SurveyRequest {}, SURVEY_MS);
        let asked = async move {
            let answer = client?.survey(request).await.map_err(|status| refused(&status))?;
            Ok(answer.into_inner().into())
        };
        Box::pin(asked.instrument(asking(to, "survey")))
    }

    fn restoring(&self, to: NodeId, ask: Ask, wait_ms: u64) -> BoxFuture<Result<asked::Answer, Refused>> {
        let line = self.0.line(to);
        let asked = async move {
            restoring::ask(line?, ask, Within(wait_ms)).await.map_err(|status| refused(&status))
        };
        Box::pin(asked.instrument(asking(to, "restoring")))
    }

    fn table(&self, to: NodeId, table: TableId, at: u64) -> BoxFuture<Result<Bytes, Refused>> {
        let client = self.client(to);
        Box::pin(async move {
            let mut request = Request::new(TableRequest { table: table.0.to_vec().into(), at });
            request.set_timeout(Duration::from_millis(ROW_MS));
            Ok(client?.table(request).await.map_err(|status| refused(&status))?.into_inner().bytes)
        })
    }

    fn order(
        &self,
        to: NodeId,
        by: String,
        order: Order,
        wait_ms: u64,
    ) -> BoxFuture<Result<Answer, Refused>> {
        let client = self.delayed(to);
        let request = question(wire::order_sent(by, order), wait_ms);
        let asked = async move {
            let answer = client?.order(request).await.map_err(|status| refused(&status))?.into_inner();
            wire::answer_heard(answer).ok_or_else(|| Refused::new(code::INTERNAL))
        };
        Box::pin(asked.instrument(asking(to, "order")))
    }

    fn rows(&self, to: NodeId, asked: RowsAsked, wait_ms: u64) -> BoxFuture<Result<RowsPage, Refused>> {
        let client = self.delayed(to);
        let request = question(wire::rows_asked(asked), wait_ms);
        let asked = async move {
            let answer = client?.rows(request).await.map_err(|status| refused(&status))?;
            Ok(wire::page_heard(answer.into_inner()))
        };
        Box::pin(asked.instrument(asking(to, "rows")))
    }

    fn write_rows(
        &self,
        to: NodeId,
        tenant: TenantId,
        command: Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>> {
        let client = self.delayed(to);
        let WriteId { session, number, valid_until_ms } = id;
        let session = session.to_vec().into();
        let request = WriteRowsRequest { tenant: tenant.0, command, session, number, valid_until_ms };
        let request = question(request, wait_ms);
        let asked = async move {
            let answer = client?.write(request).await.map_err(|status| doubtful(&status))?;
            Ok(Stamp(answer.into_inner().stamp))
        };
        Box::pin(asked.instrument(asking(to, "write")))
    }
}
