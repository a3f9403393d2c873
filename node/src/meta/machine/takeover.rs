//! What a takeover changes.

use super::{Draft, Tried, check, refused};
use crate::meta::archive_row::{ArchivedRow, ReportRow, SnapshotRow, SnapshotState};
use crate::meta::command::Reason;
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::pin_row::CarriedRow;
use crate::meta::rows::{self, MetaRow};
use crate::meta::shard_row::ShardRow;
use crate::takeover::change::{Seated, TakeOver};
use crate::takeover::row::{GenerationRow, GoesOn};
use engine::Stamp;
use engine::ids::{LogIndex, NodeId};
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::collections::BTreeMap;

impl Draft<'_, '_> {
    reader_of!(generation, Generation, GenerationRow, rows::GENERATIONS);

    /// A generation begins: of its node and its groups alone. Told again, nothing more is done.
    pub(super) fn take_over(&mut self, takeover: TakeOver) -> Tried {
        let TakeOver { row, gone, groups, reports } = takeover;
        if let Some(found) = self.generation(GenerationRow::key(row.generation))? {
            return if found.asked() == row.asked() { Ok(()) } else { refused(Reason::Exists) };
        }
        let mut row = row.asked();
        let Some(node) = self.node(NodeRow::key(row.node))? else {
            return refused(Reason::NotFound);
        };
        check(node.state != NodeState::Removed, Reason::State)?;
        self.put(MetaRow::Node(NodeRow {
            state: NodeState::Active,
            delay_ms: 0,
            generation: node.generation + 1,
            ..node
        }));
        for id in gone {
            let Some(node) = self.node(NodeRow::key(id))? else { continue };
            if node.state != NodeState::Removed {
                row.gone.push(id);
            }
            let generation = node.generation + 1;
            self.put(MetaRow::Node(NodeRow { state: NodeState::Removed, generation, ..node }));
        }
        row.gone.sort_unstable();
        let unnamed = self.unnamed(&reports)?;
        for seated in groups {
            let archived = self.archived_before(seated.was, (row.counts_upto(), &unnamed))?;
            self.seat(row.node, seated, archived)?;
            let is_other = |archived: &ArchivedRow| archived.has_begun && seated.was != seated.is;
            row.goes_on.extend(archived.filter(is_other).map(|archived| GoesOn {
                was: seated.was,
                is: seated.is,
                after: archived.upto,
            }));
        }
        self.end_archiving(row.counts_upto())?;
        reports.into_iter().for_each(|(node, number)| {
            self.delete(rows::REPORTS, ReportRow::key(node, number));
        });
        self.put(MetaRow::Generation(row));
        Ok(())
    }

    /// Of each group, from where on what was reported may stand in no marker: markers of the generation that ends may name it, or not.
    fn unnamed(&self, reports: &[(NodeId, u64)]) -> Tried<BTreeMap<GroupId, Stamp>> {
        let mut least = BTreeMap::new();
        for (node, number) in reports {
            let Some(report) = self.report(ReportRow::key(*node, *number))? else { continue };
            for come in report.groups {
                let from = Stamp(if come.is_behind_gap { come.gap_from } else { come.after });
                let found = least.entry(come.group()).or_insert(from);
                *found = (*found).min(from);
            }
        }
        Ok(least)
    }

    /// How far a group is archived for sure, as far as that counts in the generation that begins. Nobody archives it now.
    fn archived_before(
        &self,
        was: GroupId,
        (counts_upto, unnamed): (Option<Stamp>, &BTreeMap<GroupId, Stamp>),
    ) -> Tried<Option<ArchivedRow>> {
        let Some(before) = self.archived(ArchivedRow::key(was))?.filter(|before| before.has_begun) else {
            return Ok(None);
        };
        let least = [Some(before.upto), counts_upto, unnamed.get(&was).copied()];
        let upto = least.into_iter().flatten().min().unwrap_or(before.upto);
        Ok(Some(ArchivedRow { holder: NodeId(0), until_ms: 0, upto, ..before }))
    }

    /// What is under way in archives ends with the generation: a snapshot of groups that go on as others, and what copies have of what is
    /// archived anew.
    fn end_archiving(&mut self, counts_upto: Option<Stamp>) -> Tried {
        let running = self.snapshot(SnapshotRow::key())?.filter(|row| row.state == SnapshotState::Running);
        if let Some(row) = running {
            let (version, state) = (row.version + 1, SnapshotState::Failed);
            self.put(MetaRow::Snapshot(SnapshotRow { version, state, ..row }));
        }
        let carried = self.carried(CarriedRow::key())?;
        if let Some((upto, _)) = counts_upto.zip(carried).filter(|(upto, row)| row.upto > *upto) {
            self.put(MetaRow::Carried(CarriedRow { upto }));
        }
        Ok(())
    }

    fn seat(
        &mut self,
        node: NodeId,
        Seated { was, is, replica }: Seated,
        archived: Option<ArchivedRow>,
    ) -> Tried {
        let Some(old) = self.shard(ShardRow::key(was))? else {
            return refused(Reason::NotFound);
        };
        let seats = [(replica, Seat { node, role: Role::Voter })].into();
        let next_replica = ReplicaId(replica.0 + 1);
        let row = ShardRow { group: is, seats, leaving: [].into(), gone: [].into(), ..old };
        if let Some(archived) = archived {
            let index = if was == is { archived.index } else { LogIndex(0) };
            self.put(MetaRow::Archived(ArchivedRow { group: is, index, ..archived }));
        }
        if was == is {
            let next_replica = next_replica.max(row.next_replica);
            self.put(MetaRow::Shard(ShardRow { version: row.version + 1, next_replica, ..row }));
            return Ok(());
        }
        check(self.shard(ShardRow::key(is))?.is_none(), Reason::Exists)?;
        self.delete(rows::SHARDS, ShardRow::key(was));
        self.delete(rows::ARCHIVED, ArchivedRow::key(was));
        self.put(MetaRow::Shard(ShardRow { version: 1, next_replica, ..row }));
        Ok(())
    }
}
