//! A delayed node becomes the cluster.

use super::Session;
use super::admin::node_id;
use super::confirm::confirmed;
use super::delayed::{stamp, text};
use super::ids;
use super::output::{Document, Fields, fields};
use super::words::{at_moment, before_moment};
use crate::clock::now_ms;
use crate::wire::{LostWrites, PromoteRequest, PromoteResponse};
use crate::{Error, Result, code};
use clap::Args as Part;
use serde_json::Value;

/// As of when a node takes over, and why.
#[derive(Debug, Part)]
pub struct Promote {
    /// Its name.
    pub name: String,
    /// As it was just before this commit, stamp or time.
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["at", "newest_received"],
        required_unless_present_any = ["at", "newest_received"])]
    pub before: Option<String>,
    /// As it was at this time, stamp or commit, what was written then included.
    #[arg(long, allow_hyphen_values = true, conflicts_with = "newest_received")]
    pub at: Option<String>,
    /// With everything that has come in, mistakes too.
    #[arg(long)]
    pub newest_received: bool,
    /// Shows what it would be, and does nothing.
    #[arg(long)]
    pub plan: bool,
    /// Why: it stands in the log and in the rows of the cluster.
    #[arg(long, required_unless_present = "plan")]
    pub reason: Option<String>,
    /// The name again: this is dangerous.
    #[arg(long)]
    pub confirm: Option<String>,
}

const SHOWN: [&str; 9] =
    ["generation", "upto", "gate", "received", "lost_ms", "pending_bytes", "living", "silent", "decided"];

fn row(plan: &PromoteResponse) -> Fields {
    let nodes = |all: &[u64]| Value::from(all.iter().map(|node| ids::node(*node)).collect::<Vec<_>>());
    fields([
        ("generation", text(plan.generation)),
        ("upto", stamp(plan.upto)),
        ("gate", stamp(plan.gate)),
        ("received", stamp(plan.received)),
        ("lost_ms", text(plan.lost_ms)),
        ("pending_bytes", text(plan.pending_bytes)),
        ("living", nodes(&plan.living)),
        ("silent", nodes(&plan.silent)),
        ("decided", plan.decided.into()),
    ])
}

/// Lets a node take over, or plans it.
pub async fn run(session: &Session, what: Promote) -> Result<()> {
    let admin = session.client.admin();
    let upto = match (&what.before, &what.at) {
        (Some(text), _) => before_moment(text, now_ms())?.0.saturating_sub(1),
        // The bound of a moment is the stamp behind it.
        (None, Some(text)) => at_moment(text, now_ms())?.0.saturating_sub(1),
        (None, None) => 0,
    };
    if !what.plan {
        confirmed(
            "the cluster goes on with this node alone: what was written behind that moment is cut off, and all other nodes are fenced",
            &what.name,
            (what.confirm.as_deref(), session.is_protected),
        )?;
    }
    let asked = PromoteRequest {
        node: node_id(&admin, &what.name).await?,
        upto,
        newest: what.newest_received,
        reason: what.reason.unwrap_or_default(),
        plan: what.plan,
        confirm: if what.plan { String::new() } else { what.name },
    };
    let plan = admin.promote(asked).await?;
    Document::one("dew.delayed.promote/1", &SHOWN, row(&plan)).print(session.format)
}

fn lost(one: &LostWrites) -> Fields {
    let name = if one.name.is_empty() { ids::tenant(one.tenant) } else { one.name.as_str().into() };
    fields([
        ("tenant", name),
        ("group", ids::group(one.group)),
        ("puts", text(one.puts)),
        ("deletes", text(one.deletes)),
        ("range_deletes", text(one.range_deletes)),
        ("first", stamp(one.first)),
        ("last", stamp(one.last)),
    ])
}

/// Shows what was cut off.
pub async fn tail(session: &Session, name: &str, generation: &str) -> Result<()> {
    let number = generation.strip_prefix('g').unwrap_or(generation).parse().ok();
    let number =
        number.ok_or_else(|| Error::new(code::INPUT, format!("`{generation}` is no generation: g2")))?;
    let admin = session.client.admin();
    let all = admin.tail(node_id(&admin, name).await?, number).await?;
    let columns = ["tenant", "group", "puts", "deletes", "range_deletes", "first", "last"];
    Document::list("dew.delayed.tail/1", &columns, all.tenants.iter().map(lost).collect())
        .print(session.format)?;
    if all.left_out > 0 {
        eprintln!("dew: {} more rows are not shown: one answer has no room for them", all.left_out);
    }
    Ok(())
}
