//! What replicas say of themselves reaches the one that leads, and nobody is believed for long.

use crate::cluster::{GROUP, Running, founded, perform};
use raft::limits::WORD_MS_MAX;
use raft::net::words::Words;
use raft::types::ReplicaId;

async fn asked(one: &Running, now_ms: u64) -> Words {
    let words = Words::default();
    words.ask(&one.requests, &one.registry, now_ms).await;
    words
}

#[test]
fn a_leader_hears_how_far_the_others_are_and_a_follower_asks_nobody() {
    perform(async {
        let (_hub, nodes, mut running, _) = founded(3).await;
        for one in &running {
            one.registry.set_clock_agreed(one.group(GROUP).replica() != ReplicaId(3));
        }
        let leads = running.iter().position(|one| one.group(GROUP).standing().is_leader).unwrap();
        assert_eq!(leads, 0, "the first was asked to stand");
        let words = asked(&running[0], 1_000).await;
        let heard = words.of(GROUP, 1_000);
        assert_eq!(heard.keys().copied().collect::<Vec<_>>(), [2, 3].map(ReplicaId));
        let own = running[0].group(GROUP).machine().applied();
        for (replica, word) in &heard {
            assert_eq!(word.replica, *replica);
            assert_eq!((word.applied, word.stored), (own.last, own.applied), "all is applied and durable");
            assert_eq!(word.is_clock_agreed, *replica == ReplicaId(2));
            assert!(!word.is_lifted);
        }
        assert!(asked(&running[1], 1_000).await.of(GROUP, 1_000).is_empty());
        // One that is gone is silent, and what it said before counts no more after a while.
        running.pop().unwrap().crash(&nodes[2]).await;
        words.ask(&running[0].requests, &running[0].registry, 2_000).await;
        assert_eq!(words.of(GROUP, 2_000).len(), 2);
        assert_eq!(words.of(GROUP, 1_001 + WORD_MS_MAX).keys().copied().collect::<Vec<_>>(), [ReplicaId(2)]);
        assert!(words.delayed(GROUP, &running[0].group(GROUP).standing().membership.1, 2_000).is_empty());
    });
}
