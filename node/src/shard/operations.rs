//! What every command of this cluster means, whichever group it is in. Total and deterministic: nonsense is answered as such, and
//! nothing is asked but the rows and the command's own stamp. Whether a tenant may write at all was asked at the door.

use super::command::{self, Expected, KvCommand, Operation};
use super::reply::KvReply;
use crate::meta;
use bytes::Bytes;
use engine::ids::TenantId;
use raft::machine::operations::{Operations, Rows};
use raft::planted::{self, Planted};

/// Evaluates the commands of clients and those of the meta group.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeOperations;

impl Operations for NodeOperations {
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> raft::Result<Bytes> {
        let is_cluster = tenant == meta::CLUSTER_TENANT;
        match body.first() {
            Some(&command::KIND) if !is_cluster => {
                let reply = match KvCommand::decode(body) {
                    Ok(command) => evaluate(tenant, &command, rows)?,
                    Err(_) => KvReply::Malformed,
                };
                Ok(reply.encode().into())
            }
            Some(&meta::command::KIND) if is_cluster => {
                Ok(meta::machine::evaluate(body, rows)?.encode().into())
            }
            // Whoever asks is told in the words of a kv command: those of a meta command say the same with the same bytes.
            _ => Ok(KvReply::Malformed.encode().into()),
        }
    }
}

/// Asks the conditions, and if all hold does the operations.
fn evaluate(tenant: TenantId, command: &KvCommand<&[u8]>, rows: &mut Rows<'_>) -> raft::Result<KvReply> {
    for (condition, one) in (0..).zip(&command.conditions) {
        let now = rows.get(tenant, one.collection, one.key)?.map(|row| row.stamp);
        let holds = match one.expected {
            Expected::Absent => now.is_none(),
            Expected::Present => now.is_some(),
            Expected::Stamp(stamp) => now == Some(stamp) || planted::is(Planted::HoldAnyStamp),
        };
        if !holds {
            return Ok(KvReply::Failed { condition, now });
        }
    }
    for one in &command.operations {
        match *one {
            Operation::Put { collection, key, value, expiry } => {
                let expires_ms = expiry.ms(rows.stamp().ms());
                rows.put(tenant, collection, key, value, expires_ms)?;
            }
            Operation::Delete { collection, key } => rows.delete(tenant, collection, key)?,
            Operation::DeleteRange { collection, start, end } => {
                rows.delete_range(tenant, collection, start, end)?;
            }
        }
    }
    Ok(KvReply::Applied(rows.stamp()))
}
