//! Pure: what a node must have to start at all: the cluster key, the system keys and its own, all wrapped.
//! Format: root_file, `docs/formats/root_file.md`.

use super::{Error, KeyName, Result, WrappedKey};
use crate::limits;
use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose};
use engine::wire::{Reader, append_bytes32};

const MAGIC: [u8; 4] = engine::magic::ROOT_FILE;
const VERSION: u16 = engine::magic::ROOT_FILE_VERSION;

/// One version of the cluster key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKey {
    /// Which.
    pub version: u32,
    /// The root key that wraps it.
    pub root: u32,
    /// As the key service has wrapped it.
    pub wrapped: Vec<u8>,
}

/// What stands in a root file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootFile {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node; 0: the part that all nodes have alike.
    pub node: NodeId,
    /// What the key service keeps.
    pub kms: Vec<u8>,
    /// Versions of the cluster key, in order; the last is the active one.
    pub cluster_keys: Vec<ClusterKey>,
    /// System keys and those of the node, in the order of their names; of each owner and purpose the last is the active one.
    pub keys: Vec<WrappedKey>,
}

fn read_name(bytes: &[u8; 14]) -> Option<KeyName> {
    let number = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk());
    let owner = Owner::from_parts(bytes[0], u64::from_be_bytes(*number8(bytes)?))?;
    let purpose = Purpose::from_number(bytes[9])?;
    let epoch = KeyEpoch(u32::from_be_bytes(*number(10)?));
    (epoch != KeyEpoch(0)).then_some(KeyName { owner, purpose, epoch })
}

fn number8(bytes: &[u8; 14]) -> Option<&[u8; 8]> {
    bytes[1..9].first_chunk()
}

impl RootFile {
    /// The part that all nodes have alike: what a node that joins is given.
    #[must_use]
    pub fn shared(&self) -> Self {
        let keys = self.keys.iter().filter(|key| key.name.owner == Owner::Cluster).cloned().collect();
        Self { node: NodeId(0), keys, ..self.clone() }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.node.0.to_be_bytes());
        append_bytes32(&mut out, &self.kms);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(&count(self.cluster_keys.len()));
        for key in &self.cluster_keys {
            out.extend_from_slice(&key.version.to_be_bytes());
            out.extend_from_slice(&key.root.to_be_bytes());
            append_bytes32(&mut out, &key.wrapped);
        }
        out.extend_from_slice(&count(self.keys.len()));
        for key in &self.keys {
            out.extend_from_slice(&key.name.bytes());
            append_bytes32(&mut out, &key.wrapped);
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// From its bytes. Whether its keys open is not known yet.
    ///
    /// # Errors
    /// `RootFile`: cut, changed, or not in order. `Version`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = Error::RootFile;
        let magic = bytes.get(..4).ok_or(bad("it is cut"))?;
        if magic != MAGIC {
            return Err(bad("it is no root file"));
        }
        let version: [u8; 2] =
            bytes.get(4..).and_then(|rest| rest.first_chunk()).copied().ok_or(bad("it is cut"))?;
        if u16::from_be_bytes(version) != VERSION {
            return Err(Error::Version { found: u16::from_be_bytes(version) });
        }
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(bad("it is cut"))?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(bad("its checksum is wrong"));
        }
        let cut = |_| bad("it is cut");
        let mut reader = Reader::new(body.get(6..).unwrap_or_default());
        if reader.u16().map_err(cut)? != 0 {
            return Err(bad("a reserved byte is not zero"));
        }
        let cluster = ClusterId(reader.array().map_err(cut)?);
        let node = NodeId(reader.u64().map_err(cut)?);
        let kms = reader.bytes32(limits::KMS_BYTES_MAX).map_err(cut)?.to_vec();
        let cluster_keys = read_cluster_keys(&mut reader)?;
        let keys = read_keys(&mut reader)?;
        reader.end().map_err(|_| bad("something stands behind it"))?;
        let is_foreign = |key: &WrappedKey| {
            !matches!(key.name.owner, Owner::Cluster) && key.name.owner != Owner::Node(node)
        };
        if keys.iter().any(is_foreign) {
            return Err(bad("it holds a key of somebody else"));
        }
        Ok(Self { cluster, node, kms, cluster_keys, keys })
    }
}

fn read_cluster_keys(reader: &mut Reader<'_>) -> Result<Vec<ClusterKey>> {
    let cut = |_| Error::RootFile("it is cut");
    let count = reader.u32().map_err(cut)? as usize;
    if count == 0 || count > limits::CLUSTER_KEYS_MAX {
        return Err(Error::RootFile("a number of cluster keys that is not allowed"));
    }
    let mut keys: Vec<ClusterKey> = Vec::new();
    for _ in 0..count {
        let (version, root) = (reader.u32().map_err(cut)?, reader.u32().map_err(cut)?);
        let wrapped = reader.bytes32(limits::WRAPPED_BYTES_MAX).map_err(cut)?.to_vec();
        if version == 0 || keys.last().is_some_and(|last| last.version >= version) {
            return Err(Error::RootFile("cluster keys are not in order"));
        }
        keys.push(ClusterKey { version, root, wrapped });
    }
    Ok(keys)
}

fn read_keys(reader: &mut Reader<'_>) -> Result<Vec<WrappedKey>> {
    let cut = |_| Error::RootFile("it is cut");
    let count = reader.u32().map_err(cut)? as usize;
    if count > limits::ROOT_KEYS_MAX {
        return Err(Error::RootFile("more keys than are allowed"));
    }
    let mut keys: Vec<WrappedKey> = Vec::new();
    for _ in 0..count {
        let name = reader.array::<14>().map_err(cut)?;
        let name = read_name(&name).ok_or(Error::RootFile("a key without a sane name"))?;
        let wrapped = reader.bytes32(limits::WRAPPED_BYTES_MAX).map_err(cut)?.to_vec();
        if keys.last().is_some_and(|last| last.name >= name) {
            return Err(Error::RootFile("keys are not in order"));
        }
        keys.push(WrappedKey { name, wrapped });
    }
    Ok(keys)
}
