//! A cluster of one in this process, for tests of applications: no imitation but a whole node, with its access checks, groups of one voter,
//! engine and sealing, over TLS on loopback, in a folder that goes with it.

use crate::api;
use crate::boot::init::{self, FirstAdmin, NewCluster};
use crate::clock::SystemClock;
use crate::cmd::Failure;
use crate::config;
use crate::entropy::{self, SystemEntropy};
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::Cost;
use crate::server::Server;
use engine::clock::Clock as _;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Within which it serves, in milliseconds.
const START_MS: u64 = 30_000;
/// How long it may take to hand over, which a node alone cannot.
const NO_GRACE_MS: u64 = 0;

/// A cluster of one.
pub struct Double {
    server: Arc<Server>,
    admin: FirstAdmin,
    addresses: [String; 2],
    _folder: TempDir,
}

impl Double {
    /// Founds it, and waits until it serves.
    ///
    /// # Errors
    /// No port, no folder, or what keeps a node from starting.
    pub async fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("node");
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?);
        }
        let at = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
        let [peer, client, admin]: [TcpListener; 3] = listeners.try_into().map_err(|_| "three doors")?;
        let (own, clients, admins) = (at(&peer)?, at(&client)?, at(&admin)?);
        let flags = [
            ("name", "double".to_owned()),
            ("region", "here".to_owned()),
            ("data_dir", data.display().to_string()),
            ("advertise.peer", own),
            ("advertise.client", clients.clone()),
            ("advertise.admin", admins.clone()),
            ("log.segment_bytes", "32 MiB".to_owned()),
            ("engine.memtable_bytes", "4 MiB".to_owned()),
            ("engine.cache_bytes", "4 MiB".to_owned()),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value));
        let config = Arc::new(config::file::load(None, [], flags)?);
        let secret: [u8; 24] = entropy::random(&SystemEntropy);
        let passphrase = || Passphrase::from(secret.map(|byte| b'a' + byte % 26).to_vec());
        let new = NewCluster {
            name: "double",
            shards: 1,
            node: ("double", "here"),
            hosts: &["127.0.0.1".to_owned()],
            admin: "admin",
            passphrase: &passphrase(),
            cost: Cost::LEAST,
            now_s: SystemClock::default().now_ms() / 1_000,
        };
        let founded = init::init(&data, &new, Arc::new(SystemEntropy))?;
        let server = Server::start(config, passphrase(), peer, Box::new(api::forward::make)).await?;
        server.serve((client, admin))?;
        let double = Self { server, admin: founded, addresses: [clients, admins], _folder: folder };
        let serves = async {
            while double.server.meta().cluster.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            served = tokio::time::timeout(Duration::from_millis(START_MS), serves) => served?,
            why = double.server.failed() => return Err(why.into()),
        }
        Ok(double)
    }

    /// Where clients reach it.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.addresses[0]
    }

    /// Where administrators reach it.
    #[must_use]
    pub fn admin_endpoint(&self) -> &str {
        &self.addresses[1]
    }

    /// The certificate of its authority, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.admin.authority
    }

    /// The certificate of an administrator, PEM.
    #[must_use]
    pub fn admin_certificate(&self) -> &str {
        &self.admin.certificate
    }

    /// The key of that, PEM.
    #[must_use]
    pub fn admin_key(&self) -> &[u8] {
        &self.admin.key
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.server.stop(NO_GRACE_MS).await;
    }
}
