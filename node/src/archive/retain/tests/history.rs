//! Random histories of an archive, and whoever collects it: everything promised stays, and nothing is left that nobody needs.

use super::{BEGIN, HOUR, World, both, holds_all, names, stamp};
use crate::archive::manifest::keep::Pin;
use crate::archive::manifest::snapshot::SnapshotPart;
use crate::archive::naming::{Name, SnapshotId};
use crate::archive::retain::keep::{LEGAL, PERSON};
use crate::archive::retain::policy::{Every, Policy};
use crate::archive::retain::sweep::Step;
use crate::archive::tests::CLUSTER;
use crate::archive::verify::verify;
use crate::archive::window::{Scope, Span, window};
use engine::Stamp;
use engine::entropy::Seeded;
use raft::types::GroupId;
use std::collections::BTreeSet;

/// The points that a policy promises, said otherwise than the policy says it: the newest of its hour, say, if snapshots that are newer lie in
/// fewer hours than count.
fn is_point(policy: &Policy, id: SnapshotId, all: &[SnapshotId]) -> bool {
    Every::ALL.into_iter().zip(policy.points).any(|(every, count)| {
        let newer: Vec<u64> = all.iter().filter(|one| **one > id).map(|one| every.of(one.cut.0)).collect();
        let periods: BTreeSet<u64> = newer.iter().copied().collect();
        !newer.contains(&every.of(id.cut.0)) && periods.len() < count as usize
    })
}

/// What was promised when it was kept: instants that could be restored then.
struct Promise {
    id: u8,
    until: u64,
    spans: Vec<Span>,
}

/// Draws numbers.
struct Draw(Seeded);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        u64::from_be_bytes(crate::entropy::random(&self.0)) % end
    }
}

/// One history: whatever happens, everything promised can be restored, and in the end nothing is left that nobody needs.
async fn history(seed: u64) {
    let policies = ["6h,hourly:4,daily:3,weekly:2,monthly:2,yearly:1", "2h,daily:2", "20h,hourly:2", "5h"];
    let mut draw = Draw(Seeded::new(seed));
    let mut world = World::new(policies[draw.below(4) as usize]).await;
    let (mut promises, mut swept, mut pins): (Vec<Promise>, u64, u8) = (Vec::new(), 0, 0);
    for _ in 0..120 {
        match draw.below(20) {
            0 => {
                world.tick(false, true).await;
            }
            1 | 2 => world.tick(true, false).await,
            3..=6 => {
                let (new, is_proven, is_whole) =
                    (draw.below(3) as usize, draw.below(3) == 0, draw.below(6) > 0);
                if world.last.is_none_or(|(id, _)| id.cut.0 < world.now) && world.now > BEGIN {
                    world.snapshot(new, is_proven, is_whole).await;
                }
            }
            7 if pins < 250 => {
                pins += 1;
                let (from, length) = (BEGIN + draw.below(world.now - BEGIN + 1), draw.below(10 * HOUR) + 1);
                let (until, reason) = match draw.below(3) {
                    0 => (u64::MAX, LEGAL),
                    _ => (world.now + draw.below(20 * HOUR), PERSON),
                };
                world.pin(pins, 1, until, reason, (from, from + length));
                let span = Span { from: stamp(from).next(), upto: stamp(from + length) };
                let spans = both(&window(&world.found().await, &Scope::default()).spans, &[span]);
                promises.push(Promise { id: pins, until, spans });
            }
            8 if !promises.is_empty() => {
                let at = draw.below(promises.len() as u64) as usize;
                let ended = promises.swap_remove(at);
                let (renewal, pin) = &world.known.pins[&[ended.id; 8]];
                let pin = Pin { until_ms: world.now * 1_000, ..pin.clone() };
                world.known.pins.insert([ended.id; 8], (renewal + 1, pin));
            }
            9..=14 => {
                if draw.below(4) == 0 {
                    world.store.away_after(draw.below(900));
                }
                let stepped = world.step().await;
                world.store.set_away(false);
                swept += u64::from(matches!(stepped, Ok(Step::Swept(..))));
                check(&world, &promises, seed).await;
            }
            _ => world.tick(false, false).await,
        }
        promises.retain(|promise| promise.until > world.now);
    }
    swept += settle(&mut world, seed).await;
    assert!(swept > 1, "{seed}");
}

async fn check(world: &World, promises: &[Promise], seed: u64) {
    let found = world.found().await;
    assert_eq!(found.faults(), [], "{seed}");
    let (now, all) = (window(&found, &Scope::default()), window(&world.archive, &Scope::default()));
    // What the twin can restore of the time in which every instant should be.
    let edge = Span { from: stamp(world.now - world.policy.log_s), upto: Stamp::MAX };
    let promised = both(&all.spans, &[edge]);
    assert_eq!(holds_all(&now, &promised), None, "{seed}");
    for promise in promises {
        assert_eq!(holds_all(&now, &promise.spans), None, "{seed}");
    }
    for id in all.bases.iter().filter(|id| is_point(&world.policy, **id, &all.bases)) {
        assert!(now.bases.contains(id), "{seed}: {id}");
    }
    assert!(now.holes.iter().all(|hole| all.holes.contains(hole)), "{seed}: {:?}", now.holes);
    let walked = verify(&world.site, CLUSTER, None, false).await.unwrap();
    assert_eq!(walked.archive.faults(), [], "{seed}");
}

/// Nobody keeps anything any more, and time goes by.
async fn settle(world: &mut World, seed: u64) -> u64 {
    let mut swept = 0;
    for (renewal, pin) in world.known.pins.values_mut() {
        (*renewal, pin.until_ms) = (*renewal + 1, pin.until_ms.min(world.now * 1_000));
    }
    for _ in 0..world.policy.log_s / HOUR * 2 + 8 {
        world.hour().await;
        swept += u64::from(matches!(world.step().await.unwrap(), Step::Swept(..)));
    }
    check(world, &[], seed).await;
    let (there, found) = (names(&world.site).await, world.found().await);
    let oldest = found.markers().keys().map(|(_, end)| end.0).min().unwrap();
    // A part of the time over it for the base, the hour of a snapshot, twice the grace, and three steps of an hour each.
    let most = world.policy.log_s.max(2 * HOUR) * 9 / 8 + 4 * HOUR;
    assert!(world.now - oldest <= most, "{seed}: the log reaches back {} s, over {most}", world.now - oldest);
    let all = window(&world.archive, &Scope::default()).bases;
    let is_due = |id: &SnapshotId| {
        let proven = found.snapshots()[id].is_proven();
        is_point(&world.policy, *id, &all) || proven || world.now - id.cut.0 <= most
    };
    let kept = found.snapshots();
    let left: Vec<_> = kept.keys().filter(|id| !is_due(id)).collect();
    assert_eq!(left, Vec::<&SnapshotId>::new(), "{seed}");
    assert!(
        kept.values().filter(|one| one.is_proven()).count()
            <= 2 + world.policy.points.iter().sum::<u32>() as usize
    );
    let files = |name: &&Name| matches!(name, Name::Data(_));
    let (named, files) =
        (named_by(world, kept.keys()), there.iter().filter(files).cloned().collect::<BTreeSet<_>>());
    let waiting = |name: &Name| found.is_tombed(name);
    assert!(files.iter().all(|name| named.contains(name) || waiting(name)), "{seed}");
    let rest = |name: &&Name| matches!(name, Name::Pin(..) | Name::Gap(_) | Name::GapAck(_));
    let rest: Vec<&Name> = there.iter().filter(rest).filter(|name| !waiting(name)).collect();
    assert_eq!(rest, Vec::<&Name>::new(), "{seed}");
    let tombs = there.iter().filter(|name| matches!(name, Name::Tomb(..) | Name::TombDone(..))).count();
    assert!(tombs <= 5, "{seed}: {tombs}");
    let ticks = there.iter().filter(|name| matches!(name, Name::TickFile(_))).count();
    assert!(ticks <= 2 * found.markers().len() + 40, "{seed}: {ticks}");
    swept
}

fn named_by<'a>(world: &World, kept: impl Iterator<Item = &'a SnapshotId>) -> BTreeSet<Name> {
    let mut named = BTreeSet::new();
    let key = world.making.sealer.public_key().unwrap();
    for id in kept {
        for group in [1, 2] {
            let name = Name::SnapshotPart(*id, GroupId(group));
            let bytes = &world.making.objects[&name];
            let part: SnapshotPart = crate::archive::manifest::open(&key, CLUSTER, &name, bytes).unwrap();
            named.extend(part.files.iter().map(|file| Name::Data(file.digest().unwrap())));
        }
    }
    named
}

#[tokio::test]
async fn whatever_happens_what_is_promised_stays_and_nothing_else_does() {
    for seed in 0..12 {
        history(seed).await;
    }
}
