//! What clients do in a run: they write, compare and set, append, move money, and read; each asks one thing after the other, and tries
//! again under the same request number as long as its patience lasts.

use crate::check::durable::Oracle;
use crate::check::past::Look;
use crate::history::{Action, Answer, ClientId, History, Key, Outcome};
use crate::seed::{Dice, Swarm};
use crate::world::keys::TENANTS;
use crate::world::node::Node;
use crate::world::operations::{ACCOUNTS, Do, LISTS, REGISTERS, Said, elements, number};
use crate::world::overseer::Overseer;
use engine::Stamp;
use engine::clock::Clock;
use raft::command::Counts;
use raft::group::batcher::Answer as Acknowledged;
use raft::group::outcome::{NotApplied, NotNow};
use raft::net::inbound::Receiver;
use raft::proposal::Reply;
use raft::read::door::{Asked, Proof};
use raft::seal::Unsealed;
use raft::types::GroupId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Accounts of the bank.
pub const ACCOUNTS_COUNT: u64 = 5;
/// What each has at first.
pub const FIRST_MONEY: u64 = 100;
/// Requests of one client between which the lists are the same.
const LIST_REQUESTS: u64 = 100;
/// Keys of accounts and lists begin here, so that they never meet a register's.
pub const LIST_KEYS: u64 = 1_000_000;
/// As above.
pub const ACCOUNT_KEYS: u64 = 2_000_000;

/// Of a thousand requests so many are of the past.
const LOOKS_PERMILLE: u32 = 150;

/// What clients and faults share: the nodes, and what clients were told.
pub struct Stage {
    /// All nodes.
    pub nodes: RefCell<Vec<Node>>,
    /// What was asked and told.
    pub history: RefCell<History>,
    /// Whether clients are to stop.
    pub is_over: RefCell<bool>,
    /// Its configuration.
    pub swarm: Swarm,
    /// Which node was last seen to lead a group.
    pub hints: RefCell<BTreeMap<GroupId, usize>>,
    /// Whom two of the clients ask.
    pub pins: RefCell<Pins>,
    /// What was acknowledged, and must be there.
    pub oracle: RefCell<Oracle>,
    /// Who hears of what is wrong, and of what is rare.
    pub overseer: Overseer,
    /// Reads, by what they were proved with or why they were not answered.
    pub proofs: RefCell<BTreeMap<&'static str, u64>>,
    /// What replicas answered of the past.
    pub looks: RefCell<Vec<Look>>,
}

impl Stage {
    /// A read was answered.
    pub fn granted(&self, proof: Proof) {
        let by = match proof {
            Proof::Lease => "reads by a lease",
            Proof::Round => "reads by a round",
            Proof::Leader(_) => "reads at followers",
            Proof::Closed(_) => "reads of the past",
        };
        self.counts(by);
    }

    /// Something has happened that is to happen sometimes.
    pub fn counts(&self, branch: &'static str) {
        *self.proofs.borrow_mut().entry(branch).or_default() += 1;
    }
}

/// Whom two clients ask, whoever leads; they are silent while it is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The one that reads.
    pub reader: Option<usize>,
    /// The one that writes.
    pub writer: Option<usize>,
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All there is, at whoever leads.
    Any,
    /// It reads one register, at the node that a pin names, and takes a lease for an answer.
    Reader,
    /// It writes the same register, at the node that a pin names.
    Writer,
}

/// One client.
pub struct Client {
    /// Who.
    pub id: ClientId,
    /// Its choices.
    pub dice: Dice,
    /// Number of its next request.
    pub next: u64,
    /// What it is for.
    pub role: Part,
    /// What it last saw or put into each register.
    pub seen: BTreeMap<Key, Option<u64>>,
}

/// The group a key is in.
#[must_use]
pub fn group_of(swarm: &Swarm, key: u64) -> GroupId {
    GroupId(1 + key % u64::from(swarm.groups))
}

/// Where the bank is: all of it in one group.
#[must_use]
pub fn bank_group() -> GroupId {
    GroupId(1)
}

impl Client {
    /// One that does all there is.
    #[must_use]
    pub fn new(id: ClientId, swarm: &Swarm) -> Self {
        let dice = Dice::new(swarm.seed, &format!("client {}", id.0));
        Self { id, dice, next: 1, role: Part::Any, seen: BTreeMap::new() }
    }

    /// The node it asks whoever leads, if it has one.
    fn pin(&self, stage: &Stage) -> Option<usize> {
        let pins = stage.pins.borrow();
        match self.role {
            Part::Any => None,
            Part::Reader => pins.reader,
            Part::Writer => pins.writer,
        }
    }

    fn choose(&mut self, swarm: &Swarm) -> Action {
        let key = Key(self.dice.below(swarm.keys));
        // Every append writes the whole list again: after a while others are begun.
        let list = Key(LIST_KEYS + self.next / LIST_REQUESTS * 5 + self.dice.below(swarm.keys.min(5)));
        let value = self.id.0 * 1_000_000 + self.next;
        match self.role {
            Part::Any => {}
            Part::Reader => return Action::Read { key: Key(0) },
            Part::Writer => return Action::Write { key: Key(0), value: Some(value) },
        }
        match self.dice.below(20) {
            0..=4 => Action::Write { key, value: if self.dice.is_lucky(100) { None } else { Some(value) } },
            5..=7 => {
                // Most times what it knows, now and then what nobody ever wrote.
                let known = self.seen.get(&key).copied().flatten();
                let expected = if self.dice.is_lucky(200) { Some(self.dice.below(1_000_000)) } else { known };
                Action::Cas { key, expected, new: Some(value) }
            }
            8..=12 => Action::Read { key },
            13..=14 => Action::Append { key: list, element: value },
            15 => Action::ReadList { key: list },
            16..=17 => {
                let account = |dice: &mut Dice| Key(ACCOUNT_KEYS + dice.below(ACCOUNTS_COUNT));
                let (from, to) = (account(&mut self.dice), account(&mut self.dice));
                Action::Transfer { from, to, amount: 1 + self.dice.below(40) }
            }
            18 => Action::ReadAll,
            _ => Action::Read { key },
        }
    }

    /// Begins to ask, in a task of its own, until the run is over.
    pub fn begin(self, stage: &Rc<Stage>) -> tokio::task::JoinHandle<()> {
        // What it asks of replicas may spawn tasks, which draw from dice of consensus as well.
        let seed = stage.swarm.seed.0 ^ (self.id.0 << 40);
        tokio::task::spawn_local(raft::type_config::scope(seed, self.work(stage.clone())))
    }

    /// Asks until the run is over.
    async fn work(mut self, stage: Rc<Stage>) {
        while !*stage.is_over.borrow() {
            let think_ms = if self.role == Part::Any { stage.swarm.think_ms } else { 5 };
            tokio::time::sleep(Duration::from_millis(self.dice.below(think_ms + 1).max(1))).await;
            if self.role != Part::Any && self.pin(&stage).is_none() {
                continue;
            }
            if self.role == Part::Any && self.dice.is_lucky(LOOKS_PERMILLE) {
                self.look_back(&stage).await;
                continue;
            }
            let action = self.choose(&stage.swarm);
            self.ask(&stage, action).await;
        }
    }

    async fn ask(&mut self, stage: &Rc<Stage>, action: Action) {
        let now = || tokio::time::Instant::now();
        let (begin, patience) = (now(), Duration::from_millis(stage.swarm.patience_ms));
        let at_ms = |stage: &Stage| stage.nodes.borrow()[0].clock.true_ms();
        let id = stage.history.borrow_mut().invoke(self.id, action.clone(), at_ms(stage));
        self.next += 1;
        let outcome = tokio::time::timeout(patience, self.attempt(stage, &action)).await;
        let outcome = outcome.unwrap_or(if is_read(&action) { Outcome::Failed } else { Outcome::Unknown });
        debug_assert!(now() >= begin);
        self.remember(&action, &outcome);
        if !matches!(outcome, Outcome::Ok(_))
            && let Some((key, value)) = set(&action)
        {
            stage.oracle.borrow_mut().unknown(key, value);
        }
        stage.history.borrow_mut().complete(id, outcome, at_ms(stage));
    }

    fn remember(&mut self, action: &Action, outcome: &Outcome) {
        let known = match (action, outcome) {
            (Action::Read { key }, Outcome::Ok(Answer::Value(value))) => Some((*key, *value)),
            (Action::Write { key, value }, Outcome::Ok(_)) => Some((*key, *value)),
            (Action::Cas { key, new, .. }, Outcome::Ok(Answer::Took(true))) => Some((*key, *new)),
            _ => None,
        };
        self.seen.extend(known);
    }

    async fn attempt(&mut self, stage: &Rc<Stage>, action: &Action) -> Outcome {
        if is_read(action) { self.read(stage, action).await } else { self.write(stage, action).await }
    }

    /// A node to ask: the one that was last seen to lead, or any.
    fn node(&mut self, stage: &Stage, group: GroupId) -> usize {
        if let Some(pin) = self.pin(stage) {
            return pin;
        }
        let count = stage.nodes.borrow().len() as u64;
        let hint = stage.hints.borrow().get(&group).copied();
        match hint {
            Some(hint) if !self.dice.is_lucky(50) => hint,
            _ => usize::try_from(self.dice.below(count)).unwrap_or(0),
        }
    }

    /// A node to read at: any replica can answer.
    fn reader(&mut self, stage: &Stage, group: GroupId) -> usize {
        let count = stage.nodes.borrow().len() as u64;
        match self.pin(stage) {
            None if self.dice.is_lucky(400) => usize::try_from(self.dice.below(count)).unwrap_or(0),
            _ => self.node(stage, group),
        }
    }

    async fn write(&mut self, stage: &Rc<Stage>, action: &Action) -> Outcome {
        let (key, what) = match *action {
            Action::Write { key, value } => (key, Do::Write(key.0, value)),
            Action::Cas { key, expected, new } => (key, Do::Cas(key.0, expected, new)),
            Action::Append { key, element } => (key, Do::Append(key.0, element)),
            Action::Transfer { from, to, amount } => (from, Do::Move(from.0, to.0, amount)),
            _ => return Outcome::Failed,
        };
        let group = if key.0 >= ACCOUNT_KEYS { bank_group() } else { group_of(&stage.swarm, key.0) };
        let mut session = [7; 16];
        session[8..].copy_from_slice(&self.id.0.to_be_bytes());
        let valid_until = Stamp::new(stage.nodes.borrow()[0].clock.now_ms() + 600_000, 0);
        let command = Unsealed {
            tenant: TENANTS[0],
            session,
            number: self.next,
            valid_until,
            counts: Counts::default(),
            body: what.encode(),
        };
        // Once it may have been taken, only its own answer says what became of it.
        loop {
            let at = self.node(stage, group);
            let found = {
                let nodes = stage.nodes.borrow();
                let batcher = nodes[at].awake().and_then(|running| running.batcher(group));
                batcher.map(|batcher| (batcher, nodes[at].hardware.pause.clone()))
            };
            let Some((batcher, node)) = found else {
                self.pause(stage, group, None).await;
                continue;
            };
            match node.within(batcher.submit(command.clone())).await {
                Ok(answer) => {
                    stage.hints.borrow_mut().insert(group, at);
                    let outcome = told(action, &answer.reply);
                    acknowledged(stage, action, &answer, &outcome);
                    return outcome;
                }
                Err(NotApplied::NotLeader { leader }) => {
                    let leader = leader.map(|(_, seat)| seat.node.0);
                    self.pause(stage, group, leader).await;
                }
                Err(
                    NotApplied::Transferring { .. }
                    | NotApplied::RetryLater { .. }
                    | NotApplied::Unknown { .. },
                ) => {
                    self.pause(stage, group, None).await;
                }
                Err(NotApplied::Refused { .. }) => return Outcome::Unknown,
            }
        }
    }

    async fn pause(&mut self, stage: &Stage, group: GroupId, leader: Option<u64>) {
        match leader {
            Some(node) => {
                let at = usize::try_from(node - 1).unwrap_or(0);
                stage.hints.borrow_mut().insert(group, at);
            }
            None => {
                stage.hints.borrow_mut().remove(&group);
            }
        }
        let ms = 5 + self.dice.below(30);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    async fn read(&mut self, stage: &Rc<Stage>, action: &Action) -> Outcome {
        let (group, keys) = match *action {
            Action::Read { key } | Action::ReadList { key } => (group_of(&stage.swarm, key.0), vec![key]),
            _ => (bank_group(), (0..ACCOUNTS_COUNT).map(|n| Key(ACCOUNT_KEYS + n)).collect()),
        };
        loop {
            let at = self.reader(stage, group);
            let found = {
                let nodes = stage.nodes.borrow();
                let receiver = nodes[at].awake().and_then(|running| running.registry.get(group));
                receiver.map(|receiver| (receiver, nodes[at].hardware.pause.clone()))
            };
            let Some((receiver, node)) = found else {
                self.pause(stage, group, None).await;
                continue;
            };
            // A node that stands still does so between the lease and the rows as well.
            match node.within(answer(stage, &receiver, action, &keys)).await {
                Ok(outcome) => return outcome,
                Err(not_now) => self.pause(stage, group, elsewhere(&not_now)).await,
            }
        }
    }
}

/// What a replica answers to a read, if it can.
async fn answer(
    stage: &Stage,
    receiver: &Receiver,
    action: &Action,
    keys: &[Key],
) -> Result<Outcome, NotNow> {
    let wait_ms = receiver.group().pace().election_max_ms;
    let granted = receiver.door().linearizable(Asked { wall_ms: 0, wait_ms }).await?;
    stage.granted(granted.proof);
    let view = granted.view;
    let collection = match action {
        Action::Read { .. } => REGISTERS,
        Action::ReadList { .. } => LISTS,
        _ => ACCOUNTS,
    };
    let mut found = BTreeMap::new();
    for key in keys {
        match view.get(TENANTS[0], collection, &key.0.to_be_bytes()) {
            Ok(row) => found.insert(*key, row.map(|row| row.value)),
            Err(_) => return Ok(Outcome::Failed),
        };
    }
    Ok(Outcome::Ok(match action {
        Action::Read { key } => Answer::Value(found[key].as_ref().and_then(|value| number(value))),
        Action::ReadList { key } => {
            Answer::List(found[key].as_ref().map(|value| elements(value)).unwrap_or_default())
        }
        _ => Answer::Balances(
            found
                .into_iter()
                .filter_map(|(key, value)| Some((key, i64::try_from(number(&value?)?).ok()?)))
                .collect(),
        ),
    }))
}

/// The register that an action sets, and to what.
fn set(action: &Action) -> Option<(Key, Option<u64>)> {
    match *action {
        Action::Write { key, value } => Some((key, value)),
        Action::Cas { key, new, .. } => Some((key, new)),
        _ => None,
    }
}

/// The node that a replica that cannot answer names.
fn elsewhere(not_now: &NotNow) -> Option<u64> {
    match not_now {
        NotNow::NotLeader { leader } => leader.map(|(_, seat)| seat.node.0),
        NotNow::Elsewhere { better } => better.map(|node| node.0),
        _ => None,
    }
}

/// A write was acknowledged: it must be found from now on.
fn acknowledged(stage: &Stage, action: &Action, answer: &Acknowledged, outcome: &Outcome) {
    let ran_before = matches!(answer.reply, Reply::RanBefore(_));
    if ran_before {
        stage.overseer.saw("requests answered by their kept reply");
    }
    let has_set = matches!(outcome, Outcome::Ok(Answer::Stored | Answer::Took(true)));
    let Some((key, value)) = set(action).filter(|_| has_set) else { return };
    let mut oracle = stage.oracle.borrow_mut();
    let told = match ran_before {
        // When it ran nobody says; that it did, a later read can only show.
        true => {
            oracle.unknown(key, value);
            Ok(())
        }
        false => oracle.acknowledged(key, answer.stamp, value),
    };
    if let Err(violation) = told {
        stage.overseer.accuse(violation);
    }
}

fn is_read(action: &Action) -> bool {
    matches!(action, Action::Read { .. } | Action::ReadList { .. } | Action::ReadAll)
}

fn told(action: &Action, reply: &Reply) -> Outcome {
    let (Reply::Ran(said) | Reply::RanBefore(said)) = reply else {
        // It did not run now; whether it did before is not known.
        return Outcome::Unknown;
    };
    match (action, Said::decode(said)) {
        (Action::Cas { .. } | Action::Transfer { .. }, Said::Done) => Outcome::Ok(Answer::Took(true)),
        (Action::Cas { .. } | Action::Transfer { .. }, Said::Not) => Outcome::Ok(Answer::Took(false)),
        (_, Said::Done) => Outcome::Ok(Answer::Stored),
        _ => Outcome::Failed,
    }
}

/// The command that gives an account its first money.
#[must_use]
pub fn fund(account: u64, clock: &dyn Clock) -> Unsealed {
    Unsealed {
        tenant: TENANTS[0],
        session: [9; 16],
        number: account,
        valid_until: Stamp::new(clock.now_ms() + 600_000, 0),
        counts: Counts::default(),
        body: Do::Fund(account, FIRST_MONEY).encode(),
    }
}
