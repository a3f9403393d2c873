//! Six kinds of damage to every kind of object: found at the next touch and named, made up for by another site, and named where there is none.

use super::{Cluster, OURS, TICKS, end_of, site, written};
use crate::archive::naming::Name;
use crate::archive::site::Store as _;
use crate::archive::site::faulty::Faulty;
use crate::archive::verify::verify;
use crate::restore::archive::sources_of;
use crate::restore::fetch::{FetchError, Workshop};
use bytes::Bytes;
use engine::disk::SimDisk;
use engine::ids::{ClusterId, CollectionId, TenantId};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Flipped,
    Cut,
    Swapped,
    Missing,
    Replayed,
    Foreign,
}

const HARMS: [Harm; 6] =
    [Harm::Flipped, Harm::Cut, Harm::Swapped, Harm::Missing, Harm::Replayed, Harm::Foreign];

type Objects = BTreeMap<Name, Bytes>;

async fn objects(store: &Faulty) -> Objects {
    let mut all = BTreeMap::new();
    for one in store.list("").await.unwrap() {
        let bytes = store.read(&one.name, None).await.unwrap();
        all.insert(Name::parse(&one.name).unwrap(), bytes);
    }
    all
}

/// The nearest other object of the same kind; any other if there is none.
fn sibling<'a>(all: &'a Objects, name: &Name) -> (&'a Name, &'a Bytes) {
    let others = || all.iter().filter(|(other, _)| *other != name);
    let alike = others().rev().find(|(other, _)| discriminant(*other) == discriminant(name) && *other < name);
    let later = others().find(|(other, _)| discriminant(*other) == discriminant(name));
    // Without its beginning nothing else of an archive is looked at.
    let any = || others().find(|(other, _)| **other != Name::Genesis);
    alike.or(later).or_else(any).unwrap()
}

/// Does harm to an object; which were harmed.
async fn harm(
    store: &Faulty,
    (ours, foreign): (&Objects, &Objects),
    name: &Name,
    harm: Harm,
) -> BTreeSet<Name> {
    let mut bytes = ours[name].to_vec();
    let mut harmed = BTreeSet::from([name.clone()]);
    match harm {
        Harm::Flipped => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Harm::Cut => bytes.truncate(bytes.len() / 2),
        Harm::Missing => {
            store.hide(&name.to_string());
            return harmed;
        }
        Harm::Swapped => {
            let (other, instead) = sibling(ours, name);
            store.overwrite(&other.to_string(), bytes.into()).await.unwrap();
            harmed.insert(other.clone());
            bytes = instead.to_vec();
        }
        Harm::Replayed => bytes = sibling(ours, name).1.to_vec(),
        Harm::Foreign => {
            let same = foreign.get(name);
            let alike = foreign.iter().find(|(other, _)| discriminant(*other) == discriminant(name));
            bytes = same.or(alike.map(|(_, bytes)| bytes)).unwrap().to_vec();
        }
    }
    store.overwrite(&name.to_string(), bytes.into()).await.unwrap();
    harmed
}

/// Whether nothing at the site itself can tell that an object was ever there: its end, and what stands alone.
fn is_untold(name: &Name) -> bool {
    match name {
        Name::Marker(end, _) => *end == end_of(TICKS),
        Name::SnapshotDone(_) | Name::Gap(_) | Name::GapAck(_) | Name::Generation(_) => true,
        _ => false,
    }
}

/// Everything that was written is read back from these sites, as of the end.
async fn read_back(sites: &[(&'static str, Arc<Faulty>)], cluster: &Cluster) -> Result<(), FetchError> {
    let sites = sites.iter().map(|(name, store)| Arc::new(site(name, store))).collect();
    let known = cluster.sealer.public_key().unwrap();
    let sources = sources_of(sites, cluster.sealer.cluster(), Some(known)).await?;
    let (disk, folder) = (Arc::new(SimDisk::new(9)), "/shop".into());
    let shop = Workshop { disk, folder, sealer: cluster.sealer.clone() };
    let (tenants, at) = (BTreeSet::from([TenantId(1), TenantId(2)]), end_of(TICKS).upto());
    let gathered = sources.gather(&shop, &tenants, at).await?;
    for (tick, group) in (1..=TICKS).flat_map(|tick| [(tick, 1), (tick, 2)]) {
        let (key, value, stamp) = written(tick, group);
        let found = gathered.loose().get((TenantId(group), CollectionId(1)), &key, at).unwrap().unwrap();
        assert_eq!((&found.value[..], found.stamp), (&value[..], stamp));
    }
    Ok(())
}

/// Every object of a whole archive that a reader touches; receipts are read by whoever collects.
fn touched(all: &Objects) -> Vec<Name> {
    all.keys().filter(|name| !matches!(name, Name::Receipt(..))).cloned().collect()
}

#[tokio::test]
async fn whatever_happens_to_an_object_it_is_found_named_and_made_up_for() {
    let mut other = Cluster::new((ClusterId([0xc2; 16]), 8));
    other.finish().await;
    let foreign = objects(&other.home).await;
    let mut cluster = Cluster::new(OURS);
    cluster.finish().await;
    let ours = objects(&cluster.home).await;
    let kinds: BTreeSet<String> =
        touched(&ours).iter().map(|name| format!("{:?}", discriminant(name))).collect();
    assert_eq!(
        kinds.len(),
        10,
        "beginning, life line, tick file, marker, table, three of a snapshot, gap, accepted"
    );
    for (name, kind) in touched(&ours).into_iter().flat_map(|name| HARMS.map(|kind| (name.clone(), kind))) {
        let harmed = harm(&cluster.home, (&ours, &foreign), &name, kind).await;
        let found = verify(
            &site("home", &cluster.home),
            cluster.sealer.cluster(),
            cluster.sealer.public_key().ok(),
            true,
        )
        .await;
        let said = match &found {
            Ok(walked) => walked.archive.faults().iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        if !(kind == Harm::Missing && is_untold(&name)) {
            // Of a snapshot whose beginning is gone the end is named, which says that it was there.
            let is_begin = |name: &Name| matches!(name, Name::SnapshotOpen(_)) && kind == Harm::Missing;
            let is_named = |name: &Name| said.iter().any(|said| said.contains(&name.to_string()));
            for one in harmed.iter().filter(|one| **one == Name::Genesis || name != Name::Genesis) {
                let as_end = Name::SnapshotDone(super::SNAPSHOT);
                assert!(is_named(one) || is_begin(one) && is_named(&as_end), "{one} {kind:?}: {said:?}");
            }
            assert!(said.len() <= 2 * harmed.len(), "{name} {kind:?}: nothing else is said: {said:?}");
        }
        read_back(&cluster.sites(), &cluster)
            .await
            .unwrap_or_else(|error| panic!("{name} {kind:?}: {error}"));
        match (read_back(&cluster.sites()[..1], &cluster).await, &name) {
            // The base and the log behind it are what is read.
            (Err(FetchError::Lost { lost }), Name::Data(_) | Name::TickFile(_) | Name::SnapshotPart(..)) => {
                assert!(
                    lost.iter().any(|lost| lost.contains(&name.to_string())),
                    "{name} {kind:?}: {lost:?}"
                );
            }
            (Err(FetchError::NotRestorable(_) | FetchError::Away(_) | FetchError::Engine(_)), _) => {}
            (Err(error), _) => panic!("{name} {kind:?}: {error}"),
            (Ok(()), Name::Gap(_) | Name::GapAck(_) | Name::Generation(_)) => {}
            (Ok(()), Name::Marker(end, _)) => assert!(*end <= end_of(2), "{kind:?}"),
            (Ok(()), Name::TickFile(file)) => assert!(file.end <= end_of(2), "{kind:?}"),
            (Ok(()), name) => panic!("{name} {kind:?}: what is not there is read"),
        }
        cluster.home.show_all();
        for one in &harmed {
            cluster.home.overwrite(&one.to_string(), ours[one].clone()).await.unwrap();
        }
    }
}
