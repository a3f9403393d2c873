//! What `init` leaves for the first start of a cluster's first node: what the meta group is to know. It goes once the meta group knows it.

use super::{BootError, Result, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Bytes of the file at most.
const BYTES_MAX: u64 = 64 << 10;

/// What a new cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// What people call the cluster.
    pub cluster_name: String,
    /// Shards it begins with.
    pub shards: u32,
    /// Certificate of its authority, PEM.
    pub authority: String,
    /// Key of its authority, sealed, as hex.
    pub sealed_key: String,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("founding.toml")
}

impl Founding {
    /// Leaves it in a node's folder.
    ///
    /// # Errors
    /// As [`files::replace`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string(self).expect("plain fields are always TOML");
        files::replace(&path(folder), text.as_bytes())
    }

    /// What was left there, if the meta group does not know it yet.
    ///
    /// # Errors
    /// The file cannot be read; `Malformed`.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = path(folder);
        if !files::exists(&path) {
            return Ok(None);
        }
        let bytes = files::read(&path, BYTES_MAX)?;
        let malformed = |cause: String| BootError::malformed("founding.toml", cause);
        let text = std::str::from_utf8(&bytes).map_err(|error| malformed(error.to_string()))?;
        toml::from_str(text).map(Some).map_err(|error| malformed(error.to_string()))
    }

    /// The meta group knows it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(folder: &Path) -> Result<()> {
        files::remove(&path(folder))
    }
}

/// Bytes as hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hex; `None` if it is none.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
