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
        .map(|(one, other)| {
            let key = WrappedKey { name: one.key.name, wrapped: other.key.wrapped.clone() };
            KeyRow { key, ..one.clone() }
        })
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

/// A cluster of two nodes with one tenant: the service, each node's root file and keys, and the rows.
struct World {
    kms: SimKms,
    roots: [RootFile; 2],
    keys: [Keys; 2],
    rows: Vec<KeyRow>,
}

const TENANT: TenantId = TenantId(7);
const OWNER: Owner = Owner::Tenant(TENANT);

impl World {
    fn new() -> Self {
        let (kms, root) = founded(1);
        let other = hierarchy::join(&root.shared(), NodeId(2), &kms, Arc::new(Seeded::new(2))).unwrap();
        let both = [keys(&root, &kms, 3), keys(&other, &kms, 4)];
        let rows = hierarchy::make_tenant(both[0].sealer(), TENANT, Arc::new(Seeded::new(5))).unwrap();
        let world = Self { kms, roots: [root, other], keys: both, rows };
        world.learn();
        world
    }

    fn learn(&self) {
        for keys in &self.keys {
            assert_eq!(keys.learn(&self.rows), []);
        }
    }

    fn put(&mut self, new: Vec<KeyRow>) {
        let names: Vec<KeyName> = new.iter().map(|row| row.key.name).collect();
        self.rows.retain(|row| !names.contains(&row.key.name));
        self.rows.extend(new);
        self.learn();
    }

    fn change(&mut self, changes: &[rotation::Change]) {
        for change in changes {
            self.rows.iter_mut().find(|row| row.key.name == change.name).unwrap().state = change.state;
        }
        self.learn();
    }

    fn seal(&self, at: usize) -> Vec<u8> {
        let (purpose, kind) = (Purpose::Data, EnvelopeKind::SecretField);
        self.keys[at].sealer().seal_envelope(OWNER, purpose, kind, b"n", b"plain").unwrap()
    }

    fn opens(&self, at: usize, sealed: &[u8]) -> bool {
        let (purpose, kind) = (Purpose::Data, EnvelopeKind::SecretField);
        self.keys[at].sealer().open_envelope(OWNER, purpose, kind, b"n", sealed).is_ok()
    }

    /// The node starts anew, from its root file.
    fn restart(&mut self, at: usize) {
        self.keys[at] = keys(&RootFile::decode(&self.roots[at].encode()).unwrap(), &self.kms, 50);
        assert_eq!(self.keys[at].learn(&self.rows), []);
    }
}

fn epoch_of(sealed: &[u8]) -> u32 {
    u32::from_be_bytes(sealed[4..8].try_into().unwrap())
}

#[test]
fn a_data_key_is_rotated_while_both_nodes_seal_and_open() {
    let mut world = World::new();
    let old = world.seal(0);
    let next = rotation::next(&world.rows, OWNER, Purpose::Data).unwrap();
    let row = turn::data_key(world.keys[0].sealer(), next).unwrap();
    world.put(vec![row]);
    assert_eq!(epoch_of(&world.seal(1)), 1, "one that waits does not seal");
    world.change(&rotation::promote(&world.rows, |_| true));
    let new = world.seal(1);
    assert_eq!(epoch_of(&new), 2);
    assert!(world.opens(0, &new) && world.opens(0, &old));
    let used = |in_tables: &std::collections::BTreeSet<(Owner, KeyEpoch)>| {
        let (log_floor, is_applied_everywhere) = (Default::default(), true);
        rotation::to_destroy(
            &world.rows,
            &rotation::StillUsed { in_tables, log_floor: &log_floor, is_applied_everywhere },
        )
    };
    assert_eq!(used(&[(OWNER, KeyEpoch(1))].into()), []);
    let gone = used(&[(OWNER, KeyEpoch(2))].into());
    assert_eq!(gone, [KeyName { owner: OWNER, purpose: Purpose::Data, epoch: KeyEpoch(1) }]);
    world.change(&[rotation::Change { name: gone[0], state: KeyState::Destroyed }]);
    assert!(!world.opens(0, &old) && world.opens(0, &new));
    assert_eq!(rotation::next(&world.rows, OWNER, Purpose::Data).unwrap().epoch, KeyEpoch(3));
}

#[test]
fn a_tenants_key_is_rotated_and_the_old_one_opens_nothing_any_more() {
    let mut world = World::new();
    let sealed = world.seal(0);
    let before = world.rows.clone();
    let next = rotation::next(&world.rows, OWNER, Purpose::Wrap).unwrap();
    let made = turn::tenant_key(world.keys[0].sealer(), next, &world.rows, Arc::new(Seeded::new(8))).unwrap();
    world.put(made);
    assert!(world.opens(1, &sealed));
    let (in_tables, log_floor) = (Default::default(), Default::default());
    let used =
        rotation::StillUsed { in_tables: &in_tables, log_floor: &log_floor, is_applied_everywhere: true };
    let gone = rotation::to_destroy(&world.rows, &used);
    assert_eq!(gone, [KeyName { epoch: KeyEpoch(1), ..next }]);
    world.change(&[rotation::Change { name: gone[0], state: KeyState::Destroyed }]);
    world.restart(1);
    assert!(world.opens(1, &sealed), "the data key is the same, wrapped by another");
    // What was wrapped by the key that is gone stays shut.
    let fresh = keys(&world.roots[0], &world.kms, 60);
    let new_only: Vec<KeyRow> =
        world.rows.iter().filter(|row| row.key.name.purpose == Purpose::Wrap).cloned().collect();
    let old_data: Vec<KeyRow> =
        before.into_iter().filter(|row| row.key.name.purpose != Purpose::Wrap).collect();
    assert_eq!(fresh.learn(&[new_only, old_data].concat()).len(), 2);
}

impl World {
    /// Every node takes what all are to have alike.
    fn take(&mut self, shared: &RootFile) {
        let shared = RootFile::decode(&shared.encode()).unwrap();
        for at in 0..2 {
            let own = &self.roots[at];
            let entropy = Arc::new(Seeded::new(70));
            let new = turn::follow(own, &shared, self.keys[at].sealer(), &self.kms, entropy).unwrap();
            for _ in 0..2 {
                self.keys[at].follow(own, &new, &self.kms).unwrap();
            }
            self.roots[at] = new;
        }
    }
}

#[test]
fn the_cluster_key_is_rotated_and_old_copies_die_with_the_old_root_key() {
    let mut world = World::new();
    let sealed = world.seal(0);
    let stolen = world.roots[1].encode();
    let stolen_rows = world.rows.clone();
    let entropy = || Arc::new(Seeded::new(70));
    // One that was made and got nowhere is in nobody's way.
    let turned =
        || turn::cluster_key(world.keys[0].sealer(), &world.roots[0], &world.kms, entropy()).unwrap();
    turned();
    let shared = turned();
    assert_eq!(shared.cluster_keys.last().map(|key| (key.version, key.root)), Some((2, 3)));
    world.take(&shared);
    // Both wrap: what the old one wraps opens as before, and a node that starts meanwhile opens both.
    world.restart(0);
    assert!(world.opens(0, &sealed));
    let versions = [1, 2];
    let rotation::Turn::Rewrap(names) = rotation::turn(&world.rows, &versions, false, 9) else {
        panic!("nothing is behind");
    };
    let is_named = |row: &&KeyRow| names.contains(&row.key.name);
    let rewrapped = world.rows.iter().filter(is_named).map(|row| turn::rewrap(world.keys[1].sealer(), row));
    let rewrapped: Vec<KeyRow> = rewrapped.collect::<Result<_>>().unwrap();
    assert_eq!(rewrapped.len(), 1);
    world.put(rewrapped);
    assert_eq!(rotation::turn(&world.rows, &versions, false, 9), rotation::Turn::Wait);
    assert_eq!(rotation::turn(&world.rows, &versions, true, 9), rotation::Turn::Retire(vec![1]));
    // Done again after a crash it comes to the same.
    turn::retire(&world.roots[0], &[1], &world.kms).unwrap();
    // A node that starts before it has heard of that needs the old root key no more.
    world.restart(1);
    assert!(world.opens(1, &sealed));
    let shared = turn::retire(&world.roots[0], &[1], &world.kms).unwrap();
    world.take(&shared);
    assert_eq!(rotation::turn(&world.rows, &[2], true, 9), rotation::Turn::Done);
    for at in 0..2 {
        world.restart(at);
        assert!(world.opens(at, &sealed), "nothing was lost");
    }
    // Whoever took the disk before has the passphrase of nothing: not the file, and not the rows with the new file.
    let stolen = RootFile::decode(&stolen).unwrap();
    let opened = Keys::open(&stolen, &world.kms, entropy());
    assert!(matches!(opened, Err(Error::Kms(KmsError::NoSuchRoot(1)))));
    assert_eq!(keys(&world.roots[0], &world.kms, 71).learn(&stolen_rows).len(), 3);
    // A node that joins now gets what is there now.
    let third = hierarchy::join(&shared, NodeId(3), &world.kms, entropy()).unwrap();
    let third = keys(&third, &world.kms, 72);
    assert_eq!(third.learn(&world.rows), []);
}

#[test]
fn a_root_file_that_is_held_changes_on_the_disk_first_and_again_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let entropy = || Arc::new(Seeded::new(90));
    let passphrase = kms::Passphrase::from(b"correct horse battery".to_vec());
    let cost = kms::file::Cost::LEAST;
    let kms = Arc::new(kms::file::FileKms::new(CLUSTER, &passphrase, cost, entropy()).unwrap());
    let root = hierarchy::found(CLUSTER, NodeId(1), &*kms, entropy()).unwrap();
    let at = crate::boot::identity::NodeFolder::at(folder.path());
    at.write_root(&root.encode()).unwrap();
    let ring = Arc::new(Keys::open(&root, &*kms, entropy()).unwrap());
    let held = held::Held::new(at.clone(), root.clone(), kms, ring.clone(), entropy());
    let on_disk = || RootFile::decode(&at.root().unwrap()).unwrap();
    assert!(!held.take(&root.shared()).unwrap());
    // Of two that were asked for, one is taken.
    held.turned().unwrap();
    let turned = held.turned().unwrap();
    assert_eq!(turned.cluster_keys.last().map(|key| (key.version, key.root)), Some((2, 2)));
    assert_eq!((held.versions(), on_disk()), (vec![1], root.clone()), "nothing has changed yet");
    assert!(held.take(&turned).unwrap() && !held.take(&turned).unwrap());
    assert_eq!((held.versions(), on_disk().shared()), (vec![1, 2], turned.clone()));
    assert_eq!(ring.sealer().keys().active(Owner::Cluster, Purpose::Wrap).unwrap(), KeyEpoch(2));
    let retired = held.retired(&[1]).unwrap();
    assert!(held.take(&retired).unwrap());
    assert_eq!((held.versions(), on_disk().shared()), (vec![2], retired));
    assert!(ring.sealer().keys().key(Owner::Cluster, Purpose::Wrap, KeyEpoch(1)).is_err());
    // The file opens with the passphrase alone, as at a start.
    let kept = on_disk().kms;
    let again = kms::file::FileKms::open(CLUSTER, &passphrase, &kept, entropy()).unwrap();
    assert!(Keys::open(&on_disk(), &again, entropy()).is_ok());
    // Of another cluster nothing is taken.
    let foreign = RootFile { cluster: ClusterId([9; 16]), ..root.shared() };
    assert!(held.take(&foreign).is_err() && held.versions() == [2]);
}

#[test]
fn rows_that_come_one_by_one_wait_for_whoever_wraps_them() {
    let world = World::new();
    let fresh = keys(&world.roots[1], &world.kms, 80);
    let [wrap, data, _] = &world.rows[..] else { panic!("three keys") };
    assert!(fresh.learn_one(data).is_err());
    fresh.learn_one(wrap).unwrap();
    fresh.learn_one(data).unwrap();
    fresh.learn_one(data).unwrap();
    assert!(fresh.sealer().keys().active(OWNER, Purpose::Data).is_ok());
    fresh.learn_one(&KeyRow { state: KeyState::Disabled, ..data.clone() }).unwrap();
    assert!(fresh.sealer().keys().active(OWNER, Purpose::Data).is_err());
    fresh.learn_one(data).unwrap();
    assert!(fresh.sealer().keys().active(OWNER, Purpose::Data).is_ok(), "a hold that ends gives it back");
}
