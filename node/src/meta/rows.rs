//! Pure: the rows of the meta group, one collection a kind, all of tenant 0. Row kinds are given once and never again.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::archive_row::{ArchivedRow, CloserRow, ReportRow, SnapshotRow};
use super::cluster_row::{ClusterRow, SettingRow, TokenRow};
use super::fields::{append_u32, malformed};
use super::key_row::{DataKeyRow, TenantKeyRow};
use super::node_row::NodeRow;
use super::pin_row::{CarriedRow, PinRow, SweepRow};
use super::root_row::{RootRow, TakenRow};
use super::shard_row::ShardRow;
use super::tenant_row::{CollectionRow, TenantNameRow, TenantRow};
use crate::restore::rows::{AsideRow, HeldRow, OriginRow, RestoreRow};
use crate::takeover::row::GenerationRow;
use engine::error::Damage;
use engine::ids::CollectionId;
use engine::wire::{Reader, append_bytes32};

/// Bytes of the key of a row, at most.
const KEY_BYTES_MAX: usize = 128;
/// Bytes of the value of a row, at most.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Where the row of the cluster stands.
pub const CLUSTER: CollectionId = CollectionId(1);
/// Where nodes stand.
pub const NODES: CollectionId = CollectionId(2);
/// Where groups stand.
pub const SHARDS: CollectionId = CollectionId(3);
/// Where tenants stand.
pub const TENANTS: CollectionId = CollectionId(4);
/// Where the names of tenants stand.
pub const TENANT_NAMES: CollectionId = CollectionId(5);
/// Where collections of tenants stand.
pub const COLLECTIONS: CollectionId = CollectionId(6);
/// Where keys of tenants stand.
pub const TENANT_KEYS: CollectionId = CollectionId(7);
/// Where data keys stand.
pub const DATA_KEYS: CollectionId = CollectionId(8);
/// Where tokens stand.
pub const TOKENS: CollectionId = CollectionId(9);
/// Where settings stand.
pub const SETTINGS: CollectionId = CollectionId(10);

/// Where the root file stands, as far as all nodes have it alike.
pub const ROOT: CollectionId = CollectionId(11);
/// Where it stands how far each node has taken it.
pub const TAKEN: CollectionId = CollectionId(12);

/// Where it stands how far groups are archived.
pub const ARCHIVED: CollectionId = CollectionId(20);
/// Where it stands what archivers have put.
pub const REPORTS: CollectionId = CollectionId(21);
/// Where the next marker stands.
pub const CLOSER: CollectionId = CollectionId(22);
/// Where the snapshot stands.
pub const SNAPSHOT: CollectionId = CollectionId(23);
/// Where pins of archives stand.
pub const PINS: CollectionId = CollectionId(24);
/// Where it stands who deletes from archives.
pub const SWEEP: CollectionId = CollectionId(25);
/// Where it stands how far required sites have everything.
pub const CARRIED: CollectionId = CollectionId(26);
/// Where restores stand.
pub const RESTORES: CollectionId = CollectionId(30);
/// Where it stands which restore holds a tenant.
pub const HELD: CollectionId = CollectionId(31);
/// Where it stands of what a tenant is a copy.
pub const ORIGINS: CollectionId = CollectionId(32);
/// Where it stands which tenant is aside for another.
pub const ASIDE: CollectionId = CollectionId(33);
/// Where generations stand that began with a takeover.
pub const GENERATIONS: CollectionId = CollectionId(34);

/// Every collection of the meta group.
pub const ALL: [CollectionId; 24] = [
    CLUSTER,
    NODES,
    SHARDS,
    TENANTS,
    TENANT_NAMES,
    COLLECTIONS,
    TENANT_KEYS,
    DATA_KEYS,
    TOKENS,
    SETTINGS,
    ROOT,
    TAKEN,
    ARCHIVED,
    REPORTS,
    CLOSER,
    SNAPSHOT,
    PINS,
    SWEEP,
    CARRIED,
    RESTORES,
    HELD,
    ORIGINS,
    ASIDE,
    GENERATIONS,
];

/// A row of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaRow {
    /// The cluster itself.
    Cluster(ClusterRow),
    /// A node.
    Node(NodeRow),
    /// A group.
    Shard(ShardRow),
    /// A tenant.
    Tenant(TenantRow),
    /// Whose a name is.
    TenantName(TenantNameRow),
    /// A collection of a tenant.
    Collection(CollectionRow),
    /// A key of a tenant.
    TenantKey(TenantKeyRow),
    /// A data key.
    DataKey(DataKeyRow),
    /// A token.
    Token(TokenRow),
    /// A setting.
    Setting(SettingRow),
    /// The root file.
    Root(RootRow),
    /// How far a node has taken it.
    Taken(TakenRow),
    /// How far a group is archived.
    Archived(ArchivedRow),
    /// What an archiver has put.
    Report(ReportRow),
    /// The next marker.
    Closer(CloserRow),
    /// The snapshot.
    Snapshot(SnapshotRow),
    /// What stays in archives.
    Pin(PinRow),
    /// Who deletes from archives.
    Sweep(SweepRow),
    /// How far required sites have everything.
    Carried(CarriedRow),
    /// A restore.
    Restore(RestoreRow),
    /// Which restore holds a tenant.
    Held(HeldRow),
    /// Of what a tenant is a copy.
    Origin(OriginRow),
    /// A tenant that is aside for another.
    Aside(AsideRow),
    /// A generation that began with a takeover.
    Generation(GenerationRow),
}

impl MetaRow {
    /// Where it stands.
    #[must_use]
    pub fn collection(&self) -> CollectionId {
        match self {
            Self::Cluster(_) => CLUSTER,
            Self::Node(_) => NODES,
            Self::Shard(_) => SHARDS,
            Self::Tenant(_) => TENANTS,
            Self::TenantName(_) => TENANT_NAMES,
            Self::Collection(_) => COLLECTIONS,
            Self::TenantKey(_) => TENANT_KEYS,
            Self::DataKey(_) => DATA_KEYS,
            Self::Token(_) => TOKENS,
            Self::Setting(_) => SETTINGS,
            Self::Root(_) => ROOT,
            Self::Taken(_) => TAKEN,
            Self::Archived(_) => ARCHIVED,
            Self::Report(_) => REPORTS,
            Self::Closer(_) => CLOSER,
            Self::Snapshot(_) => SNAPSHOT,
            Self::Pin(_) => PINS,
            Self::Sweep(_) => SWEEP,
            Self::Carried(_) => CARRIED,
            Self::Restore(_) => RESTORES,
            Self::Held(_) => HELD,
            Self::Origin(_) => ORIGINS,
            Self::Aside(_) => ASIDE,
            Self::Generation(_) => GENERATIONS,
        }
    }

    /// Its key there.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Cluster(_) => ClusterRow::key(),
            Self::Node(row) => NodeRow::key(row.id),
            Self::Shard(row) => ShardRow::key(row.group),
            Self::Tenant(row) => TenantRow::key(row.id),
            Self::TenantName(row) => TenantNameRow::key(&row.name),
            Self::Collection(row) => CollectionRow::key(row.tenant, &row.name),
            Self::TenantKey(row) => TenantKeyRow::key(row.tenant, row.epoch),
            Self::DataKey(row) => DataKeyRow::key(row.owner, row.purpose, row.epoch),
            Self::Token(row) => TokenRow::key(&row.hash),
            Self::Setting(row) => SettingRow::key(&row.name),
            Self::Root(_) => RootRow::key(),
            Self::Taken(row) => TakenRow::key(row.node),
            Self::Archived(row) => ArchivedRow::key(row.group),
            Self::Report(row) => ReportRow::key(row.node, row.number),
            Self::Closer(_) => CloserRow::key(),
            Self::Snapshot(_) => SnapshotRow::key(),
            Self::Pin(row) => PinRow::key(row.id),
            Self::Sweep(_) => SweepRow::key(),
            Self::Carried(_) => CarriedRow::key(),
            Self::Restore(row) => RestoreRow::key(row.id),
            Self::Held(row) => HeldRow::key(row.tenant),
            Self::Origin(row) => OriginRow::key(row.tenant),
            Self::Aside(row) => AsideRow::key(row.tenant),
            Self::Generation(row) => GenerationRow::key(row.generation),
        }
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        match self {
            Self::Cluster(row) => row.value(),
            Self::Node(row) => row.value(),
            Self::Shard(row) => row.value(),
            Self::Tenant(row) => row.value(),
            Self::TenantName(row) => row.value(),
            Self::Collection(row) => row.value(),
            Self::TenantKey(row) => row.value(),
            Self::DataKey(row) => row.value(),
            Self::Token(row) => row.value(),
            Self::Setting(row) => row.value(),
            Self::Root(row) => row.value(),
            Self::Taken(row) => row.value(),
            Self::Archived(row) => row.value(),
            Self::Report(row) => row.value(),
            Self::Closer(row) => row.value(),
            Self::Snapshot(row) => row.value(),
            Self::Pin(row) => row.value(),
            Self::Sweep(row) => row.value(),
            Self::Carried(row) => row.value(),
            Self::Restore(row) => row.value(),
            Self::Held(row) => row.value(),
            Self::Origin(row) => row.value(),
            Self::Aside(row) => row.value(),
            Self::Generation(row) => row.value(),
        }
    }

    /// When it goes by itself, in milliseconds since 1970; 0 never.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        match self {
            Self::Token(row) => row.forgotten_ms(),
            Self::Restore(row) => row.forgotten_ms(),
            Self::Pin(row) => row.forgotten_ms(),
            _ => 0,
        }
    }

    /// The row that stands in `collection` under `key`.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(collection: CollectionId, key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        match collection {
            CLUSTER => ClusterRow::decode(key, value).map(Self::Cluster),
            NODES => NodeRow::decode(key, value).map(Self::Node),
            SHARDS => ShardRow::decode(key, value).map(Self::Shard),
            TENANTS => TenantRow::decode(key, value).map(Self::Tenant),
            TENANT_NAMES => TenantNameRow::decode(key, value).map(Self::TenantName),
            COLLECTIONS => CollectionRow::decode(key, value).map(Self::Collection),
            TENANT_KEYS => TenantKeyRow::decode(key, value).map(Self::TenantKey),
            DATA_KEYS => DataKeyRow::decode(key, value).map(Self::DataKey),
            TOKENS => TokenRow::decode(key, value).map(Self::Token),
            SETTINGS => SettingRow::decode(key, value).map(Self::Setting),
            ROOT => RootRow::decode(key, value).map(Self::Root),
            TAKEN => TakenRow::decode(key, value).map(Self::Taken),
            ARCHIVED => ArchivedRow::decode(key, value).map(Self::Archived),
            REPORTS => ReportRow::decode(key, value).map(Self::Report),
            CLOSER => CloserRow::decode(key, value).map(Self::Closer),
            SNAPSHOT => SnapshotRow::decode(key, value).map(Self::Snapshot),
            PINS => PinRow::decode(key, value).map(Self::Pin),
            SWEEP => SweepRow::decode(key, value).map(Self::Sweep),
            CARRIED => CarriedRow::decode(key, value).map(Self::Carried),
            RESTORES => RestoreRow::decode(key, value).map(Self::Restore),
            HELD => HeldRow::decode(key, value).map(Self::Held),
            ORIGINS => OriginRow::decode(key, value).map(Self::Origin),
            ASIDE => AsideRow::decode(key, value).map(Self::Aside),
            GENERATIONS => GenerationRow::decode(key, value).map(Self::Generation),
            _ => Err(malformed("a row of an unknown kind")),
        }
    }

    /// Appends it whole: where it stands, its key and its value.
    pub fn append(&self, out: &mut Vec<u8>) {
        append_u32(out, self.collection().0);
        append_bytes32(out, &self.key());
        append_bytes32(out, &self.value());
    }

    /// Reads what [`MetaRow::append`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let collection = CollectionId(reader.u32()?);
        let (key, value) = (reader.bytes32(KEY_BYTES_MAX)?, reader.bytes32(VALUE_BYTES_MAX)?);
        Self::decode(collection, key, value)
    }
}
