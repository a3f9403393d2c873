//! No line of the log holds a tenant's key or value, at whatever level it is written.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "doors/rig.rs"]
#[expect(dead_code, reason = "the doors need more of it")]
mod rig;

use bytes::Bytes;
use node::telemetry::logs;
use proto::v1::kv_client::KvClient;
use proto::v1::stream_request::What;
use proto::v1::{
    Absent, Condition, DeleteRangeRequest, DeleteRequest, GetRequest, Place, PutRequest, Range, ScanRequest,
    StreamRequest, condition,
};
use rig::{channel, one, soon};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tokio_stream::StreamExt;

const KEY: &[u8] = b"canary-key-5f1d";
const VALUE: &[u8] = b"canary-value-c07e";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_holds_a_byte_of_a_tenant() {
    let lines = Lines::default();
    let writes = lines.clone();
    tracing::subscriber::set_global_default(logs::subscriber("trace", move || writes.clone())).unwrap();
    let one = one(&[]).await;
    one.tenant("acme").await;
    let mut kv = KvClient::new(channel(one.doors.client, &one.service("acme")));
    soon(kv.put(put("acme"))).await.unwrap();
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
    let frames = [What::Put(put("acme")), What::Get(get), What::Put(put("other"))].into_iter().enumerate();
    let frames: Vec<_> = frames
        .map(|(call, what)| StreamRequest { call: call as u64 + 1, remaining_ms: 5_000, what: Some(what) })
        .collect();
    let mut answers = soon(kv.stream(tokio_stream::iter(frames))).await.unwrap().into_inner();
    for _ in 0..3 {
        soon(answers.next()).await.unwrap().unwrap();
    }
    let delete = DeleteRequest { place: place("acme"), key: key.clone(), ..DeleteRequest::default() };
    soon(kv.delete(delete)).await.unwrap();
    let range = DeleteRangeRequest { place: place("acme"), start: key, ..DeleteRangeRequest::default() };
    let _ = soon(kv.delete_range(range)).await;
    one.server.stop(1_000).await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the cluster is founded") && text.lines().count() > 100, "the log was heard");
    for form in [forms(KEY), forms(VALUE)].concat() {
        let found = text.lines().find(|line| line.contains(&form));
        assert!(found.is_none(), "{found:?}");
    }
}
