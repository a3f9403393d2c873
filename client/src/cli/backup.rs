//! Archives: snapshots of them, what can be restored, and whether they are whole.

use super::Session;
use super::args::BackupVerb;
use super::ids;
use super::output::{Document, Fields, fields};
use super::words::time;
use crate::clock::ms;
use crate::wire::{SiteWindow, Snapshot};
use crate::{Error, Result, code};
use serde_json::Value;

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
    let columns = ["site", "role", "frontier", "lag_ms", "every_instant", "proven", "holes", "failure"];
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
        BackupVerb::Schedule { every, off } => {
            let every_ms = match every {
                _ if off => Some(0),
                Some(every) => Some(ms(time(&every)?)),
                None => None,
            };
            let row = fields([("every_ms", admin.schedule_backup(every_ms).await?.to_string().into())]);
            Document::one("dew.backup.schedule/1", &["every_ms"], row).print(session.format)?;
        }
    }
    Ok(0)
}
