//! The catalog: the node's small rows, behind one trait with two implementations and one suite.
//!
//! Rows are few, ordered and written at a low rate. Nothing a client wrote enters unsealed: values pass [`sealer`] first,
//! keys are numbers.

pub mod memory;
mod recent;
pub mod rows;
pub mod sealer;
mod sled;
pub mod suite;

pub use memory::MemoryCatalog;
pub use sled::SledCatalog;

use crate::error::Result;

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a row.
    Put {
        /// The row.
        key: Vec<u8>,
        /// Its sealed value.
        value: Vec<u8>,
    },
    /// Removes a row; no error if it is not there.
    Remove {
        /// The row.
        key: Vec<u8>,
    },
}

/// Small ordered rows, committed durably.
pub trait Catalog: Send + Sync {
    /// One row.
    ///
    /// # Errors
    /// `Unavailable`; `Stop` if rows that were committed are known to be lost.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// All rows whose key starts with `prefix`, in byte order.
    ///
    /// # Errors
    /// As [`Catalog::get`].
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// All changes or none, in order; durable when it returns.
    ///
    /// # Errors
    /// `Unavailable`: it is not known whether the commit happened. Committing the same changes again is safe. `Stop` as
    /// [`Catalog::get`].
    fn commit(&self, changes: &[Change]) -> Result<()>;
}
