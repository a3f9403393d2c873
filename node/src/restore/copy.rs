//! Makes a tenant as another one was: with keys of its own, under the same names and numbers of collections, row by row through the ordinary
//! way of writing; and compares it with where it came from before it serves.
//!
//! Nobody else writes a tenant that is made, so whatever is written twice after a crash is the same. Writes of whoever drove the restore before
//! are waited out before the copy serves: none of them lands on what a client has written since.

use super::asked::PageRow;
use super::change::RestoreChange;
use super::fetch::Reading;
use super::hands::Hands;
use super::past::{KeyRange, Past};
use super::plan::Ttl;
use super::rows::{Reached, Step, Tally};
use super::runner::{Drive, Stop};
use super::write_back::expiry;
use crate::entropy::{self, SystemEntropy};
use crate::keys::hierarchy;
use crate::limits;
use crate::meta::command::{Change, Reason};
use crate::meta::key_row;
use crate::refused::Refused;
use crate::shard::command::{KvCommand, Operation};
use crate::shard::door::WriteId;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::sealed::derive::Sha256;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use proto::errors::code;
use raft::net::link::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// Collections that one change gives to a copy.
const COLLECTIONS_AT_ONCE: usize = 200;
/// How often a batch is written anew whose time was over before anybody heard of it.
const SENDS_MAX: u64 = 16;

/// Makes the tenant, with its keys and collections.
///
/// # Errors
/// Its name is taken meanwhile.
pub(super) async fn make(drive: &mut Drive) -> Result<(), Stop> {
    let (restore, of, at) = (drive.row.id, drive.scope.tenant, drive.scope.target);
    let Some((id, name)) = drive.scope.into.clone() else {
        return Err(Stop::Failed("the plan names no tenant to make".to_owned()));
    };
    let meta = drive.hands.meta();
    let is_made = meta.origins.get(&id).is_some_and(|origin| origin.restore == restore);
    if !is_made {
        let source = meta.tenants.get(&of);
        let source = source.ok_or_else(|| Stop::Failed("the tenant is gone".to_owned()))?;
        let (quota, history_ms) = (source.quota, source.history_ms);
        let copy = RestoreChange::Copy { id, name, quota, history_ms, of, at, restore };
        let sealer = drive.hands.server().keys().sealer().clone();
        let keys = hierarchy::make_tenant(&sealer, id, Arc::new(SystemEntropy));
        let keys = keys.map_err(|error| Stop::Waits(engine::error::with_sources(&error)))?;
        let changes = [vec![Change::Restoring(copy)], keys.iter().map(key_row::put).collect()].concat();
        match drive.hands.change(changes).await? {
            // Another one drives the same restore, or this one did before.
            Ok(()) | Err(Reason::Exists) => {}
            Err(Reason::NameTaken) => {
                return Err(Stop::Failed("its name was given to another tenant meanwhile".to_owned()));
            }
            Err(why) => return Err(Stop::Waits(why.to_string())),
        }
    }
    let collections = match &drive.past {
        // Collections are never taken away, so those of now hold all of those of then.
        Past::History { .. } => meta.collections(of).map(|(name, id)| (name.to_owned(), id)).collect(),
        Past::Archive(reading) => archived(reading.clone(), of, at).await?,
    };
    for some in collections.chunks(COLLECTIONS_AT_ONCE) {
        let put = |(name, collection): &(String, CollectionId)| {
            Change::Restoring(RestoreChange::PutCollection(id, name.clone(), *collection))
        };
        if let Err(why) = drive.hands.change(some.iter().map(put).collect()).await? {
            return Err(Stop::Failed(format!("its collections are not made: {why}")));
        }
    }
    drive.note(|row| row.step = Step::Write).await
}

/// The collections of a tenant as an archive has them.
async fn archived(
    reading: Arc<Reading>,
    of: TenantId,
    at: Stamp,
) -> Result<Vec<(String, CollectionId)>, Stop> {
    let read = crate::work::aside(move || reading.gathered().collections(of, at)).await;
    let read = read.map_err(|_| Stop::Failed("reading an archive has panicked".to_owned()))?;
    read.map_err(|error| Stop::from(Refused::from(error)))
}

/// Collections, in the order of their numbers.
fn collections(drive: &Drive) -> Vec<CollectionId> {
    let meta = drive.hands.meta();
    let mut all: Vec<_> = meta.collections(drive.row.other).map(|(_, id)| id).collect();
    all.sort_unstable();
    all
}

/// What is read, and written in one piece.
struct Batch {
    command: Bytes,
    reached: Reached,
    tally: Tally,
}

/// Reads the rows of the past, in batches.
struct Batches {
    past: Past,
    collections: std::collections::VecDeque<CollectionId>,
    at: Reached,
    ttl: (Ttl, Stamp),
    hands: Hands,
    digest: Digester,
}

impl Batches {
    /// The next batch; nothing: all is read.
    async fn next(&mut self) -> Result<Option<Batch>, Refused> {
        let mut tally = Tally::default();
        while let Some(collection) = self.collections.front().copied() {
            if self.at.collection != collection {
                self.digest.begin(collection);
                self.at = Reached { collection, after: Vec::new(), batches: self.at.batches };
            }
            let after = Some(Bytes::from(self.at.after.clone())).filter(|after| !after.is_empty());
            let page = self.past.page(&KeyRange::all(collection), after).await?;
            match &page.next {
                Some(next) => self.at.after = next.to_vec(),
                None => drop(self.collections.pop_front()),
            }
            if let Some(last) = page.rows.last() {
                self.at.after = self.at.after.clone().max(last.key.to_vec());
            }
            let operations = self.operations(collection, page.rows, &mut tally);
            if !operations.is_empty() {
                self.at.batches += 1;
                let command = KvCommand { conditions: Vec::new(), operations }.encode().into();
                return Ok(Some(Batch { command, reached: self.at.clone(), tally }));
            }
        }
        Ok(None)
    }

    fn operations(
        &mut self,
        collection: CollectionId,
        rows: Vec<PageRow>,
        tally: &mut Tally,
    ) -> Vec<Operation<Bytes>> {
        let now_ms = self.hands.now_ms();
        let mut operations = Vec::with_capacity(rows.len());
        for row in rows {
            self.digest.row(&row.key, &row.value, row.expires_ms);
            let Some(expiry) = expiry(row.expires_ms, self.ttl.0, self.ttl.1, now_ms) else {
                tally.expired += 1;
                continue;
            };
            tally.rows += 1;
            tally.bytes += row.bytes();
            operations.push(Operation::Put { collection, key: row.key, value: row.value, expiry });
        }
        operations
    }
}

async fn written(
    hands: Hands,
    (tenant, session): (TenantId, [u8; 16]),
    batch: Batch,
) -> Result<Batch, Refused> {
    for send in 0..SENDS_MAX {
        let valid_until_ms = hands.now_ms().saturating_add(limits::RESTORE_WAIT_MS);
        let number = batch.reached.batches | send << 56;
        let id = WriteId { session, number, valid_until_ms };
        match hands.write((tenant, false), batch.command.clone(), id).await {
            Ok(_) => return Ok(batch),
            // Its time was over before it was known whether it was written: now it cannot be any more, so it is written anew.
            Err(refused) if refused.code == code::REQUEST_EXPIRED => {}
            Err(refused) => return Err(refused),
        }
    }
    Err(Refused::new(code::OVERLOADED).saying("a batch was not written in time, again and again"))
}

/// Rows of the past that are read and written to a tenant that nobody else writes, several batches at once.
pub struct Pour {
    hands: Hands,
    batches: Batches,
    to: (TenantId, [u8; 16]),
    flight: FuturesOrdered<BoxFuture<Result<Batch, Refused>>>,
    is_read: bool,
}

impl Pour {
    /// Of these collections, which ascend, from where it was before.
    #[must_use]
    pub fn new(
        hands: &Hands,
        past: Past,
        (tenant, mut collections): (TenantId, Vec<CollectionId>),
        ttl: (Ttl, Stamp),
        begun: Reached,
    ) -> Self {
        collections.retain(|collection| *collection >= begun.collection);
        let hands = hands.clone();
        let collections = collections.into();
        let digest = Digester::default();
        let batches = Batches { past, collections, at: begun, ttl, hands: hands.clone(), digest };
        let to = (tenant, entropy::random(&SystemEntropy));
        Self { hands, batches, to, flight: FuturesOrdered::new(), is_read: false }
    }

    /// What was read, in one number, as [`digest`] has it: of all there is, if all was poured from the beginning to the end.
    #[must_use]
    pub fn digest(self) -> (u64, [u8; 32]) {
        self.batches.digest.finish()
    }

    /// How far all is written now, and what was written for that; nothing: all is.
    ///
    /// # Errors
    /// What reading and writing say.
    pub async fn next(&mut self) -> Result<Option<(Reached, Tally)>, Refused> {
        while !self.is_read && self.flight.len() < limits::RESTORE_IN_FLIGHT {
            match self.batches.next().await? {
                Some(batch) => self.flight.push_back(Box::pin(written(self.hands.clone(), self.to, batch))),
                None => self.is_read = true,
            }
        }
        let Some(done) = self.flight.next().await else { return Ok(None) };
        done.map(|Batch { reached, tally, .. }| Some((reached, tally)))
    }
}

/// Writes the rows.
///
/// # Errors
/// What reading and writing say.
pub(super) async fn write(drive: &mut Drive) -> Result<(), Stop> {
    let to = (drive.row.other, collections(drive));
    let (ttl, begun) = ((drive.plan.ttl, drive.scope.target), drive.row.reached.clone());
    let mut pour = Pour::new(&drive.hands, drive.past.clone(), to, ttl, begun);
    while let Some((reached, tally)) = pour.next().await? {
        drive.count(reached, &tally).await?;
    }
    drive.note(|row| row.step = Step::Compare).await
}

/// What there is, in one number: of the rows that never expire, for the others come and go.
///
/// # Errors
/// What reading says.
pub async fn digest(past: &Past, collections: &[CollectionId]) -> Result<(u64, [u8; 32]), Refused> {
    let mut digester = Digester::default();
    for collection in collections {
        digester.begin(*collection);
        let mut rows = past.rows(KeyRange::all(*collection), None);
        while let Some(row) = rows.next().await? {
            digester.row(&row.key, &row.value, row.expires_ms);
        }
    }
    Ok(digester.finish())
}

/// Makes that number, row by row in the order of their keys.
pub struct Digester {
    hash: Sha256,
    count: u64,
}

impl Default for Digester {
    fn default() -> Self {
        Self { hash: Sha256::new(), count: 0 }
    }
}

impl Digester {
    /// The rows of a collection follow.
    pub fn begin(&mut self, collection: CollectionId) {
        self.hash.update(&collection.0.to_be_bytes());
    }

    /// A row, with when it expires; 0: never.
    pub fn row(&mut self, key: &[u8], value: &[u8], expires_ms: u64) {
        if expires_ms != 0 {
            return;
        }
        self.count += 1;
        for piece in [key, value] {
            self.hash.update(&(piece.len() as u64).to_be_bytes());
            self.hash.update(piece);
        }
    }

    /// How many rows there were, and the number.
    #[must_use]
    pub fn finish(self) -> (u64, [u8; 32]) {
        (self.count, self.hash.finish())
    }
}

/// Compares what was written with where it came from: nothing is missing, nothing is more, nothing is other.
///
/// # Errors
/// It is not the same.
pub(super) async fn compare(drive: &mut Drive) -> Result<(), Stop> {
    let all = collections(drive);
    let (hands, tenant) = (drive.hands.clone(), drive.row.other);
    let present = Past::History { hands, tenant, at: Stamp::ZERO, keys_only: false };
    let past = drive.past.clone();
    let (was, is) = futures_util::future::try_join(digest(&past, &all), digest(&present, &all)).await?;
    if was != is {
        let (was, is) = (was.0, is.0);
        return Err(Stop::Failed(format!(
            "what was written is not what was read: {is} rows that never expire, of {was}"
        )));
    }
    drive.note(|row| row.step = Step::Switch).await
}

/// Waits until nothing that an earlier driver has sent can be written any more.
pub(super) async fn wait_out(drive: &Drive) {
    if drive.is_first {
        return;
    }
    let until_ms = drive.began_ms.saturating_add(limits::RESTORE_WAIT_MS + raft::limits::CLOCK_PART_MS_MAX);
    let left_ms = until_ms.saturating_sub(drive.hands.now_ms());
    tokio::time::sleep(Duration::from_millis(left_ms)).await;
}
