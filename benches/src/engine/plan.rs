//! Pure: which stores and phases there are, and how much of each is measured.

use crate::Outcome;
use std::path::PathBuf;

/// Rows of a batch.
pub const BATCH_ROWS: usize = 256;
/// Entries of a scan.
pub const SCAN_ENTRIES: usize = 100;
/// Bytes of cache that every store gets.
pub const CACHE_BYTES: usize = 256 << 20;
/// Bytes of memtables that ours gets. Peers keep their own defaults.
pub const MEMTABLE_BYTES: usize = 128 << 20;

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Our engine.
    Ours,
    /// fjall.
    Fjall,
    /// Our engine with nothing sealed.
    Null,
    /// redb.
    Redb,
    /// sled.
    Sled,
}

impl Kind {
    /// All, in the order they take turns: what is compared most closely stands side by side.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Fjall, Self::Null, Self::Redb, Self::Sled];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Fjall => "fjall",
            Self::Null => "null",
            Self::Redb => "redb",
            Self::Sled => "sled",
        }
    }

    /// The store of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it does this phase. The one without sealing is here for the price of sealing a load; the slow ones load once.
    #[must_use]
    pub fn does(self, phase: Phase) -> bool {
        match self {
            Self::Null => matches!(phase, Phase::Load | Phase::LoadAgain),
            Self::Redb | Self::Sled => phase != Phase::LoadAgain,
            Self::Ours | Self::Fjall => true,
        }
    }
}

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Write all keys, make them durable, come to rest.
    Load,
    /// The same load once more, into a folder of its own and with the stores in the opposite order: what else the machine does,
    /// and what an earlier load left to the disk, then meets first and last alike.
    LoadAgain,
    /// Point reads and scans, what fits in the caches being there.
    Warm,
    /// Point reads, every key alike, from a cold start.
    ColdUniform,
    /// Point reads, few keys much of the time, from a cold start.
    ColdZipf,
    /// Scans from a cold start.
    ColdScan,
    /// Write all keys again, or half of them if they are few.
    Overwrite,
    /// Compact all there is.
    Compact,
    /// Write until ended from outside.
    Crash,
    /// Open what that left.
    Reopen,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::Load,
        Self::LoadAgain,
        Self::Warm,
        Self::ColdUniform,
        Self::ColdZipf,
        Self::ColdScan,
        Self::Overwrite,
        Self::Compact,
        Self::Crash,
        Self::Reopen,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::LoadAgain => "load-again",
            Self::Warm => "warm",
            Self::ColdUniform => "cold-uniform",
            Self::ColdZipf => "cold-zipf",
            Self::ColdScan => "cold-scan",
            Self::Overwrite => "overwrite",
            Self::Compact => "compact",
            Self::Crash => "crash",
            Self::Reopen => "reopen",
        }
    }

    /// The phase of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Whether it begins with nothing in the page cache.
    #[must_use]
    pub fn is_cold(self) -> bool {
        matches!(self, Self::ColdUniform | Self::ColdZipf | Self::ColdScan)
    }
}

/// How many keys `kind` gets, of `keys`. In a quick run the slow ones get fewer, which is if anything to their favour: both
/// become slower as they grow.
#[must_use]
pub fn keys_of(kind: Kind, keys: u64, is_quick: bool) -> u64 {
    match kind {
        Kind::Redb | Kind::Sled if is_quick => keys / 5,
        _ => keys,
    }
}

/// Rows, point reads or scans of a phase over `keys` keys. Cold reads are few: with each, the store is less cold.
#[must_use]
pub fn operations_of(phase: Phase, keys: u64) -> u64 {
    match phase {
        Phase::Warm => (keys / 15).clamp(60_000, 300_000),
        Phase::ColdUniform | Phase::ColdZipf => (keys / 150).max(1_000),
        Phase::ColdScan => (keys / 3_000).max(200),
        Phase::Crash | Phase::Reopen => keys / 20,
        // Half tells the rate as well, and a short run has no time for more.
        Phase::Overwrite if keys < 1_000_000 => keys / 2,
        Phase::Load | Phase::LoadAgain | Phase::Overwrite | Phase::Compact => keys,
    }
}

/// One phase of one store, as a child is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The store.
    pub kind: Kind,
    /// The phase.
    pub phase: Phase,
    /// The folder of the store.
    pub dir: PathBuf,
    /// Keys in the store.
    pub keys: u64,
}

impl Job {
    /// The job as arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        vec![self.kind.name().to_owned(), self.phase.name().to_owned(), dir, self.keys.to_string()]
    }

    /// The job of these arguments.
    ///
    /// # Errors
    /// They are none.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let [kind, phase, dir, keys] = arguments else {
            return Err("a child needs its four arguments".into());
        };
        let kind = Kind::parse(kind).ok_or("an unknown store")?;
        let phase = Phase::parse(phase).ok_or("an unknown phase")?;
        Ok(Self { kind, phase, dir: dir.into(), keys: keys.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_name_one_thing_each() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            assert_eq!(Phase::parse(kind.name()), None);
        }
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.name()), Some(phase));
        }
        assert_eq!((Kind::parse(""), Phase::parse("cold")), (None, None));
    }

    #[test]
    fn a_job_is_its_arguments() {
        let job = Job { kind: Kind::Sled, phase: Phase::ColdScan, dir: "a b".into(), keys: 12 };
        assert_eq!(Job::parse(&job.arguments()).unwrap(), job);
        assert!(Job::parse(&job.arguments()[1..]).is_err());
    }

    #[test]
    fn a_quick_run_spares_the_slow() {
        assert_eq!(keys_of(Kind::Fjall, 300_000, true), 300_000);
        assert_eq!(keys_of(Kind::Sled, 300_000, true), 60_000);
        assert_eq!(keys_of(Kind::Sled, 3_000_000, false), 3_000_000);
        assert!(!Kind::Null.does(Phase::Warm) && Kind::Null.does(Phase::Load));
        assert!(!Kind::Sled.does(Phase::LoadAgain) && Kind::Ours.does(Phase::Reopen));
    }
}
