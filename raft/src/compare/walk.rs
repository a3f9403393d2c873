//! Whoever compares: goes over everything that the replicas of a group hold, a range at a time. One of them says where a range ends, all say
//! what stands in it as of one stamp, which is another one for each range: so nobody needs a longer history than an answer takes, and a
//! group that is written to is compared as well as one that rests.
//!
//! What differs is looked into once more, at later stamps, until it is a few rows: what is not found again is none. Steps are small, and
//! between two of them whoever compares may wait, or stop.

use super::question::{Collection, Question, Sum, SumOf, Told, WhyNot};
use super::verdict::{Difference, is_same};
use crate::limits;
use crate::machine::range_digest::{RowRange, RowSum};
use crate::types::ReplicaId;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A narrower range has about so many times fewer rows.
const NARROWER: u64 = 8;

/// Asks a replica of the group.
pub trait Ask: Sync {
    /// What it says; `None`: nothing in time.
    fn ask(&self, replica: ReplicaId, what: Question) -> impl Future<Output = Option<Told>> + Send;
}

/// Why a replica is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// It says nothing.
    Silent,
    /// It says why.
    Says(WhyNot),
}

impl Out {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Silent => "it does not answer",
            Self::Says(why) => why.words(),
        }
    }
}

/// What came of it, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Who is compared.
    pub replicas: BTreeSet<ReplicaId>,
    /// Who was to be, and is not any more.
    pub out: BTreeMap<ReplicaId, Out>,
    /// Rows that were compared, those of one replica.
    pub rows: u64,
    /// Ranges that were.
    pub ranges: u64,
    /// Tenants that are gone, or go.
    pub left_out: BTreeSet<TenantId>,
    /// Where they differ, the first `DIFFERENCES_MAX` of it.
    pub differences: Vec<Difference>,
    /// Ranges behind those in which they differ too.
    pub more: u64,
}

impl Report {
    /// Whether all that were to be compared were, and hold the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        !self.differs() && self.out.is_empty()
    }

    /// Whether two hold other rows.
    #[must_use]
    pub fn differs(&self) -> bool {
        !self.differences.is_empty() || self.more > 0
    }

    /// Those who hold other rows than most, wherever it was.
    #[must_use]
    pub fn odd(&self) -> BTreeSet<ReplicaId> {
        self.differences.iter().flat_map(Difference::odd).collect()
    }
}

/// Where the walk is.
#[derive(Clone, Debug)]
enum Place {
    /// Behind a collection, or before all.
    Behind(Option<Collection>),
    /// In one, at a user key.
    In(Collection, Option<Vec<u8>>),
    /// At the end.
    End,
}

/// A range that was compared.
struct Compared {
    at: Stamp,
    upto: Option<Vec<u8>>,
    said: BTreeMap<ReplicaId, RowSum>,
}

/// What came of a range.
enum Outcome {
    Compared(Compared),
    /// Of a tenant that is gone.
    Gone,
    /// Fewer than two replicas are left.
    Alone,
}

/// A comparison under way.
#[derive(Clone, Debug)]
pub struct Walk {
    place: Place,
    report: Report,
}

impl Walk {
    /// Begins to compare these.
    #[must_use]
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        let report = Report { replicas: replicas.into_iter().collect(), ..Report::default() };
        Self { place: Place::Behind(None), report }
    }

    /// What came of it so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Goes on, over `STATE_ROWS_MAX` rows of each replica or a little more. False: it is at the end. Whoever drops it on the way loses that
    /// step alone. Tenants that are `skipped` are left out.
    pub async fn step<A: Ask>(&mut self, ask: &A, skipped: &(dyn Fn(TenantId) -> bool + Sync)) -> bool {
        self.place = match self.place.clone() {
            Place::End => Place::End,
            Place::Behind(behind) => match self.next(ask, behind).await {
                None => Place::End,
                Some(next) if skipped(next.0) => self.leave_out(next.0),
                Some(next) => Place::In(next, None),
            },
            Place::In(collection, start) => self.range(ask, collection, start).await,
        };
        !matches!(self.place, Place::End)
    }

    fn leave_out(&mut self, tenant: TenantId) -> Place {
        self.report.left_out.insert(tenant);
        Place::Behind(Some((tenant, CollectionId(u32::MAX))))
    }

    /// Compares what comes next of a collection.
    async fn range<A: Ask>(&mut self, ask: &A, of: Collection, start: Option<Vec<u8>>) -> Place {
        let range = RowRange { start, ..RowRange::all(of.0, of.1) };
        let rows_max = u32::try_from(limits::STATE_ROWS_MAX).unwrap_or(u32::MAX);
        let found = match self.compare(ask, &range, rows_max, None).await {
            Outcome::Compared(found) => found,
            Outcome::Gone => return self.leave_out(of.0),
            Outcome::Alone => return Place::End,
        };
        self.report.ranges += 1;
        self.report.rows += found.said.values().map(|sum| sum.rows).max().unwrap_or_default();
        let next = found.upto.clone();
        if !is_same(&found.said) {
            let range = RowRange { end: next.clone(), ..range };
            let difference = Difference { range, at: found.at, said: found.said };
            if self.narrow(ask, difference).await.is_none() {
                return self.leave_out(of.0);
            }
        }
        match next {
            Some(start) => Place::In(of, Some(start)),
            None => Place::Behind(Some(of)),
        }
    }

    /// Looks into a range in which they seem to differ. `None`: the tenant has gone meanwhile.
    async fn narrow<A: Ask>(&mut self, ask: &A, difference: Difference) -> Option<()> {
        if self.report.differences.len() >= limits::DIFFERENCES_MAX {
            self.report.more += 1;
            return Some(());
        }
        let (mut left, mut questions) = (vec![difference], 0);
        while let Some(wide) = left.pop() {
            // Whoever holds most rows says where to cut: so it gets narrower each time.
            let most = wide.said.iter().max_by_key(|(_, sum)| sum.rows).map(|(replica, _)| *replica);
            let each = u32::try_from((wide.rows() / NARROWER).max(1)).unwrap_or(u32::MAX);
            let mut rest = Some(wide.range.clone());
            while let Some(range) = rest.take() {
                questions += 1;
                if questions > limits::NARROWING_MAX {
                    // Where rows come faster than they are asked for, an open end is never reached: it is told as it was seen.
                    let left = Difference { range, ..wide.clone() };
                    self.tell(left);
                    break;
                }
                let found = match self.compare(ask, &range, each, most).await {
                    Outcome::Compared(found) => found,
                    Outcome::Gone => return None,
                    Outcome::Alone => {
                        // It was seen to differ, though nobody is left to say where.
                        self.tell(wide);
                        return Some(());
                    }
                };
                rest = found.upto.clone().map(|start| RowRange { start: Some(start), ..range.clone() });
                if is_same(&found.said) {
                    continue;
                }
                let end = found.upto.or(range.end.clone());
                let one = Difference { range: RowRange { end, ..range }, at: found.at, said: found.said };
                match one.rows() > 1 && questions < limits::NARROWING_MAX {
                    true => left.push(one),
                    false => self.tell(one),
                }
            }
        }
        Some(())
    }

    fn tell(&mut self, one: Difference) {
        match self.report.differences.len() < limits::DIFFERENCES_MAX {
            true => self.report.differences.push(one),
            false => self.report.more += 1,
        }
    }

    /// The first collection behind `behind` of which any of them keeps anything.
    async fn next<A: Ask>(&mut self, ask: &A, behind: Option<Collection>) -> Option<Collection> {
        let mut least: Option<Collection> = None;
        for replica in self.report.replicas.clone() {
            match self.told(ask, replica, Question::Next(behind)).await {
                Ok(Told::Next(next)) => least = [least, next].into_iter().flatten().min(),
                Ok(other) => self.is_out(replica, Some(&other)),
                Err(out) => self.put_out(replica, out),
            }
        }
        least.filter(|_| self.report.replicas.len() > 1)
    }

    /// Asks, again and again where that may help.
    async fn told<A: Ask>(&self, ask: &A, replica: ReplicaId, what: Question) -> Result<Told, Out> {
        let mut out = Out::Silent;
        for tried in 0..limits::STATE_TRIES_MAX {
            if tried > 0 {
                tokio::time::sleep(Duration::from_millis(limits::STATE_AGAIN_MS)).await;
            }
            out = match ask.ask(replica, what.clone()).await {
                None => Out::Silent,
                Some(Told::Not(why @ (WhyNot::Behind | WhyNot::NotHere))) => Out::Says(why),
                Some(told) => return Ok(told),
            };
        }
        Err(out)
    }

    fn is_out(&mut self, replica: ReplicaId, told: Option<&Told>) {
        let why = match told {
            Some(Told::Not(why)) => Out::Says(*why),
            _ => Out::Silent,
        };
        self.put_out(replica, why);
    }

    fn put_out(&mut self, replica: ReplicaId, why: Out) {
        if self.report.replicas.remove(&replica) {
            self.report.out.insert(replica, why);
        }
    }

    /// Compares the first `rows_max` rows or so of a range: `cuts`, or else the first of them, says how far that is.
    async fn compare<A: Ask>(
        &mut self,
        ask: &A,
        range: &RowRange,
        rows_max: u32,
        cuts: Option<ReplicaId>,
    ) -> Outcome {
        for tried in 0_usize.. {
            let replicas = self.report.replicas.clone();
            let first = cuts.filter(|cuts| replicas.contains(cuts)).or(replicas.first().copied());
            let Some(first) = first.filter(|_| replicas.len() > 1) else { break };
            let whole = Question::Sum(SumOf { at: None, range: range.clone(), rows_max });
            let cut = match self.told(ask, first, whole).await {
                Ok(Told::Sum(cut)) if goes_on(&cut, range) => cut,
                Ok(Told::Not(WhyNot::Shredded)) => return Outcome::Gone,
                Ok(other) => {
                    self.is_out(first, Some(&other));
                    continue;
                }
                Err(out) => {
                    self.put_out(first, out);
                    continue;
                }
            };
            let others = replicas.iter().filter(|replica| **replica != first);
            let sums = others.map(|other| async { (*other, self.same(ask, *other, range, &cut).await) });
            let mut said: BTreeMap<_, _> = [(first, cut.rows)].into();
            let mut failed = Vec::new();
            for (other, told) in join_all(sums).await {
                match told {
                    Ok(sum) => drop(said.insert(other, sum)),
                    Err(Out::Says(WhyNot::Shredded)) => return Outcome::Gone,
                    Err(out) => failed.push((other, out)),
                }
            }
            if failed.is_empty() {
                return Outcome::Compared(Compared { at: cut.at, upto: cut.upto, said });
            }
            for (other, out) in failed {
                // A later stamp may be known there still.
                let is_short = out == Out::Says(WhyNot::HistoryGone);
                if !is_short || tried + 1 >= limits::STATE_TRIES_MAX {
                    self.put_out(other, out);
                }
            }
        }
        Outcome::Alone
    }

    /// What another replica says of the range that was cut, all of it.
    async fn same<A: Ask>(
        &self,
        ask: &A,
        replica: ReplicaId,
        range: &RowRange,
        cut: &Sum,
    ) -> Result<RowSum, Out> {
        let mut rest = RowRange { end: cut.upto.clone().or(range.end.clone()), ..range.clone() };
        let rows_max = u32::try_from(limits::STATE_ROWS_MAX).unwrap_or(u32::MAX);
        let mut rows = RowSum::default();
        loop {
            let what = SumOf { at: Some(cut.at), range: rest.clone(), rows_max };
            match self.told(ask, replica, Question::Sum(what)).await? {
                Told::Sum(sum) if sum.at == cut.at && goes_on(&sum, &rest) => {
                    rows = rows.and(sum.rows);
                    // One that holds so many more differs, however many they are.
                    match sum.upto.filter(|_| rows.rows <= cut.rows.rows + limits::STATE_ROWS_MAX as u64) {
                        Some(start) => rest.start = Some(start),
                        None => return Ok(rows),
                    }
                }
                Told::Not(why) => return Err(Out::Says(why)),
                Told::Sum(_) | Told::Next(_) => return Err(Out::Silent),
            }
        }
    }
}

/// Whether an answer came further than where its range begins.
fn goes_on(sum: &Sum, range: &RowRange) -> bool {
    sum.upto.is_none() || sum.upto > range.start
}
