//! How a replica comes to be, and how it is found again at a start.
//!
//! A group is not begun by an election of nobody: every founder is born as if a snapshot had come, with entry (1, 0, 1) applied, which
//! nobody made, and the membership in it. So whoever joins later always gets a snapshot. A founder has granted no lease.

use super::life::Life;
use super::lifecycle::Event;
use crate::error::{Error, Result};
use crate::log::{GroupState, Log};
use crate::machine::note::Note;
use crate::machine::{Machine, MachineParts, engine_index, fresh_tablet_id, read_note};
use crate::types::{GroupId, LogId, Membership, ReplicaId, Vote};
use engine::ids::{LogIndex, TabletId};
use engine::key::KeyRange;
use engine::manifest::edit::Applied;
use engine::tablet::Tablet;
use engine::tablet::pool::{NewTablet, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The entry that every founder is born with.
pub const FIRST: LogId = LogId { term: 1, replica: ReplicaId(0), index: 1 };

/// A replica to be born.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Of which group.
    pub group: GroupId,
    /// Which; never used in this group before.
    pub replica: ReplicaId,
    /// The rows of the group.
    pub range: KeyRange,
    /// Who founds the group, if this is a founder; a replica that joins knows nobody, and waits for a snapshot.
    pub founders: Option<Membership>,
}

/// Makes the replica be, durably. Done again after a crash, it finishes what it began.
///
/// # Errors
/// `ReplicaUsed`, `ReplicaLives`: another replica lives or has lived here. Disk, catalog.
pub async fn bear(birth: &Birth, parts: MachineParts) -> Result<Arc<Machine>> {
    let Birth { group, replica, range, founders } = birth;
    let life = Life::created(*group);
    let lives = parts.log.state(*group).ok().filter(|state| state.replica == *replica);
    if lives.is_none() {
        durably(|done| parts.log.open_replica(*group, *replica, done)).await?;
    }
    life.may_happen(Event::Opened);
    if founders.is_some() && lives.is_none_or(|state| state.last.is_none()) {
        parts.log.purge(*group, FIRST)?;
    }
    if founders.is_some() && lives.is_none_or(|state| state.vote.is_none()) {
        let vote = Vote { term: FIRST.term, replica: FIRST.replica, is_committed: false };
        durably(|done| parts.log.save_vote(*group, vote, done)).await?;
    }
    let tablet = match tablet_of(&parts.pool, *group)? {
        Some(tablet) => tablet,
        None => {
            let note = match founders {
                Some(membership) => {
                    let (applied, membership) = (Some(FIRST), membership.clone());
                    Note { applied, membership_at: Some(FIRST), membership, ..Note::empty(*group) }
                }
                None => Note::empty(*group),
            };
            let index = note.applied.map_or(LogIndex(0), |first| engine_index(first.index));
            let applied = Applied { index, note: note.encode(), ..Applied::default() };
            let id = fresh_tablet_id(&*parts.entropy, &parts.pool);
            let wanted = [NewTablet { id, range: range.clone(), applied }];
            parts.pool.create(&wanted)?.pop().ok_or(engine::Error::NoSuchTablet(id))?
        }
    };
    Machine::open_in(life, *group, tablet, parts)
}

/// The end of a replica: its id is never used again, then its files go. Nothing of it may run any more: where consensus has run,
/// [`super::supervise::Supervisor::end`] sees to that. Done again after a crash, or when the catalog failed, it finishes what it began.
///
/// # Errors
/// Disk, catalog. `ReplicaLives`: another replica of the group does.
pub async fn end((group, replica): (GroupId, ReplicaId), log: &Log, pool: &Pool) -> Result<()> {
    match log.state(group).map(|state| state.replica) {
        Ok(lives) if lives == replica => durably(|done| log.close_replica(group, done)).await?,
        Ok(lives) => return Err(Error::ReplicaLives { group, replica: lives }),
        Err(Error::NoSuchGroup(_)) => {}
        Err(error) => return Err(error),
    }
    match tablet_of(pool, group)? {
        Some(tablet) => Ok(pool.drop_tablet(tablet.id())?),
        None => Ok(()),
    }
}

/// Puts something into the log, and waits until it is durable.
pub(super) async fn durably(put: impl FnOnce(crate::log::Done) -> Result<()>) -> Result<()> {
    let (told, heard) = tokio::sync::oneshot::channel();
    put(Box::new(move |outcome| {
        let _ = told.send(outcome);
    }))?;
    let ended = |_| Error::Fenced { cause: "the log ended".to_owned() };
    heard.await.map_err(ended)?.map_err(|cause| Error::Fenced { cause })
}

/// The tablet of a group. If a crash left two, the one an installed snapshot made is further: the other goes.
///
/// # Errors
/// `Damaged`: a note cannot be read. Catalog.
pub fn tablet_of(pool: &Pool, group: GroupId) -> Result<Option<Arc<Tablet>>> {
    Ok(tablets(pool)?.remove(&group))
}

/// Tablets by the group whose replica they are of.
pub type Tablets = BTreeMap<GroupId, Arc<Tablet>>;

/// The tablets of all groups. Of two of a group the one that is behind goes.
///
/// # Errors
/// As [`tablet_of`].
pub fn tablets(pool: &Pool) -> Result<Tablets> {
    let (found, behind) = tablets_by_group(pool)?;
    behind.into_iter().try_for_each(|id| pool.drop_tablet(id))?;
    Ok(found)
}

/// The tablets of all groups, and those that another tablet of their group has left behind. Nothing is changed.
pub(super) fn tablets_by_group(pool: &Pool) -> Result<(Tablets, Vec<TabletId>)> {
    let mut found = Tablets::new();
    let mut behind = Vec::new();
    for tablet in pool.tablets() {
        let group = Note::decode(&tablet.durable().note)?.group;
        read_note(group, &tablet.durable().note)?;
        match found.get(&group) {
            Some(other) if other.durable().index >= tablet.durable().index => behind.push(tablet.id()),
            _ => behind.extend(found.insert(group, tablet).map(|other| other.id())),
        }
    }
    Ok((found, behind))
}

/// What a start finds.
#[derive(Default)]
pub struct Here {
    /// The machines of all replicas that live here and may go on.
    pub machines: Vec<Arc<Machine>>,
    /// Replicas that a crash left half born: they must be born again.
    pub half_born: Vec<(GroupId, ReplicaId)>,
    /// Replicas whose tablet is older than the log knows, or gone: they must end (see [`end`]), and others take their place.
    pub outdated: Vec<(GroupId, ReplicaId)>,
}

/// Whether a replica has been more than born: its tablet was there once. A birth purges the log up to where it begins; whatever else
/// purges has noted what is durable before.
pub(super) fn has_lived(state: &GroupState, noted: u64) -> bool {
    let born = state.purged.map_or(FIRST.index, |purged| purged.index);
    noted > 0 || state.last.is_some_and(|last| last.index > born)
}

/// Finds what lives here. Tablets of replicas that are gone are dropped. `replace` are the groups of which the verdict at the start said
/// that their replicas here must be replaced: see [`super::rejoin::Verdict::Runs`].
///
/// # Errors
/// `Damaged`: a note. `CatalogOlder`: the log knows that more was durable than the catalog has, and the group is not among `replace`.
/// Catalog.
pub fn find(parts: &MachineParts, replace: &BTreeSet<GroupId>) -> Result<Here> {
    let mut here = Here::default();
    let mut tablets = tablets(&parts.pool)?;
    for (group, state) in parts.log.groups() {
        let tablet = tablets.remove(&group);
        let known = parts.log.found().manifests.get(&group).map_or(0, |(index, _)| *index);
        let durable = tablet.as_ref().map_or(0, |tablet| tablet.durable().index.0);
        let is_lost = tablet.is_none() && has_lived(&state, known);
        if replace.contains(&group) {
            here.outdated.push((group, state.replica));
        } else if known > durable || is_lost {
            return Err(Error::CatalogOlder { group, known, durable });
        } else if let Some(tablet) = tablet {
            here.machines.push(Machine::open(group, tablet, parts.clone())?);
        } else {
            here.half_born.push((group, state.replica));
        }
    }
    tablets.into_values().try_for_each(|tablet| parts.pool.drop_tablet(tablet.id()))?;
    Ok(here)
}
