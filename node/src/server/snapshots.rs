//! Snapshots while the node runs. The row of the meta group says which one is taken and whose files it takes; each home puts its parts, and
//! whoever leads the meta group says that it is whole. Each step follows from the row and from what the site has, so a crash anywhere costs
//! at most a file.

use super::Server;
use super::calming::Paced;
use crate::archive::manifest::snapshot::{Home, SnapshotOpen, SnapshotPart};
use crate::archive::naming::{Name, SnapshotId, TickEnd};
use crate::archive::schedule::Quiet;
use crate::archive::site::{Site, SiteError};
use crate::archive::{Result, manifest, snapshot};
use crate::entropy::SystemEntropy;
use crate::limits::{CHANGE_MS, SNAPSHOT_LOOK_MS, SNAPSHOT_MS_MAX};
use crate::meta::archive_change::ArchiveChange;
use crate::meta::archive_row::{SnapshotRow, SnapshotState};
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::node_row::NodeState;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::NodeId;
use engine::tablet::Tablet;
use proto::errors::code;
use raft::machine::note::Note;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Pure: whose files the groups take: those of before where that still goes, so that little has to be shipped; else of who archives the group.
#[must_use]
pub fn homes(meta: &MetaView) -> Option<Vec<(GroupId, NodeId)>> {
    let before = meta.snapshot.as_ref().map(|row| &row.homes[..]).unwrap_or_default();
    let serves = |group: &GroupId, node: NodeId| {
        let is_there = meta.nodes.get(&node).is_some_and(|row| row.state == NodeState::Active);
        is_there && meta.shards.get(group).is_some_and(|shard| shard.staying().any(|at| at == node))
    };
    let home = |group: &GroupId| {
        let same = before.iter().find(|(of, _)| of == group).map(|(_, node)| *node);
        let archives = meta.archived.get(group).map(|row| row.holder);
        let any = meta.shards.get(group).and_then(|shard| shard.staying().next());
        let node = same.into_iter().chain(archives).chain(any).find(|node| serves(group, *node))?;
        Some((*group, node))
    };
    meta.shards.keys().map(home).collect()
}

/// Its id.
pub(super) fn id(row: &SnapshotRow) -> SnapshotId {
    SnapshotId { cut: TickEnd(row.cut_s), random: row.random }
}

fn open_of(row: &SnapshotRow, generation: u64) -> SnapshotOpen {
    let groups = row.homes.iter().map(|(group, node)| Home { group: group.0, node: node.0 }).collect();
    SnapshotOpen { generation, groups, made_ms: row.begun_ms, is_digested: row.is_digested }
}

impl Server {
    /// Begins a snapshot of all groups at the last tick that is closed. Returns its id.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: one is being taken, nothing is archived, or a group has no home.
    pub async fn begin_snapshot(
        &self,
        is_digested: bool,
        wait_ms: u64,
    ) -> std::result::Result<SnapshotId, Refused> {
        let refused = |why: &str| Refused::new(code::CHANGE_REFUSED).saying(why.to_owned());
        if !self.archiving.is_on() {
            return Err(refused("nothing is archived: no site is configured"));
        }
        self.refresh(wait_ms).await?;
        let meta = self.meta();
        let before = meta.snapshot.clone().unwrap_or_default();
        if before.state == SnapshotState::Running {
            return Err(refused(&format!("the snapshot {} is being taken", id(&before))));
        }
        let closed = meta.closer.as_ref().ok_or_else(|| refused("no tick is closed yet: try again"))?;
        if closed.end_s <= before.last.0 {
            return Err(refused("no tick was closed since the last snapshot: try again"));
        }
        let homes = homes(&meta).ok_or_else(|| refused("a group has no node that could give its files"))?;
        let row = SnapshotRow {
            version: before.version + 1,
            cut_s: closed.end_s,
            random: crate::entropy::random(&crate::entropy::SystemEntropy),
            state: SnapshotState::Running,
            is_digested,
            begun_ms: self.clock.now_ms(),
            homes,
            last: before.last,
        };
        let begun = id(&row);
        match self.put_snapshot(row, wait_ms).await? {
            MetaReply::Applied { .. } => Ok(begun),
            _ => Err(refused(
                "another snapshot was begun meanwhile, or objects are being collected: try again",
            )),
        }
    }

    /// Begins a snapshot if one is due by the schedule and the meta group is led here.
    async fn begin_if_due(&self, meta: &MetaView) {
        let (schedule, now_ms) = (self.snapshot_schedule(), self.clock.now_ms());
        let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
        let is_led_here =
            self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads));
        let last_ms = meta.snapshot.as_ref().map_or(0, |row| row.begun_ms);
        let is_running = meta.snapshot.as_ref().is_some_and(|row| row.state == SnapshotState::Running);
        if !is_led_here || is_running || !schedule.is_due(last_ms, now_ms) {
            return;
        }
        if let Err(refused) = self.begin_snapshot(true, CHANGE_MS).await {
            tracing::debug!(why = %refused, "no snapshot is begun now");
        }
    }

    /// When nothing of a snapshot goes to the home site.
    fn quiet_at_home(&self) -> Vec<Quiet> {
        let of_site = self.archiving.config.sites.first().map(|site| site.quiet.clone()).unwrap_or_default();
        [of_site, self.snapshot_schedule().quiet().to_vec()].concat()
    }

    async fn put_snapshot(&self, row: SnapshotRow, wait_ms: u64) -> std::result::Result<MetaReply, Refused> {
        let change = Change::Archive(ArchiveChange::PutSnapshot(row));
        // Boxed, or the future of whoever waits for it is too deep for the compiler.
        Box::pin(self.change(MetaCommand::new(vec![change]), wait_ms)).await
    }

    /// Takes snapshots whenever one is wanted, until the tasks end.
    pub(super) async fn take_snapshots(self: Arc<Self>) {
        let mut put: (u64, BTreeSet<GroupId>) = (0, BTreeSet::new());
        let mut gaps = super::gaps::GapsSeen::default();
        loop {
            tokio::time::sleep(Duration::from_millis(SNAPSHOT_LOOK_MS)).await;
            let meta = self.meta();
            self.begin_if_due(&meta).await;
            self.look_at_gaps(&meta, &mut gaps).await;
            let Some(row) = meta.snapshot.as_ref().filter(|row| row.state == SnapshotState::Running) else {
                self.archiving.note(|known| known.snapshot_failure = None);
                continue;
            };
            if put.0 != row.version {
                put = (row.version, BTreeSet::new());
            }
            let taken = self.take_parts(&meta, row, &mut put.1).await;
            let finished = self.finish_snapshot(row).await;
            let failure = taken.err().or(finished.err()).map(|error| with_sources(&error));
            self.archiving.note(|known| {
                if failure.is_some() && known.snapshot_failure != failure {
                    tracing::warn!(why = failure, "a snapshot does not go on: it is tried again");
                }
                known.snapshot_failure = failure;
            });
        }
    }

    /// Puts the parts of the groups whose home this node is.
    async fn take_parts(
        &self,
        meta: &Arc<MetaView>,
        row: &SnapshotRow,
        put: &mut BTreeSet<GroupId>,
    ) -> Result<()> {
        let home = self.archiving.home(self)?;
        for (group, node) in &row.homes {
            if *node == self.node && !put.contains(group) && self.take_part(&home, meta, row, *group).await? {
                put.insert(*group);
            }
        }
        Ok(())
    }

    /// Puts one part. False: this replica is not so far yet.
    async fn take_part(
        &self,
        home: &Site,
        meta: &Arc<MetaView>,
        row: &SnapshotRow,
        group: GroupId,
    ) -> Result<bool> {
        let (id, sealer) = (id(row), self.keys.sealer().clone());
        let name = Name::SnapshotPart(id, group).to_string();
        match home.size(&name).await {
            Ok(_) => return Ok(true),
            Err(SiteError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(seated) = self.running().ok().and_then(|running| running.replica(group)) else {
            return Ok(false);
        };
        let machine = seated.receiver.group().machine();
        let (note, tablet) = (machine.applied(), machine.tablet());
        if note.last < id.cut.upto() {
            return Ok(false);
        }
        let durable = Note::decode(&tablet.durable().note).map_err(engine::Error::from)?;
        if durable.last < id.cut.upto() {
            // What is only in memory goes into a table; the next look finds it there.
            tablet.freeze();
            return Ok(false);
        }
        if group == GroupId::META {
            return self.take_meta_part(home, id, (&tablet, &durable)).await;
        }
        let checkpoint = Arc::new(tablet.checkpoint()?);
        let quiet = self.quiet_at_home();
        let pace = Paced { server: self, quiet: &quiet };
        let Some(shipped) = snapshot::put_files(home, &checkpoint, &pace).await? else { return Ok(false) };
        let (is_digested, meta) = (row.is_digested, meta.clone());
        let counting = crate::work::aside(move || match is_digested {
            true => snapshot::digests(&tablet, &sealer, &meta, id),
            false => Ok(Vec::new()),
        });
        let tenants = counting
            .await
            .map_err(|_| engine::Error::Invalid("counting the keys of a snapshot panicked"))??;
        let part = snapshot::part(group, self.node, &checkpoint, durable.last, (tenants, shipped));
        snapshot::put_part(home, self.keys.sealer(), id, &part).await?;
        self.archiving.note(|known| known.shipped_bytes += shipped);
        Ok(true)
    }

    /// Puts the part of the meta group: its rows as a table of their own, for in its files stand keys.
    async fn take_meta_part(
        &self,
        home: &Site,
        id: SnapshotId,
        (tablet, durable): (&Arc<Tablet>, &Note),
    ) -> Result<bool> {
        let (view, folder) = (Arc::new(tablet.view(0)?), self.folder.join("archive"));
        let (sealer, node) = (self.keys.sealer().clone(), self.node);
        let writing = crate::work::aside(move || {
            let disk = crate::surroundings::disk(&folder);
            snapshot::meta_files(&view, &sealer, (&*disk, &folder), (id, node), &SystemEntropy)
        });
        let failed = |_| engine::Error::Invalid("writing the rows of the meta group panicked");
        let (files, contents) = writing.await.map_err(failed)??;
        for (file, bytes) in files.iter().zip(contents) {
            home.put(&Name::Data(file.digest()?).to_string(), bytes).await?;
        }
        let shipped_bytes = files.iter().map(|file| file.bytes).sum();
        let part = SnapshotPart {
            group: GroupId::META.0,
            node: node.0,
            applied: durable.applied.map_or(0, |id| id.index),
            upto: durable.last.0,
            files,
            shipped_bytes,
            ..SnapshotPart::default()
        };
        snapshot::put_part(home, self.keys.sealer(), id, &part).await?;
        Ok(true)
    }

    /// Says that a snapshot is whole, if it is and the meta group is led here; gives it up if it takes too long.
    async fn finish_snapshot(&self, row: &SnapshotRow) -> Result<()> {
        let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
        if !self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads)) {
            return Ok(());
        }
        let (home, sealer, id) = (self.archiving.home(self)?, self.keys.sealer(), id(row));
        let generation = self.running().map_or(1, |running| running.parts().cluster.1);
        let open = open_of(row, generation);
        let name = Name::SnapshotOpen(id);
        home.put(&name.to_string(), manifest::seal(sealer, &name, &open)?.into()).await?;
        let previous = (row.last.0 > 0)
            .then_some((SnapshotId { cut: TickEnd(row.last.0), random: row.last.1 }, row.last.2));
        let now_ms = self.clock.now_ms();
        let done = snapshot::finish(&home, sealer, id, (&open, previous, now_ms)).await?;
        let (state, last) = match done {
            Some(digest) => (SnapshotState::Idle, (row.cut_s, row.random, digest)),
            None if now_ms.saturating_sub(row.begun_ms) > SNAPSHOT_MS_MAX => {
                (SnapshotState::Failed, row.last)
            }
            None => return Ok(()),
        };
        let next = SnapshotRow { version: row.version + 1, state, last, ..row.clone() };
        match self.put_snapshot(next, CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => tracing::info!(snapshot = %id, ?state, "a snapshot has ended"),
            other => tracing::debug!(?other, "the end of a snapshot is not noted now"),
        }
        let _ = self.refresh(CHANGE_MS).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::archive_row::ArchivedRow;
    use crate::meta::node_row::NodeRow;
    use crate::meta::rows::MetaRow;
    use crate::meta::shard_row::ShardRow;
    use raft::types::{ReplicaId, Seat};

    fn view(homes: &[(u64, u64)], holder: u64, gone: &[u64]) -> MetaView {
        let seat = |node| (ReplicaId(node), Seat { node: NodeId(node), ..Seat::default() });
        let shard = ShardRow { group: GroupId(7), seats: [1, 2, 3].map(seat).into(), ..ShardRow::default() };
        let state = |id| if gone.contains(&id) { NodeState::Draining } else { NodeState::Active };
        let node = |id| MetaRow::Node(NodeRow { id: NodeId(id), state: state(id), ..NodeRow::default() });
        let archived = ArchivedRow { group: GroupId(7), holder: NodeId(holder), ..ArchivedRow::default() };
        let homes = homes.iter().map(|(group, node)| (GroupId(*group), NodeId(*node))).collect();
        let snapshot = SnapshotRow { version: 1, homes, ..SnapshotRow::default() };
        let rows = [1, 2, 3].map(node).into_iter();
        let more = [MetaRow::Shard(shard), MetaRow::Archived(archived), MetaRow::Snapshot(snapshot)];
        MetaView::of(rows.chain(more), 1)
    }

    #[test]
    fn a_home_stays_while_it_can() {
        let home = |view: &MetaView| homes(view).map(|homes| homes[0].1.0);
        assert_eq!(home(&view(&[], 2, &[])), Some(2), "who archives has it in its cache");
        assert_eq!(home(&view(&[(7, 3)], 2, &[])), Some(3));
        assert_eq!(home(&view(&[(7, 3)], 2, &[3])), Some(2), "it goes");
        assert_eq!(home(&view(&[(7, 9)], 9, &[])), Some(1), "it is not there any more");
        assert_eq!(home(&view(&[], 0, &[1, 2, 3])), None);
    }
}
