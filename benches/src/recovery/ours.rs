//! Our cluster, with an archive: three processes of this same program, loaded, snapshotted, lost, and made anew.

use super::lag::Closed;
use super::plan::{ALONE, CHANGED, VALUE_BYTES};
use crate::Outcome;
use crate::clock::{Stopwatch, System};
use crate::cluster::{COLLECTION, DEADLINE};
use crate::engine::workload;
use bytes::{BufMut as _, Bytes, BytesMut};
use dewpond::wire::{PlanRequest, Snapshot};
use dewpond::{Client, Stamp, Tenant};
use engine::ids::ClusterId;
use node::archive::sites;
use node::cmd::demo::clients::{client, make_identity};
use node::cmd::demo::world::World;
use node::cmd::demo::{FIRST, SECOND, found_cluster};
use node::keys::kms::Passphrase;
use node::restore::rebirth::{self, Asked, Opened};
use node::restore::target::Target;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Rows written by one call.
const BATCH_ROWS: u64 = 64;
/// Those who load, each waiting for its batch.
const LOADERS: u64 = 8;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Within which everything has to happen that is waited for, in seconds.
const WAIT_S: f64 = 600.0;

/// The value that row `number` has in a `generation`: no compression makes it fewer bytes.
pub fn value(number: u64, generation: u64) -> Bytes {
    let mut value = BytesMut::with_capacity(VALUE_BYTES);
    let mut piece = 0;
    while value.len() < VALUE_BYTES {
        value.put_slice(&workload::value(number, generation << 8 | piece));
        piece += 1;
    }
    value.freeze()
}

/// The cluster. Its processes are killed when it is dropped.
pub struct Ours {
    /// Its nodes.
    pub world: World,
    /// Where its archive is; `None`: it has none.
    pub archive: Option<PathBuf>,
    keyring: PathBuf,
}

/// What a restore took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Seconds until the data of the new cluster is whole.
    pub seconds: f64,
    /// Seconds until it serves.
    pub serving_s: f64,
    /// Processor seconds of the restore.
    pub cpu_s: f64,
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Outcome<T> {
    let watch = Stopwatch::start();
    while watch.seconds() < WAIT_S {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("{what}: not within {WAIT_S} s").into())
}

impl Ours {
    /// Starts it.
    ///
    /// # Errors
    /// A node does not come up.
    pub async fn start(folder: &Path, is_archived: bool) -> Outcome<Self> {
        let (archive, keyring) = (folder.join("archive"), folder.join("keyring"));
        let settings = match is_archived {
            true => format!(
                "[archive]\nsites = \"home=file://{}\"\nkeyring = \"keys=file://{}\"\n",
                archive.display(),
                keyring.display()
            ),
            false => String::new(),
        };
        // Not `current_exe()`: its path leads nowhere once a new build has taken the place of the program that runs.
        let mut world = World::new(folder, "/proc/self/exe".into(), &settings)?;
        found_cluster(&mut world).await?;
        Ok(Self { world, archive: is_archived.then_some(archive), keyring })
    }

    fn everywhere(&self) -> Vec<usize> {
        (0..self.world.nodes.len()).collect()
    }

    /// Its administrator.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn admin(&self) -> Outcome<Client> {
        client(&self.world, "admin", &self.everywhere())
    }

    /// One of its tenants.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn tenant(&self, name: &str) -> Outcome<Tenant> {
        Ok(client(&self.world, name, &self.everywhere())?.tenant(name).deadline(DEADLINE))
    }

    /// Processes of its servers.
    ///
    /// # Errors
    /// One has ended.
    pub fn servers(&self) -> Outcome<Vec<u32>> {
        let all: Option<Vec<u32>> = self.world.nodes.iter().map(|node| node.process()).collect();
        all.ok_or_else(|| "a node has ended".into())
    }

    /// Writes rows: one in [`ALONE`] of the first tenant, the others of the second;
    /// in a later `generation` only one in [`CHANGED`] of all. Returns the last stamp.
    ///
    /// # Errors
    /// They are not known to be written.
    pub async fn write(&self, rows: u64, generation: u64) -> Outcome<Stamp> {
        let (first, second) = (self.tenant(FIRST)?, self.tenant(SECOND)?);
        let is_meant = move |number: u64| generation == 0 || workload::mix(number).is_multiple_of(CHANGED);
        let loaders = (0..LOADERS).map(|loader| {
            let (first, second) = (first.clone(), second.clone());
            tokio::spawn(async move {
                let mut last = Stamp::default();
                for batch in (loader..rows.div_ceil(BATCH_ROWS)).step_by(LOADERS as usize) {
                    let numbers = batch * BATCH_ROWS..rows.min((batch + 1) * BATCH_ROWS);
                    let numbers: Vec<u64> = numbers.filter(|number| is_meant(*number)).collect();
                    let tenant = if batch % ALONE == 0 { &first } else { &second };
                    if !numbers.is_empty() {
                        let write = numbers.iter().fold(tenant.batch(), |write, number| {
                            write.put(COLLECTION, workload::key(*number), value(*number, generation))
                        });
                        last = last.max(write.await?);
                    }
                }
                Outcome::Ok(last)
            })
        });
        let mut last = Stamp::default();
        for loader in loaders.collect::<Vec<_>>() {
            last = last.max(loader.await??);
        }
        Ok(last)
    }

    /// Takes a snapshot, and waits until it is whole.
    ///
    /// # Errors
    /// It fails.
    pub async fn snapshot(&self) -> Outcome<Snapshot> {
        let admin = self.admin()?;
        let id = admin.admin().backup_now(false).await?;
        let found = until("a snapshot", async || {
            let all = admin.admin().backups().await.ok()?;
            all.into_iter().find(|one| one.id == id && one.state != "running" && one.state != "half")
        });
        let found = found.await?;
        if found.state == "failed" { Err("the snapshot has failed".into()) } else { Ok(found) }
    }

    /// Makes one tenant anew out of the archive, beside the one that lives. Returns seconds, and bytes of its rows.
    ///
    /// # Errors
    /// It fails.
    pub async fn tenant_alone(&self, upto: Stamp) -> Outcome<(f64, u64)> {
        let admin = self.admin()?;
        let watch = Stopwatch::start();
        let asked = PlanRequest {
            tenant: FIRST.to_owned(),
            at: upto.to_string(),
            into: "then".to_owned(),
            route: "archive".to_owned(),
            ..PlanRequest::default()
        };
        let plan = admin.admin().plan_restore(asked).await?.plan;
        let id = admin.admin().apply_restore(plan, "").await?.id;
        let ended = until("a restore", async || {
            let found = admin.admin().restores(id).await.ok()?.into_iter().next()?;
            (!["planned", "running"].contains(&&*found.state)).then_some(found)
        });
        let ended = ended.await?;
        if ended.state != "done" {
            return Err(format!("a restore is {}: {}", ended.state, ended.text).into());
        }
        Ok((watch.seconds(), ended.bytes))
    }

    /// What the markers of its archive say.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn closed(&self) -> Outcome<Closed> {
        let opened = self.opened(Target::Latest).await?;
        Closed::read(self.archive.as_deref().ok_or("there is no archive")?, &opened.sources.archive)
    }

    /// Waits until everything up to a stamp is archived.
    ///
    /// # Errors
    /// It is not.
    pub async fn archived(&self, upto: Stamp) -> Outcome<()> {
        let is_there =
            async || self.closed().await.ok().filter(|closed| closed.frontier_ms() > upto.ms()).map(drop);
        until("the archive has it", is_there).await
    }

    fn asked(&self, target: Target) -> Outcome<Asked> {
        let archive = self.archive.as_deref().ok_or("there is no archive")?;
        let site = |name: &str, folder: &Path| {
            let mut sites = sites::parse(&format!("{name}=file://{}", folder.display()))?;
            sites.pop().ok_or_else(|| "no site".to_owned())
        };
        let cluster = std::fs::read_dir(archive.join("dewpond"))?.next().ok_or("the archive is empty")??;
        Ok(Asked {
            site: site("home", archive)?,
            keyring: site("keys", &self.keyring)?,
            cluster: cluster.file_name().to_str().and_then(ClusterId::parse),
            target,
        })
    }

    /// Its archive, with its keys.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn opened(&self, target: Target) -> Outcome<Opened> {
        let secret = std::fs::read(self.world.folder.join("passphrase"))?;
        let opened = rebirth::open(&self.asked(target)?, &Passphrase::from(secret), Arc::new(System)).await?;
        Ok(opened)
    }

    /// Kills all nodes.
    ///
    /// # Errors
    /// The system does not.
    pub fn lose(&mut self) -> Outcome<()> {
        for node in &mut self.world.nodes {
            node.crash()?;
            std::fs::remove_dir_all(&node.data)?;
        }
        Ok(())
    }

    /// Makes a new cluster of one out of the archive, in `folder`, and starts it.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn come_back(&self, at: Stamp, folder: &Path) -> Outcome<Took> {
        let archive = self.archive.as_deref().ok_or("there is no archive")?;
        let mut again = World::new(folder, "/proc/self/exe".into(), "")?;
        let place = again.add()?;
        let text = |path: PathBuf| path.display().to_string();
        let (admin, passphrase) =
            (text(folder.join("identities/admin")), text(self.world.folder.join("passphrase")));
        let (site, keyring) =
            (format!("home=file://{}", archive.display()), format!("keys=file://{}", self.keyring.display()));
        let at = at.to_string();
        let words = [
            "init",
            "--admin-dir",
            &admin,
            "--restore",
            &site,
            "--keyring",
            &keyring,
            "--at",
            &at,
            "--of-passphrase-file",
            &passphrase,
        ];
        let before = crate::process::cpu_seconds_of_ended()?;
        let watch = Stopwatch::start();
        again.run(place, &words)?;
        let (seconds, cpu_s) = (watch.seconds(), crate::process::cpu_seconds_of_ended()? - before);
        again.start(place)?;
        let admin = client(&again, "admin", &[place])?;
        until("the new cluster serves", async || make_identity(&again, &admin, FIRST).await.ok()).await?;
        let records = client(&again, FIRST, &[place])?.tenant(FIRST).raw(COLLECTION);
        until("the new cluster answers", async || records.get(workload::key(0)).await.ok().flatten()).await?;
        Ok(Took { seconds, serving_s: watch.seconds(), cpu_s })
    }
}
