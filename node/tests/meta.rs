//! The meta group's commands in a tablet: what each change needs, all or nothing, and the view that is read back.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "meta/archive.rs"]
mod archive;
mod rig;

use engine::ids::{CollectionId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use node::keys::root_file::ClusterKey;
use node::meta::command::{Change, MetaCommand, MetaReply, Reason};
use node::meta::key_row::{DataKeyRow, KeyState, TenantKeyRow};
use node::meta::node_row::{NodeRow, NodeState};
use node::meta::root_row::RootRow;
use node::meta::shard_row::ShardRow;
use node::meta::view::MetaView;
use node::server::purging::purges;
use node::shard::map::{ShardMap, ShardRange};
use node::tenants::rules::{Act, Quota, TenantState};
use node::{keys, limits};
use raft::types::{GroupId, ReplicaId};
use rig::Rig;
use rig::samples::{ACME, cluster_row, data_key, delayed_row, node_row, root_row, shard_row, tenant_key};

const NOW: u64 = 1_700_000_000_000;

struct Meta {
    rig: Rig,
    now_ms: u64,
}

impl Meta {
    fn new() -> Self {
        Self { rig: Rig::new(ShardRange::META.rows()), now_ms: NOW }
    }

    fn ask(&mut self, changes: Vec<Change>) -> MetaReply {
        let body = MetaCommand::new(changes).encode().unwrap();
        let reply = self.rig.apply(self.now_ms, &[(TenantId(0), body)]).remove(0);
        MetaReply::decode(&reply).unwrap()
    }

    /// Done; the collections that were asked for.
    fn done(&mut self, change: Change) -> Vec<CollectionId> {
        match self.ask(vec![change]) {
            MetaReply::Applied { collections, .. } => collections,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(&mut self, change: Change, why: Reason) {
        let before = self.view();
        assert_eq!(self.ask(vec![change]), MetaReply::Refused { change: 0, reason: why });
        assert_eq!(self.view(), before);
    }

    fn view(&self) -> MetaView {
        MetaView::read(&self.rig.view(self.now_ms), 0).unwrap()
    }

    fn tenant(&mut self) {
        self.done(create(ACME, "acme"));
    }
}

fn create(id: TenantId, name: &str) -> Change {
    Change::CreateTenant { id, name: name.to_owned(), quota: Quota::default(), history_ms: 1_000 }
}

#[test]
fn a_cluster_keeps_its_id() {
    let mut meta = Meta::new();
    meta.refused(Change::PutCluster(cluster_row(), Some(1)), Reason::NotFound);
    let mut second = cluster_row();
    second.version = 2;
    meta.refused(Change::PutCluster(second.clone(), None), Reason::Impossible);
    meta.done(Change::PutCluster(cluster_row(), None));
    meta.refused(Change::PutCluster(cluster_row(), None), Reason::Exists);
    meta.refused(Change::PutCluster(second.clone(), Some(2)), Reason::Stale);
    let mut other = second.clone();
    other.id.0[0] ^= 1;
    meta.refused(Change::PutCluster(other, Some(1)), Reason::Impossible);
    meta.done(Change::PutCluster(second.clone(), Some(1)));
    assert_eq!(meta.view().cluster, Some(second));
}

#[test]
fn a_node_that_is_removed_stays_so() {
    let mut meta = Meta::new();
    let node = |generation, state| NodeRow { generation, state, ..node_row() };
    meta.refused(Change::SetNodeState(NodeId(2), NodeState::Draining), Reason::NotFound);
    meta.refused(Change::PutNode(node(1, NodeState::Removed), None), Reason::State);
    meta.done(Change::PutNode(node(1, NodeState::Active), None));
    meta.refused(Change::PutNode(node(1, NodeState::Active), None), Reason::Exists);
    meta.refused(Change::SetNodeState(NodeId(2), NodeState::Active), Reason::State);
    meta.done(Change::SetNodeState(NodeId(2), NodeState::Draining));
    meta.refused(Change::PutNode(node(2, NodeState::Active), Some(1)), Reason::Stale);
    meta.refused(Change::PutNode(node(4, NodeState::Active), Some(2)), Reason::Impossible);
    meta.done(Change::PutNode(node(3, NodeState::Active), Some(2)));
    meta.done(Change::SetNodeState(NodeId(2), NodeState::Removed));
    meta.refused(Change::SetNodeState(NodeId(2), NodeState::Active), Reason::State);
    meta.refused(Change::PutNode(node(5, NodeState::Removed), Some(4)), Reason::State);
    assert_eq!(meta.view().nodes[&NodeId(2)], node(4, NodeState::Removed));
}

#[test]
fn a_delayed_node_stays_one_and_no_other_becomes_it() {
    let mut meta = Meta::new();
    let usual = |generation, delay_ms| NodeRow { generation, delay_ms, ..node_row() };
    let late = |generation, delay_ms| NodeRow { generation, delay_ms, ..delayed_row() };
    meta.done(Change::PutNode(usual(1, 0), None));
    meta.done(Change::PutNode(late(1, 60_000), None));
    meta.refused(Change::PutNode(usual(2, 60_000), Some(1)), Reason::State);
    meta.refused(Change::PutNode(late(2, 0), Some(1)), Reason::State);
    meta.done(Change::PutNode(late(2, 90_000), Some(1)));
    assert_eq!(meta.view().nodes[&delayed_row().id].delay_ms, 90_000);
}

#[test]
fn a_token_is_good_once_and_not_for_ever() {
    let (mut meta, hash, until) = (Meta::new(), [1; 32], NOW + 1_000);
    meta.refused(Change::SpendToken(hash), Reason::NotFound);
    meta.refused(Change::MakeToken(hash, NOW), Reason::TokenExpired);
    meta.done(Change::MakeToken(hash, until));
    meta.refused(Change::MakeToken(hash, until), Reason::Exists);
    meta.done(Change::MakeToken([2; 32], until));
    meta.now_ms = until - 1;
    meta.done(Change::SpendToken(hash));
    meta.refused(Change::SpendToken(hash), Reason::TokenSpent);
    meta.now_ms = until;
    meta.refused(Change::SpendToken([2; 32]), Reason::TokenExpired);
    meta.now_ms = until + limits::TOKEN_KEPT_MS;
    meta.refused(Change::SpendToken([2; 32]), Reason::NotFound);
    assert!(meta.view().tokens.is_empty());
}

#[test]
fn a_tenant_lives_and_its_name_is_its_own() {
    let mut meta = Meta::new();
    meta.refused(Change::SetTenantState(ACME, Act::Freeze), Reason::NotFound);
    meta.tenant();
    meta.refused(create(ACME, "other"), Reason::Exists);
    meta.refused(create(TenantId(5), "acme"), Reason::NameTaken);
    meta.done(Change::SetQuota(ACME, Quota { bytes: 7, operations_per_second: 9 }));
    meta.done(Change::SetHistory(ACME, 77));
    let row = meta.view().tenant_named("acme").unwrap().clone();
    assert_eq!((row.quota.bytes, row.history_ms, row.created_ms), (7, 77, NOW));
    meta.refused(Change::SetTenantState(ACME, Act::Unfreeze), Reason::State);
    meta.done(Change::SetTenantState(ACME, Act::Freeze));
    meta.refused(Change::AddCollection(ACME, "late".to_owned()), Reason::State);
    meta.done(Change::SetTenantState(ACME, Act::Drop));
    meta.refused(create(TenantId(5), "acme"), Reason::NameTaken);
    meta.done(Change::SetTenantState(ACME, Act::Undrop));
    assert_eq!(meta.view().tenants[&ACME].state, TenantState::Frozen);
    meta.done(Change::SetTenantState(ACME, Act::Drop));
    meta.refused(Change::SetTenantState(ACME, Act::Purge), Reason::WindowOpen);
    meta.now_ms += limits::QUARANTINE_MS;
    meta.refused(Change::SetTenantState(ACME, Act::Undrop), Reason::WindowOver);
    meta.done(Change::SetTenantState(ACME, Act::Purge));
    meta.refused(Change::SetTenantState(ACME, Act::Undrop), Reason::State);
    meta.refused(Change::SetQuota(ACME, Quota::default()), Reason::State);
    meta.refused(create(ACME, "again"), Reason::Exists);
    assert!(meta.view().tenant_named("acme").is_none());
    meta.done(create(TenantId(5), "acme"));
    assert_eq!(meta.view().tenant_named("acme").unwrap().id, TenantId(5));
}

#[test]
fn a_collection_has_one_number() {
    let mut meta = Meta::new();
    let add = |name: &str| Change::AddCollection(ACME, name.to_owned());
    meta.refused(add("a"), Reason::NotFound);
    meta.tenant();
    let MetaReply::Applied { collections, .. } = meta.ask(vec![add("a"), add("b"), add("a")]) else {
        panic!("refused");
    };
    assert_eq!(collections, [1, 2, 1].map(CollectionId));
    assert_eq!((meta.done(add("b")), meta.done(add("c"))), (vec![CollectionId(2)], vec![CollectionId(3)]));
    let view = meta.view();
    assert_eq!(view.collection(ACME, "c"), Some(CollectionId(3)));
    assert_eq!(view.collection(TenantId(5), "c"), None);
    let all: Vec<_> = view.collections(ACME).collect();
    assert_eq!(all, [("a", CollectionId(1)), ("b", CollectionId(2)), ("c", CollectionId(3))]);
}

#[test]
fn keys_only_get_older() {
    let mut meta = Meta::new();
    meta.refused(Change::PutTenantKey(tenant_key(), None), Reason::NotFound);
    meta.refused(Change::PutDataKey(data_key(), None), Reason::NotFound);
    meta.tenant();
    meta.done(Change::PutTenantKey(tenant_key(), None));
    meta.refused(Change::PutTenantKey(tenant_key(), None), Reason::Exists);
    let again = TenantKeyRow { wrapped_by: KeyEpoch(2), wrapped: vec![5], ..tenant_key() };
    meta.refused(Change::PutTenantKey(again.clone(), Some(KeyEpoch(3))), Reason::Stale);
    meta.done(Change::PutTenantKey(again.clone(), Some(KeyEpoch(1))));
    assert_eq!(meta.view().tenant_keys[&(ACME, KeyEpoch(1))], again);
    let set = |state| Change::SetKeyState(Owner::Tenant(ACME), Purpose::Data, KeyEpoch(1), state);
    meta.refused(set(KeyState::Active), Reason::NotFound);
    meta.done(Change::PutDataKey(DataKeyRow { state: KeyState::Waiting, ..data_key() }, None));
    meta.refused(Change::PutDataKey(data_key(), Some(KeyEpoch(1))), Reason::State);
    assert!(meta.view().active_key(Owner::Tenant(ACME), Purpose::Data).is_none());
    meta.done(set(KeyState::Active));
    meta.done(Change::PutDataKey(
        DataKeyRow { epoch: KeyEpoch(2), state: KeyState::Waiting, ..data_key() },
        None,
    ));
    let active = |meta: &Meta| meta.view().active_key(Owner::Tenant(ACME), Purpose::Data).unwrap().epoch;
    assert_eq!(active(&meta), KeyEpoch(1));
    meta.done(Change::SetKeyState(Owner::Tenant(ACME), Purpose::Data, KeyEpoch(2), KeyState::Active));
    assert_eq!(active(&meta), KeyEpoch(2));
    meta.refused(set(KeyState::Waiting), Reason::State);
    meta.done(Change::PutDataKey(DataKeyRow { wrapped_by: KeyEpoch(2), ..data_key() }, Some(KeyEpoch(1))));
    meta.done(set(KeyState::Retired));
    meta.done(set(KeyState::Destroyed));
    meta.refused(set(KeyState::Active), Reason::State);
    let row = meta.view().data_keys[&(Owner::Tenant(ACME), Purpose::Data, KeyEpoch(1))].clone();
    assert!(row.wrapped.is_empty() && row.state == KeyState::Destroyed);
}

#[test]
fn the_root_file_is_compared_and_set_and_whoever_took_it_says_so() {
    let mut meta = Meta::new();
    let row = |version, keep: &[u32]| {
        let mut row = RootRow { version, ..root_row() };
        let mut all = row.root.cluster_keys.clone();
        all.push(ClusterKey { version: 3, root: 9, wrapped: vec![1] });
        row.root.cluster_keys = all.into_iter().filter(|key| keep.contains(&key.version)).collect();
        row
    };
    meta.refused(Change::PutRoot(row(1, &[1, 2]), None), Reason::Impossible);
    meta.done(Change::PutCluster(cluster_row(), None));
    meta.refused(Change::PutRoot(row(1, &[1, 2]), Some(1)), Reason::NotFound);
    meta.refused(Change::TakeRoot(NodeId(2), 1), Reason::NotFound);
    meta.done(Change::PutRoot(row(1, &[1, 2]), None));
    meta.refused(Change::PutRoot(row(2, &[2]), None), Reason::Exists);
    meta.refused(Change::PutRoot(row(3, &[2]), Some(2)), Reason::Stale);
    meta.refused(Change::PutRoot(row(2, &[1]), Some(1)), Reason::Impossible);
    let mut foreign = row(2, &[2]);
    foreign.root.cluster.0[0] ^= 1;
    meta.refused(Change::PutRoot(foreign, Some(1)), Reason::Impossible);
    meta.refused(Change::TakeRoot(NodeId(2), 1), Reason::NotFound);
    meta.done(Change::PutNode(node_row(), None));
    assert_eq!(meta.view().without_root().count(), 1);
    meta.refused(Change::TakeRoot(NodeId(2), 2), Reason::Stale);
    meta.done(Change::TakeRoot(NodeId(2), 1));
    meta.refused(Change::TakeRoot(NodeId(2), 1), Reason::Stale);
    assert_eq!(meta.view().without_root().count(), 0);
    meta.done(Change::PutRoot(row(2, &[2]), Some(1)));
    assert_eq!(meta.view().root, Some(row(2, &[2])));
    assert_eq!(meta.view().without_root().count(), 1, "it has taken the one before");
    meta.refused(Change::PutRoot(row(3, &[1, 2]), Some(2)), Reason::Impossible);
    meta.done(Change::SetNodeState(NodeId(2), NodeState::Removed));
    assert_eq!(meta.view().without_root().count(), 0, "nobody waits for whoever was removed");
}

#[test]
fn what_a_cluster_key_with_a_successor_has_wrapped_comes_too_late() {
    let mut meta = Meta::new();
    meta.tenant();
    meta.done(Change::PutCluster(cluster_row(), None));
    meta.done(Change::PutTenantKey(tenant_key(), None));
    meta.done(Change::PutRoot(root_row(), None));
    let by = |epoch, by| TenantKeyRow { epoch: KeyEpoch(epoch), wrapped_by: KeyEpoch(by), ..tenant_key() };
    meta.refused(Change::PutTenantKey(by(2, 1), None), Reason::Stale);
    meta.refused(Change::PutTenantKey(by(1, 3), Some(KeyEpoch(1))), Reason::Stale);
    meta.done(Change::PutTenantKey(by(1, 2), Some(KeyEpoch(1))));
    meta.done(Change::PutTenantKey(by(2, 2), None));
    // To be destroyed it need not be wrapped anew.
    let gone = TenantKeyRow { wrapped: vec![], ..by(1, 2) };
    meta.done(Change::PutTenantKey(gone, Some(KeyEpoch(2))));
}

#[test]
fn a_tenant_ends_for_good_with_keys_name_and_collections() {
    let mut meta = Meta::new();
    meta.tenant();
    meta.done(create(TenantId(ACME.0 + 1), "next"));
    for tenant in [ACME, TenantId(ACME.0 + 1)] {
        meta.done(Change::AddCollection(tenant, "orders".to_owned()));
        meta.done(Change::PutTenantKey(TenantKeyRow { tenant, ..tenant_key() }, None));
        meta.done(Change::PutDataKey(DataKeyRow { owner: Owner::Tenant(tenant), ..data_key() }, None));
    }
    meta.done(Change::DropTenant(ACME, 5_000));
    meta.refused(Change::DropTenant(ACME, 9_000), Reason::State);
    meta.now_ms += 4_000;
    let until_ms = NOW + 5_000;
    let view = meta.view();
    assert!(matches!(view.tenants[&ACME].state, TenantState::Dropped { until_ms: at, .. } if at == until_ms));
    assert!(purges(&view, until_ms - 1).is_empty());
    let due = purges(&view, until_ms);
    assert_eq!(due.len(), 1);
    // The entry looks at its own stamp: whose clock is ahead ends nobody.
    let refused = MetaReply::Refused { change: 0, reason: Reason::WindowOpen };
    assert_eq!(meta.ask(due[0].1.clone()), refused);
    assert_eq!(meta.view(), view);
    meta.now_ms = until_ms;
    meta.refused(Change::SetTenantState(ACME, Act::Undrop), Reason::WindowOver);
    assert!(matches!(meta.ask(due[0].1.clone()), MetaReply::Applied { .. }));
    let after = meta.view();
    assert_eq!((after.tenants[&ACME].state, after.tenant_named("acme")), (TenantState::Purged, None));
    assert_eq!(after.collections(ACME).count(), 0);
    assert_eq!(after.collections(TenantId(ACME.0 + 1)).count(), 1, "another's stay");
    let of =
        |tenant| after.key_rows().into_iter().filter(move |row| row.key.name.owner == Owner::Tenant(tenant));
    assert!(of(ACME).all(|row| row.state == keys::KeyState::Destroyed && row.key.wrapped.is_empty()));
    assert!(of(TenantId(ACME.0 + 1)).all(|row| row.state == keys::KeyState::Active));
    assert!(purges(&after, u64::MAX).is_empty(), "once");
    meta.refused(
        Change::PutTenantKey(TenantKeyRow { epoch: KeyEpoch(2), ..tenant_key() }, None),
        Reason::State,
    );
}

#[test]
fn shards_are_compared_and_set() {
    let mut meta = Meta::new();
    let range = ShardMap::first(1).ranges()[0];
    let row = ShardRow { start: range.start, end: range.end, ..shard_row() };
    meta.refused(Change::PutShard(row.clone(), Some(1)), Reason::NotFound);
    meta.done(Change::PutShard(row.clone(), None));
    meta.refused(Change::PutShard(row.clone(), None), Reason::Exists);
    let next = ShardRow { version: 2, ..row.clone() };
    meta.refused(Change::PutShard(ShardRow { version: 3, ..row.clone() }, Some(2)), Reason::Stale);
    let forgets = ShardRow { seats: [].into(), ..next.clone() };
    meta.refused(Change::PutShard(forgets, Some(1)), Reason::Impossible);
    let moved = ShardRow { end: Some(TenantId(9)), ..next.clone() };
    meta.refused(Change::PutShard(moved, Some(1)), Reason::Impossible);
    meta.done(Change::PutShard(next.clone(), Some(1)));
    let view = meta.view();
    assert_eq!(view.shard_of(ACME), Some(&next));
    assert_eq!(view.map().locate(TenantId(0)), Some(GroupId::META));
    assert!(next.seats.contains_key(&ReplicaId(3)));
}

#[test]
fn settings_come_and_go() {
    let mut meta = Meta::new();
    let set = |value: Option<&str>| Change::PutSetting("log.level".to_owned(), value.map(str::to_owned));
    meta.done(set(Some("info")));
    assert_eq!(meta.view().settings["log.level"], "info");
    meta.done(set(None));
    assert!(meta.view().settings.is_empty());
}

#[test]
fn a_command_is_done_whole_or_not_at_all_and_sees_its_own_changes() {
    let mut meta = Meta::new();
    let before = meta.view();
    let changes = vec![
        create(ACME, "acme"),
        Change::PutTenantKey(tenant_key(), None),
        Change::AddCollection(ACME, "a".to_owned()),
    ];
    let bad = [&changes[..], &[create(TenantId(5), "acme")]].concat();
    assert_eq!(meta.ask(bad), MetaReply::Refused { change: 3, reason: Reason::NameTaken });
    assert_eq!(meta.view(), before);
    assert!(matches!(meta.ask(changes), MetaReply::Applied { .. }));
    let view = meta.view();
    assert_eq!((view.tenants.len(), view.tenant_keys.len()), (1, 1));
    assert_eq!(view.collection(ACME, "a"), Some(CollectionId(1)));
}

#[test]
fn what_cannot_be_read_again_is_not_proposed() {
    let encode = |changes: Vec<Change>| MetaCommand::new(changes).encode();
    assert!(encode(vec![]).is_none());
    assert!(encode(vec![create(ACME, "a b")]).is_none());
    assert!(encode(vec![create(TenantId(0), "a")]).is_none());
    assert!(encode(vec![Change::PutNode(NodeRow { region: String::new(), ..node_row() }, None)]).is_none());
    assert!(encode(vec![Change::SetHistory(ACME, limits::HISTORY_MS_MAX + 1)]).is_none());
    let many = |n| encode(vec![Change::SpendToken([0; 32]); n]);
    assert!(many(limits::META_CHANGES_MAX).is_some() && many(limits::META_CHANGES_MAX + 1).is_none());
    let mut meta = Meta::new();
    let good = MetaCommand::new(vec![create(ACME, "acme")]).encode().unwrap();
    // A tenant cannot ask what only the cluster may, nor the cluster what only a tenant may.
    for (tenant, body) in [(ACME, good.clone()), (TenantId(0), [&[1], &good[1..]].concat())] {
        let reply = meta.rig.apply(NOW, &[(tenant, body)]).remove(0);
        assert_eq!(MetaReply::decode(&reply).unwrap(), MetaReply::Malformed);
    }
    assert_eq!(meta.view(), MetaView::default());
}
