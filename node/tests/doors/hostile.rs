//! Bytes that nobody who is well sends, at every door: the node goes on, and nothing of what it keeps changes.

use super::rig::{One, channel, inside, noise, one, panics, soon, throw};
use bytes::{Buf, BufMut, Bytes};
use engine::ids::NodeId;
use node::access::action::{Action, Caller};
use node::access::policy::check_role;
use node::boot::subject::Identity;
use node::clock::SystemClock;
use node::peer::frame::{Hello, VERSIONS};
use node::tls::{self, Tls};
use node::{dial, limits};
use proto::v1::kv_client::KvClient;
use proto::v1::{GetRequest, Place, PutRequest};
use raft::net::heard::Voice;
use raft::net::link::Lane;
use raft::time::BootClock;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A node, a row in it, and what it is compared with in the end.
struct Whole {
    one: One,
    kv: KvClient<Channel>,
    before: String,
    panics: usize,
}

fn place() -> Option<Place> {
    Some(Place { tenant: "acme".to_owned(), collection: "rows".to_owned(), ..Place::default() })
}

impl Whole {
    async fn new() -> Self {
        let one = one(&[]).await;
        one.tenant("acme").await;
        let mut kv = KvClient::new(channel(one.doors.client, &one.service("acme")));
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        soon(kv.put(PutRequest { place: place(), key, value, ..PutRequest::default() })).await.unwrap();
        let panics = panics();
        let mut whole = Self { one, kv, before: String::new(), panics };
        whole.before = whole.state();
        whole
    }

    /// What the node keeps: rows of the meta group, members, and how many commands have run.
    fn state(&self) -> String {
        let (meta, running) = (self.one.server.meta(), self.one.server.running().unwrap());
        let members: BTreeMap<_, _> = running
            .replicas()
            .iter()
            .map(|seated| {
                let group = seated.receiver.group();
                (group.id(), (group.standing().membership.1, group.standing().vote))
            })
            .collect();
        let ran = running.log().stats().read().machine.ran_commands;
        format!("{ran} {members:?} {:?} {:?} {:?}", meta.tenants, meta.nodes, meta.shards)
    }

    async fn ends_whole(mut self) {
        let get = GetRequest { place: place(), key: Bytes::from_static(b"k"), consistency: None };
        let found = soon(self.kv.get(get)).await.unwrap().into_inner();
        assert_eq!(found.version.unwrap().value, "v");
        assert_eq!(self.state(), self.before);
        assert_eq!(panics(), self.panics, "something has panicked");
        assert!(self.one.server.metrics().contains("dewpond_node_panicked_tasks 0\n"));
        self.one.server.stop(0).await;
    }
}

/// The first bytes of a handshake that would succeed.
fn client_hello(tls: &Tls, protocol: &[u8]) -> Vec<u8> {
    let name = ServerName::try_from(dial::NAME).unwrap();
    let mut client = rustls::ClientConnection::new(tls.client(None, protocol).unwrap(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Bytes for a door that does not know yet who comes.
fn before_tls(hello: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..24).map(|seed| noise(seed, 1 << (seed % 17))).collect();
    all.extend((1..12).map(|part| hello[..hello.len() * part / 12].to_vec()));
    all.extend((0..24).map(|at| {
        let mut changed = hello.to_vec();
        changed[at * hello.len() / 24] ^= 1 << (at % 8);
        [changed, noise(at as u64, 500)].concat()
    }));
    // Records that claim the most there is, and go on for ever.
    all.push([&[22, 3, 3, 0xff, 0xff][..], &noise(1, 1 << 18)].concat());
    all.push([22, 3, 1, 0, 1, 1].repeat(10_000));
    all.push([PREFACE, &SETTINGS].concat());
    all.push(b"GET /metrics HTTP/1.1\r\n\r\n".to_vec());
    all.push([b"GET /".to_vec(), vec![b'a'; 1 << 18]].concat());
    all.push(b"\r\n".repeat(50_000));
    all
}

/// Bytes for a door that knows who comes and expects HTTP/2.
fn inside_tls() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        let length = &u32::try_from(body.len()).unwrap().to_be_bytes()[1..];
        [length, &[kind, flags, 0, 0, 0, stream], body].concat()
    };
    let begin = [PREFACE, &SETTINGS].concat();
    let mut all: Vec<Vec<u8>> = (0..16).map(|seed| noise(seed, 1 << seed)).collect();
    all.extend((1..24).map(|cut| begin[..begin.len() * cut / 24].to_vec()));
    all.extend((0..32).map(|seed| [begin.clone(), noise(seed, 5_000)].concat()));
    all.extend((0..=12).map(|kind| [begin.clone(), frame(kind, 0xff, 1, &noise(kind.into(), 300))].concat()));
    // Frames that claim more than may be, headers without an end, settings and resets without an end.
    all.push([begin.clone(), [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1].to_vec(), noise(3, 1 << 18)].concat());
    let endless = frame(9, 0, 1, &noise(5, 16_000)).repeat(40);
    all.push([begin.clone(), frame(1, 0, 1, &noise(4, 100)), endless].concat());
    all.push([begin.clone(), SETTINGS.repeat(20_000)].concat());
    all.push([begin.clone(), frame(3, 0, 1, &[0, 0, 0, 8]).repeat(20_000)].concat());
    all.push([begin, frame(6, 0, 0, &[7; 8]).repeat(20_000)].concat());
    all
}

async fn is_still_served(whole: &mut Whole) {
    let get = GetRequest { place: place(), key: Bytes::from_static(b"k"), consistency: None };
    soon(whole.kv.get(get)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_strangers_change_nothing() {
    let mut whole = Whole::new().await;
    let (doors, service) = (whole.one.doors, whole.one.service("acme"));
    for (at, protocol) in [
        (doors.client, tls::GRPC),
        (doors.admin, tls::GRPC),
        (doors.peer, tls::PEER),
        (doors.metrics, tls::GRPC),
    ] {
        for bytes in before_tls(&client_hello(&service, protocol)) {
            throw(TcpStream::connect(at).await.unwrap(), &bytes).await;
        }
        is_still_served(&mut whole).await;
    }
    whole.ends_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_those_who_are_known_change_nothing() {
    let mut whole = Whole::new().await;
    let doors = whole.one.doors;
    let node = whole.one.issued(&Identity::node(whole.one.server.cluster(), NodeId(77)));
    for (at, who) in [
        (doors.client, whole.one.service("acme")),
        (doors.client, node.clone()),
        (doors.admin, whole.one.admin()),
    ] {
        for bytes in inside_tls() {
            throw(inside(at, &who, tls::GRPC).await, &bytes).await;
        }
        is_still_served(&mut whole).await;
    }
    let by = Voice { node: NodeId(77), ..Voice::default() };
    let cluster = whole.one.server.cluster();
    let hello = Hello { versions: VERSIONS, lane: Lane::Control, refusal: None, cluster, by }.encode();
    for seed in 0..32 {
        let garbage = noise(seed, 1 << (seed % 16));
        for bytes in [garbage.clone(), [&hello[..], &garbage].concat(), hello[..hello.len() / 2].to_vec()] {
            throw(inside(doors.peer, &node, tls::PEER).await, &bytes).await;
        }
    }
    whole.ends_whole().await;
}

/// Sends bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

async fn call(channel: Channel, path: &str, message: Vec<u8>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel).max_encoding_message_size(64 << 20);
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path: PathAndQuery = path.parse().unwrap();
    let mut answers =
        grpc.streaming(Request::new(tokio_stream::once(message)), path, Raw).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Methods of the doors of clients and administrators, as the server counts them.
fn paths() -> Vec<String> {
    node::telemetry::calls::Calls::default().paths().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_none_are_refused_by_every_method() {
    let whole = Whole::new().await;
    let doors = whole.one.doors;
    let callers: [(SocketAddr, Tls, Caller); 2] = [
        (doors.client, whole.one.service("acme"), Caller::Service("acme".to_owned())),
        (doors.admin, whole.one.admin(), Caller::Admin("root".to_owned())),
    ];
    let mut refused = 0;
    for (at, tls, caller) in &callers {
        let channel = channel(*at, tls);
        for path in paths() {
            // A tag that cannot be; a field that is longer than what comes; groups in groups; no end of anything.
            let lengths: [&[u8]; 4] =
                [&[0x07], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], &[0x0b; 500], &[0xff; 300]];
            for message in lengths {
                let answer = soon(call(channel.clone(), &path, message.to_vec())).await;
                // Reflection ends without a word, and a watch says it in its own.
                let is_stream = path.contains("ServerReflection") || path.ends_with("/Watch");
                let is_silent = is_stream && check_role(caller, Action::of_path(&path)).is_ok();
                let Err(status) = answer else {
                    assert!(is_silent, "{path} does nonsense: {message:?}");
                    continue;
                };
                if check_role(caller, Action::of_path(&path)).is_err() {
                    assert_eq!(status.code(), Code::PermissionDenied, "{path}");
                }
                assert!(!matches!(status.code(), Code::Ok | Code::Unknown), "{path}: {status:?}");
                refused += 1;
            }
        }
        let large = vec![0; limits::MESSAGE_BYTES_MAX + 1];
        let status = soon(call(channel.clone(), "/dewpond.v1.Kv/Put", large)).await.unwrap_err();
        assert!(status.code() != Code::Ok, "{status:?}");
    }
    assert!(refused >= 200, "{refused}");
    whole.ends_whole().await;
}

/// How long it takes until the other end goes, if a byte comes now and then.
async fn ends_in(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) -> Duration {
    let clock = SystemClock::default();
    let begin_ms = clock.monotonic_ms();
    let took = || Duration::from_millis(clock.monotonic_ms() - begin_ms);
    for byte in bytes.iter().chain(std::iter::repeat(&b'a')) {
        let mut heard = [0; 1_024];
        let gone = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut heard)).await;
        if matches!(gone, Ok(Ok(0) | Err(_))) || took() > Duration::from_secs(60) {
            break;
        }
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    took()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_drips_does_not_stay() {
    let whole = Whole::new().await;
    let (doors, service) = (whole.one.doors, whole.one.service("acme"));
    let hello = client_hello(&service, tls::GRPC);
    let tcp = async |at| TcpStream::connect(at).await.unwrap();
    // One that is known says nothing at all: there is no HTTP/2 yet that would ask it for a sign of life.
    let says_nothing = async {
        let (clock, mut stream) = (SystemClock::default(), inside(doors.client, &service, tls::GRPC).await);
        let begin_ms = clock.monotonic_ms();
        while matches!(soon(stream.read(&mut [0; 64])).await, Ok(1..)) {}
        Duration::from_millis(clock.monotonic_ms() - begin_ms)
    };
    let (client, admin, peer, metrics, known) = tokio::join!(
        ends_in(tcp(doors.client).await, &hello),
        ends_in(tcp(doors.admin).await, &hello),
        ends_in(tcp(doors.peer).await, &hello),
        ends_in(tcp(doors.metrics).await, b"GET /metrics HTTP/1.1\r\nA: "),
        says_nothing,
    );
    let most = Duration::from_millis(limits::HANDSHAKE_MS + 4_000);
    for (who, took) in
        [("client", client), ("admin", admin), ("peer", peer), ("metrics", metrics), ("known", known)]
    {
        assert!(took < most, "{who} stays for {took:?}");
    }
    whole.ends_whole().await;
}
