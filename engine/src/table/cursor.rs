//! A walk over all versions of a table, stripe by stripe, block by block, both ways.

use super::block::BlockCursor;
use super::index;
use super::reader::{OpenedStripe, Table};
use crate::error::{Error, Result};
use crate::ids::Owner;
use crate::key;
use crate::read::{Cursor, Slot};
use crate::sealed::BlockType;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge<'a> {
    First,
    Last,
    At(&'a [u8]),
}

/// Whose stripes a walk enters. The others' keys are never asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Everybody's.
    #[default]
    All,
    /// One owner's: a reader never touches what is not its tenant's.
    Only(Owner),
    /// Everybody's but these, whose keys may be gone.
    Without(Arc<BTreeSet<Owner>>),
}

impl Reach {
    fn holds(&self, owner: Owner) -> bool {
        match self {
            Self::All => true,
            Self::Only(one) => *one == owner,
            Self::Without(owners) => !owners.contains(&owner),
        }
    }
}

/// A walk over a table.
pub struct TableCursor {
    table: Arc<Table>,
    is_cached: bool,
    reach: Reach,
    stripe: usize,
    /// The stripe's index; none in a small stripe.
    index: Option<BlockCursor>,
    data: Option<BlockCursor>,
}

impl TableCursor {
    pub(super) fn new(table: Arc<Table>, is_cached: bool) -> Self {
        Self { table, is_cached, reach: Reach::default(), stripe: 0, index: None, data: None }
    }

    /// The same walk over the stripes in `reach`.
    #[must_use]
    pub fn within(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    fn is_skipped(&self, stripe: usize) -> bool {
        self.table.meta().stripes.get(stripe).is_some_and(|one| !self.reach.holds(one.owner))
    }

    fn at_data<T>(&self, result: Result<T, crate::error::Damage>) -> Result<T> {
        result.map_err(|damage| Error::from(damage).at(format!("tables/{}.dpb", self.table.meta().id)))
    }

    /// Stands at the edge of stripe `stripe`. False if nothing of the stripe is there.
    fn enter(&mut self, stripe: usize, edge: Edge<'_>) -> Result<bool> {
        (self.stripe, self.index, self.data) = (stripe, None, None);
        if self.is_skipped(stripe) {
            return Ok(false);
        }
        let opened = self.table.stripe(stripe)?;
        match &*opened {
            OpenedStripe::Solo { block, .. } => {
                let mut data = BlockCursor::new(block.clone());
                self.at_data(seek(&mut data, edge))?;
                let is_there = data.key().is_some();
                self.data = Some(data);
                Ok(is_there)
            }
            OpenedStripe::Full(end) => {
                let Some(place) = end.index else { return Ok(false) };
                let block = self.table.block(stripe, place, BlockType::Index, self.is_cached)?;
                let mut index = BlockCursor::new(block);
                self.at_data(seek(&mut index, edge))?;
                self.index = Some(index);
                self.load(edge)
            }
        }
    }

    /// Opens the block the index stands at, and stands at its edge.
    fn load(&mut self, edge: Edge<'_>) -> Result<bool> {
        let Some(index) = self.index.as_ref().filter(|index| index.key().is_some()) else {
            self.data = None;
            return Ok(false);
        };
        let place = self.at_data(index::place_at(index))?;
        let block = self.table.block(self.stripe, place, BlockType::Data, self.is_cached)?;
        let mut data = match self.data.take() {
            Some(mut data) => {
                data.reset(block);
                data
            }
            None => BlockCursor::new(block),
        };
        self.at_data(seek(&mut data, edge))?;
        let is_there = data.key().is_some();
        self.data = Some(data);
        Ok(is_there)
    }

    fn enter_from(&mut self, first: usize) -> Result<()> {
        let stripes = self.table.stripes()?;
        for stripe in first..stripes {
            if self.enter(stripe, Edge::First)? {
                return Ok(());
            }
        }
        (self.index, self.data) = (None, None);
        Ok(())
    }

    fn enter_before(&mut self, after: usize) -> Result<()> {
        for stripe in (0..after).rev() {
            if self.enter(stripe, Edge::Last)? {
                return Ok(());
            }
        }
        (self.index, self.data) = (None, None);
        Ok(())
    }
}

fn seek(cursor: &mut BlockCursor, edge: Edge<'_>) -> Result<(), crate::error::Damage> {
    match edge {
        Edge::First => cursor.seek_first(),
        Edge::Last => cursor.seek_last(),
        Edge::At(target) => cursor.seek(target),
    }
}

impl Cursor for TableCursor {
    fn seek(&mut self, target: &[u8]) -> Result<()> {
        let stripe = self.table.stripe_from(key::tenant_of(target))?;
        if stripe < self.table.stripes()? && self.enter(stripe, Edge::At(target))? {
            return Ok(());
        }
        self.enter_from(stripe + 1)
    }

    fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()> {
        let Some(target) = target else { return self.enter_before(self.table.stripes()?) };
        self.seek(target)?;
        if self.key().is_some() {
            return self.prev();
        }
        self.enter_before(self.table.stripes()?)
    }

    fn next(&mut self) -> Result<()> {
        if let Some(mut data) = self.data.take() {
            self.at_data(data.step())?;
            let is_there = data.key().is_some();
            self.data = Some(data);
            if is_there {
                return Ok(());
            }
        }
        if let Some(mut index) = self.index.take() {
            self.at_data(index.step())?;
            self.index = Some(index);
            if self.load(Edge::First)? {
                return Ok(());
            }
        }
        self.enter_from(self.stripe + 1)
    }

    fn prev(&mut self) -> Result<()> {
        if let Some(mut data) = self.data.take() {
            self.at_data(data.step_back())?;
            let is_there = data.key().is_some();
            self.data = Some(data);
            if is_there {
                return Ok(());
            }
        }
        if let Some(mut index) = self.index.take() {
            self.at_data(index.step_back())?;
            self.index = Some(index);
            if self.load(Edge::Last)? {
                return Ok(());
            }
        }
        self.enter_before(self.stripe)
    }

    fn key(&self) -> Option<&[u8]> {
        self.data.as_ref().and_then(BlockCursor::key)
    }

    fn slot(&self) -> Slot<'_> {
        self.data.as_ref().map_or(Slot::Delete, BlockCursor::slot)
    }
}
