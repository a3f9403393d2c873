//! Archiving while the node runs: it takes over groups that nobody archives, ships their ticks, and closes ticks if it leads the meta group.
//! What is shipped when is decided in [`crate::archive`]; each step is a conditional command, so whoever was too slow finds out.

use super::Server;
use super::disk::Level;
use crate::archive::collect::Come;
use crate::archive::manifest::log::GroupRow;
use crate::archive::naming::{TickEnd, keyring_root, root};
use crate::archive::ship::{Shipment, Shipper, ShipperParts};
use crate::archive::site::{Site, open};
use crate::archive::sites::{Role, SiteSetting};
use crate::archive::{Error, ship};
use crate::config::Archive;
use crate::finding::{self, Finding};
use crate::limits::{ARCHIVE_BEHIND_MS, ARCHIVE_LEASE_MS, ARCHIVE_LOOK_MS, ARCHIVE_STALLED_MS, CHANGE_MS};
use crate::meta::archive_change::ArchiveChange;
use crate::meta::archive_row::ArchivedRow;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::running::replicas::{Running, Seated};
use engine::Stamp;
use engine::clock::Clock;
use engine::ids::NodeId;
use proto::errors::code;
use raft::time::BootClock;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A node that leads a group leaves it to a follower for so long, in milliseconds.
const LEADER_WAITS_MS: u64 = 3_000;

/// What is known of archiving here.
#[derive(Clone, Debug, Default)]
pub struct ArchivingKnown {
    /// Why the last shipment was not put, if it was not.
    pub failure: Option<String>,
    /// Why the last marker was not put, if it was not.
    pub close_failure: Option<String>,
    /// Why keys were not kept, if they were not.
    pub keyring_failure: Option<String>,
    /// Why a snapshot does not go on, if it does not.
    pub snapshot_failure: Option<String>,
    /// Sites that do not follow, and why.
    pub pull_failures: BTreeMap<String, String>,
    /// Sites at which nothing is collected, and why.
    pub uncollected: BTreeMap<String, String>,
    /// Objects collected since the start.
    pub collected: u64,
    /// Gaps that nobody has accepted, as whoever leads the meta group has found them at the home site.
    pub open_gaps: u64,
    /// Up to where further sites have everything, as whoever leads the meta group has brought it there.
    pub carried: BTreeMap<String, Stamp>,
    /// Groups that cannot be read here, and why.
    pub unread: BTreeMap<GroupId, String>,
    /// Gaps this node has left since the start.
    pub gaps: u64,
    /// Bytes shipped since the start.
    pub shipped_bytes: u64,
    /// Shipments reported since the start.
    pub shipments: u64,
    /// Markers put since the start.
    pub markers: u64,
}

/// Archiving of one node.
pub struct Archiving {
    /// As it is configured.
    pub config: Archive,
    /// When this node was started: milliseconds since 1970.
    since_ms: u64,
    home: Mutex<Option<Arc<Site>>>,
    keyring: Mutex<Option<Arc<Site>>>,
    /// Writes are refused: recovery goes first.
    refuses_writes: AtomicBool,
    known: Mutex<ArchivingKnown>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Archiving {
    /// Of this configuration, at this time in milliseconds since 1970; nothing is opened yet.
    #[must_use]
    pub fn new(config: Archive, now_ms: u64) -> Self {
        let (home, keyring, known) = (Mutex::default(), Mutex::default(), Mutex::default());
        let refuses_writes = AtomicBool::new(false);
        Self { config, since_ms: now_ms, home, keyring, refuses_writes, known }
    }

    /// Whether anything is archived.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.config.sites.is_empty()
    }

    /// Seconds of a tick.
    #[must_use]
    pub fn tick_s(&self) -> u64 {
        (self.config.tick.ms() / 1_000).max(1)
    }

    /// What is known.
    #[must_use]
    pub fn known(&self) -> ArchivingKnown {
        lock(&self.known).clone()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut ArchivingKnown)) {
        change(&mut lock(&self.known));
    }

    /// How long nobody else may archive a group, in milliseconds.
    fn lease_ms(&self) -> u64 {
        ARCHIVE_LEASE_MS.max(3 * self.config.tick.ms())
    }

    /// The home site, opened if it can be.
    ///
    /// # Errors
    /// `Site`: it cannot. `Engine`: nothing is archived.
    pub fn home(&self, server: &Server) -> Result<Arc<Site>, Error> {
        let setting = self.config.sites.first().ok_or(engine::Error::Invalid("nothing is archived"))?;
        let mut home = lock(&self.home);
        if let Some(home) = &*home {
            return Ok(home.clone());
        }
        let site = Arc::new(open::site(setting, root(server.cluster), server.clock.clone())?);
        *home = Some(site.clone());
        Ok(site)
    }

    /// Where wrapped keys are kept, opened if it can be; `None`: nowhere.
    ///
    /// # Errors
    /// `Site`: it cannot.
    pub fn keyring(&self, server: &Server) -> Result<Option<Arc<Site>>, Error> {
        let Some(setting) = &self.config.keyring else { return Ok(None) };
        let mut keyring = lock(&self.keyring);
        if keyring.is_none() {
            let site = open::site(setting, keyring_root(server.cluster), server.clock.clone())?;
            *keyring = Some(Arc::new(site));
        }
        Ok(keyring.clone())
    }
}

/// What a node knows of its shipping from one look to the next.
struct Run {
    parts: ShipperParts,
    shipper: Arc<Mutex<Shipper>>,
    shipment: Option<Shipment>,
    last: TickEnd,
    number: u64,
    /// Since when groups are free that are led here, by the clock that nobody sets.
    free_since: BTreeMap<GroupId, u64>,
    retry_ms: u64,
}

impl Server {
    /// Ships what is committed, until the tasks end.
    pub(super) async fn archive(self: Arc<Self>) {
        let parts = ShipperParts {
            node: self.node,
            sealer: self.keys.sealer().clone(),
            entropy: Arc::new(crate::entropy::SystemEntropy),
            disk: crate::surroundings::disk(&self.folder),
            spool: self.folder.join("archive"),
            feeds: self.changes.feeds().clone(),
        };
        let shipper = loop {
            match Shipper::open(parts.clone()) {
                Ok(shipper) => break Arc::new(Mutex::new(shipper)),
                Err(error) => self.archiving.note(|known| {
                    known.failure = Some(engine::error::with_sources(&error));
                }),
            }
            tokio::time::sleep(Duration::from_millis(CHANGE_MS)).await;
        };
        let (shipment, last, number, retry_ms) = (None, TickEnd(0), 0, 0);
        let mut run = Run { parts, shipper, shipment, last, number, free_since: BTreeMap::new(), retry_ms };
        loop {
            tokio::time::sleep(Duration::from_millis(ARCHIVE_LOOK_MS)).await;
            let Ok(running) = self.running().cloned() else { continue };
            let meta = self.meta();
            tell_tablets(&running, &meta, self.carried_floor(&meta));
            if meta.cluster.is_some() && !self.clock.is_disputed() {
                self.look_at_archive(&running, &meta, &mut run).await;
            }
        }
    }

    async fn look_at_archive(&self, running: &Arc<Running>, meta: &MetaView, run: &mut Run) {
        let now_ms = self.clock.now_ms();
        self.take_archiving(running, meta, run).await;
        let held: Vec<(Arc<Seated>, ArchivedRow)> = running
            .replicas()
            .into_iter()
            .filter_map(|seated| {
                let row = meta.archived.get(&seated.receiver.group().id())?;
                (row.holder == self.node && row.until_ms > now_ms).then_some((seated, *row))
            })
            .collect();
        lock(&run.shipper).listen(&held.iter().map(|(_, row)| row.group).collect());
        let stalled = self.is_stalled();
        let recovers = !self.archiving.config.protects_availability;
        self.archiving.refuses_writes.store(stalled && recovers, Ordering::Relaxed);
        if stalled && !recovers && run.shipment.as_ref().is_none_or(|one| !one.is_of_nothing()) {
            self.give_up_span(&held, run);
        }
        if run.shipment.is_some() {
            if self.clock.boot_ms() >= run.retry_ms {
                self.ship(run).await;
            }
            return;
        }
        let (tick_s, grace_ms) = (self.archiving.tick_s(), self.archiving.config.tick.ms() / 10);
        let end = TickEnd::before(now_ms.saturating_sub(grace_ms), tick_s);
        if end <= run.last || held.is_empty() {
            return;
        }
        run.last = end;
        let (shipper, gone) = (run.shipper.clone(), self.purged.all());
        let collecting = crate::work::aside(move || lock(&shipper).collect(&held, end, &gone)).await;
        match collecting {
            Ok(Ok((shipment, unread))) => {
                for (group, cause) in &unread {
                    tracing::warn!(%group, cause, "a group is not archived now");
                }
                self.archiving.note(|known| known.unread = unread);
                if !shipment.is_empty() {
                    run.shipment = Some(shipment);
                    self.ship(run).await;
                }
            }
            Ok(Err(error)) => self.not_shipped(run, engine::error::with_sources(&error), true),
            Err(_) => self.not_shipped(run, "collecting panicked".to_owned(), true),
        }
    }

    /// Takes over the groups here that nobody archives.
    async fn take_archiving(&self, running: &Running, meta: &MetaView, run: &mut Run) {
        let (now_ms, boot_ms) = (self.clock.now_ms(), self.clock.boot_ms());
        let lease_ms = self.archiving.lease_ms();
        let mut free = BTreeSet::new();
        for seated in running.replicas() {
            let group = seated.receiver.group();
            let row = meta.archived.get(&group.id()).copied().unwrap_or_default();
            let is_ours = row.holder == self.node && row.until_ms > now_ms + lease_ms / 2;
            if is_ours || !row.is_free_for(self.node, now_ms) || !meta.shards.contains_key(&group.id()) {
                run.free_since.remove(&group.id());
                continue;
            }
            let since = *run.free_since.entry(group.id()).or_insert(boot_ms);
            let is_alone = group.standing().membership.1.seats.len() <= 1;
            let waits = group.leads() && !is_alone && row.holder != self.node;
            if !waits || boot_ms.saturating_sub(since) >= LEADER_WAITS_MS {
                free.insert(group.id());
            }
        }
        if free.is_empty() {
            return;
        }
        let change = ArchiveChange::Take(self.node, now_ms + lease_ms, free.into_iter().collect());
        match self.change(MetaCommand::new(vec![Change::Archive(change)]), CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => drop(self.refresh(CHANGE_MS).await),
            // Somebody else was first: the next look sees it.
            other => tracing::debug!(?other, "no groups are taken over to be archived"),
        }
    }

    /// Puts what was collected, and reports it.
    async fn ship(&self, run: &mut Run) {
        let Some(shipment) = &mut run.shipment else { return };
        let put = match self.archiving.home(self) {
            _ if shipment.is_put() => Ok(()),
            Ok(home) => Shipper::put(&run.parts, &home, shipment).await,
            Err(error) => Err(error),
        };
        if let Err(error) = put {
            // What a site that is away did not take is put later; anything else is collected again.
            let is_lost = !ship::is_away(&error);
            return self.not_shipped(run, engine::error::with_sources(&error), is_lost);
        }
        let meta = self.meta();
        let now_ms = self.clock.now_ms();
        let number = shipment.number.unwrap_or_else(|| next_number(&meta, self.node, run.number, now_ms));
        (shipment.number, run.number) = (Some(number), number);
        let mut report = shipment.report(self.node, number);
        report.groups.iter_mut().for_each(|row| row.parents = parents(&meta, row));
        if report.is_too_large() {
            report.files.iter_mut().for_each(|file| file.tenants.clear());
        }
        if report.is_too_large() {
            return self.not_shipped(run, "more was collected than one report can name".to_owned(), true);
        }
        let change = ArchiveChange::Report(report, now_ms + self.archiving.lease_ms());
        let command = MetaCommand::new(vec![Change::Archive(change)]);
        match self.change(command, CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => {
                let _ = self.refresh(CHANGE_MS).await;
                self.shipped(run);
            }
            Ok(MetaReply::Refused { reason, .. }) => {
                // Perhaps an earlier try was heard after all.
                let is_known = self.refresh(CHANGE_MS).await.is_ok();
                let Some(shipment) = &run.shipment else { return };
                if is_known && shipment.is_archived(&self.meta().archived) {
                    self.shipped(run);
                } else if is_known {
                    self.not_shipped(run, format!("the report was refused: {reason}"), true);
                }
            }
            other => self.not_shipped(run, format!("the meta group does not answer: {other:?}"), false),
        }
    }

    fn shipped(&self, run: &mut Run) {
        let Some(shipment) = run.shipment.take() else { return };
        self.archiving.note(|known| {
            if known.failure.take().is_some() {
                tracing::info!("the archive takes what is committed again");
            }
            known.shipped_bytes += shipment.bytes();
            known.shipments += 1;
        });
    }

    /// Notes why nothing was shipped. `is_lost`: what was collected is forgotten, and collected again.
    fn not_shipped(&self, run: &mut Run, why: String, is_lost: bool) {
        self.archiving.note(|known| {
            if known.failure.as_ref() != Some(&why) {
                tracing::warn!(why, "the archive does not take what is committed: it is tried again");
            }
            known.failure = Some(why);
        });
        run.retry_ms = self.clock.boot_ms() + self.archiving.config.tick.ms() / 2;
        if is_lost {
            run.shipment = None;
            lock(&run.shipper).reset();
        }
    }

    /// How far the archive is, in words; empty: nothing is archived.
    #[must_use]
    pub fn archive_line(&self) -> String {
        let (Some(home), Some(lag_ms)) = (self.archiving.config.sites.first(), self.archive_lag_ms()) else {
            return String::new();
        };
        let meta = self.meta();
        let snapshot = meta.snapshot.as_ref().filter(|row| row.last.0 > 0);
        let age = snapshot.map_or("no snapshot".to_owned(), |row| {
            let age_s = (self.clock.now_ms() / 1_000).saturating_sub(row.last.0);
            format!("newest snapshot {} min old", age_s / 60)
        });
        format!("{} {}.{} s behind, {age}", home.name, lag_ms / 1_000, lag_ms % 1_000 / 100)
    }

    /// Figures of archiving, as metrics tell them.
    pub(super) fn archive_figures(&self) -> [u64; 8] {
        let known = self.archiving.known();
        let lag_ms = self.archive_lag_ms().unwrap_or(0);
        let unread = known.unread.len() as u64;
        let (put, collected) = (known.markers, known.collected);
        let (gaps, rate) = (known.open_gaps, self.calm.rate_bytes_s());
        [lag_ms, known.shipped_bytes, known.shipments, put, unread, collected, gaps, rate]
    }

    /// What a person should know of the archive.
    pub(super) fn archive_findings(&self) -> Vec<Finding> {
        let (known, mut findings) = (self.archiving.known(), Vec::new());
        let causes = [&known.failure, &known.close_failure].into_iter().flatten();
        let unread = known.unread.iter().map(|(group, why)| format!("group {group} cannot be read: {why}"));
        let causes: Vec<String> = causes.cloned().chain(unread).collect();
        let cause = if causes.is_empty() { "no cause is known here".to_owned() } else { causes.join("; ") };
        let lag_ms = self.archive_lag_ms().unwrap_or(0);
        let text = format!("the archive lies {} s behind: {cause}", lag_ms / 1_000);
        if lag_ms >= ARCHIVE_STALLED_MS {
            findings.push(finding::ARCHIVE_STALLED.found(text));
        } else if lag_ms >= ARCHIVE_BEHIND_MS {
            findings.push(finding::ARCHIVE_BEHIND.found(text));
        }
        let gaps = known.gaps.max(known.open_gaps);
        if gaps > 0 {
            let text =
                format!("{gaps} spans were committed and never archived, and nobody has accepted that");
            findings.push(finding::ARCHIVE_GAP.found(text));
        }
        for (site, why) in known.pull_failures {
            findings.push(finding::SITE_BEHIND.found(format!("the site {site} does not follow: {why}")));
        }
        for (site, why) in known.uncollected {
            findings.push(finding::RETENTION_REFUSED.found(format!("nothing is collected at {site}: {why}")));
        }
        if let Some(why) = known.keyring_failure {
            findings.push(finding::KEYRING_UNKEPT.found(format!("the wrapped keys are not kept: {why}")));
        }
        if let Some(why) = known.snapshot_failure {
            findings.push(finding::SNAPSHOT_STUCK.found(format!("a snapshot does not go on: {why}")));
        }
        findings
    }

    /// Whether the archive has stood still for so long that the disk is nearly full: what is not archived is kept here.
    fn is_stalled(&self) -> bool {
        self.disk.known().level >= Level::Tight
            && self.archive_lag_ms().is_some_and(|lag_ms| lag_ms >= ARCHIVE_STALLED_MS)
    }

    /// Whether a write may come in, as far as the archive is concerned.
    ///
    /// # Errors
    /// `ARCHIVE_STALLED`: recovery goes first, and the archive stands still.
    pub(super) fn check_archive(&self) -> Result<(), Refused> {
        match self.archiving.refuses_writes.load(Ordering::Relaxed) {
            true => Err(Refused::new(code::ARCHIVE_STALLED).after(self.archiving.config.tick.ms())),
            false => Ok(()),
        }
    }

    /// Lets go what cannot be archived: availability goes first, and the archive stands still. The gap is told in the next marker.
    fn give_up_span(&self, held: &[(Arc<Seated>, ArchivedRow)], run: &mut Run) {
        let come: Vec<Come> = held
            .iter()
            .filter_map(|(seated, row)| {
                let machine = seated.receiver.group().machine();
                let note = machine.applied();
                let (upto, index) = (note.last, note.applied?.index);
                let (group, begins) = (row.group, !row.has_begun);
                let gap_from = row.has_begun.then_some(row.upto);
                (upto > row.upto).then_some(Come { group, after: upto, upto, index, begins, gap_from })
            })
            .collect();
        for one in &come {
            tracing::error!(group = %one.group, upto = %one.upto, "what was committed is not archived, and is let go: a gap");
        }
        lock(&run.shipper).reset();
        self.archiving.note(|known| known.gaps += come.len() as u64);
        run.shipment = Some(Shipment::of_nothing(come));
    }

    /// Up to where every further site that is required has everything: what is behind stays here. `None`: none is, or availability goes first and
    /// the disk is nearly full.
    fn carried_floor(&self, meta: &MetaView) -> Option<Stamp> {
        let is_required = |site: &SiteSetting| site.role == Role::Copy && site.is_required;
        let lets_go = self.archiving.config.protects_availability && self.disk.known().level >= Level::Tight;
        (!lets_go && self.archiving.config.sites.iter().any(is_required)).then_some(meta.carried)
    }

    /// How far behind now the least archived group is, in milliseconds; `None`: nothing is archived.
    #[must_use]
    pub fn archive_lag_ms(&self) -> Option<u64> {
        let meta = self.meta();
        if !self.archiving.is_on() || meta.cluster.is_none() {
            return None;
        }
        let upto = |group: &GroupId| meta.archived.get(group).map_or(Stamp::ZERO, |row| row.upto);
        let least = meta.shards.keys().map(upto).min()?.min(self.carried_floor(&meta).unwrap_or(Stamp::MAX));
        // What is not archived at all is as late as this node has seen.
        Some(self.clock.now_ms().saturating_sub(least.ms().max(self.archiving.since_ms)))
    }
}

/// The groups that a group was before a takeover, if this is the first of it that is archived since.
fn parents(meta: &MetaView, row: &GroupRow) -> Vec<u64> {
    let from = Stamp(if row.is_behind_gap { row.gap_from } else { row.after });
    let goes_on = meta.generations.values().flat_map(|generation| &generation.goes_on);
    goes_on.filter(|one| one.is == row.group() && one.after == from).map(|one| one.was.0).collect()
}

/// A number for a report that no report of this node has had while anybody may remember it.
fn next_number(meta: &MetaView, node: NodeId, last: u64, now_ms: u64) -> u64 {
    let there = meta.reports.keys().filter(|(of, _)| *of == node).map(|(_, number)| *number);
    let named = meta.closer.iter().flat_map(|row| &row.reports).filter(|(of, _)| *of == node);
    let greatest = there.chain(named.map(|(_, number)| *number)).max().unwrap_or(0);
    now_ms.max(last + 1).max(greatest + 1)
}

/// Tells every tablet here how far it is archived: what is behind that stays.
fn tell_tablets(running: &Running, meta: &MetaView, carried: Option<Stamp>) {
    for seated in running.replicas() {
        let group = seated.receiver.group();
        let upto = meta.archived.get(&group.id()).map_or(Stamp::ZERO, |row| row.upto);
        let upto = upto.min(carried.unwrap_or(Stamp::MAX));
        group.machine().tablet().set_archived(upto);
    }
}
