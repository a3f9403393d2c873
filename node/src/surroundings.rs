//! What a node finds where it runs: its disk, its catalog, the threads that work for it. In a simulation all of it is pretended
//! (`simulated.rs`).

use crate::archive::site::{SiteError, Store};
#[cfg(feature = "simulated")]
use crate::simulated::world;
use engine::catalog::SledCatalog;
use engine::disk::{Disk, RealDisk};
use engine::tablet::pool::{CatalogOpener, Parts, Pool, PoolConfig};
use raft::log::{Log, LogConfig, LogThread};
use raft::stats::Stats;
use std::path::Path;
use std::sync::Arc;

/// The disk on which a path lies.
#[must_use]
pub fn disk(at: &Path) -> Arc<dyn Disk> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return world.disk(at);
    }
    let _ = at;
    Arc::new(RealDisk)
}

/// Opens the catalog of the node whose folder this is.
#[must_use]
pub fn catalog(at: &Path) -> CatalogOpener {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return world.catalog(at);
    }
    let _ = at;
    SledCatalog::opener()
}

/// The folder of a site.
///
/// # Errors
/// What `open` says.
pub fn site(
    at: &Path,
    open: impl FnOnce() -> Result<Arc<dyn Store>, SiteError>,
) -> Result<Arc<dyn Store>, SiteError> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return Ok(world.site(at));
    }
    let _ = at;
    open()
}

/// Opens the pool of the node whose folder this is, with the threads that work for it.
///
/// # Errors
/// As [`Pool::open`].
pub fn pool(at: &Path, config: PoolConfig, parts: Parts) -> engine::Result<Arc<Pool>> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        let pool = Pool::open(PoolConfig { threads: 0, ..world.pool_config(config) }, parts)?;
        world.work(at, &pool);
        return Ok(pool);
    }
    let _ = at;
    Pool::open(config, parts)
}

/// Where a node counts. What takes how long is measured, but in a simulation.
#[must_use]
pub fn stats() -> Arc<Stats> {
    #[cfg(feature = "simulated")]
    if world().is_some() {
        return Arc::default();
    }
    Arc::new(Stats::timed(crate::clock::monotonic_us))
}

/// How the log of a node is to be.
#[must_use]
pub fn log_config(config: LogConfig) -> LogConfig {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return world.log_config(config);
    }
    config
}

/// Lets the log of the node whose folder this is be written: by a thread, which is given back.
///
/// # Errors
/// The system has no thread.
pub fn write_log(at: &Path, log: &Arc<Log>) -> raft::Result<Option<LogThread>> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        world.write_log(at, log);
        return Ok(None);
    }
    let _ = at;
    Ok(Some(LogThread::start(log.clone())?))
}
