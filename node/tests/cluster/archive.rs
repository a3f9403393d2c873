//! Everything that was acknowledged stands in the archive up to its frontier, and nothing that was not written: whoever dies meanwhile.

use super::put;
use super::rig::{Cluster, DATA, eventually};
use engine::Stamp;
use engine::ids::TenantId;
use engine::key;
use engine::read::OwnedSlot;
use engine::table::Reach;
use node::archive::chain::Archive;
use node::archive::load::load;
use node::archive::manifest::MANIFEST_BYTES_MAX;
use node::archive::manifest::keyring::Keyring;
use node::archive::manifest::snapshot::SnapshotDone;
use node::archive::naming::{Name, SnapshotId, keyring_root, root};
use node::archive::site::{Site, open};
use node::archive::verify::verify;
use node::archive::window::{Scope, Span, objects_for, window};
use node::archive::{manifest, sites, tick};
use node::clock::SystemClock;
use node::meta::command::{Change, MetaCommand};
use node::shard::door::WriteId;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn said(dir: &Path) -> Vec<(&'static str, String)> {
    let at = |name: &str| dir.join(name).display().to_string();
    vec![
        ("archive.sites", format!("home=file://{} far=file://{};role=copy", at("archive"), at("far"))),
        ("archive.keyring", format!("keys=file://{}", at("keys"))),
        ("archive.tick", "1s".to_owned()),
    ]
}

pub(super) fn site(cluster: &Cluster, folder: &str, below: String) -> Site {
    let text = format!("it=file://{}", cluster.dir().join(folder).display());
    let setting = sites::parse(&text).unwrap().remove(0);
    open::site(&setting, below, Arc::new(SystemClock::default())).unwrap()
}

pub(super) async fn archive(cluster: &Cluster) -> Archive {
    let server = cluster.servers().next().unwrap();
    let key = server.keys().sealer().public_key().unwrap();
    let home = site(cluster, "archive", root(server.cluster()));
    let mut archive = load(&home, server.cluster(), Some(key)).await;
    while archive.as_ref().is_err_and(|error| error.to_string().contains("genesis")) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        archive = load(&home, server.cluster(), Some(key)).await;
    }
    let archive = archive.unwrap();
    assert_eq!(archive.faults(), []);
    archive
}

/// The versions of the data of tenants that stand in the archive up to a stamp.
pub(super) async fn versions(cluster: &Cluster, upto: Stamp) -> BTreeMap<Vec<u8>, OwnedSlot> {
    let server = cluster.servers().next().unwrap();
    let home = site(cluster, "archive", root(server.cluster()));
    let needed = objects_for(&archive(cluster).await, &Scope::default(), None, upto).unwrap();
    let mut found = BTreeMap::new();
    for one in needed.ticks {
        let name = Name::TickFile(one.file.name().unwrap()).to_string();
        let bytes = home.get(&name, 1 << 30).await.unwrap();
        let table = tick::open(server.keys().sealer().clone(), &one.file, bytes).unwrap();
        tick::for_each(&table, Reach::All, |version, slot| {
            let (row, stamp) = key::split(version);
            let (tenant, collection, _) = key::decode_row(row)?;
            if tenant != TenantId(0) && collection == DATA && stamp <= one.upto {
                found.insert(version.to_vec(), slot.to_owned());
            }
            assert!(!node::archive::collect::is_left_out(tenant, collection), "no key is in an archive");
            Ok(())
        })
        .unwrap();
    }
    found
}

/// What was acknowledged, by version.
#[derive(Default)]
pub(super) struct Oracle(pub(super) BTreeMap<Vec<u8>, String>);

impl Oracle {
    pub(super) async fn write(
        &mut self,
        cluster: &Cluster,
        tenant: TenantId,
        key: &str,
        value: &str,
    ) -> Stamp {
        let stamp = cluster.write(tenant, &put(key, value), WriteId::default()).await.unwrap();
        let version = key::version(&key::row(tenant, DATA, key.as_bytes()), stamp);
        self.0.insert(version, value.to_owned());
        stamp
    }

    /// Missing and extra are both wrong. A write that was tried twice may stand twice: each key has values of its own.
    pub(super) fn compare(&self, found: &BTreeMap<Vec<u8>, OwnedSlot>, upto: Stamp) {
        let is_due = |version: &&Vec<u8>| key::split(version).1 <= upto;
        let due: Vec<&Vec<u8>> = self.0.keys().filter(is_due).collect();
        assert!(!due.is_empty());
        for version in due {
            let OwnedSlot::Put { value, .. } = found.get(version).expect("what was acknowledged is there")
            else {
                panic!("a deletion nobody asked for")
            };
            assert_eq!(value[..], *self.0[version].as_bytes());
        }
        let rows: BTreeSet<&[u8]> = self.0.keys().map(|version| key::split(version).0).collect();
        assert!(found.keys().all(|version| rows.contains(key::split(version).0)), "nothing else is");
    }
}

pub(super) async fn is_archived(cluster: &Cluster, upto: Stamp) -> Stamp {
    for _ in 0..600 {
        let frontier = window(&archive(cluster).await, &Scope::default()).frontier;
        if let Some(frontier) = frontier.filter(|frontier| *frontier >= upto) {
            return frontier;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is not archived: {:?}", cluster.servers().next().unwrap().meta().archived);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_archives_dies_and_nothing_acknowledged_is_missing() {
    let mut cluster = Cluster::found_with(said).await;
    cluster.join("two", "us").await;
    cluster.join("three", "as").await;
    let tenants = [cluster.tenant("acme").await, cluster.tenant("globex").await];
    let group = cluster.server(0).meta().shard_of(tenants[0]).unwrap().group;
    eventually("three vote", || cluster.voters(group) == 3 && cluster.voters(GroupId::META) == 3).await;
    let mut oracle = Oracle::default();
    for n in 0..60 {
        for tenant in tenants {
            oracle.write(&cluster, tenant, &format!("k{n}"), &format!("value {n}")).await;
        }
    }
    let row = |cluster: &Cluster| {
        let server = cluster.servers().next().unwrap();
        server.meta().archived.get(&group).copied().unwrap_or_default()
    };
    eventually("somebody archives the group", || row(&cluster).has_begun).await;
    let holder = row(&cluster).holder;
    let at = cluster.position(holder).unwrap();
    cluster.stop_one(at).await;
    let mut last = Stamp::ZERO;
    for n in 60..120 {
        for tenant in tenants {
            last = last.max(oracle.write(&cluster, tenant, &format!("k{n}"), &format!("value {n}")).await);
        }
    }
    let frontier = is_archived(&cluster, last).await;
    assert_ne!(row(&cluster).holder, holder, "another has taken over");
    oracle.compare(&versions(&cluster, frontier).await, frontier);
    let window = window(&archive(&cluster).await, &Scope::default());
    assert_eq!(window.spans, [Span { from: Stamp::ZERO, upto: window.frontier.unwrap() }]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_it_goes_on_where_it_was_and_the_keys_are_kept_elsewhere() {
    let mut cluster = Cluster::found_with(said).await;
    let tenant = cluster.tenant("acme").await;
    let mut oracle = Oracle::default();
    for n in 0..20 {
        oracle.write(&cluster, tenant, &format!("k{n}"), "before").await;
    }
    cluster.restart(0).await;
    let mut last = Stamp::ZERO;
    for n in 20..40 {
        last = oracle.write(&cluster, tenant, &format!("k{n}"), "after").await;
    }
    let frontier = is_archived(&cluster, last).await;
    oracle.compare(&versions(&cluster, frontier).await, frontier);
    assert_eq!(window(&archive(&cluster).await, &Scope::default()).holes, []);
    let server = cluster.server(0);
    let keys = site(&cluster, "keys", keyring_root(server.cluster()));
    let newest = keys.list("").await.unwrap().pop().expect("keys are kept");
    let name = Name::parse(&newest.name).unwrap();
    let bytes = keys.get(&newest.name, MANIFEST_BYTES_MAX as u64).await.unwrap();
    let public = server.keys().sealer().public_key().unwrap();
    let keyring: Keyring = manifest::open(&public, server.cluster(), &name, &bytes).unwrap();
    let owned = keyring.keys.iter().filter(|key| key.owner == tenant.0).count();
    assert_eq!(owned, 3, "the key of the tenant, and two under it");
    assert_eq!(keyring.root().unwrap().cluster, server.cluster());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_was_away_catches_up_and_nothing_is_missing() {
    let cluster = Cluster::found_with(said).await;
    let tenant = cluster.tenant("acme").await;
    let mut oracle = Oracle::default();
    let mut last = oracle.write(&cluster, tenant, "k0", "before").await;
    is_archived(&cluster, last).await;
    // Where the folder of the cluster was stands something else.
    let folder = cluster.dir().join("archive/dewpond");
    let aside = cluster.dir().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, b"no folder").unwrap();
    for n in 1..40 {
        last = oracle.write(&cluster, tenant, &format!("k{n}"), "meanwhile").await;
    }
    let is_told = || cluster.server(0).archiving().known().failure.is_some();
    eventually("it is told that the site is away", is_told).await;
    assert!(cluster.server(0).archive_lag_ms().unwrap() > 1_000);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let frontier = is_archived(&cluster, last).await;
    oracle.compare(&versions(&cluster, frontier).await, frontier);
    assert_eq!(window(&archive(&cluster).await, &Scope::default()).holes, []);
    eventually("it is told no more", || !is_told()).await;
    let (from, far) = (site(&cluster, "archive", root(cluster.server(0).cluster())), "far");
    let to = site(&cluster, far, root(cluster.server(0).cluster()));
    let ticks = from.list("log/").await.unwrap();
    let mut there = Vec::new();
    for _ in 0..200 {
        there = to.list("log/").await.unwrap();
        if ticks.iter().all(|one| there.contains(one)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(ticks.iter().all(|one| there.contains(one)), "the other site has followed");
    cluster.stop().await;
}

async fn walk(cluster: &Cluster) -> Vec<String> {
    let server = cluster.server(0);
    let home = site(cluster, "archive", root(server.cluster()));
    let key = server.keys().sealer().public_key().unwrap();
    let walked = verify(&home, server.cluster(), Some(key), true).await.unwrap();
    walked.archive.faults().iter().map(ToString::to_string).collect()
}

/// Takes a snapshot, and waits until it is whole.
pub(super) async fn snapshot(cluster: &Cluster) -> (SnapshotId, SnapshotDone) {
    snapshot_at(cluster, 0).await
}

/// The same, begun by this node.
pub(super) async fn snapshot_at(cluster: &Cluster, node: usize) -> (SnapshotId, SnapshotDone) {
    let mut begun = cluster.server(node).begin_snapshot(true, 5_000).await;
    for _ in 0..100 {
        if begun.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        begun = cluster.server(node).begin_snapshot(true, 5_000).await;
    }
    let id = begun.unwrap();
    for _ in 0..600 {
        if let Some(found) = archive(cluster).await.snapshots().remove(&id) {
            return (id, found.done);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no snapshot: {:?}", cluster.server(node).meta().snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_holds_everything_and_the_next_one_ships_what_is_new() {
    let cluster = Cluster::found_with(said).await;
    let tenant = cluster.tenant("acme").await;
    add_data(&cluster, tenant).await;
    let mut oracle = Oracle::default();
    let mut last = Stamp::ZERO;
    for n in 0..200 {
        last = oracle.write(&cluster, tenant, &format!("k{n}"), &"x".repeat(2_000)).await;
    }
    is_archived(&cluster, last).await;
    let (first, done) = snapshot(&cluster).await;
    assert!(first.cut.upto() >= last);
    let counted: Vec<(u64, u64)> = done.tenants.iter().map(|one| (one.tenant, one.keys)).collect();
    assert_eq!(counted, [(tenant.0, 200)]);
    assert!(done.shipped_bytes > 0 && done.before().unwrap().is_none());
    let (second, again) = snapshot(&cluster).await;
    assert_eq!(again.before().unwrap().map(|(id, _)| id), Some(first));
    assert_eq!(again.tenants[0].sum, done.tenants[0].sum, "nothing has changed");
    assert!(
        again.shipped_bytes * 4 < done.shipped_bytes,
        "{} of {}",
        again.shipped_bytes,
        done.shipped_bytes
    );
    oracle.write(&cluster, tenant, "k7", "another").await;
    assert_eq!(walk(&cluster).await, [""; 0]);
    let bases = window(&archive(&cluster).await, &Scope::default()).bases;
    assert_eq!(bases, [first, second]);
    spoil(&cluster).await;
    cluster.stop().await;
}

/// A collection of the tenant under the name that keys are counted by.
pub(super) async fn add_data(cluster: &Cluster, tenant: TenantId) {
    let command = MetaCommand::new(vec![Change::AddCollection(tenant, "data".to_owned())]);
    cluster.server(0).change(command, 5_000).await.unwrap();
    cluster.server(0).refresh(5_000).await.unwrap();
    assert_eq!(cluster.server(0).meta().collection(tenant, "data"), Some(DATA));
}

/// Whatever is done to an object, the walk names it.
async fn spoil(cluster: &Cluster) {
    let folder = cluster.dir().join("archive").join(root(cluster.server(0).cluster()));
    let home = site(cluster, "archive", root(cluster.server(0).cluster()));
    let marker = home.list("tick/").await.unwrap()[0].name.clone();
    for below in ["log/", "data/", "tick/", "snap/"] {
        let all = home.list(below).await.unwrap();
        let named = |one: &&node::archive::site::Listed| !one.name.ends_with("open.man");
        let victim = all.iter().find(named).unwrap().name.clone();
        // Where only one lies, what belongs elsewhere takes its place.
        let other = all.iter().filter(named).nth(1).map_or(marker.clone(), |one| one.name.clone());
        let path = folder.join(&victim);
        let bytes = std::fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let swapped = std::fs::read(folder.join(&other)).unwrap();
        for spoiled in [Some(flipped), Some(bytes[..bytes.len() - 1].to_vec()), Some(swapped), None] {
            match spoiled {
                Some(spoiled) => std::fs::write(&path, spoiled).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let found = walk(cluster).await;
            assert!(found.iter().any(|text| text.contains(&victim)), "{victim}: {found:?}");
            std::fs::write(&path, &bytes).unwrap();
        }
    }
    assert_eq!(walk(cluster).await, [""; 0]);
}
