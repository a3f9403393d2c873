//! What is said on the wire between clients and servers, and the table of errors.
//!
//! The schema is in `proto/`; how it may change, in `docs/protocols/wire.md`.

#![forbid(unsafe_code)]

pub mod errors;
pub mod version;

/// As the packages lie in each other: what is generated finds its neighbours so.
mod dewpond {
    /// The messages and services of `dewpond.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("dewpond.v1");
    }

    pub mod peer {
        /// The messages and services of `dewpond.peer.v1`: nodes speak them among each other.
        #[allow(missing_docs, clippy::all)]
        pub mod v1 {
            tonic::include_proto!("dewpond.peer.v1");
        }
    }
}

pub use dewpond::peer::v1 as peer_v1;
pub use dewpond::v1;

/// The schema itself, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
