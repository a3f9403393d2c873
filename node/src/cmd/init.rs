//! `dewpond init`: a new cluster, in the folder of its first node.

use super::options::Init;
use super::{Failure, config};
use crate::boot::files;
use crate::boot::init::{self, NewCluster};
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::keys::kms::file::Cost;
use crate::keys::kms::passphrase;
use crate::server::joining::reached_by;
use engine::clock::Clock;
use std::sync::Arc;

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
    let admin = init::init(&node.data_dir, &new, Arc::new(SystemEntropy))?;
    files::make_folder(&options.admin_dir)?;
    for (name, bytes) in [
        ("admin.crt", admin.certificate.as_bytes()),
        ("admin.key", &admin.key[..]),
        ("ca.crt", admin.authority.as_bytes()),
    ] {
        files::replace(&options.admin_dir.join(name), bytes)?;
    }
    println!("cluster {} ({}) is ready to be started: dewpond serve", options.cluster, admin.cluster);
    println!("certificate of {}: {}", options.admin, options.admin_dir.display());
    println!("keep the passphrase: without it nobody opens this cluster, not even from its archives");
    Ok(())
}
