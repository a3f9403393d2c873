//! Readers on threads of their own, beside a writer, background work, checkpoints that travel and a split: whatever they read at
//! a stamp is what stood there at that stamp, whole; what a view pins stays; and at the end nothing is left over.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::clock::Clock;
use engine::compaction::retention::Policy;
use engine::disk::{Disk, RealDisk, SimDisk};
use engine::ids::{LogIndex, TableId, TabletId, TenantId};
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::health::Health;
use engine::tablet::history::Event;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::{Entry, Found, Scan, View};
use engine::work::Done;
use engine::{Error, Stamp};
use rig::oracle::{LogEntry, Oracle, Write, row};
use rig::{C, Dice, NODE, Rig, START_MS, T1, T2, TABLET};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

const ACCOUNTS: u64 = 10;
/// What all accounts of a tenant hold together, at every stamp.
const TOTAL: u64 = 10_000;
/// Milliseconds of history that is kept; a batch takes one.
const WINDOW_MS: u64 = 1_000;
/// Accounts before this one are in the left half.
const HALF: u64 = 5;

type Balances = [u64; ACCOUNTS as usize];

fn account(n: u64) -> Vec<u8> {
    format!("account/{n:02}").into_bytes()
}

/// An account's value: the balance, and what shows that the bytes are this version's own.
fn value(tenant: TenantId, n: u64, balance: u64, stamp: Stamp) -> Vec<u8> {
    let own = tenant.0 ^ n << 32 ^ stamp.0;
    [&balance.to_be_bytes()[..], &own.to_be_bytes().repeat(12)].concat()
}

/// A pool under work, who holds the accounts in it, and what they held at each stamp.
struct Bank {
    pool: Arc<Pool>,
    disk: Arc<dyn Disk>,
    rig: Rig,
    /// In the order of their ranges.
    tablets: RwLock<Vec<Arc<Tablet>>>,
    /// Of both tenants, after each batch.
    ledger: RwLock<Vec<[Balances; 2]>>,
    oracle: Mutex<Oracle>,
    is_over: AtomicBool,
    looks: AtomicU64,
}

fn opened(rig: &Rig, disk: &Arc<dyn Disk>) -> Arc<Pool> {
    let (catalog, sealer, clock) = (rig.catalog.opener(), rig.sealer(), rig.clock.clone());
    Pool::open(rig.config.clone(), Parts { disk: disk.clone(), catalog, sealer, clock, node: NODE }).unwrap()
}

impl Bank {
    fn new(disk: Arc<dyn Disk>, dir: &Path, window_ms: u64) -> Self {
        let mut rig = Rig::new(1);
        rig.config = PoolConfig {
            dir: dir.to_owned(),
            memtable_bytes: 256 << 10,
            memtable_bytes_per_tablet: 16 << 10,
            threads: 2,
            table_bytes: 8 << 10,
            level1_bytes: 16 << 10,
            ..rig.config
        };
        let pool = opened(&rig, &disk);
        pool.set_policy(Policy { default_window_ms: window_ms, ..Policy::default() });
        let tablets = RwLock::new(pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap());
        let ledger = RwLock::new(vec![[[TOTAL / ACCOUNTS; ACCOUNTS as usize]; 2]]);
        let (oracle, is_over, looks) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        Self { pool, disk, rig, tablets, ledger, oracle, is_over, looks }
    }

    fn tablets(&self) -> Vec<Arc<Tablet>> {
        self.tablets.read().unwrap().clone()
    }

    /// What each account of `tenant` held at `at`; nothing before the first batch.
    fn balances(&self, tenant: TenantId, at: Stamp) -> Option<Balances> {
        let number = usize::try_from(at.ms().saturating_sub(START_MS)).unwrap();
        (number > 0).then(|| self.ledger.read().unwrap()[number][usize::from(tenant == T2)])
    }

    /// The next batch: in each half of each tenant's accounts one changes. Now and then all are deleted and written again, at
    /// the same stamp.
    fn writes(&self, dice: &Dice) -> (Stamp, Vec<Write>) {
        let mut now = *self.ledger.read().unwrap().last().unwrap();
        let number = self.ledger.read().unwrap().len() as u64;
        let stamp = Stamp::new(START_MS + number, 0);
        let mut writes = Vec::new();
        for (tenant, balances) in [T1, T2].into_iter().zip(&mut now) {
            let pair = [dice.below(HALF), HALF + dice.below(ACCOUNTS - HALF)];
            let (from, to) = if dice.one_in(2) { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
            let amount = dice.below(balances[from as usize] / 2 + 1);
            balances[from as usize] -= amount;
            balances[to as usize] += amount;
            let is_anew = number == 1 || number.is_multiple_of(13);
            if is_anew {
                let (half, end) = (account(HALF), b"account0".to_vec());
                writes.push(Write::DeleteRange { tenant, start: account(0), end: Some(half.clone()) });
                writes.push(Write::DeleteRange { tenant, start: half, end: Some(end) });
            }
            let changed = (0..ACCOUNTS).filter(|n| is_anew || pair.contains(n));
            writes.extend(changed.map(|n| {
                let value = value(tenant, n, balances[n as usize], stamp);
                Write::Put { tenant, key: account(n), value, expires_ms: 0 }
            }));
            let key = format!("other/{:02}", number % 40).into_bytes();
            writes.push(match number % 3 {
                0 => Write::Delete { tenant, key },
                _ => Write::Put { tenant, key, value: dice.bytes(400), expires_ms: 0 },
            });
        }
        self.ledger.write().unwrap().push(now);
        (stamp, writes)
    }

    /// Applies the next batch to whoever holds its rows.
    fn write(&self, dice: &Dice) {
        let (stamp, writes) = self.writes(dice);
        self.rig.clock.set(stamp.ms());
        for tablet in self.tablets() {
            let is_here = |write: &&Write| {
                let (Write::Put { tenant, key, .. }
                | Write::Delete { tenant, key }
                | Write::DeleteRange { tenant, start: key, .. }) = write;
                tablet.range().contains(&row(*tenant, key))
            };
            let writes = writes.iter().filter(is_here).map(|write| (stamp, write.clone())).collect();
            let entry = LogEntry { index: LogIndex(tablet.applied().index.0 + 1), writes };
            let batch = entry.batch();
            let is_in = (0..5_000).any(|_| match tablet.apply(&batch) {
                Ok(()) => true,
                Err(Error::Overloaded { .. }) => {
                    let _ = tablet.await_room(20);
                    false
                }
                Err(other) => panic!("{other}"),
            });
            assert!(is_in, "there is no room: {:?}", tablet.stats());
            self.oracle.lock().unwrap().apply(&entry);
        }
    }

    /// `batches` more batches, with a split in the middle; readers get their turns.
    fn run(&self, batches: u64) {
        let dice = Dice::new(7);
        for n in 1..=batches {
            self.write(&dice);
            if n == batches / 2 && self.tablets().len() == 1 {
                let at = row(T1, &account(HALF));
                let children = self.pool.split(TABLET, &at, TabletId(2), TabletId(3)).unwrap();
                *self.tablets.write().unwrap() = children.to_vec();
            }
            let is_behind = || self.looks.load(Ordering::Relaxed) < n / 2;
            (0..1_000).take_while(|_| is_behind()).for_each(|_| thread::yield_now());
        }
    }
}

/// Raises the flag when the writer ends, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A tablet, and a view of it.
type Sight = (Arc<Tablet>, View);

fn accounts_in(tablet: &Tablet, tenant: TenantId) -> Vec<u64> {
    (0..ACCOUNTS).filter(|n| tablet.range().contains(&row(tenant, &account(*n)))).collect()
}

impl Bank {
    /// All accounts of `tenant` as the views tell them, in one of many ways.
    fn read(&self, dice: &Dice, sights: &[Sight], tenant: TenantId) -> engine::Result<Vec<Entry>> {
        let way = dice.below(4);
        let mut all = Vec::new();
        for sight in sights {
            let (tablet, view) = sight;
            let keys: Vec<_> = accounts_in(tablet, tenant).into_iter().map(account).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            match way {
                _ if keys.is_empty() => {}
                0 => all.extend(self.scan(dice, sight, tenant, false)?),
                1 => all.extend(self.scan(dice, sight, tenant, true)?.into_iter().rev()),
                _ => {
                    let each = || keys.iter().map(|key| view.get(tenant, C, key)).collect();
                    let found = if way == 2 { view.multi_get(tenant, C, &keys) } else { each() };
                    let entry = |(key, found): (&&[u8], _)| Some(Entry { key: key.to_vec(), found: found? });
                    all.extend(keys.iter().zip(found?).filter_map(entry));
                }
            }
        }
        Ok(all)
    }

    /// A scan in small pages, resumed on the same view or on a new one.
    fn scan(
        &self,
        dice: &Dice,
        sight: &Sight,
        tenant: TenantId,
        is_reverse: bool,
    ) -> engine::Result<Vec<Entry>> {
        let (tablet, view) = sight;
        let (start, end) = (Some(account(0)), Some(b"account0".to_vec()));
        let limit = 1 + dice.below(4) as usize;
        let scan = Scan { start, end, is_reverse, limit, ..Scan::all(tenant, C) };
        let mut page = view.scan(&scan, None)?;
        let mut all = page.entries;
        while let Some(cursor) = page.next {
            let anew = if dice.one_in(2) { Some(tablet.view_of(&cursor)?) } else { None };
            page = anew.as_ref().unwrap_or(view).scan(&scan, Some(&cursor))?;
            all.append(&mut page.entries);
            assert!(all.len() as u64 <= ACCOUNTS, "pages repeat what was given");
        }
        Ok(all)
    }

    /// Exactly what stood there at `at`.
    fn check(&self, tenant: TenantId, at: Stamp, got: &[Entry], context: &str) {
        let want: Vec<_> = self.balances(tenant, at).into_iter().flatten().collect();
        assert_eq!(got.len(), want.len(), "{context}: accounts of {tenant} at {at}");
        for ((n, balance), Entry { key, found }) in (0..).zip(want.iter().copied()).zip(got) {
            assert_eq!(*key, account(n), "{context} at {at}");
            assert!(found.stamp <= at, "{context}: {} from the future of {at}", found.stamp);
            let is_right = found.value == value(tenant, n, balance, found.stamp);
            assert!(is_right, "{context}: account {n} of {tenant} at {at}, written at {}", found.stamp);
        }
        let sum: u64 = want.iter().sum();
        assert!(got.is_empty() || sum == TOTAL, "{context}: the sum of {tenant} at {at} is {sum}");
    }

    fn newest(&self) -> Stamp {
        self.tablets().iter().map(|tablet| tablet.applied_stamp()).min().unwrap()
    }

    /// Views at one stamp that together show all of `tenant`: of now, or of a little while ago.
    fn sights(&self, dice: &Dice, tenant: TenantId) -> engine::Result<(Stamp, Vec<Sight>)> {
        let tablets = self.tablets();
        let (newest, last) = (self.newest(), tablets.last().unwrap().clone());
        if dice.one_in(2) && accounts_in(&last, tenant).len() as u64 == ACCOUNTS {
            let view = last.view(START_MS)?;
            return Ok((view.at(), vec![(last, view)]));
        }
        let back_ms = if dice.one_in(3) { 0 } else { dice.below(300) };
        let at = Stamp::new(newest.ms().saturating_sub(back_ms).max(START_MS), 0);
        let view = |tablet: Arc<Tablet>| Ok((tablet.clone(), tablet.view_as_of(at)?));
        Ok((at, tablets.into_iter().map(view).collect::<engine::Result<_>>()?))
    }

    /// The newest of one account, as fast as can be.
    fn glance(&self, dice: &Dice) {
        let (n, last) = (dice.below(ACCOUNTS), self.tablets().pop().unwrap());
        let Ok(view) = last.view(START_MS) else { return };
        let found = view.get(T2, C, &account(n)).unwrap();
        let Some(balances) = self.balances(T2, view.at()) else { return };
        let is_right = |found: Found| found.value == value(T2, n, balances[n as usize], found.stamp);
        assert!(found.is_some_and(is_right), "account {n} of {T2} at a glance at {}", view.at());
    }

    fn read_on(&self, seed: u64) {
        let dice = Dice::new(seed);
        let mut looks = 0;
        while looks < 60 || !self.is_over.load(Ordering::Acquire) {
            looks += 1;
            self.looks.fetch_add(1, Ordering::Relaxed);
            let tenant = if dice.one_in(2) { T1 } else { T2 };
            (0..30).for_each(|_| self.glance(&dice));
            let seen = |(at, sights): (Stamp, Vec<Sight>)| Ok((at, self.read(&dice, &sights, tenant)?));
            match self.sights(&dice, tenant).and_then(seen) {
                Ok((at, got)) => self.check(tenant, at, &got, "a reader"),
                // A split has closed the tablet: its children know.
                Err(Error::Closed) => {}
                Err(Error::HistoryGone { oldest }) => {
                    assert!(oldest.ms() + WINDOW_MS <= self.rig.clock.now_ms(), "gone before {oldest}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Asks for compactions, and carries checkpoints to another pool and back into the same.
    fn meddle(&self) {
        let elsewhere = Rig::new(99).open();
        let dice = Dice::new(3);
        let mut rounds = 0;
        while rounds < 12 || !self.is_over.load(Ordering::Acquire) {
            rounds += 1;
            let tablets = self.tablets();
            let tablet = &tablets[dice.below(tablets.len() as u64) as usize];
            let (out, path) = (SimDisk::new(1), Path::new("/out"));
            match rounds % 4 {
                0 => tablets.iter().for_each(|tablet| tablet.request_compaction()),
                1 => self.travel(tablet, &elsewhere, TabletId(100 + rounds)),
                2 => self.travel(tablet, &self.pool, TabletId(100 + rounds)),
                _ => tablet.checkpoint().iter().for_each(|it| assert!(it.export_to_dir(&out, path).is_ok())),
            }
            elsewhere.settle();
        }
    }

    /// Out and in again, unless a split has closed the tablet.
    fn travel(&self, tablet: &Tablet, pool: &Arc<Pool>, id: TabletId) {
        let Ok(checkpoint) = tablet.checkpoint() else { return };
        let at = checkpoint.levels().applied.stamp;
        let mut stream = Vec::new();
        checkpoint.export_to_stream(&mut stream, &pool.tables_present()).unwrap();
        let imported = pool.import_from_stream(&mut &stream[..], id).unwrap().tablet;
        drop(checkpoint);
        let sight = [(imported.clone(), imported.view(START_MS).unwrap())];
        for tenant in [T1, T2].into_iter().filter(|of| accounts_in(&imported, *of).len() as u64 == ACCOUNTS) {
            if at > Stamp::ZERO {
                self.check(tenant, at, &self.read(&Dice::new(id.0), &sight, tenant).unwrap(), "imported");
            }
        }
        pool.drop_tablet(id).unwrap();
    }

    fn named(&self) -> BTreeSet<TableId> {
        let levels = |tablet: Arc<Tablet>| tablet.checkpoint().unwrap().levels().clone();
        self.pool
            .tablets()
            .into_iter()
            .map(levels)
            .flat_map(|of| of.tables().map(|meta| meta.id).collect::<Vec<_>>())
            .collect()
    }

    fn on_disk(&self) -> BTreeSet<TableId> {
        let names = self.disk.list(&self.rig.config.dir.join("tables")).unwrap();
        names.iter().map(|name| TableId::parse(name.strip_suffix(".dpb").unwrap()).unwrap()).collect()
    }

    /// Lets background work come to its end: all is flushed, and `is_wanted` of the tables named and the files there.
    fn rest(&self, is_wanted: impl Fn(&BTreeSet<TableId>, &BTreeSet<TableId>) -> bool) {
        let mut quiet = 0;
        for _ in 0..5_000 {
            self.tablets().iter().for_each(|tablet| tablet.freeze());
            let is_flushed = self.tablets().iter().all(|tablet| tablet.durable() == tablet.applied());
            let is_done = is_flushed && self.pool.step() == Done::Nothing;
            quiet = if is_done && is_wanted(&self.named(), &self.on_disk()) { quiet + 1 } else { 0 };
            if quiet == 50 {
                return;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        panic!("no rest: {:?}, {:?}", self.pool.stats(), self.pool.removal_failure());
    }

    /// The same after a stop, with no thread of its own.
    fn reopened(self) -> Self {
        let Self { pool, disk, mut rig, tablets, ledger, oracle, is_over, looks } = self;
        pool.close();
        let last = tablets.into_inner().unwrap().pop().unwrap();
        assert!(matches!(last.view(START_MS), Err(Error::Closed)) && pool.step() == Done::Nothing);
        drop((pool, last));
        rig.config.threads = 0;
        let pool = opened(&rig, &disk);
        let tablets = RwLock::new(pool.tablets());
        Self { pool, disk, rig, tablets, ledger, oracle, is_over, looks }
    }

    /// Every tablet answers as the oracle does: now, and at stamps inside the window.
    fn check_all(&self) {
        let oracle = self.oracle.lock().unwrap();
        for back_ms in [0, 1, 13, WINDOW_MS / 2, WINDOW_MS - 1] {
            let at = Stamp::new(self.newest().ms() - back_ms, 0);
            for (tablet, tenant) in self.tablets().iter().flat_map(|tablet| [(tablet, T1), (tablet, T2)]) {
                if !tablet.range().overlaps(&KeyRange::prefix(tenant, C, b"")) {
                    continue;
                }
                let mut want = oracle.scan(tenant, at, 0);
                want.retain(|(key, _, _)| tablet.range().contains(&row(tenant, key)));
                let page = tablet.view_as_of(at).unwrap().scan(&Scan::all(tenant, C), None).unwrap();
                let got = page.entries.into_iter().map(|e| (e.key, e.found.stamp, e.found.value.to_vec()));
                assert!(got.eq(want), "{} of {tenant} at {at}", tablet.id());
            }
        }
    }

    fn check_health(&self) {
        let counters = self.pool.stats().counters;
        assert_eq!((counters.work_failed, counters.fenced, counters.damaged_tables), (0, 0, 0));
        assert!(counters.flushes > 30 && counters.compactions > 10 && counters.files_removed > 30);
        assert!(self.tablets().iter().all(|tablet| tablet.health() == Health::Serving));
        assert!(self.pool.unreadable().is_empty() && self.pool.removal_failure().is_none());
    }
}

fn readers_beside_work(disk: Arc<dyn Disk>, dir: &Path) {
    let bank = Bank::new(disk, dir, WINDOW_MS);
    bank.write(&Dice::new(6));
    thread::scope(|scope| {
        let _over = Over(&bank.is_over);
        (1..=3).for_each(|seed| {
            drop(scope.spawn({
                let bank = &bank;
                move || bank.read_on(seed)
            }))
        });
        scope.spawn(|| bank.meddle());
        bank.run(3_000);
    });
    bank.tablets().iter().for_each(|tablet| tablet.request_compaction());
    bank.rest(|named, on_disk| named == on_disk);
    bank.check_all();
    bank.check_health();
    let bank = bank.reopened();
    bank.check_all();
    bank.pool.settle();
    assert_eq!(bank.named(), bank.on_disk(), "a file a table");
}

#[test]
fn readers_see_every_stamp_whole_on_a_simulated_disk() {
    readers_beside_work(Arc::new(SimDisk::new(1)), Path::new("/pool"));
}

#[test]
fn readers_see_every_stamp_whole_in_a_real_folder() {
    let dir = tempfile::tempdir().unwrap();
    readers_beside_work(Arc::new(RealDisk), &dir.path().join("pool"));
}

/// Everything a view tells of both tenants: scans both ways, each account, its history.
type Answers = [(Vec<Entry>, Vec<Entry>, Vec<Option<Found>>, Vec<Vec<Event>>); 2];

fn answers(view: &View) -> Answers {
    [T1, T2].map(|tenant| {
        let page =
            |is_reverse| view.scan(&Scan { is_reverse, ..Scan::all(tenant, C) }, None).unwrap().entries;
        let found = (0..ACCOUNTS).map(|n| view.get(tenant, C, &account(n)).unwrap());
        let events = (0..ACCOUNTS).map(|n| view.history(tenant, C, &account(n), 1_000).unwrap().events);
        (page(false), page(true), found.collect(), events.collect())
    })
}

#[test]
fn a_view_that_is_held_answers_as_at_first_and_keeps_its_files() {
    let bank = Bank::new(Arc::new(SimDisk::new(2)), Path::new("/pool"), 0);
    let dice = Dice::new(8);
    (0..300).for_each(|_| bank.write(&dice));
    bank.rest(|named, on_disk| named == on_disk);
    // What comes last is in no table yet.
    (0..4).for_each(|_| bank.write(&dice));
    let view = bank.tablets()[0].view(START_MS).unwrap();
    let (held, first) = (bank.named(), answers(&view));
    assert!(held.len() > 2 && !first[0].3[0].is_empty());
    thread::scope(|scope| {
        let _over = Over(&bank.is_over);
        let watch = || {
            let mut looks = 0;
            while looks < 40 || !bank.is_over.load(Ordering::Acquire) {
                assert!(answers(&view) == first, "the view tells another thing");
                looks = bank.looks.fetch_add(1, Ordering::Relaxed);
            }
        };
        (0..2).for_each(|_| drop(scope.spawn(watch)));
        for _ in 0..2 {
            bank.run(500);
            bank.tablets().iter().for_each(|tablet| tablet.request_compaction());
        }
    });
    bank.rest(|named, on_disk| named.is_disjoint(&held) && *on_disk == named | &held);
    assert!(answers(&view) == first, "of files that nobody else needs");
    drop(view);
    bank.rest(|named, on_disk| named == on_disk);
    bank.check_health();
}

#[test]
fn a_handle_of_a_tablet_that_is_dropped_holds_no_file() {
    let bank = Bank::new(Arc::new(SimDisk::new(3)), Path::new("/pool"), 0);
    let dice = Dice::new(9);
    (0..100).for_each(|_| bank.write(&dice));
    bank.rest(|named, on_disk| named == on_disk && !on_disk.is_empty());
    let handles = std::mem::take(&mut *bank.tablets.write().unwrap());
    bank.pool.drop_tablet(TABLET).unwrap();
    bank.rest(|_, on_disk| on_disk.is_empty());
    assert!(matches!(handles[0].view(START_MS), Err(Error::Closed)));
}
