//! Follows the meta group: whenever something is applied to it here, its rows are read again, and what they say is published. So every
//! room of the node sees one whole picture, and a newer one a moment later.

use super::view::MetaView;
use crate::running::replicas::Running;
use crate::shard::feed::Feeds;
use raft::machine::note::Note;
use raft::machine::{AppliedEntry, Feed};
use raft::types::GroupId;
use std::sync::Arc;
use tokio::sync::watch;

/// Hears of what is applied on this node. Clones hear the same.
#[derive(Clone)]
pub struct Changes {
    meta: watch::Sender<u64>,
    feeds: Feeds,
}

/// The newest picture of the meta group.
#[derive(Clone)]
pub struct Published(watch::Sender<Arc<MetaView>>);

impl Default for Changes {
    fn default() -> Self {
        Self { meta: watch::Sender::new(0), feeds: Feeds::default() }
    }
}

impl Default for Published {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }
}

impl Changes {
    /// What is applied, for those who watch.
    #[must_use]
    pub fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    fn note(&self, group: GroupId) {
        if group == GroupId::META {
            self.meta.send_modify(|number| *number += 1);
        }
    }
}

impl Feed for Changes {
    fn applied(&self, group: GroupId, entry: &AppliedEntry<'_>) {
        self.feeds.applied(group, entry);
        self.note(group);
    }

    fn installed(&self, group: GroupId, _: &Note) {
        self.feeds.installed(group);
        self.note(group);
    }
}

impl Published {
    /// The picture of now.
    #[must_use]
    pub fn now(&self) -> Arc<MetaView> {
        self.0.borrow().clone()
    }

    /// Hears of every newer one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<MetaView>> {
        self.0.subscribe()
    }

    /// Waits until a picture is so new that it holds the entry of `index`.
    pub async fn reaches(&self, index: u64) {
        // It ends only with the node.
        let _ = self.watch().wait_for(|view| view.version >= index).await;
    }
}

/// Reads the rows once, if the meta group is here.
///
/// # Errors
/// What the engine says; `Damaged`: a row makes no sense.
pub fn read(running: &Running) -> engine::Result<Option<MetaView>> {
    let Some(seated) = running.replica(GroupId::META) else { return Ok(None) };
    let machine = seated.receiver.group().machine();
    // What is applied afterwards is in the view as well: its number is one that is reached for certain.
    let version = machine.applied().applied.map_or(0, |id| id.index);
    let view = machine.tablet().view(running.parts().clock.wall_ms())?;
    MetaView::read(&view, version).map(Some)
}

/// Publishes every newer picture, until the node ends. `seen` is called with each before it is published.
pub async fn follow(running: Arc<Running>, changes: Changes, published: Published, seen: impl Fn(&MetaView)) {
    let mut heard = changes.meta.subscribe();
    loop {
        heard.mark_unchanged();
        match read(&running) {
            Ok(Some(view)) => {
                if view.version >= published.now().version {
                    seen(&view);
                    published.0.send_replace(Arc::new(view));
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(
                    cause = engine::error::with_sources(&error),
                    "the rows of the meta group cannot be read"
                );
            }
        }
        // A replica that comes here says nothing by itself.
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(500), heard.changed());
        if let Ok(Err(_)) = quiet.await {
            return;
        }
    }
}
