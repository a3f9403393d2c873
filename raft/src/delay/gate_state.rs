//! Pure: what of the gate a crash must leave: stored before it holds.
//! Format: gate_state, `docs/formats/gate_state.md`.

use crate::limits;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::wire::Reader;

/// Version this build writes.
pub const VERSION: u8 = 1;
/// Bytes of a state.
pub const STATE_BYTES: usize = 48;

/// What a person set the gate to, beside the delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Nothing. Kind 0.
    #[default]
    None,
    /// It stands where it stood, here, until it is released. Kind 1.
    Hold(Stamp),
    /// It goes to this stamp, whatever the delay says, and stands there until it is released. Kind 2.
    Target(Stamp),
}

impl Limit {
    /// The stamp the gate does not pass.
    #[must_use]
    pub fn stamp(self) -> Option<Stamp> {
        match self {
            Self::None => None,
            Self::Hold(stamp) | Self::Target(stamp) => Some(stamp),
        }
    }
}

/// The gate of a node, as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateState {
    /// Rises with every change.
    pub number: u64,
    /// Up to here, this stamp included, everything may be applied.
    pub gate: Stamp,
    /// How late, in ms.
    pub delay_ms: u64,
    /// What a person set.
    pub limit: Limit,
    /// What is here may be newer than the gate until the gate reaches this stamp: a snapshot that new was taken.
    pub void_until: Stamp,
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

impl GateState {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; STATE_BYTES] {
        let kind = match self.limit {
            Limit::None => 0,
            Limit::Hold(_) => 1,
            Limit::Target(_) => 2,
        };
        let limit = self.limit.stamp().unwrap_or_default();
        let mut out = [0; STATE_BYTES];
        out[..2].copy_from_slice(&[VERSION, kind]);
        let numbers = [self.number, self.gate.0, self.delay_ms, limit.0, self.void_until.0];
        for (to, number) in out[8..].chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_be_bytes());
        }
        out
    }

    /// The state that `bytes` spell.
    ///
    /// # Errors
    /// `Malformed`: another version, or not what the format allows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(malformed("an unknown version of a gate"));
        }
        let kind = reader.u8()?;
        if reader.array::<6>()? != [0; 6] {
            return Err(malformed("bytes that must be zero are not"));
        }
        let (number, gate, delay_ms) = (reader.u64()?, Stamp(reader.u64()?), reader.u64()?);
        let limit = match (kind, Stamp(reader.u64()?)) {
            (0, Stamp::ZERO) => Limit::None,
            (1, stamp) if stamp == gate => Limit::Hold(stamp),
            (2, stamp) if stamp >= gate => Limit::Target(stamp),
            _ => return Err(malformed("an impossible limit of a gate")),
        };
        let void_until = Stamp(reader.u64()?);
        reader.end()?;
        if delay_ms > limits::DELAY_MS_MAX {
            return Err(malformed("an impossible delay"));
        }
        Ok(Self { number, gate, delay_ms, limit, void_until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_impossible_is_refused() {
        let gate = Stamp::new(100, 3);
        let good = GateState { number: 4, gate, delay_ms: 60_000, ..GateState::default() };
        for limit in [Limit::None, Limit::Hold(gate), Limit::Target(gate), Limit::Target(gate.next())] {
            let state = GateState { limit, ..good };
            assert_eq!(GateState::decode(&state.encode()).unwrap(), state);
        }
        for bad in [
            GateState { limit: Limit::Hold(gate.next()), ..good },
            GateState { limit: Limit::Target(Stamp(gate.0 - 1)), ..good },
            GateState { delay_ms: limits::DELAY_MS_MAX + 1, ..good },
        ] {
            assert!(GateState::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        for (at, byte) in [(0, 0), (0, 2), (1, 3), (2, 1), (7, 1), (39, 1)] {
            let mut bytes = good.encode();
            bytes[at] = byte;
            assert!(GateState::decode(&bytes).is_err(), "{at}");
        }
        assert!(GateState::decode(&good.encode()[..47]).is_err());
        assert!(GateState::decode(&[good.encode().as_slice(), &[0]].concat()).is_err());
    }
}
