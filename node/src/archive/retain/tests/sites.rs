//! What a collector refuses, what is found of what it left, and further sites with policies of their own.

use super::{BEGIN, HOUR, World, holds_all, names, site, stamp, tombed};
use crate::archive::load::load;
use crate::archive::naming::{Generation, Name, TickEnd, Word};
use crate::archive::pull::Puller;
use crate::archive::retain::keep::LEGAL;
use crate::archive::retain::mark::Refusal;
use crate::archive::retain::policy::Policy;
use crate::archive::retain::sweep::{Looked, Step, Sweeper};
use crate::archive::site::faulty::Faulty;
use crate::archive::tests::CLUSTER;
use crate::archive::window::{Scope, Span, window};
use bytes::Bytes;
use engine::Stamp;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;

#[tokio::test]
async fn what_is_late_or_damaged_or_not_carried_is_not_collected() {
    let mut world = World::new("6h,hourly:2,daily:2").await;
    for _ in 0..30 {
        world.hour().await;
    }
    let far = Word::parse("far").unwrap();
    let marking = |looked: Looked| looked.marking;
    let look =
        async |world: &World| marking(world.sweeper().look(&world.known, world.now * 1_000).await.unwrap());
    let whole = look(&world).await.unwrap();
    let count = |go: &BTreeSet<Name>| go.iter().filter(|name| matches!(name, Name::Marker(..))).count();
    assert!(count(&whole.go) > 100);
    // A required site that has nothing yet, then up to an hour.
    world.known.required = vec![far.clone()];
    assert_eq!(count(&look(&world).await.unwrap().go), 0);
    let end = TickEnd(BEGIN + 5 * HOUR);
    let receipt = Name::Receipt(far, end, Generation(1));
    world.site.put(&receipt.to_string(), Bytes::from_static(b"r")).await.unwrap();
    assert_eq!(count(&look(&world).await.unwrap().go), 30, "those of five hours");
    world.known.required.clear();
    // A clock that runs ahead.
    let ahead = world.sweeper().look(&world.known, (world.now + 40 * 86_400) * 1_000).await.unwrap();
    assert!(matches!(ahead.marking, Err(Refusal::Stale { age_s }) if age_s == 40 * 86_400));
    // A part of a snapshot that stays, and one of a snapshot that goes.
    let bases = window(&world.archive, &Scope::default()).bases;
    let parts: Vec<String> =
        [bases[3], bases[28]].map(|id| Name::SnapshotPart(id, GroupId(1)).to_string()).into();
    let good = world.site.get(&parts[1], 1 << 20).await.unwrap();
    world.store.overwrite(&format!("dewpond/c1/{}", parts[1]), good.slice(..good.len() - 1)).await.unwrap();
    let refused = look(&world).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Damaged { first } if first.contains(&parts[1])), "{refused}");
    world.store.overwrite(&format!("dewpond/c1/{}", parts[1]), good).await.unwrap();
    world.store.overwrite(&format!("dewpond/c1/{}", parts[0]), Bytes::from_static(b"no part")).await.unwrap();
    let rest = look(&world).await.unwrap();
    assert!(rest.go.contains(&Name::SnapshotDone(bases[3])), "what is damaged and would go anyway goes");
    // A marker that is lost in the time in which every instant is promised.
    let lost = Name::Marker(TickEnd(world.now - HOUR), Generation(1));
    world.store.hide(&format!("dewpond/c1/{lost}"));
    let refused = look(&world).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Damaged { first } if first.contains(&lost.to_string())), "{refused}");
}

#[tokio::test]
async fn what_is_lost_at_the_end_of_what_stays_is_found() {
    let mut world = tombed(30).await;
    let (from, upto) = (BEGIN + 10 * HOUR + 700, BEGIN + 11 * HOUR + 100);
    world.pin(1, 1, u64::MAX, LEGAL, (from, upto));
    world.hour().await;
    assert!(matches!(world.step().await.unwrap(), Step::Swept(..)));
    let found = world.found().await;
    let spans = found.collected();
    assert_eq!(spans.len(), 2);
    let last = TickEnd(Stamp(spans[1].after).next().ms() / 1_000);
    world.store.hide(&format!("dewpond/c1/{}", Name::Marker(last, Generation(1))));
    let faults = world.found().await.faults();
    assert!(
        faults.iter().any(|fault| fault.place == Name::Marker(last, Generation(1)).to_string()),
        "{faults:?}"
    );
}

#[tokio::test]
async fn a_further_site_keeps_what_its_own_policy_says_and_fetches_nothing_else() {
    let mut world = World::new("6h,hourly:2,daily:2").await;
    for _ in 0..30 {
        world.hour().await;
    }
    while !matches!(world.step().await.unwrap(), Step::Swept(..)) {
        world.hour().await;
    }
    // It begins when the home site has collected already.
    let far = site("far", Arc::new(Faulty::memory()));
    let policy = Policy::parse("3h,daily:1").unwrap().with_grace("1h").unwrap();
    let key = world.making.sealer.public_key().unwrap();
    let guard = || -> futures_util::future::BoxFuture<'static, bool> { Box::pin(async { true }) };
    let mut swept = 0;
    for round in 0..30 {
        let mut puller = Puller::of(policy);
        puller.pull(&world.site, &far, &world.making.sealer).await.unwrap();
        if swept > 0 && round % 2 == 0 {
            let (bytes, markers) = (puller.bytes, puller.markers);
            assert!(markers <= 6 && bytes <= 6 * 2 + 8, "only what is new: {markers} markers, {bytes} bytes");
        }
        let found = load(&far, CLUSTER, Some(key)).await.unwrap();
        assert_eq!(found.faults(), []);
        let now = window(&found, &Scope::default());
        let promised = Span { from: stamp(world.now - 3 * HOUR), upto: stamp(world.now) };
        assert_eq!((holds_all(&now, &[promised]), &now.holes[..]), (None, &[][..]));
        let sweeper = Sweeper { site: &far, policy, ..world.sweeper() };
        let stepped = sweeper.step(&world.known, world.now * 1_000, &guard).await.unwrap();
        swept += usize::from(matches!(stepped, Step::Swept(..)));
        world.hour().await;
        world.step().await.unwrap();
    }
    assert!(swept > 3, "{swept}");
    let markers =
        |there: BTreeSet<Name>| there.iter().filter(|name| matches!(name, Name::Marker(..))).count();
    assert!(markers(names(&far).await) < markers(names(&world.site).await));
}
