//! Flush: the oldest frozen memtable becomes tables of level 0, and its position durable.

use crate::compaction::run::{Job, Output, write_tables};
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::manifest::edit::Edit;
use crate::range_tombstone::Tombstones;
use crate::read::Cursor;
use crate::stamp::Stamp;
use crate::tablet::{Tablet, lock};
use std::sync::Arc;

/// Flushes the oldest frozen memtable of `tablet`, if the log is durable that far.
pub(super) fn flush_oldest(tablet: &Tablet) -> Result<()> {
    let _one = lock(&tablet.flushing);
    if tablet.is_closed() {
        return Err(Error::Closed);
    }
    let snapshot = tablet.snapshot();
    let Some(frozen) =
        snapshot.frozen.last().filter(|frozen| frozen.applied.index <= tablet.log_durable()).cloned()
    else {
        return Ok(());
    };
    let ground = &tablet.ground;
    let policy = ground.policy(frozen.applied.stamp.min(tablet.archived()), 0);
    let job = Job {
        sealer: &ground.sealer,
        new_file: &|id| ground.files.create(id),
        created: Stamp::new(ground.clock.now_ms(), 0),
        block_bytes: ground.config.block_bytes,
        // One table a memtable: level 0 is read table by table.
        table_bytes: u64::MAX,
        range: &snapshot.levels.range,
        policy: &policy,
        below: &[KeyRange::all()],
        throttle: &|bytes| tablet.charge_ahead(bytes),
    };
    let memtable = &frozen.counted.memtable;
    let mut cursor = memtable.cursor();
    let output = write(&job, &mut cursor, memtable.tombstones(), tablet)?;
    let mut edit = Edit::empty(tablet.id());
    edit.applied = Some(frozen.applied.clone());
    edit.floors = output.floors;
    let written: u64 = output.tables.iter().map(|meta| meta.bytes).sum();
    edit.added = output.tables.into_iter().map(|meta| (0, meta)).collect();
    tablet.install(edit, Some(frozen))?;
    ground.counters.flushes.add(1);
    ground.counters.flushed_bytes.add(written);
    Ok(())
}

/// Writes tables and makes their names durable; whatever a failure leaves is handed over for removal.
pub(super) fn write(
    job: &Job<'_>,
    cursor: &mut dyn Cursor,
    tombstones: Arc<Tombstones>,
    tablet: &Tablet,
) -> Result<Output> {
    let files = &tablet.ground.files;
    let written = write_tables(job, cursor, tombstones).map_err(|failed| {
        failed.created.iter().for_each(|id| files.discard(*id));
        failed.error
    })?;
    if let Err(error) = files.sync_names() {
        written.tables.iter().for_each(|meta| files.discard(meta.id));
        return Err(error);
    }
    Ok(written)
}
