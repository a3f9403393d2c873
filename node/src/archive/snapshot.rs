//! Snapshots: one group's part, made of a checkpoint of its home replica; and what says that all parts are there.

use super::collect::is_version_left_out;
use super::manifest::snapshot::{
    DataFile, KeyNeeded, PartRow, SnapshotDone, SnapshotOpen, SnapshotPart, Stripe, TenantDigest,
};
use super::manifest::{self, MANIFEST_BYTES_MAX, sha256};
use super::naming::{Name, SnapshotId};
use super::site::{Pace, Site, SiteError};
use super::tick::{Collected, TickWriter};
use super::{Error, Result};
use crate::meta::view::MetaView;
use bytes::Bytes;
use engine::Stamp;
use engine::checkpoint::Checkpoint;
use engine::disk::Disk;
use engine::entropy::Entropy;
use engine::error::{Damage, Nature};
use engine::ids::{CollectionId, NodeId, Owner, Purpose, TableId, TenantId};
use engine::sealed::Sealer;
use engine::tablet::Tablet;
use engine::tablet::view::{Scan, View};
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Puts the table files of a checkpoint that the site lacks, at this pace. Returns the bytes of those; nothing: not all of them are there, for
/// nothing is moved now. Called again it goes on.
///
/// # Errors
/// `Site`: it is away. `Engine`: a file is damaged here.
pub async fn put_files(site: &Site, checkpoint: &Arc<Checkpoint>, pace: &dyn Pace) -> Result<Option<u64>> {
    let mut shipped = 0;
    for file in checkpoint.files() {
        let name = Name::Data(file.content).to_string();
        match site.size(&name).await {
            // Its name is its content, and it was put whole.
            Ok(bytes) if bytes == file.bytes => continue,
            Ok(_) => {
                let other = Damage::of(Nature::Missing, "the object has another length than its content");
                return Err(other.at(name).into());
            }
            Err(SiteError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if !pace.wait(file.bytes).await {
            return Ok(None);
        }
        let (pinned, wanted) = (checkpoint.clone(), file.clone());
        let reading = crate::work::aside(move || pinned.content_of(&wanted)).await;
        let bytes = reading.map_err(|_| engine::Error::Invalid("reading a table panicked"))??;
        site.put(&name, Bytes::from(bytes)).await?;
        shipped += file.bytes;
    }
    Ok(Some(shipped))
}

/// What a part says of the files of a checkpoint.
#[must_use]
pub fn part(
    group: GroupId,
    node: NodeId,
    checkpoint: &Checkpoint,
    upto: Stamp,
    (tenants, shipped_bytes): (Vec<TenantDigest>, u64),
) -> SnapshotPart {
    let levels = checkpoint.levels();
    let files = levels.tables().map(|meta| DataFile {
        sha256: meta.content.to_vec(),
        bytes: meta.bytes,
        table: meta.id.0.to_vec(),
        least: meta.least_stamp.0,
        greatest: meta.greatest_stamp.0,
        stripes: meta
            .stripes
            .iter()
            .map(|stripe| Stripe {
                tenant: stripe.owner.id(),
                epoch: stripe.epoch.0,
                bytes: stripe.bytes,
                entries: stripe.entries,
            })
            .collect(),
    });
    let mut files: Vec<DataFile> = files.collect();
    files.sort_by(|a, b| a.sha256.cmp(&b.sha256));
    SnapshotPart {
        group: group.0,
        node: node.0,
        applied: levels.applied.index.0,
        upto: upto.max(levels.applied.stamp).0,
        listing: checkpoint.listing().to_vec(),
        files,
        tenants,
        shipped_bytes,
    }
}

/// The rows of the meta group as tables, without those that stay out of archives; and their bytes. Blocks.
///
/// # Errors
/// What the engine says.
pub fn meta_files(
    view: &Arc<View>,
    sealer: &Arc<Sealer>,
    (disk, folder): (&dyn Disk, &Path),
    (id, node): (SnapshotId, NodeId),
    entropy: &dyn Entropy,
) -> engine::Result<(Vec<DataFile>, Vec<Bytes>)> {
    let mut collected = Collected::default();
    let mut walk = view.kept(Stamp::ZERO, &BTreeSet::new())?;
    walk.tombstones()
        .iter()
        .filter(|one| !is_version_left_out(&one.start))
        .for_each(|one| collected.range(one.clone()));
    while walk.step(&mut |version, slot| {
        if !is_version_left_out(version) {
            collected.version(version.to_vec(), slot.to_owned());
        }
        Ok(())
    })? {}
    let writer = TickWriter { sealer, disk, folder, end: id.cut, node };
    let mut table = || TableId(crate::entropy::random(entropy));
    let (mut files, mut contents) = (Vec::new(), Vec::new());
    for written in writer.write(&collected, &mut table)? {
        let (row, path) = (written.row, folder.join(&written.file));
        let io = |error| engine::Error::io("read", &path, error);
        let mut bytes = vec![0; usize::try_from(row.bytes).unwrap_or(usize::MAX)];
        disk.open(&path).map_err(io)?.read_exact_at(&mut bytes, 0).map_err(io)?;
        disk.remove(&path).map_err(io)?;
        let epoch = sealer.keys().active(Owner::Cluster, Purpose::Data)?.0;
        files.push(DataFile {
            sha256: row.sha256,
            bytes: row.bytes,
            table: row.table,
            least: row.least,
            greatest: row.greatest,
            stripes: vec![Stripe { tenant: 0, epoch, bytes: row.bytes, entries: row.entries }],
        });
        contents.push(bytes.into());
    }
    Ok((files, contents))
}

/// Counts the keys of each tenant in `tablet` that are visible at the cut, and sums their digests. Blocks.
///
/// # Errors
/// What the engine says.
pub fn digests(
    tablet: &Arc<Tablet>,
    sealer: &Sealer,
    meta: &MetaView,
    id: SnapshotId,
) -> engine::Result<Vec<TenantDigest>> {
    // Of an idle tablet the last write lies before the cut.
    let is_idle = tablet.applied_stamp() < id.cut.upto();
    let view = if is_idle { tablet.view(id.cut.ms())? } else { tablet.view_as_of(id.cut.upto())? };
    let held: BTreeSet<TenantId> =
        meta.tenants.keys().copied().filter(|tenant| meta.map().locate(*tenant).is_some()).collect();
    let mut digests = Vec::new();
    for tenant in held {
        let owner = Owner::Tenant(tenant);
        if !tablet.range().overlaps(&engine::key::KeyRange::tenant(tenant)) {
            continue;
        }
        let Ok(epoch) = sealer.keys().active(owner, Purpose::Data) else { continue };
        let digest = sealer.row_digest(owner, epoch)?;
        let (mut keys, mut sum) = (0_u64, 0_u128);
        let collections: BTreeSet<CollectionId> = meta.collections(tenant).map(|(_, id)| id).collect();
        for collection in collections {
            let (scan, mut cursor) = (Scan::all(tenant, collection), None);
            loop {
                let page = view.scan(&scan, cursor.as_ref())?;
                for entry in &page.entries {
                    keys += 1;
                    sum = sum.wrapping_add(digest.of(collection, &entry.key, &entry.found.value));
                }
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
        }
        digests.push(TenantDigest {
            tenant: tenant.0,
            keys,
            sum: sum.to_be_bytes().to_vec(),
            epoch: epoch.0,
        });
    }
    Ok(digests)
}

/// Puts the part of a group; one that is there already stays.
///
/// # Errors
/// `Site`: it is away. `Engine`: no signing key.
pub async fn put_part(site: &Site, sealer: &Sealer, id: SnapshotId, part: &SnapshotPart) -> Result<()> {
    let name = Name::SnapshotPart(id, part.group());
    let bytes = manifest::seal(sealer, &name, part)?;
    match site.put(&name.to_string(), bytes.into()).await {
        // An earlier try of the same home was answered late: its files are there as well.
        Ok(()) | Err(SiteError::Taken { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The digests of all parts, by tenant: a tenant may have rows in several groups.
fn summed(parts: &[SnapshotPart]) -> Vec<TenantDigest> {
    let mut all: BTreeMap<u64, (u64, u128, u32)> = BTreeMap::new();
    for one in parts.iter().flat_map(|part| &part.tenants) {
        let sum = one.sum().unwrap_or_default();
        let entry = all.entry(one.tenant).or_insert((0, 0, one.epoch));
        *entry = (entry.0 + one.keys, entry.1.wrapping_add(sum), entry.2);
    }
    let each = all.into_iter().map(|(tenant, (keys, sum, epoch))| TenantDigest {
        tenant,
        keys,
        sum: sum.to_be_bytes().to_vec(),
        epoch,
    });
    each.collect()
}

/// Keys that are needed to open the files of these parts.
fn keys(parts: &[SnapshotPart]) -> Vec<KeyNeeded> {
    let stripes = parts.iter().flat_map(|part| &part.files).flat_map(|file| &file.stripes);
    let each = stripes.map(|stripe| {
        let owner = if stripe.tenant == 0 { Owner::Cluster } else { Owner::Tenant(TenantId(stripe.tenant)) };
        (owner.kind(), owner.id(), stripe.epoch)
    });
    let all: BTreeSet<(u8, u64, u32)> = each.collect();
    let one = |(kind, owner, epoch)| KeyNeeded {
        owner_kind: u32::from(kind),
        owner,
        purpose: Purpose::Data as u32,
        epoch,
    };
    all.into_iter().map(one).collect()
}

/// Puts `done.man` if all parts are there; `None`: some are not. Returns SHA-256 of it.
///
/// # Errors
/// `Site`: it is away. `Engine`: something there does not verify.
pub async fn finish(
    site: &Site,
    sealer: &Sealer,
    id: SnapshotId,
    (open, previous, now_ms): (&SnapshotOpen, Option<(SnapshotId, [u8; 32])>, u64),
) -> Result<Option<[u8; 32]>> {
    let (key, cluster) = (sealer.public_key()?, sealer.cluster());
    let (mut parts, mut rows) = (Vec::new(), Vec::new());
    for home in &open.groups {
        let name = Name::SnapshotPart(id, home.group());
        let bytes = match site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await {
            Ok(bytes) => bytes,
            Err(SiteError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let part: SnapshotPart = manifest::open(&key, cluster, &name, &bytes)?;
        if part.upto() < id.cut.upto() {
            return Err(Damage::of(Nature::Malformed, "a part that ends before the cut").at(&name).into());
        }
        let (bytes, sha256) = (bytes.len() as u64, sha256(&bytes).to_vec());
        rows.push(PartRow { group: home.group, bytes, sha256 });
        parts.push(part);
    }
    let contents: BTreeMap<&[u8], u64> =
        parts.iter().flat_map(|part| &part.files).map(|file| (&file.sha256[..], file.bytes)).collect();
    let done = SnapshotDone {
        generation: open.generation,
        open: sha256(&manifest::seal(sealer, &Name::SnapshotOpen(id), open)?).to_vec(),
        parts: rows,
        previous: previous.map(|(id, _)| id.to_string()).unwrap_or_default(),
        previous_sha256: previous.map(|(_, digest)| digest.to_vec()).unwrap_or_default(),
        tenants: summed(&parts),
        keys: keys(&parts),
        floor: 0,
        bytes: contents.values().sum(),
        shipped_bytes: parts.iter().map(|part| part.shipped_bytes).sum(),
        done_ms: now_ms,
    };
    let name = Name::SnapshotDone(id);
    let bytes = Bytes::from(manifest::seal(sealer, &name, &done)?);
    let digest = sha256(&bytes);
    match site.put(&name.to_string(), bytes).await {
        Ok(()) => Ok(Some(digest)),
        // Another closer has finished it, a moment before or after.
        Err(SiteError::Taken { .. }) => {
            let found = site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await?;
            manifest::open::<SnapshotDone>(&key, cluster, &name, &found)?;
            Ok(Some(sha256(&found)))
        }
        Err(error) => Err(Error::Site(error)),
    }
}
