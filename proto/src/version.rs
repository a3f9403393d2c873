//! Pure: numbers of the protocol, and the features that a server may lack.

/// Least protocol this build speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Greatest protocol this build speaks.
pub const PROTOCOL_MAX: u32 = 1;

/// Features of this build, one bit each. A bit is never used again for something else.
pub const FEATURES: u64 = feature::STREAM;

/// One bit a feature.
pub mod feature {
    /// Many calls on one stream.
    pub const STREAM: u64 = 1;
    /// Watching changes.
    pub const WATCH: u64 = 1 << 1;
}
