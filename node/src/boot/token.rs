//! What lets a new node in, once: a random secret, where to ask, and whom to trust there. The cluster keeps only a hash of the secret.
//! Format: join_token, `docs/formats/join_token.md`.

use super::{BootError, Result};
use crate::{entropy, limits};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use engine::entropy::Entropy;
use engine::ids::ClusterId;
use engine::sealed::derive::Sha256;
use engine::wire::{Reader, append_bytes32};
use std::fmt;
use zeroize::Zeroize;

/// The first letters of a token.
pub const PREFIX: &str = "dwj_";
/// Version this build writes.
pub const VERSION: u8 = 1;

/// Lets a new node in, once.
#[derive(PartialEq, Eq)]
pub struct JoinToken {
    secret: [u8; 32],
    /// The cluster to join.
    pub cluster: ClusterId,
    /// SHA-256 of the certificate of its authority.
    pub authority: [u8; 32],
    /// Addresses for clients of nodes that can be asked.
    pub addresses: Vec<String>,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, {:?})", self.cluster, self.addresses)
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// What the cluster keeps of a token.
#[must_use]
pub fn hash(secret: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"dewpond/1/join");
    hash.update(secret);
    hash.finish()
}

impl JoinToken {
    /// A new token.
    #[must_use]
    pub fn make(
        cluster: ClusterId,
        authority: [u8; 32],
        addresses: Vec<String>,
        entropy: &dyn Entropy,
    ) -> Self {
        Self { secret: entropy::random(entropy), cluster, authority, addresses }
    }

    /// The secret, to be shown to the cluster.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// What the cluster keeps of it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.secret)
    }

    /// As text, to be carried by a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(&self.authority);
        bytes.push(u8::try_from(self.addresses.len()).unwrap_or(u8::MAX));
        self.addresses.iter().for_each(|address| append_bytes32(&mut bytes, address.as_bytes()));
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&bytes));
        bytes.zeroize();
        text
    }

    /// From its text.
    ///
    /// # Errors
    /// `Malformed`: it is no token, or not a whole one.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |cause: &str| BootError::malformed("the join token", cause);
        let text = text.trim();
        if text.len() > limits::TOKEN_TEXT_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let text = text.strip_prefix(PREFIX).ok_or_else(|| malformed("it does not begin with dwj_"))?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
        let mut bytes = bytes.map_err(|_| malformed("it was cut or changed: copy it whole"))?;
        let read = Self::decode(&bytes);
        bytes.zeroize();
        read.ok_or_else(|| malformed("it was cut or changed, or is of another version: copy it whole"))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut reader = Reader::new(body);
        if reader.u8().ok()? != VERSION {
            return None;
        }
        let secret = reader.array().ok()?;
        let (cluster, authority) = (ClusterId(reader.array().ok()?), reader.array().ok()?);
        let count = usize::from(reader.u8().ok()?);
        if count == 0 || count > limits::TOKEN_ADDRESSES_MAX {
            return None;
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let address = reader.bytes32(limits::ADDRESS_BYTES_MAX).ok()?;
            addresses.push(String::from_utf8(address.to_vec()).ok()?);
        }
        reader.end().ok()?;
        Some(Self { secret, cluster, authority, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::entropy::Seeded;

    fn token() -> JoinToken {
        let addresses = vec!["a.example:7400".to_owned(), "[::1]:7400".to_owned()];
        JoinToken::make(ClusterId([0xc1; 16]), [0xfa; 32], addresses, &Seeded::new(1))
    }

    #[test]
    fn a_token_is_carried_as_text_and_does_not_tell_its_secret() {
        let token = token();
        let text = token.text();
        assert!(text.starts_with(PREFIX));
        assert_eq!(JoinToken::parse(&format!(" {text}\n")).unwrap(), token);
        assert_eq!(format!("{token:?}"), format!("JoinToken({}, {:?})", token.cluster, token.addresses));
        assert_ne!(token.hash(), *token.secret());
        assert_ne!(token.hash(), JoinToken::make(token.cluster, [0; 32], vec![], &Seeded::new(2)).hash());
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_refused() {
        let text = token().text();
        for cut in 0..text.len() {
            assert!(JoinToken::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = [&text[..at], other, &text[at + 1..]].concat();
            assert!(JoinToken::parse(&changed).is_err(), "changed at {at}");
        }
        assert!(JoinToken::parse(&"x".repeat(limits::TOKEN_TEXT_BYTES_MAX + 1)).is_err());
        let nowhere = JoinToken { addresses: vec![], ..token_parts() };
        assert!(JoinToken::parse(&nowhere.text()).is_err(), "nobody to ask");
    }

    fn token_parts() -> JoinToken {
        token()
    }
}
