//! All that the meta group knows, as plain maps, as of one entry. Made anew from a scan of its tablet; never changed.

use super::CLUSTER_TENANT;
use super::archive_row::{ArchivedRow, CloserRow, ReportRow, SnapshotRow};
use super::cluster_row::{ClusterRow, TokenRow};
use super::key_row::{DataKeyRow, KeyState, TenantKeyRow};
use super::node_row::{NodeRow, NodeState};
use super::pin_row::{PinRow, SweepRow};
use super::root_row::RootRow;
use super::rows::{self, MetaRow};
use super::shard_row::ShardRow;
use super::tenant_row::TenantRow;
use crate::keys::{self, KeyName, KeyRow, WrappedKey};
use crate::restore::rows::{AsideRow, OriginRow, RestoreRow};
use crate::shard::map::ShardMap;
use crate::takeover::row::GenerationRow;
use engine::Stamp;
use engine::ids::{CollectionId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::tablet::view::{Scan, View};
use raft::types::GroupId;
use std::collections::BTreeMap;

/// What the meta group knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaView {
    /// The index of the last entry of the meta group in it.
    pub version: u64,
    /// The cluster; `None` before it is founded.
    pub cluster: Option<ClusterRow>,
    /// Its nodes, those that were removed too.
    pub nodes: BTreeMap<NodeId, NodeRow>,
    /// Its groups, the meta group too.
    pub shards: BTreeMap<GroupId, ShardRow>,
    /// Its tenants, those that are gone too.
    pub tenants: BTreeMap<TenantId, TenantRow>,
    /// Their keys.
    pub tenant_keys: BTreeMap<(TenantId, KeyEpoch), TenantKeyRow>,
    /// Data keys.
    pub data_keys: BTreeMap<(Owner, Purpose, KeyEpoch), DataKeyRow>,
    /// Tokens.
    pub tokens: BTreeMap<[u8; 32], TokenRow>,
    /// Settings.
    pub settings: BTreeMap<String, String>,
    /// The root file, as far as all nodes have it alike; `None` before the cluster key is rotated for the first time.
    pub root: Option<RootRow>,
    /// Of each node, which version of that row it has taken.
    pub taken: BTreeMap<NodeId, u64>,
    /// How far each group is archived.
    pub archived: BTreeMap<GroupId, ArchivedRow>,
    /// What archivers have put.
    pub reports: BTreeMap<(NodeId, u64), ReportRow>,
    /// The next marker.
    pub closer: Option<CloserRow>,
    /// The snapshot that is being taken, or the last one.
    pub snapshot: Option<SnapshotRow>,
    /// What stays in archives, that which has ended too.
    pub pins: BTreeMap<[u8; 8], PinRow>,
    /// Who deletes from archives.
    pub sweep: Option<SweepRow>,
    /// Up to where every required site has everything.
    pub carried: Stamp,
    /// Restores.
    pub restores: BTreeMap<u64, RestoreRow>,
    /// Which restore holds a tenant.
    pub held: BTreeMap<TenantId, u64>,
    /// Of what tenants are copies.
    pub origins: BTreeMap<TenantId, OriginRow>,
    /// Tenants that are aside for others.
    pub aside: BTreeMap<TenantId, AsideRow>,
    /// Generations that began with a takeover.
    pub generations: BTreeMap<u64, GenerationRow>,
    names: BTreeMap<String, TenantId>,
    collections: BTreeMap<TenantId, BTreeMap<String, CollectionId>>,
    map: ShardMap,
}

impl MetaView {
    /// Groups with a replica on a node that is wanted there, or has not left its group yet.
    #[must_use]
    pub fn replicas_on(&self, node: NodeId) -> usize {
        self.shards.values().filter(|shard| shard.staying().any(|at| at == node)).count()
    }

    /// All rows that `view`, one of the meta group's tablet, shows. `version` is the index of the last entry in it.
    ///
    /// # Errors
    /// What the engine says; `Damaged`: a row that makes no sense.
    pub fn read(view: &View, version: u64) -> engine::Result<Self> {
        let mut all = Self { version, ..Self::default() };
        for collection in rows::ALL {
            let (scan, mut cursor) = (Scan::all(CLUSTER_TENANT, collection), None);
            loop {
                let page = view.scan(&scan, cursor.as_ref())?;
                for entry in page.entries {
                    all.insert(MetaRow::decode(collection, &entry.key, &entry.found.value)?);
                }
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
        }
        all.draw();
        Ok(all)
    }

    /// Of these rows.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = MetaRow>, version: u64) -> Self {
        let mut all = Self { version, ..Self::default() };
        rows.into_iter().for_each(|row| all.insert(row));
        all.draw();
        all
    }

    fn insert(&mut self, row: MetaRow) {
        match row {
            MetaRow::Cluster(row) => self.cluster = Some(row),
            MetaRow::Node(row) => drop(self.nodes.insert(row.id, row)),
            MetaRow::Shard(row) => drop(self.shards.insert(row.group, row)),
            MetaRow::Tenant(row) => drop(self.tenants.insert(row.id, row)),
            MetaRow::TenantName(row) => drop(self.names.insert(row.name, row.tenant)),
            MetaRow::Collection(row) => {
                self.collections.entry(row.tenant).or_default().insert(row.name, row.id);
            }
            MetaRow::TenantKey(row) => drop(self.tenant_keys.insert((row.tenant, row.epoch), row)),
            MetaRow::DataKey(row) => {
                self.data_keys.insert((row.owner, row.purpose, row.epoch), row);
            }
            MetaRow::Token(row) => drop(self.tokens.insert(row.hash, row)),
            MetaRow::Setting(row) => drop(self.settings.insert(row.name, row.value)),
            MetaRow::Root(row) => self.root = Some(row),
            MetaRow::Taken(row) => drop(self.taken.insert(row.node, row.version)),
            MetaRow::Archived(row) => drop(self.archived.insert(row.group, row)),
            MetaRow::Report(row) => drop(self.reports.insert((row.node, row.number), row)),
            MetaRow::Closer(row) => self.closer = Some(row),
            MetaRow::Snapshot(row) => self.snapshot = Some(row),
            MetaRow::Pin(row) => drop(self.pins.insert(row.id, row)),
            MetaRow::Sweep(row) => self.sweep = Some(row),
            MetaRow::Carried(row) => self.carried = row.upto,
            MetaRow::Restore(row) => drop(self.restores.insert(row.id, row)),
            MetaRow::Held(row) => drop(self.held.insert(row.tenant, row.restore)),
            MetaRow::Origin(row) => drop(self.origins.insert(row.tenant, row)),
            MetaRow::Aside(row) => drop(self.aside.insert(row.tenant, row)),
            MetaRow::Generation(row) => drop(self.generations.insert(row.generation, row)),
        }
    }

    /// Draws the map. Rows that leave a hole make an empty one: then nothing is routed, rather than wrongly.
    fn draw(&mut self) {
        let data = self.shards.values().filter(|row| row.group != GroupId::META);
        self.map = ShardMap::of(data.map(Into::into)).unwrap_or_default();
    }

    /// Nodes that belong to the cluster and have not taken the root file as it stands here; nobody before the cluster key is rotated.
    pub fn without_root(&self) -> impl Iterator<Item = &NodeRow> {
        let version = self.root.as_ref().map_or(0, |row| row.version);
        let has_it = move |node: &NodeId| self.taken.get(node).copied().unwrap_or(0) >= version;
        self.nodes.values().filter(move |row| row.state != NodeState::Removed && !has_it(&row.id))
    }

    /// The tenant of this name.
    #[must_use]
    pub fn tenant_named(&self, name: &str) -> Option<&TenantRow> {
        self.tenants.get(self.names.get(name)?)
    }

    /// A collection of a tenant.
    #[must_use]
    pub fn collection(&self, tenant: TenantId, name: &str) -> Option<CollectionId> {
        self.collections.get(&tenant)?.get(name).copied()
    }

    /// The collections of a tenant.
    pub fn collections(&self, tenant: TenantId) -> impl Iterator<Item = (&str, CollectionId)> {
        let all = self.collections.get(&tenant).into_iter().flatten();
        all.map(|(name, id)| (name.as_str(), *id))
    }

    /// The shard that holds a tenant.
    #[must_use]
    pub fn shard_of(&self, tenant: TenantId) -> Option<&ShardRow> {
        self.shards.get(&self.map.locate(tenant)?)
    }

    /// All keys of tenants, as whoever unwraps them takes them. Those that are gone stay named.
    #[must_use]
    pub fn key_rows(&self) -> Vec<KeyRow> {
        let newest = |tenant: TenantId| {
            let all = self.tenant_keys.range((tenant, KeyEpoch(0))..=(tenant, KeyEpoch(u32::MAX)));
            all.rev().find(|(_, row)| !row.wrapped.is_empty()).map(|((_, epoch), _)| *epoch)
        };
        let of_tenants = self.tenant_keys.values().map(|row| {
            let state = match row.wrapped.is_empty() {
                true => keys::KeyState::Destroyed,
                false if newest(row.tenant) == Some(row.epoch) => keys::KeyState::Active,
                false => keys::KeyState::OpenOnly,
            };
            let name = KeyName { owner: Owner::Tenant(row.tenant), purpose: Purpose::Wrap, epoch: row.epoch };
            let key = WrappedKey { name, wrapped: row.wrapped.clone() };
            KeyRow { key, state, wrapped_by: row.wrapped_by }
        });
        let of_data = self.data_keys.values().map(|row| {
            let state = match row.state {
                KeyState::Waiting => keys::KeyState::Pending,
                KeyState::Active => keys::KeyState::Active,
                KeyState::Retired => keys::KeyState::OpenOnly,
                KeyState::Destroyed => keys::KeyState::Destroyed,
            };
            let name = KeyName { owner: row.owner, purpose: row.purpose, epoch: row.epoch };
            let key = WrappedKey { name, wrapped: row.wrapped.clone() };
            KeyRow { key, state, wrapped_by: row.wrapped_by }
        });
        of_tenants.chain(of_data).collect()
    }

    /// The data key with which an owner's new bytes are sealed: of several, the youngest.
    #[must_use]
    pub fn active_key(&self, owner: Owner, purpose: Purpose) -> Option<&DataKeyRow> {
        let all = (owner, purpose, KeyEpoch(0))..=(owner, purpose, KeyEpoch(u32::MAX));
        self.data_keys.range(all).rev().map(|(_, row)| row).find(|row| row.state == KeyState::Active)
    }

    /// The map of the shards; empty if their rows do not make one.
    #[must_use]
    pub fn map(&self) -> &ShardMap {
        &self.map
    }
}
