//! What is counted of the lives of replicas, of the gate of a delayed node, and of delayed replicas that are given up.

use super::{figures, rest, since, two};
use crate::cluster::{GROUP, Node, Running, founded, perform};
use engine::Stamp;
use engine::disk::sim::Faults;
use raft::delay::{GateState, GateStore, GroupProgress, Keeper, Step};
use raft::group::supervise::{Supervisor, Told};
use raft::group::upkeep::Upkeep;
use raft::limits;
use raft::log::purge::{DelayedNeed, Needs, Worth};
use raft::stats::Stats;
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Looks until something is told.
async fn told(supervisor: &mut Supervisor) -> Told {
    for _ in 0..500 {
        rest(2).await;
        if let Some(one) = supervisor.look(0).pop() {
            return one;
        }
    }
    panic!("nothing is told");
}

fn gauges(one: &Running) -> (u64, u64) {
    let group = figures(one).group;
    (group.running_replicas, group.down_replicas)
}

fn node<'a>(nodes: &'a [Node], one: &Running) -> &'a Node {
    &nodes[usize::try_from(one.group(GROUP).replica().0).unwrap() - 1]
}

#[test]
fn a_replica_that_panics_is_counted_and_counted_again_when_it_runs() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let mut supervisor = Supervisor::new(follows.ground.clone());
        let before = figures(follows);
        assert_eq!(gauges(follows), (1, 0));
        node(&nodes, follows).mine.lay(GROUP);
        leads.put(GROUP, 1, b"too much").await;
        assert!(matches!(told(&mut supervisor).await, Told::Died(_)));
        assert_eq!(gauges(follows), (0, 0));
        assert!(matches!(told(&mut supervisor).await, Told::Rebuilt(_)));
        assert_eq!(gauges(follows), (1, 0));
        let wanted = [("group_panicked_replicas", 1), ("group_rebuilt_replicas", 1)];
        assert_eq!(since(&before, follows, &["group"]), wanted.into());
    });
}

#[test]
fn a_replica_whose_disk_lies_is_down_until_a_person_acts() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let mut supervisor = Supervisor::new(follows.ground.clone());
        let before = figures(follows);
        node(&nodes, follows).disk.set_faults(Faults { fail_syncs: true, ..Faults::default() });
        leads.put(GROUP, 1, b"in vain").await;
        assert!(matches!(told(&mut supervisor).await, Told::Died(_)));
        assert_eq!((gauges(follows), figures(follows).log.fenced_flag), ((0, 1), 1));
        assert_eq!(since(&before, follows, &["group"]), [("group_broken_replicas", 1)].into());
    });
}

#[test]
fn a_replica_that_finds_something_broken_counts_once() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(1).await;
        let before = figures(&running[0]);
        for _ in 0..3 {
            running[0].group(GROUP).machine().fence(&raft::Error::Invalid("a wrong world"));
        }
        assert_eq!(since(&before, &running[0], &["group"]), [("group_fenced_replicas", 1)].into());
    });
}

#[test]
fn a_delayed_replica_that_is_given_up_counts_once() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(1).await;
        let upkeep = Upkeep::new(Worth { bytes: u64::MAX, ms: u64::MAX });
        let (before, receiver) = (figures(&running[0]), running[0].registry.get(GROUP).unwrap());
        let need = |replica, away_ms| DelayedNeed { replica: ReplicaId(replica), stored: Some(1), away_ms };
        let lost = limits::OUTAGE_BUDGET_MS + 1;
        for (away, sum) in [([0, 0], 0), ([lost, 0], 1), ([lost, 0], 1), ([lost, lost], 2), ([0, lost], 2)] {
            let delayed = (7..).zip(away).map(|(n, ms)| need(n, ms)).collect();
            upkeep.look(&receiver, Needs { delayed, ..Needs::default() }, 0).await.unwrap();
            let risen = since(&before, &running[0], &["delay"]);
            assert_eq!(risen.get("delay_forsaken_replicas").copied().unwrap_or_default(), sum);
        }
    });
}

/// Remembers, unless it is broken.
#[derive(Default)]
struct Shelf(Mutex<(Option<GateState>, bool)>);

impl GateStore for Shelf {
    fn load(&self) -> raft::Result<Option<GateState>> {
        Ok(self.0.lock().unwrap().0)
    }

    fn store(&self, state: &GateState) -> raft::Result<()> {
        let mut shelf = self.0.lock().unwrap();
        if shelf.1 {
            return Err(raft::Error::Invalid("a broken shelf"));
        }
        shelf.0 = Some(*state);
        Ok(())
    }
}

#[test]
fn a_gate_says_how_late_it_is_and_whether_a_person_holds_it() {
    const NOW_MS: u64 = 1_700_000_000_000;
    let (shelf, stats) = (Arc::new(Shelf::default()), Arc::new(Stats::default()));
    let keeper = Keeper::open(shelf.clone(), (Stamp::new(NOW_MS, 0), 60_000), stats.clone()).unwrap();
    let far = Some(Stamp::end_of_ms(NOW_MS + 1_000_000));
    let progress = GroupProgress { closed: far, told_at: Some(Stamp::MAX), told: Some(3), applied: Some(3) };
    let all = BTreeMap::from([(GroupId(1), progress)]);
    let delay = || stats.read().delay;
    assert_eq!((delay().set_ms, delay().held_flag, delay().gate_steps), (60_000, 0, 0));
    let Step::To(gate) = keeper.step(Some(NOW_MS + 5_000), &all).unwrap() else { panic!("it rests") };
    assert_eq!((delay().gate_steps, delay().lag_ms), (1, NOW_MS + 5_000 - gate.ms()));
    // What cannot be stored opens nothing: it is later at every look.
    shelf.0.lock().unwrap().1 = true;
    assert!(keeper.step(Some(NOW_MS + 50_000), &all).is_err());
    assert_eq!((delay().gate_steps, delay().lag_ms), (1, NOW_MS + 50_000 - gate.ms()));
    assert!(keeper.hold().is_err());
    assert_eq!(delay().held_flag, 1, "it is held, stored or not");
    shelf.0.lock().unwrap().1 = false;
    keeper.step(None, &all).unwrap();
    assert_eq!(delay().lag_ms, NOW_MS + 50_000 - gate.ms(), "nobody knows what time it is");
    keeper.release().unwrap();
    keeper.set_delay(0).unwrap();
    assert_eq!((delay().set_ms, delay().held_flag), (0, 0));
    assert_eq!(
        delay().gate_steps,
        2,
        "what could not be stored was stored with the hold; no other change raised it"
    );
}
