//! `chaos-tests sim` runs groups of consensus in a pretended world ([`chaos_tests::sim`]), `whole` whole nodes ([`chaos_tests::whole`]),
//! `processes` breaks real processes ([`chaos_tests::processes`]), `planted` plants bugs ([`chaos_tests::planted`]), `soak` runs for hours
//! ([`chaos_tests::soak`]).

#![forbid(unsafe_code)]

use chaos_tests::{planted, processes, sim, soak, whole};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let rest = || std::env::args().skip(2);
    match std::env::args().nth(1).as_deref() {
        Some("sim") => sim::command(rest(), fresh()),
        Some("processes") => processes::command(rest(), fresh()),
        Some("whole") => whole::command::command(rest(), fresh()),
        Some("planted") => planted::command(rest()),
        Some("soak") => soak::command(rest(), fresh()),
        _ => {
            eprintln!("usage: chaos-tests sim | whole | planted | soak | processes ...");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a seed is chosen here, before any run begins")]
/// A seed that was not run before.
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() * 1_000)
}
