//! Pure: what a command of the benchmark means: put one row.

use crate::engine::workload::mix;
use ::engine::Stamp;
use ::engine::ids::{CollectionId, TenantId};
use ::raft::machine::operations::{Operations, Rows};
use ::raft::seal::Unsealed;
use bytes::Bytes;

/// Whose rows they are.
pub const TENANT: TenantId = TenantId(7);
/// In which collection.
pub const COLLECTION: CollectionId = CollectionId(1);
/// Bytes of a command, unless it is said otherwise.
pub const BODY_BYTES: usize = 256;
/// Bytes of a row's key: how every command begins.
pub const KEY_BYTES: usize = 16;

/// The command that writes row `number`: its key, and bytes that no compression makes fewer.
#[must_use]
pub fn put(number: u64, body_bytes: usize) -> Unsealed {
    let mut body = Vec::with_capacity(body_bytes + 8);
    body.extend_from_slice(&mix(number).to_be_bytes());
    body.extend_from_slice(&number.to_be_bytes());
    let mut word = mix(number ^ 0x5eed);
    while body.len() < body_bytes {
        word = mix(word);
        body.extend_from_slice(&word.to_be_bytes());
    }
    body.truncate(body_bytes);
    let counts = ::raft::command::Counts { puts: 1, ..Default::default() };
    let (session, valid_until) = (Default::default(), Stamp::MAX);
    Unsealed { tenant: TENANT, session, number: 0, valid_until, counts, body: body.into() }
}

/// Puts the row that a command is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Put;

impl Operations for Put {
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> ::raft::Result<Bytes> {
        let Some((key, value)) = body.split_at_checked(KEY_BYTES) else {
            return Ok(Bytes::from_static(b"?"));
        };
        rows.put(tenant, COLLECTION, key, value, 0)?;
        Ok(Bytes::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_size_they_should_and_differ() {
        for bytes in [KEY_BYTES, 100, BODY_BYTES, 4_096] {
            assert_eq!(put(1, bytes).body.len(), bytes);
            assert_ne!(put(1, bytes).body, put(2, bytes).body);
        }
    }
}
