//! The name of a request: a client makes it, or the node that it comes to. It travels in the metadata, as the header `traceparent` of W3C
//! Trace Context, or in the frame of a stream; from there to every other node that is asked for it. So the lines that nodes write about
//! one request are found by one name. It says nothing of what was asked.

use bytes::Bytes;
use engine::ids::NodeId;
use std::fmt;
use std::future::Future;
use tonic::codegen::http::HeaderMap;

/// The header, and the key of the metadata.
pub const HEADER: &str = "traceparent";
/// Bytes of the header in version 00; a later version may have more behind them.
const HEADER_BYTES: usize = 55;

tokio::task_local! {
    static CURRENT: Trace;
}

/// The name of a request. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u128);

impl Trace {
    /// That of the request of this number, which comes to a node without a name.
    #[must_use]
    pub fn made(node: NodeId, number: u64) -> Self {
        Self((u128::from(node.0) << 64 | u128::from(number)).max(1))
    }

    /// That of a frame: 16 bytes, of which not all are zero.
    #[must_use]
    pub fn of_frame(bytes: &Bytes) -> Option<Self> {
        let bytes: [u8; 16] = bytes[..].try_into().ok()?;
        Some(Self(u128::from_be_bytes(bytes))).filter(|trace| trace.0 != 0)
    }

    /// That in headers. Whatever is not as the standard says is none.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(HEADER)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.split('-');
        let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_whole = text.len() == HEADER_BYTES || (version != "00" && text.len() > HEADER_BYTES);
        let lengths = [version, id, parent, flags].map(str::len);
        if !is_whole || lengths != [2, 32, 16, 2] || version == "ff" {
            return None;
        }
        if ![version, id, parent, flags].into_iter().all(is_hex) || u64::from_str_radix(parent, 16) == Ok(0) {
            return None;
        }
        u128::from_str_radix(id, 16).ok().filter(|id| *id != 0).map(Self)
    }

    /// As a header. Who asks has no name of its own beside that of the request.
    #[must_use]
    pub fn header(self) -> String {
        let parent = u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or_default().max(1);
        format!("00-{self}-{parent:016x}-00")
    }

    /// Does `work` for the request of this name.
    pub fn within<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

/// The request for which this is done, if it is done for one.
#[must_use]
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|trace| *trace).ok()
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_as_the_standard_says() {
        let trace = Trace::parse(GOOD).unwrap();
        assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(Trace::parse(&trace.header()), Some(trace));
        let later = format!("01{}-more", &GOOD[2..]);
        assert_eq!(Trace::parse(&later), Some(trace), "of a later version the beginning is read");
        for bad in [
            "",
            "00",
            &GOOD[1..],
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &GOOD.to_uppercase(),
            &GOOD.replace("00-4b", "ff-4b"),
            &GOOD.replace("4bf9", "4bg9"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e473\u{e9}"),
            &GOOD.replace('-', "+"),
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_frame_has_sixteen_bytes_or_no_name() {
        let named = Trace::of_frame(&Bytes::from_static(&[7; 16])).unwrap();
        assert_eq!(named.to_string(), "07".repeat(16));
        for bad in [&[][..], &[7; 15], &[7; 17], &[0; 16]] {
            assert_eq!(Trace::of_frame(&Bytes::copy_from_slice(bad)), None);
        }
    }

    #[test]
    fn every_number_of_a_node_is_a_name_of_its_own() {
        let made = Trace::made(NodeId(0xa), 0xb);
        assert_eq!(made.to_string(), "000000000000000a000000000000000b");
        assert_eq!(Trace::parse(&made.header()), Some(made));
        assert_eq!(Trace::parse(&Trace::made(NodeId(0), 0).header()), Some(Trace(1)));
    }

    #[tokio::test]
    async fn whatever_is_done_for_a_request_knows_its_name() {
        assert_eq!(current(), None);
        let (one, two) = (Trace(1), Trace(2));
        let inner = async {
            tokio::task::yield_now().await;
            current()
        };
        let outer = one.within(async { (two.within(inner).await, current()) });
        assert_eq!((outer.await, current()), ((Some(two), Some(one)), None));
    }
}
