use super::*;
use crate::disk::{Disk, DiskFile, SimDisk};
use crate::entropy::{Entropy, Seeded};
use crate::error::Result;
use crate::ids::{ClusterId, CollectionId, Purpose, TableId};
use crate::key;
use crate::range_tombstone::RangeTombstone;
use crate::read::merge_cursor::tests::ListCursor;
use crate::read::{Cursor, OwnedSlot};
use crate::sealed::{Keyring, Sealer, SecretKey};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const ID: TableId = TableId([7; 16]);

struct OneFile(SimDisk);

impl TableFiles for OneFile {
    fn file(&self, _: TableId) -> Result<Arc<dyn DiskFile>> {
        Ok(self.0.open(Path::new("/t")).unwrap())
    }

    fn dropped(&self, _: TableId) {}
}

struct NoCache;

impl OpenedBlocks for NoCache {
    fn number_table(&self) -> u64 {
        0
    }

    fn get(&self, _: u64, _: u32) -> Option<Opened> {
        None
    }

    fn put(&self, _: u64, _: u32, _: Opened) {}
}

fn sealer(tenants: impl IntoIterator<Item = u64>) -> Arc<Sealer> {
    let keys = Keyring::new();
    let add = |owner, purpose| {
        keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([owner.id() as u8; 32])).unwrap();
        keys.activate(owner, purpose, KeyEpoch(1)).unwrap();
    };
    add(Owner::Cluster, Purpose::Mac);
    tenants.into_iter().for_each(|tenant| add(owner_of(TenantId(tenant)), Purpose::Data));
    Arc::new(Sealer::new(ClusterId([9; 16]), Arc::new(keys), Arc::new(Seeded::new(1))).unwrap())
}

type Entries = BTreeMap<Vec<u8>, OwnedSlot>;

/// A writer of the table `ID`, and the disk and sealer it writes with.
pub(super) fn begin(block_bytes: usize) -> (TableWriter, SimDisk, Arc<Sealer>) {
    let sealer = sealer(0..5);
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/")).unwrap();
    let file = disk.create(Path::new("/t")).unwrap();
    (TableWriter::create(sealer.clone(), ID, Stamp(5), file, block_bytes).unwrap(), disk, sealer)
}

pub(super) fn finish(writer: TableWriter, disk: &SimDisk, sealer: Arc<Sealer>) -> Arc<Table> {
    let meta = Arc::new(writer.finish().unwrap());
    let files = Arc::new(OneFile(disk.clone()));
    Arc::new(Table::open(sealer, files, Arc::new(NoCache), meta, "t".into()).unwrap())
}

fn write(entries: &Entries, ranges: &[RangeTombstone], block_bytes: usize) -> (Arc<Table>, SimDisk) {
    let (mut writer, disk, sealer) = begin(block_bytes);
    let mut ranges = ranges.iter().peekable();
    for (version, slot) in entries {
        while let Some(range) = ranges.next_if(|range| key::tenant_of(&range.start) < key::tenant_of(version))
        {
            writer.tombstone(range.clone()).unwrap();
        }
        writer.add(version, slot.as_slot()).unwrap();
    }
    ranges.for_each(|range| writer.tombstone(range.clone()).unwrap());
    (finish(writer, &disk, sealer), disk)
}

pub(super) fn version(tenant: u64, user: &[u8], stamp: u64) -> Vec<u8> {
    key::version(&key::row(TenantId(tenant), CollectionId(1), user), Stamp(stamp))
}

fn slot(kind: u8, length: usize) -> OwnedSlot {
    let mut value = vec![0; length];
    Seeded::new(length as u64).fill(&mut value);
    match kind {
        0 => OwnedSlot::Delete,
        _ => OwnedSlot::Put { value: value.into(), expires_ms: u64::from(kind - 1) },
    }
}

fn entries() -> impl Strategy<Value = Entries> {
    let one = (0u64..5, proptest::collection::vec(0u8..3, 0..4), 1u64..6, 0u8..3, 0usize..200);
    proptest::collection::vec(one, 0..150).prop_map(|all| {
        all.into_iter().map(|(t, user, stamp, kind, n)| (version(t, &user, stamp), slot(kind, n))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn walks_and_answers_as_a_sorted_map(
        entries in entries(),
        block_bytes in 256usize..2_000,
        moves in proptest::collection::vec((0u8..6, 0u64..6, proptest::collection::vec(0u8..3, 0..4), 0u64..7), 1..60),
    ) {
        let (table, _) = write(&entries, &[], block_bytes);
        prop_assert_eq!(table.meta().entries, entries.len() as u64);
        let verified = table.verify(&BTreeSet::new(), &mut |_| Ok(())).unwrap();
        prop_assert!(verified.found.is_empty() && verified.unjudged.is_none());
        let mut got = table.cursor(true);
        let mut want = ListCursor::new(entries.clone().into_iter().collect());
        for (what, tenant, user, stamp) in moves {
            let target = version(tenant, &user, stamp);
            match what {
                0 => { got.seek(&target).unwrap(); want.seek(&target).unwrap(); }
                1 => { got.seek_before(Some(&target)).unwrap(); want.seek_before(Some(&target)).unwrap(); }
                2 => { got.seek_before(None).unwrap(); want.seek_before(None).unwrap(); }
                3 | 4 if want.key().is_some() => { got.next().unwrap(); want.next().unwrap(); }
                5 if want.key().is_some() => { got.prev().unwrap(); want.prev().unwrap(); }
                _ => {}
            }
            prop_assert_eq!(got.key(), want.key());
            if want.key().is_some() { prop_assert_eq!(got.slot(), want.slot()); }
            let row = key::row(TenantId(tenant), CollectionId(1), &user);
            let newest = entries.range(target..).next().filter(|(found, _)| key::split(found).0 == &row[..]);
            let newest = newest.map(|(found, slot)| (key::split(found).1, slot.clone()));
            prop_assert_eq!(table.get(&row, Stamp(stamp)).unwrap(), newest);
        }
        // Whole walks both ways.
        let all: Vec<_> = entries.keys().cloned().collect();
        got.seek(&[]).unwrap();
        let mut forward = Vec::new();
        while let Some(key) = got.key() { forward.push(key.to_vec()); got.next().unwrap(); }
        prop_assert_eq!(&forward, &all);
        got.seek_before(None).unwrap();
        let mut backward = Vec::new();
        while let Some(key) = got.key() { backward.push(key.to_vec()); got.prev().unwrap(); }
        backward.reverse();
        prop_assert_eq!(&backward, &all);
    }
}

#[test]
fn range_tombstones_belong_to_their_tenant() {
    let range = |tenant: u64, a: &[u8], b: &[u8], stamp| RangeTombstone {
        start: key::row(TenantId(tenant), CollectionId(1), a),
        end: key::row(TenantId(tenant), CollectionId(1), b),
        stamp: Stamp(stamp),
    };
    let ranges = [range(1, b"a", b"c", 9), range(1, b"a", b"c", 4), range(3, b"", b"z", 7)];
    let entries = Entries::from([(version(2, b"x", 1), slot(1, 10))]);
    let (table, _) = write(&entries, &ranges, 512);
    assert_eq!(table.meta().tombstones, 3);
    let covering = |tenant: u64, user: &[u8], at: u64| {
        let row = key::row(TenantId(tenant), CollectionId(1), user);
        table.tombstones(TenantId(tenant)).unwrap().and_then(|all| all.covering(&row, Stamp(at)))
    };
    assert_eq!(covering(1, b"b", 8), Some(Stamp(4)));
    assert_eq!(covering(1, b"c", 9), None);
    assert_eq!(covering(2, b"x", 9), None);
    assert_eq!(covering(3, b"b", 9), Some(Stamp(7)));
    assert_eq!(table.all_tombstones(&BTreeSet::new()).unwrap(), ranges.map(Arc::new));
    assert!(table.meta().span.contains(&key::row(TenantId(3), CollectionId(1), b"y")));
}

#[test]
fn large_values_and_many_tenants_stand_in_one_file() {
    let mut entries = Entries::new();
    for tenant in 1..5 {
        entries.insert(version(tenant, b"small", 1), slot(1, 3));
    }
    entries.insert(version(4, b"large", 1), slot(1, 1 << 20));
    let (table, _) = write(&entries, &[], 4 << 10);
    for (version, slot) in &entries {
        let (row, stamp) = key::split(version);
        assert_eq!(table.get(row, Stamp::MAX).unwrap(), Some((stamp, slot.clone())));
    }
    assert_eq!(table.meta().stripes.len(), 4);
    let mut walk =
        table.cursor(false).within(Reach::Without(Arc::new(BTreeSet::from([Owner::Tenant(TenantId(2))]))));
    walk.seek(&[]).unwrap();
    let mut seen = Vec::new();
    while let Some(key) = walk.key() {
        seen.push(key::tenant_of(key).0);
        walk.next().unwrap();
    }
    assert_eq!(seen, [1, 3, 4, 4]);
}

#[test]
fn versions_out_of_order_are_refused() {
    let sealer = sealer([1, 2]);
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/")).unwrap();
    let file = disk.create(Path::new("/t")).unwrap();
    let mut writer = TableWriter::create(sealer, ID, Stamp(5), file, 512).unwrap();
    writer.add(&version(2, b"b", 5), slot(0, 0).as_slot()).unwrap();
    for bad in [version(2, b"b", 5), version(2, b"b", 6), version(2, b"a", 1), version(1, b"z", 1)] {
        assert!(writer.add(&bad, slot(0, 0).as_slot()).is_err());
    }
    writer.add(&version(2, b"b", 4), slot(0, 0).as_slot()).unwrap();
}
