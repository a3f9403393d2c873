//! A further site fetches what the home site has: files by name, each checked against its SHA-256, then the manifest that names them, in the order
//! of the chain. So what stands there is always an archive of its own, only an older one. Needs no tenant's key.

use super::Result;
use super::chain::{Archive, is_in};
use super::load::{collected, load};
use super::manifest::keep::{CollectedSpan, TombDone};
use super::manifest::log::{CloseMarker, Receipt};
use super::manifest::{self, MANIFEST_BYTES_MAX, sha256};
use super::naming::{Generation, Name, SnapshotId, TickEnd, prefix};
use super::retain::policy::Policy;
use super::site::{AtOnce, Pace, Site, SiteError};
use super::tick::check_content;
use super::verify::part;
use bytes::Bytes;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::sealed::Sealer;
use raft::types::GroupId;
use std::collections::BTreeSet;

/// Bytes of an object that is fetched whole.
const OBJECT_BYTES_MAX: u64 = 1 << 32;
/// Seconds of an hour.
const HOUR_S: u64 = 3_600;

/// What is fetched, and how far it is.
#[derive(Default)]
pub struct Puller {
    /// Every marker up to this tick is there, in the newest life line.
    done: Option<(Generation, TickEnd)>,
    /// Snapshots that are there whole, or that the site does not keep.
    snapshots: BTreeSet<SnapshotId>,
    /// What the site keeps: it fetches nothing that it would let go at once.
    policy: Policy,
    /// Of the log, what the site has let go.
    collected: Vec<CollectedSpan>,
    /// The marker that was put last, until its receipt is at home.
    unreceipted: Option<(TickEnd, Generation)>,
    /// Bytes fetched.
    pub bytes: u64,
    /// Markers fetched.
    pub markers: u64,
}

async fn manifest_at(site: &Site, name: &Name) -> Result<Bytes> {
    Ok(site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await?)
}

async fn is_there(site: &Site, name: &Name) -> Result<Option<u64>> {
    match site.size(&name.to_string()).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(SiteError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Puller {
    /// One for a site that keeps what `policy` says.
    #[must_use]
    pub fn of(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Up to where the site has every marker of a life line.
    #[must_use]
    pub fn upto(&self, generation: Generation) -> Option<Stamp> {
        self.done.filter(|(of, _)| *of == generation).map(|(_, end)| end.upto())
    }

    /// A site that begins later than the home site does not lack what that has let go before.
    async fn begin(&mut self, from: &Site, to: &Site, sealer: &Sealer) -> Result<()> {
        let (key, cluster) = (sealer.public_key()?, sealer.cluster());
        let genesis = manifest_at(from, &Name::Genesis).await?;
        Archive::begin(cluster, Some(key), &genesis)?;
        to.put(&Name::Genesis.to_string(), genesis).await?;
        if to.list(prefix::MARKERS).await?.is_empty() {
            let collected = collected(from, cluster, key).await?;
            let name = Name::TombDone(TickEnd::default(), [0; 8]);
            let done = TombDone { collected, ..TombDone::default() };
            if !done.collected.is_empty() {
                match to.put(&name.to_string(), manifest::seal(sealer, &name, &done)?.into()).await {
                    Ok(()) | Err(SiteError::Taken { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.collected = collected(to, cluster, key).await?;
        // Whoever put the last marker may have died before it said so at home.
        let there =
            to.list(prefix::MARKERS).await?.into_iter().filter_map(|one| match Name::parse(&one.name) {
                Some(Name::Marker(end, generation)) => Some((generation, end)),
                _ => None,
            });
        self.unreceipted = there.max().map(|(generation, end)| (end, generation));
        Ok(())
    }

    /// Says at home that the last marker is here, if that is not said yet.
    async fn receipt(&mut self, from: &Site, to: &Site, sealer: &Sealer) -> Result<()> {
        let Some((end, generation)) = self.unreceipted else { return Ok(()) };
        let receipt = Name::Receipt(to.name().clone(), end, generation);
        if is_there(from, &receipt).await?.is_none() {
            let name = Name::Marker(end, generation);
            let bytes = manifest_at(to, &name).await?;
            let marker: CloseMarker = manifest::open(&sealer.public_key()?, sealer.cluster(), &name, &bytes)?;
            let body = Receipt { marker: sha256(&bytes).to_vec(), made_ms: marker.planned_ms };
            from.put(&receipt.to_string(), manifest::seal(sealer, &receipt, &body)?.into()).await?;
        }
        self.unreceipted = None;
        Ok(())
    }

    /// Fetches what `to` lacks of what `from` has. After an error it goes on where it was when it is called again.
    ///
    /// # Errors
    /// `Site`: one of them is away. `Engine`: an object of `from` is not what its manifest says; it is named, and not taken.
    pub async fn pull(&mut self, from: &Site, to: &Site, sealer: &Sealer) -> Result<()> {
        self.pull_at(from, to, sealer, &AtOnce).await
    }

    /// The same; snapshots at this pace.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn pull_at(&mut self, from: &Site, to: &Site, sealer: &Sealer, pace: &dyn Pace) -> Result<()> {
        if self.done.is_none() {
            self.begin(from, to, sealer).await?;
        }
        self.receipt(from, to, sealer).await?;
        for below in [prefix::GENERATIONS, prefix::GAPS] {
            let there: BTreeSet<String> = to.list(below).await?.into_iter().map(|one| one.name).collect();
            for one in from.list(below).await?.into_iter().filter(|one| !there.contains(&one.name)) {
                to.put(&one.name, from.get(&one.name, MANIFEST_BYTES_MAX as u64).await?).await?;
            }
        }
        for (end, generation) in self.missing(from, to).await? {
            self.pull_marker(from, to, sealer, (end, generation)).await?;
            self.done = self.done.max(Some((generation, end)));
        }
        self.pull_snapshots(from, to, sealer, pace).await
    }

    /// Markers that `from` has and `to` lacks, in the order of the chain.
    async fn missing(&self, from: &Site, to: &Site) -> Result<Vec<(TickEnd, Generation)>> {
        let below: Vec<String> = match self.done {
            None => vec![prefix::MARKERS.to_owned()],
            // The hour of the last one, and those behind it.
            Some((_, TickEnd(done))) => {
                let newest = from.list(&prefix::markers_of_hour(TickEnd(done + HOUR_S))).await?;
                let mut hours = vec![prefix::markers_of_hour(TickEnd(done))];
                if !newest.is_empty() {
                    hours.push(prefix::markers_of_hour(TickEnd(done + HOUR_S)));
                }
                hours
            }
        };
        let mut missing = BTreeSet::new();
        for below in below {
            let there: BTreeSet<String> = to.list(&below).await?.into_iter().map(|one| one.name).collect();
            let lacks = from.list(&below).await?.into_iter().filter(|one| !there.contains(&one.name));
            missing.extend(lacks.filter_map(|one| match Name::parse(&one.name) {
                Some(Name::Marker(end, generation)) if !is_in(&self.collected, end.upto()) => {
                    Some((generation, end))
                }
                _ => None,
            }));
        }
        Ok(missing.into_iter().map(|(generation, end)| (end, generation)).collect())
    }

    async fn pull_object(
        &mut self,
        from: &Site,
        to: &Site,
        (name, bytes, digest): (&Name, u64, [u8; 32]),
    ) -> Result<()> {
        if is_there(to, name).await? == Some(bytes) {
            return Ok(());
        }
        let found = from.get(&name.to_string(), OBJECT_BYTES_MAX).await?;
        check_content(name, &found, bytes, &digest)?;
        to.put(&name.to_string(), found).await?;
        self.bytes += bytes;
        Ok(())
    }

    async fn pull_marker(
        &mut self,
        from: &Site,
        to: &Site,
        sealer: &Sealer,
        (end, generation): (TickEnd, Generation),
    ) -> Result<()> {
        let name = Name::Marker(end, generation);
        let bytes = manifest_at(from, &name).await?;
        let marker: CloseMarker = manifest::open(&sealer.public_key()?, sealer.cluster(), &name, &bytes)?;
        for file in &marker.files {
            let object = Name::TickFile(file.name()?);
            self.pull_object(from, to, (&object, file.bytes, file.digest()?)).await?;
        }
        to.put(&name.to_string(), bytes).await?;
        self.markers += 1;
        self.unreceipted = Some((end, generation));
        self.receipt(from, to, sealer).await
    }

    /// Notes the snapshots that the site would let go at once.
    fn pass_over(&mut self, archive: &Archive) {
        let newest = archive.markers().keys().map(|(_, end)| end.0).max().unwrap_or(0);
        let edge = TickEnd(newest.saturating_sub(self.policy.log_s.max(self.policy.young_s())));
        let whole: BTreeSet<SnapshotId> = archive.snapshots().into_keys().collect();
        let points = self.policy.points_of(whole.union(&self.snapshots).copied());
        let base = whole.iter().rev().find(|id| id.cut <= edge);
        let pinned = |id: &SnapshotId| {
            let text = id.to_string();
            archive.pins().values().any(|(_, pin)| pin.snapshots.contains(&text))
        };
        let stays = |id: &SnapshotId| {
            let is_recent = self.policy.keeps_all || id.cut > edge || Some(id) == base;
            is_recent || points.contains_key(id) || pinned(id)
        };
        let passed: Vec<SnapshotId> = whole.iter().filter(|id| !stays(id)).copied().collect();
        self.snapshots.extend(passed);
    }

    async fn pull_snapshots(
        &mut self,
        from: &Site,
        to: &Site,
        sealer: &Sealer,
        pace: &dyn Pace,
    ) -> Result<()> {
        let done = |one: super::site::Listed| match Name::parse(&one.name) {
            Some(Name::SnapshotDone(id)) => Some(id),
            _ => None,
        };
        let whole: BTreeSet<SnapshotId> =
            from.list(prefix::SNAPSHOTS).await?.into_iter().filter_map(done).collect();
        if whole.is_subset(&self.snapshots) {
            return Ok(());
        }
        self.snapshots.extend(to.list(prefix::SNAPSHOTS).await?.into_iter().filter_map(done));
        let archive = load(from, sealer.cluster(), Some(sealer.public_key()?)).await?;
        self.pass_over(&archive);
        for (id, one) in archive.snapshots() {
            if self.snapshots.contains(&id) {
                continue;
            }
            // Twice: what was there at first is looked at once more before anything counts on it.
            for row in [&one.done.parts[..], &one.done.parts[..]].concat() {
                let group = GroupId(row.group);
                for file in part(from, &archive, id, group).await??.files {
                    let digest = file.digest()?;
                    let name = Name::Data(digest);
                    if is_there(to, &name).await? != Some(file.bytes) && !pace.wait(file.bytes).await {
                        return Ok(());
                    }
                    self.pull_object(from, to, (&name, file.bytes, digest)).await?;
                }
            }
            for row in &one.done.parts {
                let group = GroupId(row.group);
                let name = Name::SnapshotPart(id, group);
                to.put(&name.to_string(), manifest_at(from, &name).await?).await?;
            }
            for name in [Name::SnapshotOpen(id), Name::SnapshotDone(id)] {
                to.put(&name.to_string(), manifest_at(from, &name).await?).await?;
            }
            self.snapshots.insert(id);
        }
        let broken = whole.difference(&self.snapshots).next();
        broken.map_or(Ok(()), |id| {
            let damage = Damage::of(Nature::Missing, "the snapshot is not whole at the home site");
            Err(damage.at(Name::SnapshotDone(*id)).into())
        })
    }
}

#[cfg(test)]
mod tests;
