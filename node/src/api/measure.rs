//! Counts every call that comes to a door, the refused ones among them: what was asked, what became of it, and how long it took. Gives
//! each the name of its request, and a span in the log.

use super::Api;
use crate::telemetry::calls::UnderWay;
use crate::telemetry::trace::Trace;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{self, HeaderMap};
use tower::{Layer, Service};
use tracing::Instrument;

/// Counts what comes to services.
#[derive(Clone)]
pub struct Measure(Api);

/// A service whose calls are counted.
#[derive(Clone)]
pub struct Measured<S> {
    api: Api,
    inner: S,
}

/// What a call is answered with. The code comes last.
struct Answer {
    api: Api,
    body: Body,
    call: UnderWay,
}

impl Measure {
    /// For the services of this node.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self(api)
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { api: self.0.clone(), inner }
    }
}

/// The code of gRPC in headers, if one is there.
fn code(headers: &HeaderMap) -> Option<usize> {
    headers.get("grpc-status").map(|value| {
        // What is no number is counted as unknown.
        value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
    })
}

impl<S> Service<http::Request<Body>> for Measured<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let api = self.api.clone();
        let trace = Trace::of_headers(request.headers()).unwrap_or_else(|| api.new_trace());
        request.extensions_mut().insert(trace);
        let mut call = api.begins(request.uri().path(), trace);
        let span = call.span().clone();
        let answered = span.in_scope(|| self.inner.call(request));
        let answer = async move {
            let response = answered.await?;
            let (parts, body) = response.into_parts();
            if let Some(code) = code(&parts.headers) {
                call.answered(code, api.backend().monotonic_ms());
                return Ok(http::Response::from_parts(parts, body));
            }
            Ok(http::Response::from_parts(parts, Body::new(Answer { api, body, call })))
        };
        Box::pin(trace.within(answer).instrument(span))
    }
}

impl HttpBody for Answer {
    type Data = bytes::Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let span = self.call.span().clone();
        let _entered = span.enter();
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(code) = frame.trailers_ref().and_then(code)
        {
            let now_ms = self.api.backend().monotonic_ms();
            self.call.answered(code, now_ms);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Api {
    /// Counts a call as one of `path`, under the name of its request.
    #[must_use]
    pub(super) fn begins(&self, path: &str, trace: Trace) -> UnderWay {
        self.telemetry().calls.begin(path, self.backend().monotonic_ms()).named(trace)
    }

    /// The name of a request that came without one.
    #[must_use]
    pub(super) fn new_trace(&self) -> Trace {
        Trace::made(self.backend().node(), self.next_request())
    }

    /// It was answered, or refused with this code of gRPC.
    pub(super) fn answers(&self, mut call: UnderWay, code: usize) {
        call.answered(code, self.backend().monotonic_ms());
    }

    /// Where calls are counted.
    #[must_use]
    pub(super) fn telemetry(&self) -> &Arc<crate::telemetry::Told> {
        self.backend().telemetry()
    }
}
