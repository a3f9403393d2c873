//! Commands of clients against a map in memory: whatever is asked, in whatever entries, a tablet comes to the same rows and replies.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::key::KeyRange;
use engine::tablet::view::Scan;
use node::shard::command::{Condition, Expected, Expiry, KvCommand, Operation};
use node::shard::map::ShardRange;
use node::shard::reply::KvReply;
use rig::{Dice, OTHER, Rig, TENANT, seeds};
use std::collections::BTreeMap;

const C: CollectionId = CollectionId(1);
type Command = KvCommand<Vec<u8>>;
type Place = (TenantId, CollectionId, Vec<u8>);

/// What stands there: a value, its stamp, and when it goes.
#[derive(Default)]
struct Model(BTreeMap<Place, (Vec<u8>, Stamp, u64)>);

impl Model {
    fn get(&self, place: &Place, now_ms: u64) -> Option<Stamp> {
        let found = self.0.get(place).filter(|(_, _, expires_ms)| *expires_ms == 0 || *expires_ms > now_ms);
        found.map(|(_, stamp, _)| *stamp)
    }

    fn apply(&mut self, tenant: TenantId, command: &Command, stamp: Stamp) -> KvReply {
        for (condition, one) in (0..).zip(&command.conditions) {
            let now = self.get(&(tenant, one.collection, one.key.clone()), stamp.ms());
            let holds = match one.expected {
                Expected::Absent => now.is_none(),
                Expected::Present => now.is_some(),
                Expected::Stamp(stamp) => now == Some(stamp),
            };
            if !holds {
                return KvReply::Failed { condition, now };
            }
        }
        for one in command.operations.clone() {
            match one {
                Operation::Put { collection, key, value, expiry } => {
                    self.0.insert((tenant, collection, key), (value, stamp, expiry.ms(stamp.ms())));
                }
                Operation::Delete { collection, key } => drop(self.0.remove(&(tenant, collection, key))),
                Operation::DeleteRange { collection, start, end } => {
                    let is_inside = |(t, c, key): &Place| {
                        (*t, *c) == (tenant, collection)
                            && *key >= start
                            && end.as_ref().is_none_or(|end| key < end)
                    };
                    self.0.retain(|place, _| !is_inside(place));
                }
            }
        }
        KvReply::Applied(stamp)
    }
}

fn some_key(dice: &Dice) -> Vec<u8> {
    [&b""[..], b"a", b"a\0", b"b", b"b\xff", b"c", b"\0", b"\xff"][dice.below(8) as usize].to_vec()
}

fn some_operation(dice: &Dice, now_ms: u64) -> Operation<Vec<u8>> {
    let collection = CollectionId(1 + dice.below(2) as u32);
    match dice.below(7) {
        0 => Operation::Delete { collection, key: some_key(dice) },
        1 => {
            let end = (dice.below(3) > 0).then(|| some_key(dice));
            Operation::DeleteRange { collection, start: some_key(dice), end }
        }
        _ => {
            let expiry = match dice.below(4) {
                0 => Expiry::At(now_ms + dice.below(40) - 5),
                1 => Expiry::After(1 + dice.below(30)),
                _ => Expiry::Never,
            };
            let value = vec![dice.below(256) as u8; dice.below(20) as usize];
            Operation::Put { collection, key: some_key(dice), value, expiry }
        }
    }
}

fn some_command(dice: &Dice, tenant: TenantId, model: &Model, now_ms: u64) -> Command {
    let condition = |_| {
        let (collection, key) = (CollectionId(1 + dice.below(2) as u32), some_key(dice));
        let now = model.get(&(tenant, collection, key.clone()), now_ms);
        let expected = match dice.below(4) {
            0 => Expected::Absent,
            1 => Expected::Present,
            2 => Expected::Stamp(Stamp::new(now_ms, 7)),
            _ => now.map_or(Expected::Absent, Expected::Stamp),
        };
        Condition { collection, key, expected }
    };
    let conditions = (0..dice.below(3)).map(condition).collect();
    KvCommand {
        conditions,
        operations: (0..1 + dice.below(4)).map(|_| some_operation(dice, now_ms)).collect(),
    }
}

fn compare(rig: &Rig, model: &Model, now_ms: u64) {
    let view = rig.view(now_ms);
    for (tenant, collection) in [(TENANT, 1), (TENANT, 2), (OTHER, 1), (OTHER, 2)] {
        let collection = CollectionId(collection);
        let page = view.scan(&Scan::all(tenant, collection), None).unwrap();
        let found = page.entries.into_iter();
        let found: Vec<_> = found
            .map(|entry| (entry.key, (entry.found.value.to_vec(), entry.found.stamp, entry.found.expires_ms)))
            .collect();
        let here = model.0.iter().filter(|((t, c, _), (_, _, expires_ms))| {
            (*t, *c) == (tenant, collection) && (*expires_ms == 0 || *expires_ms > now_ms)
        });
        let wanted: Vec<_> = here.map(|((_, _, key), row)| (key.clone(), row.clone())).collect();
        assert_eq!(found, wanted, "{tenant} {collection}");
    }
}

#[test]
fn a_tablet_and_a_map_come_to_the_same() {
    let (mut applied, mut failed) = (0, 0);
    for seed in seeds(60) {
        let (dice, mut rig, mut model) = (Dice::new(seed), Rig::new(KeyRange::all()), Model::default());
        let mut now_ms = 1_000_100;
        for _ in 0..40 {
            now_ms += dice.below(8);
            let (mut bodies, mut wanted, mut stamp) = (Vec::new(), Vec::new(), rig.stamp);
            for _ in 0..1 + dice.below(4) {
                stamp = stamp.next().max(Stamp::new(now_ms, 0));
                let tenant = [TENANT, OTHER][dice.below(2) as usize];
                let command = some_command(&dice, tenant, &model, now_ms);
                command.check().unwrap();
                bodies.push((tenant, command.encode()));
                wanted.push(model.apply(tenant, &command, stamp));
            }
            let replies = rig.apply(now_ms, &bodies);
            let replies: Vec<_> = replies.iter().map(|reply| KvReply::decode(reply).unwrap()).collect();
            assert_eq!(replies, wanted, "seed {seed}");
            applied += replies.iter().filter(|reply| matches!(reply, KvReply::Applied(_))).count();
            failed += replies.iter().filter(|reply| matches!(reply, KvReply::Failed { .. })).count();
            compare(&rig, &model, now_ms);
            if dice.below(10) == 0 {
                rig.tablet.freeze();
                rig.pool.settle();
            }
        }
        compare(&rig, &model, now_ms + 100);
    }
    println!("{applied} applied, {failed} failed");
    assert!(applied > 500 && failed > 500, "{applied} applied, {failed} failed: both must be tried");
}

fn put(key: &[u8], value: &[u8]) -> Operation<Vec<u8>> {
    Operation::Put { collection: C, key: key.to_vec(), value: value.to_vec(), expiry: Expiry::Never }
}

fn on(key: &[u8], expected: Expected) -> Condition<Vec<u8>> {
    Condition { collection: C, key: key.to_vec(), expected }
}

fn body(conditions: Vec<Condition<Vec<u8>>>, operations: Vec<Operation<Vec<u8>>>) -> (TenantId, Vec<u8>) {
    (TENANT, KvCommand { conditions, operations }.encode())
}

#[test]
fn conditions_see_what_stood_before_the_batch_and_the_batches_before_it() {
    let mut rig = Rig::new(KeyRange::all());
    let replies = rig.apply(
        2_000_000,
        &[
            // Its own put does not count: the key was absent.
            body(vec![on(b"k", Expected::Absent)], vec![put(b"k", b"1")]),
            // That of the command before it, in the same entry, does.
            body(vec![on(b"k", Expected::Absent)], vec![put(b"k", b"2")]),
            body(vec![on(b"k", Expected::Stamp(Stamp::new(2_000_000, 0)))], vec![put(b"k", b"3")]),
            body(vec![on(b"k", Expected::Stamp(Stamp::new(2_000_000, 0)))], vec![put(b"k", b"4")]),
        ],
    );
    let replies: Vec<_> = replies.iter().map(|reply| KvReply::decode(reply).unwrap()).collect();
    let at = |n| Stamp::new(2_000_000, n);
    assert_eq!(
        replies,
        [
            KvReply::Applied(at(0)),
            KvReply::Failed { condition: 0, now: Some(at(0)) },
            KvReply::Applied(at(2)),
            KvReply::Failed { condition: 0, now: Some(at(2)) },
        ]
    );
    let found = rig.view(0).get(TENANT, C, b"k").unwrap().unwrap();
    assert_eq!((&found.value[..], found.stamp), (&b"3"[..], at(2)));
}

#[test]
fn nonsense_is_answered_and_changes_nothing() {
    let mut rig = Rig::new(KeyRange::all());
    let good = body(vec![on(b"k", Expected::Absent)], vec![put(b"k", b"1")]).1;
    let mut bodies = vec![(TENANT, vec![]), (TENANT, vec![0]), (TENANT, vec![2, 1]), (TENANT, vec![1; 40])];
    // A client's command of the cluster, and one of the cluster as a client's.
    bodies.extend([(TenantId(0), good.clone()), (TENANT, [&[2], &good[1..]].concat())]);
    bodies.extend((0..good.len()).map(|cut| (TENANT, good[..cut].to_vec())));
    for reply in rig.apply(2_000_000, &bodies) {
        assert_eq!(KvReply::decode(&reply).unwrap(), KvReply::Malformed);
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        rig.apply(2_000_000, &[(TENANT, flipped)]);
    }
    let mut other = Rig::new(ShardRange::META.rows());
    assert_eq!(&other.apply(2_000_000, &[(TENANT, good)])[0][..], b"outside");
}
