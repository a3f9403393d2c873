//! Reads what an archive says of itself from a site.

use super::chain::{Archive, join_spans};
use super::manifest::keep::{CollectedSpan, Tomb, TombDone};
use super::manifest::{self, MANIFEST_BYTES_MAX};
use super::naming::{Name, TickEnd, prefix};
use super::site::{Site, SiteError};
use super::{Error, Result};
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::sealed::PublicKey;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Manifests that are fetched at once.
const FETCHES: usize = 16;
/// Objects that another site is asked for because they are damaged or missing at the first, at most: where more are, that site is to be read.
const MENDS_MAX: usize = 1_024;

/// Everything that the archive of `cluster` at `site` says of itself, but parts of snapshots. `known` is the cluster's key, if whoever reads
/// has it from elsewhere. What is damaged is a fault of the archive; an object that is there and has no name is none of its business.
///
/// # Errors
/// `Site`: it is away, or there is no archive. `Engine`: its beginning does not verify.
pub async fn load(site: &Site, cluster: ClusterId, known: Option<PublicKey>) -> Result<Archive> {
    read(site, cluster, known).await.map(|(archive, _)| archive)
}

/// The same, with the names of what is there.
async fn read(
    site: &Site,
    cluster: ClusterId,
    known: Option<PublicKey>,
) -> Result<(Archive, BTreeSet<Name>)> {
    let genesis = site.get(&Name::Genesis.to_string(), MANIFEST_BYTES_MAX as u64).await?;
    let mut archive = Archive::begin(cluster, known, &genesis)?;
    let mut there = BTreeSet::new();
    for below in [
        prefix::GENERATIONS,
        prefix::TICK_FILES,
        prefix::MARKERS,
        prefix::SNAPSHOTS,
        prefix::PROOFS,
        prefix::GAPS,
        prefix::PINS,
        prefix::TOMBS,
    ] {
        there.extend(site.list(below).await?.into_iter().filter_map(|one| Name::parse(&one.name)));
    }
    let wanted: Vec<Name> = there.iter().filter(|name| Archive::wants(name)).cloned().collect();
    let fetch = |name: Name| async move {
        let found = site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await;
        (name, found)
    };
    let mut vanished = Vec::new();
    let mut fetched = futures_util::stream::iter(wanted.into_iter().map(fetch)).buffer_unordered(FETCHES);
    while let Some((name, found)) = fetched.next().await {
        match found {
            Ok(bytes) => archive.add(&name, &bytes),
            // Collected between the listing and now, if a tomb says so.
            Err(SiteError::NotFound { .. }) => vanished.push(name),
            Err(error @ SiteError::TooLarge { .. }) => {
                tracing::warn!(cause = error.to_string(), "a manifest is too large to be one");
                archive.fault(Damage::of(Nature::Malformed, "a manifest over its limit").at(&name));
            }
            Err(error) => return Err(Error::Site(error)),
        }
    }
    for name in vanished {
        there.remove(&name);
        if !archive.is_tombed(&name) {
            archive.fault(Damage::of(Nature::Missing, "it was listed and is not there").at(&name));
        }
    }
    archive.listed(&there);
    Ok((archive, there))
}

/// As [`load`] at the first of these sites; what is damaged or missing there counts as one of the others has it.
///
/// # Errors
/// As [`load`], of the first.
pub async fn load_among(
    sites: &[Arc<Site>],
    cluster: ClusterId,
    known: Option<PublicKey>,
) -> Result<Archive> {
    let away = SiteError::Away { what: "answer", cause: "there is none".to_owned() };
    let (first, others) = sites.split_first().ok_or(Error::Site(away))?;
    let (mut archive, there) = read(first, cluster, known).await?;
    for other in others {
        // One that is away mends nothing now.
        if let Err(error) = mend(&mut archive, &there, other).await {
            tracing::debug!(site = %other.name(), %error, "what an archive lacks is not looked for here");
        }
    }
    Ok(archive)
}

/// Manifests that are wrong, as far as another site may have them.
fn wrong(archive: &Archive) -> BTreeSet<Name> {
    let named = archive.faults().into_iter().filter_map(|fault| Name::parse(&fault.place));
    let with_begin = named.flat_map(|name| match name {
        // Of the two that do not belong together either may be the wrong one.
        Name::SnapshotDone(id) => vec![Name::SnapshotOpen(id), Name::SnapshotDone(id)],
        other => vec![other],
    });
    with_begin.filter(Archive::wants).collect()
}

async fn mend(archive: &mut Archive, there: &BTreeSet<Name>, other: &Site) -> Result<(), SiteError> {
    let mut asked = BTreeSet::new();
    take_newer(archive, other).await?;
    // What is mended may name another that is wrong.
    loop {
        let next: Vec<Name> = wrong(archive).into_iter().filter(|name| asked.insert(name.clone())).collect();
        if next.is_empty() || asked.len() > MENDS_MAX {
            break;
        }
        for name in next {
            match other.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await {
                Ok(bytes) => drop(archive.mend(&name, &bytes)),
                Err(error) if error.is_away() => return Err(error),
                Err(_) => {}
            }
        }
    }
    archive.listed(there);
    let lost: Vec<Name> = archive.lost().take(MENDS_MAX).cloned().collect();
    for name in lost {
        match other.size(&name.to_string()).await {
            // Whoever fetches it holds it against its digest.
            Ok(_) => archive.found_elsewhere(&name),
            Err(error) if error.is_away() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Takes what nobody at the first site names: the end of the log, and snapshots.
async fn take_newer(archive: &mut Archive, other: &Site) -> Result<(), SiteError> {
    let newest = archive.markers().keys().map(|(_, end)| end.0).max().unwrap_or(0);
    let hours = [newest, newest + 3_600].map(|at| prefix::markers_of_hour(TickEnd(at)));
    let mut names = BTreeSet::new();
    for below in
        hours.iter().map(String::as_str).chain([prefix::SNAPSHOTS, prefix::GENERATIONS, prefix::GAPS])
    {
        names.extend(other.list(below).await?.iter().filter_map(|one| Name::parse(&one.name)));
    }
    let newer = |name: &Name| match name {
        Name::Marker(end, _) => end.0 > newest,
        _ => true,
    };
    let lacks: Vec<Name> =
        names.into_iter().filter(|name| Archive::wants(name) && newer(name) && !archive.has(name)).collect();
    for name in lacks.into_iter().take(MENDS_MAX) {
        if let Ok(bytes) = other.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await {
            archive.mend(&name, &bytes);
        }
    }
    Ok(())
}

/// What of the log of the archive of `cluster` at `site` was collected, as its tombs say.
///
/// # Errors
/// `Site`: it is away. `Engine`: a tomb does not verify.
pub async fn collected(site: &Site, cluster: ClusterId, key: PublicKey) -> Result<Vec<CollectedSpan>> {
    let mut spans = Vec::new();
    let there: BTreeSet<Name> =
        site.list(prefix::TOMBS).await?.iter().filter_map(|one| Name::parse(&one.name)).collect();
    // What was collected in the end may be less than what was written down at first.
    let is_over =
        |name: &Name| matches!(name, Name::Tomb(day, id) if there.contains(&Name::TombDone(*day, *id)));
    for name in there.iter().filter(|name| !is_over(name)) {
        let bytes = match site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await {
            Err(SiteError::NotFound { .. }) => continue,
            found => found?,
        };
        match name {
            Name::Tomb(..) => spans.extend(manifest::open::<Tomb>(&key, cluster, name, &bytes)?.collected),
            Name::TombDone(..) => {
                spans.extend(manifest::open::<TombDone>(&key, cluster, name, &bytes)?.collected)
            }
            _ => {}
        }
    }
    Ok(join_spans(spans))
}
