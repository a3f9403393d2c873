//! Evaluates the commands of the meta group. What a change may do is said here and in the rows' own rules; nothing is written before all
//! changes of a command are found good.

/// Reads a row of one kind.
macro_rules! reader_of {
    ($name:ident, $kind:ident, $row:ty, $collection:expr) => {
        fn $name(&self, key: Vec<u8>) -> Tried<Option<$row>> {
            match self.get($collection, key)? {
                Some(MetaRow::$kind(row)) => Ok(Some(row)),
                _ => Ok(None),
            }
        }
    };
}

mod archive;
mod restoring;
mod takeover;

use super::CLUSTER_TENANT;
use super::archive_row::{ArchivedRow, ReportRow, SnapshotRow};
use super::cluster_row::{ClusterRow, SettingRow, TokenRow};
use super::command::{Change, MetaCommand, MetaReply, Reason};
use super::key_row::{DataKeyRow, KeyState, TenantKeyRow};
use super::node_row::{NodeRow, NodeState};
use super::pin_row::CarriedRow;
use super::root_row::{RootRow, TakenRow};
use super::rows::{self, MetaRow};
use super::shard_row::ShardRow;
use super::tenant_row::{CollectionRow, TenantNameRow, TenantRow};
use crate::limits;
use crate::tenants::rules::{NotAllowed, TenantState};
use engine::ids::{CollectionId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use raft::machine::operations::Rows;
use std::collections::BTreeMap;

/// A change that is not made, or what makes it impossible to go on.
enum Stop {
    Refused(Reason),
    Failed(raft::Error),
}

impl From<raft::Error> for Stop {
    fn from(error: raft::Error) -> Self {
        Self::Failed(error)
    }
}

type Tried<T = ()> = Result<T, Stop>;

fn refused<T>(reason: Reason) -> Tried<T> {
    Err(Stop::Refused(reason))
}

fn check(holds: bool, reason: Reason) -> Tried {
    if holds { Ok(()) } else { refused(reason) }
}

/// Evaluates a body.
///
/// # Errors
/// As [`raft::machine::operations::Operations::evaluate`].
pub fn evaluate(body: &[u8], rows: &mut Rows<'_>) -> raft::Result<MetaReply> {
    let Ok(command) = MetaCommand::decode(body) else {
        return Ok(MetaReply::Malformed);
    };
    let mut draft = Draft { rows, written: BTreeMap::new(), emptied: Vec::new(), collections: Vec::new() };
    for (number, change) in (0..).zip(command.changes) {
        match draft.make(change) {
            Ok(()) => {}
            Err(Stop::Refused(reason)) => return Ok(MetaReply::Refused { change: number, reason }),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    let Draft { rows, written, emptied, collections } = draft;
    for tenant in emptied {
        let (start, end) = (CollectionRow::key(tenant, ""), tenant.0.checked_add(1).map(u64::to_be_bytes));
        rows.delete_range(CLUSTER_TENANT, rows::COLLECTIONS, &start, end.as_ref().map(|end| &end[..]))?;
    }
    for ((collection, key), row) in written {
        match row {
            Some(row) => rows.put(CLUSTER_TENANT, collection, &key, &row.value(), row.expires_ms())?,
            None => rows.delete(CLUSTER_TENANT, collection, &key)?,
        }
    }
    Ok(MetaReply::Applied { stamp: rows.stamp(), collections })
}

/// The rows as the changes before have left them.
struct Draft<'a, 'b> {
    rows: &'a mut Rows<'b>,
    written: BTreeMap<(CollectionId, Vec<u8>), Option<MetaRow>>,
    /// Tenants whose collections go, all of them.
    emptied: Vec<TenantId>,
    collections: Vec<CollectionId>,
}

impl Draft<'_, '_> {
    fn get(&self, collection: CollectionId, key: Vec<u8>) -> Tried<Option<MetaRow>> {
        let place = (collection, key);
        if let Some(row) = self.written.get(&place) {
            return Ok(row.clone());
        }
        let Some(found) = self.rows.get(CLUSTER_TENANT, collection, &place.1)? else {
            return Ok(None);
        };
        // What stands there was written by this very code: if it makes no sense, no replica can go on.
        let row = MetaRow::decode(collection, &place.1, &found.value);
        row.map(Some).map_err(|damage| Stop::Failed(damage.into()))
    }

    reader_of!(cluster, Cluster, ClusterRow, rows::CLUSTER);
    reader_of!(node, Node, NodeRow, rows::NODES);
    reader_of!(shard, Shard, ShardRow, rows::SHARDS);
    reader_of!(tenant, Tenant, TenantRow, rows::TENANTS);
    reader_of!(tenant_name, TenantName, TenantNameRow, rows::TENANT_NAMES);
    reader_of!(collection, Collection, CollectionRow, rows::COLLECTIONS);
    reader_of!(tenant_key, TenantKey, TenantKeyRow, rows::TENANT_KEYS);
    reader_of!(data_key, DataKey, DataKeyRow, rows::DATA_KEYS);
    reader_of!(token, Token, TokenRow, rows::TOKENS);
    reader_of!(root, Root, RootRow, rows::ROOT);
    reader_of!(taken, Taken, TakenRow, rows::TAKEN);
    reader_of!(archived, Archived, ArchivedRow, rows::ARCHIVED);
    reader_of!(report, Report, ReportRow, rows::REPORTS);
    reader_of!(snapshot, Snapshot, SnapshotRow, rows::SNAPSHOT);
    reader_of!(carried, Carried, CarriedRow, rows::CARRIED);

    fn put(&mut self, row: MetaRow) {
        self.written.insert((row.collection(), row.key()), Some(row));
    }

    fn delete(&mut self, collection: CollectionId, key: Vec<u8>) {
        self.written.insert((collection, key), None);
    }

    fn now_ms(&self) -> u64 {
        self.rows.stamp().ms()
    }

    fn make(&mut self, change: Change) -> Tried {
        match change {
            Change::PutCluster(row, expected) => self.put_cluster(row, expected),
            Change::PutNode(row, expected) => self.put_node(row, expected),
            Change::SetNodeState(node, state) => self.set_node_state(node, state),
            Change::MakeToken(hash, expires_ms) => {
                check(self.token(TokenRow::key(&hash))?.is_none(), Reason::Exists)?;
                check(expires_ms > self.now_ms(), Reason::TokenExpired)?;
                self.put(MetaRow::Token(TokenRow { hash, expires_ms, used_ms: None }));
                Ok(())
            }
            Change::SpendToken(hash) => self.spend_token(hash),
            Change::CreateTenant { id, name, quota, history_ms } => {
                let created_ms = self.now_ms();
                let (state, next_collection) = (TenantState::Active, CollectionId(1));
                let row = TenantRow { id, name, state, quota, history_ms, created_ms, next_collection };
                self.create_tenant(row)
            }
            Change::SetTenantState(tenant, act) => {
                self.set_tenant_state(tenant, |state, now_ms| state.after(act, now_ms))
            }
            Change::DropTenant(tenant, window_ms) => {
                self.set_tenant_state(tenant, |state, now_ms| state.dropped(now_ms, window_ms))
            }
            Change::Archive(change) => self.archive(change),
            Change::PutRoot(row, expected) => self.put_root(row, expected),
            Change::TakeRoot(node, version) => self.take_root(node, version),
            Change::SetQuota(tenant, quota) => {
                let row = self.living(tenant)?;
                self.put(MetaRow::Tenant(TenantRow { quota, ..row }));
                Ok(())
            }
            Change::SetHistory(tenant, history_ms) => {
                let row = self.living(tenant)?;
                self.put(MetaRow::Tenant(TenantRow { history_ms, ..row }));
                Ok(())
            }
            Change::AddCollection(tenant, name) => self.add_collection(tenant, name),
            Change::PutTenantKey(row, expected) => self.put_tenant_key(row, expected),
            Change::PutDataKey(row, expected) => self.put_data_key(row, expected),
            Change::SetKeyState(owner, purpose, epoch, state) => {
                self.set_key_state(owner, purpose, epoch, state)
            }
            Change::PutShard(row, expected) => self.put_shard(row, expected),
            Change::PutSetting(name, Some(value)) => {
                self.put(MetaRow::Setting(SettingRow { name, value }));
                Ok(())
            }
            Change::PutSetting(name, None) => {
                self.delete(rows::SETTINGS, SettingRow::key(&name));
                Ok(())
            }
            Change::Restoring(change) => self.make_restoring(change),
            Change::TakeOver(takeover) => self.take_over(*takeover),
        }
    }

    fn put_cluster(&mut self, row: ClusterRow, expected: Option<u64>) -> Tried {
        let old = self.cluster(ClusterRow::key())?;
        check_expected(old.as_ref().map(|old| old.version), expected)?;
        let is_same = old.is_none_or(|old| (old.id, old.shard_count) == (row.id, row.shard_count));
        check(is_same && row.version == next(expected), Reason::Impossible)?;
        self.put(MetaRow::Cluster(row));
        Ok(())
    }

    fn put_node(&mut self, row: NodeRow, expected: Option<u64>) -> Tried {
        let old = self.node(NodeRow::key(row.id))?;
        check_expected(old.as_ref().map(|old| old.generation), expected)?;
        check(row.generation == next(expected), Reason::Impossible)?;
        // What a delayed node holds is late: it does not become another by a row, nor another a delayed one.
        let is_same_kind = old.as_ref().is_none_or(|old| old.is_delayed() == row.is_delayed());
        check(is_same_kind, Reason::State)?;
        match old.map(|old| old.state) {
            None => check(row.state == NodeState::Active, Reason::State)?,
            Some(NodeState::Removed) => return refused(Reason::State),
            Some(old) => check(old == row.state || old.may_become(row.state), Reason::State)?,
        }
        self.put(MetaRow::Node(row));
        Ok(())
    }

    fn set_node_state(&mut self, node: NodeId, state: NodeState) -> Tried {
        let Some(row) = self.node(NodeRow::key(node))? else {
            return refused(Reason::NotFound);
        };
        check(row.state.may_become(state), Reason::State)?;
        let generation = row.generation + 1;
        self.put(MetaRow::Node(NodeRow { state, generation, ..row }));
        Ok(())
    }

    fn spend_token(&mut self, hash: [u8; 32]) -> Tried {
        let Some(token) = self.token(TokenRow::key(&hash))? else {
            return refused(Reason::NotFound);
        };
        check(token.used_ms.is_none(), Reason::TokenSpent)?;
        let now_ms = self.now_ms();
        check(now_ms < token.expires_ms, Reason::TokenExpired)?;
        self.put(MetaRow::Token(TokenRow { used_ms: Some(now_ms), ..token }));
        Ok(())
    }

    fn create_tenant(&mut self, row: TenantRow) -> Tried {
        check(self.tenant(TenantRow::key(row.id))?.is_none(), Reason::Exists)?;
        check(self.tenant_name(TenantNameRow::key(&row.name))?.is_none(), Reason::NameTaken)?;
        self.put(MetaRow::TenantName(TenantNameRow { name: row.name.clone(), tenant: row.id }));
        self.put(MetaRow::Tenant(row));
        Ok(())
    }

    /// A tenant that is not purged.
    fn living(&self, tenant: TenantId) -> Tried<TenantRow> {
        match self.tenant(TenantRow::key(tenant))? {
            None => refused(Reason::NotFound),
            Some(row) if row.state == TenantState::Purged => refused(Reason::State),
            Some(row) => Ok(row),
        }
    }

    fn set_tenant_state(
        &mut self,
        tenant: TenantId,
        after: impl Fn(TenantState, u64) -> Result<TenantState, NotAllowed>,
    ) -> Tried {
        let row = self.living(tenant)?;
        let state = after(row.state, self.now_ms()).map_err(|why| {
            Stop::Refused(match why {
                NotAllowed::State => Reason::State,
                NotAllowed::WindowOver => Reason::WindowOver,
                NotAllowed::WindowOpen { .. } => Reason::WindowOpen,
            })
        })?;
        if state == TenantState::Purged {
            self.delete(rows::TENANT_NAMES, TenantNameRow::key(&row.name));
            self.emptied.push(tenant);
        }
        self.put(MetaRow::Tenant(TenantRow { state, ..row }));
        Ok(())
    }

    fn add_collection(&mut self, tenant: TenantId, name: String) -> Tried {
        let row = self.living(tenant)?;
        if let Some(found) = self.collection(CollectionRow::key(tenant, &name))? {
            self.collections.push(found.id);
            return Ok(());
        }
        check(row.state.is_served(), Reason::State)?;
        let id = row.next_collection;
        check(id.0 <= limits::COLLECTIONS_MAX, Reason::Full)?;
        self.put(MetaRow::Tenant(TenantRow { next_collection: CollectionId(id.0 + 1), ..row }));
        self.put(MetaRow::Collection(CollectionRow { tenant, name, id }));
        self.collections.push(id);
        Ok(())
    }

    fn put_tenant_key(&mut self, row: TenantKeyRow, expected: Option<KeyEpoch>) -> Tried {
        let old = self.tenant_key(TenantKeyRow::key(row.tenant, row.epoch))?;
        check_expected(old.as_ref().map(|old| old.wrapped_by), expected)?;
        // What is destroyed does not come back.
        let is_destroyed = old.is_some_and(|old| old.wrapped.is_empty());
        check(!is_destroyed, Reason::State)?;
        // Whoever is gone still has keys to be destroyed.
        if !row.wrapped.is_empty() {
            self.living(row.tenant)?;
            // Once a cluster key has a successor it wraps nothing new, or nobody would know when it is needed no more.
            let newest = self.root(RootRow::key())?.map(|root| KeyEpoch(root.newest()));
            check(newest.is_none_or(|newest| row.wrapped_by == newest), Reason::Stale)?;
        }
        self.put(MetaRow::TenantKey(row));
        Ok(())
    }

    fn put_data_key(&mut self, row: DataKeyRow, expected: Option<KeyEpoch>) -> Tried {
        let old = self.data_key(DataKeyRow::key(row.owner, row.purpose, row.epoch))?;
        check_expected(old.as_ref().map(|old| old.wrapped_by), expected)?;
        let may_be = match old.map(|old| old.state) {
            None => row.state <= KeyState::Active,
            Some(state) => state == row.state && state != KeyState::Destroyed,
        };
        check(may_be, Reason::State)?;
        if let Owner::Tenant(tenant) = row.owner {
            self.living(tenant)?;
        }
        self.put(MetaRow::DataKey(row));
        Ok(())
    }

    fn set_key_state(&mut self, owner: Owner, purpose: Purpose, epoch: KeyEpoch, state: KeyState) -> Tried {
        let Some(mut row) = self.data_key(DataKeyRow::key(owner, purpose, epoch))? else {
            return refused(Reason::NotFound);
        };
        check(row.state.may_become(state), Reason::State)?;
        row.state = state;
        if state == KeyState::Destroyed {
            row.wrapped.clear();
        }
        self.put(MetaRow::DataKey(row));
        Ok(())
    }

    fn put_root(&mut self, row: RootRow, expected: Option<u64>) -> Tried {
        let old = self.root(RootRow::key())?;
        check_expected(old.as_ref().map(|old| old.version), expected)?;
        let is_ours = self.cluster(ClusterRow::key())?.is_some_and(|cluster| cluster.id == row.root.cluster);
        check(is_ours && row.follows(old.as_ref()), Reason::Impossible)?;
        self.put(MetaRow::Root(row));
        Ok(())
    }

    fn take_root(&mut self, node: NodeId, version: u64) -> Tried {
        let row = self.node(NodeRow::key(node))?;
        let Some(root) = self.root(RootRow::key())?.filter(|_| row.is_some()) else {
            return refused(Reason::NotFound);
        };
        let before = self.taken(TakenRow::key(node))?.map_or(0, |row| row.version);
        check(version <= root.version && version > before, Reason::Stale)?;
        self.put(MetaRow::Taken(TakenRow { node, version }));
        Ok(())
    }

    fn put_shard(&mut self, row: ShardRow, expected: Option<u64>) -> Tried {
        let old = self.shard(ShardRow::key(row.group))?;
        check_expected(old.as_ref().map(|old| old.version), expected)?;
        check(row.follows(old.as_ref()), Reason::Impossible)?;
        self.put(MetaRow::Shard(row));
        Ok(())
    }
}

fn next(expected: Option<u64>) -> u64 {
    expected.map_or(1, |expected| expected.saturating_add(1))
}

fn check_expected<T: PartialEq>(now: Option<T>, expected: Option<T>) -> Tried {
    match (now, expected) {
        (Some(_), None) => refused(Reason::Exists),
        (None, Some(_)) => refused(Reason::NotFound),
        (now, expected) => check(now == expected, Reason::Stale),
    }
}
