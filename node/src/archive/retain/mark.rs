//! Pure: what of an archive nobody needs any more.

use super::keep::Keep;
use super::policy::Policy;
use crate::archive::chain::{Archive, Marked, join_spans};
use crate::archive::manifest::keep::CollectedSpan;
use crate::archive::naming::{Name, SnapshotId, TickEnd};
use crate::archive::window::{Log, Scope, Window, window};
use engine::Stamp;
use engine::error::Damage;
use std::collections::{BTreeMap, BTreeSet};

/// Proven snapshots that stay, however old: a snapshot that nobody has restored is a hope.
const PROVEN_MIN: usize = 2;
/// The newest marker may be so old, in seconds: behind an archive that stands still, or a clock that runs ahead, nothing is collected.
pub const STALE_S: u64 = 3_600;

/// What is known.
pub struct Facts<'a> {
    /// What the archive says.
    pub archive: &'a Archive,
    /// Table files that the parts of each snapshot name, whole or not.
    pub data: &'a BTreeMap<SnapshotId, BTreeSet<[u8; 32]>>,
    /// Every object that is there.
    pub there: &'a BTreeSet<Name>,
    /// What stays whatever the policy says.
    pub keeps: &'a [Keep],
    /// A snapshot that is being taken: table files that nobody names yet may be its.
    pub taking: Option<SnapshotId>,
    /// Further sites that are required have everything up to here; what they lack stays. `None`: there are none.
    pub carried: Option<Stamp>,
    /// Seconds since 1970.
    pub now_s: u64,
}

/// Why nothing is collected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no marker, or the newest is old.
    #[error("the newest marker is {age_s} s old: nothing is collected behind an archive that stands still")]
    Stale {
        /// How old, in seconds.
        age_s: u64,
    },
    /// Something is damaged that would stay.
    #[error("something that must stay is damaged, and might be mended from what would go: {first}")]
    Damaged {
        /// The first fault.
        first: String,
    },
    /// No instant can be restored of the time in which every one should be.
    #[error(
        "no instant of the time in which every one should be can be restored: there is no base to keep the log from"
    )]
    Nothing,
    /// The check found that something promised would be lost.
    #[error("without what would go, {what} could not be restored any more")]
    WouldBreak {
        /// What.
        what: String,
    },
}

/// What may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marking {
    /// Names of what may go.
    pub go: BTreeSet<Name>,
    /// Snapshots that stay, and why.
    pub snapshots: BTreeMap<SnapshotId, &'static str>,
    /// Snapshots that are damaged, and would stay if they were not: they might be mended.
    pub damaged: BTreeSet<SnapshotId>,
    /// The log stays from here on, and in the spans that are kept.
    pub log_from: Stamp,
    /// Every instant from here on is promised, if it can be restored.
    pub edge: Stamp,
}

/// The spans of the log that stay.
struct Kept {
    from: Stamp,
    islands: Vec<(Stamp, Stamp)>,
}

impl Kept {
    /// Whether nothing of what ended with this tick stays.
    fn is_past(&self, end: TickEnd, young: TickEnd) -> bool {
        end <= young && !self.touches(end.upto(), end.upto())
    }

    fn touches(&self, after: Stamp, upto: Stamp) -> bool {
        upto > self.from || self.islands.iter().any(|(from, end)| after <= *end && upto >= *from)
    }

    /// Whether a marker stays: one behind, one with something of an island in it, and one that says which groups are born or end while there
    /// is an island before it, or nobody would know which groups the island is of.
    fn holds(&self, marked: &Marked) -> bool {
        let marker = &marked.marker;
        let upto = marker.end().upto();
        let is_of_islands = || {
            let rows = marker.groups.iter().any(|row| self.touches(row.span().0, row.span().1));
            let files = marker.files.iter().any(|file| self.touches(file.stamps().0, file.stamps().1));
            let turns = marker.groups.iter().any(|row| row.ended != 0 || !row.parents.is_empty());
            rows || files || turns && self.islands.iter().any(|(from, _)| *from < upto)
        };
        upto > self.from || !self.islands.is_empty() && is_of_islands()
    }
}

/// Snapshots that have an end and are no good, those that would stay if they were whole.
fn damaged(facts: &Facts<'_>, policy: &Policy, edge: Stamp, young: TickEnd) -> BTreeSet<SnapshotId> {
    let with_end = |name: &Name| match name {
        Name::SnapshotDone(id) => Some(*id),
        _ => None,
    };
    let all: BTreeSet<SnapshotId> = facts.there.iter().filter_map(with_end).collect();
    let whole = facts.archive.snapshots();
    let points = policy.points_of(all.iter().copied());
    let pinned = |id: &SnapshotId| facts.keeps.iter().any(|keep| keep.snapshots.contains(id));
    let stays =
        |id: &&SnapshotId| points.contains_key(*id) || id.cut.upto() > edge || id.cut > young || pinned(id);
    all.iter().filter(|id| !whole.contains_key(*id)).filter(stays).copied().collect()
}

/// The last moment of `seconds` before now.
fn edge(now_s: u64, seconds: u64) -> Stamp {
    TickEnd(now_s.saturating_sub(seconds)).upto()
}

/// Marks what may go.
///
/// # Errors
/// See [`Refusal`].
pub fn mark(facts: &Facts<'_>, policy: &Policy) -> Result<Marking, Refusal> {
    let newest = facts.archive.markers().keys().map(|(_, end)| end.0).max().unwrap_or(0);
    let age_s = facts.now_s.saturating_sub(newest);
    if age_s > STALE_S {
        return Err(Refusal::Stale { age_s });
    }
    // A clock that runs ahead makes nothing old: what counts is how far the archive is.
    let now_s = facts.now_s.min(newest);
    let mut marking = Marking { edge: edge(now_s, policy.log_s), ..Marking::default() };
    if policy.keeps_all {
        return Ok(marking);
    }
    let all = window(facts.archive, &Scope::default());
    let log = Log::of(facts.archive);
    marking.stays(facts, policy, (&all, &log), now_s)?;
    let kept = Kept { from: marking.log_from, islands: marking.islands(facts, (&all, &log)) };
    let young = TickEnd(now_s.saturating_sub(policy.young_s()));
    marking.mark_log(facts, &kept, young);
    marking.mark_snapshots(facts, young);
    marking.mark_rest(facts, policy);
    let matters = |fault: &&Damage| match Name::parse(&fault.place) {
        Some(Name::Marker(end, _)) => !kept.is_past(end, young),
        Some(Name::TickFile(file)) => !kept.is_past(file.end, young),
        Some(
            Name::SnapshotOpen(id) | Name::SnapshotDone(id) | Name::SnapshotPart(id, _) | Name::Proof(id, _),
        ) => marking.damaged.contains(&id) || marking.snapshots.contains_key(&id),
        Some(name) => !marking.go.contains(&name),
        None => true,
    };
    if let Some(fault) = facts.archive.faults().iter().find(matters) {
        return Err(Refusal::Damaged { first: fault.to_string() });
    }
    super::check::check(facts, &marking, &all)?;
    Ok(marking)
}

impl Marking {
    /// Decides which snapshots stay, and from where on the log does.
    fn stays(
        &mut self,
        facts: &Facts<'_>,
        policy: &Policy,
        (all, log): (&Window, &Log),
        now_s: u64,
    ) -> Result<(), Refusal> {
        let promised: Vec<_> = all.spans.iter().filter(|span| span.upto >= self.edge).collect();
        if promised.is_empty() {
            return Err(Refusal::Nothing);
        }
        let mut from = all.frontier.unwrap_or(Stamp::ZERO).min(facts.carried.unwrap_or(Stamp::MAX));
        for span in promised {
            let base = log.newest_base(&all.bases, span.from.max(self.edge));
            from = from.min(base.map_or(Stamp::ZERO, |id| id.cut.upto()));
            base.map(|id| self.snapshots.insert(id, "base"));
        }
        self.log_from = from.min(edge(now_s, policy.young_s()));
        let (whole, edge) = (facts.archive.snapshots(), self.edge);
        let young = edge.min(self.log_from);
        let mut stay = |id: SnapshotId, why| {
            self.snapshots.entry(id).or_insert(why);
        };
        for (id, why) in policy.points_of(all.bases.iter().copied()) {
            stay(id, why);
        }
        let recent = all.bases.iter().copied().filter(|id| id.cut.upto() > edge);
        policy.steps_of(recent).into_iter().for_each(|id| stay(id, "step"));
        let proven =
            whole.iter().rev().filter(|(id, one)| one.is_proven() && all.bases.contains(id)).take(PROVEN_MIN);
        proven.for_each(|(id, _)| stay(*id, "proven"));
        all.bases.last().into_iter().for_each(|id| stay(*id, "newest"));
        // What a life line that lost has taken is no base, and stays as long as the log does.
        let lost = whole.keys().filter(|id| !all.bases.contains(id) && id.cut.upto() > young);
        lost.for_each(|id| stay(*id, "of another line"));
        let pinned = facts.keeps.iter().flat_map(|keep| &keep.snapshots).filter(|id| whole.contains_key(id));
        pinned.for_each(|id| stay(*id, "pinned"));
        let young = TickEnd(now_s.saturating_sub(policy.young_s()));
        whole.keys().filter(|id| id.cut > young).for_each(|id| stay(*id, "young"));
        self.damaged = damaged(facts, policy, edge, young);
        Ok(())
    }

    /// Spans of the log that stay before all of it does. The snapshots from which they begin stay too.
    fn islands(&mut self, facts: &Facts<'_>, (all, log): (&Window, &Log)) -> Vec<(Stamp, Stamp)> {
        let mut islands = Vec::new();
        for (after, upto) in facts.keeps.iter().filter_map(|keep| keep.span) {
            let first = after.next();
            for span in all.spans.iter().filter(|span| span.upto >= first && span.from <= upto) {
                let base = log.newest_base(&all.bases, span.from.max(first));
                base.map(|id| self.snapshots.entry(id).or_insert("base"));
                islands.push((base.map_or(Stamp::ZERO, |id| id.cut.upto()), upto.min(span.upto)));
            }
        }
        islands
    }

    fn mark_log(&mut self, facts: &Facts<'_>, kept: &Kept, young: TickEnd) {
        let mut files = BTreeSet::new();
        for ((generation, end), marked) in facts.archive.markers() {
            if *end > young || kept.holds(marked) {
                files.extend(marked.marker.files.iter().filter_map(|file| file.name().ok()));
            } else {
                self.go.insert(Name::Marker(*end, *generation));
            }
        }
        for name in facts.there {
            let goes = match name {
                // One that no marker names any more, or ever did.
                Name::TickFile(file) => file.end <= young && !files.contains(file),
                // One that is no good.
                Name::Marker(end, generation) => {
                    !facts.archive.markers().contains_key(&(*generation, *end)) && kept.is_past(*end, young)
                }
                Name::Receipt(_, end, _) | Name::Roll(end, _) => *end <= young && end.upto() <= kept.from,
                _ => false,
            };
            if goes {
                self.go.insert(name.clone());
            }
        }
        let gaps = facts.archive.gaps();
        for name in facts.there {
            if let Name::Gap(id) | Name::GapAck(id) = name {
                // One that is no good is as long as its name says at least.
                let (after, upto) =
                    gaps.get(id).map_or((id.from.upto(), id.from.upto()), |one| one.gap.span());
                if id.from <= young && !kept.touches(after, upto) {
                    self.go.insert(name.clone());
                }
            }
        }
    }

    fn mark_snapshots(&mut self, facts: &Facts<'_>, young: TickEnd) {
        // One whose end is there and is no good is damaged, not half.
        let has_end = |id: &SnapshotId| facts.there.contains(&Name::SnapshotDone(*id));
        let whole = facts.archive.snapshots();
        let stays = |id: &SnapshotId| match whole.contains_key(id) {
            true => self.snapshots.contains_key(id),
            false if has_end(id) => self.damaged.contains(id),
            false => id.cut > young || facts.taking == Some(*id),
        };
        let of = |name: &&Name| match name {
            Name::SnapshotOpen(id)
            | Name::SnapshotPart(id, _)
            | Name::SnapshotDone(id)
            | Name::Proof(id, _) => !stays(id),
            _ => false,
        };
        let gone: Vec<Name> = facts.there.iter().filter(of).cloned().collect();
        if facts.taking.is_none() {
            let named = facts.data.iter().filter(|(id, _)| stays(id)).flat_map(|(_, files)| files);
            let markers = facts.archive.markers().iter();
            let ingested = markers
                .filter(|((generation, end), _)| !self.go.contains(&Name::Marker(*end, *generation)))
                .flat_map(|(_, marked)| &marked.marker.data)
                .filter_map(|digest| <&[u8; 32]>::try_from(&digest[..]).ok());
            let named: BTreeSet<&[u8; 32]> = named.chain(ingested).collect();
            let orphan = |name: &&Name| matches!(name, Name::Data(digest) if !named.contains(digest));
            let orphans: Vec<Name> = facts.there.iter().filter(orphan).cloned().collect();
            self.go.extend(orphans);
        }
        self.go.extend(gone);
    }

    /// Pins that have ended, and tombs that a later one stands for.
    fn mark_rest(&mut self, facts: &Facts<'_>, policy: &Policy) {
        let ended = |id: &[u8; 8]| {
            let last = facts.archive.pins().get(id);
            last.is_some_and(|(_, pin)| policy.forgets(pin.until_ms, facts.now_s))
        };
        // The last one says everything that those before it have said.
        let done = facts.archive.done_tombs();
        let last = done.iter().max_by_key(|(at, done)| (done.made_ms, **at)).map(|(at, _)| *at);
        let is_over = |at: &(TickEnd, [u8; 8])| done.contains_key(at) && last != Some(*at);
        for name in facts.there {
            let goes = match name {
                Name::Pin(id, _) => ended(id),
                Name::Tomb(day, id) | Name::TombDone(day, id) => is_over(&(*day, *id)),
                _ => false,
            };
            if goes {
                self.go.insert(name.clone());
            }
        }
    }
}

/// What of the log is collected once these objects are gone: what was before, and every run of markers that go.
#[must_use]
pub fn collected(archive: &Archive, gone: &BTreeSet<Name>) -> Vec<CollectedSpan> {
    let mut spans: Vec<CollectedSpan> =
        archive.done_tombs().values().flat_map(|done| done.collected.iter().copied()).collect();
    let there = archive.markers().keys().map(|(generation, end)| Name::Marker(*end, *generation));
    // Some of what goes may be gone already.
    let all: BTreeSet<Name> = there.chain(gone.iter().cloned()).collect();
    let end = |name: &Name| match name {
        Name::Marker(end, _) => Some((*end, gone.contains(name))),
        _ => None,
    };
    let mut ends: Vec<(TickEnd, bool)> = all.iter().filter_map(end).collect();
    ends.sort_unstable();
    // Of two life lines that close one tick the one that stays counts.
    ends.dedup_by(|later, earlier| {
        later.0 == earlier.0 && {
            earlier.1 &= later.1;
            true
        }
    });
    let mut stays = Stamp::ZERO;
    for (end, goes) in ends {
        match goes {
            true => spans.push(CollectedSpan { after: stays.0, upto: end.upto().0 }),
            false => stays = end.upto(),
        }
    }
    join_spans(spans)
}
