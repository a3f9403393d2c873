//! The two under comparison, to those who make the load.

use super::etcd;
use crate::Outcome;
use crate::engine::workload::{key, value};
use bytes::Bytes;
use dewpond::{Collection, Raw, Stamp, Tenant};
use std::ops::Range;

/// The collection of ours.
pub const COLLECTION: &str = "records";

/// One of them. Clones have their connections in common.
#[derive(Clone)]
pub enum Store {
    /// Ours.
    Ours(Tenant, Collection<Raw>),
    /// etcd.
    Etcd(etcd::Client),
}

/// Which version of a record a write left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u64);

impl Store {
    /// Writes a record.
    ///
    /// # Errors
    /// It is not known to be written.
    pub async fn put(&self, number: u64, value: Bytes) -> Outcome<Version> {
        match self {
            Self::Ours(_, records) => Ok(Version(records.put(key(number), value).await?.0)),
            Self::Etcd(client) => Ok(Version(client.put(&key(number), value).await?)),
        }
    }

    /// Reads a record, linearizably: the bytes of its value.
    ///
    /// # Errors
    /// No answer, or no such record.
    pub async fn get(&self, number: u64) -> Outcome<usize> {
        let found = match self {
            Self::Ours(_, records) => records.get(key(number)).await?.map(|found| found.value.len()),
            Self::Etcd(client) => client.get(&key(number)).await?.map(|value| value.len()),
        };
        found.ok_or_else(|| format!("record {number} is not there").into())
    }

    /// Writes a record if it is as `version` left it.
    ///
    /// # Errors
    /// It is not, or not known to be written.
    pub async fn swap(&self, number: u64, value: Bytes, version: Version) -> Outcome<Version> {
        match self {
            Self::Ours(_, records) => {
                let write = records.put(key(number), value).if_stamp(Stamp(version.0));
                Ok(Version(write.await?.0))
            }
            Self::Etcd(client) => {
                let swapped = client.swap(&key(number), value, version.0).await?;
                swapped.map(Version).ok_or_else(|| format!("record {number} is another one's").into())
            }
        }
    }

    /// Writes records all at once, each with a value of its own.
    ///
    /// # Errors
    /// They are not known to be written.
    pub async fn load(&self, numbers: Range<u64>) -> Outcome<()> {
        let rows = numbers.map(|number| (key(number), Bytes::copy_from_slice(&value(number, 0))));
        match self {
            Self::Ours(tenant, _) => {
                let batch =
                    rows.fold(tenant.batch(), |batch, (key, value)| batch.put(COLLECTION, key, value));
                batch.await?;
            }
            Self::Etcd(client) => {
                client.put_all(rows.map(|(key, value)| (Bytes::copy_from_slice(&key), value))).await?;
            }
        }
        Ok(())
    }
}
