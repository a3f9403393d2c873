//! What whoever closes ticks puts: the beginning of an archive, and the marker that a plan of the meta group describes. Each put says the same
//! bytes whoever makes it, so that it may be made again after a crash, or twice at once.

use super::closing;
use super::manifest::log::{GenerationRegister, Genesis};
use super::manifest::{self, MANIFEST_BYTES_MAX, sha256};
use super::naming::{Generation, Name};
use super::site::{Site, SiteError};
use super::{Error, Result};
use crate::meta::archive_row::{CloserRow, ReportRow};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use engine::ids::NodeId;
use engine::sealed::Sealer;
use std::collections::BTreeMap;

/// Puts what an archive begins with, or finds it.
///
/// # Errors
/// `Site`: it is away, or another generation stands there. `Engine`: the archive was begun with another key.
pub async fn begin(home: &Site, sealer: &Sealer, tick_s: u64, generation: Generation) -> Result<()> {
    let key = sealer.public_key()?;
    // Whoever begins it says the same.
    let genesis = Genesis { format: 1, tick_s, public_key: key.0.to_vec(), made_ms: 0 };
    let bytes = manifest::seal(sealer, &Name::Genesis, &genesis)?;
    match home.put(&Name::Genesis.to_string(), bytes.into()).await {
        Err(SiteError::Taken { .. }) => {
            let found = home.get(&Name::Genesis.to_string(), MANIFEST_BYTES_MAX as u64).await?;
            // With another tick, perhaps; with another key never.
            if manifest::open_genesis(sealer.cluster(), &found)?.key()? != key {
                let other = Damage::of(Nature::Tampered, "the archive was begun with another key");
                return Err(Error::from(other.at(Name::Genesis)));
            }
        }
        put => put?,
    }
    if generation == Generation(1) {
        let register = GenerationRegister { generation: 1, reason: 1, ..GenerationRegister::default() };
        let name = Name::Generation(generation);
        home.put(&name.to_string(), manifest::seal(sealer, &name, &register)?.into()).await?;
    }
    Ok(())
}

/// Puts the marker that `row` plans, the gaps it tells of first. Returns its SHA-256.
///
/// # Errors
/// `Site`: it is away. `Engine`: a report is not known here yet.
pub async fn put_marker(
    home: &Site,
    sealer: &Sealer,
    row: &CloserRow,
    reports: &BTreeMap<(NodeId, u64), ReportRow>,
) -> Result<[u8; 32]> {
    let missing = engine::Error::Invalid("a report that the next marker names is not known here yet");
    let marker = closing::marker(row, reports).ok_or(missing)?;
    for (id, gap) in closing::gaps(&marker) {
        let name = Name::Gap(id);
        home.put(&name.to_string(), manifest::seal(sealer, &name, &gap)?.into()).await?;
    }
    let name = Name::Marker(marker.end(), marker.generation());
    let bytes = Bytes::from(manifest::seal(sealer, &name, &marker)?);
    let digest = sha256(&bytes);
    home.put(&name.to_string(), bytes).await?;
    Ok(digest)
}
