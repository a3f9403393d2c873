//! The plaintext hunt: canaries in keys, values, bounds, split rows, notes and expiries, through everything an engine does to
//! bytes. No file, no catalog row, no export and no error may hold one, in any form in which bytes are commonly written down.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::catalog::{Change, SledCatalog};
use engine::clock::ManualClock;
use engine::disk::sim::Faults;
use engine::disk::{Disk, RealDisk, SimDisk};
use engine::entropy::Seeded;
use engine::ids::{KeyEpoch, LogIndex, Owner, Purpose, TableId, TabletId};
use engine::key::KeyRange;
use engine::sealed::{Keyring, Sealer};
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::Scan;
use engine::work::Done;
use engine::{Error, Stamp, limits};
use rig::oracle::row;
use rig::{C, CLUSTER, Dice, NODE, Rig, START_MS, T1, T2, TABLET, add_key, keyring};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CANARIES: usize = 480;
/// Expiries no clock of a test reaches, and no other number looks like.
const EXPIRIES: [u64; 2] = [0x5ec7_a91b_3d86_f24d, 0x6b97_42f1_c85d_1ea3];

/// So many bytes of a form prove a leak; chance does not write them.
fn width_of(form: &str, text: &[u8]) -> usize {
    text.len().min(if form.starts_with("numbers") { 36 } else { 12 })
}

/// The ways to write bytes down. Each is also searched for backwards.
fn forms_of(canary: &[u8]) -> Vec<(String, Vec<u8>)> {
    let numbers: Vec<_> = canary.iter().map(ToString::to_string).collect();
    let mut forms =
        vec![("raw".to_owned(), canary.to_vec()), ("numbers".to_owned(), numbers.join(", ").into())];
    let hex: String = canary.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(("upper hex".to_owned(), hex.to_uppercase().into_bytes()));
    forms.push(("hex".to_owned(), hex.into_bytes()));
    for (name, last) in [("base64", b"+/"), ("base64 of addresses", b"-_")] {
        forms.extend((0..3).map(|shift| (format!("{name} after {shift}"), base64(canary, shift, *last))));
    }
    let units: Vec<u16> = match std::str::from_utf8(canary) {
        Ok(text) => text.encode_utf16().collect(),
        Err(_) => canary.iter().map(|byte| u16::from(*byte)).collect(),
    };
    forms.push(("utf-16 le".to_owned(), units.iter().flat_map(|unit| unit.to_le_bytes()).collect()));
    forms.push(("utf-16 be".to_owned(), units.iter().flat_map(|unit| unit.to_be_bytes()).collect()));
    let backwards: Vec<_> = forms
        .iter()
        .map(|(name, text)| (format!("{name}, reversed"), text.iter().rev().copied().collect()))
        .collect();
    forms.extend(backwards);
    forms
}

/// Base64 of `bytes` behind `shift` bytes of something else: the digits that depend on `bytes` alone.
fn base64(bytes: &[u8], shift: usize, last: [u8; 2]) -> Vec<u8> {
    let letters = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last);
    let digits: Vec<u8> = letters.collect();
    let all: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
    let bit = |at: usize| all[at / 8] >> (7 - at % 8) & 1;
    let digit = |at: usize| (0..6).fold(0, |value, n| value << 1 | bit(at * 6 + n));
    ((shift * 8).div_ceil(6)..all.len() * 8 / 6).map(|at| digits[usize::from(digit(at))]).collect()
}

/// A whole form of one canary.
struct Sought {
    canary: usize,
    form: String,
    text: Range<usize>,
}

/// Some bytes of a form, known by the first eight.
struct Needle {
    head: u64,
    text: Range<usize>,
    sought: usize,
}

/// Finds canaries.
struct Hunter {
    texts: Vec<u8>,
    sought: Vec<Sought>,
    /// Every window of every form, by head.
    needles: Vec<Needle>,
    /// Which heads there may be, as bits.
    heads: Vec<u64>,
}

fn head_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn slot_of(head: u64) -> (usize, u32) {
    let mixed = head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    ((mixed >> 6) as usize, (mixed & 63) as u32)
}

impl Hunter {
    fn new(canaries: &[Vec<u8>]) -> Self {
        let (texts, sought, heads) = (Vec::new(), Vec::new(), vec![0; 1 << 18]);
        let mut hunter = Self { texts, sought, needles: Vec::new(), heads };
        for (canary, bytes) in canaries.iter().enumerate() {
            for (form, text) in forms_of(bytes) {
                hunter.add(canary, form, &text);
            }
        }
        hunter.needles.sort_unstable_by_key(|needle| needle.head);
        hunter
    }

    fn add(&mut self, canary: usize, form: String, text: &[u8]) {
        let from = self.texts.len();
        self.texts.extend_from_slice(text);
        let width = width_of(&form, text);
        for (at, window) in text.windows(width).enumerate() {
            let (head, sought) = (head_of(window), self.sought.len());
            let (slot, bit) = slot_of(head);
            self.heads[slot] |= 1 << bit;
            self.needles.push(Needle { head, text: from + at..from + at + width, sought });
        }
        self.sought.push(Sought { canary, form, text: from..self.texts.len() });
    }

    /// The forms of which `bytes` holds a window.
    fn hits(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let mut hits = BTreeSet::new();
        for (at, window) in bytes.windows(8).enumerate() {
            let head = head_of(window);
            let (slot, bit) = slot_of(head);
            if self.heads[slot] >> bit & 1 == 0 {
                continue;
            }
            let first = self.needles.partition_point(|needle| needle.head < head);
            let same = self.needles[first..].iter().take_while(|needle| needle.head == head);
            let found = same.filter(|needle| bytes[at..].starts_with(&self.texts[needle.text.clone()]));
            hits.extend(found.map(|needle| needle.sought));
        }
        hits
    }

    fn assert_none(&self, place: &str, bytes: &[u8]) {
        let hits = self.hits(bytes);
        let named = |hit: &usize| (self.sought[*hit].canary, &self.sought[*hit].form);
        assert!(hits.is_empty(), "{place} holds {:?}", hits.iter().map(named).take(9).collect::<Vec<_>>());
    }

    /// The canaries that `bytes` holds as they are.
    fn raw_in(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let is_raw = |hit: &usize| self.sought[*hit].form == "raw";
        self.hits(bytes).into_iter().filter(is_raw).map(|hit| self.sought[hit].canary).collect()
    }

    /// Plants every form into a copy of `sample`, and a piece of it into another, and must find both.
    fn assert_finds_all_in(&self, sample: &[u8]) {
        self.assert_none("the sample", sample);
        let (before, after) = sample.split_at(sample.len() / 2);
        for (wanted, sought) in self.sought.iter().enumerate() {
            let text = &self.texts[sought.text.clone()];
            let width = width_of(&sought.form, text);
            let middle = (text.len() - width) / 2;
            for part in [text, &text[middle..middle + width]] {
                let hits = self.hits(&[before, part, after].concat());
                let (canary, form) = (sought.canary, &sought.form);
                assert!(hits.contains(&wanted), "canary {canary} escapes as {form}");
            }
        }
    }
}

/// A canary: short, long, repeated so that it compresses, and not; text, other text, bytes. None has a zero byte, which keys
/// would escape.
fn canary(dice: &Dice, n: usize) -> Vec<u8> {
    let letters = |count: usize| -> Vec<u8> {
        let letter =
            |_| b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"[dice.below(57) as usize];
        (0..count).map(letter).collect()
    };
    match n % 8 {
        0 => letters(12),
        1 => letters(40),
        2 => dice.bytes(33).into_iter().map(|byte| byte.max(1)).collect(),
        3 => letters(13).repeat(7),
        4 => [b"{\"name\":\"", &letters(14)[..], b"\",\"phone\":\"", &letters(15), b"\"}"].concat(),
        5 => (0..13)
            .filter_map(|_| char::from_u32(0x4e00 + dice.below(8_000) as u32))
            .collect::<String>()
            .into(),
        7 if n % 56 == 7 => letters(2_100),
        _ => letters(17),
    }
}

/// What is planted, in order.
struct Plan {
    canaries: Vec<Vec<u8>>,
    next: usize,
    stamp: Stamp,
    /// Every batch applied, with the canaries in it.
    batches: Vec<(Batch, BTreeSet<usize>)>,
}

impl Plan {
    fn new(seed: u64) -> Self {
        // Far from every other sequence of a test, or a salt might be a canary.
        let dice = Dice::new(seed ^ 0xc4a4_a12e_5d07_9b63);
        let mut canaries: Vec<_> = (0..CANARIES).map(|n| canary(&dice, n)).collect();
        let numbers = EXPIRIES.iter().flat_map(|ms| [ms.to_be_bytes().to_vec(), ms.to_le_bytes().to_vec()]);
        canaries.extend(numbers);
        Self { canaries, next: 0, stamp: Stamp::new(START_MS, 0), batches: Vec::new() }
    }

    fn take(&mut self, used: &mut BTreeSet<usize>) -> Vec<u8> {
        assert!(self.next < CANARIES, "{} the plan is short of canaries", self.next);
        used.insert(self.next);
        self.next += 1;
        self.canaries[self.next - 1].clone()
    }

    /// A batch for a tablet of `range`, with every kind of write for each tenant in it.
    fn batch(&mut self, index: LogIndex, range: &KeyRange) -> Batch {
        let mut batch = Batch::new(index);
        let mut used = BTreeSet::new();
        for tenant in [T1, T2] {
            let soon = self.stamp.ms() + 3;
            for expires_ms in [0, EXPIRIES[batch.len() % 2], soon] {
                let mut maybe = BTreeSet::new();
                let key = self.take(&mut maybe);
                if range.contains(&row(tenant, &key)) {
                    used.append(&mut maybe);
                    let value = self.take(&mut used);
                    self.stamp = Stamp::new(self.stamp.ms() + 1, 0);
                    batch.put(tenant, C, &key, &value, self.stamp, expires_ms).unwrap();
                    used.extend(EXPIRIES.iter().position(|ms| *ms == expires_ms).map(|n| CANARIES + n * 2));
                }
            }
            let mut maybe = BTreeSet::new();
            let start = self.take(&mut maybe);
            let end = [&start[..], &self.take(&mut maybe)].concat();
            self.stamp = Stamp::new(self.stamp.ms() + 1, 0);
            if range.contains(&row(tenant, &start)) && range.contains(&row(tenant, &end)) {
                batch.delete_range(tenant, C, &start, Some(&end), self.stamp).unwrap();
                batch.delete(tenant, C, &end, self.stamp.next()).unwrap();
                used.append(&mut maybe);
            }
        }
        batch.set_note(&self.take(&mut used)).unwrap();
        self.batches.push((batch.clone(), used));
        batch
    }
}

/// Named bytes.
type Pieces = Vec<(String, Vec<u8>)>;

/// A pool, and everything it leaves anywhere.
struct World {
    pool: Arc<Pool>,
    disk: Arc<dyn Disk>,
    keys: Arc<Keyring>,
    clock: Arc<ManualClock>,
    export: PathBuf,
    everything: Box<dyn Fn() -> Pieces>,
    plan: Plan,
    hunter: Hunter,
    seen: BTreeMap<String, Vec<u8>>,
    searched_bytes: usize,
    half_written: usize,
}

impl World {
    /// Searches everything that has changed since the last look.
    fn look(&mut self, when: &str) {
        let pieces = (self.everything)();
        self.search(when, pieces);
    }

    fn search(&mut self, when: &str, pieces: Pieces) {
        for (name, bytes) in pieces {
            if self.seen.get(&name) == Some(&bytes) {
                continue;
            }
            self.hunter.assert_none(&format!("{when}: the name of {name}"), name.as_bytes());
            self.hunter.assert_none(&format!("{when}: {name}"), &bytes);
            self.searched_bytes += bytes.len();
            self.half_written += usize::from(name.ends_with(".dpb") && !bytes.ends_with(b"DPBE"));
            self.seen.insert(name, bytes);
        }
    }

    fn plant(&mut self) {
        for tablet in self.pool.tablets() {
            let batch = self.plan.batch(LogIndex(tablet.applied().index.0 + 1), &tablet.range());
            tablet.apply(&batch).unwrap();
        }
        self.clock.set(self.plan.stamp.ms());
    }

    fn freeze(&self) {
        self.pool.tablets().iter().for_each(|tablet| tablet.freeze());
    }

    /// Everything that is done to bytes, but for accidents.
    fn live(&mut self) {
        self.pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap();
        for round in 0..13 {
            self.plant();
            if round % 2 == 1 {
                self.freeze();
            }
            (0..2).for_each(|_| drop(self.pool.step()));
            self.look(&format!("round {round}"));
            match round {
                4 | 11 => self.pool.tablets().iter().for_each(|tablet| tablet.request_compaction()),
                6 => self.travel(TABLET),
                8 => self.split(),
                10 => self.reseal(),
                _ => continue,
            }
            self.look(&format!("after round {round}"));
            self.pool.settle();
            self.look(&format!("settled after round {round}"));
        }
        self.travel(TabletId(2));
        self.freeze();
        self.pool.settle();
        self.look("at the end");
    }

    /// A checkpoint goes out twice, to a folder and into a stream, and comes in again.
    fn travel(&mut self, id: TabletId) {
        let checkpoint = self.pool.tablet(id).unwrap().checkpoint().unwrap();
        checkpoint.export_to_dir(&*self.disk, &self.export).unwrap();
        let mut stream = Vec::new();
        checkpoint.export_to_stream(&mut stream, &BTreeSet::new()).unwrap();
        let pieces =
            vec![("a stream".into(), stream.clone()), ("a listing".into(), checkpoint.listing().into())];
        drop(checkpoint);
        self.search("export", pieces);
        let copies = [TabletId(id.0 * 100), TabletId(id.0 * 100 + 1)];
        self.pool.import_from_dir(&*self.disk, &self.export, copies[0]).unwrap();
        self.pool.import_from_stream(&mut &stream[..], copies[1]).unwrap();
        self.look("imported");
        copies.iter().for_each(|id| self.pool.drop_tablet(*id).unwrap());
    }

    fn split(&mut self) {
        let at = row(T1, &self.plan.take(&mut BTreeSet::new()));
        self.pool.split(TABLET, &at, TabletId(2), TabletId(3)).unwrap();
        let at = row(T2, &self.plan.take(&mut BTreeSet::new()));
        self.pool.split(TabletId(3), &at, TabletId(4), TabletId(5)).unwrap();
    }

    fn reseal(&mut self) {
        [T1, T2].iter().for_each(|tenant| add_key(&self.keys, Owner::Tenant(*tenant), Purpose::Data, 2));
        add_key(&self.keys, Owner::Node(NODE), Purpose::Catalog, 2);
        self.pool.request_reseal().unwrap();
        (0..3).for_each(|_| drop(self.pool.step()));
        self.look("resealing");
        self.pool.settle();
        let epochs = self.pool.tablets().into_iter().flat_map(|tablet| tablet.coverage().into_keys());
        assert!(epochs.into_iter().all(|(_, epoch)| epoch == KeyEpoch(2)), "all is resealed");
    }

    /// What was planted is there to be found, and is found wherever it is written in clear: in a file, in a catalog row.
    fn assert_bites(&self) {
        let mut read = Vec::new();
        for tablet in self.pool.tablets() {
            let view = tablet.view(self.plan.stamp.ms()).unwrap();
            let there = [T1, T2].map(|tenant| view.scan(&Scan::all(tenant, C), None));
            let entries = there.into_iter().flatten().flat_map(|page| page.entries);
            entries.for_each(|entry| read.extend_from_slice(&[&entry.key[..], &entry.found.value].concat()));
        }
        assert!(self.hunter.raw_in(&read).len() > 60, "readers see what was planted");
        let sample = self.seen.iter().find(|(name, _)| name.ends_with(".dpb")).unwrap().1;
        self.hunter.assert_finds_all_in(sample);
        let mut planted = BTreeSet::new();
        let mut clear = Vec::new();
        for (batch, used) in &self.plan.batches {
            let encoded = batch.encode();
            assert!(self.hunter.raw_in(&encoded).is_superset(used), "a batch in clear");
            let packed = lz4_flex::block::compress(&encoded);
            let missing: Vec<_> = used.difference(&self.hunter.raw_in(&packed)).map(|n| (*n, self.plan.canaries[*n].clone())).collect();
            println!("missing {missing:?}");
            planted.extend(used);
            clear.extend(encoded);
        }
        assert!(planted.len() > 200, "{} canaries were planted", planted.len());
        let file = self.disk.create(&self.export.join("clear")).unwrap();
        file.write_all_at(&clear, 0).unwrap();
        let row = Change::Put { key: b"clear".to_vec(), value: clear };
        self.pool.catalog().commit(&[row]).unwrap();
        let pieces = (self.everything)();
        let (files, others): (Pieces, Pieces) =
            pieces.into_iter().partition(|(name, _)| name.ends_with("/clear"));
        let found = |pieces: &Pieces| -> BTreeSet<usize> {
            pieces.iter().flat_map(|(_, bytes)| self.hunter.raw_in(bytes)).collect()
        };
        assert!(found(&files) == planted, "a file in clear");
        assert!(found(&others) == planted, "a catalog row in clear");
    }
}

/// Every file of a simulated disk and every row of the catalog that shares its fate.
fn everything_of(rig: &Rig) -> Pieces {
    let files = rig.disk.files().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes));
    let rows = rig.catalog.all().into_iter();
    files.chain(rows.map(|(key, value)| (format!("row {key:?}"), [&key[..], &value].concat()))).collect()
}

fn world(rig: Rig, plan: Plan) -> (Arc<Rig>, World) {
    let rig = Arc::new(rig);
    let held = rig.clone();
    let hunter = Hunter::new(&plan.canaries);
    let world = World {
        pool: rig.open(),
        disk: Arc::new(rig.disk.clone()),
        keys: rig.keys.clone(),
        clock: rig.clock.clone(),
        export: "/export".into(),
        everything: Box::new(move || everything_of(&held)),
        plan,
        hunter,
        seen: BTreeMap::new(),
        searched_bytes: 0,
        half_written: 0,
    };
    (rig, world)
}

/// Writes fail, leaving halves; then the power goes, at each operation of a flush.
fn suffer(rig: &Rig, world: &mut World) {
    world.plant();
    world.freeze();
    rig.disk.set_faults(Faults { fail_writes: true, ..Faults::default() });
    while !matches!(world.pool.step(), Done::Failed(_) | Done::Nothing) {}
    world.look("writes fail");
    rig.disk.set_faults(Faults::default());
    rig.clock.advance(limits::RETRY_MS);
    world.pool.settle();
    for operation in 1..=6 {
        let when = format!("crash at operation {operation} of a flush");
        world.plant();
        world.freeze();
        let crash_at = Some(rig.disk.operations() + operation);
        rig.disk.set_faults(Faults { crash_at, ..Faults::default() });
        (0..20).for_each(|_| drop(world.pool.step()));
        assert!(rig.disk.is_down(), "{when}");
        world.look(&when);
        rig.disk.restart();
        world.pool.close();
        world.pool = rig.open();
        world.look(&when);
        world.pool.settle();
    }
}

#[test]
fn no_byte_of_a_tenant_rests_in_clear() {
    let (rig, mut world) = world(Rig::new(1), Plan::new(1));
    world.live();
    suffer(&rig, &mut world);
    println!("{} bytes searched, {} half-written files", world.searched_bytes, world.half_written);
    assert!(world.searched_bytes > 300_000 && world.half_written > 2);
    world.assert_bites();
}

fn files_below(dir: &Path, pieces: &mut Pieces) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, pieces),
            false => pieces.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
}

#[test]
fn no_byte_of_a_tenant_rests_in_clear_in_a_real_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, keys, clock) = (Plan::new(2), keyring(), Arc::new(ManualClock::new(START_MS)));
    let parts = Parts {
        disk: Arc::new(RealDisk),
        catalog: SledCatalog::opener(),
        sealer: Arc::new(Sealer::new(CLUSTER, keys.clone(), Arc::new(Seeded::new(2))).unwrap()),
        clock: clock.clone(),
        node: NODE,
    };
    let root = dir.path().to_owned();
    let everything = Box::new(move || {
        let mut pieces = Pieces::new();
        files_below(&root, &mut pieces);
        pieces
    });
    let mut world = World {
        pool: Pool::open(PoolConfig { dir: dir.path().join("pool"), ..rig::small_config() }, parts).unwrap(),
        disk: Arc::new(RealDisk),
        keys,
        clock,
        export: dir.path().join("export"),
        everything,
        hunter: Hunter::new(&plan.canaries),
        plan,
        seen: BTreeMap::new(),
        searched_bytes: 0,
        half_written: 0,
    };
    world.live();
    println!("{} bytes searched", world.searched_bytes);
    for (a,b) in &world.seen { println!("{a} {}", b.len()); }
    println!("{}", world.plan.next);
    assert!(world.seen.keys().any(|name| name.contains("/catalog/")), "sled's own files are searched");
    world.assert_bites();
}
