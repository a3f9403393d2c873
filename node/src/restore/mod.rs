//! Data comes back: plans of restores, and what carries them out.
//!
//! * [`target`] says which instant is meant, [`plan`] what is to be done, [`rows`] how far it is, [`change`] what of that is changed.
//! * [`hands`] read and write the rows of tenants wherever they are; [`past`] reads what was, page by page; [`fetch`] brings what an archive
//!   has of it here.
//! * [`copy`] makes a tenant as another was, `switch` puts it in its place; [`write_back`] writes keys as they were, as new versions.
//! * [`rebirth`] makes a new cluster out of an archive and a passphrase.
//! * [`runner`] carries restores out where the meta group is led, and goes on with them after a crash; [`service`] answers who asks.
//!
//! A tenant is held by one restore at a time. Nothing that a restore writes twice does harm: a copy serves nobody before it is whole, and what
//! is written back is written on the condition that nobody else has.

pub mod archive;
pub mod asked;
pub mod change;
pub mod copy;
pub mod fetch;
pub mod hands;
pub mod look;
pub mod past;
pub mod plan;
pub mod rebirth;
pub mod rows;
pub mod rules;
pub mod runner;
mod seen;
pub mod service;
pub mod standing;
mod switch;
pub mod target;
pub mod told;
pub mod write_back;
