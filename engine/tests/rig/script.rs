//! A run with everything in it, the same every time, that stops when the disk crashes.

use super::oracle::{LogEntry, Oracle, Seen, Write, row};
use super::{C, Dice, Rig, START_MS, T1, T2, TABLET};
use engine::Stamp;
use engine::compaction::retention::Policy;
use engine::ids::{LogIndex, TabletId, TenantId};
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::Scan;
use engine::work::Done;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub const LEFT: TabletId = TabletId(2);
pub const RIGHT: TabletId = TabletId(3);
pub const IMPORTED: TabletId = TabletId(9);

pub struct Script {
    pub rig: Rig,
    pub logs: BTreeMap<TabletId, Vec<LogEntry>>,
    pub oracle: Oracle,
    /// Durable positions the tablets have told of.
    pub told: BTreeMap<TabletId, LogIndex>,
    dice: Dice,
    stamp: Stamp,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        let (logs, told) = (BTreeMap::new(), BTreeMap::new());
        let stamp = Stamp::new(START_MS, 0);
        Self { rig: Rig::new(seed), logs, oracle: Oracle::default(), told, dice: Dice::new(seed), stamp }
    }

    /// Runs until the end or until something fails; a failure without a crash is the test's.
    pub fn run(&mut self) {
        if let Err(error) = self.steps() {
            assert!(self.rig.disk.is_down(), "{error}");
        }
    }

    fn steps(&mut self) -> engine::Result<()> {
        let pool = self.rig.try_open()?;
        pool.set_policy(Policy { default_window_ms: 100_000, ..Policy::default() });
        pool.create(&[NewTablet::empty(TABLET, KeyRange::all())])?;
        for round in 0..24 {
            for tablet in pool.tablets() {
                self.write(&tablet)?;
                if round % 3 == 2 {
                    tablet.freeze();
                }
            }
            self.work(&pool, 2)?;
            match round {
                9 => pool.tablet(TABLET)?.request_compaction(),
                14 => {
                    pool.split(TABLET, &T2.0.to_be_bytes(), LEFT, RIGHT)?;
                }
                19 => self.travel(&pool)?,
                _ => {}
            }
            for tablet in pool.tablets() {
                self.told.insert(tablet.id(), tablet.durable().index);
            }
        }
        self.work(&pool, usize::MAX)
    }

    /// A checkpoint goes out and comes in again as another tablet, which is then dropped.
    fn travel(&self, pool: &Arc<Pool>) -> engine::Result<()> {
        let dir = Path::new("/backup");
        pool.tablet(LEFT)?.checkpoint()?.export_to_dir(&self.rig.disk, dir)?;
        pool.import_from_dir(&self.rig.disk, dir, IMPORTED)?;
        pool.drop_tablet(IMPORTED)
    }

    fn work(&self, pool: &Pool, steps: usize) -> engine::Result<()> {
        for _ in 0..steps {
            match pool.step() {
                Done::Nothing => break,
                Done::Failed(_) if self.rig.disk.is_down() => return Err(engine::Error::Closed),
                Done::Failed(tablet) => panic!("{:?}", tablet.map(|id| pool.tablet(id).unwrap().health())),
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, tablet: &Tablet) -> engine::Result<()> {
        let range = tablet.range();
        let mut writes = Vec::new();
        for _ in 0..6 {
            self.stamp = Stamp::new(self.stamp.ms() + 1, 0);
            let tenant = if self.dice.one_in(2) { T1 } else { T2 };
            let key = format!("key{:02}", self.dice.below(30)).into_bytes();
            if range.contains(&row(tenant, &key)) {
                let write = match self.dice.below(9) {
                    0 => Write::Delete { tenant, key },
                    1 => Write::DeleteRange { tenant, end: Some([&key[..], b"~"].concat()), start: key },
                    _ => Write::Put { tenant, key, value: self.dice.bytes(90), expires_ms: 0 },
                };
                writes.push((self.stamp, write));
            }
        }
        self.rig.clock.set(self.stamp.ms());
        let entry = LogEntry { index: LogIndex(tablet.applied().index.0 + 1), writes };
        // The caller's log has it before the tablet does.
        self.logs.entry(tablet.id()).or_default().push(entry.clone());
        self.oracle.apply(&entry);
        tablet.apply(&entry.batch())
    }

    /// Opens again after a crash, applies what the logs hold beyond each tablet, and checks everything.
    pub fn recover(&mut self, context: &str) {
        self.rig.disk.crash();
        self.rig.disk.restart();
        let pool = self.rig.open();
        assert_eq!(pool.unreadable(), BTreeMap::new(), "{context}");
        // A crash inside an import or a drop may leave the imported tablet, or not.
        if pool.tablet(IMPORTED).is_ok() {
            pool.drop_tablet(IMPORTED).unwrap();
        }
        let present: Vec<TabletId> = pool.tablets().iter().map(|tablet| tablet.id()).collect();
        assert!(
            present.is_empty() || present == [TABLET] || present == [LEFT, RIGHT],
            "{context}: {present:?}"
        );
        if present.is_empty() {
            assert!(
                self.logs.is_empty() && self.told.is_empty(),
                "{context}: a tablet that was there is gone"
            );
        }
        for tablet in pool.tablets() {
            let durable = tablet.durable().index;
            let told = self.told.get(&tablet.id()).copied().unwrap_or_default();
            assert!(durable >= told, "{context}: durable {durable} after it told of {told}");
            for entry in
                self.logs.get(&tablet.id()).into_iter().flatten().filter(|entry| entry.index > durable)
            {
                tablet.apply(&entry.batch()).unwrap();
            }
        }
        self.check(&pool, context);
        pool.settle();
        pool.tablets().iter().for_each(|tablet| tablet.request_compaction());
        pool.settle();
        self.check(&pool, context);
        let stats = pool.stats();
        assert_eq!((stats.files_to_remove, stats.counters.work_failed), (0, 0), "{context}");
        let named: usize =
            pool.tablets().iter().map(|t| t.stats().tables_by_level.iter().sum::<usize>()).sum();
        let on_disk = self.rig.disk.files().keys().filter(|path| path.starts_with("/pool/tables")).count();
        assert!(on_disk <= named, "{context}: {on_disk} files for {named} tables");
    }

    fn check(&self, pool: &Pool, context: &str) {
        for tablet in pool.tablets() {
            let view = tablet.view(self.stamp.ms()).unwrap();
            for tenant in [T1, T2] {
                let got = scan(&tablet, &view, tenant);
                let mut want = self.oracle.scan(tenant, Stamp::MAX, self.stamp.ms());
                want.retain(|(key, _, _)| tablet.range().contains(&row(tenant, key)));
                assert_eq!(got, want, "{context}: {} of {tenant}", tablet.id());
            }
        }
    }
}

fn scan(tablet: &Tablet, view: &engine::tablet::view::View, tenant: TenantId) -> Vec<Seen> {
    if !tablet.range().overlaps(&KeyRange::prefix(tenant, C, b"")) {
        return Vec::new();
    }
    let page = view.scan(&Scan::all(tenant, C), None).unwrap();
    page.entries.into_iter().map(|e| (e.key, e.found.stamp, e.found.value.to_vec())).collect()
}
