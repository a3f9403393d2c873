//! Format: context. Two different places never have the same context, and every field stands where the page says.

use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose, TableId, TenantId};
use engine::sealed::context::{BlockPosition, CONTEXT_BYTES, Scope};
use engine::sealed::{BlockType, FileKind};

/// Bytes that describe a place, beside the name of an envelope.
const DESCRIBED: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Envelope(u16, Vec<u8>),
    File(TableId, FileKind, u8),
    Block(TableId, FileKind, u8, BlockPosition),
}

pub fn run(bytes: &[u8]) {
    let mut described = [0; DESCRIBED];
    let n = bytes.len().min(DESCRIBED);
    described[..n].copy_from_slice(&bytes[..n]);
    let name = &bytes[n..];
    let here = place(&described, name);
    check(&here);
    // Every place that is described by one byte more or less, and every other kind of place.
    for at in 0..DESCRIBED {
        let mut other = described;
        other[at] = other[at].wrapping_add(1 + bytes.get(at + 1).copied().unwrap_or(0) % 200);
        differ(&here, &place(&other, name));
    }
    for other_name in [&name[..name.len() / 2], &[name, &[0]].concat()] {
        differ(&here, &place(&described, other_name));
    }
}

fn differ(a: &(Scope, Place), b: &(Scope, Place)) {
    assert_eq!(context(a) == context(b), a == b, "{a:?} {b:?}");
}

fn place(bytes: &[u8; DESCRIBED], name: &[u8]) -> (Scope, Place) {
    let u64_at = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let array = |at: usize| <[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap();
    let owner = match bytes[16] % 3 {
        0 => Owner::Cluster,
        1 => Owner::Node(NodeId(u64_at(24))),
        _ => Owner::Tenant(TenantId(u64_at(24))),
    };
    let purpose = Purpose::ALL[usize::from(bytes[17]) % Purpose::ALL.len()];
    let scope = Scope { cluster: ClusterId(array(0)), owner, purpose, epoch: KeyEpoch(u32_at(20)) };
    let kinds = [FileKind::Table, FileKind::Tick, FileKind::CompactedLog, FileKind::Spill, FileKind::Export];
    let (file, kind) = (TableId(array(32)), kinds[usize::from(bytes[56]) % kinds.len()]);
    let place = match bytes[18] % 3 {
        0 => Place::Envelope(u16::from_be_bytes([bytes[61], bytes[62]]), name.to_vec()),
        1 => Place::File(file, kind, bytes[60]),
        _ => {
            let block_type = BlockType::from_number(bytes[57] % 6 + 1).unwrap();
            let position =
                BlockPosition { number: u32_at(48), stripe: u32_at(52), block_type, codec: bytes[58] };
            Place::Block(file, kind, bytes[60], position)
        }
    };
    (scope, place)
}

fn context((scope, place): &(Scope, Place)) -> [u8; CONTEXT_BYTES] {
    match place {
        Place::Envelope(kind, name) => scope.envelope(*kind, name),
        Place::File(file, kind, suite) => scope.file(*file, *kind, *suite),
        Place::Block(file, kind, suite, position) => position.context(&scope.file(*file, *kind, *suite)),
    }
}

/// Reads the fields back.
fn check(here: &(Scope, Place)) {
    let (scope, place) = here;
    let bytes = context(here);
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(bytes[..16], scope.cluster.0);
    let owner = Owner::from_parts(bytes[16], u64::from_be_bytes(bytes[24..32].try_into().unwrap()));
    assert_eq!((owner, Purpose::from_number(bytes[17])), (Some(scope.owner), Some(scope.purpose)));
    assert_eq!((&bytes[18..20], u32_at(20)), (&[0, 0][..], scope.epoch.0));
    let (file, kind, suite) = match place {
        Place::Envelope(..) => return,
        Place::File(file, kind, suite) | Place::Block(file, kind, suite, _) => (file, kind, suite),
    };
    assert_eq!((&bytes[32..48], bytes[56]), (&file.0[..], *kind as u8));
    assert_eq!(bytes[59..], [1, *suite, 0, 0, 0]);
    let block_type = BlockType::from_number(bytes[57]);
    let found = block_type.map(|block_type| BlockPosition {
        number: u32_at(48),
        stripe: u32_at(52),
        block_type,
        codec: bytes[58],
    });
    match place {
        Place::Block(_, _, _, position) => assert_eq!(found, Some(*position)),
        _ => assert_eq!((found, &bytes[48..56], bytes[58]), (None, &[0; 8][..], 0)),
    }
}
