//! What a node is told before it starts. It is read once, at the door, and everything behind it holds typed values.
//!
//! Three structs answer "may I change this now?": [`Cluster`] (fixed when the cluster is made), [`Node`] (read at a start), [`Live`]
//! (read again while the node runs). [`settings`] is the one table of all of them; [`layers`] says who set a value; [`page`] puts them
//! into words; [`mod@file`] reads.

mod delayed;
pub mod file;
pub mod layers;
pub mod page;
pub mod settings;
mod settings_archive;
mod settings_checks;
pub mod shape;
pub mod value;

pub use layers::{Complaint, Layers, Origin};
pub use value::{Bytes, Duration};

use crate::archive::pace::Limits;
use crate::archive::sites::{self, SiteSetting};
use crate::delayed::hold::Thresholds;
use crate::limits;
use crate::telemetry::logs::Format;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Fixed when the cluster is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Shards of a new cluster.
    pub shards: u64,
}

/// The four doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Of clients.
    pub client: SocketAddr,
    /// Of administrators.
    pub admin: SocketAddr,
    /// Of other nodes.
    pub peer: SocketAddr,
    /// Of metrics; `None`: none.
    pub metrics: Option<SocketAddr>,
}

/// Under which addresses others reach this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Clients.
    pub client: String,
    /// Administrators.
    pub admin: String,
    /// Other nodes.
    pub peer: String,
}

/// Of consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How often a leader says that it lives.
    pub heartbeat: Duration,
    /// Least wait for a leader.
    pub election_min: Duration,
    /// Most wait for a leader.
    pub election_max: Duration,
}

/// Of archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Where history is shipped to, the home site first; none: nothing is archived.
    pub sites: Vec<SiteSetting>,
    /// Where wrapped keys are kept.
    pub keyring: Option<SiteSetting>,
    /// How often what was committed is shipped.
    pub tick: Duration,
    /// Writes go on though the archive stands still and the disk is nearly full.
    pub protects_availability: bool,
}

/// Read at a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where the node keeps everything.
    pub data_dir: PathBuf,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Its doors.
    pub listen: Listen,
    /// Under which addresses others reach it.
    pub advertise: Advertise,
    /// File with the passphrase of the root key.
    pub passphrase_file: Option<PathBuf>,
    /// Memory that a guess at the passphrase costs.
    pub kms_memory: Bytes,
    /// Of consensus.
    pub pace: Pace,
    /// Bytes of one file of the log.
    pub log_segment: Bytes,
    /// Bytes a tablet gathers in memory.
    pub memtable: Bytes,
    /// Bytes of opened blocks kept in memory.
    pub cache: Bytes,
    /// Bytes a second that a scrub reads.
    pub scrub_bytes: Bytes,
    /// How late it applies what it stores, in milliseconds, if that is said.
    pub delay: Option<u64>,
    /// What a line of the log looks like.
    pub log_format: Format,
    /// Of archives.
    pub archive: Archive,
}

/// Read again while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// From how full a disk on it says so.
    pub disk_warn_percent: u64,
    /// From how full a disk on it takes no writes.
    pub disk_stop_percent: u64,
    /// How often tables are walked for damage; 0: only when somebody asks.
    pub scrub_interval: Duration,
    /// How often replicas are compared; 0: only when somebody asks.
    pub verify_interval: Duration,
    /// Bytes of a new tenant; 0: no limit.
    pub tenant_bytes: Bytes,
    /// Operations a second of a new tenant; 0: no limit.
    pub tenant_operations: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Connections from one address.
    pub connections_per_source: u64,
    /// From when on snapshots go slower for the sake of clients.
    pub calm: Limits,
    /// When a delayed node holds its gate by itself.
    pub delayed_hold: Thresholds,
    /// How far back a new tenant can read.
    pub tenant_history: Duration,
    /// For how long the drop of a tenant can be undone.
    pub tenant_quarantine: Duration,
    /// How long a call without a deadline may take.
    pub deadline: Duration,
    /// How long a stop may take.
    pub stop_grace: Duration,
    /// From what weight on the log is written.
    pub log_level: String,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Fixed when the cluster is made.
    pub cluster: Cluster,
    /// Read at a start.
    pub node: Node,
    /// Read again while the node runs.
    pub live: Live,
    /// Who set what.
    pub layers: Layers,
}

/// Everything that is wrong, not only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is not valid:{}", .0.iter().map(|one| format!("\n  {one}")).collect::<String>())]
pub struct Invalid(pub Vec<Complaint>);

/// Reads single values, which have been checked.
struct Values<'a>(&'a Layers);

impl Values<'_> {
    fn text(&self, key: &str) -> String {
        self.0.get(key).text.clone()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn count(&self, key: &str) -> u64 {
        self.text(key).parse().expect("its shape was checked")
    }

    fn duration(&self, key: &str) -> Duration {
        Duration::parse(&self.text(key)).expect("its shape was checked")
    }

    fn bytes(&self, key: &str) -> Bytes {
        Bytes::parse(&self.text(key)).expect("its shape was checked")
    }

    fn listen(&self, key: &str) -> SocketAddr {
        self.text(key).parse().expect("its shape was checked")
    }

    fn advertise(&self, door: &str) -> String {
        let said = self.text(&format!("advertise.{door}"));
        if said.is_empty() { self.text(&format!("listen.{door}")) } else { said }
    }

    fn archive(&self) -> Archive {
        let sites = |key| sites::parse(&self.text(key)).expect("its shape was checked");
        Archive {
            sites: sites("archive.sites"),
            keyring: sites("archive.keyring").pop(),
            tick: self.duration("archive.tick"),
            protects_availability: self.text("archive.protect") == "availability",
        }
    }

    fn node(&self) -> Node {
        let has_metrics = self.text("metrics.enabled") == "true";
        Node {
            data_dir: self.path("data_dir").expect("its shape was checked"),
            name: self.text("name"),
            region: self.text("region"),
            listen: Listen {
                client: self.listen("listen.client"),
                admin: self.listen("listen.admin"),
                peer: self.listen("listen.peer"),
                metrics: has_metrics.then(|| self.listen("listen.metrics")),
            },
            advertise: Advertise {
                client: self.advertise("client"),
                admin: self.advertise("admin"),
                peer: self.advertise("peer"),
            },
            passphrase_file: self.path("kms.passphrase_file"),
            kms_memory: self.bytes("kms.memory"),
            pace: Pace {
                heartbeat: self.duration("raft.heartbeat"),
                election_min: self.duration("raft.election_min"),
                election_max: self.duration("raft.election_max"),
            },
            log_segment: self.bytes("log.segment_bytes"),
            memtable: self.bytes("engine.memtable_bytes"),
            cache: self.bytes("engine.cache_bytes"),
            scrub_bytes: self.bytes("scrub.bytes_per_second"),
            delay: Some(self.duration("delayed.delay").ms()).filter(|ms| *ms > 0),
            archive: self.archive(),
            log_format: if self.text("log_format") == "text" { Format::Text } else { Format::Json },
        }
    }

    fn live(&self) -> Live {
        Live {
            disk_warn_percent: self.count("disk.warn_percent"),
            disk_stop_percent: self.count("disk.stop_percent"),
            scrub_interval: self.duration("scrub.interval"),
            verify_interval: self.duration("verify.interval"),
            tenant_bytes: self.bytes("quota.tenant_bytes"),
            tenant_operations: self.count("quota.tenant_operations"),
            connections: self.count("quota.connections"),
            connections_per_source: self.count("quota.connections_per_source"),
            calm: Limits {
                p99_ms: self.duration("archive.calm_p99").ms(),
                calls: self.count("archive.calm_calls"),
            },
            delayed_hold: delayed::thresholds(
                self.text("delayed.hold.auto") == "true",
                ["deletes_min", "deletes_percent", "range_keys"]
                    .map(|name| self.count(&format!("delayed.hold.{name}"))),
                self.duration("delayed.hold.window"),
            ),
            tenant_history: self.duration("tenant.history"),
            tenant_quarantine: self.duration("tenant.quarantine"),
            deadline: self.duration("deadline.default"),
            stop_grace: self.duration("stop.grace"),
            log_level: self.text("log_level"),
        }
    }
}

impl Config {
    /// Typed values of layers, if each is allowed and they go together.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn of(layers: Layers) -> Result<Self, Invalid> {
        let complaints = layers.complaints();
        if !complaints.is_empty() {
            return Err(Invalid(complaints));
        }
        let values = Values(&layers);
        let (node, live) = (values.node(), values.live());
        let complaints = relations(&node, &live, &layers);
        if !complaints.is_empty() {
            return Err(Invalid(complaints));
        }
        let cluster = Cluster { shards: values.count("shards") };
        Ok(Self { cluster, node, live, layers })
    }
}

/// What does not go together.
fn relations(node: &Node, live: &Live, layers: &Layers) -> Vec<Complaint> {
    let mut out = Vec::new();
    let mut complain = |key: &str, what: String| {
        out.push(Complaint { key: key.to_owned(), origin: layers.get(key).origin.clone(), what });
    };
    let Pace { heartbeat, election_min, election_max } = node.pace;
    if heartbeat.ms() * 3 > election_min.ms() {
        let most = Duration::from_ms(election_min.ms() / 3);
        complain(
            "raft.heartbeat",
            format!(
                "three heartbeats must fit into raft.election_min ({election_min}): one lost heartbeat must not cost a leader its place; \
                 set at most {most}"
            ),
        );
    }
    if election_min >= election_max {
        complain(
            "raft.election_max",
            format!("it must be above raft.election_min ({election_min}): nodes would all stand at once"),
        );
    }
    if live.disk_warn_percent >= live.disk_stop_percent {
        complain(
            "disk.warn_percent",
            format!(
                "it must be below disk.stop_percent ({}): a warning must come first",
                live.disk_stop_percent
            ),
        );
    }
    if node.delay.is_some_and(|ms| !limits::DELAY_MS.contains(&ms)) {
        complain("delayed.delay", "a delay of less than a second stops no mistake: set 1h, or 0".to_owned());
    }
    let doors = [
        ("listen.client", Some(node.listen.client)),
        ("listen.admin", Some(node.listen.admin)),
        ("listen.peer", Some(node.listen.peer)),
        ("listen.metrics", node.listen.metrics),
    ];
    for (at, (key, door)) in doors.iter().enumerate() {
        let Some(door) = door.filter(|door| door.port() != 0) else { continue };
        let meets = |other: &SocketAddr| {
            let is_any = other.ip().is_unspecified() || door.ip().is_unspecified();
            other.port() == door.port() && (is_any || other.ip() == door.ip())
        };
        let other = doors[..at].iter().find(|(_, other)| other.as_ref().is_some_and(meets));
        if let Some((other, _)) = other {
            complain(key, format!("{other} has the port {} of this address: give it another", door.port()));
        }
    }
    for (key, door) in [
        ("advertise.client", node.listen.client),
        ("advertise.admin", node.listen.admin),
        ("advertise.peer", node.listen.peer),
    ] {
        if layers.get(key).text.is_empty() && door.ip().is_unspecified() {
            complain(key, format!("the node listens at {door}, which nobody can reach: say host and port"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: [(&str, &str); 4] = [
        ("name", "a"),
        ("advertise.client", "a.example:7400"),
        ("advertise.admin", "a.example:7401"),
        ("advertise.peer", "a.example:7402"),
    ];

    fn with(values: &[(&str, &str)]) -> Result<Config, Invalid> {
        let mut layers = Layers::default();
        let values = LEAST.iter().chain(values).map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let mut complaints = Vec::new();
        layers.set(values, &Origin::Flag, &mut complaints);
        assert_eq!(complaints, []);
        Config::of(layers)
    }

    #[test]
    fn a_name_and_addresses_are_enough() {
        let config = with(&[]).unwrap();
        assert_eq!(config.cluster.shards, 4);
        assert_eq!(config.node.pace.heartbeat, Duration::from_ms(250));
        assert_eq!(config.node.advertise.peer, "a.example:7402");
        assert_eq!(config.node.passphrase_file, None);
        assert_eq!(config.live.disk_stop_percent, 95);
        assert!(config.node.listen.metrics.is_some());
        assert!(with(&[("metrics.enabled", "false")]).unwrap().node.listen.metrics.is_none());
        let config = with(&[("advertise.peer", ""), ("listen.peer", "127.0.0.1:7402")]).unwrap();
        assert_eq!(config.node.advertise.peer, "127.0.0.1:7402");
    }

    #[test]
    fn nothing_said_is_told_as_what_must_be_said() {
        let Invalid(complaints) = Config::of(Layers::default()).unwrap_err();
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].to_string().starts_with("name (default): it must be set"), "{}", complaints[0]);
    }

    #[test]
    fn what_does_not_go_together_is_told_all_at_once() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("raft.heartbeat", "501ms")], "set at most 400ms"),
            (&[("raft.election_max", "1200ms")], "above raft.election_min"),
            (&[("disk.warn_percent", "95")], "below disk.stop_percent"),
            (&[("listen.admin", "127.0.0.1:7400")], "listen.client has the port 7400"),
            (&[("listen.metrics", "127.0.0.1:7402")], "listen.peer has the port 7402"),
            (&[("advertise.peer", "")], "nobody can reach"),
        ];
        for (values, said) in cases {
            let error = with(values).unwrap_err();
            assert_eq!(error.0.len(), 1, "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        let all: Vec<_> = cases.iter().flat_map(|(values, _)| values.iter().copied()).collect();
        assert_eq!(with(&all).unwrap_err().0.len(), 6);
        // A port that the system chooses never meets another, and neither do two addresses.
        let free = [
            ("listen.client", "127.0.0.1:0"),
            ("listen.admin", "127.0.0.1:0"),
            ("listen.peer", "127.0.0.2:7403"),
        ];
        assert!(with(&free).is_ok());
        assert!(with(&[("raft.heartbeat", "400ms")]).is_ok());
    }
}
