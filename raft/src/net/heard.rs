//! What a node remembers of its peers: how far their logs are durable, and what it was promised by their replicas. Whoever starts must not
//! know less than it said: see [`crate::group::rejoin`].

use crate::error::Result;
use crate::group::rejoin::LogMark;
use crate::limits::LOGS_OF_A_NODE_MAX;
use crate::log::{Log, LogName, Mark};
use crate::types::{GroupId, LogId, ReplicaId, Vote};
use engine::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The log that speaks in the frames of a link, as its node said when the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// The node.
    pub node: NodeId,
    /// The name of its log.
    pub log: LogName,
    /// Number of its start.
    pub incarnation: u64,
}

/// What a replica of a peer has promised to a replica here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// The greatest vote it granted.
    pub granted: Option<Vote>,
    /// The vote of the leader here that it answered last, and the last entry it said it has of that leader's log.
    pub matched: Option<(Vote, LogId)>,
}

/// What one node remembers.
#[derive(Debug, Default)]
pub struct Heard {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    marks: BTreeMap<(NodeId, [u8; 16]), LogMark>,
    promises: BTreeMap<(GroupId, ReplicaId), Promise>,
    /// Whether the log here has all of the marks.
    is_noted: bool,
}

impl Heard {
    /// What a start finds in the log. Which start a peer was in it does not know.
    #[must_use]
    pub fn found(marks: &[Mark]) -> Self {
        let mark = |mark: &Mark| {
            ((NodeId(mark.node), mark.log), LogMark { position: mark.position, incarnation: 0 })
        };
        let marks = marks.iter().map(mark).collect();
        Self { held: Mutex::new(Held { marks, is_noted: true, ..Held::default() }) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame of a peer says how far its log is durable. To be told before anything else is done with the frame.
    pub fn hears(&self, voice: &Voice, durable: u64) {
        let mut held = self.held();
        let key = (voice.node, voice.log.0);
        if !held.marks.contains_key(&key) {
            held.make_room(voice.node);
        }
        let mark = held.marks.entry(key).or_default();
        let is_further = durable > mark.position;
        mark.position = mark.position.max(durable);
        mark.incarnation = mark.incarnation.max(voice.incarnation);
        held.is_noted &= !is_further;
    }

    /// A replica of a peer granted a vote to the replica here.
    pub fn is_granted(&self, group: GroupId, by: ReplicaId, vote: Vote) {
        let mut held = self.held();
        let promise = held.promises.entry((group, by)).or_default();
        if promise.granted.is_none_or(|before| (before.term, before.replica) < (vote.term, vote.replica)) {
            promise.granted = Some(vote);
        }
    }

    /// A replica of a peer said under the vote of the leader here that it has everything up to `last`.
    pub fn is_matched(&self, group: GroupId, by: ReplicaId, vote: Vote, last: LogId) {
        let mut held = self.held();
        let promise = held.promises.entry((group, by)).or_default();
        let is_later = |(before, upto): (Vote, LogId)| {
            (before.term, before.replica, upto.index) < (vote.term, vote.replica, last.index)
        };
        if promise.matched.is_none_or(is_later) {
            promise.matched = Some((vote, last));
        }
    }

    /// What a replica of a peer has promised since this node started.
    #[must_use]
    pub fn promise(&self, group: GroupId, by: ReplicaId) -> Promise {
        self.held().promises.get(&(group, by)).copied().unwrap_or_default()
    }

    /// A replica here is gone: what others promised to it, nobody asks for any more.
    pub fn forget(&self, group: GroupId) {
        self.held().promises.retain(|(of, _), _| *of != group);
    }

    /// A node was removed, and comes back with an empty disk, if at all: what its logs were is forgotten.
    pub fn forget_node(&self, node: NodeId) {
        let mut held = self.held();
        held.marks.retain(|(of, _), _| *of != node);
        held.is_noted = false;
    }

    /// Puts the marks into the log, if they have risen since they were put there last. Nothing waits for it.
    ///
    /// # Errors
    /// `Fenced`; `TooLarge`: more peers than the log was made for.
    pub fn note_in(&self, log: &Log) -> Result<()> {
        let mut held = self.held();
        if held.is_noted {
            return Ok(());
        }
        let mark = |((node, log), mark): (&(NodeId, [u8; 16]), &LogMark)| Mark {
            node: node.0,
            log: *log,
            position: mark.position,
        };
        log.note_marks(held.marks.iter().map(mark).collect())?;
        held.is_noted = true;
        Ok(())
    }

    /// The logs that are known of a node.
    #[must_use]
    pub fn logs_of(&self, node: NodeId) -> BTreeMap<[u8; 16], LogMark> {
        self.held().logs_of(node).map(|((_, log), mark)| (*log, *mark)).collect()
    }
}

impl Held {
    fn logs_of(&self, node: NodeId) -> impl Iterator<Item = (&(NodeId, [u8; 16]), &LogMark)> {
        self.marks.range((node, [0; 16])..=(node, [u8::MAX; 16]))
    }

    /// A node that is wiped gets another log. Of too many, that is forgotten which had come least far: whoever comes with it is refused
    /// all the same, as long as another is known.
    fn make_room(&mut self, node: NodeId) {
        while self.logs_of(node).count() >= LOGS_OF_A_NODE_MAX {
            let least = self.logs_of(node).min_by_key(|(_, mark)| mark.position).map(|(key, _)| *key);
            least.and_then(|key| self.marks.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(node: u64, log: u8, incarnation: u64) -> Voice {
        Voice { node: NodeId(node), log: LogName([log; 16]), incarnation }
    }

    #[test]
    fn marks_only_rise_and_are_kept_apart() {
        let heard = Heard::found(&[Mark { node: 1, log: [7; 16], position: 50 }]);
        for (by, durable) in
            [(voice(1, 7, 3), 40), (voice(1, 7, 2), 60), (voice(1, 8, 1), 5), (voice(2, 7, 9), 1)]
        {
            heard.hears(&by, durable);
        }
        let wanted = [
            ([7; 16], LogMark { position: 60, incarnation: 3 }),
            ([8; 16], LogMark { position: 5, incarnation: 1 }),
        ];
        assert_eq!(heard.logs_of(NodeId(1)), wanted.into());
        assert_eq!(heard.logs_of(NodeId(3)), BTreeMap::new());
        heard.forget_node(NodeId(1));
        assert_eq!(heard.logs_of(NodeId(1)), BTreeMap::new());
        assert_eq!(heard.logs_of(NodeId(2)).len(), 1);
    }

    #[test]
    fn of_a_node_that_is_wiped_for_ever_only_a_few_logs_are_known() {
        let heard = Heard::default();
        for n in 0..=u8::try_from(LOGS_OF_A_NODE_MAX).unwrap() {
            heard.hears(&voice(1, n, 1), 100 - u64::from(n % 2) * 50 + u64::from(n));
        }
        let logs = heard.logs_of(NodeId(1));
        assert_eq!(logs.len(), LOGS_OF_A_NODE_MAX);
        assert!(!logs.contains_key(&[1; 16]), "it had come least far");
    }

    #[test]
    fn a_promise_only_grows() {
        let heard = Heard::default();
        let vote = |term| Vote { term, replica: ReplicaId(1), is_committed: true };
        let id = |index| LogId { term: 1, replica: ReplicaId(1), index };
        let (group, by) = (GroupId(4), ReplicaId(2));
        for term in [3, 5, 4] {
            heard.is_granted(group, by, vote(term));
        }
        for (term, index) in [(5, 10), (5, 9), (4, 99), (5, 11)] {
            heard.is_matched(group, by, vote(term), id(index));
        }
        assert_eq!(
            heard.promise(group, by),
            Promise { granted: Some(vote(5)), matched: Some((vote(5), id(11))) }
        );
        heard.is_matched(group, by, vote(6), id(2));
        assert_eq!(
            heard.promise(group, by).matched,
            Some((vote(6), id(2))),
            "what was cut off counts no more"
        );
        assert_eq!(heard.promise(group, ReplicaId(3)), Promise::default());
        heard.forget(group);
        assert_eq!(heard.promise(group, by), Promise::default());
    }
}
