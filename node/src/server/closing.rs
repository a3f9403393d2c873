//! Closing ticks: whoever leads the meta group plans the next marker in it, then puts it. The bytes follow from the plan, so whoever goes on
//! after a crash puts the same, and of two who close at once both put the same. Wrapped keys are kept by the same node, whenever they change.

use super::Server;
use crate::archive::manifest::keyring::{KeyKept, Keyring};
use crate::archive::manifest::{self, sha256};
use crate::archive::naming::{Generation, Name, TickEnd};
use crate::archive::site::{Site, SiteError};
use crate::archive::{Result, closed, closing};
use crate::limits::{ARCHIVE_LOOK_MS, CHANGE_MS};
use crate::meta::archive_change::ArchiveChange;
use crate::meta::archive_row::CloserRow;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::view::MetaView;
use crate::takeover;
use crate::takeover::generation::Told;
use crate::takeover::row::GenerationRow;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::NodeId;
use engine::sealed::Sealer;
use raft::time::BootClock;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What a closer knows from one look to the next.
#[derive(Default)]
struct Closer {
    /// The archive has begun.
    has_begun: bool,
    /// Version of the plan whose marker is put, and the SHA-256 of that.
    put: Option<(u64, [u8; 32])>,
    /// SHA-256 of the keys that are kept.
    kept: Option<[u8; 32]>,
}

impl Server {
    /// Closes ticks whenever the meta group is led here, until the tasks end.
    pub(super) async fn close_ticks(self: Arc<Self>) {
        let mut closer = Closer::default();
        loop {
            tokio::time::sleep(Duration::from_millis(ARCHIVE_LOOK_MS)).await;
            let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
            let is_led_here =
                self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads));
            if !is_led_here || self.clock.is_disputed() || self.meta().cluster.is_none() {
                closer = Closer::default();
                continue;
            }
            let closed = self.close_tick(&mut closer).await.map_err(|error| with_sources(&error)).err();
            let kept = self.keep_keys(&mut closer).await.map_err(|error| with_sources(&error)).err();
            self.archiving.note(|known| {
                if closed.is_some() && known.close_failure != closed {
                    tracing::warn!(why = closed, "a tick of the archive is not closed: it is tried again");
                }
                if kept.is_some() && known.keyring_failure != kept {
                    tracing::warn!(why = kept, "the keys of the cluster are not kept: it is tried again");
                }
                (known.close_failure, known.keyring_failure) = (closed, kept);
            });
        }
    }

    async fn close_tick(&self, closer: &mut Closer) -> Result<()> {
        let (meta, home) = (self.meta(), self.archiving.home(self)?);
        let generation = self.running().map_or(1, |running| running.parts().cluster.1);
        if !closer.has_begun {
            let row = meta.generations.get(&generation);
            if generation > 1 && row.is_none() {
                // How it began is not known here yet.
                return Ok(());
            }
            let (tick_s, generation) = (self.archiving.tick_s(), Generation(generation));
            closed::begin(&home, self.keys.sealer(), tick_s, generation).await?;
            if let Some(other) = taken(&home, self.keys.sealer(), row).await? {
                let generation = generation.0;
                tracing::error!(generation, by = %other, "the archive goes on with another node's generation of this number");
                self.generations.give_way(Told { generation, node: other, heard_ms: 0 });
                return Ok(());
            }
            closer.has_begun = true;
        }
        // A marker that was planned before a takeover is of a generation that has ended: what it names is archived anew, as far as it counts.
        let own = meta.closer.as_ref().filter(|row| row.generation == generation);
        if let Some(row) = own.filter(|row| closer.put.is_none_or(|(put, _)| put != row.version)) {
            let digest = closed::put_marker(&home, self.keys.sealer(), row, &meta.reports).await?;
            closer.put = Some((row.version, digest));
            self.archiving.note(|known| known.markers += 1);
        }
        let now_ms = self.clock.now_ms();
        let grace_ms = self.archiving.config.tick.ms() / 5;
        let end = TickEnd::before(now_ms.saturating_sub(grace_ms), self.archiving.tick_s());
        if meta.closer.as_ref().is_some_and(|row| end.0 <= row.end_s) {
            return Ok(());
        }
        let put = own.zip(closer.put.map(|(_, digest)| digest));
        let alive: BTreeSet<GroupId> = meta.shards.keys().copied().collect();
        let next = closing::next(put, &meta.reports, &alive, (generation, end, self.node, now_ms));
        let next = CloserRow { version: meta.closer.as_ref().map_or(0, |row| row.version) + 1, ..next };
        let version = next.version;
        let command = MetaCommand::new(vec![Change::Archive(ArchiveChange::PlanMarker(next))]);
        match self.change(command, CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => {}
            // Somebody else has planned one: the next look sees it.
            other => tracing::debug!(version, ?other, "no marker is planned now"),
        }
        let _ = self.refresh(CHANGE_MS).await;
        Ok(())
    }

    /// Keeps the wrapped keys as they are now, if they have changed since they were kept.
    async fn keep_keys(&self, closer: &mut Closer) -> Result<()> {
        let Some(site) = self.archiving.keyring(self)? else { return Ok(()) };
        let meta = self.meta();
        let (root, keys) = (self.held.shared(), kept(&meta));
        let authority = meta.cluster.as_ref().map(|row| row.sealed_ca_key.clone()).unwrap_or_default();
        let mut body = Keyring { root: root.encode(), keys, authority, made_ms: 0 };
        let digest = sha256(&prost::Message::encode_to_vec(&body));
        if closer.kept == Some(digest) {
            return Ok(());
        }
        body.made_ms = self.clock.now_ms();
        let version = root.cluster_keys.last().map_or(0, |key| key.version);
        let name = Name::Keyring(version, meta.version);
        let bytes = manifest::seal(self.keys.sealer(), &name, &body)?;
        match site.put(&name.to_string(), bytes.into()).await {
            // The same rows, kept by who led before.
            Ok(()) | Err(SiteError::Taken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        closer.kept = Some(digest);
        Ok(())
    }
}

/// All keys of the meta group that are not destroyed.
fn kept(meta: &MetaView) -> Vec<KeyKept> {
    let rows = meta.key_rows().into_iter().filter(|row| !row.key.wrapped.is_empty());
    let one = |row: crate::keys::KeyRow| KeyKept {
        owner_kind: u32::from(row.key.name.owner.kind()),
        owner: row.key.name.owner.id(),
        purpose: row.key.name.purpose as u32,
        epoch: row.key.name.epoch.0,
        state: u32::from(crate::meta::key_row::state(row.state).number()),
        wrapped_by: row.wrapped_by.0,
        wrapped: row.key.wrapped,
    };
    rows.map(one).collect()
}

/// Tells the archive how a generation began that has taken over. Returns the node with which it began, if that is another than the rows say:
/// a takeover without an archive that answered is told now, and of two takers the second gives way.
async fn taken(home: &Site, sealer: &Sealer, row: Option<&GenerationRow>) -> Result<Option<NodeId>> {
    let Some(row) = row else { return Ok(None) };
    let Some(other) = takeover::service::put_register(home, sealer, row).await? else { return Ok(None) };
    let nobody = engine::Error::Invalid("the register of this generation names no node");
    let other = takeover::service::node_of(&other).ok_or(nobody)?;
    let twice = "this node has taken the number of the generation before, and as of another moment";
    if other == row.node { Err(engine::Error::Invalid(twice).into()) } else { Ok(Some(other)) }
}
