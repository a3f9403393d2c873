//! Ships what is committed: at each tick one file a node, with all its groups in it, then one report to the meta group. "Archived" is said
//! only after the put has succeeded.

use super::collect::{Collector, Come};
use super::manifest::log::FileRow;
use super::naming::{Name, TickEnd};
use super::site::{Site, SiteError};
use super::tick::{Collected, TickWriter};
use super::{Error, Result};
use crate::meta::archive_row::{ArchivedRow, ReportRow};
use crate::running::replicas::Seated;
use crate::shard::feed::Feeds;
use bytes::Bytes;
use engine::disk::{Disk, create_dir_durably};
use engine::entropy::Entropy;
use engine::ids::{NodeId, TableId, TenantId};
use engine::sealed::Sealer;
use raft::planted::{self, Planted};
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a shipper is given.
#[derive(Clone)]
pub struct ShipperParts {
    /// This node.
    pub node: NodeId,
    /// Seals tick files.
    pub sealer: Arc<Sealer>,
    /// Names them.
    pub entropy: Arc<dyn Entropy>,
    /// Holds the spool.
    pub disk: Arc<dyn Disk>,
    /// Where files lie until they are put; it is this shipper's alone.
    pub spool: PathBuf,
    /// What is applied here.
    pub feeds: Feeds,
}

/// What was collected for a tick and is not reported yet.
pub struct Shipment {
    /// Files in the spool that are not put yet.
    unput: Vec<(FileRow, String)>,
    /// Files that are put.
    put: Vec<FileRow>,
    /// How far the groups have come.
    pub come: Vec<Come>,
    /// Its number, once it was reported: it is reported under the same again.
    pub number: Option<u64>,
}

/// Collects and ships what is committed to the groups of one node.
pub struct Shipper {
    parts: ShipperParts,
    collectors: BTreeMap<GroupId, Collector>,
}

fn in_spool(folder: &Path, error: std::io::Error) -> engine::Error {
    engine::Error::io("use the spool", folder, error)
}

impl Shipper {
    /// One whose spool is empty: what an earlier run has left there is collected again.
    ///
    /// # Errors
    /// `Unavailable`: the disk.
    pub fn open(parts: ShipperParts) -> engine::Result<Self> {
        create_dir_durably(&*parts.disk, &parts.spool)?;
        let left = parts.disk.list(&parts.spool).map_err(|error| in_spool(&parts.spool, error))?;
        for name in left {
            parts.disk.remove(&parts.spool.join(name)).map_err(|error| in_spool(&parts.spool, error))?;
        }
        Ok(Self { parts, collectors: BTreeMap::new() })
    }

    /// Hears what is applied to the groups that are archived here, and forgets the others.
    pub fn listen(&mut self, held: &BTreeSet<GroupId>) {
        self.collectors.retain(|group, _| held.contains(group));
        self.collectors.values_mut().for_each(Collector::listen);
    }

    /// What was collected is not archived: it is found again by a walk.
    pub fn reset(&mut self) {
        self.collectors.values_mut().for_each(Collector::reset);
    }

    /// Collects what the tick of `end` lacks of these groups, and writes it into the spool. Blocks. A group that cannot be read is left out, and
    /// named with the cause; the others go on.
    ///
    /// # Errors
    /// Nothing can be written: disk, keys. Nothing was collected then.
    pub fn collect(
        &mut self,
        held: &[(Arc<Seated>, ArchivedRow)],
        end: TickEnd,
        gone: &BTreeSet<TenantId>,
    ) -> engine::Result<(Shipment, BTreeMap<GroupId, String>)> {
        let parts = self.parts.clone();
        let mut shipment = Shipment { unput: Vec::new(), put: Vec::new(), come: Vec::new(), number: None };
        let (mut failed, mut small) = (BTreeMap::new(), Collected::default());
        for (seated, archived) in held {
            let collector =
                self.collectors.entry(archived.group).or_insert_with(|| Collector::new(archived.group));
            let mut own = Collected::default();
            let mut written = Vec::new();
            let mut sink = |mut piece: Collected| {
                gone.iter().for_each(|tenant| piece.forget(*tenant));
                if piece.bytes() >= super::collect::FILE_BYTES {
                    written.extend(parts.write(&piece, end)?);
                } else {
                    own.join(piece);
                }
                Ok(())
            };
            let machine = seated.receiver.group().machine();
            match collector.collect(machine, (&parts.feeds, gone), (archived, end), &mut sink) {
                Ok(Some(come)) => {
                    shipment.unput.extend(written);
                    shipment.come.push(come);
                    small.join(own);
                }
                Ok(None) => {}
                Err(error) => {
                    collector.reset();
                    failed.insert(archived.group, engine::error::with_sources(&error));
                }
            }
            if small.bytes() >= super::collect::FILE_BYTES {
                shipment.unput.extend(parts.write(&std::mem::take(&mut small), end)?);
            }
        }
        if !small.is_empty() {
            shipment.unput.extend(parts.write(&small, end)?);
        }
        shipment.come.sort_by_key(|come| come.group);
        Ok((shipment, failed))
    }

    /// Puts the files of a shipment that are not put yet. After an error the rest can be put later.
    ///
    /// # Errors
    /// `Site`: it is away. `Engine`: the spool.
    pub async fn put(parts: &ShipperParts, site: &Site, shipment: &mut Shipment) -> Result<()> {
        while let Some((row, file)) = shipment.unput.first().cloned() {
            let name = Name::TickFile(row.name()?).to_string();
            let path = parts.spool.join(&file);
            let (disk, length) = (parts.disk.clone(), row.bytes);
            let reading = crate::work::aside(move || read_whole(&*disk, &path, length)).await;
            let bytes = reading.map_err(|_| engine::Error::Invalid("reading the spool panicked"))??;
            super::tick::check_content(&Name::TickFile(row.name()?), &bytes, row.bytes, &row.digest()?)?;
            if !planted::is(Planted::TellFilesThatAreNotPut) {
                site.put(&name, bytes).await?;
            }
            // What cannot be removed is removed at the next start.
            let _ = parts.disk.remove(&parts.spool.join(&file));
            shipment.unput.remove(0);
            shipment.put.push(row);
        }
        Ok(())
    }
}

fn read_whole(disk: &dyn Disk, path: &Path, length: u64) -> engine::Result<Bytes> {
    let io = |error| engine::Error::io("read", path, error);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    disk.open(path).map_err(io)?.read_exact_at(&mut bytes, 0).map_err(io)?;
    Ok(bytes.into())
}

impl ShipperParts {
    fn write(&self, collected: &Collected, end: TickEnd) -> engine::Result<Vec<(FileRow, String)>> {
        if collected.is_empty() {
            return Ok(Vec::new());
        }
        let writer =
            TickWriter { sealer: &self.sealer, disk: &*self.disk, folder: &self.spool, end, node: self.node };
        let mut table = || TableId(crate::entropy::random(&*self.entropy));
        let written = writer.write(collected, &mut table)?;
        Ok(written.into_iter().map(|one| (one.row, one.file)).collect())
    }
}

impl Shipment {
    /// One without files: what the groups have come to is let go.
    #[must_use]
    pub fn of_nothing(come: Vec<Come>) -> Self {
        Self { unput: Vec::new(), put: Vec::new(), come, number: None }
    }

    /// Whether it is one of these.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        self.is_put() && self.put.is_empty() && self.come.iter().any(|come| come.gap_from.is_some())
    }

    /// Whether all of its files are put.
    #[must_use]
    pub fn is_put(&self) -> bool {
        self.unput.is_empty()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.come.is_empty()
    }

    /// Bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.unput.iter().map(|(row, _)| row.bytes).chain(self.put.iter().map(|row| row.bytes)).sum()
    }

    /// Groups in it.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.come.iter().map(|come| come.group)
    }

    /// What is reported of it.
    #[must_use]
    pub fn report(&self, node: NodeId, number: u64) -> ReportRow {
        let groups = self.come.iter().map(|come| come.row(node)).collect();
        ReportRow { node, number, files: self.put.clone(), groups }
    }

    /// Whether all of it is archived, as the rows say.
    #[must_use]
    pub fn is_archived(&self, archived: &BTreeMap<GroupId, ArchivedRow>) -> bool {
        let is_there = |come: &Come| archived.get(&come.group).is_some_and(|row| row.upto >= come.upto);
        self.come.iter().all(is_there)
    }
}

/// Whether the same may go well later.
#[must_use]
pub fn is_away(error: &Error) -> bool {
    matches!(error, Error::Site(SiteError::Away { .. }))
}

#[cfg(test)]
mod tests;
