//! Pure: the context of a seal: cluster, owner, purpose, epoch, and the exact place the bytes are made for.
//! Format: context, `docs/formats/context.md`.
//!
//! Sealed bytes open only where every byte of their context is the same.

use super::block_file::{BlockType, FileKind};
use super::derive;
use crate::ids::{ClusterId, KeyEpoch, Owner, Purpose, TableId};

/// Bytes of a context.
pub const CONTEXT_BYTES: usize = 64;
/// The first bytes of a context: whose key, for what, which epoch.
pub const SCOPE_BYTES: usize = 32;

/// Stands where a block file has its kind.
const SEGMENT_KIND: u8 = 16;

/// Whose key, for what, which epoch, in which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The cluster the bytes were made in.
    pub cluster: ClusterId,
    /// Whose key.
    pub owner: Owner,
    /// What the key is for.
    pub purpose: Purpose,
    /// Which epoch of it.
    pub epoch: KeyEpoch,
}

/// The exact block of a block file that bytes are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPosition {
    /// Number through the file.
    pub number: u32,
    /// Number of its stripe.
    pub stripe: u32,
    /// What it holds.
    pub block_type: BlockType,
    /// How it is compressed: 0 not, 1 lz4.
    pub codec: u8,
}

impl Scope {
    /// The first 32 bytes of every context of this scope.
    #[must_use]
    pub fn bytes(&self) -> [u8; SCOPE_BYTES] {
        let mut out = [0; SCOPE_BYTES];
        out[..16].copy_from_slice(&self.cluster.0);
        out[16] = self.owner.kind();
        out[17] = self.purpose as u8;
        out[20..24].copy_from_slice(&self.epoch.0.to_be_bytes());
        out[24..].copy_from_slice(&self.owner.id().to_be_bytes());
        out
    }

    /// The context of an envelope of `kind` whose object is named `name`.
    #[must_use]
    pub fn envelope(&self, kind: u16, name: &[u8]) -> [u8; CONTEXT_BYTES] {
        let mut digest = derive::Sha256::new();
        digest.update(&kind.to_be_bytes());
        digest.update(name);
        let mut out = [0; CONTEXT_BYTES];
        out[..SCOPE_BYTES].copy_from_slice(&self.bytes());
        out[SCOPE_BYTES..].copy_from_slice(&digest.finish());
        out
    }

    /// The context of a segment of a log, from which the keys of its chain are derived.
    #[must_use]
    pub fn segment(&self, log: &[u8; 16], number: u64) -> [u8; CONTEXT_BYTES] {
        let mut out = [0; CONTEXT_BYTES];
        out[..SCOPE_BYTES].copy_from_slice(&self.bytes());
        out[32..48].copy_from_slice(log);
        out[48..56].copy_from_slice(&number.to_be_bytes());
        out[56] = SEGMENT_KIND;
        out[59] = 1;
        out
    }

    /// The context of the file itself, from which its key is derived: every field of a block is zero.
    #[must_use]
    pub fn file(&self, file: TableId, kind: FileKind, suite: u8) -> [u8; CONTEXT_BYTES] {
        let mut out = [0; CONTEXT_BYTES];
        out[..SCOPE_BYTES].copy_from_slice(&self.bytes());
        out[32..48].copy_from_slice(&file.0);
        out[56] = kind as u8;
        out[59] = 1;
        out[60] = suite;
        out
    }
}

impl BlockPosition {
    /// The context of this block, given the context of its file.
    #[must_use]
    pub fn context(&self, file: &[u8; CONTEXT_BYTES]) -> [u8; CONTEXT_BYTES] {
        let mut out = *file;
        out[48..52].copy_from_slice(&self.number.to_be_bytes());
        out[52..56].copy_from_slice(&self.stripe.to_be_bytes());
        out[57] = self.block_type as u8;
        out[58] = self.codec;
        out
    }
}
