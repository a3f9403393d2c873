//! Brings rows of the cut of a delayed node back into the live cluster: stretch by stretch of keys the rows of then are laid beside those of
//! now, and what differs is written by whoever leads the shard, on the path of everybody. The gate does not move: what lies above it is
//! looked ahead at, in memory. Done again, it does only what is left to do.

use super::donate::{Deed, Keys, Progress, Wish, decide};
use super::gate::progress;
use super::order::{Row, RowsAsked, RowsPage};
use super::suspects::Commit;
use crate::entropy::{SystemEntropy, random, random_id};
use crate::limits;
use crate::refused::Refused;
use crate::running::replicas::Seated;
use crate::server::Server;
use crate::shard::command::{Condition, KvCommand, Operation};
use crate::shard::door::{Consistency, WriteId};
use bytes::Bytes;
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::{CollectionId, NodeId, TenantId};
use engine::tablet::view::{Scan, ScanCursor, View};
use proto::errors::code;
use raft::machine::overlay::Overlay;
use raft::types::GroupId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So long one call of the live cluster is waited for, in milliseconds.
const CALL_MS: u64 = 5_000;
/// How often it is begun again to look ahead, where the log goes meanwhile.
const LOOKS_AHEAD: usize = 10;
/// After this a write that nobody has answered must not run any more, in milliseconds.
const WRITE_MS: u64 = 60_000;

/// Some keys of a collection: from the first to before the second.
#[derive(Clone)]
pub(super) struct Stretch {
    pub(super) collection: CollectionId,
    pub(super) start: Bytes,
    pub(super) end: Option<Bytes>,
}

/// The first key behind one.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

impl Stretch {
    fn of_key(collection: CollectionId, key: &Bytes) -> Self {
        Self { collection, start: key.clone(), end: Some(after(key)) }
    }
}

fn scan_of(tenant: TenantId, (collection, start, end): (CollectionId, &Bytes, Option<&Bytes>)) -> Scan {
    Scan {
        start: Some(start.to_vec()),
        end: end.map(|end| end.to_vec()),
        limit: limits::DONATED_ROWS,
        bytes_max: limits::DONATED_BYTES,
        ..Scan::all(tenant, collection)
    }
}

/// Rows of a stretch that a view shows, as many as come at once.
///
/// # Errors
/// Of the engine.
pub fn page(
    view: &View,
    tenant: TenantId,
    (collection, start, end): (CollectionId, &Bytes, Option<&Bytes>),
) -> Result<RowsPage, Refused> {
    let page = view.scan(&scan_of(tenant, (collection, start, end)), None)?;
    let rows = page.entries.into_iter().map(|entry| Row {
        key: entry.key.into(),
        value: entry.found.value,
        stamp: entry.found.stamp,
        expires_ms: entry.found.expires_ms,
    });
    Ok(RowsPage { rows: rows.collect(), next: page.next.map(|next| after(&next.after)) })
}

/// The rows of two pages as far as both reach, and where the stretch goes on.
fn together(then: RowsPage, now: RowsPage) -> (Vec<Row>, Vec<Row>, Option<Bytes>) {
    let next = match (then.next, now.next) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let within = |rows: Vec<Row>| match &next {
        Some(next) => rows.into_iter().filter(|row| row.key < *next).collect(),
        None => rows,
    };
    (within(then.rows), within(now.rows), next)
}

impl Server {
    /// Begins to bring rows back, as `by` asks. Returns the job.
    ///
    /// # Errors
    /// `NOT_RECEIVED`: the cut is not there yet. `TENANT_UNKNOWN`; `DONATIONS_FULL`.
    pub(super) fn donate(self: &Arc<Self>, by: &str, wish: Wish) -> Result<u64, Refused> {
        let meta = self.meta();
        let row = meta.tenants.get(&wish.tenant).ok_or_else(|| Refused::new(code::TENANT_UNKNOWN))?;
        let is_ahead = self.check_cut(&wish)?;
        let job = random_id(&SystemEntropy);
        tracing::warn!(by, tenant = %wish.tenant, job, ?wish, "rows go back into the cluster");
        let going = Progress {
            job,
            tenant: row.id,
            before: wish.before,
            begun_ms: self.clock.now_ms(),
            ..Progress::default()
        };
        {
            let mut all = self.delayed.donations();
            if all.iter().filter(|one| one.ended_ms == 0).count() >= limits::DONATIONS_MAX {
                return Err(Refused::new(code::DONATIONS_FULL));
            }
            // Those that have ended longest ago are forgotten.
            while all.len() >= 2 * limits::DONATIONS_MAX {
                let Some(at) = all.iter().position(|one| one.ended_ms > 0) else { break };
                all.remove(at);
            }
            all.push(going);
        }
        let server = self.clone();
        self.tasks.spawn(format!("donate {job}"), async move {
            let done = match server.source(&wish, is_ahead).await {
                Ok(source) => server.donate_all(job, &wish, &source).await,
                Err(why) => Err(why),
            };
            let (ended_ms, now_tally) = (server.clock.now_ms(), server.tally_of(job));
            match &done {
                Ok(()) => tracing::info!(job, tally = %now_tally, "rows have gone back into the cluster"),
                Err(why) => tracing::error!(job, %why, tally = %now_tally, "not all rows have gone back"),
            }
            server.with_donation(job, |one| {
                one.ended_ms = ended_ms;
                one.failure = done.err().map(|why| why.to_string()).unwrap_or_default();
            });
        });
        Ok(job)
    }

    /// Whether this node holds the cut that the wish is for. True: it is not applied yet, and looked ahead at.
    pub(super) fn check_cut(&self, wish: &Wish) -> Result<bool, Refused> {
        let cut = cut_of(wish);
        let running = self.running()?;
        let gate = running.late().ok_or_else(|| Refused::new(code::NOT_DELAYED))?.state().gate;
        let known = progress(self, running).get(&self.group_of(wish.tenant)?).copied().unwrap_or_default();
        if known.closed < Some(cut) {
            let has = known.closed.map_or_else(|| "nothing yet".to_owned(), |closed| closed.to_string());
            return Err(Refused::new(code::NOT_RECEIVED)
                .saying(format!("{cut} is above {has}, the last that is here")));
        }
        Ok(cut > gate || !known.is_at(cut))
    }

    /// Where rows of the cut are read.
    pub(super) async fn source(&self, wish: &Wish, is_ahead: bool) -> Result<Source, Refused> {
        let running = self.running()?;
        let seated =
            running.replica(self.group_of(wish.tenant)?).ok_or_else(|| Refused::new(code::STARTING))?;
        if !is_ahead {
            return Ok(Source::Applied(seated));
        }
        let mut refused = Refused::new(code::STARTING);
        for _ in 0..LOOKS_AHEAD {
            let (machine, log) = (seated.receiver.group().machine().clone(), running.log().clone());
            let cut = cut_of(wish);
            let looks = move || Overlay::build(&machine, &log, cut, limits::AHEAD_BYTES_MAX);
            let looked = crate::work::aside(looks).await.map_err(|_| Refused::new(code::INTERNAL))?;
            refused = match looked {
                Ok(overlay) => return Ok(Source::Ahead(Arc::new(Mutex::new(overlay)))),
                // The gate has let it through meanwhile.
                Err(raft::Error::NotHere { .. }) if !self.check_cut(wish)? => {
                    return Ok(Source::Applied(seated));
                }
                Err(error @ raft::Error::NotHere { .. }) => refused.saying(with_sources(&error)),
                Err(raft::Error::TooLarge { .. }) => return Err(self.too_far(wish)?),
                Err(error) => return Err(Refused::new(code::DAMAGED).saying(with_sources(&error))),
            };
            tokio::time::sleep(Duration::from_millis(limits::DONATION_PAUSE_MS)).await;
        }
        Err(refused)
    }

    /// There is too much between the gate and the cut to look ahead over it.
    fn too_far(&self, wish: &Wish) -> Result<Refused, Refused> {
        let name = self.meta().nodes.get(&self.node).map(|row| row.name.clone()).unwrap_or_default();
        let id = Commit { stamp: wish.before, group: self.group_of(wish.tenant)? };
        Ok(Refused::new(code::GATE_BELOW).saying(format!(
            "too much lies between the gate and {}: dew delayed forward {name} --before {id}",
            cut_of(wish)
        )))
    }

    fn group_of(&self, tenant: TenantId) -> Result<GroupId, Refused> {
        let meta = self.meta();
        Ok(meta.shard_of(tenant).ok_or_else(|| Refused::new(code::STARTING))?.group)
    }

    fn with_donation(&self, job: u64, change: impl FnOnce(&mut Progress)) {
        if let Some(one) = self.delayed.donations().iter_mut().find(|one| one.job == job) {
            change(one);
        }
    }

    fn tally_of(&self, job: u64) -> super::donate::Tally {
        let all = self.delayed.donations();
        all.iter().find(|one| one.job == job).map(|one| one.tally).unwrap_or_default()
    }

    async fn donate_all(self: &Arc<Self>, job: u64, wish: &Wish, source: &Source) -> Result<(), Refused> {
        let whole = |collection| Stretch { collection, start: Bytes::new(), end: None };
        let stretches: Vec<Stretch> = match &wish.keys {
            Keys::All => {
                self.meta().collections(wish.tenant).map(|(_, collection)| whole(collection)).collect()
            }
            Keys::Range(collection, start, end) => {
                vec![Stretch { collection: *collection, start: start.clone(), end: end.clone() }]
            }
            Keys::These(collection, keys) => {
                keys.iter().map(|key| Stretch::of_key(*collection, key)).collect()
            }
        };
        let mut writer = Writer { session: random(&SystemEntropy), number: 0 };
        for mut stretch in stretches {
            loop {
                let next = self.donate_some(job, (wish, source), &stretch, &mut writer).await?;
                match next {
                    Some(next) => stretch.start = next,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Brings the next rows of a stretch back. Says where it goes on.
    async fn donate_some(
        self: &Arc<Self>,
        job: u64,
        (wish, source): (&Wish, &Source),
        stretch: &Stretch,
        writer: &mut Writer,
    ) -> Result<Option<Bytes>, Refused> {
        for _ in 0..limits::DONATION_TRIES {
            let then = source.rows(wish, stretch).await?;
            let asked = RowsAsked {
                tenant: wish.tenant,
                collection: stretch.collection,
                start: stretch.start.clone(),
                end: stretch.end.clone(),
            };
            let now = self.rows_live(asked).await?;
            let (then, now, next) = together(then, now);
            let deed = decide(wish, stretch.collection, (&then, &now), self.clock.now_ms());
            match self.write_deed(wish.tenant, &deed, writer).await {
                Ok(()) => {
                    self.with_donation(job, |one| {
                        one.tally = one.tally.and(deed.tally);
                        one.conflicts.extend(deed.conflicts);
                        one.conflicts.truncate(limits::CONFLICTS_TOLD_MAX);
                    });
                    return Ok(next);
                }
                // Somebody has written one of these keys meanwhile: they are looked at again.
                Err(why) if why.code == code::CONDITION_FAILED => {}
                Err(why) => return Err(why),
            }
        }
        Err(Refused::new(code::OVERLOADED).saying("the rows change faster than they are compared"))
    }

    async fn write_deed(&self, tenant: TenantId, deed: &Deed, writer: &mut Writer) -> Result<(), Refused> {
        let Some(command) = &deed.command else { return Ok(()) };
        command.check().map_err(|why| Refused::new(code::BATCH_TOO_LARGE).saying(why.to_string()))?;
        writer.number += 1;
        let id = WriteId {
            session: writer.session,
            number: writer.number,
            valid_until_ms: self.clock.now_ms() + WRITE_MS,
        };
        let body = Bytes::from(command.encode());
        self.where_led(tenant, |leader| self.forward.write_rows(leader, tenant, body.clone(), id, CALL_MS))
            .await
            .map(drop)
    }

    async fn rows_live(&self, asked: RowsAsked) -> Result<RowsPage, Refused> {
        let tenant = asked.tenant;
        self.where_led(tenant, |leader| self.forward.rows(leader, asked.clone(), CALL_MS)).await
    }

    /// Does something at the node that leads the shard of a tenant; whoever leads may change meanwhile. What may or may not have been done
    /// comes again under its number.
    async fn where_led<T, F: Future<Output = Result<T, Refused>>>(
        &self,
        tenant: TenantId,
        does: impl Fn(NodeId) -> F,
    ) -> Result<T, Refused> {
        let mut refused = Refused::new(code::NO_LEADER);
        let mut named = None;
        for _ in 0..limits::DONATION_TRIES {
            let leader =
                named.take().or_else(|| self.group_of(tenant).ok().and_then(|group| self.leader(group)));
            if let Some(leader) = leader.filter(|leader| *leader != self.node) {
                refused = match does(leader).await {
                    Ok(done) => return Ok(done),
                    Err(refused) => refused,
                };
                use code::{
                    DEADLINE, KEY_AWAY, NO_LEADER, OVERLOADED, QUOTA_RATE, STARTING, UNKNOWN_OUTCOME,
                    WRONG_NODE,
                };
                let again = [
                    DEADLINE,
                    KEY_AWAY,
                    NO_LEADER,
                    OVERLOADED,
                    QUOTA_RATE,
                    STARTING,
                    UNKNOWN_OUTCOME,
                    WRONG_NODE,
                ];
                if !again.contains(&refused.code) {
                    break;
                }
                named = refused.better;
            }
            let pause_ms = refused.after_ms.clamp(limits::DONATION_PAUSE_MS, CALL_MS);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Err(refused)
    }

    /// Rows of a tenant as they stand now, for another node: this one must lead.
    ///
    /// # Errors
    /// As any read of a client.
    pub async fn rows_here(&self, asked: RowsAsked, wait_ms: u64) -> Result<RowsPage, Refused> {
        let RowsAsked { tenant, collection, start, end } = asked;
        let view = self.door()?.view(tenant, Consistency::Linearizable, wait_ms).await?;
        let reading = crate::work::aside(move || page(&view, tenant, (collection, &start, end.as_ref())));
        reading.await.unwrap_or_else(|_| Err(Refused::new(code::INTERNAL)))
    }

    /// Writes what another node brings back; this one must lead.
    ///
    /// # Errors
    /// As any write of a client.
    pub async fn write_rows_here(
        &self,
        tenant: TenantId,
        body: &Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> Result<Stamp, Refused> {
        self.disk.check()?;
        let command = owned(body)?;
        self.door()?.write(tenant, &command, id, wait_ms).await
    }
}

/// The last stamp of the cut that a wish is for.
fn cut_of(wish: &Wish) -> Stamp {
    Stamp(wish.before.0.saturating_sub(1))
}

/// Where rows of a cut are read.
pub(super) enum Source {
    /// The node has applied it.
    Applied(Arc<Seated>),
    /// What it has applied, and over it what it will.
    Ahead(Arc<Mutex<Overlay>>),
}

impl Source {
    pub(super) async fn rows(&self, wish: &Wish, stretch: &Stretch) -> Result<RowsPage, Refused> {
        let (tenant, stretch, cut) = (wish.tenant, stretch.clone(), cut_of(wish));
        let reading = match self {
            Self::Applied(seated) => {
                let seated = seated.clone();
                crate::work::aside(move || {
                    let view = view_at(&seated, cut)?;
                    page(&view, tenant, (stretch.collection, &stretch.start, stretch.end.as_ref()))
                })
            }
            Self::Ahead(overlay) => {
                let overlay = overlay.clone();
                crate::work::aside(move || {
                    let scan = scan_of(tenant, (stretch.collection, &stretch.start, stretch.end.as_ref()));
                    let mut overlay = overlay.lock().unwrap_or_else(PoisonError::into_inner);
                    let looked = overlay.page(&scan);
                    let (rows, next) =
                        looked.map_err(|error| Refused::new(code::DAMAGED).saying(with_sources(&error)))?;
                    let rows = rows.into_iter().map(|(key, row)| Row {
                        key: key.into(),
                        value: row.value,
                        stamp: row.stamp,
                        expires_ms: row.expires_ms,
                    });
                    Ok(RowsPage { rows: rows.collect(), next: next.map(Into::into) })
                })
            }
        };
        reading.await.unwrap_or_else(|_| Err(Refused::new(code::INTERNAL)))
    }
}

/// Whose writes these are.
struct Writer {
    session: [u8; 16],
    number: u64,
}

/// What a replica held at `cut`, which it has applied.
fn view_at(seated: &Seated, cut: Stamp) -> Result<View, Refused> {
    let tablet = seated.receiver.group().machine().tablet();
    let newest = tablet.view(cut.ms())?;
    // What was written last may be older than the cut.
    let cursor = ScanCursor { at: cut.min(newest.at()), now_ms: cut.ms(), after: Vec::new() };
    Ok(tablet.view_of(&cursor)?)
}

/// A command with bytes of its own.
fn owned(body: &Bytes) -> Result<KvCommand<Bytes>, Refused> {
    let command = KvCommand::decode(body).map_err(|_| Refused::new(code::MALFORMED))?;
    let own = |bytes: &[u8]| body.slice_ref(bytes);
    let condition = |one: Condition<&[u8]>| Condition {
        collection: one.collection,
        key: own(one.key),
        expected: one.expected,
    };
    let operation = |one: Operation<&[u8]>| match one {
        Operation::Put { collection, key, value, expiry } => {
            Operation::Put { collection, key: own(key), value: own(value), expiry }
        }
        Operation::Delete { collection, key } => Operation::Delete { collection, key: own(key) },
        Operation::DeleteRange { collection, start, end } => {
            Operation::DeleteRange { collection, start: own(start), end: end.map(own) }
        }
    };
    Ok(KvCommand {
        conditions: command.conditions.into_iter().map(condition).collect(),
        operations: command.operations.into_iter().map(operation).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[&str]) -> Vec<Row> {
        let row = |key: &&str| Row {
            key: (*key).to_owned().into(),
            value: Bytes::new(),
            stamp: Stamp(1),
            expires_ms: 0,
        };
        keys.iter().map(row).collect()
    }

    fn keys(rows: &[Row]) -> Vec<&[u8]> {
        rows.iter().map(|row| &row.key[..]).collect()
    }

    #[test]
    fn two_pages_are_compared_as_far_as_both_reach() {
        let page = |keys: &[&str], next: Option<&str>| RowsPage {
            rows: rows(keys),
            next: next.map(|next| next.to_owned().into()),
        };
        let (then, now, next) = together(page(&["a", "c", "e"], Some("f")), page(&["b", "d"], Some("d\0")));
        assert_eq!((keys(&then), keys(&now)), (vec![&b"a"[..], b"c"], vec![&b"b"[..], b"d"]));
        assert_eq!(next.as_deref(), Some(&b"d\0"[..]));
        let (then, now, next) = together(page(&["a", "z"], None), page(&["b"], Some("c")));
        assert_eq!((then.len(), now.len(), next.as_deref()), (1, 1, Some(&b"c"[..])));
        let (then, now, next) = together(page(&["a", "z"], None), page(&["b"], None));
        assert_eq!((then.len(), now.len(), next), (2, 1, None));
    }

    #[test]
    fn one_key_is_a_stretch_of_its_own() {
        let stretch = Stretch::of_key(CollectionId(1), &Bytes::from_static(b"k"));
        assert_eq!((&stretch.start[..], stretch.end.as_deref()), (&b"k"[..], Some(&b"k\0"[..])));
    }
}
