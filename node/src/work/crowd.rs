//! Those who were let in and have not said who they are. There are at most so many of them, and so many of one source: one more makes the
//! oldest go, so that whoever says nothing keeps nobody out. Those who have said it are counted by source too ([`Places`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of all sources.
    pub all: usize,
    /// Of one.
    pub of_source: usize,
}

/// Where somebody comes from, as far as one machine can choose it: an address of IPv4, or a network of 64 bits of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(u128);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // As it is mapped into IPv6: no network of that is the same.
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

/// Those who have not said who they are.
#[derive(Debug)]
pub struct Crowd {
    bounds: Bounds,
    inside: Mutex<Inside>,
    sent_away: AtomicU64,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// Oldest first; each is told to go by its sender's end.
    waiting: BTreeMap<u64, (Source, oneshot::Sender<()>)>,
}

/// A place in a crowd. Whoever drops it has left.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    goes: oneshot::Receiver<()>,
}

impl Crowd {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, inside: Mutex::default(), sent_away: AtomicU64::new(0) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one in. If there are too many of its source, the oldest of those must go; else the oldest of all, if there are too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, source: Source) -> Place {
        let (goer, goes) = oneshot::channel();
        let mut inside = self.inside();
        let of_source = inside.waiting.iter().filter(|(_, (of, _))| *of == source);
        let oldest = match of_source.clone().count() >= self.bounds.of_source {
            true => of_source.map(|(number, _)| *number).next(),
            false if inside.waiting.len() >= self.bounds.all => inside.waiting.keys().next().copied(),
            false => None,
        };
        if oldest.is_some_and(|oldest| inside.waiting.remove(&oldest).is_some()) {
            self.sent_away.fetch_add(1, Ordering::Relaxed);
        }
        let number = inside.next;
        inside.next += 1;
        inside.waiting.insert(number, (source, goer));
        Place { crowd: self.clone(), number, goes }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inside().waiting.len()
    }

    /// How many had to go so that others could come.
    #[must_use]
    pub fn sent_away(&self) -> u64 {
        self.sent_away.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Ready when whoever has it must go.
    pub fn poll_goes(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.goes).poll(context).map(drop)
    }

    /// Waits until whoever has it must go.
    pub async fn goes(&mut self) {
        std::future::poll_fn(|context| self.poll_goes(context)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.inside().waiting.remove(&self.number);
    }
}

/// Places of those who have said who they are. Nobody who has one is made to go.
#[derive(Debug)]
pub struct Places {
    bounds: Mutex<Bounds>,
    taken: Mutex<BTreeMap<Source, usize>>,
    refused: AtomicU64,
}

/// A place that is taken.
#[derive(Debug)]
pub struct Taken(Arc<Places>, Source);

impl Places {
    /// All free.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds: Mutex::new(bounds), taken: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// From now on there may be so many. Nobody who is inside is made to go.
    pub fn set_bounds(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<Source, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one for whoever comes from `source`.
    #[must_use]
    pub fn take(self: &Arc<Self>, source: Source) -> Option<Taken> {
        let bounds = *self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.taken();
        let own = taken.get(&source).copied().unwrap_or_default();
        if own >= bounds.of_source || taken.values().sum::<usize>() >= bounds.all {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        taken.insert(source, own + 1);
        Some(Taken(self.clone(), source))
    }

    /// How many are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.taken().values().sum()
    }

    /// How many were sent away because there was none.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.0.taken();
        if let Some(own) = taken.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn must_go(place: &mut Place) -> bool {
        place.goes().now_or_never().is_some()
    }

    #[test]
    fn a_source_is_what_one_machine_can_choose() {
        for (one, other, is_same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "0.0.0.1", false),
        ] {
            assert_eq!(source(one) == source(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn one_more_makes_the_oldest_go_of_its_own_source_first() {
        let crowd = Arc::new(Crowd::new(Bounds { all: 4, of_source: 2 }));
        let (one, two) = (source("10.0.0.1"), source("10.0.0.2"));
        let [mut a, mut b, mut c] = [two, one, one].map(|from| crowd.enter(from));
        assert!(![&mut a, &mut b, &mut c].into_iter().any(must_go));
        let mut d = crowd.enter(one);
        assert!(must_go(&mut b) && !must_go(&mut a), "the oldest of the source that is full");
        drop(b);
        assert_eq!((crowd.count(), crowd.sent_away()), (3, 1));
        let mut e = crowd.enter(source("10.0.0.3"));
        assert_eq!(crowd.count(), 4);
        let _f = crowd.enter(source("10.0.0.4"));
        assert!(must_go(&mut a), "the oldest of all");
        assert!(![&mut c, &mut d, &mut e].into_iter().any(must_go));
        assert_eq!((crowd.count(), crowd.sent_away()), (4, 2));
        drop(c);
        let _g = crowd.enter(two);
        assert_eq!((crowd.count(), crowd.sent_away()), (4, 2), "whoever leaves makes room");
    }

    #[test]
    fn whoever_has_a_place_keeps_it_and_one_source_does_not_take_all() {
        let places = Arc::new(Places::new(Bounds { all: 3, of_source: 2 }));
        let (one, two) = (source("10.0.0.1"), source("10.0.0.2"));
        let [a, b, c] = [one, one, one].map(|from| places.take(from));
        assert!(a.is_some() && b.is_some() && c.is_none());
        let d = places.take(two);
        assert!(d.is_some() && places.take(two).is_none(), "all are taken");
        assert_eq!((places.count(), places.refused()), (3, 2));
        drop(a);
        assert!(places.take(two).is_some());
        drop((b, d));
        assert_eq!((places.count(), places.taken().len()), (0, 0));
    }
}
