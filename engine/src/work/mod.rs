//! Background work: flush, compaction, removal of files, scrub. On threads in production; one explicit step at a time when a
//! test or a simulator drives it, in an order that depends on nothing but the calls before.
//!
//! A worker that panics fences the tablet it worked on: no failure of background work is only a line in a log.

pub(crate) mod board;
mod compact;
mod flush;
pub mod scrub;
pub mod stall;
pub(crate) mod throttle;

use crate::error::{Error, Kind, Result, with_sources};
use crate::ids::{TableId, TabletId};
use crate::tablet::health::Work;
use crate::tablet::{Tablet, lock};
use board::{Board, Shift, Task};
use compact::Looked;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// There was nothing to do now.
    Nothing,
    /// An edit whose commit had failed is committed.
    Retried(TabletId),
    /// A file nobody needed is removed.
    Removed(TableId),
    /// The largest memtable is frozen.
    Froze(TabletId),
    /// A memtable is in a table.
    Flushed(TabletId),
    /// Tables were merged, moved, rewritten or dropped.
    Compacted(TabletId),
    /// A tablet was looked at and needs nothing.
    Rested(TabletId),
    /// A file was scrubbed.
    Scrubbed(TableId),
    /// It failed and is tried again later. The tablet's health says why; of the removal of a file, `Pool::removal_failure`.
    Failed(Option<TabletId>),
}

/// Does one unit of work.
pub(crate) fn step(board: &Board) -> Done {
    step_of(board, Shift::All)
}

fn step_of(board: &Board, shift: Shift) -> Done {
    if board.ground.bell.is_closing() {
        return Done::Nothing;
    }
    let Some(task) = board.claim(shift) else { return Done::Nothing };
    let done = match catch_unwind(AssertUnwindSafe(|| run(board, &task))) {
        Ok(done) => done,
        Err(panic) => {
            let cause = panic_text(&*panic);
            match &task {
                Task::Retry(tablet) | Task::Freeze(tablet) | Task::Flush(tablet) | Task::Compact(tablet) => {
                    tablet.fence(format!("background work panicked: {cause}"));
                    Done::Failed(Some(tablet.id()))
                }
                Task::Remove | Task::Scrub => {
                    board.ground.counters.work_failed.add(1);
                    Done::Failed(None)
                }
            }
        }
    };
    board.release(&task);
    board.ground.bell.ring();
    done
}

/// Flushes every frozen memtable of `tablet` in the caller's thread.
///
/// # Errors
/// As the flush; `Unavailable` if the log is not durable that far.
pub(crate) fn flush_all(tablet: &Tablet) -> Result<()> {
    tablet.retry_pending()?;
    loop {
        let waiting = tablet.snapshot().frozen.len();
        if waiting == 0 {
            return Ok(());
        }
        flush::flush_oldest(tablet)?;
        if tablet.snapshot().frozen.len() >= waiting {
            let cause = "the log is not durable up to the applied position".to_owned();
            return Err(Error::WritesStopped { tablet: tablet.id(), cause });
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn run(board: &Board, task: &Task) -> Done {
    match task {
        Task::Remove => match board.ground.files.remove_one() {
            Some(Ok(id)) => {
                board.ground.counters.files_removed.add(1);
                board.note_removal(None);
                Done::Removed(id)
            }
            Some(Err(error)) => {
                board.note_removal(Some(with_sources(&error)));
                board.ground.counters.work_failed.add(1);
                Done::Failed(None)
            }
            None => Done::Rested(TabletId(0)),
        },
        Task::Scrub => scrub_one(board),
        Task::Freeze(tablet) => {
            tablet.freeze();
            Done::Froze(tablet.id())
        }
        Task::Retry(tablet) => {
            settle(board, tablet, Work::Flush, tablet.retry_pending().map(|()| Done::Retried(tablet.id())))
        }
        Task::Flush(tablet) => settle(
            board,
            tablet,
            Work::Flush,
            flush::flush_oldest(tablet).map(|()| Done::Flushed(tablet.id())),
        ),
        Task::Compact(tablet) => {
            let result = compact::compact(tablet).map(|looked| match looked {
                Looked::Compacted => Done::Compacted(tablet.id()),
                Looked::Rested => {
                    board.look_later(tablet);
                    Done::Rested(tablet.id())
                }
                Looked::WentAround => {
                    board.ground.counters.work_failed.add(1);
                    Done::Failed(Some(tablet.id()))
                }
            });
            settle(board, tablet, Work::Compaction, result)
        }
    }
}

fn scrub_one(board: &Board) -> Done {
    let next = lock(&board.scrub).take();
    let Some(file) = next else { return Done::Rested(TabletId(0)) };
    let walk = || scrub::scrub_table(&board.ground, &file.table, file.with_keys);
    let found = match catch_unwind(AssertUnwindSafe(walk)) {
        Ok(found) => found.map_err(|error| with_sources(&error)),
        Err(panic) => Err(format!("the scrub panicked: {}", panic_text(&*panic))),
    };
    if found.is_err() {
        board.ground.counters.work_failed.add(1);
    }
    let id = file.table.meta().id;
    lock(&board.scrub).note(&file, found);
    Done::Scrubbed(id)
}

/// Writes the outcome of work into the tablet's health and puts it back on the board.
fn settle(board: &Board, tablet: &Arc<Tablet>, work: Work, result: Result<Done>) -> Done {
    match result {
        Ok(done) => {
            tablet.set_health(|health| health.after_success(work));
            if !matches!(done, Done::Rested(_)) {
                board.look_at(tablet.id());
            }
            done
        }
        Err(Error::Closed) => Done::Nothing,
        Err(error) => {
            board.ground.counters.work_failed.add(1);
            let cause = with_sources(&error);
            let now_ms = board.ground.clock.now_ms();
            match error.kind() {
                // Our bug: a table or an edit over a limit that should have been kept before.
                Kind::Invalid => tablet.fence(cause),
                _ => tablet.set_health(|health| health.after_failure(work, cause, now_ms)),
            }
            board.look_at(tablet.id());
            Done::Failed(Some(tablet.id()))
        }
    }
}

/// Niceness of threads that only do what can wait. On a busy machine readers, writers and flushes come first; the share that is
/// left, about a tenth of a core, keeps a compaction that holds a lock from being starved. What falls behind makes itself heard
/// as pressure.
const PATIENT_NICENESS: i32 = 10;

/// Starts `count` workers. With two or more, half do only what must not wait behind a compaction, and the others the rest.
pub(crate) fn start_threads(board: &Arc<Board>, count: usize) -> Result<Vec<JoinHandle<()>>> {
    let start = |number: usize| {
        let board = board.clone();
        let shift = match count {
            1 => Shift::All,
            _ if number < count / 2 => Shift::Urgent,
            _ => Shift::Patient,
        };
        let name = format!("engine-work-{number}");
        let failed =
            |source| Error::io("start a worker thread in", &std::path::PathBuf::from("process"), source);
        thread::Builder::new().name(name).spawn(move || work_until_closed(&board, shift)).map_err(failed)
    };
    (0..count).map(start).collect()
}

fn work_until_closed(board: &Board, shift: Shift) {
    if shift == Shift::Patient {
        // On Linux this is the calling thread's. If the system refuses, the work is as right at any other.
        let _ = rustix::process::setpriority_process(None, PATIENT_NICENESS);
    }
    while !board.ground.bell.is_closing() {
        let heard = board.ground.bell.heard();
        // Work that panics has fenced its tablet by then; what is left is the choosing of it, and a worker outlives that too.
        let done = catch_unwind(AssertUnwindSafe(|| step_of(board, shift))).unwrap_or_else(|_| {
            board.ground.counters.work_failed.add(1);
            Done::Failed(None)
        });
        match done {
            Done::Nothing => {
                board.ground.bell.wait(heard, 200);
            }
            Done::Failed(_) => board.ground.bell.rest(10),
            _ => {}
        }
    }
}
