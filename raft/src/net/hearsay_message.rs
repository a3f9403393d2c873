//! Pure: what a node passes on of what it heard, as bytes.
//! Format: peer_hearsay, `docs/formats/peer_hearsay.md`.

use super::body::{Body, append_count, append_u64};
use super::claim_message::rising;
use crate::group::rejoin::LogMark;
use crate::limits::{HEARSAY_MANIFESTS_MAX, HEARSAY_MARKS_MAX};
use crate::types::{GroupId, ReplicaId};
use engine::error::Damage;
use engine::ids::NodeId;
use std::collections::BTreeMap;

/// What a node passes on: no message in which it was heard is needed any more to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearsay {
    /// How far logs of nodes are durable, and their starts, by node and name.
    pub marks: BTreeMap<(NodeId, [u8; 16]), LogMark>,
    /// The numbers of the last manifest edits that its own replicas have durably.
    pub manifests: BTreeMap<(GroupId, ReplicaId), u64>,
}

impl Hearsay {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_count(out, self.marks.len(), HEARSAY_MARKS_MAX);
        for ((node, log), mark) in &self.marks {
            append_u64(out, node.0);
            out.extend_from_slice(log);
            append_u64(out, mark.position);
            append_u64(out, mark.incarnation);
        }
        append_count(out, self.manifests.len(), HEARSAY_MANIFESTS_MAX);
        for ((group, replica), number) in &self.manifests {
            [group.0, replica.0, *number].into_iter().for_each(|n| append_u64(out, n));
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let marks = rising(body, HEARSAY_MARKS_MAX, |body| {
            let key = (NodeId(body.u64()?), body.array()?);
            Ok((key, LogMark { position: body.u64()?, incarnation: body.u64()? }))
        })?;
        let manifests = rising(body, HEARSAY_MANIFESTS_MAX, |body| {
            Ok(((GroupId(body.u64()?), body.replica()?), body.u64()?))
        })?;
        Ok(Self { marks, manifests })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::net::message::Message;
    use bytes::Bytes;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    /// What is passed on, and that it was taken.
    pub(crate) fn of_others() -> impl Strategy<Value = Message> {
        let key = (any::<u64>().prop_map(NodeId), any::<[u8; 16]>());
        let mark = any::<[u64; 2]>().prop_map(|[position, incarnation]| LogMark { position, incarnation });
        let of = (any::<u64>().prop_map(GroupId), any::<u64>().prop_map(ReplicaId));
        let all = (btree_map(key, mark, 0..5), btree_map(of, any::<u64>(), 0..5));
        prop_oneof![
            all.prop_map(|(marks, manifests)| Message::Hearsay(Hearsay { marks, manifests })),
            Just(Message::HearsayTaken),
        ]
    }

    #[test]
    fn more_than_a_note_may_hold_is_refused() {
        for (at, max) in [(0, HEARSAY_MARKS_MAX), (4, HEARSAY_MANIFESTS_MAX)] {
            let mut bytes = Vec::new();
            Message::Hearsay(Hearsay::default()).append_body(&mut bytes);
            bytes[at..at + 4].copy_from_slice(&u32::try_from(max + 1).unwrap().to_be_bytes());
            let refused = Message::decode(22, &Bytes::from(bytes)).unwrap_err();
            assert_eq!(refused.detail, "a count over its limit");
        }
    }
}
