//! Pure: how much a key may seal, and what follows when it has.

use crate::limits;

/// What to do about one more block under a file's key. That key dies with its file, so the count is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Spend {
    /// Seal it.
    Seal,
    /// Seal it, then begin the next file.
    SealThenNewFile,
    /// Refuse it.
    Refuse,
}

/// Decides for a file that has sealed `blocks_sealed` blocks.
pub fn spend(blocks_sealed: u32) -> Spend {
    if blocks_sealed >= limits::FILE_BLOCKS_MAX {
        return Spend::Refuse;
    }
    if blocks_sealed >= limits::FILE_BLOCKS_MAX / 4 * 3 { Spend::SealThenNewFile } else { Spend::Seal }
}

/// What one data key has sealed on this node since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// Envelopes.
    pub envelopes: u64,
    /// Bytes, in envelopes and in blocks.
    pub bytes: u64,
}

impl KeyUse {
    /// Whether the key may seal another envelope.
    #[must_use]
    pub fn allows_envelope(&self) -> bool {
        self.envelopes < limits::ENVELOPES_PER_KEY_MAX
    }

    /// Whether the key has done its share and a new epoch should begin.
    #[must_use]
    pub fn wants_rotation(&self) -> bool {
        self.bytes >= limits::SEALED_BYTES_PER_KEY_MAX
            || self.envelopes >= limits::ENVELOPES_PER_KEY_MAX / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_branches() {
        let max = limits::FILE_BLOCKS_MAX;
        assert_eq!(spend(0), Spend::Seal);
        assert_eq!(spend(max / 4 * 3 - 1), Spend::Seal);
        assert_eq!(spend(max / 4 * 3), Spend::SealThenNewFile);
        assert_eq!(spend(max - 1), Spend::SealThenNewFile);
        assert_eq!(spend(max), Spend::Refuse);
    }

    #[test]
    fn a_key_is_refused_at_its_limit_and_asks_before() {
        let full = KeyUse { envelopes: limits::ENVELOPES_PER_KEY_MAX, bytes: 0 };
        assert!(!full.allows_envelope() && full.wants_rotation());
        let last = KeyUse { envelopes: limits::ENVELOPES_PER_KEY_MAX - 1, bytes: 0 };
        assert!(last.allows_envelope());
        assert!(!KeyUse::default().wants_rotation());
        assert!(KeyUse { envelopes: 0, bytes: limits::SEALED_BYTES_PER_KEY_MAX }.wants_rotation());
    }
}
