//! Three whole nodes, and the loss of the one that leads, as an application sees it.

use super::rig::Rig;
use dewpond::{Change, Stamp, Start, Tenant};
use futures_util::TryStreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Hears of a collection until a key `end` is written: the stamps and keys, and how far all was told.
async fn hears(acme: Tenant, anywhere: bool, heard: Arc<AtomicU64>) -> Vec<(Stamp, String)> {
    let mut watch = acme.raw("c").watch(.., Start::After(Stamp(1)));
    if anywhere {
        watch = watch.anywhere();
    }
    let (mut all, mut told) = (Vec::new(), Stamp(0));
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), watch.try_next());
        match next.await.expect("a watch never hangs").unwrap().unwrap() {
            Change::Put { key, version } => {
                assert!(version.stamp > told, "what was told is not told again");
                let key = String::from_utf8(key.to_vec()).unwrap();
                let is_end = key == "end";
                all.push((version.stamp, key));
                heard.fetch_add(1, Ordering::Relaxed);
                if is_end {
                    return all;
                }
            }
            Change::Progress(stamp) => {
                assert!(stamp >= told);
                told = stamp;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_by_itself_when_the_leader_is_lost() {
    let mut rig = Rig::of(3).await;
    let acme = rig.tenant("acme").await;
    let mut written = vec![(acme.raw("c").put("first", "x").await.unwrap(), "first".to_owned())];
    let heard: [Arc<AtomicU64>; 3] = Default::default();
    let watches: Vec<_> =
        (0..3).map(|n| tokio::spawn(hears(rig.another("acme"), n > 0, heard[n].clone()))).collect();
    for round in 0..4 {
        if round == 1 {
            // It is gone in the middle of things, and comes back two rounds later.
            let leader = rig.double.leader("acme").unwrap();
            rig.double.lose(leader).await.unwrap();
        }
        if round == 3 {
            let lost = (0..3).find(|node| !rig.double.runs(*node)).unwrap();
            rig.double.come_back(lost).await.unwrap();
        }
        for n in 0..30 {
            let key = format!("{round}-{n}");
            let stamp = acme.raw("c").put(&key, "x").await.unwrap();
            written.push((stamp, key));
        }
        let so_far = written.len() as u64;
        for _ in 0..600 {
            if heard.iter().all(|heard| heard.load(Ordering::Relaxed) >= so_far) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    written.push((acme.raw("c").put("end", "x").await.unwrap(), "end".to_owned()));
    for watch in watches {
        assert_eq!(watch.await.unwrap(), written, "all of it, once and in order");
    }
    rig.stop().await;
}
