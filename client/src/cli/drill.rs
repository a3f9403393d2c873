//! Drills: whether what is archived comes back.

use super::Session;
use super::admin::node_id;
use super::delayed::{stamp, text};
use super::output::{Document, Fields, fields};
use super::words::time;
use crate::clock::ms;
use crate::wire::{DrillShown, RunDrillRequest};
use crate::{Error, Result, code};
use clap::Subcommand;
use serde_json::Value;
use std::time::Duration;

/// Between two looks whether a drill has ended.
const LOOK: Duration = Duration::from_millis(250);

/// What to do with drills.
#[derive(Debug, Subcommand)]
pub enum DrillVerb {
    /// Does one, and waits for what it proves: exit code 2 if it fails.
    #[command(subcommand)]
    Run(DrillKind),
    /// Shows all, with what they found and where their certificates stand.
    List,
    /// Shows how often one takes place by itself, or says it.
    Schedule {
        /// How often from now on: `24h`.
        #[arg(long, conflicts_with = "off")]
        every: Option<String>,
        /// Only when somebody asks.
        #[arg(long)]
        off: bool,
    },
}

/// Which drill.
#[derive(Debug, Subcommand)]
pub enum DrillKind {
    /// Restores the newest point of all tenants into a scratch folder, and compares it with the cluster as of the same stamp.
    Restore,
    /// The same of one tenant: `--tenant NAME`.
    Tenant,
    /// Looks at what a delayed node would hold were it promoted now, and compares that. Nothing is fenced, held or moved.
    Takeover {
        /// The node; any, if none is named.
        name: Option<String>,
    },
}

fn moment(at_ms: u64) -> Value {
    if at_ms == 0 { Value::Null } else { text(at_ms) }
}

fn row(one: &DrillShown) -> Fields {
    fields([
        ("kind", one.kind.as_str().into()),
        ("state", one.state.as_str().into()),
        ("target", stamp(one.target)),
        ("tenants", text(one.tenants)),
        ("bytes", text(one.bytes)),
        ("took_ms", text(one.took_ms)),
        ("ended_ms", moment(one.ended_ms)),
        (
            "certificate",
            if one.certificate.is_empty() { Value::Null } else { one.certificate.as_str().into() },
        ),
        ("found", one.found.clone().into()),
    ])
}

const SHOWN: [&str; 9] =
    ["kind", "state", "target", "tenants", "bytes", "took_ms", "ended_ms", "certificate", "found"];

/// Runs a command about drills: 2 if one has failed.
pub async fn run(session: &Session, verb: DrillVerb) -> Result<u8> {
    let admin = session.client.admin();
    match verb {
        DrillVerb::List => {
            let rows = admin.drills().await?.iter().map(row).collect();
            Document::list("dew.drill.list/1", &SHOWN, rows).print(session.format)?;
        }
        DrillVerb::Schedule { every, off } => {
            let every_ms = match every {
                _ if off => Some(0),
                Some(every) => Some(ms(time(&every)?)),
                None => None,
            };
            let row = fields([("every_ms", text(admin.schedule_drills(every_ms).await?))]);
            Document::one("dew.drill.schedule/1", &["every_ms"], row).print(session.format)?;
        }
        DrillVerb::Run(kind) => return one(session, kind).await,
    }
    Ok(0)
}

async fn one(session: &Session, kind: DrillKind) -> Result<u8> {
    let admin = session.client.admin();
    let of = |kind: &str| RunDrillRequest { kind: kind.to_owned(), ..RunDrillRequest::default() };
    let asked = match kind {
        DrillKind::Restore => of("restore"),
        DrillKind::Tenant => {
            let tenant = session.tenant.clone();
            let tenant = tenant.ok_or_else(|| Error::new(code::INPUT, "of which tenant? --tenant NAME"))?;
            RunDrillRequest { tenant, ..of("tenant") }
        }
        DrillKind::Takeover { name: None } => of("takeover"),
        DrillKind::Takeover { name: Some(name) } => {
            RunDrillRequest { node: node_id(&admin, &name).await?, ..of("takeover") }
        }
    };
    let id = admin.run_drill(asked).await?;
    let ended = loop {
        let found = admin.drills().await?.into_iter().find(|one| one.id == id);
        match found {
            Some(one) if one.state != "running" => break one,
            _ => tokio::time::sleep(LOOK).await,
        }
    };
    Document::one("dew.drill.run/1", &SHOWN, row(&ended)).print(session.format)?;
    Ok(if ended.state == "passed" { 0 } else { 2 })
}
