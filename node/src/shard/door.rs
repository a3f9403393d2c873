//! Where reads and writes of tenants come in: whose they are, whether that tenant is served and has not used up what it may, which shard
//! they are of, and whether this node may answer.

use super::command::KvCommand;
use super::feed::Feeds;
use super::reply::KvReply;
use super::watch::{Begin, Source, Watch, Watched};
use crate::limits;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::follow::Published;
use crate::meta::node_row::NodeRow;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::running::replicas::{Running, Seated};
use crate::tenants::rules::{Bucket, TenantState};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::tablet::view::View;
use proto::errors::code;
use raft::command::{Counts, Session};
use raft::group::outcome::NotApplied;
use raft::planted::{self, Planted};
use raft::proposal::Reply;
use raft::read::door::Asked;
use raft::seal::Unsealed;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::Instrument;
use tracing::field::Empty;

mod restoring;

pub use restoring::{Flights, Pins};

/// For so long it is believed how many bytes a tenant has in tables, in milliseconds: counting walks over the list of tables.
const KEPT_MS: u64 = 1_000;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// It sees every write that was acknowledged before.
    Linearizable,
    /// It misses only what is younger than so many milliseconds.
    Bounded(u64),
    /// It sees all up to this stamp, and nothing behind.
    AsOf(Stamp),
}

/// What makes a write harmless when it comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteId {
    /// The write session; all zeros: it may run twice.
    pub session: [u8; 16],
    /// Which of its requests.
    pub number: u64,
    /// After this moment it must not run, in milliseconds since 1970.
    pub valid_until_ms: u64,
}

/// The door.
pub struct Door {
    running: Arc<Running>,
    meta: Published,
    feeds: Feeds,
    buckets: Mutex<BTreeMap<TenantId, Bucket>>,
    /// Bytes that tenants with a quota have in tables, and when they were counted, by the monotonic clock.
    kept: Mutex<BTreeMap<TenantId, (u64, u64)>>,
    flights: Flights,
    pins: Pins,
}

impl Door {
    /// That of a node.
    #[must_use]
    pub fn new(running: Arc<Running>, meta: Published, feeds: Feeds) -> Self {
        let (buckets, kept) = (Mutex::default(), Mutex::default());
        Self { running, meta, feeds, buckets, kept, flights: Flights::default(), pins: Pins::default() }
    }

    /// The wall clock here, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.running.parts().clock.wall_ms()
    }

    /// The picture of now.
    #[must_use]
    pub fn meta(&self) -> Arc<MetaView> {
        self.meta.now()
    }

    /// Writes all of a command or nothing, once at most. Waits at most `wait_ms`.
    ///
    /// # Errors
    /// What is wrong with tenant, quota, routing or the command; a condition that does not hold; `UNKNOWN_OUTCOME`.
    pub async fn write(
        &self,
        tenant: TenantId,
        command: &KvCommand<Bytes>,
        id: WriteId,
        wait_ms: u64,
    ) -> Result<Stamp, Refused> {
        command.check().map_err(|why| Refused::new(code::BATCH_TOO_LARGE).saying(why.to_string()))?;
        let _flight = self.flights.begin(tenant);
        let seated = self.enter(tenant, command.operations.len() as u64)?;
        self.check_room(tenant, command.bytes_put(), &seated)?;
        let unsealed = Unsealed {
            tenant,
            session: id.session,
            number: id.number,
            valid_until: Stamp::new(id.valid_until_ms, u16::MAX),
            counts: command.counts(),
            body: command.encode().into(),
        };
        let reply = submit(&seated, unsealed, wait_ms).await?;
        self.confirm(tenant, &seated, wait_ms).await?;
        match KvReply::decode(&ran(reply)?).map_err(|_| Refused::new(code::INTERNAL))? {
            KvReply::Applied(stamp) => Ok(stamp),
            KvReply::Failed { condition, now } => Err(Refused::condition(u32::from(condition), now)),
            KvReply::Malformed => Err(Refused::new(code::MALFORMED)),
        }
    }

    /// What a read of a tenant may look at. Waits at most `wait_ms`.
    ///
    /// # Errors
    /// What is wrong with tenant, quota or routing; that it cannot be answered here now.
    pub async fn view(&self, tenant: TenantId, how: Consistency, wait_ms: u64) -> Result<View, Refused> {
        let seated = self.enter(tenant, 1)?;
        let door = seated.receiver.door();
        let asked = Asked { wall_ms: self.running.parts().clock.wall_ms(), wait_ms };
        let granted = async {
            match how {
                Consistency::Linearizable => door.linearizable(asked).await,
                Consistency::Bounded(bound_ms) => door.bounded(bound_ms, asked).await,
                Consistency::AsOf(at) => door.as_of(at, wait_ms, &seated.batcher).await,
            }
        };
        let group = seated.receiver.group().id();
        let granted = granted.instrument(tracing::debug_span!("read", %group, ?how)).await?;
        self.check_whole(tenant, how, granted.view.at())?;
        Ok(granted.view)
    }

    /// Watches what is written to a tenant's shard that has a replica here. Waits at most `wait_ms`.
    ///
    /// # Errors
    /// What is wrong with tenant, quota or routing; as [`Watch::new`].
    pub async fn watch(
        self: &Arc<Self>,
        watched: Watched,
        begin: Begin,
        wait_ms: u64,
    ) -> Result<Watch, Refused> {
        let tenant = watched.tenant;
        let seated = self.telling(tenant, None)?;
        // Whoever was told that a write is done hears nothing of it from now on. And whatever a watch was told elsewhere is applied here then.
        let now = self.view(tenant, Consistency::Linearizable, wait_ms).await?.at();
        let after = if begin.after == Stamp::ZERO { now } else { begin.after };
        let source = Source::new(self.clone(), self.feeds.clone(), tenant, seated.receiver.group().id());
        // Who watches for the first time was told nothing before.
        let forked = if begin.after == Stamp::ZERO { Stamp::ZERO } else { self.forked(tenant) };
        Watch::new(source, watched, Begin { after, ..begin }, forked)
    }

    /// The generation of the cluster.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.running.parts().cluster.1
    }

    /// Whether a tenant may keep `more` bytes. What takes nothing in always may: that is how room is made.
    fn check_room(&self, tenant: TenantId, more: u64, seated: &Seated) -> Result<(), Refused> {
        let meta = self.meta.now();
        let quota = meta.tenants.get(&tenant).map(|row| row.quota).unwrap_or_default();
        if quota.bytes == 0 || more == 0 {
            return Ok(());
        }
        let now_ms = self.running.parts().clock.monotonic_ms();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.get(&tenant).filter(|(at_ms, _)| now_ms.saturating_sub(*at_ms) < KEPT_MS);
        let bytes = fresh.map_or_else(|| seated.bytes_of(tenant), |(_, bytes)| *bytes);
        if fresh.is_none() {
            kept.insert(tenant, (now_ms, bytes));
        }
        if quota.has_room(bytes, more) {
            return Ok(());
        }
        Err(Refused::new(code::QUOTA_BYTES).saying(format!("{bytes} of {} bytes are used", quota.bytes)))
    }

    /// The replica here of the shard of a tenant that is served, if what is applied to it is not too old to be told of; and if the shard is
    /// `group`, where one is named.
    ///
    /// # Errors
    /// What is wrong with the tenant; `WRONG_NODE` and who leads, `NO_LEADER`.
    pub(super) fn telling(&self, tenant: TenantId, group: Option<GroupId>) -> Result<Arc<Seated>, Refused> {
        let seated = self.seated(&self.meta.now(), tenant)?;
        if group.is_some_and(|group| group != seated.receiver.group().id()) {
            return Err(Refused::not_leader(None).saying("the shard has moved"));
        }
        seated.receiver.door().keeps_up(limits::WATCH_BEHIND_MS)?;
        Ok(seated)
    }

    /// The replica here of the shard of a tenant that is served.
    fn seated(&self, meta: &MetaView, tenant: TenantId) -> Result<Arc<Seated>, Refused> {
        let row = meta.tenants.get(&tenant).ok_or_else(|| Refused::new(code::STARTING))?;
        self.check_place(meta, tenant)?;
        match row.state {
            TenantState::Active => {}
            TenantState::Frozen => return Err(Refused::new(code::TENANT_FROZEN)),
            TenantState::Dropped { .. } if planted::is(Planted::ServeTheDropped) => {}
            TenantState::Dropped { .. } => return Err(Refused::new(code::TENANT_DROPPED)),
            TenantState::Purged => return Err(Refused::new(code::TENANT_SHREDDED)),
        }
        self.seat_of(meta, tenant)
    }

    /// The replica here of the shard of a tenant, whether that is served or not.
    fn seat_of(&self, meta: &MetaView, tenant: TenantId) -> Result<Arc<Seated>, Refused> {
        let shard = meta.shard_of(tenant).ok_or_else(|| Refused::new(code::STARTING))?;
        let own = self.running.parts().node;
        // Whoever has a replica that is not late knows who leads.
        let elsewhere = || Refused::not_leader(shard.answering().find(|node| *node != own));
        if meta.nodes.get(&own).is_some_and(NodeRow::is_delayed) || self.running.late().is_some() {
            return Err(elsewhere()
                .saying("this node is delayed: what it holds is old, and no client is answered with it"));
        }
        self.running.replica(shard.group).ok_or_else(elsewhere)
    }

    /// The same, if the tenant has room for so many operations more.
    pub(super) fn enter(&self, tenant: TenantId, operations: u64) -> Result<Arc<Seated>, Refused> {
        let span = tracing::debug_span!("route", %tenant, group = Empty);
        let _entered = span.enter();
        let meta = self.meta.now();
        let seated = self.seated(&meta, tenant)?;
        span.record("group", tracing::field::display(seated.receiver.group().id()));
        let quota = meta.tenants.get(&tenant).map(|row| row.quota).unwrap_or_default();
        let now_ms = self.running.parts().clock.monotonic_ms();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(&tenant).copied().unwrap_or_default();
        match bucket.take(quota, operations, now_ms) {
            Ok(left) => drop(buckets.insert(tenant, left)),
            Err(retry_ms) => return Err(Refused::new(code::QUOTA_RATE).after(retry_ms)),
        }
        Ok(seated)
    }

    /// The number of a collection of a tenant.
    #[must_use]
    pub fn collection(&self, tenant: TenantId, name: &str) -> Option<CollectionId> {
        self.meta.now().collection(tenant, name)
    }

    /// Changes rows of the meta group, if this node leads it, and waits until what is published here holds the change.
    ///
    /// # Errors
    /// `WRONG_NODE` names who leads.
    pub async fn change(&self, command: &MetaCommand, wait_ms: u64) -> Result<MetaReply, Refused> {
        let body = command.encode().ok_or_else(|| Refused::new(code::BATCH_TOO_LARGE))?;
        let bytes = self.change_bytes(body.into(), wait_ms).await?;
        MetaReply::decode(&bytes).map_err(|_| Refused::new(code::INTERNAL))
    }

    /// The same with a command and a reply as bytes, for those that come from other nodes.
    ///
    /// # Errors
    /// As [`Door::change`]; `MALFORMED`.
    pub async fn change_bytes(&self, body: Bytes, wait_ms: u64) -> Result<Bytes, Refused> {
        MetaCommand::decode(&body).map_err(|_| Refused::new(code::MALFORMED))?;
        let seated = self.running.replica(GroupId::META).ok_or_else(|| Refused::new(code::STARTING))?;
        let unsealed = Unsealed {
            tenant: TenantId(0),
            session: Session::default(),
            number: 0,
            valid_until: Stamp::new(u64::MAX >> 16, u16::MAX),
            counts: Counts::default(),
            body,
        };
        let within = async {
            let answer = seated.batcher.submit(unsealed).await?;
            tracing::Span::current().record("at", tracing::field::display(answer.log_id));
            self.meta.reaches(answer.log_id.index).await;
            ran(answer.reply)
        };
        let within = within.instrument(tracing::debug_span!("propose", group = %GroupId::META, at = Empty));
        tokio::time::timeout(Duration::from_millis(wait_ms), within)
            .await
            .unwrap_or_else(|_| Err(Refused::new(code::DEADLINE)))
    }

    /// The index of an entry of the meta group that holds every change that was acknowledged before, if this node leads it.
    ///
    /// # Errors
    /// `WRONG_NODE` names who leads; `NO_LEADER`.
    pub async fn meta_index(&self, wait_ms: u64) -> Result<u64, Refused> {
        let seated = self.running.replica(GroupId::META).ok_or_else(|| Refused::new(code::STARTING))?;
        let asked = Asked { wall_ms: self.running.parts().clock.wall_ms(), wait_ms };
        seated.receiver.door().linearizable(asked).await?;
        let applied = seated.receiver.group().machine().applied().applied;
        Ok(applied.map_or(0, |id| id.index))
    }

    /// Makes a collection, or finds it, if this node leads the meta group.
    ///
    /// # Errors
    /// As [`Door::change`].
    pub async fn make_collection(
        &self,
        tenant: TenantId,
        name: &str,
        wait_ms: u64,
    ) -> Result<CollectionId, Refused> {
        let command = MetaCommand::new(vec![Change::AddCollection(tenant, name.to_owned())]);
        match self.change(&command, wait_ms).await? {
            MetaReply::Applied { collections, .. } => {
                collections.first().copied().ok_or_else(|| Refused::new(code::INTERNAL))
            }
            MetaReply::Refused { reason, .. } => {
                Err(Refused::new(code::COLLECTIONS_FULL).saying(reason.to_string()))
            }
            MetaReply::Malformed => Err(Refused::new(code::NAME_INVALID)),
        }
    }
}

pub(super) async fn submit(seated: &Seated, command: Unsealed, wait_ms: u64) -> Result<Reply, Refused> {
    let span = tracing::debug_span!("propose", group = %seated.receiver.group().id(), at = Empty);
    let asked = seated.batcher.submit(command).instrument(span.clone());
    let answered = tokio::time::timeout(Duration::from_millis(wait_ms), asked).await;
    let late = || NotApplied::Unknown { cause: "nobody has answered in time".to_owned() };
    let answer = answered.unwrap_or_else(|_| Err(late()))?;
    span.record("at", tracing::field::display(answer.log_id));
    Ok(answer.reply)
}

/// What an operation answered, if it ran.
pub(super) fn ran(reply: Reply) -> Result<Bytes, Refused> {
    match reply {
        Reply::Ran(bytes) | Reply::RanBefore(bytes) => Ok(bytes),
        Reply::Expired => Err(Refused::new(code::REQUEST_EXPIRED)),
        Reply::Shredded => Err(Refused::new(code::TENANT_SHREDDED)),
        Reply::OtherWindow => Err(Refused::new(code::REQUEST_REUSED)),
        Reply::WindowTooLong => {
            Err(Refused::new(code::MALFORMED).saying("it asks to be remembered for too long"))
        }
        // Two large ones came into one entry: alone it has room.
        Reply::TooLarge => Err(Refused::new(code::OVERLOADED).after(10)),
        Reply::OutsideRange => Err(Refused::new(code::WRONG_NODE)),
    }
}
