//! The objects of the envelopes: one of every kind.

use super::world::{NODE, T1, T2};
use engine::ids::{Owner, Purpose};
use engine::sealed::EnvelopeKind;

/// One object: whose, for what, of which kind, its name, its plaintext.
pub type Object = (Owner, Purpose, EnvelopeKind, &'static [u8], Vec<u8>);

pub fn objects() -> Vec<Object> {
    use EnvelopeKind as K;
    let (t1, t2, node) = (Owner::Tenant(T1), Owner::Tenant(T2), Owner::Node(NODE));
    vec![
        (t1, Purpose::Meta, K::SecretField, b"example", b"dewpond".to_vec()),
        (Owner::Cluster, Purpose::Wrap, K::ClusterKey, b"c", vec![1; 32]),
        (Owner::Cluster, Purpose::Wrap, K::OwnerKey, b"o", vec![2; 32]),
        (t1, Purpose::Wrap, K::DataKey, b"d", vec![3; 32]),
        (t2, Purpose::Log, K::LogBody, b"group, header", vec![4; 700]),
        (node, Purpose::Catalog, K::CatalogValue, b"", Vec::new()),
        (Owner::Cluster, Purpose::Audit, K::AuditPayload, b"event", b"who did what".to_vec()),
        (t2, Purpose::Account, K::Notice, b"notice", b"to whom".to_vec()),
        (t2, Purpose::Meta, K::ShardBoundary, b"shard", vec![0; 15]),
        (Owner::Cluster, Purpose::Wrap, K::Keyring, b"7", vec![5; 64]),
        (Owner::Cluster, Purpose::Meta, K::Floor, b"8", vec![6; 16]),
        (t1, Purpose::Mask, K::MaskedCursor, b"session", vec![7; 17]),
        (Owner::Cluster, Purpose::Meta, K::CheckpointState, b"clear part", vec![8; 100]),
    ]
}
