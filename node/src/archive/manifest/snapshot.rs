//! Pure: manifests of snapshots: what one sets out to hold, each group's part, that it is whole, and what was proved of it.
//! Format: archive_manifest, `docs/formats/archive_manifest.md`.

use super::{Body, array, malformed};
use crate::archive::naming::{Generation, SnapshotId};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{KeyEpoch, LogIndex, NodeId, Owner, Purpose, TableId, TenantId};
use raft::types::GroupId;

/// One group of a snapshot, and the node whose files it takes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Home {
    /// The group.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// The node.
    #[prost(uint64, tag = "2")]
    pub node: u64,
}

impl Home {
    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId(self.group)
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

/// What a snapshot sets out to hold: `open.man`. Its cut is the end of a tick, and stands in its name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotOpen {
    /// The life line.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Groups that live at the cut, ascending.
    #[prost(message, repeated, tag = "2")]
    pub groups: Vec<Home>,
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub made_ms: u64,
    /// Whether keys are counted and digested.
    #[prost(bool, tag = "4")]
    pub is_digested: bool,
}

impl Body for SnapshotOpen {
    const KIND: u16 = 7;

    fn check(&self) -> Result<(), Damage> {
        let is_sorted = self.groups.windows(2).all(|pair| pair[0].group < pair[1].group);
        if is_sorted { Ok(()) } else { Err(malformed("groups out of order")) }
    }
}

/// A table file of a part.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DataFile {
    /// SHA-256 of its bytes: its name.
    #[prost(bytes = "vec", tag = "1")]
    pub sha256: Vec<u8>,
    /// Its bytes.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// The id of the table.
    #[prost(bytes = "vec", tag = "3")]
    pub table: Vec<u8>,
    /// Least stamp in it.
    #[prost(fixed64, tag = "4")]
    pub least: u64,
    /// Greatest stamp in it: it may lie behind the cut, and what does must be hidden.
    #[prost(fixed64, tag = "5")]
    pub greatest: u64,
    /// Whose rows are in it, ascending.
    #[prost(message, repeated, tag = "6")]
    pub stripes: Vec<Stripe>,
}

/// One tenant's part of a table file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Stripe {
    /// Whose; 0 is the cluster.
    #[prost(fixed64, tag = "1")]
    pub tenant: u64,
    /// Under which epoch of the data key.
    #[prost(uint32, tag = "2")]
    pub epoch: u32,
    /// Its bytes.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// Versions in it.
    #[prost(uint64, tag = "4")]
    pub entries: u64,
}

impl DataFile {
    /// SHA-256 of its bytes.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn digest(&self) -> Result<[u8; 32], Damage> {
        array(&self.sha256)
    }

    /// The id of the table.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn table(&self) -> Result<TableId, Damage> {
        array(&self.table).map(TableId)
    }

    /// Whether rows of `tenant` are in it.
    #[must_use]
    pub fn holds(&self, tenant: TenantId) -> bool {
        self.stripes.iter().any(|stripe| stripe.tenant == tenant.0)
    }

    /// Least and greatest stamp in it.
    #[must_use]
    pub fn stamps(&self) -> (Stamp, Stamp) {
        (Stamp(self.least), Stamp(self.greatest))
    }
}

/// How many keys of a tenant are visible at the cut, and their digest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TenantDigest {
    /// Whose.
    #[prost(fixed64, tag = "1")]
    pub tenant: u64,
    /// Keys.
    #[prost(uint64, tag = "2")]
    pub keys: u64,
    /// The sum of the digests of keys and values, modulo 2^128, big-endian.
    #[prost(bytes = "vec", tag = "3")]
    pub sum: Vec<u8>,
    /// Under which epoch of the tenant's data key; 0: nothing was summed.
    #[prost(uint32, tag = "4")]
    pub epoch: u32,
}

impl TenantDigest {
    /// The sum.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn sum(&self) -> Result<u128, Damage> {
        array(&self.sum).map(u128::from_be_bytes)
    }
}

/// One group's part of a snapshot: `grp<group>.part`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotPart {
    /// The group.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// The node whose files they are.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// The last entry of the log that is in its files.
    #[prost(uint64, tag = "3")]
    pub applied: u64,
    /// Everything of the group up to here is in them; at or above the cut.
    #[prost(fixed64, tag = "4")]
    pub upto: u64,
    /// The sealed list of its tables, as `docs/formats/checkpoint_listing.md` has it.
    #[prost(bytes = "vec", tag = "5")]
    pub listing: Vec<u8>,
    /// Its table files.
    #[prost(message, repeated, tag = "6")]
    pub files: Vec<DataFile>,
    /// Counts and digests of its tenants, ascending; empty if they were not taken.
    #[prost(message, repeated, tag = "7")]
    pub tenants: Vec<TenantDigest>,
    /// Bytes that had to be shipped for it.
    #[prost(uint64, tag = "8")]
    pub shipped_bytes: u64,
}

impl SnapshotPart {
    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId(self.group)
    }

    /// The last entry of the log in its files.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.applied)
    }

    /// Everything of the group up to here is in its files.
    #[must_use]
    pub fn upto(&self) -> Stamp {
        Stamp(self.upto)
    }
}

impl Body for SnapshotPart {
    const KIND: u16 = 8;

    fn check(&self) -> Result<(), Damage> {
        for file in &self.files {
            file.digest()?;
            file.table()?;
        }
        self.tenants.iter().try_for_each(|tenant| tenant.sum().map(drop))?;
        let is_sorted = self.tenants.windows(2).all(|pair| pair[0].tenant < pair[1].tenant);
        if is_sorted { Ok(()) } else { Err(malformed("tenants out of order")) }
    }
}

/// A part, as `done.man` names it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PartRow {
    /// The group.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// Bytes of the part.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// SHA-256 of them.
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
}

/// A data key that is needed to open what a snapshot holds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KeyNeeded {
    /// Kind of its owner: 1 the cluster, 3 a tenant.
    #[prost(uint32, tag = "1")]
    pub owner_kind: u32,
    /// Number of its owner.
    #[prost(fixed64, tag = "2")]
    pub owner: u64,
    /// What it is for.
    #[prost(uint32, tag = "3")]
    pub purpose: u32,
    /// Which epoch.
    #[prost(uint32, tag = "4")]
    pub epoch: u32,
}

impl KeyNeeded {
    /// Which key it is, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<(Owner, Purpose, KeyEpoch)> {
        let kind = u8::try_from(self.owner_kind).ok()?;
        let purpose = Purpose::from_number(u8::try_from(self.purpose).ok()?)?;
        Some((Owner::from_parts(kind, self.owner)?, purpose, KeyEpoch(self.epoch)))
    }
}

/// That a snapshot is whole: `done.man`. Without it there is no snapshot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotDone {
    /// The life line.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// SHA-256 of `open.man`.
    #[prost(bytes = "vec", tag = "2")]
    pub open: Vec<u8>,
    /// Its parts, by group: all that live at the cut.
    #[prost(message, repeated, tag = "3")]
    pub parts: Vec<PartRow>,
    /// Id of the snapshot before, as text; empty if there was none.
    #[prost(string, tag = "4")]
    pub previous: String,
    /// SHA-256 of its `done.man`; empty as above.
    #[prost(bytes = "vec", tag = "5")]
    pub previous_sha256: Vec<u8>,
    /// Counts and digests of tenants, over all groups; empty if they were not taken.
    #[prost(message, repeated, tag = "6")]
    pub tenants: Vec<TenantDigest>,
    /// Keys that are needed to open it.
    #[prost(message, repeated, tag = "7")]
    pub keys: Vec<KeyNeeded>,
    /// The newest forward-only register when it was taken.
    #[prost(uint64, tag = "8")]
    pub floor: u64,
    /// Bytes of all its files.
    #[prost(uint64, tag = "9")]
    pub bytes: u64,
    /// Of these, what had to be shipped for it.
    #[prost(uint64, tag = "10")]
    pub shipped_bytes: u64,
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "11")]
    pub done_ms: u64,
}

impl SnapshotDone {
    /// The life line.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    /// Id and SHA-256 of the snapshot before.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn before(&self) -> Result<Option<(SnapshotId, [u8; 32])>, Damage> {
        if self.previous.is_empty() && self.previous_sha256.is_empty() {
            return Ok(None);
        }
        let id = SnapshotId::parse(&self.previous).ok_or_else(|| malformed("a snapshot that is none"))?;
        Ok(Some((id, array(&self.previous_sha256)?)))
    }
}

impl Body for SnapshotDone {
    const KIND: u16 = 9;

    fn check(&self) -> Result<(), Damage> {
        array::<32>(&self.open)?;
        self.before()?;
        for part in &self.parts {
            array::<32>(&part.sha256)?;
        }
        self.tenants.iter().try_for_each(|tenant| tenant.sum().map(drop))?;
        let is_sorted = self.parts.windows(2).all(|pair| pair[0].group < pair[1].group)
            && self.tenants.windows(2).all(|pair| pair[0].tenant < pair[1].tenant);
        let are_keys = self.keys.iter().all(|key| key.name().is_some());
        if is_sorted && are_keys { Ok(()) } else { Err(malformed("a snapshot that is none")) }
    }
}

/// What a drill has proved of a snapshot: `proof/...`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Proof {
    /// Whether everything was as it should be.
    #[prost(bool, tag = "1")]
    pub is_passed: bool,
    /// Up to which stamp the log was replayed over it.
    #[prost(fixed64, tag = "2")]
    pub target: u64,
    /// How long it took, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub took_ms: u64,
    /// Bytes read.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Counts and digests found.
    #[prost(message, repeated, tag = "5")]
    pub tenants: Vec<TenantDigest>,
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub made_ms: u64,
    /// Which build.
    #[prost(string, tag = "7")]
    pub build: String,
    /// What was found wrong, in words.
    #[prost(string, repeated, tag = "8")]
    pub found: Vec<String>,
}

impl Body for Proof {
    const KIND: u16 = 10;

    fn check(&self) -> Result<(), Damage> {
        self.tenants.iter().try_for_each(|tenant| tenant.sum().map(drop))
    }
}
