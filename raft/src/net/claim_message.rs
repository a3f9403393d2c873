//! Pure: what a node that starts says of its disk, and what its peers remember of it, as bytes.
//! Format: peer_claim, `docs/formats/peer_claim.md`.

use super::body::{
    Body, append_count, append_log_id, append_maybe_log_id, append_maybe_vote, append_u64, append_vote,
    malformed,
};
use crate::group::rejoin::{Answer, Claim, GroupClaim, GroupWord, LogMark};
use crate::limits::{CLAIM_GROUPS_MAX, LOGS_OF_A_NODE_MAX};
use crate::types::GroupId;
use engine::error::Damage;
use engine::ids::NodeId;
use std::collections::BTreeMap;

impl Claim {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_u64(out, self.node.0);
        out.extend_from_slice(&self.log);
        append_u64(out, self.log_end);
        append_u64(out, self.incarnation);
        out.extend_from_slice(&self.boot_nonce);
        append_count(out, self.groups.len(), CLAIM_GROUPS_MAX);
        for (group, here) in &self.groups {
            append_u64(out, group.0);
            append_u64(out, here.replica.0);
            append_maybe_vote(out, here.vote);
            append_maybe_log_id(out, here.last);
            append_maybe_log_id(out, here.applied);
            append_u64(out, here.manifest);
            append_u64(out, here.manifest_noted);
            out.push(u8::from(here.is_from_snapshot));
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(Self {
            node: NodeId(body.u64()?),
            log: body.array()?,
            log_end: body.u64()?,
            incarnation: body.u64()?,
            boot_nonce: body.array()?,
            groups: rising(body, CLAIM_GROUPS_MAX, |body| Ok((GroupId(body.u64()?), group_claim(body)?)))?,
        })
    }
}

fn group_claim(body: &mut Body<'_>) -> Result<GroupClaim, Damage> {
    Ok(GroupClaim {
        replica: body.replica()?,
        vote: body.maybe_vote()?,
        last: body.maybe_log_id()?,
        applied: body.maybe_log_id()?,
        manifest: body.u64()?,
        manifest_noted: body.u64()?,
        is_from_snapshot: body.is()?,
    })
}

impl Answer {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_meta_voter));
        append_count(out, self.logs.len(), LOGS_OF_A_NODE_MAX);
        for (log, mark) in &self.logs {
            out.extend_from_slice(log);
            append_u64(out, mark.position);
            append_u64(out, mark.incarnation);
        }
        out.push(u8::from(self.alive.is_some()));
        out.extend_from_slice(&self.alive.unwrap_or_default());
        append_count(out, self.groups.len(), CLAIM_GROUPS_MAX);
        for (group, word) in &self.groups {
            append_u64(out, group.0);
            append_u64(out, word.replica.0);
            out.extend_from_slice(&[word.is_leader, word.is_voter, word.matched.is_some()].map(u8::from));
            if let Some((vote, last)) = word.matched {
                append_vote(out, vote);
                append_log_id(out, last);
            }
            append_maybe_vote(out, word.granted);
            append_u64(out, word.manifest);
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(Self {
            is_meta_voter: body.is()?,
            logs: rising(body, LOGS_OF_A_NODE_MAX, |body| {
                Ok((body.array()?, LogMark { position: body.u64()?, incarnation: body.u64()? }))
            })?,
            alive: match (body.is()?, body.array()?) {
                (true, nonce) => Some(nonce),
                (false, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => None,
                (false, _) => return Err(malformed("a start that is none, and says something")),
            },
            groups: rising(body, CLAIM_GROUPS_MAX, |body| Ok((GroupId(body.u64()?), group_word(body)?)))?,
        })
    }
}

fn group_word(body: &mut Body<'_>) -> Result<GroupWord, Damage> {
    let (replica, is_leader, is_voter) = (body.replica()?, body.is()?, body.is()?);
    let matched = if body.is()? { Some((body.vote()?, body.log_id()?)) } else { None };
    let (granted, manifest) = (body.maybe_vote()?, body.u64()?);
    Ok(GroupWord { replica, is_leader, is_voter, matched, granted, manifest })
}

/// A count, then so many rows whose keys rise. Room is made only for what has been read.
pub(super) fn rising<'a, K: Ord, V>(
    body: &mut Body<'a>,
    max: usize,
    read: impl Fn(&mut Body<'a>) -> Result<(K, V), Damage>,
) -> Result<BTreeMap<K, V>, Damage> {
    let mut rows = BTreeMap::new();
    for _ in 0..body.count(max)? {
        let (key, value) = read(body)?;
        if rows.last_key_value().is_some_and(|(before, _)| *before >= key) {
            return Err(malformed("rows that do not rise"));
        }
        rows.insert(key, value);
    }
    Ok(rows)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::net::message::Message;
    use crate::net::message::tests::{some_id, some_vote};
    use crate::types::ReplicaId;
    use bytes::Bytes;
    use proptest::collection::btree_map;
    use proptest::option;
    use proptest::prelude::*;

    fn some_group_claim() -> impl Strategy<Value = GroupClaim> {
        let ids = (option::of(some_id()), option::of(some_id()));
        (any::<[u64; 3]>(), option::of(some_vote()), ids, any::<bool>()).prop_map(
            |([replica, manifest, manifest_noted], vote, (last, applied), is_from_snapshot)| GroupClaim {
                replica: ReplicaId(replica),
                vote,
                last,
                applied,
                manifest,
                manifest_noted,
                is_from_snapshot,
            },
        )
    }

    fn some_claim() -> impl Strategy<Value = Message> {
        let groups = btree_map(any::<u64>().prop_map(GroupId), some_group_claim(), 0..4);
        (any::<[u64; 3]>(), any::<[[u8; 16]; 2]>(), groups).prop_map(
            |([node, log_end, incarnation], [log, boot_nonce], groups)| {
                let node = NodeId(node);
                Message::Claim(Claim { node, log, log_end, incarnation, boot_nonce, groups })
            },
        )
    }

    fn some_word() -> impl Strategy<Value = GroupWord> {
        let promised = (option::of((some_vote(), some_id())), option::of(some_vote()));
        (any::<[u64; 2]>(), any::<[bool; 2]>(), promised).prop_map(
            |([replica, manifest], [is_leader, is_voter], (matched, granted))| GroupWord {
                replica: ReplicaId(replica),
                is_leader,
                is_voter,
                matched,
                granted,
                manifest,
            },
        )
    }

    fn some_answer() -> impl Strategy<Value = Message> {
        let mark = any::<[u64; 2]>().prop_map(|[position, incarnation]| LogMark { position, incarnation });
        let logs = btree_map(any::<[u8; 16]>(), mark, 0..LOGS_OF_A_NODE_MAX);
        let groups = btree_map(any::<u64>().prop_map(GroupId), some_word(), 0..4);
        (any::<bool>(), logs, option::of(any::<[u8; 16]>()), groups).prop_map(
            |(is_meta_voter, logs, alive, groups)| {
                Message::ClaimAnswer(Answer { is_meta_voter, logs, alive, groups })
            },
        )
    }

    /// What is said at a start.
    pub(crate) fn of_a_start() -> impl Strategy<Value = Message> {
        prop_oneof![some_claim(), some_answer()]
    }

    fn refused(message: &Message, change: impl FnOnce(&mut Vec<u8>)) -> &'static str {
        let mut bytes = Vec::new();
        message.append_body(&mut bytes);
        change(&mut bytes);
        Message::decode(message.kind(), &Bytes::from(bytes)).unwrap_err().detail
    }

    #[test]
    fn a_claim_has_each_group_once_and_no_more_than_a_node_may_hold() {
        let claim = |groups: &[u64]| {
            let groups = groups.iter().map(|group| (GroupId(*group), GroupClaim::default())).collect();
            Message::Claim(Claim { groups, ..Claim::default() })
        };
        let (count_at, first_at) = (56, 60);
        let again = refused(&claim(&[1, 2]), |bytes| bytes[first_at + 7] = 2);
        assert_eq!(again, "rows that do not rise");
        let more = u32::try_from(CLAIM_GROUPS_MAX + 1).unwrap().to_be_bytes();
        let over = refused(&claim(&[]), |bytes| bytes[count_at..].copy_from_slice(&more));
        assert_eq!(over, "a count over its limit");
    }

    #[test]
    fn a_start_that_is_none_has_no_nonce() {
        let answer = Message::ClaimAnswer(Answer::default());
        assert_eq!(refused(&answer, |bytes| bytes[6] = 1), "a start that is none, and says something");
    }
}
