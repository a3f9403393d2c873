//! Writes that come again, what became of them, and transactions that scan.

use super::rig::Rig;
use super::{Account, account, seen};
use dewpond::{KeyRange, Kind, Outcome, RequestId, code};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

#[expect(clippy::disallowed_methods, reason = "the server goes by the time of the machine as well")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn in_a_minute() -> u64 {
    dewpond::Stamp::from(now() + Duration::from_secs(60)).ms()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_write_is_asked_and_closes_it() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let raw = acme.raw("c");
    let id = |number| RequestId { session: [7; 16], number, valid_until_ms: in_a_minute() };
    let done = id(1);
    let stamp = raw.put("k", "one").request_id(done).await.unwrap();
    for _ in 0..2 {
        assert_eq!(acme.outcome(done).await.unwrap(), Outcome::Applied(stamp));
    }
    let never = id(2);
    for _ in 0..2 {
        assert_eq!(acme.outcome(never).await.unwrap(), Outcome::NotApplied);
    }
    let late = raw.put("k", "late").request_id(never).await.unwrap_err();
    assert_eq!(late.code(), code::CONDITION_FAILED, "it is closed");
    // One whose condition did not hold was not applied either.
    let refused = id(3);
    assert!(raw.put("k", "two").if_absent().request_id(refused).await.is_err());
    assert_eq!(acme.outcome(refused).await.unwrap(), Outcome::NotApplied);
    let old = RequestId { valid_until_ms: 1_000, ..id(4) };
    assert_eq!(acme.outcome(old).await.unwrap(), Outcome::Forgotten);
    let foreign = rig.tenant("birch").await;
    drop(foreign);
    let foreign = rig.client_of("birch").tenant("acme").outcome(done).await.unwrap_err();
    assert_eq!((foreign.kind(), foreign.code()), (Kind::Denied, code::NOT_ALLOWED));
    assert_eq!(seen(raw.get("k").await.unwrap()), Some(b"one".to_vec()));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_callers_own_holds_over_its_restart() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let raw = acme.raw("c");
    let first = raw.put("k", "one").idempotency_key("order-991").await.unwrap();
    raw.put("k", "two").await.unwrap();
    // The same from another process, as it were: another client, with another session.
    let again = rig.another("acme").raw("c");
    assert_eq!(again.put("k", "one").idempotency_key("order-991").await.unwrap(), first, "the first answer");
    assert_eq!(seen(raw.get("k").await.unwrap()), Some(b"two".to_vec()), "and nothing is done");
    let other = raw.put("k", "three").idempotency_key("order-992").await.unwrap();
    assert!(other > first);
    // Batches and removals too; and the same key of another tenant is another key.
    let removed = raw.delete("k").idempotency_key("d").await.unwrap();
    let batch = || again.clone().delete_range("a".."z").idempotency_key("d");
    assert_eq!(batch().await.unwrap(), removed);
    let birch = rig.tenant("birch").await;
    birch.raw("c").put("k", "birch's").idempotency_key("order-991").await.unwrap();
    assert_eq!(seen(birch.raw("c").get("k").await.unwrap()), Some(b"birch's".to_vec()));
    // One that was sent minutes ago is remembered under another end of its time.
    let stamp = raw.put("k", "earlier").request_id(order_993()).await.unwrap();
    assert_eq!(again.put("k", "earlier").idempotency_key("order-993").await.unwrap(), stamp);
    let versions = history(&raw, "k").await;
    assert_eq!(versions, 5, "one, two, three, removed, earlier");
    rig.stop().await;
}

async fn history(raw: &dewpond::Collection<dewpond::Raw>, key: &str) -> usize {
    use futures_util::TryStreamExt as _;
    let all: Vec<_> = raw.history(key).try_collect().await.unwrap();
    all.len()
}

/// What `order-993` becomes, as it was sent five or six minutes ago. It must stay the same for ever, or a restart with a newer build writes twice.
fn order_993() -> RequestId {
    let now_ms = dewpond::Stamp::from(now()).ms();
    let end = (now_ms / 120_000 + 3) * 120_000;
    format!("0f08fa12da69c40c7c8d5e9d5d1be9ac-4086066892581379173-{end}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_scans_sees_its_own_writes_and_conflicts() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let accounts = acme.collection::<Account>();
    for (id, cents) in [("a", 1), ("b", 2), ("c", 3), ("x", 100)] {
        accounts.put(&account(id, cents)).await.unwrap();
    }
    let (runs, rival) = (Arc::new(AtomicU32::new(0)), accounts.clone());
    let ran = runs.clone();
    let sum = acme
        .txn(async move |tx| {
            tx.put(&account("b", 20))?;
            tx.put(&account("d", 4))?;
            tx.delete::<Account>("c");
            let rows = tx.scan::<Account>("a".to_owned().."m".to_owned()).await?;
            let keys: Vec<_> = rows.iter().map(|row| row.key.as_str()).collect();
            assert_eq!(keys, ["a", "b", "d"], "what it has written itself is in it");
            if ran.fetch_add(1, Ordering::Relaxed) == 0 {
                // Somebody changes a row that was read, and that this does not write.
                rival.put(&account("a", 10)).await?;
            }
            Ok(rows.iter().map(|row| row.version.value.cents).sum::<i64>())
        })
        .await
        .unwrap();
    assert_eq!((sum, runs.load(Ordering::Relaxed)), (34, 2), "it ran again on what the rival wrote");
    // A removal is noticed as well; and what lies outside of the range is not.
    for (victim, wanted) in [("a", 2), ("x", 1)] {
        let (runs, rival) = (Arc::new(AtomicU32::new(0)), accounts.clone());
        let ran = runs.clone();
        acme.txn(async move |tx| {
            tx.scan::<Account>(KeyRange::from("a".."m")).await?;
            if ran.fetch_add(1, Ordering::Relaxed) == 0 {
                rival.delete(victim).await?;
            }
            tx.put(&account("sum", 0))
        })
        .await
        .unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), wanted, "{victim}");
    }
    // As many rows as a commit has conditions.
    let mut batch = acme.batch();
    for n in 0..1_001 {
        batch = batch.put("many", format!("{n:04}"), "x");
    }
    batch.await.unwrap();
    let all =
        acme.txn(async move |tx| tx.scan_raw("many", "0000".."1000").await.map(|rows| rows.len())).await;
    assert_eq!(all.unwrap(), 1_000);
    let more = acme.txn(async move |tx| tx.scan_raw("many", ..).await.map(|rows| rows.len())).await;
    assert_eq!(more.unwrap_err().code(), code::BATCH_TOO_LARGE);
    let mut names = acme.collections().await.unwrap();
    names.sort();
    assert_eq!(names, ["accounts", "many"]);
    rig.stop().await;
}
