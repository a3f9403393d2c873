//! Pure: does a delayed node apply nothing early, and is what it has applied one cut through all its groups? The judge hears of
//! committed entries from those who are not delayed, and of the gate and each applied entry from the node.
//!
//! The gate is a stamp that only rises: never beyond `now - delay`, never beyond a hold, and only when every group has applied all of
//! the step before. No entry is applied beyond it. So at rest there is one stamp, the gate, at which all groups stand.

use super::Violation;
use engine::Stamp;
use engine::ids::NodeId;
use raft::types::{GroupId, LogId};
use std::collections::{BTreeMap, BTreeSet};

const JUDGE: &str = "delayed";

/// What an operator has asked of a delayed node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How late it is, in milliseconds; 0 when it was fast-forwarded.
    pub delay_ms: u64,
    /// Beyond which stamp nothing may be applied.
    pub hold: Option<Stamp>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    /// Last stamp of each committed entry, by index.
    committed: BTreeMap<u64, Stamp>,
    /// Of them, those with a stamp of their own, and not that of the entry before.
    own: BTreeSet<u64>,
    /// The last entry that the delayed replica has applied.
    applied: Option<u64>,
}

/// One delayed node, with its data groups.
#[derive(Clone, Debug)]
pub struct DelayedNode {
    node: NodeId,
    wish: Wish,
    gate: Stamp,
    /// Where the gate was when the operator last asked for something: what it had let through may come later.
    let_through: Stamp,
    groups: BTreeMap<GroupId, Group>,
    applied: u64,
}

impl Group {
    /// The first committed entry that is not applied.
    fn next(&self) -> Option<(u64, Stamp)> {
        let from = self.applied.map_or(0, |applied| applied + 1);
        self.committed.range(from..).next().map(|(index, stamp)| (*index, *stamp))
    }

    /// The first committed entry that is not applied and has a stamp of its own. One that has that of the entry before it says nothing
    /// of the state, and may come to be behind a gate that is open.
    fn waiting(&self, gate: Stamp) -> Option<(u64, Stamp)> {
        let from = self.applied.map_or(0, |applied| applied + 1);
        let first = *self.own.range(from..).next()?;
        self.committed.get(&first).map(|stamp| (first, *stamp)).filter(|(_, stamp)| *stamp <= gate)
    }
}

impl DelayedNode {
    /// A delayed node with the gate it starts with: nothing is delayed that its groups had applied at its birth.
    #[must_use]
    pub fn new(node: NodeId, wish: Wish, gate: Stamp) -> Self {
        Self { node, wish, gate, let_through: gate, groups: BTreeMap::new(), applied: 0 }
    }

    /// A group is born on the node with everything up to an entry; nothing is known of it yet.
    pub fn born(&mut self, group: GroupId, applied: Option<u64>) {
        self.groups.insert(group, Group { applied, ..Group::default() });
    }

    /// The operator asks for something else.
    pub fn wish(&mut self, wish: Wish) {
        (self.wish, self.let_through) = (wish, self.gate);
    }

    /// What the operator last asked for.
    #[must_use]
    pub fn wished(&self) -> Wish {
        self.wish
    }

    /// Where the gate stands.
    #[must_use]
    pub fn gate(&self) -> Stamp {
        self.gate
    }

    /// Whether it was told that an entry is committed.
    #[must_use]
    pub fn knows(&self, group: GroupId, index: u64) -> bool {
        self.groups.get(&group).is_some_and(|state| state.committed.contains_key(&index))
    }

    /// The last entry of a group of which it was told that it is committed.
    #[must_use]
    pub fn newest(&self, group: GroupId) -> Option<u64> {
        self.groups.get(&group)?.committed.last_key_value().map(|(index, _)| *index)
    }

    /// How many entries were held against the gate: none means that nothing was shown.
    #[must_use]
    pub fn applied_entries(&self) -> u64 {
        self.applied
    }

    fn broken(&self, what: impl std::fmt::Display) -> Result<(), Violation> {
        let shown = |(group, state): (&GroupId, &Group)| {
            let applied =
                state.applied.map_or_else(|| "nothing".to_owned(), |applied| format!("entry {applied}"));
            let next = state
                .next()
                .map_or_else(|| "none".to_owned(), |(index, stamp)| format!("{index} at {stamp}"));
            format!("{group}: applied {applied}, next is {next}")
        };
        let violation = Violation::broken(JUDGE, format!("{}, gate {}: {what}", self.node, self.gate));
        Err(violation.with(self.groups.iter().map(shown)))
    }

    /// A group has committed an entry, whose last stamp this is. Told once each, in order.
    ///
    /// # Errors
    /// Broken: the stamp is behind the gate already, so what the node calls a cut lacks it. (An entry without a stamp of its own has
    /// the one before it.)
    pub fn committed(&mut self, group: GroupId, log_id: LogId, stamp: Stamp) -> Result<(), Violation> {
        let state = self.groups.entry(group).or_default();
        let before = state.committed.last_key_value().map(|(_, stamp)| *stamp);
        state.committed.insert(log_id.index, stamp);
        if before.is_some_and(|before| before > stamp) {
            return self.broken(format!("{group} committed {log_id} at {stamp}, behind an earlier entry"));
        }
        let is_inherited = before.unwrap_or_default() == stamp;
        if !is_inherited {
            state.own.insert(log_id.index);
        }
        if stamp <= self.gate
            && !is_inherited
            && self.groups[&group].applied.is_none_or(|applied| applied < log_id.index)
        {
            return self.broken(format!("{group} committed {log_id} at {stamp}, which was closed"));
        }
        Ok(())
    }

    /// The gate opens up to a stamp.
    ///
    /// # Errors
    /// Broken: it goes back, beyond `now - delay` or the hold, or on before some group has applied the step before.
    pub fn gate_opened(&mut self, gate: Stamp, now_ms: u64) -> Result<(), Violation> {
        if gate < self.gate {
            return self.broken(format!("it goes back to {gate}"));
        }
        let due = Stamp::end_of_ms(now_ms.saturating_sub(self.wish.delay_ms));
        if gate > due {
            return self.broken(format!("it opens up to {gate}, and only {due} is due"));
        }
        if let Some(hold) = self.wish.hold.filter(|hold| gate > *hold) {
            return self.broken(format!("it opens up to {gate}, and the node is held at {hold}"));
        }
        let is_waiting = |state: &Group| state.waiting(self.gate).is_some();
        if let Some((group, _)) = self.groups.iter().find(|(_, state)| gate > self.gate && is_waiting(state))
        {
            return self
                .broken(format!("it opens up to {gate}, and {group} has not applied the step before"));
        }
        self.gate = gate;
        Ok(())
    }

    /// The node applies an entry.
    ///
    /// # Errors
    /// Broken: it was not committed, not its turn, beyond the gate, not due yet, or beyond the hold.
    pub fn applied(&mut self, group: GroupId, log_id: LogId, now_ms: u64) -> Result<(), Violation> {
        self.applied += 1;
        let state = self.groups.entry(group).or_default();
        let (next, stamp) = (state.next(), state.committed.get(&log_id.index).copied());
        let Some(stamp) = stamp else {
            return self.broken(format!("{group} applied {log_id}, which was not committed"));
        };
        if next.map(|(index, _)| index) != Some(log_id.index) {
            return self.broken(format!("{group} applied {log_id} out of its turn"));
        }
        if stamp > self.gate {
            return self.broken(format!("{group} applied {log_id} of {stamp}, beyond the gate"));
        }
        let due = Stamp::end_of_ms(now_ms.saturating_sub(self.wish.delay_ms));
        if stamp > due && stamp > self.let_through {
            return self.broken(format!("{group} applied {log_id} of {stamp}, and only {due} is due"));
        }
        if let Some(state) = self.groups.get_mut(&group) {
            state.applied = Some(log_id.index);
        }
        Ok(())
    }

    /// A node that was restarted stands in a group where its state ends, perhaps before what it had applied; one that took a snapshot,
    /// where that ends.
    pub fn restarted(&mut self, group: GroupId, applied: Option<u64>) {
        self.groups.entry(group).or_default().applied = applied;
    }

    /// The node says that it is at rest: all that the gate lets through is applied.
    ///
    /// # Errors
    /// Broken: some group stands before the gate or behind it; what is applied is no cut.
    pub fn at_rest(&self) -> Result<(), Violation> {
        for (group, state) in &self.groups {
            if let Some((index, stamp)) = state.waiting(self.gate) {
                return self.broken(format!("at rest, {group} has not applied entry {index} of {stamp}"));
            }
            let last = state.applied.and_then(|applied| state.committed.get(&applied));
            if let Some(stamp) = last.filter(|stamp| **stamp > self.gate) {
                return self.broken(format!("at rest, {group} stands at {stamp}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::types::ReplicaId;

    const A: GroupId = GroupId(1);
    const B: GroupId = GroupId(2);

    fn at(ms: u64) -> Stamp {
        Stamp::new(ms, 7)
    }

    fn id(index: u64) -> LogId {
        LogId { term: 1, replica: ReplicaId(1), index }
    }

    /// Entries at 10, 20, 30 ms in one group, at 15, 15 (a blank one), 25 in the other; 100 ms late.
    fn node() -> DelayedNode {
        let mut node = DelayedNode::new(NodeId(3), Wish { delay_ms: 100, hold: None }, Stamp::ZERO);
        node.born(A, None);
        node.born(B, None);
        for (group, stamps) in [(A, [10, 20, 30]), (B, [15, 15, 25])] {
            for (index, ms) in stamps.into_iter().enumerate() {
                node.committed(group, id(index as u64), at(ms)).unwrap();
            }
        }
        node
    }

    fn told(result: Result<(), Violation>) -> String {
        result.unwrap_err().what
    }

    #[test]
    fn a_node_that_waits_its_time_is_one_cut_at_every_step() {
        let mut node = node();
        node.gate_opened(Stamp::new(20, 0), 120).unwrap();
        assert!(told(node.at_rest()).contains("g-1 has not applied entry 0 of 10.7"));
        for (group, index) in [(B, 0), (A, 0), (B, 1)] {
            node.applied(group, id(index), 120).unwrap();
        }
        assert_eq!(node.at_rest(), Ok(()));
        node.gate_opened(Stamp::new(30, 9), 130).unwrap();
        for (group, index) in [(A, 1), (A, 2), (B, 2)] {
            node.applied(group, id(index), 130).unwrap();
        }
        assert_eq!((node.at_rest(), node.applied_entries()), (Ok(()), 6));
        node.committed(A, id(3), at(30)).unwrap();
        node.committed(B, id(3), at(40)).unwrap();
        node.restarted(A, Some(1));
        assert!(node.at_rest().is_err());
        node.applied(A, id(2), 131).unwrap();
    }

    #[test]
    fn the_gate_opens_neither_early_nor_beyond_a_hold_nor_back() {
        let mut node = node();
        assert!(told(node.gate_opened(Stamp::new(21, 0), 120)).contains("only 20.65535 is due"));
        node.wish(Wish { delay_ms: 100, hold: Some(at(18)) });
        assert!(told(node.gate_opened(at(19), 200)).contains("held at 18.7"));
        node.gate_opened(at(12), 200).unwrap();
        assert!(told(node.gate_opened(at(11), 200)).contains("goes back to 11.7"));
        assert!(told(node.gate_opened(at(18), 200)).contains("g-1 has not applied the step before"));
        node.applied(A, id(0), 200).unwrap();
        assert_eq!(node.gate_opened(at(18), 200), Ok(()));
    }

    #[test]
    fn no_group_applies_beyond_the_gate_or_out_of_turn() {
        let mut node = node();
        node.gate_opened(at(15), 200).unwrap();
        assert!(told(node.applied(A, id(1), 200)).contains("out of its turn"));
        assert!(told(node.applied(A, id(9), 200)).contains("not committed"));
        node.applied(A, id(0), 200).unwrap();
        assert!(told(node.applied(A, id(1), 200)).contains("of 20.7, beyond the gate"));
        assert!(told(node.applied(A, id(0), 200)).contains("out of its turn"));
        assert!(told(node.applied(B, id(0), 114)).contains("only 14.65535 is due"));
        let violation = node.applied(B, id(2), 200).unwrap_err();
        assert_eq!(violation.lines[0], "g-1: applied entry 0, next is 1 at 20.7");
    }

    #[test]
    fn nothing_is_committed_behind_a_gate_that_is_open() {
        let mut node = node();
        node.gate_opened(at(50), 200).unwrap();
        assert!(told(node.committed(A, id(3), at(45))).contains("committed 1.1.3 at 45.7, which was closed"));
        assert!(told(node.committed(B, id(3), at(5))).contains("behind an earlier entry"));
    }

    #[test]
    fn a_cut_that_one_group_has_passed_is_told() {
        let mut node = node();
        node.born(A, Some(2));
        (0..3).for_each(|index| node.committed(A, id(index), at(10 * index + 10)).unwrap());
        node.gate_opened(at(12), 200).unwrap();
        assert!(told(node.at_rest()).contains("at rest, g-1 stands at 30.7"));
    }
}
