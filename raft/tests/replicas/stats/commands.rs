//! What is counted of commands: where they came in, and at each replica that applied them.

use super::{figures, rest, since, two};
use crate::cluster::{GROUP, Running, TENANT, founded, perform};
use engine::Stamp;
use futures_util::future::join_all;
use raft::command::{Counts, Session};
use raft::group::outcome::NotApplied;
use raft::group::settings::Pace;
use raft::limits;
use raft::proposal::Reply;
use raft::seal::Unsealed;
use raft::stats::Figures;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn command(session: Session, number: u64, until_ms: u64, body: &[u8]) -> Unsealed {
    let (counts, valid_until) = (Counts::default(), Stamp::new(until_ms, 0));
    Unsealed { tenant: TENANT, session, number, valid_until, counts, body: body.to_vec().into() }
}

fn moved(before: &Figures, one: &Running) -> BTreeMap<&'static str, u64> {
    since(before, one, &["proposal", "machine"])
}

#[test]
fn a_command_counts_once_where_it_came_in_and_once_at_every_replica() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let before: Vec<Figures> = running.iter().map(figures).collect();
        let all = (0..8).map(|n| leads.submit(GROUP, n, vec![30, n as u8]));
        let answers = join_all(all).await;
        let mut entries: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().log_id).collect();
        entries.dedup();
        let entries = entries.len() as u64;
        assert!(entries < 8, "some wait together");
        for (one, before) in running.iter().zip(&before) {
            one.until("it has all", |one| since(before, one, &["machine"]).len() == 2).await;
            let mut wanted =
                BTreeMap::from([("machine_applied_entries", entries), ("machine_ran_commands", 8)]);
            if one.group(GROUP).leads() {
                wanted.extend([("proposal_asked_commands", 8), ("proposal_applied_commands", 8)]);
                wanted.insert("proposal_sent_entries", entries);
            }
            one.until("it has all", |one| moved(before, one) == wanted).await;
        }
        // A follower says who leads, and one that is too large is nobody's.
        let before = figures(follows);
        assert!(matches!(follows.submit(GROUP, 1, vec![1]).await, Err(NotApplied::NotLeader { .. })));
        let large = vec![0; limits::COMMAND_BYTES_MAX + 1];
        assert!(matches!(follows.submit(GROUP, 2, large).await, Err(NotApplied::Refused { .. })));
        let wanted = [
            ("proposal_asked_commands", 2),
            ("proposal_not_leader_commands", 1),
            ("proposal_refused_commands", 1),
        ];
        assert_eq!(moved(&before, follows), wanted.into());
    });
}

#[test]
fn what_became_of_a_command_that_was_applied_is_told_apart() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        let (now_ms, whose) = (nodes[0].now_ms(), [7; 16]);
        let (soon, later) = (now_ms + 60_000, now_ms + 61_000);
        let never = now_ms + 2 * limits::RETRY_WINDOW_MS_MAX;
        let before = figures(leads);
        for (command, wanted) in [
            (command(whose, 1, soon, b"ab"), Reply::Ran(vec![].into())),
            (command(whose, 1, soon, b"ab"), Reply::RanBefore(vec![].into())),
            (command(whose, 1, soon, b"ab"), Reply::RanBefore(vec![].into())),
            (command(whose, 1, later, b"ab"), Reply::OtherWindow),
            (command(whose, 2, 1, b"ab"), Reply::Expired),
            (command(whose, 3, never, b"ab"), Reply::WindowTooLong),
        ] {
            assert_eq!(leads.batchers[&GROUP].submit(command).await.unwrap().reply, wanted);
        }
        let wanted = [
            ("machine_applied_entries", 6),
            ("machine_ran_commands", 1),
            ("machine_repeated_commands", 2),
            ("machine_mismatched_commands", 1),
            ("machine_expired_commands", 1),
            ("machine_overlong_commands", 1),
        ];
        assert_eq!(since(&before, leads, &["machine"]), wanted.into());
        assert_eq!(since(&before, leads, &["proposal"])["proposal_applied_commands"], 6);
    });
}

/// Sends a command, which must be sent away, and counted as that.
async fn away(leads: &Running, wanted: &'static str) {
    let before = figures(leads);
    let answer = leads.batchers[&GROUP].submit(command([0; 16], 1, u64::MAX >> 16, b"ab"));
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
    assert!(matches!(answer, Ok(Err(NotApplied::RetryLater { .. }))), "{wanted}: {answer:?}");
    let mut risen = since(&before, leads, &["proposal"]);
    risen.remove("proposal_sent_entries");
    assert_eq!(risen, [("proposal_asked_commands", 1), (wanted, 1)].into());
}

#[test]
fn why_a_command_is_sent_away_is_told_apart() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        hub.hold(|_| true);
        rest(2 * Pace::TEST.election_max_ms).await;
        away(leads, "proposal_retry_quorum_commands").await;
        leads.batchers[&GROUP].close();
        away(leads, "proposal_retry_closed_commands").await;
    });
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        let at = usize::try_from(leads.group(GROUP).replica().0).unwrap() - 1;
        nodes[at].clock.is_disputed.store(true, Ordering::SeqCst);
        rest(15).await;
        away(leads, "proposal_retry_clock_commands").await;
    });
}

#[test]
fn what_waits_and_is_too_much_is_sent_away_for_that() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        let batcher = &leads.batchers[&GROUP];
        let before = figures(leads);
        hub.hold(|_| true);
        // Nothing is sent while proposals are held up: all of them wait at once.
        let body = vec![1; limits::COMMAND_BYTES_MAX];
        let fit = limits::PROPOSE_BYTES_MAX / limits::COMMAND_BYTES_MAX as u64;
        let all = (0..fit + 3).map(|n| batcher.submit(command([0; 16], n, u64::MAX >> 16, &body)));
        let over = async {
            rest(200).await;
            batcher.close();
        };
        let (answers, ()) = futures_util::join!(join_all(all), over);
        let risen = since(&before, leads, &["proposal"]);
        let sum: u64 = risen.iter().filter(|(name, _)| !name.ends_with("entries")).map(|(_, by)| by).sum();
        assert_eq!(risen["proposal_asked_commands"], fit + 3);
        assert!(risen["proposal_retry_bulky_commands"] >= 1, "{risen:?}");
        assert_eq!(sum, 2 * answers.len() as u64, "each has one outcome: {risen:?}");
    });
}

/// How often each part of a write's way was measured, in the order of their names.
fn measured(one: &Running) -> BTreeMap<&'static str, u64> {
    one.offline.log.stats().histograms().into_iter().map(|one| (one.name, one.count())).collect()
}

#[test]
fn each_part_of_the_way_of_a_write_is_measured_where_it_happens() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let before = (figures(leads), [measured(leads), measured(follows)]);
        for number in 0..5 {
            leads.submit(GROUP, number, vec![40, 1]).await.unwrap();
        }
        follows.until("it follows", |one| one.get(GROUP, 40).is_some()).await;
        rest(200).await;
        let risen = |one: &Running, before: &BTreeMap<&'static str, u64>, name: &str| {
            measured(one)[name] - before[name]
        };
        let (sent, syncs) = {
            let (now, before) = (figures(leads), &before.0);
            (
                now.proposal.sent_entries - before.proposal.sent_entries,
                now.log.write_syncs - before.log.write_syncs,
            )
        };
        let [leader, follower] = &before.1;
        assert!(sent >= 5);
        assert_eq!(risen(leads, leader, "dewpond_proposal_commit_took_us"), sent);
        assert_eq!(risen(leads, leader, "dewpond_proposal_apply_took_us"), sent);
        assert_eq!(risen(leads, leader, "dewpond_log_sync_took_us"), syncs);
        assert_eq!(risen(leads, leader, "dewpond_log_append_took_us"), sent);
        assert_eq!(risen(follows, follower, "dewpond_proposal_commit_took_us"), 0, "it proposes nothing");
        assert!(risen(follows, follower, "dewpond_log_append_took_us") >= 1);
        let took = leads.offline.log.stats().histograms();
        assert!(took.iter().all(|one| one.sum_us > 0 && one.sum_us >= one.count()), "{took:?}");
    });
}

#[test]
fn what_is_not_taken_is_not_measured() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let under = leads.group(GROUP).standing().vote;
        let before = measured(follows);
        let times =
            raft::seal::Times { stamp: Stamp::new(crate::cluster::EPOCH_MS, 0), ..Default::default() };
        let command = raft::command::Command { stamp: times.stamp, ..Default::default() };
        let told = follows.group(GROUP).propose(raft::proposal::Proposal(command.encode()), under).await;
        assert!(matches!(told, Err(NotApplied::NotLeader { .. })), "{told:?}");
        for name in ["dewpond_proposal_commit_took_us", "dewpond_proposal_apply_took_us"] {
            assert_eq!(measured(follows)[name], before[name], "{name}");
        }
    });
}
