//! Splices: tables put together from whole frames in another order, from the beginning of one and the end of another, or cut at
//! any byte. Each is noticed, and no read ever answers with anything but what was written.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::{Error, Nature};
use rig::Rig;
use rig::tables::{KEYS, filled, frames, read_all, scrub, tables};
use std::path::Path;

const FOOTER_BYTES: usize = 104;

/// What a table that was changed could still say.
#[derive(Default, Debug)]
struct Seen {
    spliced: usize,
    /// Those that were opened: their ends are as they were.
    opened: usize,
    /// Those of which a read told, and not only a scrub.
    read: usize,
}

impl Seen {
    /// Puts `forged` in the place of the table at `path`: reads are right or refused, a scrub without keys and one with keys
    /// find it. What comes out as it was is passed over.
    fn look(&mut self, rig: &Rig, path: &Path, forged: &[u8], keys: usize, what: &str) {
        let clean = rig.disk.files()[path].clone();
        if forged == clean {
            return;
        }
        rig.disk.tamper(path, |bytes| *bytes = forged.to_vec()).unwrap();
        let pool = rig.open();
        let name = path.file_name().unwrap().to_str().unwrap();
        let tablet = pool.tablet(rig::TABLET).unwrap();
        let is_shut = !tablet.damaged().is_empty();
        let errors = read_all(&pool, keys);
        for error in &errors {
            let Error::Damaged(damage) = error else { panic!("{what}: {error}") };
            assert!(damage.place.contains(name), "{what}: {damage}");
            assert_ne!(damage.nature, Nature::Malformed, "{what}: told as a writer's bug: {damage}");
        }
        assert!(!is_shut || !errors.is_empty(), "{what}: a table that is shut answers nothing");
        for with_keys in [false, true] {
            let report = scrub(&pool, with_keys);
            assert!(report.findings_count > 0, "{what}: keys {with_keys}: a scrub finds nothing");
            assert!(report.findings.iter().all(|damage| damage.place.contains(name)), "{what}");
            assert!(report.unjudged.is_empty(), "{what}: {:?}", report.unjudged);
        }
        self.spliced += 1;
        self.opened += usize::from(!is_shut);
        self.read += usize::from(!errors.is_empty());
        drop(tablet);
        pool.close();
        rig.disk.tamper(path, |bytes| *bytes = clean).unwrap();
    }
}

fn control(rig: &Rig, keys: usize) {
    let pool = rig.open();
    assert!(read_all(&pool, keys).is_empty(), "the control");
    assert_eq!(scrub(&pool, true).findings_count, 0, "the control");
}

/// Header, frames, and directory with footer of a table.
fn parts(bytes: &[u8]) -> (&[u8], Vec<&[u8]>, &[u8]) {
    let frames = frames(bytes);
    let (last, n) = *frames.last().unwrap();
    (&bytes[..96], frames.iter().map(|(at, n)| &bytes[*at..at + n]).collect(), &bytes[last + n..])
}

/// The footer's own numbers and checksum made to fit the bytes before it, as far as that goes without a key.
fn mended(mut bytes: Vec<u8>, tail_bytes: usize) -> Vec<u8> {
    let (length, directory) = (bytes.len(), bytes.len() - tail_bytes);
    let footer = length - FOOTER_BYTES;
    bytes[footer..footer + 8].copy_from_slice(&(directory as u64).to_be_bytes());
    bytes[footer + 8..footer + 16].copy_from_slice(&(length as u64).to_be_bytes());
    let crc = crc32fast::hash(&bytes[directory..length - 8]);
    bytes[length - 8..length - 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// `frames` between the ends of `clean`: in a file as long as they make it, the same with the footer mended, and in a file of
/// the old length whose ends stand where they stood, filled with zeros or cut before the directory.
fn joined(clean: &[u8], frames: &[&[u8]]) -> [Vec<u8>; 3] {
    let (header, _, tail) = parts(clean);
    let body = frames.concat();
    let free = [header, &body, tail].concat();
    let mut filled = body;
    filled.resize(clean.len() - header.len() - tail.len(), 0);
    [free.clone(), mended(free, tail.len()), [header, &filled, tail].concat()]
}

fn look_joined(seen: &mut Seen, rig: &Rig, (path, clean): (&Path, &[u8]), frames: &[&[u8]], what: &str) {
    for (way, forged) in joined(clean, frames).into_iter().enumerate() {
        seen.look(rig, path, &forged, KEYS * 2, &format!("{what}, way {way}"));
    }
}

#[test]
fn a_frame_removed() {
    let rig = filled(2, 256);
    let mut seen = Seen::default();
    for (path, clean) in tables(&rig) {
        let all = parts(&clean).1;
        for gone in 0..all.len() {
            let mut left = all.clone();
            left.remove(gone);
            look_joined(&mut seen, &rig, (&path, &clean), &left, &format!("frame {gone} removed"));
        }
    }
    assert!(seen.spliced > 50 && seen.opened > 15 && seen.read > 50, "{seen:?}");
    control(&rig, KEYS * 2);
}

#[test]
fn a_frame_repeated_or_moved_to_any_place() {
    let rig = filled(2, 256);
    let mut seen = Seen::default();
    for (path, clean) in tables(&rig) {
        let all = parts(&clean).1;
        for from in 0..all.len() {
            for to in 0..=all.len() {
                let mut more = all.clone();
                more.insert(to, all[from]);
                let what = format!("frame {from} again at {to}");
                look_joined(&mut seen, &rig, (&path, &clean), &more, &what);
                if to < from {
                    more.remove(from + 1);
                    let what = format!("frame {from} moved to {to}");
                    look_joined(&mut seen, &rig, (&path, &clean), &more, &what);
                }
            }
        }
    }
    assert!(seen.spliced > 900 && seen.opened > 300 && seen.read > 900, "{seen:?}");
    control(&rig, KEYS * 2);
}

#[test]
fn a_frame_of_another_table_inserted() {
    let rig = filled(2, 256);
    let all: Vec<_> = tables(&rig).into_iter().collect();
    let [(path, clean), (_, other)] = &all[..] else { panic!("two tables") };
    let (here, there) = (parts(clean).1, parts(other).1);
    let mut seen = Seen::default();
    for (number, foreign) in there.iter().enumerate() {
        for at in 0..=here.len() {
            let mut more = here.clone();
            more.insert(at, foreign);
            let what = format!("frame {number} of another table at {at}");
            look_joined(&mut seen, &rig, (path, clean), &more, &what);
        }
    }
    assert!(seen.spliced > 100 && seen.opened > 30 && seen.read > 100, "{seen:?}");
    control(&rig, KEYS * 2);
}

#[test]
fn the_head_of_one_table_and_the_tail_of_another() {
    let rig = filled(2, 256);
    let all: Vec<_> = tables(&rig).into_iter().collect();
    let mut seen = Seen::default();
    for (path, clean, other) in [(&all[0].0, &all[0].1, &all[1].1), (&all[1].0, &all[1].1, &all[0].1)] {
        let cuts = |bytes: &[u8]| frames(bytes).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        // At every pair of borders between frames: a file of whole frames, and so with a footer that fits.
        let (tail, other_tail) = (parts(clean).2, parts(other).2);
        for at in cuts(clean).into_iter().chain([clean.len() - tail.len(), clean.len() - FOOTER_BYTES]) {
            for from in cuts(other).into_iter().chain([other.len() - other_tail.len()]) {
                let forged = [&clean[..at], &other[from..]].concat();
                let what = format!("up to {at}, then from {from}");
                seen.look(&rig, path, &forged, KEYS * 2, &what);
                let fitting = mended(forged, other_tail.len());
                seen.look(&rig, path, &fitting, KEYS * 2, &format!("{what}, mended"));
            }
        }
        // At any byte, in a file of the length that the manifest tells; also with the ends that belong there.
        for at in (1..clean.len().min(other.len())).step_by(5) {
            let forged = [&clean[..at], &other[other.len().saturating_sub(clean.len() - at)..]].concat();
            seen.look(&rig, path, &forged, KEYS * 2, &format!("cut at {at}, counted from the end"));
            let end = clean.len() - tail.len();
            if at > 96 && at < end.min(other.len()) {
                let middle = &other[at..end.min(other.len())];
                let forged = [&clean[..at], middle, &clean[at + middle.len()..]].concat();
                seen.look(&rig, path, &forged, KEYS * 2, &format!("another middle from {at}"));
            }
        }
    }
    assert!(seen.spliced > 1_000 && seen.opened > 200 && seen.read > 1_000, "{seen:?}");
    control(&rig, KEYS * 2);
}

#[test]
fn a_table_cut_at_every_byte() {
    let rig = filled(1, 256);
    let (path, clean) = tables(&rig).pop_first().unwrap();
    for length in 0..clean.len() {
        rig.disk.tamper(&path, |bytes| bytes.truncate(length)).unwrap();
        let pool = rig.open();
        let errors = read_all(&pool, KEYS);
        assert_eq!(errors.len(), (KEYS + 1) * 2, "cut to {length}: every read is refused");
        for error in errors {
            let Error::Damaged(damage) = &error else { panic!("cut to {length}: {error}") };
            assert_eq!(damage.nature, Nature::Missing, "cut to {length}: {damage}");
        }
        for with_keys in [false, true] {
            let report = scrub(&pool, with_keys);
            assert!(report.findings_count > 0 && report.unjudged.is_empty(), "cut to {length}: {report:?}");
        }
        pool.close();
        rig.disk.tamper(&path, |bytes| bytes.clone_from(&clean)).unwrap();
    }
    control(&rig, KEYS);
}

#[test]
fn a_table_with_anything_behind_its_end() {
    let rig = filled(1, 256);
    let (path, clean) = tables(&rig).pop_first().unwrap();
    let mut seen = Seen::default();
    let frame = parts(&clean).1[0];
    for more in [&[0][..], &[0; 512], &clean[clean.len() - FOOTER_BYTES..], frame, &clean] {
        seen.look(&rig, &path, &[&clean[..], more].concat(), KEYS, &format!("{} bytes more", more.len()));
    }
    assert_eq!((seen.opened, seen.read), (0, 5));
    control(&rig, KEYS);
}
