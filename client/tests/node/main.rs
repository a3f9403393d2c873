//! The client against a whole node: every operation over the wire, and who is refused what.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod again;
mod delayed;
mod failover;
mod restore;
mod rig;
mod takeover;

use bytes::Bytes;
use dewpond::{Change, Doc, Kind, Past, RequestId, Stamp, Start, Versioned, code, wire};
use futures_util::TryStreamExt as _;
use rig::Rig;
use std::collections::BTreeMap;
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
    Account { id: id.to_owned(), cents }
}

fn values<T: Clone>(past: &[Past<T>]) -> Vec<Option<T>> {
    let value = |one: &Past<T>| match one {
        Past::Value(version) => Some(version.value.clone()),
        _ => None,
    };
    past.iter().map(value).collect()
}

fn seen(found: Option<Versioned<Bytes>>) -> Option<Vec<u8>> {
    found.map(|found| found.value.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_read_and_remembered() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let accounts = acme.collection::<Account>();
    assert!(accounts.get("a").await.unwrap().is_none(), "a collection that nobody has written to is empty");
    let first = accounts.put(&account("a", 1)).await.unwrap();
    let second = accounts.put(&account("a", 2)).await.unwrap();
    assert!(second > first);
    let found = accounts.get("a").await.unwrap().unwrap();
    assert_eq!((found.value, found.stamp), (account("a", 2), second));
    let then = acme.as_of(first).collection::<Account>().get("a").await.unwrap().unwrap();
    assert_eq!((then.value, then.stamp), (account("a", 1), first));
    let gone = accounts.delete("a").await.unwrap();
    assert!(accounts.get("a").await.unwrap().is_none());
    let past: Vec<_> = accounts.history("a").try_collect().await.unwrap();
    assert_eq!(values(&past), [None, Some(account("a", 2)), Some(account("a", 1))]);
    assert!(matches!(past[0], Past::Removed(at) if at == gone));
    let newest: Vec<_> = accounts.history("a").limit(2).try_collect().await.unwrap();
    assert_eq!(newest.len(), 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_and_a_request_runs_once() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let raw = acme.raw("raw");
    let first = raw.put("k", "one").if_absent().await.unwrap();
    let refused = raw.put("k", "two").if_absent().await.unwrap_err();
    assert_eq!((refused.code(), refused.kind()), (code::CONDITION_FAILED, Kind::Conflict));
    assert_eq!(refused.condition(), Some((0, Some(first))), "it says what is there");
    let second = raw.put("k", "two").if_stamp(first).await.unwrap();
    assert_eq!(raw.put("k", "three").if_stamp(first).await.unwrap_err().code(), code::CONDITION_FAILED);
    assert_eq!(raw.delete("other").if_present().await.unwrap_err().code(), code::CONDITION_FAILED);
    assert_eq!(seen(raw.get("k").await.unwrap()), Some(b"two".to_vec()));
    let valid_until_ms = second.ms() + 60_000;
    let id = RequestId { session: [7; 16], number: 1, valid_until_ms };
    let once = raw.put("k", "once").request_id(id).await.unwrap();
    let again = raw.put("k", "once").request_id(id).await.unwrap();
    assert_eq!(once, again, "it is answered from memory");
    let versions: Vec<_> = raw.history("k").try_collect().await.unwrap();
    assert_eq!(versions.len(), 3);
    let late = RequestId { session: [8; 16], number: 1, valid_until_ms: first.ms().saturating_sub(60_000) };
    assert!(raw.put("k", "late").request_id(late).await.is_err(), "its time is over");
    assert_eq!(seen(raw.get("k").await.unwrap()), Some(b"once".to_vec()));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_whole_and_scans_are_of_one_moment() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let mut model = BTreeMap::new();
    let mut batch = acme.batch();
    for n in 0..3_000_u32 {
        let (key, value) = (format!("{n:06}"), vec![b'v'; 1 + n as usize % 900]);
        batch = batch.put("rows", key.clone(), value.clone());
        model.insert(key.into_bytes(), value);
    }
    let at = batch.await.unwrap();
    let rows = acme.raw("rows");
    let all: Vec<_> = rows.scan(..).try_collect().await.unwrap();
    assert!(all.iter().all(|row| row.version.stamp == at));
    let found: BTreeMap<_, _> =
        all.iter().map(|row| (row.key.to_vec(), row.version.value.to_vec())).collect();
    assert_eq!(found, model);
    let some: Vec<_> = rows.scan("000100".."000200").reverse().limit(30).try_collect().await.unwrap();
    let keys: Vec<_> = some.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()).collect();
    assert_eq!(keys, (170..200).rev().map(|n| format!("{n:06}")).collect::<Vec<_>>());
    let multi = rows.multi_get(["000001", "none", "000003"]).await.unwrap();
    assert_eq!(multi.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let failing = acme.batch().put("rows", "new", "x").if_version("rows", "000001", None);
    assert_eq!(failing.await.unwrap_err().code(), code::CONDITION_FAILED);
    assert!(rows.get("new").await.unwrap().is_none(), "nothing of it was done");
    rows.delete_range("000100".."002900").await.unwrap();
    let left: Vec<_> = rows.scan(..).try_collect().await.unwrap();
    assert_eq!(left.len(), 200);
    let before: Vec<_> = acme.as_of(at).raw("rows").scan(..).try_collect().await.unwrap();
    assert_eq!(before.len(), 3_000, "the past is as it was");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_see_each_other_whole() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    acme.collection::<Account>().put(&account("a", 1_000)).await.unwrap();
    acme.collection::<Account>().put(&account("b", 0)).await.unwrap();
    let mut moves = Vec::new();
    for _ in 0..4 {
        let acme = acme.clone();
        moves.push(tokio::spawn(async move {
            for _ in 0..10 {
                let moved = acme.txn(async move |tx| {
                    let (mut a, mut b) =
                        (tx.require::<Account>("a").await?, tx.require::<Account>("b").await?);
                    a.cents -= 5;
                    b.cents += 5;
                    tx.put(&a)?;
                    tx.put(&b)
                });
                moved.await.unwrap();
            }
        }));
    }
    for one in moves {
        one.await.unwrap();
    }
    let accounts = acme.collection::<Account>();
    let (a, b) = (accounts.get("a").await.unwrap().unwrap(), accounts.get("b").await.unwrap().unwrap());
    assert_eq!((a.value.cents, b.value.cents), (800, 200));
    let versions: Vec<_> = accounts.history("a").try_collect().await.unwrap();
    assert_eq!(versions.len(), 41, "each was done once");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_what_is_not_theirs() {
    let rig = Rig::start().await;
    let (acme, birch) = (rig.tenant("acme").await, rig.tenant("birch").await);
    acme.raw("c").put("k", "acme's").await.unwrap();
    assert!(birch.raw("c").get("k").await.unwrap().is_none(), "the same names, other rows");
    let foreign = rig.client_of("birch").tenant("acme");
    assert_eq!(foreign.raw("c").get("k").await.unwrap_err().code(), code::NOT_ALLOWED);
    assert_eq!(foreign.raw("c").put("k", "x").await.unwrap_err().code(), code::NOT_ALLOWED);
    let scanned: Result<Vec<_>, _> = foreign.raw("c").scan(..).try_collect().await;
    assert_eq!(scanned.map(|rows| rows.len()).unwrap_err().code(), code::NOT_ALLOWED);
    let unheard = rig.client_of("birch").tenant("nobody").raw("c").get("k").await.unwrap_err();
    assert_eq!(unheard.code(), code::NOT_ALLOWED, "nobody hears whether there is such a tenant");
    assert!(rig.client_of("birch").admin().tenants().await.is_err(), "a service administers nothing");
    assert_eq!(rig.admin.tenant("acme").raw("c").get("k").await.unwrap_err().code(), code::NOT_ALLOWED);
    assert_eq!(seen(acme.raw("c").get("k").await.unwrap()), Some(b"acme's".to_vec()));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_lives_is_frozen_dropped_and_comes_back() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let raw = acme.raw("c");
    raw.put("k", "v").await.unwrap();
    let admin = rig.admin.admin();
    let again = admin.create(wire::CreateTenantRequest { name: "acme".into(), ..Default::default() }).await;
    assert_eq!(again.unwrap_err().code(), code::TENANT_EXISTS);
    assert_eq!(admin.freeze("acme").await.unwrap().state, "frozen");
    assert_eq!(raw.get("k").await.unwrap_err().code(), code::TENANT_FROZEN);
    assert_eq!(raw.put("k", "w").await.unwrap_err().code(), code::TENANT_FROZEN);
    admin.unfreeze("acme").await.unwrap();
    assert_eq!(seen(raw.get("k").await.unwrap()), Some(b"v".to_vec()));
    admin.drop("acme").await.unwrap();
    assert_eq!(raw.get("k").await.unwrap_err().code(), code::TENANT_DROPPED);
    admin.undrop("acme").await.unwrap();
    assert_eq!(seen(raw.get("k").await.unwrap()), Some(b"v".to_vec()), "within the window nothing is lost");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_keeps_no_more_than_it_may() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let admin = rig.admin.admin();
    let quota = |bytes| wire::SetTenantRequest {
        name: "acme".into(),
        quota_bytes: Some(bytes),
        ..Default::default()
    };
    admin.set(quota(1 << 20)).await.unwrap();
    let raw = acme.raw("c");
    // Nothing that can be compressed, and more than stays in memory.
    let mut word = 1_u64;
    let mut value = || -> Vec<u8> {
        let mut next = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.to_le_bytes()
        };
        (0..8_192).flat_map(|_| next()).collect()
    };
    let mut refused = None;
    for n in 0..2_000 {
        if let Err(error) = raw.put(format!("{n:04}"), value()).await {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused.map(|error| error.code()), Some(code::QUOTA_BYTES));
    assert!(raw.get("0000").await.unwrap().is_some(), "it is read all the same");
    raw.delete("0000").await.unwrap();
    raw.delete_range("0001".."0002").await.unwrap();
    assert_eq!(raw.put("k", "small").await.unwrap_err().code(), code::QUOTA_BYTES, "older versions count");
    admin.set(quota(1 << 40)).await.unwrap();
    raw.put("k", "small").await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let raw = acme.raw("c");
    let too_long = vec![b'k'; 64 << 10];
    for (error, wanted) in [
        (raw.put(&too_long, "v").await.unwrap_err(), code::KEY_TOO_LONG),
        (raw.get(&too_long).await.unwrap_err(), code::KEY_TOO_LONG),
        (raw.put("k", vec![0; 9 << 20]).await.unwrap_err(), code::VALUE_TOO_LONG),
        (acme.raw("").put("k", "v").await.unwrap_err(), code::NAME_INVALID),
        (acme.raw("a\u{0}b").get("k").await.unwrap_err(), code::NAME_INVALID),
    ] {
        assert_eq!(error.code(), wanted, "{error}");
    }
    let reversed: Result<Vec<_>, _> = raw.scan("b".."a").try_collect().await;
    assert!(reversed.is_err() || reversed.unwrap().is_empty());
    let now = raw.delete("k").await.unwrap();
    let future = acme.as_of(Stamp::from(now.time() + Duration::from_secs(3_600)));
    assert!(future.raw("c").get("k").await.is_err(), "nobody knows the future");
    let all: Vec<_> = raw.scan(..).try_collect().await.unwrap();
    assert!(all.is_empty());
    rig.stop().await;
}

/// What a watch tells next, but for how far all is told.
async fn told(
    watch: &mut (impl futures_util::Stream<Item = dewpond::Result<Change<Bytes, Bytes>>> + Unpin),
) -> (Stamp, String) {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), watch.try_next());
        match next.await.unwrap().unwrap().unwrap() {
            Change::Put { key, version } => {
                return (version.stamp, format!("{}={}", text(key), text(version.value)));
            }
            Change::Delete { key, stamp } => return (stamp, text(key)),
            Change::DeleteRange { start, end, stamp } => {
                return (stamp, format!("{}..{}", text(start), text(end.unwrap_or_default())));
            }
            Change::Progress(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_hears_what_is_written_from_a_stamp_and_from_now_on() {
    let rig = Rig::start().await;
    let acme = rig.tenant("acme").await;
    let rows = acme.raw("rows");
    // Nobody has written to the collection yet.
    let mut now = rows.watch(.., Start::Now);
    let first = tokio::join!(told(&mut now), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        rows.put("a", "one").await.unwrap()
    });
    assert_eq!(first.0, (first.1, "a=one".to_owned()));
    let second = rows.put("b", "two").await.unwrap();
    let third = rows.delete("a").await.unwrap();
    let fourth = rows.delete_range("a".."c").await.unwrap();
    let rest = [(second, "b=two".to_owned()), (third, "a".to_owned()), (fourth, "a..c".to_owned())];
    let mut then = rows.watch("a".."z", Start::After(first.1));
    for expected in rest {
        assert_eq!(told(&mut now).await, expected);
        assert_eq!(told(&mut then).await, expected);
    }
    // More than is given credit for at once.
    let mut batch = acme.batch();
    for n in 0..5_000 {
        batch = batch.put("rows", format!("m{n:04}"), "x");
    }
    let at = batch.await.unwrap();
    for n in 0..5_000 {
        assert_eq!(told(&mut then).await, (at, format!("m{n:04}=x")));
    }
    let other = rig.tenant("umbra").await;
    drop(other);
    let foreign = rig.client_of("umbra").tenant("acme");
    let refused = foreign.raw("rows").watch(.., Start::After(Stamp(1))).try_next().await.unwrap_err();
    assert_eq!(refused.code(), code::NOT_ALLOWED);
    rig.stop().await;
}
