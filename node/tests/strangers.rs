//! Two clusters, each a process of its own, and those who come to one of them with what is of the other, of nobody, or of yesterday.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use engine::clock::Clock as _;
use node::boot::authority::{self, Authority};
use node::boot::identity::NodeFolder;
use node::boot::subject::Identity;
use node::clock::SystemClock;
use node::entropy::SystemEntropy;
use node::peer::frame::{HELLO_BYTES, Hello, VERSIONS};
use node::{dial, tls};
use proto::errors::code;
use proto::v1::hello_client::HelloClient;
use proto::v1::identities_client::IdentitiesClient;
use proto::v1::kv_client::KvClient;
use proto::v1::tenants_client::TenantsClient;
use proto::v1::{
    CreateTenantRequest, GetRequest, HelloRequest, IssueRequest, Place, PutRequest, issue_request::Whose,
};
use raft::log::LogName;
use raft::net::heard::Voice;
use raft::net::link::Lane;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;

/// Waits for `talk`, but not for ever.
async fn soon<T>(talk: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), talk).await.expect("it takes too long")
}

/// A certificate and its key, PEM.
type Pair = (String, Vec<u8>);

/// A cluster of one process.
struct Cluster {
    dir: tempfile::TempDir,
    process: Child,
    /// Doors of clients, administrators and peers.
    doors: [String; 3],
    authority: String,
    admin: Pair,
}

impl Cluster {
    async fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |file: &str| dir.path().join(file);
        let ports = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = ports.map(|listener| listener.local_addr().unwrap().to_string());
        let [client, admin, peer, metrics] = &ports;
        let admin_at = admin.clone();
        std::fs::write(at("passphrase"), "a passphrase for tests").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(at("passphrase"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "name = \"{name}\"\nregion = \"eu\"\ndata_dir = {:?}\n[kms]\npassphrase_file = {:?}\nmemory = \"19 MiB\"\n\
             [listen]\nclient = \"{client}\"\nadmin = \"{admin}\"\npeer = \"{peer}\"\nmetrics = \"{metrics}\"\n\
             [log]\nsegment_bytes = \"32 MiB\"\n[engine]\nmemtable_bytes = \"4 MiB\"\ncache_bytes = \"4 MiB\"\n",
            at("data"),
            at("passphrase"),
        );
        std::fs::write(at("node.toml"), config).unwrap();
        let dewpond = |verb: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dewpond"));
            command.arg(verb).arg("--config").arg(at("node.toml"));
            command
        };
        let made = dewpond("init").arg("--admin-dir").arg(at("admin")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let read = |file: &str| std::fs::read_to_string(at("admin").join(file)).unwrap();
        let mut serve = dewpond("serve");
        let log = std::fs::File::create(at("log")).unwrap();
        let process = serve.arg("--end-with-stdin").stdin(Stdio::piped()).stdout(log.try_clone().unwrap());
        let process = process.stderr(log).spawn().unwrap();
        let (authority, admin) = (read("ca.crt"), (read("admin.crt"), read("admin.key").into_bytes()));
        let doors = [client.clone(), admin_at, peer.clone()];
        let cluster = Self { dir, process, doors, authority, admin };
        for _ in 0..600 {
            // It serves when what is asked first of a cluster is done. The tenant may be there from the round before.
            let _ = cluster.tenant("first").await;
            if cluster.issued("first", 0).await.is_ok() {
                return cluster;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not serve:\n{}", cluster.log());
    }

    fn folder(&self) -> NodeFolder {
        NodeFolder::at(&self.dir.path().join("data"))
    }

    /// Writes more into its configuration, hangs up, and waits for what the log says of it.
    async fn reads_again(&self, more: &str, says: &str) {
        let path = self.dir.path().join("node.toml");
        let (before, said) = (std::fs::read_to_string(&path).unwrap(), self.log().matches(says).count());
        std::fs::write(&path, format!("{before}{more}")).unwrap();
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(process, Signal::HUP).unwrap();
        for _ in 0..600 {
            if self.log().matches(says).count() > said {
                return std::fs::write(&path, before).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never says `{says}`:\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// TLS of whoever has this certificate and trusts this cluster's authority.
    fn tls(&self, pair: Option<&Pair>, protocol: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(anyone::Anyone));
        let mut config = match pair {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).unwrap()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    fn channel(&self, door: usize, pair: Option<&Pair>) -> Channel {
        dial::channel(&self.doors[door], self.tls(pair, tls::GRPC)).unwrap()
    }

    /// Whether whoever has this certificate is answered at all, by what anybody may ask.
    async fn says_hello(&self, pair: Option<&Pair>) -> bool {
        let asked = HelloClient::new(self.channel(0, pair)).hello(HelloRequest {}).await;
        asked.is_ok()
    }

    /// Makes a tenant; for how long its history is kept if nothing is said.
    async fn tenant(&self, name: &str) -> Result<u64, tonic::Status> {
        let request = CreateTenantRequest { name: name.to_owned(), ..CreateTenantRequest::default() };
        let made = TenantsClient::new(self.channel(1, Some(&self.admin))).create(request).await?;
        Ok(made.into_inner().tenant.unwrap().history_ms)
    }

    /// A service of a tenant whose certificate holds for so long; 0: as usual.
    async fn service(&self, tenant: &str, valid_ms: u64) -> Pair {
        self.issued(tenant, valid_ms).await.unwrap()
    }

    async fn issued(&self, tenant: &str, valid_ms: u64) -> Result<Pair, tonic::Status> {
        let request = authority::request().unwrap();
        let whose = Some(Whose::Tenant(tenant.to_owned()));
        let asked = IssueRequest { whose, request: request.pem, valid_ms };
        let issued = IdentitiesClient::new(self.channel(1, Some(&self.admin))).issue(asked).await?;
        Ok((issued.into_inner().certificate, request.key.to_vec()))
    }

    /// What a service is told when it reads and writes a row of `acme`: nothing, or the code.
    async fn reaches_acme(&self, pair: &Pair) -> Result<(), Option<u32>> {
        let place = || {
            let (tenant, collection) = ("acme".to_owned(), "c".to_owned());
            Some(Place { tenant, collection, ..Place::default() })
        };
        let told = |status: tonic::Status| node::api::errors::failure_in(&status).map(|failure| failure.code);
        let mut kv = KvClient::new(self.channel(0, Some(pair)));
        let put = PutRequest { place: place(), key: "k".into(), value: "v".into(), ..PutRequest::default() };
        let written = soon(kv.put(put)).await.map_err(told);
        let get = GetRequest { place: place(), key: "k".into(), ..GetRequest::default() };
        let read = soon(kv.get(get)).await.map_err(told);
        assert_eq!(written.as_ref().err(), read.as_ref().err(), "both or none");
        read.map(drop)
    }

    /// Whether the door of peers answers a greeting.
    async fn greets_peer(&self, of: &Self) -> bool {
        let (certificate, key, _) = of.folder().credentials().unwrap();
        let own = of.folder().identity().unwrap();
        let config = self.tls(Some(&(certificate, key.to_vec())), tls::PEER);
        let voice = Voice { node: own.node, log: LogName([1; 16]), incarnation: 1, start: 0 };
        let hello = Hello {
            versions: VERSIONS,
            lane: Lane::Control,
            refusal: None,
            cluster: self.folder().identity().unwrap().cluster,
            by: voice,
        };
        let talk = async {
            let stream = tokio::net::TcpStream::connect(&self.doors[2]).await.ok()?;
            let name = ServerName::try_from(dial::NAME).unwrap();
            let mut stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.ok()?;
            stream.write_all(&hello.encode()).await.ok()?;
            let mut bytes = [0; HELLO_BYTES];
            stream.read_exact(&mut bytes).await.ok()
        };
        soon(talk).await.is_some()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes any server: here it is the server that must be careful.
mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_is_of_this_cluster_now_comes_in_and_reaches_what_is_theirs() {
    let (ours, theirs) = tokio::join!(Cluster::start("ours"), Cluster::start("theirs"));
    for (cluster, name) in [(&ours, "acme"), (&ours, "birch"), (&theirs, "acme")] {
        cluster.tenant(name).await.unwrap();
    }
    let acme = ours.service("acme", 0).await;
    assert_eq!(ours.reaches_acme(&acme).await, Ok(()));
    assert!(ours.says_hello(None).await, "whoever has no certificate may ask who is here");

    // Of another tenant: known here, and refused by name.
    let birch = ours.service("birch", 0).await;
    assert_eq!(ours.reaches_acme(&birch).await, Err(Some(code::NOT_ALLOWED)));
    // Of another cluster, though its tenant has the same name.
    let foreign = theirs.service("acme", 0).await;
    assert_eq!(theirs.reaches_acme(&foreign).await, Ok(()));
    assert_eq!(ours.reaches_acme(&foreign).await, Err(None), "there is no connection to say anything on");
    assert!(!ours.says_hello(Some(&foreign)).await && !ours.says_hello(Some(&theirs.admin)).await);
    // Of another authority that says it is of this cluster.
    let (cluster, now_s) =
        (ours.folder().identity().unwrap().cluster, SystemClock::default().now_ms() / 1_000);
    let forger = Authority::create(cluster, now_s, &SystemEntropy).unwrap();
    for identity in [Identity::service(cluster, "acme").unwrap(), Identity::admin(cluster, "admin").unwrap()]
    {
        let request = authority::request().unwrap();
        let forged = forger.issue(&identity, &[], &request.pem, now_s, &SystemEntropy).unwrap();
        let forged = (forged.pem, request.key.to_vec());
        assert!(!ours.says_hello(Some(&forged)).await);
        assert_eq!(ours.reaches_acme(&forged).await, Err(None));
    }
    // Of yesterday.
    let short = ours.service("acme", 3_000).await;
    assert_eq!(ours.reaches_acme(&short).await, Ok(()), "while it holds");
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    // Whoever comes at the second in which it ends is let in by TLS, and refused by name.
    let refused = ours.reaches_acme(&short).await;
    assert!(matches!(refused, Err(None | Some(2007))), "{refused:?}");

    // A node of another cluster among the peers. One of this cluster is answered, if only that it is the one it calls.
    assert!(ours.greets_peer(&ours).await && theirs.greets_peer(&theirs).await);
    assert!(!ours.greets_peer(&theirs).await && !theirs.greets_peer(&ours).await);

    // None of it has changed anything.
    assert_eq!(ours.reaches_acme(&acme).await, Ok(()));
    for mut cluster in [ours, theirs] {
        assert!(matches!(cluster.process.try_wait(), Ok(None)), "it runs");
        assert!(!cluster.log().contains("panicked"), "{}", cluster.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_makes_a_node_read_again_and_what_is_not_valid_changes_nothing() {
    let cluster = Cluster::start("reads").await;
    let usual = cluster.tenant("before").await.unwrap();
    let hours = |count: u64| count * 3_600_000;
    assert_ne!(usual, hours(7));
    cluster.reads_again("[tenant]\nhistory = \"7h\"\n", "the configuration was read again").await;
    assert_eq!(cluster.tenant("live").await.unwrap(), hours(7));
    cluster.reads_again("[tenant]\nhistory = \"9h\"\nno_such_thing = 1\n", "is not valid").await;
    assert_eq!(cluster.tenant("invalid").await.unwrap(), hours(7), "what held before still does");
    let restart = "[tenant]\nhistory = \"8h\"\n[raft]\nheartbeat = \"60ms\"\n";
    cluster.reads_again(restart, "do not hold before the next start").await;
    // The warning comes a moment before the rest holds.
    let mut names = (0..50).map(|n| format!("both-{n}"));
    for name in &mut names {
        if cluster.tenant(&name).await.unwrap() == hours(8) {
            break;
        }
    }
    assert_eq!(cluster.tenant("after").await.unwrap(), hours(8));
}
