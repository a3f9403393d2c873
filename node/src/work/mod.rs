//! The one caller of the runtime's spawn. A task has an owner, which ends it, and a name, under which its panic is heard. What may wait for
//! a disk is done [`aside()`].

mod aside;
pub mod crowd;

pub use aside::{Aside, Panicked, aside};

use futures_util::FutureExt;
use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// The name of a task.
pub type Name = Cow<'static, str>;

/// What became of a task that did not end by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The task.
    pub task: Name,
    /// What its panic said.
    pub panic: String,
}

/// Hears of each task that panics.
pub type Hears = Arc<dyn Fn(Fate) + Send + Sync>;

/// Tasks that end together: when this is dropped, or ended.
pub struct Tasks(Arc<Group>);

/// Starts tasks of a group, and does not keep it alive.
#[derive(Clone)]
pub struct Spawner(Weak<Group>);

/// A task that was started. Dropping it does not end the task.
#[derive(Debug)]
pub struct Task(Option<AbortHandle>);

struct Group {
    runtime: Handle,
    hears: Hears,
    running: Mutex<Running>,
    /// How many run.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Running {
    next: u64,
    is_ended: bool,
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

/// Takes a task off the list when it is gone, in whatever way.
struct Listed {
    group: Weak<Group>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let Some(group) = self.group.upgrade() else { return };
        let count = {
            let mut running = group.running();
            running.tasks.remove(&self.number);
            running.tasks.len()
        };
        group.count.send_replace(count);
    }
}

impl Group {
    /// In a simulation it is of the node whose task starts it, and stands still with that.
    fn spawn(&self, runs: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        #[cfg(feature = "simulated")]
        if crate::simulated::world().is_some() {
            return raft::type_config::spawn(runs);
        }
        self.runtime.spawn(runs)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let tasks: Vec<_> = {
            let mut running = self.running();
            running.is_ended = true;
            running.tasks.values().flatten().cloned().collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Tasks {
    /// No tasks yet, on the runtime this is called in. `hears` is told of each that panics.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(hears: Hears) -> Self {
        let (runtime, count) = (Handle::current(), watch::Sender::new(0));
        Self(Arc::new(Group { runtime, hears, running: Mutex::default(), count }))
    }

    /// Starts a task of the group.
    pub fn spawn(&self, name: impl Into<Name>, future: impl Future<Output = ()> + Send + 'static) -> Task {
        self.spawner().spawn(name, future)
    }

    /// Starts tasks of the group, for whoever does not own it.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// How many run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.running().tasks.len()
    }

    /// Ends all of them, and waits until they are gone. None starts any more.
    pub async fn end(&self) {
        self.0.end();
        let mut count = self.0.count.subscribe();
        // It fails only if the group is gone, and it is held here.
        let _ = count.wait_for(|_| self.count() == 0).await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Spawner {
    /// Starts a task of the group; if that has ended, the future is dropped.
    pub fn spawn(&self, name: impl Into<Name>, future: impl Future<Output = ()> + Send + 'static) -> Task {
        let Some(group) = self.0.upgrade() else { return Task(None) };
        let (task, hears) = (name.into(), group.hears.clone());
        let mut running = group.running();
        if running.is_ended {
            return Task(None);
        }
        let number = running.next;
        running.next += 1;
        running.tasks.insert(number, None);
        let listed = Listed { group: self.0.clone(), number };
        let runs = async move {
            let listed = listed;
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                let panic = said(panic.as_ref());
                tracing::error!(%task, panic, "a task has panicked");
                hears(Fate { task, panic });
            }
            drop(listed);
        };
        let handle = group.spawn(runs);
        // The list is held, so that a task that has ended already has not left it yet.
        let handle = handle.abort_handle();
        running.tasks.insert(number, Some(handle.clone()));
        Task(Some(handle))
    }
}

impl Task {
    /// Ends it. What it holds is dropped soon.
    pub fn end(&self) {
        self.0.iter().for_each(AbortHandle::abort);
    }

    /// Whether it runs no more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.0.as_ref().is_none_or(AbortHandle::is_finished)
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "something unsaid".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;

    fn tasks() -> (Tasks, Arc<Mutex<Vec<Fate>>>) {
        let fates: Arc<Mutex<Vec<Fate>>> = Arc::default();
        let told = fates.clone();
        (Tasks::new(Arc::new(move |fate| told.lock().unwrap().push(fate))), fates)
    }

    #[tokio::test]
    async fn a_panic_is_heard_by_name_and_ends_no_other() {
        let (tasks, fates) = tasks();
        let other = tasks.spawn("other", pending());
        tasks.spawn("one", async { panic!("no {}", "way") });
        tasks.spawn("two", async {});
        let gone = async {
            while tasks.count() > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("they end");
        assert_eq!(*fates.lock().unwrap(), [Fate { task: "one".into(), panic: "no way".to_owned() }]);
        assert!(!other.is_ended());
    }

    #[tokio::test]
    async fn all_end_together_and_none_starts_after() {
        let (tasks, fates) = tasks();
        let held = Arc::new(());
        for _ in 0..100 {
            let held = held.clone();
            tasks.spawn("holds", async move {
                pending::<()>().await;
                drop(held);
            });
        }
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(5), tasks.end()).await.expect("they end");
        assert_eq!((Arc::strong_count(&held), tasks.count()), (1, 0));
        let late = tasks.spawn("late", pending());
        assert!(late.is_ended() && tasks.count() == 0 && fates.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_starts_tasks_keeps_no_group() {
        let (tasks, _) = tasks();
        let (spawner, held) = (tasks.spawner(), Arc::new(()));
        let inside = held.clone();
        let task = tasks.spawn("holds", async move {
            pending::<()>().await;
            drop(inside);
        });
        drop(tasks);
        while !task.is_ended() {
            tokio::task::yield_now().await;
        }
        assert!(Arc::strong_count(&held) == 1 && spawner.spawn("late", pending()).is_ended());
    }
}
