//! Bytes that no node sends, and bytes that do not come.

use super::rig::{CLUSTER, Manner, Node, dial, pair, soon, until, uri, voice};
use engine::ids::NodeId;
use node::peer::frame::{HEAD_BYTES, HELLO_BYTES, Hello, Kind, VERSIONS, head};
use node::peer::limits::{BODY_BYTES_MAX, SERVED_BYTES_MAX, STRANGERS};
use raft::net::link::Lane;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const TO: NodeId = NodeId(2);

/// Bytes that follow from a number.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A connection of node 1 that has said hello.
async fn greeted(node: &Node, tls: &Arc<rustls::ClientConfig>, lane: Lane) -> TlsStream<TcpStream> {
    let mut stream = dial(&node.address, tls.clone()).await.unwrap();
    let hello = Hello { versions: VERSIONS, lane, refusal: None, cluster: CLUSTER, by: voice(1, 1) };
    stream.write_all(&hello.encode()).await.unwrap();
    let mut bytes = [0; HELLO_BYTES];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(Hello::decode(&bytes).unwrap().refusal, None);
    stream
}

/// Whether the other end closes at once, and not for want of a pulse.
async fn closes(stream: impl AsyncReadExt + Unpin) -> bool {
    closes_within(stream, Duration::from_millis(2_000)).await
}

async fn closes_within(mut stream: impl AsyncReadExt + Unpin, time: Duration) -> bool {
    let mut bytes = vec![];
    tokio::time::timeout(time, stream.read_to_end(&mut bytes)).await.is_ok()
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_at_the_port_ends_its_own_connection_alone() {
    let (authority, one, two, _peer) = pair(Manner::Echoes).await;
    one.ask(TO, Lane::Bulk, b"a").await;
    let tls = authority.client(Some(&uri(CLUSTER, "node", 1)));
    for seed in 0..40 {
        // In the clear.
        let mut tcp = TcpStream::connect(&two.address).await.unwrap();
        let _ = tcp.write_all(&noise(seed, 1 + seed as usize * 37)).await;
        // Where a hello should be.
        let mut stream = dial(&two.address, tls.clone()).await.unwrap();
        let _ = stream.write_all(&noise(seed, 400)).await;
        assert!(closes(stream).await, "seed {seed}");
        // Where frames should be.
        let mut stream = greeted(&two, &tls, Lane::Control).await;
        let mut bytes = noise(seed, 4_000);
        if seed % 2 == 0 {
            bytes.splice(..HEAD_BYTES, head(Kind::Call, 1, 20));
        }
        let _ = stream.write_all(&bytes).await;
        assert!(closes(stream).await, "seed {seed}");
    }
    assert!(one.call(TO, b"b").await.is_ok());
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_over_their_limit_out_of_turn_or_cut_off_end_the_connection() {
    let (authority, one, two, peer) = pair(Manner::Echoes).await;
    let tls = authority.client(Some(&uri(CLUSTER, "node", 1)));
    let call = |number| head(Kind::Call, number, 0).to_vec();
    let mut over = head(Kind::Call, 1, 0);
    over[..4].copy_from_slice(&u32::try_from(BODY_BYTES_MAX + 1).unwrap().to_be_bytes());
    let mut most = head(Kind::Call, 1, 0);
    most[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let wrong = [
        over.to_vec(),
        most.to_vec(),
        [call(2), call(2)].concat(),
        [call(2), call(1)].concat(),
        head(Kind::Answer, 1, 0).to_vec(),
        [&head(Kind::Refused, 1, 1)[..], &[1]].concat(),
    ];
    for bytes in wrong {
        let mut stream = greeted(&two, &tls, Lane::Control).await;
        stream.write_all(&bytes).await.unwrap();
        assert!(closes(stream).await, "{bytes:?}");
    }
    let before = peer.count();
    let mut stream = greeted(&two, &tls, Lane::Control).await;
    stream.write_all(&head(Kind::Call, 1, 1_000)).await.unwrap();
    stream.write_all(&[1; 999]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(closes(stream).await);
    assert_eq!(peer.count(), before, "half a call was served");
    assert!(one.call(TO, b"a").await.is_ok());
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_keeps_nobody_out_and_does_not_stay() {
    let (authority, one, two, _peer) = pair(Manner::Echoes).await;
    let tls = authority.client(Some(&uri(CLUSTER, "node", 1)));
    let mut idle = vec![];
    for n in 0..STRANGERS.all * 4 {
        let mut tcp = TcpStream::connect(&two.address).await.unwrap();
        if n % 2 == 0 {
            // The begin of a TLS record that does not go on.
            let _ = tcp.write_all(&[22, 3, 1, 2, 0, 1]).await;
        }
        idle.push(tcp);
        assert!(two.server.strangers() <= STRANGERS.of_source);
    }
    until(|| two.server.strangers() == STRANGERS.of_source).await;
    assert!(one.call(TO, b"a").await.is_ok(), "a peer was kept out");
    // One that drips its hello, and one that says none.
    let mut drips = dial(&two.address, tls.clone()).await.unwrap();
    let silent = dial(&two.address, tls.clone()).await.unwrap();
    let dripping = tokio::spawn(async move {
        let hello = [b'D', b'P', b'P', b'L', 0, 1, 0, 1, 0, 0];
        for byte in hello {
            if drips.write_all(&[byte]).await.is_err() || drips.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        assert!(closes_within(drips, Duration::from_secs(8)).await);
    });
    assert!(closes_within(silent, Duration::from_secs(8)).await);
    soon(dripping).await.unwrap();
    until(|| two.server.strangers() == 0).await;
    drop(idle);
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_or_not_taken_holds_no_memory() {
    let (authority, _one, two, peer) = pair(Manner::Swells(1 << 20)).await;
    let tls = authority.client(Some(&uri(CLUSTER, "node", 1)));
    let before = resident();
    // Announces the largest frame again and again, and sends nothing of it.
    for _ in 0..100 {
        let mut stream = greeted(&two, &tls, Lane::Bulk).await;
        stream.write_all(&head(Kind::Call, 1, BODY_BYTES_MAX)).await.unwrap();
        stream.write_all(&[1; 100]).await.unwrap();
        stream.flush().await.unwrap();
    }
    // Calls and hears no answer.
    let mut stream = greeted(&two, &tls, Lane::Control).await;
    let calls: Vec<u8> = (1..=5_000).flat_map(|number| head(Kind::Call, number, 0)).collect();
    stream.write_all(&calls).await.unwrap();
    stream.flush().await.unwrap();
    until(|| peer.count() > 10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (count, most) = (peer.count(), SERVED_BYTES_MAX >> 20);
    assert!(count <= most + 16, "{count} answers of 1 MiB are held or under way");
    let more = resident().saturating_sub(before) >> 20;
    assert!(more < 200, "{more} MiB more");
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_its_limit_is_refused_and_ends_nothing_else() {
    let (_authority, one, two, _peer) = pair(Manner::Swells(BODY_BYTES_MAX + 1)).await;
    let refused = one.call(TO, b"a").await.unwrap_err();
    assert_eq!(refused.node, TO);
    assert!(one.call(TO, b"b").await.is_err());
    one.is_whole();
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_takes_the_lane() {
    let (authority, one, two, _peer) = pair(Manner::Echoes).await;
    let tls = authority.client(Some(&uri(CLUSTER, "node", 1)));
    let first = greeted(&two, &tls, Lane::Control).await;
    let other = greeted(&two, &tls, Lane::Bulk).await;
    let second = greeted(&two, &tls, Lane::Control).await;
    let mut said = vec![];
    let mut first = first;
    soon(first.read_to_end(&mut said)).await.unwrap();
    assert_eq!(&said[said.len() - 17..], [&head(Kind::Refused, 0, 1)[..], &[6]].concat());
    // A node that is forgotten loses all of its own.
    two.server.forget(NodeId(3));
    assert!(one.call(TO, b"a").await.is_ok());
    two.server.forget(NodeId(1));
    assert!(closes(other).await && closes(second).await);
    one.ask(TO, Lane::Control, b"a").await;
    assert!(one.call(TO, b"a").await.is_ok());
    two.is_whole();
}
