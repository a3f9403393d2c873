//! Pure: one change of a tablet's picture: tables come, go and move, and the position they make durable.
//! Format: manifest_edit, `docs/formats/manifest_edit.md`.

use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{KeyEpoch, LogIndex, Owner, TableId, TabletId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use crate::table::{StripeMeta, TableMeta};
use crate::wire::{Reader, append_bytes32};
use std::collections::BTreeMap;

/// Version 2 says more of each table. It is written only where there is more to say, so that what is not new has one form.
const VERSIONS: [u16; 2] = [1, 2];
const IS_RESET: u8 = 1;
const HAS_RANGE: u8 = 2;
const HAS_APPLIED: u8 = 4;

/// A position in the log whose effects are in a tablet.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Index of the last entry.
    pub index: LogIndex,
    /// Greatest stamp.
    pub stamp: Stamp,
    /// What the layer above wanted kept with it; opaque here.
    pub note: Vec<u8>,
}

redacted_debug!(Applied, index, stamp; note);

/// One change of a tablet's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The tablet.
    pub tablet: TabletId,
    /// Number of the edit in the tablet's journal.
    pub sequence: u64,
    /// A whole picture: everything before it is void.
    pub is_reset: bool,
    /// The rows the tablet holds; in whole pictures.
    pub range: Option<KeyRange>,
    /// The position that the tables now cover.
    pub applied: Option<Applied>,
    /// Tables that come, with their level.
    pub added: Vec<(u8, TableMeta)>,
    /// Tables that go.
    pub removed: Vec<TableId>,
    /// Tables that go to another level.
    pub moved: Vec<(TableId, u8)>,
    /// Below these stamps history has been dropped, by tenant.
    pub floors: BTreeMap<TenantId, Stamp>,
}

impl Edit {
    /// An edit that changes nothing yet.
    #[must_use]
    pub fn empty(tablet: TabletId) -> Self {
        Self {
            tablet,
            sequence: 0,
            is_reset: false,
            range: None,
            applied: None,
            added: Vec::new(),
            removed: Vec::new(),
            moved: Vec::new(),
            floors: BTreeMap::new(),
        }
    }

    /// The first edit of a tablet without tables.
    #[must_use]
    pub fn birth(tablet: TabletId, range: KeyRange, applied: Applied) -> Self {
        Self { is_reset: true, range: Some(range), applied: Some(applied), ..Self::empty(tablet) }
    }

    /// Checks what comes from outside: bounds of the range, the note.
    ///
    /// # Errors
    /// `TooLarge`: it could not be read again. `Invalid`: a bound inside a row.
    pub fn check_limits(&self) -> Result<()> {
        let check = |what, got: usize, max: usize| {
            let (got, max) = (got as u64, max as u64);
            if got > max { Err(Error::TooLarge { what, got, max }) } else { Ok(()) }
        };
        if let Some(range) = &self.range {
            let longest = range.start.len().max(range.end.as_ref().map_or(0, Vec::len));
            check("bytes of a tablet's bound", longest, limits::BOUND_BYTES_MAX)?;
            key::check_bound(&range.start)?;
            range.end.as_deref().map_or(Ok(()), key::check_bound)?;
        }
        let note = self.applied.as_ref().map_or(0, |applied| applied.note.len());
        check("note bytes", note, limits::NOTE_BYTES_MAX)
    }

    /// The edit as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let version = VERSIONS[usize::from(self.added.iter().any(|(_, meta)| says_more(meta)))];
        let mut out = version.to_be_bytes().to_vec();
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.is_reset, IS_RESET)
            | flag(self.range.is_some(), HAS_RANGE)
            | flag(self.applied.is_some(), HAS_APPLIED);
        out.extend_from_slice(&[flags, 0]);
        out.extend_from_slice(&self.tablet.0.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        if let Some(range) = &self.range {
            append_range(&mut out, range);
        }
        if let Some(applied) = &self.applied {
            out.extend_from_slice(&applied.index.0.to_be_bytes());
            out.extend_from_slice(&applied.stamp.0.to_be_bytes());
            append_bytes32(&mut out, &applied.note);
        }
        append_count(&mut out, self.added.len());
        for (level, meta) in &self.added {
            out.push(*level);
            append_meta(&mut out, meta, version);
        }
        append_count(&mut out, self.removed.len());
        self.removed.iter().for_each(|id| out.extend_from_slice(&id.0));
        append_count(&mut out, self.moved.len());
        for (id, level) in &self.moved {
            out.extend_from_slice(&id.0);
            out.push(*level);
        }
        append_count(&mut out, self.floors.len());
        for (tenant, floor) in &self.floors {
            out.extend_from_slice(&tenant.0.to_be_bytes());
            out.extend_from_slice(&floor.0.to_be_bytes());
        }
        out
    }

    /// Reads an edit. Whether it fits the picture before it is for [`super::levels::Levels::apply`].
    ///
    /// # Errors
    /// `Damaged` (`Malformed`), `Unsupported` version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        if !VERSIONS.contains(&version) {
            let what = "manifest edit".to_owned();
            return Err(Error::Unsupported { what, found: u32::from(version), supported: "1 and 2" });
        }
        let [flags @ 0..=7, 0] = reader.array()? else {
            return Err(malformed("unknown flags of an edit").into());
        };
        let mut edit = Self::empty(TabletId(reader.u64()?));
        edit.sequence = reader.u64()?;
        edit.is_reset = flags & IS_RESET != 0;
        if flags & HAS_RANGE != 0 {
            edit.range = Some(read_range(&mut reader)?);
        }
        if flags & HAS_APPLIED != 0 {
            let (index, stamp) = (LogIndex(reader.u64()?), Stamp(reader.u64()?));
            let note = reader.bytes32(limits::NOTE_BYTES_MAX)?.to_vec();
            edit.applied = Some(Applied { index, stamp, note });
        }
        for _ in 0..read_count(&mut reader)? {
            let level = read_level(&mut reader)?;
            edit.added.push((level, read_meta(&mut reader, version)?));
        }
        if version == VERSIONS[1] && !edit.added.iter().any(|(_, meta)| says_more(meta)) {
            return Err(malformed("version 2 without anything that is new in it").into());
        }
        for _ in 0..read_count(&mut reader)? {
            edit.removed.push(TableId(reader.array()?));
        }
        for _ in 0..read_count(&mut reader)? {
            let id = TableId(reader.array()?);
            edit.moved.push((id, read_level(&mut reader)?));
        }
        for _ in 0..reader.u32()? {
            let (tenant, floor) = (TenantId(reader.u64()?), Stamp(reader.u64()?));
            if edit.floors.last_key_value().is_some_and(|(last, _)| *last >= tenant) {
                return Err(malformed("tenants out of order").into());
            }
            edit.floors.insert(tenant, floor);
        }
        reader.end()?;
        Ok(edit)
    }
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

fn append_count(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(
        &u32::try_from(n).expect("bounded by TABLES_MAX and tenants of a tablet").to_be_bytes(),
    );
}

fn read_count(reader: &mut Reader<'_>) -> Result<u32, Damage> {
    let n = reader.u32()?;
    if n as usize > limits::TABLES_MAX { Err(malformed("more tables than a tablet may have")) } else { Ok(n) }
}

fn read_level(reader: &mut Reader<'_>) -> Result<u8, Damage> {
    let level = reader.u8()?;
    if usize::from(level) < limits::LEVELS { Ok(level) } else { Err(malformed("no such level")) }
}

fn append_range(out: &mut Vec<u8>, range: &KeyRange) {
    append_bytes32(out, &range.start);
    out.push(u8::from(range.end.is_some()));
    append_bytes32(out, range.end.as_deref().unwrap_or_default());
}

fn read_range(reader: &mut Reader<'_>) -> Result<KeyRange, Damage> {
    let start = reader.bytes32(limits::BOUND_BYTES_MAX)?.to_vec();
    let has_end = reader.u8()?;
    let end = reader.bytes32(limits::BOUND_BYTES_MAX)?.to_vec();
    match has_end {
        0 if end.is_empty() => Ok(KeyRange { start, end: None }),
        1 => Ok(KeyRange { start, end: Some(end) }),
        _ => Err(malformed("a range with an unknown end")),
    }
}

/// Whether version 1 has no room for all that is known of a table.
fn says_more(meta: &TableMeta) -> bool {
    (meta.superseded, meta.first_expiry_ms) != (0, 0)
}

fn append_meta(out: &mut Vec<u8>, meta: &TableMeta, version: u16) {
    out.extend_from_slice(&meta.id.0);
    out.extend_from_slice(&meta.bytes.to_be_bytes());
    out.extend_from_slice(&meta.content);
    out.extend_from_slice(&meta.crc32.to_be_bytes());
    out.extend_from_slice(&meta.ends);
    append_bytes32(out, &meta.least);
    append_bytes32(out, &meta.greatest);
    append_range(out, &meta.span);
    out.extend_from_slice(&meta.entries.to_be_bytes());
    out.extend_from_slice(&meta.deletes.to_be_bytes());
    out.extend_from_slice(&meta.tombstones.to_be_bytes());
    out.extend_from_slice(&meta.least_stamp.0.to_be_bytes());
    out.extend_from_slice(&meta.greatest_stamp.0.to_be_bytes());
    append_count(out, meta.stripes.len());
    for stripe in &meta.stripes {
        out.push(stripe.owner.kind());
        out.extend_from_slice(&stripe.owner.id().to_be_bytes());
        out.extend_from_slice(&stripe.epoch.0.to_be_bytes());
        out.extend_from_slice(&stripe.bytes.to_be_bytes());
        out.extend_from_slice(&stripe.entries.to_be_bytes());
    }
    if version == VERSIONS[1] {
        out.extend_from_slice(&meta.superseded.to_be_bytes());
        out.extend_from_slice(&meta.first_expiry_ms.to_be_bytes());
    }
}

fn read_meta(reader: &mut Reader<'_>, version: u16) -> Result<TableMeta, Damage> {
    let (id, bytes, content, crc32) =
        (TableId(reader.array()?), reader.u64()?, reader.array()?, reader.u32()?);
    let ends = reader.array()?;
    let least = reader.bytes32(limits::VERSION_KEY_BYTES_MAX)?.to_vec();
    let greatest = reader.bytes32(limits::VERSION_KEY_BYTES_MAX)?.to_vec();
    let span = read_range(reader)?;
    let (entries, deletes, tombstones) = (reader.u64()?, reader.u64()?, reader.u32()?);
    let (least_stamp, greatest_stamp) = (Stamp(reader.u64()?), Stamp(reader.u64()?));
    let is_possible = bytes <= limits::FILE_BYTES_MAX + limits::FILE_ENDS_BYTES_MAX
        && least <= greatest
        && (entries > 0) != least.is_empty()
        && (entries > 0) != greatest.is_empty()
        && deletes <= entries
        && least_stamp <= greatest_stamp;
    if !is_possible {
        return Err(malformed("counts and bounds of a table disagree"));
    }
    let mut stripes = Vec::new();
    let count = reader.u32()?;
    if count > limits::FILE_STRIPES_MAX {
        return Err(malformed("more stripes than a file may have"));
    }
    for _ in 0..count {
        let kind = reader.u8()?;
        let owner = Owner::from_parts(kind, reader.u64()?).ok_or_else(|| malformed("unknown owner kind"))?;
        let epoch = KeyEpoch(reader.u32()?);
        stripes.push(StripeMeta { owner, epoch, bytes: reader.u64()?, entries: reader.u64()? });
    }
    let (superseded, first_expiry_ms) =
        if version == VERSIONS[1] { (reader.u64()?, reader.u64()?) } else { (0, 0) };
    if superseded > entries.saturating_sub(1) {
        return Err(malformed("counts and bounds of a table disagree"));
    }
    Ok(TableMeta {
        id,
        bytes,
        content,
        crc32,
        ends,
        least,
        greatest,
        span,
        entries,
        deletes,
        tombstones,
        least_stamp,
        greatest_stamp,
        stripes,
        superseded,
        first_expiry_ms,
    })
}
