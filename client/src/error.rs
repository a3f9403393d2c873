//! What can go wrong, for whoever calls: a kind that says what to do, a code that says what happened.

use crate::request_id::RequestId;
use crate::stamp::Stamp;
use crate::trace::TraceId;
use prost::Message;
use proto::errors::{Entry, RetryClass, find};
pub use proto::errors::{Kind, code};
use proto::v1::Failure;
use std::fmt;
use std::time::Duration;
use tonic::Status;

/// In the trailers of a call that failed: the message `Failure`.
pub(crate) const FAILURE: &str = "dewpond-failure-bin";

/// What most of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether the same may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// It fails again.
    Never,
    /// Only after reading what there is now.
    Reread,
    /// The same, after so long.
    Same(Duration),
    /// The same request under its own id: it is applied once at most, and answered with its outcome.
    Ask,
}

/// Why something failed.
pub struct Error(Box<Parts>);

struct Parts {
    failure: Failure,
    is_lost: bool,
    request: Option<RequestId>,
    trace: Option<TraceId>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(code: u32, text: impl Into<String>) -> Self {
        Self::failed(Failure { code, text: text.into(), ..Failure::default() })
    }

    /// An error of the application's own, for closures of transactions that give up.
    #[must_use]
    pub fn local(code: u32, text: impl Into<String>) -> Self {
        Self::new(code, text)
    }

    pub(crate) fn failed(failure: Failure) -> Self {
        Self(Box::new(Parts { failure, is_lost: false, request: None, trace: None, source: None }))
    }

    /// The connection ended when the request was on its way: nobody knows whether it arrived.
    pub(crate) fn lost() -> Self {
        let mut error = Self::new(code::UNREACHABLE, "the connection was lost before the answer came");
        error.0.is_lost = true;
        error
    }

    /// What a call of gRPC ended with.
    pub(crate) fn from_status(status: Status) -> Self {
        let told = status.metadata().get_bin(FAILURE).and_then(|value| value.to_bytes().ok());
        if let Some(failure) = told.and_then(|bytes| Failure::decode(bytes).ok()) {
            return Self::failed(failure);
        }
        use tonic::Code;
        match status.code() {
            Code::DeadlineExceeded => Self::new(code::DEADLINE, "the server did not finish in time"),
            Code::Unauthenticated => Self::new(code::CERTIFICATE_NEEDED, status.message()),
            Code::PermissionDenied => Self::new(code::NOT_ALLOWED, status.message()),
            Code::Unimplemented => Self::new(code::FEATURE_MISSING, "the server does not know this call"),
            Code::InvalidArgument | Code::OutOfRange => Self::new(code::MALFORMED, status.message()),
            Code::ResourceExhausted => Self::new(code::OVERLOADED, status.message()),
            Code::Internal | Code::DataLoss if status.metadata().contains_key("content-type") => {
                Self::new(code::INTERNAL, status.message())
            }
            _ => Self::lost().because(status),
        }
    }

    pub(crate) fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    pub(crate) fn of_request(mut self, id: Option<RequestId>) -> Self {
        self.0.request = id;
        self
    }

    pub(crate) fn of_trace(mut self, trace: TraceId) -> Self {
        self.0.trace = Some(trace);
        self
    }

    pub(crate) fn failure(&self) -> &Failure {
        &self.0.failure
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.is_lost
    }

    pub(crate) fn class(&self) -> RetryClass {
        self.entry().map_or(RetryClass::Never, |entry| entry.retry)
    }

    fn entry(&self) -> Option<&'static Entry> {
        find(self.0.failure.code)
    }

    /// What to do. A code that is newer than this build counts as internal.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.entry().map_or(Kind::Internal, |entry| entry.kind)
    }

    /// What happened: one of [`code`].
    #[must_use]
    pub fn code(&self) -> u32 {
        self.0.failure.code
    }

    /// Whether the same may be asked again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.class() {
            RetryClass::Reread => Retry::Reread,
            RetryClass::Ask => Retry::Ask,
            RetryClass::Same => Retry::Same(Duration::from_millis(self.0.failure.retry_after_ms)),
            _ => Retry::Never,
        }
    }

    /// What to do, in words.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.entry().map_or("upgrade this client: the server is newer", |entry| entry.action)
    }

    /// Of a write whose outcome is not known: its id. The same write under the same id is applied once at most.
    #[must_use]
    pub fn request_id(&self) -> Option<RequestId> {
        self.0.request
    }

    /// Names the call, with all its attempts, in the logs of every server it came to. Nothing, if it never left.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        self.0.trace
    }

    /// Names the refusal in the logs of the server; 0 if none answered.
    #[must_use]
    pub fn server_request(&self) -> u64 {
        self.0.failure.request
    }

    /// Of a failed condition: which one, from 0, and the newest stamp of its key, if there is one.
    #[must_use]
    pub fn condition(&self) -> Option<(u32, Option<Stamp>)> {
        let Failure { code, condition, stamp, .. } = self.0.failure;
        (code == code::CONDITION_FAILED).then(|| (condition, (stamp != 0).then_some(Stamp(stamp))))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0.failure.text;
        match self.entry() {
            Some(entry) if text.is_empty() => write!(f, "{}: {}", entry.label(), entry.says),
            Some(entry) => write!(f, "{}: {text}", entry.label()),
            None => write!(f, "DEW-{:04}: {text}", self.0.failure.code),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self}; {:?}", self.kind())?;
        if let Some(trace) = self.0.trace {
            write!(f, "; trace {trace}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, "; {source}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::{MetadataMap, MetadataValue};

    #[test]
    fn what_the_trailer_says_counts_more_than_the_status() {
        let failure = Failure { code: code::CONDITION_FAILED, condition: 2, stamp: 9, ..Failure::default() };
        let mut trailers = MetadataMap::new();
        trailers.insert_bin(FAILURE, MetadataValue::from_bytes(&failure.encode_to_vec()));
        let error = Error::from_status(Status::with_metadata(tonic::Code::Aborted, "x", trailers));
        assert_eq!((error.kind(), error.retry()), (Kind::Conflict, Retry::Reread));
        assert_eq!(error.condition(), Some((2, Some(Stamp(9)))));
        assert!(error.to_string().starts_with("DEW-1010: a condition"), "{error}");
    }

    #[test]
    fn a_status_without_a_trailer_is_a_loss_or_a_refusal() {
        let of = |code| Error::from_status(Status::new(code, "x"));
        assert!(of(tonic::Code::Unavailable).is_lost());
        assert!(of(tonic::Code::Unknown).is_lost());
        assert_eq!(of(tonic::Code::PermissionDenied).code(), code::NOT_ALLOWED);
        assert_eq!(of(tonic::Code::DeadlineExceeded).kind(), Kind::Unknown);
    }

    #[test]
    fn a_code_of_a_newer_server_is_shown() {
        let error = Error::new(7777, "something new");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Internal, "DEW-7777: something new"));
    }
}
