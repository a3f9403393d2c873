//! Figures of replication on one node, as plain values: what each room has done since the start, and how it stands. No exporter here:
//! whoever serves metrics reads these under the names of [`Figures::rows`]. What each means, and what to look at when it rises, says
//! `docs/metrics.md`.
//!
//!   * There is one [`Stats`] a node and start, given to the log; everything that works over that log counts there.
//!   * Each counter rises at one place, by one relaxed addition. What was never awaited to its end is not counted as an outcome.
//!   * Times are measured by a clock that whoever starts the node gives ([`Stats::timed`]), and by none else.
//!   * No figure has a group, a tenant or a peer in it, so that their number does not grow with those.

/// The figures of one room: a struct that is counted in, a struct of plain values, and the rows of a table. The name of a figure is that
/// of its field, after the room: `dewpond_<room>_<field>`.
macro_rules! figures {
    (
        $(#[$of:meta])* $room:literal, $live:ident, $read:ident;
        $($(#[$doc:meta])* $name:ident: $kind:ident,)*
    ) => {
        $(#[$of])*
        ///
        /// While the node runs.
        #[derive(Debug, Default)]
        pub struct $live { $($(#[$doc])* pub(crate) $name: engine::stats::$kind,)* }

        $(#[$of])*
        ///
        /// At one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $read { $($(#[$doc])* pub $name: u64,)* }

        impl $live {
            pub(super) fn read(&self) -> $read {
                $read { $($name: self.$name.read(),)* }
            }
        }

        impl $read {
            pub(super) fn rows(&self) -> impl Iterator<Item = engine::stats::Figure> + use<> {
                let rows = [$(engine::stats::Figure {
                    name: concat!("dewpond_", $room, "_", stringify!($name)),
                    kind: engine::stats::FigureKind::$kind,
                    value: self.$name,
                },)*];
                rows.into_iter()
            }
        }
    };
}

mod latency;
mod life;
mod storage;
mod traffic;

pub use latency::{Histogram, LATENCY_US, Moment, Times};
pub use life::{GroupFigures, GroupStats, RejoinFigures, RejoinStats};
pub use storage::{DelayFigures, DelayStats, LogFigures, LogStats, MachineFigures, MachineStats};
pub(crate) use traffic::Retry;
pub use traffic::{NetFigures, NetStats, ProposalFigures, ProposalStats, ReadFigures, ReadStats};

use engine::stats::Figure;

/// Where everything of a node counts, from one start to its end.
#[derive(Debug, Default)]
pub struct Stats {
    pub(crate) log: LogStats,
    pub(crate) group: GroupStats,
    pub(crate) proposal: ProposalStats,
    pub(crate) read: ReadStats,
    pub(crate) net: NetStats,
    pub(crate) machine: MachineStats,
    pub(crate) delay: DelayStats,
    pub(crate) rejoin: RejoinStats,
    pub(crate) times: Times,
    /// Microseconds since some moment; without it no time is measured.
    clock: Option<fn() -> u64>,
}

/// What a [`Stats`] has come to at one moment. The figures are read one after the other: two of them may be a step apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The log.
    pub log: LogFigures,
    /// The replicas and their lives.
    pub group: GroupFigures,
    /// Commands and what became of them.
    pub proposal: ProposalFigures,
    /// Reads and what became of them.
    pub read: ReadFigures,
    /// Frames, heartbeats and snapshots between nodes.
    pub net: NetFigures,
    /// What was applied.
    pub machine: MachineFigures,
    /// The gate of a delayed node.
    pub delay: DelayFigures,
    /// How the node came in.
    pub rejoin: RejoinFigures,
}

impl Stats {
    /// One that measures how long things take, by a clock that nobody sets: in microseconds.
    #[must_use]
    pub fn timed(clock: fn() -> u64) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    /// Now, for what is measured.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.clock.map(|clock| clock()))
    }

    /// Every histogram at this moment.
    #[must_use]
    pub fn histograms(&self) -> [Histogram; 4] {
        self.times.read()
    }

    /// All of it at this moment.
    #[must_use]
    pub fn read(&self) -> Figures {
        Figures {
            log: self.log.read(),
            group: self.group.read(),
            proposal: self.proposal.read(),
            read: self.read.read(),
            net: self.net.read(),
            machine: self.machine.read(),
            delay: self.delay.read(),
            rejoin: self.rejoin.read(),
        }
    }

    /// Every figure at this moment, under its name.
    pub fn rows(&self) -> impl Iterator<Item = Figure> + use<> {
        self.read().rows()
    }
}

impl Figures {
    /// Every figure under its name.
    pub fn rows(&self) -> impl Iterator<Item = Figure> + use<> {
        let Self { log, group, proposal, read, net, machine, delay, rejoin } = self;
        let storage = log.rows().chain(group.rows()).chain(proposal.rows()).chain(read.rows());
        storage.chain(net.rows()).chain(machine.rows()).chain(delay.rows()).chain(rejoin.rows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::refusal::Refusal;
    use engine::stats::FigureKind;
    use std::collections::BTreeSet;

    /// Units in which a name may end, those of counts among them.
    const UNITS: [&str; 21] = [
        "batches",
        "bytes",
        "claims",
        "commands",
        "entries",
        "files",
        "flag",
        "frames",
        "heartbeats",
        "messages",
        "ms",
        "reads",
        "records",
        "replicas",
        "segments",
        "snapshots",
        "steps",
        "syncs",
        "times",
        "us",
        "waits",
    ];
    const ROOMS: [&str; 8] = ["log", "group", "proposal", "read", "net", "machine", "delay", "rejoin"];

    #[test]
    fn names_are_unique_and_say_room_noun_and_unit() {
        let stats = Stats::default();
        let histograms = stats.histograms();
        let rows: Vec<&str> =
            stats.rows().map(|row| row.name).chain(histograms.iter().map(|one| one.name)).collect();
        let names: BTreeSet<&str> = rows.iter().copied().collect();
        assert_eq!(names.len(), rows.len(), "a name twice");
        for name in names {
            let words: Vec<&str> = name.split('_').collect();
            let [first, room, noun @ .., unit] = words.as_slice() else { panic!("{name}") };
            assert!(*first == "dewpond" && ROOMS.contains(room) && UNITS.contains(unit), "{name}");
            assert!(!noun.is_empty() && noun.iter().all(|word| !word.is_empty()), "{name}");
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
        }
    }

    /// A figure that is in a struct and in no row would be counted and never seen.
    #[test]
    fn every_field_is_a_row_and_says_what_it_is() {
        let stats = Stats::default();
        stats.net.refused(Refusal::Ahead).add(3);
        stats.log.kept_segments.set(9);
        stats.log.kept_segments.set(5);
        stats.machine.applied_entries.add(7);
        let figures = format!("{:?}", stats.read());
        let fields: BTreeSet<&str> =
            figures.split([' ', '{', ',', '}']).filter_map(|word| word.strip_suffix(':')).collect();
        let in_rows: BTreeSet<String> =
            stats.rows().map(|row| row.name.splitn(3, '_').nth(2).unwrap().into()).collect();
        let missing: Vec<&&str> = fields.iter().filter(|field| !in_rows.contains(**field)).collect();
        assert!(missing.iter().all(|field| ROOMS.contains(field)), "no row: {missing:?}");
        let moved: Vec<_> =
            stats.rows().filter(|row| row.value != 0).map(|row| (row.name, row.kind, row.value)).collect();
        let wanted = [
            ("dewpond_log_kept_segments", FigureKind::Gauge, 5),
            ("dewpond_net_refused_ahead_messages", FigureKind::Counter, 3),
            ("dewpond_machine_applied_entries", FigureKind::Counter, 7),
        ];
        assert_eq!(moved, wanted);
    }
}
