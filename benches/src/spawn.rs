//! This program as its own child: one line of JSON comes back.

use crate::Outcome;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A child that is running. It ends with this value.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Starts this program with `arguments`.
pub fn start(arguments: &[String]) -> Outcome<Running> {
    // Not `current_exe()`: its path leads nowhere once a new build has taken the place of the program that runs.
    let mut command = Command::new("/proc/self/exe");
    let mut child = command.args(arguments).stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("a child without an output")?);
    Ok(Running { child, lines })
}

impl Running {
    /// Its next line.
    ///
    /// # Errors
    /// It ended without one, or the line is not JSON.
    pub fn line(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("a child ended early: {}", self.child.wait()?).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It failed.
    pub fn join(mut self) -> Outcome<()> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a child failed: {status}").into()) }
    }

    /// Ends it by SIGKILL, at once.
    pub fn end_now(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs this program with `arguments`, and gives the line it prints.
pub fn run(arguments: &[String]) -> Outcome<Value> {
    let mut running = start(arguments)?;
    let line = running.line()?;
    running.join()?;
    Ok(line)
}
