//! The server `dewpond`.

#![forbid(unsafe_code)]

use clap::Parser;
use node::cmd::{self, options::Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::run(Options::parse())
}
