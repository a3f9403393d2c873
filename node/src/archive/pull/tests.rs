use crate::archive::manifest::log::FileRow;
use crate::archive::manifest::sha256;
use crate::archive::naming::Name;
use crate::archive::tests::{CLUSTER, Making, file, row};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A site of these objects.
async fn site_of(
    name: &str,
    store: Arc<dyn crate::archive::site::Store>,
    objects: &BTreeMap<Name, Vec<u8>>,
) -> crate::archive::site::Site {
    let (name, root) = (crate::archive::naming::Word::parse(name).unwrap(), "dewpond/c1/".to_owned());
    let clock = Arc::new(crate::clock::SystemClock::default());
    let parts =
        crate::archive::site::SiteParts { name, region: String::new(), store, root, rate_bytes_s: 0, clock };
    let site = crate::archive::site::Site::new(parts);
    for (name, bytes) in objects {
        site.put(&name.to_string(), Bytes::from(bytes.clone())).await.unwrap();
    }
    site
}

/// Three ticks with a file each, and a snapshot.
fn made() -> Making {
    let mut making = Making::new();
    for end in [5, 10, 15] {
        let content = vec![end as u8; 100];
        let file =
            FileRow { bytes: 100, sha256: sha256(&content).to_vec(), ..file(1, end, end - 4, end - 1) };
        making.marker(end, &[row(1, end - 5, end), row(2, end - 5, end)], std::slice::from_ref(&file));
        making.objects.insert(Name::TickFile(file.name().unwrap()), content);
    }
    making.snapshot(10);
    making
}

async fn names_at(site: &crate::archive::site::Site) -> BTreeSet<String> {
    site.list("").await.unwrap().into_iter().map(|one| one.name).collect()
}

#[tokio::test]
async fn a_further_site_gets_everything_whichever_put_fails_and_is_an_archive_at_every_moment() {
    use crate::archive::site::faulty::{Fault, Faulty};
    let (making, wanted) = (made(), made().objects.keys().map(ToString::to_string).collect::<BTreeSet<_>>());
    let key = making.sealer.public_key().unwrap();
    for (nth, fault) in (1..=16).flat_map(|nth| [(nth, Fault::Refused), (nth, Fault::ReplyLost)]) {
        let from = site_of("home", Arc::new(Faulty::memory()), &making.objects).await;
        let store = Arc::new(Faulty::memory());
        let to = site_of("copy", store.clone(), &BTreeMap::new()).await;
        // Three in a row: a put is tried so often.
        (nth..nth + 3).for_each(|nth| store.fail_put(nth, fault));
        let mut failed = 0;
        let mut puller = crate::archive::pull::Puller::default();
        while let Err(error) = puller.pull(&from, &to, &making.sealer).await {
            assert!(crate::archive::ship::is_away(&error), "{error}");
            if names_at(&to).await.contains("genesis.man") {
                let found = crate::archive::load::load(&to, CLUSTER, Some(key)).await.unwrap();
                assert_eq!(found.faults(), [], "what is there is whole");
            }
            failed += 1;
            // Sometimes another one goes on.
            puller = if failed % 2 == 0 { puller } else { crate::archive::pull::Puller::default() };
        }
        // Eleven objects are put; a reply that is lost is made up for by reading.
        assert_eq!(failed > 0, fault == Fault::Refused && nth <= 11, "{nth} {fault:?}");
        assert_eq!(names_at(&to).await, wanted, "{nth} {fault:?}");
        let receipts = from.list("rcpt/").await.unwrap();
        assert_eq!(receipts.len(), 3);
    }
}

#[tokio::test]
async fn what_is_damaged_at_home_is_named_and_not_taken() {
    let making = made();
    let victim = making.objects.keys().find(|name| matches!(name, Name::TickFile(_))).unwrap().clone();
    let mut objects = making.objects.clone();
    objects.get_mut(&victim).unwrap()[50] ^= 1;
    let from = site_of("home", Arc::new(crate::archive::site::objects::Objects::memory()), &objects).await;
    let to =
        site_of("copy", Arc::new(crate::archive::site::objects::Objects::memory()), &BTreeMap::new()).await;
    let error = crate::archive::pull::Puller::default().pull(&from, &to, &making.sealer).await.unwrap_err();
    assert!(error.to_string().contains(&victim.to_string()), "{error}");
    assert_eq!(to.list("log/").await.unwrap(), []);
    assert_eq!(to.list("tick/").await.unwrap(), []);
    let walked = crate::archive::verify::verify(&from, CLUSTER, None, true).await.unwrap();
    assert_eq!(walked.archive.faults()[0].place, victim.to_string());
}
