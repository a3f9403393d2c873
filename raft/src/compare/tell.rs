//! What one replica says of the rows that it holds. A question costs so many rows and bytes and no more, is answered off the threads on
//! which consensus runs, and holds nothing up: it reads from a view.

use super::question::{Collection, Question, Sum, SumOf, Told, WhyNot, key_after};
use crate::error::{Error, Result};
use crate::limits;
use crate::machine::Machine;
use crate::machine::compare::is_left_out;
use crate::machine::range_digest::{RowSum, SeenRow};
use engine::Kind;
use engine::error::with_sources;
use engine::ids::TenantId;
use engine::tablet::view::Scan;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Between two looks whether a stamp is applied, in milliseconds.
const LOOK_MS: u64 = 20;

/// Waits a little for the stamp that is asked for, if it is not applied yet.
pub async fn await_stamp(machine: &Machine, what: &Question) {
    let Question::Sum(SumOf { at: Some(at), .. }) = what else { return };
    let mut waited_ms = 0;
    while machine.reached().1 < *at && waited_ms < limits::STATE_WAIT_MS && !machine.is_over() {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        waited_ms += LOOK_MS;
    }
}

/// What the replica of `machine` says.
pub async fn tell(machine: Arc<Machine>, what: Question) -> Told {
    // Where there is one thread alone, as in a simulation, nobody else can read.
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return machine.tell(&what);
    }
    let told = tokio::task::spawn_blocking(move || machine.tell(&what)).await;
    told.unwrap_or(Told::Not(WhyNot::Unread))
}

impl Machine {
    /// What stands here, as far as one answer goes. Call it where blocking is allowed.
    #[must_use]
    pub fn tell(&self, question: &Question) -> Told {
        if self.is_over() {
            return Told::Not(WhyNot::NotHere);
        }
        let told = match question {
            Question::Next(after) => self.next_collection(*after).map(Told::Next),
            Question::Sum(of) if self.is_shredded(of.range.tenant) => Ok(Told::Not(WhyNot::Shredded)),
            Question::Sum(of) => self.sum(of).map(Told::Sum),
        };
        told.unwrap_or_else(|error| Told::Not(self.why_not(question, &error)))
    }

    fn why_not(&self, question: &Question, error: &Error) -> WhyNot {
        let is_gone = |tenant: TenantId| self.is_shredded(tenant);
        match (error, question) {
            // The key went while it was read.
            (_, Question::Sum(of)) if error.kind() == Kind::Key && is_gone(of.range.tenant) => {
                WhyNot::Shredded
            }
            (Error::Engine(engine::Error::NotYet { .. }), _) => WhyNot::Behind,
            (Error::Engine(engine::Error::HistoryGone { .. }), _) => WhyNot::HistoryGone,
            _ => {
                tracing::warn!(group = %self.group(), cause = with_sources(error), "rows cannot be read to compare them");
                WhyNot::Unread
            }
        }
    }

    fn next_collection(&self, after: Option<Collection>) -> Result<Option<Collection>> {
        let view = self.tablet().view(0)?;
        let is_gone = |tenant: TenantId| self.is_shredded(tenant);
        Ok(view.collection_after(after, &is_gone)?)
    }

    fn sum(&self, of: &SumOf) -> Result<Sum> {
        let (at, view) = self.view_at(of.at)?;
        let (view, skips) = (view.past_cache(), self.skips());
        view.reaches_back(of.range.tenant, at)?;
        let rows_max = usize::try_from(of.rows_max).unwrap_or(usize::MAX).clamp(1, limits::STATE_ROWS_MAX);
        let (mut rows, mut count, mut resume) = (RowSum::default(), 0, None);
        for _ in 0..limits::STATE_PAGES_MAX {
            let limit = (rows_max - count).min(limits::DIGEST_PAGE_ENTRIES);
            let scan = Scan {
                start: of.range.start.clone(),
                end: of.range.end.clone(),
                limit,
                bytes_max: limits::DIGEST_PAGE_BYTES,
                ..Scan::all(of.range.tenant, of.range.collection)
            };
            let page = view.scan(&scan, resume.as_ref())?;
            count += page.entries.len();
            for entry in page.entries.iter().filter(|entry| !(skips && is_left_out(&entry.key))) {
                let found = &entry.found;
                let (value, stamp, expires_ms) = (&found.value[..], found.stamp, found.expires_ms);
                rows = rows
                    .and(RowSum::of(&of.range, &SeenRow { user_key: &entry.key, value, stamp, expires_ms }));
            }
            resume = page.next;
            if resume.is_none() || count >= rows_max {
                break;
            }
        }
        // Behind the greatest key of all there is nothing to go on with.
        let upto = resume.and_then(|next| key_after(&next.after));
        Ok(Sum { at, rows, upto })
    }
}
