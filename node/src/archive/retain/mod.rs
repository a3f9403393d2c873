//! What a site keeps and what goes. A collector marks what nobody needs, writes that down as a tomb, waits, marks again, and only then deletes
//! what was marked both times. Nothing is remembered elsewhere than at the site: whoever goes on after a crash finds the tomb.
//!
//! * [`policy`] says what a site keeps: every instant for a while, then points;
//! * [`mark`] says what may go, and [`check`] asks [`super::window`] whether everything promised is still there without it;
//! * [`sweep`] reads, marks, writes tombs and deletes.
//!
//! Invariants: nothing is deleted that no tomb has named for the time of grace; nothing that a pin, a hold or a living manifest names; nothing
//! without which an instant that is promised, and can be restored, could not be.

pub mod check;
pub mod keep;
pub mod mark;
pub mod policy;
pub mod sweep;
#[cfg(test)]
mod tests;
