//! A lane keeps its order.

use super::rig::{Cable, Manner, pair, soon, until};
use bytes::Bytes;
use engine::ids::NodeId;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use node::peer::limits::{BODY_BYTES_MAX, CALLS_MAX, SERVED_CALLS_MAX};
use raft::net::link::{Lane, PeerLink};
use std::sync::atomic::Ordering;

const TO: NodeId = NodeId(2);

fn number(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

fn numbers(asked: &[(raft::net::heard::Voice, Bytes)]) -> Vec<u64> {
    asked.iter().map(|(_, frame)| u64::from_be_bytes(frame[..8].try_into().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_of_a_lane_are_begun_in_their_order() {
    let (_authority, one, two, peer) = pair(Manner::Echoes).await;
    let (mut waiting, mut answered) = (FuturesUnordered::new(), 0);
    for n in 0..10_000_u64 {
        let call = one.link.call(TO, Lane::Data(1), number(n));
        waiting.push(async move { (n, call.await) });
        while waiting.len() > 3_000 {
            let (n, said) = soon(waiting.next()).await.unwrap();
            assert_eq!(said.unwrap().frame, number(n), "the answer to another call");
            answered += 1;
        }
    }
    while let Some((n, said)) = soon(waiting.next()).await {
        assert_eq!(said.unwrap().frame, number(n), "the answer to another call");
        answered += 1;
    }
    assert_eq!(answered, 10_000);
    assert_eq!(numbers(&peer.asked.lock().unwrap()), (0..10_000).collect::<Vec<_>>());
    assert_eq!(peer.early.load(Ordering::Relaxed), 0, "a call was given before the one ahead was begun");
    one.is_whole();
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_outlives_lost_connections() {
    let (_authority, one, two, peer) = pair(Manner::Echoes).await;
    let cable = Cable::to(two.address.clone()).await;
    one.book.lock().unwrap().insert(TO, cable.address.clone());
    let (mut waiting, mut lost, mut cuts) = (FuturesUnordered::new(), 0_usize, 0);
    for n in 0..10_000_u64 {
        waiting.push(one.link.call(TO, Lane::Control, number(n)));
        if n % 100 == 99 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        if n % 1_000 == 700 {
            until(|| peer.count() > 0).await;
            cuts += cable.cut();
        }
    }
    while let Some(said) = soon(waiting.next()).await {
        lost += usize::from(said.is_err());
    }
    let asked = numbers(&peer.asked.lock().unwrap());
    assert!(asked.windows(2).all(|pair| pair[0] < pair[1]), "out of order, or twice");
    assert!(cuts >= 2 && lost > 0 && asked.len() + lost >= 10_000, "{cuts} {lost} {}", asked.len());
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_sent_when_it_is_made_and_giving_up_gives_up_the_answer_alone() {
    let (_authority, one, _two, peer) = pair(Manner::Echoes).await;
    for n in 0..100 {
        // Never polled.
        drop(one.link.call(TO, Lane::Control, number(n)));
    }
    let said = one.call(TO, &100_u64.to_be_bytes()).await.unwrap();
    assert_eq!((said.by, said.frame), (super::rig::voice(2, 1), number(100)));
    assert_eq!(numbers(&peer.asked.lock().unwrap()), (0..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stands_takes_so_much_and_no_more() {
    let (_authority, one, _two, peer) = pair(Manner::Stalls).await;
    let calls: Vec<_> = (0..CALLS_MAX as u64).map(|n| one.link.call(TO, Lane::Control, number(n))).collect();
    let over = one.call(TO, b"over").await.unwrap_err();
    assert_eq!(over.cause, "too many calls wait for answers");
    until(|| peer.count() >= SERVED_CALLS_MAX).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(peer.count(), SERVED_CALLS_MAX);
    // Other lanes go on, and stand on their own.
    drop(one.link.call(TO, Lane::Bulk, number(1)));
    until(|| peer.count() > SERVED_CALLS_MAX).await;
    // Both ends say that they live: the link is not taken for lost.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert!(calls.into_iter().all(|call| call.now_or_never().is_none()), "a call was lost");
    assert_eq!(peer.count(), SERVED_CALLS_MAX + 1);
    assert_eq!(peer.ended.load(Ordering::Relaxed), 0);
    one.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_go_both_ways_among_small_ones() {
    let (_authority, one, two, _peer) = pair(Manner::Echoes).await;
    let large: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
    let largest = vec![5; BODY_BYTES_MAX];
    for frame in [&large, &largest, &large] {
        let calls: Vec<_> = (0..50).map(|n| one.link.call(TO, Lane::Bulk, number(n))).collect();
        let said = soon(one.link.call(TO, Lane::Bulk, Bytes::copy_from_slice(frame))).await.unwrap();
        assert!(said.frame == *frame);
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(soon(call).await.unwrap().frame, number(n as u64));
        }
    }
    let over = one.link.call(TO, Lane::Bulk, vec![0; BODY_BYTES_MAX + 1].into()).await.unwrap_err();
    assert_eq!(over.cause, "a frame over its limit");
    two.is_whole();
}
