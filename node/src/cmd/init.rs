//! `dewpond init`: a new cluster, in the folder of its first node.

use super::options::Init;
use super::{Failure, config};
use crate::api;
use crate::archive::sites::{self, SiteSetting};
use crate::boot::files;
use crate::boot::init::{self, NewCluster};
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::keys::kms::file::Cost;
use crate::keys::kms::{Passphrase, passphrase};
use crate::restore::hands::Hands;
use crate::restore::rebirth::{self, Asked, Opened};
use crate::restore::target::{shown, target};
use crate::server::Server;
use crate::server::joining::reached_by;
use engine::clock::Clock;
use engine::ids::ClusterId;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Between two looks whether the new cluster is founded, in milliseconds.
const FOUNDED_MS: u64 = 20;

/// Does it, and says what to do next.
///
/// # Errors
/// The configuration; the passphrase; the folder holds a node already, or cannot be written.
pub fn run(options: &Init) -> Result<(), Failure> {
    let config = config::load(&options.from)?;
    let passphrase = passphrase::read(config.node.passphrase_file.as_ref().ok_or(passphrase::NOT_NAMED)?)?;
    let node = &config.node;
    let hosts =
        [&node.advertise.client, &node.advertise.admin, &node.advertise.peer].map(|at| reached_by(at));
    let memory_kib = u32::try_from(node.kms_memory.get() >> 10).unwrap_or(u32::MAX);
    let new = NewCluster {
        name: &options.cluster,
        shards: u32::try_from(config.cluster.shards).unwrap_or(u32::MAX),
        node: (&node.name, &node.region),
        hosts: &hosts,
        admin: &options.admin,
        passphrase: &passphrase,
        cost: Cost { memory_kib, ..Cost::PRODUCTION },
        now_s: SystemClock::default().now_ms() / 1_000,
    };
    let reborn = options.restore.as_ref().map(|site| reborn(options, site, &config)).transpose()?;
    let admin = init::init(&node.data_dir, &new, Arc::new(SystemEntropy))?;
    files::make_folder(&options.admin_dir)?;
    for (name, bytes) in [
        ("admin.crt", admin.certificate.as_bytes()),
        ("admin.key", &admin.key[..]),
        ("ca.crt", admin.authority.as_bytes()),
    ] {
        files::replace(&options.admin_dir.join(name), bytes)?;
    }
    if let Some(reborn) = reborn {
        reborn.carried_out(config, &passphrase)?;
    }
    println!("cluster {} ({}) is ready to be started: dewpond serve", options.cluster, admin.cluster);
    println!("certificate of {}: {}", options.admin, options.admin_dir.display());
    println!("keep the passphrase: without it nobody opens this cluster, not even from its archives");
    Ok(())
}

/// An archive that is opened before anything is made.
struct Reborn {
    opened: Opened,
    runtime: Runtime,
}

fn one_site(what: &str, text: &str) -> Result<SiteSetting, Failure> {
    let mut sites = sites::parse(text).map_err(|why| format!("{what}: {why}"))?;
    match (sites.pop(), sites.is_empty()) {
        (Some(site), true) => Ok(site),
        _ => Err(format!("{what}: name one site, as NAME=file:///FOLDER").into()),
    }
}

/// Opens the archive of the cluster that is to come back: whatever is wrong with it is told before a folder is made.
fn reborn(options: &Init, site: &str, config: &crate::config::Config) -> Result<Reborn, Failure> {
    let unnamed = || -> Failure { "--restore needs --keyring and --at".into() };
    let (keyring, at) = (options.keyring.as_ref(), options.at.as_ref());
    let (keyring, at) = (keyring.ok_or_else(unnamed)?, at.ok_or_else(unnamed)?);
    let file = options.of_passphrase_file.as_ref().or(config.node.passphrase_file.as_ref());
    let passphrase = passphrase::read(file.ok_or(passphrase::NOT_NAMED)?)?;
    let cluster = match &options.of_cluster {
        Some(id) => Some(ClusterId::parse(id).ok_or("--of-cluster: that is no id of a cluster")?),
        None => None,
    };
    let asked = Asked {
        site: one_site("--restore", site)?,
        keyring: one_site("--keyring", keyring)?,
        cluster,
        target: target(at, "")?,
    };
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let clock = Arc::new(SystemClock::default());
    let opened = runtime.block_on(rebirth::open(&asked, &passphrase, clock))?;
    println!("cluster {} comes back as it was at {} ({})", opened.cluster, shown(opened.at), opened.at);
    Ok(Reborn { opened, runtime })
}

impl Reborn {
    /// Restores into the folder that was just made. Its node runs meanwhile and serves nobody.
    fn carried_out(self, config: crate::config::Config, passphrase: &Passphrase) -> Result<(), Failure> {
        let Self { opened, runtime } = self;
        let (config, passphrase) = (Arc::new(config), Passphrase::from(passphrase.to_vec()));
        let report = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let folder = config.node.data_dir.join("rebirth");
            let server = Server::start(config, passphrase, listener, Box::new(api::forward::make)).await?;
            while server.meta().cluster.is_none() {
                tokio::time::sleep(Duration::from_millis(FOUNDED_MS)).await;
            }
            let report = rebirth::carry_out(&opened, &Hands::new(server.clone()), folder).await;
            server.stop(0).await;
            Ok::<_, Failure>(report?)
        })?;
        for name in &report.left_out {
            println!("not restored: {name}");
        }
        println!(
            "{} tenants, {} rows, {} bytes are restored",
            report.tenants.len(),
            report.rows,
            report.bytes
        );
        Ok(())
    }
}
