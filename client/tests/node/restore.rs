//! A tenant goes back in place, as an application sees it: its handles go on, its watch is told, and nothing that was acknowledged is lost
//! without a word.

use super::rig::Rig;
use dewpond::wire::act_request::Act;
use dewpond::wire::{PlanRequest, RestoreState};
use dewpond::{Change, Start};
use futures_util::TryStreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

async fn ended(rig: &Rig, restore: &RestoreState) -> RestoreState {
    for _ in 0..600 {
        let found = rig.admin.admin().restores(restore.id).await.unwrap().remove(0);
        if !matches!(found.state.as_str(), "running" | "undoing") {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_go_on_and_watches_are_told_when_a_tenant_goes_back_in_place() {
    let rig = Rig::of(3).await;
    let acme = rig.tenant("acme").await;
    let rows = acme.raw("c");
    for n in 0..20 {
        rows.put(format!("k{n:02}"), "good").await.unwrap();
    }
    let wrong = rows.delete_range(..).await.unwrap();
    let mut watch = rows.watch(.., Start::After(wrong));
    // Somebody writes all the time: each write succeeds, whatever becomes of the tenant meanwhile.
    let is_over = Arc::new(AtomicBool::new(false));
    let writes = {
        let (acme, is_over) = (rig.another("acme"), is_over.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while count < 10 || !is_over.load(Ordering::Relaxed) {
                acme.raw("c").put("busy", format!("{count}")).await.unwrap();
                count += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            count
        })
    };
    let admin = rig.admin.admin();
    let before = acme.commit(wrong).await.unwrap().to_string();
    let asked = PlanRequest { tenant: "acme".into(), before, in_place: true, ..PlanRequest::default() };
    let planned = admin.plan_restore(asked).await.unwrap();
    let begun = admin.apply_restore(planned.plan, "acme").await.unwrap();
    let done = ended(&rig, &begun).await;
    assert_eq!((done.state.as_str(), done.other.as_str()), ("done", "acme"), "{done:?}");
    assert!(done.tenant.starts_with("pre-restore-"), "{done:?}");
    for n in 0..20 {
        let found = rows.get(format!("k{n:02}")).await.unwrap();
        assert_eq!(found.map(|found| found.value).as_deref(), Some(&b"good"[..]), "{n}");
    }
    let told = async {
        loop {
            match watch.try_next().await.unwrap().unwrap() {
                Change::Reset { why, .. } => return why,
                _ => continue,
            }
        }
    };
    let why = tokio::time::timeout(Duration::from_secs(60), told).await.expect("a watch never hangs");
    assert_eq!(format!("{why:?}"), "Restored");
    // It goes on behind that.
    rows.put("after", "x").await.unwrap();
    let hears = async {
        loop {
            if let Change::Put { key, .. } = watch.try_next().await.unwrap().unwrap()
                && key.as_ref() == b"after"
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), hears).await.expect("a watch never hangs");
    // And back again.
    admin.act_on_restore(done.id, Act::Undo).await.unwrap();
    let undone = ended(&rig, &done).await;
    assert_eq!(undone.state, "undone", "{undone:?}");
    assert!(undone.left_behind > 0, "{undone:?}");
    assert_eq!(rows.get("k00").await.unwrap().map(|found| found.stamp), None);
    is_over.store(true, Ordering::Relaxed);
    // Each of them has succeeded.
    writes.await.unwrap();
    assert!(rows.get("busy").await.unwrap().is_some());
    rig.stop().await;
}
