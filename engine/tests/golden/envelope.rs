//! Format: envelope. A list: an envelope of every kind, by every owner, empty and long, under two epochs.

use super::objects::{Object, objects};
use super::world::{CLUSTER, NEXT, OWNERS, Same, T1, join, keyring, sealer, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::Nature;
use engine::ids::{KeyEpoch, KeyId, Owner, Purpose, TenantId};
use engine::sealed::derive::Sha256;
use engine::sealed::envelope::{EXTRA_BYTES, read_header};
use engine::sealed::{EnvelopeKind, Keyring, Sealer, SecretKey};
use std::sync::Arc;

fn active(owner: Owner) -> u32 {
    OWNERS.into_iter().find(|(one, _)| *one == owner).unwrap().1
}

/// Every object under its owner's active epoch, then the first of them under the next epoch.
fn made() -> Vec<Vec<u8>> {
    let keys = keyring();
    let sealer = Sealer::new(CLUSTER, keys.clone(), Arc::new(Same(0x55))).unwrap();
    let seal = |(owner, purpose, kind, name, plain): &Object| {
        sealer.seal_envelope(*owner, *purpose, *kind, name, plain).unwrap()
    };
    let mut sealed: Vec<_> = objects().iter().map(seal).collect();
    let first = &objects()[0];
    keys.activate(first.0, first.1, KeyEpoch(active(first.0) + NEXT)).unwrap();
    sealed.push(seal(first));
    sealed
}

/// A sealer that has only the key of the published answers, and that for another tenant.
pub fn neighbour() -> Sealer {
    let keys = Keyring::new();
    let mut key = [0; 32];
    (0..).zip(&mut key).for_each(|(n, byte)| *byte = n);
    let owner = Owner::Tenant(TenantId(T1.0 + 1));
    keys.insert(owner, Purpose::Meta, KeyEpoch(9), SecretKey::new(key)).unwrap();
    Sealer::new(CLUSTER, Arc::new(keys), Arc::new(Same(0x55))).unwrap()
}

#[test]
fn version_1() {
    let made = join(made());
    let stored = fixture("envelope", &made);

    let items = split(&stored);
    let mut wanted: Vec<(Object, u32)> =
        objects().into_iter().map(|one| (one.clone(), active(one.0))).collect();
    wanted.push((objects().remove(0), active(Owner::Tenant(T1)) + NEXT));
    assert_eq!(items.len(), wanted.len());
    let opener = sealer(Same(0));
    for (item, ((owner, purpose, kind, name, plain), epoch)) in items.iter().zip(wanted) {
        assert_eq!(item.len(), plain.len() + EXTRA_BYTES);
        let header = read_header(item, kind).unwrap();
        assert_eq!(header.epoch, KeyEpoch(epoch));
        assert_eq!(item[8..16], header.key_id.0);
        assert_eq!(*opener.open_envelope(owner, purpose, kind, name, item).unwrap(), *plain);
    }
    let published = KeyId(*b"\x51\x9f\x47\xd9\x2c\xea\x95\x69");
    assert_eq!(read_header(&items[0], EnvelopeKind::SecretField).unwrap().key_id, published);
    let mut digest = Sha256::new();
    digest.update(&items[0]);
    assert_eq!(digest.finish()[..12], *b"\x1a\xcb\x76\xc0\xee\x24\x8b\xf9\x4a\x2c\xc1\x79");
    assert_same("envelope", &stored, &made);

    // A bit of the ciphertext.
    let items = damaged_item("envelope", &stored, 4, |item| item[80 + 350] ^= 0x10);
    let (owner, purpose, kind, name, _) = &objects()[4];
    let error = opener.open_envelope(*owner, *purpose, *kind, name, &items[4]).unwrap_err();
    assert_eq!(refusal(error), unplaced(Nature::Tampered));
}
