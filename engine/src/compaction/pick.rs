//! Pure: what to compact next. One choice at a time, the same for the same picture.

use crate::ids::{KeyEpoch, Owner, TableId, TenantId};
use crate::key::KeyRange;
use crate::limits;
use crate::manifest::levels::Levels;
use crate::stamp::Stamp;
use crate::table::{TableMeta, owner_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    Rest,
    /// Put tables one level down as they are: nothing there overlaps them.
    Move {
        /// Which.
        tables: Vec<TableId>,
        /// Their new level.
        to: u8,
    },
    /// Forget tables without reading them: nothing in them is this tablet's, or anybody's.
    Drop {
        /// Which.
        tables: Vec<TableId>,
    },
    /// Merge tables, or write them anew.
    Merge {
        /// Which, all levels together.
        tables: BTreeSet<TableId>,
        /// Level of the output.
        to: u8,
        /// What it is for.
        reason: Reason,
    },
}

/// Why tables are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Level 0 has many tables: every read looks into each.
    Level0,
    /// A level is over its size.
    Size,
    /// Bytes of dropped tenants are in it.
    DroppedTenant,
    /// It is sealed under an old epoch, and somebody asked.
    Reseal,
    /// Somebody asked to merge everything.
    Asked,
    /// What is in it has left the history window or expired.
    Time,
}

/// What somebody wants beside the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Active epochs: stripes under others are to be written anew.
    pub reseal: BTreeMap<Owner, KeyEpoch>,
    /// Tenants whose bytes are to go.
    pub dropped: BTreeSet<TenantId>,
    /// Everything is to be merged down.
    pub compact_all: bool,
    /// Floors of history, by owner: of what is older only the newest is needed.
    pub floors: BTreeMap<Owner, Floor>,
    /// Tables of level 0 that come of a merge among the newest.
    pub settled: BTreeSet<TableId>,
}

/// How far back history of an owner is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// Where its history window begins: milliseconds since 1970.
    pub since_ms: u64,
    /// What retention goes by: that, but never above what every reader may ask for.
    pub stamp: Stamp,
}

/// When a level is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes level 1 may hold.
    pub level1_bytes: u64,
    /// How many times more each deeper level may hold.
    pub ratio: u64,
    /// Tables of level 0 that ask for a merge.
    pub level0_tables: usize,
}

/// What to do next with `levels`, leaving the tables in `busy` alone.
#[must_use]
pub fn pick(levels: &Levels, busy: &BTreeSet<TableId>, wanted: &Wanted, sizes: &Sizes) -> Choice {
    drop_whole(levels, busy, wanted)
        .or_else(|| merge_level0(levels, busy, sizes))
        .or_else(|| merge_newest(levels, busy, wanted, sizes))
        .or_else(|| merge_by_size(levels, busy, sizes))
        .or_else(|| rewrite_dropped(levels, busy, wanted))
        .or_else(|| rewrite(levels, busy, Reason::Reseal, |meta| has_old_epoch(meta, wanted)))
        .or_else(|| merge_all(levels, busy, wanted))
        .or_else(|| tidy(levels, busy, wanted))
        .unwrap_or(Choice::Rest)
}

fn drop_whole(levels: &Levels, busy: &BTreeSet<TableId>, wanted: &Wanted) -> Option<Choice> {
    let dropped = dropped_owners(wanted);
    let is_foreign = |meta: &TableMeta| {
        !meta.span.overlaps(&levels.range)
            || meta.stripes.iter().all(|stripe| dropped.contains(&stripe.owner))
    };
    let free = levels.tables().filter(|meta| !busy.contains(&meta.id));
    let tables: Vec<TableId> = free.filter(|meta| is_foreign(meta)).map(|meta| meta.id).collect();
    (!tables.is_empty()).then_some(Choice::Drop { tables })
}

fn dropped_owners(wanted: &Wanted) -> BTreeSet<Owner> {
    wanted.dropped.iter().map(|tenant| owner_of(*tenant)).collect()
}

fn rewrite_dropped(levels: &Levels, busy: &BTreeSet<TableId>, wanted: &Wanted) -> Option<Choice> {
    let dropped = dropped_owners(wanted);
    if dropped.is_empty() {
        return None;
    }
    let has_dropped = |meta: &TableMeta| meta.stripes.iter().any(|stripe| dropped.contains(&stripe.owner));
    rewrite(levels, busy, Reason::DroppedTenant, has_dropped)
}

fn has_old_epoch(meta: &TableMeta, wanted: &Wanted) -> bool {
    let is_old = |owner: Owner, epoch| wanted.reseal.get(&owner).is_some_and(|active| *active != epoch);
    meta.stripes.iter().any(|stripe| is_old(stripe.owner, stripe.epoch))
}

fn hull<'a>(tables: impl Iterator<Item = &'a Arc<TableMeta>>) -> Option<KeyRange> {
    tables
        .map(|meta| meta.span.clone())
        .reduce(|a, b| KeyRange { start: a.start.min(b.start), end: a.end.zip(b.end).map(|(a, b)| a.max(b)) })
}

/// Tables of `level` that overlap `span`, with the neighbours that share a boundary row with them, and so on.
fn overlapping<'a>(level: &'a [Arc<TableMeta>], span: &KeyRange) -> Vec<&'a Arc<TableMeta>> {
    let mut span = span.clone();
    loop {
        let found: Vec<_> = level.iter().filter(|meta| meta.span.overlaps(&span)).collect();
        let Some(wider) = hull(found.iter().copied()) else { return found };
        let wider = KeyRange {
            start: wider.start.min(span.start.clone()),
            end: wider.end.zip(span.end.clone()).map(|(a, b)| a.max(b)),
        };
        if wider == span {
            return found;
        }
        span = wider;
    }
}

fn merge(tables: BTreeSet<TableId>, to: usize, reason: Reason, busy: &BTreeSet<TableId>) -> Option<Choice> {
    let to = u8::try_from(to).expect("LEVELS fits u8");
    tables.is_disjoint(busy).then_some(Choice::Merge { tables, to, reason })
}

fn merge_level0(levels: &Levels, busy: &BTreeSet<TableId>, sizes: &Sizes) -> Option<Choice> {
    let is_full = levels.levels.first()?.len() >= sizes.level0_tables;
    if is_full { empty_level0(levels, busy, Reason::Level0) } else { None }
}

fn empty_level0(levels: &Levels, busy: &BTreeSet<TableId>, reason: Reason) -> Option<Choice> {
    let level0 = levels.levels.first()?;
    let span = hull(level0.iter())?;
    let below = overlapping(levels.levels.get(1)?, &span);
    merge(level0.iter().chain(below).map(|meta| meta.id).collect(), 1, reason, busy)
}

/// Where a table that cannot be read keeps level 0 from being merged down, the ones newer than it are merged among themselves, so
/// that writes can go on until it is repaired. Each is merged so once: what comes of it may be no fewer tables.
fn merge_newest(levels: &Levels, busy: &BTreeSet<TableId>, wanted: &Wanted, sizes: &Sizes) -> Option<Choice> {
    let level0 = levels.levels.first()?;
    let is_new = |id: &TableId| !busy.contains(id) && !wanted.settled.contains(id);
    let newest: BTreeSet<TableId> = level0.iter().map(|meta| meta.id).take_while(is_new).collect();
    let is_blocked = level0.len() >= sizes.level0_tables && newest.len() >= 2 * sizes.level0_tables;
    if is_blocked { merge(newest, 0, Reason::Level0, busy) } else { None }
}

fn merge_by_size(levels: &Levels, busy: &BTreeSet<TableId>, sizes: &Sizes) -> Option<Choice> {
    let bytes = levels.bytes_by_level();
    let mut target = sizes.level1_bytes;
    let mut over = Vec::new();
    // Level 0 is judged by its count, and the last level has nowhere to go.
    for (depth, bytes) in bytes.iter().enumerate().skip(1).take(levels.levels.len().saturating_sub(2)) {
        if *bytes > target {
            over.push((u128::from(*bytes) * 1_000 / u128::from(target.max(1)), depth));
        }
        target = target.saturating_mul(sizes.ratio);
    }
    over.sort_by(|a, b| b.cmp(a));
    over.into_iter().find_map(|(_, depth)| merge_down(levels, depth, busy))
}

/// Merges the table of level `depth` that costs least for what it frees.
fn merge_down(levels: &Levels, depth: usize, busy: &BTreeSet<TableId>) -> Option<Choice> {
    let (here, below) = (&levels.levels[depth], &levels.levels[depth + 1]);
    let cost = |meta: &&Arc<TableMeta>| {
        let under: u64 = run_from(below, &meta.span).map(|one| one.bytes).sum();
        (u128::from(under) * 1_000 / u128::from(meta.bytes.max(1)), meta.id)
    };
    let mut candidates: Vec<_> = here.iter().filter(|meta| !busy.contains(&meta.id)).collect();
    candidates.sort_by_cached_key(cost);
    candidates.into_iter().find_map(|meta| go_down(levels, depth, meta, Reason::Size, busy))
}

/// Merges one table of level `depth` down, or moves it where nothing is in its way.
fn go_down(
    levels: &Levels,
    depth: usize,
    meta: &TableMeta,
    reason: Reason,
    busy: &BTreeSet<TableId>,
) -> Option<Choice> {
    let inputs = overlapping(levels.levels.get(depth)?, &meta.span);
    let under = overlapping(levels.levels.get(depth + 1)?, &hull(inputs.iter().copied())?);
    let tables: BTreeSet<TableId> = inputs.iter().map(|one| one.id).collect();
    if under.is_empty() && tables.is_disjoint(busy) {
        let to = u8::try_from(depth + 1).expect("LEVELS fits u8");
        return Some(Choice::Move { tables: tables.into_iter().collect(), to });
    }
    merge(tables.into_iter().chain(under.iter().map(|one| one.id)).collect(), depth + 1, reason, busy)
}

/// Takes out what time alone has made useless. Where all of a table is older than the floor, nobody needs what it hides: it goes
/// down until nothing is below it, and is there written anew if it still holds what may go. Each step leaves it deeper, or with
/// nothing to be left behind.
fn tidy(levels: &Levels, busy: &BTreeSet<TableId>, wanted: &Wanted) -> Option<Choice> {
    let is_due = |meta: &&Arc<TableMeta>, depth: usize| {
        let floor = least_floor(meta, wanted);
        let tidy_at_ms = meta.greatest_stamp.ms().saturating_add(limits::TIDY_MS);
        let is_past = meta.greatest_stamp <= floor.stamp && tidy_at_ms <= floor.since_ms;
        (is_past && (has_waste(meta) || has_below(levels, depth, meta))) || has_expired(meta, floor)
    };
    let (level0, deeper) = levels.levels.split_first()?;
    if level0.iter().any(|meta| is_due(&meta, 0))
        && let Some(choice) = empty_level0(levels, busy, Reason::Time)
    {
        return Some(choice);
    }
    (1..).zip(deeper).find_map(|(depth, level)| {
        level.iter().filter(|meta| is_due(meta, depth)).find_map(|meta| {
            match has_below(levels, depth, meta) {
                true if !has_expired(meta, least_floor(meta, wanted)) => {
                    go_down(levels, depth, meta, Reason::Time, busy)
                }
                _ => merge(
                    overlapping(level, &meta.span).iter().map(|one| one.id).collect(),
                    depth,
                    Reason::Time,
                    busy,
                ),
            }
        })
    })
}

/// The least floor of those whose rows are in a table.
fn least_floor(meta: &TableMeta, wanted: &Wanted) -> Floor {
    let floor = |owner| wanted.floors.get(&owner).copied().unwrap_or_default();
    meta.stripes.iter().map(|stripe| floor(stripe.owner)).min().unwrap_or_default()
}

fn has_waste(meta: &TableMeta) -> bool {
    meta.superseded > 0 || meta.deletes > 0 || meta.tombstones > 0
}

fn has_below(levels: &Levels, depth: usize, meta: &TableMeta) -> bool {
    let overlaps = |level: &Vec<Arc<TableMeta>>| run_from(level, &meta.span).next().is_some();
    levels.levels.iter().skip(depth + 1).any(overlaps)
}

/// The tables of a sorted level that overlap `span`: two neighbours share at most a row, so only a run of them can.
fn run_from<'a>(level: &'a [Arc<TableMeta>], span: &KeyRange) -> impl Iterator<Item = &'a Arc<TableMeta>> {
    let first = level.partition_point(|one| one.span.end.as_ref().is_some_and(|end| *end <= span.start));
    level[first..].iter().take_while(move |one| one.span.overlaps(span))
}

/// Whether enough time has passed since a value of it expired.
fn has_expired(meta: &TableMeta, floor: Floor) -> bool {
    let least_ms = meta.least_stamp.ms();
    let spread_ms = meta.first_expiry_ms.max(meta.greatest_stamp.ms()).saturating_sub(least_ms);
    let pause_ms = (spread_ms / limits::TIDY_SPREAD_PART).clamp(limits::TIDY_MS, limits::TIDY_MS_MAX);
    meta.first_expiry_ms != 0 && meta.first_expiry_ms.saturating_add(pause_ms) <= floor.stamp.ms()
}

/// Writes the first table that `wants` it anew, at its own level.
fn rewrite(
    levels: &Levels,
    busy: &BTreeSet<TableId>,
    reason: Reason,
    wants: impl Fn(&TableMeta) -> bool,
) -> Option<Choice> {
    levels.levels.iter().enumerate().find_map(|(depth, level)| {
        level.iter().filter(|meta| wants(meta)).find_map(|meta| {
            let tables = match depth {
                0 => BTreeSet::from([meta.id]),
                _ => overlapping(level, &meta.span).iter().map(|one| one.id).collect(),
            };
            merge(tables, depth, reason, busy)
        })
    })
}

fn merge_all(levels: &Levels, busy: &BTreeSet<TableId>, wanted: &Wanted) -> Option<Choice> {
    let deepest = levels.levels.iter().rposition(|level| !level.is_empty())?;
    let tables = levels.tables().map(|meta| meta.id).collect();
    if wanted.compact_all { merge(tables, deepest.max(1), Reason::Asked, busy) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::StripeMeta;

    fn id(n: u8) -> TableId {
        TableId([n; 16])
    }

    fn table(n: u8) -> Arc<TableMeta> {
        let (owner, stamp) = (owner_of(TenantId(1)), Stamp(u64::from(n)));
        Arc::new(TableMeta {
            id: id(n),
            bytes: 100,
            content: [0; 32],
            crc32: 0,
            ends: [0; 32],
            least: Vec::new(),
            greatest: Vec::new(),
            span: KeyRange::all(),
            entries: 1,
            deletes: 0,
            tombstones: 0,
            least_stamp: stamp,
            greatest_stamp: stamp,
            stripes: vec![StripeMeta { owner, epoch: KeyEpoch(1), bytes: 100, entries: 1 }],
            superseded: 0,
            first_expiry_ms: 0,
        })
    }

    #[test]
    fn behind_a_table_that_cannot_be_read_the_newest_are_merged_once() {
        let sizes = Sizes { level1_bytes: 1_000, ratio: 10, level0_tables: 4 };
        let mut levels = Levels { range: KeyRange::all(), ..Levels::default() };
        levels.levels[0] = (0..9).rev().map(table).collect();
        let ids = |all: std::ops::Range<u8>| all.map(id).collect::<BTreeSet<_>>();
        let merge = |tables| Choice::Merge { tables, to: 0, reason: Reason::Level0 };
        let (busy, mut wanted) = (ids(0..1), Wanted::default());
        assert_eq!(pick(&levels, &busy, &wanted, &sizes), merge(ids(1..9)));
        // What came of it is as many tables again: there is nothing to gain.
        wanted.settled = ids(1..9);
        assert_eq!(pick(&levels, &busy, &wanted, &sizes), Choice::Rest);
        levels.levels[0] = (0..17).rev().map(table).collect();
        assert_eq!(pick(&levels, &busy, &wanted, &sizes), merge(ids(9..17)));
        // Once it can be read all go down.
        let Choice::Merge { tables, to: 1, .. } = pick(&levels, &ids(0..0), &wanted, &sizes) else {
            panic!("not merged down")
        };
        assert_eq!(tables, ids(0..17));
    }

    #[test]
    fn what_has_expired_waits_for_more_of_its_kind_but_not_for_ever() {
        let hour = limits::TIDY_MS;
        let pause = |greatest_ms: u64, first_expiry_ms: u64| {
            let (least, greatest) = (Stamp::new(1_000, 0), Stamp::new(1_000 + greatest_ms, 0));
            let stamps = TableMeta { least_stamp: least, greatest_stamp: greatest, ..(*table(1)).clone() };
            let meta = TableMeta { first_expiry_ms, ..stamps };
            let is_due = |ms: &u64| {
                let stamp = Stamp::new(first_expiry_ms + ms, 0);
                has_expired(&meta, Floor { since_ms: stamp.ms(), stamp })
            };
            // The least of these pauses after which it is due.
            [0, hour - 1, hour, 2 * hour, 6 * hour, limits::TIDY_MS_MAX].into_iter().find(is_due)
        };
        assert_eq!(pause(0, 0), None, "nothing in it expires");
        assert_eq!(pause(0, 1_001), Some(hour));
        assert_eq!(pause(0, 1_000 + 8 * hour), Some(2 * hour), "a quarter of its life");
        assert_eq!(pause(24 * hour, 2_000), Some(6 * hour), "a quarter of the time it was written over");
        assert_eq!(pause(9_000 * hour, 2_000), Some(limits::TIDY_MS_MAX));
    }
}
