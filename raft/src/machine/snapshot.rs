//! A snapshot of a group: the pinned list of the tablet's files at its durable position, and what the note beside it says. Making
//! one flushes nothing and copies nothing.

use super::note::Note;
use crate::error::Result;
use crate::type_config::{self, StoredMembership, Types};
use engine::checkpoint::Checkpoint;
use engine::error::Damage;
use engine::tablet::Tablet;
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use std::path::PathBuf;
use std::sync::Arc;

/// A snapshot here, or one that has come from a peer.
#[derive(Clone)]
pub enum Parcel {
    /// Of the tablet here.
    Here(Arc<Checkpoint>, Note),
    /// From a peer: listing and missing files are in this folder.
    Spooled(PathBuf, Note),
    /// From a peer, verified: it is a tablet already, which counts once it is installed.
    Staged(Arc<Tablet>, Note),
}

impl Parcel {
    /// What it holds.
    #[must_use]
    pub fn note(&self) -> &Note {
        match self {
            Self::Here(_, note) | Self::Spooled(_, note) | Self::Staged(_, note) => note,
        }
    }
}

/// Who belonged to the group when the note was written.
///
/// # Errors
/// `Malformed`: a membership that cannot be.
pub(crate) fn stored_membership(note: &Note) -> Result<StoredMembership, Damage> {
    let at = note.membership_at.map(type_config::raft_log_id);
    Ok(StoredMembership::new(at, type_config::raft_membership(&note.membership)?))
}

/// As consensus wants it.
///
/// # Errors
/// `Damaged`: as [`stored_membership`].
pub(crate) fn of(parcel: Parcel) -> Result<SnapshotOf<Types, Parcel>> {
    let note = parcel.note();
    let last_membership = stored_membership(note)?;
    let meta =
        SnapshotMetaOf::<Types> { last_log_id: note.applied.map(type_config::raft_log_id), last_membership };
    Ok(SnapshotOf::<Types, Parcel> { meta, snapshot: parcel })
}
