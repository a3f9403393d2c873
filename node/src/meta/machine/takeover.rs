//! What a takeover changes.

use super::{Draft, Tried, check, refused};
use crate::meta::archive_row::{ArchivedRow, ReportRow};
use crate::meta::command::Reason;
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::rows::{self, MetaRow};
use crate::meta::shard_row::ShardRow;
use crate::takeover::change::{Seated, TakeOver};
use crate::takeover::row::GenerationRow;
use engine::ids::NodeId;
use raft::types::{ReplicaId, Role, Seat};

impl Draft<'_, '_> {
    reader_of!(generation, Generation, GenerationRow, rows::GENERATIONS);

    /// A generation begins: of its node and its groups alone. Told again, nothing more is done.
    pub(super) fn take_over(&mut self, takeover: TakeOver) -> Tried {
        let TakeOver { row, gone, groups, reports } = takeover;
        if let Some(found) = self.generation(GenerationRow::key(row.generation))? {
            return if found == row { Ok(()) } else { refused(Reason::Exists) };
        }
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
            let generation = node.generation + 1;
            self.put(MetaRow::Node(NodeRow { state: NodeState::Removed, generation, ..node }));
        }
        for seated in groups {
            self.seat(row.node, seated)?;
        }
        reports.into_iter().for_each(|(node, number)| {
            self.delete(rows::REPORTS, ReportRow::key(node, number));
        });
        self.put(MetaRow::Generation(row));
        Ok(())
    }

    fn seat(&mut self, node: NodeId, Seated { was, is, replica }: Seated) -> Tried {
        let Some(old) = self.shard(ShardRow::key(was))? else {
            return refused(Reason::NotFound);
        };
        let seats = [(replica, Seat { node, role: Role::Voter })].into();
        let next_replica = ReplicaId(replica.0 + 1);
        let row = ShardRow { group: is, seats, leaving: [].into(), gone: [].into(), ..old };
        if was == is {
            let next_replica = next_replica.max(row.next_replica);
            self.put(MetaRow::Shard(ShardRow { version: row.version + 1, next_replica, ..row }));
            return Ok(());
        }
        check(self.shard(ShardRow::key(is))?.is_none(), Reason::Exists)?;
        self.delete(rows::SHARDS, ShardRow::key(was));
        // How far the old group was archived says nothing of the new one.
        self.delete(rows::ARCHIVED, ArchivedRow::key(was));
        self.put(MetaRow::Shard(ShardRow { version: 1, next_replica, ..row }));
        Ok(())
    }
}
