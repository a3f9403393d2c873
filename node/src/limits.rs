//! Pure: every bound of the server, with its reason.

/// Memory that one derivation of a passphrase may take, in KiB: 1 GiB, so that a file that was tampered with takes no more.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Passes of one derivation: at the greatest memory a minute.
pub const KDF_PASSES_MAX: u32 = 16;
/// Lanes of one derivation.
pub const KDF_LANES_MAX: u32 = 16;
/// Bytes of a passphrase at least.
pub const PASSPHRASE_BYTES_MIN: usize = 8;
/// Bytes of a passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;
/// Root keys at one service: two are needed while one takes the place of the other.
pub const ROOTS_MAX: usize = 64;
/// Versions of the cluster key in a root file.
pub const CLUSTER_KEYS_MAX: usize = 64;
/// System keys and keys of the node in a root file: a few purposes, with all epochs that may still be needed.
pub const ROOT_KEYS_MAX: usize = 4_096;
/// Bytes of one wrapped key.
pub const WRAPPED_BYTES_MAX: usize = 1_024;
/// Bytes of what a key service keeps in a root file.
pub const KMS_BYTES_MAX: usize = 64 << 10;
/// Bytes of a root file.
pub const ROOT_FILE_BYTES_MAX: u64 = 8 << 20;
