//! Two tenants, a crash, and a look at the disk. Run it: `cargo run -p engine --example first`.
//!
//! The first process writes and ends without closing anything; the second opens the same folder, reads, and searches every file
//! for the tenants' bytes.

use engine::catalog::SledCatalog;
use engine::clock::Clock;
use engine::disk::RealDisk;
use engine::entropy::Entropy;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, LogIndex, NodeId, Owner, Purpose, TabletId, TenantId};
use engine::key::KeyRange;
use engine::sealed::{Keyring, Sealer, SecretKey};
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::Scan;
use engine::work::Done;
use engine::{Error, Stamp};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

const ACME: TenantId = TenantId(0xace_0001);
const ZENITH: TenantId = TenantId(0x2e1_0002);
const PEOPLE: CollectionId = CollectionId(1);
const TABLET: TabletId = TabletId(1);
const NODE: NodeId = NodeId(1);

/// Who writes which rows: key and value.
const ROWS: [(TenantId, &[(&str, &str)]); 2] = [
    (
        ACME,
        &[
            ("ada@acme.example", "Ada Lovelace, +44 20 7946 0001"),
            ("alan@acme.example", "Alan Turing, +44 20 7946 0002"),
        ],
    ),
    (ZENITH, &[("grace@zenith.example", "Grace Hopper, +1 202 555 0003")]),
];

/// The operating system's clock and randomness. The engine has none of its own; a server brings its guarded ones.
struct System;

impl Clock for System {
    #[allow(clippy::disallowed_methods, reason = "an example is its own server")]
    fn now_ms(&self) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Entropy for System {
    #[expect(clippy::disallowed_methods, reason = "an example is its own server")]
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives randomness");
    }
}

/// Keys for the example only: a server unwraps random ones.
fn keyring() -> Result<Keyring, Error> {
    let keys = Keyring::new();
    for (byte, owner, purpose) in [
        (1, Owner::Cluster, Purpose::Mac),
        (2, Owner::Cluster, Purpose::Meta),
        (3, Owner::Node(NODE), Purpose::Catalog),
        (4, Owner::Tenant(ACME), Purpose::Data),
        (5, Owner::Tenant(ZENITH), Purpose::Data),
    ] {
        keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([byte; 32]))?;
        keys.activate(owner, purpose, KeyEpoch(1))?;
    }
    Ok(keys)
}

fn open(dir: &Path) -> Result<Arc<Pool>, Error> {
    let parts = Parts {
        disk: Arc::new(RealDisk),
        catalog: SledCatalog::opener(),
        sealer: Arc::new(Sealer::new(ClusterId([7; 16]), Arc::new(keyring()?), Arc::new(System))?),
        clock: Arc::new(System),
        node: NODE,
    };
    // No threads here: the example does background work step by step.
    Pool::open(PoolConfig { threads: 0, ..PoolConfig::new(dir) }, parts)
}

fn write(dir: &Path) -> Result<(), Error> {
    let pool = open(dir)?;
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())])?.remove(0);
    let now = System.now_ms();
    let mut batch = Batch::new(LogIndex(1));
    let rows = ROWS.iter().flat_map(|(tenant, rows)| rows.iter().map(move |row| (*tenant, row)));
    for (counter, (tenant, (key, value))) in (1..).zip(rows) {
        batch.put(tenant, PEOPLE, key.as_bytes(), value.as_bytes(), Stamp::new(now, counter), 0)?;
    }
    tablet.apply(&batch)?;
    tablet.freeze();
    while pool.step() != Done::Nothing {}
    println!("wrote {} keys, durable up to log index {}", batch.len(), tablet.durable().index.0);
    let mut lost = Batch::new(LogIndex(2));
    lost.put(ACME, PEOPLE, b"late@acme.example", b"only in memory", Stamp::new(now, 4), 0)?;
    tablet.apply(&lost)?;
    println!(
        "applied log index {} in memory only; now the process ends without closing",
        tablet.applied().index.0
    );
    std::process::exit(0);
}

fn read(dir: &Path) -> Result<(), Error> {
    let pool = open(dir)?;
    let tablet = pool.tablet(TABLET)?;
    println!("reopened at log index {}: what came after is in the caller's log", tablet.durable().index.0);
    assert_eq!(tablet.durable().index, LogIndex(1), "the entry that was flushed, and not the one after");
    let view = tablet.view(System.now_ms())?;
    for ((tenant, rows), name) in ROWS.into_iter().zip(["acme", "zenith"]) {
        let entries = view.scan(&Scan::all(tenant, PEOPLE), None)?.entries;
        let found: Vec<_> = entries.iter().map(|entry| (&entry.key[..], &entry.found.value[..])).collect();
        let wanted: Vec<_> = rows.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        assert_eq!(found, wanted, "{name} has its own rows, all of them and no others");
        for (key, value) in rows {
            println!("  {name}: {key} = {value}");
        }
    }
    Ok(())
}

/// `word` as it stands on a disk that does not seal it: plain, in hexadecimal of both cases, and in base64 at each of the three
/// places where it can begin in a group.
fn written(word: &str) -> Vec<Vec<u8>> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut ways = vec![word.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    ways.extend((0..3).map(|before| base64_inside(word.as_bytes(), before)));
    ways
}

/// The letters of base64 that depend on `bytes` alone, if `before` bytes stand before them in their group of three.
fn base64_inside(bytes: &[u8], before: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padded = [&vec![0; before][..], bytes].concat();
    let bit = |at: usize| padded[at / 8] >> (7 - at % 8) & 1;
    let letter = |at: usize| LETTERS[(0..6).fold(0, |sum, n| sum << 1 | usize::from(bit(at * 6 + n)))];
    let first = (before * 8).div_ceil(6);
    (first..padded.len() * 8 / 6).map(letter).collect()
}

/// How often any of `needles` stands in a file under `dir`, and how many bytes were searched.
fn search(dir: &Path, needles: &[Vec<u8>]) -> std::io::Result<(usize, usize)> {
    let (mut hits, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            let (more_hits, more_bytes) = search(&path, needles)?;
            (hits, bytes) = (hits + more_hits, bytes + more_bytes);
            continue;
        }
        let content = std::fs::read(&path)?;
        bytes += content.len();
        let stands = |needle: &&Vec<u8>| content.windows(needle.len()).any(|window| window == &needle[..]);
        hits += needles.iter().filter(stands).count();
    }
    Ok((hits, bytes))
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    if let (Some("write"), Some(dir)) = (arguments.next().as_deref(), arguments.next()) {
        return Ok(write(Path::new(&dir))?);
    }
    let dir = tempfile::tempdir()?;
    let status = Command::new(std::env::current_exe()?).arg("write").arg(dir.path()).status()?;
    if !status.success() {
        return Err("the writing process failed".into());
    }
    read(dir.path())?;
    let words = ["acme.example", "zenith.example", "Lovelace", "Turing", "Hopper", "7946 000", "555 0003"];
    let needles: Vec<_> = words.into_iter().flat_map(written).collect();
    let (hits, bytes) = search(dir.path(), &needles)?;
    // The search itself must be able to find something, however it is written.
    let controls =
        ["Ada Lovelace", "416461204c6f76656c616365", "416461204C6F76656C616365", "QWRhIExvdmVsYWNl"];
    std::fs::write(dir.path().join("control"), controls.join("\n"))?;
    let (control, _) = search(dir.path(), &needles)?;
    println!(
        "searched {bytes} bytes on disk for {} words, plain, in hex and in base64: {hits} hits (positive control: {control})",
        words.len()
    );
    if hits > 0 || control != controls.len() {
        return Err("a tenant's bytes are readable on disk, or the search is blind".into());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
