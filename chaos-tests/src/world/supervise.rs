//! What the supervisor of a node does in a run: a replica whose consensus panics is built again while the node goes on.

use super::node::{Node, State};
use super::running::Hosted;
use crate::check::Violation;
use crate::check::ledger::Seat;
use raft::group::handle::Group;
use raft::group::restart::{Death, Verdict};
use raft::group::supervise::Told;
use raft::types::GroupId;
use tokio::task::JoinHandle;

impl Hosted {
    /// Ends what works for a replica that is down: whoever waits for it does not hear whether it was applied.
    pub(super) fn end(&self) {
        self.batcher.close();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Node {
    /// Looks whether a replica has died, and lets those that are built again work. Says of how many.
    pub fn supervise(&mut self) -> u64 {
        let State::Running(running) = &mut self.state else { return 0 };
        let (told, mut rebuilt) = (running.supervisor.look(self.world.time.ms()), Vec::new());
        for one in told {
            match one {
                Told::Died(dead) => {
                    let verdict =
                        if dead.verdict == Verdict::Rebuild { "is built again" } else { "stays down" };
                    let what = format_args!("{} of {} {verdict}: {}", dead.replica, dead.group, dead.cause);
                    self.world.diary.note(self.id, what);
                    if let Some(hosted) = running.replicas.remove(&dead.group) {
                        hosted.end();
                    }
                }
                Told::Late { group, holders } => {
                    let what = format!("{holders} parts of a dead replica of {group} do not end");
                    self.world.overseer.accuse(Violation::broken("supervise", what));
                }
                Told::Rebuilt(receiver) => rebuilt.push(receiver),
                Told::Gone { group, replica } => {
                    self.world.overseer.closed(Seat { group, replica });
                    self.world.diary.note(self.id, format_args!("{replica} of {group} has ended"));
                }
                // Only a disk that fails keeps it from that, and then the node is started again.
                Told::NotEnded { .. } => {}
            }
        }
        let count = rebuilt.len() as u64;
        for receiver in rebuilt {
            let group: GroupId = receiver.group().id();
            self.world.diary.note(self.id, format_args!("{group} runs again"));
            let State::Running(running) = &self.state else { continue };
            let parts = running.ground.parts.clone();
            if let (Some(late), Some(delayed)) = (&running.late, receiver.delayed())
                && late.keeper.may_lift().is_ok()
            {
                // It was down when the others' were lifted.
                delayed.lift();
            }
            self.world.overseer.recovered(&parts.log, receiver.group().machine(), receiver.group().replica());
            let hosted = self.seat(&parts, &receiver);
            if let State::Running(running) = &mut self.state {
                running.replicas.insert(group, hosted);
            }
        }
        count
    }

    /// Why it must be started again, if it must: its power has gone, its log is fenced, or consensus of a group has stopped.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        if matches!(self.state, State::Down) {
            return None;
        }
        let running = self.running();
        if self.disk.is_down() {
            return Some("the power went".to_owned());
        }
        let fenced = running.and_then(|running| running.log.fenced());
        let broken = |group: &Group| group.death().filter(|(death, _)| *death == Death::Storage);
        fenced.or_else(|| running?.supervisor.fenced().values().next().cloned()).or_else(|| {
            running?.registry.all().iter().find_map(|one| broken(one.group())).map(|(_, cause)| cause)
        })
    }
}
