//! The ways back, done and checked step by step: what one tenant has deleted comes back in place, from the archive and from a delayed node;
//! then the whole cluster is lost, and comes back from the archive of another region.

use super::super::Failure;
use super::canaries::{Canaries, Searched};
use super::check::{FIRST, SECOND, SETTLED_MS, ensure, found_cluster, grow_cluster, join};
use super::clients::{client, make_identity, node_of};
use super::findings::{RECOVERY_SCHEMA, Recovered};
use super::store::{self, Store};
use super::world::World;
use dewpond::wire::{DonateRequest, PlanRequest, RestoreState};
use dewpond::{Client, Past, Stamp};
use futures_util::TryStreamExt as _;
use std::path::{Path, PathBuf};

/// The tenant that is made from the archive.
const THEN: &str = "birch-then";
/// What is deleted, all of it.
const LOST: &str = "customers";
/// Within which something is archived, at every site, in milliseconds.
const ARCHIVED_MS: u64 = 60_000;
/// Within which a restore or a donation ends, in milliseconds.
const RESTORED_MS: u64 = 90_000;

/// Where the archive lies: at home, in another region, and its keys.
struct Sites {
    home: PathBuf,
    copy: PathBuf,
    keyring: PathBuf,
}

impl Sites {
    fn new(folder: &Path) -> Result<Self, Failure> {
        let text = folder.display().to_string();
        ensure(!text.contains(|letter: char| letter.is_whitespace() || ";%\"\\".contains(letter)), || {
            format!("{text} cannot be named in a setting: take a folder with plain letters")
        })?;
        let at = |name: &str| folder.join(name);
        Ok(Self { home: at("archive-eu"), copy: at("archive-us"), keyring: at("keyring") })
    }

    fn copy(&self) -> String {
        format!("copy=file://{}", self.copy.display())
    }

    fn keyring(&self) -> String {
        format!("keys=file://{}", self.keyring.display())
    }

    /// The end of every node's configuration.
    fn settings(&self) -> String {
        format!(
            "{}\n[archive]\nsites = \"home=file://{};role=home;region=eu {};role=copy;region=us\"\nkeyring = \"{}\"\ntick = \"1s\"\n",
            super::SMALL,
            self.home.display(),
            self.copy(),
            self.keyring()
        )
    }
}

/// The ways back, under way.
pub struct Ways {
    world: World,
    store: Store,
    sites: Sites,
    /// What has been found.
    pub found: Recovered,
    begun_ms: u64,
}

impl Ways {
    /// Before the first step, in a folder that is there for nothing else.
    ///
    /// # Errors
    /// The folder cannot be written, or its name cannot stand in a setting; the sample is broken.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        let sites = Sites::new(folder)?;
        let world = World::new(folder, std::env::current_exe()?, &sites.settings())?;
        let found = Recovered { schema: RECOVERY_SCHEMA, ..Recovered::default() };
        let begun_ms = world.now_ms();
        Ok(Self { store: Store::read()?, world, sites, found, begun_ms })
    }

    /// All steps. What was found says how far it came.
    pub async fn run(&mut self) {
        let ended = self.steps().await;
        self.found.seconds = self.seconds_since(self.begun_ms);
        self.found.passed = ended.is_ok();
        self.found.failed = ended.err().map(|why| engine::error::with_sources(&*why).to_string());
    }

    /// Stops whatever runs.
    ///
    /// # Errors
    /// As [`World::stop`].
    pub async fn stop(&mut self) -> Result<(), Failure> {
        self.world.stop().await
    }

    async fn steps(&mut self) -> Result<(), Failure> {
        found_cluster(&mut self.world).await?;
        let admin = self.admin()?;
        let late = self.late_node(&admin).await?;
        self.tell(
            "three nodes serve, a fourth applies everything an hour late, the archive lies in two regions",
        );
        self.import(&admin).await?;
        self.tell("both tenants have every record, and a snapshot lies in the archive");
        self.in_place(&admin).await?;
        self.tell("deleted, and back in place");
        self.out_of_archive(&admin).await?;
        self.tell("deleted, and back from the archive, as a new tenant");
        self.donated_by(&admin, late).await?;
        self.tell("and back from the delayed node, as new versions");
        let last = self.last_word(&admin).await?;
        self.search()?;
        self.tell("nothing readable lies in nodes, archives and keyring");
        self.lose_everything()?;
        self.tell("all nodes are killed, their folders and the archive of their region are gone");
        self.come_back(last).await?;
        self.tell("a new cluster has everything, from the archive of the other region and the keyring");
        Ok(())
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.seconds_since(self.begun_ms));
    }

    fn seconds_since(&self, ms: u64) -> f64 {
        (self.world.now_ms() - ms) as f64 / 1_000.0
    }

    fn admin(&self) -> Result<Client, Failure> {
        client(&self.world, "admin", &[0, 1, 2])
    }

    /// Lets a delayed node join, and waits until it stores what comes in. Says which it is.
    async fn late_node(&mut self, admin: &Client) -> Result<u64, Failure> {
        let place = join(&mut self.world, admin, &["--delay", "1h"]).await?;
        let id = node_of(&self.world, admin, place).await?.id;
        let stores = async || {
            let nodes = admin.admin().delayed().await.ok()?;
            nodes.iter().any(|node| node.node == id && node.received > 0).then_some(())
        };
        self.world.until("the delayed node stores what comes in", SETTLED_MS, stores).await?;
        Ok(id)
    }

    async fn import(&mut self, admin: &Client) -> Result<(), Failure> {
        for name in [FIRST, SECOND] {
            let tenant = client(&self.world, name, &[0, 1, 2])?.tenant(name);
            for batch in self.store.batches() {
                store::write(&tenant, batch).await?;
            }
            self.found.records += self.whole(&self.world, name, &[0, 1, 2]).await?;
        }
        let snapshot = admin.admin().backup_now(true).await?;
        let is_whole = async || {
            let all = admin.admin().backups().await.ok()?;
            all.into_iter().find(|one| one.id == snapshot && ["whole", "proven"].contains(&&*one.state))
        };
        let snapshot = self.world.until("the snapshot is whole", ARCHIVED_MS, is_whole).await?;
        self.found.snapshot_bytes = snapshot.bytes;
        Ok(())
    }

    /// Every record of a tenant is there, with its value, and no other.
    async fn whole(&self, world: &World, tenant: &str, places: &[usize]) -> Result<usize, Failure> {
        let compared = self.store.compare(&client(world, tenant, places)?, tenant).await?;
        ensure(compared.same == self.store.count() && compared.wrong + compared.strange == 0, || {
            format!("{tenant} through {places:?}: {compared:?}")
        })?;
        Ok(compared.same)
    }

    /// Deletes all customers of a tenant, and sees that they are gone. Says which commit did it.
    async fn mistake(&mut self) -> Result<Stamp, Failure> {
        let first = client(&self.world, FIRST, &[0, 1, 2])?;
        let gone = self
            .store
            .of(LOST)
            .fold(first.tenant(FIRST).batch(), |batch, ((collection, key), _)| batch.delete(collection, key));
        let commit = gone.await?;
        let (compared, lost) = (self.store.compare(&first, FIRST).await?, self.store.of(LOST).count());
        ensure(compared.wrong == lost && lost > 0, || format!("after the deletion: {compared:?}"))?;
        self.found.deleted += lost;
        Ok(commit)
    }

    /// Plans a restore and carries it out to its end.
    async fn restore(&mut self, admin: &Client, asked: PlanRequest) -> Result<RestoreState, Failure> {
        let confirm = if asked.in_place { asked.tenant.clone() } else { String::new() };
        let plan = admin.admin().plan_restore(asked).await?.plan;
        let id = admin.admin().apply_restore(plan, &confirm).await?.id;
        let ended = async || {
            let found = admin.admin().restores(id).await.ok()?.into_iter().next()?;
            (!["planned", "running"].contains(&&*found.state)).then_some(found)
        };
        let ended = self.world.until("the restore ends", RESTORED_MS, ended).await?;
        ensure(ended.state == "done", || format!("the restore is {}: {}", ended.state, ended.text))?;
        Ok(ended)
    }

    async fn in_place(&mut self, admin: &Client) -> Result<(), Failure> {
        let commit = self.mistake().await?;
        let begun_ms = self.world.now_ms();
        let asked = PlanRequest {
            tenant: FIRST.to_owned(),
            before: commit.to_string(),
            in_place: true,
            ..PlanRequest::default()
        };
        self.restore(admin, asked).await?;
        self.found.in_place_s = self.seconds_since(begun_ms);
        self.found.in_place = self.whole(&self.world, FIRST, &[0, 1, 2]).await?;
        Ok(())
    }

    async fn out_of_archive(&mut self, admin: &Client) -> Result<(), Failure> {
        let commit = self.mistake().await?;
        self.archived(admin, "home", commit).await?;
        self.look_back(commit).await?;
        let begun_ms = self.world.now_ms();
        let asked = PlanRequest {
            tenant: FIRST.to_owned(),
            before: commit.to_string(),
            into: THEN.to_owned(),
            route: "archive".to_owned(),
            ..PlanRequest::default()
        };
        self.restore(admin, asked).await?;
        self.found.from_archive_s = self.seconds_since(begun_ms);
        make_identity(&self.world, admin, THEN).await?;
        self.found.from_archive = self.whole(&self.world, THEN, &[0, 1, 2]).await?;
        self.found.commit = commit.0;
        Ok(())
    }

    /// What was deleted can be read in the archive as it was, and the life of a key goes back behind its deletion.
    async fn look_back(&mut self, commit: Stamp) -> Result<(), Failure> {
        let tenant = client(&self.world, FIRST, &[0, 1, 2])?.tenant(FIRST);
        let then = tenant.as_of(Stamp(commit.0 - 1)).archived().raw(LOST);
        let rows: Vec<_> = then.scan(..).try_collect().await?;
        for ((_, key), value) in self.store.of(LOST) {
            let found = then.get(key.clone()).await?;
            let is_so = found.is_some_and(|found| found.value == *value)
                && rows.iter().any(|row| row.key == key.as_bytes() && row.version.value == *value);
            ensure(is_so, || format!("{LOST}/{key} before {commit} is not what the archive shows"))?;
            self.found.looked_back += 1;
        }
        ensure(rows.len() == self.found.looked_back, || format!("the archive shows {} rows", rows.len()))?;
        let key = self.store.of(LOST).next().map(|((_, key), _)| key.clone()).unwrap_or_default();
        let life: Vec<Past<_>> =
            tenant.raw(LOST).history(key).archived(Stamp::default()).try_collect().await?;
        let is_so = matches!(&life[..], [Past::Removed(removed), Past::Value(_), ..] if *removed == commit);
        ensure(is_so, || format!("the life of a key has {} versions", life.len()))
    }

    async fn donated_by(&mut self, admin: &Client, node: u64) -> Result<(), Failure> {
        let before = self.found.commit;
        let has_it = async || {
            let nodes = admin.admin().delayed().await.ok()?;
            nodes.iter().any(|one| one.node == node && one.received >= before).then_some(())
        };
        self.world.until("the delayed node has stored the deletion", ARCHIVED_MS, has_it).await?;
        let nodes = admin.admin().delayed().await?;
        let gate = nodes.iter().find(|one| one.node == node).map(|one| one.gate);
        ensure(gate.is_some_and(|gate| gate < before), || "the delayed node is not late".to_owned())?;
        let begun_ms = self.world.now_ms();
        let wish = DonateRequest {
            node,
            tenant: FIRST.to_owned(),
            before,
            collection: LOST.to_owned(),
            ..DonateRequest::default()
        };
        let job = admin.admin().donate(wish).await?;
        let ended = async || {
            let jobs = admin.admin().jobs().await.ok()?;
            jobs.into_iter().find(|one| one.id == job && one.ended_ms > 0)
        };
        let ended = self.world.until("the donation ends", RESTORED_MS, ended).await?;
        ensure(ended.state == "done", || format!("the donation is {}: {}", ended.state, ended.text))?;
        self.found.donated_s = self.seconds_since(begun_ms);
        self.found.donated = self.whole(&self.world, FIRST, &[0, 1, 2]).await?;
        self.whole(&self.world, SECOND, &[0]).await.map(drop)
    }

    /// Waits until every instant up to a commit can be restored from a site.
    async fn archived(&mut self, admin: &Client, site: &str, commit: Stamp) -> Result<(), Failure> {
        let is_there = async || {
            let window = admin.admin().backup_window().await.ok()?;
            let site = window.sites.into_iter().find(|one| one.name == site)?;
            site.spans
                .iter()
                .any(|span| span.from_ms <= commit.ms() && commit.ms() < span.upto_ms)
                .then_some(())
        };
        self.world.until(&format!("{commit} can be restored from {site}"), ARCHIVED_MS, is_there).await
    }

    /// One more write, the last of this cluster; waits until the other region has it.
    async fn last_word(&mut self, admin: &Client) -> Result<Stamp, Failure> {
        let second = client(&self.world, SECOND, &[0, 1, 2])?.tenant(SECOND);
        let Some(((collection, key), value)) = self.store.of(LOST).next() else {
            return Err("the sample has no customers".into());
        };
        let last = second.raw(collection.clone()).put(key.clone(), value.clone()).await?;
        let begun_ms = self.world.now_ms();
        self.archived(admin, "copy", last).await?;
        self.found.until_copied_s = self.seconds_since(begun_ms);
        Ok(last)
    }

    fn search(&mut self) -> Result<(), Failure> {
        let canaries = Canaries::new(self.store.secrets()?);
        // What cannot find a readable byte proves nothing: it has to find one first.
        let control = self.world.folder.join("control");
        std::fs::create_dir(&control)?;
        std::fs::write(control.join("readable"), self.store.secrets()?.concat())?;
        let mut searched = Searched::default();
        canaries.search(&control, &mut searched)?;
        ensure(searched.found.len() == 1, || "the search finds nothing where something is".to_owned())?;
        let mut searched = Searched::default();
        let nodes = self.world.nodes.iter().map(|node| &node.data);
        for folder in nodes.chain([&self.sites.home, &self.sites.copy, &self.sites.keyring]) {
            canaries.search(folder, &mut searched)?;
        }
        (self.found.files, self.found.bytes) = (searched.files, searched.bytes);
        self.found.readable = searched.found.len();
        ensure(searched.found.is_empty(), || format!("readable: {:?}", searched.found))
    }

    /// Kills all nodes, and takes away all that they and their region have kept.
    fn lose_everything(&mut self) -> Result<(), Failure> {
        for node in &mut self.world.nodes {
            node.crash()?;
            std::fs::remove_dir_all(&node.data)?;
        }
        Ok(std::fs::remove_dir_all(&self.sites.home)?)
    }

    /// A new cluster in empty folders has every record of every tenant, through each of its nodes.
    async fn come_back(&mut self, last: Stamp) -> Result<(), Failure> {
        let begun_ms = self.world.now_ms();
        let passphrase = self.world.folder.join("passphrase").display().to_string();
        let folder = self.world.folder.join("again");
        let mut again = World::new(&folder, std::env::current_exe()?, super::SMALL)?;
        let (copy, keyring, at) = (self.sites.copy(), self.sites.keyring(), last.to_string());
        let how =
            ["--restore", &copy, "--keyring", &keyring, "--at", &at, "--of-passphrase-file", &passphrase];
        let admin = grow_cluster(&mut again, &how).await?;
        self.found.come_back_s = self.seconds_since(begun_ms);
        for name in [FIRST, SECOND, THEN] {
            make_identity(&again, &admin, name).await?;
            for place in 0..again.nodes.len() {
                self.found.came_back += self.whole(&again, name, &[place]).await?;
            }
        }
        again.stop().await
    }
}
