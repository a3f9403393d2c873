//! What every store must do. A new one is done when this passes.

use super::{Created, Listed, SiteError, Store};
use bytes::Bytes;
use std::sync::Arc;

/// Runs the whole suite over an empty store.
///
/// # Panics
/// When the store breaks the contract.
pub async fn suite(store: &Arc<dyn Store>) {
    a_name_is_given_once(store).await;
    what_is_not_there_is_said_not_to_be(store).await;
    listings_are_whole_and_sorted(store).await;
    ranges_are_read(store).await;
    of_two_who_put_at_once_one_is_first(store).await;
}

async fn a_name_is_given_once(store: &Arc<dyn Store>) {
    let name = "once/2026-11-22/14/0505.g7.man";
    let put = |bytes: &'static [u8]| store.create(name, Bytes::from_static(bytes));
    assert_eq!(put(b"one").await, Ok(Created::New));
    assert_eq!(put(b"one").await, Ok(Created::Taken));
    assert_eq!(put(b"other").await, Ok(Created::Taken));
    assert_eq!(store.read(name, None).await.as_deref(), Ok(&b"one"[..]), "the first one stands");
    assert_eq!(store.sync(name).await, Ok(()));
    assert_eq!(store.delete(name).await, Ok(()));
    assert_eq!(store.delete(name).await, Ok(()), "gone is gone");
}

async fn what_is_not_there_is_said_not_to_be(store: &Arc<dyn Store>) {
    let absent = Err(SiteError::NotFound { name: "none/a".to_owned() });
    assert_eq!(store.read("none/a", None).await.map(drop), absent);
    assert_eq!(store.size("none/a").await.map(drop), absent);
    assert_eq!(store.list("none/").await, Ok(vec![]));
}

async fn listings_are_whole_and_sorted(store: &Arc<dyn Store>) {
    let names = ["list/a/1.man", "list/a/2.man", "list/a-b/1.man", "list/c.man", "listed/x.man"];
    for name in names.iter().rev() {
        assert_eq!(store.create(name, Bytes::from(name.len().to_string())).await, Ok(Created::New));
    }
    let listed = |names: &[&str]| -> Vec<Listed> {
        let mut all: Vec<Listed> =
            names.iter().map(|name| Listed { name: (*name).to_owned(), bytes: 2 }).collect();
        all.sort();
        all
    };
    assert_eq!(store.list("list/").await, Ok(listed(&names[..4])));
    assert_eq!(store.list("list/a/").await, Ok(listed(&names[..2])), "a folder, not a beginning");
    for name in names {
        store.delete(name).await.expect("what was put can be removed");
    }
    assert_eq!(store.list("list/").await, Ok(vec![]));
}

async fn ranges_are_read(store: &Arc<dyn Store>) {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    store.create("range/a", Bytes::from(bytes.clone())).await.expect("a free name");
    assert_eq!(store.size("range/a").await, Ok(100_000));
    let some = store.read("range/a", Some(70_001..70_004)).await;
    assert_eq!(some.as_deref(), Ok(&bytes[70_001..70_004]));
    store.delete("range/a").await.expect("what was put can be removed");
}

async fn of_two_who_put_at_once_one_is_first(store: &Arc<dyn Store>) {
    for round in 0..8 {
        let name = format!("race/{round}");
        let (a, b) = tokio::join!(
            store.create(&name, Bytes::from_static(b"a")),
            store.create(&name, Bytes::from_static(b"b"))
        );
        let winner = match (a, b) {
            (Ok(Created::New), Ok(Created::Taken)) => b"a",
            (Ok(Created::Taken), Ok(Created::New)) => b"b",
            other => panic!("one is first: {other:?}"),
        };
        assert_eq!(store.read(&name, None).await.as_deref(), Ok(&winner[..]));
        store.delete(&name).await.expect("what was put can be removed");
    }
}
