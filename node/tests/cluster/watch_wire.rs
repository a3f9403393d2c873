//! Watches over gRPC and TLS, as clients see them.

use super::put;
use super::rig::{Cluster, eventually};
use super::watch::{delete, delete_range, with_collection};
use node::limits;
use node::meta::command::{Change, MetaCommand};
use node::shard::door::WriteId;
use node::tenants::rules::Act;
use proto::errors::code;
use proto::v1::reset::Why;
use proto::v1::watch_client::WatchClient;
use proto::v1::watch_request::What as Said;
use proto::v1::watch_response::What as Told;
use proto::v1::{Cancel, OpenWatch, Place, Range, WatchRequest, WatchResponse};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

struct Watcher {
    say: mpsc::Sender<WatchRequest>,
    told: Streaming<WatchResponse>,
}

impl Watcher {
    async fn open(channel: Channel, tenant: &str, after: u64, prefix: &str) -> Self {
        Self::open_again(channel, tenant, (after, 0), prefix).await
    }

    async fn open_again(
        channel: Channel,
        tenant: &str,
        (after, generation): (u64, u64),
        prefix: &str,
    ) -> Self {
        let (say, said) = mpsc::channel(8);
        let place = Place { tenant: tenant.to_owned(), collection: "data".to_owned(), ..Place::default() };
        let range = Some(Range { start: "a".into(), end: bytes::Bytes::new() });
        let prefix = prefix.to_owned().into();
        let open = OpenWatch { place: Some(place), range, after, prefix, generation };
        say.send(WatchRequest { what: Some(Said::Open(open)) }).await.unwrap();
        let told = WatchClient::new(channel).watch(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, told }
    }

    async fn say(&self, what: Said) {
        self.say.send(WatchRequest { what: Some(what) }).await.unwrap();
    }

    /// What is told next, within the time that the schema promises; nothing if it is over.
    async fn next(&mut self) -> Option<Told> {
        let next = tokio::time::timeout(Duration::from_secs(5), self.told.message());
        next.await.expect("something is said every five seconds").unwrap().map(|told| told.what.unwrap())
    }

    /// The next change as stamp, key and value; words of how far all is told are passed over.
    async fn change(&mut self) -> (u64, String, Option<String>) {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        loop {
            match self.next().await.unwrap() {
                Told::Progress(_) => {}
                Told::Change(change) => {
                    let version = change.version.unwrap();
                    let value = (!change.is_removed).then(|| text(version.value));
                    return (version.stamp, text(change.key), value);
                }
                Told::RangeRemoved(removed) => {
                    let range = removed.range.unwrap();
                    return (removed.stamp, format!("{}:{}", text(range.start), text(range.end)), None);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn failure(&mut self) -> u32 {
        for _ in 0..100 {
            match self.next().await.unwrap() {
                Told::Failure(failure) => {
                    assert!(self.next().await.is_none(), "it is the end");
                    return failure.code;
                }
                Told::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("it goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_is_told_what_it_gave_credit_for_and_how_far_that_goes() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let write = async |what| cluster.write(tenant, &what, WriteId::default()).await.unwrap().0;
    let stamps = [write(put("k1", "one")).await, write(put("m", "two")).await, write(delete("k1")).await];
    let channel = cluster.service(0, "acme");
    let mut watcher = Watcher::open(channel.clone(), "acme", 1, "").await;
    assert!(matches!(watcher.next().await, Some(Told::Progress(1))), "without credit nothing is told");
    watcher.say(Said::Credit(2)).await;
    assert_eq!(watcher.change().await, (stamps[0], "k1".to_owned(), Some("one".to_owned())));
    assert_eq!(watcher.change().await, (stamps[1], "m".to_owned(), Some("two".to_owned())));
    assert!(matches!(watcher.next().await, Some(Told::Progress(1))), "one more is to be told first");
    watcher.say(Said::Credit(100)).await;
    assert_eq!(watcher.change().await, (stamps[2], "k1".to_owned(), None));
    assert!(matches!(watcher.next().await, Some(Told::Progress(upto)) if upto >= stamps[2]));
    // Alive: what comes is told at once, and how far all is told goes on without anything to tell.
    let last = write(delete_range("k", "n")).await;
    assert_eq!(watcher.change().await, (last, "k:n".to_owned(), None));
    let other = cluster.tenant("umbra").await;
    for _ in 0..2 {
        cluster.write(other, &put("k1", "another's"), WriteId::default()).await.unwrap();
        assert!(matches!(watcher.next().await, Some(Told::Progress(upto)) if upto >= last));
    }
    // From a stamp, and of a prefix.
    let mut again = Watcher::open(channel.clone(), "acme", stamps[0], "m").await;
    again.say(Said::Credit(9)).await;
    assert_eq!(again.change().await.0, stamps[1]);
    assert_eq!(again.change().await, (last, "m:n".to_owned(), None));
    // From now on.
    let mut now = Watcher::open(channel, "acme", 0, "").await;
    now.say(Said::Credit(9)).await;
    assert!(matches!(now.next().await, Some(Told::Progress(upto)) if upto >= last));
    let stamp = write(put("q", "new")).await;
    assert_eq!(now.change().await, (stamp, "q".to_owned(), Some("new".to_owned())));
    now.say(Said::Cancel(Cancel {})).await;
    while let Some(told) = now.next().await {
        assert!(matches!(told, Told::Progress(_)));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_the_code_that_says_why() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    eventually("three vote", || cluster.voters(group) == 3).await;
    eventually("all know all", || cluster.servers().all(|one| one.meta().nodes.len() == 3)).await;
    let leader = cluster.leader_of(tenant).unwrap();
    let (channel, follower) = (cluster.service(leader, "acme"), cluster.service((leader + 1) % 3, "acme"));
    let foreign = cluster.service(leader, "umbra");
    assert_eq!(Watcher::open(foreign, "acme", 1, "").await.failure().await, code::NOT_ALLOWED);
    // A follower tells as well.
    let mut near = Watcher::open(follower, "acme", 1, "").await;
    assert!(matches!(near.next().await, Some(Told::Progress(_))));
    let ahead = (cluster.now_ms() + 60_000) << 16;
    assert_eq!(Watcher::open(channel.clone(), "acme", ahead, "").await.failure().await, code::STAMP_AHEAD);
    let mut twice = Watcher::open(channel.clone(), "acme", 1, "").await;
    twice.say(Said::Open(OpenWatch::default())).await;
    assert_eq!(twice.failure().await, code::MALFORMED);
    let mut watcher = Watcher::open(channel, "acme", 1, "").await;
    assert!(matches!(watcher.next().await, Some(Told::Progress(_))));
    let freeze = MetaCommand::new(vec![Change::SetTenantState(tenant, Act::Freeze)]);
    cluster.server(leader).change(freeze, 5_000).await.unwrap();
    assert_eq!(watcher.failure().await, code::TENANT_FROZEN);
    assert_eq!(near.failure().await, code::TENANT_FROZEN);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_falls_behind_what_is_kept_is_told_why() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant_keeping("acme", 1).await;
    with_collection(&cluster, tenant).await;
    let write = async |what| cluster.write(tenant, &what, WriteId::default()).await.unwrap().0;
    let channel = cluster.service(0, "acme");
    // It has begun and heard of one change, for which it gives no credit.
    let mut slow = Watcher::open(channel.clone(), "acme", 1, "").await;
    assert!(matches!(slow.next().await, Some(Told::Progress(_))));
    let first = write(put("k", "one")).await;
    tokio::time::sleep(Duration::from_millis(2 * limits::WATCH_LOOK_MS)).await;
    // More is applied than is kept for it, and then that leaves history too.
    let large = "v".repeat(limits::VALUE_BYTES_MAX);
    let mut last = first;
    for _ in 0..limits::FEED_BYTES_MAX / large.len() + 2 {
        last = write(put("k", &large)).await;
    }
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    let seated = cluster.server(0).running().unwrap().replica(group).unwrap();
    let tablet = seated.receiver.group().machine().tablet();
    tablet.freeze();
    let gone = async || {
        let mut early = Watcher::open(channel.clone(), "acme", first, "").await;
        matches!(early.next().await, Some(Told::Reset(reset)) if reset.why() == Why::Trimmed)
    };
    let mut rounds = 0;
    while !gone().await {
        rounds += 1;
        assert!(rounds < 200, "history was never cut off");
        tablet.request_compaction();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    slow.say(Said::Credit(1)).await;
    assert_eq!(slow.change().await, (first, "k".to_owned(), Some("one".to_owned())));
    let reset = loop {
        match slow.next().await {
            Some(Told::Progress(_)) => {}
            Some(Told::Reset(reset)) => break reset,
            other => panic!("{other:?}"),
        }
    };
    assert!(reset.why() == Why::Lagged && reset.from >= last);
    // It goes on, and so do those that were open elsewhere before.
    for (generation, why) in [(1, Why::Moved), (2, Why::Restored)] {
        let mut again = Watcher::open_again(channel.clone(), "acme", (first, generation), "").await;
        assert!(matches!(again.next().await, Some(Told::Reset(reset)) if reset.why() == why));
        again.say(Said::Credit(1)).await;
        slow.say(Said::Credit(1)).await;
        let next = (write(put("k", "next")).await, "k".to_owned(), Some("next".to_owned()));
        assert_eq!((slow.change().await, again.change().await), (next.clone(), next));
    }
    cluster.stop().await;
}
