//! What a tablet must answer: every version of every key, in the open.

use super::{C, T1, T2};
use engine::Stamp;
use engine::ids::{LogIndex, TenantId};
use engine::key;
use engine::tablet::batch::Batch;
use std::collections::BTreeMap;

/// One write, as a test means it.
#[derive(Clone, Debug)]
pub enum Write {
    Put { tenant: TenantId, key: Vec<u8>, value: Vec<u8>, expires_ms: u64 },
    Delete { tenant: TenantId, key: Vec<u8> },
    DeleteRange { tenant: TenantId, start: Vec<u8>, end: Option<Vec<u8>> },
}

/// One entry of the log: writes with their stamps.
#[derive(Clone, Debug)]
pub struct LogEntry {
    pub index: LogIndex,
    pub writes: Vec<(Stamp, Write)>,
}

impl LogEntry {
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::new(self.index);
        for (stamp, write) in &self.writes {
            match write {
                Write::Put { tenant, key, value, expires_ms } => {
                    batch.put(*tenant, C, key, value, *stamp, *expires_ms)
                }
                Write::Delete { tenant, key } => batch.delete(*tenant, C, key, *stamp),
                Write::DeleteRange { tenant, start, end } => {
                    batch.delete_range(*tenant, C, start, end.as_deref(), *stamp)
                }
            }
            .unwrap();
        }
        batch.set_note(&self.index.0.to_be_bytes()).unwrap();
        batch
    }
}

/// What happened to a key, and when: a value with its expiry, or a deletion.
pub type Event = (Stamp, Option<(Vec<u8>, u64)>);

pub type Seen = (Vec<u8>, Stamp, Vec<u8>);

/// Every write ever applied.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    pub writes: Vec<(Stamp, Write)>,
}

impl Oracle {
    pub fn apply(&mut self, entry: &LogEntry) {
        self.writes.extend(entry.writes.iter().cloned());
    }

    /// Events of a key, oldest first: value or deletion.
    pub fn events(&self, of: TenantId, key: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for (stamp, write) in &self.writes {
            match write {
                Write::Put { tenant, key: k, value, expires_ms } if *tenant == of && k == key => {
                    events.push((*stamp, Some((value.clone(), *expires_ms))));
                }
                Write::Delete { tenant, key: k } if *tenant == of && k == key => events.push((*stamp, None)),
                Write::DeleteRange { tenant, start, end }
                    if *tenant == of
                        && key >= &start[..]
                        && end.as_ref().is_none_or(|end| key < &end[..]) =>
                {
                    events.push((*stamp, None));
                }
                _ => {}
            }
        }
        events
    }

    pub fn get(&self, tenant: TenantId, key: &[u8], at: Stamp, now_ms: u64) -> Option<(Stamp, Vec<u8>)> {
        let events = self.events(tenant, key);
        let (stamp, value) = events.into_iter().rev().find(|(stamp, _)| *stamp <= at)?;
        let (value, expires_ms) = value?;
        (expires_ms == 0 || expires_ms > now_ms).then_some((stamp, value))
    }

    pub fn keys(&self, of: TenantId) -> Vec<Vec<u8>> {
        let key = |(_, write): &(Stamp, Write)| match write {
            Write::Put { tenant, key, .. } if *tenant == of => Some(key.clone()),
            _ => None,
        };
        let mut keys: Vec<_> = self.writes.iter().filter_map(key).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    pub fn scan(&self, tenant: TenantId, at: Stamp, now_ms: u64) -> Vec<Seen> {
        let seen =
            |key: Vec<u8>| self.get(tenant, &key, at, now_ms).map(|(stamp, value)| (key, stamp, value));
        self.keys(tenant).into_iter().filter_map(seen).collect()
    }
}

/// The row key of a test's key.
pub fn row(tenant: TenantId, user_key: &[u8]) -> Vec<u8> {
    key::row(tenant, C, user_key)
}

pub fn tenants() -> BTreeMap<u64, TenantId> {
    BTreeMap::from([(0, T1), (1, T2)])
}
