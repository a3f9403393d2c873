//! The randomness of the system. Nothing else in this crate asks for it.

use crate::error::{Error, code};

/// Random bytes for what must never be met twice.
///
/// # Errors
/// Internal, if the system has none.
#[expect(clippy::disallowed_methods, reason = "a session of an application must never be met twice")]
pub fn bytes() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::new(code::INTERNAL, "the system gives no random bytes").because(cause))?;
    Ok(bytes)
}

/// A random number for what need not be secret: the jitter of a wait, the choice of a replica. Zero if the system has none.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "waits of many clients must differ")]
pub fn number() -> u64 {
    getrandom::u64().unwrap_or(0)
}
