//! A log that has been read and not begun: nothing is written, so that a node may be refused without a trace of the start.

use super::record::{GroupState, Mark};
use super::replay::{Expected, Replayed, Settling};
use super::writer::Tools;
use super::{Log, LogConfig, LogParts, replay};
use crate::error::Result;
use crate::log::LogName;
use crate::stats::Stats;
use crate::types::{GroupId, LogId, ReplicaId};
use bytes::Bytes;
use engine::disk::DirLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a start finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The name of the log: new if there was none.
    pub log: LogName,
    /// Number of this start.
    pub incarnation: u64,
    /// A number of this start alone: random.
    pub boot_nonce: [u8; 16],
    /// Where the log ended.
    pub end: u64,
    /// Whether pieces of a write that had been cut short were found. It was never acknowledged, and is gone.
    pub was_torn: bool,
    /// By group: the manifest edit that the log knows to be durable, and the last entry applied in it.
    pub manifests: BTreeMap<GroupId, (u64, Option<LogId>)>,
    /// What peers were last heard to have made durable.
    pub marks: Vec<Mark>,
}

/// A log that was read. Its folder is locked as long as this lives.
pub struct RecoveredLog {
    config: LogConfig,
    tools: Tools,
    replayed: Replayed,
    settling: Settling,
    lock: Box<dyn DirLock>,
    found: Found,
}

impl RecoveredLog {
    /// Locks the folder and reads the log. Of the log nothing is changed.
    ///
    /// # Errors
    /// * `Stop`: `InUse`, `Foreign`, `SegmentMissing`, an unknown version.
    /// * `Damaged`: `DamagedInside` and whatever else cannot be a torn end.
    /// * `Key`: the node's mac key is missing. `Unavailable`: disk. `Invalid`: settings.
    pub fn read(config: LogConfig, parts: LogParts) -> Result<Self> {
        config.check()?;
        let LogParts { disk, sealer, entropy, node, stats } = parts;
        engine::disk::create_dir_durably(&*disk, &config.dir)?;
        let lock = engine::disk::take_lock(&*disk, &config.dir)?;
        let expected = Expected { sealer: &sealer, node, segment_bytes: config.segment_bytes };
        let (replayed, settling) = replay::replay(&*disk, &config.dir, &expected)?;
        let log = replayed.log.unwrap_or_else(|| {
            let mut name = LogName::default();
            entropy.fill(&mut name.0);
            name
        });
        let mut boot_nonce = [0; 16];
        entropy.fill(&mut boot_nonce);
        let (end, states) = (replayed.resume.position, &replayed.resume.states);
        let incarnation = states.incarnation.map_or(0, |(number, _)| number) + 1;
        let (manifests, marks) = (states.manifests.clone(), states.marks.clone());
        let was_torn = replayed.was_torn;
        let found = Found { log, incarnation, boot_nonce, end, was_torn, manifests, marks };
        let (dir, segment_bytes, generation) = (config.dir.clone(), config.segment_bytes, config.generation);
        let tools = Tools { disk, sealer, entropy, dir, segment_bytes, node, generation, log, stats };
        Ok(Self { config, tools, replayed, settling, lock, found })
    }

    /// What was found.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Where everything of the node counts.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.tools.stats
    }

    /// Every group whose replica lives here, as the log leaves it.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<GroupId, GroupState> {
        let living = self.replayed.groups.iter().filter(|(_, log)| log.state().replica != ReplicaId(0));
        living.map(|(group, log)| (*group, *log.state())).collect()
    }

    /// The last entry of the group behind `index` that says who belongs to it, as its payload stands in the log.
    #[must_use]
    pub fn membership_behind(&self, group: GroupId, index: Option<u64>) -> Option<Bytes> {
        let (at, payload) = self.replayed.memberships.get(&group)?.last_key_value()?;
        (Some(*at) > index).then(|| payload.clone())
    }

    /// Goes on in a new segment that says so. From here on the log is further than it was: whoever must not start must not come here.
    ///
    /// # Errors
    /// `Unavailable`: disk. `Key`.
    pub fn begin(self) -> Result<Arc<Log>> {
        let Self { config, tools, mut replayed, settling, lock, found } = self;
        replay::settle(&*tools.disk, &tools.dir, &mut replayed, settling)?;
        Log::begin(config, tools, replayed, (lock, found))
    }
}
