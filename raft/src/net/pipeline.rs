//! Questions under way at once to one peer, answered in order.

use crate::limits::APPENDS_IN_FLIGHT;
use futures_util::stream::{self, Stream, StreamExt};

/// The answers in order. The first is awaited before the second question is asked for; from then on several are under way.
pub(super) fn first_alone<T, F: Future>(
    input: impl Stream<Item = T> + Unpin,
    ask: impl Fn(T) -> F + Copy,
) -> impl Stream<Item = F::Output> {
    // Fused: it may end before the first, and is asked again all the same.
    stream::once(input.fuse().into_future()).flat_map(move |(first, rest)| {
        let first = stream::iter(first).then(ask);
        first.chain(rest.map(ask).buffered(APPENDS_IN_FLIGHT))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn the_second_append_is_made_when_the_first_is_answered() {
        let made = Cell::new(0);
        let make = |n: usize| {
            made.set(n + 1);
            std::future::ready((n < 20).then_some((n, n + 1)))
        };
        let ask = |n: usize| async move {
            tokio::task::yield_now().await;
            n
        };
        let mut answers = Box::pin(first_alone(stream::unfold(0, make), ask));
        assert_eq!((answers.next().await, made.get()), (Some(0), 1));
        assert_eq!((answers.next().await, made.get()), (Some(1), 1 + APPENDS_IN_FLIGHT));
        assert_eq!(answers.collect::<Vec<_>>().await, (2..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stream_that_ends_before_its_first_append_is_not_asked_again() {
        let none = stream::unfold((), |()| std::future::ready(None::<((), ())>));
        assert_eq!(first_alone(none, std::future::ready).count().await, 0);
    }
}
