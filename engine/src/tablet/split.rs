//! Split: one tablet becomes two that share its files. Nothing is rewritten; each child hides what is not its own, and
//! its next compactions leave the rest behind.

use super::pool::Pool;
use super::{Tablet, lock};
use crate::error::{Error, Result};
use crate::ids::TabletId;
use crate::key::{self, KeyRange};
use crate::manifest::edit::Edit;
use crate::manifest::journal::{Journal, Position};
use crate::manifest::levels::Levels;
use crate::work::flush_all;
use std::sync::Arc;

impl Pool {
    /// Splits `parent` at the row key `at`: `left` gets the rows before it, `right` the others. Both are born at the
    /// parent's applied position, in the commit that ends the parent.
    ///
    /// The parent's memtables are flushed first, in the caller's thread; it takes no writes meanwhile.
    ///
    /// # Errors
    /// * `Invalid`: `at` outside the range, an id that is here already, no such tablet. Nothing changed.
    /// * `Unavailable`: the flush or the commit failed, or the log is not durable up to the applied position. After a
    ///   failed commit the parent is fenced: open the pool again to see which of them are there.
    pub fn split(
        &self,
        parent: TabletId,
        at: &[u8],
        left: TabletId,
        right: TabletId,
    ) -> Result<[Arc<Tablet>; 2]> {
        let _births = self.board.births();
        let tablet = self.board.tablet(parent)?;
        if let Some(taken) = [left, right].into_iter().find(|id| self.board.knows(*id)) {
            return Err(Error::TabletExists(taken));
        }
        let range = tablet.range();
        if left == right || at <= range.start.as_slice() || !range.contains(at) {
            return Err(Error::Invalid(
                "a split needs two new ids and a row inside the range, above its start",
            ));
        }
        key::check_bound(at)?;
        let _compacting = lock(&tablet.compacting);
        let _writer = lock(&tablet.writer);
        tablet.allows(|health| health.allows_writes(parent))?;
        tablet.freeze_locked(&_writer);
        flush_all(&tablet)?;
        let whole = tablet.snapshot().levels.clone();
        let ranges = [
            (left, KeyRange { start: range.start, end: Some(at.to_vec()) }),
            (right, KeyRange { start: at.to_vec(), end: range.end }),
        ];
        self.replace(&tablet, &whole, ranges)
    }

    fn replace(
        &self,
        parent: &Tablet,
        whole: &Levels,
        ranges: [(TabletId, KeyRange); 2],
    ) -> Result<[Arc<Tablet>; 2]> {
        let manifest = lock(&parent.manifest);
        let mut changes: Vec<_> = Journal::removals(parent.id(), &manifest.position).collect();
        let mut born = Vec::with_capacity(2);
        for (id, range) in ranges {
            let edit = Edit { range: Some(range.clone()), ..whole.within(&range).whole_edit(id, 1) };
            let prepared = self.ground.journal.prepare(&Levels::default(), &Position::default(), edit)?;
            changes.extend(prepared.changes);
            born.push((id, prepared.levels, prepared.position));
        }
        if let Err(error) = self.ground.journal.commit(&changes) {
            // Nothing is removed and neither id given again before the pool has been opened anew and knows.
            let cause = format!("it is not known whether the split of {} happened: {error}", parent.id());
            born.iter().for_each(|(id, ..)| self.board.add_unreadable(*id, cause.clone()));
            parent.fence(cause);
            return Err(error);
        }
        drop(manifest);
        // The children name the files before the parent lets go of them.
        let mut children = Vec::with_capacity(2);
        for (id, levels, position) in born {
            levels.tables().for_each(|meta| self.ground.files.name(meta.id));
            let child = Arc::new(Tablet::open(id, self.ground.clone(), levels, position));
            self.board.add(child.clone());
            children.push(child);
        }
        parent.close();
        self.board.remove(parent.id());
        whole.tables().for_each(|meta| self.ground.files.unname(meta.id));
        parent.let_go();
        self.ground.bell.ring();
        children.try_into().map_err(|_| Error::Invalid("a split makes two tablets"))
    }
}
