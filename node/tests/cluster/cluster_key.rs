//! The cluster key is rotated while nodes write, one of them is away, another starts anew in the middle; afterwards the old one opens nothing.

use super::put;
use super::rig::{Cluster, eventually, passphrase};
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use node::api::Backend;
use node::boot::identity::NodeFolder;
use node::entropy::SystemEntropy;
use node::keys::kms::file::FileKms;
use node::keys::root_file::RootFile;
use node::keys::source::Keys;
use node::meta::view::MetaView;
use node::server::backend::Called;
use node::shard::door::WriteId;
use proto::errors::code;
use raft::types::GroupId;
use std::sync::Arc;
use std::time::Duration;

fn root_of(folder: &std::path::Path) -> RootFile {
    RootFile::decode(&NodeFolder::at(folder).root().unwrap()).unwrap()
}

/// What opens with this root file and these keys of tenants, as at a start: how many keys do not.
fn unopened(root: &RootFile, meta: &MetaView) -> Option<usize> {
    let entropy = Arc::new(SystemEntropy);
    let kms = FileKms::open(root.cluster, &passphrase(), &root.kms, entropy.clone()).ok()?;
    let keys = Keys::open(root, &kms, entropy).ok()?;
    Some(keys.learn(&meta.key_rows()).len())
}

/// Begins a rotation through a node, whoever leads by now.
async fn rotate(cluster: &Cluster, at: usize, wanted: u32) {
    let called = Called(cluster.server(at).clone());
    for _ in 0..100 {
        let begun = called.rotate_cluster(10_000).await;
        if called.meta().root.as_ref().is_some_and(|row| row.newest() == wanted) {
            return;
        }
        assert!(begun.is_err() || begun == Ok(wanted), "{begun:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no rotation begins");
}

async fn write(cluster: &Cluster, tenants: &[TenantId], key: &str) {
    for tenant in tenants {
        cluster.write(*tenant, &put(key, "value"), WriteId::default()).await.unwrap();
    }
}

fn is_rewrapped(meta: &MetaView) -> bool {
    meta.tenant_keys.values().all(|row| row.wrapped_by == KeyEpoch(2))
}

/// While one is away and another starts anew in the middle.
async fn rotate_with_one_away(cluster: &mut Cluster, tenants: &mut Vec<TenantId>) {
    cluster.stop_one(2).await;
    rotate(cluster, 0, 2).await;
    let again = Called(cluster.server(0).clone()).rotate_cluster(10_000).await.unwrap_err();
    assert_eq!(again.code, code::CHANGE_REFUSED, "one at a time: {again}");
    eventually("all keys are wrapped anew", || is_rewrapped(&cluster.server(0).meta())).await;
    write(cluster, tenants, "k1").await;
    // With both keys, and with what each wraps.
    cluster.restart(1).await;
    eventually("two have taken the file", || {
        let meta = cluster.server(0).meta();
        meta.without_root().map(|row| row.name.clone()).collect::<Vec<_>>() == ["three"]
    })
    .await;
    write(cluster, tenants, "k2").await;
    let meta = cluster.server(0).meta();
    assert_eq!(meta.root.as_ref().unwrap().versions(), [1, 2], "the old one stays for whoever is away");
    assert_eq!(root_of(&cluster.folder(2)).cluster_keys.len(), 1);
    // A tenant that is made now is wrapped by the new one.
    tenants.push(cluster.tenant("dogwood").await);
    assert!(is_rewrapped(&cluster.server(0).meta()));
}

/// Whoever has the old file and the old rows has nothing any more.
fn the_old_one_opens_nothing(cluster: &Cluster, before: &MetaView, old_root: &RootFile) {
    for at in 0..3 {
        let root = root_of(&cluster.folder(at));
        assert_eq!((root.cluster_keys.len(), root.cluster_keys[0].version), (1, 2), "node {at}");
        let ring = cluster.server(at).keys().sealer().keys().clone();
        assert!(ring.key(Owner::Cluster, Purpose::Wrap, KeyEpoch(1)).is_err(), "node {at} holds the old one");
    }
    let (now, new_root) = (cluster.server(0).meta(), root_of(&cluster.folder(0)));
    assert_eq!(unopened(&new_root, &now), Some(0));
    assert_eq!(unopened(&new_root, before), Some(before.key_rows().len()), "old wrapped rows do not open");
    assert_eq!(unopened(old_root, &now), Some(now.key_rows().len()), "nor do new ones with the old file");
    let entropy = Arc::new(SystemEntropy);
    let kms = FileKms::open(new_root.cluster, &passphrase(), &new_root.kms, entropy.clone()).unwrap();
    assert!(Keys::open(old_root, &kms, entropy).is_err(), "the old root key is destroyed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_key_is_rotated_under_writes_restarts_and_with_a_node_away() {
    let mut cluster = Cluster::found().await;
    let mut tenants = Vec::new();
    for name in ["acme", "birch", "cedar"] {
        tenants.push(cluster.tenant(name).await);
    }
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    let groups: Vec<GroupId> = cluster.server(0).meta().shards.keys().copied().collect();
    eventually("three vote everywhere", || groups.iter().all(|group| cluster.voters(*group) == 3)).await;
    write(&cluster, &tenants, "k0").await;
    let (before, old_root) = (cluster.server(0).meta(), root_of(&cluster.folder(0)));
    assert_eq!((unopened(&old_root, &before), before.root.is_none()), (Some(0), true));
    rotate_with_one_away(&mut cluster, &mut tenants).await;

    cluster.start(2).await;
    let is_through = |meta: &MetaView| {
        meta.root.as_ref().is_some_and(|row| row.versions() == [2]) && meta.without_root().next().is_none()
    };
    eventually("the old key is gone everywhere", || {
        cluster.servers().all(|server| is_through(&server.meta()))
    })
    .await;
    write(&cluster, &tenants, "k3").await;
    the_old_one_opens_nothing(&cluster, &before, &old_root);
    // All of it holds after all have started anew, and it can be done again.
    for at in 0..3 {
        cluster.restart(at).await;
    }
    for tenant in &tenants[..3] {
        for key in ["k0", "k1", "k2", "k3"] {
            assert_eq!(cluster.read(*tenant, key).await, Some("value".to_owned()));
        }
    }
    rotate(&cluster, 1, 3).await;
    cluster.stop().await;
}
