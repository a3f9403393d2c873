//! stub
#![deny(unsafe_code)]
pub mod catalog;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod error;
pub mod ids;
pub mod key;
pub mod limits;
pub mod magic;
pub mod sealed;
pub mod stamp;
mod wire;
pub use error::{Damage, Error, Kind, Nature, Result};
pub use stamp::Stamp;
