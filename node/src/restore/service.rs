//! Answers who asks for restores: plans them, and begins, ends and shows them. What a plan rests on is looked at when it is made, and once more
//! when it is applied.

use super::asked::{Answer, Ask, Reach};
use super::change::RestoreChange;
use super::fetch::Sources;
use super::plan::{NoPlan, Plan, Route, hex, keeps, sha256};
use super::rows::{Mode, RestoreRow, State};
use super::rules::{acted, check_reach, forgotten, malformed, mode, nearest};
use super::target::{Target, shown, target};
use crate::api::Backend;
use crate::archive::window::{Needed, Scope, window};
use crate::entropy::{SystemEntropy, random_id};
use crate::limits;
use crate::meta::CLUSTER_TENANT;
use crate::meta::command::{Change, MetaCommand, MetaReply, Reason};
use crate::meta::tenant_row::TenantRow;
use crate::refused::Refused;
use crate::tenants::rules::{TenantState, is_name};
use engine::Stamp;
use engine::ids::TenantId;
use proto::errors::code;

pub use super::rules::{Act, PlanAsked, Result, permille};

/// How often a change of a restore is tried that goes on meanwhile.
const TRIES: usize = 20;

/// Between which instants a tenant can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Name of the tenant.
    pub tenant: String,
    /// Where it comes from: `history`, or a site of the archive.
    pub source: String,
    /// Every instant of these can be restored, both ends among them.
    pub spans: Vec<(Stamp, Stamp)>,
}

/// Answers who asks.
pub struct Restores<'a>(&'a dyn Backend);

fn stale(text: &str) -> Refused {
    Refused::new(code::PLAN_STALE).saying(text)
}

impl From<NoPlan> for Refused {
    fn from(error: NoPlan) -> Self {
        malformed(&error.to_string())
    }
}

impl<'a> Restores<'a> {
    /// On a node.
    #[must_use]
    pub fn new(backend: &'a dyn Backend) -> Self {
        Self(backend)
    }

    fn tenant(&self, name: &str) -> Result<TenantRow> {
        let meta = self.0.meta();
        let row = meta.tenant_named(name).cloned();
        row.filter(|row| row.state != TenantState::Purged).ok_or_else(|| Refused::new(code::TENANT_UNKNOWN))
    }

    async fn reach(&self, tenant: TenantId, wait_ms: u64) -> Result<Reach> {
        match self.0.restoring_anywhere(tenant, Ask::Reach(tenant), wait_ms).await? {
            Answer::Reach(reach) => Ok(reach),
            _ => Err(Refused::new(code::INTERNAL)),
        }
    }

    /// What can be restored of a tenant, or of all.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN`; what the shards say.
    pub async fn windows(&self, name: &str, wait_ms: u64) -> Result<Vec<Window>> {
        let mut rows: Vec<TenantRow> = match name {
            "" => self.0.meta().tenants.values().cloned().collect(),
            name => vec![self.tenant(name)?],
        };
        rows.retain(|row| row.state != TenantState::Purged);
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let sources = self.0.archive(wait_ms).await?;
        let mut windows = Vec::new();
        for row in rows {
            let Reach { oldest, newest, .. } = self.reach(row.id, wait_ms).await?;
            let (tenant, source) = (row.name.clone(), "history".to_owned());
            windows.push(Window { tenant, source, spans: vec![(oldest, newest)] });
            if let Some(sources) = &sources {
                let scope = Scope { groups: None, tenants: Some([row.id, CLUSTER_TENANT].into()) };
                let found = window(&sources.archive, &scope).spans;
                let spans: Vec<_> = found.iter().map(|span| (span.from, span.upto)).collect();
                let source = sources.sites.first().map(|site| site.name().to_string()).unwrap_or_default();
                windows.extend((!spans.is_empty()).then_some(Window { tenant: row.name, source, spans }));
            }
        }
        Ok(windows)
    }

    /// Plans a restore. Its bytes are the plan.
    ///
    /// # Errors
    /// `TARGET_UNREACHABLE` and the nearest that can be reached; what is wrong with what is asked.
    pub async fn plan(&self, asked: PlanAsked, wait_ms: u64) -> Result<Vec<u8>> {
        let mode = mode(&asked)?;
        let target = target(&asked.at, &asked.before).map_err(|why| malformed(&why.to_string()))?;
        self.0.refresh(wait_ms).await?;
        let (row, meta, now_ms) = (self.tenant(&asked.tenant)?, self.0.meta(), self.0.now_ms());
        let reach = self.reach(row.id, wait_ms).await?;
        let upto = match target {
            Target::Latest => reach.newest,
            Target::Upto(upto) => upto,
        };
        let route = self.route(asked.route, (row.id, upto), (reach, now_ms), wait_ms).await?;
        let restore = random_id(&SystemEntropy);
        let (cluster, generation) = (self.0.cluster(), self.0.generation());
        let mut plan = Plan::new(restore, cluster, generation, now_ms);
        if !asked.collection.is_empty() {
            let id = meta.collection(row.id, &asked.collection);
            let id = id.ok_or_else(|| malformed("the tenant has no such collection"))?;
            (plan.collection, plan.collection_id) = (Some(asked.collection), Some(id.0));
        }
        if matches!(mode, Mode::Tenant | Mode::InPlace) {
            let name = if mode == Mode::Tenant { asked.into } else { format!("restoring-{restore:x}") };
            self.check_name(&name)?;
            plan.into = Some(name);
            plan.into_id = Some(TenantId(random_id(&SystemEntropy)).to_string());
        }
        let part = |key: &[u8]| (!key.is_empty()).then(|| hex(key));
        (plan.from, plan.to, plan.key) = (part(&asked.from), part(&asked.to), part(&asked.key));
        (plan.tenant, plan.tenant_id) = (asked.tenant, row.id.to_string());
        (plan.target, plan.target_time) = (upto.to_string(), shown(upto));
        (plan.oldest, plan.newest) = (reach.oldest.to_string(), reach.newest.to_string());
        (plan.seen, plan.bytes_at_most) = (reach.newest.to_string(), reach.bytes.to_string());
        if let Some((sources, needed)) = route {
            plan.route = Route::Archive;
            plan.site = sources.sites.first().map(|site| site.name().to_string());
            plan.base = needed.base.map(|id| id.to_string());
            plan.ticks = Some(needed.ticks.len());
        }
        (plan.on_conflict, plan.mirror, plan.ttl) = (asked.on_conflict, asked.mirror, asked.ttl);
        (plan.mode, plan.keeps) = (mode.word().to_owned(), keeps(mode));
        let bytes = plan.encode()?;
        let row = plan.row(&bytes, now_ms)?;
        let forgotten = forgotten(meta.restores.values(), now_ms)?;
        let forget = forgotten.map(|id| Change::Restoring(RestoreChange::Forget(id)));
        let put = Change::Restoring(RestoreChange::Put(Box::new(row), None));
        let changes = forget.into_iter().chain([put]).collect();
        match self.0.change(MetaCommand::new(changes), wait_ms).await? {
            MetaReply::Applied { .. } => Ok(bytes),
            MetaReply::Refused { reason, .. } => {
                Err(Refused::new(code::CHANGE_REFUSED).saying(reason.to_string()))
            }
            MetaReply::Malformed => Err(Refused::new(code::INTERNAL)),
        }
    }

    /// What of an archive an instant of a tenant is read from; nothing: it is read in the history.
    async fn route(
        &self,
        asked: Option<Route>,
        (tenant, upto): (TenantId, Stamp),
        (reach, now_ms): (Reach, u64),
        wait_ms: u64,
    ) -> Result<Option<(Sources, Needed)>> {
        let in_history = check_reach(upto, reach, now_ms);
        if asked == Some(Route::History) || (asked.is_none() && in_history.is_ok()) {
            return in_history.map(|()| None);
        }
        let Some(sources) = self.0.archive(wait_ms).await? else {
            let none = Refused::new(code::TARGET_UNREACHABLE).saying("nothing of the cluster is archived");
            return Err(in_history.err().unwrap_or(none));
        };
        match sources.needed(&[tenant, CLUSTER_TENANT].into(), upto) {
            Ok(needed) => Ok(Some((sources, needed))),
            Err(why) => {
                let refused = Refused::new(code::TARGET_UNREACHABLE);
                let kept = in_history.err().map(|why| format!("; in the history: {}", why.text));
                Err(refused.saying(format!("{}{}", nearest(&why), kept.unwrap_or_default())))
            }
        }
    }

    fn check_name(&self, name: &str) -> Result<()> {
        if !is_name(name) {
            return Err(Refused::new(code::NAME_INVALID));
        }
        match self.0.meta().tenant_named(name) {
            Some(_) => Err(Refused::new(code::TENANT_EXISTS)),
            None => Ok(()),
        }
    }

    /// Changes the row of a restore. `None`: somebody else has, look again.
    async fn put(&self, row: RestoreRow, expected: Option<u64>, wait_ms: u64) -> Result<Option<RestoreRow>> {
        let put = Change::Restoring(RestoreChange::Put(Box::new(row.clone()), expected));
        match self.0.change(MetaCommand::new(vec![put]), wait_ms).await? {
            MetaReply::Applied { .. } => Ok(Some(row)),
            MetaReply::Refused { reason: Reason::Held, .. } => Err(Refused::new(code::RESTORE_BUSY)),
            MetaReply::Refused { reason: Reason::Stale, .. } => Ok(None),
            MetaReply::Refused { reason, .. } => {
                Err(Refused::new(code::RESTORE_STATE).saying(reason.to_string()))
            }
            MetaReply::Malformed => Err(Refused::new(code::INTERNAL)),
        }
    }

    /// Begins what a plan says. A plan that was begun before is only shown.
    ///
    /// # Errors
    /// `PLAN_STALE`, `CONFIRM`, `RESTORE_BUSY`, `TARGET_UNREACHABLE`.
    pub async fn apply(&self, bytes: &[u8], confirm: &str, wait_ms: u64) -> Result<RestoreRow> {
        let plan = Plan::decode(bytes)?;
        let scope = plan.scope()?;
        self.0.refresh(wait_ms).await?;
        let meta = self.0.meta();
        let row = meta.restores.get(&scope.restore);
        let row = row.ok_or_else(|| stale("the plan is too old, or of another cluster: plan again"))?;
        if row.sha256 != sha256(bytes) {
            return Err(stale("the plan was changed since it was made: plan again"));
        }
        if row.state != State::Planned {
            return Ok(row.clone());
        }
        let now_ms = self.0.now_ms();
        if now_ms > row.created_ms.saturating_add(limits::PLAN_MS) {
            return Err(stale("the plan is older than a day: plan again"));
        }
        if (plan.cluster.clone(), plan.generation) != (self.0.cluster().to_string(), self.0.generation()) {
            return Err(stale("the plan is of another cluster, or of another generation of this one"));
        }
        let tenant = self.tenant(&plan.tenant).map_err(|_| stale("the tenant is gone: plan again"))?;
        if tenant.id != scope.tenant {
            return Err(stale("the name is another tenant's meanwhile: plan again"));
        }
        if scope.mode == Mode::InPlace && confirm != plan.tenant {
            return Err(Refused::new(code::CONFIRM));
        }
        if let Some((_, name)) = &scope.into {
            self.check_name(name).map_err(|_| stale("the name was given to another tenant meanwhile"))?;
        }
        let reach = self.reach(tenant.id, wait_ms).await?;
        let found = self.route(Some(plan.route), (tenant.id, scope.target), (reach, now_ms), wait_ms).await?;
        let base = found.and_then(|(_, needed)| needed.base).map(|id| id.to_string());
        if base != plan.base {
            return Err(stale("the archive would begin from another snapshot now: plan again"));
        }
        let next =
            RestoreRow { version: row.version + 1, state: State::Running, changed_ms: now_ms, ..row.clone() };
        let begun = self.put(next, Some(row.version), wait_ms).await?;
        tracing::info!(restore = scope.restore, mode = plan.mode, tenant = %tenant.id, "a restore begins");
        begun.ok_or_else(|| stale("somebody has just applied it: see `dew restore status`"))
    }

    /// Restores, those that moved last first.
    ///
    /// # Errors
    /// `RESTORE_UNKNOWN`.
    pub async fn list(&self, id: u64, wait_ms: u64) -> Result<Vec<RestoreRow>> {
        self.0.refresh(wait_ms).await?;
        let meta = self.0.meta();
        if id != 0 {
            let row = meta.restores.get(&id).cloned();
            return row.map(|row| vec![row]).ok_or_else(|| Refused::new(code::RESTORE_UNKNOWN));
        }
        let mut rows: Vec<_> = meta.restores.values().cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.changed_ms, row.id)));
        Ok(rows)
    }

    /// Has a restore wait, go on or end, or takes one back.
    ///
    /// # Errors
    /// `RESTORE_UNKNOWN`, `RESTORE_STATE`.
    pub async fn act(&self, id: u64, act: Act, wait_ms: u64) -> Result<RestoreRow> {
        for _ in 0..TRIES {
            self.0.refresh(wait_ms).await?;
            let meta = self.0.meta();
            let row = meta.restores.get(&id).ok_or_else(|| Refused::new(code::RESTORE_UNKNOWN))?;
            let now_ms = self.0.now_ms();
            let next = acted(row, act, now_ms)?;
            if let Some(next) = self.put(next, Some(row.version), wait_ms).await? {
                tracing::info!(restore = id, ?act, "something is done to a restore");
                return Ok(next);
            }
        }
        Err(Refused::new(code::RESTORE_STATE).saying("the restore moves too fast: try again"))
    }
}
