//! What whoever compares replicas needs of a tablet: which collections of which tenants it keeps anything of, told one after the other by a
//! jump from each to the next. And, as a planted bug, rows that nobody has applied.

use super::view::View;
use crate::error::Result;
use crate::ids::{CollectionId, TenantId};
use crate::key::{self, KeyRange};
use crate::read::level_cursor::LevelCursor;
use crate::read::merge_cursor::MergeCursor;
use crate::read::{BoxedCursor, Cursor};
use crate::table::{Reach, owner_of};
use std::collections::BTreeSet;
use std::sync::Arc;

#[cfg(feature = "planted")]
impl super::Tablet {
    /// Writes rows that nobody has applied, and that no log holds: for proving that whoever compares replicas finds it. The position stays
    /// what it is; stamps that are not visible yet stay so.
    pub fn spoil(&self, batch: &super::batch::Batch) {
        let _last = super::lock(&self.writer);
        self.snapshot().active.memtable.apply(batch);
    }
}

impl View {
    /// The first collection behind `after`, or the first of all, of which any version is kept here, deleted rows and older versions among
    /// them; but of no tenant that `is_gone`: the keys of such a one need not be here.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`: it is not known here.
    pub fn collection_after(
        &self,
        after: Option<(TenantId, CollectionId)>,
        is_gone: &dyn Fn(TenantId) -> bool,
    ) -> Result<Option<(TenantId, CollectionId)>> {
        let range = self.range();
        let mut from = match after {
            None => range.start.clone(),
            Some((tenant, collection)) => match KeyRange::prefix(tenant, collection, b"").end {
                Some(end) => end.max(range.start.clone()),
                None => return Ok(None),
            },
        };
        // Tables of many tenants are walked without opening what is of those that are gone; whose they are is told by the tables.
        let mut cursor = self.versions(is_gone)?;
        loop {
            cursor.seek(&from)?;
            let Some(version) = cursor.key() else { return Ok(None) };
            let (row, _) = key::split(version);
            if !range.contains(row) {
                return Ok(None);
            }
            let tenant = key::tenant_of(row);
            if !is_gone(tenant) {
                let (tenant, collection, _) = key::decode_row(row)?;
                return Ok(Some((tenant, collection)));
            }
            // What is in memory only is there whoever's it is.
            match KeyRange::tenant(tenant).end {
                Some(end) => from = end,
                None => return Ok(None),
            }
        }
    }

    /// All versions, but those of tenants that are gone in tables.
    fn versions(&self, is_gone: &dyn Fn(TenantId) -> bool) -> Result<MergeCursor> {
        let mut gone = BTreeSet::new();
        for table in self.tables().iter().flatten() {
            for owner in table.owners()? {
                if is_gone(TenantId(owner.id())) {
                    gone.insert(owner_of(TenantId(owner.id())));
                }
            }
        }
        let reach = Reach::Without(Arc::new(gone));
        let mut cursors: Vec<BoxedCursor> = Vec::new();
        for memtable in self.memtables() {
            cursors.push(Box::new(memtable.cursor()));
        }
        for (depth, level) in self.tables().iter().enumerate() {
            match depth {
                0 => cursors.extend(
                    level
                        .iter()
                        .map(|table| Box::new(table.cursor(false).within(reach.clone())) as BoxedCursor),
                ),
                _ if level.is_empty() => {}
                _ => cursors.push(Box::new(LevelCursor::new(level, false, reach.clone()))),
            }
        }
        Ok(MergeCursor::new(cursors))
    }
}
