//! What a node has seen of the restores that it carries out: asked for findings and figures.

use super::told::{Figures, Watch};
use crate::finding::Finding;
use crate::meta::view::MetaView;
use crate::server::Server;
use engine::clock::Clock;
use raft::time::BootClock;
use std::sync::{MutexGuard, PoisonError};

impl Server {
    fn watched(&self) -> MutexGuard<'_, Watch> {
        self.restores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees how far restores are; nothing: the meta group is not led here.
    pub(super) fn watch_restores(&self, meta: Option<&MetaView>) {
        match meta {
            Some(meta) => self.watched().look(meta.restores.values(), self.clock.boot_ms()),
            None => self.watched().forget(),
        }
    }

    /// What a person should know of restores.
    pub(crate) fn restore_findings(&self) -> Vec<Finding> {
        let at = (self.clock.now_ms(), self.clock.boot_ms());
        self.watched().findings(self.meta().restores.values(), at)
    }

    /// Figures of restores, as metrics tell them.
    pub(crate) fn restore_figures(&self) -> Figures {
        let at = (self.clock.now_ms(), self.clock.boot_ms());
        self.watched().figures(self.meta().restores.values(), at)
    }
}
