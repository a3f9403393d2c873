//! Pure: what is kept of root keys behind a passphrase: how the passphrase becomes a key, and the root keys, sealed under it.
//! Format: passphrase_root, `docs/formats/passphrase_root.md`.

use super::KmsError;
use crate::limits;
use engine::wire::{Reader, append_bytes32};
use std::collections::BTreeMap;

/// Version this build writes.
pub const VERSION: u8 = 1;
/// Bytes of the salt.
pub const SALT_BYTES: usize = 16;

/// What making a key of a passphrase costs whoever guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassphraseRoot {
    /// What a guess costs.
    pub cost: Cost,
    /// Makes equal passphrases into different keys.
    pub salt: [u8; SALT_BYTES],
    /// Root keys by version, each sealed.
    pub roots: BTreeMap<u32, Vec<u8>>,
}

impl Cost {
    /// For production: 256 MiB.
    pub const PRODUCTION: Self = Self { memory_kib: 256 << 10, passes: 3, lanes: 4 };
    /// The least that is allowed, for tests and demonstrations: 19 MiB.
    pub const LEAST: Self = Self { memory_kib: 19 << 10, passes: 2, lanes: 1 };

    /// That of production, but for so many bytes of memory.
    #[must_use]
    pub fn of_memory(bytes: u64) -> Self {
        Self { memory_kib: u32::try_from(bytes >> 10).unwrap_or(u32::MAX), ..Self::PRODUCTION }
    }

    /// Whether it is allowed: a file that was tampered with makes it neither cheap to guess nor takes all memory.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        (Self::LEAST.memory_kib..=limits::KDF_MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (Self::LEAST.passes..=limits::KDF_PASSES_MAX).contains(&self.passes)
            && (1..=limits::KDF_LANES_MAX).contains(&self.lanes)
    }
}

impl PassphraseRoot {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, 0, 0, 0];
        for number in [self.cost.memory_kib, self.cost.passes, self.cost.lanes] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&u32::try_from(self.roots.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (version, sealed) in &self.roots {
            out.extend_from_slice(&version.to_be_bytes());
            append_bytes32(&mut out, sealed);
        }
        out
    }

    /// From its bytes. Whether its keys open is not known yet.
    ///
    /// # Errors
    /// `Damaged`: cut, not in order, or a number is out of its range.
    pub fn decode(bytes: &[u8]) -> Result<Self, KmsError> {
        let cut = |_| KmsError::Damaged("it is cut");
        let mut reader = Reader::new(bytes);
        if reader.u8().map_err(cut)? != VERSION {
            return Err(KmsError::Damaged("it is of a version that this build does not know"));
        }
        let zero = reader.take(3).map_err(cut)?;
        let memory_kib = reader.u32().map_err(cut)?;
        let passes = reader.u32().map_err(cut)?;
        let lanes = reader.u32().map_err(cut)?;
        let cost = Cost { memory_kib, passes, lanes };
        let salt = reader.array().map_err(cut)?;
        let count = reader.u32().map_err(cut)? as usize;
        if zero != [0; 3] || !cost.is_sane() || count > limits::ROOTS_MAX {
            return Err(KmsError::Damaged("a number is out of its range"));
        }
        let mut roots = BTreeMap::new();
        for _ in 0..count {
            let version = reader.u32().map_err(cut)?;
            let sealed = reader.bytes32(limits::WRAPPED_BYTES_MAX).map_err(cut)?.to_vec();
            if version == 0 || roots.last_key_value().is_some_and(|(last, _)| *last >= version) {
                return Err(KmsError::Damaged("root keys are not in order"));
            }
            roots.insert(version, sealed);
        }
        reader.end().map_err(|_| KmsError::Damaged("something stands behind it"))?;
        Ok(Self { cost, salt, roots })
    }
}
