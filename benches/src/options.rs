//! Pure: the options of the comparison, parsed once.

use crate::Outcome;
use crate::engine::plan::{Kind, Phase};
use std::collections::BTreeSet;

/// What to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Few keys, and fewer still for the slow stores.
    pub is_quick: bool,
    /// Keys of the load.
    pub keys: u64,
    /// Runs, of which medians are taken.
    pub runs: usize,
    /// Which stores.
    pub stores: BTreeSet<Kind>,
    /// Which phases.
    pub phases: BTreeSet<Phase>,
}

impl Options {
    /// Reads options.
    ///
    /// # Errors
    /// One that is unknown, or lacks its value.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let (mut is_quick, mut keys, mut runs, mut only) = (false, None, 1, String::new());
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => is_quick = true,
                "--keys" => keys = Some(value()?.replace('_', "").parse()?),
                "--runs" => runs = value()?.parse()?,
                "--only" => only = value()?.clone(),
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        let keys = keys.unwrap_or(if is_quick { 300_000 } else { 3_000_000 });
        if !(1_000..=1_000_000_000).contains(&keys) || !(1..=100).contains(&runs) {
            return Err("from a thousand to a billion keys, and 1 to 100 runs".into());
        }
        let (stores, phases) = chosen(&only)?;
        Ok(Self { is_quick, keys, runs, stores, phases })
    }
}

/// The stores and phases that `only` names; all stores if it names none, all phases likewise.
fn chosen(only: &str) -> Outcome<(BTreeSet<Kind>, BTreeSet<Phase>)> {
    let (mut stores, mut phases) = (BTreeSet::new(), BTreeSet::new());
    for name in only.split(',').filter(|name| !name.is_empty()) {
        match (Kind::parse(name), Phase::parse(name)) {
            (Some(store), _) => _ = stores.insert(store),
            (None, Some(phase)) => _ = phases.insert(phase),
            (None, None) => return Err(format!("{name} is neither a store nor a phase").into()),
        }
    }
    if stores.is_empty() {
        stores.extend(Kind::ALL);
    }
    if phases.is_empty() {
        phases.extend(Phase::ALL);
    }
    // Nothing can be measured in an empty store, nor opened again that was not cut off.
    phases.insert(Phase::Load);
    if phases.contains(&Phase::Reopen) || phases.contains(&Phase::Crash) {
        phases.extend([Phase::Crash, Phase::Reopen]);
    }
    Ok((stores, phases))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Options> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn defaults_and_values() {
        let all = parse("").unwrap();
        assert_eq!((all.is_quick, all.keys, all.runs), (false, 3_000_000, 1));
        assert_eq!((all.stores.len(), all.phases.len()), (Kind::ALL.len(), Phase::ALL.len()));
        assert_eq!(parse("--quick").unwrap().keys, 300_000);
        let some = parse("--quick --keys 20_000 --runs 3").unwrap();
        assert_eq!((some.is_quick, some.keys, some.runs), (true, 20_000, 3));
    }

    #[test]
    fn only_names_stores_and_phases() {
        let some = parse("--only ours,fjall,warm").unwrap();
        assert_eq!(some.stores, BTreeSet::from([Kind::Ours, Kind::Fjall]));
        assert_eq!(some.phases, BTreeSet::from([Phase::Load, Phase::Warm]));
        let reopen = parse("--only reopen").unwrap();
        assert_eq!(reopen.phases, BTreeSet::from([Phase::Load, Phase::Crash, Phase::Reopen]));
        assert_eq!(reopen.stores.len(), Kind::ALL.len());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["--keys", "--keys x", "--keys 3", "--runs 0", "--fast", "--only ours,rocks"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
