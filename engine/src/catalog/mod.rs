//! The catalog: the node's small rows, behind one trait with two implementations and one suite.
use crate::error::Result;
/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change { /** Sets a row. */ Put { key: Vec<u8>, value: Vec<u8> }, /** Removes a row. */ Remove { key: Vec<u8> } }
/// Small ordered rows, committed durably. Values are sealed before they come here (`sealer.rs`).
pub trait Catalog: Send + Sync {
    /// One row.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// All rows whose key starts with `prefix`, in order.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;
    /// All changes or none, durable when it returns.
    fn commit(&self, changes: &[Change]) -> Result<()>;
}
