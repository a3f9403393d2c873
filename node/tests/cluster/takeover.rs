//! A node takes over that does not run: cut short at every step it goes on at the next start, to the same end; a survivor keeps what it has.

use super::archive::{self, Oracle};
use super::delayed::{HOUR_MS, deletes, late, with_late};
use super::put;
use super::rebirth::copied;
use super::rig::{Cluster, DATA, eventually, passphrase};
use engine::Stamp;
use engine::ids::TenantId;
use node::archive::naming::{Generation, TickEnd};
use node::archive::window::{Scope, window};
use node::meta::node_row::NodeState;
use node::server::Server;
use node::shard::door::{Consistency, WriteId};
use node::takeover::decision::{Decision, Way};
use node::takeover::generation::Told;
use node::takeover::offline::Folder;
use node::takeover::order::Target;
use node::takeover::tail;
use proto::errors::code;
use raft::types::GroupId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const WAIT_MS: u64 = 5_000;

/// How many of the customers a node holds that serves.
async fn customers(server: &Arc<Server>, tenant: TenantId) -> Option<usize> {
    let view = server.door().ok()?.view(tenant, Consistency::Linearizable, WAIT_MS).await.ok()?;
    let scan = engine::tablet::view::Scan { limit: 10_000, ..engine::tablet::view::Scan::all(tenant, DATA) };
    Some(view.scan(&scan, None).unwrap().entries.len())
}

async fn holds(server: &Arc<Server>, tenant: TenantId, count: usize) {
    let mut found = None;
    for _ in 0..600 {
        found = customers(server, tenant).await;
        if found == Some(count) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it holds {found:?} of {count}");
}

/// Stops a node, and waits until nothing holds its folder.
async fn ended(server: Arc<Server>) {
    server.stop(0).await;
    let held = Arc::downgrade(&server);
    drop(server);
    eventually("nothing is left of it", || held.strong_count() == 0).await;
}

async fn opened(cluster: &Cluster, at: usize, folder: &Path) -> Folder {
    let config = cluster.config_of(at, folder);
    let mut opened = Folder::open(config.clone(), passphrase()).await;
    for _ in 0..200 {
        if opened.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        opened = Folder::open(config.clone(), passphrase()).await;
    }
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// Mistakes, as a stamp, and what came after them.
async fn mistaken(cluster: &Cluster, tenant: TenantId) -> (Stamp, Stamp) {
    let key = |n: usize| format!("k{n:05}");
    let bad = cluster.write(tenant, &deletes((0..200).map(key)), WriteId::default()).await.unwrap();
    let after = cluster.write(tenant, &put("after", "late"), WriteId::default()).await.unwrap();
    (bad, after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_short_at_every_step_it_comes_to_the_same_end() {
    let (mut cluster, tenant) = with_late(250, HOUR_MS).await;
    let (bad, after) = mistaken(&cluster, tenant).await;
    let cut = Stamp(bad.0 - 1);
    eventually("all has come in", || late(&cluster).unwrap().received > Some(after)).await;
    let d1 = cluster.server(1).node();
    cluster.stop_one(0).await;
    cluster.stop_one(1).await;
    let (mut steps, mut step) = (1, 0);
    while step <= steps {
        let folder = cluster.dir().join(format!("copy-{step}"));
        copied(&cluster.folder(1), &folder);
        std::fs::remove_file(folder.join("pool/LOCK")).ok();
        let own = opened(&cluster, 1, &folder).await;
        assert!(own.possible(Target::Upto(Stamp(after.0 + (HOUR_MS << 17)))).is_err(), "it has not come in");
        assert!(own.possible(Target::Upto(Stamp::new(1, 0))).is_err(), "it is applied");
        let possible = own.decide(Target::Upto(cut), "dana", "INC-4711").unwrap();
        assert_eq!((possible.plan.generation, possible.is_late, possible.gone.len()), (2, true, 1));
        let decision = Decision::read(&folder).unwrap().unwrap();
        assert_eq!(decision.way, Way::Cut(cut));
        // Two data groups, the meta group, the gate.
        steps = decision.groups.len() + 2;
        for done in 0..step {
            assert!(own.offline().step(&decision, done).await.unwrap());
        }
        own.close();
        let server = cluster.start_copy(1, &folder).await;
        holds(&server, tenant, 250).await;
        eventually("it is written down", || Decision::read(&folder).unwrap().is_none()).await;
        let meta = server.meta();
        let row = &meta.generations[&2];
        assert_eq!((row.parent, row.upto, row.node, &*row.by), (1, cut, d1, "dana"));
        let active = meta.nodes.values().filter(|row| row.state != NodeState::Removed);
        assert_eq!(active.map(|row| (row.id, row.delay_ms)).collect::<Vec<_>>(), [(d1, 0)]);
        assert!(meta.shards.values().all(|row| row.seats.len() == 1));
        let view = server.door().unwrap().view(tenant, Consistency::Linearizable, WAIT_MS).await.unwrap();
        assert!(view.get(tenant, DATA, b"after").unwrap().is_none(), "it lies behind the cut");
        drop(view);
        let lost = tail::list(&folder, 2).unwrap();
        let of = lost.iter().filter(|one| one.tenant == tenant);
        assert_eq!(
            of.map(|one| (one.puts, one.deletes)).collect::<Vec<_>>(),
            [(1, 200)],
            "after {step} steps"
        );
        let written =
            server.door().unwrap().write(tenant, &put("next", "new"), WriteId::default(), WAIT_MS).await;
        assert!(written.unwrap() > after, "stamps go on above all that was seen");
        ended(server).await;
        // It is no delayed node any more, and found as it was.
        let server = cluster.start_copy(1, &folder).await;
        holds(&server, tenant, 251).await;
        assert!(server.late().is_none() && server.is_serving());
        ended(server).await;
        step += 1;
    }
    assert_eq!(step, 5);
}

/// Three nodes, each of which votes in every group, and a tenant with a collection.
async fn of_three() -> (Cluster, TenantId) {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    super::watch::with_collection(&cluster, tenant).await;
    cluster.join("two", "eu").await;
    cluster.join("three", "eu").await;
    let groups: Vec<_> = cluster.server(0).meta().shards.keys().copied().collect();
    eventually("all have three voters", || groups.iter().all(|group| cluster.voters(*group) == 3)).await;
    (cluster, tenant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_three_goes_on_with_all_it_has_and_the_others_are_fenced() {
    let (mut cluster, tenant) = of_three().await;
    for n in 0..20 {
        cluster.write(tenant, &put(&format!("k{n:05}"), "one"), WriteId::default()).await.unwrap();
    }
    let version = cluster.server(0).meta().version;
    eventually("the last one knows it", || cluster.server(2).meta().version >= version).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for at in [0, 1, 2] {
        cluster.stop_one(at).await;
    }
    let folder = cluster.folder(2);
    let own = opened(&cluster, 2, &folder).await;
    // To look is to change nothing: what may not have been committed is not applied.
    let offline = own.offline();
    let (applied, stored) = (offline.applied_in(GroupId::META), offline.stored_in(GroupId::META).unwrap());
    assert!(applied < stored, "{applied:?} {stored:?}");
    let refused = own.possible(Target::Upto(Stamp::new(5, 0))).unwrap_err();
    assert!(refused.to_string().contains("--newest"), "{refused}");
    let possible = own.decide(Target::Newest, "dana", "the others burnt").unwrap();
    assert_eq!((possible.is_late, possible.gone.len()), (false, 2));
    own.close();
    cluster.start(2).await;
    holds(&cluster.server(2).clone(), tenant, 20).await;
    cluster.write(tenant, &put("next", "new"), WriteId::default()).await.unwrap();
    // One of before comes back: it is told, refuses, and says so.
    cluster.start(0).await;
    let old = cluster.server(0).clone();
    let why = tokio::time::timeout(Duration::from_secs(60), old.begins_again()).await.unwrap();
    assert!(why.contains("fenced by generation 2"), "{why}");
    let refused = old.door().map(drop).unwrap_err();
    assert_eq!((refused.code, refused.better), (code::FENCED, Some(cluster.server(2).node())));
    assert!(!old.is_serving() && old.findings().iter().any(|one| one.name == "node_fenced"));
    drop(old);
    assert_eq!(Told::read(&cluster.folder(0)).unwrap().map(|fence| fence.generation), Some(2));
    cluster.stop_one(0).await;
    cluster.start(0).await;
    assert!(cluster.server(0).fenced().is_some(), "a start does not heal it");
    // It may take over itself, should the first one prove to be wrong: as a generation of its own.
    cluster.stop_one(0).await;
    let own = opened(&cluster, 0, &cluster.folder(0)).await;
    assert_eq!(own.possible(Target::Newest).unwrap().plan.generation, 3);
    own.close();
    cluster.stop_one(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_take_over_unheard_one_goes_on_and_the_other_gives_way_to_it() {
    let (mut cluster, tenant) = of_three().await;
    cluster.write(tenant, &put("k", "before"), WriteId::default()).await.unwrap();
    let version = cluster.server(0).meta().version;
    let knows = |at: usize| cluster.server(at).meta().version >= version;
    eventually("all know it", || knows(1) && knows(2)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for at in [0, 1, 2] {
        cluster.stop_one(at).await;
    }
    let mut takers = Vec::new();
    for at in [1, 2] {
        let own = opened(&cluster, at, &cluster.folder(at)).await;
        assert_eq!(own.decide(Target::Newest, "dana", "alone").unwrap().plan.generation, 2);
        own.close();
        cluster.start(at).await;
        let server = cluster.server(at).clone();
        holds(&server, tenant, 1).await;
        takers.push((server.node(), at));
        drop(server);
        if at == 1 {
            // They do not hear of each other yet.
            cluster.stop_one(1).await;
        }
    }
    cluster.start(1).await;
    takers.sort_unstable();
    let [(winner, goes_on), (loser, gives_way)] = takers[..] else { panic!("two") };
    let old = cluster.server(gives_way).clone();
    let why = tokio::time::timeout(Duration::from_secs(60), old.begins_again()).await.unwrap();
    assert!(why.contains("fenced by generation 2"), "{why}");
    drop(old);
    cluster.stop_one(gives_way).await;
    cluster.start(gives_way).await;
    let old = cluster.server(gives_way).clone();
    let refused = old.fenced().unwrap();
    assert_eq!((refused.code, refused.better), (code::FENCED, Some(winner)));
    assert!(refused.text.contains("twice") && refused.text.contains(&winner.to_string()), "{refused}");
    let findings = old.findings();
    let told = findings.iter().find(|one| one.name == "node_fenced").unwrap();
    assert!(told.text.contains(&winner.to_string()), "{}", told.text);
    assert_ne!(old.node(), winner);
    drop(old);
    // The other one goes on, whatever the loser has said.
    let server = cluster.server(goes_on).clone();
    eventually("it is recorded", || server.meta().generations.contains_key(&2)).await;
    assert!(server.fenced().is_none() && server.meta().generations[&2].gone.contains(&loser));
    let next = server.door().unwrap().write(tenant, &put("next", "new"), WriteId::default(), WAIT_MS).await;
    next.unwrap();
    drop(server);
    cluster.stop_one(gives_way).await;
    cluster.stop_one(goes_on).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archive_goes_on_across_a_cut_and_what_was_cut_off_never_comes_back() {
    let mut cluster = Cluster::found_with(archive::said).await;
    let tenant = cluster.tenant("acme").await;
    archive::add_data(&cluster, tenant).await;
    let mut good = Oracle::default();
    let mut before = Stamp::ZERO;
    for n in 0..30 {
        before = good.write(&cluster, tenant, &format!("k{n}"), "before").await;
    }
    cluster.join_late("d1", "us", HOUR_MS).await;
    eventually("it has a copy", || late(&cluster).is_some_and(|late| late.received.is_some())).await;
    // A snapshot is as of the last tick that is closed.
    archive::is_archived(&cluster, before).await;
    let (base, _) = archive::snapshot(&cluster).await;
    let cut = good.write(&cluster, tenant, "last", "good").await;
    let mut bad = Oracle::default();
    let mut after = cut;
    for n in 0..20 {
        after = bad.write(&cluster, tenant, &format!("bad{n}"), "a mistake").await;
    }
    archive::is_archived(&cluster, after).await;
    eventually("all has come in", || late(&cluster).unwrap().received > Some(after)).await;
    let was = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    cluster.stop_one(0).await;
    cluster.stop_one(1).await;
    let own = opened(&cluster, 1, &cluster.folder(1)).await;
    own.decide(Target::Upto(cut), "dana", "INC-4711").unwrap();
    own.close();
    cluster.start(1).await;
    holds(&cluster.server(1).clone(), tenant, 31).await;
    eventually("it is recorded", || cluster.server(1).meta().generations.contains_key(&2)).await;
    let row = cluster.server(1).meta().generations[&2].clone();
    let is = cluster.server(1).meta().shard_of(tenant).unwrap().group;
    let goes_on = row.goes_on.iter().find(|one| one.was == was).copied().unwrap();
    assert!(goes_on.is == is && goes_on.after <= cut, "{goes_on:?}");
    let mut last = cut;
    for n in 0..10 {
        last = good.write(&cluster, tenant, &format!("new{n}"), "after").await;
    }
    let frontier = archive::is_archived(&cluster, last).await;
    let found = archive::archive(&cluster).await;
    let seen = window(&found, &Scope::default());
    assert_eq!(seen.generations, [(Generation(1), cut), (Generation(2), Stamp::MAX)]);
    assert_eq!(seen.holes, []);
    assert!(seen.spans[0].from == Stamp::ZERO && seen.spans[0].upto >= last, "{:?}", seen.spans);
    // Before the cut, at it, between the two histories, and now: equal to what was acknowledged and stayed.
    for at in [base.cut.upto(), Stamp(cut.0 - 1), cut, after, last, frontier] {
        good.compare(&archive::versions(&cluster, at).await, at);
    }
    let whole = archive::versions(&cluster, frontier).await;
    assert!(bad.0.keys().all(|version| !whole.contains_key(version)), "what was cut off came back");
    // What was cut off lies in the archive as long as its markers do.
    let tells = |end: &(Generation, TickEnd)| end.0 == Generation(1) && end.1.upto() > after;
    assert!(found.markers().keys().any(tells));
    // The next snapshot is of the new generation, and a base.
    let (next, done) = archive::snapshot_at(&cluster, 1).await;
    assert_eq!(done.generation(), Generation(2));
    assert_eq!(window(&archive::archive(&cluster).await, &Scope::default()).bases, [base, next]);
    let shown = cluster.server(1).windows().await.unwrap();
    let lines: Vec<(u64, bool)> =
        shown[0].generations.iter().map(|line| (line.generation, line.cut_ms > 0)).collect();
    assert_eq!(lines, [(1, true), (2, false)]);
    cluster.stop_one(1).await;
}
