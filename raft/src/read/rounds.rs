//! Reads that wait at once ask once. A read may take the answer to any question that was put after it came, so it joins the next one, which
//! is put as soon as the one before is answered; never one that is on its way, which may not have seen what was written meanwhile.

use crate::net::link::BoxFuture;
use futures_util::future::{FutureExt, Shared};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One question, and all that wait for its answer. It goes on as long as one of them waits.
struct Round<T: Clone> {
    is_put: Arc<AtomicBool>,
    answer: Shared<BoxFuture<T>>,
}

/// The questions of one replica, one behind the other.
pub(crate) struct Rounds<T: Clone> {
    newest: Mutex<Option<Round<T>>>,
}

impl<T: Clone> Default for Rounds<T> {
    fn default() -> Self {
        Self { newest: Mutex::new(None) }
    }
}

impl<T: Clone + Send + Sync + 'static> Rounds<T> {
    /// The answer to a question that is put from now on: to `ask`, or to that of another who came before it was put.
    pub(crate) fn join<F>(&self, ask: impl FnOnce() -> F + Send + 'static) -> Shared<BoxFuture<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(round) = newest.as_ref().filter(|round| !round.is_put.load(Ordering::SeqCst)) {
            return round.answer.clone();
        }
        let (before, is_put) = (newest.take().map(|round| round.answer), Arc::new(AtomicBool::new(false)));
        let put = is_put.clone();
        let answer: BoxFuture<T> = Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            put.store(true, Ordering::SeqCst);
            ask().await
        });
        let answer = answer.shared();
        *newest = Some(Round { is_put, answer: answer.clone() });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use tokio::sync::oneshot;

    /// Counts questions; each is answered with its number when it is told to be.
    #[derive(Default)]
    struct Asked {
        rounds: Rounds<u64>,
        count: Arc<AtomicU64>,
    }

    impl Asked {
        fn join(&self) -> (Shared<BoxFuture<u64>>, oneshot::Sender<()>) {
            let (count, (tell, told)) = (self.count.clone(), oneshot::channel());
            let answer = self.rounds.join(move || async move {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = told.await;
                number
            });
            (answer, tell)
        }
    }

    #[test]
    fn whoever_comes_while_a_question_is_on_its_way_shares_the_next() {
        let asked = Asked::default();
        let (mut first, tell) = asked.join();
        assert_eq!((&mut first).now_or_never(), None);
        let mut others: Vec<_> = (0..10).map(|_| asked.join()).collect();
        assert!(others.iter_mut().all(|(other, _)| other.now_or_never().is_none()));
        // The next is not put before the first is answered.
        assert_eq!(asked.count.load(Ordering::SeqCst), 1);
        tell.send(()).unwrap();
        assert_eq!(first.now_or_never(), Some(1));
        drop(others.iter_mut().map(|(other, _)| other.now_or_never()).collect::<Vec<_>>());
        let (others, tells): (Vec<_>, Vec<_>) = others.into_iter().unzip();
        drop(tells);
        assert!(others.into_iter().all(|other| other.now_or_never() == Some(2)));
        assert_eq!(asked.count.load(Ordering::SeqCst), 2);
        let (late, tell) = asked.join();
        drop(tell);
        assert_eq!(late.now_or_never(), Some(3), "an answer of before is none");
    }

    #[test]
    fn a_question_goes_on_without_whoever_put_it() {
        let asked = Asked::default();
        let (mut first, tell) = asked.join();
        assert_eq!((&mut first).now_or_never(), None);
        let (mut second, tell_second) = asked.join();
        assert_eq!((&mut second).now_or_never(), None);
        drop(first);
        assert_eq!((&mut second).now_or_never(), None);
        drop((tell, tell_second));
        assert_eq!(second.now_or_never(), Some(2));
    }
}
