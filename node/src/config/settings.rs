//! Pure: the table of all settings: what each is, its default and range, why, and what breaks at either end.

use super::delayed::{DELAYED, joined};
use super::settings_archive::ARCHIVE;
use super::settings_checks::CHECKS;
use super::shape::Shape;
use crate::keys::kms::file::Cost;
use crate::limits;

/// When a setting may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Fixed when the cluster is made, and alike on all nodes.
    Cluster,
    /// Read at a start.
    Node,
    /// Read again on a signal or command.
    Live,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name, with dots.
    pub key: &'static str,
    /// When it may change.
    pub scope: Scope,
    /// What it may be.
    pub shape: Shape,
    /// What it is if nobody says otherwise; empty: it must be said.
    pub default: &'static str,
    /// What it is for, and why its default is what it is.
    pub reason: &'static str,
    /// What breaks if it is too low, or for words: wrong.
    pub low: &'static str,
    /// What breaks if it is too high; empty for words.
    pub high: &'static str,
}

pub(super) const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

#[rustfmt::skip]
pub(super) const fn setting(
    key: &'static str, scope: Scope, shape: Shape, default: &'static str, [reason, low, high]: [&'static str; 3],
) -> Setting {
    Setting { key, scope, shape, default, reason, low, high }
}

pub(super) const NODE: Scope = Scope::Node;
pub(super) const LIVE: Scope = Scope::Live;
const CLUSTER: Scope = Scope::Cluster;

/// All settings, in the order in which they are shown.
pub const SETTINGS: &[Setting] =
    &joined::<{ USUAL.len() + CHECKS.len() + DELAYED.len() + ARCHIVE.len() }>(&[
        USUAL, &CHECKS, &DELAYED, &ARCHIVE,
    ]);

const USUAL: &[Setting] = &[
    setting(
        "data_dir",
        NODE,
        Shape::Path { is_optional: false },
        "/var/lib/dewpond",
        [
            "Where the node keeps everything: log, tables, keys, certificate. One process a folder.",
            "On a disk that loses synced bytes, acknowledged writes are lost.",
            "",
        ],
    ),
    setting(
        "name",
        NODE,
        Shape::Name,
        "",
        [
            "What people call this node, in `dew status` and in the log. Fixed at the first start.",
            "Two nodes of one name cannot be told apart by people; the cluster goes by ids.",
            "",
        ],
    ),
    setting(
        "region",
        NODE,
        Shape::Name,
        "local",
        [
            "Where the node stands. Replicas of a shard are spread over regions. Fixed at the first start.",
            "If all nodes say the same, a lost data centre may take all replicas of a shard with it.",
            "",
        ],
    ),
    setting(
        "shards",
        CLUSTER,
        Shape::Count(1, limits::FIRST_SHARDS_MAX as u64),
        "4",
        [
            "Shards of a new cluster: equal ranges of the tenant ids, each led by one node at a time.",
            "With one shard a single node does all writes.",
            "Each shard has its own consensus: many cost heartbeats, memory and larger gaps between syncs.",
        ],
    ),
    setting(
        "listen.client",
        NODE,
        Shape::Listen { is_loopback: false },
        "0.0.0.0:7400",
        ["Where clients connect, with TLS.", "If clients cannot reach it the node serves nobody.", ""],
    ),
    setting(
        "listen.admin",
        NODE,
        Shape::Listen { is_loopback: false },
        "0.0.0.0:7401",
        [
            "Where administrators and health checks connect, with TLS.",
            "If it cannot be reached, nobody can ask the node how it is.",
            "",
        ],
    ),
    setting(
        "listen.peer",
        NODE,
        Shape::Listen { is_loopback: false },
        "0.0.0.0:7402",
        ["Where other nodes connect, with TLS.", "If nodes cannot reach it, it takes part in nothing.", ""],
    ),
    setting(
        "listen.metrics",
        NODE,
        Shape::Listen { is_loopback: true },
        "127.0.0.1:7403",
        [
            "Where metrics are read, without TLS; so it listens on this machine alone.",
            "If it is wrong, nothing is measured.",
            "",
        ],
    ),
    setting(
        "advertise.client",
        NODE,
        Shape::Advertise,
        "",
        [
            "Host and port under which clients reach this node. Empty: the address it listens at, which must then be a real one.",
            "Clients are sent to an address where nobody answers.",
            "",
        ],
    ),
    setting(
        "advertise.admin",
        NODE,
        Shape::Advertise,
        "",
        [
            "Host and port under which administrators reach this node. Empty: the address it listens at.",
            "`dew` is sent to an address where nobody answers.",
            "",
        ],
    ),
    setting(
        "advertise.peer",
        NODE,
        Shape::Advertise,
        "",
        [
            "Host and port under which other nodes reach this node. Empty: the address it listens at.",
            "Other nodes cannot reach this one: it takes part in nothing.",
            "",
        ],
    ),
    setting(
        "kms.passphrase_file",
        NODE,
        Shape::Path { is_optional: true },
        "",
        [
            "File with the passphrase of the root key, readable by its owner alone (mode 0600). Empty: it is asked for at the terminal.",
            "Without passphrase the node stays sealed.",
            "",
        ],
    ),
    setting(
        "kms.memory",
        NODE,
        Shape::Bytes(Cost::LEAST.memory_kib as u64 * 1_024, limits::KDF_MEMORY_KIB_MAX as u64 * 1_024),
        "256 MiB",
        [
            "Memory that one guess at the passphrase costs, fixed in the root file when the cluster is made.",
            "A thief of the disk tries passphrases cheaply.",
            "The start of a node needs so much memory for a second.",
        ],
    ),
    setting(
        "raft.heartbeat",
        NODE,
        Shape::Duration(10, 10_000),
        "250ms",
        [
            "How often a leader says that it lives.",
            "Nodes are busy with heartbeats.",
            "A dead leader is noticed late.",
        ],
    ),
    setting(
        "raft.election_min",
        NODE,
        Shape::Duration(50, 60_000),
        "1200ms",
        [
            "How long a node waits at least for its leader before it stands for election. At least three heartbeats.",
            "A short pause of the network or the disk costs a healthy leader its place.",
            "After the death of a leader nothing is written for so long.",
        ],
    ),
    setting(
        "raft.election_max",
        NODE,
        Shape::Duration(60, 120_000),
        "1800ms",
        [
            "How long it waits at most. Each node draws its own time between the two, so that they do not stand at once.",
            "Nodes stand against each other, and nobody wins.",
            "After the death of a leader nothing is written for so long.",
        ],
    ),
    setting(
        "log.segment_bytes",
        NODE,
        Shape::Bytes(32 << 20, raft::limits::SEGMENT_BYTES),
        "64 MiB",
        [
            "Bytes of one file of the log. A file is dropped whole, when nothing in it is needed.",
            "Many files are made, and each costs a sync of the folder.",
            "The disk fills with log that is hardly needed.",
        ],
    ),
    setting(
        "engine.memtable_bytes",
        NODE,
        Shape::Bytes(MIB, GIB),
        "32 MiB",
        [
            "Bytes that a tablet gathers in memory before it writes a table.",
            "Many small tables are written and merged again.",
            "Each shard takes up to five times as much memory, and a start reads more log.",
        ],
    ),
    setting(
        "engine.cache_bytes",
        NODE,
        Shape::Bytes(MIB, TIB),
        "256 MiB",
        [
            "Memory for blocks that were read, opened.",
            "Reads go to the disk and open blocks again.",
            "Memory is missing elsewhere.",
        ],
    ),
    setting(
        "disk.warn_percent",
        LIVE,
        Shape::Count(1, 99),
        "80",
        [
            "From how full a disk on the node says so in `dew status`.",
            "It warns of what is no danger, and is ignored.",
            "It warns when it is too late to act.",
        ],
    ),
    setting(
        "disk.stop_percent",
        LIVE,
        Shape::Count(2, 99),
        "95",
        [
            "From how full a disk on the node takes no more writes; reads go on. Merging needs the rest.",
            "Writes stop while there is room.",
            "The disk fills up, and nothing can be merged or dropped any more.",
        ],
    ),
    setting(
        "quota.tenant_bytes",
        LIVE,
        Shape::Bytes(0, 1 << 50),
        "0 B",
        [
            "Bytes of a new tenant, unless it is made with a number of its own; 0: no limit. Older versions count; what was written last counts once it is in a table.",
            "Tenants are refused writes soon.",
            "One tenant can fill the disks of all.",
        ],
    ),
    setting(
        "quota.tenant_operations",
        LIVE,
        Shape::Count(0, 10_000_000),
        "0",
        [
            "Operations a second of a new tenant, unless it is made with a number of its own; 0: no limit.",
            "Tenants are told to wait though nodes are idle.",
            "One tenant can take all the time of the nodes.",
        ],
    ),
    setting(
        "quota.connections",
        LIVE,
        Shape::Count(1, 100_000),
        "4096",
        [
            "Connections of clients at a time.",
            "Clients are turned away.",
            "Memory is spent on connections: some 50 KiB each.",
        ],
    ),
    setting(
        "quota.connections_per_source",
        LIVE,
        Shape::Count(1, 100_000),
        "512",
        [
            "Connections of clients from one address at a time.",
            "Clients behind one gateway are turned away.",
            "One machine can take the connections of all.",
        ],
    ),
    setting(
        "tenant.history",
        LIVE,
        Shape::Duration(0, limits::HISTORY_MS_MAX),
        "1d",
        [
            "How far back a new tenant can read, unless it is made with a window of its own.",
            "What was overwritten is gone at once.",
            "Old versions fill the disk.",
        ],
    ),
    setting(
        "tenant.quarantine",
        LIVE,
        Shape::Duration(limits::QUARANTINE_MS_MIN, limits::QUARANTINE_MS_MAX),
        "30d",
        [
            "For how long the drop of a tenant can be undone. Then its keys are destroyed and its bytes leave the disks. A drop keeps the time it was made with.",
            "A tenant that was dropped by mistake is gone before anybody notices.",
            "Bytes that were to go fill the disks, and can still be read by whoever gets the keys.",
        ],
    ),
    setting(
        "deadline.default",
        LIVE,
        Shape::Duration(10, 600_000),
        "10s",
        [
            "How long a call without a deadline may take.",
            "Calls fail that a moment more would have served.",
            "Calls that nobody waits for any more hold memory.",
        ],
    ),
    setting(
        "stop.grace",
        LIVE,
        Shape::Duration(0, 600_000),
        "20s",
        [
            "How long a node that stops hands leads over and finishes calls.",
            "Clients see errors, and wait for an election.",
            "A stop takes long, and whoever supervises it may kill it.",
        ],
    ),
    setting(
        "log_level",
        LIVE,
        Shape::Word(&["error", "warn", "info", "debug", "trace"]),
        "info",
        [
            "From what weight on the node writes to its log.",
            "What led to a failure is not told.",
            "The log fills the disk.",
        ],
    ),
    setting(
        "log_format",
        NODE,
        Shape::Word(&["json", "text"]),
        "json",
        [
            "What a line of the log looks like: a JSON object for programs, or text for people.",
            "What collects the log may not understand it.",
            "",
        ],
    ),
    setting(
        "metrics.enabled",
        NODE,
        Shape::Word(&["true", "false"]),
        "true",
        ["Whether metrics can be read at `listen.metrics`.", "Nothing is measured.", ""],
    ),
];

/// The setting of this name.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The name that is nearest to one that nobody knows, if any is near.
#[must_use]
pub fn nearest(key: &str) -> Option<&'static str> {
    let near = SETTINGS.iter().map(|setting| (distance(key, setting.key), setting.key)).min();
    // A word of three letters is not "near" when all of them differ.
    near.filter(|(apart, name)| *apart <= 1 + name.len() / 3).map(|(_, name)| name)
}

/// How many letters must be put in, left out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, letter) in a.chars().take(limits::SETTING_KEY_BYTES_MAX).enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (index, other) in b.iter().enumerate() {
            let changed = before + usize::from(letter != *other);
            before = row[index + 1];
            row[index + 1] = changed.min(before + 1).min(row[index] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_setting_is_whole_and_its_default_is_allowed() {
        let keys: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        assert_eq!(keys.len(), SETTINGS.len(), "a name stands twice");
        for setting in SETTINGS {
            let key = setting.key;
            assert!(!setting.reason.is_empty() && !setting.low.is_empty(), "{key} does not say why");
            assert!(key.len() <= limits::SETTING_KEY_BYTES_MAX, "{key} is too long");
            let must_be_said = setting.key == "name";
            assert_eq!(setting.shape.complaint(setting.default).is_some(), must_be_said, "{key}");
            let has_ends = matches!(setting.shape, Shape::Duration(..) | Shape::Bytes(..));
            assert!(!has_ends || !setting.high.is_empty(), "{key} does not say what breaks at its end");
        }
    }

    #[test]
    fn every_segment_that_is_allowed_holds_the_largest_write() {
        let setting = SETTINGS.iter().find(|setting| setting.key == "log.segment_bytes").unwrap();
        let Shape::Bytes(least, most) = setting.shape else { panic!("it is a size") };
        let largest = raft::log::LogConfig::new("").largest_write_bytes();
        assert!(
            least >= largest && most <= raft::limits::SEGMENT_BYTES,
            "{least} to {most}, {largest} needed"
        );
    }

    #[test]
    fn the_nearest_name_is_found_and_nothing_is_made_up() {
        for (wrong, right) in [
            ("data-dir", Some("data_dir")),
            ("raft.heartbeats", Some("raft.heartbeat")),
            ("listen.clients", Some("listen.client")),
            ("shard", Some("shards")),
            ("xyz", None),
            ("", None),
            ("kms.passphrase", Some("kms.passphrase_file")),
        ] {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
        assert_eq!((distance("abc", "abc"), distance("", "abc"), distance("kitten", "sitting")), (0, 3, 3));
    }
}
