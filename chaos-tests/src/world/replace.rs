//! A replica of a node gives way to another one on the same node: the old one ends for ever, the new one knows nobody and waits to be
//! filled.

use super::chores::beside_engine;
use super::node::{Node, State};
use engine::key::KeyRange;
use raft::group::birth::{self, Birth};
use raft::group::ending::Removed;
use raft::types::{GroupId, ReplicaId};

impl Node {
    /// Lets `new` take the place of `old`, once `removed` says that no membership names that one any more. Called again it goes on, also after
    /// a crash. That an id is never used again is tried on the way.
    ///
    /// # Errors
    /// Of disk and log. `ReplicaUsed`: of `new`.
    pub async fn replace(
        &mut self,
        group: GroupId,
        ids: (ReplicaId, ReplicaId),
        removed: Option<Removed>,
    ) -> raft::Result<()> {
        let pause = self.hardware.pause.clone();
        pause.within(self.replace_here(group, ids, removed)).await
    }

    async fn replace_here(
        &mut self,
        group: GroupId,
        (old, new): (ReplicaId, ReplicaId),
        removed: Option<Removed>,
    ) -> raft::Result<()> {
        let State::Running(running) = &mut self.state else { return Ok(()) };
        let (log, ground, late) = (running.log.clone(), running.ground.clone(), running.late.clone());
        let here = log.state(group).ok().map(|state| state.replica);
        if here == Some(old) {
            if let Some(removed) = removed {
                if let Some(hosted) = running.replicas.remove(&group) {
                    hosted.end();
                }
                running.supervisor.end(removed, self.world.time.ms());
            }
            return Ok(());
        }
        let is_down = running.supervisor.is_busy(group) || running.supervisor.fenced().contains_key(&group);
        if is_down || running.registry.get(group).is_some() {
            return Ok(());
        }
        let parts = &ground.parts;
        let birth = |replica| Birth { group, replica, range: KeyRange::all(), founders: None };
        if here.is_none()
            && let Ok(machine) = birth::bear(&birth(old), parts.clone()).await
        {
            self.world.overseer.recovered(&log, &machine, old);
        }
        let machine = birth::bear(&birth(new), parts.clone()).await?;
        self.world.diary.note(self.id, format_args!("{new} of {group} is born"));
        let wanted = self.wanted(late.as_ref(), parts, machine, true)?;
        let seated = async {
            let started = beside_engine(&parts.pool, ground.start(vec![wanted])).await;
            match started.failed.into_iter().next() {
                Some((_, error)) => Err(error),
                None => Ok((started.receivers.values())
                    .map(|receiver| (group, self.seat(parts, receiver)))
                    .collect::<Vec<_>>()),
            }
        };
        let hosted = self.clock.node().scope(seated).await?;
        if let State::Running(running) = &mut self.state {
            running.replicas.extend(hosted);
        }
        Ok(())
    }
}
