//! Pure: what is kept with the applied position in a tablet's manifest: where the machine of its group stands.
//! Format: machine_note, `docs/formats/machine_note.md`.

use super::digest::{DIGEST_BYTES, Digest};
use crate::log::record::{append_log_id, log_id};
use crate::payload::{append_membership, read_membership};
use crate::types::{GroupId, LogId, Membership};
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::wire::Reader;

/// Version of the notes this build writes.
pub const VERSION: u8 = 1;

/// Where the machine of a group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The group.
    pub group: GroupId,
    /// The last entry applied.
    pub applied: Option<LogId>,
    /// The entry that said who belongs to the group.
    pub membership_at: Option<LogId>,
    /// Who does.
    pub membership: Membership,
    /// The last stamp given out. Nothing of this group comes at or below it any more.
    pub last: Stamp,
    /// What became of all commands.
    pub digest: Digest,
}

impl Note {
    /// That of a group of which nothing is applied.
    #[must_use]
    pub fn empty(group: GroupId) -> Self {
        Self { group, ..Self::default() }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + DIGEST_BYTES);
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.group.0.to_be_bytes());
        append_log_id(&mut out, self.applied);
        append_log_id(&mut out, self.membership_at);
        out.extend_from_slice(&self.last.0.to_be_bytes());
        out.extend_from_slice(&self.digest.bytes());
        append_membership(&mut out, &self.membership);
        out
    }

    /// Reads what [`Note::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != [VERSION, 0, 0, 0] {
            return Err(Damage::of(Nature::Malformed, "a note of an unknown version"));
        }
        let note = Self {
            group: GroupId(reader.u64()?),
            applied: log_id(&mut reader)?,
            membership_at: log_id(&mut reader)?,
            last: Stamp(reader.u64()?),
            digest: Digest::from_bytes(&reader.array()?),
            membership: read_membership(&mut reader)?,
        };
        reader.end()?;
        Ok(note)
    }
}
