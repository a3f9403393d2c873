//! How fast calls go. Run it with `--ignored --nocapture`, and with `--release` for a figure that says something.

use super::rig::{Manner, pair};
use bytes::Bytes;
use engine::ids::NodeId;
use futures_util::stream::{FuturesUnordered, StreamExt};
use raft::net::link::{Lane, PeerLink};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn calls_a_second() {
    let (_authority, one, _two, _peer) = pair(Manner::Returns).await;
    for (bytes, at_once, calls) in [(300, 64, 200_000), (300, 1, 10_000), (1 << 20, 8, 500)] {
        let (frame, began) = (Bytes::from(vec![7; bytes]), Instant::now());
        let mut waiting = FuturesUnordered::new();
        for _ in 0..calls {
            if waiting.len() >= at_once {
                let said: Option<Result<_, _>> = waiting.next().await;
                said.unwrap().unwrap();
            }
            waiting.push(one.link.call(NodeId(2), Lane::Data(0), frame.clone()));
        }
        while let Some(said) = waiting.next().await {
            said.unwrap();
        }
        let a_second = f64::from(calls) / began.elapsed().as_secs_f64();
        println!("{bytes} bytes, {at_once} at once: {a_second:.0} calls a second");
    }
}
