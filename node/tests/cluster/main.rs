//! Whole nodes in one process, over real disks and real TLS: a cluster is founded, others join, data goes in and comes back, leaders go.

#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod archive;
mod calls;
mod cluster_key;
mod delayed;
mod drill;
mod purge;
mod rebirth;
mod restore;
mod retention;
mod rig;
#[cfg(feature = "s3-test")]
mod s3;
mod scrub;
mod takeover;
// It plants a bug in the engine: that is built in where `chaos-tests` is, which asks for this feature as well.
#[cfg(feature = "clock-offset")]
mod verify;
mod watch;
mod watch_wire;

use engine::ids::{CollectionId, TenantId};
use node::meta::command::{Change, MetaCommand, MetaReply};
use node::meta::node_row::NodeState;
use node::shard::command::{Condition, Expected, Expiry, KvCommand, Operation};
use node::shard::door::{Consistency, WriteId};
use proto::errors::code;
use raft::types::GroupId;
use rig::{Cluster, DATA, eventually};
use std::time::Duration;

fn put(key: &str, value: &str) -> KvCommand<bytes::Bytes> {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let operation = Operation::Put { collection: DATA, key, value, expiry: Expiry::Never };
    KvCommand { conditions: Vec::new(), operations: vec![operation] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_a_cluster_and_finds_everything_again() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    let stamp = cluster.write(tenant, &put("a", "one"), WriteId::default()).await.unwrap();
    assert_eq!(cluster.read(tenant, "a").await, Some("one".to_owned()));
    let absent = Condition { collection: DATA, key: "a".into(), expected: Expected::Absent };
    let refused = KvCommand { conditions: vec![absent], ..put("a", "two") };
    let error = cluster.write(tenant, &refused, WriteId::default()).await.unwrap_err();
    assert_eq!((error.code, error.condition), (code::CONDITION_FAILED, Some((0, Some(stamp)))));
    cluster.restart(0).await;
    assert_eq!(cluster.read(tenant, "a").await, Some("one".to_owned()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_comes_again_is_done_once() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    let valid_until_ms = cluster.now_ms() + 60_000;
    let id = WriteId { session: [7; 16], number: 1, valid_until_ms };
    let first = cluster.write(tenant, &put("a", "one"), id).await.unwrap();
    cluster.write(tenant, &put("a", "two"), WriteId::default()).await.unwrap();
    assert_eq!(cluster.write(tenant, &put("a", "one"), id).await.unwrap(), first, "the first answer");
    assert_eq!(cluster.read(tenant, "a").await, Some("two".to_owned()), "and nothing is done");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_that_are_frozen_or_unknown_are_refused() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    cluster.write(tenant, &put("a", "one"), WriteId::default()).await.unwrap();
    let act = node::tenants::rules::Act::Freeze;
    let change = MetaCommand::new(vec![Change::SetTenantState(tenant, act)]);
    assert!(matches!(cluster.server(0).change(change, 5_000).await, Ok(MetaReply::Applied { .. })));
    let error = cluster.write(tenant, &put("a", "two"), WriteId::default()).await.unwrap_err();
    assert_eq!(error.code, code::TENANT_FROZEN);
    let view = cluster.server(0).door().unwrap().view(tenant, Consistency::Linearizable, 1_000).await;
    assert_eq!(view.map(drop).unwrap_err().code, code::TENANT_FROZEN);
    let error = cluster.write(TenantId(99), &put("a", "two"), WriteId::default()).await.unwrap_err();
    assert_eq!(error.code, code::STARTING, "the node may only not have heard of it yet");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_and_a_leader_that_goes_is_replaced_without_loss() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    for n in 0..50 {
        cluster.write(tenant, &put(&format!("k{n}"), "before"), WriteId::default()).await.unwrap();
    }
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    eventually("three vote in every group", || {
        cluster.voters(GroupId::META) == 3 && cluster.voters(group) == 3
    })
    .await;
    assert!(cluster.join_again("two").await.is_err(), "a token lets one in");
    for node in 0..3 {
        let surveys = cluster.server(node).surveys().await;
        let (leader, led) = surveys.led(group).expect("somebody leads it");
        assert!(surveys.0.len() == 3 && surveys.hears(leader), "all are heard");
        assert_eq!(led.members.values().filter(|one| one.votes).count(), 3);
    }
    // What was changed through one node is known at every other that asks first.
    for n in 0..60 {
        let (name, writer, reader) = (format!("c{n}"), n % 3, (n + 1 + n / 3 % 2) % 3);
        let change = MetaCommand::new(vec![Change::AddCollection(tenant, name.clone())]);
        cluster.server(writer).change(change, 5_000).await.unwrap();
        cluster.server(reader).refresh(5_000).await.unwrap();
        assert!(cluster.server(reader).meta().collection(tenant, &name).is_some(), "{name}");
    }
    let gone = cluster.kill_leader(group).await;
    cluster.write(tenant, &put("after", "it"), WriteId::default()).await.unwrap();
    for n in 0..50 {
        assert_eq!(cluster.read(tenant, &format!("k{n}")).await, Some("before".to_owned()));
    }
    cluster.start(gone).await;
    eventually("it catches up", || cluster.is_caught_up(gone, group)).await;
    assert!(cluster.server(gone).surveys().await.hears(cluster.server((gone + 1) % 3).node()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_ends_with_nothing() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    cluster.write(tenant, &put("a", "one"), WriteId::default()).await.unwrap();
    for (name, region) in [("two", "us"), ("three", "ap"), ("four", "eu")] {
        cluster.join(name, region).await;
    }
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    eventually("three vote", || cluster.voters(GroupId::META) == 3 && cluster.voters(group) == 3).await;
    // It leads, and knows best what else is under way.
    let first = cluster.server(0).node();
    let drain = MetaCommand::new(vec![Change::SetNodeState(first, NodeState::Draining)]);
    cluster.server(1).change(drain, 5_000).await.unwrap();
    let left = || cluster.server(1).meta().replicas_on(first);
    for _ in 0..3 {
        let _ = tokio::time::timeout(Duration::from_secs(25), async {
            while left() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    assert_eq!(left(), 0, "{:?}", cluster.server(1).meta().shards);
    eventually("nothing lives there", || {
        cluster.server(0).running().unwrap().living().len() == usize::from(cluster.has_meta(0))
    })
    .await;
    eventually("the others lead", || cluster.voters(GroupId::META) == 3 && cluster.voters(group) == 3).await;
    assert_eq!(cluster.read(tenant, "a").await, Some("one".to_owned()));
    cluster.write(tenant, &put("a", "two"), WriteId::default()).await.unwrap();
    cluster.stop().await;
}

#[test]
fn collections_of_tenants_begin_below_those_of_the_cluster() {
    assert!(DATA < CollectionId(node::limits::COLLECTIONS_MAX));
}
