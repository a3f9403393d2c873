//! Pure: which instants an archive can restore, and what it takes: the one function that metrics, planner, commands and alarms ask.
//!
//! An instant T can be restored if there is a base, a snapshot at or before T or the beginning of everything, from which on every group's
//! log is there without a hole up to T. A base is the one beginning that needs no log before it.

use super::chain::{Archive, Gapped, Marked};
use super::manifest::keep::CollectedSpan;
use super::manifest::log::{FileRow, GroupRow};
use super::naming::{GapId, Generation, Name, SnapshotId, TickEnd};
use engine::Stamp;
use engine::ids::TenantId;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};

/// Of what is asked. All groups unless some are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these groups' logs are needed.
    pub groups: Option<BTreeSet<GroupId>>,
    /// Only these tenants' rows are wanted.
    pub tenants: Option<BTreeSet<TenantId>>,
}

/// Every instant of it can be restored, both ends among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first.
    pub from: Stamp,
    /// The last.
    pub upto: Stamp,
}

impl Span {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn holds(&self, at: Stamp) -> bool {
        self.from <= at && at <= self.upto
    }
}

/// A hole in the log of a group: nothing is known behind the first stamp and up to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// Whose.
    pub group: GroupId,
    /// It begins behind this stamp.
    pub after: Stamp,
    /// It ends with this one.
    pub upto: Stamp,
}

/// What can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The least closed stamp of the groups: up to here everything is archived. `None`: nothing is.
    pub frontier: Option<Stamp>,
    /// Every instant of these, ascending.
    pub spans: Vec<Span>,
    /// Snapshots that can be bases, ascending.
    pub bases: Vec<SnapshotId>,
    /// Holes that were found, declared or not.
    pub holes: Vec<Hole>,
    /// Gaps that were declared.
    pub gaps: BTreeMap<GapId, Gapped>,
    /// Life lines, oldest first, each with the last stamp that counts of it.
    pub generations: Vec<(Generation, Stamp)>,
}

impl Window {
    /// Whether the instant can be restored.
    #[must_use]
    pub fn holds(&self, at: Stamp) -> bool {
        self.spans.iter().any(|span| span.holds(at))
    }

    /// The nearest instants that can be restored: at or before it, and behind it.
    #[must_use]
    pub fn nearest(&self, at: Stamp) -> (Option<Stamp>, Option<Stamp>) {
        let before = self.spans.iter().filter(|span| span.from <= at).map(|span| span.upto.min(at));
        let behind = self.spans.iter().filter(|span| span.upto > at).map(|span| span.from.max(at.next()));
        (before.max(), behind.min())
    }
}

/// What is there of the log of one group: spans `(after, upto]`, ascending, that do not touch.
#[derive(Clone, Debug, Default)]
struct Cover(Vec<(Stamp, Stamp)>);

impl Cover {
    fn add(&mut self, after: Stamp, upto: Stamp) {
        self.0.push((after, upto));
    }

    /// Puts together what touches.
    fn settle(mut self) -> Self {
        self.0.retain(|(after, upto)| after < upto || *after == Stamp::ZERO);
        self.0.sort_unstable();
        let mut whole: Vec<(Stamp, Stamp)> = Vec::new();
        for (after, upto) in self.0 {
            match whole.last_mut() {
                Some(last) if after <= last.1 => last.1 = last.1.max(upto),
                _ => whole.push((after, upto)),
            }
        }
        Self(whole)
    }

    fn intersect(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        for (after, upto) in &self.0 {
            for (other_after, other_upto) in &other.0 {
                let (start, end) = ((*after).max(*other_after), (*upto).min(*other_upto));
                if start < end || (start == end && start == Stamp::ZERO) {
                    both.push((start, end));
                }
            }
        }
        Self(both).settle()
    }
}

/// The covers of all groups of a scope.
#[derive(Default)]
struct Covers {
    groups: BTreeMap<GroupId, Cover>,
    /// How far the last row of each group that has not ended reaches.
    ends: BTreeMap<GroupId, Stamp>,
}

fn in_scope(scope: &Scope, group: GroupId) -> bool {
    scope.groups.as_ref().is_none_or(|groups| groups.contains(&group))
}

/// Markers of a life line, in order, as far as the chain holds from its beginning or from behind a hole.
fn markers(archive: &Archive, generation: Generation) -> impl Iterator<Item = &Marked> {
    let (first, last) = ((generation, TickEnd(0)), (generation, TickEnd(u64::MAX)));
    archive.markers().range(first..=last).map(|(_, marked)| marked)
}

/// Nodes of which a file that the marker names is lost: what they have collected with it is not whole.
fn lost_of(archive: &Archive, marked: &Marked) -> BTreeSet<u64> {
    let is_lost = |file: &&FileRow| file.name().is_ok_and(|name| archive.is_lost(&Name::TickFile(name)));
    marked.marker.files.iter().filter(is_lost).map(|file| file.node).collect()
}

fn note_row(covers: &mut Covers, row: &GroupRow, limit: Stamp, is_lost: bool) {
    let (group, (after, upto)) = (row.group(), row.span());
    let (after, upto) = (after.min(limit), upto.min(limit));
    let cover = covers.groups.entry(group).or_default();
    let born = Stamp(if row.is_behind_gap { row.gap_from } else { row.after }).min(limit);
    if !row.parents.is_empty() {
        // Before it was born its rows were its parents', whose covers count.
        cover.add(Stamp::ZERO, born);
    }
    if !is_lost {
        cover.add(after, upto);
    }
    if row.ended != 0 {
        cover.add(upto, Stamp::MAX);
        covers.ends.remove(&group);
    } else {
        covers.ends.insert(group, upto);
    }
    for parent in row.parents.iter().map(|parent| GroupId(*parent)).filter(|parent| *parent != group) {
        // What comes of a parent from there on is in this one.
        if let Some(cover) = covers.groups.get_mut(&parent) {
            cover.add(born, Stamp::MAX);
            covers.ends.remove(&parent);
        }
    }
}

impl Covers {
    /// Takes what the markers of a life line say, up to where the next one left it.
    fn take(&mut self, archive: &Archive, scope: &Scope, (generation, limit): (Generation, Stamp)) {
        for marked in markers(archive, generation) {
            let lost = lost_of(archive, marked);
            for row in marked.marker.groups.iter().filter(|row| in_scope(scope, row.group())) {
                note_row(self, row, limit, lost.contains(&row.node));
            }
            for group in marked.marker.alive.iter().map(|group| GroupId(*group)) {
                // Of whom a row is known, that said how far it reaches, or that it has ended.
                if in_scope(scope, group) && !self.groups.contains_key(&group) {
                    self.groups.insert(group, Cover::default());
                    self.ends.insert(group, Stamp::ZERO);
                }
            }
        }
    }

    /// Groups that the life line behind `left` does not have: they end where it begins.
    fn leave(&mut self, archive: &Archive, (next, left): (Generation, Stamp)) {
        let Some(first) = markers(archive, next).next() else { return };
        let lives = |group: &GroupId| first.marker.alive.binary_search(&group.0).is_ok();
        for (group, cover) in self.groups.iter_mut().filter(|(group, _)| !lives(group)) {
            cover.add(left, Stamp::MAX);
            self.ends.remove(group);
        }
    }

    fn settled(&self) -> Self {
        let groups = self.groups.iter().map(|(group, cover)| (*group, cover.clone().settle()));
        Self { groups: groups.collect(), ends: self.ends.clone() }
    }

    /// What is there of the logs of all groups.
    fn all(&self) -> Cover {
        let mut groups = self.groups.values();
        let first = groups.next().cloned().unwrap_or_default();
        groups.fold(first, |all, one| all.intersect(one))
    }

    /// Holes, but for what was collected.
    fn holes(&self, collected: &[CollectedSpan]) -> Vec<Hole> {
        let mut holes = Vec::new();
        for (group, cover) in &self.groups {
            for pair in cover.0.windows(2) {
                let (mut after, upto) = (pair[0].1, pair[1].0);
                // What of a late group lies before the collected part stood in the markers that went.
                for (from, behind) in collected.iter().map(CollectedSpan::span) {
                    if from < upto && after < behind {
                        after = behind;
                    }
                }
                if after < upto {
                    holes.push(Hole { group: *group, after, upto });
                }
            }
        }
        holes.sort_unstable();
        holes
    }
}

/// What is there of the logs as far as each life line leads: what the next one has does not count for what lies before it.
struct Lines {
    /// Each with the last stamp for which it counts, oldest first.
    all: Vec<(Covers, Stamp)>,
    /// The life lines.
    generations: Vec<(Generation, Stamp)>,
}

impl Lines {
    fn of(archive: &Archive, scope: &Scope) -> Self {
        let generations = archive.lineage();
        let (mut covers, mut all) = (Covers::default(), Vec::new());
        for (at, line) in generations.iter().enumerate() {
            covers.take(archive, scope, *line);
            all.push((covers.settled(), line.1));
            if let Some((next, _)) = generations.get(at + 1) {
                covers.leave(archive, (*next, line.1));
            }
        }
        Self { all, generations }
    }

    /// What leads to the newest life line in which something of every group is archived, or to the newest.
    fn newest(&self) -> Option<&Covers> {
        let has_begun = |covers: &Covers| covers.ends.values().all(|end| *end > Stamp::ZERO);
        let begun = self.all.iter().rev().find(|(covers, _)| has_begun(covers));
        begun.or(self.all.last()).map(|(covers, _)| covers)
    }

    /// Spans of the log, ascending, each with how many life lines lead there.
    fn logs(&self) -> Vec<(Stamp, Stamp, usize)> {
        let mut logs = Vec::new();
        for (at, (covers, limit)) in self.all.iter().enumerate() {
            let limit = if at + 1 == self.all.len() { Stamp::MAX } else { *limit };
            let spans = covers.all().0.into_iter();
            logs.extend(
                spans
                    .map(|(after, upto)| (after, upto.min(limit), at + 1))
                    .filter(|(after, upto, _)| after <= upto),
            );
        }
        logs.sort_unstable();
        logs
    }
}

/// What `archive` can restore of `scope`.
#[must_use]
pub fn window(archive: &Archive, scope: &Scope) -> Window {
    let lines = Lines::of(archive, scope);
    let generations = lines.generations.clone();
    let counts = |id: &SnapshotId, generation: Generation| {
        generations.iter().any(|(of, upto)| *of == generation && id.cut.upto() <= *upto)
    };
    let snapshots = archive.snapshots();
    let bases: Vec<SnapshotId> =
        snapshots.iter().filter(|(id, one)| counts(id, one.done.generation())).map(|(id, _)| *id).collect();
    let mut spans: Vec<Span> = bases.iter().map(|id| at_once(*id)).collect();
    for (after, upto, _) in &lines.logs() {
        let from = if *after == Stamp::ZERO {
            Some(Stamp::ZERO)
        } else {
            let cuts = bases.iter().map(|id| id.cut.upto());
            cuts.filter(|cut| after <= cut && cut <= upto).min()
        };
        spans.extend(from.map(|from| Span { from, upto: *upto }));
    }
    let newest = lines.newest();
    Window {
        frontier: newest.and_then(|covers| covers.ends.values().min().copied()),
        spans: joined(spans),
        bases,
        holes: newest.map_or_else(Vec::new, |covers| covers.holes(&archive.collected())),
        gaps: archive.gaps(),
        generations,
    }
}

/// A base alone holds its own cut.
fn at_once(id: SnapshotId) -> Span {
    Span { from: id.cut.upto(), upto: id.cut.upto() }
}

fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut whole: Vec<Span> = Vec::new();
    for span in spans {
        match whole.last_mut() {
            Some(last) if span.from <= last.upto => last.upto = last.upto.max(span.upto),
            _ => whole.push(span),
        }
    }
    whole
}

/// A tick file that a restore needs, and the last stamp that counts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickNeeded {
    /// As markers name it.
    pub file: FileRow,
    /// What is behind it is not of this history, or behind the target.
    pub upto: Stamp,
}

/// What a restore needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// Its base; `None`: the beginning of everything.
    pub base: Option<SnapshotId>,
    /// Tick files, oldest first.
    pub ticks: Vec<TickNeeded>,
    /// Table files that were taken in whole, by SHA-256.
    pub data: BTreeSet<[u8; 32]>,
    /// The markers that name these.
    pub markers: Vec<Name>,
    /// Bytes of the tick files.
    pub bytes: u64,
    /// The newest forward-only register that a marker names.
    pub floor: u64,
}

/// Why an instant cannot be restored, and which can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRestorable {
    /// It is behind everything archived.
    #[error("it is not archived yet")]
    NotYet {
        /// The newest instant that can.
        nearest: Option<Stamp>,
    },
    /// It lies in a hole, or before everything.
    #[error("the archive has no base with a whole log up to it")]
    InHole {
        /// The nearest instant before it that can.
        before: Option<Stamp>,
        /// The nearest behind it.
        behind: Option<Stamp>,
    },
    /// The base that was asked for does not reach it.
    #[error("the log from that snapshot on has a hole, or the snapshot is not before it")]
    NotFromThere,
}

/// The best base for `at`: the newest proven one, or the newest; `None` is the beginning of everything.
///
/// # Errors
/// Why there is none.
pub fn base_for(archive: &Archive, scope: &Scope, at: Stamp) -> Result<Option<SnapshotId>, NotRestorable> {
    let window = window(archive, scope);
    let log = Lines::of(archive, scope).logs();
    let snapshots = archive.snapshots();
    let fits = |id: &&SnapshotId| reaches(&log, id.cut.upto(), at);
    let proven = |id: &&SnapshotId| snapshots.get(id).is_some_and(super::chain::Snapshotted::is_proven);
    let newest = window.bases.iter().rev().filter(fits).find(proven);
    if let Some(id) = newest.or_else(|| window.bases.iter().rev().find(fits)) {
        return Ok(Some(*id));
    }
    if from_beginning(&log, at).is_some() {
        return Ok(None);
    }
    let (before, behind) = window.nearest(at);
    match behind {
        None => Err(NotRestorable::NotYet { nearest: before }),
        Some(_) => Err(NotRestorable::InHole { before, behind }),
    }
}

/// The log of all groups, to ask of it which snapshots lead where.
pub struct Log(Vec<(Stamp, Stamp, usize)>);

impl Log {
    /// That of `archive`.
    #[must_use]
    pub fn of(archive: &Archive) -> Self {
        Self(Lines::of(archive, &Scope::default()).logs())
    }

    /// The newest of these, which ascend, from which `at` can be restored; `None`: only from the beginning of everything, or from nowhere.
    #[must_use]
    pub fn newest_base(&self, bases: &[SnapshotId], at: Stamp) -> Option<SnapshotId> {
        bases.iter().rev().find(|id| reaches(&self.0, id.cut.upto(), at)).copied()
    }
}

/// Whether the log leads from a base at `cut` to `at`.
fn reaches(log: &[(Stamp, Stamp, usize)], cut: Stamp, at: Stamp) -> bool {
    leads(log, cut, at).is_some()
}

/// Over how many life lines the log leads from a base at `cut` to `at`: over as few as it can.
fn leads(log: &[(Stamp, Stamp, usize)], cut: Stamp, at: Stamp) -> Option<usize> {
    let fits = log.iter().filter(|(after, upto, _)| *after <= cut && at <= *upto);
    let least = fits.map(|(_, _, lines)| *lines).min();
    if cut < at { least } else { (cut == at).then(|| least.unwrap_or(usize::MAX)) }
}

/// Over how many life lines the log leads from the beginning of everything to `at`.
fn from_beginning(log: &[(Stamp, Stamp, usize)], at: Stamp) -> Option<usize> {
    let fits = log.iter().filter(|(after, upto, _)| *after == Stamp::ZERO && at <= *upto);
    fits.map(|(_, _, lines)| *lines).min()
}

/// What it takes to restore `scope` as of `at` from `base`; `None` is the beginning of everything.
///
/// # Errors
/// `NotFromThere`.
pub fn objects_for(
    archive: &Archive,
    scope: &Scope,
    base: Option<SnapshotId>,
    at: Stamp,
) -> Result<Needed, NotRestorable> {
    let lines = Lines::of(archive, scope);
    let log = lines.logs();
    let cut = base.map_or(Stamp::ZERO, |id| id.cut.upto());
    let is_known = base.is_none_or(|id| archive.snapshots().contains_key(&id));
    let led = if base.is_none() { from_beginning(&log, at) } else { leads(&log, cut, at) };
    let Some(led) = led.filter(|_| is_known) else {
        return Err(NotRestorable::NotFromThere);
    };
    let mut needed = Needed { base, ..Needed::default() };
    for (generation, limit) in lines.generations.iter().take(led) {
        for marked in markers(archive, *generation) {
            needed.take(marked, scope, cut, at.min(*limit));
        }
    }
    needed.ticks.sort_by_key(|tick| (tick.file.least, tick.file.table.clone()));
    Ok(needed)
}

impl Needed {
    fn take(&mut self, marked: &Marked, scope: &Scope, cut: Stamp, upto: Stamp) {
        let before = (self.ticks.len(), self.data.len());
        let of_tenants = |file: &&FileRow| {
            scope.tenants.as_ref().is_none_or(|wanted| wanted.iter().any(|one| file.may_hold(*one)))
        };
        for file in marked.marker.files.iter().filter(of_tenants) {
            let (least, greatest) = file.stamps();
            if greatest > cut && least <= upto {
                self.bytes += file.bytes;
                self.ticks.push(TickNeeded { file: file.clone(), upto });
            }
        }
        if marked.marker.end().upto() > cut && marked.marker.groups.iter().any(|row| row.after <= upto.0) {
            let digests = marked.marker.data.iter().filter_map(|digest| digest[..].try_into().ok());
            self.data.extend::<Vec<[u8; 32]>>(digests.collect());
            self.floor = self.floor.max(marked.marker.floor);
        }
        if before != (self.ticks.len(), self.data.len()) {
            let (end, generation) = (marked.marker.end(), marked.marker.generation());
            self.markers.push(Name::Marker(end, generation));
        }
    }
}
