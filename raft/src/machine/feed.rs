//! Who hears of what is applied.

use super::note::Note;
use crate::types::{GroupId, LogId};
use engine::Stamp;

/// Hears of what is applied, in order: watchers, archives.
pub trait Feed: Send + Sync + 'static {
    /// An entry is applied, with these writes. Must not wait.
    fn applied(&self, group: GroupId, entry: &AppliedEntry<'_>);

    /// A snapshot took the place of all that was: what was applied between is not heard of here. Must not wait.
    fn installed(&self, group: GroupId, note: &Note) {
        let _ = (group, note);
    }
}

/// An entry that is applied.
pub struct AppliedEntry<'a> {
    /// The entry.
    pub log_id: LogId,
    /// The last stamp given out up to here.
    pub last: Stamp,
    /// Nothing of this group comes at or below it any more.
    pub closed: Stamp,
    /// Its evaluated writes.
    pub batch: &'a engine::tablet::batch::Batch,
}

/// A feed nobody listens to.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFeed;

impl Feed for NoFeed {
    fn applied(&self, _: GroupId, _: &AppliedEntry<'_>) {}
}
