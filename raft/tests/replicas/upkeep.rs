//! What a node does for its replicas beside answering: logs stay short, and nobody is given more than it can take.

use crate::cluster::{GROUP, Running, TENANT, founded, leader, perform};
use engine::Stamp;
use engine::work::Done;
use futures_util::future::join_all;
use raft::command::Counts;
use raft::group::outcome::NotApplied;
use raft::group::takeover::greatest_stamp;
use raft::group::upkeep::Upkeep;
use raft::limits;
use raft::log::index::Extent;
use raft::log::purge::{Floor, Holder, Needs, Worth};
use raft::net::link::Lane;
use raft::seal::Unsealed;
use std::time::Duration;

/// Nothing is worth a purge.
const NEVER: Worth = Worth { bytes: u64::MAX, ms: u64::MAX };
/// Anything is.
const ALWAYS: Worth = Worth { bytes: u64::MAX, ms: 0 };

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// One look of a node at its replica, and all that the engine has to do.
async fn look(upkeep: &Upkeep, running: &Running, needs: &Needs, now_ms: u64) -> Floor {
    let receiver = running.registry.get(GROUP).unwrap();
    let floor = upkeep.look(&receiver, needs.clone(), now_ms).await.unwrap();
    while running.offline.parts.pool.step() != Done::Nothing {}
    pause(5).await;
    floor
}

fn extent(running: &Running) -> Extent {
    running.group(GROUP).extent().unwrap()
}

fn command(n: u64) -> Unsealed {
    let body = [&[n as u8][..], &n.to_be_bytes()].concat().into();
    let (counts, valid_until) = (Counts::default(), Stamp::MAX);
    Unsealed { tenant: TENANT, session: [0; 16], number: n, valid_until, counts, body }
}

#[test]
fn a_log_is_purged_by_size_and_by_time_and_not_below_who_needs_it() {
    perform(async {
        let (_, _nodes, running, _) = founded(3).await;
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        let by_size = Worth { bytes: 20_000, ms: 60_000 };
        let (upkeep, none) = (Upkeep::new(by_size), Needs::default());
        look(&upkeep, leads, &none, 0).await;
        let born = extent(leads);
        let mut longest = 0;
        for n in 0..400_u64 {
            leads.put(GROUP, n as u8, &[7; 500]).await;
            look(&upkeep, leads, &none, n).await;
            longest = longest.max(extent(leads).bytes);
        }
        let short = extent(leads);
        assert!(short.first > born.first + 200 && longest < 40_000, "{born:?} {short:?} {longest}");
        assert!(short.bytes > 8_000, "half a purge stays for whoever is a little behind: {short:?}");
        let durable = leads.group(GROUP).machine().durable().unwrap().applied.unwrap();
        assert!(short.first <= durable.index + 1);
        // What an archive lacks stays, and it is said who holds it.
        let archived = Needs { archived: vec![Some(short.first + 3)], ..Needs::default() };
        for n in 0..20 {
            let floor = look(&upkeep, leads, &archived, 100_000 + n).await;
            assert_eq!((floor.upto, floor.holder), (Some(short.first + 3), Holder::Archive(0)));
        }
        assert_eq!(extent(leads).first, short.first + 4);
        // With time all goes that is applied, the last entries too, which a flush makes durable first.
        for n in 0..20 {
            look(&upkeep, leads, &none, 400_000 + n * by_size.ms / 4).await;
        }
        let last = leads.group(GROUP).standing().applied.unwrap().index;
        assert_eq!((extent(leads).first, extent(leads).bytes), (last + 1, 0));
        let seen = greatest_stamp(&leads.offline.log, leads.offline.machines.values()).unwrap();
        assert_eq!(
            seen,
            leads.group(GROUP).machine().applied().last,
            "what was purged was seen all the same"
        );
        assert!(leads.put(GROUP, 1, b"goes on").await.stamp > seen);
    });
}

#[test]
fn the_base_of_a_snapshot_that_is_sent_stays() {
    perform(async {
        let (hub, mut nodes, mut running, _) = founded(3).await;
        let away = running.pop().unwrap().stop().await;
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        let (upkeep, none) = (Upkeep::new(ALWAYS), Needs::default());
        for n in 0..20 {
            leads.put(GROUP, n, &[7; 100]).await;
        }
        // For a while consensus keeps what is on its way to the one who is away.
        let mut looks = 0;
        while extent(leads).bytes > 0 {
            look(&upkeep, leads, &none, 0).await;
            looks += 1;
            assert!(looks < 1_000, "{:?}", extent(leads));
        }
        hub.hold(|lane| lane == Lane::Bulk);
        let back = nodes.pop().unwrap().run(away, 1).await.unwrap();
        let group = leads.group(GROUP);
        leads.until("a snapshot leaves", |_| !group.snapshots_sent().is_empty()).await;
        let base = group.snapshots_sent()[0];
        leads.put(GROUP, 99, b"after it").await;
        let mut floors = Vec::new();
        while group.snapshots_sent() == [base] {
            group.machine().tablet().freeze();
            floors.push(look(&upkeep, leads, &none, 100).await);
            if group.snapshots_sent() == [base] {
                assert!(extent(leads).first <= base + 1, "{base} {:?}", extent(leads));
            }
        }
        let held = floors.iter().filter(|floor| (floor.upto, floor.holder) == (Some(base), Holder::Snapshot));
        assert!(held.count() > 3, "{floors:?}");
        hub.release();
        back.until("the snapshot is here", |one| one.get(GROUP, 99).is_some()).await;
        leads.until("nothing is sent", |_| group.snapshots_sent().is_empty()).await;
    });
}

#[test]
fn too_many_commands_are_sent_away_and_none_of_those_let_in_is_lost() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        let batcher = leads.batchers[&GROUP].clone();
        for pool in running.iter().map(|one| one.offline.parts.pool.clone()) {
            tokio::spawn(async move {
                loop {
                    while pool.step() != Done::Nothing {}
                    pause(1).await;
                }
            });
        }
        hub.hold(|lane| matches!(lane, Lane::Data(_)));
        let count = limits::PROPOSE_COMMANDS_MAX + 4_000;
        let most = async {
            pause(200).await;
            let waiting = batcher.waiting().0 as u64;
            hub.release();
            waiting
        };
        let submitted = join_all((0..count).map(|n| batcher.submit(command(n))));
        let (answers, waited) = futures_util::join!(submitted, most);
        assert_eq!(waited, limits::PROPOSE_COMMANDS_MAX);
        let done = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        let away = answers.iter().filter_map(|answer| match answer {
            Err(NotApplied::RetryLater { after_ms }) => Some(*after_ms),
            _ => None,
        });
        let away: Vec<u64> = away.collect();
        assert_eq!(done + away.len() as u64, count);
        assert!(done >= waited && away.len() > 1_000, "{done}");
        assert!(away.iter().all(|after_ms| *after_ms == limits::RETRY_MS), "{:?}", away.iter().max());
    });
}

#[test]
fn a_follower_whose_engine_stands_still_takes_no_entries_and_stays_a_follower() {
    perform(async {
        let (_, _nodes, running, _) = founded(3).await;
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        let lags = running.iter().find(|one| !one.group(GROUP).standing().is_leader).unwrap();
        let (upkeep, none) = (Upkeep::new(NEVER), Needs::default());
        let term = leads.group(GROUP).standing().vote.term;
        for n in 0..300_u64 {
            leads.put(GROUP, n as u8, &[7; 30_000]).await;
            for one in running.iter().filter(|one| one.group(GROUP).replica() != lags.group(GROUP).replica())
            {
                look(&upkeep, one, &none, n).await;
            }
        }
        let last = leads.group(GROUP).standing().last_index.unwrap();
        pause(3_000).await;
        let standing = lags.group(GROUP).standing();
        assert!(standing.last_index.unwrap() + 50 < last, "{last} {standing:?}");
        assert_eq!((standing.vote.term, standing.leader), (term, leads.group(GROUP).standing().leader));
        let answer = lags.batchers[&GROUP].submit(command(1)).await;
        assert!(matches!(answer, Err(NotApplied::NotLeader { leader: Some(_) })), "{answer:?}");
        let heard_ms = leads.group(GROUP).standing().heard_ms[&lags.group(GROUP).replica()];
        assert!(heard_ms.is_some_and(|ms| ms < 500), "it answers heartbeats: {heard_ms:?}");
        // Once it goes on, it takes all.
        for n in 0..2_000 {
            look(&upkeep, lags, &none, n).await;
            if lags.group(GROUP).standing().applied.is_some_and(|id| id.index >= last) {
                return;
            }
        }
        panic!("{last} {:?}", lags.group(GROUP).standing());
    });
}

#[test]
fn a_follower_without_space_takes_no_entries_and_all_of_them_once_there_is_some() {
    perform(async {
        let (_, _nodes, running, _) = founded(3).await;
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        let lags = running.iter().find(|one| !one.group(GROUP).standing().is_leader).unwrap();
        let log = lags.offline.parts.log.clone();
        leads.put(GROUP, 0, &[7; 100]).await;
        log.set_short_of_space(true);
        pause(200).await;
        let (before, term) = (log.stats().read().log.written_bytes, leads.group(GROUP).standing().vote.term);
        for n in 0..100_u64 {
            leads.put(GROUP, n as u8, &[7; 10_000]).await;
        }
        pause(2_000).await;
        let grown = log.stats().read().log.written_bytes - before;
        assert!(grown < 10_000, "{grown} bytes were written");
        let standing = lags.group(GROUP).standing();
        assert_eq!((standing.vote.term, standing.leader), (term, leads.group(GROUP).standing().leader));
        log.set_short_of_space(false);
        let last = leads.group(GROUP).standing().last_index.unwrap();
        for _ in 0..2_000 {
            if lags.group(GROUP).standing().applied.is_some_and(|id| id.index >= last) {
                return;
            }
            pause(5).await;
        }
        panic!("{last} {:?}", lags.group(GROUP).standing());
    });
}
