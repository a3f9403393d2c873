//! Keys of tenants that are away from the one that leads: who asks for them is told to come again, and everybody else is served.

use crate::cluster::{GROUP, Node, Running, TENANT, founded, perform};
use engine::Stamp;
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use futures_util::future::join_all;
use raft::command::Counts;
use raft::group::batcher::Answer;
use raft::group::outcome::NotApplied;
use raft::limits;
use raft::seal::Unsealed;
use std::time::Duration;

/// A tenant whose keys come and go.
const AWAY: TenantId = TenantId(77);

fn bring(nodes: &[Node]) {
    for purpose in [Purpose::Log, Purpose::Data] {
        nodes.iter().for_each(|node| crate::rig::give(&node.keys, Owner::Tenant(AWAY), purpose));
    }
}

/// Proposes a command of each of these tenants, all at once.
async fn submit(one: &Running, tenants: &[TenantId]) -> Vec<Result<Answer, NotApplied>> {
    let submit = |(n, tenant): (usize, &TenantId)| {
        let body = vec![u8::try_from(n).unwrap(), 1].into();
        let (session, counts, valid_until) = ([0; 16], Counts::default(), Stamp::MAX);
        let command = Unsealed { tenant: *tenant, session, number: 0, valid_until, counts, body };
        one.batchers[&GROUP].submit(command)
    };
    let all = join_all(tenants.iter().enumerate().map(submit));
    tokio::time::timeout(Duration::from_secs(5), all).await.expect("somebody waits for ever")
}

#[test]
fn who_needs_a_key_that_is_away_comes_again_and_others_do_not_wait_for_it() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let leads = &running[0];
        let later = Err(NotApplied::RetryLater { after_ms: limits::KEY_RETRY_MS });
        let before = leads.group(GROUP).standing().last_index;
        let before_applied = leads.ground.parts.log.stats().read().proposal.applied_commands;
        assert_eq!(submit(leads, &[AWAY, AWAY]).await, [later.clone(), later.clone()]);
        assert_eq!(leads.group(GROUP).standing().last_index, before, "nothing is proposed");
        // Of one entry those are left out.
        let all = submit(leads, &[TENANT, AWAY, TENANT, AWAY]).await;
        let [Ok(first), one, Ok(third), other] = &all[..] else { panic!("{all:?}") };
        assert_eq!((one, other), (&later, &later));
        assert_eq!(first.log_id, third.log_id, "they went together");
        assert_eq!(third.stamp, Stamp(first.stamp.0 + 1));
        for (key, is_there) in [(0, true), (1, false), (2, true), (3, false)] {
            assert_eq!(leads.get(GROUP, key) == Some(vec![1]), is_there, "{key}");
        }
        let counted = leads.ground.parts.log.stats().read().proposal;
        assert_eq!((counted.retry_key_commands, counted.applied_commands), (4, before_applied + 2));
        // The same again, later.
        bring(&nodes);
        let all = submit(leads, &[TENANT, AWAY]).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        // Away from the one that leads alone: it is not the followers' matter.
        nodes[0].keys.forget(Owner::Tenant(AWAY), Purpose::Log, KeyEpoch(1));
        assert_eq!(submit(leads, &[AWAY]).await, [later]);
    });
}

#[test]
fn whose_keys_are_gone_for_good_is_refused_and_alone() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        for node in &nodes {
            node.shreds.0.lock().unwrap().insert(AWAY);
        }
        let all = submit(&running[0], &[AWAY, TENANT]).await;
        let [Err(NotApplied::Refused { rule }), Ok(_)] = &all[..] else { panic!("{all:?}") };
        assert_eq!(rule, "the keys of its tenant are gone for good");
    });
}
