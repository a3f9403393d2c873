//! Pure: one picture of which tables make up a tablet. `Levels::apply` holds, before an edit is written and after it is read:
//!   * level 0 is newest first and may overlap; deeper levels are sorted, and two neighbours share at most a boundary row;
//!   * a table is in the picture once; what goes or moves was there;
//!   * the applied position and the floors of history never go back.

use super::edit::{Applied, Edit};
use crate::error::{Damage, Nature};
use crate::ids::{KeyEpoch, TableId, TabletId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::stamp::Stamp;
use crate::table::TableMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which tables make up a tablet, and the position they hold everything up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The rows the tablet holds. Tables may reach beyond it after a split.
    pub range: KeyRange,
    /// The durable position.
    pub applied: Applied,
    /// Tables by level.
    pub levels: Vec<Vec<Arc<TableMeta>>>,
    /// Below these stamps history has been dropped, by tenant.
    pub floors: BTreeMap<TenantId, Stamp>,
}

impl Default for Levels {
    fn default() -> Self {
        let levels = vec![Vec::new(); limits::LEVELS];
        Self { range: KeyRange::default(), applied: Applied::default(), levels, floors: BTreeMap::new() }
    }
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

impl Levels {
    /// The picture after `edit`.
    ///
    /// # Errors
    /// `Damaged` (`Malformed`) if the edit does not fit this picture or breaks a rule of the next.
    pub fn apply(&self, edit: &Edit) -> Result<Self, Damage> {
        let mut next = if edit.is_reset { Self::default() } else { self.clone() };
        match (&edit.range, edit.is_reset) {
            (Some(range), true) => next.range = range.clone(),
            (None, false) => {}
            _ => return Err(malformed("a range belongs into a whole picture, and only there")),
        }
        if edit.is_reset && edit.applied.is_none() {
            return Err(malformed("a whole picture without its position"));
        }
        if let Some(applied) = &edit.applied {
            if applied.index < next.applied.index || applied.stamp < next.applied.stamp {
                return Err(malformed("the applied position goes back"));
            }
            next.applied = applied.clone();
        }
        for (tenant, floor) in &edit.floors {
            let before = next.floors.entry(*tenant).or_default();
            *before = (*before).max(*floor);
        }
        for id in &edit.removed {
            next.take(*id)?;
        }
        for (id, level) in &edit.moved {
            let meta = next.take(*id)?;
            next.put(*level, meta)?;
        }
        for (level, meta) in &edit.added {
            next.put(*level, Arc::new(meta.clone()))?;
        }
        next.arrange();
        next.check()?;
        Ok(next)
    }

    fn take(&mut self, id: TableId) -> Result<Arc<TableMeta>, Damage> {
        for level in &mut self.levels {
            if let Some(at) = level.iter().position(|meta| meta.id == id) {
                return Ok(level.remove(at));
            }
        }
        Err(malformed("a table goes that is not there"))
    }

    fn put(&mut self, level: u8, meta: Arc<TableMeta>) -> Result<(), Damage> {
        let level = self.levels.get_mut(usize::from(level)).ok_or_else(|| malformed("no such level"))?;
        level.push(meta);
        Ok(())
    }

    fn arrange(&mut self) {
        for (depth, level) in self.levels.iter_mut().enumerate() {
            match depth {
                0 => level.sort_by_key(|meta| std::cmp::Reverse((meta.greatest_stamp, meta.id))),
                _ => level.sort_by(|a, b| (&a.span.start, &a.least).cmp(&(&b.span.start, &b.least))),
            }
        }
    }

    fn check(&self) -> Result<(), Damage> {
        let mut ids: Vec<TableId> = self.tables().map(|meta| meta.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(malformed("a table is there twice"));
        }
        if ids.len() > limits::TABLES_MAX {
            return Err(malformed("more tables than a tablet may have"));
        }
        for pair in self.levels.iter().skip(1).flat_map(|level| level.windows(2)) {
            if !follows(&pair[0], &pair[1]) {
                return Err(malformed("tables of a sorted level overlap"));
            }
        }
        Ok(())
    }

    /// All tables, level by level.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableMeta>> {
        self.levels.iter().flatten()
    }

    /// The picture as one edit that needs none before it.
    #[must_use]
    pub fn whole_edit(&self, tablet: TabletId, sequence: u64) -> Edit {
        let level = |(depth, level): (usize, &Vec<Arc<TableMeta>>)| {
            let depth = u8::try_from(depth).expect("LEVELS fits u8");
            level.iter().map(|meta| (depth, (**meta).clone())).collect::<Vec<_>>()
        };
        Edit {
            sequence,
            added: self.levels.iter().enumerate().flat_map(level).collect(),
            floors: self.floors.clone(),
            ..Edit::birth(tablet, self.range.clone(), self.applied.clone())
        }
    }

    /// The picture as edits of about `bytes_max` bytes each: the first is a whole picture of some tables, the others add the
    /// rest. They belong into one commit.
    #[must_use]
    pub fn whole_edits(&self, tablet: TabletId, bytes_max: usize) -> Vec<Edit> {
        let mut whole = self.whole_edit(tablet, 0);
        let mut edits = Vec::new();
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for (level, meta) in std::mem::take(&mut whole.added) {
            let more = meta.encoded_bytes();
            if bytes + more > bytes_max && !piece.is_empty() {
                edits.push(std::mem::take(&mut piece));
                bytes = 0;
            }
            bytes += more;
            piece.push((level, meta));
        }
        edits.push(piece);
        let mut edits: Vec<Edit> =
            edits.into_iter().map(|added| Edit { added, ..Edit::empty(tablet) }).collect();
        let added = std::mem::take(&mut edits[0].added);
        edits[0] = Edit { added, ..whole };
        edits
    }

    /// The picture narrowed to `range`: without the tables that hold nothing of it.
    #[must_use]
    pub fn within(&self, range: &KeyRange) -> Self {
        let keep = |level: &Vec<Arc<TableMeta>>| {
            level.iter().filter(|meta| meta.span.overlaps(range)).cloned().collect()
        };
        Self { range: range.clone(), levels: self.levels.iter().map(keep).collect(), ..self.clone() }
    }

    /// Bytes of tables, by level.
    #[must_use]
    pub fn bytes_by_level(&self) -> Vec<u64> {
        self.levels.iter().map(|level| level.iter().map(|meta| meta.bytes).sum()).collect()
    }

    /// Bytes of stripes, by tenant and key epoch.
    #[must_use]
    pub fn coverage(&self) -> BTreeMap<(TenantId, KeyEpoch), u64> {
        let mut bytes = BTreeMap::new();
        for stripe in self.tables().flat_map(|meta| &meta.stripes) {
            *bytes.entry((TenantId(stripe.owner.id()), stripe.epoch)).or_default() += stripe.bytes;
        }
        bytes
    }
}

/// Whether two neighbours of a sorted level are in order and share at most the row where one file ended and the next began.
fn follows(first: &TableMeta, second: &TableMeta) -> bool {
    let after_start = key::after_row(&second.span.start);
    let are_apart = first.span.end.as_ref().is_some_and(|end| *end <= after_start);
    let are_sorted = first.greatest.is_empty() || second.least.is_empty() || first.greatest < second.least;
    are_apart && are_sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CollectionId, LogIndex};

    fn table(n: u8) -> TableMeta {
        let row = key::row(TenantId(1), CollectionId(1), &[n]);
        let span = KeyRange { start: row.clone(), end: Some(key::after_row(&row)) };
        let version = key::version(&row, Stamp(5));
        TableMeta {
            id: TableId([n; 16]),
            bytes: 1,
            content: [n; 32],
            crc32: 0,
            ends: [0; 32],
            least: version.clone(),
            greatest: version,
            span,
            entries: 1,
            deletes: 0,
            tombstones: 0,
            least_stamp: Stamp(5),
            greatest_stamp: Stamp(5),
            stripes: Vec::new(),
            superseded: 0,
            first_expiry_ms: 0,
        }
    }

    fn picture(tables: std::ops::Range<u8>) -> Levels {
        let applied = Applied { index: LogIndex(9), stamp: Stamp(9), note: b"note".to_vec() };
        let mut edit = Edit::birth(TabletId(1), KeyRange::all(), applied);
        edit.added = tables.map(|n| (n % 3, table(n))).collect();
        edit.floors = BTreeMap::from([(TenantId(1), Stamp(4))]);
        Levels::default().apply(&edit).unwrap()
    }

    #[test]
    fn a_picture_in_pieces_is_the_same_picture() {
        for tables in [0..0, 0..1, 0..90] {
            let whole = picture(tables);
            let pieces = whole.whole_edits(TabletId(1), 1_000);
            assert!(pieces.iter().all(|piece| piece.encode().len() < 1_400));
            let mut again = Levels::default();
            for piece in &pieces {
                again = again.apply(piece).unwrap();
            }
            assert_eq!(again, whole);
            assert!(pieces.iter().skip(1).all(|piece| !piece.is_reset));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let levels = picture(0..9);
        let edit = |change: fn(&mut Edit)| {
            let mut edit = Edit::empty(TabletId(1));
            change(&mut edit);
            levels.apply(&edit).map_err(|damage| damage.detail).unwrap_err()
        };
        assert_eq!(edit(|e| e.removed.push(TableId([200; 16]))), "a table goes that is not there");
        assert_eq!(edit(|e| e.added.push((1, table(3)))), "a table is there twice");
        let applied =
            |index, stamp| Applied { index: LogIndex(index), stamp: Stamp(stamp), note: Vec::new() };
        assert!(levels.apply(&Edit { applied: Some(applied(8, 9)), ..Edit::empty(TabletId(1)) }).is_err());
        assert!(levels.apply(&Edit { applied: Some(applied(9, 8)), ..Edit::empty(TabletId(1)) }).is_err());
        assert!(levels.apply(&Edit { applied: Some(applied(9, 9)), ..Edit::empty(TabletId(1)) }).is_ok());
        let mut double = table(100);
        double.span = table(1).span;
        let edit = Edit { added: vec![(1, double)], ..Edit::empty(TabletId(1)) };
        assert_eq!(levels.apply(&edit).unwrap_err().detail, "tables of a sorted level overlap");
    }
}
