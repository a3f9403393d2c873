//! The passphrase of the root key: from a file that its owner alone may read.

use super::Failure;
use crate::boot::files;
use crate::config::Config;
use crate::keys::kms::Passphrase;
use crate::limits;

/// Reads it. An end of line at the end of the file does not belong to it.
///
/// # Errors
/// No file is named; others may read it; it cannot be read.
pub fn read(config: &Config) -> Result<Passphrase, Failure> {
    let path =
        config.node.passphrase_file.as_ref().ok_or("kms.passphrase_file must name a file of mode 0600")?;
    let bytes = files::read_secret(path, limits::PASSPHRASE_BYTES_MAX as u64 + 2)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Ok(Passphrase::from(text.to_vec()))
}
