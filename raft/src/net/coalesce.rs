//! Pure: gathers the heartbeats of all groups to one peer, so that a thousand idle groups cost one message.
//!   * A message has at most one heartbeat of a group, so that an answer, which names the group, can mean one only.
//!   * What comes first leaves first; none waits longer than `HEARTBEAT_GATHER_MS` for company.
//!   * At most `HEARTBEAT_MESSAGES_MAX` messages wait; what would need one more is refused, not queued.

use super::replica_message::Heartbeat;
use crate::limits;
use crate::types::GroupId;
use std::collections::{BTreeMap, VecDeque};

/// Where the answer to a heartbeat will be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Number of the message it leaves with.
    pub message: u64,
    /// Its group.
    pub group: GroupId,
}

/// Heartbeats that leave together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Number of the message: 0, 1, 2, and so on, in the order in which they leave.
    pub message: u64,
    /// What it says, by group.
    pub heartbeats: Vec<Heartbeat>,
}

struct Gathering {
    due_ms: u64,
    heartbeats: BTreeMap<GroupId, Heartbeat>,
}

/// What waits for one peer.
#[derive(Default)]
pub struct Coalesce {
    /// Oldest first. Only the last one still takes heartbeats.
    waiting: VecDeque<Gathering>,
    /// Number of the first that waits.
    first: u64,
}

impl Coalesce {
    /// Takes a heartbeat. `None`: too many wait, it is not taken.
    pub fn push(&mut self, now_ms: u64, heartbeat: Heartbeat) -> Option<Ticket> {
        let group = heartbeat.group;
        let takes = |last: &Gathering| {
            last.heartbeats.len() < limits::HEARTBEATS_MAX && !last.heartbeats.contains_key(&group)
        };
        if !self.waiting.back().is_some_and(takes) {
            if self.waiting.len() == limits::HEARTBEAT_MESSAGES_MAX {
                return None;
            }
            // The one before takes no more: it need not wait for company.
            if let Some(last) = self.waiting.back_mut() {
                last.due_ms = last.due_ms.min(now_ms);
            }
            let due_ms = now_ms.saturating_add(limits::HEARTBEAT_GATHER_MS);
            self.waiting.push_back(Gathering { due_ms, heartbeats: BTreeMap::new() });
        }
        let last = self.waiting.back_mut()?;
        last.heartbeats.insert(group, heartbeat);
        if last.heartbeats.len() == limits::HEARTBEATS_MAX {
            last.due_ms = last.due_ms.min(now_ms);
        }
        Some(Ticket { message: self.first + self.waiting.len() as u64 - 1, group })
    }

    /// What is to leave now; asked again until there is nothing more.
    pub fn due(&mut self, now_ms: u64) -> Option<Gathered> {
        let gathering = self.waiting.pop_front_if(|first| first.due_ms <= now_ms)?;
        let message = self.first;
        self.first += 1;
        Some(Gathered { message, heartbeats: gathering.heartbeats.into_values().collect() })
    }

    /// When the next is due; `None` if nothing waits.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(group: u64) -> Heartbeat {
        Heartbeat { group: GroupId(group), ..Heartbeat::default() }
    }

    fn groups(gathered: Option<Gathered>) -> Option<(u64, Vec<u64>)> {
        gathered.map(|one| (one.message, one.heartbeats.iter().map(|heartbeat| heartbeat.group.0).collect()))
    }

    #[test]
    fn heartbeats_of_a_few_milliseconds_leave_together() {
        let mut coalesce = Coalesce::default();
        assert_eq!((coalesce.next_due_ms(), coalesce.due(u64::MAX)), (None, None));
        for (now_ms, group) in [(100, 3), (102, 1), (104, 2)] {
            let ticket = coalesce.push(now_ms, heartbeat(group));
            assert_eq!(ticket, Some(Ticket { message: 0, group: GroupId(group) }));
        }
        assert_eq!(coalesce.next_due_ms(), Some(105), "of the first: later ones do not put it off");
        assert_eq!(coalesce.due(104), None);
        assert_eq!(groups(coalesce.due(105)), Some((0, vec![1, 2, 3])));
        assert_eq!((coalesce.next_due_ms(), coalesce.due(1_000)), (None, None));
        assert_eq!(coalesce.push(200, heartbeat(1)).map(|ticket| ticket.message), Some(1));
        assert_eq!(coalesce.next_due_ms(), Some(205));
    }

    #[test]
    fn a_second_heartbeat_of_a_group_leaves_with_the_next_message() {
        let mut coalesce = Coalesce::default();
        let tickets = [(100, 1), (100, 2), (101, 1), (101, 3)]
            .map(|(now_ms, group)| coalesce.push(now_ms, heartbeat(group)).unwrap().message);
        assert_eq!(tickets, [0, 0, 1, 1]);
        assert_eq!(coalesce.next_due_ms(), Some(101), "the first waits no longer");
        assert_eq!(groups(coalesce.due(101)), Some((0, vec![1, 2])));
        assert_eq!((coalesce.due(101), coalesce.next_due_ms()), (None, Some(106)));
        assert_eq!(groups(coalesce.due(106)), Some((1, vec![1, 3])));
    }

    #[test]
    fn a_full_message_leaves_at_once_and_no_more_than_its_bound_waits() {
        let mut coalesce = Coalesce::default();
        let most = limits::HEARTBEATS_MAX as u64;
        (0..most).for_each(|group| assert_eq!(coalesce.push(100, heartbeat(group)).unwrap().message, 0));
        assert_eq!(coalesce.next_due_ms(), Some(100));
        assert_eq!(coalesce.push(100, heartbeat(most)).unwrap().message, 1);
        assert_eq!(groups(coalesce.due(100)).unwrap().1.len() as u64, most);
        assert_eq!(coalesce.due(100), None);
        let taken = (0..100).take_while(|_| coalesce.push(100, heartbeat(most)).is_some()).count();
        assert_eq!(taken, limits::HEARTBEAT_MESSAGES_MAX - 1, "one waits already");
        assert_eq!(coalesce.push(100, heartbeat(7)).unwrap().message, 32, "the last message still has room");
        assert!(coalesce.due(100).is_some() && coalesce.push(100, heartbeat(most)).is_some());
    }
}
