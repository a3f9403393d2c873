//! What one peer alone has heard of a node, the others are told; and of two starts on copies of one disk no two go on.

use crate::cluster::{CLUSTER, Hub, Node, Running, Waiting, birth, lead, perform};
use engine::ids::NodeId;
use raft::group::birth::Birth;
use raft::group::rejoin::{Finding, Verdict};
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::hearsay::Gossip;
use raft::net::message::Message;
use raft::types::{GroupId, ReplicaId};
use std::time::Duration;

const META: GroupId = GroupId::META;

/// Three nodes with the meta group, the first of which leads.
async fn founded() -> (Vec<Node>, Vec<Running>) {
    let hub = Hub::default();
    let (mut nodes, mut running) = (Vec::new(), Vec::new());
    for n in 1..=3 {
        let mut node = Node::new(n, &hub);
        running.push(crate::cluster::born(&mut node, Birth { group: META, ..birth(n, 3) }, 1).await);
        nodes.push(node);
    }
    lead(&running[0], &[META]).await;
    (nodes, running)
}

/// Writes through the first, until all have it.
async fn write(running: &[Running], key: u8) {
    running[0].put(META, key, b"value").await;
    for one in running {
        one.until("it", |one| one.get(META, key).is_some()).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn tell(one: &Running, n: u64) {
    // Whoever has just begun does not know yet who belongs to its group.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Gossip::default().tell(NodeId(n), &one.requests, &one.registry).await;
}

/// What its peers say of a node that starts, within a few seconds.
async fn judged(waiting: &Waiting) -> Verdict {
    let verdict = waiting.admission.wait(&waiting.requests);
    tokio::time::timeout(Duration::from_secs(5), verdict).await.expect("it is judged")
}

/// The older disk of the third comes back while the first, which led, is away. What is said of it.
async fn comes_back(is_told: bool) -> Verdict {
    let (nodes, mut running) = founded().await;
    write(&running, 1).await;
    let mut older = nodes[2].twin(1);
    older.disk.crash();
    write(&running, 2).await;
    if is_told {
        tell(&running[0], 1).await;
    }
    running.pop().unwrap().crash(&nodes[2]).await;
    running.remove(0).crash(&nodes[0]).await;
    let waiting = older.seek_admission(&[1, 2], 1).unwrap();
    judged(&waiting).await
}

#[test]
fn an_older_disk_is_refused_though_the_one_peer_that_heard_of_it_is_away() {
    perform(async {
        let Verdict::Refused(Finding::LogEnd { ends, held }) = comes_back(true).await else {
            panic!("it is older")
        };
        assert!(ends < held);
        // So that it is the hearsay which tells it.
        assert_eq!(comes_back(false).await, Verdict::Runs { replace: [].into() });
    });
}

#[test]
fn a_durable_manifest_is_told_and_answered_to_a_claim() {
    perform(async {
        let (nodes, running) = founded().await;
        write(&running, 1).await;
        let machine = running[2].group(META).machine().clone();
        machine.tablet().freeze();
        running[2].offline.parts.pool.settle();
        let durable = machine.tablet().durable().index.0;
        assert!(durable > 2);
        tell(&running[2], 3).await;
        let mut copy = nodes[2].twin(1);
        let waiting = copy.seek_admission(&[1, 2], 1).unwrap();
        let claim = Message::Claim(waiting.admission.claim().clone());
        let (group, none) = (GroupId(0), ReplicaId(0));
        let tag = cluster_tag(CLUSTER, 1);
        let frame = Frame { tag, group, from: none, to: none, sequence: 5, durable: 0, message: claim };
        for peer in &running[..2] {
            let said = peer.registry.serve(&waiting.admission.voice(), frame.encode()).await;
            let Message::ClaimAnswer(answer) = Frame::decode(&said).unwrap().message else {
                panic!("no answer")
            };
            assert_eq!(answer.groups[&META].manifest, durable);
        }
    });
}

#[test]
fn a_copy_that_goes_on_ends_the_one_it_was_made_of() {
    perform(async {
        let (nodes, mut running) = founded().await;
        write(&running, 1).await;
        let original = running.pop().unwrap();
        let mut copy = nodes[2].twin(1);
        copy.disk.crash();
        let waiting = copy.seek_admission(&[1, 2], 1).unwrap();
        assert_eq!(judged(&waiting).await, Verdict::Runs { replace: [].into() });
        assert_eq!(original.offline.log.fenced(), None);
        let copy = copy.enter(waiting).await.unwrap().0;
        tell(&copy, 3).await;
        tell(&original, 3).await;
        let why = original.offline.log.fenced().unwrap();
        assert!(why.contains("another start of this node lives"), "{why}");
        running.push(copy);
        write(&running, 2).await;
        assert_eq!(running[2].offline.log.fenced(), None);
        let refused = running[0].offline.log.stats().read().net.refused_outlived_messages;
        assert!(refused > 0);
    });
}

#[test]
fn of_two_that_start_at_once_from_copies_the_peers_hear_one() {
    perform(async {
        let (mut nodes, mut running) = founded().await;
        write(&running, 1).await;
        running.pop().unwrap().crash(&nodes[2]).await;
        let mut copy = nodes[2].twin(1);
        let second = copy.seek_admission(&[1, 2], 1).unwrap();
        let first = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        let runs = Verdict::Runs { replace: [].into() };
        assert_eq!((judged(&second).await, judged(&first).await), (runs.clone(), runs));
        let second = copy.enter(second).await.unwrap().0;
        let first = nodes[2].enter(first).await.unwrap().0;
        let starts = [&first, &second].map(|one| one.offline.log.found().incarnation);
        assert_eq!(starts[0], starts[1]);
        tell(&first, 3).await;
        tell(&second, 3).await;
        assert!(second.offline.log.fenced().is_some());
        running.push(first);
        write(&running, 2).await;
        assert_eq!(running[2].offline.log.fenced(), None);
    });
}
