//! The disaster start: a group goes on though the majority of its voters is gone for good. People decide it, never a node.
//!
//! * **A survivor in place** ([`survive`]) keeps its log and is made the only voter by an entry that no leader proposed. Started, it
//!   elects itself and commits all that is left.
//! * **From a cut** ([`bear_from_cut`]) a new group with a new replica begins with the tables of an old one, as they stand. Nothing of
//!   the old log comes with it, so nothing can run past the cut. A delayed node always goes this way.
//!
//! Consensus of the old replica does not run meanwhile. Both fork history: before either, the cluster's generation is raised, which
//! every frame names ([`crate::net::envelope::cluster_tag`]), and one lease has passed. Whoever is of the old one is refused, must be
//! wiped, and joins as a new replica. Done again after a crash, each finishes what it began. The protocol:
//! `docs/protocols/disaster_start.md`.

use super::birth::{FIRST, durably};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::limits;
use crate::log::{Entry, Log};
use crate::machine::note::Note;
use crate::machine::{Machine, MachineParts, engine_index, fresh_tablet_id, read_note};
use crate::payload;
use crate::types::{GroupId, LogId, Membership, ReplicaId, Role, Seat, Vote};
use engine::Stamp;
use engine::entropy::Entropy;
use engine::ids::NodeId;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::pool::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds between two looks at whether a flush by another thread is done, and how often it is looked.
const FLUSH_LOOK_MS: u64 = 10;
const FLUSH_LOOKS: usize = 3_000;
/// Entries that fill up a log, at most.
const FILLED_MAX: u64 = 10_000;

/// A survivor that is to go on alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Of which group.
    pub group: GroupId,
    /// Where it lives.
    pub node: NodeId,
    /// The last entry that is to be kept, if not all are: what lies behind it is lost for good, committed or not.
    pub upto: Option<LogId>,
    /// The greatest stamp that anybody is known to have seen of the cluster, beside those in this log.
    pub seen: Stamp,
    /// The log is filled up to this index: entries of other groups wait for it. 0: none does.
    pub reach: u64,
}

/// A group that is to be born from a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its id, never used before.
    pub group: GroupId,
    /// Its only replica.
    pub replica: ReplicaId,
    /// Where that lives.
    pub node: NodeId,
    /// The greatest stamp that anybody is known to have seen of the cluster, of what is behind the cut too.
    pub seen: Stamp,
}

/// The greatest stamp that a node has of any group: in its log, applied or not, or applied by one of its `machines`, whose entries may
/// be purged.
///
/// # Errors
/// `NoSuchGroup`: one ends meanwhile.
pub fn greatest_stamp<'a>(log: &Log, machines: impl IntoIterator<Item = &'a Arc<Machine>>) -> Result<Stamp> {
    let stamps = log.groups().into_keys().map(|group| log.last_stamp(group));
    let stored = stamps.collect::<Result<Vec<_>>>()?.into_iter().flatten().map(Stamp);
    let applied = machines.into_iter().map(|machine| machine.applied().last);
    Ok(stored.chain(applied).max().unwrap_or_default())
}

/// What the old history may have given out is at or below this: a leader's clock may be ahead of what was seen of it.
fn above(seen: Stamp) -> Stamp {
    let ms = seen.ms().saturating_add(limits::CLOCK_PART_MS_MAX);
    Stamp::end_of_ms(ms.min(Stamp::MAX.ms() - 1)).max(seen)
}

/// Up to which stamp no entry here that is not applied waits for an entry of the meta group which is not here; `None`: none waits for one. Who
/// had that entry is gone, so that whoever waits for it would wait for ever.
///
/// # Errors
/// As [`Machine::needs`].
pub fn waits_behind<'a>(
    log: &Log,
    machines: impl IntoIterator<Item = &'a Arc<Machine>>,
) -> Result<Option<Stamp>> {
    let meta = log.state(GroupId::META).ok().and_then(|state| state.last);
    let reach = meta.map_or(0, |id| id.index);
    let data = machines.into_iter().filter(|machine| machine.group() != GroupId::META);
    let waits = data.map(|machine| Ok(machine.needs(log, reach)?.upto)).collect::<Result<Vec<_>>>()?;
    Ok(waits.into_iter().flatten().min())
}

/// A group of one.
fn alone(replica: ReplicaId, node: NodeId) -> Membership {
    let seats = BTreeMap::from([(replica, Seat { node, role: Role::Voter })]);
    Membership { voters: vec![[replica].into()], seats }
}

/// Makes the replica of a group that lives here its only voter, durably. `durable` is the note its tablet durably has; consensus must
/// not run, and the machine must be opened anew before it does. Returns the entry that says who belongs to the group now.
///
/// # Errors
/// `Invalid`: there is nothing here to go on with, or more is to be filled up than can be. `BelowApplied`: what is to be dropped is applied, which cannot be undone. `Gap`: what
/// is to be kept is not here. `NoSuchGroup`, `Fenced`.
pub async fn survive(log: &Log, durable: &Note, entropy: &dyn Entropy, wanted: &Survivor) -> Result<LogId> {
    let Survivor { group, node, upto, seen, reach } = *wanted;
    let replica = log.state(group)?.replica;
    if let Some(upto) = upto {
        keep(log, durable, group, upto)?;
    }
    let state = log.state(group)?;
    let last = state.last.ok_or(Error::Invalid("a replica with an empty log has nothing to go on with"))?;
    let term = state.vote.map_or(0, |vote| vote.term).max(last.term).saturating_add(1);
    // Not granted: it has to be elected, by itself, in a later term.
    let vote = Vote { term, replica, is_committed: false };
    durably(|done| log.save_vote(group, vote, done)).await?;
    let stamp = log.last_stamp(group)?.map_or(durable.last, Stamp).max(durable.last);
    let id = |index| LogId { term, replica, index };
    let (membership, closer) = (id(last.index + 1), id(last.index + 2));
    let closed = above(seen.max(stamp));
    if reach.saturating_sub(closer.index) > FILLED_MAX {
        return Err(Error::Invalid("entries wait for more of the meta group than can be filled up"));
    }
    let members = payload::encode_membership(&alone(replica, node)).into();
    let mut entries = vec![
        Entry { log_id: membership, kind: payload::MEMBERSHIP, stamp: stamp.0, payload: members },
        Entry { log_id: closer, kind: payload::COMMAND, stamp: closed.0, payload: close(entropy, closed) },
    ];
    for index in closer.index + 1..=reach {
        let blank =
            Entry { log_id: id(index), kind: payload::BLANK, stamp: closed.0, payload: bytes::Bytes::new() };
        entries.push(blank);
    }
    durably(|done| log.append(group, entries, done)).await?;
    Ok(membership)
}

/// Drops what lies behind `upto`, which must not be applied.
fn keep(log: &Log, durable: &Note, group: GroupId, upto: LogId) -> Result<()> {
    if let Some(applied) = durable.applied.filter(|applied| applied.index > upto.index) {
        return Err(Error::BelowApplied { group, wanted: upto, applied });
    }
    let state = log.state(group)?;
    let is_here = log.stamped(group, upto.index)?.map(|(id, _)| id) == Some(upto);
    if !is_here && state.purged != Some(upto) {
        return Err(Error::Gap { group, entry: upto, last: crate::error::Last(state.last) });
    }
    // The marker goes back first: a crash in between must leave none that names what is gone.
    if state.committed.is_some_and(|committed| committed.index > upto.index) {
        log.save_committed(group, Some(upto))?;
    }
    log.truncate_after(group, Some(upto))
}

/// An entry without commands, which only closes the time up to `closed`.
fn close(entropy: &dyn Entropy, closed: Stamp) -> bytes::Bytes {
    let mut entry = [0; 16];
    entropy.fill(&mut entry);
    Command { entry, stamp: closed, closed, ..Command::default() }.encode()
}

/// Bears a group with the tables of the group of `old` as they stand, and one replica, durably. Consensus of the old one must not run;
/// it stays as it is, until [`super::birth::end`]. No file is copied.
///
/// The new group begins with an entry nobody made, as every group does, in term 1: none of its entries is ever compared with one of the
/// old group. But its index is the one after the last that was applied, because the positions of a tablet only rise. And no stamp at
/// or below what was seen, and what a clock may be ahead, is given out by it.
///
/// # Errors
/// `Invalid`: nothing is applied, or the new group is the old one. `CutNotDurable`: what is applied could not be made durable; try again.
/// As [`super::birth::bear`].
pub async fn bear_from_cut(old: &Machine, cut: &Cut, parts: MachineParts) -> Result<Arc<Machine>> {
    let Cut { group, replica, node, seen } = *cut;
    let applied = old.applied().applied.filter(|_| group != old.group());
    let applied =
        applied.ok_or(Error::Invalid("a cut needs something applied, and a group of another id"))?;
    flush(&parts.pool, &old.tablet(), old.group()).await?;
    let born = tablet_of(&parts.pool, group)?;
    let first = match &born {
        // A crash came between: the log must begin where the tablet stands.
        Some((_, note)) => note.applied.unwrap_or(FIRST),
        None => LogId { index: applied.index + 1, ..FIRST },
    };
    let lives = parts.log.state(group).ok().filter(|state| state.replica == replica);
    if lives.is_none() {
        durably(|done| parts.log.open_replica(group, replica, done)).await?;
    }
    if lives.is_none_or(|state| state.last.map(|last| last.index) < Some(first.index)) {
        parts.log.purge(group, first)?;
    }
    if lives.is_none_or(|state| state.vote.is_none()) {
        let vote = Vote { term: FIRST.term, replica: FIRST.replica, is_committed: false };
        durably(|done| parts.log.save_vote(group, vote, done)).await?;
    }
    let tablet = match born {
        Some((tablet, _)) => tablet,
        None => {
            let renamed = |note: Note| {
                let last = above(seen.max(note.last));
                let membership = alone(replica, node);
                Note { group, applied: Some(first), membership_at: Some(first), membership, last, ..note }
            };
            copy(old, &parts, first, renamed).await?
        }
    };
    Machine::open(group, tablet, parts)
}

/// The tablet of a group, as it durably stands. Others are left alone, though there be two of one group.
fn tablet_of(pool: &Pool, group: GroupId) -> Result<Option<(Arc<Tablet>, Note)>> {
    for tablet in pool.tablets() {
        let note = Note::decode(&tablet.durable().note)?;
        if note.group == group {
            return Ok(Some((tablet, note)));
        }
    }
    Ok(None)
}

/// A second tablet with the tables of `old`, and another note at position `at`. Before the note is durable it is one of two of the old
/// group, of which a start keeps one.
async fn copy(
    old: &Machine,
    parts: &MachineParts,
    at: LogId,
    renamed: impl FnOnce(Note) -> Note,
) -> Result<Arc<Tablet>> {
    let checkpoint = old.tablet().checkpoint()?;
    let note = renamed(read_note(old.group(), &checkpoint.levels().applied.note)?);
    let present = checkpoint.files().into_iter().map(|file| file.id).collect();
    let mut stream = Vec::new();
    checkpoint.export_to_stream(&mut stream, &present)?;
    let id = fresh_tablet_id(&*parts.entropy, &parts.pool);
    let tablet = parts.pool.import_from_stream(&mut &stream[..], id)?.tablet;
    let mut batch = Batch::new(engine_index(at.index));
    batch.set_note(&note.encode())?;
    let done = match tablet.apply(&batch) {
        Ok(()) => flush(&parts.pool, &tablet, note.group).await,
        Err(error) => Err(error.into()),
    };
    if done.is_err() && tablet.durable().index < batch.index() {
        // Of two of one group a start would keep any.
        parts.pool.drop_tablet(id)?;
    }
    done.map(|()| tablet)
}

/// Makes durable what is applied.
async fn flush(pool: &Pool, tablet: &Tablet, group: GroupId) -> Result<()> {
    let applied = tablet.applied().index;
    for _ in 0..FLUSH_LOOKS {
        tablet.freeze();
        pool.settle();
        if tablet.durable().index >= applied {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(FLUSH_LOOK_MS)).await;
    }
    Err(Error::CutNotDurable { group, applied: applied.0, durable: tablet.durable().index.0 })
}
