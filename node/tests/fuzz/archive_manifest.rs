//! Format: archive_manifest.

use super::samples::{manifests, opens};
use super::{feed, fixtures};

pub fn run() {
    let known = manifests();
    feed(&fixtures("archive_manifest"), |bytes| {
        let whole = |bytes: &[u8]| match known.iter().find(|(_, sealed)| sealed == bytes) {
            Some((name, _)) => assert!(opens(name, bytes)),
            // Whatever its checksum says: nothing opens that nobody has signed, under no name.
            None => assert!(!opens(&known[bytes.len() % known.len()].0, bytes)),
        };
        whole(bytes);
        if let Some((body, _)) = bytes.split_last_chunk::<4>() {
            whole(&[body, &crc32fast::hash(body).to_be_bytes()].concat());
        }
    });
}
