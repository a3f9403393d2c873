//! What a node takes from the rows of the meta group, whenever they change: keys, addresses, how long history is kept, and whose bytes go.

use super::Server;
use crate::boot::peers::{self, Known, PeerAddresses};
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::view::MetaView;
use engine::compaction::retention::Policy;
use engine::ids::{Owner, TenantId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

impl Server {
    /// Takes what the meta group says: keys, addresses, how long history is kept.
    pub(super) fn learn(&self, view: &MetaView) {
        self.take_root(view);
        let gone = self.learn_purged(view);
        let before = self.keys.tenants();
        if let Some(row) = &view.cluster {
            self.keep_authority(&row.sealed_ca_key);
        }
        let mut unopened = BTreeSet::new();
        for (name, cause) in self.keys.learn(&view.key_rows()) {
            tracing::error!(?name, cause, "a key of the meta group does not open");
            unopened.insert(format!("{name:?}"));
        }
        *self.unopened.write().unwrap_or_else(PoisonError::into_inner) = unopened;
        self.learn_policy(view, gone);
        let is_turned = self.keys.tenants() != before && !before.is_empty();
        if let (true, Ok(running)) = (is_turned, self.running())
            && let Err(error) = running.pool().request_reseal()
        {
            tracing::warn!(cause = engine::error::with_sources(&error), "tables are not sealed anew");
        }
        let at = |row: &NodeRow| PeerAddresses {
            peer: row.peer_address.clone(),
            client: row.client_address.clone(),
        };
        // Who was removed is told nothing and believed nothing, unless the cluster has gone on without it: then it must hear that.
        let is_known = |row: &&NodeRow| row.state != NodeState::Removed || !view.generations.is_empty();
        let known: Known = view.nodes.values().filter(is_known).map(|row| (row.id, at(row))).collect();
        if known != self.known() && !known.is_empty() {
            if let Err(error) = peers::write(&self.folder, &known) {
                tracing::warn!(
                    cause = engine::error::with_sources(&error),
                    "where peers are is not written down"
                );
            }
            *self.peers.write().unwrap_or_else(PoisonError::into_inner) = known;
        }
    }

    /// Takes how long history is kept, and whose bytes are to go; before tables are sealed anew, for of whoever is gone there is no key.
    fn learn_policy(&self, view: &MetaView, gone: Vec<TenantId>) {
        let Ok(running) = self.running() else { return };
        let mut windows: BTreeMap<TenantId, u64> =
            view.tenants.values().map(|row| (row.id, row.history_ms)).collect();
        windows.insert(TenantId(0), crate::limits::HISTORY_MS);
        running.pool().set_policy(Policy { windows, dropped: self.purged.all(), ..Policy::default() });
        for tenant in gone {
            tracing::info!(%tenant, "a tenant is gone for good: its bytes leave the tables here");
            running.pool().forget_keys(Owner::Tenant(tenant));
        }
    }
}
