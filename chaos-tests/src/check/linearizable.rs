//! Pure: is there one order of all requests for a register that explains every answer, in which each request stands between its
//! question and its answer? (Wing and Gong; Lowe's search just in time.)
//!
//! Each key is judged alone: a history is linearizable if it is so key by key. The events of a key are walked once. A
//! **configuration** is what may be true now: the value, and which of the open requests are already carried out. A request is
//! carried out as late as possible, at its own answer or to make the answer of another one possible. What was asked and has an
//! unknown outcome stays open for ever, and need not be carried out. When no configuration is left, the answer that came last is
//! wrong. Between two requests, when none is open, only values are left: the search never looks back over such a quiet point.
//!
//! Three rules keep the configurations few, and lose nothing:
//!   * what changes nothing (a read, a compare-and-set that did not take) is carried out as soon as the value allows it;
//!   * of two configurations that differ only in unknown requests that were carried out, the one with fewer is enough;
//!   * an unknown request is carried out only before something that needs what it wrote, and forgotten after the last such.

use super::Violation;
use crate::history::{Action, Answer, History, Key, Operation, Outcome, or_nothing};
use crate::limits::{CONFIGURATIONS_MAX, PENDING_MAX, SHRINK_OPERATIONS_MAX};
use std::collections::{BTreeMap, BTreeSet};

const JUDGE: &str = "linearizable";

type Register = Option<u64>;

/// What a request does to a register, given its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It saw this value.
    Saw(Register),
    /// It saw another value than this.
    SawOther(Register),
    /// This value is there now.
    Put(Register),
    /// The first was there, the second is there now.
    Swap(Register, Register),
}

impl Effect {
    /// The value after it; `None` if it cannot have happened at this value.
    fn on(self, value: Register) -> Option<Register> {
        match self {
            Self::Saw(seen) => (seen == value).then_some(value),
            Self::SawOther(other) => (other != value).then_some(value),
            Self::Put(new) => Some(new),
            Self::Swap(old, new) => (old == value).then_some(new),
        }
    }

    fn is_silent(self) -> bool {
        matches!(self, Self::Saw(_) | Self::SawOther(_))
    }

    fn leaves(self) -> Option<Register> {
        match self {
            Self::Put(new) | Self::Swap(_, new) => Some(new),
            Self::Saw(_) | Self::SawOther(_) => None,
        }
    }
}

/// A request for one key.
#[derive(Clone, Copy, Debug)]
struct Request {
    effect: Effect,
    /// Its place among all operations of the history.
    place: usize,
    is_known: bool,
    /// If its outcome is unknown: after this event nothing needs what it wrote.
    needed_until: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize),
    Answer(usize),
}

/// What may be true.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    value: Register,
    /// Open requests with a known outcome that are carried out: bits by slot.
    taken: u128,
    /// Requests with an unknown outcome that are carried out, and are still needed by somebody; sorted.
    used: Vec<usize>,
}

/// Configurations, none of which is worse than another.
#[derive(Clone, Debug, Default)]
struct Frontier {
    by_value: BTreeMap<(Register, u128), Vec<Vec<usize>>>,
    count: usize,
}

impl Frontier {
    /// False if one as good is there already.
    fn insert(&mut self, one: &Configuration) -> bool {
        let ways = self.by_value.entry((one.value, one.taken)).or_default();
        if ways.iter().any(|way| is_within(way, &one.used)) {
            return false;
        }
        let before = ways.len();
        ways.retain(|way| !is_within(&one.used, way));
        self.count = self.count + 1 + ways.len() - before;
        ways.push(one.used.clone());
        true
    }

    fn iter(&self) -> impl Iterator<Item = Configuration> + '_ {
        self.by_value.iter().flat_map(|((value, taken), ways)| {
            ways.iter().map(|used| Configuration { value: *value, taken: *taken, used: used.clone() })
        })
    }
}

/// Whether all of the first are among the second; both are sorted.
fn is_within(few: &[usize], many: &[usize]) -> bool {
    let mut rest = many.iter();
    few.len() <= many.len() && few.iter().all(|one| rest.any(|other| other == one))
}

/// The walk over the events of one key.
#[derive(Clone)]
struct Walk<'a> {
    requests: &'a [Request],
    frontier: Frontier,
    /// Open requests with a known outcome.
    slots: Vec<Option<usize>>,
    /// Open requests with an unknown outcome that somebody may still need.
    unknown: Vec<usize>,
}

/// Why a walk ended.
enum Stop {
    Broken,
    TooMany(String),
}

impl<'a> Walk<'a> {
    fn new(requests: &'a [Request]) -> Self {
        let mut frontier = Frontier::default();
        frontier.insert(&Configuration { value: None, taken: 0, used: vec![] });
        Self { requests, frontier, slots: vec![], unknown: vec![] }
    }

    fn is_quiet(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn values(&self) -> BTreeSet<Register> {
        self.frontier.by_value.keys().map(|(value, _)| *value).collect()
    }

    fn step(&mut self, order: u64, step: Step) -> Result<(), Stop> {
        match step {
            Step::Ask(request) => self.ask(request),
            Step::Answer(request) => self.answer(order, request),
        }
    }

    fn ask(&mut self, request: usize) -> Result<(), Stop> {
        let Request { effect, is_known, .. } = self.requests[request];
        if !is_known {
            self.unknown.push(request);
            return Ok(());
        }
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == PENDING_MAX {
            return Err(Stop::TooMany(format!("more than {PENDING_MAX} requests are open at once")));
        }
        self.slots.resize(self.slots.len().max(slot + 1), None);
        self.slots[slot] = Some(request);
        if effect.is_silent() {
            let mut next = Frontier::default();
            self.frontier.iter().for_each(|one| {
                next.insert(&self.settled(one));
            });
            self.frontier = next;
        }
        Ok(())
    }

    /// Carries out all that changes nothing and is possible at the value.
    fn settled(&self, mut one: Configuration) -> Configuration {
        for (slot, request) in self.slots.iter().enumerate() {
            let is_possible = |effect: Effect| effect.is_silent() && effect.on(one.value).is_some();
            if request.is_some_and(|request| is_possible(self.requests[request].effect)) {
                one.taken |= 1 << slot;
            }
        }
        one
    }

    fn answer(&mut self, order: u64, request: usize) -> Result<(), Stop> {
        let slot = self.slots.iter().position(|open| *open == Some(request)).expect("it was asked before");
        let bit = 1 << slot;
        let (mut next, mut seen) = (Frontier::default(), Frontier::default());
        let mut waiting: Vec<Configuration> = self.frontier.iter().collect();
        while let Some(one) = waiting.pop() {
            if one.taken & bit != 0 {
                next.insert(&Configuration { taken: one.taken & !bit, ..one });
            } else if seen.insert(&one) {
                self.carry_out_one_more(&one, &mut waiting);
            }
            if next.count + seen.count > CONFIGURATIONS_MAX {
                return Err(Stop::TooMany(format!(
                    "more than {CONFIGURATIONS_MAX} configurations are possible"
                )));
            }
        }
        if next.count == 0 {
            return Err(Stop::Broken);
        }
        self.frontier = next;
        self.slots[slot] = None;
        self.forget(order);
        Ok(())
    }

    fn carry_out_one_more(&self, one: &Configuration, after: &mut Vec<Configuration>) {
        for (slot, request) in self.slots.iter().enumerate() {
            let Some(request) = request.filter(|_| one.taken & 1 << slot == 0) else { continue };
            let effect = self.requests[request].effect;
            if let Some(value) = effect.on(one.value).filter(|_| !effect.is_silent()) {
                let taken = one.taken | 1 << slot;
                after.push(self.settled(Configuration { value, taken, used: one.used.clone() }));
            }
        }
        for request in &self.unknown {
            let Err(place) = one.used.binary_search(request) else { continue };
            let Some(value) = self.requests[*request].effect.on(one.value) else { continue };
            let mut used = one.used.clone();
            used.insert(place, *request);
            let next = self.settled(Configuration { value, taken: one.taken, used });
            if next.taken != one.taken || self.is_awaited(&next) {
                after.push(next);
            }
        }
    }

    /// Whether some swap that is not carried out expects just this value.
    fn is_awaited(&self, one: &Configuration) -> bool {
        let expects = |request: usize| matches!(self.requests[request].effect, Effect::Swap(old, _) if old == one.value);
        let open = self.slots.iter().enumerate().filter(|(slot, _)| one.taken & 1 << slot == 0);
        let mut known = open.filter_map(|(_, request)| *request);
        known.any(expects)
            || self
                .unknown
                .iter()
                .any(|request| one.used.binary_search(request).is_err() && expects(*request))
    }

    /// Drops the unknown requests that nobody needs any more, and those that are carried out whatever is true.
    fn forget(&mut self, order: u64) {
        if self.unknown.is_empty() {
            return;
        }
        let mut ways = self.frontier.by_value.values().flatten();
        let mut everywhere = ways.next().cloned().unwrap_or_default();
        for used in ways {
            everywhere.retain(|request| used.binary_search(request).is_ok());
        }
        let is_needed = |request: &usize| {
            self.requests[*request].needed_until > order && everywhere.binary_search(request).is_err()
        };
        let before = self.unknown.len();
        let unknown: Vec<usize> = self.unknown.iter().copied().filter(is_needed).collect();
        if unknown.len() == before {
            return;
        }
        self.unknown = unknown;
        let mut next = Frontier::default();
        for mut one in self.frontier.iter() {
            one.used.retain(|request| self.unknown.contains(request));
            next.insert(&one);
        }
        self.frontier = next;
    }
}

/// Whether all answers about registers can be true together.
///
/// # Errors
/// Broken: the first answer of some key that no order explains, with the requests since the last quiet point that matter.
/// Undecided: a key with too many requests at once.
pub fn check(history: &History) -> Result<(), Violation> {
    let mut by_key: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (place, operation) in history.operations().iter().enumerate() {
        if let Action::Read { key } | Action::Write { key, .. } | Action::Cas { key, .. } = operation.action {
            by_key.entry(key).or_default().push(place);
        }
    }
    by_key.iter().try_for_each(|(key, places)| judge(*key, history.operations(), places))
}

fn judge(key: Key, operations: &[Operation], places: &[usize]) -> Result<(), Violation> {
    let mut requests: Vec<Request> = places.iter().filter_map(|place| request(operations, *place)).collect();
    note_needs(&mut requests, operations);
    let mut steps = BTreeMap::new();
    for (at, request) in requests.iter().enumerate() {
        let operation = &operations[request.place];
        if request.is_known || request.needed_until > operation.invoked.order {
            steps.insert(operation.invoked.order, Step::Ask(at));
        }
        if let Some((moment, _)) = operation.answer() {
            steps.insert(moment.order, Step::Answer(at));
        }
    }
    let steps: Vec<(u64, Step)> = steps.into_iter().collect();
    let (mut walk, mut quiet) = (Walk::new(&requests), (0, Walk::new(&requests)));
    for (at, (order, step)) in steps.iter().enumerate() {
        if walk.is_quiet() {
            quiet = (at, walk.clone());
        }
        match walk.step(*order, *step) {
            Ok(()) => {}
            Err(Stop::TooMany(what)) => {
                return Err(Violation::undecided(JUDGE, format!("k{}: {what}", key.0)));
            }
            Err(Stop::Broken) => return Err(explain(key, operations, &quiet.1, &steps[quiet.0..=at])),
        }
    }
    Ok(())
}

fn request(operations: &[Operation], place: usize) -> Option<Request> {
    let operation = &operations[place];
    let (effect, is_known) = match (&operation.action, operation.outcome()) {
        (Action::Read { .. }, Outcome::Ok(Answer::Value(value))) => (Effect::Saw(*value), true),
        (Action::Write { value, .. }, Outcome::Ok(_)) => (Effect::Put(*value), true),
        (Action::Cas { expected, .. }, Outcome::Ok(Answer::Took(false))) => {
            (Effect::SawOther(*expected), true)
        }
        (Action::Cas { expected, new, .. }, Outcome::Ok(_)) => (Effect::Swap(*expected, *new), true),
        (Action::Write { value, .. }, Outcome::Unknown) => (Effect::Put(*value), false),
        (Action::Cas { expected, new, .. }, Outcome::Unknown) => (Effect::Swap(*expected, *new), false),
        _ => return None,
    };
    Some(Request { effect, place, is_known, needed_until: 0 })
}

/// Until when what each unknown request wrote can make a difference: to an answer that saw it, expected it, or saw something else
/// than it expected, or to another unknown request that makes a difference.
fn note_needs(requests: &mut [Request], operations: &[Operation]) {
    let (mut values, mut others): (BTreeMap<Register, u64>, u64) = (BTreeMap::new(), 0);
    for request in requests.iter().filter(|request| request.is_known) {
        let order = operations[request.place].answer().map_or(0, |(moment, _)| moment.order);
        match request.effect {
            Effect::Saw(value) | Effect::Swap(value, _) => {
                let until = values.entry(value).or_default();
                *until = order.max(*until);
            }
            Effect::SawOther(_) => others = others.max(order),
            Effect::Put(_) => {}
        }
    }
    loop {
        let mut has_changed = false;
        for request in requests.iter_mut().filter(|request| !request.is_known) {
            let left = request.effect.leaves().and_then(|value| values.get(&value).copied());
            let until = left.unwrap_or(0).max(others);
            has_changed |= until > request.needed_until;
            request.needed_until = until;
            if let Effect::Swap(old, _) = request.effect {
                let wanted = values.entry(old).or_default();
                *wanted = until.max(*wanted);
            }
        }
        if !has_changed {
            return;
        }
    }
}

/// What cannot be, without the reads that do not matter to it.
fn explain(key: Key, operations: &[Operation], quiet: &Walk<'_>, steps: &[(u64, Step)]) -> Violation {
    let requests = quiet.requests;
    let place = |step: &Step| match step {
        Step::Ask(at) | Step::Answer(at) => *at,
    };
    let fails = |steps: &[(u64, Step)]| {
        let mut walk = quiet.clone();
        steps.iter().any(|(order, step)| matches!(walk.step(*order, *step), Err(Stop::Broken)))
    };
    let mut window = steps.to_vec();
    let last = window.last().map_or(0, |(_, step)| place(step));
    let open: BTreeSet<usize> = window.iter().map(|(_, step)| place(step)).collect();
    if open.len() <= SHRINK_OPERATIONS_MAX {
        for at in open.into_iter().filter(|at| requests[*at].effect.is_silent() && *at != last) {
            let without: Vec<_> = window.iter().copied().filter(|(_, step)| place(step) != at).collect();
            if fails(&without) {
                window = without;
            }
        }
    }
    let shown: BTreeSet<usize> =
        window.iter().map(|(_, step)| place(step)).chain(quiet.unknown.iter().copied()).collect();
    let values: Vec<String> = quiet.values().into_iter().map(or_nothing).collect();
    let wrong = &operations[requests[last].place];
    let what = format!(
        "k{}: no order of the requests explains the answer to `{}: {}`",
        key.0,
        wrong.action,
        wrong.outcome()
    );
    let start = format!("at the last quiet point k{} is {}; then", key.0, values.join(" or "));
    let lines = shown.into_iter().map(|at| operations[requests[at].place].to_string());
    Violation::broken(JUDGE, what).with([start]).with(lines)
}
