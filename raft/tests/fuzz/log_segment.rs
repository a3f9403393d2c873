//! Format: log_segment.

use super::rig::{NODE, sealer};
use super::{feed, fixture};
use bytes::Bytes;
use raft::Error;
use raft::log::segment::Header;
use raft::log::tail::Segment;

pub fn run() {
    let sealer = sealer();
    feed(&[fixture("log_segment.bin"), fixture("log_segment.damaged.bin")], |bytes| {
        let Ok(header) = Header::decode(bytes) else { return };
        assert_eq!(header.encode(), bytes[..4_096], "a header encodes again to what was read");
        let Ok(chain) = sealer.chain(NODE, header.epoch, &header.name()) else { return };
        let all = Bytes::copy_from_slice(bytes);
        let mut end = header.first_position;
        let segment = Segment { header: &header, bytes: &all, chain: &chain, next: None };
        let walked = segment.walk(|placed| {
            assert!(placed.position >= end, "records in order");
            end = placed.position + u64::from(placed.bytes);
            Ok(())
        });
        match walked {
            Ok(walked) => assert!(walked.end >= end && walked.end <= header.room_end()),
            Err(Error::DamagedInside { offset, .. }) => assert!(offset >= 4_096 && offset < header.bytes),
            Err(other) => panic!("{other}"),
        }
    });
}
