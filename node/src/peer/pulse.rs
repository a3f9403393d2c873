//! Pure: whether a link still lives, judged at every beat by what was seen since the one before.

use super::limits::{FRAME_BEATS_MAX, SILENT_BEATS_MAX};

/// What was seen of a link until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Reads that brought something.
    pub reads: u64,
    /// Frames that came whole.
    pub frames: u64,
    /// Part of another has come.
    pub has_part: bool,
    /// Nothing is read now, because too much is under way here.
    pub is_deaf: bool,
    /// Writes.
    pub writes: u64,
}

/// What to do at a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Rest,
    /// Say that we live.
    Ping,
    /// Give the link up.
    Lost(&'static str),
}

/// The pulse of a link.
#[derive(Debug, Default)]
pub struct Pulse {
    before: Seen,
    silent_beats: u32,
    part_beats: u32,
}

impl Pulse {
    /// The next beat.
    pub fn beat(&mut self, seen: Seen) -> Beat {
        let before = std::mem::replace(&mut self.before, seen);
        let is_heard = seen.reads != before.reads || seen.is_deaf || before.is_deaf;
        self.silent_beats = if is_heard { 0 } else { self.silent_beats + 1 };
        let is_same_part = seen.has_part && before.has_part && seen.frames == before.frames;
        let waits = is_same_part && !seen.is_deaf && !before.is_deaf;
        self.part_beats = if waits { self.part_beats + 1 } else { 0 };
        if self.silent_beats >= SILENT_BEATS_MAX {
            return Beat::Lost("nothing is heard any more");
        }
        if self.part_beats >= FRAME_BEATS_MAX {
            return Beat::Lost("a frame takes too long to come");
        }
        if seen.writes == before.writes { Beat::Ping } else { Beat::Rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first beat at which a link that shows `seen(n)` at beat n is given up, and why.
    fn lost(seen: impl Fn(u64) -> Seen) -> Option<(u64, &'static str)> {
        let mut pulse = Pulse::default();
        (1..1_000).find_map(|beat| match pulse.beat(seen(beat)) {
            Beat::Lost(why) => Some((beat, why)),
            _ => None,
        })
    }

    #[test]
    fn a_link_that_is_silent_is_lost_unless_nobody_listens() {
        let silent = u64::from(SILENT_BEATS_MAX);
        assert_eq!(lost(|_| Seen::default()), Some((silent, "nothing is heard any more")));
        assert_eq!(lost(|n| Seen { reads: n / (silent - 1), ..Seen::default() }), None);
        assert_eq!(lost(|_| Seen { is_deaf: true, ..Seen::default() }), None);
    }

    #[test]
    fn a_frame_that_drips_is_lost() {
        let drips = |n| Seen { reads: n, has_part: true, ..Seen::default() };
        assert_eq!(lost(drips), Some((u64::from(FRAME_BEATS_MAX) + 1, "a frame takes too long to come")));
        assert_eq!(lost(|n| Seen { frames: n / 50, ..drips(n) }), None);
        assert_eq!(lost(|n| Seen { is_deaf: true, ..drips(n) }), None);
    }

    #[test]
    fn whoever_has_written_nothing_says_that_it_lives() {
        let mut pulse = Pulse::default();
        let seen = |reads, writes| Seen { reads, writes, ..Seen::default() };
        assert_eq!(pulse.beat(seen(1, 0)), Beat::Ping);
        assert_eq!(pulse.beat(seen(2, 1)), Beat::Rest);
        assert_eq!(pulse.beat(seen(3, 1)), Beat::Ping);
    }
}
