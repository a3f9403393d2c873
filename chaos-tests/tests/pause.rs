//! What stands still with its pause, and what does not.

use raft::pause::{Pause, outside};
use raft::type_config::{scope, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Counts up every ten milliseconds.
async fn count(counted: Arc<AtomicU32>) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        counted.fetch_add(1, Ordering::SeqCst);
    }
}

async fn ms(n: u64) {
    tokio::time::sleep(Duration::from_millis(n)).await;
}

fn within<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without threads").block_on(scope(1, future))
}

#[test]
fn what_is_spawned_inside_stands_still_and_goes_on() {
    within(async {
        let (pause, inner, outer) =
            (Pause::default(), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (a, b) = (inner.clone(), outer.clone());
        // A task of a task, and one that belongs to nobody.
        pause.enter(|| {
            spawn(async move {
                spawn(count(a));
                outside(|| spawn(count(b)));
            })
        });
        ms(101).await;
        assert_eq!((inner.load(Ordering::SeqCst), outer.load(Ordering::SeqCst)), (10, 10));
        pause.pause();
        assert!(pause.is_paused());
        ms(100).await;
        assert_eq!((inner.load(Ordering::SeqCst), outer.load(Ordering::SeqCst)), (10, 20));
        pause.go_on();
        ms(100).await;
        // Its timer had rung meanwhile, once: what was missed does not come again.
        assert_eq!((inner.load(Ordering::SeqCst), outer.load(Ordering::SeqCst)), (20, 30));
    });
}

#[test]
fn who_asks_somebody_that_stands_still_waits_as_long() {
    within(async {
        let pause = Pause::default();
        assert_eq!(pause.within(async { 1 }).await, 1);
        pause.pause();
        let asked = tokio::time::timeout(Duration::from_millis(50), pause.within(async { 2 })).await;
        assert!(asked.is_err(), "it answered");
        let other = pause.clone();
        spawn(async move {
            ms(30).await;
            other.go_on();
        });
        let asked = tokio::time::timeout(Duration::from_millis(50), pause.within(async { 3 })).await;
        assert_eq!(asked, Ok(3));
    });
}

#[test]
fn who_comes_later_does_not_begin_before_those_that_waited() {
    within(async {
        let (pause, began) = (Pause::default(), Arc::new(std::sync::Mutex::new(Vec::new())));
        let begin = |n: u32| {
            let began = began.clone();
            let future = pause.within(async move { began.lock().unwrap().push(n) });
            outside(|| spawn(future));
        };
        pause.pause();
        (0..3).for_each(begin);
        ms(1).await;
        // On the way to its first poll when the others are woken, and so before them in line.
        begin(3);
        pause.go_on();
        ms(1).await;
        assert_eq!(*began.lock().unwrap(), [0, 1, 2, 3]);
    });
}
