//! Whether the node serves, as gRPC asks it; and what can be called.

use super::rig::{channel, eventually, one, soon};
use node::meta::command::{Change, MetaCommand};
use node::meta::node_row::NodeState;
use node::tls::Tls;
use std::net::SocketAddr;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

pub async fn health(at: SocketAddr, tls: &Tls, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(channel(at, tls));
    let asked = client.check(HealthCheckRequest { service: service.to_owned() });
    let answer = soon(asked).await.map_err(|status| status.code())?;
    Ok(answer.into_inner().status())
}

/// The names that reflection lists.
async fn listed(at: SocketAddr, tls: &Tls) -> Result<Vec<String>, Code> {
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut client = ServerReflectionClient::new(channel(at, tls));
    let asked = client.server_reflection_info(tokio_stream::once(request));
    let mut answers = soon(asked).await.map_err(|status| status.code())?.into_inner();
    let answer = soon(answers.next()).await.unwrap().map_err(|status| status.code())?;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let mut names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_whether_the_node_serves() {
    let one = one(&[]).await;
    let (admin, service, doors) = (one.admin(), one.service("acme"), one.doors);
    eventually("it serves", async || health(doors.client, &service, "").await == Ok(ServingStatus::Serving))
        .await;
    for (at, tls, of, status) in [
        (doors.client, &service, "dewpond.v1.Kv", Ok(ServingStatus::Serving)),
        (doors.admin, &service, "dewpond.v1.Kv", Ok(ServingStatus::Serving)),
        (doors.admin, &admin, "dewpond.v1.Status", Ok(ServingStatus::Serving)),
        (doors.admin, &admin, "dewpond.v1.Nothing", Err(Code::NotFound)),
    ] {
        assert_eq!(health(at, tls, of).await, status, "{of}");
    }
    let node = one.server.node();
    let becomes = async |state| {
        let change = MetaCommand::new(vec![Change::SetNodeState(node, state)]);
        one.server.change(change, 5_000).await.unwrap();
    };
    becomes(NodeState::Draining).await;
    eventually("it drains", async || {
        health(doors.client, &service, "dewpond.v1.Kv").await == Ok(ServingStatus::NotServing)
    })
    .await;
    assert_eq!(health(doors.admin, &admin, "dewpond.v1.Status").await, Ok(ServingStatus::Serving));
    becomes(NodeState::Active).await;
    eventually("it serves again", async || {
        health(doors.client, &service, "").await == Ok(ServingStatus::Serving)
    })
    .await;
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_hears_that_the_node_ends() {
    let one = one(&[]).await;
    let mut client = HealthClient::new(channel(one.doors.client, &one.service("acme")));
    let asked = client.watch(HealthCheckRequest { service: "dewpond.v1.Kv".to_owned() });
    let mut told = soon(asked).await.unwrap().into_inner();
    let mut last = ServingStatus::Unknown;
    while last != ServingStatus::Serving {
        last = soon(told.next()).await.unwrap().unwrap().status();
    }
    let server = one.server.clone();
    server.begin_stop();
    assert_eq!(soon(told.next()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_called_is_told_to_whoever_may_call() {
    let one = one(&[]).await;
    let clients = listed(one.doors.client, &one.service("acme")).await.unwrap();
    assert_eq!(
        clients,
        [
            "dewpond.v1.Hello",
            "dewpond.v1.Join",
            "dewpond.v1.Kv",
            "dewpond.v1.Txn",
            "dewpond.v1.Watch",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection"
        ]
    );
    let admins = listed(one.doors.admin, &one.admin()).await.unwrap();
    assert!(admins.iter().any(|name| name == "dewpond.v1.Tenants"), "{admins:?}");
    assert!(!admins.iter().any(|name| name.contains("peer") || name == "dewpond.v1.Kv"), "{admins:?}");
    let node = node::boot::subject::Identity::node(one.server.cluster(), engine::ids::NodeId(77));
    assert_eq!(listed(one.doors.admin, &one.issued(&node)).await, Err(Code::PermissionDenied));
    one.server.stop(0).await;
}
