//! The cluster key is rotated while nodes write, one of them is away, another starts anew in the middle; afterwards the old one opens nothing.

use super::put;
use super::rig::{Cluster, eventually, passphrase};
use engine::ids::{KeyEpoch, Owner, Purpose};
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
    let mut written = 0;
    let mut write = async |cluster: &Cluster| {
        for tenant in &tenants {
            cluster.write(*tenant, &put(&format!("k{written}"), "value"), WriteId::default()).await.unwrap();
        }
        written += 1;
        written
    };
    write(&cluster).await;
    let (before, old_root) = (cluster.server(0).meta(), root_of(&cluster.folder(0)));
    assert_eq!((unopened(&old_root, &before), before.root.is_none()), (Some(0), true));

    // One is away throughout.
    cluster.stop_one(2).await;
    let called = Called(cluster.server(0).clone());
    assert_eq!(called.rotate_cluster(10_000).await.unwrap(), 2);
    let again = called.rotate_cluster(10_000).await.unwrap_err();
    assert_eq!(again.code, code::CHANGE_REFUSED, "one at a time: {again}");
    drop(called);
    let is_rewrapped = |meta: &MetaView| meta.tenant_keys.values().all(|row| row.wrapped_by == KeyEpoch(2));
    eventually("all keys are wrapped anew", || is_rewrapped(&cluster.server(0).meta())).await;
    write(&cluster).await;
    // Another starts anew in the middle: with both keys, and with what each wraps.
    cluster.restart(1).await;
    eventually("two have taken the file", || {
        let meta = cluster.server(0).meta();
        meta.without_root().map(|row| row.name.clone()).collect::<Vec<_>>() == ["three"]
    })
    .await;
    write(&cluster).await;
    let meta = cluster.server(0).meta();
    assert_eq!(meta.root.as_ref().unwrap().versions(), [1, 2], "the old one stays for whoever is away");
    assert_eq!(root_of(&cluster.folder(2)).cluster_keys.len(), 1);
    // A tenant that is made now is wrapped by the new one, through whatever node.
    for at in 0..2 {
        cluster.server(at).refresh(5_000).await.unwrap();
    }
    tenants.push(cluster.tenant("dogwood").await);
    assert!(is_rewrapped(&cluster.server(0).meta()));

    cluster.start(2).await;
    let is_through = |meta: &MetaView| {
        meta.root.as_ref().is_some_and(|row| row.versions() == [2]) && meta.without_root().next().is_none()
    };
    eventually("the old key is gone everywhere", || {
        cluster.servers().all(|server| is_through(&server.meta()))
    })
    .await;
    let mut last = 0;
    for _ in 0..2 {
        for tenant in &tenants {
            cluster.write(*tenant, &put("last", &last.to_string()), WriteId::default()).await.unwrap();
        }
        last += 1;
    }
    for at in 0..3 {
        let root = root_of(&cluster.folder(at));
        assert_eq!((root.cluster_keys.len(), root.cluster_keys[0].version), (1, 2), "node {at}");
        let ring = cluster.server(at).keys().sealer().keys().clone();
        assert!(ring.key(Owner::Cluster, Purpose::Wrap, KeyEpoch(1)).is_err(), "node {at} holds the old one");
    }
    // Whoever had the old file and the old rows: the new file opens none of the old rows' keys of tenants, the old file none of the new.
    let (now, new_root) = (cluster.server(0).meta(), root_of(&cluster.folder(0)));
    assert_eq!(unopened(&new_root, &now), Some(0));
    assert_eq!(unopened(&new_root, &before), Some(before.key_rows().len()), "old wrapped rows do not open");
    assert_eq!(unopened(&old_root, &now), Some(now.key_rows().len()), "nor do new ones with the old file");
    let kept =
        FileKms::open(new_root.cluster, &passphrase(), &new_root.kms, Arc::new(SystemEntropy)).unwrap();
    assert!(Keys::open(&old_root, &kept, Arc::new(SystemEntropy)).is_err(), "the old root key is destroyed");
    // All of it holds after all have started anew, and it can be done again.
    for at in 0..3 {
        cluster.restart(at).await;
    }
    for tenant in &tenants[..3] {
        assert_eq!(cluster.read(*tenant, "k2").await, Some("value".to_owned()));
    }
    let called = Called(cluster.server(1).clone());
    let mut version = called.rotate_cluster(10_000).await;
    while version.as_ref().is_err_and(|why| why.code == code::CHANGE_REFUSED || why.code == code::NO_LEADER) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        version = called.rotate_cluster(10_000).await;
    }
    assert_eq!(version.unwrap(), 3);
    cluster.stop().await;
}
