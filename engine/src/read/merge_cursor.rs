//! Pure: one ordered walk over many sources, both ways. Where two sources have the same version key, the earlier one wins.

use super::{BoxedCursor, Cursor, Slot};
use crate::error::Result;
use std::cmp::Ordering;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
}

/// Walks over several sources, newest source first.
pub struct MergeCursor {
    sources: Vec<BoxedCursor>,
    /// Sources that stand at a key, the one to be read next first. Kept in order by moving the one that stepped: with the
    /// few sources a tablet has, that beats a heap.
    order: Vec<usize>,
    way: Way,
}

impl MergeCursor {
    /// A walk over `sources`, newest first.
    #[must_use]
    pub fn new(sources: Vec<BoxedCursor>) -> Self {
        let order = Vec::with_capacity(sources.len());
        Self { sources, order, way: Way::Forward }
    }

    fn comes_before(&self, a: usize, b: usize) -> bool {
        let keys = self.sources[a].key().cmp(&self.sources[b].key());
        let keys = if self.way == Way::Forward { keys } else { keys.reverse() };
        // Of equal keys the earlier source is read, so it must come first in either direction.
        keys.then(a.cmp(&b)) == Ordering::Less
    }

    fn arrange(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend((0..self.sources.len()).filter(|at| self.sources[*at].key().is_some()));
        order.sort_unstable_by(
            |a, b| if self.comes_before(*a, *b) { Ordering::Less } else { Ordering::Greater },
        );
        self.order = order;
    }

    /// Steps the source at `place` of the order, and moves it to where it now belongs.
    fn step(&mut self, place: usize) -> Result<()> {
        let source = self.order[place];
        match self.way {
            Way::Forward => self.sources[source].next()?,
            Way::Backward => self.sources[source].prev()?,
        }
        if self.sources[source].key().is_none() {
            self.order.remove(place);
            return Ok(());
        }
        // Mostly it stays where it is, or goes behind the next one: that is looked at first, and the rest as a sorted list, for the files
        // of an archive may be thousands.
        let is_behind =
            |order: &[usize], at: usize| at < order.len() && !self.comes_before(source, order[at]);
        if is_behind(&self.order, place + 1) {
            let to =
                place + self.order[place + 1..].partition_point(|other| !self.comes_before(source, *other));
            self.order[place..=to].rotate_left(1);
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        while self.order.len() > 1 && self.sources[self.order[0]].key() == self.sources[self.order[1]].key() {
            self.step(1)?;
        }
        self.step(0)
    }

    /// Turns every source so that the walk goes on the other way from `key`.
    fn turn(&mut self, way: Way) -> Result<()> {
        let key = self.key().map(<[u8]>::to_vec).unwrap_or_default();
        self.way = way;
        for source in &mut self.sources {
            match way {
                Way::Forward => {
                    source.seek(&key)?;
                    if source.key() == Some(&key[..]) {
                        source.next()?;
                    }
                }
                Way::Backward => source.seek_before(Some(&key))?,
            }
        }
        self.arrange();
        Ok(())
    }
}

impl Cursor for MergeCursor {
    fn seek(&mut self, target: &[u8]) -> Result<()> {
        let is_ahead = self.way == Way::Forward && self.key().is_some_and(|key| key <= target);
        self.way = Way::Forward;
        for source in &mut self.sources {
            // What has gone forward from a key before the target, and stands at or behind it, or at its end, stands where a search would
            // bring it.
            if !is_ahead || source.key().is_some_and(|key| key < target) {
                source.seek(target)?;
            }
        }
        self.arrange();
        Ok(())
    }

    fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()> {
        self.way = Way::Backward;
        for source in &mut self.sources {
            source.seek_before(target)?;
        }
        self.arrange();
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        if self.way == Way::Backward { self.turn(Way::Forward) } else { self.advance() }
    }

    fn prev(&mut self) -> Result<()> {
        if self.way == Way::Forward { self.turn(Way::Backward) } else { self.advance() }
    }

    fn key(&self) -> Option<&[u8]> {
        self.order.first().and_then(|at| self.sources[*at].key())
    }

    fn slot(&self) -> Slot<'_> {
        self.order.first().map_or(Slot::Delete, |at| self.sources[*at].slot())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A cursor over a list, for tests.
    pub(crate) struct ListCursor {
        entries: Vec<(Vec<u8>, crate::read::OwnedSlot)>,
        at: Option<usize>,
    }

    impl ListCursor {
        pub(crate) fn new(entries: Vec<(Vec<u8>, crate::read::OwnedSlot)>) -> Self {
            Self { entries, at: None }
        }
    }

    impl Cursor for ListCursor {
        fn seek(&mut self, target: &[u8]) -> Result<()> {
            let at = self.entries.partition_point(|(key, _)| &key[..] < target);
            self.at = Some(at).filter(|at| *at < self.entries.len());
            Ok(())
        }

        fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()> {
            let before = |(key, _): &(Vec<u8>, _)| target.is_none_or(|target| &key[..] < target);
            self.at = self.entries.partition_point(before).checked_sub(1);
            Ok(())
        }

        fn next(&mut self) -> Result<()> {
            self.at = self.at.map(|at| at + 1).filter(|at| *at < self.entries.len());
            Ok(())
        }

        fn prev(&mut self) -> Result<()> {
            self.at = self.at.and_then(|at| at.checked_sub(1));
            Ok(())
        }

        fn key(&self) -> Option<&[u8]> {
            self.at.map(|at| &self.entries[at].0[..])
        }

        fn slot(&self) -> Slot<'_> {
            self.at.map_or(Slot::Delete, |at| self.entries[at].1.as_slot())
        }
    }

    fn slot(source: usize) -> crate::read::OwnedSlot {
        crate::read::OwnedSlot::Put { value: vec![source as u8].into(), expires_ms: 0 }
    }

    proptest! {
        #[test]
        fn walks_as_one_sorted_map(
            lists in proptest::collection::vec(proptest::collection::btree_set(0u8..30, 0..12), 0..5),
            moves in proptest::collection::vec((0u8..4, 0u8..31), 1..40),
        ) {
            let mut whole: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
            for (source, list) in lists.iter().enumerate() {
                list.iter().for_each(|key| { whole.entry(vec![*key]).or_insert(source as u8); });
            }
            let cursors = lists.iter().enumerate().map(|(source, list)| {
                let entries = list.iter().map(|key| (vec![*key], slot(source))).collect();
                Box::new(ListCursor::new(entries)) as BoxedCursor
            });
            let mut merged = MergeCursor::new(cursors.collect());
            let mut want = ListCursor::new(whole.iter().map(|(k, s)| (k.clone(), slot(usize::from(*s)))).collect());
            for (what, key) in moves {
                match what {
                    0 => { merged.seek(&[key]).unwrap(); want.seek(&[key]).unwrap(); }
                    1 => { let to = (key < 30).then_some([key]);
                           merged.seek_before(to.as_ref().map(|k| &k[..])).unwrap();
                           want.seek_before(to.as_ref().map(|k| &k[..])).unwrap(); }
                    2 if want.key().is_some() => { merged.next().unwrap(); want.next().unwrap(); }
                    3 if want.key().is_some() => { merged.prev().unwrap(); want.prev().unwrap(); }
                    _ => {}
                }
                prop_assert_eq!(merged.key(), want.key());
                if want.key().is_some() { prop_assert_eq!(merged.slot(), want.slot()); }
            }
        }
    }
}
