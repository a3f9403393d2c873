//! Gaps in the log of the home site: whoever leads the meta group knows which nobody has accepted, and begins a snapshot behind the last one, so that
//! the window goes on by itself.

use super::Server;
use crate::archive::Result;
use crate::archive::manifest::log::Gap;
use crate::archive::manifest::{self, MANIFEST_BYTES_MAX};
use crate::archive::naming::{GapId, Name, TickEnd, prefix};
use crate::limits::{CHANGE_MS, GAP_LOOK_MS};
use crate::meta::archive_row::SnapshotState;
use crate::meta::view::MetaView;
use engine::Stamp;
use raft::time::BootClock;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of gaps from one look to the next.
#[derive(Default)]
pub(super) struct GapsSeen {
    next_ms: u64,
    /// Where each ends.
    ends: BTreeMap<GapId, Stamp>,
}

/// Pure: whether a snapshot is due behind a gap that ends there: none lies behind it, and the log goes on behind it.
fn is_due(meta: &MetaView, end: Stamp) -> bool {
    let row = meta.snapshot.clone().unwrap_or_default();
    let cut = |second: u64| TickEnd(second).upto();
    let is_behind = row.last.0 > 0 && cut(row.last.0) >= end;
    let is_taken = row.state == SnapshotState::Running && cut(row.cut_s) >= end;
    let is_closed = meta.closer.as_ref().is_some_and(|closer| cut(closer.end_s) >= end);
    end > Stamp::ZERO && !is_behind && !is_taken && is_closed && row.state != SnapshotState::Running
}

impl Server {
    /// Looks at gaps if it is time and the meta group is led here.
    pub(super) async fn look_at_gaps(&self, meta: &MetaView, seen: &mut GapsSeen) {
        if !self.leads_meta() {
            *seen = GapsSeen::default();
            return self.archiving.note(|known| known.open_gaps = 0);
        }
        let now = self.clock.boot_ms();
        if now < seen.next_ms {
            return;
        }
        seen.next_ms = now + GAP_LOOK_MS;
        let open = match self.open_gaps(seen).await {
            Ok(open) => open,
            Err(error) => {
                let why = engine::error::with_sources(&error);
                return tracing::warn!(why, "the gaps of the archive are not counted: it is tried again");
            }
        };
        // What the site says stands for what was let go here.
        self.archiving.note(|known| (known.open_gaps, known.gaps) = (open, 0));
        let last = seen.ends.values().max().copied().unwrap_or(Stamp::ZERO);
        if is_due(meta, last) {
            match Box::pin(self.begin_snapshot(true, CHANGE_MS)).await {
                Ok(snapshot) => tracing::info!(%snapshot, "a snapshot is begun behind a gap of the archive"),
                Err(refused) => tracing::debug!(why = %refused, "no snapshot is begun behind a gap now"),
            }
        }
    }

    /// How many gaps nobody has accepted.
    async fn open_gaps(&self, seen: &mut GapsSeen) -> Result<u64> {
        let (home, sealer) = (self.archiving.home(self)?, self.keys.sealer());
        let there: BTreeSet<Name> =
            home.list(prefix::GAPS).await?.iter().filter_map(|one| Name::parse(&one.name)).collect();
        seen.ends.retain(|id, _| there.contains(&Name::Gap(*id)));
        for name in &there {
            let Name::Gap(id) = name else { continue };
            if seen.ends.contains_key(id) {
                continue;
            }
            let bytes = home.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await?;
            let gap: Gap = manifest::open(&sealer.public_key()?, sealer.cluster(), name, &bytes)?;
            seen.ends.insert(*id, gap.span().1);
        }
        Ok(seen.ends.keys().filter(|id| !there.contains(&Name::GapAck(**id))).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::archive_row::{CloserRow, SnapshotRow};
    use crate::meta::rows::MetaRow;

    #[test]
    fn a_snapshot_is_due_once_behind_a_gap() {
        let due = |closed: u64, last: u64, state, end: u64| {
            let closer = CloserRow { version: 1, end_s: closed, ..CloserRow::default() };
            let row = SnapshotRow {
                version: 1,
                cut_s: 70,
                state,
                last: (last, [0; 4], [0; 32]),
                ..SnapshotRow::default()
            };
            is_due(&MetaView::of([MetaRow::Closer(closer), MetaRow::Snapshot(row)], 1), TickEnd(end).upto())
        };
        assert!(due(100, 40, SnapshotState::Idle, 60));
        assert!(!due(50, 40, SnapshotState::Idle, 60), "the log has not come so far");
        assert!(!due(100, 60, SnapshotState::Idle, 60), "there is one");
        assert!(!due(100, 40, SnapshotState::Running, 60), "one is being taken");
        assert!(!due(100, 40, SnapshotState::Running, 90), "one that begins before it must end first");
        assert!(due(100, 40, SnapshotState::Failed, 60));
        assert!(!due(100, 40, SnapshotState::Idle, 0), "there is no gap");
    }
}
