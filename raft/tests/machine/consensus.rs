//! Entries handed to a machine the way consensus does it: what fails fences the group.

use crate::world::run;
use bytes::Bytes;
use futures_util::stream;
use openraft::alias::LogIdOf;
use openraft::entry::RaftEntry;
use openraft::storage::RaftStateMachine;
use raft::machine::Machine;
use raft::machine::adapter::MachineAdapter;
use raft::proposal::Proposal;
use raft::type_config::Types;
use raft::types::LogId;
use std::sync::Arc;

/// An entry as consensus hands it over.
pub fn handed(id: LogId, payload: &Bytes) -> openraft::storage::EntryResponder<Types> {
    let leader_id = openraft::impls::leader_id_adv::LeaderId { term: id.term, node_id: id.replica };
    let log_id = LogIdOf::<Types> { leader_id, index: id.index };
    (RaftEntry::new(log_id, openraft::EntryPayload::Normal(Proposal(payload.clone()))), None)
}

pub fn apply_as_consensus(machine: &Arc<Machine>, entries: &[(LogId, Bytes)]) -> std::io::Result<()> {
    let handed: Vec<_> = entries.iter().map(|(id, payload)| Ok(handed(*id, payload))).collect();
    run(MachineAdapter::new(machine.clone()).apply(stream::iter(handed)))
}
