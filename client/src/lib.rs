//! The client of Dewpond for applications.
//!
//! A [`Client`] is built once and cloned freely; from it come handles of a [`Tenant`] and its collections. An operation is a builder:
//! nothing happens before it is awaited. Calls have deadlines, are sent again when that is safe, and find the node that serves by
//! themselves. `examples/tour.rs` shows all of it. Tests of an application run against `node::double::Double` of the crate `node` (feature
//! `memory`): a whole node, or three, in the process of the test. So does this example:
//!
//! ```
//! use dewpond::{Change, Client, Doc, Identity, Start};
//! use futures_util::TryStreamExt;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Account {
//!     id: String,
//!     cents: i64,
//! }
//!
//! impl Doc for Account {
//!     const COLLECTION: &'static str = "accounts";
//!     type Key = String;
//!
//!     fn key(&self) -> String {
//!         self.id.clone()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let double = node::double::Double::start().await?;
//! let service = double.tenant("acme").await?;
//! let client = Client::builder()
//!     .endpoints([double.endpoint()])
//!     .authority(double.authority())
//!     .identity(Identity::from_pem(&service.certificate, &service.key)?)
//!     .connect()
//!     .await?;
//! let acme = client.tenant("acme");
//! let accounts = acme.collection::<Account>();
//!
//! // However often this is sent, by a process that was restarted meanwhile too, it is done once.
//! let a = Account { id: "a".into(), cents: 1000 };
//! let first = accounts.put(&a).idempotency_key("order-991").await?;
//! assert_eq!(accounts.put(&a).idempotency_key("order-991").await?, first);
//! accounts.put(&Account { id: "b".into(), cents: 0 }).if_absent().await?;
//!
//! // The closure may run again: no side effects inside, and always `async move`.
//! let poorest = acme
//!     .txn(async move |tx| {
//!         let mut all = tx.scan::<Account>(..).await?;
//!         let share = all.iter().map(|row| row.version.value.cents).sum::<i64>() / all.len() as i64;
//!         for row in &mut all {
//!             row.version.value.cents = share;
//!             tx.put(&row.version.value)?;
//!         }
//!         Ok(share)
//!     })
//!     .await?;
//! assert_eq!(poorest, 500);
//!
//! let mut changes = accounts.watch(.., Start::After(first));
//! let mut heard = Vec::new();
//! while let Some(change) = changes.try_next().await? {
//!     match change {
//!         Change::Put { key, version } => heard.push((key, version.value.cents)),
//!         Change::Progress(_) if heard.len() == 3 => break,
//!         _ => {}
//!     }
//! }
//! assert_eq!(heard[0], ("b".to_owned(), 0));
//! assert!(heard[1..].iter().all(|(_, cents)| *cents == 500));
//! # drop(changes);
//! # double.stop().await;
//! # Ok(())
//! # }
//! ```

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
pub use kv::outcome::Outcome;
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
pub use stamp::{Commit, NoStamp, Stamp};
pub use tenant::{Collection, PastCollection, Tenant, View};
pub use trace::TraceId;
