//! Calls over gRPC and TLS that go on from where others ended: what became of a write, scans by prefix, pages on the stream of calls. And
//! clocks that nodes compare.

use super::put;
use super::rig::{Cluster, DATA, eventually};
use super::watch::with_collection;
use bytes::Bytes;
use node::shard::door::{Consistency, WriteId};
use proto::v1::kv_client::KvClient;
use proto::v1::outcome_response::What as Became;
use proto::v1::stream_request::What as Asked;
use proto::v1::stream_response::What as Told;
use proto::v1::txn_client::TxnClient;
use proto::v1::{
    HistoryRequest, OutcomeRequest, Place, Range, ScanRequest, StreamRequest, StreamResponse, WriteId as Id,
};
use proto::{errors::code, version};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

fn place() -> Option<Place> {
    let (tenant, collection) = ("acme".to_owned(), "data".to_owned());
    Some(Place { tenant, collection, features: version::FEATURES, ..Place::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_write_is_told_and_closes_it() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let mut txn = TxnClient::new(cluster.service(0, "acme"));
    let mut outcome = async |number, valid_until_ms| {
        let id = Some(Id { session: vec![7; 16].into(), number, valid_until_ms });
        txn.outcome(OutcomeRequest { place: place(), id }).await.map(|told| told.into_inner().what.unwrap())
    };
    let (now_ms, session) = (cluster.now_ms(), [7; 16]);
    let until_ms = now_ms + 60_000;
    let id = |number| WriteId { session, number, valid_until_ms: until_ms };
    let stamp = cluster.write(tenant, &put("a", "one"), id(1)).await.unwrap();
    for valid_until_ms in [0, until_ms, until_ms, 0] {
        assert_eq!(outcome(1, valid_until_ms).await.unwrap(), Became::Applied(stamp.0));
    }
    let wrong = node::api::errors::failure_in(&outcome(1, until_ms + 1).await.unwrap_err());
    assert_eq!(wrong.unwrap().code, code::REQUEST_REUSED);
    // Of one that has not come it is told that it never will.
    for (number, valid_until_ms) in [(2, 0), (3, until_ms)] {
        for _ in 0..2 {
            assert!(matches!(outcome(number, valid_until_ms).await.unwrap(), Became::NotApplied(_)));
        }
        let late = cluster.write(tenant, &put("a", "late"), id(number)).await.unwrap_err();
        assert!([code::REQUEST_REUSED, code::CONDITION_FAILED].contains(&late.code), "{late}");
    }
    assert_eq!(cluster.read(tenant, "a").await, Some("one".to_owned()));
    // One whose time is over is remembered as long as history is; of another nothing is known.
    let short = WriteId { session, number: 4, valid_until_ms: cluster.now_ms() + 300 };
    let stamp = cluster.write(tenant, &put("b", "two"), short).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(outcome(4, short.valid_until_ms).await.unwrap(), Became::Applied(stamp.0));
    assert!(matches!(outcome(5, now_ms).await.unwrap(), Became::Forgotten(_)));
    cluster.stop().await;
}

struct Calls(mpsc::Sender<StreamRequest>, Streaming<StreamResponse>);

impl Calls {
    async fn ask(&mut self, what: Asked) -> Told {
        self.0
            .send(StreamRequest {
                call: 1,
                remaining_ms: 5_000,
                what: Some(what),
                ..StreamRequest::default()
            })
            .await
            .unwrap();
        self.1.message().await.unwrap().unwrap().what.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_and_histories_go_on_from_page_to_page_on_the_stream() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let mut written = Vec::new();
    for n in 0..7 {
        let stamp = cluster.write(tenant, &put("key", &format!("v{n}")), WriteId::default()).await.unwrap();
        written.push(stamp.0);
        cluster.write(tenant, &put(&format!("k{n}"), "x"), WriteId::default()).await.unwrap();
    }
    let mut kv = KvClient::new(cluster.service(0, "acme"));
    let (say, said) = mpsc::channel(8);
    let told = kv.stream(ReceiverStream::new(said)).await.unwrap().into_inner();
    let mut calls = Calls(say, told);
    // A page is as long as it is asked for.
    let range = Some(Range { start: "k2".into(), end: Bytes::new() });
    let mut asked =
        ScanRequest { place: place(), range, prefix: "k".into(), limit: 2, ..ScanRequest::default() };
    let (mut keys, mut at) = (Vec::new(), None);
    loop {
        let Told::Scan(page) = calls.ask(Asked::Scan(asked.clone())).await else { panic!("no page") };
        assert!(page.rows.len() <= 2 && at.is_none_or(|at| at == page.at), "all at one stamp");
        at = Some(page.at);
        keys.extend(page.rows.into_iter().map(|row| row.key));
        if page.resume.is_empty() {
            break;
        }
        // What comes later is not seen by a scan that has begun.
        cluster.write(tenant, &put("k9", "late"), WriteId::default()).await.unwrap();
        asked.resume = page.resume;
    }
    assert_eq!(keys, ["k2", "k3", "k4", "k5", "k6", "key"]);
    let mut asked =
        HistoryRequest { place: place(), key: "key".into(), limit: 3, ..HistoryRequest::default() };
    let mut stamps = Vec::new();
    loop {
        let Told::History(page) = calls.ask(Asked::History(asked.clone())).await else { panic!("no page") };
        stamps.extend(page.versions.into_iter().map(|past| past.version.unwrap().stamp));
        assert_eq!(page.is_last, page.resume.is_empty());
        if page.is_last {
            break;
        }
        asked.resume = page.resume;
    }
    written.reverse();
    assert_eq!(stamps, written);
    asked.resume = "nonsense".into();
    let Told::Failure(failure) = calls.ask(Asked::History(asked)).await else { panic!("it is served") };
    assert_eq!(failure.code, code::RESUME_INVALID);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_compare_their_clocks_so_that_followers_answer_reads_with_a_bound() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    eventually("three vote", || cluster.voters(group) == 3).await;
    eventually("all clocks agree", || {
        let agreed = |server: &std::sync::Arc<node::server::Server>| {
            server.running().is_ok_and(|running| running.parts().clock.agreed_ms().is_some())
        };
        cluster.servers().all(agreed)
    })
    .await;
    cluster.write(tenant, &put("a", "one"), WriteId::default()).await.unwrap();
    let leader = cluster.leader_of(tenant).unwrap();
    let door = cluster.server((leader + 1) % 3).door().unwrap();
    for _ in 0..100 {
        if let Ok(view) = door.view(tenant, Consistency::Bounded(60_000), 5_000).await
            && view.get(tenant, DATA, b"a").unwrap().is_some()
        {
            return cluster.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("a follower answers no read with a bound");
}
