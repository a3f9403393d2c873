//! Rows and commands of the meta group, any that can be: what was written is read, and no other row is read from less or more.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use engine::Stamp;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, LogIndex, NodeId, Owner, Purpose, TenantId};
use node::archive::manifest::log::GroupRow;
use node::archive::naming::{SnapshotId, TickEnd};
use node::keys::root_file::{ClusterKey, RootFile};
use node::meta::archive_change::{ArchiveChange, PinEnd};
use node::meta::archive_row::{ArchivedRow, CloserRow, ReportRow, SnapshotRow, SnapshotState};
use node::meta::cluster_row::{ClusterRow, SettingRow, TokenRow};
use node::meta::command::{Change, MetaCommand};
use node::meta::key_row::{DataKeyRow, KeyState, TenantKeyRow};
use node::meta::node_row::{NodeRow, NodeState};
use node::meta::pin_row::{CarriedRow, PinRow, SweepRow};
use node::meta::root_row::{RootRow, TakenRow};
use node::meta::rows::MetaRow;
use node::meta::shard_row::ShardRow;
use node::meta::tenant_row::{CollectionRow, TenantNameRow, TenantRow};
use node::restore::change::RestoreChange;
use node::restore::rows::{AsideRow, HeldRow, Mode, OriginRow, Reached, RestoreRow, State, Step, Tally};
use node::takeover::change::{Seated, TakeOver};
use node::takeover::row::{GenerationRow, GoesOn};
use node::tenants::rules::{Act, Quota, TenantState};
use proptest::prelude::*;
use raft::types::{GroupId, ReplicaId, Role, Seat};

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..max)
}

fn some_cluster() -> impl Strategy<Value = MetaRow> {
    (any::<[u8; 16]>(), name(), bytes(40), bytes(40), 1..=1_024u32, 1..u64::MAX).prop_map(
        |(id, name, ca_certificate, sealed_ca_key, shard_count, version)| {
            let id = ClusterId(id);
            MetaRow::Cluster(ClusterRow { id, name, ca_certificate, sealed_ca_key, shard_count, version })
        },
    )
}

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(b"azAZ09".to_vec()), 1..64)
        .prop_map(|name| String::from_utf8(name).unwrap())
}

fn some_node() -> impl Strategy<Value = MetaRow> {
    let states = [NodeState::Active, NodeState::Draining, NodeState::Removed];
    let texts = (name(), name(), "\\PC{0,20}", "\\PC{0,20}");
    let delay_ms = prop_oneof![Just(0), node::limits::DELAY_MS];
    let numbers = (1..u64::MAX, 1..u64::MAX, delay_ms);
    (numbers, texts, proptest::sample::select(states.to_vec()), bytes(20)).prop_map(
        |((id, generation, delay_ms), names, state, certificate_serial)| {
            let (name, region, peer_address, client_address) = names;
            let id = NodeId(id);
            MetaRow::Node(NodeRow {
                id,
                name,
                region,
                peer_address,
                client_address,
                state,
                certificate_serial,
                generation,
                delay_ms,
            })
        },
    )
}

fn some_shard() -> impl Strategy<Value = MetaRow> {
    let roles = proptest::sample::select(vec![Role::Voter, Role::Learner, Role::Delayed]);
    let replica = (any::<u64>().prop_map(NodeId), roles, 0..3u8);
    let replicas = proptest::collection::btree_map(1..1_000u64, replica, 0..20);
    let range = (0..u64::MAX - 1, proptest::option::of(1..u64::MAX));
    (1..u64::MAX, range, 1..u64::MAX, replicas).prop_map(|(group, (start, width), version, replicas)| {
        let mut row = ShardRow {
            group: GroupId(group),
            start: TenantId(start),
            end: width.map(|width| TenantId(start.saturating_add(width))),
            version,
            next_replica: ReplicaId(1_000),
            ..ShardRow::default()
        };
        for (id, (node, role, list)) in replicas {
            match list {
                0 => drop(row.seats.insert(ReplicaId(id), Seat { node, role })),
                1 => drop(row.leaving.insert(ReplicaId(id), node)),
                _ => drop(row.gone.insert(ReplicaId(id), node)),
            }
        }
        MetaRow::Shard(row)
    })
}

fn some_tenant() -> impl Strategy<Value = MetaRow> {
    let state = (any::<u64>(), any::<u64>(), 0..7u8).prop_map(|(since_ms, until_ms, n)| match n {
        0 => TenantState::Active,
        1 => TenantState::Frozen,
        2 => TenantState::Purged,
        n => {
            let usual_ms = since_ms.saturating_add(node::limits::QUARANTINE_MS);
            let until_ms = if n < 5 { usual_ms } else { until_ms };
            TenantState::Dropped { since_ms, until_ms, was_frozen: n % 2 == 1 }
        }
    });
    let numbers = (any::<u64>(), any::<u32>(), 0..1_000_000u64, any::<u64>(), 1..70_000u32);
    (1..u64::MAX, name(), state, numbers).prop_map(|(id, name, state, numbers)| {
        let (bytes, operations_per_second, history_ms, created_ms, next) = numbers;
        let quota = Quota { bytes, operations_per_second };
        let (id, next_collection) = (TenantId(id), CollectionId(next));
        MetaRow::Tenant(TenantRow { id, name, state, quota, history_ms, created_ms, next_collection })
    })
}

fn some_key() -> impl Strategy<Value = MetaRow> {
    (1..u64::MAX, 1..u32::MAX, 1..u32::MAX, bytes(60), 0..14u8, 1..5u8, any::<bool>()).prop_map(
        |(id, epoch, wrapped_by, wrapped, purpose, state, is_data)| {
            let (tenant, epoch, wrapped_by) = (TenantId(id), KeyEpoch(epoch), KeyEpoch(wrapped_by));
            if !is_data {
                return MetaRow::TenantKey(TenantKeyRow { tenant, epoch, wrapped_by, wrapped });
            }
            let purpose = Purpose::from_number(purpose).unwrap();
            let state = KeyState::from_number(state).unwrap();
            let wrapped = if state == KeyState::Destroyed { vec![] } else { wrapped };
            let owner = Owner::Tenant(tenant);
            MetaRow::DataKey(DataKeyRow { owner, purpose, epoch, state, wrapped_by, wrapped })
        },
    )
}

fn some_small() -> impl Strategy<Value = MetaRow> {
    let used = proptest::option::of(any::<u64>());
    (1..u64::MAX, name(), 1..65_536u32, any::<[u8; 32]>(), used, 0..4u8).prop_map(
        |(number, name, id, hash, used_ms, which)| {
            let tenant = TenantId(number);
            match which {
                0 => MetaRow::TenantName(TenantNameRow { name, tenant }),
                1 => MetaRow::Collection(CollectionRow { tenant, name, id: CollectionId(id) }),
                2 => MetaRow::Token(TokenRow { hash, expires_ms: number, used_ms }),
                _ => MetaRow::Setting(SettingRow { value: name.repeat(2), name }),
            }
        },
    )
}

fn some_root() -> impl Strategy<Value = MetaRow> {
    let keys = proptest::collection::btree_map(1..u32::MAX, (any::<u32>(), bytes(40)), 1..5);
    (any::<[u8; 16]>(), bytes(40), keys, 1..u64::MAX, any::<bool>()).prop_map(
        |(cluster, kms, keys, version, is_root)| {
            if !is_root {
                return MetaRow::Taken(TakenRow { node: NodeId(version), version });
            }
            let key = |(version, (root, wrapped))| ClusterKey { version, root, wrapped };
            let cluster_keys = keys.into_iter().map(key).collect();
            let root = RootFile { cluster: ClusterId(cluster), kms, cluster_keys, ..RootFile::default() };
            MetaRow::Root(RootRow { version, root })
        },
    )
}

fn some_restore() -> impl Strategy<Value = MetaRow> {
    let numbers = (1..u64::MAX, 1..u64::MAX, any::<u64>(), any::<u64>());
    let words = (0..8usize, 0..4usize, 0..4usize);
    let keys = proptest::collection::vec((any::<u32>(), bytes(20)), 0..4);
    (numbers, words, keys, bytes(60), any::<[u8; 32]>(), name()).prop_map(
        |((id, tenant, one, two), (state, step, mode), keys, plan, sha256, text)| {
            let tally =
                Tally { rows: one, bytes: two, removed: id, conflicts: one, expired: two, left_behind: id };
            MetaRow::Restore(RestoreRow {
                id,
                version: tenant,
                state: State::ALL[state],
                step: Step::ALL[step],
                mode: Mode::ALL[mode],
                tenant: TenantId(tenant),
                other: TenantId(one),
                target: Stamp(id),
                created_ms: one,
                changed_ms: two,
                undo_until_ms: one,
                reached: Reached { collection: CollectionId(3), after: plan.clone(), batches: two },
                tally,
                conflicting: keys
                    .into_iter()
                    .map(|(collection, key)| (CollectionId(collection), key))
                    .collect(),
                sha256,
                plan,
                text,
            })
        },
    )
}

fn some_archive() -> impl Strategy<Value = MetaRow> {
    let pairs = proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..9);
    let numbers = (1..u64::MAX, any::<u64>(), any::<u64>(), 1..u64::MAX);
    (numbers, any::<[u8; 32]>(), any::<[u8; 4]>(), pairs, 0..7u8).prop_map(
        |((number, upto, ms, node), hash, random, pairs, which)| match which {
            6 => MetaRow::Carried(CarriedRow { upto: Stamp(upto) }),
            4 => MetaRow::Sweep(SweepRow { node: NodeId(node), until_ms: ms }),
            5 => MetaRow::Pin(PinRow {
                id: number.to_be_bytes(),
                renewal: u32::from_be_bytes(random).max(1),
                is_hold: upto % 2 == 0,
                made_ms: ms,
                until_ms: upto,
                after: Stamp(number - 1),
                upto: Stamp(number),
                snapshots: pairs.into_keys().map(|cut| SnapshotId { cut: TickEnd(cut), random }).collect(),
                by: format!("n{node}"),
                why: String::new(),
            }),
            0 => {
                let (holder, index) = (NodeId(node), LogIndex(ms));
                let (group, upto, has_begun) = (GroupId(number), Stamp(upto), upto > 0);
                MetaRow::Archived(ArchivedRow { group, holder, until_ms: ms, upto, index, has_begun })
            }
            1 => {
                let row = |(group, upto): (u64, u64)| GroupRow { group, upto, node, ..GroupRow::default() };
                let groups = pairs.into_iter().map(row).collect();
                MetaRow::Report(ReportRow { node: NodeId(node), number, files: Vec::new(), groups })
            }
            2 => MetaRow::Closer(CloserRow {
                version: number,
                generation: node,
                end_s: upto.max(1),
                previous_end_s: upto.max(1) - 1,
                previous: if upto > 1 { hash } else { [0; 32] },
                writer: NodeId(ms),
                planned_ms: ms,
                reports: pairs.iter().map(|(node, number)| (NodeId(*node), *number)).collect(),
                alive: pairs.into_keys().map(GroupId).collect(),
            }),
            _ => MetaRow::Snapshot(SnapshotRow {
                version: number,
                cut_s: upto,
                random,
                state: [SnapshotState::Idle, SnapshotState::Running, SnapshotState::Failed]
                    [random[0] as usize % 3],
                is_digested: random[1] % 2 == 0,
                begun_ms: ms,
                homes: pairs.into_iter().map(|(group, node)| (GroupId(group), NodeId(node))).collect(),
                last: (node, random, hash),
            }),
        },
    )
}

fn some_standing() -> impl Strategy<Value = MetaRow> {
    (1..u64::MAX / 2, any::<u64>(), any::<u64>(), 0..4u8).prop_map(|(id, one, two, which)| {
        let (tenant, now) = (TenantId(id), TenantId(id + 1));
        let (at, whole, forked) = (Stamp(one), Stamp(two), Stamp(id));
        match which {
            3 => MetaRow::Generation(GenerationRow {
                generation: id + 1,
                parent: id,
                upto: at,
                node: NodeId(id),
                decided_ms: two,
                by: one.to_string(),
                reason: two.to_string(),
                whole: if at == Stamp::ZERO { Stamp(two) } else { Stamp::ZERO },
                gone: if two % 2 == 0 { vec![NodeId(id + 1), NodeId(id + 2)] } else { Vec::new() },
                goes_on: if two % 3 == 0 {
                    vec![GoesOn { was: GroupId(id), is: GroupId(id + 1), after: at }]
                } else {
                    Vec::new()
                },
            }),
            0 => MetaRow::Held(HeldRow { tenant, restore: one }),
            1 => MetaRow::Origin(OriginRow { tenant, of: now, at, restore: two, whole, forked }),
            _ => MetaRow::Aside(AsideRow { tenant, now, restore: one, since_ms: two, until_ms: one }),
        }
    })
}

fn some_row() -> impl Strategy<Value = MetaRow> {
    let (one, other) = (some_cluster(), some_root());
    let (restore, standing, of_archive) = (some_restore(), some_standing(), some_archive());
    prop_oneof![
        restore,
        standing,
        of_archive,
        one,
        some_node(),
        some_shard(),
        some_tenant(),
        some_key(),
        some_small(),
        other
    ]
}

/// A change that has to do with the row.
fn change(row: MetaRow, expected: Option<u32>) -> Change {
    let (number, epoch) = (expected.map(u64::from), expected.map(KeyEpoch));
    match row {
        MetaRow::Cluster(row) => Change::PutCluster(row, number),
        MetaRow::Node(row) if row.id.0 % 2 == 0 => Change::SetNodeState(row.id, row.state),
        MetaRow::Node(row) => Change::PutNode(row, number),
        MetaRow::Shard(row) => Change::PutShard(row, number),
        MetaRow::Root(row) => Change::PutRoot(row, number),
        MetaRow::Taken(row) => Change::TakeRoot(row.node, row.version),
        MetaRow::Archived(row) => {
            Change::Archive(ArchiveChange::Take(row.holder, row.until_ms, vec![row.group]))
        }
        MetaRow::Report(row) => Change::Archive(ArchiveChange::Report(row, number.unwrap_or(0))),
        MetaRow::Closer(row) => Change::Archive(ArchiveChange::PlanMarker(row)),
        MetaRow::Snapshot(row) => Change::Archive(ArchiveChange::PutSnapshot(row)),
        MetaRow::Pin(PinRow { id, is_hold, by, why, .. }) if id[0] % 2 == 0 => {
            Change::Archive(ArchiveChange::EndPin(PinEnd { id, is_hold, by, why }))
        }
        MetaRow::Pin(row) => Change::Archive(ArchiveChange::PutPin(row)),
        MetaRow::Sweep(row) => Change::Archive(ArchiveChange::TakeSweep(row)),
        MetaRow::Carried(row) => Change::Archive(ArchiveChange::Carry(row)),
        MetaRow::Tenant(TenantRow { id, name, quota, history_ms, .. }) => match id.0 % 5 {
            3 => Change::DropTenant(id, history_ms.max(node::limits::QUARANTINE_MS_MIN)),
            0 => Change::CreateTenant { id, name, quota, history_ms },
            1 => Change::SetTenantState(id, Act::ALL[usize::try_from(history_ms % 5).unwrap()]),
            2 => Change::SetQuota(id, quota),
            _ => Change::SetHistory(id, history_ms),
        },
        MetaRow::TenantName(row) => Change::PutSetting(row.name, None),
        MetaRow::Collection(row) => Change::AddCollection(row.tenant, row.name),
        MetaRow::TenantKey(row) => Change::PutTenantKey(row, epoch),
        MetaRow::DataKey(row) if row.epoch.0 % 2 == 0 => {
            Change::SetKeyState(row.owner, row.purpose, row.epoch, row.state)
        }
        MetaRow::DataKey(row) => Change::PutDataKey(row, epoch),
        MetaRow::Token(row) if row.used_ms.is_some() => Change::SpendToken(row.hash),
        MetaRow::Token(row) => Change::MakeToken(row.hash, row.expires_ms),
        MetaRow::Setting(row) => Change::PutSetting(row.name, Some(row.value)),
        MetaRow::Restore(row) if row.id % 3 == 0 => Change::Restoring(RestoreChange::Forget(row.id)),
        MetaRow::Restore(row) if row.id % 3 == 1 => {
            let (quota, history_ms) = (Quota { bytes: row.created_ms, operations_per_second: 5 }, 7);
            let (id, name, of, at, restore) = (row.tenant, row.text, row.other, row.target, row.id);
            Change::Restoring(RestoreChange::Copy { id, name, quota, history_ms, of, at, restore })
        }
        MetaRow::Restore(row) => Change::Restoring(RestoreChange::Put(Box::new(row), number)),
        MetaRow::Held(row) if row.restore % 2 == 0 => Change::Restoring(RestoreChange::Open(row.tenant)),
        MetaRow::Held(row) => Change::Restoring(RestoreChange::End(row.tenant)),
        MetaRow::Origin(row) if row.restore % 2 == 0 => {
            let id = CollectionId((row.restore % 60_000) as u32 + 1);
            Change::Restoring(RestoreChange::PutCollection(row.tenant, "orders".to_owned(), id))
        }
        MetaRow::Origin(row) => Change::Restoring(RestoreChange::Whole(row.tenant, row.whole)),
        MetaRow::Generation(row) => {
            let (node, other) = (row.node, NodeId(row.node.0 + 1));
            let group = GroupId(row.generation);
            let groups = vec![Seated { was: group, is: group, replica: ReplicaId(row.generation) }];
            let reports = vec![(node, row.decided_ms), (other, 1)];
            Change::TakeOver(Box::new(TakeOver { row, gone: vec![other], groups, reports }))
        }
        MetaRow::Aside(row) if row.restore % 2 == 0 => {
            Change::Restoring(RestoreChange::Close(row.tenant, row.now, row.restore))
        }
        MetaRow::Aside(AsideRow { tenant, now, restore, since_ms, until_ms }) => {
            let (whole, forked, aside) = (Stamp(restore), Stamp(since_ms), "aside".to_owned());
            Change::Restoring(RestoreChange::Swap { old: tenant, new: now, aside, until_ms, whole, forked })
        }
    }
}

proptest! {
    #[test]
    fn rows_come_back(row in some_row(), cut in any::<prop::sample::Index>()) {
        let (collection, key, value) = (row.collection(), row.key(), row.value());
        prop_assert_eq!(&MetaRow::decode(collection, &key, &value).unwrap(), &row);
        prop_assert!(MetaRow::decode(collection, &key, &value[..cut.index(value.len())]).is_err());
        prop_assert!(MetaRow::decode(collection, &key, &[&value[..], &[0]].concat()).is_err());
        prop_assert!(MetaRow::decode(CollectionId(0), &key, &value).is_err());
    }

    #[test]
    fn commands_come_back(
        rows in proptest::collection::vec((some_row(), proptest::option::of(any::<u32>())), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let command = MetaCommand::new(rows.into_iter().map(|(row, expected)| change(row, expected)).collect());
        let bytes = command.encode().unwrap();
        prop_assert_eq!(&MetaCommand::decode(&bytes).unwrap(), &command);
        prop_assert!(MetaCommand::decode(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(MetaCommand::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
