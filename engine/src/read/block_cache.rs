//! Opened blocks in memory, shared by all tablets, bounded in bytes. Blocks and filters that leave are wiped by their own drop.

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something the cache can hold: cheap to clone, and knows its size.
pub trait Cached: Clone {
    /// Bytes it keeps in memory.
    fn weight(&self) -> usize;
}

#[derive(Clone)]
struct ByWeight;

impl<V: Cached> Weighter<(u64, u32), V> for ByWeight {
    fn weight(&self, _: &(u64, u32), value: &V) -> u64 {
        value.weight() as u64 + ENTRY_BYTES
    }
}

/// Bytes the cache itself spends on an entry.
const ENTRY_BYTES: u64 = 96;
/// What an entry is expected to weigh: only to size the cache's own tables.
const EXPECTED_BYTES: usize = 8 << 10;

/// Opened blocks, by table and block number.
pub struct BlockCache<V: Cached> {
    cache: Cache<(u64, u32), V, ByWeight>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<V: Cached> BlockCache<V> {
    /// A cache that holds at most `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let cache = Cache::with_weighter(bytes / EXPECTED_BYTES + 16, bytes as u64, ByWeight);
        Self { cache, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The block, if it is here.
    pub fn get(&self, table: u64, block: u32) -> Option<V> {
        let found = self.cache.get(&(table, block));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps a block, for as long as there is room.
    pub fn insert(&self, table: u64, block: u32, value: V) {
        self.cache.insert((table, block), value);
    }

    /// Forgets every block.
    pub fn clear(&self) {
        self.cache.clear();
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Look-ups that found something.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Look-ups that found nothing.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    impl Cached for Arc<Vec<u8>> {
        fn weight(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn stays_within_its_bytes_and_counts() {
        let cache = BlockCache::new(1 << 20);
        for n in 0..1_000 {
            cache.insert(7, n, Arc::new(vec![0; 10_000]));
        }
        assert!(cache.bytes() <= 1 << 20, "{}", cache.bytes());
        let found = (0..1_000).filter(|n| cache.get(7, *n).is_some()).count();
        assert!((50..=105).contains(&found), "{found}");
        assert_eq!((cache.hits(), cache.misses()), (found as u64, 1_000 - found as u64));
        assert!(cache.get(8, 999).is_none());
    }
}
