//! A tenant that was dropped comes back whole within its window, and never after: its keys are destroyed, its bytes leave the tables of every
//! node, and nobody else's do.

use super::put;
use super::rig::{Cluster, eventually};
use engine::ids::{Owner, Purpose, TenantId};
use node::api::Backend;
use node::keys::KeyState;
use node::meta::command::{Change, MetaCommand, MetaReply, Reason};
use node::server::backend::Called;
use node::shard::door::WriteId;
use node::tenants::rules::{Act, TenantState};
use proto::errors::code;
use std::path::Path;

async fn change(cluster: &Cluster, change: Change) -> MetaReply {
    cluster.server(0).change(MetaCommand::new(vec![change]), 10_000).await.unwrap()
}

/// How often a tenant stands in clear in the table files below `folder`: their directories name whose stripes they hold.
fn named_in_tables(folder: &Path, tenant: TenantId) -> usize {
    let tables = folder.join("pool").join("tables");
    assert!(tables.is_dir(), "{}", tables.display());
    let mut count = 0;
    for entry in std::fs::read_dir(tables).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        count += bytes.windows(8).filter(|window| *window == tenant.0.to_be_bytes()).count();
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_tenant_comes_back_in_time_and_is_gone_from_the_disks_after() {
    let mut cluster = Cluster::found().await;
    let (stays, goes) = (cluster.tenant("stays").await, cluster.tenant("goes").await);
    cluster.join("two", "us").await;
    let group = cluster.server(0).meta().shard_of(goes).unwrap().group;
    eventually("two vote", || cluster.voters(group) == 2).await;
    let value = "x".repeat(4_000);
    for n in 0..20 {
        for tenant in [stays, goes] {
            cluster.write(tenant, &put(&format!("k{n}"), &value), WriteId::default()).await.unwrap();
        }
    }
    eventually("both have all", || (0..2).all(|at| cluster.is_caught_up(at, group))).await;
    for server in cluster.servers() {
        server.running().unwrap().pool().tablets().iter().for_each(|tablet| tablet.freeze());
    }
    let named = |at: usize, tenant| named_in_tables(&cluster.folder(at), tenant);
    for at in 0..2 {
        eventually("both stand in tables", || named(at, stays) > 0 && named(at, goes) > 0).await;
    }

    assert!(matches!(change(&cluster, Change::DropTenant(goes, 600_000)).await, MetaReply::Applied { .. }));
    let refused = cluster.write(goes, &put("k0", "late"), WriteId::default()).await.unwrap_err();
    assert_eq!(refused.code, code::TENANT_DROPPED);
    change(&cluster, Change::SetTenantState(goes, Act::Undrop)).await;
    assert_eq!(cluster.read(goes, "k0").await, Some(value.clone()), "it is whole");

    let before = Called(cluster.server(0).clone()).cluster_keys();
    change(&cluster, Change::DropTenant(goes, 1_000)).await;
    eventually("it is gone", || {
        cluster.servers().all(|server| {
            let meta = server.meta();
            let keys = meta.key_rows().into_iter().filter(|row| row.key.name.owner == Owner::Tenant(goes));
            let states: Vec<KeyState> = keys.map(|row| row.state).collect();
            meta.tenants[&goes].state == TenantState::Purged
                && states.len() == 3
                && states.iter().all(|state| *state == KeyState::Destroyed)
        })
    })
    .await;
    let late = change(&cluster, Change::SetTenantState(goes, Act::Undrop)).await;
    assert_eq!(late, MetaReply::Refused { change: 0, reason: Reason::State });
    let refused = cluster.write(goes, &put("k0", "late"), WriteId::default()).await.unwrap_err();
    assert_eq!(refused.code, code::TENANT_SHREDDED);
    for at in 0..2 {
        eventually("its stripes are gone from the disk", || named(at, goes) == 0).await;
        assert!(named(at, stays) > 0, "those of another are not");
        let keys = cluster.server(at).keys().sealer().keys().clone();
        let of_goes = |purpose| keys.active(Owner::Tenant(goes), purpose);
        assert!([Purpose::Data, Purpose::Log, Purpose::Wrap].into_iter().all(|one| of_goes(one).is_err()));
        assert!(keys.active(Owner::Tenant(stays), Purpose::Data).is_ok());
    }
    let versions = |at: usize| Called(cluster.server(at).clone()).cluster_keys();
    eventually("the key that wrapped its keys is gone from every node", || {
        (0..2).all(|at| versions(at).len() == 1 && versions(at) > before)
    })
    .await;
    // Its entries are still in the logs: whoever starts anew applies them as nothing.
    for at in 0..2 {
        cluster.restart(at).await;
    }
    assert_eq!(cluster.read(stays, "k19").await, Some(value));
    cluster.write(stays, &put("after", "it"), WriteId::default()).await.unwrap();
    assert!((0..2).all(|at| cluster.server(at).running().unwrap().failed().is_empty()));
    cluster.tenant("goes").await;
    cluster.stop().await;
}
