//! Pure: the row of a node.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_text, append_u64, malformed, read_name, read_text};
use crate::limits;
use engine::error::Damage;
use engine::ids::NodeId;
use engine::wire::{Reader, append_bytes32};

/// Version of the row of a node that is not delayed.
pub const VERSION: u8 = 1;
/// Version of the row of a delayed one.
pub const VERSION_DELAYED: u8 = 2;

/// What a node is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// It is given replicas. Number 1.
    #[default]
    Active,
    /// Its replicas go elsewhere. Number 2.
    Draining,
    /// It belongs to the cluster no more, and never again. Number 3.
    Removed,
}

impl NodeState {
    /// The number that stands for it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Draining => 2,
            Self::Removed => 3,
        }
    }

    /// What `number` stands for.
    ///
    /// # Errors
    /// `Malformed`: nothing.
    pub fn from_number(number: u8) -> Result<Self, Damage> {
        match number {
            1 => Ok(Self::Active),
            2 => Ok(Self::Draining),
            3 => Ok(Self::Removed),
            _ => Err(malformed("an unknown state of a node")),
        }
    }

    /// Whether it may become `next`. Who is removed stays so; who is lost may be removed at once.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self != Self::Removed && self != next
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id, never given twice.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where it stands: replicas are spread over regions.
    pub region: String,
    /// Where other nodes find it.
    pub peer_address: String,
    /// Where clients find it.
    pub client_address: String,
    /// What it is there for.
    pub state: NodeState,
    /// The serial number of its certificate: one with a lower number is refused, for those rise with time.
    pub certificate_serial: Vec<u8>,
    /// Rises by one with every change of this row.
    pub generation: u64,
    /// How late it applies what it stores, in milliseconds; 0: it is not delayed.
    pub delay_ms: u64,
}

impl NodeRow {
    /// The key of its row.
    #[must_use]
    pub fn key(id: NodeId) -> Vec<u8> {
        id.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let version = if self.is_delayed() { VERSION_DELAYED } else { VERSION };
        let mut out = vec![version, self.state.number()];
        append_u64(&mut out, self.generation);
        for text in [&self.name, &self.region, &self.peer_address, &self.client_address] {
            append_text(&mut out, text);
        }
        append_bytes32(&mut out, &self.certificate_serial);
        if self.is_delayed() {
            append_u64(&mut out, self.delay_ms);
        }
        out
    }

    /// Whether it applies late: then it never votes, leads or answers clients.
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        self.delay_ms > 0
    }

    /// Reads what [`NodeRow::key`] and [`NodeRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let id = NodeId(key.u64()?);
        key.end()?;
        let is_delayed = match reader.u8()? {
            VERSION => false,
            VERSION_DELAYED => true,
            _ => return Err(malformed("an unknown version")),
        };
        let row = Self {
            id,
            state: NodeState::from_number(reader.u8()?)?,
            generation: reader.u64()?,
            name: read_name(&mut reader)?,
            region: read_name(&mut reader)?,
            peer_address: read_text(&mut reader, limits::ADDRESS_BYTES_MAX)?,
            client_address: read_text(&mut reader, limits::ADDRESS_BYTES_MAX)?,
            certificate_serial: reader.bytes32(limits::SERIAL_BYTES_MAX)?.to_vec(),
            delay_ms: if is_delayed { reader.u64()? } else { 0 },
        };
        reader.end()?;
        if is_delayed && !limits::DELAY_MS.contains(&row.delay_ms) {
            return Err(malformed("a delay that none may have"));
        }
        if id.0 == 0 || row.generation == 0 {
            return Err(malformed("a node without id or generation"));
        }
        Ok(row)
    }
}
