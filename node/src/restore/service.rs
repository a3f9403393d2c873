//! Answers who asks for restores: plans them, and begins, ends and shows them. What a plan rests on is looked at when it is made, and once more
//! when it is applied.

use super::asked::{Answer, Ask, Reach};
use super::change::RestoreChange;
use super::fetch::Sources;
use super::plan::{NoPlan, OnConflict, Plan, Route, Ttl, hex, keeps, sha256};
use super::rows::{Mode, RestoreRow, State};
use super::target::{Target, shown, target};
use crate::api::Backend;
use crate::archive::window::{Needed, NotRestorable, Scope, window};
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

/// How often a change of a restore is tried that goes on meanwhile.
const TRIES: usize = 20;

type Result<T> = std::result::Result<T, Refused>;

/// What is to be planned.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PlanAsked {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the collection; empty: all.
    pub collection: String,
    /// The first key.
    pub from: Vec<u8>,
    /// The first key behind; empty: all that follow.
    pub to: Vec<u8>,
    /// One key; empty: none.
    pub key: Vec<u8>,
    /// The instant; empty: `before` says it.
    pub at: String,
    /// What is just left out; empty: `at` says it.
    pub before: String,
    /// Name of the tenant that is made; empty: none.
    pub into: String,
    /// The tenant itself is put back.
    pub in_place: bool,
    /// What is done with conflicts.
    pub on_conflict: OnConflict,
    /// Keys that were not there then go.
    pub mirror: bool,
    /// What becomes of values that expire.
    pub ttl: Ttl,
    /// Where it comes from; `None`: from the history if that reaches, else from the archive.
    pub route: Option<Route>,
}

/// What is done to a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It waits.
    Pause,
    /// It goes on.
    Resume,
    /// It ends.
    Cancel,
    /// It is taken back.
    Undo,
}

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

fn malformed(text: &str) -> Refused {
    Refused::new(code::MALFORMED).saying(text)
}

impl From<NoPlan> for Refused {
    fn from(error: NoPlan) -> Self {
        malformed(&error.to_string())
    }
}

/// What a plan makes.
fn mode(asked: &PlanAsked) -> Result<Mode> {
    let is_whole = asked.collection.is_empty() && asked.key.is_empty();
    let is_range = !asked.from.is_empty() || !asked.to.is_empty();
    match (asked.into.is_empty(), asked.in_place) {
        (false, true) => Err(malformed("it is either put into a new tenant or in place")),
        (false, false) if is_whole && !is_range => Ok(Mode::Tenant),
        (true, true) if is_whole && !is_range => Ok(Mode::InPlace),
        (false, _) | (_, true) => Err(malformed(
            "into a new tenant or in place a tenant is restored whole: leave out what names a part",
        )),
        (true, false) if asked.collection.is_empty() => Err(malformed(
            "say what to restore: a collection or a key of it, or the whole tenant --into tenant:NAME or --in-place",
        )),
        (true, false) if asked.key.is_empty() => Ok(Mode::Range),
        (true, false) if is_range => Err(malformed("it is either one key or a range")),
        (true, false) => Ok(Mode::Key),
    }
}

/// Whether a target lies where something is kept; if not, the nearest that do are told.
fn check_reach(upto: Stamp, reach: Reach, now_ms: u64) -> Result<()> {
    let newest = reach.newest.max(Stamp::end_of_ms(now_ms));
    let refused = |text: String| Err(Refused::new(code::TARGET_UNREACHABLE).saying(text));
    if upto > newest {
        return refused(format!(
            "{} has not come yet: the nearest is latest, {}",
            shown(upto),
            shown(reach.newest)
        ));
    }
    if upto < reach.oldest {
        let oldest = reach.oldest;
        return refused(format!(
            "{} is before what the history keeps of the tenant: the nearest is {} ({oldest}), and nothing before it",
            shown(upto),
            shown(oldest)
        ));
    }
    Ok(())
}

/// Why an archive does not reach an instant, and which it does.
fn nearest(why: &NotRestorable) -> String {
    let at =
        |stamp: &Option<Stamp>| stamp.map_or_else(|| "none".to_owned(), |at| format!("{} ({at})", shown(at)));
    match why {
        NotRestorable::NotYet { nearest } => {
            format!("it is not archived yet: the nearest is {}", at(nearest))
        }
        NotRestorable::InHole { before, behind } => {
            format!(
                "the archive has a hole there: the nearest are {} before and {} behind",
                at(before),
                at(behind)
            )
        }
        NotRestorable::NotFromThere => why.to_string(),
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

/// Which restore is forgotten to make room for one more: of those that do not go on and cannot be taken back, the one that moved first.
fn forgotten<'a>(all: impl Iterator<Item = &'a RestoreRow>, now_ms: u64) -> Result<Option<u64>> {
    let all: Vec<_> = all.collect();
    if all.len() < limits::RESTORES_MAX {
        return Ok(None);
    }
    let is_over = |row: &&&RestoreRow| {
        !row.state.is_open() && (row.state != State::Done || now_ms >= row.undo_until_ms)
    };
    let first = all.iter().filter(is_over).min_by_key(|row| (row.changed_ms, row.id)).map(|row| row.id);
    first.map(Some).ok_or_else(|| Refused::new(code::RESTORE_BUSY).saying("too many restores are under way"))
}

/// What becomes of a restore.
fn acted(row: &RestoreRow, act: Act, now_ms: u64) -> Result<RestoreRow> {
    let no = |text: &str| Err(Refused::new(code::RESTORE_STATE).saying(text));
    let state = match (act, row.state) {
        (Act::Pause, State::Running) => State::Paused,
        (Act::Resume, State::Paused) => State::Running,
        (Act::Cancel, State::Planned | State::Running | State::Paused) => State::Cancelled,
        (Act::Undo, State::Done) if row.mode != Mode::InPlace => {
            return no(
                "only a restore in place is taken back: a new tenant is dropped, and what was written back has its older versions in the history",
            );
        }
        (Act::Undo, State::Done) if now_ms >= row.undo_until_ms => {
            return no("it can no longer be taken back: what was there before is no longer kept");
        }
        (Act::Undo, State::Done) => State::Undoing,
        (_, state) => return no(&format!("it is {}", state.word())),
    };
    let mut next = RestoreRow { version: row.version + 1, state, changed_ms: now_ms, ..row.clone() };
    if state == State::Cancelled {
        next.plan.clear();
    }
    next.text.clear();
    Ok(next)
}

/// How much of a restore is done, of 1000: of bytes as they are read. Not all of it before it is done.
#[must_use]
pub fn permille(row: &RestoreRow) -> u32 {
    if matches!(row.state, State::Done | State::Undoing | State::Undone) {
        return 1_000;
    }
    let at_most = Plan::decode(&row.plan).ok().and_then(|plan| plan.bytes_at_most.parse::<u64>().ok());
    let at_most = at_most.unwrap_or(0).max(row.tally.bytes).max(1);
    u32::try_from(row.tally.bytes.saturating_mul(900) / at_most).unwrap_or(900)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_follows_from_what_is_asked() {
        let of = |into: &str, in_place, collection: &str, from: &str, key: &str| {
            let (into, collection) = (into.to_owned(), collection.to_owned());
            let (from, key) = (from.into(), key.into());
            mode(&PlanAsked { into, in_place, collection, from, key, ..PlanAsked::default() }).ok()
        };
        assert_eq!(of("copy", false, "", "", ""), Some(Mode::Tenant));
        assert_eq!(of("", true, "", "", ""), Some(Mode::InPlace));
        assert_eq!(of("", false, "users", "", ""), Some(Mode::Range));
        assert_eq!(of("", false, "users", "a", ""), Some(Mode::Range));
        assert_eq!(of("", false, "users", "", "7"), Some(Mode::Key));
        for (into, in_place, collection, from, key) in [
            ("copy", true, "", "", ""),
            ("copy", false, "users", "", ""),
            ("", true, "users", "", ""),
            ("", true, "", "", "7"),
            ("", true, "", "a", ""),
            ("", false, "", "", ""),
            ("", false, "", "", "7"),
            ("", false, "users", "a", "7"),
        ] {
            assert_eq!(of(into, in_place, collection, from, key), None, "{into} {in_place} {collection}");
        }
    }

    #[test]
    fn an_instant_that_is_not_kept_is_refused_with_the_nearest_that_is() {
        let reach = Reach { oldest: Stamp::new(1_000, 3), newest: Stamp::new(5_000, 0), bytes: 0 };
        let of = |upto| check_reach(upto, reach, 6_000);
        for good in [reach.oldest, reach.newest, Stamp::end_of_ms(6_000)] {
            assert_eq!(of(good), Ok(()));
        }
        let early = of(Stamp::new(1_000, 2)).unwrap_err();
        assert_eq!(early.code, code::TARGET_UNREACHABLE);
        assert!(early.text.contains("1000.3") && early.text.contains("1970-01-01T00:00:01.000Z"), "{early}");
        let late = of(Stamp::new(6_001, 0)).unwrap_err();
        assert!(late.text.contains("latest"), "{late}");
    }

    #[test]
    fn what_may_be_done_to_a_restore_follows_from_its_state() {
        let of = |state, mode, act| {
            let row = RestoreRow { state, mode, undo_until_ms: 100, version: 4, ..RestoreRow::default() };
            acted(&row, act, 50).map(|next| (next.state, next.version)).ok()
        };
        use State::{Cancelled, Done, Paused, Planned, Running, Undoing};
        assert_eq!(of(Running, Mode::Key, Act::Pause), Some((Paused, 5)));
        assert_eq!(of(Paused, Mode::Key, Act::Resume), Some((Running, 5)));
        for state in [Planned, Running, Paused] {
            assert_eq!(of(state, Mode::Key, Act::Cancel), Some((Cancelled, 5)));
        }
        assert_eq!(of(Done, Mode::InPlace, Act::Undo), Some((Undoing, 5)));
        for (state, mode, act) in [
            (Done, Mode::Tenant, Act::Undo),
            (Running, Mode::InPlace, Act::Undo),
            (Paused, Mode::Key, Act::Pause),
            (Done, Mode::InPlace, Act::Cancel),
            (Planned, Mode::Key, Act::Resume),
        ] {
            assert_eq!(of(state, mode, act), None, "{state:?} {act:?}");
        }
        let late =
            RestoreRow { state: Done, mode: Mode::InPlace, undo_until_ms: 50, ..RestoreRow::default() };
        assert!(acted(&late, Act::Undo, 50).is_err());
    }
}
