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

/// Shards of a new cluster: each has its own consensus on every node that bears it.
pub const SHARDS_MAX: u64 = 1_024;
/// Bytes of the name of a node, region, tenant or administrator: it stands in a certificate and in every table on a terminal.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of the name of a setting; longer ones are not compared when the nearest is looked for.
pub const SETTING_KEY_BYTES_MAX: usize = 64;
/// Bytes of a configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an identity, key or certificate file.
pub const IDENTITY_FILE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a certificate that a peer shows.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a certificate request of a node that joins.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Bytes of a join token, as text.
pub const TOKEN_TEXT_BYTES_MAX: usize = 4 << 10;
/// Addresses in a join token.
pub const TOKEN_ADDRESSES_MAX: usize = 16;
/// Seconds that a certificate is valid: 30 days. It is renewed after two thirds.
pub const CERTIFICATE_SECONDS: u64 = 30 * 86_400;
/// Seconds that the certificate of an authority is valid: ten years.
pub const AUTHORITY_SECONDS: u64 = 3_650 * 86_400;
/// Seconds by which a certificate is valid before it was issued: clocks of nodes differ.
pub const CERTIFICATE_EARLY_SECONDS: u64 = 3_600;
/// Bytes of an address: the longest name of DNS and a port.
pub const ADDRESS_BYTES_MAX: usize = 262;
