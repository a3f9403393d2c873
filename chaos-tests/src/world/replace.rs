//! A replica of a node gives way to another one on the same node: the old one ends for ever, the new one knows nobody and waits to be
//! filled.

use super::node::{Node, State};
use crate::check::ledger::Seat;
use engine::key::KeyRange;
use raft::group::birth::{self, Birth};
use raft::types::{GroupId, ReplicaId};
use tokio::task::JoinHandle;

impl Node {
    /// Lets `new` take the place of the replica of `group`, whom no membership names any more. Done again after a crash, it finishes what
    /// it began. That an id is never used again is tried on the way.
    ///
    /// # Errors
    /// Of disk and log. `ReplicaUsed`: of `new`.
    pub async fn replace(&mut self, group: GroupId, new: ReplicaId) -> raft::Result<()> {
        let State::Running(running) = &mut self.state else { return Ok(()) };
        let (log, parts, ways) = (running.log.clone(), running.parts.clone(), running.ways.clone());
        let old = log.state(group).ok().map(|state| state.replica).filter(|old| *old != new);
        if let Some(old) = old {
            if let Some(hosted) = running.replicas.remove(&group) {
                hosted.tasks.iter().for_each(JoinHandle::abort);
            }
            if let Some(receiver) = running.registry.remove(group) {
                receiver.group().shutdown().await;
            }
            birth::end(group, &log, &running.pool).await?;
            self.world.overseer.closed(Seat { group, replica: old });
            self.world.diary.note(self.id, format_args!("{old} of {group} has ended"));
        }
        let birth = |replica| Birth { group, replica, range: KeyRange::all(), founders: None };
        if let Some(old) = old
            && let Ok(machine) = birth::bear(&birth(old), parts.clone()).await
        {
            self.world.overseer.recovered(&log, &machine, old);
        }
        let machine = birth::bear(&birth(new), parts.clone()).await?;
        self.world.diary.note(self.id, format_args!("{new} of {group} is born"));
        let seated = async {
            let hosted = self.seat(&ways, &parts, machine, true).await?;
            ways.registry.get(group).iter().for_each(|one| one.group().run());
            Ok::<_, raft::Error>(hosted)
        };
        let hosted = self.clock.node().scope(seated).await?;
        if let State::Running(running) = &mut self.state {
            running.replicas.insert(group, hosted);
        }
        Ok(())
    }
}
