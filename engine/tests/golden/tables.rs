//! What the tables of the fixtures hold.

use super::plain::Content;
use super::world::{C, T1, T2, T3};
use engine::Stamp;
use engine::entropy::{Entropy, Seeded};
use engine::ids::{CollectionId, TableId, TenantId};
use engine::key::{KeyRange, row, version};
use engine::range_tombstone::RangeTombstone;
use engine::read::OwnedSlot;

pub const AT_MS: u64 = 1_700_000_000_000;

pub fn put(value: &[u8], expires_ms: u64) -> OwnedSlot {
    OwnedSlot::Put { value: value.to_vec().into(), expires_ms }
}

/// Bytes that no compressor makes shorter.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    Seeded::new(seed).fill(&mut out);
    out
}

pub fn at(tenant: TenantId, user: &[u8], counter: u16) -> Vec<u8> {
    version(&row(tenant, C, user), Stamp::new(AT_MS, counter))
}

pub fn range(tenant: TenantId, start: &[u8], end: &[u8], counter: u16) -> RangeTombstone {
    let (start, end) = (row(tenant, C, start), row(tenant, C, end));
    RangeTombstone { start, end, stamp: Stamp::new(AT_MS, counter) }
}

/// A table with every kind of stripe and block: solo with versions, full, solo with both, full with range tombstones alone.
pub fn all_kinds() -> Content {
    let mut entries = vec![
        (version(&row(TenantId(0), CollectionId(1), b""), Stamp::new(AT_MS, 1)), put(b"of the cluster", 0)),
        (version(&row(TenantId(0), CollectionId(1), b"a"), Stamp::new(AT_MS, 2)), OwnedSlot::Delete),
        (version(&row(TenantId(0), CollectionId(2), b"a"), Stamp::new(AT_MS, 3)), put(b"v", AT_MS + 1)),
    ];
    for n in 0..40_u16 {
        let user = format!("user {n:03}").into_bytes();
        let text =
            format!("{{\"name\": \"user {n}\", \"balance\": 0, \"balance_before\": 0, \"note\": \"\"}}");
        let value = if n < 20 { text.into_bytes() } else { noise(u64::from(n), 90) };
        let expires_ms = if n % 7 == 3 { AT_MS + 60_000 } else { 0 };
        entries
            .push((at(T1, &user, 2), if n % 10 == 9 { OwnedSlot::Delete } else { put(&value, expires_ms) }));
        entries.push((at(T1, &user, 1), put(&value[..20], 0)));
    }
    entries.push((at(T1, b"z\0", 1), put(&noise(1, 1_500), 0)));
    entries.push((at(T2, b"only", 4), put(b"one", 0)));
    let mut ranges = vec![range(T1, b"a", b"b", 5), range(T1, b"a", b"b", 1)];
    let whole = KeyRange::prefix(T1, CollectionId(10), b"");
    ranges.push(RangeTombstone { start: whole.start, end: whole.end.unwrap(), stamp: Stamp::new(AT_MS, 6) });
    ranges.push(range(T2, b"x", b"y", 3));
    let hollow = |n: u16| range(T3, format!("{n:03}").as_bytes(), format!("{n:03}~").as_bytes(), n);
    ranges.extend((0..90).map(hollow));
    ranges.sort_by(|a, b| (&a.start, &a.end, b.stamp).cmp(&(&b.start, &b.end, a.stamp)));
    Content { entries, ranges }
}

/// Three small tables that lie above each other in a tablet: rows, then newer ones, then range tombstones.
pub fn small(n: u8) -> (TableId, Content) {
    let id = TableId([0xe0 | n; 16]);
    let user = |k: u16| format!("k{k:02}").into_bytes();
    let content = match n {
        0 => Content {
            entries: (0..30).map(|k| (at(T1, &user(k), k), put(&noise(u64::from(k), 60), 0))).collect(),
            ranges: Vec::new(),
        },
        1 => Content {
            entries: vec![
                (at(T1, b"k03", 103), put(b"newer", 0)),
                (at(T1, b"k04", 104), OwnedSlot::Delete),
                (at(T2, b"other", 105), put(b"tenant", AT_MS + 60_000)),
            ],
            ranges: Vec::new(),
        },
        _ => Content { entries: Vec::new(), ranges: vec![range(T1, b"k10", b"k25", 200)] },
    };
    (id, content)
}
