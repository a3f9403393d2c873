//! What a restore asks of the shards here: rows as they were, whatever state their tenant is in; writes to a tenant that does not serve
//! yet; and that nothing is under way any more of one that is to go aside.

use super::{Consistency, Door, Seated, WriteId, ran, submit};
use crate::limits;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::restore::asked::{Answer, Ask, Page, PageAsked, PageRow, Reach};
use crate::restore::look::Look;
use crate::shard::command::KvCommand;
use crate::shard::reply::KvReply;
use crate::tenants::rules::TenantState;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::TenantId;
use engine::tablet::changes::ChangesAsked;
use engine::tablet::view::{Scan, ScanCursor, View};
use proto::errors::code;
use raft::read::door::Asked;
use raft::seal::Unsealed;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Views of the past that restores read from, at most: each keeps tables that would go otherwise.
const PINS_MAX: usize = 16;
/// One that nobody asked for so long is let go, in milliseconds.
const PIN_MS: u64 = 60_000;
/// Between two looks whether writes are under way, in milliseconds.
const SETTLE_LOOK_MS: u64 = 2;

/// Writes under way, by tenant.
#[derive(Default)]
pub struct Flights(Mutex<BTreeMap<TenantId, usize>>);

/// One of them; it ends when this goes.
pub struct Flight<'a> {
    flights: &'a Flights,
    tenant: TenantId,
}

impl Flights {
    /// One begins. Whether it may is looked at after that, so that whoever has closed a tenant and then sees none under way sees none that
    /// was let in before.
    pub fn begin(&self, tenant: TenantId) -> Flight<'_> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default() += 1;
        Flight { flights: self, tenant }
    }

    fn are_under_way(&self, tenant: TenantId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&tenant)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut all = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(&self.tenant).map_or(0, |count| count - 1);
        match left {
            0 => drop(all.remove(&self.tenant)),
            left => drop(all.insert(self.tenant, left)),
        }
    }
}

/// Views of the past that are asked page by page: what they read from stays while they do, though history goes on.
#[derive(Default)]
pub struct Pins(Mutex<BTreeMap<(TenantId, Stamp), Pin>>);

/// One of them, and when it was asked last, in milliseconds of the monotonic clock.
type Pin = (u64, Arc<View>);

impl Pins {
    fn get(&self, of: (TenantId, Stamp), now_ms: u64) -> Option<Arc<View>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (used_ms, _)| now_ms.saturating_sub(*used_ms) < PIN_MS);
        let (used_ms, view) = all.get_mut(&of)?;
        *used_ms = now_ms;
        Some(view.clone())
    }

    fn put(&self, of: (TenantId, Stamp), view: Arc<View>, now_ms: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PINS_MAX
            && let Some(oldest) = all.iter().min_by_key(|(_, (used_ms, _))| *used_ms).map(|(of, _)| *of)
        {
            all.remove(&oldest);
        }
        all.insert(of, (now_ms, view));
    }
}

/// Runs what reads from the disk where it keeps nobody else waiting.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> engine::Result<T> + Send + 'static,
) -> Result<T, Refused> {
    let done = crate::work::aside(work).await;
    Ok(done.map_err(|_| Refused::new(code::INTERNAL).saying("a read for a restore has panicked"))??)
}

impl Door {
    /// Whether a tenant is asked for that another one takes the place of, or has just taken it: whoever asks looks it up again.
    pub(super) fn check_place(&self, meta: &MetaView, tenant: TenantId) -> Result<(), Refused> {
        let Some(aside) = meta.aside.get(&tenant) else { return Ok(()) };
        let is_asked = self.now_ms() < aside.since_ms.saturating_add(limits::ASIDE_ASKED_MS);
        if aside.until_ms == 0 || is_asked {
            return Err(Refused::new(code::TENANT_SWITCHING).after(limits::RESTORE_LOOK_MS));
        }
        Ok(())
    }

    /// Whether the archive of a tenant may be looked into: as for a read in the cluster, the life of the tenant, its quota and the routing count.
    pub(crate) fn may_look(&self, tenant: TenantId, look: Look) -> Result<(), Refused> {
        self.enter(tenant, 1)?;
        match look {
            Look::AsOf(at) => self.check_whole(tenant, Consistency::AsOf(at), at),
            Look::Since(_) => Ok(()),
        }
    }

    /// A tenant that a restore has made was not whole before a stamp: nothing is read as of then, for it would be less than there was.
    pub(super) fn check_whole(&self, tenant: TenantId, how: Consistency, at: Stamp) -> Result<(), Refused> {
        let meta = self.meta();
        let Some(origin) = meta.origins.get(&tenant).filter(|origin| at < origin.whole) else {
            return Ok(());
        };
        if !matches!(how, Consistency::AsOf(_)) {
            return Err(Refused::new(code::STARTING).after(limits::RESTORE_LOOK_MS));
        }
        let name =
            meta.aside.values().find(|row| row.now == tenant).and_then(|row| meta.tenants.get(&row.tenant));
        let older =
            name.map_or(String::new(), |row| format!(": what was before stands under `{}`", row.name));
        Err(Refused::new(code::HISTORY_GONE)
            .saying(format!("a restore has put the tenant here, {} is before that{older}", origin.whole)))
    }

    /// Who watched under the name of a tenant before this stamp watched another one.
    pub(super) fn forked(&self, tenant: TenantId) -> Stamp {
        self.meta().origins.get(&tenant).map_or(Stamp::ZERO, |origin| origin.forked)
    }

    /// Does what a restore asks, if that can be done here.
    ///
    /// # Errors
    /// `WRONG_NODE`, `NO_LEADER`, `STARTING`: it cannot be done here now. What reading and writing say.
    pub async fn restoring(&self, ask: Ask, wait_ms: u64) -> Result<Answer, Refused> {
        let within = async {
            match ask {
                Ask::Reach(tenant) => self.reach(tenant, wait_ms).await.map(Answer::Reach),
                Ask::Page(asked) => self.page(asked, wait_ms).await.map(Answer::Page),
                Ask::Write { tenant, command, id, is_serving } => {
                    let stamp = self.write_restored((tenant, is_serving), &command, id, wait_ms).await?;
                    Ok(Answer::Stamp(stamp))
                }
                Ask::Settle { tenant, index } => self.settle(tenant, index).await,
                Ask::Count { tenant, after } => self.count(tenant, after, wait_ms).await.map(Answer::Count),
            }
        };
        let done = tokio::time::timeout(Duration::from_millis(wait_ms), within).await;
        done.unwrap_or_else(|_| Err(Refused::new(code::DEADLINE)))
    }

    /// The replica here of the shard of a tenant that is not gone for good.
    fn any_seat(&self, tenant: TenantId) -> Result<Arc<Seated>, Refused> {
        let meta = self.meta();
        match meta.tenants.get(&tenant).map(|row| row.state) {
            None => Err(Refused::new(code::STARTING)),
            Some(TenantState::Purged) => Err(Refused::new(code::TENANT_SHREDDED)),
            Some(_) => self.seat_of(&meta, tenant),
        }
    }

    async fn newest(&self, tenant: TenantId, wait_ms: u64) -> Result<View, Refused> {
        let asked = Asked { wall_ms: self.now_ms(), wait_ms };
        Ok(self.any_seat(tenant)?.receiver.door().linearizable(asked).await?.view)
    }

    async fn past(&self, tenant: TenantId, at: Stamp, wait_ms: u64) -> Result<Arc<View>, Refused> {
        let now_ms = self.running.parts().clock.monotonic_ms();
        if let Some(view) = self.pins.get((tenant, at), now_ms) {
            return Ok(view);
        }
        let seated = self.any_seat(tenant)?;
        let granted = seated.receiver.door().as_of(at, wait_ms, &seated.batcher).await?;
        let view = Arc::new(granted.view);
        self.pins.put((tenant, at), view.clone(), now_ms);
        Ok(view)
    }

    async fn reach(&self, tenant: TenantId, wait_ms: u64) -> Result<Reach, Refused> {
        let view = self.newest(tenant, wait_ms).await?;
        let (meta, bytes) = (self.meta(), self.any_seat(tenant)?.bytes_of(tenant));
        let whole = meta.origins.get(&tenant).map_or(Stamp::ZERO, |origin| origin.whole);
        let created = meta.tenants.get(&tenant).map_or(Stamp::ZERO, |row| Stamp::new(row.created_ms, 0));
        // What was before a restore in place is not of this tenant.
        let first = if whole == Stamp::ZERO { created } else { whole };
        Ok(Reach { oldest: view.floor(tenant).max(first), newest: view.at(), bytes })
    }

    async fn page(&self, asked: PageAsked, wait_ms: u64) -> Result<Page, Refused> {
        let PageAsked { tenant, collection, start, end, after, at, keys_only } = asked;
        let view = match at {
            Stamp::ZERO => Arc::new(self.newest(tenant, wait_ms).await?),
            at => self.past(tenant, at, wait_ms).await?,
        };
        let scan = Scan {
            start: Some(start.to_vec()).filter(|start| !start.is_empty()),
            end: end.map(|end| end.to_vec()),
            limit: limits::RESTORE_BATCH_ROWS,
            bytes_max: limits::RESTORE_BATCH_BYTES,
            ..Scan::all(tenant, collection)
        };
        let at = view.at();
        let resume = after.map(|after| ScanCursor { at, now_ms: at.ms(), after: after.to_vec() });
        let page = aside(move || view.scan(&scan, resume.as_ref())).await?;
        let next = page.next.map(|next| next.after.into());
        let row = |entry: engine::tablet::view::Entry| PageRow {
            key: entry.key.into(),
            value: if keys_only { Bytes::new() } else { entry.found.value },
            stamp: entry.found.stamp,
            expires_ms: entry.found.expires_ms,
        };
        Ok(Page { rows: page.entries.into_iter().map(row).collect(), next, at })
    }

    /// Writes without a word about quotas: a restore brings back what was there. Nobody else reaches a tenant that does not serve.
    async fn write_restored(
        &self,
        (tenant, is_serving): (TenantId, bool),
        command: &[u8],
        id: WriteId,
        wait_ms: u64,
    ) -> Result<Stamp, Refused> {
        let decoded = KvCommand::decode(command).map_err(|_| Refused::new(code::MALFORMED))?;
        decoded.check().map_err(|why| Refused::new(code::BATCH_TOO_LARGE).saying(why.to_string()))?;
        let _flight = self.flights.begin(tenant);
        let seated = match is_serving {
            true => self.seated(&self.meta(), tenant)?,
            false => self.any_seat(tenant)?,
        };
        let unsealed = Unsealed {
            tenant,
            session: id.session,
            number: id.number,
            valid_until: Stamp::new(id.valid_until_ms, u16::MAX),
            counts: decoded.counts(),
            body: Bytes::copy_from_slice(command),
        };
        let reply = submit(&seated, unsealed, wait_ms).await?;
        if is_serving {
            self.confirm(tenant, &seated, wait_ms).await?;
        }
        match KvReply::decode(&ran(reply)?).map_err(|_| Refused::new(code::INTERNAL))? {
            KvReply::Applied(stamp) => Ok(stamp),
            KvReply::Failed { condition, now } => Err(Refused::condition(u32::from(condition), now)),
            KvReply::Malformed => Err(Refused::new(code::MALFORMED)),
        }
    }

    /// Waits until this node knows entry `index` of the meta group, and no write of the tenant is under way that was let in before. Returns a
    /// stamp that nothing told here of the tenant lies behind. Who leads the shard binds those that lead it later: an entry of its log waits at
    /// every replica for that entry of the meta group, and so does whatever is written behind it.
    async fn settle(&self, tenant: TenantId, index: u64) -> Result<Answer, Refused> {
        self.meta.reaches(index).await;
        while self.flights.are_under_way(tenant) {
            tokio::time::sleep(Duration::from_millis(SETTLE_LOOK_MS)).await;
        }
        // Who has no replica has told nothing.
        let Ok(seated) = self.any_seat(tenant) else {
            return Ok(Answer::Settled { stamp: Stamp::ZERO, is_bound: false });
        };
        let group = seated.receiver.group();
        let is_bound = group.leads() && seated.batcher.await_meta(index).await.is_ok();
        let machine = group.machine();
        let view = machine.tablet().view(0)?;
        Ok(Answer::Settled { stamp: machine.applied().last.max(view.at()), is_bound })
    }

    /// Before a write is acknowledged: whether the tenant still stands where it was written. A node that was away when a restore put another
    /// one there hears of it here, before it can have applied the write.
    pub(super) async fn confirm(
        &self,
        tenant: TenantId,
        seated: &Seated,
        wait_ms: u64,
    ) -> Result<(), Refused> {
        let machine = seated.receiver.group().machine();
        let known = async {
            while machine.meta_unsure().is_some() {
                tokio::time::sleep(Duration::from_millis(SETTLE_LOOK_MS)).await;
            }
            match machine.meta_needed() {
                0 => {}
                needed => self.meta.reaches(needed).await,
            }
        };
        let known = tokio::time::timeout(Duration::from_millis(wait_ms), known).await;
        known.map_err(|_| Refused::new(code::UNKNOWN_OUTCOME))?;
        match self.meta().aside.contains_key(&tenant) {
            true => Err(Refused::new(code::TENANT_SWITCHING).after(limits::RESTORE_LOOK_MS)),
            false => Ok(()),
        }
    }

    async fn count(&self, tenant: TenantId, after: Stamp, wait_ms: u64) -> Result<u64, Refused> {
        let view = Arc::new(self.newest(tenant, wait_ms).await?);
        let collections: Vec<_> = self.meta().collections(tenant).map(|(_, id)| id).collect();
        aside(move || {
            let mut count = 0;
            for collection in collections {
                let mut after = after;
                loop {
                    let asked = ChangesAsked {
                        tenant,
                        collection,
                        start: Vec::new(),
                        end: None,
                        after,
                        limit: engine::limits::CHANGES_MAX,
                        bytes_max: limits::WATCH_LARGE_BYTES_MAX,
                    };
                    let mut walk = view.clone().changes(&asked)?;
                    let told = loop {
                        if let Some(told) = walk.step()? {
                            break told;
                        }
                    };
                    count += told.changes.len() as u64;
                    if told.is_all {
                        break;
                    }
                    after = told.upto;
                }
            }
            Ok(count)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_under_way_until_it_has_ended() {
        let (flights, one, other) = (Flights::default(), TenantId(1), TenantId(2));
        let first = flights.begin(one);
        let second = flights.begin(one);
        assert!(flights.are_under_way(one) && !flights.are_under_way(other));
        drop(first);
        assert!(flights.are_under_way(one));
        drop(second);
        assert!(!flights.are_under_way(one));
    }
}
