//! What a disk of a whole node was: put back later under the same node, or in the machine of a second one.

use super::node::WholeNode;
use super::outside::{Machine, copy_of};
use crate::world::clock::WallClock;
use crate::world::hardware::Hardware;
use crate::world::net::disk_seed;
use engine::catalog::MemoryCatalog;
use engine::disk::{Disk, SimDisk};
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A disk and a catalog as they were when the power went.
pub struct Image {
    disk: SimDisk,
    catalog: MemoryCatalog,
    /// Where the log of each group ended.
    ends: BTreeMap<GroupId, u64>,
}

impl WholeNode {
    /// What its disk would be if the power went now.
    #[must_use]
    pub fn image(&self) -> Image {
        let seed = disk_seed(self.ground.swarm.seed, self.id, u64::MAX - self.life());
        let disk = self.machine.disk.clone_disk(seed);
        disk.crash();
        let catalog = self.machine.catalog.deep_clone(Some(disk.clone()));
        Image { disk, catalog, ends: self.indices(|last, _| last) }
    }

    /// Of each group that it has: the last entry of its log, or what is applied.
    fn indices(&self, which: impl Fn(u64, u64) -> u64) -> BTreeMap<GroupId, u64> {
        let Some(running) = self.server().and_then(|server| server.running().ok().cloned()) else {
            return BTreeMap::new();
        };
        let index = |group: &raft::group::handle::Group| {
            let standing = group.standing();
            which(standing.last_index.unwrap_or(0), standing.applied.map_or(0, |id| id.index))
        };
        running
            .replicas()
            .iter()
            .map(|one| one.receiver.group())
            .map(|group| (group.id(), index(group)))
            .collect()
    }

    /// Whether it has applied an entry of which the image has nothing: others count on it to have that.
    #[must_use]
    pub fn is_beyond(&self, image: &Image) -> bool {
        let applied = self.indices(|_, applied| applied);
        applied.iter().any(|(group, index)| image.ends.get(group).is_some_and(|end| end < index))
    }

    /// Its disk is what it was. It must be down.
    pub fn put_back(&mut self, image: Image) {
        self.ground.diary.note(self.id, "has an older disk");
        (self.machine.disk, self.machine.catalog) = (image.disk, image.catalog);
        self.ground.outside.mount(&self.folder, self.machine.clone());
    }

    /// A second node of the same disk, on a machine of its own. It does not run yet.
    ///
    /// # Errors
    /// What the disk says.
    pub fn copied(&self) -> io::Result<Self> {
        let image = self.image();
        image.disk.restart();
        let folder = PathBuf::from(format!("{}-copy", self.folder.display()));
        let disk = SimDisk::new(disk_seed(self.ground.swarm.seed, copy_of(self.id), self.life()));
        for (path, bytes) in image.disk.files() {
            let Ok(inside) = path.strip_prefix(&self.folder) else { continue };
            put(&disk, &folder.join(inside), &bytes)?;
        }
        let catalog = image.catalog.deep_clone(Some(disk.clone()));
        let clock = WallClock::new(self.ground.time, &self.ground.clocks, 1_000);
        let machine = Machine { disk, catalog, clock, hardware: Hardware::default() };
        let copy = Self { folder, machine, ..self.shadow() };
        copy.ground.outside.mount(&copy.folder, copy.machine.clone());
        Ok(copy)
    }

    /// A copy starts beside the node that it is of.
    ///
    /// # Errors
    /// What keeps it from starting at all.
    pub async fn start_beside(&mut self) -> Result<(), String> {
        self.ground.diary.note(self.id, "is started once more, as a copy");
        self.ground.outside.expect_copy(self.id, self.machine.clone());
        self.server = Some(self.serve().await?);
        // Whoever comes next under this id must be the copy.
        for _ in 0..1_000 {
            if !self.ground.outside.expects_copy() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err("it does not come to its peers".to_owned())
    }

    /// A copy ends.
    pub async fn end_beside(&mut self) {
        self.ground.net.unplug(copy_of(self.id));
        let Some(server) = self.server.take() else { return };
        self.machine.disk.crash();
        if let Ok(running) = server.running() {
            running.log().close();
        }
        let stops = self.machine.clock.node().scope(server.stop(0));
        if tokio::time::timeout(Duration::from_secs(5), stops).await.is_err() {
            self.ground.diary.note(self.id, "its copy does not end in time");
        }
        self.ground.outside.end_threads(&self.folder);
    }
}

fn put(disk: &SimDisk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    disk.create_dir(folder)?;
    let file = disk.create(path)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    disk.sync_dir(folder)
}
