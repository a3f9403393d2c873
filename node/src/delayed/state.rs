//! Pure: how a delayed node stands: for people, for figures, and as findings.

use super::donate::Progress;
use super::hold;
use super::note::{HoldNote, Holder};
use super::suspects::Burst;
use crate::finding::{self, Finding};
use crate::limits;
use crate::telemetry::samples::{Kind, Sample};
use engine::Stamp;
use raft::delay::{GateState, Limit};
use raft::types::GroupId;

/// In a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is as late as it should be.
    #[default]
    Ready,
    /// What it holds is not late yet.
    Void,
    /// The gate is held, or stands at the target of a forward.
    Held,
    /// The gate goes to its target.
    Forwarding,
    /// Nothing has come in for a while.
    Starved,
    /// It was away for longer than its log was kept for it: the cut stays, and goes on only when a person decides.
    Parked,
    /// Its disk is full: it takes nothing in, so that the cut it holds is safe.
    Full,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Void, Self::Held, Self::Forwarding, Self::Starved, Self::Parked, Self::Full];

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Void => "void",
            Self::Held => "held",
            Self::Forwarding => "forwarding",
            Self::Starved => "starved",
            Self::Parked => "parked",
            Self::Full => "full",
        }
    }

    /// The state of this name; `Ready` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.name() == name).unwrap_or_default()
    }
}

/// What is known of a delayed node at one moment, as it knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its gate.
    pub gate: GateState,
    /// Everything up to here is proven committed and stored here; `None`: nothing is known since the start.
    pub received: Option<Stamp>,
    /// What time it surely is, in milliseconds since 1970; `None`: its clock is disputed, or nobody was heard.
    pub safe_now_ms: Option<u64>,
    /// Its wall clock.
    pub now_ms: u64,
    /// Groups that are parked.
    pub parked: Vec<GroupId>,
    /// Groups of which nothing was heard for a while.
    pub silent: Vec<GroupId>,
    /// Bytes that are stored and not applied.
    pub pending_bytes: u64,
    /// How fast it applies, in bytes a second.
    pub apply_rate: u64,
    /// How fast bytes come in, in bytes a second; 0: it is not known.
    pub receive_rate: u64,
    /// Bytes that its disk has left before it takes nothing more; `None`: nobody knows.
    pub room_bytes: Option<u64>,
    /// Whether its disk is full.
    pub is_full: bool,
    /// What keeps the gate from rising, if it is not the delay.
    pub stopped_by: String,
    /// Who holds it.
    pub note: HoldNote,
}

/// How a delayed node stands, as it tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// In a word.
    pub state: State,
    /// How late it is to be, in milliseconds.
    pub delay_ms: u64,
    /// Everything up to here may be applied.
    pub gate: Stamp,
    /// Everything up to here has come in.
    pub received: Option<Stamp>,
    /// Where it stops: the stamp of a hold or of a target.
    pub limit: Option<Stamp>,
    /// When it is as late as it should be, in milliseconds since 1970; 0: it is.
    pub void_until_ms: u64,
    /// How far the gate lies behind where the delay allows it, in milliseconds; below 0 it is further than that.
    pub apply_gap_ms: i64,
    /// How old the newest is that has come in, in milliseconds.
    pub receive_lag_ms: u64,
    /// Bytes that are stored and not applied.
    pub pending_bytes: u64,
    /// How long it would take to apply all of it, in milliseconds.
    pub forward_eta_ms: u64,
    /// How long the disk suffices at the rate at which it fills, in milliseconds; `None`: it is not known.
    pub runway_ms: Option<u64>,
    /// What keeps the gate from rising, if it is not the delay.
    pub stopped_by: String,
    /// Who holds it, and why.
    pub note: HoldNote,
    /// The most suspicious burst of what is not applied.
    pub suspect: Option<Burst>,
    /// What goes back from it into the cluster.
    pub donations: Vec<Progress>,
}

/// How a node stands of which so much is known.
#[must_use]
pub fn of(seen: &Seen) -> Late {
    let gate = seen.gate;
    let allowed_ms = seen.now_ms.saturating_sub(gate.delay_ms);
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let received_ms = seen.received.map_or(gate.gate.ms(), Stamp::ms);
    let receive_lag_ms = seen.now_ms.saturating_sub(received_ms);
    let is_void = gate.gate < gate.void_until;
    let till_void_ms = gate.void_until.ms().saturating_add(gate.delay_ms).saturating_add(1);
    let rate = if seen.apply_rate == 0 { limits::APPLY_BYTES_PER_SECOND } else { seen.apply_rate };
    let ms_of = |bytes: u64, rate: u64| {
        u64::try_from(u128::from(bytes) * 1_000 / u128::from(rate.max(1))).unwrap_or(u64::MAX)
    };
    Late {
        state: state(seen, receive_lag_ms),
        delay_ms: gate.delay_ms,
        gate: gate.gate,
        received: seen.received,
        limit: match gate.limit {
            Limit::None => None,
            Limit::Hold(stamp) | Limit::Target(stamp) => Some(stamp),
        },
        void_until_ms: if is_void { till_void_ms } else { 0 },
        apply_gap_ms: signed(allowed_ms).saturating_sub(signed(gate.gate.ms())),
        receive_lag_ms,
        pending_bytes: seen.pending_bytes,
        forward_eta_ms: ms_of(seen.pending_bytes, rate),
        runway_ms: seen
            .room_bytes
            .filter(|_| seen.receive_rate > 0)
            .map(|room| ms_of(room, seen.receive_rate)),
        stopped_by: match &seen.silent[..] {
            [] => seen.stopped_by.clone(),
            silent => {
                let named: Vec<String> = silent.iter().map(ToString::to_string).collect();
                format!("nothing new comes in of {}", named.join(" "))
            }
        },
        note: seen.note.clone(),
        suspect: None,
        donations: Vec::new(),
    }
}

fn state(seen: &Seen, receive_lag_ms: u64) -> State {
    let gate = seen.gate;
    match gate.limit {
        _ if !seen.parked.is_empty() => State::Parked,
        _ if seen.is_full => State::Full,
        Limit::Target(target) if gate.gate < target => State::Forwarding,
        Limit::Hold(_) | Limit::Target(_) => State::Held,
        Limit::None if receive_lag_ms > limits::STARVED_MS => State::Starved,
        Limit::None if gate.gate < gate.void_until => State::Void,
        Limit::None => State::Ready,
    }
}

fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        _ => format!("{} h", s / 3_600),
    }
}

impl Late {
    /// Of a node that is not delayed: its figures are 0.
    #[must_use]
    pub fn nobody() -> Self {
        Self { runway_ms: Some(0), ..Self::default() }
    }

    /// What a person should know of it; `node` is its name.
    #[must_use]
    pub fn findings(&self, node: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut tell = |kind: &finding::Kind, text: String| found.push(kind.found(text));
        match self.state {
            State::Parked => tell(
                &finding::DELAYED_PARKED,
                format!(
                    "away for longer than the log was kept: the cut at {} stays good and goes no further; a fresh copy (dew delayed accept {node}) is \
                     not late before {} have passed since",
                    self.gate,
                    span(self.delay_ms)
                ),
            ),
            State::Full => {
                let text = format!("the disk is full: nothing comes in, the cut at {} is kept", self.gate);
                tell(&finding::DELAYED_FULL, text);
            }
            State::Starved => {
                let text = format!("the newest is {} old: {}", span(self.receive_lag_ms), self.stopped_by);
                tell(&finding::DELAYED_STARVED, text);
            }
            _ => {}
        }
        if self.limit.is_some() {
            self.tell_limit(node, &mut tell);
        }
        if self.void_until_ms > 0 {
            let text = format!(
                "what it holds is not late yet: it protects from {} ms since 1970 on",
                self.void_until_ms
            );
            tell(&finding::DELAYED_VOID, text);
        }
        let early_ms = self.apply_gap_ms.saturating_neg();
        let is_early = early_ms > i64::try_from(2 * raft::limits::TICK_MS).unwrap_or(i64::MAX);
        if is_early && self.limit.is_none() {
            let text = format!(
                "the gate is {} further than the delay allows: it waits",
                span(early_ms.unsigned_abs())
            );
            tell(&finding::DELAYED_EARLY, text);
        }
        let is_behind = self.apply_gap_ms > i64::try_from(limits::GAP_MS_MAX).unwrap_or(i64::MAX);
        if is_behind && matches!(self.state, State::Ready | State::Void) {
            let why = if self.stopped_by.is_empty() { "it catches up" } else { &self.stopped_by };
            let text =
                format!("the gate is {} behind its delay: {why}", span(self.apply_gap_ms.unsigned_abs()));
            tell(&finding::DELAYED_BEHIND, text);
        }
        if let Some(runway_ms) = self.runway_ms.filter(|ms| *ms < limits::RUNWAY_MS_MIN) {
            tell(&finding::DELAYED_RUNWAY, format!("its disk is full in {}", span(runway_ms)));
        }
        found
    }

    fn tell_limit(&self, node: &str, tell: &mut impl FnMut(&finding::Kind, String)) {
        let HoldNote { holder, since_ms, by, reason, .. } = &self.note;
        let at = self.limit.unwrap_or_default();
        match holder {
            Holder::Node => {
                let first = self.suspect.map(|burst| burst.slot.first).unwrap_or_default();
                let text = format!("the gate holds itself at {at} since {since_ms} ms: {reason}");
                tell(&finding::DELAYED_HELD, format!("{text}: {}", hold::commands(node, first)));
            }
            Holder::Person => {
                let text = format!("the gate is held at {at} by {by} since {since_ms} ms: {reason}");
                tell(&finding::DELAYED_PAUSED, text);
            }
            Holder::Nobody => tell(&finding::DELAYED_PAUSED, format!("the gate is held at {at}")),
        }
    }

    /// Its figures.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let gauge = |name, value: i128| Sample::new(name, Kind::Gauge, value);
        let seconds = |ms: u64| i128::from(ms / 1_000);
        let mut out = vec![
            gauge("dewpond_delayed_gate_stamp", i128::from(self.gate.0)),
            gauge("dewpond_delayed_apply_gap_seconds", i128::from(self.apply_gap_ms / 1_000)),
            gauge("dewpond_delayed_receive_lag_seconds", seconds(self.receive_lag_ms)),
            gauge("dewpond_delayed_forward_eta_seconds", seconds(self.forward_eta_ms)),
            gauge("dewpond_delayed_pending_bytes", i128::from(self.pending_bytes)),
            gauge("dewpond_delayed_held_flag", i128::from(self.limit.is_some())),
        ];
        out.extend(self.runway_ms.map(|ms| gauge("dewpond_delayed_runway_seconds", seconds(ms))));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const DELAY_MS: u64 = 3_600_000;

    fn seen() -> Seen {
        let gate = Stamp::end_of_ms(NOW_MS - DELAY_MS - 1_000);
        let gate = GateState { number: 1, gate, delay_ms: DELAY_MS, ..GateState::default() };
        let received = Some(Stamp::new(NOW_MS - 2_000, 0));
        Seen { gate, received, safe_now_ms: Some(NOW_MS), now_ms: NOW_MS, ..Seen::default() }
    }

    fn with(change: impl FnOnce(&mut Seen)) -> Late {
        let mut seen = seen();
        change(&mut seen);
        of(&seen)
    }

    fn names(late: &Late) -> Vec<String> {
        late.findings("d1").into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn a_node_that_is_as_late_as_it_should_be_is_no_finding() {
        let late = of(&seen());
        assert_eq!((late.state, late.apply_gap_ms, late.receive_lag_ms), (State::Ready, 1_000, 2_000));
        assert!(late.findings("d1").is_empty());
        let late =
            with(|seen| (seen.silent, seen.stopped_by) = (vec![GroupId(2), GroupId(3)], "other".into()));
        assert_eq!(late.stopped_by, "nothing new comes in of g-2 g-3");
    }

    #[test]
    fn each_state_is_told_by_its_name() {
        let far = Stamp::new(NOW_MS, 0);
        for (late, state, wanted) in [
            (with(|seen| seen.parked = vec![GroupId(2)]), State::Parked, vec!["delayed_parked"]),
            (with(|seen| seen.is_full = true), State::Full, vec!["delayed_full"]),
            (with(|seen| seen.gate.limit = Limit::Hold(seen.gate.gate)), State::Held, vec!["delayed_paused"]),
            (with(|seen| seen.gate.limit = Limit::Target(far)), State::Forwarding, vec!["delayed_paused"]),
            (
                with(|seen| seen.gate.limit = Limit::Target(seen.gate.gate)),
                State::Held,
                vec!["delayed_paused"],
            ),
            (with(|seen| seen.gate.void_until = far), State::Void, vec!["delayed_void"]),
            (
                with(|seen| {
                    seen.received = Some(Stamp::new(NOW_MS - 121_000, 0));
                    seen.silent = vec![GroupId(3)];
                }),
                State::Starved,
                vec!["delayed_starved"],
            ),
            (
                with(|seen| seen.gate.gate = Stamp::new(NOW_MS - DELAY_MS - 601_000, 0)),
                State::Ready,
                vec!["delayed_behind"],
            ),
            (
                with(|seen| seen.gate.gate = Stamp::new(NOW_MS - DELAY_MS + 11_000, 0)),
                State::Ready,
                vec!["delayed_early"],
            ),
            (
                with(|seen| (seen.room_bytes, seen.receive_rate) = (Some(1 << 30), 1 << 20)),
                State::Ready,
                vec!["delayed_runway"],
            ),
        ] {
            assert_eq!((late.state, names(&late)), (state, wanted.into_iter().map(str::to_owned).collect()));
            assert_eq!(State::named(late.state.name()), late.state);
        }
    }

    #[test]
    fn a_hold_of_its_own_is_an_alarm_that_lists_the_commands() {
        let note =
            HoldNote { holder: Holder::Node, since_ms: 5, reason: "because".into(), ..HoldNote::default() };
        let late = with(|seen| {
            (seen.gate.limit, seen.note) = (Limit::Hold(seen.gate.gate), note);
        });
        let found = late.findings("d1");
        assert_eq!((found.len(), found[0].name.as_str(), found[0].is_failure), (1, "delayed_held", true));
        assert!(
            found[0].text.contains("because")
                && found[0].text.contains("dew delayed donate d1 --tenant NAME --before c-")
        );
    }

    #[test]
    fn figures_follow_the_rates() {
        let late = with(|seen| {
            (seen.pending_bytes, seen.apply_rate) = (90 << 20, 30 << 20);
            (seen.room_bytes, seen.receive_rate) = (Some(100 << 30), 1 << 20);
            seen.gate.void_until = Stamp::new(NOW_MS, 0);
        });
        assert_eq!((late.forward_eta_ms, late.runway_ms), (3_000, Some(102_400_000)));
        assert_eq!(late.void_until_ms, NOW_MS + DELAY_MS + 1);
        let samples = late.samples();
        let value = |name: &str| samples.iter().find(|one| one.name.ends_with(name)).map(|one| one.value);
        assert_eq!((value("_pending_bytes"), value("_forward_eta_seconds")), (Some(90 << 20), Some(3)));
        assert_eq!((value("_runway_seconds"), value("_held_flag")), (Some(102_400), Some(0)));
        assert_eq!(of(&seen()).samples().len(), samples.len() - 1, "what nobody knows is not told as 0");
        assert!(Late::nobody().samples().iter().all(|one| one.value == 0));
        assert_eq!(Late::nobody().samples().len(), samples.len());
    }
}
