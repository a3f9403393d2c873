//! A node whose tasks are not polled for a while, for the simulator: it stands still as a process that was stopped, and then goes on as
//! if nothing had happened. Whatever is spawned inside stands still with it.

use openraft_rt::{AsyncRuntime, OptionalSend};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

thread_local! {
    static CURRENT: RefCell<Option<Pause>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Tasks {
    is_paused: bool,
    next: u64,
    /// Those that asked to be polled meanwhile, in the order in which they came.
    waiting: BTreeMap<u64, Waker>,
    /// Those that may go on and have not yet: nobody who comes now begins before them.
    released: BTreeSet<u64>,
}

impl Tasks {
    /// Whether `number` may be polled now; if not, it is woken when it may.
    fn allows(&mut self, number: u64, is_fresh: bool, waker: &Waker) -> bool {
        let is_released = self.released.remove(&number);
        let is_behind =
            is_fresh && !is_released && self.released.first().is_some_and(|first| *first < number);
        if self.is_paused || is_behind {
            self.waiting.insert(number, waker.clone());
            return false;
        }
        true
    }

    /// Whom to wake, if nobody is ahead of them any more.
    fn release(&mut self) -> BTreeMap<u64, Waker> {
        if self.is_paused || !self.released.is_empty() {
            return BTreeMap::new();
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.released.extend(waiting.keys());
        waiting
    }
}

/// What stands still together. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pause(Arc<Mutex<Tasks>>);

/// A future that stands still with its pause.
pub struct Paused<F> {
    pause: Option<Pause>,
    number: u64,
    has_begun: bool,
    future: Pin<Box<F>>,
}

impl Pause {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing of it is polled from now on.
    pub fn pause(&self) {
        self.tasks().is_paused = true;
    }

    /// All of it goes on.
    pub fn go_on(&self) {
        self.tasks().is_paused = false;
        self.wake();
    }

    fn wake(&self) {
        let waiting = self.tasks().release();
        waiting.into_values().for_each(Waker::wake);
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.tasks().is_paused
    }

    /// Runs `future` in it, and whatever that spawns.
    pub fn within<F: Future>(&self, future: F) -> Paused<F> {
        Paused::new(Some(self.clone()), future)
    }

    /// Does something now; what it spawns belongs here.
    pub fn enter<T>(&self, does: impl FnOnce() -> T) -> T {
        under(Some(self.clone()), does)
    }
}

/// Does something now; what it spawns stands still with nobody.
pub fn outside<T>(does: impl FnOnce() -> T) -> T {
    under(None, does)
}

fn under<T>(pause: Option<Pause>, does: impl FnOnce() -> T) -> T {
    struct Back(Option<Pause>);
    impl Drop for Back {
        fn drop(&mut self) {
            let before = self.0.take();
            CURRENT.with_borrow_mut(|current| *current = before);
        }
    }
    let before = CURRENT.with_borrow_mut(|current| std::mem::replace(current, pause));
    let _back = Back(before);
    does()
}

impl<F: Future> Paused<F> {
    fn new(pause: Option<Pause>, future: F) -> Self {
        let number = pause.as_ref().map_or(0, |pause| {
            let mut tasks = pause.tasks();
            tasks.next += 1;
            tasks.next
        });
        Self { pause, number, has_begun: false, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Paused<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { pause, number, has_begun, future } = &mut *self;
        if let Some(pause) = pause {
            if !pause.tasks().allows(*number, !*has_begun, cx.waker()) {
                return Poll::Pending;
            }
            pause.wake();
        }
        *has_begun = true;
        under(pause.clone(), || future.as_mut().poll(cx))
    }
}

impl<F> Drop for Paused<F> {
    fn drop(&mut self) {
        if let Some(pause) = &self.pause {
            {
                let mut tasks = pause.tasks();
                tasks.waiting.remove(&self.number);
                tasks.released.remove(&self.number);
            }
            pause.wake();
        }
    }
}

/// The runtime `R`, in which whatever is spawned stands still with the one that spawns it.
pub struct Pausable<R>(R);

impl<R: AsyncRuntime> std::fmt::Debug for Pausable<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pausable").field(&self.0).finish()
    }
}

impl<R: AsyncRuntime> AsyncRuntime for Pausable<R> {
    type JoinError = R::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = R::JoinHandle<T>;
    type Sleep = R::Sleep;
    type Instant = R::Instant;
    type TimeoutError = R::TimeoutError;
    type Timeout<T, F: Future<Output = T> + OptionalSend> = R::Timeout<T, F>;
    type ThreadLocalRng = R::ThreadLocalRng;
    type Mpsc = R::Mpsc;
    type Watch = R::Watch;
    type Oneshot = R::Oneshot;
    type Mutex<T: OptionalSend + 'static> = R::Mutex<T>;

    fn spawn<F>(future: F) -> Self::JoinHandle<F::Output>
    where
        F: Future + OptionalSend + 'static,
        F::Output: OptionalSend + 'static,
    {
        R::spawn(Paused::new(CURRENT.with_borrow(Clone::clone), future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        R::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        R::sleep_until(deadline)
    }

    fn timeout<T, F: Future<Output = T> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<T, F> {
        R::timeout(duration, future)
    }

    fn timeout_at<T, F: Future<Output = T> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<T, F> {
        R::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        R::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        R::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(R::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(does: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        R::spawn_blocking(does)
    }
}
