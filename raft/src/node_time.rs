//! The time of one node of a simulation: its clock runs at a rate of its own, and stands still while its machine sleeps. Consensus of a
//! node, and all that it spawns, goes by it.

use futures_util::FutureExt as _;
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt::{AsyncRuntime, OptionalSend};
use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

type Inner = DeterministicRng<openraft::TokioRuntime>;

/// Between two looks whether a machine that sleeps is awake again.
const LOOK: Duration = Duration::from_millis(5);
/// A rate that is right.
const RIGHT_PERMILLE: i64 = 1_000;

tokio::task_local! {
    static CLOCK: NodeClock;
    static SEEDED: ();
}

/// The monotonic clock of a node. Clones are the same.
#[derive(Clone)]
pub struct NodeClock(Arc<Mutex<Course>>);

/// How a clock goes, from some moment on.
struct Course {
    /// The true time then, in nanoseconds since the origin.
    since_ns: i64,
    /// What the clock showed.
    shown_ns: i64,
    /// By how much it goes on while a thousand pass.
    permille: i64,
    is_asleep: bool,
    /// How long it has slept, by its own rate.
    slept_ns: i64,
}

/// The true time, in nanoseconds since the first that anybody asked for it.
fn true_ns() -> i64 {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let now = tokio::time::Instant::now().into_std();
    let origin = *ORIGIN.get_or_init(|| now);
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    match now.checked_duration_since(origin) {
        Some(since) => nanos(since),
        None => -nanos(origin.saturating_duration_since(now)),
    }
}

fn millis(ns: i64) -> u64 {
    u64::try_from(ns / 1_000_000).unwrap_or(0)
}

impl Course {
    fn gone_ns(&self, now_ns: i64) -> i64 {
        (now_ns - self.since_ns) / RIGHT_PERMILLE * self.permille
    }

    fn now_ns(&self, now_ns: i64) -> i64 {
        if self.is_asleep { self.shown_ns } else { self.shown_ns + self.gone_ns(now_ns) }
    }

    fn set_asleep(&mut self, is_asleep: bool) {
        let now_ns = true_ns();
        match self.is_asleep {
            true => self.slept_ns += self.gone_ns(now_ns),
            false => self.shown_ns += self.gone_ns(now_ns),
        }
        (self.since_ns, self.is_asleep) = (now_ns, is_asleep);
    }
}

impl NodeClock {
    /// A clock that goes on by `permille` milliseconds in a second. Begins at an hour.
    #[must_use]
    pub fn new(permille: u32) -> Self {
        let course = Course {
            since_ns: true_ns(),
            shown_ns: 3_600_000_000_000,
            permille: i64::from(permille.max(1)),
            is_asleep: false,
            slept_ns: 0,
        };
        Self(Arc::new(Mutex::new(course)))
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine sleeps, or wakes.
    pub fn set_asleep(&self, is_asleep: bool) {
        self.course().set_asleep(is_asleep);
    }

    /// Whether the machine sleeps.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.course().is_asleep
    }

    /// What it shows, in milliseconds.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        millis(self.course().now_ns(true_ns()))
    }

    /// What a clock of the same rate shows that does not stand still while the machine sleeps, in milliseconds.
    #[must_use]
    pub fn boot_ms(&self) -> u64 {
        let (course, now_ns) = (self.course(), true_ns());
        let asleep_ns = if course.is_asleep { course.gone_ns(now_ns) } else { 0 };
        millis(course.now_ns(now_ns) + course.slept_ns + asleep_ns)
    }

    /// Runs `future`, and all that it spawns, by this clock.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CLOCK.scope(self.clone(), future)
    }

    fn here() -> Option<Self> {
        CLOCK.try_with(Clone::clone).ok()
    }

    async fn until(clock: Option<Self>, deadline: NodeInstant) {
        loop {
            let Some((left_ns, permille, is_asleep)) = NodeInstant::left(clock.as_ref(), deadline) else {
                return;
            };
            let pause = match is_asleep {
                true => LOOK,
                false => Duration::from_nanos(
                    u64::try_from(
                        i128::from(left_ns) * i128::from(RIGHT_PERMILLE) / i128::from(permille) + 1,
                    )
                    .unwrap_or(u64::MAX),
                ),
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// The clock that consensus of one node goes by, to be asked from elsewhere.
#[derive(Clone)]
pub(crate) struct OwnClock(Option<NodeClock>);

impl OwnClock {
    /// That of whoever asks.
    pub(crate) fn here() -> Self {
        Self(NodeClock::here())
    }

    /// What it shows.
    pub(crate) fn now(&self) -> NodeInstant {
        NodeInstant::of(self.0.as_ref())
    }
}

/// A moment on the clock of a node, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeInstant(i64);

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl NodeInstant {
    fn of(clock: Option<&NodeClock>) -> Self {
        Self(clock.map_or_else(true_ns, |clock| clock.course().now_ns(true_ns())))
    }

    /// How much is left until a deadline, and how the clock goes; `None` if it has passed.
    fn left(clock: Option<&NodeClock>, deadline: Self) -> Option<(i64, i64, bool)> {
        let left_ns = deadline.0.saturating_sub(Self::of(clock).0);
        let course = clock.map(|clock| clock.course());
        let (permille, is_asleep) =
            course.map_or((RIGHT_PERMILLE, false), |course| (course.permille, course.is_asleep));
        (left_ns > 0).then_some((left_ns, permille, is_asleep))
    }
}

impl openraft_rt::Instant for NodeInstant {
    fn now() -> Self {
        Self::of(NodeClock::here().as_ref())
    }
}

impl Add<Duration> for NodeInstant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

impl AddAssign<Duration> for NodeInstant {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

impl Sub<Duration> for NodeInstant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(time)))
    }
}

impl SubAssign<Duration> for NodeInstant {
    fn sub_assign(&mut self, time: Duration) {
        *self = *self - time;
    }
}

impl Sub for NodeInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

type Asleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A time limit has passed.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time has passed")
    }
}

/// Work with a time limit.
pub struct Limited<T> {
    work: Pin<Box<T>>,
    limit: Asleep,
}

impl<T: Future> Future for Limited<T> {
    type Output = Result<T::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = self.work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        self.limit.as_mut().poll(context).map(|()| Err(Elapsed))
    }
}

/// The runtime of consensus in a simulation: randomness by seed, time by node.
#[derive(Debug)]
pub struct NodeTime(Inner);

impl NodeTime {
    /// Runs `future` with randomness of consensus that follows from `seed`, and of everything that it spawns.
    pub fn scope<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
        SEEDED.scope((), Inner::scope(seed, future))
    }

    /// Whether what runs here belongs to a simulation. A build may hold the simulator and, beside it, nodes that are no part of one.
    fn is_simulated() -> bool {
        SEEDED.try_with(|()| ()).is_ok() || NodeClock::here().is_some()
    }
}

/// Randomness for whoever is no part of a simulation: another sequence for each that asks, which is all that elections need.
fn true_randomness() -> <Inner as AsyncRuntime>::ThreadLocalRng {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    let seed = true_ns().cast_unsigned() ^ asked.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let seeded = Inner::scope(seed, async { Inner::thread_rng() });
    seeded.now_or_never().expect("does not wait")
}

impl AsyncRuntime for NodeTime {
    type JoinError = <Inner as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Inner as AsyncRuntime>::JoinHandle<T>;
    type Sleep = Asleep;
    type Instant = NodeInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Limited<T>;
    type ThreadLocalRng = <Inner as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Inner as AsyncRuntime>::Mpsc;
    type Watch = <Inner as AsyncRuntime>::Watch;
    type Oneshot = <Inner as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Inner as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match NodeClock::here() {
            Some(clock) => Inner::spawn(SEEDED.scope((), CLOCK.scope(clock, future))),
            None if Self::is_simulated() => Inner::spawn(SEEDED.scope((), future)),
            None => openraft::TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Self::sleep_until(<NodeInstant as openraft_rt::Instant>::now() + duration)
    }

    fn sleep_until(deadline: NodeInstant) -> Self::Sleep {
        Box::pin(NodeClock::until(NodeClock::here(), deadline))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Limited<F> {
        Limited { work: Box::pin(future), limit: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: NodeInstant, future: F) -> Limited<F> {
        Limited { work: Box::pin(future), limit: Self::sleep_until(deadline) }
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Inner::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        if Self::is_simulated() { Inner::thread_rng() } else { true_randomness() }
    }

    fn new(threads: usize) -> Self {
        Self(Inner::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft_rt::Instant as _;

    fn perform(work: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(NodeTime::scope(7, work));
    }

    #[test]
    fn nodes_outside_a_simulation_need_no_seed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let drawn = runtime.block_on(async {
            let draw = || async { NodeTime::thread_rng() };
            [draw().await, NodeTime::spawn(draw()).await.unwrap()]
        });
        assert_ne!(drawn[0], drawn[1]);
    }

    async fn true_ms_of(work: impl Future) -> u64 {
        let began = tokio::time::Instant::now();
        work.await;
        u64::try_from(began.elapsed().as_millis()).unwrap()
    }

    #[test]
    fn a_fast_clock_makes_sleeps_short_and_a_slow_one_long() {
        perform(async {
            for (permille, wanted_ms) in [(1_000, 1_000), (1_100, 910), (900, 1_112)] {
                let clock = NodeClock::new(permille);
                let before = clock.monotonic_ms();
                let slept = true_ms_of(clock.scope(NodeTime::sleep(Duration::from_secs(1)))).await;
                // The scope is around the poll alone: a sleep belongs to whoever makes it.
                assert!(slept.abs_diff(1_000) <= 1, "{slept}");
                let slept =
                    true_ms_of(clock.scope(async { NodeTime::sleep(Duration::from_secs(1)).await })).await;
                assert!(slept.abs_diff(wanted_ms) <= 1, "{permille} {slept}");
                assert!(clock.monotonic_ms() > before + 1_000 && clock.boot_ms() == clock.monotonic_ms());
            }
        });
    }

    #[test]
    fn a_clock_stands_still_while_its_machine_sleeps_and_what_it_spawned_with_it() {
        perform(async {
            let clock = NodeClock::new(1_000);
            let (done, heard) = tokio::sync::oneshot::channel();
            clock
                .scope(async {
                    NodeTime::spawn(async {
                        NodeTime::sleep(Duration::from_millis(100)).await;
                        let _ = done.send(NodeInstant::now());
                    });
                })
                .await;
            let begin = clock.monotonic_ms();
            tokio::time::sleep(Duration::from_millis(50)).await;
            clock.set_asleep(true);
            tokio::time::sleep(Duration::from_millis(2_000)).await;
            assert_eq!((clock.monotonic_ms(), clock.boot_ms()), (begin + 50, begin + 2_050));
            clock.set_asleep(false);
            let took = true_ms_of(heard).await;
            assert!((49..=56).contains(&took), "{took}");
            assert_eq!(clock.boot_ms() - clock.monotonic_ms(), 2_000);
        });
    }
}
