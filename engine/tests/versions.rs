//! Bytes of a later build: a version that is not known is told with the number found and those that can be read, before anything
//! else in the bytes is believed. It is never told as damage, and nothing is removed because of it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::catalog::rows::{IDENTITY, RowKey};
use engine::catalog::sealer;
use engine::checkpoint::listing::UnverifiedListing;
use engine::disk::Disk;
use engine::ids::{LogIndex, Owner, Purpose, TabletId};
use engine::key::KeyRange;
use engine::sealed::EnvelopeKind;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool};
use engine::{Error, Kind, Stamp};
use rig::{C, NODE, Rig, START_MS, T1, T2, TABLET};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const OTHER: TabletId = TabletId(2);
const COPY: TabletId = TabletId(77);
const BACKUP: &str = "/backup";
/// Versions that this build does not know: before the first one, the next one, and with each byte set.
const U8: [u8; 4] = [0, 2, 9, 0xff];
const U16: [u16; 5] = [0, 2, 9, 0x0100, 0xffff];
/// The same of a manifest edit, which has two versions.
const EDITS: [u16; 5] = [0, 3, 9, 0x0100, 0xffff];

/// A rig whose two tablets have a table each.
fn filled() -> (Rig, Arc<Pool>) {
    let rig = Rig::new(5);
    let pool = rig.open();
    let middle = T2.0.to_be_bytes().to_vec();
    let left = KeyRange { start: Vec::new(), end: Some(middle.clone()) };
    let right = KeyRange { start: middle, end: None };
    let tablets = pool.create(&[NewTablet::empty(TABLET, left), NewTablet::empty(OTHER, right)]).unwrap();
    for (tablet, tenant) in tablets.iter().zip([T1, T2]) {
        let mut batch = Batch::new(LogIndex(1));
        batch.put(tenant, C, b"key", b"value", Stamp::new(START_MS, 1), 0).unwrap();
        tablet.apply(&batch).unwrap();
        tablet.freeze();
    }
    pool.settle();
    (rig, pool)
}

/// The versions this build has.
fn supported(what: &str) -> &'static str {
    if what == "manifest edit" { "1 and 2" } else { "1" }
}

/// The words that name `found` beside them.
fn words(what: &str, found: u32) -> String {
    format!("{what} has version {found}; this build reads {}", supported(what))
}

fn assert_unsupported(error: &Error, what: &str, found: u32) {
    let Error::Unsupported { found: told, supported: here, .. } = error else {
        panic!("{what} of version {found}: {error}")
    };
    assert_eq!((*told, *here), (found, supported(what)));
    assert!(error.to_string().ends_with(&words(what, found)), "{error}");
    assert_eq!(error.kind(), Kind::Stop);
}

fn table_of(pool: &Pool, tablet: TabletId) -> PathBuf {
    let checkpoint = pool.tablet(tablet).unwrap().checkpoint().unwrap();
    let id = checkpoint.levels().tables().next().unwrap().id;
    Path::new("/pool/tables").join(format!("{id}.dpb"))
}

fn mend(bytes: &mut [u8]) {
    let (body, crc) = bytes.split_last_chunk_mut::<4>().unwrap();
    *crc = crc32fast::hash(body).to_be_bytes();
}

/// Opens the pool with `change` made to the table of one tablet: every road to it tells what `what` and `found` say.
fn refuses_table(rig: &Rig, path: &Path, what: &str, found: u32, change: impl FnOnce(&mut [u8])) {
    let clean = rig.disk.files()[path].clone();
    rig.disk.tamper(path, |bytes| change(bytes)).unwrap();
    let pool = rig.open();
    let tablet = pool.tablet(TABLET).unwrap();
    let view = tablet.view(START_MS).unwrap();
    assert_unsupported(&view.get(T1, C, b"key").unwrap_err(), what, found);
    assert_unsupported(&view.scan(&engine::tablet::view::Scan::all(T1, C), None).unwrap_err(), what, found);
    assert_eq!(tablet.damaged().len(), 1, "an operator sees which table it is");
    for with_keys in [false, true] {
        pool.request_scrub(with_keys);
        pool.settle();
        let report = pool.scrub_report();
        assert!(report.is_done && report.findings.is_empty(), "it is no damage: {report:?}");
        let told: Vec<_> = report.unjudged.into_values().collect();
        assert!(told.len() == 1 && told[0].ends_with(&words(what, found)), "{told:?}");
        assert!(told[0].starts_with("tables/"), "and where: {told:?}");
    }
    tablet.request_compaction();
    pool.settle();
    assert!(rig.disk.files().contains_key(path), "a later build can still read it");
    let other = pool.tablet(OTHER).unwrap().view(START_MS).unwrap();
    assert!(other.get(T2, C, b"key").unwrap().is_some(), "its neighbours are served");
    drop((view, tablet, other));
    pool.close();
    rig.disk.tamper(path, |bytes| *bytes = clean).unwrap();
}

#[test]
fn a_table_of_another_version_or_suite() {
    let (rig, pool) = filled();
    let path = table_of(&pool, TABLET);
    drop(pool);
    for found in U16 {
        refuses_table(&rig, &path, "block file", u32::from(found), |bytes| {
            bytes[4..6].copy_from_slice(&found.to_be_bytes());
            mend(&mut bytes[..96]);
        });
    }
    for found in U8 {
        refuses_table(&rig, &path, "cipher suite of a block file", u32::from(found), |bytes| {
            bytes[6] = found;
            mend(&mut bytes[..96]);
        });
    }
    // A later version may end in another way: its footer is not looked at.
    refuses_table(&rig, &path, "block file", 2, |bytes| {
        bytes[5] = 2;
        mend(&mut bytes[..96]);
        *bytes.last_mut().unwrap() ^= 0xff;
    });
    let view = rig.open().tablet(TABLET).unwrap().view(START_MS).unwrap();
    assert!(view.get(T1, C, b"key").unwrap().is_some(), "the control");
}

#[test]
fn an_identity_row_in_an_envelope_of_another_version_or_suite() {
    let (rig, pool) = filled();
    drop(pool);
    let identity = RowKey::NodeLocal { name: IDENTITY }.encode();
    let clean = rig.catalog.all()[&identity].clone();
    for found in U8 {
        for (at, what) in [(0, "envelope"), (1, "cipher suite of an envelope")] {
            rig.catalog.tamper(&identity, |bytes| bytes[at] = found);
            let error = rig.try_open().err().unwrap();
            assert_unsupported(&error, what, u32::from(found));
            rig.catalog.tamper(&identity, |bytes| bytes.clone_from(&clean));
        }
    }
    assert_eq!(rig.open().tablets().len(), 2, "the control");
}

/// Opens the pool with the row `key` changed: its tablet cannot be read and says why, the other one is served.
fn refuses_row(rig: &Rig, key: &[u8], value: &[u8], what: &str, found: u32) {
    let clean = rig.catalog.all()[key].clone();
    rig.catalog.tamper(key, |bytes| *bytes = value.to_vec());
    let files = rig.disk.files().len();
    let pool = rig.open();
    let unreadable = pool.unreadable();
    assert_eq!(unreadable.keys().collect::<Vec<_>>(), [&TABLET], "only the tablet whose manifest it is");
    let told = &unreadable[&TABLET];
    assert!(
        told.ends_with(&words(what, found)) && told.len() > words(what, found).len(),
        "and where: {told}"
    );
    let refused = pool.tablet(TABLET).err().unwrap();
    assert!(refused.to_string().contains(&words(what, found)), "{refused}");
    assert_eq!(refused.kind(), Kind::Stop);
    pool.settle();
    assert_eq!(rig.disk.files().len(), files, "nothing is removed while a manifest cannot be read");
    let other = pool.tablet(OTHER).unwrap().view(START_MS).unwrap();
    assert!(other.get(T2, C, b"key").unwrap().is_some());
    rig.catalog.tamper(key, |bytes| *bytes = clean);
}

#[test]
fn an_edit_in_an_envelope_of_another_version_or_suite() {
    let (rig, pool) = filled();
    drop(pool);
    let rows: Vec<_> = rig.catalog.all().into_iter().collect();
    let edits = rows.iter().filter(|(key, _)| key.starts_with(&RowKey::manifest_edits_of(TABLET)));
    let mut edits_seen = 0;
    for (key, clean) in edits {
        edits_seen += 1;
        for found in U8 {
            for (at, what) in [(0, "envelope"), (1, "cipher suite of an envelope")] {
                let mut value = clean.clone();
                value[at] = found;
                refuses_row(&rig, key, &value, what, u32::from(found));
            }
        }
    }
    assert!(edits_seen >= 2, "{edits_seen} edits");
    assert!(rig.open().unreadable().is_empty(), "the control");
}

#[test]
fn an_edit_of_another_version_inside_its_seal() {
    let (rig, pool) = filled();
    drop(pool);
    let sealer = rig.sealer();
    let key = RowKey::ManifestEdit { tablet: TABLET, sequence: 1 }.encode();
    let clean = rig.catalog.all()[&key].clone();
    let edit = sealer::open_row(&sealer, NODE, &key, 1, &[0; 16], &clean).unwrap();
    for found in EDITS {
        let mut plain = edit.to_vec();
        plain[..2].copy_from_slice(&found.to_be_bytes());
        let value = sealer::seal_row(&sealer, NODE, &key, 1, &[0; 16], &plain).unwrap();
        refuses_row(&rig, &key, &value, "manifest edit", u32::from(found));
    }
    assert!(rig.open().unreadable().is_empty(), "the control");
}

/// Where the sealed part of a listing begins.
fn sealed_at(listing: &[u8]) -> usize {
    let files = UnverifiedListing::decode(listing).unwrap().files;
    52 + files.iter().map(|file| 64 + 32 * file.stripes.len()).sum::<usize>() + 4
}

/// The listing with its picture sealed anew, as version `found` of an edit.
fn with_picture(rig: &Rig, listing: &[u8], found: u16) -> Vec<u8> {
    let sealer = rig.sealer();
    let at = sealed_at(listing);
    let (clear, sealed) = (&listing[..at - 4], &listing[at..listing.len() - 4]);
    let (owner, purpose, kind) = (Owner::Cluster, Purpose::Meta, EnvelopeKind::CheckpointState);
    let mut picture = sealer.open_envelope(owner, purpose, kind, clear, sealed).unwrap().to_vec();
    picture[..2].copy_from_slice(&found.to_be_bytes());
    let sealed = sealer.seal_envelope(owner, purpose, kind, clear, &picture).unwrap();
    let length = u32::try_from(sealed.len()).unwrap().to_be_bytes();
    let mut forged = [clear, &length, &sealed, &[0; 4]].concat();
    mend(&mut forged);
    forged
}

/// A name, the version set, and the listing that has it.
fn forged_listings(rig: &Rig, listing: &[u8]) -> Vec<(&'static str, u32, Vec<u8>)> {
    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut forged = listing.to_vec();
        change(&mut forged);
        mend(&mut forged);
        forged
    };
    let sealed = sealed_at(listing);
    let mut all = Vec::new();
    for found in U16 {
        let forged = changed(&|bytes| bytes[4..6].copy_from_slice(&found.to_be_bytes()));
        all.push(("checkpoint listing", u32::from(found), forged));
    }
    for found in EDITS {
        all.push(("manifest edit", u32::from(found), with_picture(rig, listing, found)));
    }
    for found in U8 {
        all.push(("envelope", u32::from(found), changed(&|bytes| bytes[sealed] = found)));
        let suite = changed(&|bytes| bytes[sealed + 1] = found);
        all.push(("cipher suite of an envelope", u32::from(found), suite));
    }
    all
}

/// The pool is as it was: no tablet and no file came.
fn assert_absent(rig: &Rig, pool: &Pool, files: usize) {
    assert!(matches!(pool.tablet(COPY), Err(Error::NoSuchTablet(COPY))));
    pool.settle();
    assert_eq!(rig.disk.files().len(), files);
}

#[test]
fn a_listing_of_another_version_in_a_folder_and_in_a_stream() {
    let (rig, pool) = filled();
    let checkpoint = pool.tablet(TABLET).unwrap().checkpoint().unwrap();
    checkpoint.export_to_dir(&rig.disk, Path::new(BACKUP)).unwrap();
    let mut stream = Vec::new();
    checkpoint.export_to_stream(&mut stream, &BTreeSet::new()).unwrap();
    let listing = checkpoint.listing().to_vec();
    let rest = &stream[12 + listing.len()..];
    let path = Path::new(BACKUP).join("checkpoint.dpl");
    let files = rig.disk.files().len();
    for (what, found, forged) in forged_listings(&rig, &listing) {
        let decoded = UnverifiedListing::decode(&forged).and_then(|listing| listing.verify(&rig.sealer()));
        assert_unsupported(&decoded.err().unwrap(), what, found);
        rig.disk.remove(&path).unwrap();
        rig.disk.create(&path).unwrap().write_all_at(&forged, 0).unwrap();
        let from_dir = pool.import_from_dir(&rig.disk, Path::new(BACKUP), COPY);
        assert_unsupported(&from_dir.err().unwrap(), what, found);
        let length = u32::try_from(forged.len()).unwrap().to_be_bytes();
        let longer = [&stream[..8], &length, &forged, rest].concat();
        let from_stream = pool.import_from_stream(&mut &longer[..], COPY);
        assert_unsupported(&from_stream.err().unwrap(), what, found);
        assert_absent(&rig, &pool, files);
    }
    // The control: sealed anew as the version that it has.
    let same = with_picture(&rig, &listing, 1);
    let length = u32::try_from(same.len()).unwrap().to_be_bytes();
    let again = [&stream[..8], &length, &same, rest].concat();
    pool.import_from_stream(&mut &again[..], COPY).unwrap();
}

#[test]
fn a_stream_of_another_version() {
    let (rig, pool) = filled();
    let mut stream = Vec::new();
    let checkpoint = pool.tablet(TABLET).unwrap().checkpoint().unwrap();
    checkpoint.export_to_stream(&mut stream, &BTreeSet::new()).unwrap();
    let files = rig.disk.files().len();
    for found in U16 {
        let mut forged = stream.clone();
        forged[4..6].copy_from_slice(&found.to_be_bytes());
        // The head alone is enough to tell: what follows may be anything.
        for bytes in [&forged[..], &forged[..12]] {
            let error = pool.import_from_stream(&mut &bytes[..], COPY).err().unwrap();
            assert_unsupported(&error, "checkpoint stream", u32::from(found));
            assert_absent(&rig, &pool, files);
        }
    }
    pool.import_from_stream(&mut &stream[..], COPY).unwrap();
}

#[test]
fn a_batch_of_another_version() {
    let mut batch = Batch::new(LogIndex(1));
    batch.put(T1, C, b"key", b"value", Stamp::new(START_MS, 1), 0).unwrap();
    let clean = batch.encode();
    for found in U16 {
        let mut forged = clean.clone();
        forged[..2].copy_from_slice(&found.to_be_bytes());
        for bytes in [&forged[..], &forged[..2]] {
            assert_unsupported(&Batch::decode(bytes).unwrap_err(), "batch", u32::from(found));
        }
    }
    Batch::decode(&clean).unwrap();
}
