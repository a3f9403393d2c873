//! Pure: how large everything of a node is: so small that all that happens to a node happens every few seconds.

use crate::seed::Swarm;
use engine::tablet::pool::PoolConfig;
use raft::log::LogConfig;

/// Of a node's log.
#[must_use]
pub fn log(swarm: &Swarm) -> LogConfig {
    let segment_bytes = swarm.segment_bytes.max(256 << 10);
    LogConfig {
        segment_bytes,
        write_bytes: 64 << 10,
        cache_bytes: 16 << 10,
        segments_kept: 3,
        entry_bytes_max: 100 << 10,
        groups_max: 16,
        peers_max: 16,
        ..LogConfig::new("/log")
    }
}

/// Of its tablets.
#[must_use]
pub fn pool(swarm: &Swarm) -> PoolConfig {
    let memtable = usize::try_from(swarm.memtable_bytes).unwrap_or(64 << 10).max(4 << 10);
    PoolConfig {
        threads: 0,
        memtable_bytes: (memtable * 16).max(256 << 10),
        memtable_bytes_per_tablet: memtable,
        cache_bytes: 1 << 20,
        ..PoolConfig::new("/pool")
    }
}
