//! What is counted of reads: by which proof, and why not.

use super::{figures, rest, since, two};
use crate::cluster::{GROUP, Running, founded, perform};
use engine::Stamp;
use raft::read::door::Asked;
use raft::stats::Figures;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

const ASKED: Asked = Asked { wall_ms: 0, wait_ms: 70 };

fn moved(before: &Figures, one: &Running) -> BTreeMap<&'static str, u64> {
    since(before, one, &["read"])
}

#[test]
fn each_read_counts_by_its_proof() {
    perform(async {
        let (_hub, nodes, running, last) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let before = (figures(leads), figures(follows));
        let doors = [leads, follows].map(|one| one.registry.get(GROUP).unwrap());
        for _ in 0..3 {
            doors[0].door().linearizable(ASKED).await.unwrap();
        }
        doors[1].door().linearizable(ASKED).await.unwrap();
        for (door, times) in doors.iter().zip([2, 4]) {
            for _ in 0..times {
                door.door().bounded(60_000, ASKED).await.unwrap();
            }
        }
        for (door, one) in doors.iter().zip([leads, follows]) {
            door.door().as_of(last, 70, &one.batchers[&GROUP]).await.unwrap();
        }
        // The machine slept: the lease counts no more, for one lease.
        let at = usize::try_from(leads.group(GROUP).replica().0).unwrap() - 1;
        nodes[at].clock.slept_ms.store(60, Ordering::SeqCst);
        doors[0].door().linearizable(ASKED).await.unwrap();
        let wanted = [
            ("read_lease_reads", 3),
            ("read_round_reads", 1),
            ("read_named_reads", 1),
            ("read_bounded_leader_reads", 2),
            ("read_as_of_reads", 1),
        ];
        assert_eq!(moved(&before.0, leads), wanted.into());
        let wanted =
            [("read_follower_reads", 1), ("read_bounded_follower_reads", 4), ("read_as_of_reads", 1)];
        assert_eq!(moved(&before.1, follows), wanted.into());
    });
}

#[test]
fn each_refusal_counts_by_its_reason() {
    perform(async {
        let (hub, nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let (before, door) = (figures(follows), follows.registry.get(GROUP).unwrap());
        let far = Stamp::new(nodes[0].now_ms() + 1_000_000, 0);
        assert!(door.door().as_of(far, 70, &follows.batchers[&GROUP]).await.is_err());
        rest(1_000).await;
        assert!(door.door().bounded(0, ASKED).await.is_err());
        let gone = leads.registry.remove(GROUP).unwrap();
        assert!(door.door().linearizable(ASKED).await.is_err());
        leads.registry.add(gone);
        hub.deafen([nodes[usize::try_from(leads.group(GROUP).replica().0).unwrap() - 1].id]);
        assert!(door.door().linearizable(ASKED).await.is_err());
        hub.release();
        let wanted = [
            ("read_too_far_ahead_reads", 1),
            ("read_elsewhere_reads", 1),
            ("read_leader_refused_reads", 1),
            ("read_leader_silent_reads", 1),
        ];
        assert_eq!(moved(&before, follows), wanted.into());
        let before = figures(leads);
        hub.hold(|_| true);
        rest(raft::group::settings::Pace::TEST.election_max_ms * 8 / 10).await;
        let door = leads.registry.get(GROUP).unwrap();
        assert!(door.door().linearizable(ASKED).await.is_err());
        assert_eq!(moved(&before, leads), [("read_late_reads", 1)].into());
    });
}
