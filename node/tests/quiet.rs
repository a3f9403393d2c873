//! No line of the log holds a tenant's key or value, at whatever level it is written; and every line about a request has its name, whatever
//! way that came.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "doors/rig.rs"]
#[expect(dead_code, reason = "the doors need more of it")]
mod rig;

use bytes::Bytes;
use engine::ids::NodeId;
use node::api;
use node::boot::peers::PeerAddresses;
use node::boot::subject::Identity;
use node::telemetry::logs::{self, Format};
use node::telemetry::trace::Trace;
use proto::v1::kv_client::KvClient;
use proto::v1::stream_request::What;
use proto::v1::watch_client::WatchClient;
use proto::v1::{
    Absent, Condition, DeleteRangeRequest, DeleteRequest, GetRequest, OpenWatch, Place, PutRequest, Range,
    ScanRequest, StreamRequest, WatchRequest, condition, watch_request,
};
use rig::{channel, one, soon};
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

const KEY: &[u8] = b"canary-key-5f1d";
const VALUE: &[u8] = b"canary-value-c07e";
/// Names of requests: in a header, in frames, and from another node.
const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const FRAME: [u8; 16] = [0x0f; 16];
const ASKED: (NodeId, u64) = (NodeId(0xa5c), 0xb17);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The ways in which bytes come into a line.
fn forms(bytes: &[u8]) -> [String; 4] {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let hex = |upper: bool| {
        let digits =
            bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        digits.collect::<String>()
    };
    [String::from_utf8(bytes.to_vec()).unwrap(), numbers.join(", "), hex(false), hex(true)]
}

fn place(tenant: &str) -> Option<Place> {
    Some(Place { tenant: tenant.to_owned(), collection: "rows".to_owned(), ..Place::default() })
}

fn put(tenant: &str) -> PutRequest {
    let (key, value) = (Bytes::from_static(KEY), Bytes::from_static(VALUE));
    PutRequest { place: place(tenant), key, value, ..PutRequest::default() }
}

fn frame(call: u64, what: What) -> StreamRequest {
    StreamRequest { call, remaining_ms: 5_000, what: Some(what), trace: Bytes::from_static(&FRAME) }
}

/// Everything that a client can do with a key and a value, done well and refused.
async fn do_all(one: &rig::One) {
    let channel = channel(one.doors.client, &one.service("acme"));
    let mut kv = KvClient::new(channel.clone());
    let mut named = Request::new(put("acme"));
    named.metadata_mut().insert("traceparent", HEADER.parse().unwrap());
    soon(kv.put(named)).await.unwrap();
    let key = Bytes::from_static(KEY);
    let absent = Condition { must: Some(condition::Must::Absent(Absent {})), ..Condition::default() };
    soon(kv.put(PutRequest { condition: Some(absent), ..put("acme") })).await.unwrap_err();
    soon(kv.put(put("other"))).await.unwrap_err();
    soon(kv.put(PutRequest { key: KEY.repeat(1_000).into(), ..put("acme") })).await.unwrap_err();
    soon(kv.put(PutRequest { value: VALUE.repeat(100_000).into(), ..put("acme") })).await.unwrap_err();
    let get = GetRequest { place: place("acme"), key: key.clone(), consistency: None };
    assert_eq!(soon(kv.get(get.clone())).await.unwrap().into_inner().version.unwrap().value, VALUE);
    let range = Some(Range { start: key.clone(), ..Range::default() });
    let scan = ScanRequest { place: place("acme"), range, ..ScanRequest::default() };
    let mut pages = soon(kv.scan(scan)).await.unwrap().into_inner();
    while let Some(page) = soon(pages.next()).await {
        page.unwrap();
    }
    let open =
        OpenWatch { place: place("acme"), range: Some(Range::default()), after: 1, ..OpenWatch::default() };
    let (watcher, said) = mpsc::channel(2);
    for what in [watch_request::What::Open(open), watch_request::What::Credit(100)] {
        watcher.send(WatchRequest { what: Some(what) }).await.unwrap();
    }
    let mut watch = WatchClient::new(channel);
    let mut heard = soon(watch.watch(ReceiverStream::new(said))).await.unwrap().into_inner();
    soon(heard.next()).await.unwrap().unwrap();
    drop((heard, watcher));
    let asked = [What::Put(put("acme")), What::Get(get), What::Put(put("other"))].into_iter().enumerate();
    let frames: Vec<_> = asked.map(|(call, what)| frame(call as u64 + 1, what)).collect();
    let mut answers = soon(kv.stream(tokio_stream::iter(frames))).await.unwrap().into_inner();
    for _ in 0..3 {
        soon(answers.next()).await.unwrap().unwrap();
    }
    let delete = DeleteRequest { place: place("acme"), key: key.clone(), ..DeleteRequest::default() };
    soon(kv.delete(delete)).await.unwrap();
    let range = DeleteRangeRequest { place: place("acme"), start: key, ..DeleteRangeRequest::default() };
    let _ = soon(kv.delete_range(range)).await;
}

/// Another node asks this one for a request.
async fn ask_as_a_node(one: &rig::One) {
    let node = one.server.node();
    let tls = one.issued(&Identity::node(one.server.cluster(), node));
    let address = one.doors.client.to_string();
    let known = [(node, PeerAddresses { peer: address.clone(), client: address })].into();
    let forward = api::forward::make(&tls, Arc::new(RwLock::new(known)));
    let of_request = Trace::made(ASKED.0, ASKED.1);
    soon(of_request.within(async { forward.meta_index(node, 5_000).await })).await.unwrap();
}

/// Lines in which a byte of a tenant stands.
fn readable(text: &str) -> Vec<&str> {
    let forms = [forms(KEY), forms(VALUE)].concat();
    text.lines().filter(|line| forms.iter().any(|form| line.contains(form))).collect()
}

/// Of each span that has ended under this name of a request, or inside one: the names of all it was in, outermost first, and its fields.
fn spans_of(text: &str, trace: &str) -> Vec<(String, Value)> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ended = lines.filter(|line| line["fields"]["message"] == "close");
    let mut all = Vec::new();
    for line in ended {
        let outer = line["spans"].as_array().cloned().unwrap_or_default();
        let (own, is_root) = (&line["span"], line["span"]["name"] == "request");
        // Whatever stands around the end of a request has nothing to do with it.
        let outer = if is_root { Vec::new() } else { outer };
        let names: Vec<_> = outer.iter().chain([own]).filter_map(|one| one["name"].as_str()).collect();
        let root = outer.first().unwrap_or(own);
        if root["trace"] == trace {
            assert!(line["fields"]["time.busy"].is_string() && line["fields"]["time.idle"].is_string());
            all.push((names.join(" "), root.clone()));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_name_the_request_and_hold_no_byte_of_a_tenant() {
    let lines = Lines::default();
    let writes = lines.clone();
    let (subscriber, _) = logs::subscriber(("trace", Format::Json), || 0, move || writes.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let one = one(&[]).await;
    let tenant = one.tenant("acme").await;
    do_all(&one).await;
    ask_as_a_node(&one).await;
    one.server.stop(1_000).await;

    let text = lines.take();
    assert!(text.contains("the cluster is founded") && text.lines().count() > 100, "the log was heard");
    assert_eq!(readable(&text), [""; 0]);
    let has = |trace: &str, names: &str| {
        let all = spans_of(&text, trace);
        let found = all.iter().find(|(of, _)| of == names).unwrap_or_else(|| panic!("no {names} in {all:?}"));
        found.1.clone()
    };
    // By the header, by the frame of a stream, and from node to node.
    for (trace, method, names) in [
        (&HEADER[3..35], "Put", &["request access", "request route", "request propose", "request"][..]),
        (&"0f".repeat(16), "Get", &["request access", "request route", "request read", "request"]),
        (&Trace::made(ASKED.0, ASKED.1).to_string(), "Index", &["request"]),
    ] {
        names.iter().for_each(|names| drop(has(trace, names)));
        let of_method = spans_of(&text, trace).into_iter().filter(|(_, root)| root["method"] == method);
        let codes: Vec<_> = of_method.map(|(_, root)| root["code"].clone()).collect();
        assert!(codes.iter().any(|code| code == "ok"), "{method}: {codes:?}");
    }
    assert_eq!(has(&HEADER[3..35], "request")["tenant"], tenant.to_string());
    assert!(text.contains(r#""name":"apply""#) && text.contains(r#""name":"forward""#));

    // What finds nothing must find something where something is.
    for form in [forms(KEY), forms(VALUE)].concat() {
        tracing::debug!(form, "planted");
        assert_eq!(readable(&lines.take()).len(), 1, "{form}");
    }
    tracing::debug_span!("planted", key = ?Bytes::from_static(KEY)).in_scope(|| tracing::info!("inside"));
    assert!(!readable(&lines.take()).is_empty(), "fields of spans are searched");
}
