//! A delayed node, as an administrator and an application meet it, over the wire.

use super::rig::Rig;
use dewpond::wire::{DelayedNode, DonateRequest, Job};
use dewpond::{Admin, Stamp, code};
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;
const ROUNDS: usize = 1_200;

async fn the_one(admin: &Admin, what: &str, is_so: impl Fn(&DelayedNode) -> bool) -> DelayedNode {
    for _ in 0..ROUNDS {
        if let Some(node) = admin.delayed().await.unwrap().into_iter().find(|node| is_so(node)) {
            return node;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be that {what}: {:?}", admin.delayed().await)
}

async fn ended(admin: &Admin, id: u64) -> Job {
    for _ in 0..ROUNDS {
        let job = admin.jobs().await.unwrap().into_iter().find(|job| job.id == id);
        if let Some(job) = job.filter(|job| job.state != "running") {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_node_is_asked_through_any_other_and_gives_back_what_was_deleted() {
    let mut rig = Rig::of(1).await;
    let acme = rig.tenant("acme").await;
    for n in 0..450 {
        acme.raw("customers").put(format!("k{n:03}"), "before").await.unwrap();
    }
    rig.double.join_late("d1", HOUR_MS).await.unwrap();
    let admin = rig.admin.admin();
    let d1 = the_one(&admin, "it has everything", |node| node.received > 0 && !node.state.is_empty()).await;
    assert_eq!((&*d1.name, d1.delay_ms), ("d1", HOUR_MS));
    // Whoever comes to it is sent elsewhere, and its client does not notice.
    let knows_all = rig.another("acme");
    for n in 0..20 {
        let found = knows_all.raw("customers").get(format!("k{n:03}")).await.unwrap();
        assert_eq!(found.map(|found| found.value.to_vec()), Some(b"before".to_vec()));
    }
    let mut bad = Stamp(0);
    for n in 0..430 {
        let stamp = acme.raw("customers").delete(format!("k{n:03}")).await.unwrap();
        bad = if n == 0 { stamp } else { bad };
    }
    let held = admin.hold_delayed(d1.node, "INC-4711").await.unwrap();
    assert_eq!((&*held.state, &*held.holder, &*held.held_by), ("held", "person", "admin"));
    assert_eq!(admin.hold_delayed(d1.node, " ").await.unwrap_err().code(), code::MALFORMED);
    let seen = the_one(&admin, "it is seen", |node| node.suspect.as_ref().is_some_and(|one| one.keys >= 430));
    assert_eq!(seen.await.suspect.unwrap().act, "delete");
    let suspects = admin.suspects(d1.node).await.unwrap();
    assert_eq!((&*suspects[0].name, &*suspects[0].act, suspects[0].first), ("acme", "delete", bad.0));
    the_one(&admin, "all has come in", |node| node.received >= bad.0).await;
    admin.forward_delayed(d1.node, bad, "INC-4711").await.unwrap();
    the_one(&admin, "the gate is there", |node| node.gate + 1 == bad.0 && node.state == "held").await;
    let past = Stamp(bad.0 - (HOUR_MS << 17));
    assert_eq!(admin.forward_delayed(d1.node, past, "x").await.unwrap_err().code(), code::GATE_PASSED);
    let asked = DonateRequest {
        node: d1.node,
        tenant: "acme".to_owned(),
        before: bad.0,
        collection: "customers".to_owned(),
        ..DonateRequest::default()
    };
    let job = ended(&admin, admin.donate(asked.clone()).await.unwrap()).await;
    assert_eq!((&*job.kind, &*job.subject, &*job.state), ("donate", "acme", "done"), "{}", job.text);
    assert!(job.text.starts_with("430 brought back, 20 the same"), "{}", job.text);
    for n in 0..450 {
        let found = acme.raw("customers").get(format!("k{n:03}")).await.unwrap();
        assert_eq!(found.map(|found| found.value.to_vec()), Some(b"before".to_vec()), "{n}");
    }
    let later = DonateRequest { before: bad.0 + (HOUR_MS << 16), ..asked };
    assert_eq!(admin.donate(later).await.unwrap_err().code(), code::NOT_RECEIVED);
    let status = admin.status().await.unwrap();
    assert_eq!(status.delayed.len(), 1);
    assert!(status.findings.iter().any(|one| one.name == "delayed_paused" && one.text.contains("INC-4711")));
    let free = admin.release_delayed(d1.node, "it is over").await.unwrap();
    assert_eq!((free.limit, &*free.holder), (0, ""));
    assert_eq!(admin.accept_delayed(d1.node, "x").await.unwrap_err().code(), code::NOT_PARKED);
    let own = status.nodes.iter().find(|node| node.delay_ms == 0).unwrap().id;
    assert_eq!(admin.hold_delayed(own, "x").await.unwrap_err().code(), code::NOT_DELAYED);
    rig.stop().await;
}
