//! Real handshakes on loopback: who is let in, who is not, and by whom it is noticed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use engine::clock::{Clock, ManualClock};
use engine::entropy::Seeded;
use engine::ids::{ClusterId, NodeId};
use node::boot::authority::{Authority, fingerprint, request};
use node::boot::subject::{Identity, Role};
use node::limits;
use node::tls::{Caller, Credentials, GRPC, PEER, Tls, TlsError, joining};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const OTHER: ClusterId = ClusterId([0xc2; 16]);
const NOW: u64 = 1_800_000_000;

/// An authority, and a clock that all who trust it go by.
struct World {
    authority: Authority,
    clock: Arc<ManualClock>,
}

impl World {
    fn new(cluster: ClusterId, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(NOW * 1_000));
        Self { authority: Authority::create(cluster, NOW, &Seeded::new(seed)).unwrap(), clock }
    }

    fn credentials(&self, identity: &Identity) -> Credentials {
        let (made, now_s) = (request().unwrap(), self.clock.now_ms() / 1_000);
        let issued = self.authority.issue(identity, &[], &made.pem, now_s, &Seeded::new(now_s)).unwrap();
        let cluster = identity.cluster;
        Credentials::load(cluster, &issued.pem, &made.key, self.authority.pem(), &*self.clock).unwrap()
    }

    fn tls(&self, identity: &Identity) -> Tls {
        Tls::new(self.credentials(identity), self.clock.clone())
    }

    fn node(&self, id: u64) -> Tls {
        self.tls(&Identity::node(CLUSTER, NodeId(id)))
    }
}

/// What came of a handshake at either end: who the server saw.
struct Met {
    server: io::Result<Option<Identity>>,
    client: io::Result<()>,
}

impl Met {
    fn is_refused(&self) -> bool {
        self.server.is_err() && self.client.is_err()
    }
}

/// One connection, over which the client sends a word and is answered.
async fn meet(tls: &Tls, server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(server).accept(stream).await?;
        let peer = tls.peer(stream.get_ref().1.peer_certificates()).map_err(io::Error::other)?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await?;
        Ok(peer.map(|peer| peer.identity))
    };
    let call = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("anything.example").unwrap();
        let mut stream = TlsConnector::from(client).connect(name, stream).await?;
        stream.write_all(b"word").await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        Ok(())
    };
    let (server, client) = tokio::join!(serve, call);
    Met { server, client }
}

#[tokio::test]
async fn nodes_of_a_cluster_know_each_other() {
    let world = World::new(CLUSTER, 1);
    let (one, two) = (world.node(1), world.node(2));
    let server = one.server(Caller::Node, &[PEER]).unwrap();
    for expected in [None, Some(NodeId(1))] {
        let met = meet(&one, server.clone(), two.client(expected, PEER).unwrap()).await;
        met.client.unwrap();
        assert_eq!(met.server.unwrap(), Some(Identity::node(CLUSTER, NodeId(2))));
    }
    let met = meet(&one, server.clone(), two.client(Some(NodeId(3)), PEER).unwrap()).await;
    assert!(met.is_refused(), "another node than the one that was called answers");
    let met = meet(&one, server, two.client(None, GRPC).unwrap()).await;
    assert!(met.is_refused(), "another protocol");
}

#[tokio::test]
async fn a_door_lets_in_whom_it_is_for() {
    let world = World::new(CLUSTER, 1);
    let node = world.node(1);
    let service = world.tls(&Identity::service(CLUSTER, "shop").unwrap());
    let admin = world.tls(&Identity::admin(CLUSTER, "ann").unwrap());
    let pin = fingerprint(&certificate(world.authority.pem()));
    for (caller, lets_in_others, lets_in_nobody) in
        [(Caller::Node, false, false), (Caller::Known, true, false), (Caller::AnyoneKnown, true, true)]
    {
        let server = node.server(caller, &[GRPC]).unwrap();
        for other in [&service, &admin] {
            let met = meet(&node, server.clone(), other.client(None, GRPC).unwrap()).await;
            assert_eq!(met.server.is_ok() && met.client.is_ok(), lets_in_others, "{caller:?}");
            if lets_in_others {
                assert_eq!(met.server.unwrap().unwrap(), other.current().own.identity);
            }
        }
        let without = joining(CLUSTER, pin, world.clock.clone()).unwrap();
        let met = meet(&node, server, without).await;
        assert_eq!(met.client.is_ok(), lets_in_nobody, "{caller:?}");
        assert_eq!(met.server.ok(), lets_in_nobody.then_some(None), "{caller:?}");
    }
}

fn certificate(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn neither_side_takes_another_authority_or_another_cluster() {
    let world = World::new(CLUSTER, 1);
    let node = world.node(1);
    // The same name, another authority; another cluster altogether; and the same authority, another cluster in the name.
    let mut double = World::new(OTHER, 3);
    double.authority = Authority::open(OTHER, world.authority.pem(), &world.authority.key()).unwrap();
    let other = Identity::node(OTHER, NodeId(2));
    let strangers = [World::new(CLUSTER, 2).node(2), World::new(OTHER, 3).tls(&other), double.tls(&other)];
    for stranger in &strangers {
        for caller in [Caller::Node, Caller::Known, Caller::AnyoneKnown] {
            let server = node.server(caller, &[PEER]).unwrap();
            let met = meet(&node, server, stranger.client(None, PEER).unwrap()).await;
            assert!(met.is_refused(), "{caller:?}");
            let server = stranger.server(caller, &[PEER]).unwrap();
            let met = meet(stranger, server, node.client(None, PEER).unwrap()).await;
            assert!(met.is_refused(), "{caller:?}");
        }
    }
    // A node that joins trusts one authority alone.
    let server = node.server(Caller::AnyoneKnown, &[GRPC]).unwrap();
    for (cluster, pin) in [(CLUSTER, [0; 32]), (OTHER, world.authority.fingerprint())] {
        let met = meet(&node, server.clone(), joining(cluster, pin, world.clock.clone()).unwrap()).await;
        assert!(met.is_refused());
    }
}

/// Whether the handshake itself refused, and not whoever looked later.
fn is_by_handshake(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

#[tokio::test]
async fn a_caller_judges_a_door_that_does_not_judge_it() {
    let world = World::new(CLUSTER, 1);
    let node = world.node(1);
    let mut double = World::new(OTHER, 3);
    double.authority = Authority::open(OTHER, world.authority.pem(), &world.authority.key()).unwrap();
    let double = double.tls(&Identity::node(OTHER, NodeId(2)));
    let service = world.tls(&Identity::service(CLUSTER, "shop").unwrap());
    for shown in [double, World::new(CLUSTER, 2).node(2), service] {
        // It lets in whom one of ours does, and shows the certificate of somebody else.
        let mut server = (*node.server(Caller::Node, &[PEER]).unwrap()).clone();
        server.cert_resolver = shown.server(Caller::Node, &[PEER]).unwrap().cert_resolver.clone();
        let met = meet(&node, Arc::new(server), world.node(3).client(None, PEER).unwrap()).await;
        assert!(is_by_handshake(&met.client.unwrap_err()));
    }
}

#[tokio::test]
async fn a_door_judges_a_caller_who_does_not_judge_it() {
    let world = World::new(CLUSTER, 1);
    let node = world.node(1);
    let mut double = World::new(OTHER, 3);
    double.authority = Authority::open(OTHER, world.authority.pem(), &world.authority.key()).unwrap();
    let double = double.tls(&Identity::node(OTHER, NodeId(2))).client(None, PEER).unwrap();
    let stranger = World::new(CLUSTER, 2).node(2).client(None, PEER).unwrap();
    for caller in [Caller::Node, Caller::Known, Caller::AnyoneKnown] {
        let server = node.server(caller, &[PEER]).unwrap();
        for shown in [&double, &stranger] {
            // It trusts us as one of ours does, and shows the certificate of somebody else.
            let mut client = (*world.node(2).client(None, PEER).unwrap()).clone();
            client.client_auth_cert_resolver = shown.client_auth_cert_resolver.clone();
            let refused = meet(&node, server.clone(), Arc::new(client)).await.server.unwrap_err();
            assert!(is_by_handshake(&refused), "{caller:?}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_client_that_is_not_a_node_cannot_pretend_to_serve() {
    let world = World::new(CLUSTER, 1);
    let service = world.tls(&Identity::service(CLUSTER, "shop").unwrap());
    let server = service.server(Caller::AnyoneKnown, &[GRPC]).unwrap();
    assert!(meet(&service, server, world.node(1).client(None, GRPC).unwrap()).await.is_refused());
}

#[tokio::test]
async fn what_is_over_is_refused_until_it_is_replaced_and_nothing_starts_anew() {
    let world = World::new(CLUSTER, 1);
    let (one, two) = (world.node(1), world.node(2));
    let (server, client) = (one.server(Caller::Node, &[PEER]).unwrap(), two.client(None, PEER).unwrap());
    assert!(meet(&one, server.clone(), client.clone()).await.client.is_ok());
    world.clock.advance((limits::CERTIFICATE_SECONDS + 1) * 1_000);
    assert!(meet(&one, server.clone(), client.clone()).await.is_refused());
    // One new certificate is not enough: each side shows its own.
    one.replace(world.credentials(&Identity::node(CLUSTER, NodeId(1)))).unwrap();
    assert!(meet(&one, server.clone(), client.clone()).await.is_refused());
    two.replace(world.credentials(&Identity::node(CLUSTER, NodeId(2)))).unwrap();
    let met = meet(&one, server.clone(), client.clone()).await;
    met.client.unwrap();
    assert_eq!(met.server.unwrap().unwrap().role, Role::Node(NodeId(2)));
    let other = world.credentials(&Identity::node(CLUSTER, NodeId(3)));
    assert!(two.replace(other).is_err(), "a node stays who it is");
}

#[test]
fn what_does_not_belong_together_is_not_loaded() {
    let world = World::new(CLUSTER, 1);
    let identity = Identity::node(CLUSTER, NodeId(1));
    let (made, other) = (request().unwrap(), request().unwrap());
    let issued = world.authority.issue(&identity, &[], &made.pem, NOW, &Seeded::new(5)).unwrap();
    let stranger = World::new(CLUSTER, 2);
    let load = |certificate: &str, key: &[u8], authorities: &str, now_s: u64| {
        let clock = ManualClock::new(now_s * 1_000);
        Credentials::load(CLUSTER, certificate, key, authorities, &clock)
    };
    let authority = world.authority.pem();
    assert!(load(&issued.pem, &made.key, authority, NOW).is_ok());
    let both = [stranger.authority.pem(), authority].concat();
    let found = load(&issued.pem, &made.key, &both, NOW).unwrap();
    assert_eq!(found.authority, world.authority.fingerprint(), "of several the one that vouches");
    let is_certificate =
        |result: Result<Credentials, TlsError>| matches!(result, Err(TlsError::Certificate(_)));
    assert!(is_certificate(load(&issued.pem, &other.key, authority, NOW)));
    assert!(is_certificate(load(&issued.pem, &made.key, stranger.authority.pem(), NOW)));
    assert!(is_certificate(load(&issued.pem, &made.key, authority, NOW + limits::CERTIFICATE_SECONDS)));
    assert!(is_certificate(load(&issued.pem, &made.key, authority, NOW - limits::CERTIFICATE_SECONDS)));
    assert!(is_certificate(load(authority, &made.key, authority, NOW)));
    for wrong in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(load(wrong, &made.key, authority, NOW).is_err());
        assert!(load(&issued.pem, wrong.as_bytes(), authority, NOW).is_err());
        assert!(load(&issued.pem, &made.key, wrong, NOW).is_err());
    }
}

/// A greeting of TLS 1.2, as a client of old sends it.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session; ECDHE-ECDSA-AES128-GCM-SHA256; no compression; extensions: X25519, ECDSA-P256-SHA256.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 16]);
    body.extend([0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut out =
        vec![22, 3, 1, 0, u8::try_from(body.len() + 4).unwrap(), 1, 0, 0, u8::try_from(body.len()).unwrap()];
    out.extend(body);
    out
}

#[tokio::test]
async fn tls_1_2_and_garbage_are_refused() {
    let world = World::new(CLUSTER, 1);
    let node = world.node(1);
    for (sent, is_answered) in
        [(old_hello(), true), (vec![b'x'; 600], true), (b"GET / HTTP/1.1\r\n\r\n".to_vec(), true)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(node.server(Caller::AnyoneKnown, &[GRPC]).unwrap());
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await.err()
        };
        let call = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&sent).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let (error, answer) = tokio::join!(serve, call);
        assert!(error.is_some());
        // An alert, and nothing else; 70 is protocol_version.
        assert_eq!(answer.first() == Some(&21), is_answered, "{answer:?}");
        if sent[0] == 22 {
            assert_eq!(answer.get(5..7), Some(&[2, 70][..]), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn keys_are_agreed_on_in_a_way_that_outlives_quantum_computers() {
    let world = World::new(CLUSTER, 1);
    let (one, two) = (world.node(1), world.node(2));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(one.server(Caller::Node, &[PEER]).unwrap());
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap()
    };
    let call = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(two.client(None, PEER).unwrap());
        connector.connect(ServerName::try_from("x").unwrap(), stream).await.unwrap()
    };
    let (server, client) = tokio::join!(serve, call);
    for connection in [&**server.get_ref().1 as &rustls::CommonState, &**client.get_ref().1] {
        assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        let group = connection.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        assert_eq!(connection.alpn_protocol(), Some(PEER));
    }
}
