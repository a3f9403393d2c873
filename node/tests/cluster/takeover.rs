//! A node takes over that does not run: cut short at every step it goes on at the next start, to the same end; a survivor keeps what it has.

use super::delayed::{HOUR_MS, deletes, late, with_late};
use super::put;
use super::rebirth::{archived, copied, settings};
use super::rig::{Cluster, DATA, eventually, passphrase};
use engine::Stamp;
use engine::ids::TenantId;
use node::archive::window::{Scope, window};
use node::delayed::order::{Answer, Order};
use node::meta::node_row::NodeState;
use node::restore::archive::sources;
use node::server::Server;
use node::shard::door::{Consistency, WriteId};
use node::takeover::decision::{Decision, Way};
use node::takeover::generation::Told;
use node::takeover::offline::Folder;
use node::takeover::order::{self, Ask, Target};
use node::takeover::tail;
use proto::errors::code;
use proto::v1::RunDrillRequest;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_three_goes_on_with_all_it_has_and_the_others_are_fenced() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    super::watch::with_collection(&cluster, tenant).await;
    cluster.join("two", "eu").await;
    cluster.join("three", "eu").await;
    let groups: Vec<_> = cluster.server(0).meta().shards.keys().copied().collect();
    eventually("all have three voters", || groups.iter().all(|group| cluster.voters(*group) == 3)).await;
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
async fn an_archive_goes_on_from_the_cut_in_the_new_generation() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::found_with(|_| settings(dir.path())).await;
    let tenant = cluster.tenant("acme").await;
    super::watch::with_collection(&cluster, tenant).await;
    for n in 0..30 {
        cluster.write(tenant, &put(&format!("k{n:05}"), "good"), WriteId::default()).await.unwrap();
    }
    cluster.join_late("d1", "us", HOUR_MS).await;
    let bad = cluster
        .write(tenant, &deletes((0..20).map(|n| format!("k{n:05}"))), WriteId::default())
        .await
        .unwrap();
    archived(&cluster, bad).await;
    eventually("all has come in", || late(&cluster).is_some_and(|late| late.received > Some(bad))).await;
    let gate = late(&cluster).unwrap().gate;
    let cut = Stamp(bad.0 - 1).max(gate);
    assert!(cut < bad, "it has applied it already");
    cluster.stop_one(0).await;
    let ask = Ask::Promote { target: Target::Upto(cut), reason: "INC-4711".into(), is_plan: false };
    let decided = cluster.server(1).order_here("dana", Order::TakeOver(ask)).await.unwrap();
    assert!(matches!(decided, Answer::TakeOver(order::Answer::Plan(plan)) if plan.is_decided));
    cluster.server(1).begins_again().await;
    cluster.stop_one(1).await;
    cluster.start(1).await;
    let server = cluster.server(1).clone();
    holds(&server, tenant, 30).await;
    let next =
        server.door().unwrap().write(tenant, &put("next", "new"), WriteId::default(), WAIT_MS).await.unwrap();
    let mut frontier = None;
    for _ in 0..600 {
        if let Ok(Some(found)) = sources(&server).await {
            let window = window(&found.archive, &Scope::default());
            frontier = window.frontier;
            if window.holds(next) {
                assert_eq!(found.archive.generations().keys().map(|one| one.0).collect::<Vec<_>>(), [1, 2]);
                assert!(window.holds(cut) && window.holes.is_empty(), "{:?}", window.holes);
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(frontier > Some(next), "{next} is not archived, but {frontier:?}");
    // What the archive holds of the new generation is what the cluster holds: nothing of what was cut off.
    let drill = RunDrillRequest { kind: "restore".into(), ..RunDrillRequest::default() };
    let id = server.run_drill(&drill).unwrap();
    let mut ended = None;
    while ended.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let all = server.drills_shown().await.unwrap();
        ended = all.into_iter().find(|one| one.id == id && one.state != "running");
    }
    let ended = ended.unwrap();
    assert_eq!((&*ended.state, ended.tenants, &ended.found[..]), ("passed", 1, &[][..]));
    drop(server);
    cluster.stop_one(1).await;
}
