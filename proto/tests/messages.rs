//! Messages as the last release wrote them: `released/messages-v1.txt` has a line each, its name, the path it is sent to or `-`, and its bytes.
//! They mean what they meant, and are written as they were. `DEWPOND_WRITE_FIXTURES=1` adds those that are new; none that is there changes.
//! That a server answers them is tried in `node/tests/doors/old_words.rs`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use prost::Message;
use proto::v1::condition::Must;
use proto::v1::consistency::How;
use proto::v1::*;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Whether bytes mean what they should.
type Means = Box<dyn Fn(&[u8]) -> bool>;

/// A message, and what is to be read from its bytes.
struct Sample {
    name: &'static str,
    path: &'static str,
    bytes: Vec<u8>,
    means: Means,
}

fn sample<M: Message + Default + PartialEq + 'static>(
    name: &'static str,
    path: &'static str,
    message: M,
) -> Sample {
    let bytes = message.encode_to_vec();
    let means = move |bytes: &[u8]| M::decode(bytes).is_ok_and(|read| read == message);
    Sample { name, path, bytes, means: Box::new(means) }
}

fn place() -> Option<Place> {
    Some(Place { tenant: "acme".into(), collection: "old".into(), map_version: 3, features: 0b11111 })
}

fn version() -> Version {
    Version { stamp: 1_764_000_000_000 << 16 | 3, value: "value".into(), expires_ms: 1_764_000_060_000 }
}

fn writes() -> Vec<Sample> {
    let condition = |must| Some(Condition { must: Some(must), ..Condition::default() });
    let put = PutRequest {
        place: place(),
        key: "key".into(),
        value: "value".into(),
        ttl_ms: 60_000,
        condition: condition(Must::Absent(Absent {})),
        id: None,
    };
    let late = Some(WriteId { session: vec![7; 16].into(), number: 9, valid_until_ms: 1_764_000_000_000 });
    let delete = DeleteRequest {
        place: place(),
        key: "none".into(),
        condition: condition(Must::Present(Present {})),
        id: None,
    };
    let range = DeleteRangeRequest { place: place(), start: "x".into(), end: "y".into(), id: None };
    let what = operation::What::Put(Put { key: "other".into(), value: "batch".into(), ttl_ms: 0 });
    let batch = BatchRequest {
        place: place(),
        conditions: vec![Condition {
            key: "key".into(),
            collection: "old".into(),
            must: Some(Must::Present(Present {})),
        }],
        operations: vec![
            Operation { collection: "old".into(), what: Some(what) },
            Operation { collection: String::new(), what: Some(operation::What::Delete("gone".into())) },
            Operation {
                collection: String::new(),
                what: Some(operation::What::DeleteRange(Range { start: "x".into(), end: "y".into() })),
            },
        ],
        id: None,
    };
    vec![
        sample("put", "/dewpond.v1.Kv/Put", put.clone()),
        sample("put_too_late", "/dewpond.v1.Kv/Put", PutRequest { id: late.clone(), ..put }),
        sample("delete", "/dewpond.v1.Kv/Delete", delete),
        sample("delete_range", "/dewpond.v1.Kv/DeleteRange", range),
        sample("batch", "/dewpond.v1.Kv/Batch", batch),
        sample("outcome", "/dewpond.v1.Txn/Outcome", OutcomeRequest { place: place(), id: late }),
    ]
}

fn reads() -> Vec<Sample> {
    let get = GetRequest { place: place(), key: "key".into(), consistency: None };
    let linearizable = Some(Consistency { how: Some(How::Linearizable(Linearizable {})) });
    let multi = MultiGetRequest {
        place: place(),
        keys: vec!["key".into(), "none".into()],
        consistency: linearizable,
    };
    let scan = ScanRequest {
        place: place(),
        range: Some(Range { start: "a".into(), end: "z".into() }),
        reverse: true,
        limit: 10,
        prefix: "k".into(),
        ..ScanRequest::default()
    };
    let history = HistoryRequest { place: place(), key: "key".into(), limit: 5, ..HistoryRequest::default() };
    let asked = stream_request::What::Get(get.clone());
    let stream =
        StreamRequest { call: 77, remaining_ms: 5_000, what: Some(asked), ..StreamRequest::default() };
    let open = OpenWatch { place: place(), after: 1, ..OpenWatch::default() };
    let open = WatchRequest { what: Some(watch_request::What::Open(open)) };
    let route = RouteRequest { tenant: "acme".into(), ..RouteRequest::default() };
    vec![
        sample("get", "/dewpond.v1.Kv/Get", get),
        sample("multi_get", "/dewpond.v1.Kv/MultiGet", multi),
        sample("scan", "/dewpond.v1.Kv/Scan", scan),
        sample("history", "/dewpond.v1.Kv/History", history),
        sample("stream", "/dewpond.v1.Kv/Stream", stream),
        sample("watch", "/dewpond.v1.Watch/Watch", open),
        sample("hello", "/dewpond.v1.Hello/Hello", HelloRequest {}),
        sample("route", "/dewpond.v1.Hello/Route", route),
    ]
}

fn answers() -> Vec<Sample> {
    let failure = Failure {
        code: 4001,
        text: "another node leads".into(),
        retry_after_ms: 5,
        request: 9,
        better: "b:7400".into(),
        condition: 1,
        stamp: 2,
        kind: failure::Kind::Unavailable.into(),
        retry: failure::Retry::Same.into(),
        group: 2,
        ..Failure::default()
    };
    let row = Row { key: "key".into(), version: Some(version()) };
    let page = ScanPage { rows: vec![row], resume: "on".into(), at: 5 };
    let past = PastVersion { version: Some(version()), is_removed: true };
    let history = HistoryPage { versions: vec![past], is_last: true, resume: "".into(), at: 6 };
    let told = |what| WatchResponse { what: Some(what), ..WatchResponse::default() };
    let change = Change { key: "key".into(), version: Some(version()), is_removed: false };
    let removed = RangeRemoved { range: Some(Range { start: "a".into(), end: "b".into() }), stamp: 7 };
    let reset = Reset { from: 9, why: reset::Why::Lagged.into() };
    let shard = Shard {
        group: 2,
        start: 1,
        end: 3,
        leader: "a:7400".into(),
        replicas: vec!["a:7400".into(), "b:7400".into()],
        ..Shard::default()
    };
    let applied = outcome_response::What::Applied(5);
    vec![
        sample("write_response", "-", WriteResponse { stamp: 5 }),
        sample("get_response", "-", GetResponse { version: Some(version()), at: 6 }),
        sample("scan_page", "-", page),
        sample("history_page", "-", history),
        sample("outcome_response", "-", OutcomeResponse { what: Some(applied) }),
        sample("told_change", "-", told(watch_response::What::Change(change))),
        sample("told_progress", "-", told(watch_response::What::Progress(8))),
        sample("told_reset", "-", told(watch_response::What::Reset(reset))),
        sample("told_range_removed", "-", told(watch_response::What::RangeRemoved(removed))),
        sample("told_failure", "-", told(watch_response::What::Failure(failure.clone()))),
        sample("failure", "-", failure),
        sample(
            "route_response",
            "-",
            RouteResponse { tenant: 7, map_version: 3, shards: vec![shard], generation: 0 },
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn what_was_written_means_what_it_meant() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("released/messages-v1.txt");
    let mut released = std::fs::read_to_string(&path).unwrap_or_default();
    let samples: Vec<_> = [writes(), reads(), answers()].into_iter().flatten().collect();
    if std::env::vars().any(|(name, _)| name == "DEWPOND_WRITE_FIXTURES") {
        for new in &samples {
            if !released.lines().any(|line| line.split(' ').next() == Some(new.name)) {
                let _ = writeln!(released, "{} {} {}", new.name, new.path, hex(&new.bytes));
            }
        }
        std::fs::write(&path, &released).unwrap();
    }
    assert_eq!(released.lines().count(), samples.len(), "every sample is there, once");
    for line in released.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [name, path, bytes] = words[..] else { panic!("{line}") };
        let sample = samples.iter().find(|sample| sample.name == name).expect(name);
        assert_eq!(sample.path, path, "{name}");
        let bytes = unhex(bytes);
        assert!((sample.means)(&bytes), "{name} means something else now");
        assert_eq!(sample.bytes, bytes, "{name} is written otherwise now");
    }
}
