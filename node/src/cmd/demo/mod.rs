//! `dewpond demo`: a cluster of three nodes on this machine, with TLS, two tenants and the records of a shop; to play with, or to check.

pub mod canaries;
mod check;
pub mod clients;
mod findings;
mod recovery;
mod store;
pub mod world;

use super::Failure;
use super::options::{Check, Demo};
use crate::entropy::{self, SystemEntropy};
pub use check::SECOND;
use check::Tour;
pub use check::{FIRST, found_cluster};
use clients::{client, write_contexts};
use recovery::Ways;
use std::path::{Path, PathBuf};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use world::World;

/// What its nodes are told beyond where they live: little memory, so that records soon lie in tables.
const SMALL: &str = "[engine]\nmemtable_bytes = \"1 MiB\"\n";

/// Where everything lies. It goes with this, unless it is to be kept.
struct Ground {
    folder: PathBuf,
    is_kept: bool,
}

impl Ground {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let folder = match keep {
            Some(folder) if folder.exists() => {
                return Err(format!("{} exists already: name a new folder", folder.display()).into());
            }
            Some(folder) => std::path::absolute(folder)?,
            None => {
                std::env::temp_dir().join(format!("dewpond-demo-{:016x}", entropy::random_id(&SystemEntropy)))
            }
        };
        Ok(Self { folder, is_kept: keep.is_some() })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Runs it.
///
/// # Errors
/// A node, or a step of the tour.
pub fn run(options: &Demo) -> Result<(), Failure> {
    let ground = Ground::new(options.keep.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ends = signal(SignalKind::terminate())?;
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut shown: Shown = match options.check {
            Some(Check::Recovery) => Shown::Ways(Box::new(Ways::new(&ground.folder)?)),
            _ => Shown::Tour(Box::new(World::new(&ground.folder, std::env::current_exe()?, SMALL)?)),
        };
        tokio::select! {
            ended = shown.run(options.check.is_some(), ground.is_kept) => return ended,
            _ = ends.recv() => {}
            _ = interrupts.recv() => {}
        }
        eprintln!("the nodes stop");
        match &mut shown {
            Shown::Ways(ways) => ways.stop().await?,
            Shown::Tour(world) => world.stop().await?,
        }
        if options.check.is_some() { Err("the check was stopped on its way".into()) } else { Ok(()) }
    })
}

/// What is shown.
enum Shown {
    /// A cluster to play with, or its tour.
    Tour(Box<World>),
    /// The ways back.
    Ways(Box<Ways>),
}

impl Shown {
    async fn run(&mut self, is_check: bool, is_kept: bool) -> Result<(), Failure> {
        match self {
            Self::Ways(ways) => {
                ways.run().await;
                told(&ways.found, ways.found.failed.clone())
            }
            Self::Tour(world) if is_check => {
                let mut tour = Tour::new(world)?;
                tour.run().await;
                told(&tour.found, tour.found.failed.clone())
            }
            Self::Tour(world) => play(world, is_kept).await,
        }
    }
}

/// Prints what was found, as one line.
fn told(found: &impl serde::Serialize, failed: Option<String>) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(found)?);
    failed.map_or(Ok(()), |why| Err(why.into()))
}

/// Sets the cluster up, says what to type, and does nothing more.
async fn play(world: &mut World, is_kept: bool) -> Result<(), Failure> {
    eprintln!("three nodes are starting in {}", world.folder.display());
    found_cluster(world).await?;
    let store = Store::read()?;
    let places: Vec<usize> = (0..world.nodes.len()).collect();
    let tenant = client(world, FIRST, &places)?.tenant(FIRST);
    for batch in store.batches() {
        store::write(&tenant, batch).await?;
    }
    let contexts = write_contexts(world, &[FIRST, SECOND, "admin"])?;
    println!("{}", tour_text(world, &contexts, store.count(), is_kept));
    std::future::pending().await
}

fn tour_text(world: &World, contexts: &Path, records: usize, is_kept: bool) -> String {
    let mut text = format!(
        "\nA cluster of three nodes serves. Tenant {FIRST} has the {records} records of a shop, tenant {SECOND} is empty.\n\n"
    );
    for node in &world.nodes {
        let (clients, admins) = (node.client(), node.admin());
        text += &format!(
            "  {}  region {}  clients {clients}  administrators {admins}  figures {}\n",
            node.name,
            node.region,
            node.metrics()
        );
    }
    let contexts = contexts.display();
    let kept = if is_kept { "stays" } else { "is removed" };
    text += &format!(
        "
In another terminal, in the same folder:

  export DEW_CONFIG={contexts}
  alias dew='cargo run --quiet --release -p dewpond --features cli --bin dew --'
  dew get -c customers 000001                      one record
  dew scan -c invoices --limit 5                   some records
  dew put -c customers 000001 '{{\"name\":\"you\"}}'   write over it,
  dew history -c customers 000001                  see both versions,
  dew get -c customers 000001 --as-of -1m          and read it as it was
  dew --context {SECOND} get -t {FIRST} -c customers 000001   refused: another tenant's identity
  dew --context admin status                       how the cluster is
  dew --context admin group list                   who leads what
  dew --context admin key rotate data {FIRST}      new keys for a tenant

Kill a node (kill -9, see `pgrep -f end-with-stdin`) and read again: another one leads within seconds.
Everything lies in {}; the nodes' logs are n1.log, n2.log and n3.log there.
It {kept} when you stop the demo with ctrl-c.",
        world.folder.display()
    );
    text
}
