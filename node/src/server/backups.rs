//! What administrators are told of archives.

use super::Server;
use crate::archive::Error;
use crate::archive::chain::Archive;
use crate::archive::load::load;
use crate::archive::naming::root;
use crate::archive::schedule::Schedule;
use crate::archive::site::open;
use crate::archive::sites::{Role, SiteSetting};
use crate::archive::verify::verify;
use crate::archive::window::{Scope, Window, window};
use crate::meta::archive_row::SnapshotState;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::refused::Refused;
use engine::Stamp;
use engine::error::with_sources;
use proto::errors::code;
use proto::v1;
use std::sync::Arc;

/// The setting of the cluster that says how often a snapshot is taken, in milliseconds.
pub const EVERY: &str = "archive.snapshot_every_ms";
/// The setting of the cluster that says when, in words; it counts before the other.
pub const SCHEDULE: &str = "archive.snapshot_schedule";

pub(super) type Told<T> = Result<T, Refused>;

pub(super) fn away(error: Error) -> Refused {
    Refused::new(code::ARCHIVE_AWAY).saying(with_sources(&error))
}

/// The millisecond up to which a stamp reaches: the next one if it is the last of its own.
pub(super) fn upto_ms(stamp: Stamp) -> u64 {
    stamp.next().ms()
}

fn told(setting: &SiteSetting, window: &Window, archive: &Archive) -> v1::SiteWindow {
    let holes = window.holes.iter().map(|hole| v1::ArchiveHole {
        group: hole.group.0,
        after_ms: upto_ms(hole.after),
        upto_ms: upto_ms(hole.upto),
        accepted_by: window
            .gaps
            .values()
            .find(|one| one.gap.group() == hole.group && one.gap.span() == (hole.after, hole.upto))
            .and_then(|one| one.accepted_by.clone())
            .unwrap_or_default(),
    });
    let spans = window
        .spans
        .iter()
        .map(|span| v1::RestorableSpan { from_ms: upto_ms(span.from), upto_ms: upto_ms(span.upto) });
    let generations = window.generations.iter().map(|(generation, upto)| v1::LifeLine {
        generation: generation.0,
        cut_ms: if *upto == Stamp::MAX { 0 } else { upto_ms(*upto) },
    });
    let snapshots = archive.snapshots();
    let proven = snapshots.iter().rev().find(|(_, one)| one.is_proven()).map(|(id, _)| id.to_string());
    v1::SiteWindow {
        frontier_ms: window.frontier.map_or(0, upto_ms),
        spans: spans.collect(),
        holes: holes.collect(),
        proven: proven.unwrap_or_default(),
        faults: archive.faults().iter().map(ToString::to_string).collect(),
        generations: generations.collect(),
        ..unasked(setting)
    }
}

fn unasked(setting: &SiteSetting) -> v1::SiteWindow {
    v1::SiteWindow {
        name: setting.name.to_string(),
        role: if setting.role == Role::Home { "home" } else { "copy" }.to_owned(),
        region: setting.region.clone(),
        ..v1::SiteWindow::default()
    }
}

impl Server {
    pub(super) async fn archive_of(&self, setting: &SiteSetting) -> Result<Archive, Error> {
        let site = open::site(setting, root(self.cluster), self.clock.clone())?;
        let key = self.keys.sealer().public_key()?;
        load(&site, self.cluster, Some(key)).await
    }

    pub(super) fn home_setting(&self) -> Told<&SiteSetting> {
        let refused = || Refused::new(code::CHANGE_REFUSED).saying("no site is configured".to_owned());
        self.archiving.config.sites.first().ok_or_else(refused)
    }

    /// What each site can restore.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: nothing is archived.
    pub async fn windows(&self) -> Told<Vec<v1::SiteWindow>> {
        self.home_setting()?;
        let mut out = Vec::new();
        for setting in &self.archiving.config.sites {
            out.push(match self.archive_of(setting).await {
                Ok(archive) => told(setting, &window(&archive, &Scope::default()), &archive),
                Err(error) => v1::SiteWindow { failure: with_sources(&error), ..unasked(setting) },
            });
        }
        Ok(out)
    }

    /// The snapshots of the home site, and the one that is being taken.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: nothing is archived. `ARCHIVE_AWAY`.
    pub async fn snapshots(&self) -> Told<Vec<v1::Snapshot>> {
        let archive = self.archive_of(self.home_setting()?).await.map_err(away)?;
        let whole = archive.snapshots();
        let mut out: Vec<v1::Snapshot> = whole
            .iter()
            .map(|(id, one)| v1::Snapshot {
                id: id.to_string(),
                cut_ms: id.cut.ms(),
                state: if one.is_proven() { "proven" } else { "whole" }.to_owned(),
                bytes: one.done.bytes,
                shipped_bytes: one.done.shipped_bytes,
                groups: u32::try_from(one.done.parts.len()).unwrap_or(u32::MAX),
                keys: one.done.tenants.iter().map(|tenant| tenant.keys).sum(),
                tenants: u32::try_from(one.done.tenants.len()).unwrap_or(u32::MAX),
            })
            .collect();
        let meta = self.meta();
        if let Some(row) = meta.snapshot.as_ref().filter(|row| row.state != SnapshotState::Idle) {
            let id = super::snapshots::id(row).to_string();
            let state = if row.state == SnapshotState::Running { "running" } else { "failed" }.to_owned();
            if out.iter().all(|one| one.id != id) {
                let groups = u32::try_from(row.homes.len()).unwrap_or(u32::MAX);
                out.push(v1::Snapshot {
                    id,
                    cut_ms: row.cut_s * 1_000,
                    state,
                    groups,
                    ..v1::Snapshot::default()
                });
            }
        }
        Ok(out)
    }

    /// Walks the home site.
    ///
    /// # Errors
    /// As [`Server::snapshots`].
    pub async fn verify_archive(&self, is_deep: bool) -> Told<v1::VerifyBackupResponse> {
        let site = open::site(self.home_setting()?, root(self.cluster), self.clock.clone());
        let (site, key) = (site.map_err(|error| away(error.into()))?, self.keys.sealer().public_key());
        let key = key.map_err(|error| away(error.into()))?;
        let walked = verify(&site, self.cluster, Some(key), is_deep).await.map_err(away)?;
        let faults = walked.archive.faults().iter().map(ToString::to_string).collect();
        Ok(v1::VerifyBackupResponse { faults, objects: walked.objects, bytes: walked.bytes })
    }

    /// When snapshots are taken by themselves.
    pub fn snapshot_schedule(&self) -> Schedule {
        let meta = self.meta();
        let said = meta.settings.get(SCHEDULE).map(|text| Schedule::parse(text).ok());
        let every = || meta.settings.get(EVERY).and_then(|text| text.parse().ok()).map(Schedule::every);
        // Of another build, perhaps: whoever asks sees that it is off.
        said.unwrap_or_else(every).unwrap_or_default()
    }

    /// Says when a snapshot is taken by itself, and changes it if asked to: in words, or how often in milliseconds.
    ///
    /// # Errors
    /// `SCHEDULE_INVALID`: the words make no sense. `CHANGE_REFUSED`; what the meta group says.
    pub async fn schedule_snapshots(
        self: &Arc<Self>,
        (every_ms, schedule): (Option<u64>, Option<&str>),
        wait_ms: u64,
    ) -> Told<Schedule> {
        self.home_setting()?;
        let said = match schedule {
            Some(text) => {
                let parsed = Schedule::parse(text);
                Some(parsed.map_err(|why| Refused::new(code::SCHEDULE_INVALID).saying(why))?)
            }
            None => every_ms.map(Schedule::every),
        };
        if let Some(schedule) = said {
            let put = |key: &str, value| Change::PutSetting(key.to_owned(), value);
            let command = MetaCommand::new(vec![put(EVERY, None), put(SCHEDULE, Some(schedule.to_string()))]);
            match Box::pin(self.change(command, wait_ms)).await? {
                MetaReply::Applied { .. } => self.refresh(wait_ms).await?,
                _ => return Err(Refused::new(code::CHANGE_REFUSED)),
            }
        }
        Ok(self.snapshot_schedule())
    }
}
