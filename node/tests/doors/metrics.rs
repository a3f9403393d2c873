//! What the metrics say, how they are read, and that their page says the same.

use super::rig::{channel, eventually, one, soon, throw};
use bytes::Bytes;
use proto::v1::kv_client::KvClient;
use proto::v1::{Place, PutRequest, StatusRequest, status_client::StatusClient};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

pub async fn get(at: SocketAddr) -> String {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    String::from_utf8(throw(TcpStream::connect(at).await.unwrap(), request).await).unwrap()
}

pub fn value(metrics: &str, series: &str) -> Option<i64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Names and kinds of the figures that are served.
fn kinds(metrics: &str) -> BTreeMap<String, String> {
    let typed = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    typed.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// Names and kinds of the figures on the page.
fn page() -> BTreeMap<String, String> {
    let text = include_str!("../../../docs/metrics.md");
    let cells = text.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        (cells.next().unwrap().trim_matches('`').to_owned(), cells.next().unwrap().to_owned())
    });
    cells.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_and_the_page_lists_every_figure() {
    let one = one(&[]).await;
    one.tenant("acme").await;
    let mut kv = KvClient::new(channel(one.doors.client, &one.service("acme")));
    let put = |tenant: &str| PutRequest {
        place: Some(Place { tenant: tenant.to_owned(), collection: "rows".to_owned(), ..Place::default() }),
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        ..PutRequest::default()
    };
    for _ in 0..3 {
        soon(kv.put(put("acme"))).await.unwrap();
    }
    soon(kv.put(put("other"))).await.unwrap_err();
    let mut admin = StatusClient::new(channel(one.doors.admin, &one.admin()));
    soon(admin.status(StatusRequest {})).await.unwrap();
    let counted = "dewpond_call_answered_calls{service=\"dewpond.v1.Kv\",method=\"Put\",code=\"ok\"}";
    eventually("they are counted", async || value(&get(one.doors.metrics).await, counted) == Some(3)).await;
    let metrics = get(one.doors.metrics).await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    let of = |rest: &str| value(&metrics, rest);
    let put = "service=\"dewpond.v1.Kv\",method=\"Put\"";
    assert_eq!(of(&format!("dewpond_call_answered_calls{{{put},code=\"permission_denied\"}}")), Some(1));
    assert_eq!(of(&format!("dewpond_call_took_ms_count{{{put}}}")), Some(4));
    assert_eq!(of(&format!("dewpond_call_took_ms_bucket{{{put},le=\"+Inf\"}}")), Some(4));
    assert_eq!(of("dewpond_door_open_connections{door=\"client\"}"), Some(1));
    assert_eq!((of("dewpond_cluster_known_tenants"), of("dewpond_node_serving_flag")), (Some(1), Some(1)));
    assert!(of("dewpond_certificate_left_seconds").unwrap() > 29 * 86_400);
    assert!(of("dewpond_disk_free_bytes").unwrap() > 0);
    assert!(of("dewpond_machine_ran_commands").unwrap() >= 3 && of("dewpond_pool_open_tablets") == Some(3));
    let (served, said) = (kinds(&metrics), page());
    let missing: Vec<_> = served.iter().filter(|(name, kind)| said.get(*name) != Some(*kind)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    // How old the newest proof is, nobody knows where no drill is asked for.
    let is_known = |name: &&String| name.as_str() != "dewpond_archive_proven_age_ms";
    let gone: BTreeSet<_> = said.keys().filter(is_known).filter(|name| !served.contains_key(*name)).collect();
    assert!(gone.is_empty(), "on the page and not served: {gone:?}");
    assert!(!metrics.contains("acme") && !metrics.contains("other\",method=\"P"), "no name of a tenant");
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_that_is_taken_is_a_finding_and_keeps_no_node_from_serving() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = taken.local_addr().unwrap();
    let one = one(&[("listen.metrics", &at.to_string())]).await;
    let mut admin = StatusClient::new(channel(one.doors.admin, &one.admin()));
    let status = soon(admin.status(StatusRequest {})).await.unwrap().into_inner();
    assert!(status.findings.iter().any(|one| one.text.contains("metrics cannot be read")), "{status:?}");
    drop(taken);
    eventually("it is taken once it is free", async || {
        TcpStream::connect(at).await.is_ok() && get(at).await.contains("dewpond_node_serving_flag 1")
    })
    .await;
    assert!(!one.server.findings().iter().any(|one| one.text.contains("metrics")));
    one.server.stop(0).await;
}
