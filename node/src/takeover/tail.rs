//! What a takeover cut off: the entries of each group behind the cut, as they stood in the log, sealed as they were. They are never applied
//! again; from their clear heads it can be told who wrote how much. A file a group, below `tail/` in the folder of the node: records of the
//! log, whose positions count from 0 and whose salt is all zero. Format: log_record, `docs/formats/log_record.md`.

use crate::limits;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::ids::TenantId;
use raft::command::Command;
use raft::log::record::{HEAD_BYTES, Record, Salt, entry_bytes};
use raft::log::{Entry, Log};
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of entries that are read at once.
const READ_BYTES: u64 = 4 << 20;
/// Records of a tail stand in no segment.
const SALT: Salt = [0; 16];

/// Where the tails of a generation lie: that which began when they were cut off.
#[must_use]
pub fn folder(node: &Path, generation: u64) -> PathBuf {
    node.join("tail").join(format!("g{generation}"))
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> raft::Error {
    engine::Error::Io { verb, path: path.to_owned(), source }.into()
}

/// Keeps the entries of a group from `from` on, whole and durably, in the place of what is there. Returns how many there are.
///
/// # Errors
/// Of the disk, of the log.
pub fn keep(folder: &Path, log: &Log, group: GroupId, from: u64) -> raft::Result<u64> {
    crate::boot::files::make_folder(folder)
        .map_err(|error| failed("make", folder, io::Error::other(error)))?;
    let path = folder.join(format!("{group}.tail"));
    let beside = path.with_extension("new");
    let io = |source| failed("write", &beside, source);
    let mut file = BufWriter::new(File::create(&beside).map_err(io)?);
    let (first, end) = log.bounds(group)?;
    let (mut next, mut position, mut count) = (from.max(first), 0, 0);
    while next < end {
        for entry in log.entries(group, next, end, READ_BYTES)? {
            next = entry.log_id.index + 1;
            let mut bytes = Vec::with_capacity(entry_bytes(&entry));
            Record::Entry(group, entry).append(&mut bytes, position, &SALT);
            position += bytes.len() as u64;
            count += 1;
            file.write_all(&bytes).map_err(io)?;
        }
    }
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    fs::rename(&beside, &path).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(count)
}

/// What a tenant wrote behind a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Whose.
    pub tenant: TenantId,
    /// Of which group that was.
    pub group: GroupId,
    /// Puts, at most.
    pub puts: u64,
    /// Deletes, at most.
    pub deletes: u64,
    /// Range deletes, at most.
    pub range_deletes: u64,
    /// The first commit.
    pub first: Stamp,
    /// The last commit.
    pub last: Stamp,
}

impl Lost {
    fn add(&mut self, counts: &raft::command::Counts, at: Stamp) {
        self.puts += u64::from(counts.puts);
        self.deletes += u64::from(counts.deletes);
        self.range_deletes += u64::from(counts.range_deletes);
        self.last = at;
    }
}

fn damage(detail: &'static str) -> Damage {
    Damage::of(Nature::Rot, detail)
}

/// The entries of a tail, one after the other.
pub struct Entries<R> {
    from: R,
    position: u64,
}

impl<R: Read> Entries<R> {
    /// Those that `from` holds.
    pub fn new(from: R) -> Self {
        Self { from, position: 0 }
    }

    /// The next one; `None` behind the last.
    ///
    /// # Errors
    /// `Damage`: it is none, or not all of it is there.
    pub fn read(&mut self) -> Result<Option<(GroupId, Entry)>, Damage> {
        let mut bytes = vec![0; HEAD_BYTES];
        match self.from.read(&mut bytes[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(_) => return Err(damage("a tail that cannot be read")),
        }
        let whole = |bytes: &mut [u8], from: &mut R| {
            from.read_exact(bytes).map_err(|_| damage("a tail that ends within a record"))
        };
        whole(&mut bytes[1..], &mut self.from)?;
        let length = bytes.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        let length = length as usize;
        if length > raft::limits::RECORD_BYTES_MAX {
            return Err(damage("a record over its limit"));
        }
        bytes.resize((HEAD_BYTES + length).next_multiple_of(raft::log::record::ALIGN_BYTES), 0);
        whole(&mut bytes[HEAD_BYTES..], &mut self.from)?;
        let (record, taken) = Record::decode(&bytes.into(), self.position, &SALT)?;
        self.position += taken as u64;
        match record {
            Record::Entry(group, entry) => Ok(Some((group, entry))),
            _ => Err(Damage::of(Nature::Malformed, "a record that no tail has")),
        }
    }
}

/// What a tail holds, by tenant; the meta group's tenant is none.
///
/// # Errors
/// `Damage`.
pub fn read(from: impl Read) -> Result<Vec<Lost>, Damage> {
    let mut entries = Entries::new(from);
    let mut all: BTreeMap<(TenantId, GroupId), Lost> = BTreeMap::new();
    while let Some((group, entry)) = entries.read()? {
        if entry.kind != raft::payload::COMMAND {
            continue;
        }
        let command = Command::decode(&entry.payload)?;
        let before = (command.rows.len() as u64).saturating_sub(1);
        let at = Stamp(entry.stamp.saturating_sub(before));
        for part in &command.parts {
            let lost = all.entry((part.tenant, group)).or_insert_with(|| Lost {
                tenant: part.tenant,
                group,
                first: at,
                ..Lost::default()
            });
            lost.add(&part.counts, Stamp(entry.stamp));
        }
        if all.len() > limits::TAIL_ROWS_MAX {
            return Err(Damage::of(Nature::Malformed, "a tail of more tenants than there may be"));
        }
    }
    Ok(all.into_values().collect())
}

/// What was cut off when a generation began.
///
/// # Errors
/// `Damaged`: of which file.
pub fn list(node: &Path, generation: u64) -> engine::Result<Vec<Lost>> {
    let folder = folder(node, generation);
    let io = |source| engine::Error::Io { verb: "read", path: folder.clone(), source };
    let mut files: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io(error)),
    };
    files.retain(|path| path.extension().is_some_and(|ending| ending == "tail"));
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let file = File::open(&path).map_err(io)?;
        all.extend(read(BufReader::new(file)).map_err(|damage| damage.at(path.display()))?);
    }
    Ok(all)
}
