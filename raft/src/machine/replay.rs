//! Brings a machine whose consensus does not run on through its own log: up to a cut, or to the end of the log. What a start of consensus
//! would apply again is applied by the very code that it uses, and nothing is told to anybody.
//!
//! Whether what is stored was ever committed nobody can say here: whoever asks for it forks history, and knows that.

use super::{Machine, stamping};
use crate::error::Result;
use crate::log::{Entry, Log};
use crate::payload;
use engine::Stamp;

/// Bytes of entries that are read at once.
const READ_BYTES: u64 = 4 << 20;

impl Machine {
    /// Applies what `log` has behind what is applied here: entries whose last stamp is not behind `cut`, all of them without one. The first
    /// that is behind it stays out whole, with all that follows. Returns how many were applied.
    ///
    /// # Errors
    /// As [`Machine::apply_command`]. `NotHere`: the log does not go on where this machine stands.
    pub async fn replay(&self, log: &Log, cut: Option<Stamp>) -> Result<u64> {
        let mut next = self.applied().applied.map_or(0, |id| id.index + 1);
        let mut count = 0;
        loop {
            let (_, end) = log.bounds(self.group())?;
            if next >= end {
                return Ok(count);
            }
            for entry in log.entries(self.group(), next, end, READ_BYTES)? {
                if !self.replay_one(&entry, cut).await? {
                    return Ok(count);
                }
                next = entry.log_id.index + 1;
                count += 1;
            }
        }
    }

    /// False: it lies behind the cut.
    async fn replay_one(&self, entry: &Entry, cut: Option<Stamp>) -> Result<bool> {
        let last = stamping::last_after(self.applied().last, entry.kind, &entry.payload);
        if cut.is_some_and(|cut| last > cut) {
            return Ok(false);
        }
        match entry.kind {
            payload::COMMAND => self.apply_command(entry.log_id, &entry.payload).await?,
            payload::MEMBERSHIP => {
                let membership = payload::decode_membership(&entry.payload)?;
                self.apply_membership(entry.log_id, membership).await?
            }
            _ => self.apply_blank(entry.log_id).await?,
        };
        Ok(true)
    }
}
