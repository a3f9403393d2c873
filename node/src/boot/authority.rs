//! The authority of a cluster: makes the certificates of nodes, of services and of administrators. Its key is one more secret of the cluster:
//! whoever calls seals it.

use super::certificate::PeerIdentity;
use super::subject::{Identity, Role};
use super::{BootError, Result};
use crate::{entropy, limits};
use engine::entropy::Entropy;
use engine::ids::ClusterId;
use engine::sealed::SecretBytes;
use engine::sealed::derive::Sha256;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::time::Duration;

/// Makes certificates.
pub struct Authority {
    cluster: ClusterId,
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, PEM.
    pub pem: String,
    /// What stands in it.
    pub peer: PeerIdentity,
}

/// A key that was made here, and the request for its certificate.
pub struct Request {
    /// The key, PEM. It never leaves this machine.
    pub key: SecretBytes,
    /// The request, PEM.
    pub pem: String,
}

fn failed(verb: &'static str) -> impl Fn(rcgen::Error) -> BootError {
    move |error| BootError::Make { verb, cause: error.to_string() }
}

/// The last moment that a certificate can name, in seconds since 1970: in the year 9892.
const SECONDS_MAX: u64 = 250_000_000_000;

/// Bytes of a serial number that say when it was given.
const SERIAL_TIME_BYTES: usize = 5;

/// Dates from `begins_s` to `ends_s`, in seconds since 1970, and a serial number that nobody guesses, above those of all that begin before.
fn dated(params: &mut CertificateParams, begins_s: u64, ends_s: u64, entropy: &dyn Entropy) {
    let at = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.min(SECONDS_MAX));
    (params.not_before, params.not_after) = (at(begins_s), at(ends_s));
    let mut serial: [u8; 16] = entropy::random(entropy);
    // Positive, and of one length.
    serial[0] = 0x40;
    serial[1..=SERIAL_TIME_BYTES].copy_from_slice(&begins_s.to_be_bytes()[8 - SERIAL_TIME_BYTES..]);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

/// A name that may stand in a certificate beside the identity, for clients that look for one.
fn host(text: &str) -> Result<SanType> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let name = text.try_into().map_err(failed("name a host"))?;
    Ok(SanType::DnsName(name))
}

fn named(name: &str) -> DistinguishedName {
    let mut out = DistinguishedName::new();
    out.push(DnType::CommonName, name);
    out
}

impl Authority {
    /// A new authority for a new cluster.
    ///
    /// # Errors
    /// `Make`.
    pub fn create(cluster: ClusterId, now_s: u64, entropy: &dyn Entropy) -> Result<Self> {
        let key = fresh_key().map_err(failed("make a key"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("Dewpond cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let begins_s = now_s.saturating_sub(limits::CERTIFICATE_EARLY_SECONDS);
        dated(&mut params, begins_s, now_s.saturating_add(limits::AUTHORITY_SECONDS), entropy);
        let made = params.self_signed(&key).map_err(failed("make the certificate of the authority"))?;
        let (pem, der) = (made.pem(), made.der().clone());
        Ok(Self { cluster, pem, der, issuer: Issuer::new(params, key) })
    }

    /// The authority of a cluster, from its certificate (PEM) and key (PKCS #8, as [`Authority::key`] gives it).
    ///
    /// # Errors
    /// `Malformed`: one of them is not what it should be.
    pub fn open(cluster: ClusterId, pem: &str, key: &[u8]) -> Result<Self> {
        let malformed = |cause| BootError::malformed("the authority of the cluster", cause);
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), algorithm())
            .map_err(|error| malformed(error.to_string()))?;
        let (_, read) =
            x509_parser::parse_x509_certificate(&der).map_err(|error| malformed(error.to_string()))?;
        if !read.is_ca() || read.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(malformed("certificate and key do not belong together".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { cluster, pem: pem.to_owned(), der, issuer })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key, to be sealed.
    #[must_use]
    pub fn key(&self) -> SecretBytes {
        SecretBytes::from(self.issuer.key().serialize_der())
    }

    /// SHA-256 of its certificate: what a join token pins.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.der)
    }

    /// As [`Authority::issue_for`], for as long as nodes have one.
    ///
    /// # Errors
    /// The same.
    pub fn issue(
        &self,
        identity: &Identity,
        hosts: &[String],
        request: &str,
        now_s: u64,
        entropy: &dyn Entropy,
    ) -> Result<Issued> {
        self.issue_for(identity, hosts, request, (now_s, limits::CERTIFICATE_SECONDS), entropy)
    }

    /// Makes a certificate for whoever holds the key of `request` (PEM). Of the request only the key counts: who it is for, and for how many
    /// seconds from now on, is said here. `hosts` are names and addresses under which a node is reached.
    ///
    /// # Errors
    /// `Malformed`: no request, not signed by its key, or a key of another kind than P-256 and Ed25519. `Make`.
    pub fn issue_for(
        &self,
        identity: &Identity,
        hosts: &[String],
        request: &str,
        (now_s, valid_s): (u64, u64),
        entropy: &dyn Entropy,
    ) -> Result<Issued> {
        let malformed = |cause: &str| BootError::malformed("the certificate request", cause);
        if identity.cluster != self.cluster {
            return Err(malformed("it is for another cluster"));
        }
        if request.len() > limits::REQUEST_BYTES_MAX {
            return Err(malformed("it is too large"));
        }
        let read = CertificateSigningRequestParams::from_pem(request);
        let public = read.map_err(|error| malformed(&error.to_string()))?.public_key;
        if ![&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519].contains(&public.algorithm()) {
            return Err(malformed("its key is neither P-256 nor Ed25519"));
        }
        let mut params = CertificateParams::default();
        let uri = identity.to_string();
        params.distinguished_name = named(&uri[uri.rfind('/').map_or(0, |slash| slash + 1)..]);
        let uri = uri.as_str().try_into().map_err(failed("name an identity"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        if matches!(identity.role, Role::Node(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            for text in hosts {
                params.subject_alt_names.push(host(text)?);
            }
        }
        let begins_s = now_s.saturating_sub(limits::CERTIFICATE_EARLY_SECONDS);
        dated(&mut params, begins_s, now_s.saturating_add(valid_s), entropy);
        let made = params.signed_by(&public, &self.issuer).map_err(failed("make a certificate"))?;
        let peer = PeerIdentity::read(made.der(), self.cluster)?;
        Ok(Issued { pem: made.pem(), peer })
    }
}

/// What the key of an authority is for.
fn algorithm() -> &'static SignatureAlgorithm {
    #[cfg(feature = "simulated")]
    if crate::simulated::world().is_some() {
        return &PKCS_ED25519;
    }
    &PKCS_ECDSA_P256_SHA256
}

/// A new key.
fn fresh_key() -> std::result::Result<KeyPair, rcgen::Error> {
    #[cfg(feature = "simulated")]
    if let Some(world) = crate::simulated::world() {
        return crate::simulated::key(&*world);
    }
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// SHA-256 of a certificate.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(certificate);
    hash.finish()
}

/// Makes a key and the request for its certificate.
///
/// # Errors
/// `Make`.
pub fn request() -> Result<Request> {
    let key = fresh_key().map_err(failed("make a key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Dewpond");
    let request = params.serialize_request(&key).and_then(|request| request.pem());
    let pem = request.map_err(failed("make a certificate request"))?;
    Ok(Request { key: SecretBytes::from(key.serialize_pem().into_bytes()), pem })
}

#[cfg(test)]
mod tests {
    use super::super::certificate::CertificateError;
    use super::*;
    use engine::entropy::Seeded;
    use engine::ids::NodeId;

    const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
    const NOW: u64 = 1_800_000_000;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_certificate_says_who_and_for_how_long_and_nothing_of_what_was_asked() {
        let entropy = Seeded::new(1);
        let authority = Authority::create(CLUSTER, NOW, &entropy).unwrap();
        let authority = Authority::open(CLUSTER, authority.pem(), &authority.key()).unwrap();
        let made = request().unwrap();
        for (identity, hosts) in [
            (Identity::node(CLUSTER, NodeId(7)), vec!["127.0.0.1".to_owned(), "node-7.example".to_owned()]),
            (Identity::service(CLUSTER, "shop").unwrap(), vec![]),
            (Identity::admin(CLUSTER, "ann").unwrap(), vec![]),
        ] {
            let one = authority.issue(&identity, &hosts, &made.pem, NOW, &entropy).unwrap();
            let other = authority.issue(&identity, &hosts, &made.pem, NOW, &entropy).unwrap();
            assert_ne!(one.peer.serial, other.peer.serial);
            assert_eq!(one.peer.identity, identity);
            assert_eq!((one.peer.begins_s, one.peer.ends_s), (NOW - 3_600, NOW + 30 * 86_400));
            assert_eq!(PeerIdentity::read(&der(&one.pem), CLUSTER).unwrap(), one.peer);
            let due = NOW + 20 * 86_400;
            assert!(!one.peer.is_due(due - 86_400) && one.peer.is_due(due));
            let foreign = PeerIdentity::read(&der(&one.pem), ClusterId([2; 16]));
            assert_eq!(foreign, Err(CertificateError::OtherCluster));
        }
        let ann = Identity::admin(CLUSTER, "ann").unwrap();
        let short = authority.issue_for(&ann, &[], &made.pem, (NOW, 60), &entropy).unwrap();
        assert_eq!(short.peer.ends_s, NOW + 60);
        let foreign = Identity::node(ClusterId([2; 16]), NodeId(7));
        let refused = authority.issue(&foreign, &[], &made.pem, NOW, &entropy);
        assert!(matches!(refused, Err(BootError::Malformed { .. })), "nothing is made for another cluster");
        assert_eq!(PeerIdentity::read(&der(authority.pem()), CLUSTER), Err(CertificateError::IsAuthority));
    }

    #[test]
    fn hostile_requests_and_certificates_are_refused() {
        let entropy = Seeded::new(1);
        let authority = Authority::create(CLUSTER, NOW, &entropy).unwrap();
        let identity = Identity::node(CLUSTER, NodeId(7));
        let issue = |request: &str| authority.issue(&identity, &[], request, NOW, &entropy);
        let good = request().unwrap().pem;
        let made = issue(&good).unwrap();
        for wrong in [
            String::new(),
            "x".repeat(limits::REQUEST_BYTES_MAX + 1),
            made.pem.clone(),
            good.replace('A', "B"),
        ] {
            assert!(issue(&wrong).is_err(), "{wrong}");
        }
        let foreign = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let foreign = CertificateParams::default().serialize_request(&foreign).unwrap().pem().unwrap();
        assert!(issue(&foreign).unwrap_err().to_string().contains("neither"));
        let certificate = der(&made.pem);
        for bit in 0..certificate.len() * 8 {
            let mut changed = certificate.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            // It must not panic; that it was changed TLS finds.
            let _ = PeerIdentity::read(&changed, CLUSTER);
        }
        for cut in 0..certificate.len() {
            assert_eq!(PeerIdentity::read(&certificate[..cut], CLUSTER), Err(CertificateError::Malformed));
        }
        let mut longer = certificate.to_vec();
        longer.push(0);
        assert_eq!(PeerIdentity::read(&longer, CLUSTER), Err(CertificateError::Malformed));
    }

    #[test]
    fn two_identities_or_none_are_refused() {
        let key = KeyPair::generate().unwrap();
        let with = |uris: &[&str]| {
            let mut params = CertificateParams::default();
            params.subject_alt_names =
                uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
            PeerIdentity::read(params.self_signed(&key).unwrap().der(), CLUSTER)
        };
        let uri = Identity::node(CLUSTER, NodeId(7)).to_string();
        let uri = uri.as_str();
        assert!(with(&[uri]).is_ok());
        for wrong in [&[][..], &[uri, uri], &["spiffe://x/y"], &[uri, "spiffe://x/y"]] {
            assert_eq!(with(wrong), Err(CertificateError::NoIdentity), "{wrong:?}");
        }
    }

    #[test]
    fn an_authority_opens_with_its_own_key_alone() {
        let entropy = Seeded::new(1);
        let one = Authority::create(CLUSTER, NOW, &entropy).unwrap();
        let other = Authority::create(CLUSTER, NOW, &entropy).unwrap();
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert!(Authority::open(CLUSTER, one.pem(), &other.key()).is_err());
        assert!(Authority::open(CLUSTER, one.pem(), b"x").is_err());
        assert!(Authority::open(CLUSTER, "x", &one.key()).is_err());
    }
}
