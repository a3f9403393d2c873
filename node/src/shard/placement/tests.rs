//! A cluster in which every group does what its row wants, a step at a time and in any order, while nodes come and go.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug, Default)]
struct World {
    places: Places,
    shards: BTreeMap<GroupId, ShardRow>,
    voters: Voters,
    moves: usize,
}

impl World {
    fn new(data: u64) -> Self {
        let mut world = Self::default();
        let row = |group| ShardRow { group, version: 1, next_replica: ReplicaId(1), ..ShardRow::default() };
        for group in (1..=1 + data).map(GroupId) {
            world.shards.insert(group, row(group));
        }
        world.join(1, "a");
        let mut meta = row(GroupId::META);
        add(&mut meta, NodeId(1), Role::Voter);
        world.voters.insert(GroupId::META, [ReplicaId(1)].into());
        world.shards.insert(GroupId::META, meta);
        world
    }

    fn join(&mut self, node: u64, region: &str) {
        self.join_as(node, region, false);
    }

    fn join_as(&mut self, node: u64, region: &str, is_delayed: bool) {
        let (region, state) = (region.to_owned(), NodeState::Active);
        self.places.insert(NodeId(node), Place { region, state, is_live: true, is_delayed });
    }

    fn set(&mut self, node: u64, state: NodeState) {
        self.places.get_mut(&NodeId(node)).unwrap().state = state;
    }

    /// Writes what is planned. Nothing of it may be dangerous.
    fn plan(&mut self) -> bool {
        let planned = plan(&self.places, &self.shards, &self.voters);
        assert_eq!(planned, plan(&self.places, &self.shards, &self.voters), "the same asked twice");
        for next in &planned {
            let old = &self.shards[&next.group];
            assert!(next.follows(Some(old)), "{old:?} then {next:?}");
            self.check(old, next);
            let is_voter = |(_, seat): &(&ReplicaId, &Seat)| seat.role == Role::Voter;
            // A group that nobody has is founded by those that are wanted.
            if old.seats.is_empty() {
                let ids = next.seats.iter().filter(is_voter).map(|(id, _)| *id).collect();
                self.voters.insert(next.group, ids);
            }
            self.shards.insert(next.group, next.clone());
            self.moves += 1;
        }
        !planned.is_empty()
    }

    fn check(&self, old: &ShardRow, next: &ShardRow) {
        let gone = old.seats.iter().filter(|(id, _)| !next.seats.contains_key(id));
        for (_, seat) in gone.filter(|_| old.group == GroupId::META) {
            let data = self.shards.values().filter(|row| row.group != GroupId::META);
            let is_busy = data.flat_map(ShardRow::staying).any(|node| node == seat.node);
            assert!(!is_busy, "a node that still has something hears no more of it: {old:?} then {next:?}");
        }
        let Some(now) = self.voters.get(&old.group) else { return };
        let is_data = old.group != GroupId::META;
        let voters = |row: &ShardRow| -> BTreeSet<ReplicaId> {
            row.seats.iter().filter(|(_, seat)| seat.role == Role::Voter).map(|(id, _)| *id).collect()
        };
        let (before, after) = (voters(old), voters(next));
        let (came, went) = (after.difference(&before).count(), before.difference(&after).count());
        let counted = before.difference(&after).filter(|id| now.contains(id)).count();
        let planner = Planner { places: &self.places, load: BTreeMap::new(), busy: BTreeSet::new() };
        let stay =
            after.iter().filter(|id| planner.is_active(next.seats[id].node) && now.contains(id)).count();
        let wanted =
            planner.voters_wanted(if is_data { limits::DATA_VOTERS } else { limits::META_VOTERS_MAX });
        let wanted = if is_data || wanted % 2 == 1 { wanted } else { wanted - 1 };
        let is_growth = went == 0 && after.len() <= wanted;
        assert!(came + went <= 1 || is_growth, "one at a time: {old:?} then {next:?}");
        assert!(counted == 0 || stay >= wanted, "a voter goes before another counts: {old:?} then {next:?}");
        assert!(counted == 0 || after.is_subset(now), "while another is on the move");
        let nodes: BTreeSet<_> = next.seats.values().map(|seat| seat.node).collect();
        assert_eq!(nodes.len(), next.seats.len(), "one replica a node");
        let new = next.seats.iter().filter(|(id, _)| !old.seats.contains_key(id));
        assert!(new.clone().all(|(_, seat)| planner.is_active(seat.node)));
        // Delayed replicas are in nobody's way: all that are missing come at once.
        let votes = new.filter(|(_, seat)| seat.role != Role::Delayed).count();
        assert!(!is_data || is_growth || votes <= 1);
    }

    /// A step of one group, as its leader takes it; false if there is none.
    fn step(&mut self, group: GroupId) -> bool {
        let Some(now) = self.voters.get_mut(&group) else { return false };
        let row = self.shards.get_mut(&group).unwrap();
        let is_voter = |id: &ReplicaId| row.seats.get(id).is_some_and(|seat| seat.role == Role::Voter);
        if let Some(id) = row.seats.keys().find(|id| is_voter(id) && !now.contains(id)) {
            let is_live = self.places[&row.seats[id].node].is_live;
            return is_live && now.insert(*id);
        }
        let unwanted = now.iter().find(|id| !is_voter(id)).copied();
        if let Some(id) = unwanted {
            assert!(now.len() > 1);
            return now.remove(&id);
        }
        let left = row.leaving.keys().find(|id| !now.contains(id)).copied();
        left.is_some_and(|id| {
            row.version += 1;
            row.leaving.remove(&id).is_some()
        })
    }

    /// Until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            let mut goes_on = self.plan();
            let groups: Vec<_> = self.shards.keys().copied().collect();
            for group in groups {
                while self.step(group) {
                    goes_on = true;
                }
            }
            if !goes_on {
                return;
            }
        }
        panic!("it does not come to rest: {self:?}");
    }

    fn check_settled(&self) {
        let of_kind = |is_delayed: bool| -> Vec<_> {
            let is_it = |place: &Place| place.state == NodeState::Active && place.is_delayed == is_delayed;
            self.places.iter().filter(|(_, place)| is_it(place)).map(|(node, _)| *node).collect()
        };
        let (active, late) = (of_kind(false), of_kind(true));
        for (group, row) in &self.shards {
            assert!(is_settled(row, &self.voters[group]), "{row:?}");
            for seat in row.seats.values() {
                let is_late = late.contains(&seat.node);
                assert!(is_late || active.contains(&seat.node), "{row:?}");
                let is_data = *group != GroupId::META;
                assert_eq!(seat.role == Role::Delayed, is_late && is_data, "{row:?}");
                assert!(!is_late || seat.role != Role::Voter, "{row:?}");
            }
            let voters: Vec<_> = row.seats.values().filter(|seat| seat.role == Role::Voter).collect();
            let regions: BTreeSet<_> = voters.iter().map(|seat| &self.places[&seat.node].region).collect();
            let all: BTreeSet<_> = active.iter().map(|node| &self.places[node].region).collect();
            if *group == GroupId::META {
                assert_eq!(row.seats.len(), active.len() + late.len());
                assert_eq!(voters.len(), [0, 1, 1, 3, 3][..].get(active.len()).copied().unwrap_or(5));
            } else {
                let wanted = active.len().min(3);
                assert_eq!((voters.len(), row.seats.len()), (wanted, wanted + late.len()));
            }
            assert_eq!(
                regions.len(),
                all.len().min(voters.len()),
                "as many regions as can be: {row:?} {all:?}"
            );
        }
    }

    fn loads(&self) -> Vec<usize> {
        let seats: Vec<_> = self.shards.values().filter(|row| row.group != GroupId::META).collect();
        let load = |node: &NodeId| {
            seats.iter().flat_map(|row| row.seats.values()).filter(|seat| seat.node == *node).count()
        };
        self.places
            .iter()
            .filter(|(_, place)| place.state == NodeState::Active && !place.is_delayed)
            .map(|(node, _)| load(node))
            .collect()
    }
}

#[test]
fn a_cluster_grows_node_by_node_and_shrinks_again() {
    let mut world = World::new(4);
    for (node, region) in (1..=6).zip(["a", "b", "c", "a", "b", "c"]) {
        world.join(node, region);
        world.settle();
        world.check_settled();
    }
    assert_eq!(world.loads(), [2; 6]);
    let before = world.moves;
    world.settle();
    assert_eq!(world.moves, before, "it rests");
    for node in 1..=5 {
        world.set(node, NodeState::Draining);
        world.settle();
        world.check_settled();
        world.set(node, NodeState::Removed);
    }
    assert_eq!(world.loads(), [4]);
}

#[test]
fn delayed_nodes_have_everything_and_count_for_nothing() {
    let mut world = World::new(4);
    world.join_as(2, "b", true);
    world.join_as(3, "c", true);
    world.settle();
    world.check_settled();
    assert_eq!(world.loads(), [4], "nobody else votes");
    (4..=6).for_each(|node| world.join(node, "a"));
    world.settle();
    world.check_settled();
    // Whoever is lost keeps its place: the log waits for it.
    world.places.get_mut(&NodeId(2)).unwrap().is_live = false;
    let before = world.moves;
    world.settle();
    assert_eq!(world.moves, before);
    world.set(2, NodeState::Draining);
    world.set(1, NodeState::Removed);
    world.settle();
    world.check_settled();
    assert!(world.shards.values().all(|row| row.staying().all(|node| node != NodeId(2))));
}

#[test]
fn a_young_cluster_grows_at_once() {
    let mut world = World::new(2);
    world.plan();
    world.join(2, "b");
    assert!(world.plan(), "the second node gets a replica of everything");
    world.join(3, "c");
    // Nothing has come to vote yet on the second one.
    assert!(world.plan());
    let meta = GroupId::META;
    let voters = |world: &World, group: GroupId| {
        world.shards[&group].seats.values().filter(|seat| seat.role == Role::Voter).count()
    };
    for group in [GroupId(2), GroupId(3)] {
        assert_eq!((voters(&world, group), world.voters[&group].len()), (3, 1), "{group}");
    }
    // All its learners are there; both are to vote at once.
    assert_eq!((world.shards[&meta].seats.len(), voters(&world, meta)), (3, 1));
    let is_live = |world: &mut World, is_live| world.places.get_mut(&NodeId(3)).unwrap().is_live = is_live;
    is_live(&mut world, false);
    assert!(!world.plan(), "two are no odd number");
    is_live(&mut world, true);
    assert!(world.plan());
    assert_eq!(voters(&world, meta), 3);
    world.settle();
    world.check_settled();
}

#[test]
fn a_node_that_is_lost_keeps_its_seats_until_it_is_taken_out() {
    let mut world = World::new(2);
    (2..=4).for_each(|node| world.join(node, "a"));
    world.settle();
    let before = world.moves;
    world.places.get_mut(&NodeId(2)).unwrap().is_live = false;
    world.settle();
    assert_eq!(world.moves, before);
    world.set(2, NodeState::Removed);
    world.settle();
    world.check_settled();
}

#[test]
fn a_lost_node_that_cannot_tell_of_its_end_leaves_all_the_same() {
    let mut world = World::new(2);
    (2..=4).for_each(|node| world.join(node, "a"));
    world.settle();
    world.places.get_mut(&NodeId(2)).unwrap().is_live = false;
    world.set(2, NodeState::Draining);
    for row in world.shards.values_mut() {
        row.gone.insert(ReplicaId(1_000), NodeId(2));
        row.next_replica = ReplicaId(2_000);
    }
    world.settle();
    assert!(world.shards.values().all(|row| row.staying().all(|node| node != NodeId(2))));
    // Of one that lives it is waited for.
    world.places.get_mut(&NodeId(3)).unwrap().is_live = true;
    world.set(3, NodeState::Draining);
    let data = world.shards.values_mut().find(|row| row.group != GroupId::META).unwrap();
    data.gone.insert(ReplicaId(1_001), NodeId(3));
    world.settle();
    let meta = &world.shards[&GroupId::META];
    assert!(meta.seats.values().any(|seat| seat.node == NodeId(3) && seat.role == Role::Learner));
}

#[test]
fn of_a_group_whose_leader_says_nothing_nothing_is_changed() {
    let mut world = World::new(1);
    (2..=3).for_each(|node| world.join(node, "a"));
    world.settle();
    world.set(1, NodeState::Draining);
    world.join(4, "a");
    assert_eq!(plan(&world.places, &world.shards, &Voters::new()), []);
}

/// What happens to a cluster.
#[derive(Clone, Copy, Debug)]
enum Event {
    Join(u64),
    Late(u64),
    Drain(u64),
    Remove(u64),
    Back(u64),
    Plan,
    Step(u64),
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0..3u64).prop_map(Event::Join),
        1 => (0..3u64).prop_map(Event::Late),
        1 => any::<u64>().prop_map(Event::Drain),
        1 => any::<u64>().prop_map(Event::Remove),
        1 => any::<u64>().prop_map(Event::Back),
        8 => Just(Event::Plan),
        16 => any::<u64>().prop_map(Event::Step),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_to_rest_in_order(
        data in 1..6u64,
        is_one_region in any::<bool>(),
        events in proptest::collection::vec(some_event(), 0..120),
    ) {
        let mut world = World::new(data);
        for event in events {
            let nodes = world.places.len() as u64;
            let votes = |place: &&Place| place.state == NodeState::Active && !place.is_delayed;
            let active = world.places.values().filter(votes).count();
            let is_late = |world: &World, n: u64| world.places[&NodeId(1 + n % nodes)].is_delayed;
            let state = |world: &World, n: u64| world.places[&NodeId(1 + n % nodes)].state;
            match event {
                Event::Join(region) if nodes < 9 => {
                    let region = if is_one_region { 0 } else { region };
                    world.join(nodes + 1, ["a", "b", "c"][region as usize]);
                }
                Event::Late(region) if nodes < 9 => {
                    world.join_as(nodes + 1, ["a", "b", "c"][region as usize], true);
                }
                Event::Drain(n)
                    if (active > 1 || is_late(&world, n)) && state(&world, n) == NodeState::Active =>
                {
                    world.set(1 + n % nodes, NodeState::Draining);
                }
                Event::Remove(n) if state(&world, n) == NodeState::Draining => {
                    world.set(1 + n % nodes, NodeState::Removed);
                }
                Event::Back(n) if state(&world, n) == NodeState::Draining => {
                    world.set(1 + n % nodes, NodeState::Active);
                }
                Event::Plan => drop(world.plan()),
                Event::Step(n) => drop(world.step(GroupId(1 + n % (data + 1)))),
                _ => {}
            }
        }
        world.settle();
        world.check_settled();
        let loads = world.loads();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(!is_one_region || most - least <= 1, "{:?}", loads);
        let before = world.moves;
        world.settle();
        prop_assert_eq!(world.moves, before, "it rests");
    }
}
