//! How full the disk of the node is, and what follows from that: from the warning on it says so; from the stop on it takes no writes, and
//! leads go to nodes that have room; a little before the end it takes nothing of other nodes either, because a log that finds no space is
//! fenced. Reads, and what the meta group is told, go on: that is how space is made.

use crate::finding::{self, Finding};
use crate::limits::{DISK_BACK_PERCENT, DISK_RETRY_MS};
use crate::refused::Refused;
use proto::errors::code;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free for this process.
    pub free_bytes: u64,
    /// Bytes there are.
    pub whole_bytes: u64,
}

/// Says how much room there is.
pub trait Space: Send + Sync {
    /// How much there is now.
    ///
    /// # Errors
    /// The disk does not say.
    fn room(&self) -> io::Result<Room>;
}

/// The disk on which a folder lies.
#[derive(Clone, Debug)]
pub struct SystemSpace(pub PathBuf);

impl Space for SystemSpace {
    fn room(&self) -> io::Result<Room> {
        let found = rustix::fs::statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // What is kept back for the system is neither free nor used.
        let used = bytes(found.f_blocks.saturating_sub(found.f_bfree));
        let free_bytes = bytes(found.f_bavail);
        Ok(Room { free_bytes, whole_bytes: used.saturating_add(free_bytes) })
    }
}

/// From how full on what follows, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// It is said.
    pub warn: u64,
    /// No writes are taken.
    pub stop: u64,
}

impl Marks {
    /// Nothing of other nodes is taken: half of what the stop leaves is for merging, and for what the meta group is told.
    fn brim(self) -> u64 {
        self.stop.saturating_add(100) / 2
    }
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    #[default]
    Roomy,
    /// It should be looked after.
    Tight,
    /// It takes no writes of clients.
    Full,
    /// It takes nothing of other nodes either.
    Brimming,
}

impl Room {
    /// How much of a hundred is used, rounded up: what is not known to be free is not.
    #[must_use]
    pub fn used_percent(self) -> u64 {
        let used = u128::from(self.whole_bytes.saturating_sub(self.free_bytes));
        let percent = (used * 100).div_ceil(u128::from(self.whole_bytes.max(1)));
        u64::try_from(percent).unwrap_or(100).min(100)
    }
}

/// Pure: the level that follows from one. It is left only when a little more room is there than it was entered with, so that it does not
/// change with every table that comes and goes.
#[must_use]
pub fn level(before: Level, used_percent: u64, marks: Marks) -> Level {
    let mark =
        |level: Level, mark: u64| if before >= level { mark.saturating_sub(DISK_BACK_PERCENT) } else { mark };
    if used_percent >= mark(Level::Brimming, marks.brim().max(marks.stop + 1)) {
        Level::Brimming
    } else if used_percent >= mark(Level::Full, marks.stop) {
        Level::Full
    } else if used_percent >= mark(Level::Tight, marks.warn) {
        Level::Tight
    } else {
        Level::Roomy
    }
}

/// What is known of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How full it is.
    pub level: Level,
    /// How much room there was at the last look; nothing if the disk did not say.
    pub room: Option<Room>,
}

/// Looks after the disk.
pub struct Disk {
    space: Arc<dyn Space>,
    marks: Mutex<Marks>,
    known: Mutex<Known>,
}

impl Disk {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn new(space: Arc<dyn Space>, marks: Marks) -> Self {
        Self { space, marks: Mutex::new(marks), known: Mutex::default() }
    }

    /// One that was looked at once, so that what starts on a full disk takes no write from the first moment on.
    #[must_use]
    pub fn looked(space: Arc<dyn Space>, marks: Marks) -> Arc<Self> {
        let disk = Self::new(space, marks);
        let (_, level) = disk.look();
        if level >= Level::Full {
            let used_percent = disk.known().room.map(Room::used_percent);
            tracing::error!(used_percent, "the disk is full: no writes are taken here");
        }
        Arc::new(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows from how full on, from the next look on.
    pub fn set_marks(&self, marks: Marks) {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = marks;
    }

    fn marks(&self) -> Marks {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last look saw.
    #[must_use]
    pub fn known(&self) -> Known {
        *self.lock()
    }

    /// Looks once; it may wait for the disk. Returns the level before and the level now.
    pub fn look(&self) -> (Level, Level) {
        let (room, marks) = (self.space.room().ok(), self.marks());
        let mut known = self.lock();
        let before = known.level;
        known.room = room;
        // Of a disk that says nothing, what was known is still the best guess.
        known.level = room.map_or(before, |room| level(before, room.used_percent(), marks));
        (before, known.level)
    }

    /// Whether it takes writes.
    ///
    /// # Errors
    /// `DISK_FULL`.
    pub fn check(&self) -> Result<(), Refused> {
        match self.known().level {
            Level::Full | Level::Brimming => Err(Refused::new(code::DISK_FULL).after(DISK_RETRY_MS)),
            Level::Roomy | Level::Tight => Ok(()),
        }
    }

    /// What a person should know of it.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        let Known { level, room } = self.known();
        let Some(room) = room else {
            return Some(finding::DISK_SILENT.found("the disk does not say how much space is free"));
        };
        let full =
            format!("the disk is {} % full, {} MiB are free", room.used_percent(), room.free_bytes >> 20);
        match level {
            Level::Roomy => None,
            Level::Tight => {
                let text = format!("{full}: at {} % writes stop", self.marks().stop);
                Some(finding::DISK_TIGHT.found(text))
            }
            Level::Full => {
                Some(finding::DISK_FULL.found(format!("{full}: no writes are taken here, reads go on")))
            }
            Level::Brimming => {
                let text = format!("{full}: replicas here fall behind, reads go on");
                Some(finding::DISK_BRIMMING.found(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { warn: 80, stop: 95 };

    #[test]
    fn a_level_is_entered_at_its_mark_and_left_a_little_below() {
        use Level::{Brimming, Full, Roomy, Tight};
        for (before, used, after) in [
            (Roomy, 79, Roomy),
            (Roomy, 80, Tight),
            (Tight, 79, Tight),
            (Tight, 78, Tight),
            (Tight, 77, Roomy),
            (Tight, 94, Tight),
            (Tight, 95, Full),
            (Full, 96, Full),
            (Full, 97, Brimming),
            (Roomy, 100, Brimming),
            (Brimming, 96, Brimming),
            (Brimming, 95, Brimming),
            (Brimming, 94, Full),
            (Brimming, 93, Full),
            (Brimming, 92, Tight),
            (Full, 94, Full),
            (Full, 93, Full),
            (Full, 92, Tight),
            (Full, 10, Roomy),
        ] {
            assert_eq!(level(before, used, MARKS), after, "{before:?} {used}");
        }
    }

    #[test]
    fn what_is_used_is_rounded_up() {
        let room = |free_bytes, whole_bytes| Room { free_bytes, whole_bytes }.used_percent();
        assert_eq!((room(100, 100), room(99, 1_000), room(0, 100)), (0, 91, 100));
        assert_eq!((room(0, 0), room(5, 0), room(u64::MAX, u64::MAX), room(0, u64::MAX)), (0, 0, 0, 100));
    }

    #[test]
    fn the_disk_of_this_machine_is_asked() {
        let room = SystemSpace(std::env::temp_dir()).room().unwrap();
        assert!(room.whole_bytes > 0 && room.free_bytes <= room.whole_bytes, "{room:?}");
        assert!(SystemSpace("/no/such/folder".into()).room().is_err());
    }

    #[test]
    fn a_disk_that_says_nothing_keeps_its_level() {
        struct Told(Mutex<io::Result<Room>>);
        impl Space for Told {
            fn room(&self) -> io::Result<Room> {
                let told = self.0.lock().unwrap();
                told.as_ref().copied().map_err(|_| io::ErrorKind::Other.into())
            }
        }
        let space = Arc::new(Told(Mutex::new(Ok(Room { free_bytes: 1, whole_bytes: 100 }))));
        let disk = Disk::new(space.clone(), MARKS);
        assert!(disk.check().is_ok());
        assert_eq!(disk.look(), (Level::Roomy, Level::Brimming));
        assert_eq!(disk.check().unwrap_err().code, code::DISK_FULL);
        *space.0.lock().unwrap() = Err(io::ErrorKind::Other.into());
        assert_eq!(disk.look(), (Level::Brimming, Level::Brimming));
        assert!(disk.finding().unwrap().text.contains("does not say"));
        *space.0.lock().unwrap() = Ok(Room { free_bytes: 100, whole_bytes: 100 });
        assert_eq!(disk.look(), (Level::Brimming, Level::Roomy));
        assert!(disk.check().is_ok() && disk.finding().is_none());
    }
}
