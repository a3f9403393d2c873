//! Compaction: does what `compaction::pick` chose. Has no ideas of its own.

use super::board::is_due;
use super::flush::write;
use crate::compaction::pick::{Choice, Floor, Reason, Sizes, Wanted, pick};
use crate::compaction::retention::Policy;
use crate::compaction::run::Job;
use crate::error::{Error, Result};
use crate::ids::{Owner, Purpose, TableId, TenantId};
use crate::key::KeyRange;
use crate::limits::KEYLESS_RETRY_MS;
use crate::manifest::edit::Edit;
use crate::manifest::levels::Levels;
use crate::range_tombstone::{RangeTombstone, Tombstones};
use crate::read::BoxedCursor;
use crate::read::level_cursor::LevelCursor;
use crate::read::merge_cursor::MergeCursor;
use crate::stamp::Stamp;
use crate::table::{Reach, Table, TableMeta};
use crate::tablet::requests::Requests;
use crate::tablet::snapshot::Snapshot;
use crate::tablet::{Tablet, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came of looking for a compaction.
pub(super) enum Looked {
    /// One was done.
    Compacted,
    /// There was none to do.
    Rested,
    /// Tables could not be read. They are set aside: the next look goes around them, and writes go on.
    WentAround,
}

/// Does one compaction of `tablet` if it needs one.
pub(super) fn compact(tablet: &Tablet) -> Result<Looked> {
    let _one = lock(&tablet.compacting);
    if tablet.is_closed() {
        return Err(Error::Closed);
    }
    let ground = &tablet.ground;
    tablet.open_shut_tables();
    let snapshot = tablet.snapshot();
    let policy = ground.policy(snapshot.levels.applied.stamp.min(tablet.archived()), tablet.rested_ms());
    let requests = lock(&tablet.requests).clone();
    let wanted = wanted(tablet, &requests, &policy, &snapshot.levels);
    let sizes = Sizes {
        level1_bytes: ground.config.level1_bytes,
        ratio: crate::limits::LEVEL_RATIO,
        level0_tables: crate::limits::LEVEL0_COMPACT_TABLES,
    };
    let busy = set_aside(tablet, &requests, &snapshot);
    let chosen = pick(&snapshot.levels, &busy, &wanted, &sizes);
    let mut edit = Edit::empty(tablet.id());
    let mut reason_of_merge = None;
    match chosen {
        Choice::Rest => {
            finish_requests(tablet, &requests);
            return Ok(Looked::Rested);
        }
        Choice::Move { tables, to } => edit.moved = tables.into_iter().map(|id| (id, to)).collect(),
        Choice::Drop { tables } => edit.removed = tables,
        Choice::Merge { tables, to, reason } => {
            match merge(tablet, &snapshot, &policy, (&tables, to), &mut edit) {
                Err(error) if note_unreadable(tablet, &snapshot, &tables, &error) => {
                    return Ok(Looked::WentAround);
                }
                merged => merged?,
            }
            reason_of_merge = Some((reason, to));
        }
    }
    let added: Vec<TableId> = edit.added.iter().map(|(_, meta)| meta.id).collect();
    tablet.install(edit, None)?;
    note_merge(tablet, &requests, reason_of_merge, added);
    ground.counters.compactions.add(1);
    Ok(Looked::Compacted)
}

fn wanted(tablet: &Tablet, requests: &Requests, policy: &Policy, levels: &Levels) -> Wanted {
    let mut reseal = BTreeMap::new();
    if requests.reseal.is_open() {
        let owners: BTreeSet<Owner> =
            levels.tables().flat_map(|meta| &meta.stripes).map(|stripe| stripe.owner).collect();
        // Asked for now, not when the request was made: a rotation since then must not leave it without an end.
        let active =
            |owner: Owner| Some((owner, tablet.ground.sealer.keys().active(owner, Purpose::Data).ok()?));
        reseal = owners.into_iter().filter_map(active).collect();
    }
    let (dropped, compact_all) = (policy.dropped.clone(), requests.compact_all.is_open());
    let owners = levels.tables().flat_map(|meta| &meta.stripes).map(|stripe| stripe.owner);
    let floor = |tenant| Floor { since_ms: policy.since_ms(tenant), stamp: policy.floor(tenant) };
    let floors = owners.map(|owner| (owner, floor(TenantId(owner.id())))).collect();
    Wanted { reseal, dropped, compact_all, floors, settled: requests.settled.clone() }
}

/// Tables that compaction goes around: those that could not be read, and for a while those whose key was missing.
fn set_aside(tablet: &Tablet, requests: &Requests, snapshot: &Snapshot) -> BTreeSet<TableId> {
    let mut busy = requests.damaged.clone();
    let (keyless, until_ms) = &requests.keyless;
    if !is_due(*until_ms, tablet.ground.clock.now_ms(), KEYLESS_RETRY_MS) {
        busy.extend(keyless);
    } else if !keyless.is_empty() {
        lock(&tablet.requests).keyless = (BTreeSet::new(), 0);
    }
    let tables = snapshot.tables.iter().flatten();
    busy.extend(tables.filter(|table| table.unreadable().is_some()).map(|table| table.meta().id));
    busy
}

/// Requests that a rest shows to be done are done, unless somebody has asked anew meanwhile or a key is waited for.
fn finish_requests(tablet: &Tablet, seen: &Requests) {
    let mut requests = lock(&tablet.requests);
    if !requests.keyless.0.is_empty() {
        return;
    }
    requests.compact_all.fulfil(seen.compact_all);
    requests.reseal.fulfil(seen.reseal);
}

/// A merge of everything fulfils what was asked before it began; one that stayed in level 0 is not to be done again.
fn note_merge(tablet: &Tablet, seen: &Requests, merge: Option<(Reason, u8)>, added: Vec<TableId>) {
    let mut requests = lock(&tablet.requests);
    match merge {
        Some((Reason::Asked, _)) => requests.compact_all.fulfil(seen.compact_all),
        Some((Reason::Level0, 0)) => {
            let snapshot = tablet.snapshot();
            let level0: BTreeSet<TableId> =
                snapshot.levels.levels.iter().take(1).flatten().map(|meta| meta.id).collect();
            requests.settled.extend(added);
            requests.settled.retain(|id| level0.contains(id));
        }
        _ => {}
    }
}

fn merge(
    tablet: &Tablet,
    snapshot: &Snapshot,
    policy: &Policy,
    (ids, to): (&BTreeSet<TableId>, u8),
    edit: &mut Edit,
) -> Result<()> {
    let ground = &tablet.ground;
    let chosen =
        |level: &Vec<Arc<Table>>| level.iter().filter(|one| ids.contains(&one.meta().id)).cloned().collect();
    let inputs: Vec<Vec<Arc<Table>>> = snapshot.tables.iter().map(chosen).collect();
    let skipped: BTreeSet<Owner> =
        policy.dropped.iter().map(|tenant| crate::table::owner_of(*tenant)).collect();
    check_keys(tablet, &inputs, &skipped)?;
    let (cursors, tombstones) = open_inputs(&inputs, &skipped)?;
    let below = spans_below(&snapshot.levels, ids, to);
    let job = Job {
        sealer: &ground.sealer,
        new_file: &|id| ground.files.create(id),
        created: Stamp::new(ground.clock.now_ms(), 0),
        block_bytes: ground.config.block_bytes,
        // Level 0 is read table by table.
        table_bytes: if to == 0 { u64::MAX } else { ground.config.table_bytes },
        range: &snapshot.levels.range,
        policy,
        below: &below,
        throttle: &|bytes| tablet.charge(bytes),
    };
    let tombstones = Arc::new(Tombstones::new(tombstones));
    let mut cursor = MergeCursor::new(cursors);
    let output = write(&job, &mut cursor, tombstones, tablet)?;
    ground.counters.compaction_read_bytes.add(inputs.iter().flatten().map(|table| table.meta().bytes).sum());
    ground.counters.compaction_written_bytes.add(output.tables.iter().map(|meta| meta.bytes).sum());
    edit.removed = ids.iter().copied().collect();
    edit.floors = output.floors;
    edit.added = output.tables.into_iter().map(|meta| (to, meta)).collect();
    Ok(())
}

/// Every key that a merge needs is there: better than to find that out at its end, once a minute.
fn check_keys(tablet: &Tablet, inputs: &[Vec<Arc<Table>>], skipped: &BTreeSet<Owner>) -> Result<()> {
    let stripes = inputs.iter().flatten().flat_map(|table| &table.meta().stripes);
    let needed: BTreeSet<_> = stripes.map(|stripe| (stripe.owner, stripe.epoch)).collect();
    for (owner, epoch) in needed.into_iter().filter(|(owner, _)| !skipped.contains(owner)) {
        tablet.ground.sealer.keys().key(owner, Purpose::Data, epoch)?;
    }
    Ok(())
}

type Inputs = (Vec<BoxedCursor>, Vec<Arc<RangeTombstone>>);

fn open_inputs(inputs: &[Vec<Arc<Table>>], skipped: &BTreeSet<Owner>) -> Result<Inputs> {
    let mut cursors: Vec<BoxedCursor> = Vec::new();
    let mut tombstones = Vec::new();
    let reach = Reach::Without(Arc::new(skipped.clone()));
    for (depth, level) in inputs.iter().enumerate().filter(|(_, level)| !level.is_empty()) {
        for table in level {
            tombstones.extend(table.all_tombstones(skipped)?);
        }
        if depth == 0 {
            let walk =
                |table: &Arc<Table>| Box::new(table.cursor(false).within(reach.clone())) as BoxedCursor;
            cursors.extend(level.iter().map(walk));
        } else {
            cursors.push(Box::new(LevelCursor::new(level, false, reach.clone())));
        }
    }
    Ok((cursors, tombstones))
}

/// Spans of the tables that may hold older versions than the output: those deeper than `to`, and older ones of level 0.
fn spans_below(levels: &Levels, inputs: &BTreeSet<TableId>, to: u8) -> Vec<KeyRange> {
    let mut spans = Vec::new();
    for (level, tables) in levels.levels.iter().enumerate() {
        let may_be_older = level > usize::from(to) || (level == 0 && to == 0);
        let others = tables.iter().filter(|meta| may_be_older && !inputs.contains(&meta.id));
        spans.extend(others.map(|meta| meta.span.clone()));
    }
    spans
}

/// Sets aside those of the inputs `ids` that could not be read, so that the next pick goes around them. Tells whether any was.
fn note_unreadable(tablet: &Tablet, snapshot: &Snapshot, ids: &BTreeSet<TableId>, error: &Error) -> bool {
    let inputs = snapshot.levels.tables().filter(|meta| ids.contains(&meta.id));
    let mut requests = lock(&tablet.requests);
    match error {
        Error::Damaged(damage) => {
            let is_named = |meta: &&Arc<TableMeta>| damage.place.contains(&meta.id.to_string());
            let damaged: Vec<TableId> = inputs.filter(is_named).map(|meta| meta.id).collect();
            let found = damaged.into_iter().filter(|id| requests.damaged.insert(*id)).count() as u64;
            tablet.ground.counters.damaged_tables.add(found);
            found > 0
        }
        Error::KeyMissing { owner, .. } | Error::WrongKey { owner, .. } => {
            let has_stripe =
                |meta: &&Arc<TableMeta>| meta.stripes.iter().any(|stripe| stripe.owner == *owner);
            let keyless: Vec<TableId> = inputs.filter(has_stripe).map(|meta| meta.id).collect();
            let is_any = !keyless.is_empty();
            requests.keyless.0.extend(keyless);
            requests.keyless.1 = tablet.ground.clock.now_ms().saturating_add(KEYLESS_RETRY_MS);
            is_any
        }
        _ => false,
    }
}
