//! Pure: what was measured, medians of it, and the ratios that decide.

use super::plan::{CACHE_BYTES, Kind, MEMTABLE_BYTES, Phase};
use std::collections::BTreeMap;

/// Figures of one phase of one store, by name.
pub type Figures = BTreeMap<String, f64>;

/// What one run measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// By store and phase.
    pub figures: BTreeMap<(Kind, Phase), Figures>,
    /// Whether cold reads began with an empty page cache, rather than one that was only asked to let go.
    pub is_cold: bool,
}

impl Run {
    /// One figure, if it was measured.
    #[must_use]
    pub fn get(&self, kind: Kind, phase: Phase, name: &str) -> Option<f64> {
        self.figures.get(&(kind, phase))?.get(name).copied()
    }

    /// Keys a second that `kind` loads, over all its loads together.
    #[must_use]
    pub fn load_per_s(&self, kind: Kind) -> Option<f64> {
        let first = self.get(kind, Phase::Load, "per_s")?;
        let again = self.get(kind, Phase::LoadAgain, "per_s").unwrap_or(first);
        Some(2.0 / (1.0 / first + 1.0 / again))
    }

    /// Greatest memory of `kind` in any phase, in bytes.
    #[must_use]
    pub fn memory_bytes(&self, kind: Kind) -> Option<f64> {
        let of_kind = self.figures.iter().filter(|((of, _), _)| *of == kind);
        of_kind.filter_map(|(_, figures)| figures.get("memory_bytes").copied()).reduce(f64::max)
    }

    /// Bytes of `kind` once compacted, without a log that repeats them: ours leaves its log to the caller.
    #[must_use]
    pub fn compacted_bytes(&self, kind: Kind) -> Option<f64> {
        let all = self.get(kind, Phase::Compact, "disk_bytes")?;
        Some(all - self.get(kind, Phase::Compact, "log_bytes")?)
    }
}

/// The ratios, in the order they are printed.
pub const RATIOS: [&str; 9] = [
    "load_fjall",
    "load_sled",
    "read_warm_fjall",
    "read_cold_fjall",
    "scan_fjall",
    "disk_fjall",
    "memory_budget",
    "reopen_s_per_gib",
    "sealing_cost",
];

/// One ratio of one run: ours divided by theirs. `None` if something of it was not measured.
///
/// A load counts with its repetition. Point reads count the geometric mean of the uniform and the Zipfian ratio; scans are
/// the warm ones.
#[must_use]
pub fn ratio(run: &Run, name: &str) -> Option<f64> {
    let ours = |phase, figure: &str, other| {
        Some(run.get(Kind::Ours, phase, figure)? / run.get(other, phase, figure)?)
    };
    let load = |other| Some(run.load_per_s(Kind::Ours)? / run.load_per_s(other)?);
    match name {
        "load_fjall" => load(Kind::Fjall),
        "load_sled" => load(Kind::Sled),
        "read_warm_fjall" => {
            let uniform = ours(Phase::Warm, "uniform_per_s", Kind::Fjall)?;
            Some((uniform * ours(Phase::Warm, "zipf_per_s", Kind::Fjall)?).sqrt())
        }
        "read_cold_fjall" => {
            let uniform = ours(Phase::ColdUniform, "per_s", Kind::Fjall)?;
            Some((uniform * ours(Phase::ColdZipf, "per_s", Kind::Fjall)?).sqrt())
        }
        "scan_fjall" => ours(Phase::Warm, "scans_per_s", Kind::Fjall),
        "disk_fjall" => Some(run.compacted_bytes(Kind::Ours)? / run.compacted_bytes(Kind::Fjall)?),
        "memory_budget" => Some(run.memory_bytes(Kind::Ours)? / (MEMTABLE_BYTES + CACHE_BYTES) as f64),
        "reopen_s_per_gib" => {
            let gib = run.get(Kind::Ours, Phase::Reopen, "opened_bytes")? / f64::from(1 << 30);
            Some(run.get(Kind::Ours, Phase::Reopen, "seconds")? / gib)
        }
        "sealing_cost" => load(Kind::Null),
        _ => None,
    }
}

/// The middle one, or the mean of the two in the middle. `None` of nothing.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        n if n % 2 == 1 => Some(figures[middle]),
        _ => Some(f64::midpoint(figures[middle - 1], figures[middle])),
    }
}

/// The median over all runs of what `pick` finds in each.
#[must_use]
pub fn median_of(runs: &[Run], pick: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    median(runs.iter().filter_map(pick).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(figures: &[(Kind, Phase, &str, f64)]) -> Run {
        let mut run = Run::default();
        for (kind, phase, name, figure) in figures {
            run.figures.entry((*kind, *phase)).or_default().insert((*name).to_owned(), *figure);
        }
        run
    }

    #[test]
    fn medians() {
        let cases = [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 2.0, 9.0], Some(3.0)),
        ];
        for (figures, want) in cases {
            assert_eq!(median(figures.clone()), want, "{figures:?}");
        }
    }

    #[test]
    fn each_ratio_is_ours_by_theirs() {
        use {Kind::*, Phase::*};
        let gib = f64::from(1 << 30);
        let run = run_of(&[
            (Ours, Load, "per_s", 60.0),
            (Ours, LoadAgain, "per_s", 180.0),
            (Fjall, Load, "per_s", 60.0),
            (Sled, Load, "per_s", 10.0),
            (Null, Load, "per_s", 100.0),
            (Ours, Warm, "uniform_per_s", 8.0),
            (Fjall, Warm, "uniform_per_s", 2.0),
            (Ours, Warm, "zipf_per_s", 9.0),
            (Fjall, Warm, "zipf_per_s", 9.0),
            (Ours, Warm, "scans_per_s", 3.0),
            (Fjall, Warm, "scans_per_s", 2.0),
            (Ours, ColdUniform, "per_s", 1.0),
            (Fjall, ColdUniform, "per_s", 4.0),
            (Ours, ColdZipf, "per_s", 1.0),
            (Fjall, ColdZipf, "per_s", 1.0),
            (Ours, Compact, "disk_bytes", 110.0),
            (Ours, Compact, "log_bytes", 0.0),
            (Fjall, Compact, "disk_bytes", 164.0),
            (Fjall, Compact, "log_bytes", 64.0),
            (Ours, Load, "memory_bytes", 100.0 * f64::from(1 << 20)),
            (Ours, Warm, "memory_bytes", 384.0 * f64::from(1 << 20)),
            (Ours, Reopen, "seconds", 0.5),
            (Ours, Reopen, "opened_bytes", 2.0 * gib),
        ]);
        let want = [1.5, 9.0, 2.0, 0.5, 1.5, 1.1, 1.0, 0.25, 0.9];
        for (name, want) in RATIOS.into_iter().zip(want) {
            let got = ratio(&run, name).unwrap();
            assert!((got - want).abs() < 1e-9, "{name}: {got}, not {want}");
            assert_eq!(ratio(&Run::default(), name), None);
        }
        assert_eq!(ratio(&run, "speed"), None);
    }

    #[test]
    fn a_median_skips_runs_that_did_not_measure() {
        let runs = [
            run_of(&[(Kind::Ours, Phase::Load, "per_s", 1.0)]),
            Run::default(),
            run_of(&[(Kind::Ours, Phase::Load, "per_s", 3.0)]),
        ];
        assert_eq!(median_of(&runs, |run| run.get(Kind::Ours, Phase::Load, "per_s")), Some(2.0));
    }
}
