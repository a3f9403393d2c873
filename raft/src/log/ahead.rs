//! Segments made ready before they are wanted, so that nobody who appends waits until a file is filled.

use super::{Log, State, lock};
use crate::error::Result;
use crate::limits::FILL_PAUSE_MS;
use std::sync::PoisonError;
use std::time::Duration;

impl Log {
    /// Waits until a segment was begun since the last call. False once the log is closed or fenced.
    pub(super) fn await_begun(&self) -> bool {
        let is_idle = |state: &mut State| !state.has_begun && state.fenced.is_none() && !state.is_closing;
        let state = self.begun.wait_while(lock(&self.state), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.has_begun = false;
        !state.is_closing && state.fenced.is_none()
    }

    /// Fills files until `SPARES_AHEAD` wait to become segments, one caller at a time. Each piece is synced before the next, and after
    /// each the disk is left to others for a while: a sync of the log never waits behind a whole file. If more is written than is
    /// filled, or nobody calls this, a segment begins in a file without blocks.
    ///
    /// # Errors
    /// Disk: what was begun is gone again, and the next call begins anew.
    pub fn fill_ahead(&self) -> Result<()> {
        loop {
            let Some((tools, number)) = lock(&self.writer).spare_wanted() else { return Ok(()) };
            let filled = tools.new_spare(number, |file| {
                file.sync()?;
                Ok(self.rest())
            });
            match filled {
                Ok(Some(_)) => lock(&self.writer).add_spare(number),
                Ok(None) => return Ok(()),
                Err(error) => {
                    // If it cannot be removed either, the next start does: it is too short.
                    let _ = tools.remove_spare(number);
                    return Err(error);
                }
            }
        }
    }

    /// Waits between two pieces. False once the log is closed or fenced.
    fn rest(&self) -> bool {
        let lives = |state: &mut State| state.fenced.is_none() && !state.is_closing;
        let pause = Duration::from_millis(FILL_PAUSE_MS);
        let rested = self.begun.wait_timeout_while(lock(&self.state), pause, lives);
        let (mut state, _) = rested.unwrap_or_else(PoisonError::into_inner);
        lives(&mut state)
    }
}
