//! The contract of a catalog as a suite that every implementation passes.

use super::{Catalog, Change};
use std::path::Path;

fn put(key: &[u8], value: &[u8]) -> Change {
    Change::Put { key: key.to_vec(), value: value.to_vec() }
}

fn remove(key: &[u8]) -> Change {
    Change::Remove { key: key.to_vec() }
}

/// Runs the suite in the empty folder `dir`; `open` opens the same catalog again each time it is called with the same folder.
///
/// # Panics
/// If the catalog breaks its contract.
pub fn suite<C: Catalog>(dir: &Path, open: impl Fn(&Path) -> C) {
    order_is_by_bytes(&open(&dir.join("order")));
    changes_of_a_commit_apply_in_order(&open(&dir.join("changes")));
    prefixes_end_where_they_should(&open(&dir.join("prefixes")));
    commits_outlive_the_catalog(&dir.join("reopen"), &open);
}

fn order_is_by_bytes(catalog: &dyn Catalog) {
    let keys: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a", b"a\xff", b"b"];
    let changes: Vec<_> = keys.iter().rev().map(|key| put(key, b"v")).collect();
    catalog.commit(&changes).expect("commit");
    let found: Vec<_> = catalog.scan(b"").expect("scan").into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, keys);
}

fn changes_of_a_commit_apply_in_order(catalog: &dyn Catalog) {
    catalog.commit(&[]).expect("an empty commit is one");
    catalog.commit(&[put(b"a", b"1"), put(b"a", b"2"), put(b"b", b"1"), remove(b"b")]).expect("commit");
    assert_eq!(catalog.get(b"a").expect("get").as_deref(), Some(&b"2"[..]));
    assert_eq!(catalog.get(b"b").expect("get"), None);
    catalog.commit(&[remove(b"a"), remove(b"never there"), put(b"a", b"")]).expect("commit");
    assert_eq!(catalog.get(b"a").expect("get").as_deref(), Some(&b""[..]));
}

fn prefixes_end_where_they_should(catalog: &dyn Catalog) {
    let rows = [put(b"\xfe", b"1"), put(b"\xff", b"2"), put(b"\xff\xff", b"3"), put(b"x", b"4")];
    catalog.commit(&rows).expect("commit");
    assert_eq!(catalog.scan(b"\xff").expect("scan").len(), 2);
    assert_eq!(catalog.scan(b"\xff\xff").expect("scan"), [(b"\xff\xff".to_vec(), b"3".to_vec())]);
    assert!(catalog.scan(b"y").expect("scan").is_empty());
}

fn commits_outlive_the_catalog<C: Catalog>(dir: &Path, open: impl Fn(&Path) -> C) {
    let large = vec![7; 1 << 20];
    let catalog = open(dir);
    catalog.commit(&[put(b"large", &large), put(b"small", b"s")]).expect("commit");
    catalog.commit(&[remove(b"small")]).expect("commit");
    drop(catalog);
    let catalog = open(dir);
    assert_eq!(catalog.get(b"large").expect("get").as_deref(), Some(&large[..]));
    assert_eq!(catalog.get(b"small").expect("get"), None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{MemoryCatalog, SledCatalog};
    use crate::disk::SimDisk;
    use crate::disk::sim::Faults;
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    #[test]
    fn sled_keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        suite(dir.path(), |path| SledCatalog::open(path).unwrap());
    }

    #[test]
    fn memory_keeps_the_contract() {
        let all: RefCell<BTreeMap<PathBuf, MemoryCatalog>> = RefCell::default();
        suite(Path::new("/"), |path| all.borrow_mut().entry(path.to_owned()).or_default().clone());
    }

    #[test]
    fn a_commit_that_a_crash_cuts_short_is_whole_or_absent() {
        let mut outcomes = [0, 0];
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            let catalog = MemoryCatalog::on(disk.clone());
            catalog.commit(&[put(b"old", b"1")]).unwrap();
            disk.set_faults(Faults { crash_at: Some(disk.operations() + 1), ..Faults::default() });
            assert!(catalog.commit(&[put(b"a", b"1"), put(b"b", b"1"), remove(b"old")]).is_err());
            assert!(catalog.get(b"old").is_err(), "a crashed node reads nothing");
            disk.restart();
            let whole = catalog.get(b"a").unwrap().is_some();
            assert_eq!(catalog.all().len(), if whole { 2 } else { 1 });
            outcomes[usize::from(whole)] += 1;
        }
        assert!(outcomes[0] > 5 && outcomes[1] > 5, "{outcomes:?}");
    }
}
