//! Pure: what makes a retried request harmless. Its first reply is kept as a row of the tenant, sealed, split, moved and shipped as any
//! other, until no retry may come any more. It leaves by the engine's own expiry, which goes by the stamps of entries: so every replica
//! forgets it at the same entry.
//! Format: once_row, `docs/formats/once_row.md`.

use crate::command::Session;
use crate::limits;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::ids::CollectionId;
use engine::wire::{Reader, append_bytes32};

/// The collection of every tenant in which replies are kept; no client may use it.
pub const COLLECTION: CollectionId = CollectionId(u32::MAX);
/// Version of the rows this build writes.
pub const VERSION: u8 = 1;

/// A request that must not run twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose; all zeros if it may run twice.
    pub session: Session,
    /// Which of the session's.
    pub number: u64,
    /// After this stamp it must not run.
    pub valid_until: Stamp,
}

/// What is to be done with a request that comes at a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may run twice: run it.
    Run,
    /// Look whether it has run; if not, run it and keep its reply.
    RunOnce,
    /// It is too late: a reply that was kept may be gone.
    Expired,
    /// It wants to be remembered for too long.
    WindowTooLong,
}

impl Request {
    /// The user key of its row.
    #[must_use]
    pub fn key(&self) -> [u8; 24] {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&self.session);
        key[16..].copy_from_slice(&self.number.to_be_bytes());
        key
    }

    /// When its row expires, in milliseconds since 1970: not before the last stamp at which it may run.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.valid_until.ms() + 1
    }

    /// What is to be done with it at `now`.
    #[must_use]
    pub fn decide(&self, now: Stamp) -> Decision {
        if self.session == Session::default() {
            Decision::Run
        } else if now > self.valid_until {
            Decision::Expired
        } else if self.valid_until.ms() > now.ms().saturating_add(limits::RETRY_WINDOW_MS_MAX) {
            Decision::WindowTooLong
        } else {
            Decision::RunOnce
        }
    }
}

/// The row in which a reply is kept.
#[must_use]
pub fn encode(reply: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    append_bytes32(&mut out, reply);
    out
}

/// The reply that was kept.
///
/// # Errors
/// `Malformed`.
pub fn decode(row: &[u8]) -> Result<&[u8], Damage> {
    let mut reader = Reader::new(row);
    if reader.u8()? != VERSION {
        return Err(Damage::of(Nature::Malformed, "a kept reply of an unknown version"));
    }
    let reply = reader.bytes32(limits::REPLY_BYTES_MAX)?;
    reader.end()?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(session: u8, valid_until: Stamp) -> Request {
        Request { session: [session; 16], number: 7, valid_until }
    }

    #[test]
    fn a_row_outlives_every_stamp_at_which_its_request_may_run() {
        for until in [Stamp::new(1_000, 0), Stamp::new(1_000, u16::MAX)] {
            let request = request(1, until);
            assert_eq!(request.decide(until), Decision::RunOnce);
            assert!(request.expires_ms() > until.ms(), "it is still there at the last stamp");
            assert_eq!(request.decide(until.next()), Decision::Expired);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Stamp::new(1_000_000, 5);
        let edge = Stamp::new(now.ms() + limits::RETRY_WINDOW_MS_MAX, 0);
        assert_eq!(request(1, edge).decide(now), Decision::RunOnce);
        assert_eq!(request(1, Stamp::new(edge.ms() + 1, 0)).decide(now), Decision::WindowTooLong);
        assert_eq!(request(0, Stamp::ZERO).decide(now), Decision::Run);
    }

    #[test]
    fn replies_come_back() {
        for reply in [&b""[..], b"stored", &[7; 1_000]] {
            assert_eq!(decode(&encode(reply)).unwrap(), reply);
        }
        assert!(
            decode(&[]).is_err() && decode(&[2, 0, 0, 0, 0]).is_err() && decode(&[1, 0, 0, 0, 0, 9]).is_err()
        );
    }
}
