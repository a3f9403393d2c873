//! Pure: numbers of the protocol, and the features that a server may lack.

/// Least protocol this build speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Greatest protocol this build speaks.
pub const PROTOCOL_MAX: u32 = 1;

/// Features of this build, one bit each. A bit is never used again for something else.
pub const FEATURES: u64 =
    feature::STREAM | feature::WATCH | feature::PREFIX | feature::PAGES | feature::OUTCOME;

/// One bit a feature.
pub mod feature {
    /// Many calls on one stream.
    pub const STREAM: u64 = 1;
    /// Watching changes.
    pub const WATCH: u64 = 1 << 1;
    /// Scans and watches of the keys that begin with something: `prefix`.
    pub const PREFIX: u64 = 1 << 2;
    /// Scans and histories page by page on the stream of calls, and a history that goes on from `resume`.
    pub const PAGES: u64 = 1 << 3;
    /// Asking what became of a write.
    pub const OUTCOME: u64 = 1 << 4;
}
