//! Benchmarks: our engine beside its peers, and a pool of many small tablets.
//!
//! * `benches engine [--quick] [--keys N] [--runs N] [--only a,b]` compares stores. `--only` takes names of stores and phases.
//! * `benches tablets [--count N]` opens many small tablets.
//! * `benches raft [--quick] [--only a,b] [--idle]` writes through three replicas. `--only` takes names of parts; `--idle` is one of them.
//! * `benches cluster [--peer etcd] [--quick] [--only a,b] [--dir DIR]` measures three of our servers, and three of etcd's beside them.
//! * `benches recovery [--peer pgbackrest] [--quick] [--mib N] [--dir DIR]` archives, snapshots and restores, PostgreSQL beside it.
//!
//! All print a table and, as their last line, one JSON object. Every phase runs in a process of its own, so that memory and
//! processor time are that store's alone. Figures of different runs do not compare: machines are noisy; ratios within a run do.
#![forbid(unsafe_code)]

mod clock;
mod cluster;
mod engine;
mod options;
mod process;
mod raft;
mod recovery;
mod spawn;
mod tablets;

use std::process::ExitCode;

/// What may fail here fails in words for the person who started the run.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: benches engine [--quick] [--keys N] [--runs N] [--only a,b]
       benches tablets [--count N]
       benches raft [--quick] [--only disk,memory,cost,catch-up,recover,idle] [--idle]
       benches cluster [--peer etcd] [--quick] [--only put64,get64,...,failover] [--dir DIR]
       benches recovery [--peer pgbackrest] [--quick] [--mib N] [--dir DIR]";

fn run() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { return Err(USAGE.into()) };
    match command.as_str() {
        "engine" => crate::engine::run(&options::Options::parse(rest)?),
        "tablets" => tablets::run(rest),
        "raft" => crate::raft::run(rest),
        "cluster" => cluster::run(rest),
        "recovery" => recovery::run(rest),
        // Hidden: what this program starts itself as.
        crate::engine::CHILD => crate::engine::child(rest),
        tablets::CHILD => tablets::child(rest),
        crate::raft::CHILD => crate::raft::child(rest),
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let first = std::env::args().nth(1);
    // Hidden: the servers of the cluster are processes of this program.
    if first.is_some_and(|first| cluster::SERVER.contains(&first.as_str())) {
        return cluster::serve();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}
