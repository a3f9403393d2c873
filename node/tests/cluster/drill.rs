//! Drills: a whole archive passes, and one with a planted fault does not; a delayed node is looked at without being moved. Certificates say it.

use super::delayed::{HOUR_MS, late, with_late};
use super::put;
use super::rebirth::{archived, settings};
use super::restore::{Dice, Oracle, some};
use super::rig::{Cluster, eventually};
use super::watch::with_collection;
use node::archive::chain::Snapshotted;
use node::archive::naming::Name;
use node::drill::schedule::EVERY;
use node::meta::command::{Change, MetaCommand};
use node::restore::archive::sources;
use node::server::Server;
use node::shard::door::WriteId;
use proto::v1::{DrillShown, RunDrillRequest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn asked(kind: &str, tenant: &str) -> RunDrillRequest {
    RunDrillRequest { kind: kind.to_owned(), tenant: tenant.to_owned(), node: 0 }
}

async fn done(server: &Arc<Server>, asked: RunDrillRequest) -> DrillShown {
    let id = server.run_drill(&asked).unwrap();
    for _ in 0..600 {
        let found = server.drills_shown().await.unwrap().into_iter().find(|one| one.id == id);
        if let Some(one) = found.filter(|one| one.state != "running") {
            assert!(!server_folder(server).join("drill").exists(), "something stays of it");
            return one;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the drill does not end");
}

fn server_folder(server: &Arc<Server>) -> PathBuf {
    server.folder().to_owned()
}

async fn newest(server: &Arc<Server>) -> Option<Snapshotted> {
    sources(server).await.unwrap()?.archive.snapshots().into_values().next_back()
}

/// Files below a folder, of which one of these words is in the path.
fn files(below: &Path, word: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(below).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path, word)),
            false if path.display().to_string().contains(word) => all.push(path),
            false => {}
        }
    }
    all.sort();
    all
}

/// Plants a fault in an object below `home`, of those with this word, and lets a drill find it: a flipped byte, or an object that is gone.
async fn found_where_planted(
    server: &Arc<Server>,
    home: &Path,
    drill: &RunDrillRequest,
    (word, is_gone): (&str, bool),
) {
    let flips = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let all = files(home, word);
    let mut failed = None;
    // What the newest point does not need is not looked at: every one is tried until a drill fails.
    for path in all.iter().rev() {
        let kept = std::fs::read(path).unwrap();
        if is_gone {
            std::fs::remove_file(path).unwrap()
        } else {
            flips(path)
        }
        let ended = done(server, drill.clone()).await;
        std::fs::write(path, kept).unwrap();
        if ended.state == "failed" {
            failed = Some((path.clone(), ended));
            break;
        }
    }
    let none = || panic!("{word} {is_gone}: no drill has failed of {}", all.len());
    let (path, ended) = failed.unwrap_or_else(none);
    let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let found = ended.found.join("; ");
    assert!(is_gone || found.contains(&stem), "{word} {stem}: {found}");
    // Its certificate says so, signed, beside the snapshot.
    let one = newest(server).await.unwrap();
    let proof = one.proofs.iter().find(|(name, _)| ended.certificate.contains(name.as_str())).unwrap().1;
    assert!(!proof.is_passed && proof.found == ended.found);
    assert!(matches!(Name::parse(&ended.certificate), Some(Name::Proof(..))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_archive_passes_and_each_planted_fault_is_certified() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::found_with(|_| settings(dir.path())).await;
    let server = cluster.server(0).clone();
    let mut tenants = Vec::new();
    for name in ["acme", "birch"] {
        let tenant = cluster.tenant(name).await;
        with_collection(&cluster, tenant).await;
        tenants.push((tenant, Oracle::default()));
    }
    let mut dice = Dice(5);
    for (tenant, oracle) in &mut tenants {
        some(&cluster, *tenant, oracle, &mut dice, 40).await;
    }
    archived(
        &cluster,
        tenants.iter().filter_map(|(_, oracle)| oracle.0.last().map(|one| one.0)).max().unwrap(),
    )
    .await;
    let mut begun = server.begin_snapshot(true, 5_000).await;
    while begun.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        begun = server.begin_snapshot(true, 5_000).await;
    }
    while newest(&server).await.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!newest(&server).await.unwrap().is_proven(), "nobody has restored it");
    // What comes behind the snapshot stands in ticks.
    for (tenant, oracle) in &mut tenants {
        some(&cluster, *tenant, oracle, &mut dice, 20).await;
    }
    archived(
        &cluster,
        tenants.iter().filter_map(|(_, oracle)| oracle.0.last().map(|one| one.0)).max().unwrap(),
    )
    .await;
    for (kind, tenant, count) in [("restore", "", 2), ("tenant", "birch", 1)] {
        let passed = done(&server, asked(kind, tenant)).await;
        assert_eq!((&*passed.state, passed.tenants, &passed.found[..]), ("passed", count, &[][..]), "{kind}");
        assert!(passed.certificate.starts_with("proof/") && passed.bytes > 0);
    }
    assert!(newest(&server).await.unwrap().is_proven());
    for bad in [asked("other", ""), asked("tenant", ""), asked("restore", "acme"), asked("tenant", "cedar")] {
        assert!(server.run_drill(&bad).is_err(), "{bad:?}");
    }

    let (home, whole) = (dir.path().join("archive"), asked("restore", ""));
    for planted in [("/data/", false), ("/log/", false), ("/log/", true), ("/tick/", true)] {
        found_where_planted(&server, &home, &whole, planted).await;
    }
    found_where_planted(&server, &home, &asked("tenant", "birch"), ("/log/", false)).await;
    let well = done(&server, whole).await;
    assert_eq!((&*well.state, &well.found[..]), ("passed", &[][..]));

    // By a schedule; and an alarm when none has passed for too long.
    let every = MetaCommand::new(vec![Change::PutSetting(EVERY.to_owned(), Some("1".to_owned()))]);
    server.change(every, 5_000).await.unwrap();
    let (before, mut count) = (server.drills_shown().await.unwrap().len(), 0);
    while count <= before {
        tokio::time::sleep(Duration::from_millis(200)).await;
        count = server.drills_shown().await.unwrap().len();
    }
    eventually("none can be as young as this", || {
        server.findings().iter().any(|one| one.name == "drill_old")
    })
    .await;
    drop(server);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_is_gone_through_in_mind_alone() {
    let (cluster, tenant) = with_late(120, HOUR_MS).await;
    let last = cluster.write(tenant, &put("last", "good"), WriteId::default()).await.unwrap();
    eventually("all has come in", || late(&cluster).unwrap().received > Some(last)).await;
    let before = late(&cluster).unwrap();
    let passed = done(cluster.server(0), asked("takeover", "")).await;
    assert_eq!((&*passed.state, passed.tenants, &passed.found[..]), ("passed", 1, &[][..]));
    assert!(
        passed.target > last.0 && passed.certificate.is_empty(),
        "without an archive there is no certificate"
    );
    let after = late(&cluster).unwrap();
    assert!(
        after.gate.ms() < last.ms() && after.limit.is_none() && after.note == before.note,
        "nothing was moved"
    );
    assert!(cluster.server(1).fenced().is_none() && cluster.server(0).fenced().is_none());
    cluster.stop().await;
}
