//! Proposals of one group may pause for a moment, so that whoever is to lead next has all of them. What waits then waits a little longer
//! outside of consensus, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Whether proposals pause, and how many are under way.
#[derive(Debug, Default)]
pub struct Pause {
    held: AtomicUsize,
    under_way: AtomicUsize,
    bell: Notify,
}

/// While this is held, no proposal begins. They go on when it is dropped, however that comes.
#[derive(Debug)]
pub struct Held(Arc<Pause>);

/// A proposal that is under way.
#[derive(Debug)]
pub struct UnderWay(Arc<Pause>);

impl Pause {
    /// Lets no proposal begin from now on.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Held {
        self.held.fetch_add(1, Ordering::SeqCst);
        Held(self.clone())
    }

    /// Whether one may begin.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }

    /// Waits until one may begin.
    pub async fn opened(&self) {
        loop {
            let bell = self.bell.notified();
            if self.is_open() {
                return;
            }
            bell.await;
        }
    }

    /// One begins.
    #[must_use]
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self.clone())
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
        self.0.bell.notify_waiters();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
