//! Watches of all registers of a tenant, from a stamp on, through whatever happens.

use super::client::{told, within};
use super::workload::One;
use crate::history::Key;
use crate::history::told::Fact;
use crate::processes::workload::REGISTERS;
use engine::Stamp;
use engine::ids::NodeId;
use proto::v1;
use proto::v1::watch_client::WatchClient;
use proto::v1::watch_request::What as Says;
use proto::v1::watch_response::What as Hears;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tonic::Streaming;

/// A node has so long to open a watch, in milliseconds. What was asked may be lost on its way, and the call itself is as patient as the watch.
const OPEN_MS: u64 = 3_000;
/// Between two looks whether the node is there still, in milliseconds.
const LOOK_MS: u64 = 200;
/// Events that one asks for at once.
const CREDIT: u32 = 100_000;
/// A watch is open for so long, in milliseconds; then another one goes on behind it.
const WATCH_MS: u64 = 55_000;

/// Whether watches are to stop.
pub type Unwatched = Rc<Cell<bool>>;

/// Watches until it is told to stop. If a watch ends, it goes on behind the last progress that it was told, as another watch for the judge.
pub async fn work(mut one: One, is_unwatched: Unwatched) {
    let record = one.customer.record.clone();
    while !is_unwatched.get() && record.newest() == Stamp::ZERO {
        one.client.think(100).await;
    }
    let (mut watch, mut after) = (one.id.0 * 1_000, record.newest());
    while !is_unwatched.get() {
        if let Some((node, heard)) = open(&mut one, after).await {
            record.fact(Fact::Began { watch, after });
            after = listen(&one, (watch, node), heard, &is_unwatched, after).await;
            watch += 1;
        }
        one.client.think(100).await;
    }
}

async fn open(one: &mut One, after: Stamp) -> Option<(NodeId, Streaming<v1::WatchResponse>)> {
    let place = one.client.place(REGISTERS);
    let open = v1::OpenWatch { place, after: after.0, ..v1::OpenWatch::default() };
    let says = [Says::Open(open), Says::Credit(CREDIT)];
    let requests = says.map(|what| v1::WatchRequest { what: Some(what) });
    // What the watcher says does not end before the watch does.
    let requests =
        futures_util::StreamExt::chain(futures_util::stream::iter(requests), futures_util::stream::pending());
    let (node, line) = one.client.any_line();
    let mut watch = WatchClient::new(line);
    let opened = watch.watch(within(requests, Duration::from_millis(WATCH_MS)));
    let opened = tokio::time::timeout(Duration::from_millis(OPEN_MS), opened).await;
    opened.ok()?.ok().map(|heard| (node, heard.into_inner()))
}

/// Hears of changes until the watch ends, or its node; and says up to where it has heard all.
async fn listen(
    one: &One,
    (watch, node): (u64, NodeId),
    mut heard: Streaming<v1::WatchResponse>,
    is_unwatched: &Unwatched,
    mut after: Stamp,
) -> Stamp {
    let doors = one.client.doors();
    let life = doors.life(node);
    while !is_unwatched.get() && doors.is_open(node, life) {
        let next = tokio::time::timeout(Duration::from_millis(LOOK_MS), heard.message()).await;
        let Ok(next) = next else { continue };
        let Ok(Some(v1::WatchResponse { what: Some(what), .. })) = next else { break };
        match what {
            Hears::Progress(stamp) => {
                after = after.max(Stamp(stamp));
                one.customer.record.fact(Fact::Progress { watch, stamp: Stamp(stamp) });
            }
            Hears::Change(change) => changed(one, watch, change),
            Hears::Reset(reset) => one.customer.record.fact(Fact::Reset { watch, from: Stamp(reset.from) }),
            Hears::Failure(_) => break,
            Hears::RangeRemoved(_) => {
                let what = "a watch told of a range that nobody removed".to_owned();
                one.customer.record.fact(Fact::Foreign { what });
            }
        }
    }
    after
}

fn changed(one: &One, watch: u64, change: v1::Change) {
    let customer = &one.customer;
    let key = customer.form.key_of(&change.key).unwrap_or(Key(u64::MAX));
    let Some((stamp, bytes)) = told(change.version) else { return };
    let value = (!change.is_removed)
        .then(|| customer.open(&bytes).and_then(|value| value.as_u64()).unwrap_or(u64::MAX));
    customer.record.fact(Fact::Changed { watch, key, stamp, value });
}
