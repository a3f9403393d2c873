//! The sample shop: its records, as the file beside the code has them.

use super::super::Failure;
use bytes::Bytes;
use dewpond::{Client, Row, Stamp, Tenant};
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A JSON object a line: `collection`, `key`, `value`. `data/README.md` says where it comes from.
static LINES: &str = include_str!("../../../data/store.ndjson");
/// Records in one batch.
pub const BATCH: usize = 200;

/// Names a record: its collection and key.
pub type Place = (String, String);

/// All records, in the order of the file.
pub struct Store(Vec<(Place, Bytes)>);

#[derive(Deserialize)]
struct Line<'a> {
    collection: String,
    key: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// What a comparison finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Records that are there, with their value.
    pub same: usize,
    /// Records that are missing, or have another value.
    pub wrong: usize,
    /// Records that nobody has written.
    pub strange: usize,
}

impl Store {
    /// Reads the sample.
    ///
    /// # Errors
    /// A line is not what it should be.
    pub fn read() -> Result<Self, Failure> {
        let mut records = Vec::new();
        for text in LINES.lines() {
            let line: Line<'_> = serde_json::from_str(text)?;
            records.push(((line.collection, line.key), Bytes::copy_from_slice(line.value.get().as_bytes())));
        }
        Ok(Self(records))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The batches of an import.
    pub fn batches(&self) -> std::slice::Chunks<'_, (Place, Bytes)> {
        self.0.chunks(BATCH)
    }

    /// Records of one collection.
    pub fn of<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a (Place, Bytes)> {
        self.0.iter().filter(move |((of, _), _)| of == collection)
    }

    /// What no file may hold readably: where some customers live, and their addresses for mail.
    ///
    /// # Errors
    /// The sample is broken.
    pub fn secrets(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut found = Vec::new();
        for (_, value) in self.of("customers").take(8) {
            let customer: serde_json::Value = serde_json::from_slice(value)?;
            for field in ["Email", "Address"] {
                found.extend(customer[field].as_str().map(|text| text.as_bytes().to_vec()));
            }
        }
        Ok(found)
    }

    fn collections(&self) -> BTreeMap<&str, BTreeMap<&[u8], &Bytes>> {
        let mut all: BTreeMap<&str, BTreeMap<&[u8], &Bytes>> = BTreeMap::new();
        for ((collection, key), value) in &self.0 {
            all.entry(collection).or_default().insert(key.as_bytes(), value);
        }
        all
    }

    /// Reads every record of a tenant back, and compares.
    ///
    /// # Errors
    /// A read.
    pub async fn compare(&self, client: &Client, tenant: &str) -> Result<Compared, Failure> {
        let mut found = Compared::default();
        for (collection, mut wanted) in self.collections() {
            let mut rows = client.tenant(tenant).raw(collection).scan(..);
            while let Some(Row { key, version, .. }) = rows.try_next().await? {
                match wanted.remove(&key[..]) {
                    Some(value) if *value == version.value => found.same += 1,
                    Some(_) => found.wrong += 1,
                    None => found.strange += 1,
                }
            }
            found.wrong += wanted.len();
        }
        Ok(found)
    }
}

/// Writes one batch.
///
/// # Errors
/// The write.
pub async fn write(tenant: &Tenant, records: &[(Place, Bytes)]) -> dewpond::Result<Stamp> {
    let put = |batch: dewpond::Batch, ((collection, key), value): &(Place, Bytes)| {
        batch.put(collection, key, value.clone())
    };
    records.iter().fold(tenant.batch(), put).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_whole() {
        let store = Store::read().unwrap();
        assert_eq!(
            (store.count(), store.of("customers").count(), store.of("invoices").count()),
            (15_607, 59, 412)
        );
        assert_eq!(
            store.collections().values().map(BTreeMap::len).sum::<usize>(),
            15_607,
            "each key is there once"
        );
        assert_eq!(store.batches().map(<[_]>::len).sum::<usize>(), 15_607);
    }
}
