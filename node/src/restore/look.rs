//! Looks into the archive without a restore: a tenant as it was, key by key, where the history of the cluster does not reach. What a look needs
//! is fetched once and kept for a while, so that the next one is quick; one look is fetched at a time.

use super::archive::sources;
use super::fetch::{Gathered, Workshop, clear};
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
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

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

/// A look that is kept: what it has fetched, and what is seen once all of it is there.
struct Kept {
    tenant: TenantId,
    look: Look,
    folder: Arc<Folder>,
    seen: Option<Arc<Seen>>,
    /// Since when it counts as unused. A life of keys grows old from the beginning: what has come since stands in the archive alone one day.
    used_ms: u64,
}

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    /// Whose folders are in use: by a look that is kept, or by who still reads one that is not.
    slots: [Weak<Folder>; limits::LOOK_SLOTS],
    is_looked_after: bool,
}

/// Looks of one node.
#[derive(Default)]
pub struct Looks {
    state: Mutex<State>,
    /// Held by who fetches: one at a time.
    fetching: tokio::sync::Mutex<()>,
}

impl Looks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// Looks into the archive at a tenant that is served here. Waits at most `wait_ms`; what was fetched by then need not be fetched again.
    ///
    /// # Errors
    /// What is wrong with tenant, quota or routing. `TARGET_UNREACHABLE`: nothing is archived, or it does not reach. `READ_TOO_LARGE`. `OVERLOADED`.
    /// `DEADLINE`. What the archive says.
    pub async fn look(
        self: &Arc<Self>,
        tenant: TenantId,
        look: Look,
        wait_ms: u64,
    ) -> Result<Arc<Seen>, Refused> {
        self.door()?.may_look(tenant, look)?;
        let looked = tokio::time::timeout(Duration::from_millis(wait_ms), self.looked(tenant, look)).await;
        looked.map_err(|_| {
            Refused::new(code::DEADLINE).saying("the archive is still being fetched: ask again")
        })?
    }

    async fn looked(self: &Arc<Self>, tenant: TenantId, look: Look) -> Result<Arc<Seen>, Refused> {
        let known = |state: &mut State| state.known(tenant, look, self.clock.monotonic_ms());
        if let Some(seen) = known(&mut self.looks.state()) {
            return Ok(seen);
        }
        let _fetching = self.looks.fetching.lock().await;
        // Whoever was before may have fetched the same.
        if let Some(seen) = known(&mut self.looks.state()) {
            return Ok(seen);
        }
        let folder = self.looks.state().folder((tenant, look), &self.folder, self.clock.monotonic_ms())?;
        self.look_after_looks();
        let seen = Arc::new(self.fetched(tenant, look, folder).await?);
        if let Some(kept) = self.looks.state().find(tenant, look) {
            kept.seen = Some(seen.clone());
        }
        Ok(seen)
    }

    async fn fetched(&self, tenant: TenantId, look: Look, folder: Arc<Folder>) -> Result<Seen, Refused> {
        let none = || Refused::new(code::TARGET_UNREACHABLE).saying("nothing is archived");
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

    /// Sees to it that looks nobody uses any more are let go.
    fn look_after_looks(self: &Arc<Self>) {
        if std::mem::replace(&mut self.looks.state().is_looked_after, true) {
            return;
        }
        let server = Arc::downgrade(self);
        self.tasks.spawn("looks", async move {
            loop {
                tokio::time::sleep(Duration::from_millis(limits::LOOK_KEPT_MS)).await;
                let Some(server) = server.upgrade() else { return };
                let mut state = server.looks.state();
                state.let_go(server.clock.monotonic_ms());
                if state.kept.is_empty() {
                    state.is_looked_after = false;
                    return;
                }
            }
        });
    }
}

impl State {
    fn let_go(&mut self, now_ms: u64) {
        self.kept.retain(|one| now_ms.saturating_sub(one.used_ms) < limits::LOOK_KEPT_MS);
    }

    fn find(&mut self, tenant: TenantId, look: Look) -> Option<&mut Kept> {
        self.kept.iter_mut().find(|one| (one.tenant, one.look) == (tenant, look))
    }

    /// What is seen already.
    fn known(&mut self, tenant: TenantId, look: Look, now_ms: u64) -> Option<Arc<Seen>> {
        self.let_go(now_ms);
        let kept = self.find(tenant, look)?;
        if matches!(look, Look::AsOf(_)) {
            kept.used_ms = now_ms;
        }
        kept.seen.clone()
    }

    /// The folder of a look: the one it has begun to fill, or one that nobody uses, emptied of what an earlier start has left there.
    fn folder(
        &mut self,
        (tenant, look): (TenantId, Look),
        node: &Path,
        now_ms: u64,
    ) -> Result<Arc<Folder>, Refused> {
        if let Some(kept) = self.find(tenant, look) {
            return Ok(kept.folder.clone());
        }
        if self.kept.len() >= limits::LOOKS_MAX {
            let oldest = self.kept.iter().enumerate().min_by_key(|(_, one)| one.used_ms).map(|(at, _)| at);
            oldest.map(|at| self.kept.swap_remove(at));
        }
        let free = self.slots.iter_mut().enumerate().find(|(_, slot)| slot.strong_count() == 0);
        let (number, slot) =
            free.ok_or_else(|| Refused::new(code::OVERLOADED).after(limits::LOOK_RETRY_MS))?;
        let path = node.join("looks").join(number.to_string());
        clear(&*surroundings::disk(&path), &path)?;
        let folder = Arc::new(Folder(path));
        *slot = Arc::downgrade(&folder);
        self.kept.push(Kept { tenant, look, folder: folder.clone(), seen: None, used_ms: now_ms });
        Ok(folder)
    }
}
