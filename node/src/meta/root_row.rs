//! Pure: the row of the root file, of which every node has the same part, and those that say how far each node has taken it. There are none
//! before the first rotation of the cluster key: until then every node has what the cluster was founded with.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_u64, malformed, read_version};
use crate::keys::root_file::RootFile;
use crate::limits;
use engine::error::Damage;
use engine::ids::{NodeId, Owner};
use engine::wire::{Reader, append_bytes32};
use std::fmt;

/// Version of the rows this build writes.
pub const VERSION: u8 = 1;

/// What all nodes have alike of their root files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RootRow {
    /// Rises by one with every change of this row.
    pub version: u64,
    /// The part of the file that all have alike: of node 0.
    pub root: RootFile,
}

impl fmt::Debug for RootRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootRow(version {}, cluster keys {:?})", self.version, self.versions())
    }
}

impl RootRow {
    /// The key of its row: there is only one.
    #[must_use]
    pub fn key() -> Vec<u8> {
        Vec::new()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.version);
        append_bytes32(&mut out, &self.root.encode());
        out
    }

    /// Reads what [`RootRow::key`] and [`RootRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        Reader::new(key).end()?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let version = reader.u64()?;
        let root = RootFile::decode(reader.bytes32(limits::ROOT_ROW_BYTES_MAX)?)
            .map_err(|_| malformed("a root file that is none"))?;
        reader.end()?;
        let is_shared =
            root.node == NodeId(0) && root.keys.iter().all(|key| key.name.owner == Owner::Cluster);
        if version == 0 || !is_shared {
            return Err(malformed("a root file that is a node's, or without version"));
        }
        Ok(Self { version, root })
    }

    /// Versions of the cluster key in it, the newest last.
    #[must_use]
    pub fn versions(&self) -> Vec<u32> {
        self.root.cluster_keys.iter().map(|key| key.version).collect()
    }

    /// The version of the cluster key that wraps from now on.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.root.cluster_keys.last().map_or(0, |key| key.version)
    }

    /// Whether this may follow `old` (`None`: nothing): its version is the next, it is of the same cluster, what wraps in the old one is
    /// still there, and a version that is gone does not come back.
    #[must_use]
    pub fn follows(&self, old: Option<&Self>) -> bool {
        let Some(old) = old else { return self.version == 1 };
        let (before, newest) = (old.versions(), old.newest());
        let is_known = |version: &u32| before.contains(version) || *version > newest;
        self.version == old.version + 1
            && self.root.cluster == old.root.cluster
            && self.versions().contains(&newest)
            && self.versions().iter().all(is_known)
    }
}

/// How far a node has taken the root file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenRow {
    /// The node.
    pub node: NodeId,
    /// The version of the row of the root file that its own file follows.
    pub version: u64,
}

impl TakenRow {
    /// The key of its row.
    #[must_use]
    pub fn key(node: NodeId) -> Vec<u8> {
        node.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.version);
        out
    }

    /// Reads what [`TakenRow::key`] and [`TakenRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let node = NodeId(key.u64()?);
        key.end()?;
        read_version(&mut reader, VERSION)?;
        let version = reader.u64()?;
        reader.end()?;
        if node.0 == 0 || version == 0 {
            return Err(malformed("a root file taken by nobody, or of no version"));
        }
        Ok(Self { node, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root_file::ClusterKey;
    use engine::ids::ClusterId;

    fn row(version: u64, keys: &[u32]) -> RootRow {
        let key = |version: &u32| ClusterKey { version: *version, root: *version, wrapped: vec![1] };
        let cluster_keys = keys.iter().map(key).collect();
        RootRow { version, root: RootFile { cluster_keys, ..RootFile::default() } }
    }

    #[test]
    fn what_wraps_stays_and_what_is_gone_does_not_come_back() {
        assert!(row(1, &[1, 2]).follows(None) && !row(2, &[1]).follows(None));
        let old = row(4, &[2, 3]);
        for (next, may) in [
            (row(5, &[2, 3]), true),
            (row(5, &[3]), true),
            (row(5, &[2, 3, 4]), true),
            (row(5, &[3, 9]), true),
            (row(5, &[2]), false),
            (row(5, &[4]), false),
            (row(5, &[1, 2, 3]), false),
            (row(4, &[3]), false),
            (row(6, &[3]), false),
        ] {
            assert_eq!(next.follows(Some(&old)), may, "{next:?}");
        }
        let mut other = row(5, &[3]);
        other.root.cluster = ClusterId([1; 16]);
        assert!(!other.follows(Some(&old)));
    }
}
