//! Who may not come in.

use super::rig::{Authority, Book, CLUSTER, Manner, Node, Peer, dial, pair, soon, uri, voice};
use engine::ids::{ClusterId, NodeId};
use node::peer::frame::{Farewell, HELLO_BYTES, Hello, VERSIONS};
use raft::net::heard::Voice;
use raft::net::link::Lane;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TO: NodeId = NodeId(2);
const OTHER: ClusterId = ClusterId([0xdd; 16]);

fn hello(cluster: ClusterId, by: Voice) -> Hello {
    Hello { versions: VERSIONS, lane: Lane::Control, refusal: None, cluster, by }
}

/// What is answered to a hello; nothing if the connection is closed.
async fn answer(address: &str, tls: Arc<rustls::ClientConfig>, hello: Hello) -> Option<Option<Farewell>> {
    let talk = async {
        let mut stream = dial(address, tls).await.ok()?;
        stream.write_all(&hello.encode()).await.ok()?;
        let mut bytes = [0; HELLO_BYTES];
        stream.read_exact(&mut bytes).await.ok()?;
        Some(Hello::decode(&bytes).unwrap().refusal)
    };
    soon(talk).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_node_of_this_cluster_that_says_who_it_is_comes_in() {
    let (authority, one, two, peer) = pair(Manner::Echoes).await;
    let node = |id| Some(uri(CLUSTER, "node", id));
    let told = |why| Some(Some(why));
    let old = Hello { versions: (7, 9), ..hello(CLUSTER, voice(1, 1)) };
    let refuses = Hello { refusal: Some(Farewell::NotReady), ..hello(CLUSTER, voice(1, 1)) };
    let cases = [
        ("itself", node(1), hello(CLUSTER, voice(1, 1)), Some(None)),
        ("nobody", None, hello(CLUSTER, voice(1, 1)), None),
        ("a service", Some(uri(CLUSTER, "service", 1)), hello(CLUSTER, voice(1, 1)), None),
        ("an administrator", Some(uri(CLUSTER, "admin", 1)), hello(CLUSTER, voice(1, 1)), None),
        ("another node", node(1), hello(CLUSTER, voice(3, 1)), told(Farewell::OtherNode)),
        ("the one it calls", node(2), hello(CLUSTER, voice(2, 1)), told(Farewell::OtherNode)),
        ("of another cluster", node(1), hello(OTHER, voice(1, 1)), told(Farewell::OtherCluster)),
        (
            "shown as of another cluster",
            Some(uri(OTHER, "node", 1)),
            hello(CLUSTER, voice(1, 1)),
            told(Farewell::OtherCluster),
        ),
        ("of another build", node(1), old, told(Farewell::Version)),
        ("one that refuses first", node(1), refuses, told(Farewell::Malformed)),
    ];
    for (who, uri, hello, expected) in cases {
        let tls = authority.client(uri.as_deref());
        assert_eq!(answer(&two.address, tls, hello).await, expected, "{who}");
    }
    // A certificate of another authority, with the right name in it.
    let forged = Authority::new().client_that_trusts(&authority, node(1).as_deref());
    assert_eq!(answer(&two.address, forged, hello(CLUSTER, voice(1, 1))).await, None);
    assert_eq!(peer.count(), 0);
    assert!(one.call(TO, b"a").await.is_ok());
    two.is_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_answers_at_an_address_must_be_the_one_that_is_meant() {
    let (authority, book) = (Authority::new(), Book::default());
    let start = |id| {
        let (authority, book) = (&authority, &book);
        async move { Node::start(authority, &Peer::new(voice(id, 1), Manner::Echoes), book, "127.0.0.1:0").await }
    };
    let (one, three) = (start(1).await, start(3).await);
    book.lock().unwrap().insert(TO, three.address.clone());
    let refused = one.call(TO, b"a").await.unwrap_err();
    assert!(refused.cause.contains("the certificate of another"), "{refused}");
    assert!(one.call(NodeId(3), b"a").await.is_ok());
    let troubles = one.link.troubles();
    assert!(troubles.len() == 1 && troubles[&TO].contains("the certificate of another"), "{troubles:?}");

    // A node of another cluster of the same authority.
    let peer = Peer::new(voice(2, 1), Manner::Echoes);
    let theirs = uri(OTHER, "node", 2);
    let two = Node::with(&authority, &theirs, (OTHER, &peer), &book, "127.0.0.1:0").await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let refused = one.call(TO, b"a").await.unwrap_err();
    assert!(refused.cause.contains("the certificate of another"), "{refused}");

    // One with a certificate that another authority gave.
    let forged = Node::start(&Authority::new(), &peer, &book, "127.0.0.1:0").await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let refused = one.call(TO, b"a").await.unwrap_err();
    assert!(refused.cause.contains("certificate"), "{refused}");
    // And the other way round.
    let refused = forged.call(NodeId(1), b"a").await.unwrap_err();
    assert!(refused.cause.contains("certificate"), "{refused}");
    assert_eq!(peer.count(), 0);
    for node in [&one, &two, &three, &forged] {
        node.is_whole();
    }
}
