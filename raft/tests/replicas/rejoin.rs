//! A node that starts says what is on its disk, and its peers remember what it said before. A disk that went back in time is refused
//! before anything is written to its log, however often it comes.

use crate::cluster::{Hub, Node, Running, Waiting, birth, lead, perform};
use engine::ids::NodeId;
use raft::group::birth::{self, Birth};
use raft::group::handle::Group;
use raft::group::handover::hand_over;
use raft::group::rejoin::{Finding, Verdict};
use raft::group::word::Word;
use raft::membership::step::Change;
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::time::Duration;

const META: GroupId = GroupId::META;

/// Three nodes with the meta group, in which keys 0..5 are written.
async fn founded() -> (Vec<Node>, Vec<Running>) {
    founded_on(&Hub::default()).await
}

/// The same on a network that others join.
async fn founded_on(hub: &Hub) -> (Vec<Node>, Vec<Running>) {
    let (mut nodes, mut running) = (Vec::new(), Vec::new());
    for n in 1..=3 {
        let mut node = Node::new(n, hub);
        running.push(crate::cluster::born(&mut node, Birth { group: META, ..birth(n, 3) }, 1).await);
        nodes.push(node);
    }
    lead(&running[0], &[META]).await;
    write(&running, 0..5).await;
    (nodes, running)
}

/// Writes through the one that leads, until all have it.
async fn write(running: &[Running], keys: std::ops::Range<u8>) {
    for key in keys.clone() {
        let leads = loop {
            if let Some(leads) = running.iter().find(|one| one.group(META).standing().is_leader) {
                break leads;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        leads.put(META, key, b"value").await;
    }
    for one in running {
        one.until("all of it", |one| one.get(META, keys.end - 1).is_some()).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Makes a change of who belongs to the group, at the one that leads.
async fn change(leads: &Group, change: Change) {
    let seen = leads.standing().membership.0;
    let refused = leads.change(change.clone(), seen).await.err();
    assert_eq!(refused, None, "{change:?}");
}

/// Whether its own membership lets it vote.
fn is_voter(one: &Running) -> bool {
    let group = one.group(META);
    group.standing().membership.1.is_voter(group.replica())
}

/// Makes all durable that is applied.
async fn flush(one: &Running) {
    let machine = one.group(META).machine().clone();
    machine.tablet().freeze();
    one.offline.parts.pool.settle();
    assert_eq!(machine.durable().unwrap().applied, machine.applied().applied);
    machine.note_durable().unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// The files of its log.
fn log_files(node: &Node) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = node.disk.files().into_iter();
    files.filter(|(path, _)| path.starts_with("/log") && path.extension().is_some()).collect()
}

/// Ends one that waits: nothing of it may be left.
fn give_up(node: &Node, waiting: Waiting) {
    node.unplug();
    waiting.admission.end();
    waiting.pool.close();
}

/// What its peers say of a node that starts, within a second.
async fn judged(waiting: &Waiting) -> Verdict {
    match tokio::time::timeout(Duration::from_secs(1), waiting.admission.wait(&waiting.requests)).await {
        Ok(verdict) => verdict,
        Err(_) => waiting.admission.verdict(),
    }
}

#[test]
fn a_whole_cluster_starts_at_once_and_each_answers_the_others_from_disk() {
    perform(async {
        let (mut nodes, running) = founded().await;
        for (one, node) in running.into_iter().zip(&nodes) {
            one.crash(node).await;
        }
        let first = nodes[0].seek_admission(&[2, 3], 1).unwrap();
        let Verdict::Waits { meta, groups } = judged(&first).await else { panic!("nobody has answered") };
        assert_eq!((meta, groups), ((1, 2), [META].into()));
        let begun = first.admission.begin().err().unwrap().to_string();
        assert_eq!(
            begun,
            "this node may not go on: 1 of 2 voters of the meta group have answered; of 1 groups too few have"
        );
        let second = nodes[1].seek_admission(&[1, 3], 1).unwrap();
        let runs = Verdict::Runs { replace: [].into() };
        assert_eq!((judged(&first).await, judged(&second).await), (runs.clone(), runs));
        let (one, outdated) = nodes[0].enter(first).await.unwrap();
        assert_eq!(outdated, []);
        let running = [one, nodes[1].enter(second).await.unwrap().0];
        write(&running, 5..8).await;
        assert!(running[1].get(META, 4).is_some(), "what was written before");
    });
}

#[test]
fn an_older_disk_is_refused_however_often_it_comes_and_nothing_is_written_to_it() {
    perform(async {
        let (mut nodes, mut running) = founded().await;
        let mut older = nodes[2].twin(1);
        older.disk.crash();
        write(&running, 5..20).await;
        running.pop().unwrap().crash(&nodes[2]).await;
        let mut ends = None;
        for _ in 0..20 {
            let waiting = older.seek_admission(&[1, 2], 1).unwrap();
            let before = log_files(&older);
            let claim = waiting.admission.claim().clone();
            let Verdict::Refused(finding) = judged(&waiting).await else { panic!("it is older") };
            let Finding::LogEnd { ends: at, held } = finding else { panic!("{finding}") };
            assert!(at < held && at == claim.log_end && claim.incarnation == 1);
            assert_eq!(*ends.get_or_insert((at, held)), (at, held), "a start has changed something");
            let begun = waiting.admission.begin().err().unwrap().to_string();
            let said = format!("this node may not go on: {finding}");
            assert_eq!(begun, said);
            assert!(before == log_files(&older), "its log was written to");
            give_up(&older, waiting);
        }
        // The disk as it was left is taken.
        let waiting = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        assert_eq!(judged(&waiting).await, Verdict::Runs { replace: [].into() });
        running.push(nodes[2].enter(waiting).await.unwrap().0);
        write(&running, 20..22).await;
    });
}

#[test]
fn a_wiped_disk_under_its_old_name_is_refused() {
    perform(async {
        let (mut nodes, mut running) = founded().await;
        running.pop().unwrap().crash(&nodes[2]).await;
        nodes[2].wipe();
        let waiting = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        assert_eq!(judged(&waiting).await, Verdict::Refused(Finding::UnknownLog));
    });
}

#[test]
fn what_peers_heard_is_remembered_over_their_own_starts() {
    perform(async {
        let (mut nodes, running) = founded().await;
        let mut older = nodes[2].twin(1);
        older.disk.crash();
        write(&running, 5..20).await;
        for one in &running {
            one.offline.heard.note_in(&one.offline.log).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        for (one, node) in running.into_iter().zip(&nodes) {
            one.crash(node).await;
        }
        let first = nodes[0].seek_admission(&[2, 3], 1).unwrap();
        let old = older.seek_admission(&[1, 2], 1).unwrap();
        let Verdict::Refused(Finding::LogEnd { ends, held }) = judged(&old).await else {
            panic!("it is older")
        };
        assert!(ends < held);
        give_up(&nodes[0], first);
    });
}

#[test]
fn an_older_catalog_costs_its_replicas_and_not_the_node() {
    perform(async {
        let (mut nodes, mut running) = founded().await;
        flush(&running[2]).await;
        let before = nodes[2].twin(1);
        write(&running, 5..20).await;
        flush(&running[2]).await;
        running.pop().unwrap().crash(&nodes[2]).await;
        nodes[2].take_catalog(&before);
        // Without being asked whether it may, it does not start.
        let blind = nodes[2].twin(2).open().err().unwrap();
        assert!(matches!(blind, raft::Error::CatalogOlder { group: META, .. }), "{blind}");
        let waiting = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        assert_eq!(judged(&waiting).await, Verdict::Runs { replace: [META].into() });
        let (mut three, outdated) = nodes[2].enter(waiting).await.unwrap();
        assert_eq!(outdated, [(META, ReplicaId(3))]);
        assert!(three.registry.get(META).is_none(), "it must not take part");

        // Another replica takes its place on the same node.
        let leads = loop {
            if let Some(leads) = running.iter().find(|one| one.group(META).standing().is_leader) {
                break leads.group(META);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let seat = |role| Seat { node: NodeId(3), role };
        for change in [
            Change::SetVoters([1, 2].map(ReplicaId).into()),
            Change::Remove(ReplicaId(3)),
            Change::Add(ReplicaId(4), seat(Role::Learner)),
        ] {
            self::change(&leads, change).await;
        }
        let parts = three.offline.parts.clone();
        birth::end((META, ReplicaId(3)), &parts.log, &parts.pool).await.unwrap();
        let born = Birth { group: META, ..birth(4, 0) };
        let machine = birth::bear(&born, parts).await.unwrap();
        three.offline.machines.insert(META, machine);
        let offline = three.stop().await;
        let three = nodes[2].run(offline, 1).await.unwrap();
        three.until("it is filled", |three| three.get(META, 19).is_some()).await;
    });
}

#[test]
fn a_snapshot_that_was_cut_short_by_the_power_is_no_older_log() {
    perform(async {
        let (mut nodes, mut running) = founded().await;
        running.pop().unwrap().crash(&nodes[2]).await;
        // Its power goes at every operation of its disk, from its start on, while it must be sent a snapshot.
        let mut installs = 0;
        for crash_after in 1..400 {
            write(&running, 5..8).await;
            for one in &running {
                flush(one).await;
                one.group(META).purge(one.group(META).standing().applied.unwrap().index).await.unwrap();
            }
            let node = &mut nodes[2];
            let waiting = node.seek_admission(&[1, 2], 1).unwrap();
            let here = waiting.admission.claim().groups[&META];
            installs += u32::from(here.is_from_snapshot);
            let verdict = judged(&waiting).await;
            assert!(matches!(verdict, Verdict::Runs { .. }), "{crash_after}: {verdict}, {here:?}");
            let (three, _) = node.enter(waiting).await.unwrap();
            let crash_at = Some(node.disk.operations() + crash_after);
            node.disk.set_faults(engine::disk::sim::Faults { crash_at, ..Default::default() });
            let mut rounds = 0;
            while !node.disk.is_down() && rounds < 200 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                rounds += 1;
            }
            let is_done = !node.disk.is_down();
            three.crash(node).await;
            if is_done {
                break;
            }
        }
        assert!(installs > 0, "no power loss fell between the snapshot and the log that tells of it");
    });
}

#[test]
fn who_starts_counts_by_the_last_membership_in_its_log() {
    perform(async {
        let (mut nodes, running) = founded().await;
        // The third is taken out: what is durable of the others' tablets is from before.
        let leads = running[0].group(META);
        change(&leads, Change::SetVoters([1, 2].map(ReplicaId).into())).await;
        change(&leads, Change::Remove(ReplicaId(3))).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let durable = leads.machine().durable().unwrap().membership;
        assert!(durable.is_voter(ReplicaId(3)), "the tablet knows of it already");
        for (one, node) in running.into_iter().zip(&nodes) {
            one.crash(node).await;
        }
        // Of two voters both are needed; of three, one of the others would have done.
        let first = nodes[0].seek_admission(&[2, 3], 1).unwrap();
        let third = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        assert!(matches!(judged(&first).await, Verdict::Waits { .. }));
        let second = nodes[1].seek_admission(&[1, 3], 1).unwrap();
        assert_eq!(judged(&first).await, Verdict::Runs { replace: [].into() });
        give_up(&nodes[1], second);
        give_up(&nodes[2], third);
    });
}

#[test]
fn a_replica_that_knows_nobody_asks_again_until_the_one_it_was_told_of_leads() {
    perform(async {
        let hub = Hub::default();
        let (_nodes, running) = founded_on(&hub).await;
        let leads = running[0].group(META);
        // The third has a seat and no vote: its word lets nobody in.
        change(&leads, Change::SetVoters([1, 2].map(ReplicaId).into())).await;
        running[2].until("it has no vote", |one| !is_voter(one)).await;
        // A replica of which the power went when it was born: it knows nobody, and its node was told of the third alone.
        let mut node = Node::new(4, &hub);
        let offline = node.open().unwrap();
        birth::bear(&Birth { group: META, ..birth(4, 0) }, offline.parts.clone()).await.unwrap();
        offline.crash(&node);
        let waiting = node.seek_admission(&[3], 1).unwrap();
        assert_eq!(waiting.admission.claim().groups[&META].last, None);
        let (admission, requests) = (waiting.admission.clone(), waiting.requests.clone());
        let waits = Verdict::Waits { meta: (0, 1), groups: [META].into() };
        assert_eq!(admission.ask(&requests).await, waits, "it was answered, by one that does not lead");
        let asks = tokio::spawn(async move { admission.wait(&requests).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!asks.is_finished());

        change(&leads, Change::Add(ReplicaId(4), Seat { node: NodeId(4), role: Role::Learner })).await;
        change(&leads, Change::SetVoters([1, 2, 3].map(ReplicaId).into())).await;
        let word = Word { is_clock_agreed: true, is_guard_open: true, ..Word::default() };
        hand_over(&leads, ReplicaId(3), word).await.unwrap();
        running[2].until("it leads", |one| one.group(META).standing().is_leader).await;
        let verdict = tokio::time::timeout(Duration::from_secs(5), asks).await.expect("it waits for ever");
        assert_eq!(verdict.unwrap(), Verdict::Runs { replace: [].into() });
        let (four, outdated) = node.enter(waiting).await.unwrap();
        assert_eq!(outdated, []);
        four.until("it is filled", |four| four.get(META, 4).is_some()).await;
    });
}

#[test]
fn nobody_claims_for_another() {
    perform(async {
        use raft::net::envelope::{Frame, cluster_tag};
        use raft::net::heard::Voice;
        use raft::net::message::Message;
        use raft::net::refusal::Refusal;
        let (mut nodes, mut running) = founded().await;
        running.pop().unwrap().crash(&nodes[2]).await;
        let waiting = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        let frame = |tag, message| Frame {
            tag,
            group: GroupId(0),
            from: ReplicaId(0),
            to: ReplicaId(0),
            sequence: 5,
            durable: 0,
            message,
        };
        let tag = cluster_tag(crate::cluster::CLUSTER, 1);
        let claim = Message::Claim(waiting.admission.claim().clone());
        let asked = frame(tag, claim.clone()).encode();
        let other = Voice { node: NodeId(2), ..waiting.admission.voice() };
        let malformed = Message::Refused(Refusal::Malformed);
        let answer = |bytes| Frame::decode(&bytes).unwrap().message;
        assert_eq!(answer(running[0].registry.serve(&other, asked.clone()).await), malformed);
        let own = waiting.admission.voice();
        assert!(matches!(
            answer(running[0].registry.serve(&own, asked.clone()).await),
            Message::ClaimAnswer(_)
        ));
        // One that waits answers claims, and nothing else.
        let first = Voice { node: NodeId(1), ..Voice::default() };
        assert_eq!(answer(waiting.admission.serve(&first, &asked)), malformed);
        let asked = frame(tag, Message::ReadIndex(raft::net::replica_message::ReadIndex {})).encode();
        assert_eq!(answer(waiting.admission.serve(&first, &asked)), Message::Refused(Refusal::NotReady));
        let strange = frame(cluster_tag(crate::cluster::CLUSTER, 2), claim.clone()).encode();
        assert_eq!(
            answer(waiting.admission.serve(&own, &strange)),
            Message::Refused(Refusal::OtherGeneration)
        );
        let strange = frame(7, claim).encode();
        assert_eq!(answer(waiting.admission.serve(&own, &strange)), Message::Refused(Refusal::OtherCluster));
    });
}
