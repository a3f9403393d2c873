//! A delayed node beside three others: what it holds back, what it gives when they are gone, and what keeps an idle group closed.

use super::{GROUP, NEW, leader, seat};
use crate::cluster::{Hub, Node, Running, perform};
use engine::Stamp;
use engine::ids::NodeId;
use engine::key::KeyRange;
use raft::delay::receive::GateStamp;
use raft::delay::{CatalogGate, GroupProgress, Keeper, Step};
use raft::group::birth::{self, Birth};
use raft::group::closing::{Now, close_if_due};
use raft::group::takeover::{Cut, bear_from_cut, greatest_stamp};
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;

fn birth(replica: u64) -> Birth {
    let mut seats: BTreeMap<_, _> = (1..=3).map(|n| (ReplicaId(n), seat(n))).collect();
    let voters = vec![seats.keys().copied().collect()];
    seats.insert(ReplicaId(4), Seat { role: Role::Delayed, ..seat(4) });
    let founders = Some(Membership { voters, seats });
    Birth { group: GROUP, replica: ReplicaId(replica), range: KeyRange::all(), founders }
}

async fn born(node: &mut Node, replica: u64) -> Running {
    let mut offline = node.open().unwrap();
    let machine = birth::bear(&birth(replica), offline.parts.clone()).await.unwrap();
    offline.machines.insert(GROUP, machine);
    let keeper = (replica == 4).then(|| {
        let store = CatalogGate::new(offline.parts.pool.clone(), offline.parts.sealer.clone(), node.id);
        Keeper::open(Arc::new(store), (Stamp::new(node.now_ms(), 0), HOUR_MS), Arc::default()).unwrap()
    });
    node.run_with(offline, 1, keeper).await.unwrap()
}

fn progress(late: &Running) -> BTreeMap<GroupId, GroupProgress> {
    let receiver = late.registry.get(GROUP).unwrap();
    let note = receiver.group().machine().applied();
    BTreeMap::from([(GROUP, receiver.delayed().unwrap().progress(&note))])
}

async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[test]
fn when_the_others_are_gone_it_is_sent_to_just_before_the_mistake_and_a_group_begins_there() {
    perform(async {
        let hub = Hub::default();
        let mut nodes: Vec<Node> = (1..=4).map(|n| Node::new(n, &hub)).collect();
        let mut running = Vec::new();
        for (node, replica) in nodes.iter_mut().zip(1..) {
            running.push(born(node, replica).await);
        }
        let late = running.pop().unwrap();
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        for key in 0..10 {
            leads.put(GROUP, key, b"good").await;
        }
        let mistake = leads.put(GROUP, 3, b"bad").await.stamp;
        leads.put(GROUP, 11, b"later").await;
        wait(1_000).await;
        // All of it is here, and nothing is applied.
        assert!(progress(&late)[&GROUP].closed > Some(mistake));
        assert_eq!(late.get(GROUP, 0), None);
        for (running, node) in running.into_iter().zip(&nodes) {
            running.crash(node).await;
        }

        let keeper = late.keeper.clone().unwrap();
        keeper.forward_before(mistake, &progress(&late)).unwrap();
        let receiver = late.registry.get(GROUP).unwrap();
        for _ in 0..2_000 {
            // No clock is needed, and no leader speaks.
            if let Step::To(gate) = keeper.step(None, &progress(&late)).unwrap() {
                assert!(gate < mistake);
            }
            receiver.nudge().await.unwrap();
            wait(5).await;
        }
        assert_eq!(keeper.stamp(), Stamp(mistake.0 - 1));
        (0..10).for_each(|key| assert_eq!(late.get(GROUP, key).as_deref(), Some(&b"good"[..]), "{key}"));
        assert_eq!(late.get(GROUP, 11), None);
        drop((keeper, receiver));

        let mut offline = late.stop().await;
        let seen = greatest_stamp(&offline.log, offline.machines.values()).unwrap();
        assert!(seen > mistake);
        let old = offline.machines.remove(&GROUP).unwrap();
        let cut = Cut { group: NEW, replica: ReplicaId(1), node: NodeId(4), seen };
        let machine = bear_from_cut(&old, &cut, offline.parts.clone()).await.unwrap();
        offline.machines.insert(NEW, machine);
        birth::end((GROUP, ReplicaId(4)), &offline.log, &offline.parts.pool).await.unwrap();
        drop(old);
        let one = nodes[3].run_with(offline, 2, None).await.unwrap();
        let after = one.put(NEW, 20, b"after").await;
        assert!(after.stamp.ms() > seen.ms() + 250);
        assert_eq!(one.get(NEW, 3).as_deref(), Some(&b"good"[..]));
        assert_eq!(one.get(NEW, 11), None, "what lies behind the cut came along");
    });
}

#[test]
fn the_gate_is_found_again_in_the_catalog_and_only_as_it_was_stored() {
    perform(async {
        let mut node = Node::new(4, &Hub::default());
        let store = |offline: &crate::cluster::Offline| {
            Arc::new(CatalogGate::new(offline.parts.pool.clone(), offline.parts.sealer.clone(), NodeId(4)))
        };
        let offline = node.open().unwrap();
        let keeper =
            Keeper::open(store(&offline), (Stamp::new(node.now_ms(), 0), HOUR_MS), Arc::default()).unwrap();
        let held = keeper.hold().unwrap();
        drop(keeper);
        offline.crash(&node);
        let offline = node.open().unwrap();
        let keeper =
            Keeper::open(store(&offline), (Stamp::new(node.now_ms() + HOUR_MS, 0), 5), Arc::default())
                .unwrap();
        assert_eq!(keeper.state(), held);
        drop(keeper);
        let rows = offline.parts.pool.catalog().scan(&[2]).unwrap();
        let (key, value) = rows.iter().find(|(key, _)| key[..] == [2, 0, 0, 0, 2]).unwrap();
        let gate = held.gate.0.to_be_bytes();
        assert!(!value.windows(8).any(|bytes| bytes == gate), "it rests in clear");
        let mut value = value.clone();
        *value.last_mut().unwrap() ^= 1;
        let change = engine::catalog::Change::Put { key: key.clone(), value };
        offline.parts.pool.catalog().commit(&[change]).unwrap();
        let changed = Keeper::open(store(&offline), (Stamp::ZERO, 5), Arc::default());
        assert_eq!(changed.err().unwrap().kind(), engine::Kind::Damaged);
    });
}

#[test]
fn a_leader_closes_the_time_of_an_idle_group_once_a_tick() {
    perform(async {
        let hub = Hub::default();
        let mut nodes: Vec<Node> = (1..=3).map(|n| Node::new(n, &hub)).collect();
        let mut running = Vec::new();
        for (node, replica) in nodes.iter_mut().zip(1..) {
            running.push(born(node, replica).await);
        }
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        leads.put(GROUP, 1, b"busy").await;
        let close = async |one: &Running, is_agreed: bool| {
            let now = Now { wall_ms: nodes[0].now_ms(), is_agreed, tick_ms: 1_000 };
            close_if_due(&one.group(GROUP), &one.batchers[&GROUP], &one.offline.log, now).await.unwrap()
        };
        assert_eq!(close(leads, true).await, None, "what was written has closed it");
        wait(2_000).await;
        assert_eq!(close(leads, false).await, None, "its clock is wrong");
        let followers = running.iter().filter(|one| !one.group(GROUP).standing().is_leader);
        for one in followers {
            assert_eq!(close(one, true).await, None, "it does not lead");
        }
        let now_ms = nodes[0].now_ms();
        assert!(close(leads, true).await.is_some());
        assert_eq!(close(leads, true).await, None, "twice in a tick");
        let closed = leads.group(GROUP).machine().applied().last;
        assert_eq!(closed, Stamp::end_of_ms(now_ms - now_ms % 1_000 - 1));
    });
}
