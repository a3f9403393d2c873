//! TLS 1.3, both sides proven. A node is not known by the name of its host but by what its authority wrote into its certificate: the URI
//! `dewpond://<cluster>/node/<id>`.

use crate::error::{Error, Result, code};
use crate::identity::{Identity, certificates};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

const SCHEME: &str = "dewpond://";

/// Accepts what is a node of one cluster, and nothing else.
#[derive(Debug)]
struct NodesOnly {
    roots: RootCertStore,
    /// Hexadecimal id of the cluster, if our own certificate names one.
    cluster: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// How connections are made: trusting one authority, proving to be `identity`.
pub(crate) fn config(authority: &[u8], identity: Option<&Identity>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(unfit)?;
    }
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let cluster = identity.and_then(|identity| cluster_of(identity.chain.first()?));
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Arc::new(NodesOnly { roots, cluster, algorithms });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).map_err(unfit)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The name that stands in the handshake. Nobody looks at it.
pub(crate) fn server_name() -> Result<ServerName<'static>> {
    ServerName::try_from("node.dewpond.internal")
        .map_err(|cause| Error::new(code::INTERNAL, "the name of all nodes is no name").because(cause))
}

fn unfit(cause: TlsError) -> Error {
    Error::new(code::INPUT, "the certificates cannot be used").because(cause)
}

/// The cluster that a certificate says it is of.
fn cluster_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut uris = parsed.valid_uri_names().filter_map(|uri| uri.strip_prefix(SCHEME));
    Some(uris.next()?.split('/').next()?.to_owned())
}

impl NodesOnly {
    fn is_node(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return false };
        let mut uris = parsed.valid_uri_names();
        let (Some(uri), None) = (uris.next(), uris.next()) else { return false };
        let mut parts = uri.strip_prefix(SCHEME).unwrap_or("").split('/');
        let (cluster, role, id, end) = (parts.next(), parts.next(), parts.next(), parts.next());
        let is_ours = self.cluster.is_none() || self.cluster.as_deref() == cluster;
        is_ours && role == Some("node") && id.is_some_and(|id| !id.is_empty()) && end.is_none()
    }
}

impl ServerCertVerifier for NodesOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if self.is_node(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
