//! Who this client is: a certificate that the cluster has issued, and its key.

use crate::error::{Error, Result, code};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Who this client is.
#[derive(Clone)]
pub struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Reads it from two PEM files. Nobody but their owner may read that of the key.
    ///
    /// # Errors
    /// Invalid, if a file cannot be read or is no PEM; denied, if others may read the key.
    pub fn from_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        refuse_open(key.as_ref())?;
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|cause| Error::new(code::INPUT, format!("read {}", path.display())).because(cause))
        };
        Self::from_pem(read(certificate.as_ref())?, read(key.as_ref())?)
    }

    /// Reads it from PEM.
    ///
    /// # Errors
    /// Invalid, if it is none.
    pub fn from_pem(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self> {
        let chain = certificates(certificate.as_ref())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_ref())
            .map_err(|cause| Error::new(code::INPUT, "the key is not PEM").because(cause))?;
        Ok(Self { chain, key: Arc::new(key) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// The certificates of a PEM text; one at least.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(Error::new(code::INPUT, "there is no certificate in the PEM")),
        Err(cause) => Err(Error::new(code::INPUT, "the certificate is not PEM").because(cause)),
    }
}

/// Refuses a file that others may read.
#[cfg(unix)]
pub(crate) fn refuse_open(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)
        .map_err(|cause| Error::new(code::INPUT, format!("read {}", path.display())).because(cause))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        let text = format!("others may read {} (mode {:o})", path.display(), mode & 0o777);
        return Err(Error::new(code::FILE_MODE, text));
    }
    Ok(())
}

/// Refuses a file that others may read; here nobody can tell.
#[cfg(not(unix))]
pub(crate) fn refuse_open(_: &Path) -> Result<()> {
    Ok(())
}
