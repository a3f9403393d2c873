//! The command line `dew`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dewpond::cli::main()
}
