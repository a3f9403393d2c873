//! What retention lets go goes, while the cluster runs and archives: everything promised stays at every site, and what is pinned.

use super::archive::{add_data, archive, site};
use super::put;
use super::rig::{Cluster, eventually};
use engine::Stamp;
use node::archive::load::load;
use node::archive::naming::{Name, TickEnd, root};
use node::archive::verify::verify;
use node::archive::window::{Scope, window};
use node::shard::door::WriteId;
use proto::v1;
use std::path::Path;
use std::time::Duration;

fn said(dir: &Path) -> Vec<(&'static str, String)> {
    let at = |name: &str| dir.join(name).display().to_string();
    let sites = format!(
        "home=file://{};keep=8s,daily:1;grace=1s far=file://{};role=copy;keep=4s;grace=1s",
        at("archive"),
        at("far")
    );
    vec![("archive.sites", sites), ("archive.tick", "1s".to_owned())]
}

/// Writes on, and takes snapshots, until this holds.
async fn meanwhile(
    cluster: &Cluster,
    tenant: engine::ids::TenantId,
    what: &str,
    holds: impl AsyncFn() -> bool,
) {
    for n in 0..400 {
        cluster
            .write(tenant, &put(&format!("k{}", n % 7), &format!("value {n}")), WriteId::default())
            .await
            .unwrap();
        if n % 12 == 11 {
            // Unless one is being taken, or objects are deleted.
            let _ = cluster.server(0).begin_snapshot(false, 5_000).await;
        }
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{what}: {:?}", cluster.server(0).archiving().known());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_needs_goes_at_every_site_and_what_is_pinned_stays() {
    let cluster = Cluster::found_with(said).await;
    let tenant = cluster.tenant("acme").await;
    add_data(&cluster, tenant).await;
    let first = async || archive(&cluster).await.snapshots().into_keys().next();
    meanwhile(&cluster, tenant, "a snapshot is whole", async || first().await.is_some()).await;
    let pinned = first().await.unwrap();
    let pin = v1::PinRequest {
        snapshots: vec![pinned.to_string()],
        until_ms: u64::MAX,
        reason: "CASE-7".to_owned(),
        ..v1::PinRequest::default()
    };
    let server = cluster.server(0);
    let pin = server.pin(pin, "ada".to_owned(), 5_000).await.unwrap();
    assert_eq!((pin.renewal, pin.is_hold, pin.by.as_str()), (1, false, "ada"));
    let refused =
        server.unpin(v1::UnpinRequest { is_hold: true, ..unpin(&pin) }, "ada".to_owned(), 5_000).await;
    assert!(refused.is_err(), "it is no legal hold");
    let second = async || archive(&cluster).await.snapshots().into_keys().nth(1);
    meanwhile(&cluster, tenant, "another one is whole", async || second().await.is_some()).await;
    let unpinned = second().await.unwrap();
    let is_there = async |id| archive(&cluster).await.snapshots().contains_key(&id);
    meanwhile(&cluster, tenant, "the other one goes", async || !is_there(unpinned).await).await;
    assert!(is_there(pinned).await, "what is pinned stays");
    let key = server.keys().sealer().public_key().unwrap();
    let (home, far) =
        (site(&cluster, "archive", root(server.cluster())), site(&cluster, "far", root(server.cluster())));
    let oldest = async |site| {
        let found = load(site, server.cluster(), Some(key)).await.unwrap();
        found.markers().keys().next().map_or(TickEnd(0), |(_, end)| *end)
    };
    meanwhile(&cluster, tenant, "the log goes too", async || {
        let (home, far) = (oldest(&home).await, oldest(&far).await);
        home > pinned.cut && far >= home
    })
    .await;
    for (site, keeps) in [(&home, 8), (&far, 4)] {
        // What is announced and deleted between two looks of one walk is not known to it yet: it is walked again.
        let mut walked = verify(site, server.cluster(), Some(key), true).await.unwrap();
        for _ in 0..20 {
            if walked.archive.faults().is_empty() {
                break;
            }
            walked = verify(site, server.cluster(), Some(key), true).await.unwrap();
        }
        assert_eq!(walked.archive.faults(), []);
        let found = window(&walked.archive, &Scope::default());
        assert_eq!(found.holes, []);
        let frontier = found.frontier.unwrap();
        let edge = Stamp(frontier.0 - ((keeps * 1_000) << 16));
        let whole = found.spans.iter().find(|span| span.holds(edge));
        assert_eq!(whole.map(|span| span.upto), Some(frontier), "every instant of its time");
        assert!(!walked.archive.collected().is_empty());
    }
    let told = server.retention(true).await.unwrap();
    assert_eq!((told[0].keep.as_str(), told[1].keep.as_str()), ("8s,daily:1", "4s"));
    assert!(told[0].snapshots.iter().any(|one| one.id == pinned.to_string() && one.why == "pinned"));
    assert_eq!((told[0].refused.as_str(), told[1].failure.as_str()), ("", ""));
    let ended = server.unpin(unpin(&pin), "ada".to_owned(), 5_000).await.unwrap();
    assert_eq!(ended.renewal, 2);
    meanwhile(&cluster, tenant, "it goes once nobody pins it", async || !is_there(pinned).await).await;
    let names = home.list("pin/").await.unwrap();
    assert!(names.iter().any(|one| matches!(Name::parse(&one.name), Some(Name::Pin(_, 2)))), "{names:?}");
    eventually("nothing is refused", || server.archiving().known().uncollected.is_empty()).await;
    cluster.stop().await;
}

fn unpin(pin: &v1::ArchivePin) -> v1::UnpinRequest {
    v1::UnpinRequest { id: pin.id.clone(), is_hold: false, reason: "over".to_owned() }
}
