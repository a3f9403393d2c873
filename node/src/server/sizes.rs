//! Sizes and times of a node, as its configuration says them.

use crate::config;
use engine::tablet::pool::PoolConfig;
use raft::group::settings::Pace;
use raft::log::LogConfig;

/// Sizes of the log.
pub(crate) fn log_config(config: &config::Config, generation: u64) -> LogConfig {
    LogConfig {
        segment_bytes: config.node.log_segment.get(),
        generation,
        ..LogConfig::new(config.node.data_dir.join("log"))
    }
}

/// Sizes of the tablets' pool.
pub(crate) fn pool_config(config: &config::Config) -> PoolConfig {
    let size = |bytes: config::value::Bytes| usize::try_from(bytes.get()).unwrap_or(usize::MAX);
    PoolConfig {
        is_archived: !config.node.archive.sites.is_empty(),
        memtable_bytes: size(config.node.memtable),
        cache_bytes: size(config.node.cache),
        scrub_bytes_per_s: config.node.scrub_bytes.get(),
        ..PoolConfig::new(config.node.data_dir.join("pool"))
    }
}

/// Times of consensus.
pub(crate) fn pace(config: &config::Pace) -> Pace {
    Pace {
        heartbeat_ms: config.heartbeat.ms(),
        heartbeat_min_ms: config.heartbeat.ms() * 3 / 4,
        election_min_ms: config.election_min.ms(),
        election_max_ms: config.election_max.ms(),
        quorum_loss_ms: 2 * config.election_max.ms() + config.heartbeat.ms(),
        ..Pace::PRODUCTION
    }
}
