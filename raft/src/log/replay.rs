//! Reads the log after a start: every segment in order, every record through the same picture that the live log keeps.

use super::index::{GroupLog, Writing};
use super::record::{BATCH_RECORD_BYTES, GroupState, Record};
use super::segment::{self, HEADER_BYTES, Header, LogName};
use super::states::States;
use super::tail::{Placed, Segment};
use super::writer::{Contents, Resume, SegmentFile, io, list};
use crate::error::{Error, Result};
use crate::limits;
use crate::payload;
use crate::types::GroupId;
use bytes::Bytes;
use engine::disk::{Disk, DiskFile, atomic};
use engine::error::{Damage, Nature};
use engine::ids::NodeId;
use engine::sealed::Sealer;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a start finds.
pub(super) struct Replayed {
    pub(super) groups: BTreeMap<GroupId, GroupLog>,
    pub(super) segments: Vec<Arc<SegmentFile>>,
    /// `None` if there is no log yet.
    pub(super) log: Option<LogName>,
    pub(super) resume: Resume,
    /// Whether pieces of a write that was cut short were found, and cut off.
    pub(super) was_torn: bool,
    /// By group and index, the entries that say who belongs to it.
    pub(super) memberships: BTreeMap<GroupId, BTreeMap<u64, Bytes>>,
}

impl Replayed {
    fn nothing() -> Self {
        let (position, link, states) = (0, [0; 16], States::default());
        let (contents, spares) = (BTreeMap::new(), Vec::new());
        Self {
            groups: BTreeMap::new(),
            segments: Vec::new(),
            log: None,
            resume: Resume { number: 0, position, link, states, contents, spares },
            was_torn: false,
            memberships: BTreeMap::new(),
        }
    }
}

/// Whose log it must be.
pub(super) struct Expected<'a> {
    pub(super) sealer: &'a Sealer,
    pub(super) node: NodeId,
    pub(super) segment_bytes: u64,
}

/// What [`settle`] has to do before the log goes on.
pub(super) struct Settling {
    /// Spares that a crash left, or of another size.
    useless: Vec<u64>,
}

/// Reads the log in `dir`, and changes nothing there.
///
/// # Errors
/// `DamagedInside`, `SegmentMissing`, `Foreign`; disk; keys.
pub(super) fn replay(disk: &dyn Disk, dir: &Path, expected: &Expected<'_>) -> Result<(Replayed, Settling)> {
    let (numbers, spares) = list(disk, dir)?;
    let mut replayed = Replayed::nothing();
    let (usable, useless) = sort_spares(disk, dir, spares, expected.segment_bytes)?;
    replayed.resume.spares = usable;
    for number in &numbers {
        let path = dir.join(segment::file_name(*number));
        let file = disk.open(&path).map_err(|error| io("open", &path, error))?;
        let header = read_header(&*file, &path, *number)?;
        check_owner(&header, expected, *number, replayed.log)?;
        if replayed.segments.last().is_some_and(|before| before.header.number + 1 != *number) {
            return Err(Error::SegmentMissing { segment: number - 1 });
        }
        replayed.log = Some(header.log);
        replayed.segments.push(Arc::new(SegmentFile { header, file }));
    }
    let mut has_state = false;
    for (at, segment) in replayed.segments.clone().iter().enumerate() {
        let next = replayed.segments.get(at + 1).map(|next| next.header);
        walk(dir, segment, next.as_ref(), expected, &mut replayed, &mut has_state)?;
    }
    check_whole(&replayed, has_state)?;
    Ok((replayed, Settling { useless }))
}

/// Makes the folder what was read in it, for good.
///
/// # Errors
/// Disk.
pub(super) fn settle(disk: &dyn Disk, dir: &Path, replayed: &mut Replayed, settling: Settling) -> Result<()> {
    for number in settling.useless {
        let path = dir.join(segment::spare_name(number));
        disk.remove(&path).map_err(|error| io("remove", &path, error))?;
    }
    settle_last(disk, dir, replayed)
}

/// Makes what was found in the last segment durable. A process that ended, or a sync that failed, may have left it in the system's
/// memory alone, where no later sync of the same file is to be believed: so it is written to another file, which takes its place.
/// What is torn behind it is left out. The folder is synced with it: what an earlier start renamed to a spare and could not sync
/// would else be written over under its old name.
fn settle_last(disk: &dyn Disk, dir: &Path, replayed: &mut Replayed) -> Result<()> {
    let Some(last) = replayed.segments.last_mut() else { return Ok(()) };
    let header = last.header;
    let name = segment::file_name(header.number);
    let path = dir.join(&name);
    let mut bytes = read_whole(&*last.file, &path, &header)?;
    bytes.truncate(usize::try_from(header.offset(replayed.resume.position)).unwrap_or(usize::MAX));
    // Zeros to its end, as in every segment: nothing is ever written there, so that they need no blocks.
    atomic::replace_long(disk, dir, &name, &bytes, header.bytes)
        .map_err(|error| io("replace", &path, error))?;
    let file = disk.open(&path).map_err(|error| io("open", &path, error))?;
    *last = Arc::new(SegmentFile { header, file });
    Ok(())
}

fn read_whole(file: &dyn DiskFile, path: &Path, header: &Header) -> Result<Vec<u8>> {
    let there = file.len().map_err(|error| io("measure", path, error))?;
    let mut bytes = vec![0; usize::try_from(there.min(header.bytes)).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(|error| io("read", path, error))?;
    Ok(bytes)
}

/// Spares of the right size; and the others, which a crash left.
fn sort_spares(
    disk: &dyn Disk,
    dir: &Path,
    spares: Vec<u64>,
    segment_bytes: u64,
) -> Result<(Vec<u64>, Vec<u64>)> {
    let (mut usable, mut useless) = (Vec::new(), Vec::new());
    for number in spares {
        let path = dir.join(segment::spare_name(number));
        let file = disk.open(&path).map_err(|error| io("open", &path, error))?;
        let bytes = file.len().map_err(|error| io("measure", &path, error))?;
        let is_usable = bytes == segment_bytes && usable.len() < limits::SPARE_SEGMENTS_MAX;
        if is_usable { usable.push(number) } else { useless.push(number) }
    }
    Ok((usable, useless))
}

fn read_header(file: &dyn DiskFile, path: &Path, number: u64) -> Result<Header> {
    let mut bytes = vec![0; HEADER_BYTES as usize];
    let there = file.len().map_err(|error| io("measure", path, error))?;
    let inside = |damage| Error::DamagedInside { segment: number, offset: 0, damage };
    if there < HEADER_BYTES {
        return Err(inside(Damage::of(Nature::Missing, "a segment shorter than its header")));
    }
    file.read_exact_at(&mut bytes, 0).map_err(|error| io("read", path, error))?;
    Header::decode(&bytes).map_err(|error| match error {
        Error::Engine(engine::Error::Damaged(damage)) => inside(damage),
        other => other,
    })
}

fn check_owner(header: &Header, expected: &Expected<'_>, segment: u64, log: Option<LogName>) -> Result<()> {
    let foreign = |what| Err(Error::Foreign { segment, what });
    if header.cluster != expected.sealer.cluster() {
        return foreign("cluster");
    }
    if header.node != expected.node {
        return foreign("node");
    }
    if log.is_some_and(|log| log != header.log) {
        return foreign("log");
    }
    if header.number != segment {
        return foreign("place in the log");
    }
    Ok(())
}

fn walk(
    dir: &Path,
    segment: &SegmentFile,
    next: Option<&Header>,
    expected: &Expected<'_>,
    replayed: &mut Replayed,
    has_state: &mut bool,
) -> Result<()> {
    let header = &segment.header;
    let path = dir.join(segment::file_name(header.number));
    let bytes = Bytes::from(read_whole(&*segment.file, &path, header)?);
    let chain = expected.sealer.chain(header.node, header.epoch, &header.name())?;
    let inside = |position: u64, damage| Error::DamagedInside {
        segment: header.number,
        offset: header.offset(position),
        damage,
    };
    if *has_state && (header.first_position, header.link) != (replayed.resume.position, replayed.resume.link)
    {
        let damage = Damage::of(Nature::WrongPlace, "a segment that does not follow the one before");
        return Err(inside(header.first_position, damage));
    }
    replayed.resume.number = header.number;
    replayed.resume.contents.insert(header.number, Contents::new());
    let whole = Segment { header, bytes: &bytes, chain: &chain, next: next.map(|next| next.first_position) };
    let walked = whole.walk(|placed| {
        let position = placed.position;
        take(replayed, header, placed, has_state).map_err(|error| match error {
            Error::Engine(engine::Error::Damaged(damage)) => inside(position, damage),
            Error::Gap { .. } | Error::ReplicaLives { .. } | Error::ReplicaUsed { .. } => {
                inside(position, Damage::of(Nature::Malformed, "a record that cannot follow those before"))
            }
            other => other,
        })
    })?;
    replayed.resume.position = walked.end;
    replayed.resume.link = walked.link;
    replayed.was_torn |= walked.is_torn && next.is_none();
    Ok(())
}

fn take(replayed: &mut Replayed, header: &Header, placed: Placed, has_state: &mut bool) -> Result<()> {
    let Placed { record, position, bytes } = placed;
    let is_first = position == header.first_position + BATCH_RECORD_BYTES as u64;
    match &record {
        Record::State(groups) if is_first => return take_state(replayed, groups, has_state),
        Record::State(_) => {
            return Err(Damage::of(Nature::Malformed, "a state that opens no segment").into());
        }
        _ if is_first => {
            return Err(Damage::of(Nature::Malformed, "a segment that does not open with its state").into());
        }
        _ => {}
    }
    note_membership(&mut replayed.memberships, &record);
    replayed.resume.states.apply(&record);
    let contents = replayed.resume.contents.entry(header.number).or_default();
    if let Record::Entry(group, entry) | Record::Moved(group, entry) = &record {
        let greatest = contents.entry(*group).or_default();
        *greatest = (*greatest).max(entry.log_id.index);
    }
    match record {
        Record::Entry(group, entry) => {
            let log = replayed.groups.entry(group).or_default();
            log.push(group, &entry, Writing { bytes, ticket: 0, position: Some(position) })
        }
        Record::Moved(group, entry) => {
            replayed.groups.entry(group).or_default().moved(&entry, bytes, position);
            Ok(())
        }
        Record::Manifest(..) | Record::Marks(_) | Record::Incarnation(..) => Ok(()),
        Record::Close(group, _) => {
            replayed.resume.contents.values_mut().for_each(|one| {
                one.remove(&group);
            });
            replayed.groups.entry(group).or_default().apply(group, &record)
        }
        Record::Open(group, _)
        | Record::Vote(group, _)
        | Record::Truncate(group, _)
        | Record::Purge(group, _)
        | Record::Committed(group, _) => replayed.groups.entry(group).or_default().apply(group, &record),
        Record::Batch(_) | Record::State(_) => {
            Err(Damage::of(Nature::Malformed, "a record in the middle of a write that only opens one").into())
        }
    }
}

/// Keeps the entries that say who belongs to a group, as long as they are in its log.
fn note_membership(kept: &mut BTreeMap<GroupId, BTreeMap<u64, Bytes>>, record: &Record) {
    match record {
        Record::Entry(group, entry) | Record::Moved(group, entry) if entry.kind == payload::MEMBERSHIP => {
            // A copy: what was read is as large as its segment.
            let payload = Bytes::copy_from_slice(&entry.payload);
            kept.entry(*group).or_default().insert(entry.log_id.index, payload);
        }
        Record::Truncate(group, after) => {
            if let Some(kept) = kept.get_mut(group) {
                kept.split_off(&after.map_or(0, |after| after.index.saturating_add(1)));
            }
        }
        Record::Open(group, _) | Record::Close(group, _) => {
            kept.remove(group);
        }
        _ => {}
    }
}

/// The first state is where the picture begins; every later one must be the picture.
fn take_state(replayed: &mut Replayed, groups: &[(GroupId, GroupState)], has_state: &mut bool) -> Result<()> {
    if !std::mem::replace(has_state, true) {
        replayed.groups = groups.iter().map(|(group, state)| (*group, GroupLog::new(*state))).collect();
        replayed.resume.states = States::new(groups);
        return Ok(());
    }
    let is_same = replayed.resume.states.agrees(groups);
    let damage =
        || Damage::of(Nature::Malformed, "a segment's state is another than the log before it leaves");
    if is_same { Ok(()) } else { Err(damage().into()) }
}

/// No entry may be missing between what is purged and the last, nor the beginning of what is left: a segment before it only goes
/// once a later one has its state.
fn check_whole(replayed: &Replayed, has_state: bool) -> Result<()> {
    if let Some(first) = replayed.segments.first().filter(|one| !has_state && one.header.first_position > 0) {
        let (segment, offset) = (first.header.number, HEADER_BYTES);
        let damage = Damage::of(Nature::Missing, "the first write of the oldest segment");
        return Err(Error::DamagedInside { segment, offset, damage });
    }
    for (group, log) in &replayed.groups {
        if !log.is_whole() {
            let damage = Damage::of(Nature::Missing, "entries of a group are in no segment").at(group);
            return Err(damage.into());
        }
    }
    Ok(())
}
