//! Format: log_record.

use super::{feed, fixture};
use bytes::Bytes;
use raft::log::record::{Record, Salt};

const SALT: Salt = [7; 16];

/// Bytes that decode at a place encode to the same bytes there.
fn target(bytes: &[u8]) {
    for position in [0, 64, 256] {
        let bytes = Bytes::copy_from_slice(bytes);
        if let Ok((record, length)) = Record::decode(&bytes, position, &SALT) {
            let mut again = Vec::new();
            record.append(&mut again, position, &SALT);
            assert_eq!(again[..], bytes[..length]);
        }
    }
}

/// The same with its checksum mended, so that what the checksum hides is reached.
fn mended(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Some(length) = bytes.get(4..8).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize) else {
        return;
    };
    if bytes.len() < 32 || bytes.len() - 32 < length {
        return;
    }
    bytes[16..28].fill(0);
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(&SALT);
    crc32.update(&bytes[..32 + length]);
    bytes[24..28].copy_from_slice(&crc32.finalize().to_be_bytes());
    target(&bytes);
}

pub fn run() {
    let list = fixture("log_record.bin");
    let (mut rest, mut clean) = (&list[..], vec![fixture("log_record.damaged.bin")]);
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (one, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        clean.push(one.to_vec());
        rest = more;
    }
    feed(&clean, |bytes| {
        target(bytes);
        mended(bytes);
    });
}
