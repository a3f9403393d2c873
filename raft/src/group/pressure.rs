//! Pure: may a group take one more command now? Each quantity has a limit; from half of it on writers are asked to slow down, at the
//! whole they are refused with a time to come again. So nothing grows without a bound, and the queue in front of the state machine
//! is never full: a full one would freeze heartbeats and votes too.

use crate::limits;

/// A quantity that has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Commands that wait for a proposal.
    Commands,
    /// Their bytes.
    CommandBytes,
    /// Entries not applied here.
    Unapplied,
    /// Their bytes.
    UnappliedBytes,
    /// Bytes that wait to be written to the log.
    LogQueueBytes,
    /// How hard the engine asks its writers to wait, in percent.
    Engine,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Commands that wait for a proposal.
    pub commands: u64,
    /// Their bytes.
    pub command_bytes: u64,
    /// Last index less applied index here. It grows too if the quorum does not store or apply as fast as this replica proposes.
    pub unapplied: u64,
    /// Bytes of those entries.
    pub unapplied_bytes: u64,
    /// Bytes that wait to be written to the log.
    pub log_queue_bytes: u64,
    /// How hard the engine asks its writers to wait, in percent: 100 is a stop.
    pub engine_percent: u64,
}

/// What to tell who wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Come in.
    None,
    /// Come in after this wait, in ms.
    Slow {
        /// What is more than half full.
        by: Quantity,
        /// How long, in ms.
        wait_ms: u64,
    },
    /// Not now.
    Refuse {
        /// What is full.
        by: Quantity,
        /// When to try again, in ms from now.
        retry_ms: u64,
    },
}

/// How hard a writer is asked to wait, and by what: by the quantity that is nearest to its limit.
#[must_use]
pub fn pressure(load: &Load) -> Pressure {
    let half_channel = limits::APPLY_CHANNEL_ENTRIES / 2;
    let all = [
        (Quantity::Commands, load.commands, limits::PROPOSE_COMMANDS_MAX),
        (Quantity::CommandBytes, load.command_bytes, limits::PROPOSE_BYTES_MAX),
        (Quantity::Unapplied, load.unapplied, half_channel),
        (Quantity::UnappliedBytes, load.unapplied_bytes, limits::UNAPPLIED_BYTES_MAX),
        (Quantity::LogQueueBytes, load.log_queue_bytes, limits::QUEUE_BYTES_SLOW as u64),
        (Quantity::Engine, load.engine_percent, 100),
    ];
    let percent = |now: u64, max: u64| u128::from(now) * 100 / u128::from(max);
    let fullest = all.iter().map(|(by, now, max)| (percent(*now, *max), *by)).max();
    let (full, by) = fullest.unwrap_or((0, Quantity::Engine));
    match full {
        0..50 => Pressure::None,
        50..100 => {
            let over = u64::try_from(full - 50).unwrap_or(50);
            Pressure::Slow { by, wait_ms: 1 + limits::SLOW_MS_MAX * over / 50 }
        }
        _ => {
            let times = u64::try_from(full / 100).unwrap_or(u64::MAX);
            Pressure::Refuse {
                by,
                retry_ms: limits::RETRY_MS.saturating_mul(times).min(limits::RETRY_MS_MAX),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_quantity_slows_at_half_and_refuses_at_its_limit() {
        type Field = fn(&mut Load) -> &mut u64;
        let half = limits::APPLY_CHANNEL_ENTRIES / 2;
        let table: [(Quantity, Field, u64); 6] = [
            (Quantity::Commands, |l| &mut l.commands, limits::PROPOSE_COMMANDS_MAX),
            (Quantity::CommandBytes, |l| &mut l.command_bytes, limits::PROPOSE_BYTES_MAX),
            (Quantity::Unapplied, |l| &mut l.unapplied, half),
            (Quantity::UnappliedBytes, |l| &mut l.unapplied_bytes, limits::UNAPPLIED_BYTES_MAX),
            (Quantity::LogQueueBytes, |l| &mut l.log_queue_bytes, limits::QUEUE_BYTES_SLOW as u64),
            (Quantity::Engine, |l| &mut l.engine_percent, 100),
        ];
        for (by, field, max) in table {
            let at = |now: u64| {
                let mut load = Load::default();
                *field(&mut load) = now;
                pressure(&load)
            };
            assert_eq!(at(max / 2 - 1), Pressure::None, "{by:?}");
            assert_eq!(at(max / 2), Pressure::Slow { by, wait_ms: 1 });
            let Pressure::Slow { by: named, wait_ms } = at(max - 1) else { panic!("{by:?}") };
            assert!(named == by && wait_ms <= limits::SLOW_MS_MAX);
            assert_eq!(at(max), Pressure::Refuse { by, retry_ms: limits::RETRY_MS });
            assert_eq!(at(u64::MAX), Pressure::Refuse { by, retry_ms: limits::RETRY_MS_MAX });
        }
    }

    #[test]
    fn the_fullest_speaks() {
        let load = Load { engine_percent: 60, unapplied: limits::APPLY_CHANNEL_ENTRIES, ..Load::default() };
        let wanted = Pressure::Refuse { by: Quantity::Unapplied, retry_ms: 2 * limits::RETRY_MS };
        assert_eq!(pressure(&load), wanted);
        assert_eq!(pressure(&Load::default()), Pressure::None);
    }
}
