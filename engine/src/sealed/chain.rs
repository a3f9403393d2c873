//! Pure: the chain over the writes of a log segment: each link depends on the one before, its position and its bytes.
//!
//! A checksum finds damage; the chain finds edits. Whoever has no key cannot change, move, repeat or leave out a write inside
//! the chain; a tail that is cut off whole leaves a shorter chain, and is found by others who remember its length.

use super::context::Scope;
use super::derive;
use super::secret::SecretKey;
use super::{KeySource, Sealer};
use crate::error::Result;
use crate::ids::{KeyEpoch, NodeId, Owner, Purpose};

/// Bytes of a link.
pub const LINK_BYTES: usize = 16;

/// One link: what the next depends on. Zeros before the first write of a log.
pub type Link = [u8; LINK_BYTES];

/// Makes the links of one segment.
pub struct ChainKeys {
    link: SecretKey,
    fingerprint: SecretKey,
}

/// Which segment of which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The log.
    pub log: [u8; 16],
    /// Number of the segment in it.
    pub number: u64,
    /// The segment's random salt.
    pub salt: [u8; 16],
}

impl Sealer {
    /// The keys that make the chain of `segment`, from the node's mac key of `epoch`.
    ///
    /// # Errors
    /// `KeyMissing`.
    pub fn chain(&self, node: NodeId, epoch: KeyEpoch, segment: &SegmentName) -> Result<ChainKeys> {
        let owner = Owner::Node(node);
        let key = self.keys().key(owner, Purpose::Mac, epoch)?;
        let scope = Scope { cluster: self.cluster(), owner, purpose: Purpose::Mac, epoch };
        let (link, fingerprint) =
            derive::chain(&key, &segment.salt, &scope.segment(&segment.log, segment.number));
        Ok(ChainKeys { link, fingerprint })
    }

    /// The epoch of the node's mac key under which new segments are chained.
    ///
    /// # Errors
    /// `KeyMissing`.
    pub fn chain_epoch(&self, node: NodeId) -> Result<KeyEpoch> {
        KeySource::active(&**self.keys(), Owner::Node(node), Purpose::Mac)
    }
}

impl ChainKeys {
    /// The link of the write whose bytes are `pieces` in order, at `position` of the log, behind the link `before`.
    #[must_use]
    pub fn link(&self, before: &Link, position: u64, pieces: &[&[u8]]) -> Link {
        let fingerprint = derive::hmac(self.fingerprint.expose(), pieces);
        let mac = derive::hmac(self.link.expose(), &[before, &position.to_be_bytes(), &fingerprint]);
        mac[..LINK_BYTES].try_into().expect("a mac has 32 bytes")
    }

    /// Whether `link` is what [`ChainKeys::link`] gives, in constant time.
    #[must_use]
    pub fn is_link(&self, link: &Link, before: &Link, position: u64, pieces: &[&[u8]]) -> bool {
        derive::is_equal(link, &self.link(before, position, pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;
    use crate::ids::ClusterId;
    use crate::sealed::Keyring;
    use std::sync::Arc;

    #[test]
    fn a_link_depends_on_everything_before_it_and_on_its_place() {
        let keys = Keyring::new();
        for (node, byte) in [(1, 7), (2, 8)] {
            keys.insert(Owner::Node(NodeId(node)), Purpose::Mac, KeyEpoch(1), SecretKey::new([byte; 32]))
                .unwrap();
            keys.activate(Owner::Node(NodeId(node)), Purpose::Mac, KeyEpoch(1)).unwrap();
        }
        let sealer = Sealer::new(ClusterId([9; 16]), Arc::new(keys), Arc::new(Seeded::new(1))).unwrap();
        let segment = SegmentName { log: [1; 16], number: 4, salt: [2; 16] };
        let epoch = sealer.chain_epoch(NodeId(1)).unwrap();
        let chain = sealer.chain(NodeId(1), epoch, &segment).unwrap();
        let first = chain.link(&[0; 16], 100, &[b"ab", b"c"]);
        assert!(chain.is_link(&first, &[0; 16], 100, &[b"a", b"bc"]), "pieces are only pieces");
        assert!(!chain.is_link(&first, &[1; 16], 100, &[b"abc"]), "another link before");
        assert!(!chain.is_link(&first, &[0; 16], 101, &[b"abc"]), "another place");
        assert!(!chain.is_link(&first, &[0; 16], 100, &[b"abd"]), "other bytes");
        for (node, segment) in [
            (2, segment),
            (1, SegmentName { log: [0; 16], ..segment }),
            (1, SegmentName { number: 5, ..segment }),
            (1, SegmentName { salt: [0; 16], ..segment }),
        ] {
            let other = sealer.chain(NodeId(node), epoch, &segment).unwrap();
            assert!(!other.is_link(&first, &[0; 16], 100, &[b"abc"]), "{node} {segment:?}");
        }
        assert!(sealer.chain(NodeId(3), epoch, &segment).is_err());
    }
}
