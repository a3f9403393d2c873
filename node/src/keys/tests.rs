//! Keys by keys, from the root file to what the engine asks.

use super::kms::sim::SimKms;
use super::root_file::RootFile;
use super::source::Keys;
use super::*;
use engine::entropy::Seeded;
use engine::ids::{ClusterId, NodeId, TenantId};
use engine::sealed::EnvelopeKind;
use proptest::prelude::*;
use std::sync::Arc;

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

fn founded(seed: u64) -> (SimKms, RootFile) {
    let entropy = Arc::new(Seeded::new(seed));
    let kms = SimKms::new(entropy.clone());
    let root = hierarchy::found(CLUSTER, NodeId(1), &kms, entropy).unwrap();
    (kms, root)
}

fn keys(root: &RootFile, kms: &SimKms, seed: u64) -> Keys {
    Keys::open(root, kms, Arc::new(Seeded::new(seed))).unwrap()
}

#[test]
fn what_one_node_seals_with_a_system_key_another_opens_and_its_own_it_keeps() {
    let (kms, root) = founded(1);
    let shared = RootFile::decode(&root.shared().encode()).unwrap();
    assert!(shared.keys.iter().all(|key| key.name.owner == Owner::Cluster));
    let other = hierarchy::join(&shared, NodeId(2), &kms, Arc::new(Seeded::new(2))).unwrap();
    let (one, other) = (keys(&root, &kms, 3), keys(&other, &kms, 4));
    let kind = EnvelopeKind::SecretField;
    let sealed = one.sealer().seal_envelope(Owner::Cluster, Purpose::Meta, kind, b"n", b"plain").unwrap();
    let opened = other.sealer().open_envelope(Owner::Cluster, Purpose::Meta, kind, b"n", &sealed).unwrap();
    assert_eq!(&opened[..], b"plain");
    let own = Owner::Node(NodeId(1));
    let sealed = one.sealer().seal_envelope(own, Purpose::Catalog, kind, b"n", b"plain").unwrap();
    assert!(other.sealer().open_envelope(own, Purpose::Catalog, kind, b"n", &sealed).is_err());
}

#[test]
fn a_tenants_keys_come_as_rows_in_any_order_and_go_with_them() {
    let (kms, root) = founded(1);
    let (keys, tenant) = (keys(&root, &kms, 3), TenantId(7));
    let rows = hierarchy::make_tenant(keys.sealer(), tenant, Arc::new(Seeded::new(5))).unwrap();
    let (owner, kind) = (Owner::Tenant(tenant), EnvelopeKind::SecretField);
    let seal = || keys.sealer().seal_envelope(owner, Purpose::Data, kind, b"n", b"plain");
    assert!(seal().is_err());
    let mut turned = rows.clone();
    turned.reverse();
    assert_eq!(keys.learn(&turned), []);
    let sealed = seal().unwrap();
    assert_eq!(keys.learn(&rows), [], "the same again changes nothing");
    assert!(keys.sealer().open_envelope(owner, Purpose::Data, kind, b"n", &sealed).is_ok());
    assert_eq!(keys.tenants()[&tenant], [(Purpose::Wrap, 1), (Purpose::Data, 1), (Purpose::Log, 1)].into());
    keys.learn(&[]);
    assert!(keys.sealer().open_envelope(owner, Purpose::Data, kind, b"n", &sealed).is_err());
    assert!(keys.tenants().is_empty());
}

#[test]
fn a_key_of_another_tenant_in_its_place_does_not_open() {
    let (kms, root) = founded(1);
    let keys = keys(&root, &kms, 3);
    let make =
        |tenant| hierarchy::make_tenant(keys.sealer(), TenantId(tenant), Arc::new(Seeded::new(tenant)));
    let (one, other) = (make(7).unwrap(), make(8).unwrap());
    let swapped: Vec<_> = one
        .iter()
        .zip(&other)
        .map(|(one, other)| WrappedKey { name: one.name, wrapped: other.wrapped.clone() })
        .collect();
    assert_eq!(keys.learn(&swapped).len(), 3);
    assert!(keys.tenants().is_empty());
}

#[test]
fn another_key_service_opens_nothing() {
    let (_, root) = founded(1);
    let other = SimKms::new(Arc::new(Seeded::new(9)));
    let open = || Keys::open(&root, &other, Arc::new(Seeded::new(1)));
    assert!(matches!(open(), Err(Error::Kms(KmsError::NoSuchRoot(1)))));
    kms::Kms::create(&other, 1).unwrap();
    assert!(matches!(open(), Err(Error::Kms(KmsError::NotOpened))));
}

#[test]
fn a_root_file_that_was_changed_is_refused() {
    let bytes = founded(1).1.encode();
    assert!(RootFile::decode(&bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(RootFile::decode(&changed).is_err(), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert!(RootFile::decode(&bytes[..cut]).is_err());
    }
    let mut newer = bytes;
    newer[5] = 2;
    assert!(matches!(RootFile::decode(&newer), Err(Error::Version { found: 2 })));
}

proptest! {
    #[test]
    fn garbage_is_no_root_file(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(RootFile::decode(&bytes).is_err());
        let mut framed = [b"DPRK\0\x01".as_slice(), &bytes].concat();
        let crc = crc32fast::hash(&framed);
        framed.extend_from_slice(&crc.to_be_bytes());
        let _ = RootFile::decode(&framed);
    }
}
