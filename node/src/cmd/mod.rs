//! What the binary does, a file a command.

pub mod config;
pub mod demo;
pub mod init;
pub mod join;
pub mod options;
pub mod serve;
pub mod takeover;

use std::process::ExitCode;

/// Done.
pub const DONE: u8 = 0;
/// Refused or failed.
pub const FAILED: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 64;

/// Why a command fails, for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Does what the command line says.
#[must_use]
pub fn run(options: options::Options) -> ExitCode {
    let done = match options.command {
        options::Command::Serve(from) => serve::run(&from),
        options::Command::Init(init) => init::run(&init),
        options::Command::Join(join) => join::run(&join),
        options::Command::Config(what) => config::run(&what),
        options::Command::Demo(demo) => demo::run(&demo),
        options::Command::Takeover(takeover) => takeover::run(&takeover),
    };
    match done {
        Ok(()) => ExitCode::from(DONE),
        Err(error) => {
            eprintln!("dewpond: {}", engine::error::with_sources(&*error));
            ExitCode::from(FAILED)
        }
    }
}
