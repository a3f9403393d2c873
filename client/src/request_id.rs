//! What makes a write harmless when it is sent again: a session of random bytes, and a number in it.

use crate::clock;
use crate::entropy;
use crate::error::Result;
use crate::limits::{NAMED_STEP_MS, NAMED_STEPS, WRITE_VALID_MS};
use bytes::Bytes;
use proto::v1::WriteId;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Names one write for ever. Two sendings of the same write under one id are applied once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The write session.
    pub session: [u8; 16],
    /// Which of its requests.
    pub number: u64,
    /// Milliseconds since 1970 after which it does not run any more.
    pub valid_until_ms: u64,
}

/// What a caller's own key is hashed behind.
const NAMED: &[u8] = b"dewpond idempotency key 1\0";

impl RequestId {
    /// The ids that a write under a key of the caller's own may have been sent with, that of now first. Only the times differ by which they
    /// end, so of all of them one is applied at most.
    pub(crate) fn named(key: &[u8], now_ms: u64) -> impl Iterator<Item = Self> + use<> {
        let hash = Sha256::new().chain_update(NAMED).chain_update(key).finalize();
        let mut session = [0; 16];
        session.copy_from_slice(&hash[..16]);
        let number = hash[16..24].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let step = now_ms / NAMED_STEP_MS;
        // Those before, and one behind it: another clock may have been ahead.
        let steps = (step + 1..=step + NAMED_STEPS).rev().chain([step + NAMED_STEPS + 1]);
        steps.map(move |step| Self { session, number, valid_until_ms: step.saturating_mul(NAMED_STEP_MS) })
    }
}

/// Gives every write of a client its id.
pub(crate) struct Session {
    session: [u8; 16],
    next: AtomicU64,
}

impl Session {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { session: entropy::bytes()?, next: AtomicU64::new(1) })
    }

    pub(crate) fn next(&self, deadline: Duration) -> RequestId {
        RequestId {
            session: self.session,
            number: self.next.fetch_add(1, Ordering::Relaxed),
            valid_until_ms: clock::now_ms()
                .saturating_add(clock::ms(deadline))
                .saturating_add(WRITE_VALID_MS),
        }
    }
}

impl From<RequestId> for WriteId {
    fn from(id: RequestId) -> Self {
        Self {
            session: Bytes::copy_from_slice(&id.session),
            number: id.number,
            valid_until_ms: id.valid_until_ms,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.session {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{}-{}", self.number, self.valid_until_ms)
    }
}

/// It is no id of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a request is 32 hexadecimal digits, a number and a time, with dashes between")]
pub struct NoRequestId;

impl FromStr for RequestId {
    type Err = NoRequestId;

    fn from_str(text: &str) -> std::result::Result<Self, NoRequestId> {
        let mut parts = text.split('-');
        let (Some(hex), Some(number), Some(until), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoRequestId);
        };
        if hex.len() != 32 || !hex.is_ascii() {
            return Err(NoRequestId);
        }
        let session = u128::from_str_radix(hex, 16).map_err(|_| NoRequestId)?.to_be_bytes();
        let number = number.parse().map_err(|_| NoRequestId)?;
        let valid_until_ms = until.parse().map_err(|_| NoRequestId)?;
        Ok(Self { session, number, valid_until_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_no_two_are_the_same() {
        let session = Session::new().unwrap();
        let (one, two) = (session.next(Duration::from_secs(5)), session.next(Duration::from_secs(5)));
        assert_ne!(one, two);
        assert_eq!(one.to_string().parse(), Ok(one));
        let now_ms = 1_764_000_000_123;
        let first: Vec<_> = RequestId::named(b"order-991", now_ms).collect();
        assert!(first.iter().all(|id| id.valid_until_ms > now_ms));
        assert!(first[0].valid_until_ms >= now_ms + 600_000, "it holds for ten minutes");
        let later: Vec<_> = RequestId::named(b"order-991", now_ms + 599_000).collect();
        assert!(later.contains(&first[0]) && later[0] != first[0], "and is found for so long");
        let other = RequestId::named(b"order-992", now_ms).next().unwrap();
        assert_ne!((other.session, other.number), (first[0].session, first[0].number));
        for bad in
            ["", "00-1-1", "zz000000000000000000000000000000-1-1", "00000000000000000000000000000000-1"]
        {
            assert_eq!(bad.parse::<RequestId>(), Err(NoRequestId));
        }
    }
}
