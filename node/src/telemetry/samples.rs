//! Pure: figures as they are served: the text that Prometheus reads.

use engine::stats::{Figure, FigureKind};
use raft::stats::{LATENCY_US, Stats};
use std::fmt::Write;

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from 0 at a start.
    Counter,
    /// It rises and falls.
    Gauge,
    /// It is one of the series of a histogram, under this end of the name.
    Histogram(&'static str),
}

impl Kind {
    /// As Prometheus and `docs/metrics.md` say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One value of a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The figure: `dewpond_<room>_<noun>_<unit>`.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What tells it from other values of the figure, from closed sets.
    pub labels: Vec<(&'static str, String)>,
    /// What it is.
    pub value: i128,
}

impl Sample {
    /// One without labels.
    #[must_use]
    pub fn new(name: &'static str, kind: Kind, value: impl Into<i128>) -> Self {
        Self { name, kind, labels: Vec::new(), value: value.into() }
    }

    /// With these labels.
    #[must_use]
    pub fn with(mut self, labels: Vec<(&'static str, String)>) -> Self {
        self.labels = labels;
        self
    }

    /// Its name among the series.
    #[must_use]
    pub fn series(&self) -> String {
        match self.kind {
            Kind::Histogram(end) => format!("{}{end}", self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// The series of a histogram: how many were no more than each of `most`, in all, and their sum. `steps` are those no more than each and
/// more than the one before.
#[must_use]
pub fn histogram(
    name: &'static str,
    labels: &[(&'static str, String)],
    steps: impl IntoIterator<Item = (u64, u64)>,
    (all, sum): (u64, u64),
) -> Vec<Sample> {
    let bucket = |le: String, count: u64| {
        let labels = labels.iter().cloned().chain([("le", le)]).collect();
        Sample::new(name, Kind::Histogram("_bucket"), count).with(labels)
    };
    let (mut out, mut below) = (Vec::new(), 0);
    for (most, count) in steps {
        below += count;
        out.push(bucket(most.to_string(), below));
    }
    // They are read one after the other.
    let all = all.max(below);
    out.push(bucket("+Inf".to_owned(), all));
    out.push(Sample::new(name, Kind::Histogram("_sum"), sum).with(labels.to_vec()));
    out.push(Sample::new(name, Kind::Histogram("_count"), all).with(labels.to_vec()));
    out
}

/// The series of each histogram of replication.
pub fn times(stats: &Stats) -> impl Iterator<Item = Sample> + use<> {
    stats.histograms().into_iter().flat_map(|one| {
        let (all, sum) = (one.count(), one.sum_us);
        histogram(one.name, &[], LATENCY_US.into_iter().zip(one.steps), (all, sum))
    })
}

impl From<Figure> for Sample {
    fn from(figure: Figure) -> Self {
        let kind = match figure.kind {
            FigureKind::Counter => Kind::Counter,
            FigureKind::Gauge => Kind::Gauge,
        };
        Self::new(figure.name, kind, figure.value)
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All samples as text, those of one figure together.
#[must_use]
pub fn exposition(mut samples: Vec<Sample>) -> String {
    samples.sort_by_key(|sample| sample.name);
    let (mut out, mut last) = (String::new(), "");
    for sample in &samples {
        if sample.name != last {
            last = sample.name;
            let _ = writeln!(out, "# TYPE {last} {}", sample.kind.word());
        }
        let labels: Vec<String> =
            sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(out, "{}{labels} {}", sample.series(), sample.value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_says_how_many_were_no_more_than_each_step() {
        let label = vec![("door", "client".to_owned())];
        let text = exposition(histogram("dewpond_c_us", &label, [(50, 2), (100, 0), (250, 3)], (6, 900)));
        let wanted = "# TYPE dewpond_c_us histogram\n\
            dewpond_c_us_bucket{door=\"client\",le=\"50\"} 2\n\
            dewpond_c_us_bucket{door=\"client\",le=\"100\"} 2\n\
            dewpond_c_us_bucket{door=\"client\",le=\"250\"} 5\n\
            dewpond_c_us_bucket{door=\"client\",le=\"+Inf\"} 6\n\
            dewpond_c_us_sum{door=\"client\"} 900\n\
            dewpond_c_us_count{door=\"client\"} 6\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn figures_stand_together_and_labels_cannot_break_out() {
        let label = |value: &str| vec![("code", value.to_owned())];
        let samples = vec![
            Sample::new("dewpond_b_calls", Kind::Counter, 1_u64).with(label("ok")),
            Sample::new("dewpond_a_ms", Kind::Gauge, -3_i64),
            Sample::new("dewpond_b_calls", Kind::Counter, 2_u64).with(label("a\"} 9\n\\")),
            Sample::new("dewpond_c_ms", Kind::Histogram("_sum"), u64::MAX),
        ];
        let wanted = "# TYPE dewpond_a_ms gauge\ndewpond_a_ms -3\n\
            # TYPE dewpond_b_calls counter\ndewpond_b_calls{code=\"ok\"} 1\n\
            dewpond_b_calls{code=\"a\\\"} 9\\n\\\\\"} 2\n\
            # TYPE dewpond_c_ms histogram\ndewpond_c_ms_sum 18446744073709551615\n";
        assert_eq!(exposition(samples), wanted);
    }
}
