//! Watches of whole nodes: everything that was acknowledged is heard, once and in order, whoever leads.

use super::put;
use super::rig::{Cluster, DATA, eventually};
use engine::Stamp;
use engine::ids::TenantId;
use engine::tablet::changes::Change;
use node::limits;
use node::meta::command::{Change as MetaChange, MetaCommand};
use node::refused::Refused;
use node::shard::command::{KvCommand, Operation};
use node::shard::door::WriteId;
use node::shard::watch::{Begin, Heard, Lost, Watch, Watched};
use proto::errors::code;
use std::time::Duration;

/// What was heard or written: stamp, key, and value unless it was removed. A range that was removed has its end after a colon.
pub type Event = (Stamp, String, Option<String>);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn event((stamp, change): (Stamp, Change)) -> Event {
    match change {
        Change::Put { key, value, .. } => (stamp, text(&key), Some(text(&value))),
        Change::Delete { key } => (stamp, text(&key), None),
        Change::DeleteRange { start, end } => {
            (stamp, format!("{}:{}", text(&start), text(&end.unwrap_or_default())), None)
        }
    }
}

pub fn delete(key: &str) -> KvCommand<bytes::Bytes> {
    let operation = Operation::Delete { collection: DATA, key: key.to_owned().into() };
    KvCommand { conditions: Vec::new(), operations: vec![operation] }
}

pub fn delete_range(start: &str, end: &str) -> KvCommand<bytes::Bytes> {
    let (start, end) = (start.to_owned().into(), Some(end.to_owned().into()));
    let operation = Operation::DeleteRange { collection: DATA, start, end };
    KvCommand { conditions: Vec::new(), operations: vec![operation] }
}

/// Makes the collection that all tests write to.
pub async fn with_collection(cluster: &Cluster, tenant: TenantId) {
    let change = MetaCommand::new(vec![MetaChange::AddCollection(tenant, "data".to_owned())]);
    cluster.server(0).change(change, 5_000).await.unwrap();
    eventually("every node knows the collection", || {
        cluster.servers().all(|server| server.meta().collection(tenant, "data") == Some(DATA))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_takes_no_more_at_once_than_it_may_keep() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let watcher = Watcher::new(tenant, Stamp::ZERO);
    let mut watch = watcher.open(&cluster).await.unwrap();
    // It has read the tablet, and hears from now on.
    assert!(matches!(watch.next().await, Ok(Heard::Changes { .. })));
    let value = "v".repeat(256 << 10);
    for n in 0..24 {
        cluster.write(tenant, &put(&format!("k{n:02}"), &value), WriteId::default()).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 24 {
        let Heard::Changes { changes, .. } = watch.next().await.unwrap() else {
            panic!("nothing was missed")
        };
        let bytes: usize = changes.iter().map(|(_, change)| change.bytes()).sum();
        assert!(bytes < limits::WATCH_BYTES_MAX + 2 * value.len(), "{bytes} at once");
        heard.extend(changes.into_iter().map(event));
    }
    let keys: Vec<_> = heard.iter().map(|(_, key, _)| key.clone()).collect();
    assert_eq!(keys, (0..24).map(|n| format!("k{n:02}")).collect::<Vec<_>>());
    cluster.stop().await;
}

/// A watcher as a client is one: it goes on elsewhere behind the last stamp up to which it has heard all.
struct Watcher {
    watched: Watched,
    after: Stamp,
    /// The generation that it has heard of.
    generation: u64,
    /// The node that it asks; else it asks who leads.
    at: Option<usize>,
    watch: Option<Watch>,
    heard: Vec<Event>,
    resets: Vec<(Stamp, Lost)>,
    opened: usize,
}

impl Watcher {
    fn new(tenant: TenantId, after: Stamp) -> Self {
        let watched =
            Watched { tenant, collection: "data".to_owned(), start: b"a".to_vec(), end: Some(b"x".to_vec()) };
        let (heard, resets) = (Vec::new(), Vec::new());
        Self { watched, after, generation: 0, at: None, watch: None, heard, resets, opened: 0 }
    }

    async fn open(&self, cluster: &Cluster) -> Result<Watch, Refused> {
        let at = self.at.or_else(|| cluster.leader_of(self.watched.tenant));
        let at = at.ok_or_else(|| Refused::new(code::NO_LEADER))?;
        let begin = Begin { after: self.after, generation: self.generation };
        cluster.server(at).door()?.watch(self.watched.clone(), begin, 2_000).await
    }

    async fn step(&mut self, cluster: &Cluster) {
        if self.watch.is_none() {
            match self.open(cluster).await {
                Ok(watch) => {
                    self.generation = watch.source().generation();
                    self.watch = Some(watch);
                }
                Err(_) => return tokio::time::sleep(Duration::from_millis(50)).await,
            }
            self.opened += 1;
        }
        match self.watch.as_mut().unwrap().next().await {
            Ok(Heard::Changes { changes, upto }) => {
                assert!(changes.iter().all(|(stamp, _)| *stamp > self.after && *stamp <= upto));
                self.heard.extend(changes.into_iter().map(event));
                self.after = upto;
            }
            Ok(Heard::Reset { from, why }) => {
                assert!(from > self.after, "it goes on behind what is gone");
                self.resets.push((from, why));
                self.after = from;
            }
            Err(_) => self.watch = None,
        }
    }

    /// Hears everything up to a stamp.
    async fn reaches(&mut self, cluster: &Cluster, stamp: Stamp) {
        for _ in 0..600 {
            if self.after >= stamp {
                return;
            }
            self.step(cluster).await;
        }
        panic!("it heard all up to {} and not to {stamp}", self.after);
    }
}

/// Writes, and what was written, in the order of the stamps.
struct Writer(TenantId, Vec<Event>);

impl Writer {
    async fn write(
        &mut self,
        cluster: &Cluster,
        what: &KvCommand<bytes::Bytes>,
        tells: (&str, Option<&str>),
    ) -> Stamp {
        // One that comes again after a death is done once.
        let id = WriteId {
            session: [9; 16],
            number: self.1.len() as u64,
            valid_until_ms: cluster.now_ms() + 120_000,
        };
        let mut tries = 0;
        let stamp = loop {
            match cluster.write(self.0, what, id).await {
                Ok(stamp) => break stamp,
                Err(why) if why.code == code::UNKNOWN_OUTCOME && tries < 20 => tries += 1,
                Err(why) => panic!("{why}"),
            }
        };
        self.1.push((stamp, tells.0.to_owned(), tells.1.map(str::to_owned)));
        stamp
    }

    /// Values, deletions and removed ranges; the watcher does not hear of `z`.
    async fn some(&mut self, cluster: &Cluster, n: usize) -> Stamp {
        let mut last = Stamp::ZERO;
        for n in 0..n {
            let (key, value) = (format!("k{}", n % 7), format!("v{n}"));
            last = match n % 5 {
                3 => self.write(cluster, &delete(&key), (&key, None)).await,
                4 => self.write(cluster, &delete_range("k1", "z"), ("k1:x", None)).await,
                _ => self.write(cluster, &put(&key, &value), (&key, Some(&value))).await,
            };
            cluster.write(self.0, &put("z", "unheard"), WriteId::default()).await.unwrap();
        }
        last
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_hears_all_once_and_in_order_over_the_death_of_its_leader() {
    let mut cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    cluster.join("two", "us").await;
    cluster.join("three", "ap").await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    eventually("three vote", || cluster.voters(group) == 3).await;
    let (mut writer, mut watcher) = (Writer(tenant, Vec::new()), Watcher::new(tenant, Stamp(1)));
    // What was there before is read, what comes then is heard.
    let first = writer.some(&cluster, 20).await;
    watcher.reaches(&cluster, first).await;
    let (mut other, mut restless) = (Watcher::new(tenant, first), Watcher::new(tenant, first));
    // One at a node that does not lead, and will not die.
    let (leader, follower) = {
        let leader = cluster.leader_of(tenant).unwrap();
        (leader, (leader + 1) % 3)
    };
    let mut near = Watcher { at: Some(follower), ..Watcher::new(tenant, Stamp(1)) };
    near.reaches(&cluster, first).await;
    assert_eq!(cluster.leader_of(tenant), Some(leader), "a follower has told all of it");
    let second = tokio::join!(
        writer.some(&cluster, 60),
        async {
            for _ in 0..10 {
                watcher.step(&cluster).await;
            }
        },
        // One that begins again and again, while others write.
        async {
            for _ in 0..40 {
                restless.step(&cluster).await;
                restless.step(&cluster).await;
                restless.watch = None;
            }
        }
    );
    restless.reaches(&cluster, second.0).await;
    assert_eq!(restless.heard[..], writer.1[20..]);
    assert!(watcher.opened == 1 && watcher.after > first, "one watch goes on by itself");
    // Its leader dies while something is still to be heard.
    let gone = cluster.kill_leader(group).await;
    let third = writer.some(&cluster, 20).await;
    watcher.reaches(&cluster, third).await;
    assert!(watcher.opened > 1 && second.0 < third);
    cluster.start(gone).await;
    let last = writer.some(&cluster, 5).await;
    watcher.reaches(&cluster, last).await;
    assert_eq!(watcher.heard, writer.1);
    assert!(watcher.resets.is_empty());
    near.reaches(&cluster, last).await;
    assert_eq!(near.heard, writer.1);
    assert!(near.resets.is_empty());
    // One that begins later hears what comes later.
    other.reaches(&cluster, last).await;
    assert_eq!(other.heard, writer.1.split_off(20));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_begins_before_history_does_or_falls_behind_it_is_told_so() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant_keeping("acme", 1).await;
    with_collection(&cluster, tenant).await;
    let mut writer = Writer(tenant, Vec::new());
    let mut late = Watcher::new(tenant, Stamp(1));
    late.step(&cluster).await;
    let last = writer.some(&cluster, 10).await;
    let group = cluster.server(0).meta().shard_of(tenant).unwrap().group;
    let seated = cluster.server(0).running().unwrap().replica(group).unwrap();
    let tablet = seated.receiver.group().machine().tablet();
    tablet.freeze();
    tokio::time::sleep(Duration::from_millis(50)).await;
    tablet.request_compaction();
    for _ in 0..200 {
        let mut early = Watcher::new(tenant, Stamp(1));
        early.step(&cluster).await;
        if let [(from, why)] = early.resets[..] {
            assert!(from >= last && why == Lost::Trimmed);
            // The same to one that was open before: it is not its fault.
            let generation = early.generation;
            let mut moved = Watcher { generation, ..Watcher::new(tenant, Stamp(1)) };
            moved.step(&cluster).await;
            assert!(matches!(moved.resets[..], [(from, Lost::Moved)] if from >= last));
            // And to one that was told of another history, wherever it stands.
            let far = Stamp((cluster.now_ms() + 60_000) << 16);
            let mut forked = Watcher { generation: generation + 1, ..Watcher::new(tenant, Stamp(1)) };
            forked.step(&cluster).await;
            assert!(matches!(forked.resets[..], [(from, Lost::Restored)] if from >= last && from < far));
            assert_eq!(forked.generation, generation);
            let begin = Begin { after: far, generation: generation + 1 };
            let door = cluster.server(0).door().unwrap();
            let mut ahead = door.watch(forked.watched.clone(), begin, 2_000).await.unwrap();
            let told = ahead.next().await;
            assert!(matches!(told, Ok(Heard::Reset { from, why: Lost::Restored }) if from < far));
            let next = writer.some(&cluster, 1).await;
            early.reaches(&cluster, next).await;
            assert_eq!(early.heard[..], writer.1[10..], "it goes on behind what is gone");
            // One that has heard the entries themselves needs no history.
            late.reaches(&cluster, next).await;
            assert_eq!(late.heard, writer.1);
            return cluster.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        tablet.request_compaction();
    }
    panic!("history was never cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_slow_reads_what_it_has_missed() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let (mut writer, mut watcher) = (Writer(tenant, Vec::new()), Watcher::new(tenant, Stamp(1)));
    let first = writer.some(&cluster, 3).await;
    watcher.reaches(&cluster, first).await;
    let large = "v".repeat(limits::VALUE_BYTES_MAX);
    let mut last = first;
    for n in 0..limits::FEED_BYTES_MAX / large.len() + 3 {
        let key = format!("k{n}");
        last = writer.write(&cluster, &put(&key, &large), (&key, Some(&large))).await;
    }
    watcher.reaches(&cluster, last).await;
    assert!(watcher.heard == writer.1, "{} of {}", watcher.heard.len(), writer.1.len());
    assert!(watcher.opened == 1 && watcher.resets.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_far_behind_looks_at_all_of_it_a_few_times_only() {
    let cluster = Cluster::found().await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let (mut last, commands, each) = (Stamp::ZERO, 10, limits::WATCH_CHANGES_MAX / 2);
    for n in 0..commands {
        let one = |m: usize| {
            let (key, value) = (format!("k{n:02}{m:04}").into(), bytes::Bytes::from_static(b"v"));
            Operation::Put { collection: DATA, key, value, expiry: node::shard::command::Expiry::Never }
        };
        let command = KvCommand { conditions: Vec::new(), operations: (0..each).map(one).collect() };
        last = cluster.write(tenant, &command, WriteId::default()).await.unwrap();
    }
    let mut watch = Watcher::new(tenant, Stamp(1)).open(&cluster).await.unwrap();
    let mut heard = Vec::new();
    while heard.iter().sum::<usize>() < commands * each {
        let Heard::Changes { changes, upto } = watch.next().await.unwrap() else { panic!("all is kept") };
        assert!(upto <= last.max(watch.after()) && changes.len() <= limits::WATCH_LARGE_CHANGES_MAX);
        heard.push(changes.len());
    }
    assert_eq!(heard, [limits::WATCH_CHANGES_MAX, commands * each - limits::WATCH_CHANGES_MAX]);
    cluster.stop().await;
}
