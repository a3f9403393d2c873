//! Pure: every group as the log has it at one position, without its entries: what opens the next segment.

use super::record::{GroupState, Record};
use crate::types::{GroupId, LogId};
use std::collections::BTreeMap;

/// Every group at one position of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(BTreeMap<GroupId, GroupState>);

impl States {
    /// As a state record has it.
    #[must_use]
    pub fn new(groups: Vec<(GroupId, GroupState)>) -> Self {
        Self(groups.into_iter().collect())
    }

    /// As a state record wants it.
    #[must_use]
    pub fn to_vec(&self) -> Vec<(GroupId, GroupState)> {
        self.0.iter().map(|(group, state)| (*group, *state)).collect()
    }

    /// One group.
    #[must_use]
    pub fn get(&self, group: GroupId) -> Option<&GroupState> {
        self.0.get(&group)
    }

    /// What comes after `record`.
    pub fn apply(&mut self, record: &Record) {
        let group = match record {
            Record::Entry(group, _)
            | Record::Vote(group, _)
            | Record::Truncate(group, _)
            | Record::Purge(group, _)
            | Record::Committed(group, _)
            | Record::Open(group, _)
            | Record::Close(group, _) => *group,
            Record::Batch(_)
            | Record::State(_)
            | Record::Moved(..)
            | Record::Manifest(..)
            | Record::Marks(_)
            | Record::Incarnation(..) => return,
        };
        let state = self.0.entry(group).or_default();
        match record {
            Record::Entry(_, entry) => state.last = Some(entry.log_id),
            Record::Vote(_, vote) => state.vote = Some(*vote),
            Record::Truncate(_, after) => state.last = greater(*after, state.purged),
            Record::Purge(_, upto) => {
                state.purged = greater(Some(*upto), state.purged);
                state.last = greater(state.last, state.purged);
            }
            Record::Committed(_, upto) => state.committed = *upto,
            Record::Open(_, replica) => {
                *state = GroupState { replica: *replica, replica_max: *replica, ..GroupState::default() };
            }
            Record::Close(..) => {
                *state = GroupState { replica_max: state.replica_max, ..GroupState::default() };
            }
            _ => {}
        }
    }
}

/// The one of the greater index.
fn greater(a: Option<LogId>, b: Option<LogId>) -> Option<LogId> {
    if a.map(|id| id.index) > b.map(|id| id.index) { a } else { b.or(a) }
}
