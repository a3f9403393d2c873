//! Pure: how large the parts of a log may be, and whether they fit one another.

use super::record::BATCH_RECORD_BYTES;
use super::segment;
use crate::error::{Error, Result};
use crate::limits;
use std::path::PathBuf;

/// Settings of a log. Read once, when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The folder that is this log's alone.
    pub dir: PathBuf,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of a write, after which the rest waits for the next.
    pub write_bytes: usize,
    /// Bytes of written entries kept in memory.
    pub cache_bytes: usize,
    /// Segments from which on the oldest is emptied if little of it lives, by writing that again.
    pub segments_kept: usize,
    /// Bytes of an entry's payload.
    pub entry_bytes_max: usize,
    /// Groups that live or have lived here.
    pub groups_max: usize,
    /// Peers whose marks are kept.
    pub peers_max: usize,
    /// Number of the cluster's life line.
    pub generation: u64,
}

impl LogConfig {
    /// Settings for production.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: limits::SEGMENT_BYTES,
            write_bytes: limits::WRITE_BYTES,
            cache_bytes: limits::CACHE_BYTES,
            segments_kept: limits::SEGMENTS_KEPT,
            entry_bytes_max: limits::ENTRY_BYTES_MAX,
            groups_max: limits::GROUPS_MAX,
            peers_max: limits::MARKS_MAX,
            generation: 1,
        }
    }

    /// The largest write there can be: what opens a segment, what waits, and one entry over what a write should be. A segment has to hold it.
    #[must_use]
    pub fn largest_write_bytes(&self) -> u64 {
        let opening = self.groups_max.saturating_mul(GROUP_BYTES) + self.peers_max.saturating_mul(MARK_BYTES);
        let entry = self.entry_bytes_max.saturating_add(RECORD_ROOM_BYTES);
        let ends = segment::HEADER_BYTES as usize + BATCH_RECORD_BYTES + 4 * RECORD_ROOM_BYTES;
        [opening, self.write_bytes, entry, ends].into_iter().fold(0, usize::saturating_add) as u64
    }

    /// Whether a write always fits a segment.
    pub(super) fn check(&self) -> Result<()> {
        let is_sane = self.segment_bytes >= limits::SEGMENT_BYTES_MIN
            && self.segment_bytes <= limits::SEGMENT_BYTES
            && self.entry_bytes_max <= limits::ENTRY_BYTES_MAX
            && self.groups_max <= limits::GROUPS_MAX
            && self.peers_max <= limits::MARKS_MAX
            && self.largest_write_bytes() <= self.segment_bytes;
        if is_sane { Ok(()) } else { Err(Error::Invalid("a write must fit a segment; see LogConfig")) }
    }
}

/// Bytes that a group takes at most in what opens a segment: its state, its manifest, and a committed marker.
const GROUP_BYTES: usize = 128 + 80 + 64;
/// Bytes of a mark.
const MARK_BYTES: usize = 32;
/// Bytes of a record beside its payload, with room to spare.
const RECORD_ROOM_BYTES: usize = 128;
