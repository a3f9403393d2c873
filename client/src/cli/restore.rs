//! Restores: what can be restored, plans, and what carries them out.

use super::Session;
use super::confirm::confirmed;
use super::output::{Document, Fields, fields, hex, put_bytes};
use crate::stamp::Stamp;
use crate::wire::act_request::Act;
use crate::wire::{PlanRequest, RestoreState, Window};
use crate::{Error, Result, code};
use bytes::Bytes;
use clap::{Args as Part, Subcommand};
use serde_json::Value;
use std::time::Duration;

const WINDOW: [&str; 6] = ["tenant", "source", "oldest", "oldest_time", "newest", "newest_time"];
const RESTORE: [&str; 10] =
    ["id", "state", "tenant", "mode", "other", "done_permille", "rows", "removed", "conflicts", "text"];
/// Between two looks at a restore that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// What to do with restores.
#[derive(Debug, Subcommand)]
pub enum RestoreVerb {
    /// Shows between which instants tenants can be restored, and from where: the tenant of `--tenant`, or all.
    Window,
    /// Plans a restore of the tenant of `--tenant`, or of a part of it, and does nothing yet.
    Plan(Box<Plan>),
    /// Does what a plan says, and exactly that.
    Apply {
        /// The file of the plan.
        plan: String,
        /// Of a plan in place: the name of the tenant again.
        #[arg(long)]
        confirm: Option<String>,
        /// Comes back when it has ended: 1 if it has failed.
        #[arg(long)]
        wait: bool,
    },
    /// Shows restores, or one.
    Status {
        /// Its id.
        id: Option<String>,
    },
    /// Has one wait.
    Pause {
        /// Its id.
        id: String,
    },
    /// Has one go on.
    Resume {
        /// Its id.
        id: String,
    },
    /// Ends one: a new tenant it was making goes, what it has written to one that serves stays.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Takes back a restore in place: what was there before comes back.
    Undo {
        /// Its id.
        id: String,
        /// The name of the tenant: what was written since is left behind.
        #[arg(long)]
        confirm: Option<String>,
    },
}

/// What to plan.
#[derive(Debug, Part)]
pub struct Plan {
    /// A collection of it.
    #[arg(long, short)]
    pub collection: Option<String>,
    /// The first key.
    #[arg(long, requires = "collection")]
    pub from: Option<String>,
    /// The first key behind.
    #[arg(long, requires = "collection")]
    pub to: Option<String>,
    /// One key: COLLECTION/KEY.
    #[arg(long, conflicts_with_all = ["collection", "from", "to"])]
    pub key: Option<String>,
    /// The instant to go to: a time with its zone, a stamp, a commit, or `latest`.
    #[arg(long, required_unless_present = "before", conflicts_with = "before")]
    pub at: Option<String>,
    /// What is just left out: a time with its zone, a stamp, or a commit.
    #[arg(long)]
    pub before: Option<String>,
    /// Into a new tenant: `tenant:NAME`.
    #[arg(long, conflicts_with = "in_place")]
    pub into: Option<String>,
    /// In place: what the tenant is now is kept aside, and the restore can be taken back.
    #[arg(long)]
    pub in_place: bool,
    /// What to do with a key that somebody has written since the plan was made.
    #[arg(long, value_parser = ["list", "skip", "overwrite"], default_value = "list")]
    pub on_conflict: String,
    /// Keys that were not there then go.
    #[arg(long)]
    pub mirror: bool,
    /// What becomes of values that expire: they keep their time, or it is shifted by as much as lies between.
    #[arg(long, value_parser = ["keep", "shift"], default_value = "keep")]
    pub ttl: String,
    /// Where it comes from; else from the history if that reaches, and from the archive if not.
    #[arg(long, value_parser = ["history", "archive"])]
    pub route: Option<String>,
    /// Writes the plan here.
    #[arg(long)]
    pub out: String,
}

fn bad(text: String) -> Error {
    Error::new(code::INPUT, text)
}

/// Id of a restore, as it is printed.
fn id_of(text: &str) -> Result<u64> {
    let id = u64::from_str_radix(text, 16).ok().filter(|id| *id != 0 && text.len() == 16);
    id.ok_or_else(|| bad(format!("`{text}` is no restore: write its id as `dew restore status` does")))
}

fn tenant_of(session: &Session) -> Result<String> {
    let none = || bad("no tenant: give --tenant".to_owned());
    session.tenant.clone().ok_or_else(none)
}

fn request(session: &Session, plan: &Plan) -> Result<PlanRequest> {
    let bytes = |text: &Option<String>| Bytes::from(text.clone().unwrap_or_default());
    let (mut collection, mut key) = (plan.collection.clone().unwrap_or_default(), Bytes::new());
    if let Some(text) = &plan.key {
        let place = text.split_once('/').filter(|(of, key)| !of.is_empty() && !key.is_empty());
        let (of, one) = place.ok_or_else(|| bad(format!("`{text}` is no key: write COLLECTION/KEY")))?;
        (collection, key) = (of.to_owned(), Bytes::from(one.to_owned()));
    }
    let into = match &plan.into {
        None => String::new(),
        Some(text) => {
            let name = text.strip_prefix("tenant:").filter(|name| !name.is_empty());
            name.ok_or_else(|| bad(format!("`{text}` is nowhere: write tenant:NAME")))?.to_owned()
        }
    };
    Ok(PlanRequest {
        tenant: tenant_of(session)?,
        collection,
        from: bytes(&plan.from),
        to: bytes(&plan.to),
        key,
        at: plan.at.clone().unwrap_or_default(),
        before: plan.before.clone().unwrap_or_default(),
        into,
        in_place: plan.in_place,
        on_conflict: plan.on_conflict.clone(),
        mirror: plan.mirror,
        ttl: plan.ttl.clone(),
        route: plan.route.clone().unwrap_or_default(),
    })
}

fn moment(stamp: u64) -> Value {
    Stamp(stamp).to_string().into()
}

/// A stamp as a time, UTC, to the millisecond.
fn time(stamp: u64) -> Value {
    let ms = i64::try_from(Stamp(stamp).ms()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or(Value::Null, |time| format!("{time:.3}").into())
}

fn window_row(window: &Window) -> Fields {
    fields([
        ("tenant", window.tenant.as_str().into()),
        ("source", window.source.as_str().into()),
        ("oldest", moment(window.oldest)),
        ("oldest_time", time(window.oldest)),
        ("newest", moment(window.newest)),
        ("newest_time", time(window.newest)),
    ])
}

fn text(number: u64) -> Value {
    number.to_string().into()
}

fn restore_row(restore: &RestoreState) -> Fields {
    let conflicting = restore.conflicting.iter().map(|one| {
        let mut row = fields([("collection", one.collection.as_str().into())]);
        put_bytes(&mut row, "key", &one.key);
        Value::Object(row)
    });
    let or_null = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    fields([
        ("id", format!("{:016x}", restore.id).into()),
        ("state", restore.state.as_str().into()),
        ("step", restore.step.as_str().into()),
        ("tenant", restore.tenant.as_str().into()),
        ("mode", restore.mode.as_str().into()),
        ("other", or_null(&restore.other)),
        ("target", moment(restore.target)),
        ("target_time", time(restore.target)),
        ("created_ms", text(restore.created_ms)),
        ("changed_ms", text(restore.changed_ms)),
        ("done_permille", restore.done_permille.into()),
        ("rows", text(restore.rows)),
        ("bytes", text(restore.bytes)),
        ("removed", text(restore.removed)),
        ("conflicts", text(restore.conflicts)),
        ("conflicting", conflicting.collect::<Vec<_>>().into()),
        ("expired", text(restore.expired)),
        ("left_behind", text(restore.left_behind)),
        ("undo_until_ms", text(restore.undo_until_ms)),
        ("text", or_null(&restore.text)),
    ])
}

fn print(session: &Session, restore: &RestoreState) -> Result<()> {
    Document::one("dew.restore.show/1", &RESTORE, restore_row(restore)).print(session.format)
}

async fn window(session: &Session) -> Result<()> {
    let windows = session.client.admin().window(session.tenant.as_deref().unwrap_or("")).await?;
    let rows = windows.iter().map(window_row).collect();
    Document::list("dew.restore.window/1", &WINDOW, rows).print(session.format)
}

/// Runs a command about restores.
pub async fn run(session: &Session, verb: RestoreVerb) -> Result<u8> {
    let admin = session.client.admin();
    let act = match verb {
        RestoreVerb::Window => return window(session).await.map(|()| 0),
        RestoreVerb::Plan(what) => return plan(session, &what).await.map(|()| 0),
        RestoreVerb::Apply { plan, confirm, wait } => {
            return apply(session, &plan, confirm.as_deref(), wait).await;
        }
        RestoreVerb::Status { id: None } => {
            let rows = admin.restores(0).await?.iter().map(restore_row).collect();
            Document::list("dew.restore.list/1", &RESTORE, rows).print(session.format)?;
            return Ok(0);
        }
        RestoreVerb::Status { id: Some(id) } => {
            let found = admin.restores(id_of(&id)?).await?;
            return found.first().map_or(Ok(()), |one| print(session, one)).map(|()| 0);
        }
        RestoreVerb::Pause { id } => (id, Act::Pause),
        RestoreVerb::Resume { id } => (id, Act::Resume),
        RestoreVerb::Cancel { id } => (id, Act::Cancel),
        RestoreVerb::Undo { id, confirm } => {
            let found = admin.restores(id_of(&id)?).await?;
            let name = found.first().map_or(String::new(), |one| one.other.clone());
            confirmed(
                "what was there before comes back, and what was written since is left behind",
                &name,
                (confirm.as_deref(), session.is_protected),
            )?;
            (id, Act::Undo)
        }
    };
    let (id, act) = act;
    print(session, &admin.act_on_restore(id_of(&id)?, act).await?)?;
    Ok(0)
}

async fn plan(session: &Session, plan: &Plan) -> Result<()> {
    let made = session.client.admin().plan_restore(request(session, plan)?).await?;
    std::fs::write(&plan.out, &made.plan)
        .map_err(|cause| bad(format!("write {}", plan.out)).because(cause))?;
    let read: Value = serde_json::from_slice(&made.plan).unwrap_or_default();
    let of = |name: &str| read.get(name).cloned().unwrap_or_default();
    let mut row = fields([("sha256", hex(&made.sha256).into()), ("out", plan.out.as_str().into())]);
    let shown = [
        "restore",
        "tenant",
        "mode",
        "into",
        "target",
        "target_time",
        "route",
        "site",
        "base",
        "ticks",
        "oldest",
        "newest",
        "bytes_at_most",
        "keeps",
        "holds_until",
    ];
    for name in shown {
        row.insert(name.to_owned(), of(name));
    }
    let columns = [
        "restore",
        "tenant",
        "mode",
        "into",
        "target",
        "target_time",
        "route",
        "bytes_at_most",
        "out",
        "sha256",
    ];
    Document::one("dew.restore.plan/1", &columns, row).print(session.format)
}

async fn apply(session: &Session, path: &str, confirm: Option<&str>, wait: bool) -> Result<u8> {
    let bytes = std::fs::read(path).map_err(|cause| bad(format!("read {path}")).because(cause))?;
    let read: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let of = |name: &str| read.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (tenant, is_in_place) = (of("tenant"), of("mode") == "in-place");
    if is_in_place {
        confirmed(
            &format!(
                "{tenant} becomes what it was at {}; what it is now is kept aside for seven days",
                of("target_time")
            ),
            &tenant,
            (confirm, session.is_protected),
        )?;
    }
    let admin = session.client.admin();
    let mut restore = admin.apply_restore(bytes.into(), if is_in_place { &tenant } else { "" }).await?;
    while wait && matches!(restore.state.as_str(), "running" | "undoing") {
        tokio::time::sleep(LOOK).await;
        restore = admin.restores(restore.id).await?.into_iter().next().unwrap_or(restore);
    }
    print(session, &restore)?;
    Ok(u8::from(restore.state == "failed"))
}
