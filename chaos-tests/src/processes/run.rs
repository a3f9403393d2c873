//! One run: a cluster is founded, clients go to work, things go wrong, then it is quiet, and everything is judged.

use super::cluster::{Cluster, TENANTS};
use super::events::{Events, Lane, Since};
use super::fault::Fault;
use super::finals::{self, Ends};
use super::judge::judge;
use super::nemesis::Nemesis;
use super::plan::Plan;
use super::summary::Summary;
use super::value::Form;
use super::weather::Weather;
use super::workload::record::Record;
use super::workload::{Customer, opening};
use crate::check::Violation;
use crate::history::History;
use crate::history::told::Fact;
use crate::report::Operations;
use crate::seed::Dice;
use node::cmd::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Clients go on so long after all is well again, so that the judges see it.
const CALM: Duration = Duration::from_secs(3);
/// Within which every watch has told all, after the last write.
const WATCHED_MS: u64 = 30_000;

/// What came of a run.
pub struct Ran {
    /// In short.
    pub summary: Summary,
    /// What happened.
    pub events: Events,
    /// What the clients of each tenant asked and were told.
    pub told: Vec<(String, History, Vec<Fact>)>,
}

/// Runs it in a folder.
///
/// # Errors
/// The run could not be: no cluster came about. What is broken in one that did is in the summary.
pub async fn run(plan: &Plan, folder: &Path, program: PathBuf) -> Result<Ran, Failure> {
    let since = Since::now();
    let events = Events::new(since);
    let (first, newer) = match &plan.upgrade_from {
        Some(older) => (std::fs::canonicalize(older)?, Some(program)),
        None => (program, None),
    };
    let mut cluster = Cluster::new(&folder.join("cluster"), first, events.clone())?;
    cluster.found(plan).await?;
    cluster.say_skipped();
    let customers = customers(&cluster, plan, since).await?;
    events.note(Lane::Run, "a cluster with two tenants serves; clients go to work");
    let (mut writers, mut watchers) = (JoinSet::new(), JoinSet::new());
    for (at, customer) in customers.iter().enumerate() {
        customer.work(plan.seed, &customers[1 - at], &mut writers);
        customer.watch(plan.seed, &mut watchers);
    }
    let mut summary = Summary { seed: plan.seed.0, nodes: plan.nodes, ..Summary::default() };
    let broke = spoil(plan, &mut cluster, newer, &mut summary).await;
    summary.violations.extend(broke.err().map(|error| Violation::broken("liveness", error.to_string())));
    let quiet = calm(&mut cluster, &customers, &mut writers, &mut summary.ends).await;
    summary.violations.extend(quiet.err());
    customers.iter().for_each(|customer| customer.is_unwatched.store(true, Ordering::Relaxed));
    while watchers.join_next().await.is_some() {}
    if summary.has_passed() {
        let searched = stop(&mut cluster, &customers, &mut summary.ends).await;
        summary.violations.extend(searched.err());
    }
    let mut told = vec![];
    for customer in &customers {
        let (history, facts) = customer.record.taken();
        let mut verdicts = judge(&history, &facts, &opening());
        verdicts
            .violations
            .iter_mut()
            .for_each(|one| one.what = format!("{}: {}", customer.form.tenant, one.what));
        summary.violations.append(&mut verdicts.violations);
        let Operations { ok, failed, unknown } = Operations::of(&history);
        summary.operations.ok += ok;
        summary.operations.failed += failed;
        summary.operations.unknown += unknown;
        summary.judged.0 += verdicts.versions as u64;
        summary.judged.1 += verdicts.looks;
        summary.judged.2 += verdicts.again;
        summary.covered.watches += verdicts.covered.watches;
        summary.covered.writes += verdicts.covered.writes;
        told.push((customer.form.tenant.clone(), history, facts));
    }
    summary.whole_ms = since.ms();
    Ok(Ran { summary, events, told })
}

async fn customers(cluster: &Cluster, plan: &Plan, since: Since) -> Result<Vec<Customer>, Failure> {
    let doors = cluster.doors().await?;
    let mut customers = vec![];
    for tenant in TENANTS {
        let canary = format!("canary{:016x}", Dice::new(plan.seed, tenant).number());
        let customer = Customer {
            form: Form { tenant: tenant.to_owned(), canary },
            client: cluster.service(tenant, &doors)?,
            record: Arc::new(Record::new(since)),
            is_over: Arc::default(),
            is_unwatched: Arc::default(),
        };
        customer.open_accounts().await?;
        customers.push(customer);
    }
    Ok(customers)
}

/// Breaks nodes and links as long as is asked; then none is broken.
async fn spoil(
    plan: &Plan,
    cluster: &mut Cluster,
    newer: Option<PathBuf>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let begun_ms = cluster.events.since.ms();
    let (proxy, events, places) = (cluster.proxy.clone(), cluster.events.clone(), cluster.places.len());
    let mut nemesis = Nemesis::new(cluster, Dice::new(plan.seed, "nodes"));
    let dice = Dice::new(plan.seed, "links");
    let weather =
        Weather { proxy, events, places, hits: Default::default(), dice, fine: nemesis.fine.clone() };
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = is_over.clone();
    let links = tokio::spawn(async move { weather.run(&ends).await });
    let ended = nemesis.run(plan.fault_ms, newer).await;
    is_over.store(true, Ordering::Relaxed);
    summary.tally = nemesis.tally;
    for (fault, count) in links.await? {
        *summary.tally.hits.entry(fault).or_default() += count;
    }
    cluster.proxy.change(super::link::Links::heal);
    summary.fault_ms = cluster.events.since.ms() - begun_ms;
    cluster.events.note(Lane::Run, "the last fault is over");
    let cuts = summary.tally.hits.get(&Fault::Cut).copied().unwrap_or(0);
    cluster
        .events
        .note(Lane::Run, format!("{} processes were stopped short, {cuts} links cut", summary.tally.kills));
    ended
}

/// Waits until all is well, lets clients end, and looks at every replica.
async fn calm(
    cluster: &mut Cluster,
    customers: &[Customer],
    writers: &mut JoinSet<()>,
    ends: &mut Ends,
) -> Result<(), Violation> {
    let lives = finals::live(cluster, customers, ends).await;
    tokio::time::sleep(CALM).await;
    customers.iter().for_each(|customer| customer.is_over.store(true, Ordering::Relaxed));
    while writers.join_next().await.is_some() {}
    lives?;
    for customer in customers {
        let told = async |_: &mut Cluster| {
            customer.last_reads().await.ok()?;
            (customer.record.watched() >= customer.record.newest()).then_some(())
        };
        let watched = cluster.until("every watch has told all", WATCHED_MS, told).await;
        watched.map_err(|error| Violation::broken("liveness", error.to_string()))?;
    }
    finals::each(cluster, customers, ends).await
}

/// Stops all nodes in order, and searches what they leave.
async fn stop(cluster: &mut Cluster, customers: &[Customer], ends: &mut Ends) -> Result<(), Violation> {
    for place in cluster.places.clone() {
        cluster.stop(place).await.map_err(|error| Violation::broken("liveness", error.to_string()))?;
    }
    let canaries: Vec<String> = customers.iter().map(|customer| customer.form.canary.clone()).collect();
    finals::files(cluster, &canaries, ends)
}
