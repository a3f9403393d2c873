//! Where a passphrase comes from: a file that its owner alone may read, or the bytes that somebody typed.

use super::{KmsError, Passphrase};
use crate::boot::{self, files};
use crate::limits;
use std::path::Path;

/// What is said if no file of the passphrase is named.
pub const NOT_NAMED: &str = "kms.passphrase_file must name a file of mode 0600";

/// The passphrase in a file of mode 0600; one line break at its end does not count.
///
/// # Errors
/// `FileMode`: others may read it. `Io`. `TooLarge`.
pub fn read(path: &Path) -> boot::Result<Passphrase> {
    // A line break more than the longest.
    let mut bytes = files::read_secret(path, limits::PASSPHRASE_BYTES_MAX as u64 + 2)?;
    trim(&mut bytes);
    Ok(bytes)
}

/// Cuts one line break at the end, as editors and terminals put it there.
pub fn trim(bytes: &mut Passphrase) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
}

/// Whether a passphrase may guard a new cluster.
///
/// # Errors
/// `Unfit`: too short or too long.
pub fn check(passphrase: &Passphrase) -> Result<(), KmsError> {
    let is_fit = (limits::PASSPHRASE_BYTES_MIN..=limits::PASSPHRASE_BYTES_MAX).contains(&passphrase.len());
    if is_fit { Ok(()) } else { Err(KmsError::Unfit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::BootError;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_passphrase_is_read_from_a_file_of_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        for (written, meant) in [
            ("correct horse\n", "correct horse"),
            ("correct horse\r\n", "correct horse"),
            ("correct horse", "correct horse"),
            (" correct horse \n\n", " correct horse \n"),
        ] {
            files::replace(&path, written.as_bytes()).unwrap();
            assert_eq!(&read(&path).unwrap()[..], meant.as_bytes());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(BootError::FileMode { mode: 0o640, .. })));
        files::replace(&path, &vec![b'x'; limits::PASSPHRASE_BYTES_MAX + 3]).unwrap();
        assert!(matches!(read(&path), Err(BootError::TooLarge { .. })));
        for (length, is_fit) in [(0, false), (7, false), (8, true), (1_024, true), (1_025, false)] {
            assert_eq!(check(&Passphrase::from(vec![b'x'; length])).is_ok(), is_fit, "{length}");
        }
    }
}
