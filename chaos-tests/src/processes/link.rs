//! Pure: how each direction between two ends is, and what may be wrong with it.

use std::collections::BTreeMap;
use std::fmt;

/// Who speaks or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// All that are no nodes.
    Clients,
    /// The node at a place of the cluster.
    Node(usize),
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Connections that are made this way end, and no new one comes about.
    pub is_cut: bool,
    /// Connections that are made this way are accepted and lead nowhere; who stands at their other end has lost them.
    pub is_half_open: bool,
    /// Bytes that go this way wait, and arrive when it is over.
    pub is_still: bool,
    /// Bytes that go this way take so many milliseconds longer.
    pub delay_ms: u64,
    /// No more bytes a second than this go this way.
    pub bytes_per_second: Option<u64>,
}

/// All directions; those that are not named have nothing wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links(BTreeMap<(End, End), Way>);

impl Links {
    /// How it is from one end to another.
    #[must_use]
    pub fn way(&self, from: End, to: End) -> Way {
        self.0.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Changes one direction.
    pub fn change(&mut self, from: End, to: End, change: impl FnOnce(&mut Way)) {
        let way = self.0.entry((from, to)).or_default();
        change(way);
        if *way == Way::default() {
            self.0.remove(&(from, to));
        }
    }

    /// Nothing is wrong with any.
    pub fn heal(&mut self) {
        self.0.clear();
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients => write!(f, "clients"),
            Self::Node(place) => write!(f, "n{}", place + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_is_by_itself_and_all_heal() {
        let (one, two) = (End::Node(0), End::Node(1));
        let mut links = Links::default();
        links.change(one, two, |way| way.is_cut = true);
        links.change(two, one, |way| way.delay_ms = 7);
        assert!(links.way(one, two).is_cut && !links.way(two, one).is_cut);
        assert_eq!((links.way(one, two).delay_ms, links.way(two, one).delay_ms), (0, 7));
        assert_eq!(links.way(End::Clients, two), Way::default());
        links.change(two, one, |way| way.delay_ms = 0);
        links.change(one, two, |way| way.is_cut = false);
        assert_eq!(links, Links::default());
        links.change(one, two, |way| way.is_still = true);
        links.heal();
        assert_eq!(links, Links::default());
    }
}
