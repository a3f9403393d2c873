//! What may wait for a disk, or takes long, is done by a thread that keeps nobody waiting. In a simulation it is done where it stands.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// What was done aside has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was done aside has panicked")]
pub struct Panicked;

/// What is done aside. It is done to its end, whether somebody waits for it or not.
pub struct Aside<T>(Does<T>);

enum Does<T> {
    Thread(JoinHandle<T>),
    #[cfg(feature = "simulated")]
    Here(Option<Result<T, Panicked>>),
}

/// Begins to do it.
pub fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Aside<T> {
    #[cfg(feature = "simulated")]
    if crate::simulated::world().is_some() {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        return Aside(Does::Here(Some(done.map_err(|_| Panicked))));
    }
    Aside(Does::Thread(tokio::task::spawn_blocking(work)))
}

// What was done is handed out by value.
impl<T> Unpin for Aside<T> {}

impl<T> Future for Aside<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Does::Thread(thread) => Pin::new(thread).poll(context).map(|done| done.map_err(|_| Panicked)),
            #[cfg(feature = "simulated")]
            Does::Here(done) => done.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_done_to_its_end_and_a_panic_is_told() {
        assert_eq!(aside(|| 7).await, Ok(7));
        assert_eq!(aside(|| -> u8 { panic!("no way") }).await, Err(Panicked));
        let (told, heard) = tokio::sync::oneshot::channel();
        drop(aside(move || told.send(())));
        heard.await.expect("it is done, though nobody waits for it");
    }
}
