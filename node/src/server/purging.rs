//! Ends dropped tenants for good, once their drop can be undone no more: their keys are destroyed in the meta group, every node forgets them, and
//! what they sealed leaves the tables as compaction comes by. Who leads the meta group does it; each step follows from the rows, so a crash
//! anywhere costs nothing. Then the cluster key is rotated, so that copies of their wrapped keys, wherever somebody has kept them, open no more.

use super::Server;
use crate::limits::{CHANGE_MS, META_CHANGES_MAX, PURGE_LOOK_MS, PURGE_TURN_LOOKS};
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::key_row::{KeyState, TenantKeyRow};
use crate::meta::view::MetaView;
use crate::tenants::rules::{Act, TenantState};
use engine::clock::Clock;
use engine::ids::{Owner, TenantId};
use raft::time::BootClock;
use raft::types::GroupId;
use std::sync::Arc;
use std::time::Duration;

/// Pure: what ends the keys of a tenant that are not destroyed yet, those that seal before those that wrap.
fn destroys(meta: &MetaView, tenant: TenantId) -> Vec<Change> {
    let data = meta.data_keys.values().filter(|row| row.owner == Owner::Tenant(tenant));
    let data = data.filter(|row| row.state != KeyState::Destroyed);
    let data = data.map(|row| Change::SetKeyState(row.owner, row.purpose, row.epoch, KeyState::Destroyed));
    let wrapping = meta.tenant_keys.values().filter(|row| row.tenant == tenant && !row.wrapped.is_empty());
    let wrapping = wrapping.map(|row| {
        let gone = TenantKeyRow { wrapped: Vec::new(), ..row.clone() };
        Change::PutTenantKey(gone, Some(row.wrapped_by))
    });
    data.chain(wrapping).collect()
}

/// Pure: what is to be done at `now_ms` (milliseconds since 1970), a command a tenant. One that is gone may have keys that were made while it
/// went, or more than one command destroys.
#[must_use]
pub fn purges(meta: &MetaView, now_ms: u64) -> Vec<(TenantId, Vec<Change>)> {
    let mut out = Vec::new();
    for row in meta.tenants.values() {
        let mut changes = match row.state {
            state if state.is_over(now_ms) => vec![Change::SetTenantState(row.id, Act::Purge)],
            TenantState::Purged => Vec::new(),
            _ => continue,
        };
        changes.extend(destroys(meta, row.id));
        changes.truncate(META_CHANGES_MAX);
        if !changes.is_empty() {
            out.push((row.id, changes));
        }
    }
    out
}

/// Pure: whether the key of a tenant that is gone for good was wrapped by the newest of `versions` of the cluster key: an old copy of the rows
/// and that key would still open it. While a rotation runs, it is not said: what it lets go may be all that is needed.
#[must_use]
pub fn is_turn_due(meta: &MetaView, versions: &[u32]) -> bool {
    let [newest] = versions else { return false };
    let is_gone = |tenant| meta.tenants.get(tenant).is_some_and(|row| row.state == TenantState::Purged);
    let mut keys = meta.tenant_keys.values();
    keys.any(|row| row.wrapped.is_empty() && row.wrapped_by.0 == *newest && is_gone(&row.tenant))
}

impl Server {
    /// Ends tenants whose time is over, until the tasks end.
    pub(super) async fn purge_tenants(self: Arc<Self>) {
        let mut due = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(PURGE_LOOK_MS)).await;
            let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
            let is_led_here =
                self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads));
            // A clock that is wrong would end somebody too early; whoever applies it looks at its own stamp as well.
            if !is_led_here || self.clock.is_disputed() {
                due = 0;
                continue;
            }
            for (tenant, changes) in purges(&self.meta(), self.clock.now_ms()) {
                match self.change(MetaCommand::new(changes), CHANGE_MS).await {
                    Ok(MetaReply::Applied { .. }) => {
                        tracing::info!(%tenant, "a dropped tenant is gone for good: its keys are destroyed");
                    }
                    // Somebody else was first, or it was taken back: the next look sees what there is then.
                    other => tracing::debug!(%tenant, ?other, "a dropped tenant is not ended now"),
                }
            }
            due = if is_turn_due(&self.meta(), &self.held.versions()) { due + 1 } else { 0 };
            if due >= PURGE_TURN_LOOKS {
                due = 0;
                self.turn_after_purge().await;
            }
        }
    }

    /// Rotates the cluster key, because it has wrapped keys of tenants that are gone.
    async fn turn_after_purge(self: &Arc<Self>) {
        match self.rotate_cluster(CHANGE_MS).await {
            Ok(version) => {
                tracing::info!(version, "the cluster key is rotated: tenants are gone whose keys it wrapped");
            }
            Err(refused) => {
                tracing::warn!(%refused, "the cluster key is not rotated after a tenant is gone: it is tried again");
            }
        }
    }

    /// Takes who is gone for good: what of theirs is still in a log is applied as nothing from now on. Before the keys go.
    pub(crate) fn learn_purged(&self, view: &MetaView) -> Vec<TenantId> {
        let gone = view.tenants.values().filter(|row| row.state == TenantState::Purged);
        self.purged.learn(gone.map(|row| row.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::key_row::DataKeyRow;
    use crate::meta::rows::MetaRow;
    use crate::meta::tenant_row::TenantRow;
    use engine::ids::{KeyEpoch, Purpose};

    fn view(states: &[(u64, TenantState)]) -> MetaView {
        let mut rows = Vec::new();
        for (id, state) in states {
            let tenant = TenantId(*id);
            rows.push(MetaRow::Tenant(TenantRow { id: tenant, state: *state, ..TenantRow::default() }));
            let (epoch, wrapped_by, wrapped) = (KeyEpoch(1), KeyEpoch(1), vec![1]);
            rows.push(MetaRow::TenantKey(TenantKeyRow {
                tenant,
                epoch,
                wrapped_by,
                wrapped: wrapped.clone(),
            }));
            let (owner, purpose) = (Owner::Tenant(tenant), Purpose::Data);
            for (epoch, state) in [(1, KeyState::Destroyed), (2, KeyState::Retired), (3, KeyState::Active)] {
                let wrapped = if state == KeyState::Destroyed { vec![] } else { wrapped.clone() };
                let epoch = KeyEpoch(epoch);
                rows.push(MetaRow::DataKey(DataKeyRow { owner, purpose, epoch, state, wrapped_by, wrapped }));
            }
        }
        MetaView::of(rows, 1)
    }

    #[test]
    fn the_cluster_key_is_due_only_while_the_newest_has_wrapped_what_is_gone() {
        let wrapped = |by, wrapped: &[u8]| {
            let mut view = view(&[(1, TenantState::Active), (2, TenantState::Purged)]);
            for row in view.tenant_keys.values_mut().filter(|row| row.tenant == TenantId(2)) {
                (row.wrapped_by, row.wrapped) = (KeyEpoch(by), wrapped.to_vec());
            }
            view
        };
        assert!(is_turn_due(&wrapped(3, &[]), &[3]));
        assert!(!is_turn_due(&wrapped(2, &[]), &[3]), "an older one has, and is gone");
        assert!(!is_turn_due(&wrapped(3, &[1]), &[3]), "its key is not destroyed yet");
        assert!(!is_turn_due(&wrapped(3, &[]), &[2, 3]), "a rotation runs");
        assert!(!is_turn_due(&view(&[(1, TenantState::Active)]), &[1]));
    }

    #[test]
    fn whoever_is_due_ends_with_all_keys_and_nobody_else_does() {
        let dropped = |until_ms| TenantState::Dropped { since_ms: 5, until_ms, was_frozen: false };
        let all = view(&[
            (1, TenantState::Active),
            (2, TenantState::Frozen),
            (3, dropped(100)),
            (4, dropped(101)),
            (5, TenantState::Purged),
        ]);
        let found = purges(&all, 100);
        let ended: Vec<_> = found.iter().map(|(tenant, changes)| (tenant.0, changes.len())).collect();
        assert_eq!(ended, [(3, 4), (5, 3)], "its state and three keys; three keys that were left");
        assert_eq!(found[0].1[0], Change::SetTenantState(TenantId(3), Act::Purge));
        let Some(Change::PutTenantKey(row, Some(KeyEpoch(1)))) = found[0].1.last() else {
            panic!("{found:?}")
        };
        assert!(row.wrapped.is_empty());
        assert!(MetaCommand::new(found[0].1.clone()).encode().is_some());
    }
}
