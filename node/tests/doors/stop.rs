//! What is left of a node that was stopped, in a process that goes on: nothing.

use super::rig::{channel, eventually, one, soon};
use proto::v1::kv_client::KvClient;
use proto::v1::status_client::StatusClient;
use proto::v1::watch_client::WatchClient;
use proto::v1::{
    GetRequest, OpenWatch, Place, Range, StatusRequest, StreamRequest, WatchRequest, watch_request,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

fn place() -> Option<Place> {
    Some(Place { tenant: "acme".to_owned(), collection: "rows".to_owned(), ..Place::default() })
}

#[test]
fn neither_connections_nor_tasks_outlive_it() {
    // A runtime of its own: what clients run is not counted.
    let of_node = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let one = of_node.block_on(async {
        let one = one(&[]).await;
        one.tenant("acme").await;
        one
    });
    clients.block_on(async {
        let (service, admin) = (channel(one.doors.client, &one.service("acme")), one.admin());
        // One that rests, one stream of calls and one watch that nobody ends, and one at the other door.
        let mut kv = KvClient::new(service.clone());
        let get = GetRequest { place: place(), key: "a".into(), consistency: None };
        soon(kv.get(get)).await.unwrap();
        let (_frames, said) = mpsc::channel::<StreamRequest>(1);
        let mut calls = soon(kv.stream(ReceiverStream::new(said))).await.unwrap().into_inner();
        let (watcher, said) = mpsc::channel(2);
        let open = OpenWatch { place: place(), range: Some(Range::default()), ..OpenWatch::default() };
        for what in [watch_request::What::Open(open), watch_request::What::Credit(9)] {
            watcher.send(WatchRequest { what: Some(what) }).await.unwrap();
        }
        let mut watch = WatchClient::new(service);
        let mut heard = soon(watch.watch(ReceiverStream::new(said))).await.unwrap().into_inner();
        let mut status = StatusClient::new(channel(one.doors.admin, &admin));
        soon(status.status(StatusRequest {})).await.unwrap();

        let server = one.server.clone();
        soon(of_node.spawn(async move { server.stop(1_000).await })).await.unwrap();
        soon(async { while calls.next().await.is_some_and(|answer| answer.is_ok()) {} }).await;
        soon(async { while heard.next().await.is_some_and(|event| event.is_ok()) {} }).await;
        assert!(soon(status.status(StatusRequest {})).await.is_err(), "nobody is there");
        let held = Arc::downgrade(&one.server);
        drop(one);
        eventually("nothing holds it", async || held.strong_count() == 0).await;
        let tasks = of_node.metrics();
        eventually("none of its tasks runs", async || tasks.num_alive_tasks() == 0).await;
    });
}
