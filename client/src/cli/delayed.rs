//! What administrators do with delayed nodes.

use super::Session;
use super::admin::node_id;
use super::confirm::confirmed;
use super::ids;
use super::output::{Document, Fields, fields};
use super::promote::{self, Promote};
use super::words::{at_moment, before_moment};
use crate::clock::now_ms;
use crate::wire::{DelayedNode, DonateRequest, OnConflict, Suspect};
use crate::{Error, Result, Stamp, code};
use clap::{Args as Part, Subcommand};
use serde_json::Value;

/// What to do with delayed nodes.
#[derive(Debug, Subcommand)]
pub enum DelayedVerb {
    /// Shows all.
    List,
    /// Shows one.
    Status {
        /// Its name.
        name: String,
    },
    /// Stops what a node applies, at once.
    Hold(Said),
    /// Lets it go on as its delay says.
    Release(Said),
    /// Lets a node apply up to just before a commit, whatever its delay says, and stand there.
    Forward {
        /// Its name.
        name: String,
        /// The commit, as `suspects` names it, or a stamp or a time.
        #[arg(long, allow_hyphen_values = true)]
        before: String,
        /// Why: it stands in the log and in the status.
        #[arg(long)]
        reason: String,
    },
    /// Lets parked replicas take a fresh copy: the node protects nobody for as long as its delay.
    Accept {
        #[command(flatten)]
        said: Said,
        /// The name again: this is dangerous.
        #[arg(long)]
        confirm: Option<String>,
    },
    /// Shows what came in that is suspicious and is not applied yet.
    Suspects {
        /// The node.
        name: String,
    },
    /// Brings rows of a tenant as they were back into the cluster, as new versions. A job does it.
    Donate(Donate),
    /// Lets a delayed node become the cluster, as of a moment that is always named. The nodes of before are fenced, and what was written
    /// behind that moment is cut off and kept.
    Promote(Promote),
    /// Shows what was cut off when a generation began with a node, by tenant.
    Tail {
        /// The node.
        name: String,
        /// The generation: `g2`.
        generation: String,
    },
}

/// A node, and why.
#[derive(Debug, Part)]
pub struct Said {
    /// Its name.
    pub name: String,
    /// Why: it stands in the log and in the status.
    #[arg(long)]
    pub reason: String,
}

/// What is to go back.
#[derive(Debug, Part)]
pub struct Donate {
    /// The node.
    pub name: String,
    /// As it was just before this commit, stamp or time.
    #[arg(long, allow_hyphen_values = true, conflicts_with = "at", required_unless_present = "at")]
    pub before: Option<String>,
    /// As it was at this time, stamp or commit, what was written then included.
    #[arg(long, allow_hyphen_values = true)]
    pub at: Option<String>,
    /// Only this collection.
    #[arg(long, short)]
    pub collection: Option<String>,
    /// Only this key of it; may come several times.
    #[arg(long = "key", requires = "collection", conflicts_with_all = ["from", "to"])]
    pub keys: Vec<String>,
    /// Only keys from here on.
    #[arg(long, requires = "collection")]
    pub from: Option<String>,
    /// Only keys before this one.
    #[arg(long, requires = "collection")]
    pub to: Option<String>,
    /// Deletes what is there now and was not then.
    #[arg(long)]
    pub mirror: bool,
    /// What becomes of keys that have another value now: they stay and are named, stay, or get the value of then.
    #[arg(long, default_value = "list", value_parser = ["list", "skip", "overwrite"])]
    pub on_conflict: String,
}

const NODE: [&str; 9] = [
    "name",
    "state",
    "delay_ms",
    "gate",
    "received",
    "apply_gap_ms",
    "forward_eta_ms",
    "runway_ms",
    "reason",
];

pub(super) fn text(number: u64) -> Value {
    number.to_string().into()
}

pub(super) fn stamp(number: u64) -> Value {
    if number == 0 { Value::Null } else { Stamp(number).to_string().into() }
}

/// A commit, as every command takes it.
fn commit(stamp: u64, group: u64) -> String {
    format!("c-{stamp:016x}-{group:x}")
}

fn word(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// The fields of a delayed node.
#[must_use]
pub fn row(node: &DelayedNode) -> Fields {
    let suspect = node.suspect.as_ref().map(|one| commit(one.first, one.group));
    fields([
        ("id", ids::node(node.node)),
        ("name", node.name.as_str().into()),
        ("region", node.region.as_str().into()),
        ("state", if node.state.is_empty() { "unheard".into() } else { node.state.as_str().into() }),
        ("delay_ms", text(node.delay_ms)),
        ("gate", stamp(node.gate)),
        ("received", stamp(node.received)),
        ("limit", stamp(node.limit)),
        ("void_until_ms", text(node.void_until_ms)),
        ("apply_gap_ms", node.apply_gap_ms.to_string().into()),
        ("receive_lag_ms", text(node.receive_lag_ms)),
        ("pending_bytes", text(node.pending_bytes)),
        ("forward_eta_ms", text(node.forward_eta_ms)),
        ("runway_ms", node.runway_ms.map_or(Value::Null, text)),
        ("stopped_by", word(&node.stopped_by)),
        ("holder", word(&node.holder)),
        ("held_by", word(&node.held_by)),
        ("held_ms", text(node.held_ms)),
        ("reason", word(&node.reason)),
        ("suspect", suspect.map_or(Value::Null, Value::from)),
    ])
}

const SHOWN: [&str; 19] = [
    "id",
    "name",
    "region",
    "state",
    "delay_ms",
    "gate",
    "received",
    "limit",
    "void_until_ms",
    "apply_gap_ms",
    "receive_lag_ms",
    "pending_bytes",
    "forward_eta_ms",
    "runway_ms",
    "stopped_by",
    "holder",
    "held_by",
    "reason",
    "suspect",
];

fn suspect_row(one: &Suspect) -> Fields {
    let name = if one.name.is_empty() { ids::tenant(one.tenant) } else { one.name.as_str().into() };
    fields([
        ("tenant", name),
        ("act", one.act.as_str().into()),
        ("keys", text(one.keys)),
        ("first", commit(one.first, one.group).into()),
        ("last", commit(one.last, one.group).into()),
        ("first_ms", text(Stamp(one.first).ms())),
        ("last_ms", text(Stamp(one.last).ms())),
    ])
}

/// The line of the screen of facts that tells of a delayed node.
#[must_use]
pub fn line(node: &DelayedNode) -> String {
    let state = if node.state.is_empty() { "unheard" } else { &node.state };
    let (gap_s, lag_s) = (node.apply_gap_ms / 1_000, node.receive_lag_ms / 1_000);
    let name = &node.name;
    format!(
        "delayed   {name}: {state}, {} s late (gap {gap_s} s), received {lag_s} s ago, {} bytes pending\n",
        node.delay_ms / 1_000,
        node.pending_bytes
    )
}

/// Runs a command about delayed nodes.
pub async fn run(session: &Session, verb: DelayedVerb) -> Result<()> {
    let admin = session.client.admin();
    let node = match verb {
        DelayedVerb::List => {
            let rows = admin.delayed().await?.iter().map(row).collect();
            return Document::list("dew.delayed.list/1", &NODE, rows).print(session.format);
        }
        DelayedVerb::Status { name } => {
            let id = node_id(&admin, &name).await?;
            let found = admin.delayed().await?.into_iter().find(|node| node.node == id);
            found.ok_or_else(|| Error::new(code::NOT_DELAYED, format!("node `{name}` is not delayed")))?
        }
        DelayedVerb::Hold(Said { name, reason }) => {
            admin.hold_delayed(node_id(&admin, &name).await?, &reason).await?
        }
        DelayedVerb::Release(Said { name, reason }) => {
            admin.release_delayed(node_id(&admin, &name).await?, &reason).await?
        }
        DelayedVerb::Forward { name, before, reason } => {
            let before = before_moment(&before, now_ms())?;
            admin.forward_delayed(node_id(&admin, &name).await?, before, &reason).await?
        }
        DelayedVerb::Accept { said: Said { name, reason }, confirm } => {
            confirmed(
                "what it holds will not be late for as long as its delay",
                &name,
                (confirm.as_deref(), session.is_protected),
            )?;
            admin.accept_delayed(node_id(&admin, &name).await?, &reason).await?
        }
        DelayedVerb::Suspects { name } => {
            let suspects = admin.suspects(node_id(&admin, &name).await?).await?;
            let rows = suspects.iter().map(suspect_row).collect();
            let columns = ["tenant", "act", "keys", "first", "last", "first_ms", "last_ms"];
            return Document::list("dew.delayed.suspects/1", &columns, rows).print(session.format);
        }
        DelayedVerb::Donate(what) => return donate(session, what).await,
        DelayedVerb::Promote(what) => return promote::run(session, what).await,
        DelayedVerb::Tail { name, generation } => return promote::tail(session, &name, &generation).await,
    };
    Document::one("dew.delayed.show/1", &SHOWN, row(&node)).print(session.format)
}

async fn donate(session: &Session, what: Donate) -> Result<()> {
    let admin = session.client.admin();
    let before = match (&what.before, &what.at) {
        (Some(text), _) => before_moment(text, now_ms())?,
        (None, Some(text)) => at_moment(text, now_ms())?,
        (None, None) => return Err(Error::new(code::INPUT, "as of when? --before or --at")),
    };
    let tenant = session.tenant.clone();
    let tenant = tenant.ok_or_else(|| Error::new(code::INPUT, "of which tenant? --tenant NAME"))?;
    let on_conflict = match what.on_conflict.as_str() {
        "skip" => OnConflict::Skip,
        "overwrite" => OnConflict::Overwrite,
        _ => OnConflict::List,
    };
    let asked = DonateRequest {
        node: node_id(&admin, &what.name).await?,
        tenant,
        before: before.0,
        collection: what.collection.unwrap_or_default(),
        keys: what.keys.into_iter().map(Into::into).collect(),
        start: what.from.unwrap_or_default().into(),
        end: what.to.map(Into::into),
        mirror: what.mirror,
        on_conflict: on_conflict.into(),
    };
    let job = admin.donate(asked).await?;
    Document::one("dew.delayed.donate/1", &["job"], fields([("job", text(job))])).print(session.format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delayed_node_is_a_line_and_a_row() {
        let suspect = Suspect { first: 0x10, group: 3, ..Suspect::default() };
        let node = DelayedNode {
            name: "d1".into(),
            state: "ready".into(),
            delay_ms: 3_600_000,
            apply_gap_ms: -2_500,
            receive_lag_ms: 1_999,
            pending_bytes: 7,
            suspect: Some(suspect),
            ..DelayedNode::default()
        };
        let wanted = "delayed   d1: ready, 3600 s late (gap -2 s), received 1 s ago, 7 bytes pending\n";
        assert_eq!(line(&node), wanted);
        let row = row(&node);
        assert_eq!((&row["gate"], &row["suspect"]), (&Value::Null, &"c-0000000000000010-3".into()));
        assert!(SHOWN.iter().chain(&NODE).all(|name| row.contains_key(*name)));
        assert!(line(&DelayedNode::default()).contains("unheard"));
    }
}
