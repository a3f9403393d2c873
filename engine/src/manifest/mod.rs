//! The manifest: which tables make up a tablet, changed by edits that are kept in the catalog.

pub mod edit;
pub mod journal;
pub mod levels;
