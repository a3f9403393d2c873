//! Writes records into segments, one write at a time, and makes each durable. Knows nothing of who waits.

use super::record::Record;
use super::segment::{self, FileName, Header, LogName};
use super::states::States;
use super::tail;
use crate::error::Result;
use crate::limits;
use crate::planted::{self, Planted};
use crate::stats::Stats;
use crate::types::{GroupId, LogId};
use engine::disk::{Disk, DiskFile};
use engine::entropy::Entropy;
use engine::ids::NodeId;
use engine::sealed::{ChainKeys, Link, Sealer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of zeros written at a time into a new file.
const ZEROS_BYTES: usize = 256 << 10;

/// A segment that can be read.
pub(super) struct SegmentFile {
    pub(super) header: Header,
    pub(super) file: Arc<dyn DiskFile>,
}

/// The greatest index of each group that a segment holds an entry of.
pub(super) type Contents = BTreeMap<GroupId, u64>;

/// What the log is written with.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) dir: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) node: NodeId,
    pub(super) generation: u64,
    pub(super) log: LogName,
    pub(super) stats: Arc<Stats>,
}

/// Makes a file of zeros for a segment of this number.
type Make = fn(&Tools, u64) -> Result<Arc<dyn DiskFile>>;

/// Where a writer goes on.
pub(super) struct Resume {
    /// Number of the last segment there is; 0 if there is none.
    pub(super) number: u64,
    pub(super) position: u64,
    pub(super) link: Link,
    pub(super) states: States,
    pub(super) contents: BTreeMap<u64, Contents>,
    pub(super) spares: Vec<u64>,
}

/// Writes records into segments.
pub(super) struct Writer {
    tools: Tools,
    current: Arc<SegmentFile>,
    chain: ChainKeys,
    /// Whether the segment has its state yet.
    is_opened: bool,
    at: Resume,
}

/// What came of a write.
pub(super) struct Written {
    /// Log position behind it: all before is durable.
    pub(super) end: u64,
    /// Where entries were written, in the order of their records.
    pub(super) places: Vec<(GroupId, LogId, u64)>,
    /// The segment begun for it, if one was.
    pub(super) begun: Option<Arc<SegmentFile>>,
}

pub(crate) fn io(verb: &'static str, path: &Path, source: std::io::Error) -> engine::Error {
    engine::Error::Io { verb, path: path.to_owned(), source }
}

impl Tools {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn sync_names(&self) -> Result<()> {
        Ok(self.disk.sync_dir(&self.dir).map_err(|error| io("sync folder", &self.dir, error))?)
    }

    /// A file of zeros under a spare name, durable but for its name. `goes_on` is asked after every piece but the last; `None` if it
    /// does not.
    pub(super) fn new_spare(
        &self,
        number: u64,
        mut goes_on: impl FnMut(&dyn DiskFile) -> std::io::Result<bool>,
    ) -> Result<Option<Arc<dyn DiskFile>>> {
        let path = self.path(&segment::spare_name(number));
        let file = self.disk.create(&path).map_err(|error| io("create", &path, error))?;
        let zeros = vec![0; ZEROS_BYTES.min(usize::try_from(self.segment_bytes).unwrap_or(ZEROS_BYTES))];
        let mut at = 0;
        while at < self.segment_bytes {
            if at > 0 && !goes_on(&*file).map_err(|error| io("sync", &path, error))? {
                return Ok(None);
            }
            let piece = zeros.len().min(usize::try_from(self.segment_bytes - at).unwrap_or(zeros.len()));
            file.write_all_at(&zeros[..piece], at).map_err(|error| io("write", &path, error))?;
            at += piece as u64;
        }
        file.sync().map_err(|error| io("sync", &path, error))?;
        Ok(Some(file))
    }

    /// A file of zeros, whoever waits for it.
    fn new_filled(&self, number: u64) -> Result<Arc<dyn DiskFile>> {
        Ok(self.new_spare(number, |_| Ok(true))?.expect("it goes on to the end"))
    }

    /// A file of the same length without blocks: it reads as zeros too, and is there at once. Syncs of it write metadata, which is the
    /// lesser evil if everybody who appends would wait for a file to be filled.
    fn new_hollow(&self, number: u64) -> Result<Arc<dyn DiskFile>> {
        let path = self.path(&segment::spare_name(number));
        let file = self.disk.create(&path).map_err(|error| io("create", &path, error))?;
        file.set_len(self.segment_bytes).map_err(|error| io("lengthen", &path, error))?;
        self.stats.log.hollow_segments.add(1);
        Ok(file)
    }

    /// A spare is no more.
    pub(super) fn remove_spare(&self, number: u64) -> Result<()> {
        let path = self.path(&segment::spare_name(number));
        Ok(self.disk.remove(&path).map_err(|error| io("remove", &path, error))?)
    }

    /// Begins the segment after those that `at` knows of, in a file that waits for it, or else one that `make` makes.
    fn begin(&self, at: &mut Resume, make: Make) -> Result<(Arc<SegmentFile>, ChainKeys)> {
        let (spare, file) = match at.spares.pop() {
            Some(spare) => {
                let path = self.path(&segment::spare_name(spare));
                (spare, self.disk.open(&path).map_err(|error| io("open", &path, error))?)
            }
            None => (at.number + 1, make(self, at.number + 1)?),
        };
        let mut salt = [0; 16];
        self.entropy.fill(&mut salt);
        let header = Header {
            cluster: self.sealer.cluster(),
            generation: self.generation,
            node: self.node,
            log: self.log,
            number: at.number + 1,
            first_position: at.position,
            bytes: self.segment_bytes,
            salt,
            epoch: self.sealer.chain_epoch(self.node)?,
            link: at.link,
        };
        let chain = self.sealer.chain(self.node, header.epoch, &header.name())?;
        let (from, to) = (segment::spare_name(spare), segment::file_name(header.number));
        let (from, to) = (self.path(&from), self.path(&to));
        // The header is durable before the file has its name: a segment never lacks it.
        file.write_all_at(&header.encode(), 0).map_err(|error| io("write", &from, error))?;
        file.sync().map_err(|error| io("sync", &from, error))?;
        self.disk.rename(&from, &to).map_err(|error| io("rename", &from, error))?;
        if !planted::is(Planted::SkipNameSync) {
            self.sync_names()?;
        }
        at.number = header.number;
        at.contents.insert(header.number, Contents::new());
        self.stats.log.begun_segments.add(1);
        Ok((Arc::new(SegmentFile { header, file }), chain))
    }
}

impl Writer {
    /// Goes on in a new segment: a file of an earlier start is never written to again.
    pub(super) fn begin(tools: Tools, mut at: Resume) -> Result<Self> {
        let (current, chain) = tools.begin(&mut at, Tools::new_filled)?;
        Ok(Self { tools, current, chain, is_opened: false, at })
    }

    /// The segment that is written to.
    pub(super) fn current(&self) -> &Arc<SegmentFile> {
        &self.current
    }

    fn encode(&self, records: &[Record]) -> (Vec<u8>, Link, Vec<(GroupId, LogId, u64)>) {
        let mut places = Vec::new();
        let (bytes, link) = tail::write(
            &self.current.header,
            &self.chain,
            self.at.position,
            &self.at.link,
            records,
            |record, position| {
                if let Record::Entry(group, entry) | Record::Moved(group, entry) = record {
                    places.push((*group, entry.log_id, position));
                }
            },
        );
        (bytes, link, places)
    }

    /// Writes `records` and makes them durable, in a new segment if this one has no room. After an error nothing is known of
    /// them, and nothing may be written any more.
    ///
    /// # Errors
    /// Disk, keys.
    pub(super) fn write(&mut self, mut records: Vec<Record>) -> Result<Written> {
        let mut begun = None;
        if !self.is_opened {
            records.splice(0..0, self.at.states.opening());
        }
        let mut encoded = self.encode(&records);
        if self.at.position + encoded.0.len() as u64 > self.current.header.room_end() {
            let is_opened = self.is_opened;
            (self.current, self.chain) = self.tools.begin(&mut self.at, Tools::new_hollow)?;
            begun = Some(self.current.clone());
            if is_opened {
                records.splice(0..0, self.at.states.opening());
            }
            encoded = self.encode(&records);
        }
        let (bytes, link, places) = encoded;
        let path = self.tools.path(&segment::file_name(self.at.number));
        if self.at.position + bytes.len() as u64 > self.current.header.room_end() {
            let full = std::io::Error::other("a write larger than a segment");
            return Err(io("write", &path, full).into());
        }
        let offset = self.current.header.offset(self.at.position);
        self.current.file.write_all_at(&bytes, offset).map_err(|error| io("write", &path, error))?;
        let began = self.tools.stats.now();
        self.current.file.sync().map_err(|error| io("sync", &path, error))?;
        self.tools.stats.times.sync.took(began, self.tools.stats.now());
        self.count(&records, bytes.len());
        self.is_opened = true;
        self.at.position += bytes.len() as u64;
        self.at.link = link;
        self.note(&records);
        Ok(Written { end: self.at.position, places, begun })
    }

    /// Counts a write that is durable.
    fn count(&self, records: &[Record], bytes: usize) {
        let stats = &self.tools.stats.log;
        let moved = records.iter().filter(|record| matches!(record, Record::Moved(..))).count();
        stats.written_records.add(records.len() as u64);
        stats.written_bytes.add(bytes as u64);
        stats.write_syncs.add(1);
        stats.moved_entries.add(moved as u64);
    }

    /// Tells how many files wait to become segments.
    pub(super) fn measure_spares(&self) {
        self.tools.stats.log.spare_segments.set(self.at.spares.len() as u64);
    }

    /// Keeps the picture. Record by record: what is closed in a write may be born again in it.
    fn note(&mut self, records: &[Record]) {
        let Resume { number, states, contents, .. } = &mut self.at;
        for record in records {
            states.apply(record);
            match record {
                Record::Entry(group, entry) | Record::Moved(group, entry) => {
                    let greatest = contents.entry(*number).or_default().entry(*group).or_default();
                    *greatest = (*greatest).max(entry.log_id.index);
                }
                Record::Close(group, _) => contents.values_mut().for_each(|one| {
                    one.remove(group);
                }),
                _ => {}
            }
        }
    }

    /// The number of a file to be filled ahead, and what to fill it with; `None` if enough are ready. No segment will ever have
    /// such a number, so that none that is freed later takes its name.
    pub(super) fn spare_wanted(&self) -> Option<(Tools, u64)> {
        let spares = &self.at.spares;
        let number = (0..=u64::MAX).rev().find(|number| !spares.contains(number))?;
        (spares.len() < limits::SPARES_AHEAD).then(|| (self.tools.clone(), number))
    }

    /// A file is filled.
    pub(super) fn add_spare(&mut self, number: u64) {
        self.at.spares.push(number);
        self.measure_spares();
    }

    /// Nothing of the segment is needed any more: what lived there is durable elsewhere.
    pub(super) fn empty(&mut self, number: u64) {
        if let Some(contents) = self.at.contents.get_mut(&number) {
            contents.clear();
        }
    }

    /// Frees the oldest segments while nothing in them lives, and returns their numbers. What says so is durable: it has been
    /// written.
    ///
    /// # Errors
    /// Disk.
    pub(super) fn free(&mut self) -> Result<Vec<u64>> {
        let mut freed = Vec::new();
        while let Some((number, contents)) = self.at.contents.first_key_value() {
            let is_dead = |group: GroupId, greatest: u64| {
                let purged = self.at.states.get(group).and_then(|state| state.purged);
                purged.is_some_and(|purged| purged.index >= greatest)
            };
            let is_needed = *number == self.at.number
                || contents.iter().any(|(group, greatest)| !is_dead(*group, *greatest));
            if is_needed {
                break;
            }
            let number = *number;
            let path = self.tools.path(&segment::file_name(number));
            // A crash may have left a spare of the same number.
            let is_free = !self.at.spares.contains(&number);
            if is_free && self.at.spares.len() < limits::SPARE_SEGMENTS_MAX {
                let spare = self.tools.path(&segment::spare_name(number));
                self.tools.disk.rename(&path, &spare).map_err(|error| io("rename", &path, error))?;
                self.at.spares.push(number);
            } else {
                self.tools.disk.remove(&path).map_err(|error| io("remove", &path, error))?;
            }
            self.tools.sync_names()?;
            self.at.contents.remove(&number);
            freed.push(number);
        }
        Ok(freed)
    }
}

/// The files of the log in `dir`: segments, and spares.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<(Vec<u64>, Vec<u64>)> {
    let names = disk.list(dir).map_err(|error| io("list", dir, error))?;
    let (mut segments, mut spares) = (Vec::new(), Vec::new());
    for name in names {
        match FileName::parse(&name) {
            Some(FileName::Segment(number)) => segments.push(number),
            Some(FileName::Spare(number)) => spares.push(number),
            None => {}
        }
    }
    segments.sort_unstable();
    Ok((segments, spares))
}
