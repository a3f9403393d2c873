//! A whole pool, as a disk and a catalog keep it: two tablets, tables on two levels, history, two epochs of a key. Today's code
//! opens it, reads all of it, and goes on with it.

use super::stored;
use super::world::{self, C, CLUSTER, NEXT, NOW_MS, T1, T2, join, keyring, open_pool, split};
use engine::Stamp;
use engine::catalog::{Catalog, Change, MemoryCatalog};
use engine::compaction::retention::Policy;
use engine::disk::{Disk, SimDisk};
use engine::entropy::Seeded;
use engine::ids::{KeyEpoch, LogIndex, Owner, Purpose, TabletId, TenantId};
use engine::key::KeyRange;
use engine::sealed::Sealer;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::{Scan, View};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const FIRST: TabletId = TabletId(1);
const SECOND: TabletId = TabletId(2);
const ROUNDS: u64 = 7;

/// What a tenant's reader sees: value, stamp and expiry by key.
type Rows = BTreeMap<Vec<u8>, (Vec<u8>, Stamp, u64)>;

fn stamp(round: u64, counter: u16) -> Stamp {
    Stamp::new(NOW_MS + round * 1_000, counter)
}

fn user(n: u64) -> Vec<u8> {
    format!("user {n:02}").into_bytes()
}

/// Writes round `round` into a batch of `tenant`, and into what its reader sees.
fn write(round: u64, tenant: TenantId, rows: &mut Rows) -> Batch {
    let mut batch = Batch::new(LogIndex(round));
    batch.set_note(format!("round {round}").as_bytes()).unwrap();
    for n in 0..6 {
        let (key, at) = (user((round * 5 + n * 7) % 20), stamp(round, u16::try_from(n).unwrap()));
        if n == 4 {
            batch.delete(tenant, C, &key, at).unwrap();
            rows.remove(&key);
        } else {
            let value = format!("value {round}.{n} of {tenant}").repeat(1 + usize::try_from(n).unwrap());
            let expires_ms = if n == 3 { NOW_MS * 2 } else { 0 };
            batch.put(tenant, C, &key, value.as_bytes(), at, expires_ms).unwrap();
            rows.insert(key, (value.into_bytes(), at, expires_ms));
        }
    }
    if round.is_multiple_of(3) {
        batch.delete_range(tenant, C, &user(8), Some(&user(11)), stamp(round, 6)).unwrap();
        rows.retain(|key, _| *key < user(8) || *key >= user(11));
    }
    batch
}

fn tablets() -> [(TabletId, TenantId); 2] {
    [(FIRST, T1), (SECOND, T2)]
}

/// What readers see after each round.
fn history() -> BTreeMap<(TenantId, u64), Rows> {
    let mut seen = BTreeMap::new();
    for (_, tenant) in tablets() {
        let mut rows = Rows::new();
        for round in 1..=ROUNDS {
            write(round, tenant, &mut rows);
            seen.insert((tenant, round), rows.clone());
        }
    }
    seen
}

fn keep_everything(pool: &Pool) {
    pool.set_policy(Policy { default_window_ms: u64::from(u32::MAX), ..Policy::default() });
}

/// Merges all tables down. The policy set anew makes background work look at every tablet.
fn merge(pool: &Pool) {
    pool.tablets().iter().for_each(|tablet| tablet.request_compaction());
    keep_everything(pool);
    pool.settle();
}

/// Makes the pool: writes, flushes, merges, turns to the next key of a tenant, writes and flushes again.
fn made() -> (SimDisk, MemoryCatalog) {
    let (disk, catalog, keys) = (SimDisk::new(1), MemoryCatalog::new(), keyring());
    let sealer = Sealer::new(CLUSTER, keys.clone(), Arc::new(Seeded::new(7))).unwrap();
    let pool = open_pool(&disk, &catalog, Arc::new(sealer));
    keep_everything(&pool);
    let split = KeyRange { start: Vec::new(), end: Some(engine::key::tenant_start(T2)) };
    let rest = KeyRange { start: engine::key::tenant_start(T2), end: None };
    pool.create(&[NewTablet::empty(FIRST, split), NewTablet::empty(SECOND, rest)]).unwrap();
    let mut rows = Rows::new();
    for round in 1..=ROUNDS {
        if round == 6 {
            merge(&pool);
            keys.activate(Owner::Tenant(T2), Purpose::Data, KeyEpoch(3 + NEXT)).unwrap();
        }
        for (id, tenant) in tablets() {
            let tablet = pool.tablet(id).unwrap();
            tablet.apply(&write(round, tenant, &mut rows)).unwrap();
            tablet.freeze();
        }
        pool.settle();
    }
    pool.close();
    (disk, catalog)
}

/// The stored pool, on a disk and in a catalog of its own. Written first, if it is not there and writing is switched on.
fn load() -> (SimDisk, MemoryCatalog) {
    let dir = world::folder().join("pool");
    if !dir.exists() && super::may_write() {
        let (disk, catalog) = made();
        let tables = disk.files().into_iter().filter(|(path, _)| path.starts_with("/pool/tables"));
        for (path, bytes) in tables {
            stored(&format!("pool/tables/{}", path.file_name().unwrap().to_str().unwrap()), &bytes);
        }
        stored("pool/catalog.bin", &join(catalog.all().into_iter().flat_map(|(key, value)| [key, value])));
    }
    let (disk, catalog) = (SimDisk::new(1), MemoryCatalog::new());
    let tables = Path::new("/pool/tables");
    disk.create_dir(tables).unwrap();
    for entry in fs::read_dir(dir.join("tables")).unwrap() {
        let entry = entry.unwrap();
        let file = disk.create(&tables.join(entry.file_name())).unwrap();
        file.write_all_at(&fs::read(entry.path()).unwrap(), 0).unwrap();
        file.sync().unwrap();
    }
    disk.sync_dir(tables).unwrap();
    let rows = split(&stored("pool/catalog.bin", &[]));
    let put = |row: &[Vec<u8>]| Change::Put { key: row[0].clone(), value: row[1].clone() };
    catalog.commit(&rows.chunks_exact(2).map(put).collect::<Vec<_>>()).unwrap();
    (disk, catalog)
}

fn rows_of(view: &View, tenant: TenantId) -> Rows {
    let entries = view.scan(&Scan::all(tenant, C), None).unwrap().entries;
    entries
        .into_iter()
        .map(|e| (e.key, (e.found.value.to_vec(), e.found.stamp, e.found.expires_ms)))
        .collect()
}

/// Everything that was ever seen is seen again, at its time.
fn check(pool: &Pool, context: &str) {
    for (id, tenant) in tablets() {
        let tablet = pool.tablet(id).unwrap();
        for round in 1..=ROUNDS {
            let view = tablet
                .view_as_of(Stamp::end_of_ms(NOW_MS + round * 1_000))
                .unwrap_or_else(|_| tablet.view(NOW_MS).unwrap());
            assert_eq!(
                rows_of(&view, tenant),
                history()[&(tenant, round)],
                "{context}: {tenant} after {round}"
            );
        }
    }
}

#[test]
fn a_pool_of_version_1_is_read_and_goes_on() {
    let (disk, catalog) = load();
    let sealer = Sealer::new(CLUSTER, keyring(), Arc::new(Seeded::new(8))).unwrap();
    let pool = open_pool(&disk, &catalog, Arc::new(sealer));
    assert_eq!(pool.unreadable(), BTreeMap::new());
    keep_everything(&pool);
    for (id, _) in tablets() {
        let tablet = pool.tablet(id).unwrap();
        assert_eq!(tablet.damaged(), []);
        let durable = tablet.durable();
        assert_eq!((durable.index, durable.note), (LogIndex(ROUNDS), format!("round {ROUNDS}").into_bytes()));
        let levels = tablet.stats().tables_by_level;
        assert!(levels[0] > 0 && levels[1..].iter().sum::<usize>() > 0, "{levels:?}");
    }
    let epochs: Vec<_> = pool.tablet(SECOND).unwrap().coverage().into_keys().collect();
    assert_eq!(epochs, [(T2, KeyEpoch(3)), (T2, KeyEpoch(3 + NEXT))]);
    check(&pool, "as stored");
    for with_keys in [false, true] {
        pool.request_scrub(with_keys);
        pool.settle();
        let report = pool.scrub_report();
        assert!(report.is_done && report.files > 4 && report.unjudged.is_empty());
        assert_eq!(report.findings, []);
    }
    merge(&pool);
    for (id, _) in tablets() {
        assert_eq!(pool.tablet(id).unwrap().stats().tables_by_level[0], 0);
    }
    check(&pool, "merged by today's code");
    let mut rows = history()[&(T1, ROUNDS)].clone();
    let tablet = pool.tablet(FIRST).unwrap();
    tablet.apply(&write(ROUNDS + 1, T1, &mut rows)).unwrap();
    tablet.freeze();
    pool.settle();
    drop((tablet, pool));
    let sealer = Sealer::new(CLUSTER, keyring(), Arc::new(Seeded::new(9))).unwrap();
    let pool = open_pool(&disk, &catalog, Arc::new(sealer));
    let tablet = pool.tablet(FIRST).unwrap();
    assert_eq!(tablet.durable().index, LogIndex(ROUNDS + 1));
    assert_eq!(rows_of(&tablet.view(NOW_MS).unwrap(), T1), rows);
}
