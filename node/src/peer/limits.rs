//! Pure: bounds of the links between nodes, each with its reason.

use crate::work::crowd::Bounds;
use raft::net::link::DATA_LANES;

/// Bytes of a frame on a link, beside its head: those of a frame of consensus.
pub const BODY_BYTES_MAX: usize = raft::limits::FRAME_BYTES_MAX;
/// Lanes of a peer: control, those of data, bulk. Nobody has more connections here than this.
pub const LANES_MAX: usize = 2 + DATA_LANES as usize;
/// Calls of a lane that wait to be written, or for their answer. More than consensus has under way to one peer, so that so many mean a
/// peer that stands.
pub const CALLS_MAX: usize = 8_192;
/// Bytes of a lane that wait to be written. One frame is let in whatever its size.
pub const QUEUE_BYTES_MAX: usize = 48 << 20;
/// Calls of a lane that are served at once, or whose answers wait to be written: while there are so many no more is read.
pub const SERVED_CALLS_MAX: usize = 2_048;
/// Bytes of those calls and answers. One over it is begun.
pub const SERVED_BYTES_MAX: usize = 32 << 20;
/// Bytes that are gathered before they are written: a few TLS records.
pub const GATHER_BYTES: usize = 64 << 10;
/// Calls that are gathered so.
pub const GATHER_CALLS: usize = 256;
/// A body below this is copied out of what was read, so that one that is kept long does not hold its neighbours.
pub const COPIED_BYTES_MAX: usize = 16 << 10;
/// Room that is made to read into, at least.
pub const READ_BYTES: usize = 32 << 10;
/// Connections that have not said who they are. The oldest goes when one more comes, so that whoever says nothing keeps nobody out.
/// Of one source three quarters of that, so that it does not make all others go.
pub const STRANGERS: Bounds = Bounds { all: 64, of_source: 48 };
/// So long a stranger has to say who it is, in milliseconds: two ways there and back, and the mathematics, of an overloaded machine.
pub const STRANGER_MS: u64 = 4_000;
/// So long whoever calls waits for a connection until both have said who they are, in milliseconds.
pub const DIAL_MS: u64 = 5_000;
/// Between two looks at whether a link still lives, in milliseconds. Whoever has written nothing in it says so.
pub const BEAT_MS: u64 = 500;
/// After so many beats without a byte a link is taken for lost: four pings have not come.
pub const SILENT_BEATS_MAX: u32 = 5;
/// A frame that has begun must have come whole within so many beats: 12 MiB at 400 KiB a second.
pub const FRAME_BEATS_MAX: u32 = 60;
/// What is gathered must be taken by the other end in so long, in milliseconds: as with a frame.
pub const WRITE_MS: u64 = 30_000;
/// So long a goodbye may take, in milliseconds.
pub const GOODBYE_MS: u64 = 500;
/// The first pause after a link is lost or not to be had, in milliseconds.
pub const AGAIN_MS_MIN: u64 = 20;
/// The longest: a peer that has started again is to be found before the others think of an election.
pub const AGAIN_MS_MAX: u64 = 1_000;

const _: () = {
    assert!(BODY_BYTES_MAX <= u32::MAX as usize - 64); // its length is a u32
    assert!(BODY_BYTES_MAX < QUEUE_BYTES_MAX && BODY_BYTES_MAX < SERVED_BYTES_MAX);
    assert!(AGAIN_MS_MIN > 0 && AGAIN_MS_MIN < AGAIN_MS_MAX);
    assert!(COPIED_BYTES_MAX < GATHER_BYTES);
};

/// The pause after a lane has failed so often in a row, in milliseconds.
#[must_use]
pub fn again_ms(failures: u32) -> u64 {
    let doubled = AGAIN_MS_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    if failures == 0 { 0 } else { doubled.min(AGAIN_MS_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        assert_eq!([0, 1, 2, 3, 6, 7, u32::MAX].map(again_ms), [0, 20, 40, 80, 640, 1_000, 1_000]);
    }
}
