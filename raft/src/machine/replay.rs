//! Brings a machine whose consensus does not run on through its own log: up to a cut, or to the end of the log. What a start of consensus
//! would apply again is applied by the very code that it uses, and nothing is told to anybody.
//!
//! Whether what is stored was ever committed nobody can say here: whoever asks for it forks history, and knows that.

use super::{Machine, stamping};
use crate::command::Command;
use crate::error::Result;
use crate::log::{Entry, Log};
use crate::payload;
use engine::Stamp;

/// Bytes of entries that are read at once.
const READ_BYTES: u64 = 4 << 20;

/// What entries that are not applied yet need of the meta group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The index of the last of its entries that any of them needs; 0: none needs any.
    pub most: u64,
    /// Up to this stamp none needs more than there is; `None`: none does at all.
    pub upto: Option<Stamp>,
}

impl Machine {
    /// What the entries of `log` behind what is applied here need of the meta group, of which `reach` is the last entry that there is. Only
    /// their heads are read.
    ///
    /// # Errors
    /// `NotHere`: the log does not go on where this machine stands. Damage.
    pub fn needs(&self, log: &Log, reach: u64) -> Result<Needs> {
        let note = self.applied();
        let (mut needs, mut last) = (Needs::default(), note.last);
        let mut next = note.applied.map_or(0, |id| id.index + 1);
        loop {
            let (_, end) = log.bounds(self.group())?;
            if next >= end {
                return Ok(needs);
            }
            for entry in log.entries(self.group(), next, end, READ_BYTES)? {
                next = entry.log_id.index + 1;
                let before = last;
                last = stamping::last_after(last, entry.kind, &entry.payload);
                if entry.kind != payload::COMMAND {
                    continue;
                }
                let wanted = Command::decode(&entry.payload)?.meta_index;
                needs.most = needs.most.max(wanted);
                if wanted > reach && needs.upto.is_none() {
                    // What has the same last stamp as this entry stays out with it.
                    needs.upto = Some(if before < last { before } else { Stamp(last.0.saturating_sub(1)) });
                }
            }
        }
    }

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
