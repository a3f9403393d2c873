//! May a read be answered here and now? [`door::Door`] is where all reads of a replica come in; the rest are its rules.

pub mod as_of;
pub mod bearing;
pub mod bounded;
pub mod door;
pub mod lease;
mod rounds;
