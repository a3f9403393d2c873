//! Pure: what background work is asked to do on a tablet, and which tables it goes around.

use crate::ids::TableId;
use std::collections::BTreeSet;

/// A wish that may be made again while it is being fulfilled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    made: u64,
    fulfilled: u64,
}

impl Asked {
    pub(crate) fn ask(&mut self) {
        self.made += 1;
    }

    pub(crate) fn is_open(self) -> bool {
        self.made > self.fulfilled
    }

    /// Everything asked for up to `seen`, an earlier picture of this wish, is done.
    pub(crate) fn fulfil(&mut self, seen: Self) {
        self.fulfilled = self.fulfilled.max(seen.made);
    }
}

/// Background work somebody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Merge everything down.
    pub(crate) compact_all: Asked,
    /// Rewrite what is sealed under other epochs than the active ones.
    pub(crate) reseal: Asked,
    /// Tables that a merge of the newest tables of level 0 has left there: to merge them again among themselves gains nothing.
    pub(crate) settled: BTreeSet<TableId>,
    /// Tables that could not be read; compaction leaves them alone until the tablet is opened again.
    pub(crate) damaged: BTreeSet<TableId>,
    /// Tables whose key was missing; compaction leaves them alone until then, in milliseconds since 1970.
    pub(crate) keyless: (BTreeSet<TableId>, u64),
}

impl Requests {
    /// When tables whose key was missing are tried again: milliseconds since 1970. `None` if there are none.
    pub(crate) fn keyless_until(&self) -> Option<u64> {
        let (tables, until_ms) = &self.keyless;
        (!tables.is_empty()).then_some(*until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_made_during_its_fulfilment_stays_open() {
        let mut asked = Asked::default();
        assert!(!asked.is_open());
        asked.ask();
        let seen = asked;
        asked.ask();
        asked.fulfil(seen);
        assert!(asked.is_open(), "asked again meanwhile");
        let seen = asked;
        asked.fulfil(seen);
        asked.fulfil(Asked::default());
        assert!(!asked.is_open());
    }
}
