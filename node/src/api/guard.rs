//! Stands before every handler: what the role of the caller may not do at all is refused by the path alone, before a byte of the request is
//! read. Certificates that have ended since the connection began, and those of nodes that were removed, are worth nothing here.

use super::Api;
use super::errors::failure_in;
use crate::access::action::{Action, Caller};
use crate::access::policy::check_role;
use crate::limits;
use crate::meta::node_row::NodeState;
use crate::refused::Refused;
use crate::telemetry::trace::Trace;
use engine::ids::NodeId;
use futures_util::future::{Either, Ready, ready};
use proto::errors::code;
use std::task::{Context, Poll};
use tonic::Request;
use tonic::body::Body;
use tonic::codegen::http;
use tower::{Layer, Service};

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As the certificate says.
    pub caller: Caller,
    /// Its serial number; empty without one.
    pub serial: Vec<u8>,
    /// When it ends, in seconds since 1970.
    pub ends_s: u64,
}

impl Peer {
    /// Nobody who is known.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { caller: Caller::Anonymous, serial: Vec::new(), ends_s: u64::MAX }
    }
}

/// One call: who asks, and for how long that one waits.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asks.
    pub caller: Caller,
    /// How long it may take, in milliseconds.
    pub wait_ms: u64,
    /// How long one may take whose caller does not say, in milliseconds.
    usual_ms: u64,
    /// The name of its request, if it has one.
    pub trace: Option<Trace>,
}

/// How long a call may take whose caller does not say, in milliseconds. The guard says it of every request.
#[derive(Clone, Copy)]
struct Usual(u64);

impl Call {
    /// Of a request. Whoever has no connection is nobody.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        let caller = request.extensions().get::<Peer>().map_or(Caller::Anonymous, |peer| peer.caller.clone());
        let asked = request.metadata().get("grpc-timeout").and_then(|value| timeout_ms(value.to_str().ok()?));
        let usual_ms = request.extensions().get::<Usual>().map_or(limits::CALL_MS, |usual| usual.0);
        let trace = request.extensions().get::<Trace>().copied();
        Self { caller, wait_ms: bounded(asked.unwrap_or(0), usual_ms), usual_ms, trace }
    }

    /// Of a frame of a stream, whose caller still waits so long; 0: it does not say.
    #[must_use]
    pub fn within(&self, remaining_ms: u64, trace: Option<Trace>) -> Self {
        Self { wait_ms: bounded(remaining_ms, self.usual_ms), trace, ..self.clone() }
    }
}

/// A little less than what the caller waits, so that our answer comes first.
fn bounded(asked_ms: u64, usual_ms: u64) -> u64 {
    match asked_ms {
        0 => usual_ms.clamp(1, limits::CALL_MS_MAX),
        asked_ms => asked_ms.saturating_sub((asked_ms / 20).max(1)).clamp(1, limits::CALL_MS_MAX),
    }
}

/// The deadline of gRPC: at most eight digits and a unit.
fn timeout_ms(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(number * 3_600_000),
        'M' => Some(number * 60_000),
        'S' => Some(number * 1_000),
        'm' => Some(number.max(1)),
        'u' => Some((number / 1_000).max(1)),
        'n' => Some((number / 1_000_000).max(1)),
        _ => None,
    }
}

/// Puts a guard before services.
#[derive(Clone)]
pub struct Guard(Api);

/// A service behind a guard.
#[derive(Clone)]
pub struct Guarded<S> {
    api: Api,
    inner: S,
}

impl Guard {
    /// For the services of this node.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { api: self.0.clone(), inner }
    }
}

impl Api {
    /// Whether `peer` may come to `path` at all.
    ///
    /// # Errors
    /// `CERTIFICATE_NEEDED`, `CERTIFICATE_EXPIRED`, `CERTIFICATE_REVOKED`, `NOT_ALLOWED`; `SEALED`: this node can only say how it is;
    /// `STARTING`: it has not heard of the one that asks.
    pub fn admit(&self, peer: &Peer, path: &str) -> Result<(), Refused> {
        check_role(&peer.caller, Action::of_path(path))?;
        if self.backend.now_ms() / 1_000 >= peer.ends_s {
            return Err(Refused::new(code::CERTIFICATE_EXPIRED));
        }
        let says_how_it_is =
            |action: &Action| matches!(action, Action::AdminStatus | Action::Health | Action::Reflection);
        if let Some(refused) =
            self.backend.sealed().filter(|_| !Action::of_path(path).iter().all(says_how_it_is))
        {
            return Err(refused);
        }
        let Caller::Node(node) = peer.caller else { return Ok(()) };
        let meta = self.backend.meta();
        let row = meta.nodes.get(&NodeId(node));
        let row = row.ok_or_else(|| Refused::new(code::STARTING).saying("the node is not known here yet"))?;
        // Only the authority makes a newer one: the node has renewed it, and its row does not say so yet.
        let is_good = row.state != NodeState::Removed && peer.serial >= row.certificate_serial;
        if is_good { Ok(()) } else { Err(Refused::new(code::CERTIFICATE_REVOKED)) }
    }
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(Peer::anonymous);
        match self.api.admit(&peer, request.uri().path()) {
            Ok(()) => {
                let usual = Usual(self.api.backend.live().deadline.ms());
                request.extensions_mut().insert(usual);
                Either::Right(self.inner.call(request))
            }
            Err(refused) => {
                let status = self.api.status(&refused);
                debug_assert!(failure_in(&status).is_some());
                Either::Left(ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_and_nonsense_is_none() {
        for (text, ms) in
            [("1S", 1_000), ("250m", 250), ("2M", 120_000), ("1H", 3_600_000), ("5u", 1), ("99999999n", 99)]
        {
            assert_eq!(timeout_ms(text), Some(ms), "{text}");
        }
        for text in ["", "S", "-1S", "1", "1s", "999999999S", "1é", "é"] {
            assert_eq!(timeout_ms(text), None, "{text}");
        }
        assert_eq!((bounded(0, 7_000), bounded(1, 7_000), bounded(1_000, 7_000)), (7_000, 1, 950));
        assert_eq!(bounded(u64::MAX, 7_000), limits::CALL_MS_MAX);
    }
}
