//! Pure: the list of row kinds, numbered for ever, and the keys of their rows.
//! Format: catalog_rows, `docs/formats/catalog_rows.md`.

use crate::error::{Damage, Nature};
use crate::ids::TabletId;
use crate::wire::Reader;

/// Name of the node-local row that says whose catalog this is.
pub const IDENTITY: u32 = 1;

const MANIFEST_EDIT: u8 = 1;
const NODE_LOCAL: u8 = 2;

/// A row of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// An edit of a tablet's manifest. Row kind 1.
    ManifestEdit {
        /// The tablet.
        tablet: TabletId,
        /// Its number, from 1 without gap.
        sequence: u64,
    },
    /// A row of the node's own. Row kind 2.
    NodeLocal {
        /// Which one; numbered for ever by whoever stores it.
        name: u32,
    },
}

impl RowKey {
    /// The row's key. Keys sort by kind, then by their numbers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::ManifestEdit { tablet, sequence } => {
                let mut out = vec![MANIFEST_EDIT];
                out.extend_from_slice(&tablet.0.to_be_bytes());
                out.extend_from_slice(&sequence.to_be_bytes());
                out
            }
            Self::NodeLocal { name } => {
                let mut out = vec![NODE_LOCAL];
                out.extend_from_slice(&name.to_be_bytes());
                out
            }
        }
    }

    /// Reads a row's key.
    ///
    /// # Errors
    /// `Damaged`: a kind or length this build does not know.
    pub fn decode(key: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(key);
        let row = match reader.u8()? {
            MANIFEST_EDIT => Self::ManifestEdit { tablet: TabletId(reader.u64()?), sequence: reader.u64()? },
            NODE_LOCAL => Self::NodeLocal { name: reader.u32()? },
            _ => return Err(Damage::of(Nature::Malformed, "unknown row kind")),
        };
        reader.end()?;
        Ok(row)
    }

    /// The prefix of the manifest edits of one tablet.
    #[must_use]
    pub fn manifest_edits_of(tablet: TabletId) -> Vec<u8> {
        let mut out = vec![MANIFEST_EDIT];
        out.extend_from_slice(&tablet.0.to_be_bytes());
        out
    }

    /// The prefix of all manifest edits.
    #[must_use]
    pub fn manifest_edits() -> Vec<u8> {
        vec![MANIFEST_EDIT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_sort_by_their_numbers() {
        let edit = |tablet, sequence| RowKey::ManifestEdit { tablet: TabletId(tablet), sequence };
        let rows = [edit(1, 2), edit(1, 256), edit(2, 1), edit(u64::MAX, 0), RowKey::NodeLocal { name: 7 }];
        for pair in rows.windows(2) {
            assert!(pair[0].encode() < pair[1].encode());
        }
        for row in rows {
            assert_eq!(RowKey::decode(&row.encode()), Ok(row));
            assert!(RowKey::decode(&row.encode()[1..]).is_err());
        }
        assert!(RowKey::decode(&[]).is_err() && RowKey::decode(&[9, 0]).is_err());
    }
}
