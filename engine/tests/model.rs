//! Random histories against an oracle that holds every version: batches, flushes, compactions, crashes, splits, hours without a
//! write, and closing and opening in between.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::compaction::retention::Policy;
use engine::ids::{LogIndex, TabletId, TenantId};
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::changes::{Change, ChangesAsked, user_bound};
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::{Scan, View};
use engine::work::Done;
use engine::{Stamp, limits};
use rig::oracle::{Event, LogEntry, Oracle, Seen, Write, row};
use rig::{C, Dice, Rig, START_MS, T1, T2, TABLET, seeds};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const WINDOW_MS: u64 = 200;

struct Run {
    seed: u64,
    dice: Dice,
    rig: Rig,
    pool: Option<Arc<Pool>>,
    /// What each tablet's log holds.
    logs: BTreeMap<TabletId, Vec<LogEntry>>,
    oracle: Oracle,
    stamp: Stamp,
    next_tablet: u64,
    has_window: bool,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let rig = Rig::new(seed);
        let pool = rig.open();
        pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap();
        let has_window = dice.one_in(2);
        let run = Self {
            seed,
            dice,
            rig,
            pool: Some(pool),
            logs: BTreeMap::from([(TABLET, Vec::new())]),
            oracle: Oracle::default(),
            stamp: Stamp::new(START_MS, 0),
            next_tablet: 2,
            has_window,
            trace: Vec::new(),
        };
        run.set_policy();
        run
    }

    fn set_policy(&self) {
        let default_window_ms = if self.has_window { WINDOW_MS } else { u64::MAX };
        self.pool().set_policy(Policy { default_window_ms, ..Policy::default() });
    }

    fn pool(&self) -> &Arc<Pool> {
        self.pool.as_ref().unwrap()
    }

    fn now_ms(&self) -> u64 {
        self.stamp.ms()
    }

    fn tenant(&self) -> TenantId {
        if self.dice.one_in(3) { T2 } else { T1 }
    }

    fn key(&self) -> Vec<u8> {
        let n = self.dice.below(60);
        match n % 5 {
            0 => vec![0, n as u8, 0],
            _ => format!("key{n:03}").into_bytes(),
        }
    }

    fn write(&self) -> Write {
        let tenant = self.tenant();
        match self.dice.below(20) {
            0..=2 => Write::Delete { tenant, key: self.key() },
            3 => {
                let (a, b) = (self.key(), self.key());
                let (start, end) = if a <= b { (a, b) } else { (b, a) };
                let end = if start == end || self.dice.one_in(6) { None } else { Some(end) };
                Write::DeleteRange { tenant, start, end }
            }
            n => {
                let expires_ms = if n < 6 { self.now_ms() + self.dice.below(400) } else { 0 };
                let length = self.dice.below(if n == 19 { 3_000 } else { 80 });
                Write::Put { tenant, key: self.key(), value: self.dice.bytes(length), expires_ms }
            }
        }
    }

    fn tablet_for(&self, write: &Write) -> Option<Arc<Tablet>> {
        let (first, last) = match write {
            Write::Put { tenant, key, .. } | Write::Delete { tenant, key } => {
                (row(*tenant, key), row(*tenant, key))
            }
            Write::DeleteRange { tenant, start, end } => {
                let last = end
                    .as_ref()
                    .map_or_else(|| KeyRange::prefix(*tenant, C, b"").end.unwrap(), |end| row(*tenant, end));
                (row(*tenant, start), last)
            }
        };
        let holds = |range: &KeyRange| {
            range.contains(&first)
                && range.end.as_ref().is_none_or(|end| last <= *end || (first == last && first < *end))
        };
        self.pool().tablets().into_iter().find(|tablet| holds(&tablet.range()))
    }

    fn apply(&mut self) {
        let mut by_tablet: BTreeMap<TabletId, Vec<(Stamp, Write)>> = BTreeMap::new();
        for _ in 0..=self.dice.below(12) {
            let write = self.write();
            self.stamp = if self.dice.one_in(3) {
                Stamp::new(self.stamp.ms() + self.dice.below(30), 0).max(self.stamp.next())
            } else {
                self.stamp.next()
            };
            if let Some(tablet) = self.tablet_for(&write) {
                by_tablet.entry(tablet.id()).or_default().push((self.stamp, write));
            }
        }
        self.rig.clock.set(self.now_ms());
        for (id, writes) in by_tablet {
            let tablet = self.pool().tablet(id).unwrap();
            let index = LogIndex(tablet.applied().index.0 + 1);
            let entry = LogEntry { index, writes };
            for _ in 0..100 {
                match tablet.apply(&entry.batch()) {
                    Ok(()) => break,
                    Err(engine::Error::Overloaded { .. }) => assert_ne!(self.pool().step(), Done::Nothing),
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(tablet.applied().index, index);
            self.oracle.apply(&entry);
            self.logs.get_mut(&id).unwrap().push(entry);
        }
        self.oracle.writes.sort_by_key(|(stamp, _)| *stamp);
    }

    fn crash(&mut self) {
        self.pool = None;
        self.rig.disk.crash();
        self.rig.disk.restart();
        self.open_again();
    }

    /// Closes the pool as a server that stops does, and opens it again. Nothing is flushed by that, and nothing is lost.
    fn close_and_open(&mut self) {
        let tablets = self.pool().tablets();
        let durable: BTreeMap<_, _> =
            tablets.iter().map(|tablet| (tablet.id(), (tablet.range(), tablet.durable()))).collect();
        self.pool().close();
        for tablet in &tablets {
            assert!(matches!(tablet.view(self.now_ms()), Err(engine::Error::Closed)));
        }
        self.pool = None;
        drop(tablets);
        self.open_again();
        let tablets = self.pool().tablets();
        let again: BTreeMap<_, _> =
            tablets.iter().map(|tablet| (tablet.id(), (tablet.range(), tablet.durable()))).collect();
        assert_eq!(again, durable, "seed {} it stands where it stood", self.seed);
    }

    fn open_again(&mut self) {
        self.pool = Some(self.rig.open());
        self.set_policy();
        assert_eq!(self.pool().unreadable(), BTreeMap::new());
        for tablet in self.pool().tablets() {
            let durable = tablet.durable();
            if durable.index > LogIndex(0) {
                assert_eq!(durable.note, durable.index.0.to_be_bytes(), "the note of its own entry");
            }
            assert_eq!(tablet.applied(), durable);
            for entry in self.logs[&tablet.id()].iter().filter(|entry| entry.index > durable.index) {
                while let Err(error) = tablet.apply(&entry.batch()) {
                    assert!(matches!(error, engine::Error::Overloaded { .. }), "{error}");
                    assert_ne!(self.pool().step(), Done::Nothing);
                }
            }
        }
    }

    fn split(&mut self) {
        let tablets = self.pool().tablets();
        let tablet = &tablets[self.dice.below(tablets.len() as u64) as usize];
        let at =
            if self.dice.one_in(4) { T2.0.to_be_bytes().to_vec() } else { row(self.tenant(), &self.key()) };
        let range = tablet.range();
        if tablets.len() >= 5 || at <= range.start || !range.contains(&at) {
            return;
        }
        let (left, right) = (TabletId(self.next_tablet), TabletId(self.next_tablet + 1));
        self.next_tablet += 2;
        self.pool().split(tablet.id(), &at, left, right).unwrap();
        self.logs.remove(&tablet.id());
        self.logs.insert(left, Vec::new());
        self.logs.insert(right, Vec::new());
    }

    /// Nobody writes for a while, long enough for time alone to give something to do.
    fn rest(&mut self) {
        for _ in 0..=self.dice.below(15) {
            self.stamp = Stamp::new(self.stamp.ms() + limits::CLOCK_STEP_MS_MAX, 0);
            self.rig.clock.set(self.now_ms());
            self.pool().settle();
        }
    }

    fn act(&mut self) {
        let action = self.dice.below(40);
        self.trace.push(format!("{action}"));
        match action {
            0..=19 => self.apply(),
            20..=24 => self.pool().tablets().iter().for_each(|tablet| {
                if self.dice.one_in(2) {
                    tablet.freeze()
                }
            }),
            25..=32 => {
                for _ in 0..self.dice.below(6) {
                    self.check_step(self.pool().step());
                }
            }
            33 => {
                self.pool().tablets().iter().for_each(|tablet| tablet.request_compaction());
                self.pool().settle();
            }
            34 | 35 => self.crash(),
            36 => self.split(),
            38 => {
                self.rest();
                self.check_views();
            }
            37 => {
                self.close_and_open();
                self.check_views();
            }
            _ => self.check_views(),
        }
    }

    fn check_step(&self, done: Done) {
        assert!(
            !matches!(done, Done::Failed(_)),
            "{:?}",
            self.pool().tablets().iter().map(|t| t.health()).collect::<Vec<_>>()
        );
    }

    fn check_views(&self) {
        for tablet in self.pool().tablets() {
            let view = tablet.view(self.now_ms()).unwrap();
            self.check(&tablet, &view, view.at(), self.now_ms());
            self.check_changes(&tablet, Arc::new(view));
            let oldest = if self.has_window { self.now_ms() - WINDOW_MS } else { START_MS };
            let past = Stamp::new(oldest + self.dice.below(self.now_ms() - oldest + 1), 0)
                .max(Stamp::new(START_MS, 0));
            if past <= tablet.applied_stamp() {
                let view = tablet.view_as_of(past).unwrap();
                self.check(&tablet, &view, past, past.ms());
            }
        }
    }

    fn check(&self, tablet: &Arc<Tablet>, view: &View, at: Stamp, now_ms: u64) {
        let range = tablet.range();
        for tenant in [T1, T2] {
            if !range.overlaps(&KeyRange::prefix(tenant, C, b"")) {
                continue;
            }
            let mut want = self.oracle.scan(tenant, at, now_ms);
            want.retain(|(key, _, _)| range.contains(&row(tenant, key)));
            for is_reverse in [false, true] {
                let limit = 1 + self.dice.below(20) as usize;
                let scan = Scan { is_reverse, limit, ..Scan::all(tenant, C) };
                let mut got = Vec::new();
                let mut page = view.scan(&scan, None).unwrap();
                loop {
                    assert!(page.entries.len() <= limit);
                    got.extend(
                        page.entries.iter().map(|e| (e.key.clone(), e.found.stamp, e.found.value.to_vec())),
                    );
                    let Some(cursor) = page.next else { break };
                    page = view.scan(&scan, Some(&cursor)).unwrap();
                }
                if is_reverse {
                    got.reverse();
                }
                let short =
                    |all: &[Seen]| all.iter().map(|(k, s, _)| (k.clone(), *s)).collect::<BTreeSet<_>>();
                let (extra, missing) = (&short(&got) - &short(&want), &short(&want) - &short(&got));
                let tablet = tablet.id();
                assert!(
                    extra.is_empty() && missing.is_empty(),
                    "seed {} {tablet} {tenant} reverse {is_reverse} at {at} of {}: {extra:?} too many, {missing:?} missing",
                    self.seed,
                    self.stamp,
                );
                assert_eq!(got, want);
            }
            for _ in 0..6 {
                let key = self.key();
                if range.contains(&row(tenant, &key)) {
                    let got =
                        view.get(tenant, C, &key).unwrap().map(|found| (found.stamp, found.value.to_vec()));
                    assert_eq!(
                        got,
                        self.oracle.get(tenant, &key, at, now_ms),
                        "seed {} get {key:?} at {at}",
                        self.seed
                    );
                    self.check_history(tablet, view, (tenant, &key), at);
                }
            }
        }
    }

    fn check_history(&self, tablet: &Arc<Tablet>, view: &View, (tenant, key): (TenantId, &[u8]), at: Stamp) {
        let floor = if self.has_window { Stamp::new(self.now_ms() - WINDOW_MS, 0) } else { Stamp::ZERO };
        let limit = 1 + self.dice.below(5) as usize;
        let mut page = view.history(tenant, C, key, limit).unwrap();
        let mut got = page.events;
        while let Some(next) = page.next {
            assert!(got.len() >= limit, "seed {} a page that is not full", self.seed);
            page = tablet.view_as_of(next).unwrap().history(tenant, C, key, limit).unwrap();
            got.append(&mut page.events);
        }
        let got: Vec<_> = got.into_iter().map(|e| (e.stamp, e.value.map(|(v, x)| (v.to_vec(), x)))).collect();
        let mut want = self.oracle.events(tenant, key);
        want.retain(|(stamp, _)| *stamp <= at);
        want.reverse();
        let above = |all: &[Event]| all.iter().filter(|(s, _)| *s > floor).cloned().collect::<Vec<_>>();
        assert_eq!(above(&got), above(&want), "seed {} history of {key:?}", self.seed);
    }
}

/// What was written to the rows of `range` behind `after`, up to `upto`, oldest first.
type Written = Vec<(Stamp, Change)>;

impl Run {
    fn written(&self, of: TenantId, range: &KeyRange, after: Stamp, upto: Stamp) -> Written {
        let holds = |key: &[u8]| range.contains(&row(of, key));
        let change = |write: &Write| match write {
            Write::Put { tenant, key, value, expires_ms } if *tenant == of && holds(key) => {
                let value = bytes::Bytes::copy_from_slice(value);
                Some(Change::Put { key: key.clone(), value, expires_ms: *expires_ms })
            }
            Write::Delete { tenant, key } if *tenant == of && holds(key) => {
                Some(Change::Delete { key: key.clone() })
            }
            Write::DeleteRange { tenant, start, end } if *tenant == of => {
                let whole = KeyRange::prefix(of, C, b"");
                let end = end.as_ref().map(|end| row(of, end)).or(whole.end);
                let rows = KeyRange { start: row(of, start), end }.intersect(range);
                (!rows.is_empty()).then(|| Change::DeleteRange {
                    start: user_bound(&rows.start).unwrap(),
                    end: rows.end.as_deref().and_then(user_bound),
                })
            }
            _ => None,
        };
        let asked = self.oracle.writes.iter().filter(|(stamp, _)| *stamp > after && *stamp <= upto);
        asked.filter_map(|(stamp, write)| Some((*stamp, change(write)?))).collect()
    }

    /// Walks behind a stamp, again and again, find everything that was written behind it, in order and once.
    fn check_changes(&self, tablet: &Arc<Tablet>, view: Arc<View>) {
        for tenant in [T1, T2] {
            let (start, end) = (self.key(), Some(self.key()).filter(|_| !self.dice.one_in(3)));
            let rows = KeyRange {
                start: row(tenant, &start),
                end: end.as_ref().map(|end| row(tenant, end)).or(KeyRange::prefix(tenant, C, b"").end),
            };
            let range = rows.intersect(&tablet.range());
            let first = Stamp::new(START_MS, 0).0;
            let after = Stamp(first + self.dice.below(view.at().0.saturating_sub(first) + 1));
            let limit = 1 + self.dice.below(30) as usize;
            let (bytes_max, collection) = (self.dice.below(6_000) as usize, C);
            let mut asked = ChangesAsked { tenant, collection, start, end, after, limit, bytes_max };
            let mut got = Written::new();
            loop {
                let mut walk = match view.changes(&asked) {
                    Ok(walk) => walk,
                    Err(engine::Error::OutsideRange { .. }) => break assert!(range.is_empty()),
                    Err(engine::Error::HistoryGone { oldest }) => {
                        assert!(self.has_window && got.is_empty() && oldest > asked.after);
                        assert!(oldest.ms() <= self.now_ms() - WINDOW_MS, "what must be kept is gone");
                        return;
                    }
                    Err(other) => panic!("{other}"),
                };
                let page = std::iter::repeat_with(|| walk.step().unwrap()).find_map(|page| page).unwrap();
                assert!(page.changes.len() <= limit || page.changes[0].0 == page.changes.last().unwrap().0);
                assert!(page.changes.iter().all(|(stamp, _)| *stamp > asked.after && *stamp <= page.upto));
                got.extend(page.changes);
                asked.after = page.upto;
                if page.is_all {
                    break assert_eq!(page.upto, view.at());
                }
            }
            let want = self.written(tenant, &range, after, view.at());
            let short =
                |all: &[(Stamp, Change)]| all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>();
            assert_eq!(short(&got), short(&want), "seed {} changes of {tenant} after {after}", self.seed);
            assert!(got == want, "seed {} changes of {tenant} after {after}", self.seed);
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..70 {
        run.act();
    }
    run.check_views();
    run.pool().settle();
    run.check_views();
    run.crash();
    run.check_views();
}

#[test]
fn random_histories_answer_as_the_oracle_does() {
    for seed in seeds(400) {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = result {
            println!("failed with seed {seed}: DEWPOND_SEED={seed} DEWPOND_CASES=1");
            std::panic::resume_unwind(panic);
        }
    }
}
