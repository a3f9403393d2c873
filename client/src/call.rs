//! Makes a call until it is answered, or its time is over: finds the node, learns from refusals, waits, sends the same again.

use crate::clock::{Deadline, ms};
use crate::connect::Connector;
use crate::entropy;
use crate::error::{Error, Result, code};
use crate::limits::{ATTEMPT_MS, MESSAGE_BYTES_MAX};
use crate::request_id::{RequestId, Session};
use crate::retry::{Next, Outcome, decide, is_final};
use crate::route::cache::RouteCache;
use crate::route::plain;
use crate::route::pool::{Connected, Pool};
use crate::trace::{TraceId, Traces};
use proto::errors::{Kind, RetryClass};
use proto::v1::RouteRequest;
use proto::v1::hello_client::HelloClient;
use proto::v1::kv_client::KvClient;
use proto::v1::stream_request::What;
use proto::v1::stream_response::What as Answer;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;

/// Which node is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Who leads the shard.
    Leader,
    /// Any that has a replica.
    Replica,
}

/// What all handles of a client have in common.
pub(crate) struct Link {
    pub pool: Pool,
    pub routes: Mutex<RouteCache>,
    pub admins: Mutex<RouteCache>,
    pub session: Session,
    pub traces: Traces,
    pub deadline: Duration,
}

/// The attempts of one call.
pub(crate) struct Attempts {
    pub deadline: Deadline,
    /// The name of the call, which all of them have in common.
    pub trace: TraceId,
    attempt: u32,
    hops: u32,
    /// Whether some attempt may have been applied.
    is_in_doubt: bool,
}

impl Attempts {
    /// The time counts from now on, and what failed before is forgotten.
    pub(crate) fn again(&mut self, time: Duration) {
        *self = Self { deadline: Deadline::after(time), attempt: 0, hops: 0, is_in_doubt: false, ..*self };
    }
}

impl Link {
    pub(crate) fn new(
        connector: Connector,
        endpoints: &[String],
        admins: &[String],
        deadline: Duration,
    ) -> Result<Self> {
        let seeds = |from: &[String]| Mutex::new(RouteCache::new(from.to_vec()));
        let (session, traces) = (Session::new()?, Traces::new()?);
        Ok(Self {
            pool: Pool::new(connector),
            routes: seeds(endpoints),
            admins: seeds(admins),
            session,
            traces,
            deadline,
        })
    }

    /// The attempts of a call that begins, and may take so long.
    pub(crate) fn attempts(&self, time: Duration) -> Attempts {
        let (deadline, trace) = (Deadline::after(time), self.traces.next());
        Attempts { deadline, trace, attempt: 0, hops: 0, is_in_doubt: false }
    }

    pub(crate) fn routes(&self) -> MutexGuard<'_, RouteCache> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request of the stream. With an id it is a write.
    pub(crate) async fn call(
        &self,
        tenant: &str,
        what: What,
        (aim, time, id): (Aim, Duration, Option<RequestId>),
    ) -> Result<Answer> {
        let mut attempts = self.attempts(time);
        loop {
            let mut address = String::new();
            let tried = self.attempt(tenant, aim, what.clone(), (&mut address, &attempts)).await;
            let error = match tried {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Once it is in doubt, a refusal at the door says nothing of the sending before it.
            attempts.is_in_doubt |= error.is_lost() || error.kind() == Kind::Unknown;
            if let Err(error) = self.failed(&mut attempts, tenant, &address, error).await {
                let is_unknown = id.is_some() && attempts.is_in_doubt && !is_final(error.code());
                let error = if is_unknown { unknown(error, id) } else { error.of_request(id) };
                return Err(error.of_trace(attempts.trace));
            }
        }
    }

    async fn attempt(
        &self,
        tenant: &str,
        aim: Aim,
        what: What,
        (address, attempts): (&mut String, &Attempts),
    ) -> Result<Answer> {
        let node = self.node(tenant, aim, attempts, address).await?;
        let left = attempts.deadline.left();
        // A node that is silent is left before the whole time is gone, if there is another one.
        let patience = if left > Duration::from_millis(ATTEMPT_MS * 2) {
            Duration::from_millis(ATTEMPT_MS)
        } else {
            left
        };
        match tokio::time::timeout(patience, node.calls.call(what, left, attempts.trace)).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::new(code::DEADLINE, format!("{address} did not answer in time"))),
        }
    }

    /// The node to ask, and its address.
    pub(crate) async fn node(
        &self,
        tenant: &str,
        aim: Aim,
        attempts: &Attempts,
        address: &mut String,
    ) -> Result<Connected> {
        let left = attempts.deadline.left();
        let found = async {
            *address = self.find(tenant, aim, attempts).await?;
            self.pool.node(address).await
        };
        match tokio::time::timeout(left, found).await {
            Ok(found) => found,
            Err(_) => Err(Error::new(code::UNREACHABLE, "no node was found in time")),
        }
    }

    async fn find(&self, tenant: &str, aim: Aim, attempts: &Attempts) -> Result<String> {
        let known = {
            let routes = self.routes();
            let replica = || routes.replica(tenant, entropy::number());
            if aim == Aim::Replica && attempts.attempt == 0 { replica() } else { routes.leader(tenant) }
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let Some(asked) = self.routes().any() else {
            return Err(Error::new(code::ADDRESS, "this client was given no endpoints"));
        };
        let node = self.pool.node(&asked).await?;
        let request = RouteRequest { tenant: tenant.to_owned(), ..RouteRequest::default() };
        let request = named(request, attempts.trace);
        match HelloClient::new(node.channel).route(request).await {
            Ok(response) => {
                if !self.routes().learn(tenant, response.get_ref()) {
                    let text = format!("{asked} is of an earlier generation of the cluster");
                    return Err(Error::new(code::FENCED, text));
                }
            }
            Err(status) => {
                let error = Error::from_status(status);
                if error.is_lost() {
                    self.pool.forget(&asked);
                    // Nothing was asked of the data yet.
                    return Err(Error::new(code::UNREACHABLE, format!("{asked} was lost")).because(error));
                }
                return Err(error);
            }
        }
        // Who knows no leader may know who does: the node itself answers or names another.
        let routes = self.routes();
        Ok(routes.leader(tenant).or_else(|| routes.replica(tenant, entropy::number())).unwrap_or(asked))
    }

    /// The group whose log holds the writes of a tenant.
    pub(crate) async fn group(&self, tenant: &str, time: Duration) -> Result<u64> {
        let mut attempts = self.attempts(time);
        loop {
            let address = self.routes().any();
            let Some(address) = address else {
                return Err(Error::new(code::ADDRESS, "this client was given no endpoints"));
            };
            let asked = async {
                let node = self.pool.node(&address).await?;
                let request = RouteRequest { tenant: tenant.to_owned(), ..RouteRequest::default() };
                let request = timed(request, attempts.deadline, attempts.trace);
                HelloClient::new(node.channel).route(request).await.map_err(Error::from_status)
            };
            let error = match asked.await {
                Ok(told) => match told.get_ref().shards.first() {
                    Some(shard) => return Ok(shard.group),
                    None => Error::new(code::STARTING, "the shard of the tenant is not known there yet"),
                },
                Err(error) => error,
            };
            self.failed(&mut attempts, tenant, &address, error).await?;
        }
    }

    /// Learns from a failed attempt and waits; an error, if it is not to be tried again.
    pub(crate) async fn failed(
        &self,
        attempts: &mut Attempts,
        tenant: &str,
        address: &str,
        error: Error,
    ) -> Result<()> {
        attempts.attempt += 1;
        let error = error.of_trace(attempts.trace);
        let better = plain(&error.failure().better).to_owned();
        let is_elsewhere = !better.is_empty() && better != address;
        if is_elsewhere {
            self.routes().redirect(tenant, &better);
        } else if matches!(error.class(), RetryClass::Same | RetryClass::Ask)
            || error.code() == code::SERVER_STRANGE
        {
            self.routes().doubt(tenant, address);
        }
        if error.is_lost() || error.code() == code::UNREACHABLE {
            self.pool.forget(address);
        }
        // One strange server among the seeds does not hide the others.
        let is_next_seed =
            error.code() == code::SERVER_STRANGE && (attempts.attempt as usize) < self.routes().nodes();
        let outcome = Outcome {
            class: if is_next_seed { RetryClass::Same } else { error.class() },
            attempt: attempts.attempt,
            hops: attempts.hops,
            is_elsewhere,
            told_ms: error.failure().retry_after_ms,
        };
        attempts.hops += u32::from(is_elsewhere);
        match decide(outcome, attempts.deadline.left(), entropy::number()) {
            Next::Stop => Err(error),
            Next::Wait(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }
}

/// A client for calls of their own.
pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// An answer of another kind than the question.
pub(crate) fn odd() -> Error {
    Error::new(code::INTERNAL, "the server answered another question")
}

fn unknown(last: Error, id: Option<RequestId>) -> Error {
    let text = format!("it is not known whether the write was applied; the last answer was: {last}");
    Error::new(code::UNKNOWN_OUTCOME, text).because(last).of_request(id)
}

/// A request under the name of its call, with what is left as the header of gRPC.
pub(crate) fn timed<T>(message: T, deadline: Deadline, trace: TraceId) -> Request<T> {
    let mut request = named(message, trace);
    request.set_timeout(Duration::from_millis(ms(deadline.left()).max(1)));
    request
}

/// A request under the name of its call.
pub(crate) fn named<T>(message: T, trace: TraceId) -> Request<T> {
    let mut request = Request::new(message);
    trace.name(&mut request);
    request
}
