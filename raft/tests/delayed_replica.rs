//! A delayed replica follows its log, whatever a new leader drops of it; and what drops a committed entry is refused by name.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::Stamp;
use raft::delay::receive::{Delayed, GateStamp};
use raft::log::{Log, Stepped};
use raft::machine::note::Note;
use raft::types::{GroupId, ReplicaId, Vote};
use raft::{Error, Result};
use rig::{Rig, entry, id, nobody};
use std::sync::Arc;

const G: GroupId = GroupId(1);

/// A gate that lets everything through.
struct Open;

impl GateStamp for Open {
    fn stamp(&self) -> Stamp {
        Stamp::MAX
    }

    fn will_take(&self, _: Stamp) -> Result<()> {
        Ok(())
    }
}

fn vote(term: u64) -> Vote {
    Vote { term, replica: ReplicaId(2), is_committed: true }
}

fn append(log: &Log, term: u64, indexes: std::ops::Range<u64>) {
    let entries = indexes.map(|index| entry(G, term, index)).collect();
    log.append(G, entries, nobody()).unwrap();
    while log.step() != Stepped::Nothing {}
}

/// Entries 0 to 9 of term 1, of which those up to 4 are known to be committed.
fn replica(seed: u64) -> (Arc<Log>, Delayed) {
    let rig = Rig::new(seed);
    let log = rig.open();
    log.open_replica(G, ReplicaId(1), nobody()).unwrap();
    let delayed = Delayed::new(log.clone(), G, &Note::empty(G), Arc::new(Open)).unwrap();
    append(&log, 1, 0..10);
    delayed.accepted(vote(1), id(1, 9), Some(id(1, 4))).unwrap();
    assert_eq!((delayed.proven(), delayed.told()), (Some(id(1, 4)), Some(id(1, 4))));
    (log, delayed)
}

#[test]
fn a_tail_that_a_new_leader_drops_is_followed_however_long_it_was() {
    for kept in 4..9 {
        for written in kept + 1..14 {
            let (log, delayed) = replica(11);
            log.truncate_after(G, Some(id(1, kept))).unwrap();
            append(&log, 2, kept + 1..written);
            let last = if written == kept + 1 { id(1, kept) } else { id(2, written - 1) };
            delayed.accepted(vote(2), last, Some(last)).unwrap();
            assert_eq!((delayed.proven(), delayed.told()), (Some(last), Some(last)), "{kept} {written}");
        }
    }
}

#[test]
fn a_tail_that_changes_more_than_once_between_two_looks_is_followed() {
    let (log, delayed) = replica(12);
    log.truncate_after(G, Some(id(1, 6))).unwrap();
    append(&log, 2, 7..12);
    log.truncate_after(G, Some(id(1, 5))).unwrap();
    append(&log, 3, 6..16);
    delayed.accepted(vote(3), id(3, 15), Some(id(3, 12))).unwrap();
    assert_eq!(delayed.told(), Some(id(3, 12)));
}

#[test]
fn a_tail_with_a_committed_entry_in_it_is_refused_by_name() {
    let (log, delayed) = replica(13);
    log.truncate_after(G, Some(id(1, 3))).unwrap();
    append(&log, 2, 4..8);
    let refused = delayed.accepted(vote(2), id(2, 7), Some(id(2, 7)));
    assert!(matches!(refused, Err(Error::AgainstCommitted { .. })), "{refused:?}");
    assert_eq!(delayed.told(), Some(id(1, 4)), "what was told stands");
}
