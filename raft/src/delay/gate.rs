//! Pure: one gate a node. Nothing behind it is applied in any data group; whenever all groups have applied it, the node holds
//! exactly the commands up to it: one cut.
//!
//! * It rises to the least of: safe now less the delay, what a person set, and the least closed stamp at what is proven committed
//!   in each data group. Only a target passes safe now less the delay. It never falls.
//! * It rises in steps, each stored before it opens. The next waits until every group has applied this one.
//! * Left to itself it stands at the end of a millisecond: the stamps of an entry never cross one, so no entry lies across the cut.
//! * A change is made in two halves: [`Gate::next`] and its like answer with the state to store; [`Gate::stored`] makes it hold.
//!   Nothing rises in between, so a hold holds at once.

use super::gate_state::{GateState, Limit};
use crate::limits;
use crate::types::GroupId;
use engine::Stamp;
use std::collections::BTreeMap;
use std::fmt;

/// How far one data group has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupProgress {
    /// Closed stamp of the entry that is proven committed: no later entry has a stamp at or below it. `None` if none is proven yet.
    pub closed: Option<Stamp>,
    /// At which gate the clamp was last asked, with all that is proven now; `None`: not since more is proven.
    pub told_at: Option<Stamp>,
    /// Index of what it told.
    pub told: Option<u64>,
    /// Index of the last entry applied.
    pub applied: Option<u64>,
}

impl GroupProgress {
    /// Whether the group holds exactly the commands up to `gate`: they are all proven, the clamp was asked since, and what it told is
    /// applied.
    #[must_use]
    pub fn is_at(&self, gate: Stamp) -> bool {
        self.closed >= Some(gate) && self.told_at >= Some(gate) && self.applied >= self.told
    }
}

/// What stops the gate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The delay, which is as it should be.
    Delay,
    /// A person holds it, or it stands at its target.
    Held,
    /// There is no safe time: clocks jumped, or peers have not agreed since the start.
    Clock,
    /// The node has no data group.
    NoGroup,
    /// This group has no closed stamp that high.
    Closed(GroupId),
}

/// Why the gate stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A change is being stored.
    Storing,
    /// This group has not applied the open gate yet.
    Applying(GroupId),
    /// It is as high as it may be, or less than a tick below.
    At(Bound),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing now.
    Rest(Rest),
    /// Store this, then say so.
    Store(GateState),
}

/// A forward that cannot be. Says what could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardRefused {
    /// The stamp asked for.
    pub target: Stamp,
    /// The gate: what it has let through cannot be taken back.
    pub least: Stamp,
    /// The greatest stamp up to which every group has all commits here; `None` if some group has proven none yet.
    pub greatest: Option<Stamp>,
}

/// Why the clamps may not be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLifted {
    /// The delay is not 0.
    Delayed,
    /// It is held, or goes to a target.
    Limited,
    /// A change is being stored.
    Storing,
}

/// The gate of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    open: GateState,
    /// What is being stored.
    storing: Option<GateState>,
}

/// The last stamp at or below `stamp` at which a millisecond ends.
fn end_of_ms_below(stamp: Stamp) -> Stamp {
    if stamp.counter() == u16::MAX {
        return stamp;
    }
    stamp.ms().checked_sub(1).map_or(Stamp::ZERO, Stamp::end_of_ms)
}

/// The least closed stamp, and whose it is. A group that has proven nothing has the least of all.
fn least_closed(groups: &BTreeMap<GroupId, GroupProgress>) -> Option<(Option<Stamp>, GroupId)> {
    groups.iter().map(|(group, progress)| (progress.closed, *group)).min()
}

impl Gate {
    /// The gate of a node that becomes delayed at `now`: what it takes over from others now is not late for a while.
    #[must_use]
    pub fn born(now: Stamp, delay_ms: u64) -> GateState {
        let delay_ms = delay_ms.min(limits::DELAY_MS_MAX);
        let gate = end_of_ms_below(now.minus_ms(delay_ms));
        GateState { number: 1, gate, delay_ms, limit: Limit::None, void_until: now }
    }

    /// The gate as a start finds it stored.
    #[must_use]
    pub fn new(stored: GateState) -> Self {
        Self { open: stored, storing: None }
    }

    /// Up to here, this stamp included, everything may be applied.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.open.gate
    }

    /// What holds now.
    #[must_use]
    pub fn state(&self) -> GateState {
        self.open
    }

    /// Whether something newer than the gate was taken, which the gate has not reached yet.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.open.gate < self.open.void_until
    }

    /// From when on nothing taken over is newer than the delay allows, in ms of the wall; 0 if that is so now.
    #[must_use]
    pub fn void_until_ms(&self) -> u64 {
        let GateState { void_until, delay_ms, .. } = self.open;
        if self.is_void() { void_until.ms().saturating_add(delay_ms).saturating_add(1) } else { 0 }
    }

    /// The next step, if it is time for one. `safe_now_ms` is what [`super::SafeNow`] says; `groups` are all data groups of the
    /// node, and not the meta group.
    #[must_use]
    pub fn next(&mut self, safe_now_ms: Option<u64>, groups: &BTreeMap<GroupId, GroupProgress>) -> Next {
        if self.storing.is_some() {
            return Next::Rest(Rest::Storing);
        }
        let gate = self.open.gate;
        let (wanted, bound) = self.wanted(safe_now_ms, groups);
        if let Some((group, progress)) = groups.iter().find(|(_, progress)| !progress.is_at(gate)) {
            let lacks_proof = progress.closed < Some(gate);
            let rest = if lacks_proof { Rest::At(Bound::Closed(*group)) } else { Rest::Applying(*group) };
            return Next::Rest(rest);
        }
        let behind_ms = wanted.ms().saturating_sub(gate.ms());
        let is_end = Some(wanted) == self.open.limit.stamp();
        if wanted <= gate || (behind_ms < limits::TICK_MS && !is_end) {
            return Next::Rest(Rest::At(bound));
        }
        let is_far = behind_ms > limits::GATE_STEP_MS_MAX;
        let step_ms = if is_far { limits::GATE_STEP_MS_MAX } else { limits::TICK_MS };
        let to_ms = (gate.ms() + step_ms).min(Stamp::MAX.ms());
        let gate = Stamp::end_of_ms(to_ms).min(wanted);
        Next::Store(self.store(GateState { gate, ..self.open }))
    }

    /// How high the gate may be, and what stops it there.
    fn wanted(&self, safe_now_ms: Option<u64>, groups: &BTreeMap<GroupId, GroupProgress>) -> (Stamp, Bound) {
        let Some((closed, group)) = least_closed(groups) else { return (Stamp::ZERO, Bound::NoGroup) };
        let closed = closed.unwrap_or_default();
        let (upto, bound) = match (self.open.limit, safe_now_ms) {
            (Limit::Hold(stamp) | Limit::Target(stamp), _) => (stamp, Bound::Held),
            (Limit::None, None) => (Stamp::ZERO, Bound::Clock),
            (Limit::None, Some(now_ms)) => {
                let ms = now_ms.saturating_sub(self.open.delay_ms).min(Stamp::MAX.ms());
                (end_of_ms_below(Stamp::new(ms, 0)), Bound::Delay)
            }
        };
        if closed < upto { (end_of_ms_below(closed), Bound::Closed(group)) } else { (upto, bound) }
    }

    /// The change that was asked for last is durable: it holds. Of an older one nothing is believed.
    pub fn stored(&mut self, state: GateState) {
        if state.number > self.open.number && state.gate >= self.open.gate {
            self.open = state;
        }
        if self.storing.is_some_and(|storing| storing.number <= state.number) {
            self.storing = None;
        }
    }

    /// What is being stored, to be stored again if that failed.
    #[must_use]
    pub fn storing(&self) -> Option<GateState> {
        self.storing
    }

    /// What is, or will be when what is being stored is.
    fn latest(&self) -> GateState {
        self.storing.unwrap_or(self.open)
    }

    /// Asks for a change.
    fn store(&mut self, state: GateState) -> GateState {
        let state = GateState { number: self.latest().number.saturating_add(1), ..state };
        self.storing = Some(state);
        state
    }

    /// Stops where it is, at once: no step is taken from here on, stored or not. To be stored, so that it survives a start.
    pub fn hold(&mut self) -> GateState {
        let latest = self.latest();
        self.store(GateState { limit: Limit::Hold(latest.gate), ..latest })
    }

    /// Goes on as the delay says. To be stored.
    pub fn release(&mut self) -> GateState {
        self.store(GateState { limit: Limit::None, ..self.latest() })
    }

    /// Goes to just before the commit at `commit`, whatever the delay says, and stands there. The whole entry of that commit stays
    /// out. To be stored.
    ///
    /// # Errors
    /// `ForwardRefused`: it lies below the gate, or above what has come in.
    pub fn forward_before(
        &mut self,
        commit: Stamp,
        groups: &BTreeMap<GroupId, GroupProgress>,
    ) -> Result<GateState, ForwardRefused> {
        let latest = self.latest();
        let greatest = least_closed(groups).and_then(|(closed, _)| closed);
        let target = Stamp(commit.0.saturating_sub(1));
        if target < latest.gate || Some(target) > greatest {
            return Err(ForwardRefused { target, least: latest.gate, greatest });
        }
        Ok(self.store(GateState { limit: Limit::Target(target), ..latest }))
    }

    /// Another delay; 0 to become one of the cluster. Raised, the gate waits. Bounded by [`limits::DELAY_MS_MAX`]. To be stored.
    pub fn set_delay(&mut self, delay_ms: u64) -> GateState {
        self.store(GateState { delay_ms: delay_ms.min(limits::DELAY_MS_MAX), ..self.latest() })
    }

    /// A snapshot with last stamp `stamp`, newer than the gate, is to be taken. To be stored before it is.
    pub fn set_void_until(&mut self, stamp: Stamp) -> GateState {
        let latest = self.latest();
        self.store(GateState { void_until: latest.void_until.max(stamp), ..latest })
    }

    /// Whether the clamps may be lifted, so that every replica here applies all that is proven committed.
    ///
    /// # Errors
    /// `NotLifted`, with what is in the way.
    pub fn may_lift(&self) -> Result<(), NotLifted> {
        match (self.storing, self.open.limit, self.open.delay_ms) {
            (Some(_), ..) => Err(NotLifted::Storing),
            (_, Limit::Hold(_) | Limit::Target(_), _) => Err(NotLifted::Limited),
            (_, _, 0) => Ok(()),
            _ => Err(NotLifted::Delayed),
        }
    }
}

/// Data groups of which so little was heard that the node is not protected by what comes in: a finding each.
#[must_use]
pub fn silent(safe_now_ms: u64, groups: &BTreeMap<GroupId, GroupProgress>) -> Vec<GroupId> {
    let floor = Stamp::new(safe_now_ms.saturating_sub(limits::SILENT_MS), 0);
    groups.iter().filter(|(_, progress)| progress.closed < Some(floor)).map(|(group, _)| *group).collect()
}

impl fmt::Display for ForwardRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, least, greatest } = self;
        match greatest {
            _ if target < least => write!(f, "{target} is below the gate {least}: what it let through stays"),
            Some(greatest) => write!(f, "{target} is above {greatest}, the last that every group has here"),
            None => write!(f, "{target} cannot be judged: some group has proven no commit since the start"),
        }
    }
}

impl std::error::Error for ForwardRefused {}

impl fmt::Display for NotLifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delayed => "the delay is not 0: set it first",
            Self::Limited => "the gate is held or goes to a target: release it first",
            Self::Storing => "a change of the gate is being stored: ask again",
        })
    }
}

impl std::error::Error for NotLifted {}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const DELAY_MS: u64 = 3_600_000;

    fn at(ms: u64) -> Stamp {
        Stamp::end_of_ms(ms)
    }

    fn groups(closed: &[Option<Stamp>]) -> BTreeMap<GroupId, GroupProgress> {
        let progress = |closed: &Option<Stamp>| {
            let (told_at, told, applied) = (Some(Stamp::MAX), Some(5), Some(5));
            GroupProgress { closed: *closed, told_at, told, applied }
        };
        (1..).map(GroupId).zip(closed.iter().map(progress)).collect()
    }

    fn gate(behind_ms: u64) -> Gate {
        let gate = at(NOW_MS - DELAY_MS - 1 - behind_ms);
        Gate::new(GateState { number: 7, gate, delay_ms: DELAY_MS, ..GateState::default() })
    }

    fn step(next: Next) -> Stamp {
        match next {
            Next::Store(state) => state.gate,
            Next::Rest(why) => panic!("{why:?}"),
        }
    }

    #[test]
    fn it_steps_by_a_tick_or_a_minute() {
        let all = groups(&[Some(at(NOW_MS)), Some(at(NOW_MS - 1))]);
        for (behind_ms, wanted_ms) in [(5_000, 5_000), (9_000, 5_000), (60_000, 5_000), (60_001, 60_000)] {
            let mut gate = gate(behind_ms);
            let from = gate.stamp();
            let to = step(gate.next(Some(NOW_MS), &all));
            assert_eq!(to, at(from.ms() + wanted_ms), "{behind_ms}");
        }
        assert_eq!(gate(4_999).next(Some(NOW_MS), &all), Next::Rest(Rest::At(Bound::Delay)));
    }

    #[test]
    fn every_bound_stops_it_and_is_named() {
        let all = groups(&[Some(at(NOW_MS)), Some(at(NOW_MS))]);
        let mut far = gate(1_000_000);
        assert_eq!(far.next(None, &all), Next::Rest(Rest::At(Bound::Clock)));
        assert_eq!(far.next(Some(NOW_MS), &BTreeMap::new()), Next::Rest(Rest::At(Bound::NoGroup)));
        let early = far.next(Some(far.stamp().ms() + DELAY_MS - 10), &all);
        assert_eq!(early, Next::Rest(Rest::At(Bound::Delay)), "now went back");
        let low = groups(&[Some(at(NOW_MS)), Some(at(far.stamp().ms() + 3_000))]);
        assert_eq!(far.next(Some(NOW_MS), &low), Next::Rest(Rest::At(Bound::Closed(GroupId(2)))));
        let below = groups(&[Some(Stamp(far.stamp().0 - 1)), Some(at(NOW_MS))]);
        assert_eq!(far.next(Some(NOW_MS), &below), Next::Rest(Rest::At(Bound::Closed(GroupId(1)))));
        assert_eq!(far.next(Some(NOW_MS), &groups(&[None])), Next::Rest(Rest::At(Bound::Closed(GroupId(1)))));
        let mut applying = all.clone();
        applying.get_mut(&GroupId(2)).unwrap().applied = Some(4);
        assert_eq!(far.next(Some(NOW_MS), &applying), Next::Rest(Rest::Applying(GroupId(2))));
        for told_at in [None, Some(Stamp(far.stamp().0 - 1))] {
            let mut untold = all.clone();
            untold.get_mut(&GroupId(1)).unwrap().told_at = told_at;
            assert_eq!(far.next(Some(NOW_MS), &untold), Next::Rest(Rest::Applying(GroupId(1))));
        }
        let mut storing = far.clone();
        storing.set_delay(0);
        assert_eq!(storing.next(Some(NOW_MS), &all), Next::Rest(Rest::Storing));
    }

    #[test]
    fn left_to_itself_it_stands_at_the_end_of_a_millisecond() {
        let mut gate = gate(20_000);
        let closed = Stamp::new(gate.stamp().ms() + 5_001, 77);
        let to = step(gate.next(Some(NOW_MS), &groups(&[Some(closed)])));
        assert_eq!(to, at(gate.stamp().ms() + 5_000));
        assert_eq!(end_of_ms_below(Stamp::new(0, 5)), Stamp::ZERO);
        assert_eq!(end_of_ms_below(at(9)), at(9));
    }

    #[test]
    fn a_hold_holds_at_once_and_a_step_under_way_counts() {
        let all = groups(&[Some(at(NOW_MS))]);
        let mut gate = gate(20_000);
        let Next::Store(state) = gate.next(Some(NOW_MS), &all) else { panic!() };
        let held = gate.hold();
        assert_eq!(held.limit, Limit::Hold(state.gate), "the step may be durable already");
        gate.stored(state);
        assert_eq!(gate.next(Some(NOW_MS), &all), Next::Rest(Rest::Storing));
        gate.stored(held);
        assert_eq!(gate.state(), held);
        assert_eq!(gate.next(Some(NOW_MS), &all), Next::Rest(Rest::At(Bound::Held)));
        let released = gate.release();
        gate.stored(released);
        gate.stored(held);
        assert_eq!(gate.state(), released, "an older change says nothing");
        assert_eq!(step(gate.next(Some(NOW_MS), &all)), at(held.gate.ms() + 5_000));
    }

    #[test]
    fn forward_goes_to_just_before_the_commit_and_says_what_is_possible() {
        let mut gate = gate(0);
        let received = Stamp::new(NOW_MS - 100, 9);
        let all = groups(&[Some(received), Some(at(NOW_MS))]);
        let (least, greatest) = (gate.stamp(), Some(received));
        for commit in [gate.stamp(), Stamp::ZERO, received.next().next()] {
            let target = Stamp(commit.0.saturating_sub(1));
            let refused = gate.forward_before(commit, &all).unwrap_err();
            assert_eq!(refused, ForwardRefused { target, least, greatest });
        }
        let unproven = groups(&[None, Some(at(NOW_MS))]);
        assert_eq!(gate.forward_before(received, &unproven).unwrap_err().greatest, None);
        let commit = Stamp::new(NOW_MS - 200_000, 3);
        let state = gate.forward_before(commit, &all).unwrap();
        gate.stored(state);
        // No clock is needed, and it goes there to the stamp.
        let mut steps = 0;
        while let Next::Store(state) = gate.next(None, &all) {
            assert!(state.gate > gate.stamp() && state.gate < commit);
            gate.stored(state);
            steps += 1;
        }
        assert_eq!(gate.stamp(), Stamp(commit.0 - 1));
        assert!((57..=70).contains(&steps), "{steps}");
        let released = gate.release();
        gate.stored(released);
        assert_eq!(gate.next(Some(NOW_MS), &all), Next::Rest(Rest::At(Bound::Delay)), "too early now");
    }

    #[test]
    fn a_node_is_void_until_the_gate_has_passed_what_it_took() {
        let mut gate = Gate::new(Gate::born(Stamp::new(NOW_MS, 0), DELAY_MS));
        assert_eq!((gate.is_void(), gate.void_until_ms()), (true, NOW_MS + DELAY_MS + 1));
        for stamp in [Stamp::new(NOW_MS + 10, 4), Stamp::new(NOW_MS + 5, 0)] {
            let state = gate.set_void_until(stamp);
            gate.stored(state);
        }
        assert_eq!(gate.void_until_ms(), NOW_MS + DELAY_MS + 11);
        let now_ms = gate.void_until_ms();
        let all = groups(&[Some(at(now_ms))]);
        while let Next::Store(state) = gate.next(Some(now_ms), &all) {
            gate.stored(state);
        }
        let all_ms = now_ms + limits::TICK_MS;
        while let Next::Store(state) = gate.next(Some(all_ms), &groups(&[Some(at(all_ms))])) {
            gate.stored(state);
        }
        assert_eq!((gate.is_void(), gate.void_until_ms()), (false, 0));
    }

    #[test]
    fn clamps_are_lifted_by_delay_0_alone() {
        let mut gate = gate(0);
        assert_eq!(gate.may_lift(), Err(NotLifted::Delayed));
        let state = gate.set_delay(0);
        assert_eq!(gate.may_lift(), Err(NotLifted::Storing));
        gate.stored(state);
        assert_eq!(gate.may_lift(), Ok(()));
        let held = gate.hold();
        gate.stored(held);
        assert_eq!(gate.may_lift(), Err(NotLifted::Limited));
        assert_eq!(gate.set_delay(u64::MAX).delay_ms, limits::DELAY_MS_MAX);
    }

    #[test]
    fn a_silent_group_is_named() {
        let now = Some(at(NOW_MS));
        let late = Some(Stamp(Stamp::new(NOW_MS - limits::SILENT_MS, 0).0 - 1));
        assert_eq!(silent(NOW_MS, &groups(&[now, late, None])), [GroupId(2), GroupId(3)]);
    }
}
