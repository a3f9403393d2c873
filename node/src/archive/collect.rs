//! What is committed to a group, gathered for its ticks: from the change feed of its own replica while all of it was heard, else by a walk over
//! the versions that the tablet keeps behind what is archived. Nothing behind that is compacted away, so the walk finds everything.

use super::naming::TickEnd;
use super::tick::Collected;
use crate::limits;
use crate::meta::archive_row::ArchivedRow;
use crate::meta::rows;
use crate::shard::feed::{Applied, Feeds, Hearing};
use engine::Stamp;
use engine::ids::{CollectionId, NodeId, TenantId};
use engine::key;
use engine::range_tombstone::RangeTombstone;
use engine::read::{OwnedSlot, Slot};
use engine::tablet::batch::Op;
use raft::machine::Machine;
use raft::types::GroupId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Bytes of one tick file, about: what is collected beyond goes into another.
pub const FILE_BYTES: usize = 32 << 20;

/// Whether a row of the meta group stays out of archives: keys, whatever wraps them; how archiving itself goes; and restores, whose plans name
/// keys of tenants, which would outlive them there.
#[must_use]
pub fn is_left_out(tenant: TenantId, collection: CollectionId) -> bool {
    const LEFT_OUT: [CollectionId; 8] = [
        rows::CLUSTER,
        rows::TENANT_KEYS,
        rows::DATA_KEYS,
        rows::TOKENS,
        rows::ROOT,
        rows::TAKEN,
        rows::RESTORES,
        rows::HELD,
    ];
    tenant == TenantId(0) && (LEFT_OUT.contains(&collection) || (20..30).contains(&collection.0))
}

/// The same of a version key, or of a bound.
pub(super) fn is_version_left_out(version: &[u8]) -> bool {
    let (tenant, collection) = (key::tenant_of(version), version.get(8..12));
    let collection = collection.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    collection.is_some_and(|collection| is_left_out(tenant, CollectionId(collection)))
}

/// How far a group has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Come {
    /// The group.
    pub group: GroupId,
    /// It holds everything behind this stamp,
    pub after: Stamp,
    /// up to this one.
    pub upto: Stamp,
    /// The last entry of the log that is wholly in it.
    pub index: u64,
    /// What is before `after` was never archived.
    pub begins: bool,
    /// What is behind this stamp and up to `after` is missing.
    pub gap_from: Option<Stamp>,
}

/// Gathers what is committed to one group.
pub struct Collector {
    group: GroupId,
    hearing: Option<Hearing>,
    heard: VecDeque<Arc<Applied>>,
    heard_bytes: usize,
    /// Everything up to here was given away by [`Collector::collect`].
    given: Stamp,
    index: u64,
}

impl Collector {
    /// One that has heard of nothing.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        let (heard, heard_bytes) = (VecDeque::new(), 0);
        Self { group, hearing: None, heard, heard_bytes, given: Stamp::ZERO, index: 0 }
    }

    /// Forgets everything: what comes next is found by a walk.
    pub fn reset(&mut self) {
        *self = Self::new(self.group);
    }

    /// Takes what was applied meanwhile. Call it often: the feed keeps little.
    pub fn listen(&mut self) {
        let Some(hearing) = &mut self.hearing else { return };
        loop {
            match hearing.take() {
                Ok(Some(applied)) => {
                    self.heard_bytes += applied.batch().bytes();
                    self.heard.push_back(applied);
                }
                Ok(None) if self.heard_bytes <= limits::ARCHIVE_HEARD_BYTES_MAX => return,
                // A snapshot was installed, or more came than there is room for.
                Ok(None) | Err(_) => return self.reset(),
            }
            if self.heard_bytes > limits::ARCHIVE_HEARD_BYTES_MAX {
                return self.reset();
            }
        }
    }

    /// Gives everything behind what is archived and up to the end of a tick, or as far as this replica is, to `sink`, in pieces of a bounded
    /// size. `None`: there is nothing new. After an error, and whenever what was given is not archived in the end: [`Collector::reset`].
    ///
    /// # Errors
    /// What the tablet says, and `sink`.
    pub fn collect(
        &mut self,
        machine: &Machine,
        (feeds, gone): (&Feeds, &BTreeSet<TenantId>),
        (archived, end): (&ArchivedRow, TickEnd),
        sink: &mut dyn FnMut(Collected) -> engine::Result<()>,
    ) -> engine::Result<Option<Come>> {
        self.listen();
        if self.hearing.is_some() && self.given == archived.upto && archived.has_begun {
            return self.collect_heard((archived, end), sink);
        }
        self.reset();
        self.hearing = Some(feeds.hear(self.group));
        // First where the group stands: of what came before that, everything is in the view. The stamp of the view is that of the last write,
        // and an idle group is further.
        let note = machine.applied();
        self.index = note.applied.map_or(0, |id| id.index);
        let view = Arc::new(machine.tablet().view(0)?);
        let (at, floor) = (view.at().max(note.last), view.history_floor(gone));
        let mut come = Come {
            group: self.group,
            after: archived.upto,
            upto: at,
            index: self.index,
            begins: false,
            gap_from: None,
        };
        if at <= archived.upto && archived.has_begun {
            // Nothing is new; or this replica is behind the one that archived before, and is asked again.
            self.given = at;
            return Ok(None);
        }
        if floor > archived.upto {
            // What is between is not kept here any more. Before anything was archived that is how an archive begins.
            (come.after, come.begins) = (at, !archived.has_begun);
            come.gap_from = archived.has_begun.then_some(archived.upto);
        } else {
            self.walk(&view, (archived.upto, gone), sink)?;
        }
        self.given = at;
        Ok(Some(come))
    }

    fn walk(
        &self,
        view: &Arc<engine::tablet::view::View>,
        (after, gone): (Stamp, &BTreeSet<TenantId>),
        sink: &mut dyn FnMut(Collected) -> engine::Result<()>,
    ) -> engine::Result<()> {
        let mut walk = view.kept(after, gone)?;
        let mut collected = Collected::default();
        for one in walk.tombstones().iter().filter(|one| !is_version_left_out(&one.start)) {
            collected.range(one.clone());
        }
        loop {
            let has_more = walk.step(&mut |version, slot| {
                if !is_version_left_out(version) {
                    collected.version(version.to_vec(), slot.to_owned());
                }
                if collected.bytes() >= FILE_BYTES {
                    sink(std::mem::take(&mut collected))?;
                }
                Ok(())
            })?;
            if !has_more {
                break;
            }
        }
        if collected.is_empty() { Ok(()) } else { sink(collected) }
    }

    fn collect_heard(
        &mut self,
        (archived, end): (&ArchivedRow, TickEnd),
        sink: &mut dyn FnMut(Collected) -> engine::Result<()>,
    ) -> engine::Result<Option<Come>> {
        let (mut collected, mut upto) = (Collected::default(), archived.upto);
        while let Some(applied) = self.heard.front() {
            if applied.upto > end.upto() {
                // Everything up to the end of the tick came before it.
                upto = upto.max(end.upto());
                break;
            }
            for op in applied.batch().ops() {
                take(op, archived.upto, &mut collected);
            }
            upto = upto.max(applied.upto);
            self.index = self.index.max(applied.index);
            self.heard_bytes -= applied.batch().bytes();
            self.heard.pop_front();
            if collected.bytes() >= FILE_BYTES {
                sink(std::mem::take(&mut collected))?;
            }
        }
        if !collected.is_empty() {
            sink(collected)?;
        }
        if upto == archived.upto {
            return Ok(None);
        }
        self.given = upto;
        let (group, after, index) = (self.group, archived.upto, self.index);
        Ok(Some(Come { group, after, upto, index, begins: false, gap_from: None }))
    }
}

/// Takes one write behind `after`.
fn take(op: Op<'_>, after: Stamp, collected: &mut Collected) {
    let (version, slot) = match op {
        Op::Put { version, value, expires_ms } => (version, Slot::Put { value, expires_ms }),
        Op::Delete { version } => (version, Slot::Delete),
        Op::DeleteRange { start, end, stamp } => {
            if stamp > after && !is_version_left_out(start) {
                collected.range(RangeTombstone { start: start.to_vec(), end: end.to_vec(), stamp });
            }
            return;
        }
    };
    if key::split(version).1 > after && !is_version_left_out(version) {
        let slot: OwnedSlot = slot.to_owned();
        collected.version(version.to_vec(), slot);
    }
}

impl Come {
    /// As markers name it, collected by `node`.
    #[must_use]
    pub fn row(&self, node: NodeId) -> super::manifest::log::GroupRow {
        super::manifest::log::GroupRow {
            group: self.group.0,
            after: self.after.0,
            upto: self.upto.0,
            last_index: self.index,
            begins: self.begins && self.after != Stamp::ZERO,
            is_behind_gap: self.gap_from.is_some(),
            gap_from: self.gap_from.unwrap_or_default().0,
            node: node.0,
            ..super::manifest::log::GroupRow::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_or_wraps_keys_stays_out_and_what_a_restore_needs_does_not() {
        let is_out = |collection| is_left_out(TenantId(0), collection);
        assert!([rows::TENANT_KEYS, rows::ROOT, rows::RESTORES, rows::HELD].into_iter().all(is_out));
        assert!(![rows::TENANTS, rows::TENANT_NAMES, rows::COLLECTIONS].into_iter().any(is_out));
        assert!(!is_left_out(TenantId(7), rows::RESTORES), "a tenant's own rows are none of that");
    }
}
