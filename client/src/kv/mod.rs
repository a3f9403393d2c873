//! Reading and writing the data of a tenant.

pub(crate) mod history;
pub(crate) mod outcome;
pub(crate) mod range;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod shape;
pub(crate) mod txn;
pub(crate) mod watch;
pub(crate) mod write;
