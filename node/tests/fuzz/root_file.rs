//! Format: root_file.

use super::{feed, fixtures};
use engine::ids::{NodeId, Owner};
use node::keys::root_file::RootFile;

pub fn run() {
    feed(&fixtures("root_file"), |bytes| {
        let whole = |bytes: &[u8]| {
            let Ok(file) = RootFile::decode(bytes) else { return };
            assert_eq!(file.encode(), bytes);
            assert!(!file.cluster_keys.is_empty());
            assert!(file.keys.is_sorted_by_key(|key| key.name));
            let is_ours = |owner| owner == Owner::Cluster || owner == Owner::Node(file.node);
            assert!(file.keys.iter().all(|key| is_ours(key.name.owner)));
            let shared = file.shared();
            assert_eq!(shared.node, NodeId(0));
            assert!(shared.keys.iter().all(|key| key.name.owner == Owner::Cluster));
        };
        whole(bytes);
        // Behind a checksum that agrees there is more to refuse.
        if let Some((body, _)) = bytes.split_last_chunk::<4>() {
            whole(&[body, &crc32fast::hash(body).to_be_bytes()].concat());
        }
    });
}
