//! Reads who a certificate speaks of. That an authority vouches for it, and that it is not over, is for TLS to check; here it is only read,
//! and what is not exactly one of ours is refused.

use super::subject::Identity;
use crate::limits;
use engine::ids::ClusterId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is no certificate.
    #[error("the bytes are no certificate")]
    Malformed,
    /// It names nobody, or more than one.
    #[error("the certificate does not name exactly one identity of a cluster")]
    NoIdentity,
    /// It is of another cluster.
    #[error("the certificate is of another cluster")]
    OtherCluster,
    /// It is the certificate of an authority.
    #[error("the certificate of an authority is no identity")]
    IsAuthority,
    /// It is over, or not yet begun.
    #[error("the certificate is not valid now")]
    NotNow,
    /// The key beside it is another one.
    #[error("the key does not belong to the certificate")]
    OtherKey,
    /// The authority does not vouch for it.
    #[error("the certificate was not issued by the authority of the cluster")]
    OtherAuthority,
}

/// Who a certificate speaks of, and what tells it from others of the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Who.
    pub identity: Identity,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// When it begins: seconds since 1970.
    pub begins_s: u64,
    /// When it ends: seconds since 1970.
    pub ends_s: u64,
}

impl PeerIdentity {
    /// Reads a certificate of `cluster`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(certificate: &[u8], cluster: ClusterId) -> Result<Self, CertificateError> {
        if certificate.len() > limits::CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::Malformed);
        }
        let (rest, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        if read.is_ca() {
            return Err(CertificateError::IsAuthority);
        }
        let names = read.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
        let names = names.ok_or(CertificateError::NoIdentity)?.value;
        let uris = names.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let mut uris = uris.fuse();
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(CertificateError::NoIdentity) };
        let identity = Identity::parse(uri).ok_or(CertificateError::NoIdentity)?;
        if identity.cluster != cluster {
            return Err(CertificateError::OtherCluster);
        }
        let seconds = |at: i64| u64::try_from(at).map_err(|_| CertificateError::Malformed);
        let begins_s = seconds(read.validity().not_before.timestamp())?;
        let ends_s = seconds(read.validity().not_after.timestamp())?;
        Ok(Self { identity, serial: read.raw_serial().to_vec(), begins_s, ends_s })
    }

    /// Whether it should be made anew: two thirds of its time are over.
    #[must_use]
    pub fn is_due(&self, now_s: u64) -> bool {
        let life = self.ends_s.saturating_sub(self.begins_s);
        now_s >= self.begins_s.saturating_add(life / 3 * 2)
    }
}
