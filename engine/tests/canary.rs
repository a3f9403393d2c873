//! The plaintext hunt: no file, catalog row, export or error may hold a planted canary, in any form in which bytes are written.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::catalog::{Change, SledCatalog};
use engine::disk::sim::Faults;
use engine::disk::{Disk, RealDisk};
use engine::ids::{KeyEpoch, LogIndex, Owner, Purpose, TabletId};
use engine::key::KeyRange;
use engine::sealed::SecretKey;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Parts, Pool};
use engine::tablet::view::{Scan, View};
use engine::work::Done;
use engine::{Error, Stamp, limits};
use rig::oracle::row;
use rig::{C, Dice, NODE, Rig, START_MS, T1, T2, TABLET, add_key};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CANARIES: usize = 1_400;
/// Expiries no clock of a test reaches, and no other number looks like.
const EXPIRIES: [u64; 2] = [0x5ec7_a91b_3d86_f24d, 0x6b97_42f1_c85d_1ea3];

/// So many bytes of a form prove a leak; chance does not write them.
fn width_of(form: &str, text: &[u8]) -> usize {
    text.len().min(if form.starts_with("numbers") { 36 } else { 10 })
}

/// The ways to write bytes down. Each is also searched for backwards.
fn forms_of(canary: &[u8]) -> Vec<(String, Vec<u8>)> {
    let numbers: Vec<_> = canary.iter().map(ToString::to_string).collect();
    let hex: String = canary.iter().map(|byte| format!("{byte:02x}")).collect();
    let units: Vec<u16> = match std::str::from_utf8(canary) {
        Ok(text) => text.encode_utf16().collect(),
        Err(_) => canary.iter().map(|byte| u16::from(*byte)).collect(),
    };
    let mut forms: Vec<(String, Vec<u8>)> = vec![
        ("raw".into(), canary.to_vec()),
        ("numbers".into(), numbers.join(", ").into()),
        ("upper hex".into(), hex.to_uppercase().into()),
        ("hex".into(), hex.into()),
        ("utf-16 le".into(), units.iter().flat_map(|unit| unit.to_le_bytes()).collect()),
        ("utf-16 be".into(), units.iter().flat_map(|unit| unit.to_be_bytes()).collect()),
    ];
    for (last, shift) in (0..6).map(|n| ([*b"+/", *b"-_"][n / 3], n % 3)) {
        forms.push((format!("base64 {last:?} after {shift}"), base64(canary, shift, last)));
    }
    let reversed = |(name, text): &(String, Vec<u8>)| {
        (format!("{name}, reversed"), text.iter().rev().copied().collect::<Vec<u8>>())
    };
    let backwards: Vec<_> = forms.iter().map(reversed).collect();
    [forms, backwards].concat()
}

/// Base64 of `bytes` behind `shift` bytes of something else: the digits that depend on `bytes` alone.
fn base64(bytes: &[u8], shift: usize, last: [u8; 2]) -> Vec<u8> {
    let digits: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let all: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
    let bit = |at: usize| all[at / 8] >> (7 - at % 8) & 1;
    let digit = |at: usize| (0..6).fold(0, |value, n| value << 1 | bit(at * 6 + n));
    ((shift * 8).div_ceil(6)..all.len() * 8 / 6).map(|at| digits[usize::from(digit(at))]).collect()
}

struct Hunter {
    texts: Vec<u8>,
    /// Each canary in each form, and where that is in the texts.
    sought: Vec<(usize, String, Range<usize>)>,
    /// Every window of every form by its first eight bytes: where in the texts, and what is sought by it.
    needles: Vec<(u64, Range<usize>, usize)>,
    /// Which first eight bytes there may be, as bits.
    heads: Vec<u64>,
}

fn head_of(bytes: &[u8]) -> (u64, usize, u32) {
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let mixed = head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37;
    (head, (mixed >> 6) as usize, (mixed & 63) as u32)
}

impl Hunter {
    fn new(canaries: &[Vec<u8>]) -> Self {
        let (texts, sought, needles, heads) = (Vec::new(), Vec::new(), Vec::new(), vec![0; 1 << 21]);
        let mut hunter = Self { texts, sought, needles, heads };
        for (canary, bytes) in canaries.iter().enumerate() {
            for (form, text) in forms_of(bytes) {
                let (from, width) = (hunter.texts.len(), width_of(&form, &text));
                for (at, window) in text.windows(width).enumerate() {
                    let (head, word, bit) = head_of(window);
                    hunter.heads[word] |= 1 << bit;
                    hunter.needles.push((head, from + at..from + at + width, hunter.sought.len()));
                }
                hunter.texts.extend_from_slice(&text);
                hunter.sought.push((canary, form, from..hunter.texts.len()));
            }
        }
        hunter.needles.sort_unstable_by_key(|(head, _, _)| *head);
        hunter
    }

    /// What is sought of which `bytes` hold a window.
    fn hits(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let mut hits = BTreeSet::new();
        for (at, window) in bytes.windows(8).enumerate() {
            let (head, word, bit) = head_of(window);
            if self.heads[word] >> bit & 1 == 1 {
                let first = self.needles.partition_point(|(other, _, _)| *other < head);
                let same = self.needles[first..].iter().take_while(|(other, _, _)| *other == head);
                let found = same.filter(|(_, text, _)| bytes[at..].starts_with(&self.texts[text.clone()]));
                hits.extend(found.map(|(_, _, sought)| *sought));
            }
        }
        hits
    }

    fn assert_none(&self, place: &str, bytes: &[u8]) {
        let hits: Vec<_> = self.hits(bytes).into_iter().map(|hit| &self.sought[hit]).collect();
        assert!(hits.is_empty(), "{place} holds canaries: {hits:?}");
    }

    /// The canaries that `bytes` hold as they are.
    fn raw_in(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let hits = self.hits(bytes).into_iter().map(|hit| &self.sought[hit]);
        hits.filter(|(_, form, _)| form == "raw").map(|(canary, _, _)| *canary).collect()
    }

    /// Plants every form into a copy of `sample`, and a piece of it into another, and must find both.
    fn assert_finds_all_in(&self, sample: &[u8]) {
        let (before, after) = sample.split_at(sample.len() / 2);
        for (wanted, (canary, form, text)) in self.sought.iter().enumerate() {
            let text = &self.texts[text.clone()];
            let width = width_of(form, text);
            let middle = (text.len() - width) / 2;
            for part in [text, &text[middle..middle + width]] {
                let hits = self.hits(&[before, part, after].concat());
                assert!(hits.contains(&wanted), "canary {canary} escapes as {form}");
            }
        }
    }
}

/// A canary: short, long, repeated so that it compresses, and not; text, other text, bytes. None has a zero byte, which keys
/// would escape.
fn canary(dice: &Dice, n: usize) -> Vec<u8> {
    let letter = |_| b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"[dice.below(57) as usize];
    let letters = |count: usize| (0..count).map(letter).collect::<Vec<u8>>();
    let other = |_| char::from_u32(0x4e00 + dice.below(8_000) as u32);
    match n % 8 {
        0 => letters(12),
        1 => letters(40),
        2 => dice.bytes(33).into_iter().map(|byte| byte.max(1)).collect(),
        3 => letters(13).repeat(7),
        4 => [b"{\"name\":\"", &letters(14)[..], b"\",\"tel\":\"", &letters(15), b"\"}"].concat(),
        5 => (0..13).filter_map(other).collect::<String>().into(),
        7 if n % 56 == 7 => letters(2_100),
        _ => letters(17),
    }
}

type Pieces = Vec<(String, Vec<u8>)>;

/// A pool, and everything it leaves anywhere: on the rig's disk and in its catalog, or in a real folder.
struct World {
    rig: Rig,
    folder: Option<PathBuf>,
    pool: Arc<Pool>,
    disk: Arc<dyn Disk>,
    canaries: Vec<Vec<u8>>,
    planted: usize,
    stamp: Stamp,
    batches: Vec<Batch>,
    hunter: Hunter,
    seen: BTreeMap<String, Vec<u8>>,
    half_written: usize,
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

impl World {
    fn new(folder: Option<&Path>, seed: u64) -> Self {
        let mut rig = Rig::new(seed);
        let mut disk: Arc<dyn Disk> = Arc::new(rig.disk.clone());
        let mut catalog = rig.catalog.opener();
        if let Some(dir) = folder {
            rig.config.dir = dir.join("pool");
            (disk, catalog) = (Arc::new(RealDisk), SledCatalog::opener());
        }
        let (sealer, clock) = (rig.sealer(), rig.clock.clone());
        let parts = Parts { disk: disk.clone(), catalog, sealer, clock, node: NODE };
        let pool = Pool::open(rig.config.clone(), parts).unwrap();
        // Far from every other sequence of a test, or a salt might be a canary.
        let dice = Dice::new(seed ^ 0xc4a4_a12e_5d07_9b63);
        let mut canaries: Vec<_> = (0..CANARIES).map(|n| canary(&dice, n)).collect();
        canaries.extend(EXPIRIES.iter().flat_map(|ms| [ms.to_be_bytes().into(), ms.to_le_bytes().into()]));
        let (hunter, folder) = (Hunter::new(&canaries), folder.map(Path::to_owned));
        let (planted, half_written, stamp) = (0, 0, Stamp::new(START_MS, 0));
        let (batches, seen) = (Vec::new(), BTreeMap::new());
        Self { rig, folder, pool, disk, canaries, planted, stamp, batches, hunter, seen, half_written }
    }

    fn take(&mut self) -> Vec<u8> {
        assert!(self.planted < CANARIES, "there are too few canaries");
        self.planted += 1;
        self.canaries[self.planted - 1].clone()
    }

    /// Applies a batch with every kind of write for each tenant.
    fn plant(&mut self, tablet: &Tablet) {
        let mut batch = Batch::new(LogIndex(tablet.applied().index.0 + 1));
        for tenant in [T1, T2] {
            let here = |key: &[u8]| tablet.range().contains(&row(tenant, key));
            for expires_ms in [0, EXPIRIES[batch.len() % 2], self.stamp.ms() + 3] {
                self.stamp = Stamp::new(self.stamp.ms() + 1, 0);
                let key = self.take();
                if here(&key) {
                    batch.put(tenant, C, &key, &self.take(), self.stamp, expires_ms).unwrap();
                }
            }
            self.stamp = Stamp::new(self.stamp.ms() + 1, 0);
            let start = self.take();
            let end = [&start[..], &self.take()].concat();
            if here(&start) && here(&end) {
                batch.delete_range(tenant, C, &start, Some(&end), self.stamp).unwrap();
                batch.delete(tenant, C, &end, self.stamp).unwrap();
            }
        }
        batch.set_note(&self.take()).unwrap();
        tablet.apply(&batch).unwrap();
        self.rig.clock.set(self.stamp.ms());
        self.batches.push(batch);
    }

    fn everything(&self) -> Pieces {
        let mut pieces = Pieces::new();
        if let Some(folder) = &self.folder {
            files_below(folder, &mut pieces);
        }
        let (files, rows) = (self.rig.disk.files().into_iter(), self.rig.catalog.all().into_iter());
        pieces.extend(files.map(|(path, bytes)| (path.display().to_string(), bytes)));
        pieces.extend(rows.map(|(key, value)| (format!("row {key:?}"), [&key[..], &value].concat())));
        pieces
    }

    fn look(&mut self, when: &str) {
        for (name, bytes) in self.everything() {
            if self.seen.get(&name) == Some(&bytes) {
                continue;
            }
            self.hunter.assert_none(&format!("{when}: the name of {name}"), name.as_bytes());
            self.hunter.assert_none(&format!("{when}: {name}"), &bytes);
            self.half_written += usize::from(name.ends_with(".dpb") && !bytes.ends_with(b"DPBE"));
            self.seen.insert(name, bytes);
        }
    }

    /// Everything that is done to bytes, but for accidents.
    fn live(&mut self) {
        self.pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap();
        for round in 0..13 {
            self.pool.tablets().iter().for_each(|tablet| self.plant(tablet));
            if round % 2 == 1 {
                self.pool.tablets().iter().for_each(|tablet| tablet.freeze());
            }
            let _: Vec<_> = (0..2).map(|_| self.pool.step()).collect();
            self.look(&format!("round {round}"));
            match round {
                4 | 11 => self.pool.tablets().iter().for_each(|tablet| tablet.request_compaction()),
                6 | 12 => self.travel(),
                8 => self.split(),
                10 => self.reseal(),
                _ => continue,
            }
            self.look(&format!("after round {round}"));
            self.pool.settle();
            self.look(&format!("settled after round {round}"));
        }
    }

    fn export(&self, name: &str, bytes: &[u8]) {
        let path = self.rig.config.dir.with_file_name("export").join(name);
        self.disk.create(&path).unwrap().write_all_at(bytes, 0).unwrap();
    }

    /// A checkpoint goes out twice, to a folder and into a stream, and comes in again.
    fn travel(&mut self) {
        let tablet = self.pool.tablets().remove(0);
        let (checkpoint, dir) = (tablet.checkpoint().unwrap(), self.rig.config.dir.with_file_name("export"));
        checkpoint.export_to_dir(&*self.disk, &dir).unwrap();
        let mut stream = Vec::new();
        checkpoint.export_to_stream(&mut stream, &BTreeSet::new()).unwrap();
        self.export(&format!("stream of {}", tablet.id()), &stream);
        self.look("exported");
        let copies = [TabletId(tablet.id().0 * 100), TabletId(tablet.id().0 * 100 + 1)];
        self.pool.import_from_dir(&*self.disk, &dir, copies[0]).unwrap();
        self.pool.import_from_stream(&mut &stream[..], copies[1]).unwrap();
        self.look("imported");
        copies.iter().for_each(|id| self.pool.drop_tablet(*id).unwrap());
    }

    fn split(&mut self) {
        let rows = [row(T1, &self.take()), row(T2, &self.take())];
        for (parent, at) in [1, 3].into_iter().zip(&rows) {
            self.pool.split(TabletId(parent), at, TabletId(parent + 1), TabletId(parent + 2)).unwrap();
        }
    }

    fn reseal(&mut self) {
        [T1, T2].iter().for_each(|tenant| add_key(&self.rig.keys, Owner::Tenant(*tenant), Purpose::Data, 2));
        add_key(&self.rig.keys, Owner::Node(NODE), Purpose::Catalog, 2);
        self.pool.request_reseal().unwrap();
        self.pool.step();
        self.look("resealing");
        self.pool.settle();
        let mut epochs = self.pool.tablets().into_iter().flat_map(|tablet| tablet.coverage().into_keys());
        assert!(epochs.all(|(_, epoch)| epoch == KeyEpoch(2)), "all is resealed");
    }

    /// One operation of a flush after the other fails, which leaves halves; then the power goes at each.
    fn suffer(&mut self) {
        for (operation, is_crash) in (0..40).map(|n| (1 + n % 5, n >= 20)) {
            let when = format!("operation {operation} of a flush, crash {is_crash}");
            let tablet = self.pool.tablet(TabletId(4)).unwrap();
            self.plant(&tablet);
            tablet.freeze();
            let at = self.rig.disk.operations() + operation;
            self.rig.disk.set_faults(match is_crash {
                true => Faults { crash_at: Some(at), ..Faults::default() },
                false => Faults { fail_at: BTreeSet::from([at]), ..Faults::default() },
            });
            while !matches!(self.pool.step(), Done::Failed(_) | Done::Nothing) {}
            self.look(&when);
            if is_crash {
                assert!(self.rig.disk.is_down(), "{when}");
                self.rig.disk.restart();
                self.pool.close();
                self.pool = self.rig.open();
                self.look(&when);
            }
            self.rig.clock.advance(limits::RETRY_MS);
            self.pool.settle();
            self.look(&when);
        }
    }

    /// What was planted is there to be found, and is found wherever it is written in clear: in a file, in a catalog row.
    fn assert_bites(&self) {
        let page = |view: &View, tenant| view.scan(&Scan::all(tenant, C), None).ok();
        let views = self.pool.tablets().into_iter().map(|tablet| tablet.view(self.stamp.ms()).unwrap());
        let entries =
            views.flat_map(|view| [page(&view, T1), page(&view, T2)]).flatten().flat_map(|p| p.entries);
        let read: Vec<_> = entries.map(|entry| [&entry.key[..], &entry.found.value].concat()).collect();
        assert!(self.hunter.hits(&read.concat()).len() > 60, "readers see what was planted");
        let tables = self.seen.values().filter(|bytes| bytes.ends_with(b"DPBE"));
        self.hunter.assert_finds_all_in(tables.min_by_key(|bytes| bytes.len()).unwrap());
        let encoded: Vec<_> = self.batches.iter().map(Batch::encode).collect();
        let mut planted = BTreeSet::new();
        for bytes in &encoded {
            let is_in =
                |(_, canary): &(usize, &Vec<u8>)| bytes.windows(canary.len()).any(|part| part == &canary[..]);
            let there: BTreeSet<_> = self.canaries.iter().enumerate().filter(is_in).map(|(n, _)| n).collect();
            let packed = lz4_flex::block::compress(bytes);
            assert!(self.hunter.raw_in(&packed).is_superset(&there), "a batch that is only compressed");
            planted.extend(there);
        }
        assert!(planted.len() > 200, "{} canaries were planted", planted.len());
        let clear = encoded.concat();
        self.export("clear", &clear);
        self.pool.catalog().commit(&[Change::Put { key: b"clear".to_vec(), value: clear }]).unwrap();
        let is_file = |(name, _): &(String, Vec<u8>)| name.ends_with("/clear");
        let (files, rows): (Pieces, Pieces) = self.everything().into_iter().partition(is_file);
        for (what, pieces) in [("file", files), ("catalog row", rows)] {
            let found: BTreeSet<_> = pieces.iter().flat_map(|(_, bytes)| self.hunter.raw_in(bytes)).collect();
            assert!(found.is_superset(&planted), "a {what} in clear");
        }
    }
}

#[test]
fn no_byte_of_a_tenant_rests_in_clear() {
    let mut world = World::new(None, 1);
    world.live();
    world.suffer();
    assert!(world.seen.len() > 60 && world.half_written > 3, "{} {}", world.seen.len(), world.half_written);
    world.assert_bites();
}

#[test]
fn no_byte_of_a_tenant_rests_in_clear_in_a_real_folder() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(Some(dir.path()), 2);
    world.live();
    assert!(world.seen.keys().any(|name| name.ends_with("/catalog/db")), "sled's own files are searched");
    world.assert_bites();
}

/// What the engine says of calls that fail, by variant.
#[derive(Default)]
struct Told(BTreeMap<String, String>);

impl Told {
    fn note<T>(&mut self, result: engine::Result<T>) {
        if let Err(error) = result {
            let debug = format!("{error:?}");
            let variant = debug.split(['(', ' ']).next().unwrap().to_owned();
            self.0.entry(variant).or_default().push_str(&format!("{error} {debug}\n"));
        }
    }

    /// Calls that break a rule, with a canary in hand.
    fn misuse(&mut self, pool: &Pool, canary: &[u8]) {
        let tablet = pool.tablets().remove(0);
        let (long, stamp) = (canary.repeat(2_000), tablet.applied_stamp().next());
        let mut batch = Batch::new(LogIndex(999));
        self.note(batch.put(T1, C, &long, canary, stamp, 0));
        self.note(batch.set_note(&long));
        self.note(batch.delete_range(T1, C, canary, Some(canary), stamp));
        batch.put(T2, C, canary, canary, stamp, 0).unwrap();
        self.note(tablet.apply(&batch));
        let encoded = batch.encode();
        for at in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[at] ^= 0x81;
            self.note(Batch::decode(&changed));
            self.note(engine::key::decode_row(&changed[at..]).map_err(Error::from));
        }
        batch.put(T2, C, canary, canary, stamp, 0).unwrap();
        self.note(tablet.apply(&batch));
        let view = tablet.view(START_MS).unwrap();
        self.note(view.get(T1, C, &long));
        self.note(view.get(T2, C, canary));
        self.note(tablet.view_as_of(Stamp::MAX));
        self.note(pool.split(tablet.id(), &row(T2, canary), TabletId(8), TabletId(9)));
        self.note(tablet.apply(&Batch::new(LogIndex(1))));
    }

    /// Reads and background work of a copy of `rig` after some harm, and what its pool tells of itself.
    fn harm(&mut self, rig: &Rig, harm: impl FnOnce(&Rig)) {
        let (disk, keys, clock) = (rig.disk.clone_disk(1), rig.keys.clone(), rig.clock.clone());
        let (catalog, entropy) = (rig.catalog.deep_clone(Some(disk.clone())), rig.entropy.clone());
        let rig = Rig { disk, catalog, keys, clock, entropy, config: rig.config.clone() };
        harm(&rig);
        let pool = rig.try_open();
        let Ok(pool) = pool else { return self.note(pool) };
        pool.request_scrub(true);
        let mut told = String::new();
        for tablet in pool.tablets() {
            let view = tablet.view(START_MS).unwrap();
            [T1, T2].iter().for_each(|tenant| self.note(view.scan(&Scan::all(*tenant, C), None)));
            let index = LogIndex(tablet.applied().index.0 + 1);
            self.note(tablet.apply(&Batch::new(index)));
            tablet.freeze();
            tablet.request_compaction();
            let _: Vec<_> = (0..3).map(|_| pool.step()).collect();
            self.note(tablet.apply(&Batch::new(LogIndex(index.0 + 1))));
            told += &format!("{:?}", tablet.health());
        }
        told += &format!("{:?} {:?} {:?}", pool.unreadable(), pool.scrub_report(), pool.stats());
        self.0.entry("its state".to_owned()).or_default().push_str(&told);
    }
}

#[test]
fn no_error_tells_a_byte_of_a_tenant() {
    let mut world = World::new(None, 3);
    world.live();
    let mut told = Told::default();
    told.misuse(&world.pool, &world.canaries[1]);
    let World { rig, pool, hunter, .. } = world;
    pool.close();
    told.note(pool.tablets()[0].view(START_MS));
    told.note(rig.try_open());
    for (path, bytes) in rig.disk.files() {
        for at in (0..bytes.len()).step_by(bytes.len() / 12 + 1) {
            told.harm(&rig, |rig| rig.disk.tamper(&path, |bytes| bytes[at] ^= 4).unwrap());
        }
    }
    for row in rig.catalog.all().into_keys() {
        told.harm(&rig, |rig| rig.catalog.tamper(&row, |bytes| bytes[70] ^= 4));
    }
    let fail_at = (rig.disk.operations() + 40..).take(99).collect();
    told.harm(&rig, |rig| rig.disk.set_faults(Faults { fail_at, ..Faults::default() }));
    let (owner, purpose, epoch) = (Owner::Tenant(T1), Purpose::Data, KeyEpoch(2));
    told.harm(&rig, |rig| rig.keys.forget(owner, purpose, epoch));
    told.harm(&rig, |rig| rig.keys.insert(owner, purpose, epoch, SecretKey::new([7; 32])).unwrap());
    assert!(told.0.len() >= 13, "too few kinds of errors: {:?}", told.0.keys());
    told.0.values().for_each(|text| hunter.assert_none("an error", text.as_bytes()));
}
