//! Format: block_file. A changed file is noticed, also if every checksum was made right again; and what it answers is never
//! other than what was written.

use super::plain::{self, Content, Memory, PLACE};
use super::world::{Same, sealer};
use engine::ids::TableId;
use engine::sealed::directory::{FOOTER_BYTES, Footer, ROW_BYTES, check_directory, decode_directory};
use engine::sealed::{Header, Sealer, scrub_clear};
use engine::table::{Table, TableMeta};
use engine::{Error, Nature, Stamp, key, limits};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

const ID: TableId = TableId([0xf1; 16]);
const HEADER_BYTES: usize = 96;

struct Clean {
    bytes: Vec<u8>,
    meta: TableMeta,
    sealer: Arc<Sealer>,
    content: Content,
}

static CLEAN: LazyLock<Clean> = LazyLock::new(|| {
    let bytes = super::fixture("block_file");
    let (meta, sealer) = (plain::meta_of(ID, &bytes), sealer(Same(0)));
    let content = plain::content_of(&plain::open(&sealer, &meta, &bytes).unwrap()).unwrap();
    Clean { bytes, meta, sealer, content }
});

pub fn run(bytes: &[u8]) {
    header(bytes);
    ends(bytes);
    judge(bytes);
    let repaired = repaired(bytes);
    if repaired != bytes {
        header(&repaired);
        ends(&repaired);
        judge(&repaired);
    }
}

fn header(bytes: &[u8]) {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    match Header::decode(head) {
        Ok(header) => assert_eq!(header.encode(), *head),
        Err(Error::Unsupported { .. }) => assert!(head[4..7] != [0, 1, 1]),
        Err(Error::Damaged(damage)) => {
            assert!([Nature::Rot, Nature::WrongPlace, Nature::Malformed].contains(&damage.nature));
        }
        Err(error) => panic!("{error}"),
    }
}

/// Footer and directory: what decodes encodes to the same bytes, and its rows fill the file.
fn ends(bytes: &[u8]) {
    let Some((body, end)) = bytes.split_last_chunk::<FOOTER_BYTES>() else { return };
    let Ok(footer) = Footer::decode(end, bytes.len() as u64) else { return };
    assert!(footer.rows <= limits::FILE_STRIPES_MAX && footer.blocks <= limits::FILE_BLOCKS_MAX);
    let directory = &body[usize::try_from(footer.directory_offset).unwrap()..];
    assert_eq!(directory.len(), footer.rows as usize * ROW_BYTES);
    if check_directory(directory, end).is_err() {
        return;
    }
    let Ok(rows) = decode_directory(directory, &footer) else { return };
    assert_eq!(footer.encode(directory), *end);
    let mut again = Vec::new();
    rows.iter().for_each(|row| row.append(&mut again));
    assert_eq!(again, directory);
    let (mut offset, mut block) = (HEADER_BYTES as u64, 0);
    for row in &rows {
        assert_eq!((row.offset, row.first_block), (offset, block));
        assert!(row.offset <= row.end_offset && row.end_offset < row.offset + row.length);
        (offset, block) = (row.offset + row.length, block + row.blocks);
    }
    assert_eq!((offset, block), (footer.directory_offset, footer.blocks));
}

/// Opens the table and asks it everything.
fn judge(bytes: &[u8]) {
    let file = Memory::new(bytes);
    let scrubbed = scrub_clear(&*file, PLACE, ID, &mut |_| Ok(()));
    let table = match plain::open(&CLEAN.sealer, &CLEAN.meta, bytes) {
        Ok(table) => table,
        Err(error) => {
            assert!(bytes != CLEAN.bytes, "{error}");
            return is_named(&error);
        }
    };
    // Opened: header, directory and footer are those of the file, or the walk without keys says otherwise.
    let verified = table.verify(&BTreeSet::new(), &mut |_| Ok(()));
    let is_whole = matches!((&scrubbed, &verified), (Ok(a), Ok(b)) if a.is_empty() && b.found.is_empty());
    assert_eq!(is_whole, bytes == CLEAN.bytes, "{scrubbed:?} {verified:?}");
    match plain::content_of(&table) {
        Ok(content) => assert!(content == CLEAN.content, "a walk gives other content"),
        Err(error) => is_read_refusal(&error),
    }
    ask(&table);
}

fn is_named(error: &Error) {
    match error {
        Error::Damaged(damage) => assert_eq!(damage.place, PLACE, "{damage}"),
        Error::WrongKey { place, .. } => assert_eq!(place, PLACE),
        Error::KeyMissing { .. } | Error::Unsupported { .. } => {}
        other => panic!("{other}"),
    }
}

/// A block that somebody changed is never taken for one that its writer made wrong: that would mean that it opened.
fn is_read_refusal(error: &Error) {
    is_named(error);
    if let Error::Damaged(damage) = error {
        assert!(damage.nature != Nature::Malformed && damage.block.is_some(), "{damage}");
    }
}

/// Single rows, by their newest version.
fn ask(table: &Arc<Table>) {
    let newest = |entry: &(Vec<u8>, _), before: Option<&(Vec<u8>, _)>| {
        before.is_none_or(|before: &(Vec<u8>, _)| key::split(&before.0).0 != key::split(&entry.0).0)
    };
    let entries = &CLEAN.content.entries;
    for at in (0..entries.len()).step_by(5) {
        if !newest(&entries[at], at.checked_sub(1).map(|before| &entries[before])) {
            continue;
        }
        let (row, stamp) = key::split(&entries[at].0);
        match table.get(row, Stamp::MAX) {
            Ok(found) => assert_eq!(found, Some((stamp, entries[at].1.clone()))),
            Err(error) => is_read_refusal(&error),
        }
    }
}

/// The same with the checksums of header, frames and footer made right, as far as these are found.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() < HEADER_BYTES + FOOTER_BYTES {
        return out;
    }
    let crc = crc32fast::hash(&out[..HEADER_BYTES - 4]);
    out[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    let footer = out.len() - FOOTER_BYTES;
    let claimed = u64::from_be_bytes(out[footer..footer + 8].try_into().unwrap());
    let end = usize::try_from(claimed).unwrap_or(0).clamp(HEADER_BYTES, footer);
    let mut at = HEADER_BYTES;
    while at + 44 <= end {
        let sealed = u32::from_be_bytes(out[at + 4..at + 8].try_into().unwrap()) as usize;
        let Some(after) = at.checked_add(sealed + 44).filter(|after| *after <= end) else { break };
        let crc = crc32fast::hash(&out[at..after - 4]);
        out[after - 4..after].copy_from_slice(&crc.to_be_bytes());
        at = after;
    }
    let crc = crc32fast::hash(&out[end..footer + 96]);
    out[footer + 96..footer + 100].copy_from_slice(&crc.to_be_bytes());
    out
}
