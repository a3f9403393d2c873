//! Reads and writes the rows of tenants wherever their shards are, and changes the rows of the meta group: what a restore does its work with.
//! A node that cannot now is asked again, or another one is; what nobody can is told.

use super::asked::{Answer, Ask, Page, PageAsked, Reach};
use crate::limits;
use crate::meta::command::{Change, MetaCommand, MetaReply, Reason};
use crate::meta::node_row::NodeState;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::server::Server;
use crate::shard::door::WriteId;
use bytes::Bytes;
use engine::Stamp;
use engine::clock::Clock as _;
use engine::ids::{NodeId, TenantId};
use proto::errors::{Kind, code};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait between two tries, in milliseconds.
const PAUSE_MS_MAX: u64 = 2_000;

/// The hands of a restore.
#[derive(Clone)]
pub struct Hands(Arc<Server>);

impl Hands {
    /// Those of this node.
    #[must_use]
    pub fn new(server: Arc<Server>) -> Self {
        Self(server)
    }

    /// The node.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.0
    }

    /// The picture of the meta group of now.
    #[must_use]
    pub fn meta(&self) -> Arc<MetaView> {
        self.0.meta()
    }

    /// The wall clock here, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// Who may be able to: the one that is thought to lead the shard of the tenant, then whoever has a replica of it.
    fn candidates(&self, tenant: TenantId) -> Vec<NodeId> {
        let meta = self.meta();
        let Some(shard) = meta.shard_of(tenant) else { return Vec::new() };
        let mut all: Vec<NodeId> = self.0.leader(shard.group).into_iter().collect();
        all.extend(shard.seats.values().map(|seat| seat.node));
        let mut seen = BTreeSet::new();
        all.retain(|node| seen.insert(*node));
        all
    }

    /// Asks one node.
    ///
    /// # Errors
    /// What it says, or that it is not reached.
    pub async fn ask_one(&self, node: NodeId, ask: Ask, wait_ms: u64) -> Result<Answer, Refused> {
        match node == self.0.node {
            true => Box::pin(self.0.door()?.restoring(ask, wait_ms)).await,
            false => self.0.forward.restoring(node, ask, wait_ms).await,
        }
    }

    /// Asks whoever can, once each.
    ///
    /// # Errors
    /// What the last one says.
    pub async fn ask_once(&self, tenant: TenantId, ask: Ask, wait_ms: u64) -> Result<Answer, Refused> {
        let mut refused = Refused::new(code::NO_LEADER);
        for node in self.candidates(tenant) {
            refused = match self.ask_one(node, ask.clone(), wait_ms).await {
                Err(refused) if is_elsewhere(&refused) => refused,
                answered => return answered,
            };
        }
        Err(refused)
    }

    /// Asks until somebody can.
    async fn ask(&self, tenant: TenantId, ask: Ask) -> Result<Answer, Refused> {
        let mut tries = 0;
        loop {
            let refused = match self.ask_once(tenant, ask.clone(), limits::RESTORE_WAIT_MS).await {
                Err(refused) if is_passing(&refused) => refused,
                answered => return answered,
            };
            tries += 1;
            if tries >= limits::RESTORE_TRIES {
                return Err(refused);
            }
            let pause_ms = (10 << tries.min(8)).min(PAUSE_MS_MAX).max(refused.after_ms.min(PAUSE_MS_MAX));
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// How far back a tenant can be read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reach(&self, tenant: TenantId) -> Result<Reach, Refused> {
        match self.ask(tenant, Ask::Reach(tenant)).await? {
            Answer::Reach(reach) => Ok(reach),
            _ => Err(odd()),
        }
    }

    /// Some rows of a tenant.
    ///
    /// # Errors
    /// `HISTORY_GONE`: it is no longer kept.
    pub async fn page(&self, asked: PageAsked) -> Result<Page, Refused> {
        match self.ask(asked.tenant, Ask::Page(asked)).await? {
            Answer::Page(page) => Ok(page),
            _ => Err(odd()),
        }
    }

    /// Writes all of a command or nothing, once.
    ///
    /// # Errors
    /// `CONDITION_FAILED`. `UNKNOWN_OUTCOME`, `REQUEST_EXPIRED`: it was not written in time, or nobody knows.
    pub async fn write(
        &self,
        (tenant, is_serving): (TenantId, bool),
        command: Bytes,
        id: WriteId,
    ) -> Result<Stamp, Refused> {
        match self.ask(tenant, Ask::Write { tenant, command, id, is_serving }).await? {
            Answer::Stamp(stamp) => Ok(stamp),
            _ => Err(odd()),
        }
    }

    /// How many writes a tenant has seen behind a stamp.
    ///
    /// # Errors
    /// `HISTORY_GONE`: that is no longer kept.
    pub async fn count(&self, tenant: TenantId, after: Stamp) -> Result<u64, Refused> {
        match self.ask(tenant, Ask::Count { tenant, after }).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(odd()),
        }
    }

    /// Waits until every node that answers knows of all that the meta group knows now, and lets nothing more through to a tenant that it has
    /// closed. Who leads its shard must be among them, and binds whoever leads it later. Returns a stamp behind everything that was told of it.
    ///
    /// # Errors
    /// The node that leads the shard of the tenant does not answer in time.
    pub async fn settle(&self, tenant: TenantId) -> Result<Stamp, Refused> {
        let meta = self.meta();
        let lives = |state| matches!(state, NodeState::Active | NodeState::Draining);
        let nodes = meta.nodes.values().filter(|row| lives(row.state)).map(|row| row.id);
        let asks = nodes.map(|node| async move {
            let ask = Ask::Settle { tenant, index: meta_version(self) };
            (node, self.ask_one(node, ask, limits::RESTORE_SETTLE_MS).await)
        });
        let (mut last, mut is_settled) = (Stamp::new(self.now_ms(), 0), false);
        for (node, answered) in futures_util::future::join_all(asks).await {
            match answered {
                Ok(Answer::Settled { stamp, is_bound }) => {
                    (last, is_settled) = (last.max(stamp), is_settled || is_bound);
                }
                Ok(_) => return Err(odd()),
                // Who does not answer hears of it before it acknowledges a write of the tenant.
                Err(refused) => {
                    tracing::warn!(%node, %refused, "a node is not asked whether a tenant is closed there");
                }
            }
        }
        match is_settled {
            true => Ok(last),
            false => Err(Refused::new(code::NO_LEADER)),
        }
    }

    /// Changes rows of the meta group, and waits until they are known here. Says what was refused.
    ///
    /// # Errors
    /// Nobody leads the meta group.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Result<(), Reason>, Refused> {
        match Box::pin(self.0.change(MetaCommand::new(changes), limits::CHANGE_MS)).await? {
            MetaReply::Applied { .. } => {
                Box::pin(self.0.refresh(limits::CHANGE_MS)).await?;
                Ok(Ok(()))
            }
            MetaReply::Refused { reason, .. } => Ok(Err(reason)),
            MetaReply::Malformed => Err(odd()),
        }
    }
}

fn meta_version(hands: &Hands) -> u64 {
    hands.meta().version
}

fn odd() -> Refused {
    Refused::new(code::INTERNAL).saying("another question was answered")
}

/// Another node may be able to.
fn is_elsewhere(refused: &Refused) -> bool {
    matches!(refused.code, code::WRONG_NODE | code::NO_LEADER | code::STARTING | code::STOPPING)
}

/// It may be possible a little later.
fn is_passing(refused: &Refused) -> bool {
    let kind = proto::errors::find(refused.code).map(|entry| entry.kind);
    matches!(kind, Some(Kind::Unavailable | Kind::Unknown)) || refused.code == code::KEY_AWAY
}
