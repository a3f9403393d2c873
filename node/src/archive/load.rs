//! Reads what an archive says of itself from a site.

use super::chain::{Archive, join_spans};
use super::manifest::keep::{CollectedSpan, Tomb, TombDone};
use super::manifest::{self, MANIFEST_BYTES_MAX};
use super::naming::{Name, prefix};
use super::site::{Site, SiteError};
use super::{Error, Result};
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::sealed::PublicKey;
use futures_util::StreamExt;
use std::collections::BTreeSet;

/// Manifests that are fetched at once.
const FETCHES: usize = 16;

/// Everything that the archive of `cluster` at `site` says of itself, but parts of snapshots. `known` is the cluster's key, if whoever reads
/// has it from elsewhere. What is damaged is a fault of the archive; an object that is there and has no name is none of its business.
///
/// # Errors
/// `Site`: it is away, or there is no archive. `Engine`: its beginning does not verify.
pub async fn load(site: &Site, cluster: ClusterId, known: Option<PublicKey>) -> Result<Archive> {
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
    Ok(archive)
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
