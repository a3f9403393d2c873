//! What the rows of a group will be at a later stamp: entries that are stored and not applied are evaluated over what is, in memory, as every
//! replica will evaluate them when they are applied. Nothing of it is written, told or kept: a delayed replica looks ahead with it, and
//! its gate does not move.
//!
//! Only entries that are proven committed may be looked at so: of others nobody knows whether they will be applied.

use super::Machine;
use super::once::Request;
use super::operations::{Row, Rows, Unapplied};
use super::stamping;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::log::{Entry, Log};
use crate::payload;
use crate::seal::{self, Opened};
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::key::{self, KeyRange};
use engine::tablet::view::{Scan, View};
use std::collections::BTreeSet;

/// Bytes of entries that are read at once.
const READ_BYTES: u64 = 4 << 20;
/// How often it is looked for a moment at which nothing is being applied.
const LOOKS: usize = 100;

/// The rows of a group as they will be at a stamp.
pub struct Overlay {
    view: View,
    range: KeyRange,
    unapplied: Unapplied,
    /// The last stamp that was given out.
    last: Stamp,
    /// Index of the next entry.
    next: u64,
    cut: Stamp,
}

/// Rows in the order of their keys, and the first key that was not looked at, if there is more.
pub type Ahead = (Vec<(Vec<u8>, Row)>, Option<Vec<u8>>);

impl Overlay {
    /// The rows of `machine` at `cut`: all entries of `log` up to there must be proven committed. In memory it takes at most about
    /// `bytes_max`. It reads and opens all of them, and must not run on a thread that serves.
    ///
    /// # Errors
    /// `TooLarge`: it is more than that. `NotHere`: the log goes from under it, look again. What an apply may stop with.
    pub fn build(machine: &Machine, log: &Log, cut: Stamp, bytes_max: usize) -> Result<Self> {
        let mut own = Self::begin(machine, cut)?;
        loop {
            let (_, end) = log.bounds(machine.group())?;
            if own.next >= end {
                return Ok(own);
            }
            for entry in log.entries(machine.group(), own.next, end, READ_BYTES)? {
                if !own.take(machine, &entry)? {
                    return Ok(own);
                }
                own.next = entry.log_id.index + 1;
                let (got, max) = (own.unapplied.bytes() as u64, bytes_max as u64);
                if got > max {
                    return Err(Error::TooLarge { what: "bytes of what is not applied yet", got, max });
                }
            }
        }
    }

    /// What is applied now, and how far that is.
    fn begin(machine: &Machine, cut: Stamp) -> Result<Self> {
        let tablet = machine.tablet();
        for _ in 0..LOOKS {
            let note = machine.applied();
            let view = tablet.view(0)?;
            // An entry may be in the tablet whose note is not there yet.
            if view.at() <= note.last && machine.applied() == note {
                let (last, next) = (note.last, note.applied.map_or(0, |id| id.index + 1));
                let unapplied = Unapplied::default();
                return Ok(Self { view, range: tablet.range(), unapplied, last, next, cut });
            }
        }
        let from = machine.applied().applied.map_or(0, |id| id.index + 1);
        Err(Error::NotHere { group: machine.group(), from, to: from, first: from, end: from })
    }

    /// Evaluates an entry. False: it lies behind the cut, at least in part, and so does all that follows.
    fn take(&mut self, machine: &Machine, entry: &Entry) -> Result<bool> {
        if entry.kind != payload::COMMAND {
            return Ok(true);
        }
        let command = Command::decode(&entry.payload)?;
        let run = stamping::run(self.last, command.stamp, command.closed, command.rows.len())?;
        let parts = &machine.parts;
        let shredded = |tenant: TenantId| parts.shredded.is_shredded(tenant);
        let opened = seal::open(&parts.sealer, machine.group(), &command, &shredded)?;
        self.unapplied.begin_entry();
        for (n, (row, body)) in command.rows.iter().zip(opened).enumerate() {
            if run.nth(n) > self.cut {
                return Ok(false);
            }
            let Opened::Body(body) = body else { continue };
            let tenant = command.parts[usize::from(row.part)].tenant;
            let request = Request { session: row.session, number: row.number, valid_until: row.valid_until };
            let rows = Rows::new(&self.view, &mut self.unapplied, run.nth(n)).within(&self.range);
            machine.run_once(tenant, &request, &body, rows)?;
        }
        self.last = run.last();
        Ok(true)
    }

    /// A row as it will be.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub fn get(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
    ) -> Result<Option<Row>> {
        Rows::new(&self.view, &mut self.unapplied, self.cut).get(tenant, collection, user_key)
    }

    /// Rows of a stretch as they will be; of those that are there now and of those that come at most as many as `scan` allows.
    ///
    /// # Errors
    /// What the engine says.
    pub fn page(&mut self, scan: &Scan) -> Result<Ahead> {
        let (tenant, collection) = (scan.tenant, scan.collection);
        let now = self.view.scan(scan, None)?;
        let start = key::row(tenant, collection, scan.start.as_deref().unwrap_or_default());
        let end = match &scan.end {
            Some(end) => Some(key::row(tenant, collection, end)),
            None => key::after_prefix(&key::prefix_start(tenant, collection, b"")),
        };
        let after = |user_key: &[u8]| [user_key, &[0]].concat();
        let mut next = now.next.map(|next| after(&next.after));
        let mut bytes = 0;
        let mut keys: BTreeSet<Vec<u8>> = now.entries.into_iter().map(|entry| entry.key).collect();
        for (n, (user_key, size)) in self.unapplied.keys_between(&start, end.as_deref()).enumerate() {
            if next.as_ref().is_some_and(|next| user_key >= &next[..]) {
                break;
            }
            bytes += size;
            if n > 0 && (n >= scan.limit || bytes > scan.bytes_max) {
                next = Some(user_key.to_vec());
                break;
            }
            keys.insert(user_key.to_vec());
        }
        if let Some(next) = &next {
            keys.retain(|user_key| user_key < next);
        }
        let mut rows = Vec::new();
        for user_key in keys {
            if let Some(row) = self.get(tenant, collection, &user_key)? {
                rows.push((user_key, row));
            }
        }
        Ok((rows, next))
    }
}
