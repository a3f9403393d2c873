//! Follows what is written to a range of a collection, on a node that has a replica of its shard.
//!
//! A watch begins behind a stamp. It first reads from the tablet what was written since, slice by slice, each complete up to a stamp; then it
//! hears what is applied ([`super::feed`]), and reads from the tablet again whenever it has missed some of that. So nothing is left out as
//! long as the history of its tenant reaches back to where it stands, and where it does not, the watcher is told so. The protocol:
//! `docs/protocols/watch.md`.

use super::door::Door;
use super::feed::{Feeds, Hearing, Large, Place};
use crate::limits;
use crate::refused::Refused;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::key::{self, KeyRange};
use engine::tablet::batch::Op;
use engine::tablet::changes::{Change, ChangesAsked, user_bound};
use engine::tablet::view::View;
use proto::errors::code;
use raft::types::GroupId;
use std::sync::Arc;
use std::time::Duration;

/// What is watched.
#[derive(Clone, PartialEq, Eq)]
pub struct Watched {
    /// Whose.
    pub tenant: TenantId,
    /// The name of the collection. There may be none of that name yet.
    pub collection: String,
    /// The first key.
    pub start: Vec<u8>,
    /// The first behind them; `None`: all that follow.
    pub end: Option<Vec<u8>>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// Behind this stamp; [`Stamp::ZERO`]: from now on.
    pub after: Stamp,
    /// The generation of the cluster in which it was open before; 0: it was not.
    pub generation: u64,
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The watch began too far back.
    Trimmed,
    /// It has fallen behind what is kept here.
    Lagged,
    /// The history of the cluster has forked since the watch was open before.
    Restored,
    /// It was open before, and what comes next is not kept here.
    Moved,
}

/// The rows of what is watched.
pub struct Rows(KeyRange);

impl Rows {
    /// Those from `start` up to `end`.
    #[must_use]
    pub fn new(tenant: TenantId, collection: CollectionId, start: &[u8], end: Option<&[u8]>) -> Self {
        let row = |user_key: &[u8]| key::row(tenant, collection, user_key);
        let end = end.map(row).or_else(|| KeyRange::prefix(tenant, collection, b"").end);
        Self(KeyRange { start: row(start), end })
    }

    /// What one write does to them, if anything.
    ///
    /// # Errors
    /// `Damaged`: its key is none.
    pub fn change(&self, op: Op<'_>) -> engine::Result<Option<(Stamp, Change)>> {
        let user_key = |version| -> engine::Result<Option<(Stamp, Vec<u8>)>> {
            let (row, stamp) = key::split(version);
            if !self.0.contains(row) {
                return Ok(None);
            }
            let (_, _, key) = key::decode_row(row)?;
            Ok(Some((stamp, key)))
        };
        Ok(match op {
            Op::Put { version, value, expires_ms } => user_key(version)?.map(|(stamp, key)| {
                (stamp, Change::Put { key, value: bytes::Bytes::copy_from_slice(value), expires_ms })
            }),
            Op::Delete { version } => user_key(version)?.map(|(stamp, key)| (stamp, Change::Delete { key })),
            Op::DeleteRange { start, end, stamp } => {
                let rows = KeyRange { start: start.to_vec(), end: Some(end.to_vec()) }.intersect(&self.0);
                let start = user_bound(&rows.start).unwrap_or_default();
                let end = rows.end.as_deref().and_then(user_bound);
                (!rows.is_empty()).then_some((stamp, Change::DeleteRange { start, end }))
            }
        })
    }
}

/// What a watch hears.
#[derive(Debug)]
pub enum Heard {
    /// Changes, in the order of their stamps. With them all is told that was written up to `upto`.
    Changes {
        /// None, if nothing was written there.
        changes: Vec<(Stamp, Change)>,
        /// Up to here nothing is missing.
        upto: Stamp,
    },
    /// What was written before `from` cannot be told any more; the watch goes on behind it.
    Reset {
        /// All of it is seen as of this stamp.
        from: Stamp,
        /// Why it cannot.
        why: Lost,
    },
}

/// What a watch reads from, and whether it may.
#[derive(Clone)]
pub struct Source {
    door: Arc<Door>,
    feeds: Feeds,
    tenant: TenantId,
    group: GroupId,
}

impl Source {
    /// That of a tenant, whose shard is `group`.
    pub(super) fn new(door: Arc<Door>, feeds: Feeds, tenant: TenantId, group: GroupId) -> Self {
        Self { door, feeds, tenant, group }
    }

    /// Whether the watch may go on here: the tenant is served, and what is applied to the replica here is not too old.
    ///
    /// # Errors
    /// What is wrong with the tenant; `WRONG_NODE` and who leads, `NO_LEADER`.
    pub fn check(&self) -> Result<(), Refused> {
        self.door.telling(self.tenant, Some(self.group)).map(drop)
    }

    /// The generation of the cluster.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.door.generation()
    }

    /// All that is applied, and a stamp at or below which nothing comes any more.
    fn look(&self) -> Result<(View, Stamp), Refused> {
        let seated = self.door.telling(self.tenant, Some(self.group))?;
        let machine = seated.receiver.group().machine();
        // What is applied between the two is in the view as well.
        let closed = machine.applied().last;
        let view = machine.tablet().view(0)?;
        let upto = closed.max(view.at());
        Ok((view, upto))
    }
}

/// A watch.
pub struct Watch {
    source: Source,
    watched: Watched,
    /// All is told up to here.
    after: Stamp,
    /// What is heard, once all that the tablet keeps is told.
    hearing: Option<(Hearing, Rows)>,
    /// Why, if what comes next is not kept.
    lost: Lost,
    /// What was read last was not all: the next time more is read at once, if there is room.
    is_behind: bool,
    /// That room, until what was read is sent.
    large: Option<Large>,
    _place: Place,
}

impl Watch {
    /// A watch of what is written behind a stamp. What was told of this tenant's name before `forked` was told of another tenant.
    ///
    /// # Errors
    /// `WATCH_LIMIT`. `STAMP_AHEAD`: nobody can have been given that stamp.
    pub fn new(source: Source, watched: Watched, begin: Begin, forked: Stamp) -> Result<Self, Refused> {
        let place = source.feeds.place().ok_or_else(|| Refused::new(code::WATCH_LIMIT))?;
        let Begin { after, generation } = begin;
        let lost = match generation {
            _ if after < forked => Lost::Restored,
            0 => Lost::Trimmed,
            before if before == source.generation() => Lost::Moved,
            _ => Lost::Restored,
        };
        let is_ahead = after.ms() > source.door.now_ms().saturating_add(raft::limits::CLOCK_PART_MS_MAX);
        // What was told in another generation says nothing of the stamps of this one.
        if is_ahead && lost != Lost::Restored {
            return Err(Refused::new(code::STAMP_AHEAD));
        }
        let (hearing, large, is_behind) = (None, None, false);
        Ok(Self { source, watched, after, hearing, lost, is_behind, large, _place: place })
    }

    /// What it reads from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// All is told up to here.
    #[must_use]
    pub fn after(&self) -> Stamp {
        self.after
    }

    /// What comes next. It comes back within [`limits::WATCH_LOOK_MS`] even if nothing was written, or soon after.
    ///
    /// # Errors
    /// As [`Source::check`], and what reading says. The watch is over.
    pub async fn next(&mut self) -> Result<Heard, Refused> {
        // What was read before is sent.
        self.large = None;
        self.source.check()?;
        if self.lost == Lost::Restored {
            let (_, applied) = self.source.look()?;
            return Ok(self.reset(applied));
        }
        let Some((hearing, _)) = &mut self.hearing else { return self.catch_up().await };
        let look = Duration::from_millis(limits::WATCH_LOOK_MS);
        // If nothing comes, that is told as well.
        let _ = tokio::time::timeout(look, hearing.waits()).await;
        self.hear().await
    }

    /// Takes what was heard.
    async fn hear(&mut self) -> Result<Heard, Refused> {
        let Some((hearing, rows)) = &mut self.hearing else { return self.catch_up().await };
        let (mut changes, mut bytes, mut after) = (Vec::new(), 0, self.after);
        // What is taken waits here for credit, so it is as little as what is read from a tablet at once.
        while changes.len() < limits::WATCH_UNTOLD_MAX && bytes < limits::WATCH_BYTES_MAX {
            let Ok(next) = hearing.take() else {
                // What was heard before it stays: the tablet is read behind that.
                self.hearing = None;
                break;
            };
            let Some(applied) = next else { break };
            let mut more = applied.changes(rows, after)?;
            bytes += more.iter().map(|(_, change)| change.bytes()).sum::<usize>();
            changes.append(&mut more);
            after = after.max(applied.upto);
        }
        self.after = after;
        Ok(Heard::Changes { changes, upto: after })
    }

    /// Reads from the tablet what was written since, or the oldest of it.
    async fn catch_up(&mut self) -> Result<Heard, Refused> {
        let Watched { tenant, collection, start, end } = &self.watched;
        let Some(collection) = self.source.door.collection(*tenant, collection) else {
            // Nothing was ever written there. How far that holds is not known: of a new collection this node may hear late.
            tokio::time::sleep(Duration::from_millis(limits::WATCH_LOOK_MS)).await;
            return Ok(Heard::Changes { changes: Vec::new(), upto: self.after });
        };
        // First it listens, then it looks: what is applied between is heard, and left out by its stamp.
        let hearing = self.source.feeds.hear(self.source.group);
        let (view, applied) = self.source.look()?;
        self.large = if self.is_behind { self.source.feeds.large() } else { None };
        let (limit, bytes_max) = match self.large {
            Some(_) => (limits::WATCH_LARGE_CHANGES_MAX, limits::WATCH_LARGE_BYTES_MAX),
            None => (limits::WATCH_CHANGES_MAX, limits::WATCH_BYTES_MAX),
        };
        let asked = ChangesAsked {
            tenant: *tenant,
            collection,
            start: start.clone(),
            end: end.clone(),
            after: self.after,
            limit,
            bytes_max,
        };
        let rows = Rows::new(*tenant, collection, start, end.as_deref());
        let begun = aside(move || Arc::new(view).changes(&asked)).await?;
        let mut walk = match begun {
            Ok(walk) => walk,
            Err(engine::Error::HistoryGone { .. }) => return Ok(self.reset(applied)),
            Err(error) => return Err(error.into()),
        };
        self.lost = Lost::Lagged;
        let told = loop {
            let (back, told) = aside(move || {
                let told = walk.step();
                (walk, told)
            })
            .await?;
            if let Some(told) = told? {
                break told;
            }
            walk = back;
            self.source.check()?;
        };
        let upto = if told.is_all { applied } else { told.upto };
        self.after = self.after.max(upto);
        self.is_behind = !told.is_all;
        if told.is_all {
            self.hearing = Some((hearing, rows));
        }
        Ok(Heard::Changes { changes: told.changes, upto: self.after })
    }

    /// Goes on behind `from`: what was written before cannot be told.
    fn reset(&mut self, from: Stamp) -> Heard {
        self.after = from;
        Heard::Reset { from, why: std::mem::replace(&mut self.lost, Lost::Lagged) }
    }
}

/// Runs what may read from the disk where it keeps nobody else waiting.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    let done = crate::work::aside(work).await;
    done.map_err(|_| Refused::new(code::INTERNAL).saying("a watch has panicked"))
}
