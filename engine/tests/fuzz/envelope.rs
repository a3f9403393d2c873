//! Format: envelope. Nothing opens but what was sealed, and that only as the object it was sealed as.

use super::objects::{Object, objects};
use super::world::{Same, sealer, split};
use engine::ids::{Owner, Purpose};
use engine::sealed::envelope::{EXTRA_BYTES, read_header};
use engine::sealed::{EnvelopeKind, Sealer};
use engine::{Error, Nature};
use std::sync::{Arc, LazyLock};

static SEALER: LazyLock<Arc<Sealer>> = LazyLock::new(|| sealer(Same(0x55)));
/// Each object with its envelopes; the first has two, the second of them under the next epoch.
static SEALED: LazyLock<Vec<(Object, Vec<Vec<u8>>)>> = LazyLock::new(|| {
    let mut items = split(&super::fixture("envelope"));
    let rotated = items.pop().unwrap();
    let mut sealed: Vec<_> = objects().into_iter().zip(items.into_iter().map(|item| vec![item])).collect();
    sealed[0].1.push(rotated);
    sealed
});

pub fn run(bytes: &[u8]) {
    for ((owner, purpose, kind, name, plain), own) in SEALED.iter() {
        match SEALER.open_envelope(*owner, *purpose, *kind, name, bytes) {
            Ok(opened) => {
                assert!(own.iter().any(|sealed| sealed == bytes), "changed bytes open");
                assert_eq!(*opened, **plain);
            }
            Err(error) => {
                assert!(own.iter().all(|sealed| sealed != bytes), "{error}");
                is_refusal(&error, bytes, *kind);
            }
        }
    }
    if bytes.len() < 4 << 10 {
        seal(bytes);
    }
}

/// The refusal is the one that the bytes before the seal ask for.
fn is_refusal(error: &Error, bytes: &[u8], kind: EnvelopeKind) {
    match error {
        Error::Unsupported { .. } => assert!(bytes[0] != 1 || bytes[1] != 1),
        Error::KeyMissing { epoch, .. } => assert_eq!(epoch.0.to_be_bytes(), bytes[4..8]),
        Error::WrongKey { need, .. } => assert_eq!(need.0, bytes[8..16]),
        Error::Damaged(damage) => match damage.nature {
            Nature::Missing => assert!(bytes.len() < EXTRA_BYTES),
            Nature::WrongPlace => assert_ne!(bytes[2..4], (kind as u16).to_be_bytes()),
            nature => assert_eq!((nature, bytes.len() >= EXTRA_BYTES), (Nature::Tampered, true)),
        },
        other => panic!("{other}"),
    }
    assert_eq!(
        read_header(bytes, kind).is_err(),
        bytes.len() < EXTRA_BYTES || bytes[..2] != [1, 1] || bytes[2..4] != (kind as u16).to_be_bytes()
    );
}

/// Seals the bytes themselves, and demands that they open as this object, and neither changed nor as another.
fn seal(bytes: &[u8]) {
    let (owner, purpose, kind) = (Owner::Cluster, Purpose::Meta, EnvelopeKind::Floor);
    let name = &bytes[bytes.len() / 2..];
    let sealed = SEALER.seal_envelope(owner, purpose, kind, name, bytes).unwrap();
    assert_eq!(sealed.len(), bytes.len() + EXTRA_BYTES);
    assert_eq!(*SEALER.open_envelope(owner, purpose, kind, name, &sealed).unwrap(), *bytes);
    let other = [name, &[0]].concat();
    assert!(SEALER.open_envelope(owner, purpose, kind, &other, &sealed).is_err());
    let seed = bytes.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let mut changed = sealed;
    let at = seed % changed.len();
    changed[at] ^= 1 << (seed / 7 % 8);
    assert!(SEALER.open_envelope(owner, purpose, kind, name, &changed).is_err(), "byte {at} changed");
}
