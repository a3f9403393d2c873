//! TLS of every door and every call: 1.3 only, both sides show a certificate of the cluster, and who they are is read from it.
//!
//! * No session is resumed and nothing is sent early: every connection proves who it is.
//! * Certificates are replaced while the node runs ([`Tls::replace`]): what was handed out before takes the new ones at its next handshake.
//! * The one door that is open to whoever has no certificate yet ([`Caller::AnyoneKnown`]) still refuses a wrong one.

use crate::boot::authority::fingerprint;
use crate::boot::certificate::{CertificateError, PeerIdentity};
use crate::boot::subject::Role;
use arc_swap::ArcSwap;
use engine::clock::Clock;
use engine::ids::{ClusterId, NodeId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    version,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a connection speaks inside: gRPC.
pub const GRPC: &[u8] = b"h2";
/// What a connection speaks inside: frames between nodes.
pub const PEER: &[u8] = b"dewpond-peer/1";

/// Whom a door lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nodes of the cluster.
    Node,
    /// Whoever has a certificate of the cluster.
    Known,
    /// Whoever has a certificate of the cluster, or none.
    AnyoneKnown,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate is not what it should be.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file is not PEM, or holds something else.
    #[error("the {what} is not valid: {cause}")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// TLS refuses a configuration.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// A certificate, its key, and the authorities that are trusted.
pub struct Credentials {
    /// Who this is.
    pub own: PeerIdentity,
    /// The authority that vouches for it.
    pub authority: [u8; 32],
    pair: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// TLS of one node, or of one tool.
#[derive(Clone)]
pub struct Tls {
    cluster: ClusterId,
    clock: Arc<dyn Clock>,
    current: Arc<ArcSwap<Credentials>>,
}

fn provider() -> Arc<CryptoProvider> {
    // X25519MLKEM768 stands first: the feature `prefer-post-quantum`.
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Clone)]
struct WallClock(Arc<dyn Clock>);

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now_ms())))
    }
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = read.map_err(|error| TlsError::Pem { what, cause: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Pem { what, cause: "it holds no certificate".to_owned() });
    }
    Ok(found)
}

impl Credentials {
    /// From PEM: the certificate, its key, and the certificates of one or more authorities. All must belong together, and be valid now.
    ///
    /// # Errors
    /// What does not belong together.
    pub fn load(
        cluster: ClusterId,
        certificate: &str,
        key: &[u8],
        authorities: &str,
        clock: &dyn Clock,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let mut chain = certificates("certificate", certificate)?;
        chain.truncate(1);
        let own = PeerIdentity::read(&chain[0], cluster)?;
        let now_s = clock.now_ms() / 1_000;
        if now_s < own.begins_s || now_s >= own.ends_s {
            return Err(CertificateError::NotNow.into());
        }
        let pem = |what: &'static str| {
            move |error: rustls::pki_types::pem::Error| TlsError::Pem { what, cause: error.to_string() }
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("key"))?;
        let pair = provider.key_provider.load_private_key(key)?;
        let (mut roots, mut authority) = (RootCertStore::empty(), None);
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock.now_ms()));
        for root in certificates("certificate of the authority", authorities)? {
            let mut alone = RootCertStore::empty();
            alone.add(root.clone())?;
            if vouches(&provider, &chain[0], &alone, &[], now).is_ok()
                || is_vouched_client(&provider, &chain[0], alone, now)
            {
                authority.get_or_insert_with(|| root.clone());
            }
            roots.add(root)?;
        }
        let authority = authority.ok_or(CertificateError::OtherAuthority)?;
        let pin = fingerprint(&authority);
        // A node that joins knows nothing but the fingerprint of the authority, so its certificate is sent along.
        chain.push(authority);
        let pair = CertifiedKey::new(chain, pair);
        pair.keys_match().map_err(|_| CertificateError::OtherKey)?;
        let roots = Arc::new(roots);
        let clients = client_verifier(&provider, roots.clone())?;
        Ok(Self { own, authority: pin, pair: Arc::new(pair), roots, clients })
    }
}

fn client_verifier(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let builder = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    builder.build().map_err(|error| rustls::Error::General(error.to_string()).into())
}

fn is_vouched_client(
    provider: &Arc<CryptoProvider>,
    certificate: &CertificateDer<'_>,
    roots: RootCertStore,
    now: UnixTime,
) -> bool {
    let verifier = client_verifier(provider, Arc::new(roots));
    verifier.is_ok_and(|verifier| verifier.verify_client_cert(certificate, &[], now).is_ok())
}

/// Whether authorities vouch for a server, now.
fn vouches(
    provider: &CryptoProvider,
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    between: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms)
}

fn refused(error: CertificateError) -> rustls::Error {
    let cause = rustls::OtherError(Arc::new(error));
    rustls::Error::InvalidCertificate(rustls::CertificateError::Other(cause))
}

fn only_tls13() -> rustls::Error {
    rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic)
}

impl Tls {
    /// TLS with these certificates.
    #[must_use]
    pub fn new(credentials: Credentials, clock: Arc<dyn Clock>) -> Self {
        let cluster = credentials.own.identity.cluster;
        Self { cluster, clock, current: Arc::new(ArcSwap::from_pointee(credentials)) }
    }

    /// Takes new certificates. Connections that stand keep the old ones.
    ///
    /// # Errors
    /// They are of somebody else: nothing changes.
    pub fn replace(&self, credentials: Credentials) -> Result<(), TlsError> {
        if credentials.own.identity != self.current.load().own.identity {
            return Err(CertificateError::NoIdentity.into());
        }
        self.current.store(Arc::new(credentials));
        Ok(())
    }

    /// The certificates of now.
    #[must_use]
    pub fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// For a door that lets `caller` in and speaks one of `protocols`.
    ///
    /// # Errors
    /// `Rustls`.
    pub fn server(&self, caller: Caller, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let time = Arc::new(WallClock(self.clock.clone()));
        let verifier = Clients { provider: provider.clone(), tls: self.clone(), caller };
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(Own(self.current.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// For calls to nodes of the cluster; to one of them, if `expected` names it.
    ///
    /// # Errors
    /// `Rustls`.
    pub fn client(&self, expected: Option<NodeId>, protocol: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
        let trust = Trust::Cluster(self.current.clone());
        let verifier = Servers { provider: provider(), cluster: self.cluster, trust, expected };
        let mut config = builder(verifier, self.clock.clone())?
            .with_client_cert_resolver(Arc::new(Own(self.current.clone())));
        finish(&mut config, protocol);
        Ok(Arc::new(config))
    }

    /// Who is at the other end of a connection, once the handshake is done; `None`: nobody that says so.
    ///
    /// # Errors
    /// The certificate is not one of ours; the handshake would have refused it.
    pub fn peer(
        &self,
        shown: Option<&[CertificateDer<'_>]>,
    ) -> Result<Option<PeerIdentity>, CertificateError> {
        let first = shown.and_then(<[_]>::first);
        first.map(|certificate| PeerIdentity::read(certificate, self.cluster)).transpose()
    }
}

/// For the calls of a node that joins: it shows no certificate, and trusts the authority with this fingerprint alone.
///
/// # Errors
/// `Rustls`.
pub fn joining(
    cluster: ClusterId,
    authority: [u8; 32],
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = Servers { provider: provider(), cluster, trust: Trust::Pinned(authority), expected: None };
    let mut config = builder(verifier, clock)?.with_no_client_auth();
    finish(&mut config, GRPC);
    Ok(Arc::new(config))
}

fn builder(
    verifier: Servers,
    clock: Arc<dyn Clock>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsError> {
    let time = Arc::new(WallClock(clock));
    let builder = ClientConfig::builder_with_details(verifier.provider.clone(), time);
    let builder = builder.with_protocol_versions(&[&version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn finish(config: &mut ClientConfig, protocol: &[u8]) {
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![protocol.to_vec()];
}

/// Shows our own certificate of now.
struct Own(Arc<ArcSwap<Credentials>>);

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().pair.clone())
    }
}

impl rustls::client::ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().pair.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Judges whoever comes to a door.
struct Clients {
    provider: Arc<CryptoProvider>,
    tls: Tls,
    caller: Caller,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clients({:?})", self.caller)
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.caller != Caller::AnyoneKnown
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let done = self.tls.current().clients.verify_client_cert(certificate, between, now)?;
        let peer = PeerIdentity::read(certificate, self.tls.cluster).map_err(refused)?;
        if self.caller == Caller::Node && !matches!(peer.identity.role, Role::Node(_)) {
            return Err(refused(CertificateError::NoIdentity));
        }
        Ok(done)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whose word counts.
enum Trust {
    Cluster(Arc<ArcSwap<Credentials>>),
    Pinned([u8; 32]),
}

/// Judges whoever is called.
struct Servers {
    provider: Arc<CryptoProvider>,
    cluster: ClusterId,
    trust: Trust,
    expected: Option<NodeId>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Servers({}, {:?})", self.cluster, self.expected)
    }
}

impl Servers {
    fn roots(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<RootCertStore>, rustls::Error> {
        let pin = match &self.trust {
            Trust::Cluster(current) => return Ok(current.load().roots.clone()),
            Trust::Pinned(pin) => pin,
        };
        let pinned = shown.iter().find(|certificate| fingerprint(certificate) == *pin);
        let mut roots = RootCertStore::empty();
        roots.add(pinned.ok_or_else(|| refused(CertificateError::OtherAuthority))?.clone().into_owned())?;
        Ok(Arc::new(roots))
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        vouches(&self.provider, certificate, &*self.roots(between)?, between, now)?;
        // Names of hosts say nothing here: a node is who its identity says, wherever it is reached.
        let peer = PeerIdentity::read(certificate, self.cluster).map_err(refused)?;
        match peer.identity.role {
            Role::Node(node) if self.expected.is_none_or(|expected| expected == node) => {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(refused(CertificateError::NoIdentity)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
