//! Pure: how an error stands in a message.

use super::{Entry, Kind, RetryClass};
use crate::v1::Failure;
use crate::v1::failure;

/// Where a failed unary call carries its [`Failure`], in the trailers.
pub const FAILURE_METADATA: &str = "dewpond-failure-bin";

impl Kind {
    /// As it is sent.
    #[must_use]
    pub fn sent(self) -> failure::Kind {
        match self {
            Self::Invalid => failure::Kind::Invalid,
            Self::Denied => failure::Kind::Denied,
            Self::Conflict => failure::Kind::Conflict,
            Self::Unavailable => failure::Kind::Unavailable,
            Self::Unknown => failure::Kind::Unknown,
            Self::Gone => failure::Kind::Gone,
            Self::Damaged => failure::Kind::Damaged,
            Self::Internal => failure::Kind::Internal,
        }
    }

    /// From what was sent; none if nothing was.
    #[must_use]
    pub fn of_sent(sent: failure::Kind) -> Option<Self> {
        match sent {
            failure::Kind::Unspecified => None,
            failure::Kind::Invalid => Some(Self::Invalid),
            failure::Kind::Denied => Some(Self::Denied),
            failure::Kind::Conflict => Some(Self::Conflict),
            failure::Kind::Unavailable => Some(Self::Unavailable),
            failure::Kind::Unknown => Some(Self::Unknown),
            failure::Kind::Gone => Some(Self::Gone),
            failure::Kind::Damaged => Some(Self::Damaged),
            failure::Kind::Internal => Some(Self::Internal),
        }
    }
}

impl RetryClass {
    /// As it is sent.
    #[must_use]
    pub fn sent(self) -> failure::Retry {
        match self {
            Self::Never => failure::Retry::Never,
            Self::Reread => failure::Retry::Reread,
            Self::Same => failure::Retry::Same,
            Self::Ask => failure::Retry::Ask,
        }
    }

    /// From what was sent; none if nothing was.
    #[must_use]
    pub fn of_sent(sent: failure::Retry) -> Option<Self> {
        match sent {
            failure::Retry::Unspecified => None,
            failure::Retry::Never => Some(Self::Never),
            failure::Retry::Reread => Some(Self::Reread),
            failure::Retry::Same => Some(Self::Same),
            failure::Retry::Ask => Some(Self::Ask),
        }
    }
}

impl Entry {
    /// A message that says this, in the words of the table. Whoever sends it adds what it knows beside.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure {
            code: self.code,
            text: self.says.to_owned(),
            kind: self.kind.sent().into(),
            retry: self.retry.sent().into(),
            ..Failure::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::errors::{Kind, RetryClass, TABLE};

    #[test]
    fn what_is_sent_is_what_is_heard() {
        for entry in TABLE {
            let sent = entry.failure();
            assert_eq!((sent.code, sent.text.as_str()), (entry.code, entry.says));
            assert_eq!(Kind::of_sent(sent.kind()), Some(entry.kind));
            assert_eq!(RetryClass::of_sent(sent.retry()), Some(entry.retry));
        }
        let nothing = crate::v1::Failure::default();
        assert_eq!((Kind::of_sent(nothing.kind()), RetryClass::of_sent(nothing.retry())), (None, None));
    }
}
