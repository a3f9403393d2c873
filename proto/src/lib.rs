//! What is said on the wire between clients and servers, and the table of errors.
//!
//! The schema is in `proto/`; how it may change, in `docs/protocols/wire.md`.

#![forbid(unsafe_code)]

pub mod errors;
pub mod version;

/// The messages and services of `dewpond.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("dewpond.v1");
}

/// The messages and services of `dewpond.peer.v1`: nodes speak them among each other.
#[allow(missing_docs, clippy::all)]
pub mod peer_v1 {
    tonic::include_proto!("dewpond.peer.v1");
}

/// The schema itself, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
