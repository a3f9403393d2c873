//! Connections that are lost, peers that start again, voices that change.

use super::rig::{Authority, Book, Cable, Handed, Manner, Node, Peer, pair, soon, until, voice};
use engine::ids::NodeId;
use raft::net::link::{Lane, PeerLink};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

const TO: NodeId = NodeId(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_answers_all_and_is_made_anew() {
    let (_authority, one, two, peer) = pair(Manner::Takes(300)).await;
    let cable = Cable::to(two.address.clone()).await;
    one.book.lock().unwrap().insert(TO, cable.address.clone());
    let calls: Vec<_> = (0..100_u8).map(|n| one.link.call(TO, Lane::Data(0), vec![n].into())).collect();
    until(|| peer.count() == 100).await;
    assert_eq!(cable.cut(), 1);
    let began = Instant::now();
    for call in calls {
        let lost = soon(call).await.unwrap_err();
        assert_eq!(lost.node, TO);
    }
    assert!(began.elapsed() < Duration::from_millis(250), "they waited for nothing");
    // What was begun at the peer comes to its end.
    assert_eq!(one.ask(TO, Lane::Data(0), b"again").await.frame, "again");
    until(|| peer.ended.load(Ordering::Relaxed) == 101).await;
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_stands_still_is_lost() {
    let (_authority, one, two, _peer) = pair(Manner::Echoes).await;
    let cable = Cable::to(two.address.clone()).await;
    one.book.lock().unwrap().insert(TO, cable.address.clone());
    one.ask(TO, Lane::Control, b"hello").await;
    // An idle link is not lost.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(one.call(TO, b"idle").await.is_ok());
    assert_eq!(cable.connections(), 1);
    cable.stand_still(true);
    let began = Instant::now();
    let lost = one.call(TO, b"lost").await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{lost}");
    cable.stand_still(false);
    assert_eq!(one.ask(TO, Lane::Control, b"again").await.frame, "again");
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_starts_again_answers_with_another_voice() {
    let (authority, one, two, _peer) = pair(Manner::Echoes).await;
    assert_eq!(one.ask(TO, Lane::Control, b"a").await.by, voice(2, 1));
    let address = two.address.clone();
    two.tasks.end().await;
    let lost = one.call(TO, b"b").await.unwrap_err();
    assert_eq!(lost.node, TO);
    let next = Peer::new(voice(2, 2), Manner::Echoes);
    let two = Node::start(&authority, &next, &one.book, &address).await;
    assert_eq!(one.ask(TO, Lane::Control, b"c").await.by, voice(2, 2));
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_voice_means_another_connection_at_both_ends() {
    let (_authority, one, two, first) = pair(Manner::Echoes).await;
    assert_eq!(one.ask(TO, Lane::Control, b"a").await.by, voice(2, 1));
    let second = Peer::new(voice(2, 2), Manner::Echoes);
    two.serving.set(Arc::new(Handed(second.clone())));
    assert_eq!(one.ask(TO, Lane::Control, b"b").await.by, voice(2, 2));
    assert_eq!((first.count(), second.count()), (1, 1));
    // This end: what is asked from now on is of the new voice.
    for incarnation in 2..50 {
        one.serving.set(Arc::new(Handed(Peer::new(voice(1, incarnation), Manner::Echoes))));
        one.ask(TO, Lane::Control, &[incarnation as u8]).await;
    }
    for (by, frame) in second.asked.lock().unwrap().iter().skip(1) {
        assert_eq!(by.incarnation, u64::from(frame[0]));
    }
    // Who does not speak neither asks nor answers.
    two.serving.clear();
    let lost = one.call(TO, b"c").await;
    assert!(lost.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = one.call(TO, b"d").await.unwrap_err();
    assert!(refused.cause.contains("does not speak yet"), "{refused}");
    assert!(two.call(NodeId(1), b"e").await.unwrap_err().cause.contains("does not speak yet"));
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_peer_that_is_away() {
    let (authority, book) = (Authority::new(), Book::default());
    let one = Node::start(&authority, &Peer::new(voice(1, 1), Manner::Echoes), &book, "127.0.0.1:0").await;
    assert_eq!(one.call(TO, b"a").await.unwrap_err().cause, "it has no address");
    assert!(one.link.known().is_empty());
    // A port where nobody listens.
    book.lock().unwrap().insert(TO, "127.0.0.1:1".to_owned());
    let began = Instant::now();
    for _ in 0..1_000 {
        assert!(one.call(TO, b"a").await.is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    one.link.forget(TO);
    assert!(one.link.known().is_empty());
    // A peer that comes is found within the longest pause.
    let two = Node::start(&authority, &Peer::new(voice(2, 1), Manner::Echoes), &book, "127.0.0.1:0").await;
    let began = Instant::now();
    one.ask(TO, Lane::Control, b"b").await;
    assert!(began.elapsed() < Duration::from_secs(2));
    // When its tasks end, nobody waits either.
    one.tasks.end().await;
    assert!(one.call(TO, b"c").await.is_err());
    two.is_whole();
}
