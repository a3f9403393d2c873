//! The nonce audit: of every block and every envelope there ever was, one key and one nonce have sealed one text. Randomness that
//! repeats itself is the hostile case: after a restart, on a cloned machine, from a source that is worn out.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::checkpoint::listing::UnverifiedListing;
use engine::clock::Clock;
use engine::disk::sim::Faults;
use engine::entropy::{Entropy, Seeded};
use engine::ids::{LogIndex, Owner, Purpose, TabletId};
use engine::key::KeyRange;
use engine::sealed::Sealer;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Parts, Pool};
use engine::work::Done;
use engine::{Stamp, limits};
use rig::{C, CLUSTER, Dice, NODE, Rig, T1, T2, TABLET, add_key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const HEADER_BYTES: usize = 96;
const ROW_BYTES: usize = 112;
const FOOTER_BYTES: usize = 104;
const TAG_BYTES: usize = 16;

/// What names a key without telling it, and the nonce used with it.
type Use = (Vec<u8>, [u8; 12]);

/// What was sealed by one key with one nonce: ciphertext and tag, or as much of them as reached the disk.
struct Sealed {
    bytes: Vec<u8>,
    is_whole: bool,
}

/// A frame, as it stands in a file.
struct Frame {
    stripe: u32,
    nonce: [u8; 12],
    sealed: Sealed,
}

#[derive(Default)]
struct Audit {
    uses: BTreeMap<Use, Sealed>,
    /// What was looked at last, by place: what has not changed is not looked at again.
    seen: BTreeMap<String, Vec<u8>>,
    blocks: usize,
    envelopes: usize,
    half_written: usize,
    /// A crash has left holes where bytes were: what is not whole tells nothing.
    has_holes: bool,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The frames of a block file, whole or cut off. One that is torn inside tells nothing, and is passed over.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (mut all, mut at, mut number) = (Vec::new(), HEADER_BYTES, 0);
    let is_ended = bytes.ends_with(b"DPBE");
    let end = if is_ended { footer_at(bytes).0 } else { bytes.len() };
    while at + 24 < end {
        let n = u32_at(bytes, at + 4) as usize;
        if u32_at(bytes, at) != number
            || n > limits::RAW_BLOCK_BYTES_MAX + 4
            || bytes[at + 14..at + 16] != [0; 2]
        {
            break;
        }
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&bytes[at..at + 4]);
        nonce[4..].copy_from_slice(&bytes[at + 16..at + 24]);
        let sealed_to = at + 24 + n + TAG_BYTES;
        let is_whole =
            sealed_to + 4 <= end && crc32fast::hash(&bytes[at..sealed_to]) == u32_at(bytes, sealed_to);
        if is_whole || sealed_to + 4 > end {
            let sealed = Sealed { bytes: bytes[at + 24..sealed_to.min(end)].to_vec(), is_whole };
            all.push(Frame { stripe: u32_at(bytes, at + 8), nonce, sealed });
        }
        (at, number) = (sealed_to + 4, number + 1);
    }
    let is_right = || at == end && number == u32_at(bytes, bytes.len() - FOOTER_BYTES + 20);
    assert!(!is_ended || is_right(), "the frames of a whole file fill it, and are as many as it says");
    all
}

/// Where the directory of a whole file begins, and its rows.
fn footer_at(bytes: &[u8]) -> (usize, usize) {
    let footer = bytes.len() - FOOTER_BYTES;
    let offset = u64::from_be_bytes(bytes[footer..footer + 8].try_into().unwrap());
    (usize::try_from(offset).unwrap(), u32_at(bytes, footer + 16) as usize)
}

impl Audit {
    /// Takes note of a use; objects if key and nonce have sealed something else before.
    fn note(&mut self, key: &[&[u8]], nonce: [u8; 12], sealed: Sealed) -> Result<(), String> {
        let before = self
            .uses
            .entry((key.concat(), nonce))
            .or_insert_with(|| Sealed { bytes: Vec::new(), is_whole: false });
        let common = before.bytes.len().min(sealed.bytes.len());
        let is_shorter = |one: &Sealed, other: &Sealed| one.is_whole && one.bytes.len() < other.bytes.len();
        let is_same = before.bytes[..common] == sealed.bytes[..common];
        if !is_same || is_shorter(before, &sealed) || is_shorter(&sealed, before) {
            return Err(format!("key {:02x?} has sealed two texts with nonce {nonce:02x?}", key.concat()));
        }
        if sealed.bytes.len() > before.bytes.len() || sealed.is_whole {
            *before = sealed;
        }
        Ok(())
    }

    /// A file's keys are named by its salt, id and stripe; by the commitments too, once it has a directory.
    fn file(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() < HEADER_BYTES || crc32fast::hash(&bytes[..92]) != u32_at(bytes, 92) {
            self.half_written += 1;
            return Ok(());
        }
        assert_eq!(bytes[..8], *b"DPB1\0\x01\x01\x01");
        let is_ended = bytes.ends_with(b"DPBE");
        self.half_written += usize::from(!is_ended);
        let found = frames(bytes).into_iter().filter(|frame| frame.sealed.is_whole || !self.has_holes);
        for Frame { stripe, nonce, sealed } in found.collect::<Vec<_>>() {
            self.blocks += 1;
            if is_ended {
                let row = footer_at(bytes).0 + stripe as usize * ROW_BYTES;
                let again = Sealed { bytes: sealed.bytes.clone(), is_whole: true };
                self.note(&[b"commitment", &bytes[row + 24..row + 56]], nonce, again)?;
            }
            self.note(&[b"file", &bytes[32..80], &stripe.to_be_bytes()], nonce, sealed)?;
        }
        Ok(())
    }

    fn envelope(&mut self, bytes: &[u8]) -> Result<(), String> {
        assert!(bytes.len() >= 96 && bytes[..2] == [1, 1], "a row of the catalog is an envelope");
        self.envelopes += 1;
        let sealed = Sealed { bytes: bytes[80..].to_vec(), is_whole: true };
        self.note(&[b"envelope", &bytes[16..80]], [0; 12], sealed)
    }

    /// The sealed part of a checkpoint's listing.
    fn listing(&mut self, bytes: &[u8]) {
        let files = UnverifiedListing::decode(bytes).unwrap().files;
        let clear: usize = 52 + files.iter().map(|file| 64 + 32 * file.stripes.len()).sum::<usize>();
        assert_eq!(clear + 8 + u32_at(bytes, clear) as usize, bytes.len());
        self.envelope(&bytes[clear + 4..bytes.len() - 4]).unwrap_or_else(|complaint| panic!("{complaint}"));
    }

    /// How many times a block with the number of another was sealed under its key, with a nonce of its own: what would have
    /// been a nonce used twice if only randomness had made it.
    fn escapes(&self) -> usize {
        let uses: Vec<_> = self.uses.keys().filter(|(key, _)| key.starts_with(b"file")).collect();
        let is_escape = |pair: &&[&Use]| pair[0].0 == pair[1].0 && pair[0].1[..4] == pair[1].1[..4];
        uses.windows(2).filter(is_escape).count()
    }

    fn assert_ample(&self, what: &str) {
        let Self { blocks, envelopes, half_written, .. } = self;
        let escapes = self.escapes();
        println!(
            "{what}: {blocks} blocks, {envelopes} envelopes, {escapes} escapes, {half_written} half-written"
        );
        assert!(*blocks > 1_000 && *envelopes > 300 && escapes > 200, "too little to mean anything");
    }

    /// Audits everything on a machine.
    fn look(&mut self, name: &str, rig: &Rig) {
        let files =
            rig.disk.files().into_iter().map(|(path, bytes)| (format!("{name}{}", path.display()), bytes));
        for (place, bytes) in files.filter(|(place, _)| place.contains(".dpb")) {
            if self.seen.get(&place) != Some(&bytes) {
                self.file(&bytes).unwrap_or_else(|complaint| panic!("{place}: {complaint}"));
                self.seen.insert(place, bytes);
            }
        }
        for (row, bytes) in rig.catalog.all() {
            let place = format!("{name} row {row:?}");
            if self.seen.get(&place) != Some(&bytes) {
                self.envelope(&bytes).unwrap_or_else(|complaint| panic!("{place}: {complaint}"));
                self.seen.insert(place, bytes);
            }
        }
    }
}

/// Hands out table ids in turn, and the same bytes for everything else.
struct WornOut(AtomicU64);

impl Entropy for WornOut {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0x55);
        if out.len() == 16 {
            out[..8].copy_from_slice(&(self.0.fetch_add(1, Ordering::SeqCst) % 61).to_be_bytes());
        }
    }
}

/// One machine: what it writes follows from its dice, in places and lengths that are the same on every machine.
struct Machine {
    name: String,
    rig: Rig,
    dice: Dice,
    pool: Option<Arc<Pool>>,
}

impl Machine {
    fn new(name: &str, rig: Rig, data: u64) -> Self {
        Self { name: name.to_owned(), rig, dice: Dice::new(data ^ 0x0da7_a000_0000_0000), pool: None }
    }

    /// Another machine with the same disk and catalog.
    fn cloned(&self, name: &str, data: u64) -> Self {
        let disk = self.rig.disk.clone_disk(9);
        let catalog = self.rig.catalog.deep_clone(Some(disk.clone()));
        let (keys, clock, entropy) = (self.rig.keys.clone(), Arc::default(), self.rig.entropy.clone());
        let rig = Rig { disk, catalog, keys, clock, entropy, config: self.rig.config.clone() };
        rig.clock.set(self.rig.clock.now_ms());
        Self::new(name, rig, data)
    }

    /// Starts, with randomness that begins anew.
    fn start(&mut self, entropy: Arc<dyn Entropy>) {
        let rig = &self.rig;
        let parts = Parts {
            disk: Arc::new(rig.disk.clone()),
            catalog: rig.catalog.opener(),
            sealer: Arc::new(Sealer::new(CLUSTER, rig.keys.clone(), entropy).unwrap()),
            clock: rig.clock.clone(),
            node: NODE,
        };
        let pool = Pool::open(rig.config.clone(), parts).unwrap();
        if pool.tablets().is_empty() {
            pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap();
        }
        self.pool = Some(pool);
    }

    fn step(&self, audit: &mut Audit) -> Done {
        let done = self.pool.as_ref().unwrap().step();
        audit.look(&self.name, &self.rig);
        if matches!(done, Done::Failed(_)) {
            // A name that is taken, or a fault: the same again, later.
            self.rig.clock.advance(limits::RETRY_MS);
        }
        done
    }

    fn write(&self) {
        for tablet in self.pool.as_ref().unwrap().tablets() {
            let applied = tablet.applied();
            let mut batch = Batch::new(LogIndex(applied.index.0 + 1));
            let stamp = Stamp::new(self.rig.clock.now_ms().max(applied.stamp.ms() + 1), 0);
            for (n, tenant) in (0..8).zip([T1, T2].iter().cycle()) {
                let key = format!("key{:03}", (applied.index.0 * 8 + n) % 60);
                let value = match n {
                    0..5 => self.dice.bytes(200),
                    _ => vec![self.dice.bytes(1)[0]; 300],
                };
                if tablet.range().contains(&rig::oracle::row(*tenant, key.as_bytes())) {
                    batch.put(*tenant, C, key.as_bytes(), &value, stamp, 0).unwrap();
                }
            }
            batch.set_note(&self.dice.bytes(20)).unwrap();
            // Refused while there is no room or the disk fails: it is written another time.
            let _ = tablet.apply(&batch);
            self.rig.clock.set(stamp.ms() + 1);
        }
    }

    /// Writes, flushes, compacts; looks at everything after each step.
    fn work(&self, batches: u64, audit: &mut Audit) {
        let pool = self.pool.as_ref().unwrap();
        for n in 1..=batches {
            self.write();
            if n % 3 == 0 {
                pool.tablets().iter().for_each(|tablet| tablet.freeze());
            }
            if n % 12 == 0 {
                pool.tablets().iter().for_each(|tablet| tablet.request_compaction());
            }
            for _ in 0..3 {
                self.step(audit);
            }
            if let Ok(checkpoint) = pool.tablets()[0].checkpoint() {
                audit.listing(checkpoint.listing());
            }
        }
        let settled = (0..300).any(|_| self.step(audit) == Done::Nothing);
        assert!(settled, "{} finds no rest: {:?}", self.name, pool.tablets()[0].health());
    }
}

/// The sequence that every machine begins with at each start.
fn again() -> Arc<dyn Entropy> {
    Arc::new(Seeded::new(0x5eed))
}

#[test]
fn randomness_that_begins_anew_with_each_start_repeats_no_nonce() {
    let mut audit = Audit::default();
    let mut machine = Machine::new("restarted", Rig::new(1), 1);
    for life in 1..=12 {
        machine.start(again());
        machine.work(12 + life % 3, &mut audit);
        if life == 4 {
            let pool = machine.pool.as_ref().unwrap();
            let at = rig::oracle::row(T1, b"key030");
            assert!((0..100).any(|_| pool.split(TABLET, &at, TabletId(2), TabletId(3)).is_ok()));
        }
        machine.write();
        machine.step(&mut audit);
        machine.pool = None;
        if life % 2 == 0 {
            machine.rig.disk.crash();
            machine.rig.disk.restart();
            audit.has_holes = true;
            audit.look("after a crash", &machine.rig);
        }
    }
    audit.assert_ample("restarts");
}

#[test]
fn cloned_machines_with_the_same_randomness_repeat_no_nonce() {
    let mut audit = Audit::default();
    let mut first = Machine::new("first", Rig::new(2), 1);
    first.start(again());
    first.work(20, &mut audit);
    first.pool = None;
    let mut others = vec![first.cloned("second", 2), first.cloned("third", 3), first.cloned("same", 1)];
    first.dice = Machine::new("", Rig::new(2), 1).dice;
    others.push(first);
    for life in 0..3 {
        for machine in &mut others {
            machine.start(again());
            machine.work(30, &mut audit);
            machine.pool = None;
        }
        add_key(&others[0].rig.keys, Owner::Tenant(T1), Purpose::Data, 2 + life);
    }
    let [second, _, same, first] = &others[..] else { panic!("four machines") };
    assert!(first.rig.disk.files() == same.rig.disk.files(), "equal data and randomness make equal bytes");
    assert!(first.rig.catalog.all() == same.rig.catalog.all(), "in the catalog too");
    assert!(first.rig.disk.files() != second.rig.disk.files());
    audit.assert_ample("clones");
}

#[test]
fn what_is_written_again_after_an_error_repeats_no_nonce() {
    let mut audit = Audit::default();
    for operation in (1..160).step_by(3) {
        let mut machine = Machine::new(&format!("fault {operation} "), Rig::new(3), operation);
        machine.start(again());
        let at = machine.rig.disk.operations() + operation;
        let fail_at = BTreeSet::from([at, at + 1, at + 6]);
        machine.rig.disk.set_faults(Faults { fail_at, ..Faults::default() });
        machine.work(12, &mut audit);
        machine.rig.disk.set_faults(Faults::default());
        machine.pool = None;
        machine.start(again());
        machine.work(6, &mut audit);
    }
    assert!(audit.half_written > 5, "{}", audit.half_written);
    audit.assert_ample("faults");
}

#[test]
fn randomness_that_is_worn_out_repeats_no_nonce() {
    let mut audit = Audit::default();
    let mut machine = Machine::new("worn out", Rig::new(4), 1);
    for _ in 0..9 {
        machine.start(Arc::new(WornOut(AtomicU64::new(0))));
        machine.work(40, &mut audit);
        machine.pool = None;
    }
    audit.assert_ample("worn out");
}

/// A file with one byte changed, and the checksum of its frame made right again.
fn forged(file: &[u8], frame_at: usize, offset: usize) -> Vec<u8> {
    let mut out = file.to_vec();
    let end = frame_at + 24 + u32_at(file, frame_at + 4) as usize + TAG_BYTES;
    out[frame_at + offset] ^= 1;
    let crc = crc32fast::hash(&out[frame_at..end]);
    out[end..end + 4].copy_from_slice(&crc.to_be_bytes());
    out
}

#[test]
fn the_audit_objects() {
    let whole = |bytes: &[u8]| Sealed { bytes: bytes.to_vec(), is_whole: true };
    let part = |bytes: &[u8]| Sealed { bytes: bytes.to_vec(), is_whole: false };
    let mut audit = Audit::default();
    audit.note(&[b"key"], [7; 12], part(b"te")).unwrap();
    audit.note(&[b"key"], [7; 12], whole(b"text")).unwrap();
    audit.note(&[b"key"], [7; 12], whole(b"text")).unwrap();
    audit.note(&[b"key"], [7; 12], part(b"tex")).unwrap();
    audit.note(&[b"key"], [8; 12], whole(b"other")).unwrap();
    audit.note(&[b"other key"], [7; 12], whole(b"other")).unwrap();
    for another in [whole(b"texu"), whole(b"tex"), whole(b"texts"), part(b"tf"), part(b"texts")] {
        assert!(audit.note(&[b"key"], [7; 12], another).is_err());
    }
    let mut machine = Machine::new("control", Rig::new(5), 1);
    machine.start(again());
    machine.work(12, &mut Audit::default());
    for (path, file) in machine.rig.disk.files().into_iter().filter(|(path, _)| path.extension().is_some()) {
        let (mut at, mut audit) = (HEADER_BYTES, Audit::default());
        for _ in 0..2 {
            audit.file(&file).unwrap();
        }
        while at < footer_at(&file).0 {
            let n = u32_at(&file, at + 4) as usize;
            for offset in [24, 24 + n / 2, 24 + n + TAG_BYTES - 1] {
                let other = forged(&file, at, offset);
                assert!(audit.file(&other).is_err(), "{path:?}");
                assert!(audit.file(&other[..at + offset + 1]).is_err(), "{path:?}: a part of it");
            }
            audit.file(&file[..at + 30]).unwrap();
            Audit::default().file(&forged(&file, at, 16)).unwrap();
            audit.file(&forged(&file, at, 16)).unwrap();
            at += n + 44;
        }
    }
    for value in machine.rig.catalog.all().into_values() {
        let mut audit = Audit::default();
        audit.envelope(&value).unwrap();
        let changed = |at: usize| [&value[..at], &[value[at] ^ 1], &value[at + 1..]].concat();
        [16, 79].iter().for_each(|at| audit.envelope(&changed(*at)).unwrap());
        [80, value.len() - 1].iter().for_each(|at| assert!(audit.envelope(&changed(*at)).is_err()));
    }
}
