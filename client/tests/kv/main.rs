//! The client against a server that loses replies, names other nodes and answers out of order.

#![expect(clippy::unwrap_used, reason = "a rig that cannot be set up is a test that fails")]

mod rig;

use dewpond::{Change, Doc, Kind, ResetCause, Start, code};
use futures_util::TryStreamExt;
use rig::{Authority, Fault, Server, client, failure, pair, serve};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
struct Account {
    id: String,
    cents: i64,
}

impl Doc for Account {
    const COLLECTION: &'static str = "accounts";
    type Key = String;

    fn key(&self) -> String {
        self.id.clone()
    }
}

fn account(id: &str, cents: i64) -> Account {
    Account { id: id.into(), cents }
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_sent_again_under_its_id() {
    let (client, server) = pair().await;
    let accounts = client.tenant("acme").collection::<Account>();
    server.fault(Fault::LoseReply);
    let stamp = accounts.put(&account("a", 5)).if_absent().await.unwrap();
    let found = accounts.get("a").await.unwrap().unwrap();
    assert_eq!((found.value, found.stamp), (account("a", 5), stamp));
    let state = server.0.lock().unwrap();
    assert_eq!(state.ids.len(), 2);
    assert_eq!(state.ids[0], state.ids[1]);
    assert_eq!(state.stamp, 1, "applied once");
}

#[tokio::test]
async fn an_unknown_outcome_is_resolved_by_asking_again() {
    let (client, server) = pair().await;
    server.fault(Fault::Doubt);
    client.tenant("acme").raw("c").put("a", "1").if_absent().await.unwrap();
    assert_eq!(server.0.lock().unwrap().ids.len(), 2);
}

#[tokio::test]
async fn a_refusal_after_a_lost_reply_leaves_the_outcome_unknown() {
    let (client, server) = pair().await;
    server.fault(Fault::LoseReply);
    server.fault(Fault::Fail(failure(code::TENANT_FROZEN)));
    let error = client.tenant("acme").raw("c").put("a", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Unknown, code::UNKNOWN_OUTCOME));
    let id = error.request_id().unwrap();
    assert_eq!(id.number, server.0.lock().unwrap().ids[0].number);
    let stamp = client.tenant("acme").raw("c").put("a", "1").request_id(id).await.unwrap();
    assert_eq!((stamp.0, server.0.lock().unwrap().stamp), (1, 1));
    server.fault(Fault::Fail(failure(code::TENANT_FROZEN)));
    let error = client.tenant("acme").raw("c").put("a", "1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "nothing was lost: the refusal counts");
}

#[tokio::test]
async fn another_node_is_learnt_from_a_refusal() {
    let authority = Authority::new();
    let (first, second) = (Server::default(), Server::default());
    let one = serve(&authority, "dewpond://aa/node/1", first.clone()).await;
    let two = serve(&authority, "dewpond://aa/node/2", second.clone()).await;
    first.0.lock().unwrap().leader = one.clone();
    first.fault(Fault::Fail(proto::v1::Failure { better: two, ..failure(code::WRONG_NODE) }));
    let client = client(&authority, &[&one]).await.unwrap();
    let raw = client.tenant("acme").raw("c");
    raw.put("a", "1").await.unwrap();
    raw.put("b", "2").await.unwrap();
    assert_eq!(first.0.lock().unwrap().calls, 0);
    assert_eq!(second.0.lock().unwrap().calls, 2, "and the route is kept");
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let (client, server) = pair().await;
    for key in 0..20_u8 {
        server.0.lock().unwrap().write(&[b'k', key], &[key]);
    }
    for _ in 0..10 {
        server.fault(Fault::Late);
    }
    let raw = client.tenant("acme").raw("c");
    let gets = (0..20_u8).map(|key| {
        let get = raw.get([b'k', key]).into_future();
        async move { (key, get.await.unwrap().unwrap().value) }
    });
    for (key, value) in futures_util::future::join_all(gets).await {
        assert_eq!(value.as_ref(), [key]);
    }
}

#[tokio::test]
async fn the_deadline_ends_a_call() {
    let (client, server) = pair().await;
    server.fault(Fault::Mute);
    let tenant = client.tenant("acme").deadline(Duration::from_millis(100));
    let error = tokio::time::timeout(Duration::from_secs(2), tenant.raw("c").put("a", "1").into_future());
    let error = error.await.expect("long before two seconds").unwrap_err();
    assert_eq!(error.kind(), Kind::Unknown);
    assert!(error.request_id().is_some());
}

#[tokio::test]
async fn a_server_that_is_no_node_of_this_cluster_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (by, uri) in [
        (&stranger, "dewpond://aa/node/1"),
        (&authority, "dewpond://aa/service/acme"),
        (&authority, "dewpond://bb/node/1"),
        (&authority, "https://aa/node/1"),
        (&authority, "dewpond://aa/node/1/more"),
        (&authority, "dewpond://aa/node/"),
    ] {
        let address = serve(by, uri, Server::default()).await;
        let error = client(&authority, &[&address]).await.err().expect("refused");
        assert_eq!((error.kind(), error.code()), (Kind::Denied, code::SERVER_STRANGE), "{uri}: {error:?}");
    }
}

#[tokio::test]
async fn a_scan_joins_its_pages_and_goes_on_after_a_cut() {
    let (client, server) = pair().await;
    for key in 0..7_u8 {
        server.0.lock().unwrap().write(&[b'k', key], &[key]);
    }
    for is_cut in [false, true] {
        server.0.lock().unwrap().cut_scan = is_cut;
        let rows: Vec<_> = client.tenant("acme").raw("c").scan(..).try_collect().await.unwrap();
        let keys: Vec<_> = rows.iter().map(|row| row.key[1]).collect();
        assert_eq!(keys, [0, 1, 2, 3, 4, 5, 6]);
    }
}

#[tokio::test]
async fn a_transaction_runs_again_and_tells_of_its_commit_once() {
    let (client, server) = pair().await;
    let acme = client.tenant("acme");
    acme.collection().put(&account("a", 100)).await.unwrap();
    server.0.lock().unwrap().rival = 2;
    let (runs, commits) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (ran, committed) = (runs.clone(), commits.clone());
    let left = tokio::spawn(async move {
        acme.txn(async move |tx| {
            ran.fetch_add(1, Ordering::Relaxed);
            let mut a = tx.require::<Account>("a").await?;
            a.cents -= 5;
            tx.put(&a)?;
            let committed = committed.clone();
            tx.on_commit(move |_| {
                committed.fetch_add(1, Ordering::Relaxed);
            });
            Ok(a.cents)
        })
        .await
    });
    assert_eq!(left.await.unwrap().unwrap(), 2, "what the rival wrote, less five");
    assert_eq!((runs.load(Ordering::Relaxed), commits.load(Ordering::Relaxed)), (3, 1));
}

#[tokio::test]
async fn a_watch_goes_on_after_a_cut_without_gap_or_double() {
    let (client, server) = pair().await;
    let mut watch = client.tenant("acme").raw("c").watch(.., Start::After(dewpond::Stamp(10)));
    let mut heard = vec![];
    while heard.len() < 4 {
        match watch.try_next().await.unwrap() {
            Some(Change::Put { version, .. }) => heard.push(("put", version.stamp.0)),
            Some(Change::DeleteRange { start, end: None, stamp }) if start == "k" => {
                heard.push(("delete range", stamp.0));
            }
            _ => {}
        }
    }
    assert_eq!(heard, [("put", 11), ("delete range", 12), ("put", 12), ("put", 13)]);
    assert_eq!(server.0.lock().unwrap().watches, [10, 11]);
    assert_eq!(server.0.lock().unwrap().generations, [0, 3], "it says where it was open before");
}

#[tokio::test]
async fn a_watch_that_is_reset_says_why_and_goes_on_behind_it() {
    use proto::v1::reset::Why;
    let (client, server) = pair().await;
    let all = [
        (20, Why::Trimmed),
        (30, Why::Lagged),
        (40, Why::Moved),
        (15, Why::Restored),
        (16, Why::Unspecified),
    ];
    server.0.lock().unwrap().resets = all.to_vec();
    let mut watch = client.tenant("acme").raw("c").watch(.., Start::After(dewpond::Stamp(10)));
    let mut heard = vec![];
    while heard.len() < all.len() {
        if let Some(Change::Reset { from, why }) = watch.try_next().await.unwrap() {
            heard.push((from.0, why));
        }
    }
    let causes =
        [ResetCause::Trimmed, ResetCause::Lagged, ResetCause::Moved, ResetCause::Restored, ResetCause::Other];
    assert_eq!(heard, all.map(|(from, _)| from).into_iter().zip(causes).collect::<Vec<_>>());
    // It was cut behind the last, and goes on there, though that lies before what it was told first.
    while !matches!(watch.try_next().await.unwrap(), Some(Change::Put { .. })) {}
    assert_eq!(server.0.lock().unwrap().watches, [10, 16]);
}

#[tokio::test]
async fn a_key_of_the_callers_own_finds_the_end_it_was_sent_with() {
    let (client, server) = pair().await;
    let raw = client.tenant("acme").raw("c");
    // Twice it is remembered under another end of its time.
    for _ in 0..2 {
        server.fault(Fault::Fail(failure(code::REQUEST_REUSED)));
    }
    raw.put("a", "1").idempotency_key("order").await.unwrap();
    server.fault(Fault::LoseReply);
    raw.put("b", "2").idempotency_key("other").await.unwrap();
    let ids = server.0.lock().unwrap().ids.clone();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[1], ids[2], "a lost reply is asked for under the same end");
    // If it is remembered under none of them, that is told.
    for _ in 0..9 {
        server.fault(Fault::Fail(failure(code::REQUEST_REUSED)));
    }
    let error = raw.put("c", "3").idempotency_key("third").await.unwrap_err();
    assert_eq!(error.code(), code::REQUEST_REUSED);
    assert_eq!(server.0.lock().unwrap().faults.len(), 2, "seven ends at most");
}
