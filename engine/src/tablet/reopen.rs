//! Tables of a tablet that are opened once more: those for which only the disk or a key was away, and those that were repaired.

use super::Tablet;
use crate::error::Kind;
use crate::ids::TableId;
use crate::table::{Table, TableMeta};
use std::sync::{Arc, PoisonError};

impl Tablet {
    /// What the manifest knows of the table `id`, if it names it.
    pub(crate) fn table_meta(&self, id: TableId) -> Option<Arc<TableMeta>> {
        self.snapshot().levels.tables().find(|meta| meta.id == id).cloned()
    }

    /// Whether some table could not be opened for something that may pass.
    pub(crate) fn has_shut_tables(&self) -> bool {
        self.snapshot().tables.iter().flatten().any(|table| is_passing(table))
    }

    /// Opens such tables once more. Call it with no merge under way.
    pub(crate) fn open_shut_tables(&self) {
        let snapshot = self.snapshot();
        for table in snapshot.tables.iter().flatten().filter(|table| is_passing(table)) {
            let again = self.ground.files.table_anew(&self.ground.sealer, &self.ground.blocks, table.meta());
            if again.unreadable().is_none() {
                self.exchange(&again);
            }
        }
    }

    /// Puts `table` in the place of the one of that name. Who holds an older picture keeps the older one.
    pub(crate) fn exchange(&self, table: &Arc<Table>) {
        let mut guard = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let old = guard.clone();
        let mut tables = old.tables.clone();
        let is_it = |one: &&mut Arc<Table>| one.meta().id == table.meta().id;
        tables.iter_mut().flatten().filter(is_it).for_each(|one| *one = table.clone());
        *guard = Arc::new(old.with_tables(old.levels.clone(), tables, None));
        // Letting go of the last holder of a table asks for another lock.
        drop(guard);
        drop(old);
    }
}

/// Whether a table is shut for what may pass: the disk or a key was away.
fn is_passing(table: &Table) -> bool {
    table.unreadable().is_some_and(|error| matches!(error.kind(), Kind::Unavailable | Kind::Key))
}
