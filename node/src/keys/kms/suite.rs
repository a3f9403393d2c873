//! What every provider does.

use super::file::{Cost, FileKms};
use super::sim::SimKms;
use super::{KeyContext, Kms, KmsError, KmsStatus, Passphrase};
use engine::entropy::Seeded;
use engine::ids::{ClusterId, KeyEpoch, Owner, Purpose};
use engine::sealed::{EnvelopeKind, Keyring, Sealer, SecretKey};
use std::sync::Arc;

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

fn context(root: u32, version: u32) -> KeyContext {
    KeyContext { cluster: CLUSTER, root, version }
}

/// What a key seals, another instance of the same key opens.
fn are_same(one: SecretKey, other: SecretKey) -> bool {
    let sealer = |key| {
        let ring = Keyring::new();
        ring.insert(Owner::Cluster, Purpose::Meta, KeyEpoch(1), key).unwrap();
        ring.activate(Owner::Cluster, Purpose::Meta, KeyEpoch(1)).unwrap();
        Sealer::new(CLUSTER, Arc::new(ring), Arc::new(Seeded::new(9))).unwrap()
    };
    let (kind, name) = (EnvelopeKind::SecretField, b"x");
    let sealed = sealer(one).seal_envelope(Owner::Cluster, Purpose::Meta, kind, name, b"plain").unwrap();
    sealer(other).open_envelope(Owner::Cluster, Purpose::Meta, kind, name, &sealed).is_ok()
}

fn keeps_what_it_promises(kms: &dyn Kms) {
    assert_eq!(kms.status(), KmsStatus::Ready(Vec::new()));
    let key = || SecretKey::new([7; 32]);
    assert!(matches!(kms.wrap(&context(1, 1), &key()), Err(KmsError::NoSuchRoot(1))));
    kms.create(1).unwrap();
    assert!(matches!(kms.create(1), Err(KmsError::Exists(1))));
    kms.create(2).unwrap();
    assert_eq!(kms.status(), KmsStatus::Ready(vec![1, 2]));
    let wrapped = kms.wrap(&context(1, 5), &key()).unwrap();
    assert_ne!(wrapped, kms.wrap(&context(1, 5), &key()).unwrap(), "no two are alike");
    assert!(are_same(kms.unwrap(&context(1, 5), &wrapped).unwrap(), key()));
    assert!(!are_same(kms.unwrap(&context(1, 5), &wrapped).unwrap(), SecretKey::new([8; 32])));
    let other = KeyContext { cluster: ClusterId([2; 16]), ..context(1, 5) };
    for wrong in [context(2, 5), context(1, 6), other] {
        assert!(matches!(kms.unwrap(&wrong, &wrapped), Err(KmsError::NotOpened)), "{wrong:?}");
    }
    for at in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        assert!(matches!(kms.unwrap(&context(1, 5), &changed), Err(KmsError::NotOpened)), "byte {at}");
    }
    assert!(matches!(kms.unwrap(&context(1, 5), &[]), Err(KmsError::NotOpened)));
    kms.adopt(&kms.kept()).unwrap();
    assert_eq!(kms.status(), KmsStatus::Ready(vec![1, 2]), "what it keeps itself changes nothing");
    kms.destroy(1).unwrap();
    assert!(matches!(kms.unwrap(&context(1, 5), &wrapped), Err(KmsError::NoSuchRoot(1))));
    assert!(matches!(kms.destroy(1), Err(KmsError::NoSuchRoot(1))));
    assert_eq!(kms.status(), KmsStatus::Ready(vec![2]));
}

#[test]
fn the_simulated_one() {
    let kms = SimKms::new(Arc::new(Seeded::new(1)));
    keeps_what_it_promises(&kms);
    kms.set_away(true);
    assert!(matches!(kms.status(), KmsStatus::Away(_)));
    assert!(matches!(kms.create(9), Err(KmsError::Away(_))));
    kms.set_away(false);
    kms.create(9).unwrap();
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::from(text.as_bytes().to_vec())
}

fn file() -> FileKms {
    let entropy = Arc::new(Seeded::new(1));
    FileKms::new(CLUSTER, &passphrase("correct horse battery"), Cost::LEAST, entropy).unwrap()
}

fn open(words: &str, kept: &[u8]) -> Result<FileKms, KmsError> {
    FileKms::open(CLUSTER, &passphrase(words), kept, Arc::new(Seeded::new(2)))
}

#[test]
fn the_one_behind_a_passphrase() {
    keeps_what_it_promises(&file());
}

#[test]
fn only_the_passphrase_opens_what_is_kept() {
    let kms = file();
    kms.create(1).unwrap();
    let wrapped = kms.wrap(&context(1, 1), &SecretKey::new([7; 32])).unwrap();
    let kept = kms.kept();
    let again = open("correct horse battery", &kept).unwrap();
    assert!(are_same(again.unwrap(&context(1, 1), &wrapped).unwrap(), SecretKey::new([7; 32])));
    assert_eq!(again.kept(), kept);
    let short = FileKms::new(CLUSTER, &passphrase("x"), Cost::LEAST, Arc::new(Seeded::new(1)));
    assert!(matches!(short, Err(KmsError::Unfit)));
    for wrong in ["correct horse batterx", "", "x"] {
        assert!(matches!(open(wrong, &kept), Err(KmsError::Denied)), "{wrong}");
    }
    let cheap = Cost { memory_kib: 8, ..Cost::LEAST };
    let entropy = Arc::new(Seeded::new(1));
    assert!(FileKms::new(CLUSTER, &passphrase("correct horse battery"), cheap, entropy).is_err());
}

#[test]
fn what_is_kept_and_was_changed_is_refused_before_it_costs_anything() {
    let kms = file();
    kms.create(1).unwrap();
    let kept = kms.kept();
    for cut in 0..kept.len() {
        assert!(open("correct horse battery", &kept[..cut]).is_err(), "cut at {cut}");
    }
    // Not the salt and not the envelope: those cost a derivation each.
    for at in (0..16).chain(32..36) {
        for bit in [0, 7] {
            let mut changed = kept.clone();
            changed[at] ^= 1 << bit;
            let sane = matches!(at, 4..16);
            assert!(sane || open("correct horse battery", &changed).is_err(), "byte {at} bit {bit}");
        }
    }
    let mut longer = kept.clone();
    longer.push(0);
    assert!(open("correct horse battery", &longer).is_err());
}

#[test]
fn root_keys_that_were_made_elsewhere_are_taken_over_without_the_passphrase() {
    let one = file();
    one.create(1).unwrap();
    let other = open("correct horse battery", &one.kept()).unwrap();
    one.create(2).unwrap();
    let wrapped = one.wrap(&context(2, 2), &SecretKey::new([7; 32])).unwrap();
    assert!(matches!(other.unwrap(&context(2, 2), &wrapped), Err(KmsError::NoSuchRoot(2))));
    other.adopt(&one.kept()).unwrap();
    assert!(are_same(other.unwrap(&context(2, 2), &wrapped).unwrap(), SecretKey::new([7; 32])));
    let stranger =
        FileKms::new(CLUSTER, &passphrase("another passphrase"), Cost::LEAST, Arc::new(Seeded::new(3)));
    let stranger = stranger.unwrap();
    assert!(
        matches!(other.adopt(&stranger.kept()), Err(KmsError::Denied)),
        "of another salt, even if it is empty"
    );
    stranger.create(1).unwrap();
    assert!(matches!(other.adopt(&stranger.kept()), Err(KmsError::Denied)));
    let mut kept = one.kept();
    let last = kept.len() - 1;
    kept[last] ^= 1;
    assert!(matches!(other.adopt(&kept), Err(KmsError::Denied)));
    assert_eq!(other.status(), KmsStatus::Ready(vec![1, 2]), "a refusal changes nothing");
}
