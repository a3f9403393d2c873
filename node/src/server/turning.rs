//! The rotation of the cluster key while nodes run. What all nodes have alike of their root files is a row of the meta group; a rotation puts
//! a new cluster key into it, and from then on every node takes the file, whoever leads the meta group wraps the keys of tenants anew, some at
//! a time, and lets the old cluster key go once every node has said that it has the file and nothing is wrapped by the old one. Each step follows
//! from the rows alone, so a crash anywhere costs nothing, and none is taken twice.

use super::Server;
use crate::keys::rotation::{self, Turn};
use crate::keys::{KeyName, KeyRow, turn};
use crate::limits::{CHANGE_MS, REWRAPPED_KEYS_MAX, TURN_MS};
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::key_row;
use crate::meta::root_row::RootRow;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use engine::error::with_sources;
use proto::errors::code;
use raft::types::GroupId;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

impl Server {
    /// Begins a rotation of the cluster key. Returns its new version.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: the last rotation is not through. `KMS_AWAY`: the root key cannot be made, or this node has not taken the last one.
    pub async fn rotate_cluster(self: &Arc<Self>, wait_ms: u64) -> Result<u32, Refused> {
        self.refresh(wait_ms).await?;
        let meta = self.meta();
        let before = meta.root.as_ref();
        if before.is_some_and(|row| row.versions().len() > 1) || meta.without_root().next().is_some() {
            let refused = Refused::new(code::CHANGE_REFUSED);
            return Err(
                refused.saying("the last rotation of the cluster key is not through: see `dew job list`")
            );
        }
        if before.is_some_and(|row| row.root != self.held.shared()) {
            return Err(Refused::new(code::KMS_AWAY).saying("this node has not taken the last root file yet"));
        }
        let held = self.held.clone();
        let made = crate::work::aside(move || held.turned()).await;
        let made = made.map_err(|_| Refused::new(code::INTERNAL))?;
        let root = made.map_err(|error| Refused::new(code::KMS_AWAY).saying(with_sources(&error)))?;
        let expected = before.map(|row| row.version);
        let row = RootRow { version: expected.unwrap_or(0) + 1, root };
        let version = row.newest();
        match self.change(MetaCommand::new(vec![Change::PutRoot(row, expected)]), wait_ms).await? {
            MetaReply::Applied { .. } => Ok(version),
            MetaReply::Refused { reason, .. } => {
                Err(Refused::new(code::CHANGE_REFUSED).saying(reason.to_string()))
            }
            MetaReply::Malformed => Err(Refused::new(code::INTERNAL)),
        }
    }

    /// Takes the root file that the meta group has; before any key of its rows is opened.
    pub(super) fn take_root(&self, view: &MetaView) {
        let Some(row) = &view.root else { return };
        let failure = match self.held.take(&row.root) {
            Ok(true) => {
                tracing::info!(version = row.version, cluster_keys = ?row.versions(), "the root file was taken");
                None
            }
            Ok(false) => None,
            Err(error) => Some(with_sources(&error)),
        };
        let mut told = self.untaken.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = failure.as_ref().filter(|_| *told != failure) {
            tracing::error!(why, "the root file of the cluster is not taken here: it is tried again");
        }
        *told = failure;
    }

    /// Goes on with a rotation whenever there is one, until the tasks end.
    pub(super) async fn turn_keys(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(TURN_MS)).await;
            let meta = self.meta();
            for change in self.turn_steps(&meta) {
                match self.change(MetaCommand::new(change), CHANGE_MS).await {
                    Ok(MetaReply::Applied { .. }) => {}
                    // Somebody else was first: the next round looks at what there is then.
                    other => tracing::debug!(?other, "a step of a rotation is not taken now"),
                }
            }
        }
    }

    /// What is to be changed now: that this node has the root file, and the next step of the rotation if the meta group is led here.
    fn turn_steps(&self, meta: &MetaView) -> Vec<Vec<Change>> {
        let Some(row) = meta.root.as_ref().filter(|row| row.root == self.held.shared()) else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        let is_known = meta.nodes.contains_key(&self.node);
        if is_known && meta.taken.get(&self.node).copied().unwrap_or(0) < row.version {
            steps.push(vec![Change::TakeRoot(self.node, row.version)]);
        }
        let leads =
            |seated: std::sync::Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
        let is_led_here =
            self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads));
        if !is_led_here || row.versions().len() == 1 {
            return steps;
        }
        let rows = meta.key_rows();
        let is_taken = meta.without_root().next().is_none();
        match rotation::turn(&rows, &row.versions(), is_taken, REWRAPPED_KEYS_MAX) {
            Turn::Done | Turn::Wait => {}
            Turn::Rewrap(names) => steps.extend(self.rewrapped(&rows, &names)),
            Turn::Retire(versions) => match self.held.retired(&versions) {
                Ok(root) => {
                    tracing::info!(
                        ?versions,
                        "old versions of the cluster key go: nothing needs them any more"
                    );
                    let next = RootRow { version: row.version + 1, root };
                    steps.push(vec![Change::PutRoot(next, Some(row.version))]);
                }
                Err(error) => {
                    tracing::warn!(cause = with_sources(&error), "an old root key is not destroyed yet");
                }
            },
        }
        steps
    }

    /// These keys, wrapped by the newest cluster key, if nobody changes them meanwhile.
    fn rewrapped(&self, rows: &[KeyRow], names: &[KeyName]) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        for row in rows.iter().filter(|row| names.contains(&row.key.name)) {
            match turn::rewrap(self.keys.sealer(), row) {
                Ok(next) => match key_row::put(&next) {
                    Change::PutTenantKey(key, _) => {
                        changes.push(Change::PutTenantKey(key, Some(row.wrapped_by)))
                    }
                    other => changes.push(other),
                },
                Err(error) => {
                    tracing::error!(name = ?row.key.name, cause = with_sources(&error), "a key is not wrapped anew");
                }
            }
        }
        (!changes.is_empty()).then_some(changes)
    }
}
