//! Pure: all that the log says at one position but its entries: what opens the next segment.

use super::record::{GroupState, Mark, Record};
use crate::types::{GroupId, LogId};
use std::collections::BTreeMap;

/// What the log says at one position, without its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    groups: BTreeMap<GroupId, GroupState>,
    /// By group: the manifest edit that is known to be durable, and what is applied in it.
    pub manifests: BTreeMap<GroupId, (u64, Option<LogId>)>,
    /// What peers were last heard to have made durable.
    pub marks: Vec<Mark>,
    /// Number and nonce of the newest start.
    pub incarnation: Option<(u64, [u8; 16])>,
}

impl States {
    /// The groups as a state record has them, and nothing else known.
    #[must_use]
    pub fn new(groups: &[(GroupId, GroupState)]) -> Self {
        Self { groups: groups.iter().copied().collect(), ..Self::default() }
    }

    /// Whether a state record says the same of the groups.
    #[must_use]
    pub fn agrees(&self, groups: &[(GroupId, GroupState)]) -> bool {
        self.groups.iter().map(|(group, state)| (*group, *state)).eq(groups.iter().copied())
    }

    /// The records that open a segment: with them it stands for everything before it.
    #[must_use]
    pub fn opening(&self) -> Vec<Record> {
        let groups = self.groups.iter().map(|(group, state)| (*group, *state)).collect();
        let mut records = vec![Record::State(groups)];
        records.extend(self.incarnation.map(|(number, nonce)| Record::Incarnation(number, nonce)));
        if !self.marks.is_empty() {
            records.push(Record::Marks(self.marks.clone()));
        }
        let manifest = |(group, (sequence, applied)): (&GroupId, &(u64, Option<LogId>))| {
            Record::Manifest(*group, *sequence, *applied)
        };
        records.extend(self.manifests.iter().map(manifest));
        records
    }

    /// One group.
    #[must_use]
    pub fn get(&self, group: GroupId) -> Option<&GroupState> {
        self.groups.get(&group)
    }

    /// What comes after `record`.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Entry(group, entry) => self.group(*group).last = Some(entry.log_id),
            Record::Vote(group, vote) => self.group(*group).vote = Some(*vote),
            Record::Truncate(group, after) => {
                let state = self.group(*group);
                state.last = greater(*after, state.purged);
            }
            Record::Purge(group, upto) => {
                let state = self.group(*group);
                state.purged = greater(Some(*upto), state.purged);
                state.last = greater(state.last, state.purged);
            }
            Record::Committed(group, upto) => self.group(*group).committed = *upto,
            Record::Open(group, replica) => {
                let born = GroupState { replica: *replica, replica_max: *replica, ..GroupState::default() };
                *self.group(*group) = born;
            }
            Record::Close(group, _) => {
                let state = self.group(*group);
                *state = GroupState { replica_max: state.replica_max, ..GroupState::default() };
                self.manifests.remove(group);
            }
            Record::Manifest(group, sequence, applied) => {
                self.manifests.insert(*group, (*sequence, *applied));
            }
            Record::Marks(marks) => self.marks.clone_from(marks),
            Record::Incarnation(number, nonce) => self.incarnation = Some((*number, *nonce)),
            Record::Batch(_) | Record::State(_) | Record::Moved(..) => {}
        }
    }

    fn group(&mut self, group: GroupId) -> &mut GroupState {
        self.groups.entry(group).or_default()
    }
}

/// The one of the greater index; of equal ones the second.
fn greater(a: Option<LogId>, b: Option<LogId>) -> Option<LogId> {
    if a.map(|id| id.index) > b.map(|id| id.index) { a } else { b }
}
