//! What a node remembers of its peers: how far their logs are durable, and what it was promised by their replicas. Whoever starts must not
//! know less than it said: see [`crate::group::rejoin`].

use crate::error::Result;
use crate::group::rejoin::LogMark;
use crate::limits::{CLONE_RETURNS, HEARSAY_MANIFESTS_KEPT_MAX, LOGS_OF_A_NODE_MAX};
use crate::log::{Log, LogName, Mark};
use crate::net::hearsay_message::Hearsay;
use crate::net::refusal::Refusal;
use crate::types::{GroupId, LogId, ReplicaId, Vote};
use engine::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// The log that speaks in the frames of a link, as its node said when the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// The node.
    pub node: NodeId,
    /// The name of its log.
    pub log: LogName,
    /// Number of its start.
    pub incarnation: u64,
    /// Some number of this start alone, by which two starts of one number are told apart; 0 if none was told.
    pub start: u32,
}

impl Voice {
    /// That of a node whose log goes on: `nonce` is the number of this start.
    #[must_use]
    pub fn of(node: NodeId, log: LogName, incarnation: u64, nonce: &[u8; 16]) -> Self {
        let [a, b, c, d, ..] = *nonce;
        // Zero is no number.
        Self { node, log, incarnation, start: u32::from_be_bytes([a, b, c, d]).max(1) }
    }
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
    log: OnceLock<Weak<Log>>,
}

#[derive(Debug, Default)]
struct Held {
    marks: BTreeMap<(NodeId, [u8; 16]), LogMark>,
    promises: BTreeMap<(GroupId, ReplicaId), Promise>,
    /// Of the starts with the greatest number that was heard, which was heard first.
    starts: BTreeMap<(NodeId, [u8; 16]), (u64, u32)>,
    /// The last two starts of a node that made a claim.
    claims: BTreeMap<NodeId, Claims>,
    /// Numbers of manifest edits that replicas were heard to have durably.
    manifests: BTreeMap<(GroupId, ReplicaId), u64>,
    /// Logs of removed nodes: what others still say of them is not believed.
    forgotten: BTreeSet<(NodeId, [u8; 16])>,
    /// Whether the log here has all of the marks.
    is_noted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Claims {
    newest: [u8; 16],
    before: Option<[u8; 16]>,
    /// Which of the two came last.
    last: [u8; 16],
    /// How often the older one came again after the newer one.
    returns: u32,
}

impl Heard {
    /// What a start finds in the log. Which start a peer was in it does not know.
    #[must_use]
    pub fn found(marks: &[Mark]) -> Self {
        let mark = |mark: &Mark| {
            ((NodeId(mark.node), mark.log), LogMark { position: mark.position, incarnation: 0 })
        };
        let marks = marks.iter().map(mark).collect();
        Self { held: Mutex::new(Held { marks, is_noted: true, ..Held::default() }), log: OnceLock::new() }
    }

    /// The log that is fenced when peers say that this start is outlived. Once.
    pub fn guards(&self, log: &Arc<Log>) {
        // There is one log a start.
        let _ = self.log.set(Arc::downgrade(log));
    }

    /// A peer says that another start of this node lives: nothing more may be promised by this one.
    pub fn is_outlived(&self) {
        if let Some(log) = self.log.get().and_then(Weak::upgrade) {
            log.give_up("another start of this node lives: one of the two runs on a copy of the disk");
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame of a peer says how far its log is durable. To be told before anything else is done with the frame.
    ///
    /// # Errors
    /// `Outlived`: a later start of that node was heard, or another one as late. Nothing is kept in mind of it, and what it says must not
    /// count.
    pub fn hears(&self, voice: &Voice, durable: u64) -> Result<(), Refusal> {
        let mut held = self.held();
        let (key, incarnation) = ((voice.node, voice.log.0), voice.incarnation);
        let newest = held.marks.get(&key).map_or(0, |mark| mark.incarnation);
        let first =
            held.starts.get(&key).filter(|(number, _)| *number == incarnation).map(|(_, start)| *start);
        let is_other = first.is_some_and(|first| first != voice.start && voice.start != 0);
        if incarnation < newest || is_other {
            return Err(Refusal::Outlived);
        }
        if first.is_none() && voice.start != 0 {
            held.starts.insert(key, (incarnation, voice.start));
        }
        held.rises(key, LogMark { position: durable, incarnation });
        Ok(())
    }

    /// What a peer heard, of others and of this node, it passes on: who alone has heard it may be lost.
    pub fn is_told(&self, told: &Hearsay) {
        let mut held = self.held();
        for (key, mark) in &told.marks {
            if !held.forgotten.contains(key) {
                held.rises(*key, *mark);
            }
        }
        for (of, number) in &told.manifests {
            let is_known = held.manifests.contains_key(of);
            if is_known || held.manifests.len() < HEARSAY_MANIFESTS_KEPT_MAX {
                let heard = held.manifests.entry(*of).or_default();
                *heard = (*heard).max(*number);
            }
        }
    }

    /// Some of the marks, in their order, from the `from`th on, all around, at most `count`, but for those of `but`.
    #[must_use]
    pub fn some_marks(
        &self,
        from: usize,
        count: usize,
        but: NodeId,
    ) -> BTreeMap<(NodeId, [u8; 16]), LogMark> {
        let held = self.held();
        let around = held.marks.iter().cycle().skip(from % held.marks.len().max(1)).take(held.marks.len());
        let others = around.filter(|((node, _), _)| *node != but).take(count);
        others.map(|(key, mark)| (*key, *mark)).collect()
    }

    /// The greatest number of a manifest edit that a replica elsewhere was heard to have durably; 0 if none.
    #[must_use]
    pub fn manifest(&self, group: GroupId, replica: ReplicaId) -> u64 {
        self.held().manifests.get(&(group, replica)).copied().unwrap_or(0)
    }

    /// A start of a node makes its claim. Returns another one that lives beside it, if one does: either came again after the other.
    pub fn claims(&self, node: NodeId, nonce: [u8; 16]) -> Option<[u8; 16]> {
        let mut held = self.held();
        let fresh = Claims { newest: nonce, before: None, last: nonce, returns: 0 };
        let claims = held.claims.entry(node).or_insert(fresh);
        let is_before = claims.before == Some(nonce);
        if claims.newest != nonce && !is_before {
            *claims = Claims { before: Some(claims.newest), ..fresh };
        }
        // What one said that has ended may come late, but not again and again.
        claims.returns += u32::from(is_before && claims.last != nonce);
        claims.last = nonce;
        let other = if is_before { Some(claims.newest) } else { claims.before };
        other.filter(|_| claims.returns >= CLONE_RETURNS)
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
        let mut held = self.held();
        held.promises.retain(|(of, _), _| *of != group);
        held.manifests.retain(|(of, _), _| *of != group);
    }

    /// A node was removed, and comes back with an empty disk, if at all: what its logs were is forgotten.
    pub fn forget_node(&self, node: NodeId) {
        let mut held = self.held();
        let logs: Vec<_> = held.logs_of(node).map(|(key, _)| *key).collect();
        held.forgotten.extend(logs);
        held.marks.retain(|(of, _), _| *of != node);
        held.starts.retain(|(of, _), _| *of != node);
        held.claims.remove(&node);
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

    /// A log of a node is at least so far.
    fn rises(&mut self, key: (NodeId, [u8; 16]), to: LogMark) {
        if !self.marks.contains_key(&key) {
            self.make_room(key.0);
        }
        let mark = self.marks.entry(key).or_default();
        let is_further = to.position > mark.position;
        mark.position = mark.position.max(to.position);
        mark.incarnation = mark.incarnation.max(to.incarnation);
        self.is_noted &= !is_further;
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
        Voice { node: NodeId(node), log: LogName([log; 16]), incarnation, start: 0 }
    }

    #[test]
    fn marks_only_rise_and_are_kept_apart() {
        let heard = Heard::found(&[Mark { node: 1, log: [7; 16], position: 50 }]);
        for (by, durable) in
            [(voice(1, 7, 3), 40), (voice(1, 7, 2), 60), (voice(1, 8, 1), 5), (voice(2, 7, 9), 1)]
        {
            let is_outlived = by.incarnation == 2;
            assert_eq!(heard.hears(&by, durable), if is_outlived { Err(Refusal::Outlived) } else { Ok(()) });
        }
        heard.hears(&voice(1, 7, 3), 60).unwrap();
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
            heard.hears(&voice(1, n, 1), 100 - u64::from(n % 2) * 50 + u64::from(n)).unwrap();
        }
        let logs = heard.logs_of(NodeId(1));
        assert_eq!(logs.len(), LOGS_OF_A_NODE_MAX);
        assert!(!logs.contains_key(&[1; 16]), "it had come least far");
    }

    #[test]
    fn of_starts_of_one_number_the_first_is_heard_and_a_later_number_outlives_all() {
        let heard = Heard::default();
        let voice = |incarnation, start| Voice { start, ..voice(1, 7, incarnation) };
        for (by, is_heard) in [
            (voice(3, 10), true),
            (voice(3, 11), false),
            (voice(3, 0), true),
            (voice(4, 0), true),
            (voice(3, 10), false),
            (voice(4, 12), true),
            (voice(4, 13), false),
            (voice(4, 12), true),
            (voice(5, 13), true),
            (voice(4, 12), false),
        ] {
            assert_eq!(heard.hears(&by, 9).is_ok(), is_heard, "{by:?}");
        }
    }

    #[test]
    fn what_was_told_counts_as_what_was_heard_but_for_what_is_forgotten() {
        let heard = Heard::default();
        heard.hears(&voice(1, 7, 3), 50).unwrap();
        let mark = |position, incarnation| LogMark { position, incarnation };
        let told = |position, incarnation| Hearsay {
            marks: [((NodeId(1), [7; 16]), mark(position, incarnation))].into(),
            manifests: [((GroupId(4), ReplicaId(2)), position)].into(),
        };
        let held = || heard.logs_of(NodeId(1)).get(&[7; 16]).copied();
        for (note, wanted) in
            [(told(40, 2), mark(50, 3)), (told(60, 3), mark(60, 3)), (told(5, 4), mark(60, 4))]
        {
            heard.is_told(&note);
            assert_eq!(held(), Some(wanted));
        }
        assert_eq!(
            (heard.manifest(GroupId(4), ReplicaId(2)), heard.manifest(GroupId(4), ReplicaId(3))),
            (60, 0)
        );
        assert_eq!(heard.some_marks(9, 4, NodeId(1)).len() + heard.some_marks(9, 0, NodeId(2)).len(), 0);
        assert_eq!(heard.some_marks(9, 4, NodeId(2)).len(), 1);
        heard.forget_node(NodeId(1));
        heard.is_told(&told(70, 9));
        assert_eq!(held(), None, "others have not forgotten it yet");
        heard.forget(GroupId(4));
        assert_eq!(heard.manifest(GroupId(4), ReplicaId(2)), 0);
    }

    #[test]
    fn two_claims_that_come_in_turns_are_of_two_that_live() {
        let (heard, node) = (Heard::default(), NodeId(1));
        let [first, second, third] = [[1; 16], [2; 16], [3; 16]];
        // One that has ended may come late.
        for nonce in [first, first, second, first, second, first, first, second] {
            assert_eq!(heard.claims(node, nonce), None);
        }
        assert_eq!(heard.claims(node, first), Some(second));
        assert_eq!(heard.claims(node, second), Some(first));
        assert_eq!(heard.claims(NodeId(2), first), None);
        // Whoever comes then is not known to have another beside it.
        assert_eq!(heard.claims(node, third), None);
        assert_eq!(heard.claims(node, third), None);
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
