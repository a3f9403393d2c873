//! The comparison: our engine beside its peers, same keys, same batches, same cache.
//!
//! The parent starts a child for every phase of every store and goes through the phases in order, store after store, so that
//! whatever else the machine does meets them alike. A child does one phase and prints what it measured.

pub mod figures;
mod parent;
pub mod phases;
pub mod plan;
pub mod report;
pub mod stores;
pub mod workload;

use crate::options::Options;
use crate::{Outcome, process};
use plan::Job;

/// The hidden command that a child is started with.
pub const CHILD: &str = "engine-child";

/// Compares, and prints.
pub fn run(options: &Options) -> Outcome<()> {
    let runs = parent::measure(options)?;
    print!("{}", report::table(options, &runs));
    println!("{}", report::json(options, &runs));
    Ok(())
}

/// Does one phase of one store, and prints a line of figures.
pub fn child(arguments: &[String]) -> Outcome<()> {
    let job = Job::parse(arguments)?;
    let mut figures = phases::run(&job)?;
    figures.insert("memory_bytes".to_owned(), process::peak_memory()? as f64);
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
