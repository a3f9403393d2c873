//! Takes away from a folder what was not synced, after its process is gone: reads the journals that `hold.c` kept, and puts back what
//! was there before. How much of it is lost follows from dice: all of it, or a part, page by page and also torn within a page; of the
//! names a suffix of their order.

use crate::seed::Dice;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What an entry begins with: `HLD1`.
const MAGIC: u32 = 0x3144_4c48;
const HEAD_BYTES: usize = 32;
const PIECE: u32 = 1;
const MARK: u32 = 2;
const SECTOR_BYTES: usize = 512;

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that lost something.
    pub files: u64,
    /// Bytes that were written and are gone.
    pub bytes: u64,
    /// Names made, changed or removed, which are not.
    pub names: u64,
}

impl Lost {
    /// Whether anything was lost.
    #[must_use]
    pub fn is_something(&self) -> bool {
        self.bytes > 0 || self.names > 0 || self.files > 0
    }
}

/// What stood in a file before a write that no sync covers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
    length: u64,
}

/// A change of a name that no sync covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Created(PathBuf),
    Folder(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, over: Option<PathBuf> },
    Removed { path: PathBuf, saved: Option<PathBuf> },
}

/// Loses what was not synced below `folder`, and empties the journals in `undo`. Nobody may have the folder open.
///
/// # Errors
/// What the system says.
pub fn lose(folder: &Path, undo: &Path, dice: &mut Dice) -> io::Result<Lost> {
    let mut lost = Lost::default();
    let all = dice.is_lucky(500);
    // First the bytes, while every file still has the names that it had.
    let places = places(folder, undo)?;
    for (inode, pieces) in pieces(undo)? {
        if let Some(path) = places.get(&inode).filter(|_| !pieces.is_empty()) {
            let bytes = put_back(path, &pieces, all, dice)?;
            lost.files += u64::from(bytes > 0);
            lost.bytes += bytes;
        }
    }
    let names = names(undo)?;
    let kept = if all { 0 } else { dice.below(names.len() as u64 + 1) as usize };
    for name in names[kept..].iter().rev() {
        lost.names += u64::from(take_back(name)?);
    }
    for entry in fs::read_dir(undo)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(lost)
}

/// Where every file is, by its number.
fn places(folder: &Path, undo: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let (mut places, mut folders) = (BTreeMap::new(), vec![undo.to_owned(), folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let (path, found) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if found.is_dir() {
                folders.push(path);
            } else {
                places.insert(found.ino(), path);
            }
        }
    }
    Ok(places)
}

fn pieces(undo: &Path) -> io::Result<BTreeMap<u64, Vec<Piece>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(undo)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(inode) = name.strip_prefix('d').and_then(|inode| inode.parse().ok()) {
            all.insert(inode, unsynced(&fs::read(&path)?));
        }
    }
    Ok(all)
}

/// The entries of a journal behind the last mark. One that is cut short at the end was never followed by its write.
fn unsynced(journal: &[u8]) -> Vec<Piece> {
    let (mut found, mut at, mut from) = (vec![], 0, 0);
    while let Some(head) = journal.get(at..at + HEAD_BYTES) {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (kind, offset, count, length) = (word(4), long(8), long(16), long(24));
        let end = (at + HEAD_BYTES).saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        let Some(bytes) = journal.get(at + HEAD_BYTES..end).filter(|_| word(0) == MAGIC) else { break };
        match kind {
            PIECE => found.push((at as u64, Piece { offset, bytes: bytes.to_vec(), length })),
            MARK => from = offset,
            _ => break,
        }
        at = end;
    }
    found.into_iter().filter(|(at, _)| *at >= from).map(|(_, piece)| piece).collect()
}

/// Puts pieces back, all or some. How many bytes of the file are other ones now.
fn put_back(path: &Path, pieces: &[Piece], all: bool, dice: &mut Dice) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let (length, before) = (file.metadata()?.len(), pieces[0].length);
    // Of a place that was noted twice the older note counts. A file that was cut is cut wholly or not at all.
    let mut oldest = BTreeMap::new();
    for piece in
        pieces.iter().rev().filter(|piece| if all { !piece.bytes.is_empty() } else { piece.offset < length })
    {
        oldest.insert(piece.offset, piece);
    }
    let mut changed = 0;
    for piece in oldest.into_values() {
        let is_whole = all || dice.is_lucky(500);
        if !is_whole && dice.is_lucky(600) {
            continue;
        }
        let (mut page, here) = (piece.bytes.clone(), page_bytes(piece.offset, length));
        // Behind what was there, a page that never came reads as zeros.
        page.resize(if all { page.len().max(here) } else { here }, 0);
        for (at, sector) in page.chunks(SECTOR_BYTES).enumerate() {
            if is_whole || dice.is_lucky(500) {
                changed += write_other(&file, piece.offset + (at * SECTOR_BYTES) as u64, sector)?;
            }
        }
    }
    if before < length && (all || dice.is_lucky(500)) {
        changed += length - before;
        file.set_len(before)?;
    } else if all {
        file.set_len(before)?;
    }
    Ok(changed)
}

fn page_bytes(offset: u64, length: u64) -> usize {
    usize::try_from(length.saturating_sub(offset).min(4096)).unwrap_or(0)
}

fn write_other(file: &File, offset: u64, bytes: &[u8]) -> io::Result<u64> {
    let mut now = vec![0; bytes.len()];
    let mut read = 0;
    while read < now.len() {
        match file.read_at(&mut now[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    let changed = now.iter().zip(bytes).filter(|(now, then)| now != then).count();
    if changed > 0 {
        file.write_all_at(bytes, offset)?;
    }
    Ok(changed as u64)
}

fn names(undo: &Path) -> io::Result<Vec<Name>> {
    let text = match fs::read_to_string(undo.join("names")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    Ok(unsynced_names(&text, undo))
}

/// The changes of names that no sync of their folder covers, in their order.
fn unsynced_names(text: &str, undo: &Path) -> Vec<Name> {
    let (mut all, mut synced, mut at) = (vec![], BTreeMap::new(), 0);
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let fields: Vec<&str> = line.trim_end().split('\t').collect();
        let saved = |name: &str| (name != "-").then(|| undo.join(name));
        let name = match fields[..] {
            ["C", _, path] => Some(Name::Created(path.into())),
            ["M", _, path] => Some(Name::Folder(path.into())),
            ["R", _, from, to, over] => {
                Some(Name::Renamed { from: from.into(), to: to.into(), over: saved(over) })
            }
            ["U", _, path, name] => Some(Name::Removed { path: path.into(), saved: saved(name) }),
            ["S", folder, upto] => {
                synced.insert(folder.to_owned(), upto.parse().unwrap_or(0));
                None
            }
            _ => None,
        };
        if let (Some(name), Some(folder)) = (name, fields.get(1)) {
            all.push((at, (*folder).to_owned(), name));
        }
        at += line.len();
    }
    let is_synced = |at: usize, folder: &String| synced.get(folder).is_some_and(|upto| at < *upto);
    all.into_iter().filter(|(at, folder, _)| !is_synced(*at, folder)).map(|(_, _, name)| name).collect()
}

/// Takes one change back, if it has happened.
fn take_back(name: &Name) -> io::Result<bool> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    match name {
        Name::Created(path) if is_there(path) => fs::remove_file(path).map(|()| true),
        Name::Folder(path) if is_there(path) => fs::remove_dir_all(path).map(|()| true),
        Name::Renamed { from, to, over } if !is_there(from) && is_there(to) => {
            fs::rename(to, from)?;
            over.as_ref().map_or(Ok(()), |over| fs::hard_link(over, to))?;
            Ok(true)
        }
        Name::Removed { path, saved: Some(saved) } if !is_there(path) && is_there(saved) => {
            fs::hard_link(saved, path).map(|()| true)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u32, offset: u64, bytes: &[u8], length: u64) -> Vec<u8> {
        let head = [MAGIC.to_le_bytes(), kind.to_le_bytes()].concat();
        let numbers = [offset, bytes.len() as u64, length].map(u64::to_le_bytes).concat();
        [head, numbers, bytes.to_vec()].concat()
    }

    #[test]
    fn a_journal_counts_behind_its_last_mark_and_up_to_its_torn_end() {
        let (one, two) = (entry(PIECE, 0, b"old", 3), entry(PIECE, 4096, b"", 3));
        let whole = [&one[..], &two].concat();
        assert_eq!(unsynced(&whole).len(), 2);
        for cut in 1..two.len() {
            assert_eq!(unsynced(&whole[..whole.len() - cut]).len(), 1, "{cut}");
        }
        let marked = [&whole[..], &entry(MARK, one.len() as u64, b"", 0)].concat();
        assert_eq!(unsynced(&marked), [Piece { offset: 4096, bytes: vec![], length: 3 }]);
        assert!(unsynced(b"something else that is long enough to be a head").is_empty());
    }

    #[test]
    fn names_count_unless_their_folder_was_synced_behind_them() {
        let (undo, created) = (Path::new("/u"), "C\t7\t/d/a\n");
        let text =
            format!("{created}R\t7\t/d/a\t/d/b\tsaved-1\nU\t8\t/e/c\t-\nS\t7\t{}\nM\t7", created.len());
        let renamed =
            Name::Renamed { from: "/d/a".into(), to: "/d/b".into(), over: Some("/u/saved-1".into()) };
        let removed = Name::Removed { path: "/e/c".into(), saved: None };
        assert_eq!(unsynced_names(&text, undo), [renamed, removed]);
    }

    #[test]
    fn what_is_put_back_is_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, undo) = (dir.path().join("data"), dir.path().join("undo"));
        for path in [&folder, &undo] {
            fs::create_dir(path).unwrap();
        }
        let (grown, renamed) = (folder.join("grown"), folder.join("to"));
        fs::write(&grown, [b"old ".repeat(1_024), b"new".to_vec()].concat()).unwrap();
        fs::write(undo.join("saved-1"), b"was at `to`").unwrap();
        fs::write(&renamed, b"was at `from`").unwrap();
        let journal = [entry(PIECE, 4096, b"", 4096), entry(PIECE, 0, &b"gold".repeat(1_024), 4096)].concat();
        fs::write(undo.join(format!("d{}", grown.metadata().unwrap().ino())), journal).unwrap();
        let (from, to) = (folder.join("from"), renamed.display());
        fs::write(undo.join("names"), format!("R\t1\t{}\t{to}\tsaved-1\n", from.display())).unwrap();
        // The first seed that loses all.
        let seed = (0..).map(crate::seed::Seed).find(|seed| Dice::new(*seed, "").is_lucky(500)).unwrap();
        let lost = lose(&folder, &undo, &mut Dice::new(seed, "")).unwrap();
        assert_eq!(lost, Lost { files: 1, bytes: 4 * 1_024 + 3, names: 1 });
        assert_eq!(fs::read(&grown).unwrap(), b"gold".repeat(1_024));
        assert_eq!(
            (fs::read(&from).unwrap(), fs::read(&renamed).unwrap()),
            (b"was at `from`".to_vec(), b"was at `to`".to_vec())
        );
        assert_eq!(fs::read_dir(&undo).unwrap().count(), 0);
    }
}
