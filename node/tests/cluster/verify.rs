//! Replicas are compared while clients write; one whose rows are not what they should be is named, by whoever asks and by itself.

use super::put;
use super::rig::{Cluster, DATA, eventually};
use engine::ids::{LogIndex, TenantId};
use engine::tablet::batch::Batch;
use futures_util::StreamExt;
use node::access::action::Caller;
use node::api::Api;
use node::api::guard::Peer;
use node::meta::command::{Change, MetaCommand};
use node::meta::tenant_row::TenantRow;
use node::server::backend::Called;
use node::shard::door::WriteId;
use node::tenants::rules::{Act, TenantState};
use proto::v1::groups_server::Groups;
use proto::v1::{VerifyGroupRequest, VerifyGroupResponse};
use raft::types::GroupId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ROWS: usize = 300;

/// What an administrator is told who has the replicas of a group compared by a node.
async fn verify(cluster: &Cluster, at: usize, group: GroupId) -> VerifyGroupResponse {
    let api = Api::new(Arc::new(Called(cluster.server(at).clone())));
    let mut request = tonic::Request::new(VerifyGroupRequest { group: group.0 });
    request.extensions_mut().insert(Peer { caller: Caller::Admin("root".to_owned()), ..Peer::anonymous() });
    let mut told = api.verify(request).await.unwrap().into_inner();
    let mut last = VerifyGroupResponse::default();
    while let Some(next) = told.next().await {
        assert!(!last.is_done, "nothing comes behind the end");
        last = next.unwrap();
    }
    assert!(last.is_done);
    last
}

fn differ(cluster: &Cluster, at: usize) -> Vec<String> {
    let findings = cluster.server(at).findings();
    findings.into_iter().filter(|one| one.name == "replicas_differ").map(|one| one.text).collect()
}

fn figure(cluster: &Cluster, at: usize, name: &str) -> u64 {
    let metrics = cluster.server(at).metrics();
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
}

async fn three(every: &'static str) -> (Cluster, TenantId, GroupId) {
    let mut cluster = Cluster::found_with(|_| vec![("verify.interval", every.to_owned())]).await;
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    let tenant = cluster.tenant("acme").await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    eventually("three vote", || cluster.voters(GroupId::META) == 3 && cluster.voters(group) == 3).await;
    for n in 0..ROWS {
        cluster.write(tenant, &put(&format!("k{n:04}"), &n.to_string()), WriteId::default()).await.unwrap();
    }
    (cluster, tenant, group)
}

/// Writes into the tables of one node what nobody has written.
async fn spoil(cluster: &Cluster, at: usize, group: GroupId, (tenant, key): (TenantId, &str)) {
    let replica = cluster.server(at).running().unwrap().replica(group).unwrap();
    let machine = replica.receiver.group().machine().clone();
    let mut batch = Batch::new(LogIndex(1));
    batch.put(tenant, DATA, key.as_bytes(), b"rot", machine.applied().last, 0).unwrap();
    let tablet = machine.tablet();
    tablet.spoil(&batch);
    let upto = tablet.applied().index;
    tablet.freeze();
    eventually("it lies in a table", || tablet.durable().index >= upto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_row_is_named_and_healthy_ones_are_equal_under_writes() {
    let (cluster, tenant, group) = three("0ms").await;
    let cluster = Arc::new(cluster);
    let is_over = Arc::new(AtomicBool::new(false));
    let writes = tokio::spawn({
        let (cluster, is_over) = (cluster.clone(), is_over.clone());
        async move {
            let mut n = 0_usize;
            while !is_over.load(Ordering::SeqCst) {
                let command = put(&format!("k{:04}", n % ROWS), &format!("again {n}"));
                cluster.write(tenant, &command, WriteId::default()).await.unwrap();
                n += 1;
            }
            n
        }
    });
    for at in [0, 1, 2] {
        for group in [group, GroupId::META] {
            let told = verify(&cluster, at, group).await;
            assert!(told.differences.is_empty() && told.uncompared.is_empty(), "{told:?}");
            assert!(told.compared.len() == 3 && told.rows > 0 && told.left_out.is_empty(), "{told:?}");
        }
        assert!(differ(&cluster, at).is_empty());
        assert!(figure(&cluster, at, "dewpond_verify_compared_groups ") == 2);
    }
    // In one of them a row changes that no log has, while others are written.
    let told = verify(&cluster, 0, group).await;
    assert!(told.rows >= ROWS as u64);
    spoil(&cluster, 2, group, (tenant, "k0123x")).await;
    let replica = cluster.server(2).running().unwrap().living()[&group];
    let told = verify(&cluster, 1, group).await;
    is_over.store(true, Ordering::SeqCst);
    assert!(writes.await.unwrap() > 0);
    assert_eq!((told.differences.len(), told.more_differences, told.uncompared.len()), (1, 0, 0), "{told:?}");
    let found = &told.differences[0];
    assert_eq!((found.tenant, found.collection), (tenant.0, DATA.0));
    let odd: Vec<_> = found.held.iter().filter(|held| held.is_odd).collect();
    assert_eq!(odd.len(), 1);
    assert_eq!((odd[0].replica, odd[0].node), (replica.0, cluster.server(2).node().0));
    assert!(!format!("{told:?}").contains("k0123"), "no key is told");
    // Whoever has asked tells it.
    let text = differ(&cluster, 1).pop().unwrap();
    assert!(text.contains(&replica.to_string()) && text.contains("node three"), "{text}");
    assert_eq!(figure(&cluster, 1, "dewpond_verify_differing_groups "), 1);
    assert!(differ(&cluster, 0).is_empty(), "the others have not asked");
    // The other group is as it was; and of a tenant that is dropped nothing is compared.
    assert!(verify(&cluster, 1, GroupId::META).await.differences.is_empty());
    let dropped = Change::SetTenantState(tenant, Act::Drop);
    cluster.server(0).change(MetaCommand::new(vec![dropped]), 10_000).await.unwrap();
    let is_dropped = |row: &TenantRow| matches!(row.state, TenantState::Dropped { .. });
    eventually("it is known", || cluster.servers().all(|one| is_dropped(&one.meta().tenants[&tenant]))).await;
    let told = verify(&cluster, 1, group).await;
    assert!(told.differences.is_empty() && told.left_out == [tenant.0], "{told:?}");
    assert!(differ(&cluster, 1).is_empty(), "what was told is over");
    Arc::into_inner(cluster).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_found_by_itself_and_one_that_is_away_is_not_called_equal() {
    let (mut cluster, tenant, group) = three("1s").await;
    let led = cluster.leader_of(tenant).unwrap();
    let follows = (led + 1) % 3;
    spoil(&cluster, follows, group, (tenant, "k0007")).await;
    let found = |cluster: &Cluster| (0..3).any(|at| !differ(cluster, at).is_empty());
    eventually("whoever leads has found it", || found(&cluster)).await;
    let text = (0..3).flat_map(|at| differ(&cluster, at)).next().unwrap();
    let replica = cluster.server(follows).running().unwrap().living()[&group];
    assert!(text.contains(&replica.to_string()), "{text}");
    cluster.stop_one(follows).await;
    let other = 3 - led - follows;
    let told = verify(&cluster, other, group).await;
    assert!(told.differences.is_empty() && told.compared.len() == 2, "{told:?}");
    assert_eq!(told.uncompared.iter().map(|one| one.id).collect::<Vec<_>>(), [replica.0]);
    assert!(!told.uncompared[0].why.is_empty());
    cluster.stop().await;
}
