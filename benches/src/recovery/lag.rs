//! How long it takes from a commit until it is archived, read from the site itself: a commit is archived when the first marker lies there that
//! closes the time of every group up to it.

use crate::Outcome;
use node::archive::chain::Archive;
use node::archive::naming::{Name, root};
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Milliseconds between two instants that are looked at.
const STEP_MS: u64 = 10;

/// What every marker closed, and when it lay there: milliseconds since 1970 of both, ascending.
pub struct Closed(Vec<(u64, u64)>);

impl Closed {
    /// Of an archive in a folder.
    ///
    /// # Errors
    /// A marker that the archive has is no file.
    pub fn read(folder: &Path, archive: &Archive) -> Outcome<Self> {
        let folder = folder.join(root(archive.cluster()));
        let (mut ends, mut all) = (BTreeMap::new(), Vec::new());
        for ((generation, end), marked) in archive.markers() {
            for row in &marked.marker.groups {
                ends.insert(row.group(), row.span().1);
            }
            ends.retain(|group: &GroupId, _| marked.marker.alive.contains(&group.0));
            let file = folder.join(Name::Marker(*end, *generation).to_string());
            let written = std::fs::metadata(file)?.modified()?.duration_since(UNIX_EPOCH)?;
            let frontier = ends.values().min().map_or(0, |stamp| stamp.ms());
            all.push((frontier, u64::try_from(written.as_millis())?));
        }
        Ok(Self(all))
    }

    /// How far everything is archived, in milliseconds since 1970.
    #[must_use]
    pub fn frontier_ms(&self) -> u64 {
        self.0.last().map_or(0, |(frontier, _)| *frontier)
    }

    /// Of a commit at this millisecond, how long that took.
    fn lag_ms(&self, at_ms: u64) -> Option<u64> {
        let first = self.0.iter().find(|(frontier, _)| *frontier > at_ms)?;
        Some(first.1.saturating_sub(at_ms))
    }

    /// Median and p99 of commits all over a time, in milliseconds.
    #[must_use]
    pub fn lags(&self, from_ms: u64, upto_ms: u64) -> Option<(f64, f64)> {
        let step = usize::try_from(STEP_MS).unwrap_or(1);
        let mut all: Vec<u64> =
            (from_ms..upto_ms).step_by(step).map(|at| self.lag_ms(at)).collect::<Option<_>>()?;
        all.sort_unstable();
        let of = |permille: usize| all.get((all.len().checked_sub(1)?) * permille / 1_000).copied();
        Some((of(500)? as f64, of(990)? as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_marker_that_closes_its_time() {
        let closed = Closed(vec![(1_000, 2_100), (1_000, 2_900), (3_000, 4_000)]);
        assert_eq!(closed.frontier_ms(), 3_000);
        assert_eq!(closed.lag_ms(500), Some(1_600));
        assert_eq!(closed.lag_ms(1_000), Some(3_000), "the end itself comes with the next");
        assert_eq!(closed.lag_ms(3_000), None);
        let (p50, p99) = closed.lags(1_000, 3_000).unwrap();
        assert!((1_990.0..=2_010.0).contains(&p50) && (2_980.0..=3_000.0).contains(&p99), "{p50} {p99}");
        assert_eq!(closed.lags(1_000, 4_000), None, "not all of it is archived");
    }
}
