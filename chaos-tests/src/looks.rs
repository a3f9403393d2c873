//! What clients ask of the past: at any replica, the delayed one too, how things stood at most so long ago, or at a stamp.

use crate::check::past::{Bound, Look};
use crate::history::Key;
use crate::workload::{Client, Stage, group_of};
use crate::world::keys::TENANTS;
use crate::world::operations::{REGISTERS, number};
use engine::Stamp;
use engine::clock::Clock;
use engine::ids::NodeId;
use raft::group::batcher::Batcher;
use raft::group::outcome::NotNow;
use raft::net::inbound::Receiver;
use raft::read::door::{Asked, Granted};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How old an answer may be at most, in milliseconds.
const AGE_MS_MAX: u64 = 6_000;
/// How long ago the stamp lies at most that is asked for, in milliseconds, and how far ahead.
const AGO_MS_MAX: u64 = 4_000;
/// As above.
const AHEAD_MS_MAX: u64 = 300;

/// Whom it asks.
struct Found {
    receiver: Arc<Receiver>,
    batcher: Arc<Batcher>,
    node: NodeId,
    wall_ms: u64,
}

fn find(stage: &Stage, at: usize, key: Key) -> Option<Found> {
    let nodes = stage.nodes.borrow();
    let (node, group) = (nodes.get(at)?, group_of(&stage.swarm, key.0));
    let running = node.awake()?;
    let (receiver, batcher) = (running.registry.get(group)?, running.batcher(group)?);
    Some(Found { receiver, batcher, node: node.id, wall_ms: node.clock.now_ms() })
}

impl Client {
    /// Asks once; who is not answered is not told that it was wrong.
    pub(crate) async fn look_back(&mut self, stage: &Rc<Stage>) {
        let key = Key(self.dice.below(stage.swarm.keys));
        let count = stage.nodes.borrow().len() as u64;
        let at = usize::try_from(self.dice.below(count)).unwrap_or(0);
        let (is_bounded, age_ms) = (self.dice.is_lucky(500), self.dice.below(AGE_MS_MAX));
        let (ago_ms, ahead_ms) = (self.dice.below(AGO_MS_MAX), self.dice.below(AHEAD_MS_MAX));
        let Some(Found { receiver, batcher, node, wall_ms }) = find(stage, at, key) else { return };
        let (door, wait_ms) = (receiver.door(), stage.swarm.patience_ms.min(1_500));
        let past = Stamp::new(wall_ms + ahead_ms - ago_ms, 0);
        let work = async {
            match is_bounded {
                true => door.bounded(age_ms, Asked { wall_ms: 0, wait_ms }).await,
                false => door.as_of(past, wait_ms, &batcher).await,
            }
        };
        let answer = tokio::time::timeout(Duration::from_millis(stage.swarm.patience_ms), work).await;
        let granted = match answer {
            Ok(Ok(granted)) => granted,
            Ok(Err(not_now)) => return stage.counts(refused(&not_now)),
            Err(_) => return stage.counts("reads of the past given up"),
        };
        let answered_ms = stage.nodes.borrow()[0].clock.true_ms();
        let bound = is_bounded.then_some(Bound { age_ms, answered_ms });
        let Granted { view, .. } = granted;
        let Ok(row) = view.get(TENANTS[0], REGISTERS, &key.0.to_be_bytes()) else { return };
        let found = row.and_then(|row| Some((row.stamp, number(&row.value)?)));
        // What stands at the newest stamp stands at the one that was asked for: nothing comes in between.
        let at = if is_bounded { view.at() } else { past };
        stage.counts(if is_bounded { "bounded reads" } else { "reads as of a stamp" });
        stage.looks.borrow_mut().push(Look { node, key, at, found, bound });
    }
}

fn refused(not_now: &NotNow) -> &'static str {
    match not_now {
        NotNow::Elsewhere { .. } => "reads of the past sent elsewhere",
        NotNow::TooFarAhead { .. } => "reads too far ahead",
        _ => "reads of the past refused",
    }
}
