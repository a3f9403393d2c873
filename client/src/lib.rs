//! The client of Dewpond for applications.
//!
//! A [`Client`] is built once and cloned freely; from it come handles of a [`Tenant`] and its collections. An operation is a builder:
//! nothing happens before it is awaited. Calls have deadlines, are sent again when that is safe, and find the node that serves by
//! themselves. `examples/tour.rs` shows all of it. Tests of an application run against `node::double::Double` of the crate `node` (feature
//! `memory`): a whole node in the process of the test.

#![forbid(unsafe_code)]

mod admin;
mod call;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod clock;
mod connect;
mod entropy;
mod error;
mod identity;
mod kv;
mod limits;
mod request_id;
mod retry;
mod route;
mod stamp;
mod stream;
mod tenant;
mod tls;
mod trace;

pub use admin::Admin;
pub use client::{Builder, Client};
pub use error::{Error, Kind, Result, Retry, code};
pub use identity::Identity;
pub use kv::history::{History, Past};
pub use kv::range::KeyRange;
pub use kv::read::{Get, MultiGet};
pub use kv::scan::{Row, Scan};
pub use kv::shape::{Doc, Docs, Raw, Shape, Versioned};
pub use kv::txn::Txn;
pub use kv::watch::{Change, ResetCause, Start, Watch};
pub use kv::write::{Batch, Delete, DeleteRange, Put};
/// The messages that administrators get and give.
pub use proto::v1 as wire;
pub use request_id::{NoRequestId, RequestId};
pub use stamp::{NoStamp, Stamp};
pub use tenant::{Collection, PastCollection, Tenant, View};
pub use trace::TraceId;
