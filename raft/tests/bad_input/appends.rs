//! Entries that no replica may store.

use crate::cluster::perform;
use crate::door::{Door, GROUP, blank, id, mended, vote};
use bytes::Bytes;
use raft::limits::{APPEND_ENTRIES_MAX, ENTRY_BYTES_MAX};
use raft::log::Entry;
use raft::net::envelope::HEAD_BYTES;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{Append, AppendReply};
use raft::payload;
use raft::types::{LogId, Vote};

fn append(entries: Vec<Entry>) -> Message {
    Message::Append(Append { vote: vote(), prev: Some(id(3)), entries, commit: Some(id(3)) })
}

fn with(kind: u8, payload: &'static [u8]) -> Entry {
    Entry { kind, payload: Bytes::from_static(payload), ..blank(4) }
}

#[test]
fn entries_that_do_not_decode_or_are_of_an_unknown_kind_are_not_stored() {
    perform(async {
        let door = Door::following().await;
        let whole = door.command(4, b"kcut").payload;
        let cut = |bytes: Bytes| Entry { payload: bytes, ..door.command(4, b"k") };
        let entries = [
            ("a blank one that says something", with(payload::BLANK, b"x")),
            ("no membership", with(payload::MEMBERSHIP, b"no membership")),
            ("an empty membership", with(payload::MEMBERSHIP, b"")),
            ("an unknown kind", with(3, b"")),
            ("an unknown kind", with(255, b"kvalue")),
            ("no command", with(payload::COMMAND, b"no command")),
            ("a command without its end", cut(whole.slice(..whole.len() - 1))),
            ("a command and a byte", cut(Bytes::from([&whole[..], &[0]].concat()))),
        ];
        for (what, entry) in entries {
            door.refuses_to_hear(what, append(vec![entry.clone()]), Refusal::Malformed).await;
            // Nor are the good ones around it: an append is taken whole or not.
            let after = Entry { log_id: id(5), ..entry };
            let around = vec![blank(4), after, blank(6)];
            door.refuses_to_hear(what, append(around), Refusal::Malformed).await;
        }
        door.goes_on().await;
    });
}

#[test]
fn entries_over_the_limits_are_not_stored() {
    perform(async {
        let door = Door::following().await;
        // In the body the count stands at 67; of the first entry the length of its payload at 104.
        let frame = door.frame(append(vec![blank(4)])).encode();
        let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let many = mended(&frame, HEAD_BYTES + 67, &number(APPEND_ENTRIES_MAX + 1));
        door.refuses("too many", many, Refusal::Malformed).await;
        let mut long = frame.to_vec();
        long.resize(frame.len() + ENTRY_BYTES_MAX + 1, 0);
        let body = number(long.len() - HEAD_BYTES);
        let long = mended(&long.into(), 8, &body);
        let long = mended(&long, HEAD_BYTES + 104, &number(ENTRY_BYTES_MAX + 1));
        door.refuses("too long", long, Refusal::Malformed).await;
        door.goes_on().await;
    });
}

#[test]
fn entries_out_of_order_are_not_stored() {
    perform(async {
        let door = Door::following().await;
        let at = |log_id, stamp| Entry { log_id, stamp, ..blank(4) };
        let gap = [vec![blank(5)], vec![blank(3)], vec![blank(4), blank(6)], vec![blank(4), blank(4)]];
        for entries in gap {
            door.refuses_to_hear("a gap", append(entries), Refusal::Malformed).await;
        }
        let falls = vec![at(id(4), 0), at(id(5), 9), at(id(6), 0), at(id(7), 8)];
        door.refuses_to_hear("stamps that fall", append(falls), Refusal::Malformed).await;
        let earlier = LogId { term: 6, ..id(4) };
        door.refuses_to_hear("an earlier leader's", append(vec![at(earlier, 0)]), Refusal::Malformed).await;
        let later = LogId { term: 8, ..id(4) };
        door.refuses_to_hear("a later leader's", append(vec![at(later, 0)]), Refusal::Malformed).await;
        door.goes_on().await;
    });
}

/// A leader that lacks what is committed here is none; consensus takes it for a bug of its own.
#[test]
fn entries_in_the_place_of_what_is_committed_are_not_stored() {
    perform(async {
        let door = Door::following().await;
        let later = |index| LogId { term: 8, ..id(index) };
        let vote = Vote { term: 8, ..vote() };
        let of = |prev, entries| Message::Append(Append { vote, prev: Some(prev), entries, commit: None });
        let at = |log_id| Entry { log_id, ..blank(4) };
        let said = [
            ("another before", of(later(3), vec![at(later(4))])),
            ("another in its place", of(id(2), vec![at(later(3)), at(later(4))])),
            ("another in an earlier place", of(later(2), vec![])),
        ];
        for (what, message) in said {
            door.refuses_to_hear(what, message, Refusal::Malformed).await;
        }
        // What is there already may come again.
        let again = Append { vote: self::vote(), prev: Some(id(2)), ..Append::default() };
        let accepted = Message::AppendReply(AppendReply::Accepted);
        assert_eq!(door.says(Message::Append(again)).await, accepted);
        door.goes_on().await;
    });
}

/// Stamps are given by whoever stores an entry, from what stands in its head: one that goes back is raised above the last.
#[test]
fn a_stamp_told_too_high_or_proposed_too_low_moves_no_stamp_back() {
    perform(async {
        let door = Door::following().await;
        let last = door.running.group(GROUP).machine().applied().last;
        let (mut told, low) = (door.command(4, b"ktold"), door.command_at(1, 5, b"klow"));
        told.stamp = u64::MAX;
        let accepted = Message::AppendReply(AppendReply::Accepted);
        assert_eq!(door.says(append(vec![told, low])).await, accepted);
        let stored = |index| door.running.offline.log.stamped(GROUP, index).unwrap().unwrap().1;
        assert!(stored(4) > last.0 && stored(4) < u64::MAX, "{}", stored(4));
        assert_eq!(stored(5), stored(4) + 1);
        door.goes_on().await;
    });
}

/// What would fence whoever applies it is not proposed either.
#[test]
fn a_proposal_that_is_no_command_is_refused() {
    perform(async {
        let door = Door::following().await;
        let proposal = raft::proposal::Proposal(Bytes::from_static(b"no command"));
        let before = door.picture();
        let refused = door.running.group(GROUP).propose(proposal, vote()).await;
        assert!(matches!(refused, Err(raft::group::outcome::NotApplied::Refused { .. })), "{refused:?}");
        assert_eq!(door.picture(), before);
    });
}
