//! Whoever says nothing keeps nobody out.

use super::rig::{One, channel, eventually, inside, one, shake, soon};
use engine::ids::NodeId;
use node::boot::subject::Identity;
use node::clock::SystemClock;
use node::{limits, tls};
use proto::v1::hello_client::HelloClient;
use proto::v1::{HelloRequest, StatusRequest, status_client::StatusClient};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

/// Connections that say nothing.
async fn silent(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(to).await.unwrap());
    }
    silent
}

/// Whether the other end closes it within a moment, whatever it says before.
async fn is_ended(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    let ends = async { while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {} };
    tokio::time::timeout(Duration::from_millis(300), ends).await.is_ok()
}

async fn is_served(one: &One) {
    let within = Duration::from_millis(limits::HANDSHAKE_MS / 3);
    let mut client = HelloClient::new(channel(one.doors.client, &one.service("acme")));
    let hello = tokio::time::timeout(within, client.hello(HelloRequest::default())).await;
    hello.expect("a client is kept out").unwrap();
    let mut admin = StatusClient::new(channel(one.doors.admin, &one.admin()));
    let status = tokio::time::timeout(within, admin.status(StatusRequest {})).await;
    status.expect("an administrator is kept out").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_keep_nobody_out() {
    let one = one(&[]).await;
    let mut clients = silent(one.doors.client, limits::HANDSHAKES_MAX + 10).await;
    let _admins = silent(one.doors.admin, limits::HANDSHAKES_MAX + 10).await;
    is_served(&one).await;
    assert!(is_ended(&mut clients[0]).await, "the oldest must go");
    one.server.stop(0).await;
}

/// From another address of this machine.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(source.parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_does_not_take_the_places_of_all() {
    let one = one(&[("quota.connections_per_source", "3")]).await;
    let (at, service) = (one.doors.client, one.service("acme"));
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(inside(at, &service, tls::GRPC).await);
    }
    eventually("they have places", async || one.server.metrics().contains("{door=\"client\"} 3\n")).await;
    let client = service.client(None, tls::GRPC).unwrap();
    let mut more = soon(shake(from("127.0.0.1:0", at).await, client.clone())).await.unwrap();
    let mut other = soon(shake(from("127.0.0.2:0", at).await, client)).await.unwrap();
    eventually("one more is sent away", async || {
        let metrics = one.server.metrics();
        metrics.contains("dewpond_door_refused_connections{door=\"client\"} 1\n")
    })
    .await;
    assert!(is_ended(&mut more).await && !is_ended(&mut own[0]).await && !is_ended(&mut other).await);
    own.pop();
    eventually("whoever goes makes place", async || {
        let mut again = inside(at, &service, tls::GRPC).await;
        !is_ended(&mut again).await
    })
    .await;
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_ask_nothing_make_place_for_those_who_ask() {
    let one = one(&[]).await;
    let (at, authority) = (one.doors.client, one.server.tls().current().authority);
    let clock = Arc::new(SystemClock::default());
    let joining = tls::joining(one.server.cluster(), authority, clock).unwrap();
    let mut silent = Vec::new();
    for _ in 0..limits::SOURCE_STRANGERS_MAX + 5 {
        let stream = from("127.0.0.1:0", at).await;
        silent.push(soon(shake(stream, joining.clone())).await.unwrap());
    }
    let stranger = node::dial::channel(&at.to_string(), joining).unwrap();
    let mut stranger = HelloClient::new(stranger);
    soon(stranger.hello(HelloRequest::default())).await.unwrap();
    assert!(is_ended(&mut silent[0]).await, "the oldest must go");
    assert!(!is_ended(silent.last_mut().unwrap()).await);
    is_served(&one).await;
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_a_finding() {
    let (here, there) = (one(&[]).await, one(&[]).await);
    let is_told = || here.server.findings().iter().any(|one| one.text.contains("another cluster"));
    assert!(!is_told());
    // Whoever dials finds out first, and says so.
    let node = there.issued(&Identity::node(there.server.cluster(), NodeId(1)));
    let stream = from("127.0.0.1:0", here.doors.peer).await;
    soon(shake(stream, node.client(None, tls::PEER).unwrap())).await.unwrap_err();
    eventually("it is told", async || is_told()).await;
    assert!(here.server.metrics().contains("dewpond_door_refused_connections{door=\"peer\"} 1\n"));
    for one in [here, there] {
        one.server.stop(0).await;
    }
}
