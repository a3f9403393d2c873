//! The one thread that writes the log in production.

use super::{Log, Stepped, io};
use crate::error::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Writes what waits, as soon as it waits: what comes while the disk is at work goes with the next write. Ends with the log;
/// dropped, it ends the log.
pub struct LogThread {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Starts writing.
    ///
    /// # Errors
    /// `Unavailable`: the system has no thread.
    pub fn start(log: Arc<Log>) -> Result<Self> {
        let own = log.clone();
        let work = move || {
            let steps = || while own.wait() && own.step() != Stepped::Fenced {};
            if catch_unwind(AssertUnwindSafe(steps)).is_err() {
                // Nobody writes any more, and everybody must hear that.
                own.fence("the thread that writes the log panicked", Vec::new());
            }
        };
        let thread = std::thread::Builder::new().name("raft-log".to_owned()).spawn(work);
        let thread = thread.map_err(|error| io("start a thread in", Path::new("process"), error))?;
        Ok(Self { log, thread: Some(thread) })
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.log.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
