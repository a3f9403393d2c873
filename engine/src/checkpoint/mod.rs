//! Checkpoints: a consistent, pinned list of a tablet's immutable files at its durable position.
//!
//! Taking one copies nothing and flushes nothing. Its files stay while it lives. Sealed bytes travel as they are: export and
//! import need no tenant's key, only the cluster's, for the picture that says where the files stand.

pub mod export;
pub mod import;
pub mod listing;
mod repair;

use crate::error::Result;
use crate::ids::TabletId;
use crate::manifest::levels::Levels;
use crate::table::Table;
use crate::tablet::Tablet;
use crate::tablet::ground::Ground;
use std::sync::Arc;

/// A pinned picture of a tablet.
pub struct Checkpoint {
    tablet: TabletId,
    ground: Arc<Ground>,
    levels: Arc<Levels>,
    /// Pinned: their files stay.
    tables: Vec<Arc<Table>>,
    listing: Vec<u8>,
}

impl Tablet {
    /// Pins the tablet's files at its durable position. What is only in memory is not in it: freeze and let background
    /// work flush first if it must be.
    ///
    /// # Errors
    /// `Key` if the cluster's key is missing; `Stop` if the tablet is fenced or closed.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let snapshot = self.snapshot();
        self.allows_reads()?;
        let tables = snapshot.tables.iter().flatten().cloned().collect();
        let levels = snapshot.levels.clone();
        let listing = listing::seal(&self.ground.sealer, self.id(), &levels)?;
        Ok(Checkpoint { tablet: self.id(), ground: self.ground.clone(), levels, tables, listing })
    }
}

impl Checkpoint {
    /// The tablet it was taken of.
    #[must_use]
    pub fn tablet(&self) -> TabletId {
        self.tablet
    }

    /// Tables and position.
    #[must_use]
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The listing, as bytes to send or store (`docs/formats/checkpoint_listing.md`).
    #[must_use]
    pub fn listing(&self) -> &[u8] {
        &self.listing
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.meta().bytes).sum()
    }
}
