//! One of everything that is stored.

use engine::Stamp;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use node::keys::root_file::{ClusterKey, RootFile};
use node::keys::{KeyName, WrappedKey};
use node::meta::cluster_row::{ClusterRow, SettingRow, TokenRow};
use node::meta::command::{Change, MetaCommand};
use node::meta::key_row::{DataKeyRow, KeyState, TenantKeyRow};
use node::meta::node_row::{NodeRow, NodeState};
use node::meta::root_row::{RootRow, TakenRow};
use node::meta::rows::MetaRow;
use node::meta::shard_row::ShardRow;
use node::meta::tenant_row::{CollectionRow, TenantNameRow, TenantRow};
use node::restore::change::RestoreChange;
use node::restore::rows::{AsideRow, HeldRow, Mode, OriginRow, Reached, RestoreRow, State, Step, Tally};
use node::shard::command::{Condition, Expected, Expiry, KvCommand, Operation};
use node::takeover::change::{Seated, TakeOver};
use node::takeover::row::{GenerationRow, GoesOn};
use node::tenants::rules::{Act, Quota, TenantState};
use raft::types::{GroupId, ReplicaId, Role, Seat};

pub const ACME: TenantId = TenantId(0x1122_3344_5566_7788);

pub fn kv_commands() -> Vec<KvCommand<Vec<u8>>> {
    let (collection, key) = (CollectionId(3), b"key".to_vec());
    let condition = |expected| Condition { collection, key: key.clone(), expected };
    let put = |expiry| Operation::Put { collection, key: key.clone(), value: b"value".to_vec(), expiry };
    let range = |end| Operation::DeleteRange { collection, start: b"a".to_vec(), end };
    vec![
        KvCommand { conditions: vec![], operations: vec![put(Expiry::Never)] },
        KvCommand {
            conditions: vec![
                condition(Expected::Absent),
                condition(Expected::Present),
                condition(Expected::Stamp(Stamp::new(1_700_000_000_000, 7))),
            ],
            operations: vec![
                put(Expiry::At(1_700_000_000_000)),
                put(Expiry::After(60_000)),
                Operation::Delete { collection, key: key.clone() },
                range(Some(b"b\0".to_vec())),
                range(None),
            ],
        },
    ]
}

pub fn node_row() -> NodeRow {
    NodeRow {
        id: NodeId(2),
        name: "fox".to_owned(),
        region: "eu-1".to_owned(),
        peer_address: "10.0.0.2:7402".to_owned(),
        client_address: "fox.example:7400".to_owned(),
        state: NodeState::Active,
        certificate_serial: vec![1, 2, 3],
        generation: 1,
        delay_ms: 0,
    }
}

/// The row of a node that is an hour late.
pub fn delayed_row() -> NodeRow {
    NodeRow { id: NodeId(7), name: "late".to_owned(), delay_ms: 3_600_000, ..node_row() }
}

pub fn cluster_row() -> ClusterRow {
    ClusterRow {
        id: ClusterId([0xc1; 16]),
        name: "pond".to_owned(),
        ca_certificate: vec![0x30, 0x82],
        sealed_ca_key: vec![9; 5],
        shard_count: 4,
        version: 1,
    }
}

pub fn shard_row() -> ShardRow {
    let seat = |node, role| Seat { node: NodeId(node), role };
    ShardRow {
        group: GroupId(2),
        start: TenantId(1),
        end: Some(TenantId(1 << 62)),
        version: 1,
        seats: [
            (ReplicaId(3), seat(1, Role::Voter)),
            (ReplicaId(4), seat(2, Role::Learner)),
            (ReplicaId(5), seat(3, Role::Delayed)),
        ]
        .into(),
        leaving: [(ReplicaId(2), NodeId(2))].into(),
        gone: [(ReplicaId(1), NodeId(3))].into(),
        next_replica: ReplicaId(6),
    }
}

pub fn tenant_key() -> TenantKeyRow {
    TenantKeyRow { tenant: ACME, epoch: KeyEpoch(1), wrapped_by: KeyEpoch(1), wrapped: vec![7; 4] }
}

pub fn data_key() -> DataKeyRow {
    DataKeyRow {
        owner: Owner::Tenant(ACME),
        purpose: Purpose::Data,
        epoch: KeyEpoch(1),
        state: KeyState::Active,
        wrapped_by: KeyEpoch(1),
        wrapped: vec![8; 4],
    }
}

pub fn tenant_row() -> TenantRow {
    TenantRow {
        id: ACME,
        name: "acme".to_owned(),
        state: TenantState::Active,
        quota: Quota { bytes: 1 << 40, operations_per_second: 5_000 },
        history_ms: 86_400_000,
        created_ms: 1_700_000_000_000,
        next_collection: CollectionId(2),
    }
}

pub fn meta_rows() -> Vec<MetaRow> {
    let since_ms = 1_700_000_000_000;
    let until_ms = since_ms + node::limits::QUARANTINE_MS;
    let dropped = TenantState::Dropped { since_ms, until_ms, was_frozen: true };
    let token =
        TokenRow { hash: [0xab; 32], expires_ms: 1_700_000_000_000, used_ms: Some(1_699_999_999_999) };
    let destroyed = DataKeyRow { state: KeyState::Destroyed, wrapped: vec![], ..data_key() };
    vec![
        MetaRow::Cluster(cluster_row()),
        MetaRow::Node(node_row()),
        MetaRow::Shard(shard_row()),
        MetaRow::Shard(ShardRow { end: None, ..shard_row() }),
        MetaRow::Tenant(tenant_row()),
        MetaRow::Tenant(TenantRow { state: dropped, ..tenant_row() }),
        MetaRow::Tenant(TenantRow { state: TenantState::Purged, ..tenant_row() }),
        MetaRow::TenantName(TenantNameRow { name: "acme".to_owned(), tenant: ACME }),
        MetaRow::Collection(CollectionRow { tenant: ACME, name: "orders".to_owned(), id: CollectionId(1) }),
        MetaRow::TenantKey(tenant_key()),
        MetaRow::DataKey(data_key()),
        MetaRow::DataKey(destroyed),
        MetaRow::Token(token),
        MetaRow::Setting(SettingRow { name: "log.level".to_owned(), value: "info".to_owned() }),
    ]
}

/// What came after the first ones.
pub fn later_rows() -> Vec<MetaRow> {
    let since_ms = 1_700_000_000_000;
    let dropped = |was_frozen| TenantState::Dropped { since_ms, until_ms: since_ms + 60_000, was_frozen };
    vec![
        MetaRow::Root(root_row()),
        MetaRow::Taken(TakenRow { node: NodeId(2), version: 3 }),
        MetaRow::Tenant(TenantRow { state: dropped(false), ..tenant_row() }),
        MetaRow::Tenant(TenantRow { state: dropped(true), ..tenant_row() }),
    ]
}

/// A restore that goes on.
pub fn restore_row() -> RestoreRow {
    RestoreRow {
        id: 0xabc,
        version: 7,
        state: State::Running,
        step: Step::Write,
        mode: Mode::Range,
        tenant: ACME,
        other: TenantId(9),
        target: Stamp::new(1_700_000_000_000, 3),
        created_ms: 1_700_000_000_500,
        changed_ms: 1_700_000_000_900,
        undo_until_ms: 1_700_600_000_000,
        reached: Reached { collection: CollectionId(3), after: b"key".to_vec(), batches: 5 },
        tally: Tally { rows: 1, bytes: 2, removed: 3, conflicts: 4, expired: 5, left_behind: 6 },
        conflicting: vec![(CollectionId(3), b"k1".to_vec()), (CollectionId(4), vec![0, 0xff])],
        sha256: [0x5a; 32],
        plan: b"{}\n".to_vec(),
        text: "it waits".to_owned(),
    }
}

/// The rows of restores.
pub fn restore_rows() -> Vec<MetaRow> {
    let (whole, forked) = (Stamp::new(1_700_000_001_000, 0), Stamp::new(1_700_000_002_000, u16::MAX));
    let origin = OriginRow { tenant: ACME, of: TenantId(9), at: Stamp(5), restore: 0xabc, whole, forked };
    let aside = AsideRow { tenant: ACME, now: TenantId(9), restore: 0xabc, since_ms: 5, until_ms: 0 };
    let mut rows: Vec<MetaRow> = State::ALL
        .iter()
        .map(|state| MetaRow::Restore(RestoreRow { state: *state, ..restore_row() }))
        .collect();
    rows.extend([
        MetaRow::Held(HeldRow { tenant: ACME, restore: 0xabc }),
        MetaRow::Origin(origin),
        MetaRow::Origin(OriginRow { whole: Stamp::MAX, ..origin }),
        MetaRow::Aside(aside),
        MetaRow::Aside(AsideRow { until_ms: 9, ..aside }),
    ]);
    rows
}

/// What restores change.
pub fn restore_commands() -> Vec<MetaCommand> {
    let quota = Quota { bytes: 1 << 40, operations_per_second: 5_000 };
    let (other, name) = (TenantId(9), "acme-copy".to_owned());
    let (whole, forked) = (Stamp(7), Stamp(8));
    let changes = vec![
        RestoreChange::Put(Box::new(restore_row()), Some(6)),
        RestoreChange::Put(Box::new(restore_row()), None),
        RestoreChange::Copy {
            id: other,
            name: name.clone(),
            quota,
            history_ms: 86_400_000,
            of: ACME,
            at: Stamp(5),
            restore: 0xabc,
        },
        RestoreChange::PutCollection(other, "orders".to_owned(), CollectionId(3)),
        RestoreChange::Close(ACME, other, 0xabc),
        RestoreChange::Open(ACME),
        RestoreChange::Swap { old: ACME, new: other, aside: name, until_ms: 9, whole, forked },
        RestoreChange::End(ACME),
        RestoreChange::Whole(other, whole),
        RestoreChange::Forget(0xabc),
    ];
    changes.into_iter().map(|one| MetaCommand::new(vec![Change::Restoring(one)])).collect()
}

pub fn root_row() -> RootRow {
    let key = |version| ClusterKey { version, root: version + 1, wrapped: vec![0xcc; 5] };
    let name = KeyName { owner: Owner::Cluster, purpose: Purpose::Meta, epoch: KeyEpoch(1) };
    let root = RootFile {
        cluster: ClusterId([0xc1; 16]),
        node: NodeId(0),
        kms: vec![0xee; 3],
        cluster_keys: vec![key(1), key(2)],
        keys: vec![WrappedKey { name, wrapped: vec![0xdd; 7] }],
    };
    RootRow { version: 1, root }
}

/// What came after the first ones.
pub fn later_commands() -> Vec<MetaCommand> {
    vec![MetaCommand::new(vec![
        Change::PutRoot(root_row(), None),
        Change::PutRoot(RootRow { version: 4, ..root_row() }, Some(3)),
        Change::TakeRoot(NodeId(2), 3),
        Change::DropTenant(ACME, 60_000),
    ])]
}

pub fn meta_commands() -> Vec<MetaCommand> {
    let quota = tenant_row().quota;
    vec![
        MetaCommand::new(vec![Change::AddCollection(ACME, "orders".to_owned())]),
        MetaCommand::new(vec![
            Change::PutCluster(cluster_row(), None),
            Change::PutNode(NodeRow { generation: 4, ..node_row() }, Some(3)),
            Change::SetNodeState(NodeId(2), NodeState::Draining),
            Change::MakeToken([0xab; 32], 1_700_000_000_000),
            Change::SpendToken([0xab; 32]),
            Change::CreateTenant { id: ACME, name: "acme".to_owned(), quota, history_ms: 86_400_000 },
            Change::SetTenantState(ACME, Act::Drop),
            Change::SetQuota(ACME, Quota::default()),
            Change::SetHistory(ACME, 1),
            Change::PutTenantKey(tenant_key(), None),
            Change::PutDataKey(data_key(), Some(KeyEpoch(1))),
            Change::SetKeyState(Owner::Cluster, Purpose::Meta, KeyEpoch(2), KeyState::Retired),
            Change::PutShard(ShardRow { version: 7, ..shard_row() }, Some(6)),
            Change::PutSetting("log.level".to_owned(), Some("info".to_owned())),
            Change::PutSetting("log.level".to_owned(), None),
        ]),
    ]
}

/// A row, whole.
pub fn whole(row: &MetaRow) -> Vec<u8> {
    let mut out = Vec::new();
    row.append(&mut out);
    out
}

/// Generations that began with a takeover.
pub fn generation_rows() -> Vec<MetaRow> {
    let promoted = GenerationRow {
        generation: 2,
        parent: 1,
        upto: Stamp::new(1_700_000_000_000, 7),
        node: NodeId(4),
        decided_ms: 1_700_000_100_000,
        by: "dana".to_owned(),
        reason: "INC-4711".to_owned(),
        ..GenerationRow::default()
    };
    let survivor = GenerationRow { generation: 7, parent: 2, upto: Stamp::ZERO, ..promoted.clone() };
    vec![MetaRow::Generation(promoted), MetaRow::Generation(survivor)]
}

/// Generations whose rows say without whom they began, and as which groups: version 2.
pub fn cut_rows() -> Vec<MetaRow> {
    let goes_on = |was, is, after| GoesOn { was: GroupId(was), is: GroupId(is), after: Stamp(after) };
    let rows = generation_rows().into_iter().filter_map(|row| match row {
        MetaRow::Generation(row) => Some(row),
        _ => None,
    });
    let longer = rows.map(|row| GenerationRow {
        whole: if row.upto == Stamp::ZERO { Stamp::new(1_700_000_000_000, 9) } else { Stamp::ZERO },
        gone: vec![NodeId(1), NodeId(2)],
        goes_on: vec![goes_on(2, 4, 7), goes_on(3, 5, u64::MAX)],
        ..row
    });
    longer.map(MetaRow::Generation).collect()
}

/// What a takeover asks of the meta group.
pub fn takeover_commands() -> Vec<MetaCommand> {
    let seated =
        |was, is, replica| Seated { was: GroupId(was), is: GroupId(is), replica: ReplicaId(replica) };
    let of = |row, groups| TakeOver {
        row,
        gone: vec![NodeId(1), NodeId(2)],
        groups,
        reports: vec![(NodeId(2), 9)],
    };
    let groups = [vec![seated(1, 1, 5), seated(2, 4, 1)], Vec::new()];
    let rows = generation_rows().into_iter().zip(groups).filter_map(|(row, groups)| match row {
        MetaRow::Generation(row) => Some(MetaCommand::new(vec![Change::TakeOver(Box::new(of(row, groups)))])),
        _ => None,
    });
    rows.collect()
}
