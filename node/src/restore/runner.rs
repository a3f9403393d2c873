//! Carries restores out, where the meta group is led. Every step follows from the row of the restore, so whoever leads next goes on where it
//! stands; what was done since the last note is done once more, and that does no harm.

use super::archive;
use super::change::RestoreChange;
use super::copy;
use super::hands::Hands;
use super::past::{KeyRange, Past};
use super::plan::{Plan, Route, Scope};
use super::rows::{Mode, Reached, RestoreRow, State, Step, Tally};
use super::switch;
use super::write_back::{Rules, WriteBack};
use crate::limits;
use crate::meta::command::{Change, Reason};
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::server::Server;
use crate::tenants::rules::TenantState;
use bytes::Bytes;
use engine::Stamp;
use proto::errors::Kind;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why a restore does not go on now.
pub(super) enum Stop {
    /// Somebody else has changed its row: whoever drives it next looks at what that says.
    Changed,
    /// Something is away that may come back: it is tried again.
    Waits(String),
    /// It cannot be done.
    Failed(String),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        let kind = proto::errors::find(refused.code).map(|entry| entry.kind);
        match kind {
            Some(Kind::Unavailable | Kind::Unknown) => Self::Waits(refused.to_string()),
            _ => Self::Failed(refused.to_string()),
        }
    }
}

/// One restore under way.
pub(super) struct Drive {
    pub(super) hands: Hands,
    pub(super) row: RestoreRow,
    pub(super) plan: Plan,
    pub(super) scope: Scope,
    /// Where the past is read.
    pub(super) past: Past,
    /// When this driver has begun, in milliseconds since 1970.
    pub(super) began_ms: u64,
    /// Nobody has driven it before.
    pub(super) is_first: bool,
    noted_ms: u64,
}

impl Drive {
    /// Notes a change of its row.
    pub(super) async fn note(&mut self, change: impl FnOnce(&mut RestoreRow)) -> Result<(), Stop> {
        self.note_with(change, Vec::new()).await
    }

    /// Notes a change of its row together with other changes: all of them or none.
    pub(super) async fn note_with(
        &mut self,
        change: impl FnOnce(&mut RestoreRow),
        others: Vec<Change>,
    ) -> Result<(), Stop> {
        let mut next = self.row.clone();
        change(&mut next);
        let now_ms = self.hands.now_ms();
        (next.version, next.changed_ms) = (self.row.version + 1, now_ms);
        let put = Change::Restoring(RestoreChange::Put(Box::new(next.clone()), Some(self.row.version)));
        match self.hands.change([others, vec![put]].concat()).await? {
            Ok(()) => {
                (self.row, self.noted_ms) = (next, now_ms);
                Ok(())
            }
            Err(Reason::Stale | Reason::NotFound | Reason::Impossible) => Err(Stop::Changed),
            Err(why) => Err(Stop::Failed(why.to_string())),
        }
    }

    /// Counts what was done up to there, and notes it now and then.
    pub(super) async fn count(&mut self, reached: Reached, more: &Tally) -> Result<(), Stop> {
        self.row.reached = reached;
        add(&mut self.row.tally, more);
        if self.hands.now_ms() < self.noted_ms.saturating_add(limits::RESTORE_NOTE_MS) {
            return Ok(());
        }
        self.note(|_| {}).await
    }

    async fn go_on(&mut self) -> Result<(), Stop> {
        if self.row.state == State::Undoing {
            return Box::pin(switch::back(self)).await;
        }
        if self.plan.route == Route::Archive {
            self.past = Box::pin(archive::past(self)).await?;
        }
        match self.row.mode {
            Mode::Range | Mode::Key => Box::pin(self.write_back()).await,
            Mode::Tenant | Mode::InPlace => loop {
                match self.row.step {
                    Step::Make => Box::pin(copy::make(self)).await?,
                    Step::Write => Box::pin(copy::write(self)).await?,
                    Step::Compare => Box::pin(copy::compare(self)).await?,
                    Step::Switch => {
                        copy::wait_out(self).await;
                        return match self.row.mode {
                            Mode::InPlace => Box::pin(switch::over(self)).await,
                            _ => Box::pin(switch::serve(self)).await,
                        };
                    }
                }
            },
        }
    }

    async fn write_back(&mut self) -> Result<(), Stop> {
        let Plan { on_conflict, mirror, ttl, .. } = self.plan.clone();
        let rules = Rules { seen: self.scope.seen, on_conflict, mirror, ttl, target: self.scope.target };
        let meta = self.hands.meta();
        let mut collections: Vec<_> = match self.scope.collection {
            Some(one) => vec![one],
            None => meta.collections(self.scope.tenant).map(|(_, id)| id).collect(),
        };
        collections.sort_unstable();
        let begun = self.row.reached.clone();
        for collection in collections.into_iter().filter(|one| *one >= begun.collection) {
            let after = (collection == begun.collection && !begun.after.is_empty())
                .then(|| Bytes::from(begun.after.clone()));
            let (start, end) = (self.scope.from.clone().into(), self.scope.to.clone().map(Bytes::from));
            let range = KeyRange { collection, start, end };
            let past = self.past.clone();
            let mut writing = WriteBack::new(&self.hands, &past, (self.scope.tenant, range), after, rules);
            let mut goes_on = true;
            while goes_on {
                goes_on = writing.step().await?;
                let more = std::mem::take(&mut writing.tally);
                let room = limits::CONFLICTS_KEPT_MAX.saturating_sub(self.row.conflicting.len());
                self.row.conflicting.extend(writing.conflicting.drain(..).take(room));
                let after = writing.reached.as_ref().map_or_else(Vec::new, |key| key.to_vec());
                let batches = self.row.reached.batches + 1;
                self.count(Reached { collection, after, batches }, &more).await?;
            }
        }
        self.note(|row| (row.state, row.plan) = (State::Done, Vec::new())).await
    }
}

impl Drive {
    /// A takeover has cut off what was written since, perhaps some of what this restore has noted as written.
    fn check_generation(&self) -> Result<(), Stop> {
        let now = self.hands.server().running().map(|running| running.parts().cluster.1);
        match now {
            Ok(now) if now != self.plan.generation && self.row.state == State::Running => Err(Stop::Failed(
                "the cluster has gone on in another generation since: plan it again".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

fn add(tally: &mut Tally, more: &Tally) {
    tally.rows += more.rows;
    tally.bytes += more.bytes;
    tally.removed += more.removed;
    tally.conflicts += more.conflicts;
    tally.expired += more.expired;
}

/// A text as long as a row may say.
fn told(mut text: String) -> String {
    let mut end = text.len().min(limits::RESTORE_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Carries restores out until the tasks end.
pub async fn run(server: Arc<Server>) {
    let hands = Hands::new(server.clone());
    let driven: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    loop {
        tokio::time::sleep(Duration::from_millis(limits::RESTORE_LOOK_MS)).await;
        let leads = server.running().is_ok_and(|running| {
            running.replica(GroupId::META).is_some_and(|seated| seated.receiver.group().leads())
        });
        let meta = server.meta();
        server.watch_restores(leads.then_some(&*meta));
        if !leads {
            continue;
        }
        for row in meta.restores.values().filter(|row| matches!(row.state, State::Running | State::Undoing)) {
            let is_new = driven.lock().unwrap_or_else(PoisonError::into_inner).insert(row.id);
            if is_new {
                let (hands, row, driven) = (hands.clone(), row.clone(), driven.clone());
                server.tasks.spawn("restore", async move {
                    let id = row.id;
                    drive(hands, row).await;
                    driven.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                });
            }
        }
        for change in leftovers(&meta, hands.now_ms()) {
            if let Err(refused) = hands.change(vec![change]).await {
                tracing::debug!(%refused, "what a restore has left is not cleared away now");
            }
        }
    }
}

/// Drives one restore until it has ended, waits, or was changed by somebody else.
async fn drive(hands: Hands, row: RestoreRow) {
    let scope = Plan::decode(&row.plan).and_then(|plan| plan.scope().map(|scope| (plan, scope)));
    let began_ms = hands.now_ms();
    let (plan, scope) = match scope {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(restore = row.id, %error, "the plan of a restore cannot be read");
            let (version, expected) = (row.version + 1, Some(row.version));
            let failed = RestoreRow { version, state: State::Failed, text: told(error.to_string()), ..row };
            let put = RestoreChange::Put(Box::new(failed), expected);
            if let Err(refused) = hands.change(vec![Change::Restoring(put)]).await {
                tracing::warn!(%refused, "that a restore has failed is not noted: it is tried again");
            }
            return;
        }
    };
    let is_first = row.version <= 2;
    let (tenant, at) = (scope.tenant, scope.target);
    let past = Past::History { hands: hands.clone(), tenant, at, keys_only: false };
    let mut driving = Drive { hands, row, plan, scope, past, began_ms, is_first, noted_ms: began_ms };
    let id = driving.row.id;
    let went = match driving.check_generation() {
        Ok(()) => driving.go_on().await,
        Err(stop) => Err(stop),
    };
    if driving.plan.route == Route::Archive && !matches!(went, Err(Stop::Changed | Stop::Waits(_))) {
        archive::cleared(driving.hands.server(), id);
    }
    match went {
        Ok(()) => {
            let (state, ms) = (driving.row.state.word(), driving.hands.now_ms().saturating_sub(began_ms));
            tracing::info!(restore = id, state, ms, tally = ?driving.row.tally, "a restore has ended");
        }
        Err(Stop::Changed) => tracing::info!(restore = id, "a restore was changed by somebody else"),
        Err(Stop::Waits(why)) => {
            tracing::warn!(restore = id, why, "a restore waits: it is tried again");
            if let Err(Stop::Waits(why) | Stop::Failed(why)) =
                driving.note(|row| row.text = told(format!("it waits: {why}"))).await
            {
                tracing::debug!(restore = id, why, "that a restore waits is not noted");
            }
            tokio::time::sleep(Duration::from_millis(limits::RESTORE_NOTE_MS)).await;
        }
        Err(Stop::Failed(why)) => {
            tracing::error!(restore = id, why, "a restore has failed");
            let is_undoing = driving.row.state == State::Undoing;
            let noted = driving.note(|row| {
                // What could not be taken back stays done.
                row.state = if is_undoing { State::Done } else { State::Failed };
                row.text = told(why);
            });
            if let Err(Stop::Waits(why) | Stop::Failed(why)) = noted.await {
                tracing::warn!(
                    restore = id,
                    why,
                    "that a restore has failed is not noted: it is tried again"
                );
            }
        }
    }
}

/// Pure: what is to be cleared away: copies that are not whole and that nobody makes any more, tenants that are closed for nothing, and those that
/// were aside for long enough.
fn leftovers(meta: &MetaView, now_ms: u64) -> Vec<Change> {
    let is_open = |restore: u64| meta.restores.get(&restore).is_some_and(|row| row.state.is_open());
    let lives = |row: &TenantState| matches!(row, TenantState::Active | TenantState::Frozen);
    let mut changes = Vec::new();
    for origin in meta.origins.values().filter(|origin| origin.whole == Stamp::MAX) {
        let is_there = meta.tenants.get(&origin.tenant).is_some_and(|row| lives(&row.state));
        if is_there && !is_open(origin.restore) {
            changes.push(RestoreChange::End(origin.tenant));
        }
    }
    for aside in meta.aside.values() {
        if aside.until_ms == 0 && !is_open(aside.restore) {
            changes.push(RestoreChange::Open(aside.tenant));
        } else if aside.until_ms != 0 && now_ms >= aside.until_ms && !meta.held.contains_key(&aside.tenant) {
            changes.push(RestoreChange::End(aside.tenant));
        }
    }
    changes.into_iter().map(Change::Restoring).collect()
}
