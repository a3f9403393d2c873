//! Pure: what is measured, and how long.

use crate::Outcome;
use std::path::PathBuf;

/// Records that are loaded before anything is measured.
pub const LOADED: u64 = 500_000;

/// What each client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Writes some record.
    Put,
    /// Reads some record, linearizably.
    Get,
    /// Both in turns.
    Mix,
    /// Writes its own record if that is as it left it.
    Cas,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, in options and figures.
    pub name: &'static str,
    /// What is done.
    pub act: Act,
    /// By how many clients, each of which waits for its answer.
    pub clients: u64,
    /// Bytes of a value that is written.
    pub value_bytes: usize,
}

const fn step(name: &'static str, act: Act, clients: u64, value_bytes: usize) -> Step {
    Step { name, act, clients, value_bytes }
}

/// All, in the order in which they are done. Large values come last: they leave the most behind.
pub const STEPS: [Step; 12] = [
    step("put1", Act::Put, 1, 256),
    step("put16", Act::Put, 16, 256),
    step("put64", Act::Put, 64, 256),
    step("put256", Act::Put, 256, 256),
    step("get1", Act::Get, 1, 256),
    step("get16", Act::Get, 16, 256),
    step("get64", Act::Get, 64, 256),
    step("get256", Act::Get, 256, 256),
    step("mix64", Act::Mix, 64, 256),
    step("cas64", Act::Cas, 64, 256),
    step("put64_1k", Act::Put, 64, 1 << 10),
    step("put64_16k", Act::Put, 64, 16 << 10),
];

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Short windows, once each.
    pub is_quick: bool,
    /// Beside etcd.
    pub has_peer: bool,
    /// Where the clusters keep everything while they are measured.
    pub dir: PathBuf,
    /// Which steps; all if it names none.
    only: Vec<String>,
}

/// The name of what is measured last.
const FAILOVER: &str = "failover";

impl Options {
    /// Reads options.
    ///
    /// # Errors
    /// One that is unknown, or lacks its value.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options =
            Self { is_quick: false, has_peer: false, dir: std::env::temp_dir(), only: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.is_quick = true,
                "--dir" => options.dir = value()?.into(),
                "--peer" => match value()?.as_str() {
                    "etcd" => options.has_peer = true,
                    other => return Err(format!("{other} is no peer: there is etcd").into()),
                },
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        let is_known = |name: &&String| *name == FAILOVER || STEPS.iter().any(|step| step.name == **name);
        match options.only.iter().find(|name| !is_known(name)) {
            Some(name) => Err(format!("{name} is no step").into()),
            None => Ok(options),
        }
    }

    /// Whether a step is done.
    #[must_use]
    pub fn does(&self, step: &Step) -> bool {
        self.names(step.name)
    }

    /// Whether leaders are killed at the end.
    #[must_use]
    pub fn has_failover(&self) -> bool {
        self.names(FAILOVER)
    }

    fn names(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == name)
    }

    /// Milliseconds of one window.
    #[must_use]
    pub fn window_ms(&self) -> u64 {
        if self.is_quick { 700 } else { 4_000 }
    }

    /// Windows of each step.
    #[must_use]
    pub fn rounds(&self) -> usize {
        if self.is_quick { 1 } else { 3 }
    }

    /// Milliseconds between the load and what is measured then.
    #[must_use]
    pub fn rest_ms(&self) -> u64 {
        if self.is_quick { 2_000 } else { 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Options> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_name_peer_and_steps() {
        let all = parse("--peer etcd").unwrap();
        assert!(all.has_peer && !all.is_quick && all.has_failover());
        assert!(STEPS.iter().all(|step| all.does(step)));
        let some = parse("--quick --only put64,failover --dir /x").unwrap();
        assert!(some.is_quick && !some.has_peer && some.has_failover());
        assert_eq!(STEPS.iter().filter(|step| some.does(step)).count(), 1);
        assert_eq!(some.dir, PathBuf::from("/x"));
        assert!(!parse("--only get64").unwrap().has_failover());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["--peer", "--peer rocks", "--only put65", "--only", "--fast", "--dir"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quick_run_is_quick() {
        let quick = parse("--quick --peer etcd").unwrap();
        // Windows, and the fifth before each that gets it going, of both clusters.
        let ms = STEPS.len() as u64 * 2 * quick.rounds() as u64 * quick.window_ms() * 6 / 5;
        assert!(ms + quick.rest_ms() < 40_000, "{ms}");
    }
}
