//! One immutable picture of a tablet's sources. A reader takes it once; nothing in it changes or goes while it is held,
//! except that the active memtable grows by stamps above the reader's.

use super::ground::{Counted, MemtableBudget};
use crate::manifest::edit::Applied;
use crate::manifest::levels::Levels;
use crate::table::Table;
use std::sync::Arc;

/// Everything a tablet reads from.
pub(crate) struct Snapshot {
    pub(crate) active: Arc<Counted>,
    /// Newest first.
    pub(crate) frozen: Vec<Arc<Frozen>>,
    /// The opened tables of `levels`, in its order.
    pub(crate) tables: Vec<Vec<Arc<Table>>>,
    pub(crate) levels: Arc<Levels>,
}

/// A memtable that takes no more writes, with the position its flush makes durable.
pub(crate) struct Frozen {
    pub(crate) counted: Arc<Counted>,
    pub(crate) applied: Applied,
}

impl Snapshot {
    pub(crate) fn new(
        levels: Arc<Levels>,
        tables: Vec<Vec<Arc<Table>>>,
        budget: &Arc<MemtableBudget>,
    ) -> Self {
        Self { active: Counted::new(budget), frozen: Vec::new(), tables, levels }
    }

    /// The same with the active memtable frozen at `applied` and an empty one in its place.
    pub(crate) fn frozen_at(&self, applied: Applied, budget: &Arc<MemtableBudget>) -> Self {
        let mut frozen = Vec::with_capacity(self.frozen.len() + 1);
        frozen.push(Arc::new(Frozen { counted: self.active.clone(), applied }));
        frozen.extend(self.frozen.iter().cloned());
        Self {
            active: Counted::new(budget),
            frozen,
            tables: self.tables.clone(),
            levels: self.levels.clone(),
        }
    }

    /// The same tables without anything in memory.
    pub(crate) fn without_memtables(&self, budget: &Arc<MemtableBudget>) -> Self {
        let (tables, levels) = (self.tables.clone(), self.levels.clone());
        Self { active: Counted::new(budget), frozen: Vec::new(), tables, levels }
    }

    /// Its memtables count no longer as live: only readers hold them.
    pub(crate) fn retire(&self) {
        self.active.retire();
        self.frozen.iter().for_each(|frozen| frozen.counted.retire());
    }

    /// The same with other tables, without the memtable that went into them.
    pub(crate) fn with_tables(
        &self,
        levels: Arc<Levels>,
        tables: Vec<Vec<Arc<Table>>>,
        flushed: Option<&Arc<Frozen>>,
    ) -> Self {
        let stays = |frozen: &&Arc<Frozen>| flushed.is_none_or(|gone| !Arc::ptr_eq(frozen, gone));
        let frozen = self.frozen.iter().filter(stays).cloned().collect();
        Self { active: self.active.clone(), frozen, tables, levels }
    }
}
