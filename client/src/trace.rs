//! The name of a call: it travels with all its attempts, from node to node, and stands in their logs. On a stream in each frame, else as the
//! header `traceparent` of W3C Trace Context.

use crate::entropy;
use crate::error::Result;
use bytes::Bytes;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The key of the metadata.
const HEADER: &str = "traceparent";

/// Names one call in the logs of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// Gives every call of a client its name.
pub(crate) struct Traces {
    first: u128,
    next: AtomicU64,
}

impl Traces {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { first: u128::from_be_bytes(entropy::bytes()?), next: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> TraceId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Zero alone is no name.
        TraceId(self.first.wrapping_add(number.into()).max(1))
    }
}

impl TraceId {
    /// As a frame carries it.
    pub(crate) fn bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    /// Names a call of its own.
    pub(crate) fn name<T>(self, request: &mut tonic::Request<T>) {
        let parent = u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or_default().max(1);
        if let Ok(header) = format!("00-{self}-{parent:016x}-00").parse() {
            request.metadata_mut().insert(HEADER, header);
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_name_of_its_own() {
        let traces = Traces { first: u128::MAX, next: AtomicU64::new(0) };
        let [one, two, three] = [(); 3].map(|()| traces.next());
        assert_eq!((one.to_string(), two.0, three.0), ("f".repeat(32), 1, 1), "zero is no name");
        let other = Traces::new().unwrap();
        assert_ne!((other.next(), other.next()), (one, one));
        assert_eq!(TraceId(7).bytes()[..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        let mut request = tonic::Request::new(());
        TraceId(0xab).name(&mut request);
        let header = request.metadata().get(HEADER).unwrap().to_str().unwrap();
        assert_eq!(header, "00-000000000000000000000000000000ab-00000000000000ab-00");
    }
}
