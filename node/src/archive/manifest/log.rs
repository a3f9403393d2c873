//! Pure: manifests of the log: where it begins, what each tick holds, what it lacks.
//! Format: archive_manifest, `docs/formats/archive_manifest.md`.

use super::{Body, array, malformed};
use crate::archive::naming::{Generation, ResidencyClass, TickEnd, TickFileName};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{LogIndex, NodeId, TableId, TenantId};
use engine::sealed::PublicKey;
use raft::types::GroupId;

/// What everything else is checked against: `genesis.man`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Genesis {
    /// Version of names and manifests: 1.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Seconds of a tick when the archive began.
    #[prost(uint64, tag = "2")]
    pub tick_s: u64,
    /// The public half of the cluster's signing key.
    #[prost(bytes = "vec", tag = "3")]
    pub public_key: Vec<u8>,
    /// When it was made: milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub made_ms: u64,
}

impl Genesis {
    /// The key that signs.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn key(&self) -> Result<PublicKey, Damage> {
        array(&self.public_key).map(PublicKey)
    }
}

impl Body for Genesis {
    const KIND: u16 = 1;

    fn check(&self) -> Result<(), Damage> {
        self.key()?;
        let is_known = self.format == 1 && self.tick_s > 0;
        if is_known { Ok(()) } else { Err(malformed("an archive of an unknown format")) }
    }
}

/// A life line of the cluster: `gen/...`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GenerationRegister {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// That which it left; 0 of the first.
    #[prost(uint64, tag = "2")]
    pub parent: u64,
    /// Up to which stamp it has that one's history.
    #[prost(fixed64, tag = "3")]
    pub parent_upto: u64,
    /// Why: 1 founded, 2 restored, 3 a delayed node was promoted.
    #[prost(uint32, tag = "4")]
    pub reason: u32,
    /// Numbers of the approvals.
    #[prost(string, repeated, tag = "5")]
    pub approvals: Vec<String>,
    /// When it was made: milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub made_ms: u64,
}

impl Body for GenerationRegister {
    const KIND: u16 = 2;

    fn check(&self) -> Result<(), Damage> {
        let is_one = self.generation > 0 && self.parent < self.generation && (1..=3).contains(&self.reason);
        if is_one { Ok(()) } else { Err(malformed("a generation that is none")) }
    }
}

/// A tick file, as markers name it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileRow {
    /// End of the tick in which it was written: seconds since 1970.
    #[prost(uint64, tag = "1")]
    pub end_s: u64,
    /// The node that wrote it.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// The class of its tenants.
    #[prost(uint32, tag = "3")]
    pub class: u32,
    /// The id of the table it is.
    #[prost(bytes = "vec", tag = "4")]
    pub table: Vec<u8>,
    /// Its bytes.
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    /// SHA-256 of them.
    #[prost(bytes = "vec", tag = "6")]
    pub sha256: Vec<u8>,
    /// Least stamp in it.
    #[prost(fixed64, tag = "7")]
    pub least: u64,
    /// Greatest stamp in it.
    #[prost(fixed64, tag = "8")]
    pub greatest: u64,
    /// Versions in it; deletions of ranges are not counted.
    #[prost(uint64, tag = "9")]
    pub entries: u64,
    /// Whose rows are in it, ascending; 0 is the cluster. Empty: they were too many to be listed.
    #[prost(fixed64, repeated, tag = "10")]
    pub tenants: Vec<u64>,
}

impl FileRow {
    /// The table it is.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn table(&self) -> Result<TableId, Damage> {
        array(&self.table).map(TableId)
    }

    /// SHA-256 of its bytes.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn digest(&self) -> Result<[u8; 32], Damage> {
        array(&self.sha256)
    }

    /// Its name.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn name(&self) -> Result<TickFileName, Damage> {
        let TableId([a, b, c, d, ..]) = self.table()?;
        let class = u16::try_from(self.class).map_err(|_| malformed("a class that is none"))?;
        let (end, node) = (TickEnd(self.end_s), NodeId(self.node));
        Ok(TickFileName { end, node, class: ResidencyClass(class), random: [a, b, c, d] })
    }

    /// Least and greatest stamp in it.
    #[must_use]
    pub fn stamps(&self) -> (Stamp, Stamp) {
        (Stamp(self.least), Stamp(self.greatest))
    }

    /// Whether rows of `tenant` may be in it.
    #[must_use]
    pub fn may_hold(&self, tenant: TenantId) -> bool {
        self.tenants.is_empty() || self.tenants.binary_search(&tenant.0).is_ok()
    }

    fn check(&self) -> Result<(), Damage> {
        self.name()?;
        self.digest()?;
        let is_sorted = self.tenants.windows(2).all(|pair| pair[0] < pair[1]);
        if is_sorted && self.least <= self.greatest && self.bytes > 0 {
            Ok(())
        } else {
            Err(malformed("a tick file that is none"))
        }
    }
}

/// How far a group has come with a marker. The rows of one group follow each other without a hole.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupRow {
    /// The group.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// It holds what is behind this stamp. 0: all the group has ever held.
    #[prost(fixed64, tag = "2")]
    pub after: u64,
    /// Up to here, itself included: nothing of the group comes at or below it any more.
    #[prost(fixed64, tag = "3")]
    pub upto: u64,
    /// The last entry of the log that is wholly in it; 0 if none is.
    #[prost(uint64, tag = "4")]
    pub last_index: u64,
    /// Groups of which this one was born with this row.
    #[prost(uint64, repeated, tag = "5")]
    pub parents: Vec<u64>,
    /// How the group has ended with this row: 0 not, 1 by a split, 2 by a merge, 3 otherwise.
    #[prost(uint32, tag = "6")]
    pub ended: u32,
    /// The archive begins with this row: of what is before `after` it knows nothing but what snapshots hold.
    #[prost(bool, tag = "7")]
    pub begins: bool,
    /// What is behind `after` and not in the archive is missing: the row goes on behind a gap.
    #[prost(bool, tag = "8")]
    pub is_behind_gap: bool,
    /// The node that has collected it: what of it was written lies in files of this node that the same marker names.
    #[prost(uint64, tag = "9")]
    pub node: u64,
    /// Of a row behind a gap: what is behind this stamp and up to `after` is missing.
    #[prost(fixed64, tag = "10")]
    pub gap_from: u64,
}

impl GroupRow {
    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId(self.group)
    }

    /// It holds everything behind the first and up to the second.
    #[must_use]
    pub fn span(&self) -> (Stamp, Stamp) {
        (Stamp(self.after), Stamp(self.upto))
    }

    /// The last entry of the log that is wholly in it.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        LogIndex(self.last_index)
    }
}

/// What is archived with the end of a tick: `tick/...`. Markers are a chain: each names the one before it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CloseMarker {
    /// The life line.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// The tick ends with this second since 1970.
    #[prost(uint64, tag = "2")]
    pub end_s: u64,
    /// End of the tick of the marker before; 0: there is none in this generation.
    #[prost(uint64, tag = "3")]
    pub previous_end_s: u64,
    /// SHA-256 of the marker before; empty: as above.
    #[prost(bytes = "vec", tag = "4")]
    pub previous: Vec<u8>,
    /// The node that planned it.
    #[prost(uint64, tag = "5")]
    pub writer: u64,
    /// When, by its clock: milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub planned_ms: u64,
    /// Tick files that count from now on.
    #[prost(message, repeated, tag = "7")]
    pub files: Vec<FileRow>,
    /// Groups that have come further, by number; several rows of one group follow each other.
    #[prost(message, repeated, tag = "8")]
    pub groups: Vec<GroupRow>,
    /// Table files that were taken in whole, by SHA-256.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub data: Vec<Vec<u8>>,
    /// The newest forward-only register seen.
    #[prost(uint64, tag = "10")]
    pub floor: u64,
    /// All groups that live, ascending: a group that reports nothing is not forgotten.
    #[prost(uint64, repeated, tag = "11")]
    pub alive: Vec<u64>,
}

impl CloseMarker {
    /// The end of its tick.
    #[must_use]
    pub fn end(&self) -> TickEnd {
        TickEnd(self.end_s)
    }

    /// The life line.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    /// End and SHA-256 of the marker before it, if there is one.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn before(&self) -> Result<Option<(TickEnd, [u8; 32])>, Damage> {
        match (self.previous_end_s, &self.previous[..]) {
            (0, []) => Ok(None),
            (end, digest) => Ok(Some((TickEnd(end), array(digest)?))),
        }
    }
}

impl Body for CloseMarker {
    const KIND: u16 = 3;

    fn check(&self) -> Result<(), Damage> {
        self.before()?;
        self.files.iter().try_for_each(FileRow::check)?;
        for digest in &self.data {
            array::<32>(digest)?;
        }
        let is_rising = self.groups.windows(2).all(|pair| {
            let (a, b) = (&pair[0], &pair[1]);
            a.group < b.group || (a.group == b.group && (a.upto == b.after || b.is_behind_gap))
        });
        let are_spans = self.groups.iter().all(|row| row.after <= row.upto && row.ended <= 3);
        let is_sorted = self.alive.windows(2).all(|pair| pair[0] < pair[1]);
        if self.previous_end_s < self.end_s && is_rising && are_spans && is_sorted {
            Ok(())
        } else {
            Err(malformed("a marker that is none"))
        }
    }
}

/// A hole in the log of a group: `gap/...`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Gap {
    /// Whose log.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// What is behind this stamp is missing.
    #[prost(fixed64, tag = "2")]
    pub after: u64,
    /// Up to here, itself included.
    #[prost(fixed64, tag = "3")]
    pub upto: u64,
    /// Why: 1 the archive was away and writes were to go on, 2 the versions were gone before they were archived, 3 objects were lost.
    #[prost(uint32, tag = "4")]
    pub cause: u32,
    /// The node that decided; 0: a person did.
    #[prost(uint64, tag = "5")]
    pub node: u64,
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub made_ms: u64,
    /// The life line.
    #[prost(uint64, tag = "7")]
    pub generation: u64,
}

impl Gap {
    /// Nothing is known behind the first and up to the second.
    #[must_use]
    pub fn span(&self) -> (Stamp, Stamp) {
        (Stamp(self.after), Stamp(self.upto))
    }

    /// Whose log.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId(self.group)
    }
}

impl Body for Gap {
    const KIND: u16 = 4;

    fn check(&self) -> Result<(), Damage> {
        let is_one = self.after < self.upto && (1..=3).contains(&self.cause);
        if is_one { Ok(()) } else { Err(malformed("a gap that is none")) }
    }
}

/// That a person knows of a gap: beside it, `.ack`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GapAck {
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub made_ms: u64,
    /// Who: the name of an identity of the cluster.
    #[prost(string, tag = "2")]
    pub by: String,
}

impl Body for GapAck {
    const KIND: u16 = 5;

    fn check(&self) -> Result<(), Damage> {
        Ok(())
    }
}

/// That another site has everything up to a marker: `rcpt/...`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Receipt {
    /// SHA-256 of the marker.
    #[prost(bytes = "vec", tag = "1")]
    pub marker: Vec<u8>,
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub made_ms: u64,
}

impl Body for Receipt {
    const KIND: u16 = 6;

    fn check(&self) -> Result<(), Damage> {
        array::<32>(&self.marker).map(drop)
    }
}
