//! Archives: snapshots of them, what can be restored, and whether they are whole.

use super::Session;
use super::ids;
use super::output::{Document, Fields, fields};
use super::words::{moment as stamp_of, time};
use crate::clock::{ms, now_ms};
use crate::wire::{ArchiveGap, ArchivePin, LifeLine, PinRequest, SiteRetention, SiteWindow, Snapshot};
use crate::{Error, Result, Stamp, code};
use clap::{Args as Part, Subcommand};
use serde_json::Value;

/// When snapshots are taken by themselves.
#[derive(Debug, Part)]
pub struct Scheduled {
    /// From now on so often: `6h`.
    #[arg(long, group = "when")]
    every: Option<String>,
    /// From now on at these instants: minute, hour, day, month and day of the week, as `0 3 * * 1-5`.
    #[arg(long, group = "when")]
    cron: Option<String>,
    /// From now on only when somebody asks.
    #[arg(long, group = "when")]
    off: bool,
    /// And never in this time, `mon-fri/08:00-18:00`: what falls into it is made up for once. May be said several times.
    #[arg(long, requires = "when")]
    quiet: Vec<String>,
}

impl Scheduled {
    /// In the words that the cluster reads; nothing: it stays as it is.
    fn text(self) -> Option<String> {
        let when = match (self.every, self.cron) {
            _ if self.off => "off".to_owned(),
            (Some(every), _) => format!("every {every}"),
            (None, Some(cron)) => format!("cron {cron}"),
            (None, None) => return None,
        };
        let quiet = self.quiet.iter().map(|quiet| format!("; quiet {quiet}"));
        Some(std::iter::once(when).chain(quiet).collect())
    }
}

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum BackupVerb {
    /// Begins one of the whole cluster. It goes on by itself: `list` says how far it is.
    Now {
        /// Counts and digests all keys too.
        #[arg(long)]
        digest: bool,
    },
    /// Shows all.
    List,
    /// Shows one.
    Show {
        /// Its id.
        id: String,
    },
    /// Walks the home site and names the first object that is damaged.
    Verify {
        /// Reads every object.
        #[arg(long)]
        deep: bool,
    },
    /// Says when one is taken by itself, and changes it; times are UTC.
    Schedule(Scheduled),
    /// Keeps a snapshot, or every instant of a span, from being collected for a while.
    Pin {
        #[command(flatten)]
        kept: Kept,
        /// For how long: `24h`.
        #[arg(long = "for", default_value = "24h")]
        time: String,
        /// The pin to renew, by its id: to a later end, or to more.
        #[arg(long)]
        renew: Option<String>,
        /// Why: it stands beside it.
        #[arg(long)]
        reason: String,
    },
    /// Ends a pin.
    Unpin(Ended),
    /// Keeps a snapshot, or every instant of a span, until `release`, because the law wants it.
    Hold {
        #[command(flatten)]
        kept: Kept,
        /// Why: it stands beside it.
        #[arg(long)]
        reason: String,
    },
    /// Ends a legal hold.
    Release(Ended),
    /// Shows pins and legal holds.
    Pins,
    /// Shows what each site keeps, and what is announced to go.
    Retention,
    /// Shows what may go. It goes by itself: announced first, looked at again, and only then deleted.
    Gc {
        /// Changes nothing: there is no other way.
        #[arg(long, required = true)]
        dry_run: bool,
    },
    /// Gaps in the log.
    #[command(subcommand)]
    Gap(GapVerb),
}

/// What is kept.
#[derive(Debug, Part)]
pub struct Kept {
    /// The snapshot.
    pub id: Option<String>,
    /// Every instant from here on: a stamp, a time with an offset, or `-90m`,
    #[arg(long, allow_hyphen_values = true)]
    pub from: Option<String>,
    /// up to here; left out: for ever after.
    #[arg(long, requires = "from", allow_hyphen_values = true)]
    pub to: Option<String>,
}

/// What ends.
#[derive(Debug, Part)]
pub struct Ended {
    /// Its id.
    pub id: String,
    /// Why: it stands beside it.
    #[arg(long)]
    pub reason: String,
}

/// What to do with gaps.
#[derive(Debug, Subcommand)]
pub enum GapVerb {
    /// Shows all.
    List,
    /// Says that you know of one.
    Accept {
        /// Its id, or the last piece of it.
        id: String,
    },
}

const SNAPSHOT: [&str; 6] = ["id", "cut", "state", "bytes", "shipped_bytes", "keys"];

/// A moment as people read it, to the second.
fn moment(at_ms: u64) -> Value {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(i64::MAX));
    match (at_ms, at) {
        (0, _) | (_, Err(_)) => Value::Null,
        (_, Ok(at)) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
    }
}

fn snapshot_row(one: &Snapshot) -> Fields {
    fields([
        ("id", one.id.as_str().into()),
        ("cut", moment(one.cut_ms)),
        ("state", one.state.as_str().into()),
        ("bytes", one.bytes.to_string().into()),
        ("shipped_bytes", one.shipped_bytes.to_string().into()),
        ("keys", one.keys.to_string().into()),
        ("groups", one.groups.into()),
        ("tenants", one.tenants.into()),
        ("cut_ms", one.cut_ms.to_string().into()),
    ])
}

fn spans(site: &SiteWindow) -> String {
    let end = |at_ms: u64| match moment(at_ms) {
        Value::String(text) => text,
        _ => "the beginning".to_owned(),
    };
    let each = site.spans.iter().map(|span| format!("[{}, {}]", end(span.from_ms), end(span.upto_ms)));
    each.collect::<Vec<_>>().join(" ")
}

fn generation(line: &LifeLine) -> String {
    match moment(line.cut_ms).as_str() {
        Some(cut) => format!("{} to {cut}", line.generation),
        None => line.generation.to_string(),
    }
}

fn site_row(site: &SiteWindow, now_ms: u64) -> Fields {
    let lag_ms = if site.frontier_ms == 0 { None } else { Some(now_ms.saturating_sub(site.frontier_ms)) };
    let hole = |hole: &crate::wire::ArchiveHole| {
        let known = if hole.accepted_by.is_empty() { "open" } else { "accepted" };
        let end = |at_ms| moment(at_ms).as_str().unwrap_or_default().to_owned();
        format!("{} {} to {} {known}", hole_group(hole.group), end(hole.after_ms), end(hole.upto_ms))
    };
    fields([
        ("site", site.name.as_str().into()),
        ("role", site.role.as_str().into()),
        ("frontier", moment(site.frontier_ms)),
        ("lag_ms", lag_ms.map_or(Value::Null, |lag_ms| lag_ms.to_string().into())),
        ("every_instant", spans(site).into()),
        ("proven", if site.proven.is_empty() { Value::Null } else { site.proven.as_str().into() }),
        ("holes", site.holes.iter().map(hole).collect::<Vec<_>>().join("; ").into()),
        ("failure", if site.failure.is_empty() { Value::Null } else { site.failure.as_str().into() }),
        ("faults", site.faults.clone().into()),
        ("region", site.region.as_str().into()),
        ("generations", site.generations.iter().map(generation).collect::<Vec<_>>().join("; ").into()),
    ])
}

fn hole_group(group: u64) -> String {
    match ids::group(group) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Shows what can be restored: 2 if something is damaged, or a site cannot be asked.
pub async fn window(session: &Session) -> Result<u8> {
    let told = session.client.admin().backup_window().await?;
    let is_well = told.sites.iter().all(|site| site.failure.is_empty() && site.faults.is_empty());
    let rows = told.sites.iter().map(|site| site_row(site, told.now_ms)).collect();
    let columns =
        ["site", "role", "frontier", "lag_ms", "every_instant", "proven", "holes", "generations", "failure"];
    Document::list("dew.window.list/1", &columns, rows).print(session.format)?;
    Ok(if is_well { 0 } else { 2 })
}

/// Runs a command about snapshots.
pub async fn backup(session: &Session, verb: BackupVerb) -> Result<u8> {
    let admin = session.client.admin();
    match verb {
        BackupVerb::Now { digest } => {
            let row = fields([("id", admin.backup_now(digest).await?.into())]);
            Document::one("dew.backup.now/1", &["id"], row).print(session.format)?;
        }
        BackupVerb::List => {
            let rows = admin.backups().await?.iter().map(snapshot_row).collect();
            Document::list("dew.backup.list/1", &SNAPSHOT, rows).print(session.format)?;
        }
        BackupVerb::Show { id } => {
            let all = admin.backups().await?;
            let found = all.iter().find(|one| one.id == id);
            let one = found.ok_or_else(|| Error::new(code::INPUT, format!("there is no snapshot `{id}`")))?;
            Document::one("dew.backup.show/1", &SNAPSHOT, snapshot_row(one)).print(session.format)?;
        }
        BackupVerb::Verify { deep } => {
            let found = admin.verify_backup(deep).await?;
            let is_whole = found.faults.is_empty();
            let row = fields([
                ("state", if is_whole { "whole" } else { "damaged" }.into()),
                ("objects", found.objects.to_string().into()),
                ("bytes", found.bytes.to_string().into()),
                ("first", found.faults.first().map_or(Value::Null, |first| first.as_str().into())),
                ("faults", found.faults.clone().into()),
            ]);
            let columns = ["state", "objects", "bytes", "first"];
            Document::one("dew.backup.verify/1", &columns, row).print(session.format)?;
            return Ok(if is_whole { 0 } else { 2 });
        }
        BackupVerb::Schedule(scheduled) => {
            let said = admin.schedule_backup(scheduled.text()).await?;
            let row =
                fields([("every_ms", said.every_ms.to_string().into()), ("schedule", said.schedule.into())]);
            Document::one("dew.backup.schedule/1", &["schedule"], row).print(session.format)?;
        }
        other => return keep(session, other).await,
    }
    Ok(0)
}

const PIN: [&str; 6] = ["id", "kind", "until", "keeps", "by", "reason"];
const GAP: [&str; 5] = ["id", "after", "upto", "accepted_by", "cause"];

/// A stamp as people read it.
fn at(stamp: u64) -> String {
    match moment(Stamp(stamp).ms()) {
        Value::String(text) => text,
        _ => "the beginning".to_owned(),
    }
}

fn pin_row(one: &ArchivePin) -> Fields {
    let mut keeps = one.snapshots.clone();
    if one.upto > 0 {
        let end = if one.upto == u64::MAX { "for ever".to_owned() } else { at(one.upto) };
        keeps.push(format!("[{}, {end}]", at(one.after)));
    }
    let until = if one.until_ms == u64::MAX { "released".into() } else { moment(one.until_ms) };
    fields([
        ("id", one.id.as_str().into()),
        ("kind", if one.is_hold { "hold" } else { "pin" }.into()),
        ("until", until),
        ("keeps", keeps.join(" ").into()),
        ("by", one.by.as_str().into()),
        ("reason", one.reason.as_str().into()),
        ("renewal", one.renewal.into()),
        ("until_ms", one.until_ms.to_string().into()),
    ])
}

fn gap_row(one: &ArchiveGap) -> Fields {
    let accepted = if one.accepted_by.is_empty() { Value::Null } else { one.accepted_by.as_str().into() };
    fields([
        ("id", one.id.as_str().into()),
        ("after", moment(one.after_ms)),
        ("upto", moment(one.upto_ms)),
        ("accepted_by", accepted),
        ("cause", one.cause.as_str().into()),
        ("group", ids::group(one.group)),
        ("made_ms", one.made_ms.to_string().into()),
    ])
}

fn said(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn retention_row(one: &SiteRetention) -> Fields {
    let kept: Vec<Value> =
        one.snapshots.iter().map(|kept| format!("{} {}", kept.id, kept.why).into()).collect();
    fields([
        ("site", one.name.as_str().into()),
        ("keep", one.keep.as_str().into()),
        ("every_instant_from", moment(one.edge_ms)),
        ("snapshots", one.snapshots.len().into()),
        ("may_go", one.may_go.to_string().into()),
        ("announced", one.announced.to_string().into()),
        ("due", moment(one.due_ms)),
        ("refused", said(if one.failure.is_empty() { &one.refused } else { &one.failure })),
        ("log_from", moment(one.log_from_ms)),
        ("kept", kept.into()),
        ("names", one.names.clone().into()),
        ("grace_ms", one.grace_ms.to_string().into()),
    ])
}

/// What is asked to be kept.
fn asked(kept: Kept, is_hold: bool, reason: String) -> Result<PinRequest> {
    let now = now_ms();
    let after = kept.from.as_deref().map(|from| stamp_of(from, now)).transpose()?;
    let upto = match (&after, kept.to) {
        (None, _) => Stamp(0),
        (Some(_), None) => Stamp(u64::MAX),
        (Some(_), Some(to)) => stamp_of(&to, now)?,
    };
    // A time stands for its last stamp: the first one that is kept lies before its millisecond.
    let after = after.map_or(0, |after| (after.ms() << 16).saturating_sub(1));
    Ok(PinRequest {
        snapshots: kept.id.into_iter().collect(),
        after,
        upto: upto.0,
        is_hold,
        reason,
        ..PinRequest::default()
    })
}

/// Runs a command about what is kept.
async fn keep(session: &Session, verb: BackupVerb) -> Result<u8> {
    let (admin, format) = (session.client.admin(), session.format);
    let pinned = match verb {
        BackupVerb::Pin { kept, time: span, renew, reason } => {
            let until_ms = now_ms().saturating_add(ms(time(&span)?));
            let id = renew.unwrap_or_default();
            admin.pin_backup(PinRequest { id, until_ms, ..asked(kept, false, reason)? }).await?
        }
        BackupVerb::Hold { kept, reason } => admin.pin_backup(asked(kept, true, reason)?).await?,
        BackupVerb::Unpin(ended) => admin.unpin_backup(&ended.id, false, &ended.reason).await?,
        BackupVerb::Release(ended) => admin.unpin_backup(&ended.id, true, &ended.reason).await?,
        BackupVerb::Pins => {
            let rows = admin.backup_pins().await?.iter().map(pin_row).collect();
            Document::list("dew.backup.pin.list/1", &PIN, rows).print(format)?;
            return Ok(0);
        }
        BackupVerb::Gap(GapVerb::List) => {
            let gaps = admin.backup_gaps().await?;
            let rows = gaps.iter().map(gap_row).collect();
            Document::list("dew.backup.gap.list/1", &GAP, rows).print(format)?;
            return Ok(if gaps.iter().all(|gap| !gap.accepted_by.is_empty()) { 0 } else { 2 });
        }
        BackupVerb::Gap(GapVerb::Accept { id }) => {
            let row = gap_row(&admin.accept_gap(&id).await?);
            Document::one("dew.backup.gap.accept/1", &GAP, row).print(format)?;
            return Ok(0);
        }
        BackupVerb::Gc { .. } => return retention(session, true).await,
        _ => return retention(session, false).await,
    };
    Document::one("dew.backup.pin.show/1", &PIN, pin_row(&pinned)).print(format)?;
    Ok(0)
}

/// Shows what sites keep: 2 if nothing is collected somewhere.
async fn retention(session: &Session, is_dry_run: bool) -> Result<u8> {
    let sites = session.client.admin().backup_retention(is_dry_run).await?;
    let is_well = sites.iter().all(|site| site.failure.is_empty() && site.refused.is_empty());
    let rows = sites.iter().map(retention_row).collect();
    if is_dry_run {
        let columns = ["site", "may_go", "announced", "due", "refused", "names"];
        Document::list("dew.backup.gc.list/1", &columns, rows).print(session.format)?;
    } else {
        let columns =
            ["site", "keep", "every_instant_from", "snapshots", "may_go", "announced", "due", "refused"];
        Document::list("dew.backup.retention.list/1", &columns, rows).print(session.format)?;
    }
    Ok(if is_well { 0 } else { 2 })
}
