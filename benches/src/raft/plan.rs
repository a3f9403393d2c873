//! Pure: what is measured, how long, and how a child is told.

use crate::Outcome;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Writers that wait at once.
pub const WRITERS: [u64; 4] = [1, 16, 64, 256];
/// Groups that are written to.
pub const GROUPS: [u64; 3] = [1, 4, 64];
/// Groups that there are while it is measured how fast writes are.
pub const GROUPS_ALL: u64 = 64;
/// Groups that rest: the first only tells what is there without any.
pub const IDLE: [u64; 4] = [1, 100, 300, 1_000];
/// Commands of an entry, if nobody has measured how many there are with 256 writers.
pub const COMMANDS: u64 = 64;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Writes, with syncs that reach the disk.
    Disk,
    /// Writes, with syncs that cost nothing.
    Memory,
    /// What our code costs, step by step.
    Cost,
    /// A node that was away.
    CatchUp,
    /// A log that is read at a start.
    Recover,
    /// Groups that rest.
    Idle,
}

impl Part {
    /// All, in the order in which they are done.
    pub const ALL: [Self; 6] =
        [Self::Disk, Self::Memory, Self::Cost, Self::CatchUp, Self::Recover, Self::Idle];

    /// Its name, in options and figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Cost => "cost",
            Self::CatchUp => "catch-up",
            Self::Recover => "recover",
            Self::Idle => "idle",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Short times, and little to catch up with.
    pub is_quick: bool,
    /// Which parts.
    pub parts: BTreeSet<Part>,
}

impl Options {
    /// Reads options. Without `--only` all parts are done, but quickly no idle one.
    ///
    /// # Errors
    /// One that is unknown, or lacks its value.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let (mut is_quick, mut parts) = (false, BTreeSet::new());
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--quick" => is_quick = true,
                "--idle" => _ = parts.insert(Part::Idle),
                "--only" => {
                    for name in rest.next().ok_or("--only needs a value")?.split(',') {
                        parts.insert(Part::parse(name).ok_or_else(|| format!("{name} is no part"))?);
                    }
                }
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        if parts.is_empty() {
            parts.extend(Part::ALL);
            if is_quick {
                parts.remove(&Part::Idle);
            }
        }
        Ok(Self { is_quick, parts })
    }

    /// Groups of the idle clusters.
    #[must_use]
    pub fn idle(&self) -> &'static [u64] {
        if self.is_quick { &IDLE[..2] } else { &IDLE }
    }
}

/// What one child does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its part.
    pub part: Part,
    /// The folder that is its alone.
    pub dir: PathBuf,
    /// Whether it should be short.
    pub is_quick: bool,
    /// Of the cost: commands of an entry. Of what is idle: groups.
    pub count: u64,
}

impl Job {
    /// As arguments of a child.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        vec![self.part.name().to_owned(), dir, self.is_quick.to_string(), self.count.to_string()]
    }

    /// From arguments of a child.
    ///
    /// # Errors
    /// They are not those.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let [part, dir, is_quick, count] = arguments else {
            return Err("a child needs four arguments".into());
        };
        let part = Part::parse(part).ok_or("a child needs its part")?;
        Ok(Self { part, dir: PathBuf::from(dir), is_quick: is_quick.parse()?, count: count.parse()? })
    }

    /// Milliseconds of one measurement of writes.
    #[must_use]
    pub fn window_ms(&self) -> u64 {
        match (self.part, self.is_quick) {
            (Part::Disk, true) => 600,
            (Part::Disk, false) => 4_000,
            (_, true) => 400,
            (_, false) => 2_000,
        }
    }

    /// Times that one group and many are compared.
    #[must_use]
    pub fn rounds(&self) -> usize {
        if self.is_quick { 3 } else { 9 }
    }

    /// Bytes of commands that a node misses while it is away, and of entries in a log that is read at a start.
    #[must_use]
    pub fn missed_bytes(&self) -> u64 {
        if self.is_quick { 64 << 20 } else { 1 << 30 }
    }

    /// Milliseconds for which groups that rest are watched.
    #[must_use]
    pub fn idle_ms(&self) -> u64 {
        if self.is_quick { 4_000 } else { 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Options> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_name_parts() {
        assert_eq!(parse("").unwrap().parts.len(), Part::ALL.len());
        let quick = parse("--quick").unwrap();
        assert!(quick.is_quick && !quick.parts.contains(&Part::Idle) && quick.parts.len() == 5);
        assert_eq!(parse("--idle").unwrap().parts, BTreeSet::from([Part::Idle]));
        let some = parse("--quick --only cost,catch-up").unwrap();
        assert_eq!(some.parts, BTreeSet::from([Part::Cost, Part::CatchUp]));
        for text in ["--only", "--only all", "--fast"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_job_comes_back_from_its_arguments() {
        for part in Part::ALL {
            let job = Job { part, dir: "x".into(), is_quick: true, count: 7 };
            assert_eq!(Job::parse(&job.arguments()).unwrap(), job);
        }
        assert!(Job::parse(&[]).is_err());
    }
}
