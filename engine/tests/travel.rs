//! Checkpoints leave and arrive: to folders and streams, verified on the way, without what is there already, and never half.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::checkpoint::listing::UnverifiedListing;
use engine::disk::sim::Faults;
use engine::disk::{Disk, SimDisk};
use engine::ids::{LogIndex, Owner, TableId, TabletId};
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::Scan;
use engine::{Error, Kind, Nature, Stamp};
use rig::{C, Dice, Rig, START_MS, T1, T2, TABLET};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const COPY: TabletId = TabletId(77);
const BACKUP: &str = "/backup";

type Rows = Vec<(Vec<u8>, Stamp, Vec<u8>)>;

fn rows(tablet: &Arc<Tablet>) -> [Rows; 2] {
    let view = tablet.view(START_MS).unwrap();
    [T1, T2].map(|tenant| {
        let page = view.scan(&Scan::all(tenant, C), None).unwrap();
        page.entries.into_iter().map(|e| (e.key, e.found.stamp, e.found.value.to_vec())).collect()
    })
}

fn fill(pool: &Pool, tablet: &Tablet, batches: u64) {
    let dice = Dice::new(tablet.applied().index.0);
    for _ in 0..batches {
        let index = tablet.applied().index.0 + 1;
        let mut batch = Batch::new(LogIndex(index));
        let stamp = Stamp::new(START_MS + index, 0);
        let key = format!("key{index:03}").into_bytes();
        batch.put(T1, C, &key, &dice.bytes(300), stamp, 0).unwrap();
        batch.put(T2, C, &key, &dice.bytes(300), stamp, 0).unwrap();
        batch.delete_range(T1, C, &key, Some(&[&key[..], b"~"].concat()), stamp).unwrap();
        batch.set_note(b"a note for the layer above").unwrap();
        tablet.apply(&batch).unwrap();
        pool.step();
    }
    tablet.freeze();
    pool.settle();
}

/// A rig with a tablet of some tables.
fn filled(seed: u64) -> (Rig, Arc<Pool>, Arc<Tablet>) {
    let rig = Rig::new(seed);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    fill(&pool, &tablet, 40);
    (rig, pool, tablet)
}

/// Another node of the same cluster.
fn other_node() -> (Rig, Arc<Pool>) {
    let rig = Rig::new(99);
    let pool = rig.open();
    (rig, pool)
}

fn exported(tablet: &Tablet, present: &BTreeSet<TableId>) -> Vec<u8> {
    let mut stream = Vec::new();
    tablet.checkpoint().unwrap().export_to_stream(&mut stream, present).unwrap();
    stream
}

#[test]
fn a_checkpoint_tells_its_files_and_position_without_a_key() {
    let (_rig, _pool, tablet) = filled(1);
    let checkpoint = tablet.checkpoint().unwrap();
    let listing = UnverifiedListing::decode(checkpoint.listing()).unwrap();
    assert_eq!((listing.tablet, listing.index), (TABLET, tablet.durable().index));
    assert_eq!(listing.stamp, tablet.durable().stamp);
    assert_eq!(listing.files.len(), checkpoint.levels().tables().count());
    assert_eq!(listing.files.iter().map(|file| file.bytes).sum::<u64>(), checkpoint.bytes());
    let owners: BTreeSet<Owner> =
        listing.files.iter().flat_map(|file| &file.stripes).map(|stripe| stripe.owner).collect();
    assert_eq!(owners, BTreeSet::from([Owner::Tenant(T1), Owner::Tenant(T2)]));
}

#[test]
fn a_folder_and_a_stream_bring_the_same_tablet_elsewhere() {
    let (rig, _pool, tablet) = filled(2);
    let (want, durable) = (rows(&tablet), tablet.durable());
    let checkpoint = tablet.checkpoint().unwrap();
    let bytes = checkpoint.export_to_dir(&rig.disk, Path::new(BACKUP)).unwrap();
    assert_eq!(bytes, checkpoint.bytes());
    assert_eq!(checkpoint.export_to_dir(&rig.disk, Path::new(BACKUP)).unwrap(), 0, "nothing twice");
    let stream = exported(&tablet, &BTreeSet::new());
    let (there, pool) = other_node();
    // No tenant's key is needed to move files, only to read them.
    there.keys.forget_owner(Owner::Tenant(T1));
    let from_dir = pool.import_from_dir(&rig.disk, Path::new(BACKUP), COPY).unwrap();
    assert_eq!((from_dir.copied_bytes, from_dir.skipped_files), (bytes, 0));
    let from_stream = pool.import_from_stream(&mut &stream[..], TabletId(78)).unwrap();
    assert_eq!(from_stream.copied_bytes, 0, "every file is there from the first import");
    rig::add_key(&there.keys, Owner::Tenant(T1), engine::ids::Purpose::Data, 1);
    for tablet in [from_dir.tablet, from_stream.tablet] {
        assert_eq!(rows(&tablet), want);
        assert_eq!(tablet.durable(), durable, "the note is there too");
    }
    drop(pool);
    there.disk.crash();
    there.disk.restart();
    let pool = there.open();
    assert_eq!(rows(&pool.tablet(COPY).unwrap()), want, "what an import has returned is durable");
}

#[test]
fn only_what_is_missing_travels() {
    let (_rig, pool, tablet) = filled(3);
    let (there, receiver) = other_node();
    let first = exported(&tablet, &BTreeSet::new());
    receiver.import_from_stream(&mut &first[..], COPY).unwrap();
    fill(&pool, &tablet, 2);
    let second = exported(&tablet, &receiver.tables_present());
    assert!(second.len() < first.len() / 2, "{} of {} bytes", second.len(), first.len());
    let imported = receiver.import_from_stream(&mut &second[..], TabletId(78)).unwrap();
    assert!(imported.skipped_files > 0 && imported.copied_bytes > 0);
    assert_eq!(rows(&imported.tablet), rows(&tablet));
    // Shared files stay while either needs them.
    receiver.drop_tablet(COPY).unwrap();
    receiver.settle();
    assert_eq!(rows(&imported.tablet), rows(&tablet));
    receiver.drop_tablet(TabletId(78)).unwrap();
    drop(imported);
    receiver.settle();
    let left = there.disk.files().keys().filter(|path| path.starts_with("/pool/tables")).count();
    assert_eq!(left, 0);
}

#[test]
fn a_checkpoint_pins_its_files() {
    let (rig, pool, tablet) = filled(4);
    let checkpoint = tablet.checkpoint().unwrap();
    let want = rows(&tablet);
    fill(&pool, &tablet, 30);
    tablet.request_compaction();
    pool.settle();
    pool.drop_tablet(TABLET).unwrap();
    pool.settle();
    checkpoint.export_to_dir(&rig.disk, Path::new(BACKUP)).unwrap();
    let imported = pool.import_from_dir(&rig.disk, Path::new(BACKUP), COPY).unwrap();
    assert_eq!(rows(&imported.tablet), want);
    drop((checkpoint, tablet));
    pool.settle();
    let named = imported.tablet.checkpoint().unwrap().levels().tables().count();
    assert_eq!(rig.disk.files().keys().filter(|path| path.starts_with("/pool/tables")).count(), named);
}

/// Nothing of a refused import stays, and a good one works afterwards.
fn refused(
    receiver: &(Rig, Arc<Pool>),
    result: engine::Result<engine::checkpoint::import::Imported>,
) -> Error {
    let error = result.err().unwrap();
    let (rig, pool) = receiver;
    assert!(pool.tablet(COPY).is_err() && pool.tablets().is_empty(), "{error}");
    pool.settle();
    let left = rig.disk.files().keys().filter(|path| path.starts_with("/pool/tables")).count();
    assert_eq!(left, 0, "{error}");
    error
}

#[test]
fn every_cut_of_a_stream_is_refused_and_every_changed_byte() {
    let (_rig, _pool, tablet) = filled(5);
    let stream = exported(&tablet, &BTreeSet::new());
    let receiver = other_node();
    for cut in (0..stream.len()).step_by(37).chain([stream.len() - 1]) {
        let error = refused(&receiver, receiver.1.import_from_stream(&mut &stream[..cut], COPY));
        let Error::Damaged(damage) = &error else { panic!("{error}") };
        assert_eq!(damage.nature, Nature::Missing, "cut at {cut}: {damage}");
    }
    for at in (0..stream.len()).step_by(23) {
        let mut forged = stream.clone();
        forged[at] ^= 0x10;
        let error = refused(&receiver, receiver.1.import_from_stream(&mut &forged[..], COPY));
        assert!(matches!(error.kind(), Kind::Damaged | Kind::Stop | Kind::Invalid), "byte {at}: {error}");
    }
    let mut longer = stream.clone();
    *longer.last_mut().unwrap() = 9;
    refused(&receiver, receiver.1.import_from_stream(&mut &longer[..], COPY));
    let imported = receiver.1.import_from_stream(&mut stream.chain(&[][..]), COPY).unwrap();
    assert_eq!(rows(&imported.tablet), rows(&tablet));
}

#[test]
fn a_changed_folder_is_refused_by_the_name_of_the_file() {
    let (rig, _pool, tablet) = filled(6);
    tablet.checkpoint().unwrap().export_to_dir(&rig.disk, Path::new(BACKUP)).unwrap();
    let receiver = other_node();
    let files: Vec<PathBuf> =
        rig.disk.files().keys().filter(|path| path.starts_with(BACKUP)).cloned().collect();
    assert!(files.len() > 3);
    for path in files {
        let clean = rig.disk.files()[&path].clone();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for change in [
            (|bytes: &mut Vec<u8>| bytes[200] ^= 1) as fn(&mut Vec<u8>),
            |bytes| bytes.truncate(bytes.len() - 1),
            |bytes| bytes.push(0),
        ] {
            rig.disk.tamper(&path, change).unwrap();
            let import = receiver.1.import_from_dir(&rig.disk, Path::new(BACKUP), COPY);
            let error = refused(&receiver, import).to_string();
            assert!(error.contains(&name), "{name}: {error}");
            rig.disk.tamper(&path, |bytes| bytes.clone_from(&clean)).unwrap();
        }
        rig.disk.remove(&path).unwrap();
        let error = refused(&receiver, receiver.1.import_from_dir(&rig.disk, Path::new(BACKUP), COPY));
        assert!(error.to_string().contains(&name), "{error}");
        rig.disk.create(&path).unwrap().write_all_at(&clean, 0).unwrap();
    }
    receiver.1.import_from_dir(&rig.disk, Path::new(BACKUP), COPY).unwrap();
}

#[test]
fn an_unknown_version_is_named_with_those_that_are_known() {
    let (_rig, _pool, tablet) = filled(7);
    let mut stream = exported(&tablet, &BTreeSet::new());
    let receiver = other_node();
    stream[5] = 9;
    let error = refused(&receiver, receiver.1.import_from_stream(&mut &stream[..], COPY));
    let Error::Unsupported { found: 9, supported: "1", .. } = &error else { panic!("{error}") };
    assert_eq!(error.to_string(), "checkpoint stream has version 9; this build reads 1");
}

#[test]
fn an_export_that_a_crash_cuts_short_is_finished_by_the_next() {
    let (rig, pool, tablet) = filled(8);
    let want = rows(&tablet);
    let backup = SimDisk::new(12);
    tablet.checkpoint().unwrap().export_to_dir(&backup, Path::new(BACKUP)).unwrap();
    let operations = backup.operations();
    for operation in 1..=operations {
        let backup = SimDisk::new(operation);
        backup.set_faults(Faults { crash_at: Some(operation), ..Faults::default() });
        assert!(tablet.checkpoint().unwrap().export_to_dir(&backup, Path::new(BACKUP)).is_err());
        backup.restart();
        // A folder with a listing is whole, whatever the crash left.
        if backup.files().contains_key(Path::new("/backup/checkpoint.dpl")) {
            pool.import_from_dir(&backup, Path::new(BACKUP), COPY).unwrap();
            pool.drop_tablet(COPY).unwrap();
        }
        tablet.checkpoint().unwrap().export_to_dir(&backup, Path::new(BACKUP)).unwrap();
        backup.crash();
        backup.restart();
        let (_there, receiver) = other_node();
        let imported = receiver.import_from_dir(&backup, Path::new(BACKUP), COPY).unwrap();
        assert_eq!(rows(&imported.tablet), want, "crash at operation {operation}");
    }
    drop((rig, pool));
}

#[test]
fn an_import_that_a_crash_cuts_short_is_whole_or_absent_and_can_be_repeated() {
    let (_rig, _pool, tablet) = filled(9);
    let (want, stream) = (rows(&tablet), exported(&tablet, &BTreeSet::new()));
    let (there, receiver) = other_node();
    let before = there.disk.operations();
    receiver.import_from_stream(&mut &stream[..], COPY).unwrap();
    let operations = there.disk.operations() - before;
    for operation in 1..=operations {
        let (there, receiver) = other_node();
        let crash_at = Some(there.disk.operations() + operation);
        there.disk.set_faults(Faults { crash_at, ..Faults::default() });
        assert!(receiver.import_from_stream(&mut &stream[..], COPY).is_err());
        drop(receiver);
        there.disk.restart();
        let receiver = there.open();
        assert_eq!(receiver.unreadable().len(), 0);
        if receiver.tablet(COPY).is_err() {
            receiver.import_from_stream(&mut &stream[..], COPY).unwrap();
        }
        assert_eq!(rows(&receiver.tablet(COPY).unwrap()), want, "crash at operation {operation}");
        receiver.settle();
        assert_eq!(rows(&receiver.tablet(COPY).unwrap()), want, "crash at operation {operation}");
    }
}

#[test]
fn another_clusters_checkpoint_is_refused() {
    let (rig, _pool, tablet) = filled(10);
    tablet.checkpoint().unwrap().export_to_dir(&rig.disk, Path::new(BACKUP)).unwrap();
    let listing = rig.disk.files()[Path::new("/backup/checkpoint.dpl")].clone();
    let sealer = engine::sealed::Sealer::new(
        engine::ids::ClusterId([0xdd; 16]),
        rig.keys.clone(),
        rig.entropy.clone(),
    )
    .unwrap();
    let error = UnverifiedListing::decode(&listing).unwrap().verify(&sealer).unwrap_err();
    assert!(matches!(&error, Error::Damaged(damage) if damage.nature == Nature::WrongPlace), "{error}");
}
