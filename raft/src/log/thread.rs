//! The one thread that writes the log in production, and one that fills segments ahead of it.

use super::{Log, Stepped, io};
use crate::error::Result;
use engine::error::with_sources;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Writes what waits, as soon as it waits: what comes while the disk is at work goes with the next write. Ends with the log;
/// dropped, it ends the log.
pub struct LogThread {
    log: Arc<Log>,
    threads: Vec<JoinHandle<()>>,
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    Ok(thread.map_err(|error| io("start a thread in", Path::new("process"), error))?)
}

impl LogThread {
    /// Starts writing.
    ///
    /// # Errors
    /// `Unavailable`: the system has no thread.
    pub fn start(log: Arc<Log>) -> Result<Self> {
        log.cold.use_threads();
        let own = log.clone();
        let work = move || {
            let steps = || while own.wait() && own.step() != Stepped::Fenced {};
            if catch_unwind(AssertUnwindSafe(steps)).is_err() {
                // Nobody writes any more, and everybody must hear that.
                own.fence("the thread that writes the log panicked", Vec::new());
            }
        };
        let mut own = Self { log: log.clone(), threads: vec![start("raft-log", work)?] };
        let fill = move || {
            while log.await_begun() {
                // A disk that is full or failing tells the one who writes, when there is no other way left.
                if let Err(error) = log.fill_ahead() {
                    tracing::warn!(cause = with_sources(&error), "no segment is filled ahead");
                }
            }
        };
        own.threads.push(start("raft-log-ahead", fill)?);
        Ok(own)
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.log.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
