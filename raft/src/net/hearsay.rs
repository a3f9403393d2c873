//! Passes on to peers what was heard of others: how far their logs are durable. What a node has acknowledged, often its leader alone has
//! heard; should that be silent when the node comes back with an older disk, the others know it all the same. And tells of the replicas
//! here which manifest edit is durable. Small notes: of what is too much for one, the next has the rest.

use super::hearsay_message::Hearsay;
use super::link::Lane;
use super::message::Message;
use super::request::{Address, Requests};
use crate::group::registry::Registry;
use crate::limits::{HEARSAY_MANIFESTS_MAX, HEARSAY_MARKS_MAX, HEARSAY_PEERS_MAX};
use crate::types::{GroupId, ReplicaId};
use engine::ids::NodeId;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tells of one node.
#[derive(Debug, Default)]
pub struct Gossip {
    rounds: AtomicUsize,
}

impl Gossip {
    /// Tells some peers once: all of them, if they are few. `own` is this node. Who does not answer hears it again with the next round, and
    /// costs nothing but the deadline. Call it once a second.
    pub async fn tell(&self, own: NodeId, requests: &Requests, registry: &Registry) {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        let (peers, manifests) = here(own, registry);
        let manifests: BTreeMap<_, _> =
            around(&manifests, round * HEARSAY_MANIFESTS_MAX, HEARSAY_MANIFESTS_MAX);
        let peers: BTreeMap<NodeId, ()> = around(&peers, round * HEARSAY_PEERS_MAX, HEARSAY_PEERS_MAX);
        let heard = registry.heard();
        let tell = async |peer: NodeId| {
            let marks = heard.some_marks(round * HEARSAY_MARKS_MAX, HEARSAY_MARKS_MAX, peer);
            let note = Message::Hearsay(Hearsay { marks, manifests: manifests.clone() });
            match requests.call(peer, Lane::Control, Address::default(), (registry.durable(), note)).await {
                Ok(Message::HearsayTaken) => {}
                Ok(_) => tracing::warn!(%peer, "an answer that takes no hearsay"),
                Err(cause) => tracing::debug!(%peer, %cause, "hearsay is not taken"),
            }
        };
        join_all(peers.into_keys().map(tell)).await;
    }
}

/// The nodes that have replicas of the groups that have one here, and the durable manifests here.
fn here(own: NodeId, registry: &Registry) -> (BTreeMap<NodeId, ()>, BTreeMap<(GroupId, ReplicaId), u64>) {
    let (mut peers, mut manifests) = (BTreeMap::new(), BTreeMap::new());
    for receiver in registry.all() {
        let group = receiver.group();
        let durable = group.machine().tablet().durable().index.0;
        manifests.insert((group.id(), group.replica()), durable);
        let seats = group.standing().membership.1.seats;
        peers.extend(seats.values().map(|seat| (seat.node, ())).filter(|(node, ())| *node != own));
    }
    (peers, manifests)
}

/// `count` of them at most, from the `from`th on, all around.
fn around<K: Copy + Ord, V: Copy>(of: &BTreeMap<K, V>, from: usize, count: usize) -> BTreeMap<K, V> {
    let some = of.iter().cycle().skip(from % of.len().max(1)).take(count.min(of.len()));
    some.map(|(key, value)| (*key, *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_few_rounds_all_is_told_and_never_more_than_a_note_holds() {
        let of: BTreeMap<u64, u64> = (0..10).map(|n| (n, n * n)).collect();
        let told: Vec<Vec<u64>> =
            (0..4).map(|round| around(&of, round * 4, 4).into_keys().collect()).collect();
        assert_eq!(told, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![0, 1, 8, 9], vec![2, 3, 4, 5]]);
        assert_eq!(around(&of, 7, 40), of);
        assert_eq!(around(&BTreeMap::<u64, u64>::new(), 9, 4), BTreeMap::new());
    }
}
