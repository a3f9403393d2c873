use super::faulty::{Fault, Faulty};
use super::objects::Objects;
use super::suite::suite;
use super::*;
use crate::archive::naming::Word;
use raft::time::BootClock;
use std::sync::Arc;

struct Still;

impl BootClock for Still {
    fn boot_ms(&self) -> u64 {
        0
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn is_disputed(&self) -> bool {
        false
    }

    fn agreed_ms(&self) -> Option<u64> {
        None
    }
}

fn site(store: Arc<dyn Store>) -> Site {
    let name = Word::parse("eu-a").unwrap();
    let root = "dewpond/c1/".to_owned();
    Site::new(SiteParts { name, region: String::new(), store, root, rate_bytes_s: 0, clock: Arc::new(Still) })
}

#[tokio::test]
async fn memory_folder_and_the_one_that_can_fail_do_what_a_store_must() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Objects::folder(&dir.path().join("a/b")).unwrap();
    let all: [Arc<dyn Store>; 3] =
        [Arc::new(Objects::memory()), Arc::new(folder), Arc::new(Faulty::memory())];
    for store in &all {
        suite(store).await;
    }
}

#[tokio::test]
async fn a_folder_keeps_what_was_put_and_hides_what_was_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    let put = site(Arc::new(Objects::folder(dir.path()).unwrap()));
    put.put("log/a.blk", Bytes::from_static(b"bytes")).await.unwrap();
    std::fs::write(dir.path().join("dewpond/c1/log/b.blk#1"), b"half").unwrap();
    let again = site(Arc::new(Objects::folder(dir.path()).unwrap()));
    assert_eq!(again.get("log/a.blk", 5).await.as_deref(), Ok(&b"bytes"[..]));
    let listed = again.list("").await.unwrap();
    assert_eq!(listed, [Listed { name: "log/a.blk".to_owned(), bytes: 5 }]);
    let large = again.get("log/a.blk", 4).await.unwrap_err();
    assert!(matches!(large, SiteError::TooLarge { bytes: 5, max: 4, .. }), "{large}");
    for name in ["../x", "a/../../x", "a//b", "a#1"] {
        assert!(again.put(name, Bytes::new()).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn whatever_a_put_is_answered_the_object_is_there_once_or_the_caller_knows() {
    let bytes = || Bytes::from_static(b"bytes");
    for fault in [Fault::Refused, Fault::ReplyLost] {
        let store = Arc::new(Faulty::memory());
        let site = site(store.clone());
        store.fail_put(1, fault);
        assert_eq!(site.put("a", bytes()).await, Ok(()), "{fault:?}: seen, or put again");
        assert_eq!(site.put("a", bytes()).await, Ok(()), "our own put is recognised");
        let other = site.put("a", Bytes::from_static(b"other")).await;
        assert_eq!(other, Err(SiteError::Taken { name: "a".to_owned() }));
        store.fail_put(1, fault);
        let other = site.put("b", Bytes::from_static(b"other")).await;
        assert_eq!(other, Ok(()));
        assert_eq!(site.get("b", 9).await.as_deref(), Ok(&b"other"[..]));
    }
    let store = Arc::new(Faulty::memory());
    let site = site(store.clone());
    (1..=3).for_each(|nth| store.fail_put(nth, Fault::Refused));
    assert!(site.put("a", bytes()).await.unwrap_err().is_away(), "it is not put for ever");
    assert_eq!(store.puts(), 3);
    store.set_away(true);
    assert!(site.put("a", bytes()).await.unwrap_err().is_away());
    assert!(site.get("a", 9).await.unwrap_err().is_away());
    store.set_away(false);
    assert!(site.get("a", 9).await.unwrap_err().is_not_found());
    // A store that says the name is taken, and then has nothing: as S3 does while another put is under way.
    store.hide("dewpond/c1/c");
    assert_eq!(site.put("c", bytes()).await, Ok(()));
    let again = site.put("c", bytes()).await.unwrap_err();
    assert!(again.is_away() && again.to_string().contains("said to be there"), "{again}");
}
