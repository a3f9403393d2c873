//! Format: passphrase_root.

use super::{feed, fixtures};
use node::keys::kms::passphrase_root::PassphraseRoot;
use node::limits;

pub fn run() {
    feed(&fixtures("passphrase_root"), |bytes| {
        let Ok(root) = PassphraseRoot::decode(bytes) else { return };
        assert_eq!(root.encode(), bytes);
        assert!(root.cost.is_sane() && root.cost.memory_kib <= limits::KDF_MEMORY_KIB_MAX);
        assert!(root.roots.len() <= limits::ROOTS_MAX);
    });
}
