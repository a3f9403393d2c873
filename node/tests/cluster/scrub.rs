//! A byte flips in a table of a node. It is found and told, and mended: from a peer that has the same file, or by a replica that takes the place
//! of the damaged one. Nobody is ever answered with anything wrong.

use super::put;
use super::rig::{Cluster, eventually};
use engine::ids::TenantId;
use node::meta::command::{Change, MetaCommand};
use node::server::scrubbing::ASKED;
use node::shard::door::WriteId;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROWS: usize = 60;

fn value(n: usize) -> String {
    format!("{n}-").repeat(400)
}

/// Table files below `folder` that hold something of a tenant.
fn tables_of(folder: &Path, tenant: TenantId) -> BTreeSet<PathBuf> {
    let all = std::fs::read_dir(folder.join("pool/tables")).unwrap().map(|entry| entry.unwrap().path());
    let names = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(8).any(|window| window == tenant.0.to_be_bytes())
    };
    all.filter(names).collect()
}

/// Flips a bit of the first block of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[96 + 60] ^= 1;
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&bytes[96 + 60..=96 + 60], 96 + 60).unwrap();
}

async fn ask(cluster: &Cluster) {
    let asked = Change::PutSetting(ASKED.to_owned(), Some(cluster.now_ms().to_string()));
    cluster.server(0).change(MetaCommand::new(vec![asked]), 10_000).await.unwrap();
}

fn figures(cluster: &Cluster, at: usize) -> [u64; 3] {
    let metrics = cluster.server(at).metrics();
    ["dewpond_scrub_damaged_tables ", "dewpond_scrub_mended_tables ", "dewpond_scrub_replaced_replicas "]
        .map(|name| metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap())
}

async fn all_is_right(cluster: &Cluster, tenant: TenantId) {
    for n in 0..ROWS {
        assert_eq!(cluster.read(tenant, &format!("k{n}")).await, Some(value(n)), "row {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_found_and_mended_from_a_peer_or_by_another_replica() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    for n in 0..ROWS {
        cluster.write(tenant, &put(&format!("k{n}"), &value(n)), WriteId::default()).await.unwrap();
    }
    let freeze = |cluster: &Cluster, at: usize| {
        cluster.server(at).running().unwrap().pool().tablets().iter().for_each(|tablet| tablet.freeze());
    };
    freeze(&cluster, 0);
    eventually("it lies in a table", || !tables_of(&cluster.folder(0), tenant).is_empty()).await;
    // Whoever joins now is sent these very files.
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    eventually("three vote", || cluster.voters(GroupId::META) == 3 && cluster.voters(group) == 3).await;
    let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let of = |at: usize| tables_of(&cluster.folder(at), tenant);
    let shared = of(1).into_iter().find(|path| of(0).iter().any(|other| name(other) == name(path)));
    let shared = shared.expect("a snapshot sends files as they are");
    let whole = std::fs::read(&shared).unwrap();
    flip(&shared);
    ask(&cluster).await;
    eventually("it is mended from a peer", || figures(&cluster, 1) == [0, 1, 0]).await;
    assert_eq!(std::fs::read(&shared).unwrap(), whole, "to the byte");
    all_is_right(&cluster, tenant).await;

    // A file that nobody else has: its replica is given up, and another takes its place. It is damaged while the node is down.
    cluster.write(tenant, &put("late", "it"), WriteId::default()).await.unwrap();
    eventually("it has come", || cluster.is_caught_up(1, group)).await;
    let before = of(1);
    freeze(&cluster, 1);
    eventually("it lies in a table of its own", || of(1).len() > before.len() || of(1).is_disjoint(&before))
        .await;
    let own = of(1).difference(&before).next().unwrap().clone();
    let replica = cluster.server(1).running().unwrap().living()[&group];
    cluster.stop_one(1).await;
    flip(&own);
    cluster.start(1).await;
    eventually("it runs", || {
        cluster.server(1).running().is_ok_and(|running| running.replica(group).is_some())
    })
    .await;
    ask(&cluster).await;
    eventually("it is told by file", || {
        let id = own.file_stem().unwrap().to_str().unwrap().to_owned();
        let findings = cluster.server(1).findings();
        findings.iter().any(|one| one.is_failure && one.text.contains("damaged") && one.text.contains(&id))
            || figures(&cluster, 1)[2] > 0
    })
    .await;
    eventually("another replica takes its place", || {
        let living = cluster.server(1).running().unwrap().living();
        living.get(&group).is_some_and(|now| *now != replica)
    })
    .await;
    eventually("all is well again", || {
        let figures = figures(&cluster, 1);
        figures[0] == 0 && figures[2] == 1 && cluster.voters(group) == 3 && cluster.is_caught_up(1, group)
    })
    .await;
    all_is_right(&cluster, tenant).await;
    assert_eq!(cluster.read(tenant, "late").await, Some("it".to_owned()));
    cluster.stop().await;
}
