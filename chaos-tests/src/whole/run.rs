//! One run of whole nodes: a cluster is founded, tenants work, faults come and go, then it is quiet, and the judges look at all of it.

use super::archive;
use super::client::{Known, TenantClient};
use super::cluster::{Cluster, until};
use super::finals;
use super::nemesis::{Nemesis, Planned, STEP_MS, schedule};
use super::operator::{self, DOOMED, DOOMED_WORD, make_tenant};
use super::stage::Stage;
use super::watcher::{self, Unwatched};
use super::workload::{Customer, One, Seen, opening, patience_ms};
use crate::check::Violation;
use crate::history::told::Fact;
use crate::history::{ClientId, History, Key};
use crate::processes::events::{Event, Lane, Since};
use crate::processes::judge::{Verdicts, judge};
use crate::processes::value::Form;
use crate::processes::workload::record::Record;
use crate::report::{Operations, Report};
use crate::seed::{Dice, Seed, Swarm};
use raft::planted::Planted;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a tenant was told: its name, its history, and what is known besides.
type Told = (String, History, Vec<Fact>);

/// The tenants.
const TENANTS: [&str; 2] = ["birch", "cedar"];
/// Clients of each.
const CLIENTS: u64 = 4;
/// What comes behind the faults takes so long at most, in milliseconds.
const REST_MS: u64 = 400_000;
/// Watches may take so long to have told all, in milliseconds.
const WATCHED_MS: u64 = 30_000;

/// How long a run is, and what is different in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Milliseconds with faults, simulated.
    pub fault_ms: u64,
    /// A bug that is planted.
    pub planted: Option<Planted>,
    /// Whether history is shipped to an archive, if it is not as the seed has drawn.
    pub is_archived: bool,
    /// One node more is so late, if it is not as the seed has drawn.
    pub late_ms: Option<u64>,
    /// What goes wrong, if it is not what the seed has drawn.
    pub schedule: Option<Vec<Planned>>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its figures.
    pub report: Report,
    /// What was broken, if anything was.
    pub violation: Option<Violation>,
    /// What could not be decided.
    pub undecided: Vec<Violation>,
    /// The last events.
    pub timeline: String,
    /// What went wrong, in its order.
    pub schedule: Vec<Planned>,
    /// For a page.
    pub events: Vec<Event>,
    /// What clients were told, by tenant.
    pub told: Vec<(String, History, Vec<Fact>)>,
}

/// Runs a seed, on a thread of its own: nothing of another run is left in it.
///
/// # Panics
/// If the run does.
#[must_use]
pub fn run(seed: Seed, plan: &Plan) -> Outcome {
    let plan = plan.clone();
    let run = move || {
        raft::planted::plant(plan.planted);
        let dice = tokio::runtime::RngSeed::from_bytes(&seed.0.to_be_bytes());
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).rng_seed(dice).build();
        let runtime = runtime.expect("a runtime without threads and without network");
        let set = tokio::task::LocalSet::new();
        set.block_on(&runtime, raft::type_config::scope(seed.0 ^ 0x5eed, Box::pin(perform(seed, plan))))
    };
    let thread =
        std::thread::Builder::new().name(format!("whole {}", seed.0)).stack_size(16 << 20).spawn(run);
    thread.expect("a thread").join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The configuration of a seed: fewer groups, and a network that loses no more than one does that TCP mends.
#[must_use]
pub fn swarm(seed: Seed) -> Swarm {
    let drawn = Swarm::draw(seed);
    let loss_permille = drawn.loss_permille.min(10);
    Swarm { groups: 1 + drawn.groups % 3, loss_permille, duplicate_permille: 0, reorder_permille: 0, ..drawn }
}

/// Everything of a run that goes on.
struct Running {
    stage: Rc<Stage>,
    customers: Vec<Customer>,
    is_over: Rc<Cell<bool>>,
    is_unwatched: Unwatched,
    work: Vec<JoinHandle<()>>,
    watches: Vec<JoinHandle<()>>,
    seed: Seed,
}

async fn perform(seed: Seed, plan: Plan) -> Outcome {
    let mut swarm = swarm(seed);
    swarm.late_ms = plan.late_ms.or(swarm.late_ms);
    let is_archived = plan.is_archived || Dice::new(seed, "archive").is_lucky(400);
    let mut cluster = Cluster::new(&swarm, is_archived);
    let mut report = Report { seed, ..Report::default() };
    let begun = Box::pin(begin(&mut cluster, &swarm)).await;
    let ground = cluster.ground.clone();
    let planned = plan.schedule.clone().unwrap_or_else(|| schedule(&swarm, plan.fault_ms));
    let stage = Stage::new(ground.clone(), std::mem::take(&mut cluster.nodes));
    let mut violations: Vec<Violation> =
        begun.err().map(|why| Violation::broken("start", why)).into_iter().collect();
    let (mut told, mut events) = (Vec::new(), Vec::new());
    if violations.is_empty() {
        match Box::pin(Running::begin(&stage, seed)).await {
            Ok(running) => {
                let most_ms = plan.fault_ms + REST_MS;
                let goes = Box::pin(running.go_through(&planned, &plan, &mut report, &mut events));
                let ended = tokio::time::timeout(Duration::from_millis(most_ms), goes).await;
                let unending = |_| {
                    let what = format!("the run has not ended within {most_ms} ms");
                    Err(Violation::broken("liveness", what))
                };
                violations.extend(ended.unwrap_or_else(unending).err());
                let (judged, heard) = running.judged(&mut report);
                violations.extend(judged);
                told = heard;
            }
            Err(why) => violations.push(Violation::broken("start", why)),
        }
    }
    report.trace_hash = ground.diary.hash() ^ hash_of(&told);
    report.simulated_ms = ground.time.ms();
    report.sometimes.extend(stage.sometimes.borrow().iter());
    let of_net = ground.net.counts().into_iter().filter(|(_, count)| *count > 0);
    report.sometimes.extend(of_net);
    let (broken, undecided): (Vec<_>, Vec<_>) = violations.into_iter().partition(Violation::is_broken);
    let violation = broken.into_iter().next();
    Outcome {
        report,
        violation,
        undecided,
        timeline: ground.diary.timeline(),
        schedule: planned,
        events,
        told,
    }
}

fn hash_of(told: &[(String, History, Vec<Fact>)]) -> u64 {
    let lines = |(_, history, facts): &(String, History, Vec<Fact>)| {
        history.to_json_lines() + &crate::history::told::to_json_lines(facts)
    };
    xxhash_rust::xxh3::xxh3_64(told.iter().map(lines).collect::<String>().as_bytes())
}

async fn begin(cluster: &mut Cluster, swarm: &Swarm) -> Result<(), String> {
    cluster.found().await?;
    for _ in 1..swarm.nodes {
        cluster.join(0).await?;
    }
    if let Some(late_ms) = swarm.late_ms {
        cluster.join(late_ms).await?;
    }
    until("every group has its voters", || cluster.is_whole()).await
}

impl Running {
    async fn begin(stage: &Rc<Stage>, seed: Seed) -> Result<Self, String> {
        for name in TENANTS.into_iter().chain([DOOMED]) {
            make_tenant(stage, name).await?;
        }
        let (is_over, is_unwatched) = (Rc::new(Cell::new(false)), Unwatched::default());
        let customer = |tenant: &str| {
            let canary = format!("canary{:016x}", Dice::new(seed, tenant).number());
            let form = Form { tenant: tenant.to_owned(), canary };
            let (record, seen) = (Arc::new(Record::new(Since::now())), Rc::new(Cell::new(Seen::default())));
            Customer { form, record, is_over: is_over.clone(), seen }
        };
        let customers: Vec<Customer> = TENANTS.iter().map(|tenant| customer(tenant)).collect();
        let (work, watches) = (Vec::new(), Vec::new());
        let mut running =
            Self { stage: stage.clone(), customers, is_over, is_unwatched, work, watches, seed };
        running.open().await?;
        Ok(running)
    }

    fn one(&self, tenant: usize, number: u64) -> One {
        let customer = self.customers[tenant].clone();
        let name = customer.form.tenant.clone();
        let dice = Dice::new(self.seed, &format!("{name} {number}"));
        let around: (_, Known) = (self.stage.ground.doors.clone(), self.stage.known.clone());
        let client = TenantClient::new(around, &name, tenant as u64 * 100 + number, dice);
        One { customer, client, id: ClientId(number), patience_ms: patience_ms(number) }
    }

    /// Opens the banks, and lets all work.
    async fn open(&mut self) -> Result<(), String> {
        for tenant in 0..TENANTS.len() {
            self.one(tenant, 50)
                .open_accounts()
                .await
                .map_err(|why| format!("no bank is opened: {why:?}"))?;
            let other = self.customers[1 - tenant].form.clone();
            for number in 1..=CLIENTS {
                let work = self.one(tenant, number).work(other.clone());
                self.work.push(self.spawn(100 * tenant as u64 + number, work));
            }
            let watch = watcher::work(self.one(tenant, 60), self.is_unwatched.clone());
            self.watches.push(self.spawn(160 + tenant as u64, watch));
        }
        let mut doomed = self.one(0, 70).client;
        DOOMED.clone_into(&mut doomed.tenant);
        let dice = Dice::new(self.seed, "operator");
        let work = operator::work(self.stage.clone(), dice, self.is_over.clone(), doomed);
        self.work.push(self.spawn(300, work));
        Ok(())
    }

    /// What it asks of nodes may spawn tasks, which draw from dice of consensus as well.
    fn spawn(&self, number: u64, work: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
        tokio::task::spawn_local(raft::type_config::scope(self.seed.0 ^ (number << 40), work))
    }

    /// Faults, then quiet, then what must be so in the end.
    async fn go_through(
        &self,
        planned: &[Planned],
        plan: &Plan,
        report: &mut Report,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        let (stage, since_ms) = (&self.stage, self.stage.ground.time.ms());
        let mut nemesis = Nemesis::new(stage.clone());
        let mut rest = planned.iter();
        let mut next = rest.next();
        while stage.ground.time.ms() < since_ms + plan.fault_ms {
            nemesis.look().await;
            while let Some(one) = next.filter(|one| since_ms + one.at_ms <= stage.ground.time.ms()) {
                let at_ms = self.customers[0].record.since.ms();
                events.push(Event {
                    at_ms,
                    until_ms: None,
                    lane: Lane::Run,
                    what: format!("{:?}", one.fault),
                });
                nemesis.strike(one, report).await;
                next = rest.next();
            }
            if finals::is_late(stage)? {
                stage.sees("looks at a delayed node");
            }
            self.fails_early()?;
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        }
        nemesis.calm().await;
        self.settle(&mut nemesis).await
    }

    /// What the record shows to be wrong already: no need to go on.
    fn fails_early(&self) -> Result<(), Violation> {
        for customer in &self.customers {
            crate::check::apart::check(&customer.record.foreign())?;
        }
        Ok(())
    }

    async fn settle(&self, nemesis: &mut Nemesis) -> Result<(), Violation> {
        let stage = &self.stage;
        self.served(nemesis).await?;
        stage.sees("clusters that served again");
        self.is_over.set(true);
        while !self.work.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        }
        self.watched(nemesis).await?;
        // Nobody looks after nodes any more from here on.
        while nemesis.has_more() {
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
            nemesis.look().await;
        }
        for tenant in 0..TENANTS.len() {
            let mut one = One { patience_ms: 20_000, ..self.one(tenant, 90) };
            let lost = |why| Violation::broken("liveness", format!("nothing is read in the end: {why:?}"));
            one.read_all().await.map_err(lost)?;
            let keys: Vec<Key> = one.customer.record.keys();
            one.look(None, keys).await.map_err(lost)?;
        }
        let compared = finals::agree(stage).await?;
        stage.sometimes.borrow_mut().insert("replicas compared", compared);
        let newest = self.customers.iter().map(|customer| customer.record.newest()).max().unwrap_or_default();
        if finals::catches_up(stage, newest).await? > 0 {
            stage.sees("delayed nodes that caught up");
        }
        if stage.sometimes.borrow().contains_key("tenants dropped") {
            finals::is_gone(&mut self.one(0, 95)).await?;
        }
        let words: Vec<String> = self.customers.iter().map(|customer| customer.form.canary.clone()).collect();
        let words: Vec<String> = words.into_iter().chain([DOOMED_WORD.to_owned()]).collect();
        if stage.ground.is_archived {
            archive::is_sound(stage, newest).await?;
            stage.sees("archives verified");
        }
        let mut searched = finals::nothing_in_the_open(stage, &words)?;
        searched += archive::nothing_in_the_open(stage, &words).await?;
        stage.sometimes.borrow_mut().insert("bytes searched", searched);
        Ok(())
    }

    /// Every tenant is served again, within the time for it.
    async fn served(&self, nemesis: &mut Nemesis) -> Result<(), Violation> {
        for tenant in 0..TENANTS.len() {
            let (stage, mut one, told) = (self.stage.clone(), self.one(tenant, 80), Rc::new(Cell::new(None)));
            let tells = told.clone();
            let serves = async move { tells.set(Some(finals::serves(&stage, &mut one).await)) };
            let task = self.spawn(180 + 100 * tenant as u64, serves);
            // Whoever looks is not left in the middle of it: a node may be in its hands.
            while !task.is_finished() {
                tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
                nemesis.look().await;
            }
            told.take().transpose()?;
        }
        Ok(())
    }

    /// Every watch comes to have told all that was acknowledged.
    async fn watched(&self, nemesis: &mut Nemesis) -> Result<(), Violation> {
        let until = self.stage.ground.time.ms() + WATCHED_MS;
        let is_told = |customer: &Customer| customer.record.watched() >= customer.record.newest();
        while !self.customers.iter().all(is_told) {
            if self.stage.ground.time.ms() > until {
                let upto = self.customers.iter().map(|one| (one.record.watched(), one.record.newest()));
                let what = format!(
                    "watches have not told all within {WATCHED_MS} ms: {:?}",
                    upto.collect::<Vec<_>>()
                );
                return Err(Violation::broken("liveness", what));
            }
            nemesis.look().await;
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        }
        self.is_unwatched.set(true);
        while !self.watches.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        }
        Ok(())
    }

    /// What the judges say of every tenant.
    fn judged(&self, report: &mut Report) -> (Vec<Violation>, Vec<Told>) {
        let (mut violations, mut told) = (Vec::new(), Vec::new());
        for customer in &self.customers {
            let (history, facts) = customer.record.taken();
            let Verdicts { violations: found, looks, covered, .. } = judge(&history, &facts, &opening());
            let name = &customer.form.tenant;
            let named = |one: Violation| Violation { what: format!("{name}: {}", one.what), ..one };
            violations.extend(found.into_iter().map(named));
            let Operations { ok, failed, unknown } = Operations::of(&history);
            report.operations.ok += ok;
            report.operations.failed += failed;
            report.operations.unknown += unknown;
            let Seen { again, past, refused, transfers } = customer.seen.get();
            for (branch, count) in [
                ("writes sent again", again),
                ("reads of the past", past),
                ("foreign questions refused", refused),
                ("transfers", transfers),
                ("looks held against what was acknowledged", looks),
                ("writes that watches had to tell", covered.writes),
            ] {
                *report.sometimes.entry(branch).or_default() += count;
            }
            told.push((name.clone(), history, facts));
        }
        (violations, told)
    }
}
