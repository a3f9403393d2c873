//! Bytes are for ever: what yesterday's code wrote, today's reads, and writes again to the byte.
//!
//! Every fixture is a list: of each item its length, u32 big-endian, then its bytes. `meta_rows.bin` has rows whole: collection, key, value.
//! A fixture is never changed. A new format gets its own by `DEWPOND_WRITE_FIXTURES=1 cargo test -p node --test golden`, which writes
//! the files that do not exist and leaves all others alone.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::Stamp;
use engine::entropy::Entropy;
use engine::error::Nature;
use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose};
use engine::wire::Reader;
use node::boot::token::JoinToken;
use node::delayed::note::{HoldNote, Holder};
use node::keys::kms::passphrase_root::{Cost, PassphraseRoot};
use node::keys::root_file::{ClusterKey, RootFile};
use node::keys::{Error, KeyName, WrappedKey};
use node::meta::command::MetaCommand;
use node::meta::node_row::NodeRow;
use node::meta::rows::MetaRow;
use node::shard::command::KvCommand;
use rig::samples::{
    cut_rows, delayed_row, generation_rows, kv_commands, later_commands, later_rows, meta_commands,
    meta_rows, restore_commands, restore_rows, takeover_commands, whole,
};
use rig::{items, listed, stored};

/// The items of a fixture, which are what is written today.
fn same(name: &str, today: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let found = items(&stored(&format!("{name}.bin"), || listed(&today)));
    assert_eq!(found, today, "{name}");
    found
}

#[test]
fn kv_command_version_1() {
    let found = same("kv_command", kv_commands().iter().map(KvCommand::encode).collect());
    for (bytes, command) in found.iter().zip(kv_commands()) {
        let read = KvCommand::decode(bytes).unwrap();
        assert_eq!((read.conditions.len(), read.encode()), (command.conditions.len(), command.encode()));
    }
    // An operation in a collection of the cluster's own.
    let damaged = stored("kv_command.damaged.bin", || {
        let mut bytes = kv_commands()[0].encode();
        bytes[7..9].copy_from_slice(&[0xff, 0xff]);
        bytes
    });
    assert_eq!(KvCommand::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}

#[test]
fn meta_rows_version_1() {
    let found = same("meta_rows", meta_rows().iter().map(whole).collect());
    for (bytes, row) in found.iter().zip(meta_rows()) {
        let mut reader = Reader::new(bytes);
        assert_eq!(MetaRow::read(&mut reader).unwrap(), row);
        reader.end().unwrap();
    }
    // A shard with a replica whose id was not given.
    let damaged = stored("meta_rows.damaged.bin", || {
        let mut bytes = whole(&meta_rows()[2]);
        let at = 4 + 4 + 8 + 4 + 1 + 8 + 9 + 8 + 7;
        bytes[at] = 5;
        bytes
    });
    assert_eq!(MetaRow::read(&mut Reader::new(&damaged)).unwrap_err().nature, Nature::Malformed);
}

#[test]
fn what_rows_and_commands_of_the_meta_group_can_say_since() {
    let found = same("meta_rows.later", later_rows().iter().map(whole).collect());
    for (bytes, row) in found.iter().zip(later_rows()) {
        assert_eq!(MetaRow::read(&mut Reader::new(bytes)).unwrap(), row);
    }
    let found =
        same("meta_command.later", later_commands().iter().map(|one| one.encode().unwrap()).collect());
    for (bytes, command) in found.iter().zip(later_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
}

#[test]
fn meta_rows_version_2_of_a_node() {
    let rows = [delayed_row(), NodeRow { delay_ms: 1_000, ..delayed_row() }].map(MetaRow::Node);
    let found = same("meta_rows.delayed", rows.iter().map(whole).collect());
    for (bytes, row) in found.iter().zip(rows) {
        assert_eq!(MetaRow::read(&mut Reader::new(bytes)).unwrap(), row);
    }
}

fn hold_notes() -> Vec<HoldNote> {
    let person = HoldNote {
        holder: Holder::Person,
        since_ms: 1_700_000_000_000,
        by: "dana".to_owned(),
        reason: "INC-4711".to_owned(),
        passed: Stamp::new(1_699_999_999_999, 7),
    };
    let own = HoldNote { holder: Holder::Node, ..person.clone() };
    vec![HoldNote::default(), person.released(Stamp::ZERO), person, own]
}

#[test]
fn hold_note_version_1() {
    let found = same("hold_note", hold_notes().iter().map(HoldNote::encode).collect());
    for (bytes, note) in found.iter().zip(hold_notes()) {
        assert_eq!(HoldNote::decode(bytes).unwrap(), note);
    }
    // Nobody holds it, and says why.
    let damaged = stored("hold_note.damaged.bin", || {
        let mut bytes = hold_notes()[2].encode();
        bytes[1] = 0;
        bytes
    });
    assert_eq!(HoldNote::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}

#[test]
fn what_restores_keep_and_change() {
    let found = same("meta_rows.restore", restore_rows().iter().map(whole).collect());
    for (bytes, row) in found.iter().zip(restore_rows()) {
        assert_eq!(MetaRow::read(&mut Reader::new(bytes)).unwrap(), row);
        for cut in 0..bytes.len() {
            assert!(MetaRow::read(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }
    let found =
        same("meta_command.restore", restore_commands().iter().map(|one| one.encode().unwrap()).collect());
    for (bytes, command) in found.iter().zip(restore_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
}

#[test]
fn what_a_takeover_keeps_and_changes() {
    let mut found = same("meta_rows.takeover", generation_rows().iter().map(whole).collect());
    found.extend(same("meta_rows.cut", cut_rows().iter().map(whole).collect()));
    for (bytes, row) in found.iter().zip(generation_rows().into_iter().chain(cut_rows())) {
        assert_eq!(MetaRow::read(&mut Reader::new(bytes)).unwrap(), row);
        for cut in 0..bytes.len() {
            assert!(MetaRow::read(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }
    let found =
        same("meta_command.takeover", takeover_commands().iter().map(|one| one.encode().unwrap()).collect());
    for (bytes, command) in found.iter().zip(takeover_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
}

#[test]
fn meta_command_version_1() {
    let found = same("meta_command", meta_commands().iter().map(|one| one.encode().unwrap()).collect());
    for (bytes, command) in found.iter().zip(meta_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
    // More changes than there are.
    let damaged = stored("meta_command.damaged.bin", || {
        let mut bytes = meta_commands()[0].encode().unwrap();
        bytes[3] = 2;
        bytes
    });
    assert_eq!(MetaCommand::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}

fn root_files() -> Vec<RootFile> {
    let cluster_key = |version, root| ClusterKey { version, root, wrapped: vec![0xcc; 5] };
    let key = |owner, purpose, epoch| {
        let name = KeyName { owner, purpose, epoch: KeyEpoch(epoch) };
        WrappedKey { name, wrapped: vec![0xdd; 7] }
    };
    let system = vec![key(Owner::Cluster, Purpose::Data, 1), key(Owner::Cluster, Purpose::Meta, 1)];
    let node = Owner::Node(NodeId(7));
    let own =
        [key(Owner::Cluster, Purpose::Meta, 2), key(node, Purpose::Catalog, 1), key(node, Purpose::Mac, 3)];
    let cluster = ClusterId([0xc1; 16]);
    let shared = RootFile {
        cluster,
        node: NodeId(0),
        kms: vec![],
        cluster_keys: vec![cluster_key(1, 1)],
        keys: system,
    };
    let keys = [shared.keys.clone(), own.to_vec()].concat();
    let one = RootFile { node: NodeId(7), keys, ..shared.clone() };
    let cluster_keys = vec![cluster_key(3, 2), cluster_key(9, 8)];
    let two = RootFile {
        node: NodeId(7),
        kms: passphrase_roots()[1].encode(),
        cluster_keys,
        keys: vec![],
        ..one.clone()
    };
    vec![one, two, shared]
}

fn passphrase_roots() -> Vec<PassphraseRoot> {
    let none = PassphraseRoot { cost: Cost::PRODUCTION, salt: [0x5a; 16], roots: [].into() };
    let roots = [(1, vec![0xee; 9]), (8, vec![])].into();
    vec![none, PassphraseRoot { cost: Cost::LEAST, salt: [0x5b; 16], roots }]
}

#[test]
fn root_file_version_1() {
    let found = same("root_file", root_files().iter().map(RootFile::encode).collect());
    for (bytes, file) in found.iter().zip(root_files()) {
        assert_eq!(RootFile::decode(bytes).unwrap(), file);
    }
    // Keys of another node.
    let damaged = stored("root_file.damaged.bin", || {
        let mut file = root_files().remove(0);
        file.node = NodeId(8);
        file.encode()
    });
    assert!(matches!(RootFile::decode(&damaged), Err(Error::RootFile("it holds a key of somebody else"))));
}

#[test]
fn passphrase_root_version_1() {
    let found = same("passphrase_root", passphrase_roots().iter().map(PassphraseRoot::encode).collect());
    for (bytes, root) in found.iter().zip(passphrase_roots()) {
        assert_eq!(PassphraseRoot::decode(bytes).unwrap(), root);
    }
    // A guess would cost hardly anything.
    let damaged = stored("passphrase_root.damaged.bin", || {
        let mut root = passphrase_roots().remove(1);
        root.cost.memory_kib -= 1;
        root.encode()
    });
    assert!(PassphraseRoot::decode(&damaged).is_err());
}

/// Always the same byte.
struct Always(u8);

impl Entropy for Always {
    fn fill(&self, out: &mut [u8]) {
        out.fill(self.0);
    }
}

#[test]
fn join_token_version_1() {
    let token = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        JoinToken::make(ClusterId([0xc1; 16]), [0xfa; 32], addresses, &Always(0x57))
    };
    let tokens = [token(&["a.example:7400"]), token(&["[::1]:7400", "b.example:7400"])];
    let found = same("join_token", tokens.iter().map(|token| token.text().into_bytes()).collect());
    for (bytes, token) in found.iter().zip(&tokens) {
        assert_eq!(JoinToken::parse(std::str::from_utf8(bytes).unwrap()).unwrap(), *token);
    }
    // Nobody to ask.
    let damaged = stored("join_token.damaged.bin", || token(&[]).text().into_bytes());
    assert!(JoinToken::parse(std::str::from_utf8(&damaged).unwrap()).is_err());
}
