//! Pure: what is proposed to a group, and what comes back once it is applied.

use crate::types::LogId;
use bytes::Bytes;
use engine::Stamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An encoded [`crate::command::Command`]: what a client wrote in it is sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of one command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It ran: what the operation answered.
    Ran(Bytes),
    /// The same request ran before: what it answered then.
    RanBefore(Bytes),
    /// It came after its retry window: it did not run, and never will.
    Expired,
    /// The keys of its tenant are gone for good: nothing happened.
    Shredded,
    /// It asks to be remembered for longer than the retry window: it did not run.
    WindowTooLong,
    /// It wanted to write more than fits one entry: nothing of it is written.
    TooLarge,
    /// It asks for a row that its group does not hold: nothing of it is written, and its outcome is not kept.
    OutsideRange,
    /// The same request ran before, and said another time until which it may come: it did not run now. With the first time it is
    /// answered as it was then.
    OtherWindow,
}

impl Reply {
    /// What of it a digest counts: all.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        match self {
            Self::Ran(reply) => [b"ran ", &reply[..]].concat(),
            Self::RanBefore(reply) => [b"again ", &reply[..]].concat(),
            other => format!("{other:?}").into_bytes(),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran(bytes) => write!(f, "Ran({} bytes)", bytes.len()),
            Self::RanBefore(bytes) => write!(f, "RanBefore({} bytes)", bytes.len()),
            Self::Expired => f.write_str("Expired"),
            Self::Shredded => f.write_str("Shredded"),
            Self::WindowTooLong => f.write_str("WindowTooLong"),
            Self::TooLarge => f.write_str("TooLarge"),
            Self::OutsideRange => f.write_str("OutsideRange"),
            Self::OtherWindow => f.write_str("OtherWindow"),
        }
    }
}

/// What became of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    /// The stamp of its first command; of an entry without commands, the last stamp there is.
    #[serde(with = "stamp")]
    pub first: Stamp,
    /// One a command, in order.
    pub replies: Vec<Reply>,
}

/// An entry that is applied, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry.
    pub log_id: LogId,
    /// What became of it.
    pub replies: Replies,
}

mod stamp {
    use engine::Stamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(stamp: &Stamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(stamp.0)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Stamp, D::Error> {
        u64::deserialize(deserializer).map(Stamp)
    }
}
