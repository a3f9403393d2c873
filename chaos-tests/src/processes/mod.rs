//! Real processes under real faults: nodes with TLS, disks and sockets of this machine, stopped short, robbed of what they did not sync,
//! cut off, filled up and damaged by a seeded schedule, while clients work; and the judges of the simulator over what those were told.
//! Only here the crate knows real clocks and disks. A seed names a schedule, no run: threads and the system go their own ways.

pub mod cluster;
pub mod dialer;
pub mod events;
pub mod fault;
pub mod finals;
pub mod judge;
pub mod link;
pub mod lost_sync;
pub mod nemesis;
pub mod page;
pub mod plan;
pub mod proxy;
pub mod rot;
pub mod run;
pub mod small_disk;
pub mod summary;
pub mod value;
pub mod weather;
pub mod workload;

use events::Events;
use node::cmd::Failure;
use plan::{Plan, USAGE};
use run::{Ran, run};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where runs lie that name no folder.
const RUNS: &str = "target/chaos";
/// Where soaks are added up that name no file.
const LEDGER: &str = "target/chaos/ledger.jsonl";

/// `chaos-tests processes`: does what the words say.
#[must_use]
pub fn command(words: impl Iterator<Item = String>, fresh: u64) -> ExitCode {
    let plan = match Plan::parse(words, fresh) {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match perform(&plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos-tests: {}", engine::error::with_sources(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Runs, tells, and keeps what a person needs. Whether nothing is broken.
fn perform(plan: &Plan) -> Result<bool, Failure> {
    let program = match &plan.program {
        Some(program) => fs::canonicalize(program)?,
        None => built()?,
    };
    let folder = std::path::absolute(plan.folder.clone().unwrap_or_else(|| unused(plan.seed.0)))?;
    if folder.exists() {
        return Err(format!("{} exists already: name a new folder", folder.display()).into());
    }
    fs::create_dir_all(&folder)?;
    println!("seed {}: {} minutes, in {}", plan.seed.0, plan.fault_ms as f64 / 60_000.0, folder.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut ran = runtime.block_on(async {
        let interrupted = async { tokio::signal::ctrl_c().await };
        tokio::select! {
            ran = run(plan, &folder, program) => ran,
            _ = interrupted => Err("interrupted".into()),
        }
    })?;
    ran.summary.tree = tree();
    let unhit = ran.summary.unhit();
    ran.summary.violations.extend(unhit);
    write_down(plan, &folder, &ran)?;
    let line = ran.summary.to_json();
    println!("{line}");
    let ledger = plan.ledger.clone().unwrap_or_else(|| PathBuf::from(LEDGER));
    add_up(&ledger, &line, &ran.summary.tree)?;
    let has_passed = ran.summary.has_passed();
    if has_passed && !plan.is_kept {
        fs::remove_dir_all(&folder)?;
    } else {
        ran.summary.violations.iter().for_each(|violation| println!("{violation}"));
        println!("everything lies in {}; timeline.txt and page.html tell what happened", folder.display());
        println!("again: {}", plan.command());
    }
    Ok(has_passed)
}

/// The server, built beside this program.
fn built() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let folder = own.parent().ok_or("this program lies nowhere")?;
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--bin", "dewpond"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if !command.status()?.success() {
        return Err("the server cannot be built".into());
    }
    Ok(folder.join("dewpond"))
}

/// A folder that is not there yet.
fn unused(seed: u64) -> PathBuf {
    let named = |number: u64| PathBuf::from(RUNS).join(format!("{seed}-{number}"));
    (1..).map(named).find(|folder| !folder.exists()).unwrap_or_else(|| named(0))
}

/// The tree this was built from, as git names it.
pub(crate) fn tree() -> String {
    let said = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(tree) = said(&["rev-parse", "HEAD^{tree}"]) else { return "unknown".to_owned() };
    let is_same =
        said(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changed| changed.is_empty());
    if is_same { tree } else { format!("{tree}+") }
}

/// Histories, timeline and page, beside the folders of the nodes.
fn write_down(plan: &Plan, folder: &Path, ran: &Ran) -> Result<(), Failure> {
    for (tenant, history, facts) in &ran.told {
        fs::write(folder.join(format!("history-{tenant}.jsonl")), history.to_json_lines())?;
        fs::write(folder.join(format!("told-{tenant}.jsonl")), crate::history::told::to_json_lines(facts))?;
    }
    fs::write(folder.join("timeline.txt"), timeline(plan, &ran.events, &ran.summary)?)?;
    let events = ran.events.all();
    let operations: Vec<_> =
        ran.told.iter().map(|(tenant, history, _)| (&tenant[..], history.operations())).collect();
    let (title, violations) = (plan.command(), &ran.summary.violations);
    let shown = page::Shown { title: &title, events: &events, operations: &operations, violations };
    fs::write(folder.join("page.html"), page::page(&shown))?;
    Ok(fs::write(folder.join("summary.json"), ran.summary.to_json())?)
}

fn timeline(plan: &Plan, events: &Events, summary: &summary::Summary) -> Result<String, Failure> {
    let mut text = format!("{}\n\n", plan.command());
    for event in events.all() {
        writeln!(text, "{event}")?;
    }
    for violation in &summary.violations {
        writeln!(text, "\n{violation}")?;
    }
    Ok(text)
}

fn add_up(ledger: &Path, line: &str, tree: &str) -> Result<(), Failure> {
    if let Some(folder) = ledger.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(ledger)?;
    writeln!(file, "{line}")?;
    let all = fs::read_to_string(ledger)?;
    println!("{}, of this tree: {}", ledger.display(), summary::total(&all, Some(tree)));
    println!("{}, of all trees: {}", ledger.display(), summary::total(&all, None));
    Ok(())
}
