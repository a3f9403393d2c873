//! The journal: a tablet's manifest edits, to and from the catalog.
//!
//! * One catalog row an edit, numbered without gap; the first one kept is a whole picture.
//! * Every value is an envelope whose object name holds the row's key and the seal of the edit before it, so an
//!   edit that is changed, moved, repeated or left out between others does not open. That the newest edits are there, or
//!   that the catalog as a whole is not an older one put back, cannot be seen from inside: the log above knows.
//! * An edit that gives a tablet its files and the applied position it makes durable is one row: both or neither.

use super::edit::Edit;
use super::levels::Levels;
use crate::catalog::rows::RowKey;
use crate::catalog::{Catalog, Change, sealer};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{NodeId, TabletId};
use crate::limits;
use crate::sealed::Sealer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a tablet's journal stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Sequence of the newest edit; 0 before the first.
    pub sequence: u64,
    /// Seal of the newest edit, which the next one names.
    tag: [u8; 16],
    /// Sequences of the rows kept, from the last whole picture on.
    first: u64,
}

/// One tablet as the catalog tells it.
pub struct Loaded {
    /// Its tables and durable position.
    pub levels: Levels,
    /// Where its journal stands.
    pub position: Position,
}

/// An edit ready to be committed, perhaps together with others.
#[derive(Debug)]
pub struct Prepared {
    /// What the catalog must commit, whole or not at all.
    pub changes: Vec<Change>,
    /// Where the journal stands afterwards.
    pub position: Position,
    /// The tablet's picture afterwards.
    pub levels: Arc<Levels>,
}

struct Row {
    sequence: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Reads and writes manifest edits.
pub struct Journal {
    catalog: Arc<dyn Catalog>,
    sealer: Arc<Sealer>,
    node: NodeId,
}

impl Journal {
    /// The journal kept in `catalog`, sealed with the key of `node`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, sealer: Arc<Sealer>, node: NodeId) -> Self {
        Self { catalog, sealer, node }
    }

    /// Every tablet of the catalog; one whose rows are damaged is told apart from the others.
    ///
    /// # Errors
    /// `Unavailable` if the catalog cannot be read. Damage of one tablet is its own value.
    pub fn load(&self) -> Result<BTreeMap<TabletId, Result<Loaded>>> {
        let mut by_tablet: BTreeMap<TabletId, Vec<Row>> = BTreeMap::new();
        for (key, value) in self.catalog.scan(&RowKey::manifest_edits())? {
            let RowKey::ManifestEdit { tablet, sequence } = RowKey::decode(&key)? else {
                return Err(Damage::of(Nature::Malformed, "a foreign row among the manifest edits")
                    .at("catalog")
                    .into());
            };
            by_tablet.entry(tablet).or_default().push(Row { sequence, key, value });
        }
        Ok(by_tablet.into_iter().map(|(tablet, rows)| (tablet, self.replay(tablet, rows))).collect())
    }

    fn replay(&self, tablet: TabletId, rows: Vec<Row>) -> Result<Loaded> {
        let place = |sequence: u64| format!("manifest of {tablet}, edit {sequence}");
        let mut levels: Option<Levels> = None;
        let mut position = Position::default();
        for Row { sequence, key, value } in rows {
            if levels.is_some() && sequence != position.sequence + 1 {
                let gap = Damage::of(Nature::Missing, "an edit is missing before this one");
                return Err(gap.at(place(sequence)).into());
            }
            let opened = sealer::open_row(&self.sealer, self.node, &key, sequence, &position.tag, &value)
                .map_err(|error| error.at(place(sequence)))?;
            let edit = Edit::decode(&opened).map_err(|error| error.at(place(sequence)))?;
            let damaged = |detail| Error::from(Damage::of(Nature::Malformed, detail).at(place(sequence)));
            if edit.tablet != tablet || edit.sequence != sequence {
                return Err(damaged("the edit names another tablet or sequence"));
            }
            if levels.is_none() && !edit.is_reset {
                return Err(Damage::of(Nature::Missing, "the whole picture before this edit")
                    .at(place(sequence))
                    .into());
            }
            let before = levels.take().unwrap_or_default();
            levels = Some(before.apply(&edit).map_err(|damage| damage.at(place(sequence)))?);
            let first = if edit.is_reset { sequence } else { position.first };
            position = Position { sequence, tag: sealer::tag_of(&value), first };
        }
        let levels =
            levels.ok_or_else(|| Error::from(Damage::of(Nature::Missing, "no edit").at(place(0))))?;
        Ok(Loaded { levels, position })
    }

    /// Seals `edit` (its sequence is set here) as the next one after `position`. A whole picture, and a journal that has grown
    /// long and is written anew as one, take as many rows as they need, in one commit.
    ///
    /// # Errors
    /// `Damaged` if the edit breaks a rule of [`Levels`]; `Key` if the node's key is missing; `TooLarge`: range, note, or more
    /// tables at once than an edit can hold.
    pub fn prepare(&self, levels: &Levels, position: &Position, edit: Edit) -> Result<Prepared> {
        edit.check_limits()?;
        let after = levels.apply(&edit)?;
        // The rows of the whole picture itself do not count.
        let bytes: usize = after.tables().map(|meta| meta.encoded_bytes()).sum();
        let rows_max = limits::JOURNAL_EDITS_MAX + 2 * (bytes / limits::EDIT_PIECE_BYTES) as u64;
        let anew = edit.is_reset || position.sequence + 1 - position.first >= rows_max;
        let tablet = edit.tablet;
        let edits = if anew { after.whole_edits(tablet, limits::EDIT_PIECE_BYTES) } else { vec![edit] };
        let mut next = position.clone();
        let mut changes = Vec::with_capacity(edits.len());
        for edit in edits {
            let before = if edit.is_reset { [0; 16] } else { next.tag };
            next.sequence += 1;
            if edit.is_reset {
                next.first = next.sequence;
            }
            let (change, tag) = self.seal(Edit { sequence: next.sequence, ..edit }, &before)?;
            next.tag = tag;
            changes.push(change);
        }
        if anew && position.sequence > 0 {
            changes.extend(Self::removals(tablet, position));
        }
        Ok(Prepared { changes, position: next, levels: Arc::new(after) })
    }

    fn seal(&self, edit: Edit, before: &[u8; 16]) -> Result<(Change, [u8; 16])> {
        let encoded = edit.encode();
        if encoded.len() > limits::EDIT_BYTES_MAX {
            let (got, max) = (encoded.len() as u64, limits::EDIT_BYTES_MAX as u64);
            return Err(Error::TooLarge { what: "manifest edit bytes", got, max });
        }
        let key = RowKey::ManifestEdit { tablet: edit.tablet, sequence: edit.sequence }.encode();
        let value = sealer::seal_row(&self.sealer, self.node, &key, edit.sequence, before, &encoded)?;
        let tag = sealer::tag_of(&value);
        Ok((Change::Put { key, value }, tag))
    }

    /// The changes that forget a tablet whose journal stands at `position`.
    pub fn removals(tablet: TabletId, position: &Position) -> impl Iterator<Item = Change> + use<> {
        let (first, last) = (position.first.max(1), position.sequence);
        (first..=last)
            .map(move |sequence| Change::Remove { key: RowKey::ManifestEdit { tablet, sequence }.encode() })
    }

    /// Commits what one or several [`Journal::prepare`] made ready.
    ///
    /// # Errors
    /// `Unavailable`: it is not known whether the commit happened. Commit the same changes again.
    pub fn commit(&self, changes: &[Change]) -> Result<()> {
        self.catalog.commit(changes)
    }
}
