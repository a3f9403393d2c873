//! Where the files of a snapshot arrive: what has come need not come again, and what is wrong is not kept.

use crate::rig::id;
use crate::world::{A, Node, World, at, carry, command, entry, put, rows, run};
use engine::Nature;
use engine::checkpoint::Checkpoint;
use engine::disk::{Disk, SimDisk};
use engine::entropy::{Entropy, Seeded};
use engine::ids::TableId;
use raft::machine::Machine;
use raft::machine::snapshot::Parcel;
use raft::machine::spool::{NotWanted, Spool};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One that has `flushes` tables.
fn donor(flushes: u64) -> (Node, Arc<Machine>) {
    let (node, machine) = World::new(1).founded();
    (0..flushes).for_each(|n| more(&node, &machine, n));
    (node, machine)
}

fn more(node: &Node, machine: &Machine, n: u64) {
    // What no compression makes smaller.
    let mut value = vec![0; 3_000];
    Seeded::new(n).fill(&mut value);
    let next = machine.applied().applied.unwrap().index + 1;
    node.commit(machine, next, &entry(at(n), &[command(&[put(&n.to_be_bytes(), &value)])])).unwrap();
    node.flush(machine);
}

fn checkpoint(machine: &Machine) -> (Parcel, Arc<Checkpoint>) {
    let parcel = machine.checkpoint().unwrap();
    let Parcel::Here(checkpoint, _) = &parcel else { unreachable!() };
    let checkpoint = checkpoint.clone();
    (parcel, checkpoint)
}

fn sizes(checkpoint: &Checkpoint) -> Vec<(TableId, u64)> {
    checkpoint.files().iter().map(|file| (file.id, file.bytes)).collect()
}

fn piece(checkpoint: &Checkpoint, id: TableId, from: u64, to: u64) -> Vec<u8> {
    let mut piece = vec![0; usize::try_from(to - from).unwrap()];
    checkpoint.read_file(id, from, &mut piece).unwrap();
    piece
}

fn spool(disk: &SimDisk) -> Spool {
    Spool::new(Arc::new(disk.clone()), "/spool/g".into())
}

fn names(disk: &SimDisk) -> BTreeSet<String> {
    disk.list(Path::new("/spool/g")).unwrap().into_iter().collect()
}

fn nothing() -> BTreeSet<TableId> {
    BTreeSet::new()
}

#[test]
fn a_transfer_that_was_cut_goes_on_where_it_was() {
    let (_node, machine) = donor(3);
    let (_, checkpoint) = checkpoint(&machine);
    let files = sizes(&checkpoint);
    assert!(files.len() == 3 && files.iter().all(|(_, bytes)| *bytes > 2_000));
    let disk = SimDisk::new(1);
    let offer = |spool: &Spool| spool.offer(checkpoint.listing(), &nothing()).unwrap();
    let one = spool(&disk);
    assert_eq!(offer(&one), files.iter().map(|(id, _)| (*id, 0)).collect::<Vec<_>>());
    let [(first, all), (second, _), (third, _)] = files[..] else { unreachable!() };
    one.write(first, 0, &piece(&checkpoint, first, 0, 1_000)).unwrap().unwrap();
    one.write(first, 1_000, &piece(&checkpoint, first, 1_000, all)).unwrap().unwrap();
    one.write(second, 0, &piece(&checkpoint, second, 0, 700)).unwrap().unwrap();
    one.write(second, 700, &piece(&checkpoint, second, 700, 1_500)).unwrap().unwrap();
    let unfinished = one.finish(checkpoint.listing()).unwrap_err();
    assert!(
        matches!(&unfinished, raft::Error::Engine(engine::Error::Damaged(d)) if d.nature == Nature::Missing)
    );
    // The same or another start: the first is whole, the second is in part.
    for again in [one, spool(&disk)] {
        assert_eq!(offer(&again), [(second, 1_500), (third, 0)]);
    }
    let again = spool(&disk);
    for (id, from) in offer(&again) {
        let all = files.iter().find(|file| file.0 == id).unwrap().1;
        again.write(id, from, &piece(&checkpoint, id, from, all)).unwrap().unwrap();
    }
    again.finish(checkpoint.listing()).unwrap();
    let whole: BTreeSet<String> = files.iter().map(|(id, _)| format!("{id}.dpb")).collect();
    assert_eq!(names(&disk), whole.iter().cloned().chain(["checkpoint.dpl".to_owned()]).collect());
    for (id, bytes) in &files {
        let found = &disk.files()[&PathBuf::from(format!("/spool/g/{id}.dpb"))];
        assert!(found == &piece(&checkpoint, *id, 0, *bytes));
    }
    // It is all durable.
    disk.crash();
    disk.restart();
    assert_eq!(offer(&spool(&disk)), []);
    assert_eq!(names(&disk), whole, "the listing of a transfer that ended goes when another begins");
}

#[test]
fn a_newer_listing_finds_the_files_it_shares_with_the_older() {
    let (node, machine) = donor(2);
    let (_, older) = checkpoint(&machine);
    let disk = SimDisk::new(1);
    let spool = spool(&disk);
    for (id, _) in spool.offer(older.listing(), &nothing()).unwrap() {
        let all = sizes(&older).iter().find(|file| file.0 == id).unwrap().1;
        spool.write(id, 0, &piece(&older, id, 0, all)).unwrap().unwrap();
    }
    more(&node, &machine, 5);
    let (_, newer) = checkpoint(&machine);
    let shared: BTreeSet<TableId> = sizes(&older).iter().map(|file| file.0).collect();
    let wanted = spool.offer(newer.listing(), &nothing()).unwrap();
    let fresh: Vec<TableId> =
        sizes(&newer).iter().map(|file| file.0).filter(|id| !shared.contains(id)).collect();
    assert_eq!(wanted, fresh.iter().map(|id| (*id, 0)).collect::<Vec<_>>());
    assert_eq!(fresh.len(), 1);
    // What is here in a tablet need not come either, and an empty spool wants the rest.
    let empty = Spool::new(Arc::new(SimDisk::new(2)), "/spool/g".into());
    assert_eq!(empty.offer(newer.listing(), &shared).unwrap(), wanted);
    // What no file of the listing is goes: here all of the older is merged into another table.
    machine.tablet().request_compaction();
    node.parts.pool.settle();
    let (_, merged) = checkpoint(&machine);
    assert!(sizes(&merged).iter().all(|file| !shared.contains(&file.0)));
    spool.write(fresh[0], 0, &piece(&newer, fresh[0], 0, 500)).unwrap().unwrap();
    let wanted = spool.offer(merged.listing(), &nothing()).unwrap();
    assert_eq!(wanted, sizes(&merged).iter().map(|file| (file.0, 0)).collect::<Vec<_>>());
    assert_eq!(names(&disk), BTreeSet::new());
}

#[test]
fn a_piece_that_is_not_the_next_is_not_taken() {
    let (_node, machine) = donor(2);
    let (_, checkpoint) = checkpoint(&machine);
    let disk = SimDisk::new(1);
    let spool = spool(&disk);
    let files = sizes(&checkpoint);
    let [(first, all), (second, _)] = files[..] else { unreachable!() };
    // Before anything is offered nothing is wanted.
    assert_eq!(spool.write(first, 0, b"x").unwrap(), Err(NotWanted { at: 0 }));
    spool.offer(checkpoint.listing(), &BTreeSet::from([second])).unwrap();
    spool.write(first, 0, &piece(&checkpoint, first, 0, 100)).unwrap().unwrap();
    let not_wanted = |id, at, bytes: &[u8]| spool.write(id, at, bytes).unwrap().unwrap_err().at;
    assert_eq!(not_wanted(first, 0, b"x"), 100, "again");
    assert_eq!(not_wanted(first, 99, b"x"), 100, "over what is there");
    assert_eq!(not_wanted(first, 101, b"x"), 100, "with a gap");
    assert_eq!(not_wanted(first, u64::MAX, b"x"), 100);
    assert_eq!(not_wanted(first, 100, &vec![0; usize::try_from(all).unwrap() - 99]), 100, "beyond its end");
    assert_eq!(not_wanted(second, 0, b"x"), 0, "one that is here already");
    for (id, bytes) in [(second, &b""[..]), (TableId([9; 16]), b""), (TableId([9; 16]), b"x")] {
        assert_eq!(not_wanted(id, 0, bytes), 0, "a file that is not wanted");
    }
    assert_eq!(names(&disk), BTreeSet::from([format!("{first}.dpb.part")]));
    spool.write(first, 100, b"").unwrap().unwrap();
    spool.write(first, 100, &piece(&checkpoint, first, 100, all)).unwrap().unwrap();
    // It is whole: nothing makes it anything else.
    assert_eq!(not_wanted(first, 0, b""), 0);
    assert_eq!(not_wanted(first, all, b""), 0);
    let found = &disk.files()[&PathBuf::from(format!("/spool/g/{first}.dpb"))];
    assert!(found == &piece(&checkpoint, first, 0, all));
    spool.finish(checkpoint.listing()).unwrap();
}

#[test]
fn what_is_no_listing_is_refused_and_nothing_is_touched() {
    let (_node, machine) = donor(1);
    let (_, checkpoint) = checkpoint(&machine);
    let disk = SimDisk::new(1);
    let spool = spool(&disk);
    let (id, _) = spool.offer(checkpoint.listing(), &nothing()).unwrap()[0];
    spool.write(id, 0, &piece(&checkpoint, id, 0, 100)).unwrap().unwrap();
    for cut in [0, 10, checkpoint.listing().len() - 1] {
        assert!(spool.offer(&checkpoint.listing()[..cut], &nothing()).is_err());
    }
    assert_eq!(spool.offer(checkpoint.listing(), &nothing()).unwrap(), [(id, 100)]);
    spool.clear().unwrap();
    assert_eq!(names(&disk), BTreeSet::new());
    Spool::new(Arc::new(SimDisk::new(2)), "/never".into()).clear().unwrap();
}

#[test]
fn a_file_whose_bytes_are_wrong_is_refused_by_the_install_and_thrown_away() {
    let (_donor, donated) = donor(3);
    let (parcel, checkpoint) = checkpoint(&donated);
    let files = sizes(&checkpoint);
    let world = World::new(2);
    let (node, machine) = world.founded();
    let (before, dir) = (machine.applied(), machine.spool().dir().to_owned());
    let is_empty = || world.disk.list(&dir).unwrap().is_empty();
    let tables = || world.disk.list(Path::new("/data/tables")).unwrap().len();
    type Harm = fn(&mut Vec<u8>);
    let harms: [(&str, Harm); 3] = [
        ("a bit", |bytes| bytes[1_000] ^= 1),
        ("its end", |bytes| bytes.truncate(bytes.len() - 1)),
        ("zeros", |bytes| bytes[500..2_000].fill(0)),
    ];
    for (what, harm) in harms {
        for (id, _) in &files {
            let spooled = carry(&machine, &parcel, 1_000).unwrap();
            world.disk.tamper(&dir.join(format!("{id}.dpb")), harm).unwrap();
            let error = machine.install(parcel.note().applied, spooled).unwrap_err();
            assert_eq!(error.kind(), engine::Kind::Damaged, "{what}: {error}");
            assert_eq!((machine.applied(), machine.fenced()), (before.clone(), None), "{what}");
            assert!(is_empty(), "{what}: it is still in the spool");
            node.parts.pool.settle();
            assert_eq!((node.parts.pool.tablets().len(), tables()), (1, 0), "{what}");
        }
    }
    // So is a listing that nobody of the cluster has sealed.
    let spooled = carry(&machine, &parcel, 1_000).unwrap();
    world.disk.tamper(&dir.join("checkpoint.dpl"), |bytes| bytes[60] ^= 1).unwrap();
    assert_eq!(machine.install(parcel.note().applied, spooled).unwrap_err().kind(), engine::Kind::Damaged);
    assert!(is_empty());
    // What comes right is taken, and leaves in the spool only the listing that says what came.
    let spooled = carry(&machine, &parcel, 1_000).unwrap();
    machine.install(parcel.note().applied, spooled).unwrap();
    assert_eq!(world.disk.list(&dir).unwrap(), ["installed"]);
    assert_eq!(machine.spool().listings(), [checkpoint.listing()]);
    assert_eq!((machine.applied(), rows(&machine, A)), (donated.applied(), rows(&donated, A)));
    run(machine.apply_command(id(1, 5), &entry(at(9), &[]))).unwrap();
}

#[test]
fn files_that_are_here_are_not_sent_again() {
    let (donor_node, donated) = donor(2);
    let world = World::new(2);
    let (_node, machine) = world.founded();
    crate::world::install(&machine, &checkpoint(&donated).0).unwrap();
    more(&donor_node, &donated, 7);
    let (parcel, newer) = checkpoint(&donated);
    let wanted = machine.spool().offer(newer.listing(), &machine.present()).unwrap();
    assert_eq!((newer.files().len(), wanted.len()), (3, 1));
    crate::world::install(&machine, &parcel).unwrap();
    assert_eq!(rows(&machine, A), rows(&donated, A));
    // Nor are they lost with the tablet they came in.
    drop((_node, machine));
    assert_eq!(rows(&world.reopen().1, A), rows(&donated, A));
}
