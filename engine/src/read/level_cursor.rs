//! A walk over the tables of one sorted level as if they were one: only the table it stands in is open to it.

use super::{Cursor, Slot};
use crate::error::Result;
use crate::table::{Reach, Table, TableCursor};
use std::sync::Arc;

/// A walk over tables that are sorted and do not overlap.
pub struct LevelCursor {
    tables: Vec<Arc<Table>>,
    is_cached: bool,
    reach: Reach,
    at: usize,
    cursor: Option<TableCursor>,
}

impl LevelCursor {
    /// A walk over `tables`, those without versions left out.
    #[must_use]
    pub fn new(tables: &[Arc<Table>], is_cached: bool, reach: Reach) -> Self {
        let tables = tables.iter().filter(|table| table.meta().entries > 0).cloned().collect();
        Self { tables, is_cached, reach, at: 0, cursor: None }
    }

    fn open(&mut self, at: usize) -> bool {
        if self.cursor.is_some() && self.at == at {
            return true;
        }
        self.at = at;
        let open = |table: &Arc<Table>| table.cursor(self.is_cached).within(self.reach.clone());
        self.cursor = self.tables.get(at).map(open);
        self.cursor.is_some()
    }

    fn go_on(&mut self) -> Result<()> {
        while self.key().is_none() && self.open(self.at + 1) {
            if let Some(cursor) = &mut self.cursor {
                cursor.seek(&[])?;
            }
        }
        Ok(())
    }

    fn go_back(&mut self) -> Result<()> {
        while self.key().is_none() {
            let Some(before) = self.at.checked_sub(1) else {
                self.cursor = None;
                return Ok(());
            };
            self.open(before);
            if let Some(cursor) = &mut self.cursor {
                cursor.seek_before(None)?;
            }
        }
        Ok(())
    }
}

impl Cursor for LevelCursor {
    fn seek(&mut self, target: &[u8]) -> Result<()> {
        let at = self.tables.partition_point(|table| &table.meta().greatest[..] < target);
        if self.open(at)
            && let Some(cursor) = &mut self.cursor
        {
            cursor.seek(target)?;
        }
        self.go_on()
    }

    fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()> {
        let is_before = |table: &Arc<Table>| target.is_none_or(|target| &table.meta().least[..] < target);
        let after = self.tables.partition_point(is_before);
        let Some(at) = after.checked_sub(1) else {
            (self.at, self.cursor) = (0, None);
            return Ok(());
        };
        self.open(at);
        if let Some(cursor) = &mut self.cursor {
            cursor.seek_before(target)?;
        }
        self.go_back()
    }

    fn next(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            cursor.next()?;
        }
        self.go_on()
    }

    fn prev(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            cursor.prev()?;
        }
        self.go_back()
    }

    fn key(&self) -> Option<&[u8]> {
        self.cursor.as_ref().and_then(Cursor::key)
    }

    fn slot(&self) -> Slot<'_> {
        self.cursor.as_ref().map_or(Slot::Delete, Cursor::slot)
    }
}
