//! Walks a site and names what is damaged there: every object that a manifest names must be there, of the size that it says; with `is_deep`
//! each is read, and must be the bytes. Needs no tenant's key.

use super::Result;
use super::chain::Archive;
use super::load::load;
use super::manifest::MANIFEST_BYTES_MAX;
use super::manifest::snapshot::SnapshotPart;
use super::naming::{Name, SnapshotId, prefix};
use super::site::{Site, SiteError};
use super::tick::check_content;
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::sealed::PublicKey;
use raft::types::GroupId;
use std::collections::BTreeMap;

/// Bytes of an object that is read whole.
const OBJECT_BYTES_MAX: u64 = 1 << 32;

/// What came of a walk.
#[derive(Debug)]
pub struct Walked {
    /// What the archive says, less what is of no use.
    pub archive: Archive,
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// An object that a manifest names, with what it says of it.
struct Named {
    name: Name,
    bytes: u64,
    sha256: [u8; 32],
}

/// Walks the archive of `cluster` at `site`. What is wrong is told by [`Archive::faults`], each by the name of the object.
///
/// # Errors
/// `Site`: it is away, or there is no archive. `Engine`: its beginning does not verify.
pub async fn verify(
    site: &Site,
    cluster: ClusterId,
    known: Option<PublicKey>,
    is_deep: bool,
) -> Result<Walked> {
    let archive = load(site, cluster, known).await?;
    let mut walked = Walked { archive, objects: 0, bytes: 0 };
    let mut sizes = BTreeMap::new();
    for below in [prefix::TICK_FILES, prefix::DATA] {
        sizes.extend(site.list(below).await?.into_iter().map(|one| (one.name, one.bytes)));
    }
    let mut all = ticks(&walked.archive);
    all.extend(data(site, &mut walked).await?);
    for named in all {
        walked.objects += 1;
        if let Err(damage) = look(site, &named, &sizes, is_deep).await? {
            // What is being collected goes while the walk goes on.
            if damage.nature != Nature::Missing || !walked.archive.is_tombed(&named.name) {
                walked.archive.lose(named.name);
                walked.archive.fault(damage);
            }
        } else if is_deep {
            walked.bytes += named.bytes;
        }
    }
    Ok(walked)
}

fn ticks(archive: &Archive) -> Vec<Named> {
    let files = archive.markers().values().flat_map(|marked| &marked.marker.files);
    let each = files.filter_map(|file| {
        let name = Name::TickFile(file.name().ok()?);
        // What is not there is a fault already.
        let is_there = !archive.is_lost(&name);
        is_there.then_some(Named { name, bytes: file.bytes, sha256: file.digest().ok()? })
    });
    each.collect()
}

/// The table files of all snapshots, each once. Parts that do not verify are faults.
async fn data(site: &Site, walked: &mut Walked) -> Result<Vec<Named>> {
    let mut all = BTreeMap::new();
    for (id, snapshot) in walked.archive.snapshots() {
        for row in &snapshot.done.parts {
            walked.objects += 1;
            match part(site, &walked.archive, id, GroupId(row.group)).await? {
                Ok(part) => {
                    for file in part.files {
                        let Ok(sha256) = file.digest() else { continue };
                        all.insert(sha256, file.bytes);
                    }
                }
                Err(damage) => {
                    let name = Name::SnapshotPart(id, GroupId(row.group));
                    if damage.nature != Nature::Missing || !walked.archive.is_tombed(&name) {
                        walked.archive.fault(damage);
                    }
                    walked.archive.lose(name);
                }
            }
        }
    }
    let named = |(sha256, bytes)| Named { name: Name::Data(sha256), bytes, sha256 };
    Ok(all.into_iter().map(named).collect())
}

/// The part of a group of a snapshot, fetched and checked.
///
/// # Errors
/// `Site`: it is away. What is wrong with the part is a value.
pub async fn part(
    site: &Site,
    archive: &Archive,
    id: SnapshotId,
    group: GroupId,
) -> Result<std::result::Result<SnapshotPart, Damage>> {
    let name = Name::SnapshotPart(id, group);
    match site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await {
        Ok(bytes) => Ok(archive.part(id, group, &bytes)),
        Err(SiteError::NotFound { .. }) => {
            Ok(Err(Damage::of(Nature::Missing, "`done.man` names it").at(&name)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn look(
    site: &Site,
    named: &Named,
    sizes: &BTreeMap<String, u64>,
    is_deep: bool,
) -> Result<std::result::Result<(), Damage>> {
    let text = named.name.to_string();
    let damage = match sizes.get(&text) {
        None => Damage::of(Nature::Missing, "a manifest names it"),
        Some(bytes) if *bytes < named.bytes => {
            Damage::of(Nature::Missing, "it is shorter than its manifest says")
        }
        Some(bytes) if *bytes > named.bytes => {
            Damage::of(Nature::Tampered, "it is longer than its manifest says")
        }
        Some(_) if !is_deep => return Ok(Ok(())),
        Some(_) => match site.get(&text, OBJECT_BYTES_MAX).await {
            Ok(bytes) => return Ok(check_content(&named.name, &bytes, named.bytes, &named.sha256)),
            Err(SiteError::NotFound { .. }) => Damage::of(Nature::Missing, "a manifest names it"),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(Err(damage.at(text)))
}
