//! Pure: a running hash of what became of every command, by which replicas find out that they differ.
//!
//! It travels in the note, so it must be small and go on after a restart: tenants are spread over [`BUCKETS`] chains by number. Two
//! replicas that have applied the same entries have the same chains. A tenant that is shredded may have been applied with effect on one
//! and without on another; whoever compares leaves out the chain it is in.

use engine::Stamp;
use engine::ids::TenantId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Chains.
pub const BUCKETS: usize = 64;
/// Bytes of a digest.
pub const DIGEST_BYTES: usize = BUCKETS * 16;

/// The chains.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u128; BUCKETS]);

impl Default for Digest {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:016x})", self.whole())
    }
}

impl Digest {
    /// The chain a tenant is in.
    #[must_use]
    pub fn bucket(tenant: TenantId) -> usize {
        usize::try_from(tenant.0 % BUCKETS as u64).unwrap_or(0)
    }

    /// Something became of a command of `tenant`, at `stamp`: a reply, or a write.
    pub fn fold(&mut self, tenant: TenantId, stamp: Stamp, outcome: &[&[u8]]) {
        let chain = &mut self.0[Self::bucket(tenant)];
        let mut hash = Xxh3::new();
        hash.update(&chain.to_be_bytes());
        hash.update(&tenant.0.to_be_bytes());
        hash.update(&stamp.0.to_be_bytes());
        for piece in outcome {
            hash.update(&(piece.len() as u64).to_be_bytes());
            hash.update(piece);
        }
        *chain = hash.digest128();
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; DIGEST_BYTES] {
        let mut out = [0; DIGEST_BYTES];
        for (place, chain) in out.chunks_exact_mut(16).zip(self.0) {
            place.copy_from_slice(&chain.to_be_bytes());
        }
        out
    }

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; DIGEST_BYTES]) -> Self {
        let mut digest = Self::default();
        for (chain, place) in digest.0.iter_mut().zip(bytes.as_chunks::<16>().0) {
            *chain = u128::from_be_bytes(*place);
        }
        digest
    }

    /// One number for all of it.
    #[must_use]
    pub fn whole(&self) -> u64 {
        xxh3_64(&self.bytes())
    }

    /// The chains in which two differ.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        (0..BUCKETS).filter(|n| self.0[*n] != other.0[*n]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type One<'a> = (TenantId, Stamp, &'a [&'a [u8]]);

    #[test]
    fn everything_that_becomes_of_a_command_counts() {
        let (tenant, stamp) = (TenantId(7), Stamp(5));
        let of = |outcomes: &[One<'_>]| {
            let mut digest = Digest::default();
            outcomes.iter().for_each(|(tenant, stamp, outcome)| digest.fold(*tenant, *stamp, outcome));
            digest
        };
        let base: One<'_> = (tenant, stamp, &[b"a", b"b"]);
        let digest = of(&[base]);
        assert_eq!(digest, of(&[base]));
        let others: [&[One<'_>]; 6] = [
            &[],
            &[(TenantId(7 + BUCKETS as u64), stamp, &[b"a", b"b"])],
            &[(tenant, Stamp(6), &[b"a", b"b"])],
            &[(tenant, stamp, &[b"ab"])],
            &[(tenant, stamp, &[b"b", b"a"])],
            &[base, base],
        ];
        for other in others {
            assert_eq!(digest.differing(&of(other)), [7]);
        }
        assert_eq!(Digest::from_bytes(&digest.bytes()), digest);
        assert!(digest.differing(&digest).is_empty());
    }
}
