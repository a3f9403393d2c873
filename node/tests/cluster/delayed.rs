//! A delayed node among others: it has everything and shows nothing before its time; people hold it and move it; it gives back what others have
//! deleted.

use super::put;
use super::rig::{Cluster, DATA, eventually};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::TenantId;
use node::delayed::donate::{Keys, OnConflict, Progress, Wish};
use node::delayed::note::Holder;
use node::delayed::order::{Answer, Order};
use node::delayed::state::{Late, State};
use node::delayed::suspects::Act;
use node::meta::command::{Change, MetaCommand, MetaReply};
use node::meta::node_row::NodeState;
use node::shard::command::{KvCommand, Operation};
use node::shard::door::{Consistency, WriteId};
use proto::errors::code;
use raft::types::{GroupId, Role};

pub const HOUR_MS: u64 = 3_600_000;

pub fn deletes(keys: impl Iterator<Item = String>) -> KvCommand<Bytes> {
    let delete = |key: String| Operation::Delete { collection: DATA, key: key.into() };
    KvCommand { conditions: Vec::new(), operations: keys.map(delete).collect() }
}

/// A cluster with a tenant that has `customers`, and a node that is so late.
pub async fn with_late(customers: usize, delay_ms: u64) -> (Cluster, TenantId) {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    let made = MetaCommand::new(vec![Change::AddCollection(tenant, "customers".to_owned())]);
    let MetaReply::Applied { collections, .. } = cluster.server(0).change(made, 5_000).await.unwrap() else {
        panic!("there is no collection")
    };
    assert_eq!(collections, [DATA]);
    for chunk in (0..customers).collect::<Vec<_>>().chunks(500) {
        let operations = chunk.iter().flat_map(|n| put(&format!("k{n:05}"), "before").operations).collect();
        let command = KvCommand { conditions: Vec::new(), operations };
        cluster.write(tenant, &command, WriteId::default()).await.unwrap();
    }
    cluster.join_late("d1", "us", delay_ms).await;
    let group = group_of(&cluster, tenant);
    eventually("it has a copy of everything", || {
        late(&cluster).is_some_and(|late| late.received.is_some()) && here(&cluster, group).is_some()
    })
    .await;
    (cluster, tenant)
}

fn group_of(cluster: &Cluster, tenant: TenantId) -> GroupId {
    cluster.server(0).meta().shard_of(tenant).unwrap().group
}

/// What has been applied of a group at the delayed node.
fn here(cluster: &Cluster, group: GroupId) -> Option<u64> {
    let running = cluster.server(1).running().ok()?;
    Some(running.replica(group)?.receiver.group().machine().applied().applied?.index)
}

pub fn late(cluster: &Cluster) -> Option<Late> {
    cluster.server(1).late()
}

/// What the delayed node holds of a key.
fn held(cluster: &Cluster, tenant: TenantId, key: &str) -> Option<(Stamp, String)> {
    let replica = cluster.server(1).running().unwrap().replica(group_of(cluster, tenant)).unwrap();
    let view = replica.receiver.group().machine().tablet().view(cluster.now_ms()).unwrap();
    let found = view.get(tenant, DATA, key.as_bytes()).unwrap()?;
    Some((found.stamp, String::from_utf8(found.value.to_vec()).unwrap()))
}

async fn order(cluster: &Cluster, order: Order) -> Result<Answer, node::refused::Refused> {
    // Any node is asked.
    cluster.server(0).order(cluster.server(1).node(), "dana", order, 5_000).await
}

async fn ordered(cluster: &Cluster, one: Order) -> Late {
    match order(cluster, one).await.unwrap() {
        Answer::State(late) => *late,
        other => panic!("{other:?}"),
    }
}

fn why() -> String {
    "INC-4711".to_owned()
}

/// Moves the gate to just before a commit, once everything up to there has come in.
async fn forward(cluster: &Cluster, before: Stamp) {
    eventually("it has come in", || late(cluster).unwrap().received >= Some(before)).await;
    ordered(cluster, Order::Forward { before, reason: why() }).await;
    eventually("the gate is there", || {
        let late = late(cluster).unwrap();
        late.state == State::Held && late.gate.0 + 1 == before.0
    })
    .await;
}

async fn donate(cluster: &Cluster, wish: Wish) -> Progress {
    let mut asked = order(cluster, Order::Donate(wish.clone())).await;
    // The time of an idle group is closed a few seconds later.
    while asked.as_ref().is_err_and(|refused| refused.code == code::NOT_RECEIVED) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        asked = order(cluster, Order::Donate(wish.clone())).await;
    }
    let Answer::Job(job) = asked.unwrap() else { panic!("it is no job") };
    let of = || late(cluster).unwrap().donations.into_iter().find(|one| one.job == job).unwrap();
    eventually("it has ended", || of().ended_ms > 0).await;
    of()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_node_has_everything_votes_nowhere_and_answers_nobody() {
    let (mut cluster, tenant) = with_late(3, HOUR_MS).await;
    cluster.join("two", "ap").await;
    let group = group_of(&cluster, tenant);
    eventually("two vote, and the delayed one does not", || cluster.voters(group) == 2).await;
    let (d1, meta) = (cluster.server(1).node(), cluster.server(0).meta());
    assert_eq!(meta.nodes[&d1].delay_ms, HOUR_MS);
    for row in meta.shards.values() {
        let seat = row.seats.values().find(|seat| seat.node == d1).unwrap();
        let wanted = if row.group == GroupId::META { Role::Learner } else { Role::Delayed };
        assert_eq!(seat.role, wanted, "{}", row.group);
        assert!(row.group == GroupId::META || row.answering().all(|node| node != d1));
    }
    assert!(!cluster.server(1).is_serving());
    cluster.write(tenant, &put("later", "one"), WriteId::default()).await.unwrap();
    for how in [Consistency::Linearizable, Consistency::Bounded(HOUR_MS), Consistency::AsOf(Stamp(1 << 20))] {
        let refused = cluster.server(1).door().unwrap().view(tenant, how, 1_000).await.map(drop).unwrap_err();
        assert_eq!(refused.code, code::WRONG_NODE);
        assert!(refused.better.is_some_and(|node| node != d1) && refused.text.contains("delayed"));
    }
    // Its meta group is not late.
    let made = MetaCommand::new(vec![Change::AddCollection(tenant, "new".to_owned())]);
    cluster.server(0).change(made, 5_000).await.unwrap();
    cluster.server(1).refresh(5_000).await.unwrap();
    assert!(cluster.server(1).meta().collection(tenant, "new").is_some());
    let void = late(&cluster).unwrap();
    assert!(void.void_until_ms > cluster.now_ms(), "what it took over is not late yet");
    assert!(void.findings("d1").iter().any(|one| one.name == "delayed_void"));
    assert!(cluster.server(1).metrics().contains("dewpond_delayed_gate_stamp"));
    let refused = cluster.server(0).order(cluster.server(0).node(), "dana", Order::Suspects, 1_000).await;
    assert_eq!(refused.unwrap_err().code, code::NOT_DELAYED);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_shown_before_its_delay_has_passed() {
    // More than two ticks: so long it takes anyhow until the time of an idle group is closed.
    const DELAY_MS: u64 = 14_000;
    let (cluster, tenant) = with_late(1, DELAY_MS).await;
    let mut written = Vec::new();
    for n in 0..5 {
        let key = format!("late{n}");
        let stamp = cluster.write(tenant, &put(&key, "one"), WriteId::default()).await.unwrap();
        written.push((key, stamp));
    }
    let last = written.last().unwrap().0.clone();
    for _ in 0..6_000 {
        for (key, stamp) in &written {
            if let Some((found, _)) = held(&cluster, tenant, key) {
                let gate = late(&cluster).unwrap().gate;
                assert_eq!(found, *stamp);
                assert!(*stamp <= gate, "{key} is shown behind the gate");
                assert!(stamp.ms() + DELAY_MS <= cluster.now_ms(), "{key} is shown too early");
            }
        }
        if held(&cluster, tenant, &last).is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(held(&cluster, tenant, &last).is_some(), "it is shown in the end");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_survives_a_restart_and_ends_when_a_person_says_so() {
    const DELAY_MS: u64 = 1_000;
    let (mut cluster, tenant) = with_late(1, DELAY_MS).await;
    let held_at = ordered(&cluster, Order::Hold { reason: why() }).await;
    let gate = held_at.gate;
    assert_eq!((held_at.state, held_at.limit), (State::Held, Some(gate)));
    cluster.write(tenant, &put("after", "one"), WriteId::default()).await.unwrap();
    cluster.restart(1).await;
    eventually("it runs", || late(&cluster).is_some_and(|late| late.received.is_some())).await;
    let again = late(&cluster).unwrap();
    assert_eq!((again.state, again.gate, again.limit), (State::Held, gate, Some(gate)));
    let note = &again.note;
    assert_eq!((note.holder, &*note.by, &*note.reason), (Holder::Person, "dana", "INC-4711"));
    // What came in since is older than the delay by more than a step, and the gate stands.
    let far = Stamp::new(gate.ms() + DELAY_MS + 12_000, 0);
    eventually("much has come in", || late(&cluster).unwrap().received > Some(far)).await;
    assert_eq!(late(&cluster).unwrap().gate, gate);
    assert_eq!(held(&cluster, tenant, "after"), None);
    assert!(late(&cluster).unwrap().findings("d1").iter().any(|one| one.name == "delayed_paused"));
    ordered(&cluster, Order::Release { reason: why() }).await;
    eventually("it goes on", || held(&cluster, tenant, "after").is_some()).await;
    assert_eq!(late(&cluster).unwrap().note.holder, Holder::Nobody);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_stops_just_before_a_commit_and_what_cannot_be_is_refused() {
    let (cluster, tenant) = with_late(1, HOUR_MS).await;
    let good = cluster.write(tenant, &put("k00000", "good"), WriteId::default()).await.unwrap();
    let bad = cluster.write(tenant, &put("k00000", "bad"), WriteId::default()).await.unwrap();
    let soon = Stamp::new(cluster.now_ms() + 600_000, 0);
    let refused = order(&cluster, Order::Forward { before: soon, reason: why() }).await.unwrap_err();
    assert_eq!(refused.code, code::NOT_RECEIVED);
    assert_ne!(held(&cluster, tenant, "k00000").map(|(stamp, _)| stamp), Some(good), "it is late");
    forward(&cluster, bad).await;
    eventually("it is applied", || held(&cluster, tenant, "k00000") == Some((good, "good".to_owned()))).await;
    let refused = order(&cluster, Order::Forward { before: good, reason: why() }).await.unwrap_err();
    assert_eq!(refused.code, code::GATE_PASSED, "{}", refused.text);
    let refused = order(&cluster, Order::Accept { reason: why() }).await.unwrap_err();
    assert_eq!(refused.code, code::NOT_PARKED);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_customers_come_back_and_later_good_writes_stay() {
    const ALL: usize = 700;
    let (cluster, tenant) = with_late(ALL, HOUR_MS).await;
    let key = |n: usize| format!("k{n:05}");
    cluster.write(tenant, &put(&key(1), "changed"), WriteId::default()).await.unwrap();
    let bad = cluster.write(tenant, &deletes((0..600).map(key)), WriteId::default()).await.unwrap();
    for (at, value) in [(key(2), "made again"), (key(650), "later"), ("new".to_owned(), "later")] {
        cluster.write(tenant, &put(&at, value), WriteId::default()).await.unwrap();
    }
    let wish = Wish { tenant, keys: Keys::All, before: bad, is_mirror: false, on_conflict: OnConflict::List };
    let soon = Wish { before: Stamp::new(cluster.now_ms() + 600_000, 0), ..wish.clone() };
    let refused = order(&cluster, Order::Donate(soon)).await.unwrap_err();
    assert_eq!(refused.code, code::NOT_RECEIVED, "{}", refused.text);
    let gate = late(&cluster).unwrap().gate;
    assert!(
        gate < bad && held(&cluster, tenant, &key(300)).is_none(),
        "what goes back lies ahead of the gate"
    );
    let one = Wish { keys: Keys::These(DATA, vec![key(7).into(), "never".into()]), ..wish.clone() };
    let done = donate(&cluster, one).await;
    assert_eq!((&*done.failure, done.tally.restored, done.tally.extra), ("", 1, 0));
    let done = donate(&cluster, wish.clone()).await;
    assert_eq!(done.failure, "");
    assert_eq!((done.tally.restored, done.tally.conflicts, done.tally.extra), (598, 2, 1), "{}", done.tally);
    assert_eq!(done.conflicts.len(), 2);
    assert!(late(&cluster).unwrap().gate < bad, "the gate does not move for it");
    for n in 0..ALL {
        let wanted = match n {
            1 => "changed",
            2 => "made again",
            650 => "later",
            _ => "before",
        };
        assert_eq!(cluster.read(tenant, &key(n)).await.as_deref(), Some(wanted), "{n}");
    }
    assert_eq!(cluster.read(tenant, "new").await.as_deref(), Some("later"));
    let again = donate(&cluster, wish.clone()).await;
    assert_eq!((again.tally.restored, again.tally.same), (0, 698), "nothing is left to do");
    // As it was, whatever came since; this time what is applied is read.
    forward(&cluster, bad).await;
    eventually("it is applied", || held(&cluster, tenant, &key(300)).is_some()).await;
    let mirror = Wish { is_mirror: true, on_conflict: OnConflict::Overwrite, ..wish };
    let done = donate(&cluster, mirror).await;
    assert_eq!((done.tally.overwritten, done.tally.deleted), (2, 1), "{} {}", done.tally, done.failure);
    assert_eq!(cluster.read(tenant, "new").await, None);
    assert_eq!(cluster.read(tenant, &key(2)).await.as_deref(), Some("before"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_delete_and_a_dropped_tenant_hold_the_gate_by_themselves() {
    let (cluster, tenant) = with_late(1_500, HOUR_MS).await;
    let other = cluster.tenant("fir").await;
    let key = |n: usize| format!("k{n:05}");
    let (few, more) = (deletes((0..900).map(key)), deletes((900..1_100).map(key)));
    let first = cluster.write(tenant, &few, WriteId::default()).await.unwrap();
    let first_seen = || {
        let late = late(&cluster).unwrap();
        late.suspect.is_some_and(|one| one.act == Act::Delete && one.slot.keys >= 900)
    };
    eventually("the first are seen", first_seen).await;
    assert_eq!(late(&cluster).unwrap().limit, None, "so few are nothing");
    let last = cluster.write(tenant, &more, WriteId::default()).await.unwrap();
    eventually("it holds itself", || late(&cluster).unwrap().limit.is_some()).await;
    eventually("it says why", || late(&cluster).unwrap().note.holder == Holder::Node).await;
    let now = late(&cluster).unwrap();
    assert!(now.gate < first && now.note.reason.contains("acme"), "{}", now.note.reason);
    let found = now.findings("d1");
    let alarm = found.iter().find(|one| one.name == "delayed_held").unwrap();
    assert!(alarm.is_failure && alarm.text.contains("dew delayed suspects d1"), "{}", alarm.text);
    let Answer::Suspects(bursts) = order(&cluster, Order::Suspects).await.unwrap() else { panic!() };
    assert_eq!((bursts[0].tenant, bursts[0].act), (tenant, Act::Delete));
    assert!(bursts[0].slot.first.stamp <= first && bursts[0].slot.last.stamp <= last);
    // What a person has let pass holds nothing any more; what comes then does.
    ordered(&cluster, Order::Release { reason: why() }).await;
    let drop = MetaCommand::new(vec![Change::DropTenant(other, 600_000)]);
    cluster.server(0).change(drop, 5_000).await.unwrap();
    eventually("it holds itself again", || late(&cluster).unwrap().note.holder == Holder::Node).await;
    let now = late(&cluster).unwrap();
    assert!(
        now.state == State::Held && now.note.reason.contains("tenant fir was dropped"),
        "{}",
        now.note.reason
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_node_that_is_drained_ends_with_nothing_and_another_stays() {
    let (mut cluster, tenant) = with_late(2, HOUR_MS).await;
    cluster.join_late("d2", "ap", 2 * HOUR_MS).await;
    let (d1, d2) = (cluster.server(1).node(), cluster.server(2).node());
    let on = |node| cluster.server(0).meta().replicas_on(node);
    let groups = cluster.server(0).meta().shards.len();
    eventually("both have everything", || on(d1) == groups && on(d2) == groups).await;
    let gate = |at: usize| cluster.server(at).late().map(|late| late.gate.ms());
    eventually("both have a gate", || gate(1).is_some() && gate(2).is_some()).await;
    assert!(gate(2).unwrap() + HOUR_MS / 2 < gate(1).unwrap(), "each is as late as it should be");
    let drain = MetaCommand::new(vec![Change::SetNodeState(d1, NodeState::Draining)]);
    cluster.server(0).change(drain, 5_000).await.unwrap();
    eventually("nothing is left on it", || on(d1) == 0).await;
    assert_eq!(on(d2), groups);
    cluster.write(tenant, &put("after", "one"), WriteId::default()).await.unwrap();
    cluster.stop().await;
}
