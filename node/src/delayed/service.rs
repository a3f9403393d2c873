//! Does what people ask of delayed nodes: on this one, if it is meant, else on the one that is. Who asked, and why, stands in the log.

use super::gate::progress;
use super::note::{HoldNote, Holder};
use super::order::{Answer, Order};
use crate::limits;
use crate::meta::node_row::NodeState;
use crate::refused::Refused;
use crate::running::replicas::Running;
use crate::server::Server;
use crate::takeover::order::Ask;
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::NodeId;
use proto::errors::code;
use raft::delay::{ForwardRefused, GateState, Keeper};
use std::sync::Arc;

/// How a forward that cannot be is refused, with what is possible.
fn not_there(refused: &ForwardRefused) -> Refused {
    let code = if refused.target < refused.least { code::GATE_PASSED } else { code::NOT_RECEIVED };
    Refused::new(code).saying(refused.to_string())
}

/// The change of a gate, as its caller hears of it.
fn changed(done: raft::Result<GateState>) -> Result<GateState, Refused> {
    done.map_err(|error| match error {
        raft::Error::ForwardRefused(refused) => not_there(&refused),
        other => Refused::new(code::OVERLOADED)
            .saying(format!("it holds here, and is not stored yet: {}", with_sources(&other))),
    })
}

impl Server {
    /// Does what `by` asks of the delayed node `node`, wherever that is. Waits at most `wait_ms`.
    ///
    /// # Errors
    /// `NODE_UNKNOWN`, `NOT_DELAYED`; what the order itself may be refused for; that the node does not answer.
    pub async fn order(
        self: &Arc<Self>,
        node: NodeId,
        by: &str,
        order: Order,
        wait_ms: u64,
    ) -> Result<Answer, Refused> {
        let meta = self.meta();
        let row = meta.nodes.get(&node).filter(|row| row.state != NodeState::Removed);
        let row = row.ok_or_else(|| Refused::new(code::NODE_UNKNOWN))?;
        // A node that has taken over is delayed no more, and has still what it cut off.
        let is_of_past = matches!(order, Order::TakeOver(Ask::Tail(_)));
        if !row.is_delayed() && !is_of_past {
            return Err(Refused::new(code::NOT_DELAYED));
        }
        if node == self.node {
            return self.order_here(by, order).await;
        }
        self.forward.order(node, by.to_owned(), order, wait_ms).await
    }

    /// Does what `by` asks of this node.
    ///
    /// # Errors
    /// `NOT_DELAYED`, `STARTING`; what the order itself may be refused for.
    pub async fn order_here(self: &Arc<Self>, by: &str, order: Order) -> Result<Answer, Refused> {
        if let Order::TakeOver(ask) = order {
            // What only looks keeps nobody from holding the gate.
            let decides = matches!(ask, Ask::Promote { is_plan: false, .. });
            let _alone = match decides {
                true => Some(self.delayed.alone.lock().await),
                false => None,
            };
            return self.taking_over(by, ask).await.map(Answer::TakeOver);
        }
        let running = self.running()?.clone();
        let keeper = running.late().cloned().ok_or_else(|| Refused::new(code::NOT_DELAYED))?;
        let _alone = self.delayed.alone.lock().await;
        match order {
            Order::Hold { reason } => {
                let state = change(&keeper, Keeper::hold).await?;
                tracing::warn!(by, reason, gate = %state.gate, "the gate is held");
                self.note(&running, by, reason).await?;
            }
            Order::Release { reason } => {
                let state = change(&keeper, Keeper::release).await?;
                tracing::warn!(by, reason, gate = %state.gate, "the gate is released");
                self.note_release(&running).await?;
            }
            Order::Forward { before, reason } => {
                let groups = progress(self, &running);
                let forwards = move |keeper: &Keeper| keeper.forward_before(before, &groups);
                let state = change(&keeper, forwards).await?;
                tracing::warn!(by, reason, %before, gate = %state.gate, "the gate goes to a target");
                self.note(&running, by, reason).await?;
            }
            Order::Accept { reason } => accept(&running, by, &reason)?,
            Order::Suspects => {
                let known = self.delayed.known();
                return Ok(Answer::Suspects(known.suspects.bursts(limits::BURSTS_MAX)));
            }
            Order::Donate(wish) => return self.donate(by, wish).map(Answer::Job),
            Order::TakeOver(ask) => return self.taking_over(by, ask).await.map(Answer::TakeOver),
        }
        let late = self.late().ok_or_else(|| Refused::new(code::NOT_DELAYED))?;
        Ok(Answer::State(Box::new(late)))
    }

    /// Who holds the gate from now on.
    async fn note(&self, running: &Arc<Running>, by: &str, reason: String) -> Result<(), Refused> {
        let passed = self.delayed.known().note.passed;
        let note = HoldNote {
            holder: Holder::Person,
            since_ms: self.clock.now_ms(),
            by: by.to_owned(),
            reason,
            passed,
        };
        Ok(self.write_note(running, note).await?)
    }

    /// Nobody holds it any more; what has come in until now holds it no more by itself.
    async fn note_release(&self, running: &Arc<Running>) -> Result<(), Refused> {
        let note = {
            let known = self.delayed.known();
            let dropped = known.dropped.values().map(|ms| Stamp::new(*ms, 0)).max();
            known.note.released(known.suspects.newest().max(dropped).unwrap_or_default())
        };
        Ok(self.write_note(running, note).await?)
    }
}

async fn change(
    keeper: &Arc<Keeper>,
    does: impl FnOnce(&Keeper) -> raft::Result<GateState> + Send + 'static,
) -> Result<GateState, Refused> {
    let keeper = keeper.clone();
    let done = crate::work::aside(move || does(&keeper)).await;
    changed(done.map_err(|_| Refused::new(code::INTERNAL))?)
}

/// Parked replicas take the next snapshot, however new it is.
fn accept(running: &Running, by: &str, reason: &str) -> Result<(), Refused> {
    let all = running.registry().all();
    let parked = all.iter().filter(|receiver| receiver.delayed().is_some_and(|delayed| delayed.is_parked()));
    let mut count = 0_u64;
    for receiver in parked {
        if let Some(delayed) = receiver.delayed() {
            tracing::warn!(by, reason, group = %receiver.group().id(), "a parked replica takes a fresh copy");
            delayed.accept();
            count += 1;
        }
    }
    if count == 0 { Err(Refused::new(code::NOT_PARKED)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_that_cannot_be_says_what_can() {
        let of = |target, least, greatest| {
            not_there(&ForwardRefused {
                target: Stamp::new(target, 0),
                least: Stamp::new(least, 0),
                greatest: Some(Stamp::new(greatest, 0)),
            })
        };
        let below = of(5, 10, 20);
        assert_eq!(below.code, code::GATE_PASSED);
        let above = of(25, 10, 20);
        assert!(above.code == code::NOT_RECEIVED && above.text.contains("20.0"), "{}", above.text);
    }
}
