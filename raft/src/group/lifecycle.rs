//! Pure: the life of a replica: created, joining, serving, leaving, gone; from joining and serving also fenced or parked.
//!
//! A replica is created by a row of the meta group or an entry of a split, never by a message. It goes one way: who is leaving never
//! serves again, who is gone never comes back, and a fenced replica can only leave.

use std::fmt;

/// Where a replica stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Asked for; its birth is not durable yet.
    #[default]
    Created,
    /// Its birth is durable; it is being filled.
    Joining,
    /// It does all that its role is for.
    Serving,
    /// Something it must rely on is broken here: it does nothing more.
    Fenced,
    /// A delayed replica that was offered a snapshot newer than its gate: it stands, and keeps what it has.
    Parked,
    /// The membership without it is committed.
    Leaving,
    /// Its end is durable. Its id is never used again.
    Gone,
}

/// What happens to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its birth is durable in the log.
    Opened,
    /// It has caught up, or was born whole.
    Filled,
    /// A storage error, a broken invariant, or too many panics.
    Broke,
    /// A snapshot newer than the gate was refused.
    Outlived,
    /// The log goes on without a hole, or a snapshot was taken.
    Mended,
    /// The membership without it is committed.
    Removed,
    /// Its core is down, all its tokens have fired, and its end is durable in the log.
    Closed,
}

/// An event that cannot be at this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// The stage.
    pub stage: Stage,
    /// The event.
    pub event: Event,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 7] =
        [Self::Created, Self::Joining, Self::Serving, Self::Fenced, Self::Parked, Self::Leaving, Self::Gone];

    /// The stage after `event`.
    ///
    /// # Errors
    /// `Impossible`: it cannot happen now. Nothing changed.
    pub fn after(self, event: Event) -> Result<Self, Impossible> {
        match (self, event) {
            (Self::Created, Event::Opened) => Ok(Self::Joining),
            // A birth that never became durable leaves nothing behind.
            (Self::Created, Event::Removed) => Ok(Self::Gone),
            (Self::Joining, Event::Filled) | (Self::Parked, Event::Mended) => Ok(Self::Serving),
            (Self::Joining | Self::Serving | Self::Parked, Event::Broke) => Ok(Self::Fenced),
            (Self::Joining | Self::Serving | Self::Parked, Event::Outlived) => Ok(Self::Parked),
            (Self::Joining | Self::Serving | Self::Fenced | Self::Parked, Event::Removed) => {
                Ok(Self::Leaving)
            }
            (Self::Leaving, Event::Closed) => Ok(Self::Gone),
            // What breaks while it goes breaks nothing more.
            (Self::Fenced | Self::Leaving, Event::Broke) => Ok(self),
            (stage, event) => Err(Impossible { stage, event }),
        }
    }

    /// Whether it may vote, lead, and acknowledge entries, as far as its role does.
    #[must_use]
    pub fn takes_part(self) -> bool {
        matches!(self, Self::Joining | Self::Serving)
    }

    /// Whether it stores entries that come. A parked one does, should the log go on without a hole.
    #[must_use]
    pub fn stores(self) -> bool {
        matches!(self, Self::Joining | Self::Serving | Self::Parked)
    }

    /// Whether clients may read here.
    #[must_use]
    pub fn allows_reads(self) -> bool {
        self == Self::Serving
    }

    /// Whether its files and its log must stay.
    #[must_use]
    pub fn needs_files(self) -> bool {
        !matches!(self, Self::Created | Self::Gone)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Joining => "joining",
            Self::Serving => "serving",
            Self::Fenced => "fenced",
            Self::Parked => "parked",
            Self::Leaving => "leaving",
            Self::Gone => "gone",
        })
    }
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot happen to a replica that is {}", self.event, self.stage)
    }
}

impl std::error::Error for Impossible {}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::*;

    const EVENTS: [Event; 7] = [Opened, Filled, Broke, Outlived, Mended, Removed, Closed];

    #[test]
    fn every_step_is_in_the_table_or_refused() {
        use Stage::*;
        let table = [
            (Created, vec![(Opened, Joining), (Removed, Gone)]),
            (Joining, vec![(Filled, Serving), (Broke, Fenced), (Outlived, Parked), (Removed, Leaving)]),
            (Serving, vec![(Broke, Fenced), (Outlived, Parked), (Removed, Leaving)]),
            (Fenced, vec![(Broke, Fenced), (Removed, Leaving)]),
            (Parked, vec![(Broke, Fenced), (Outlived, Parked), (Mended, Serving), (Removed, Leaving)]),
            (Leaving, vec![(Broke, Leaving), (Closed, Gone)]),
            (Gone, vec![]),
        ];
        for (stage, steps) in table {
            for event in EVENTS {
                let wanted = steps.iter().find(|(of, _)| *of == event).map(|(_, to)| *to);
                assert_eq!(stage.after(event).ok(), wanted, "{stage} {event:?}");
            }
        }
    }

    #[test]
    fn whoever_stopped_never_takes_part_again() {
        let mut seen: std::collections::BTreeSet<Stage> = [Stage::Fenced, Stage::Leaving].into();
        for _ in Stage::ALL {
            let next: Vec<Stage> = seen
                .iter()
                .flat_map(|stage| EVENTS.iter().filter_map(|event| stage.after(*event).ok()))
                .collect();
            seen.extend(next);
        }
        assert!(seen.iter().all(|stage| !stage.takes_part() && !stage.stores() && !stage.allows_reads()));
        assert!(seen.contains(&Stage::Gone));
    }

    #[test]
    fn each_stage_allows_what_it_says() {
        let allowed = |stage: Stage| {
            [stage.takes_part(), stage.stores(), stage.allows_reads(), stage.needs_files()].map(u8::from)
        };
        let wanted =
            [[0, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1], [0; 4]];
        assert_eq!(Stage::ALL.map(allowed), wanted);
    }
}
