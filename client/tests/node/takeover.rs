//! A delayed node takes over, as an administrator and an application meet it: three nodes are lost after a mistake, the fourth goes on as of
//! just before it, those that come back are fenced, and a client that knew the old map finds the new one.

use super::rig::Rig;
use dewpond::wire::{DelayedNode, PromoteRequest};
use dewpond::{Admin, Stamp, code};
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;
const ROUNDS: usize = 1_200;

async fn late(admin: &Admin, what: &str, is_so: impl Fn(&DelayedNode) -> bool) -> DelayedNode {
    for _ in 0..ROUNDS {
        let all = admin.delayed().await.unwrap_or_default();
        if let Some(node) = all.into_iter().find(|node| is_so(node)) {
            return node;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be that {what}: {:?}", admin.delayed().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_three_are_lost_the_delayed_one_takes_over_and_clients_follow() {
    let mut rig = Rig::of(3).await;
    let acme = rig.tenant("acme").await;
    for n in 0..300 {
        acme.raw("customers").put(format!("k{n:03}"), format!("v{n}")).await.unwrap();
    }
    rig.double.join_late("d1", HOUR_MS).await.unwrap();
    // Its client and administrator know all four.
    let knows_all = rig.another("acme");
    let admin = rig.admin_of_all();
    let d1 = late(&admin, "it has everything", |node| node.received > 0 && !node.state.is_empty()).await.node;
    acme.raw("customers").put("last", "good").await.unwrap();
    let mut bad = Stamp(0);
    for n in 0..250 {
        let stamp = acme.raw("customers").delete(format!("k{n:03}")).await.unwrap();
        bad = if n == 0 { stamp } else { bad };
    }
    let after = acme.raw("customers").put("after", "late").await.unwrap();
    late(&admin, "all has come in", |node| node.received > after.0).await;
    let ask = |upto: u64| PromoteRequest {
        node: d1,
        upto,
        reason: "INC-4711".to_owned(),
        plan: true,
        ..PromoteRequest::default()
    };
    let plan = admin.promote(ask(bad.0 - 1)).await.unwrap();
    assert_eq!((plan.generation, plan.upto, plan.living.len(), plan.decided), (2, bad.0 - 1, 3, false));
    let refused = async |asked| admin.promote(asked).await.unwrap_err();
    assert_eq!(refused(ask(bad.0 + (HOUR_MS << 16))).await.code(), code::NOT_RECEIVED);
    assert_eq!(refused(ask(bad.0 - (HOUR_MS << 17))).await.code(), code::GATE_PASSED);
    assert_eq!(refused(ask(0)).await.code(), code::MALFORMED, "no target");
    let real = PromoteRequest { plan: false, ..ask(bad.0 - 1) };
    assert_eq!(refused(real.clone()).await.code(), code::PLAN_FIRST, "the name was not typed");
    let unsaid = PromoteRequest { confirm: "d1".into(), reason: " ".into(), ..real.clone() };
    assert_eq!(refused(unsaid).await.code(), code::MALFORMED);
    assert_eq!(knows_all.raw("customers").get("after").await.unwrap().unwrap().value, "late");

    for node in 0..3 {
        rig.double.lose(node).await.unwrap();
    }
    let done = rig.admin_at(3).promote(PromoteRequest { confirm: "d1".into(), ..real }).await.unwrap();
    assert_eq!((done.generation, done.silent.len(), done.decided), (2, 3, true));
    rig.double.begin_again(3).await.unwrap();
    // The client that knew the old map goes on by itself, and sees what was before the mistake.
    for n in (0..300).step_by(7) {
        let found = knows_all.raw("customers").get(format!("k{n:03}")).await.unwrap();
        assert_eq!(found.map(|found| found.value.to_vec()), Some(format!("v{n}").into_bytes()), "{n}");
    }
    let all = knows_all.raw("customers").get("last").await.unwrap();
    assert_eq!(all.unwrap().value, "good");
    assert!(knows_all.raw("customers").get("after").await.unwrap().is_none(), "it lies behind the cut");
    let next = knows_all.raw("customers").put("next", "new").await.unwrap();
    assert!(next.0 > after.0, "stamps go on above all that was seen");

    told_and_fenced(&mut rig, d1, (bad, after)).await;
    assert_eq!(knows_all.raw("customers").get("k001").await.unwrap().unwrap().value, "v1");
    rig.stop().await;
}

/// What was cut off is told, and those of before are fenced.
async fn told_and_fenced(rig: &mut Rig, d1: u64, (bad, after): (Stamp, Stamp)) {
    // By tenant.
    let tail = rig.admin_at(3).tail(d1, 2).await.unwrap();
    assert_eq!(tail.left_out, 0);
    let of_acme: Vec<_> = tail.tenants.iter().filter(|one| one.name == "acme").collect();
    assert_eq!(of_acme.iter().map(|one| one.deletes).sum::<u64>(), 250);
    assert_eq!((of_acme[0].first, of_acme[0].last), (bad.0, after.0));

    // Those that come back are fenced, and name who took over; a client that meets one of them first is sent on.
    rig.double.come_back(0).await.unwrap();
    rig.double.come_back(1).await.unwrap();
    let old = rig.double.endpoints()[0].to_owned();
    let meets_old = rig.only("acme", &[&old]);
    let found = meets_old.raw("customers").get("next").await.unwrap();
    assert_eq!(found.unwrap().value, "new");
    let status = rig.admin_at(0).status().await.unwrap();
    assert!(status.findings.iter().any(|one| one.name == "node_fenced"), "{:?}", status.findings);
    // A start later it is fenced as well.
    rig.double.lose(0).await.unwrap();
    rig.double.come_back(0).await.unwrap();
    let status = rig.admin_at(0).status().await.unwrap();
    assert!(status.findings.iter().any(|one| one.name == "node_fenced"), "{:?}", status.findings);
}
