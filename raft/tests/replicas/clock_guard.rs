//! A leader whose wall clock is wrong: who stores what it stamps refuses it, and it leads no more.

use crate::cluster::{GROUP, Node, Running, founded, leader, perform};
use raft::group::handover::hand_over;
use raft::group::outcome::NotApplied;
use raft::group::word::Word;
use raft::types::ReplicaId;
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn rest(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn of(nodes: &[Node], replica: ReplicaId) -> usize {
    nodes.iter().position(|node| node.id.0 == replica.0).unwrap()
}

async fn another_leads(running: &[Running], old: ReplicaId) -> &Running {
    for _ in 0..500 {
        let leads =
            |one: &&Running| one.group(GROUP).replica() != old && one.group(GROUP).standing().is_leader;
        if let Some(leads) = running.iter().find(leads) {
            return leads;
        }
        rest(10).await;
    }
    panic!("{old} is followed by nobody");
}

#[test]
fn what_is_stamped_too_far_ahead_is_refused_and_its_leader_gives_way() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let first = leader(&running.iter().collect::<Vec<_>>()).await;
        let old = first.group(GROUP).replica();
        let clock = nodes[of(&nodes, old)].clock.clone();
        // As far as clocks may part it is believed.
        clock.ahead_ms.store(240, Ordering::SeqCst);
        first.put(GROUP, 1, b"a little ahead").await;
        rest(1_000).await;
        assert!(first.group(GROUP).standing().is_leader && !first.group(GROUP).is_unfit());
        // So far that another leads before that time has come.
        clock.ahead_ms.store(5_000, Ordering::SeqCst);
        let batcher = first.batchers[&GROUP].clone();
        let lost = tokio::spawn(async move {
            let command = raft::seal::Unsealed {
                tenant: crate::cluster::TENANT,
                session: [0; 16],
                number: 77_777,
                valid_until: engine::Stamp::MAX,
                counts: raft::command::Counts::default(),
                body: bytes::Bytes::from_static(b"\x01far ahead"),
            };
            batcher.submit(command).await
        });
        let next = another_leads(&running, old).await;
        let answer = next.put(GROUP, 2, b"after").await;
        assert!(answer.stamp.ms() <= nodes[of(&nodes, next.group(GROUP).replica())].now_ms() + 250);
        let lost = lost.await.unwrap();
        assert!(matches!(lost, Err(NotApplied::Unknown { .. })), "{lost:?}");
        first.until("it follows", |one| one.get(GROUP, 2) == Some(b"after".to_vec())).await;
        assert_eq!(first.get(GROUP, 1), Some(b"a little ahead".to_vec()));
        assert!(running.iter().all(|one| one.group(GROUP).standing().stopped.is_none()));
    });
}

#[test]
fn a_leader_whose_clock_peers_dispute_gives_way_and_stands_for_none_until_they_agree() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let first = leader(&running.iter().collect::<Vec<_>>()).await;
        let old = first.group(GROUP).replica();
        let clock = nodes[of(&nodes, old)].clock.clone();
        clock.is_disputed.store(true, Ordering::SeqCst);
        let next = another_leads(&running, old).await;
        next.put(GROUP, 2, b"after").await;
        assert!(first.group(GROUP).is_unfit());
        clock.is_disputed.store(false, Ordering::SeqCst);
        rest(100).await;
        assert!(!first.group(GROUP).is_unfit());
        let word = Word { is_clock_agreed: true, is_guard_open: true, ..Word::default() };
        hand_over(&next.group(GROUP), old, word).await.unwrap();
        first.until("it leads again", |one| one.group(GROUP).standing().is_leader).await;
        first.put(GROUP, 3, b"again").await;
    });
}

#[test]
fn a_leader_whose_clock_is_behind_its_own_log_gives_way_until_that_time_has_come() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let first = leader(&running.iter().collect::<Vec<_>>()).await;
        let old = first.group(GROUP).replica();
        nodes.iter().for_each(|node| node.clock.ahead_ms.store(5_000, Ordering::SeqCst));
        first.put(GROUP, 1, b"by a clock that all share").await;
        // As far as clocks may part it leads on.
        nodes[of(&nodes, old)].clock.ahead_ms.store(4_800, Ordering::SeqCst);
        rest(1_000).await;
        first.put(GROUP, 2, b"a little behind").await;
        assert!(first.group(GROUP).leads() && !first.group(GROUP).is_unfit());
        nodes[of(&nodes, old)].clock.ahead_ms.store(0, Ordering::SeqCst);
        let next = another_leads(&running, old).await;
        assert!(first.group(GROUP).is_unfit() && !next.group(GROUP).is_unfit());
        next.put(GROUP, 3, b"after").await;
        first.until("it follows", |one| one.get(GROUP, 3).is_some()).await;
        rest(5_000).await;
        assert!(!first.group(GROUP).is_unfit(), "that time has come");
    });
}
