//! What is sealed for an entry opens there, with its tenants' keys, and nowhere else; and nobody else reads it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use bytes::Bytes;
use engine::entropy::Seeded;
use engine::error::Nature;
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use engine::sealed::{Keyring, Sealer, SecretKey};
use engine::{Kind, Stamp};
use raft::command::{Command, Counts};
use raft::limits;
use raft::seal::{self, Opened, Times, Unsealed};
use raft::types::GroupId;
use raft::{Error, Result};
use rig::CLUSTER;
use std::sync::Arc;

const G: GroupId = GroupId(5);
const CANARY: &[u8] = b"the canary that nobody may hear";
const TIMES: Times = Times { stamp: Stamp(900), closed: Stamp(800), meta_index: 3 };

fn keyring(tenants: &[u64]) -> Arc<Keyring> {
    let keys = Keyring::new();
    for tenant in tenants {
        let owner = if *tenant == 0 { Owner::Cluster } else { Owner::Tenant(TenantId(*tenant)) };
        let secret = [u8::try_from(*tenant).unwrap() + 1; 32];
        keys.insert(owner, Purpose::Log, KeyEpoch(1), SecretKey::new(secret)).unwrap();
        keys.activate(owner, Purpose::Log, KeyEpoch(1)).unwrap();
    }
    Arc::new(keys)
}

fn sealer_of(keys: Arc<Keyring>) -> Sealer {
    Sealer::new(CLUSTER, keys, Arc::new(Seeded::new(1))).unwrap()
}

fn sealer() -> Sealer {
    sealer_of(keyring(&[7, 8]))
}

fn one(tenant: u64, number: u64, body: &'static [u8]) -> Unsealed {
    let counts = Counts { puts: 1, deletes: 2, range_deletes: 3 };
    Unsealed {
        tenant: TenantId(tenant),
        session: [tenant as u8; 16],
        number,
        valid_until: Stamp(1_000 + number),
        counts,
        body: Bytes::from_static(body),
    }
}

/// Two tenants, woven.
fn commands() -> Vec<Unsealed> {
    vec![one(8, 1, b"a"), one(7, 2, CANARY), one(8, 3, b""), one(7, 4, b"second of seven")]
}

fn sealed_by(sealer: &Sealer, seed: u64) -> Command {
    seal::seal(sealer, &Seeded::new(seed), G, TIMES, &commands()).unwrap()
}

fn sealed() -> Command {
    sealed_by(&sealer(), 1)
}

fn open(command: &Command) -> Result<Vec<Opened>> {
    seal::open(&sealer(), G, command, &|_| false)
}

fn bodies(commands: &[Unsealed]) -> Vec<Opened> {
    commands.iter().map(|one| Opened::Body(one.body.clone())).collect()
}

#[track_caller]
fn assert_tampered(group: GroupId, command: &Command, what: &str) {
    match seal::open(&sealer(), group, command, &|_| false) {
        Err(Error::Engine(engine::Error::Damaged(damage))) => {
            assert_eq!(damage.nature, Nature::Tampered, "{what}: {damage}");
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: it opens"),
    }
}

#[test]
fn what_was_sealed_opens_in_the_order_in_which_it_came() {
    let command = Command::decode(&sealed().encode()).unwrap();
    assert!(open(&command).unwrap() == bodies(&commands()));
    let tenants: Vec<u64> = command.parts.iter().map(|part| part.tenant.0).collect();
    assert_eq!(tenants, [7, 8]);
    let rows: Vec<(u16, u64, u64)> =
        command.rows.iter().map(|row| (row.part, row.number, row.valid_until.0)).collect();
    assert_eq!(rows, [(1, 1, 1_001), (0, 2, 1_002), (1, 3, 1_003), (0, 4, 1_004)]);
    assert!(command.parts.iter().all(|p| p.counts == Counts { puts: 2, deletes: 4, range_deletes: 6 }));
    assert_eq!((command.stamp, command.closed, command.meta_index), (Stamp(900), Stamp(800), 3));
    let empty = seal::seal(&sealer(), &Seeded::new(1), G, TIMES, &[]).unwrap();
    assert!(open(&empty).unwrap().is_empty() && empty.encode().len() == 48);
}

#[test]
fn nothing_of_a_body_stands_in_clear() {
    let holds = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|piece| piece == CANARY);
    let mut command = sealed();
    assert!(!holds(&command.encode()));
    // The control: where it does stand it is found.
    command.parts[0].sealed = [b"x", CANARY].concat().into();
    assert!(holds(&command.encode()));
}

#[test]
fn a_body_opens_in_no_other_entry() {
    let (sealer, mine) = (sealer(), sealed());
    // The same commands, the same times: only the entry is another.
    let other = sealed_by(&sealer, 2);
    assert_ne!(mine.entry, other.entry);
    let mut moved = other.clone();
    moved.parts[0].sealed = mine.parts[0].sealed.clone();
    assert_tampered(G, &moved, "a body of another entry");
    assert_tampered(GroupId(6), &mine, "another group");
    let mut swapped = mine.clone();
    let (first, second) = (mine.parts[0].sealed.clone(), mine.parts[1].sealed.clone());
    (swapped.parts[0].sealed, swapped.parts[1].sealed) = (second, first);
    // Another tenant's key is another key; where the keys are the same the name still tells them apart.
    assert!(matches!(open(&swapped), Err(Error::Engine(engine::Error::WrongKey { .. }))));
}

#[test]
fn a_body_of_another_tenant_does_not_open_even_under_the_same_key() {
    let keys = Keyring::new();
    for tenant in [7, 8] {
        let owner = Owner::Tenant(TenantId(tenant));
        keys.insert(owner, Purpose::Log, KeyEpoch(1), SecretKey::new([3; 32])).unwrap();
        keys.activate(owner, Purpose::Log, KeyEpoch(1)).unwrap();
    }
    let sealer = sealer_of(Arc::new(keys));
    let mut command = sealed_by(&sealer, 1);
    assert!(seal::open(&sealer, G, &command, &|_| false).is_ok());
    let (first, second) = (command.parts[0].sealed.clone(), command.parts[1].sealed.clone());
    (command.parts[0].sealed, command.parts[1].sealed) = (second, first);
    assert!(seal::open(&sealer, G, &command, &|_| false).is_err());
}

#[test]
fn whatever_stands_in_clear_is_bound_to_the_bodies() {
    type Change = fn(&mut Command);
    let changes: [(&str, Change); 13] = [
        ("entry", |c| c.entry[0] ^= 1),
        ("stamp", |c| c.stamp = c.stamp.next()),
        ("closed", |c| c.closed = c.closed.next()),
        ("meta index", |c| c.meta_index += 1),
        ("tenant's puts", |c| c.parts[1].counts.puts += 1),
        ("tenant's deletes", |c| c.parts[1].counts.deletes -= 1),
        ("tenant's ranges", |c| c.parts[0].counts.range_deletes = 0),
        ("session", |c| c.rows[0].session[15] ^= 1),
        ("number", |c| c.rows[2].number += 1),
        ("valid until", |c| c.rows[3].valid_until = Stamp(0)),
        ("order of rows", |c| c.rows.swap(0, 2)),
        ("a row of another part", |c| c.rows.swap(0, 1)),
        ("a row that is gone", |c| c.rows.truncate(c.rows.len() - 1)),
    ];
    for (what, change) in changes {
        let mut command = sealed();
        change(&mut command);
        assert_tampered(G, &command, what);
    }
    // The other tenant's part, taken out whole with its rows.
    let mut command = sealed();
    command.parts.pop();
    command.rows.retain(|row| row.part == 0);
    assert_tampered(G, &command, "a part that is gone");
    for place in [20, 60, 100] {
        let mut command = sealed();
        let mut bytes = command.parts[0].sealed.to_vec();
        bytes[place] ^= 1;
        command.parts[0].sealed = bytes.into();
        assert_tampered(G, &command, "a flipped bit");
    }
}

#[test]
fn a_key_that_is_missing_is_told_as_one() {
    let mine = sealed();
    let without = sealer_of(keyring(&[8]));
    let error = seal::open(&without, G, &mine, &|_| false).err().unwrap();
    assert_eq!(error.kind(), Kind::Key, "{error}");
    let error = seal::seal(&without, &Seeded::new(1), G, TIMES, &commands()).err().unwrap();
    assert_eq!(error.kind(), Kind::Key, "{error}");
    let Error::NotSealed(whose) = error else { panic!("{error}") };
    assert_eq!(whose.0.keys().collect::<Vec<_>>(), [&TenantId(7)]);
}

#[test]
fn a_shredded_tenant_needs_no_key_and_others_open() {
    let without = sealer_of(keyring(&[8]));
    let opened = seal::open(&without, G, &sealed(), &|tenant| tenant == TenantId(7)).unwrap();
    let mut expected = bodies(&commands());
    (expected[1], expected[3]) = (Opened::Shredded, Opened::Shredded);
    assert!(opened == expected);
}

#[test]
fn the_cluster_itself_is_a_tenant() {
    let sealer = sealer_of(keyring(&[0, 7]));
    let commands = [one(0, 1, b"a row of the meta group"), one(7, 2, b"x")];
    let command = seal::seal(&sealer, &Seeded::new(1), G, TIMES, &commands).unwrap();
    assert!(seal::open(&sealer, G, &command, &|_| false).unwrap() == bodies(&commands));
}

#[test]
fn what_does_not_fit_one_entry_is_not_sealed() {
    let sealer = sealer();
    let seal = |commands: &[Unsealed]| seal::seal(&sealer, &Seeded::new(1), G, TIMES, commands);
    let many = vec![one(7, 1, b""); limits::COMMANDS_MAX + 1];
    assert!(matches!(seal(&many), Err(Error::TooLarge { what: "commands of an entry", .. })));
    assert!(seal(&many[1..]).is_ok());
    // Each tenant's part fits alone; both together do not fit what a log takes.
    let half = Bytes::from(vec![0; limits::ENTRY_BYTES_MAX / 2]);
    let large = |tenant| Unsealed { body: half.clone(), ..one(tenant, 1, b"") };
    assert!(seal(&[large(7)]).is_ok());
    assert!(matches!(seal(&[large(7), large(8)]), Err(Error::TooLarge { what: "bytes of an entry", .. })));
}
