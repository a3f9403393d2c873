//! Data comes back: keys, ranges, tenants, in place and taken back. What comes back is compared with what was acknowledged: a row that is
//! missing and one that is too many are both wrong.

use super::put;
use super::rig::{Cluster, DATA, eventually};
use super::watch::{delete, delete_range, with_collection};
use engine::Stamp;
use engine::ids::TenantId;
use engine::tablet::view::Scan;
use futures_util::future::join_all;
use node::refused::Refused;
use node::restore::rows::{RestoreRow, State};
use node::restore::service::{Act, PlanAsked, Restores};
use node::restore::target::CommitId;
use node::server::backend::Called;
use node::shard::command::KvCommand;
use node::shard::door::{Consistency, WriteId};
use node::shard::watch::{Begin, Heard, Lost, Watched};
use node::tenants::rules::TenantState;
use proto::errors::code;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::time::Duration;

const WAIT_MS: u64 = 10_000;

pub type Rows = BTreeMap<String, String>;

/// Everything that was acknowledged, in order.
#[derive(Default)]
pub struct Oracle(pub Vec<(Stamp, Write)>);

pub enum Write {
    Put(String, String),
    Delete(String),
    DeleteRange(String, String),
}

impl Oracle {
    pub fn at(&self, upto: Stamp) -> Rows {
        let mut rows = Rows::new();
        for (_, write) in self.0.iter().filter(|(stamp, _)| *stamp <= upto) {
            match write {
                Write::Put(key, value) => drop(rows.insert(key.clone(), value.clone())),
                Write::Delete(key) => drop(rows.remove(key)),
                Write::DeleteRange(from, to) => rows.retain(|key, _| key < from || key >= to),
            }
        }
        rows
    }

    pub async fn write(&mut self, cluster: &Cluster, tenant: TenantId, write: Write) -> Stamp {
        let command: KvCommand<bytes::Bytes> = match &write {
            Write::Put(key, value) => put(key, value),
            Write::Delete(key) => delete(key),
            Write::DeleteRange(from, to) => delete_range(from, to),
        };
        let stamp = cluster.write(tenant, &command, WriteId::default()).await.unwrap();
        self.0.push((stamp, write));
        stamp
    }
}

/// Numbers that follow from a seed.
pub struct Dice(pub u64);

impl Dice {
    fn upto(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// All rows of a tenant that serves, as they are now.
pub async fn rows_of(cluster: &Cluster, tenant: TenantId) -> Rows {
    let mut refused = None;
    for _ in 0..100 {
        for server in cluster.servers() {
            let Ok(door) = server.door() else { continue };
            match door.view(tenant, Consistency::Linearizable, WAIT_MS).await {
                Ok(view) => {
                    let (mut rows, mut cursor) = (Rows::new(), None);
                    loop {
                        let page = view.scan(&Scan::all(tenant, DATA), cursor.as_ref()).unwrap();
                        rows.extend(page.entries.into_iter().map(|entry| {
                            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                            (text(&entry.key), text(&entry.found.value))
                        }));
                        match page.next {
                            Some(next) => cursor = Some(next),
                            None => return rows,
                        }
                    }
                }
                Err(why) => refused = Some(why),
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it cannot be read: {refused:?}");
}

fn somebody(cluster: &Cluster) -> Called {
    Called(cluster.servers().next().unwrap().clone())
}

pub fn tenant_named(cluster: &Cluster, name: &str) -> Option<TenantId> {
    cluster.servers().next().unwrap().meta().tenant_named(name).map(|row| row.id)
}

pub async fn plan(cluster: &Cluster, asked: PlanAsked) -> Result<Vec<u8>, Refused> {
    Restores::new(&somebody(cluster)).plan(asked, WAIT_MS).await
}

pub async fn apply(cluster: &Cluster, plan: &[u8], confirm: &str) -> Result<RestoreRow, Refused> {
    Restores::new(&somebody(cluster)).apply(plan, confirm, WAIT_MS).await
}

async fn seen(cluster: &Cluster, id: u64) -> Option<RestoreRow> {
    Restores::new(&somebody(cluster)).list(id, WAIT_MS).await.ok()?.into_iter().next()
}

/// Waits until a restore has ended.
pub async fn ended(cluster: &Cluster, id: u64) -> RestoreRow {
    for _ in 0..1_200 {
        if let Some(row) = seen(cluster, id).await.filter(|row| !row.state.is_open()) {
            return row;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not end: {:?}", seen(cluster, id).await);
}

/// Plans and carries out.
pub async fn done(cluster: &Cluster, asked: PlanAsked) -> RestoreRow {
    let confirm = asked.tenant.clone();
    let plan = plan(cluster, asked).await.unwrap();
    let begun = apply(cluster, &plan, &confirm).await.unwrap();
    let row = ended(cluster, begun.id).await;
    assert_eq!(row.state, State::Done, "{row:?}");
    row
}

pub fn of_acme(at: Stamp) -> PlanAsked {
    PlanAsked { tenant: "acme".into(), at: at.to_string(), ..PlanAsked::default() }
}

async fn founded() -> (Cluster, TenantId) {
    let cluster = Cluster::found().await;
    let acme = cluster.tenant("acme").await;
    with_collection(&cluster, acme).await;
    (cluster, acme)
}

/// Writes at random.
pub async fn some(cluster: &Cluster, tenant: TenantId, oracle: &mut Oracle, dice: &mut Dice, count: usize) {
    for _ in 0..count {
        let key = |dice: &mut Dice| format!("k{:02}", dice.upto(40));
        let write = match dice.upto(12) {
            0 | 1 => Write::Delete(key(dice)),
            2 => {
                let (a, b) = (key(dice), key(dice));
                if a == b {
                    continue;
                }
                Write::DeleteRange(a.clone().min(b.clone()), a.max(b))
            }
            _ => Write::Put(key(dice), format!("v{}", dice.upto(1_000_000))),
        };
        oracle.write(cluster, tenant, write).await;
    }
}

/// What was written last goes into a table.
fn flush(cluster: &Cluster, tenant: TenantId) {
    let server = cluster.server(0);
    let group = server.meta().shard_of(tenant).unwrap().group;
    let seated = server.running().unwrap().replica(group).unwrap();
    seated.receiver.group().machine().tablet().freeze();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_instants_come_back_exactly_as_they_were() {
    let (mut cluster, acme) = founded().await;
    let (mut oracle, mut dice) = (Oracle::default(), Dice(7));
    for round in 0..6 {
        some(&cluster, acme, &mut oracle, &mut dice, 40).await;
        flush(&cluster, acme);
        if round == 3 {
            cluster.restart(0).await;
        }
    }
    let group = cluster.server(0).meta().shard_of(acme).unwrap().group;
    for first in (0..200).step_by(10) {
        let wanted: Vec<_> = (first..first + 10)
            .map(|number| {
                let stamp = oracle.0[dice.upto(oracle.0.len() as u64) as usize].0;
                let commit = CommitId { stamp, group }.to_string();
                let into = format!("copy-{number}");
                let asked = PlanAsked { tenant: "acme".into(), into, ..PlanAsked::default() };
                match number % 3 {
                    0 => (PlanAsked { at: commit, ..asked }, stamp),
                    1 => (PlanAsked { before: commit, ..asked }, Stamp(stamp.0 - 1)),
                    _ => (PlanAsked { at: stamp.to_string(), ..asked }, stamp),
                }
            })
            .collect();
        join_all(wanted.into_iter().map(|(asked, upto)| {
            let (cluster, oracle) = (&cluster, &oracle);
            async move {
                let into = asked.into.clone();
                let plan = plan(cluster, asked).await.unwrap();
                // Of one tenant there is one restore at a time.
                let begun = loop {
                    match apply(cluster, &plan, "").await {
                        Ok(begun) => break begun,
                        Err(refused) if refused.code == code::RESTORE_BUSY => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(refused) => panic!("{refused}"),
                    }
                };
                let row = ended(cluster, begun.id).await;
                assert_eq!(row.state, State::Done, "{row:?}");
                let copy = tenant_named(cluster, &into).unwrap();
                assert_eq!(rows_of(cluster, copy).await, oracle.at(upto), "{into} at {upto}");
                assert_eq!(row.tally.rows, oracle.at(upto).len() as u64);
            }
        }))
        .await;
    }
    assert_eq!(
        rows_of(&cluster, acme).await,
        oracle.at(Stamp::MAX),
        "and nothing has become of the tenant itself"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_deleted_comes_back_and_what_others_have_written_since_stays() {
    let (cluster, acme) = founded().await;
    let mut oracle = Oracle::default();
    for n in 0..30 {
        oracle.write(&cluster, acme, Write::Put(format!("c{n:02}"), "old".into())).await;
    }
    let wrong = oracle.write(&cluster, acme, Write::DeleteRange("c".into(), "d".into())).await;
    // Good writes after the mistake.
    oracle.write(&cluster, acme, Write::Put("c05".into(), "new".into())).await;
    oracle.write(&cluster, acme, Write::Put("c90".into(), "later".into())).await;
    let group = cluster.server(0).meta().shard_of(acme).unwrap().group;
    let asked = PlanAsked {
        tenant: "acme".into(),
        collection: "data".into(),
        from: b"c".to_vec(),
        to: b"d".to_vec(),
        before: CommitId { stamp: wrong, group }.to_string(),
        ..PlanAsked::default()
    };
    // Between plan and restore somebody else writes.
    let planned = plan(&cluster, asked.clone()).await.unwrap();
    oracle.write(&cluster, acme, Write::Put("c07".into(), "meanwhile".into())).await;
    let begun = apply(&cluster, &planned, "").await.unwrap();
    let row = ended(&cluster, begun.id).await;
    assert_eq!((row.state, row.tally.conflicts, row.tally.rows), (State::Done, 1, 29), "{row:?}");
    assert_eq!(row.conflicting, [(DATA, b"c07".to_vec())]);
    assert!(row.plan.is_empty(), "what names keys is kept no longer than it is needed");
    let mut want: Rows = (0..30).map(|n| (format!("c{n:02}"), "old".to_owned())).collect();
    want.insert("c07".into(), "meanwhile".into());
    want.insert("c90".into(), "later".into());
    assert_eq!(rows_of(&cluster, acme).await, want);
    // Once more nothing is to be done, but for what was left.
    let again = apply(&cluster, &planned, "").await.unwrap();
    assert_eq!((again.id, again.state), (row.id, State::Done), "a plan is carried out once");
    // Exactly as it was: what is new goes, and what others have is written all the same.
    let overwrite = node::restore::plan::OnConflict::Overwrite;
    let row = done(&cluster, PlanAsked { mirror: true, on_conflict: overwrite, ..asked.clone() }).await;
    assert_eq!((row.tally.rows, row.tally.removed, row.tally.conflicts), (1, 1, 0), "{row:?}");
    assert_eq!(rows_of(&cluster, acme).await, oracle.at(Stamp(wrong.0 - 1)));
    // One key.
    oracle.write(&cluster, acme, Write::Delete("c11".into())).await;
    let key = PlanAsked { from: vec![], to: vec![], key: b"c11".to_vec(), ..asked };
    assert_eq!(done(&cluster, key).await.tally.rows, 1);
    assert_eq!(rows_of(&cluster, acme).await, oracle.at(Stamp(wrong.0 - 1)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_goes_back_in_place_and_forward_again() {
    let (cluster, acme) = founded().await;
    let (mut oracle, mut dice) = (Oracle::default(), Dice(11));
    some(&cluster, acme, &mut oracle, &mut dice, 60).await;
    let good = oracle.0.last().unwrap().0;
    let wrong = oracle.write(&cluster, acme, Write::DeleteRange("k".into(), "l".into())).await;
    oracle.write(&cluster, acme, Write::Put("k00".into(), "after".into())).await;
    let server = cluster.server(0).clone();
    let watched = |tenant| Watched { tenant, collection: "data".into(), start: vec![], end: None };
    let generation = server.door().unwrap().generation();
    let begin = Begin { after: wrong, generation };
    let mut watch = server.door().unwrap().watch(watched(acme), begin, WAIT_MS).await.unwrap();
    assert!(matches!(watch.next().await, Ok(Heard::Changes { .. })));
    let asked = PlanAsked { in_place: true, ..of_acme(good) };
    let planned = plan(&cluster, asked.clone()).await.unwrap();
    for wrong_name in ["", "acm", "yes"] {
        assert_eq!(apply(&cluster, &planned, wrong_name).await.unwrap_err().code, code::CONFIRM);
    }
    let row = done(&cluster, asked.clone()).await;
    let now = tenant_named(&cluster, "acme").unwrap();
    assert_eq!(now, row.other);
    assert_ne!(now, acme, "the name is another tenant's");
    assert_eq!(rows_of(&cluster, now).await, oracle.at(good));
    let group = server.meta().shard_of(acme).unwrap().group;
    let seated = server.running().unwrap().replica(group).unwrap();
    let needed = seated.receiver.group().machine().meta_needed();
    assert!(needed > 0, "whoever leads its shard later waits for the row that closes it");
    // Whoever still asks for the old one is told to look again, and a watch begins anew.
    let old = cluster.write(acme, &put("k00", "lost"), WriteId::default()).await.unwrap_err();
    assert_eq!(old.code, code::TENANT_SWITCHING);
    assert_eq!(watch.next().await.unwrap_err().code, code::TENANT_SWITCHING);
    let mut again = server.door().unwrap().watch(watched(now), begin, WAIT_MS).await.unwrap();
    assert!(matches!(again.next().await, Ok(Heard::Reset { why: Lost::Restored, .. })));
    let past = server.door().unwrap().view(now, Consistency::AsOf(good), WAIT_MS).await.err().unwrap();
    assert_eq!(past.code, code::HISTORY_GONE, "what was before is told of nobody");
    assert!(past.text.contains("pre-restore-"), "{past}");
    let meta = server.meta();
    let kept = meta.tenants[&acme].clone();
    assert_eq!((kept.state, kept.name), (TenantState::Frozen, format!("pre-restore-{:x}", row.id)));
    // Life goes on, and then it is taken back.
    cluster.write(now, &put("k01", "on the restored one"), WriteId::default()).await.unwrap();
    cluster.write(now, &delete("k02"), WriteId::default()).await.unwrap();
    let called = somebody(&cluster);
    let restores = Restores::new(&called);
    restores.act(row.id, Act::Undo, WAIT_MS).await.unwrap();
    let undone = ended(&cluster, row.id).await;
    assert_eq!((undone.state, undone.tally.left_behind), (State::Undone, 2), "{undone:?}");
    assert_eq!(tenant_named(&cluster, "acme"), Some(acme));
    assert_eq!(rows_of(&cluster, acme).await, oracle.at(Stamp::MAX));
    let twice = restores.act(row.id, Act::Undo, WAIT_MS).await.unwrap_err();
    assert_eq!(twice.code, code::RESTORE_STATE);
    // And forward once more, by a new plan; the old one is done with.
    let stale = plan(&cluster, asked.clone()).await.unwrap();
    done(&cluster, asked).await;
    assert_eq!(apply(&cluster, &stale, "acme").await.unwrap_err().code, code::PLAN_STALE);
    cluster.stop().await;
}

/// So many rows of 100 KiB.
async fn fill(cluster: &Cluster, tenant: TenantId, rows: usize) -> (Oracle, Stamp) {
    let mut oracle = Oracle::default();
    for n in 0..rows {
        let value = format!("{n}-{}", "x".repeat(100 << 10));
        oracle.write(cluster, tenant, Write::Put(format!("k{n:04}"), value)).await;
    }
    let last = oracle.0.last().unwrap().0;
    (oracle, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_goes_on_where_somebody_else_leads() {
    let (mut cluster, acme) = founded().await;
    for name in ["two", "three"] {
        cluster.join(name, "eu").await;
    }
    let group = cluster.server(0).meta().shard_of(acme).unwrap().group;
    eventually("all groups have three voters", || {
        cluster.voters(GroupId::META) == 3 && cluster.voters(group) == 3
    })
    .await;
    let (oracle, last) = fill(&cluster, acme, 120).await;
    let planned = plan(&cluster, PlanAsked { into: "copy".into(), ..of_acme(last) }).await.unwrap();
    let begun = apply(&cluster, &planned, "").await.unwrap();
    // It is lost in the middle of things.
    while seen(&cluster, begun.id).await.is_none_or(|row| row.state == State::Planned) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.kill_leader(GroupId::META).await;
    let row = ended(&cluster, begun.id).await;
    assert_eq!(row.state, State::Done, "{row:?}");
    let copy = tenant_named(&cluster, "copy").unwrap();
    assert_eq!(rows_of(&cluster, copy).await, oracle.at(last));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_waits_goes_on_and_ends_as_it_is_told() {
    let (cluster, acme) = founded().await;
    let (oracle, last) = fill(&cluster, acme, 160).await;
    done(&cluster, PlanAsked { into: "first".into(), ..of_acme(last) }).await;
    let called = somebody(&cluster);
    let restores = Restores::new(&called);
    let planned = plan(&cluster, PlanAsked { into: "copy".into(), ..of_acme(last) }).await.unwrap();
    let id = apply(&cluster, &planned, "").await.unwrap().id;
    let busy = plan(&cluster, PlanAsked { into: "other".into(), ..of_acme(last) }).await.unwrap();
    assert_eq!(apply(&cluster, &busy, "").await.unwrap_err().code, code::RESTORE_BUSY);
    restores.act(id, Act::Pause, WAIT_MS).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waits = seen(&cluster, id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((waits.state, &waits), (State::Paused, &seen(&cluster, id).await.unwrap()), "nothing moves");
    restores.act(id, Act::Resume, WAIT_MS).await.unwrap();
    assert_eq!(ended(&cluster, id).await.state, State::Done);
    let copy = tenant_named(&cluster, "copy").unwrap();
    assert_eq!(rows_of(&cluster, copy).await, oracle.at(last));
    // The next is ended at once: nothing of it is left, and its name is free.
    let id = apply(&cluster, &busy, "").await.unwrap().id;
    restores.act(id, Act::Cancel, WAIT_MS).await.unwrap();
    let row = seen(&cluster, id).await.unwrap();
    assert_eq!(row.state, State::Cancelled);
    eventually("what it made is gone", || {
        let meta = cluster.server(0).meta();
        let is_gone = meta.tenants.get(&row.other).is_none_or(|row| row.state == TenantState::Purged);
        is_gone && meta.tenant_named("other").is_none()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_restored_is_refused_at_once_with_what_can() {
    let (cluster, acme) = founded().await;
    let stamp = cluster.write(acme, &put("a", "one"), WriteId::default()).await.unwrap();
    let refused = |asked| async { plan(&cluster, asked).await.unwrap_err() };
    let soon = Stamp::new(cluster.now_ms() + 3_600_000, 0);
    let late = refused(PlanAsked { into: "copy".into(), ..of_acme(soon) }).await;
    assert!(late.code == code::TARGET_UNREACHABLE && late.text.contains("latest"), "{late}");
    let early = refused(PlanAsked { into: "copy".into(), ..of_acme(Stamp::new(1_000, 0)) }).await;
    assert!(early.code == code::TARGET_UNREACHABLE && early.text.contains("the nearest is"), "{early}");
    let taken = refused(PlanAsked { into: "acme".into(), ..of_acme(stamp) }).await;
    assert_eq!(taken.code, code::TENANT_EXISTS);
    let nobody = refused(PlanAsked { tenant: "nobody".into(), into: "copy".into(), ..of_acme(stamp) }).await;
    assert_eq!(nobody.code, code::TENANT_UNKNOWN);
    let local = PlanAsked { at: "2026-01-31T12:00:00".into(), into: "copy".into(), ..of_acme(stamp) };
    assert!(refused(local).await.text.contains("2026-01-31T12:00:00Z"));
    // A plan that was changed, though it is one.
    let good = plan(&cluster, PlanAsked { into: "copy".into(), ..of_acme(stamp) }).await.unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let changed = text.replace("\"copy\"", "\"cope\"");
    assert_eq!(apply(&cluster, changed.as_bytes(), "").await.unwrap_err().code, code::PLAN_STALE);
    assert_eq!(apply(&cluster, b"{}", "").await.unwrap_err().code, code::MALFORMED);
    // Its name is given away.
    cluster.tenant("copy").await;
    assert_eq!(apply(&cluster, &good, "").await.unwrap_err().code, code::PLAN_STALE);
    cluster.stop().await;
}
