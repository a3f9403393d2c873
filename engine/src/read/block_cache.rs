//! Opened blocks in memory, shared by all tablets, bounded in bytes. Blocks and filters that leave are wiped by their own drop.

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::hash::{BuildHasherDefault, Hasher};
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

/// Spreads table and block numbers. They are ours, so nobody can choose them to collide; and the same every time, so that what
/// the cache forgets follows from what was read.
#[derive(Clone, Copy, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        // Multiplied by the golden ratio, as in Knuth, The Art of Computer Programming, volume 3, 6.4.
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Spreading = BuildHasherDefault<Spread>;

/// Bytes the cache itself spends on an entry.
const ENTRY_BYTES: u64 = 96;
/// Pieces with a lock each: enough that readers on many cores seldom meet.
const SHARDS: usize = 64;
/// What an entry is expected to weigh: only to size the cache's own tables.
const EXPECTED_BYTES: usize = 8 << 10;

/// Opened blocks, by table and block number.
pub struct BlockCache<V: Cached> {
    cache: Cache<(u64, u32), V, ByWeight, Spreading>,
    next_table: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<V: Cached> BlockCache<V> {
    /// A cache that holds at most `bytes`, for about as many `threads` at once. With none but the caller's it is of one piece,
    /// and what it forgets is the same on every machine.
    #[must_use]
    pub fn new(bytes: usize, threads: usize) -> Self {
        let options = OptionsBuilder::new()
            .shards(if threads == 0 { 1 } else { SHARDS })
            .estimated_items_capacity(bytes / EXPECTED_BYTES + 16)
            .weight_capacity(bytes as u64)
            .build()
            .expect("all that options need is set");
        let cache = Cache::with_options(options, ByWeight, Spreading::default(), DefaultLifecycle::default());
        let zero = || AtomicU64::new(0);
        Self { cache, next_table: zero(), hits: zero(), misses: zero() }
    }

    /// A number for a table that no other table of this cache has or had.
    pub fn number_table(&self) -> u64 {
        self.next_table.fetch_add(1, Ordering::Relaxed)
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
        let cache = BlockCache::new(1 << 20, 0);
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
