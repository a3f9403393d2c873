//! Pure: every file magic and its version. A number here is for ever; retired ones stay listed.

/// Block files: tables, ticks, compacted logs.
pub const BLOCK_FILE: [u8; 4] = *b"DPB1";
/// Version of [`BLOCK_FILE`].
pub const BLOCK_FILE_VERSION: u16 = 1;
/// The last four bytes of a block file.
pub const BLOCK_FILE_END: [u8; 4] = *b"DPBE";
/// Checkpoint listings.
pub const CHECKPOINT_LISTING: [u8; 4] = *b"DPCL";
/// Version of [`CHECKPOINT_LISTING`].
pub const CHECKPOINT_LISTING_VERSION: u16 = 1;
/// Checkpoints as one stream of bytes.
pub const CHECKPOINT_STREAM: [u8; 4] = *b"DPCS";
/// Version of [`CHECKPOINT_STREAM`].
pub const CHECKPOINT_STREAM_VERSION: u16 = 1;
/// Segments of the log.
pub const LOG_SEGMENT: [u8; 4] = *b"DPLS";
/// Version of [`LOG_SEGMENT`].
pub const LOG_SEGMENT_VERSION: u16 = 1;
/// Frames between peers.
pub const PEER_FRAME: [u8; 4] = *b"DPPF";
/// Version of [`PEER_FRAME`].
pub const PEER_FRAME_VERSION: u16 = 1;
/// Root files of nodes.
pub const ROOT_FILE: [u8; 4] = *b"DPRK";
/// Version of [`ROOT_FILE`].
pub const ROOT_FILE_VERSION: u16 = 1;
