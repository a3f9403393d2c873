//! How a replica comes to be, and how it is found again at a start.
//!
//! A group is not begun by an election of nobody: every founder is born as if a snapshot had come, with entry (1, 0, 1) applied, which
//! nobody made, and the membership in it. So whoever joins later always gets a snapshot. A founder has granted no lease.

use super::life::Life;
use super::lifecycle::Event;
use crate::error::{Error, Result};
use crate::limits;
use crate::log::Log;
use crate::machine::note::Note;
use crate::machine::{Machine, MachineParts, engine_index, fresh_tablet_id, read_note};
use crate::payload;
use crate::types::{GroupId, LogId, Membership, ReplicaId, Vote};
use engine::ids::{LogIndex, TabletId};
use engine::key::KeyRange;
use engine::manifest::edit::Applied;
use engine::tablet::Tablet;
use engine::tablet::pool::{NewTablet, Pool};
use std::collections::BTreeMap;
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

/// The tablets of all groups.
///
/// # Errors
/// As [`tablet_of`].
pub fn tablets(pool: &Pool) -> Result<BTreeMap<GroupId, Arc<Tablet>>> {
    let mut found: BTreeMap<GroupId, Arc<Tablet>> = BTreeMap::new();
    let mut behind: Vec<TabletId> = Vec::new();
    for tablet in pool.tablets() {
        let group = Note::decode(&tablet.durable().note)?.group;
        read_note(group, &tablet.durable().note)?;
        match found.get(&group) {
            Some(other) if other.durable().index >= tablet.durable().index => behind.push(tablet.id()),
            _ => {
                behind.extend(found.insert(group, tablet).map(|other| other.id()));
            }
        }
    }
    behind.into_iter().try_for_each(|id| pool.drop_tablet(id))?;
    Ok(found)
}

/// Who belongs to the group of a replica, as far as it has heard: the last membership in its log, or that of what it has durably applied. A
/// replica counts as what the last one makes it, committed or not; its machine may be far behind.
///
/// # Errors
/// `Damaged`: an entry. As [`Log::entries`].
pub fn membership(log: &Log, machine: &Machine) -> Result<Membership> {
    let (first, end) = log.bounds(machine.group())?;
    let note = machine.applied();
    let mut newest = note.membership;
    let mut next = first.max(note.applied.map_or(0, |applied| applied.index + 1));
    while next < end {
        let entries = log.entries(machine.group(), next, end, limits::READ_BYTES_MAX)?;
        next += entries.len().max(1) as u64;
        if let Some(last) = entries.iter().rfind(|entry| entry.kind == payload::MEMBERSHIP) {
            newest = payload::decode_membership(&last.payload)?;
        }
    }
    Ok(newest)
}

/// What a start finds.
pub struct Here {
    /// The machines of all replicas that live here.
    pub machines: Vec<Arc<Machine>>,
    /// Replicas that a crash left half born: they must be born again.
    pub half_born: Vec<(GroupId, ReplicaId)>,
}

/// Finds what lives here. Tablets of replicas that are gone are dropped.
///
/// # Errors
/// `Damaged`: a note. `CatalogOlder`: the log knows that more was durable than the catalog has. Catalog.
pub fn find(parts: &MachineParts) -> Result<Here> {
    let (mut machines, mut half_born) = (Vec::new(), Vec::new());
    let living = parts.log.groups();
    let mut tablets = tablets(&parts.pool)?;
    for (group, state) in &living {
        let Some(tablet) = tablets.remove(group) else {
            half_born.push((*group, state.replica));
            continue;
        };
        let known = parts.log.found().manifests.get(group).map(|(index, _)| *index);
        let durable = tablet.durable().index.0;
        if known.is_some_and(|known| known > durable) {
            return Err(Error::CatalogOlder { group: *group, known: known.unwrap_or(0), durable });
        }
        machines.push(Machine::open(*group, tablet, parts.clone())?);
    }
    tablets.into_values().try_for_each(|tablet| parts.pool.drop_tablet(tablet.id()))?;
    Ok(Here { machines, half_born })
}
