//! What one node asks another of the meta group, and of delayed nodes.

use super::survey::Survey;
use crate::delayed::order::{Answer, Order, RowsAsked, RowsPage};
use crate::refused::Refused;
use crate::restore::asked::{self, Ask};
use crate::shard::door::WriteId;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{NodeId, TableId, TenantId};
use raft::net::link::BoxFuture;
use raft::types::GroupId;

/// Asks another node.
pub trait Forward: Send + Sync + 'static {
    /// Lets `to`, which leads the meta group, make a change of its rows; command and reply are bytes.
    fn change(&self, to: NodeId, command: Bytes, wait_ms: u64) -> BoxFuture<Result<Bytes, Refused>>;

    /// The value of the row of a group, as `to` knows it; nothing if there is none.
    fn shard(&self, to: NodeId, group: GroupId) -> BoxFuture<Result<Option<Bytes>, Refused>>;

    /// The index of an entry with all that was acknowledged before, if `to` leads the meta group.
    fn meta_index(&self, to: NodeId, wait_ms: u64) -> BoxFuture<Result<u64, Refused>>;

    /// What `to` knows best.
    fn survey(&self, to: NodeId) -> BoxFuture<Result<Survey, Refused>>;
    /// Lets `to` do what a restore asks, if that can be done there.
    fn restoring(&self, to: NodeId, ask: Ask, wait_ms: u64) -> BoxFuture<Result<asked::Answer, Refused>>;
    /// Bytes of the file of a table there, from `at` on; none: it ends there.
    fn table(&self, to: NodeId, table: TableId, at: u64) -> BoxFuture<Result<Bytes, Refused>>;

    /// Lets `to`, which is delayed, do what `by` asks.
    fn order(&self, to: NodeId, by: String, order: Order, wait_ms: u64)
    -> BoxFuture<Result<Answer, Refused>>;

    /// Rows of a tenant as they stand now, if `to` leads its shard.
    fn rows(&self, to: NodeId, asked: RowsAsked, wait_ms: u64) -> BoxFuture<Result<RowsPage, Refused>>;

    /// Lets `to`, which leads the shard of a tenant, do a kv command, given as bytes.
    fn write_rows(
        &self,
        to: NodeId,
        tenant: TenantId,
        command: Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>>;
}
