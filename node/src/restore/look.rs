//! Looks into the archive without a restore: a tenant as it was, key by key, where the history of the cluster does not reach. What a look needs
//! is fetched once and kept for a while, so that the next one is quick; one look is fetched at a time.

use super::archive::sources;
use super::fetch::{FetchError, Gathered, Workshop, clear};
use crate::archive::window::{Scope, window};
use crate::limits;
use crate::refused::Refused;
use crate::server::Server;
use crate::surroundings;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::tablet::history::History;
use engine::tablet::view::{Found, Page, Scan, ScanCursor};
use proto::errors::code;
use raft::time::BootClock as _;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Mutex;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The tenant as of a stamp.
    AsOf(Stamp),
    /// All versions behind a stamp; of [`Stamp::ZERO`]: behind the first that can be restored.
    Since(Stamp),
}

/// Where looked-at files lie. They go with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = clear(&*surroundings::disk(&self.0), &self.0) {
            tracing::warn!(%error, "what was fetched of an archive is not removed");
        }
    }
}

/// What is seen of a tenant in the archive.
pub struct Seen {
    gathered: Gathered,
    at: Stamp,
    // Dropped behind what reads its files.
    _folder: Arc<Folder>,
}

struct Kept {
    tenant: TenantId,
    look: Look,
    seen: Arc<Seen>,
    used_ms: u64,
}

#[derive(Default)]
struct State {
    folder: Weak<Folder>,
    folders: u64,
    kept: Vec<Kept>,
}

/// Looks of one node.
#[derive(Default)]
pub struct Looks(Mutex<State>);

impl Seen {
    /// The stamp up to which it is seen.
    #[must_use]
    pub fn at(&self) -> Stamp {
        self.at
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`.
    pub fn get(&self, place: (TenantId, CollectionId), key: &[u8]) -> engine::Result<Option<Found>> {
        self.gathered.loose().get(place, key, self.at)
    }

    /// A page of a scan forward.
    ///
    /// # Errors
    /// As [`Seen::get`].
    pub fn scan(&self, scan: &Scan, resume: Option<&ScanCursor>) -> engine::Result<Page> {
        self.gathered.loose().scan(scan, resume, self.at)
    }

    /// The events of a key at or before a stamp, newest first.
    ///
    /// # Errors
    /// As [`Seen::get`].
    pub fn history(
        &self,
        place: (TenantId, CollectionId),
        key: &[u8],
        (at, limit): (Stamp, usize),
    ) -> engine::Result<History> {
        self.gathered.loose().history(place, key, (at.min(self.at), limit))
    }
}

impl Server {
    /// Looks into the archive at a tenant of now. Waits at most `wait_ms`; what was fetched by then need not be fetched again.
    ///
    /// # Errors
    /// `TARGET_UNREACHABLE`: nothing is archived, or it does not reach. `READ_TOO_LARGE`. `DEADLINE`. What the archive says.
    pub async fn look(
        self: &Arc<Self>,
        tenant: TenantId,
        look: Look,
        wait_ms: u64,
    ) -> Result<Arc<Seen>, Refused> {
        if let Look::AsOf(at) = look {
            self.door()?.check_born(tenant, at)?;
        }
        let looked = tokio::time::timeout(Duration::from_millis(wait_ms), self.looked(tenant, look)).await;
        looked.map_err(|_| {
            Refused::new(code::DEADLINE).saying("the archive is still being fetched: ask again")
        })?
    }

    async fn looked(self: &Arc<Self>, tenant: TenantId, look: Look) -> Result<Arc<Seen>, Refused> {
        let mut state = self.looks.0.lock().await;
        let now_ms = self.clock.monotonic_ms();
        state.let_go(now_ms);
        if let Some(kept) = state.kept.iter_mut().find(|one| (one.tenant, one.look) == (tenant, look)) {
            kept.used_ms = now_ms;
            return Ok(kept.seen.clone());
        }
        let folder = state.folder(&self.folder.join("looks"))?;
        let seen = Arc::new(self.fetched(tenant, look, folder).await?);
        if state.kept.len() >= limits::LOOKS_MAX {
            let oldest = state.kept.iter().enumerate().min_by_key(|(_, one)| one.used_ms).map(|(at, _)| at);
            oldest.map(|at| state.kept.swap_remove(at));
        }
        state.kept.push(Kept { tenant, look, seen: seen.clone(), used_ms: now_ms });
        let server = Arc::downgrade(self);
        self.tasks.spawn("looks", let_go_later(server));
        Ok(seen)
    }

    async fn fetched(&self, tenant: TenantId, look: Look, folder: Arc<Folder>) -> Result<Seen, FetchError> {
        let none = || FetchError::Engine(engine::Error::Invalid("nothing is archived"));
        let sources = sources(self).await?.ok_or_else(none)?;
        let (from, at) = match look {
            Look::AsOf(at) => (None, at),
            Look::Since(since) => {
                let scope = Scope { groups: None, tenants: Some([tenant].into()) };
                let last = window(&sources.archive, &scope).spans.last().copied().ok_or_else(none)?;
                (Some(since.max(last.from).min(last.upto)), last.upto)
            }
        };
        let sealer = self.keys().sealer().clone();
        let shop = Workshop { disk: surroundings::disk(&folder.0), folder: folder.0.clone(), sealer };
        let tenants = BTreeSet::from([tenant]);
        let gathered = sources.gather_within(&shop, &tenants, (from, at), limits::LOOK_BYTES_MAX).await?;
        Ok(Seen { gathered, at, _folder: folder })
    }
}

async fn let_go_later(server: Weak<Server>) {
    tokio::time::sleep(Duration::from_millis(limits::LOOK_KEPT_MS + 1)).await;
    if let Some(server) = server.upgrade() {
        let now_ms = server.clock.monotonic_ms();
        server.looks.0.lock().await.let_go(now_ms);
    }
}

impl State {
    fn let_go(&mut self, now_ms: u64) {
        self.kept.retain(|one| now_ms.saturating_sub(one.used_ms) < limits::LOOK_KEPT_MS);
    }

    /// The folder of the looks that are kept, or a new one; what an earlier start has left there goes.
    fn folder(&mut self, below: &std::path::Path) -> Result<Arc<Folder>, Refused> {
        if let Some(folder) = self.folder.upgrade() {
            return Ok(folder);
        }
        let folder = below.join(format!("{:x}", self.folders));
        self.folders += 1;
        clear(&*surroundings::disk(&folder), &folder)?;
        let folder = Arc::new(Folder(folder));
        self.folder = Arc::downgrade(&folder);
        Ok(folder)
    }
}
