//! What waits to be written on a link, in its order. Whoever puts something in never waits; one task takes it out, as much at once as
//! there is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A queue. The weight of what it holds is bounded, but for the last that was put in.
pub(super) struct Queue<T> {
    held: Mutex<Held<T>>,
    bytes_max: usize,
    bell: Notify,
}

struct Held<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    door: Door,
}

/// Whether something may be put in.
enum Door {
    Open,
    /// Not now: why.
    Shut(String),
    /// Never again.
    Ended,
}

impl<T> Queue<T> {
    /// An empty one, in which something may be put while it holds less than `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        let held = Held { items: VecDeque::new(), bytes: 0, door: Door::Open };
        Self { held: Mutex::new(held), bytes_max, bell: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something of a weight in.
    ///
    /// # Errors
    /// Why it may not be.
    pub(super) fn push(&self, bytes: usize, item: T) -> Result<(), String> {
        let mut held = self.held();
        match &held.door {
            Door::Open => {}
            Door::Shut(cause) => return Err(cause.clone()),
            Door::Ended => return Err("the link has ended".to_owned()),
        }
        if held.bytes >= self.bytes_max {
            return Err("too much waits to be sent".to_owned());
        }
        held.bytes += bytes;
        held.items.push_back((bytes, item));
        drop(held);
        self.bell.notify_one();
        Ok(())
    }

    /// Waits until something is in it.
    pub(super) async fn ready(&self) {
        while self.held().items.is_empty() {
            self.bell.notified().await;
        }
    }

    /// Waits until something is in it, and takes out what is, up to a weight and a number; at least one. Giving up takes out nothing.
    pub(super) async fn take(&self, into: &mut Vec<T>, (bytes_max, items_max): (usize, usize)) {
        self.ready().await;
        let mut held = self.held();
        let mut taken = 0;
        while taken < bytes_max && into.len() < items_max {
            let Some((bytes, item)) = held.items.pop_front() else { return };
            held.bytes -= bytes;
            taken += bytes;
            into.push(item);
        }
    }

    /// Nothing may be put in until it is opened. What is in it is handed back.
    pub(super) fn shut(&self, cause: String) -> Vec<T> {
        self.close(Door::Shut(cause))
    }

    /// Nothing may be put in any more. What is in it is dropped.
    pub(super) fn end(&self) {
        drop(self.close(Door::Ended));
    }

    fn close(&self, door: Door) -> Vec<T> {
        let mut held = self.held();
        if !matches!(held.door, Door::Ended) {
            held.door = door;
        }
        held.bytes = 0;
        held.items.drain(..).map(|(_, item)| item).collect()
    }

    /// Something may be put in again, unless it has ended.
    pub(super) fn open(&self) {
        let mut held = self.held();
        if matches!(held.door, Door::Shut(_)) {
            held.door = Door::Open;
        }
    }

    /// Whether it has ended.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.held().door, Door::Ended)
    }

    /// Bytes that wait.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.held().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_in_comes_out_in_its_order_and_no_more_than_wanted() {
        let queue = Queue::new(100);
        (0..5).for_each(|n| queue.push(30, n).unwrap_or_else(|_| assert_eq!(n, 4)));
        assert_eq!(queue.bytes(), 120);
        let mut out = vec![];
        queue.take(&mut out, (31, 10)).await;
        assert_eq!(out, [0, 1]);
        out.clear();
        queue.take(&mut out, (1_000, 1)).await;
        assert_eq!((out.as_slice(), queue.bytes()), (&[2][..], 30));
    }

    #[tokio::test]
    async fn a_door_that_is_shut_says_why_until_it_ends() {
        let queue = Queue::new(100);
        queue.push(1, ()).unwrap();
        assert_eq!(queue.shut("away".to_owned()), [()]);
        assert_eq!((queue.push(1, ()), queue.bytes()), (Err("away".to_owned()), 0));
        queue.open();
        queue.push(1, ()).unwrap();
        queue.end();
        queue.open();
        queue.shut("away".to_owned());
        assert_eq!(queue.push(1, ()), Err("the link has ended".to_owned()));
        assert!(queue.is_ended());
    }
}
