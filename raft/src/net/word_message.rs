//! Pure: what replicas say of themselves when another node asks, as bytes.
//! Format: peer_word, `docs/formats/peer_word.md`.

use super::body::{Body, append_count, append_maybe_log_id, append_u64};
use super::claim_message::rising;
use crate::group::word::Word;
use crate::limits::HEARTBEATS_MAX;
use crate::types::GroupId;
use engine::Stamp;
use engine::error::Damage;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn append_groups(out: &mut Vec<u8>, groups: &BTreeSet<GroupId>) {
    append_count(out, groups.len(), HEARTBEATS_MAX);
    groups.iter().for_each(|group| append_u64(out, group.0));
}

pub(super) fn read_groups(body: &mut Body<'_>) -> Result<BTreeSet<GroupId>, Damage> {
    Ok(rising(body, HEARTBEATS_MAX, |body| Ok((GroupId(body.u64()?), ())))?.into_keys().collect())
}

pub(super) fn append_words(out: &mut Vec<u8>, words: &BTreeMap<GroupId, Word>) {
    append_count(out, words.len(), HEARTBEATS_MAX);
    for (group, word) in words {
        append_u64(out, group.0);
        append_u64(out, word.replica.0);
        append_u64(out, word.applied.0);
        append_maybe_log_id(out, word.stored);
        out.extend_from_slice(&[word.is_clock_agreed, word.is_guard_open, word.is_lifted].map(u8::from));
    }
}

pub(super) fn read_words(body: &mut Body<'_>) -> Result<BTreeMap<GroupId, Word>, Damage> {
    rising(body, HEARTBEATS_MAX, |body| Ok((GroupId(body.u64()?), word(body)?)))
}

fn word(body: &mut Body<'_>) -> Result<Word, Damage> {
    Ok(Word {
        replica: body.replica()?,
        applied: Stamp(body.u64()?),
        stored: body.maybe_log_id()?,
        is_clock_agreed: body.is()?,
        is_guard_open: body.is()?,
        is_lifted: body.is()?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::net::message::Message;
    use crate::net::message::tests::some_id;
    use crate::types::ReplicaId;
    use proptest::collection::{btree_map, btree_set};
    use proptest::option;
    use proptest::prelude::*;

    fn some_word() -> impl Strategy<Value = Word> {
        (any::<[u64; 2]>(), option::of(some_id()), any::<[bool; 3]>()).prop_map(
            |([replica, applied], stored, [is_clock_agreed, is_guard_open, is_lifted])| {
                let (replica, applied) = (ReplicaId(replica), Stamp(applied));
                Word { replica, applied, stored, is_clock_agreed, is_guard_open, is_lifted }
            },
        )
    }

    /// What replicas are asked of themselves, and say.
    pub(crate) fn of_themselves() -> impl Strategy<Value = Message> {
        let group = || any::<u64>().prop_map(GroupId);
        prop_oneof![
            btree_set(group(), 0..5).prop_map(Message::AskWords),
            btree_map(group(), some_word(), 0..5).prop_map(Message::Words),
        ]
    }
}
