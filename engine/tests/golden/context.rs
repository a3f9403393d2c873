//! Format: context. A list of contexts: of envelopes, of files, of blocks. A context is never read, so its fields are compared
//! where the page says they stand; and what is sealed for one of them opens for no other.

use super::world::{CLUSTER, NODE, Same, T1, T2, join, sealer, split};
use super::{Refusal, assert_same, damaged_item, fixture, refusal};
use engine::Kind;
use engine::ids::{ClusterId, KeyEpoch, Owner, Purpose, TableId, TenantId};
use engine::sealed::context::{BlockPosition, CONTEXT_BYTES, SCOPE_BYTES, Scope};
use engine::sealed::derive::Sha256;
use engine::sealed::{BlockType, EnvelopeKind, FileKind};

enum Place {
    Envelope(EnvelopeKind, &'static [u8]),
    File(TableId, FileKind),
    Block(TableId, FileKind, BlockPosition),
}

fn scope(owner: Owner, purpose: Purpose, epoch: u32) -> Scope {
    Scope { cluster: CLUSTER, owner, purpose, epoch: KeyEpoch(epoch) }
}

fn places() -> Vec<(Scope, Place)> {
    let meta = scope(Owner::Tenant(T1), Purpose::Meta, 9);
    let data = scope(Owner::Tenant(T1), Purpose::Data, 9);
    let file = TableId([0xf1; 16]);
    let block = |number, stripe, block_type, codec| {
        Place::Block(file, FileKind::Table, BlockPosition { number, stripe, block_type, codec })
    };
    vec![
        (meta, Place::Envelope(EnvelopeKind::SecretField, b"example")),
        (meta, Place::Envelope(EnvelopeKind::SecretField, b"")),
        (meta, Place::Envelope(EnvelopeKind::ClusterKey, b"example")),
        (scope(Owner::Cluster, Purpose::Meta, 1), Place::Envelope(EnvelopeKind::CheckpointState, b"clear")),
        (
            scope(Owner::Node(NODE), Purpose::Catalog, u32::MAX),
            Place::Envelope(EnvelopeKind::CatalogValue, b"k"),
        ),
        (
            scope(Owner::Tenant(TenantId(u64::MAX)), Purpose::Wrap, 1),
            Place::Envelope(EnvelopeKind::DataKey, b"d"),
        ),
        (
            Scope { cluster: ClusterId([0; 16]), ..meta },
            Place::Envelope(EnvelopeKind::SecretField, b"example"),
        ),
        (data, Place::File(file, FileKind::Table)),
        (scope(Owner::Tenant(T2), Purpose::Tick, 3), Place::File(TableId([0; 16]), FileKind::Tick)),
        (data, Place::File(file, FileKind::CompactedLog)),
        (data, Place::File(file, FileKind::Spill)),
        (scope(Owner::Cluster, Purpose::Export, 1), Place::File(file, FileKind::Export)),
        (data, block(5, 2, BlockType::Data, 0)),
        (data, block(5, 2, BlockType::Data, 1)),
        (data, block(0, 0, BlockType::Index, 0)),
        (data, block(u32::MAX, 1, BlockType::Filter, 0)),
        (data, block(1, u32::MAX, BlockType::Tombstones, 1)),
        (data, block(1, 0, BlockType::StripeEnd, 0)),
        (data, block(1, 0, BlockType::Solo, 0)),
    ]
}

fn context(scope: &Scope, place: &Place) -> [u8; CONTEXT_BYTES] {
    match place {
        Place::Envelope(kind, name) => scope.envelope(*kind as u16, name),
        Place::File(file, kind) => scope.file(*file, *kind, 1),
        Place::Block(file, kind, position) => position.context(&scope.file(*file, *kind, 1)),
    }
}

/// Compares every field where the page says it stands.
fn compare(bytes: &[u8], scope: &Scope, place: &Place) {
    assert_eq!(bytes.len(), CONTEXT_BYTES);
    assert_eq!(bytes[..16], scope.cluster.0);
    assert_eq!(bytes[16..20], [scope.owner.kind(), scope.purpose as u8, 0, 0]);
    assert_eq!(bytes[20..24], scope.epoch.0.to_be_bytes());
    assert_eq!(bytes[24..32], scope.owner.id().to_be_bytes());
    assert_eq!(bytes[..SCOPE_BYTES], scope.bytes());
    let (file, kind, [number, stripe], [block_type, codec]) = match place {
        Place::Envelope(kind, name) => {
            let mut digest = Sha256::new();
            digest.update(&[&(*kind as u16).to_be_bytes(), *name].concat());
            assert_eq!(bytes[32..], digest.finish());
            return;
        }
        Place::File(file, kind) => (file, kind, [0, 0], [0, 0]),
        Place::Block(file, kind, at) => (file, kind, [at.number, at.stripe], [at.block_type as u8, at.codec]),
    };
    assert_eq!(bytes[32..48], file.0);
    assert_eq!(bytes[48..52], number.to_be_bytes());
    assert_eq!(bytes[52..56], stripe.to_be_bytes());
    assert_eq!(bytes[56..], [*kind as u8, block_type, codec, 1, 1, 0, 0, 0]);
}

#[test]
fn version_1() {
    let made = join(places().iter().map(|(scope, place)| context(scope, place)));
    let stored = fixture("context", &made);

    let items = split(&stored);
    assert_eq!(items.len(), places().len());
    for (item, (scope, place)) in items.iter().zip(places()) {
        compare(item, &scope, &place);
    }
    assert_same("context", &stored, &made);

    // The last byte of the owner: the tenant after. It has the same key here, and still does not open what is not its own.
    let items = damaged_item("context", &stored, 0, |item| item[31] += 1);
    let other = Owner::Tenant(TenantId(T1.0 + 1));
    assert_eq!(
        items[0],
        scope(other, Purpose::Meta, 9).envelope(EnvelopeKind::SecretField as u16, b"example")
    );
    let own = sealer(Same(0x55));
    let kind = EnvelopeKind::SecretField;
    let sealed = own.seal_envelope(Owner::Tenant(T1), Purpose::Meta, kind, b"example", b"dewpond").unwrap();
    let error = super::envelope::neighbour().open_envelope(other, Purpose::Meta, kind, b"example", &sealed);
    let want = Refusal { kind: Kind::Key, nature: None, place: String::new(), block: None };
    assert_eq!(refusal(error.unwrap_err()), want);
}
