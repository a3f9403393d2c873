//! etcd's cluster: three members on loopback, each with mutual TLS to clients and to each other, with its own settings for everything else.

use super::Subject;
use super::etcd::Client;
use super::store::Store;
use crate::Outcome;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Members.
const MEMBERS: usize = 3;
/// Looks for a leader, and the time between two.
const LOOKS: usize = 300;
const LOOK: Duration = Duration::from_millis(100);

/// The cluster. Its processes are killed when it is dropped.
pub struct Peer {
    program: PathBuf,
    members: Vec<Member>,
    client: Client,
}

struct Member {
    folder: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Member {
    fn start(&mut self, program: &Path) -> Outcome<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn()?);
        Ok(())
    }
}

/// The program, if it is installed.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|program| program.is_file())
}

/// Files of an authority and of a certificate that everybody uses: members to clients, clients to members, members to each other.
struct Papers {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    config: Arc<ClientConfig>,
}

impl Papers {
    fn make(folder: &Path) -> Outcome<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let written = |name: &str, text: String| -> Outcome<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let der = PrivateKeyDer::try_from(key.serialize_der())?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], der)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            authority: written("ca.crt", authority.pem())?,
            certificate: written("member.crt", certificate.pem())?,
            key: written("member.key", key.serialize_pem())?,
            config: Arc::new(config),
        })
    }
}

fn free_ports() -> Outcome<Vec<(u16, u16)>> {
    // All are taken before any is let go, so that none comes twice.
    let taken = (0..MEMBERS * 2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let taken: Vec<TcpListener> = taken.collect::<Result<_, _>>()?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    taken.chunks_exact(2).map(|pair| Ok((port(&pair[0])?, port(&pair[1])?))).collect()
}

/// The command line of a member.
fn arguments(place: usize, ports: &[(u16, u16)], folder: &Path, papers: &Papers) -> Vec<String> {
    let url = |port: u16| format!("https://{}", SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let all = ports.iter().enumerate().map(|(place, (_, peer))| format!("m{place}={}", url(*peer)));
    let all = all.collect::<Vec<_>>().join(",");
    let (clients, peers) = (url(ports[place].0), url(ports[place].1));
    let shown = |path: &Path| path.display().to_string();
    let (authority, certificate, key) =
        (shown(&papers.authority), shown(&papers.certificate), shown(&papers.key));
    let named = [
        ("name", format!("m{place}")),
        ("data-dir", shown(folder)),
        ("listen-client-urls", clients.clone()),
        ("advertise-client-urls", clients),
        ("listen-peer-urls", peers.clone()),
        ("initial-advertise-peer-urls", peers),
        ("initial-cluster", all),
        ("initial-cluster-state", "new".to_owned()),
        ("trusted-ca-file", authority.clone()),
        ("cert-file", certificate.clone()),
        ("key-file", key.clone()),
        ("client-cert-auth", "true".to_owned()),
        ("peer-trusted-ca-file", authority),
        ("peer-cert-file", certificate),
        ("peer-key-file", key),
        ("peer-client-cert-auth", "true".to_owned()),
    ];
    named.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

impl Peer {
    /// Starts it.
    ///
    /// # Errors
    /// A member does not come up.
    pub async fn start(program: &Path, folder: &Path) -> Outcome<Self> {
        fs::create_dir_all(folder)?;
        let (papers, ports) = (Papers::make(folder)?, free_ports()?);
        let clients: Vec<u16> = ports.iter().map(|(client, _)| *client).collect();
        let client = Client::new(&clients, papers.config.clone())?;
        let members = (0..MEMBERS).map(|place| {
            let (folder, log) = (folder.join(format!("m{place}")), folder.join(format!("m{place}.log")));
            let arguments = arguments(place, &ports, &folder, &papers);
            Member { folder, log, arguments, process: None }
        });
        let mut peer = Self { program: program.to_owned(), members: members.collect(), client };
        peer.begin().await?;
        Ok(peer)
    }

    async fn begin(&mut self) -> Outcome<()> {
        for member in &mut self.members {
            member.start(&self.program)?;
        }
        let leader = self.leader().await?;
        self.client.aim(leader);
        Ok(())
    }

    /// Ends all members and starts them again, each with what it has on disk.
    ///
    /// # Errors
    /// They do not come up.
    pub async fn restart(&mut self) -> Outcome<()> {
        for place in 0..self.members.len() {
            self.end_now(place)?;
        }
        self.begin().await
    }

    /// What is measured.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject {
            name: "etcd",
            store: Store::Etcd(self.client.clone()),
            servers: self.members.iter().filter_map(|one| Some(one.process.as_ref()?.id())).collect(),
            folders: self.members.iter().map(|one| one.folder.clone()).collect(),
        }
    }

    /// The place of the member that leads.
    ///
    /// # Errors
    /// None does for a long time.
    pub async fn leader(&self) -> Outcome<usize> {
        for _ in 0..LOOKS {
            for place in 0..self.members.len() {
                if self.client.is_leader(place).await == Some(true) {
                    return Ok(place);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        Err("etcd has no leader: see the logs beside its data".into())
    }

    /// Ends a member by SIGKILL, at once.
    ///
    /// # Errors
    /// The system does not.
    pub fn end_now(&mut self, place: usize) -> Outcome<()> {
        if let Some(mut process) = self.members[place].process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for place in 0..self.members.len() {
            // One that has ended already cannot be ended again, which is as well.
            let _ = self.end_now(place);
        }
    }
}
