//! Pure: what the node itself tells beside log, replicas and tablets: its doors, its disk, its clock, its keys.

use super::samples::{Kind, Sample};
use crate::restore::rows::State;
use crate::restore::told::Figures;

/// One door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorFacts {
    /// `client`, `admin` or `peer`.
    pub door: &'static str,
    /// Connections that are served; of peers, those that have not said who they are.
    pub open_connections: u64,
    /// Connections that were lost before they were let in.
    pub refused_handshakes: u64,
    /// Connections for which there was no place.
    pub refused_connections: u64,
}

/// What is told of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its doors.
    pub doors: Vec<DoorFacts>,
    /// Whether clients are served.
    pub is_serving: bool,
    /// Whether its keys are not open.
    pub is_sealed: bool,
    /// Findings of weight `warn` and of weight `fail`.
    pub findings: (u64, u64),
    /// Tasks that run, and those that have panicked.
    pub tasks: (u64, u64),
    /// Lines that were left out of the log, because one place wrote too many of them.
    pub left_out_lines: u64,
    /// Bytes in tables that are sealed with the newest keys, and all of them.
    pub sealed_bytes: (u64, u64),
    /// Of scrubs: files the newest has walked, tables that are damaged now, tables mended and replicas given up since the start.
    pub scrub: [u64; 4],
    /// Of comparisons of replicas: groups and rows compared since the start, groups in which something differs.
    pub compared: [u64; 3],
    /// Keys of tenants that the newest cluster key wraps, and all of them.
    pub tenant_keys: (u64, u64),
    /// Versions of the cluster key that are here.
    pub cluster_keys: u64,
    /// Keys of the meta group that do not open here.
    pub unopened_keys: u64,
    /// Whether peers dispute the clock, and how far it is ahead of them.
    pub clock: (bool, i64),
    /// Seconds until the certificate of the node ends; below 0 it is over.
    pub certificate_seconds: i64,
    /// Bytes that are free, and all of them; nothing if nobody knows.
    pub disk_bytes: Option<(u64, u64)>,
    /// Whether writes are refused for want of space.
    pub is_disk_full: bool,
    /// Tenants there are.
    pub tenants: u64,
    /// Nodes of the cluster, and those of them that are not heard.
    pub nodes: (u64, u64),
    /// Of the archive: milliseconds that it lies behind; bytes, ticks and markers put since the start; groups that cannot be read here; objects collected
    /// since the start; gaps that nobody has accepted; bytes a second that snapshots may move, 0: as fast as it goes.
    pub archive: [u64; 8],
    /// Of restores.
    pub restores: Figures,
    /// Whether the cluster has gone on without it.
    pub is_fenced: bool,
    /// How old the newest proof of a drill is, in milliseconds; nothing where that is not looked after.
    pub proven_age_ms: Option<u64>,
}

fn gauge(name: &'static str, value: impl Into<i128>) -> Sample {
    Sample::new(name, Kind::Gauge, value)
}

impl NodeFacts {
    /// Every figure under its name.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut out = Vec::new();
        for door in &self.doors {
            let of = || vec![("door", door.door.to_owned())];
            out.push(gauge("dewpond_door_open_connections", door.open_connections).with(of()));
            for (name, value) in [
                ("dewpond_door_refused_handshakes", door.refused_handshakes),
                ("dewpond_door_refused_connections", door.refused_connections),
            ] {
                out.push(Sample::new(name, Kind::Counter, value).with(of()));
            }
        }
        for (level, count) in [("warn", self.findings.0), ("fail", self.findings.1)] {
            let labels = vec![("level", level.to_owned())];
            out.push(gauge("dewpond_node_open_findings", count).with(labels));
        }
        for (count, state) in self.restores.by_state.into_iter().zip(State::ALL) {
            let labels = vec![("state", state.word().to_owned())];
            out.push(gauge("dewpond_restore_known_restores", count).with(labels));
        }
        let (free, whole) = self.disk_bytes.unzip();
        out.extend(free.map(|bytes| gauge("dewpond_disk_free_bytes", bytes)));
        out.extend(whole.map(|bytes| gauge("dewpond_disk_whole_bytes", bytes)));
        out.extend(self.proven_age_ms.map(|age| gauge("dewpond_archive_proven_age_ms", age)));
        out.extend([
            gauge("dewpond_node_serving_flag", u8::from(self.is_serving)),
            gauge("dewpond_node_fenced_flag", u8::from(self.is_fenced)),
            gauge("dewpond_node_sealed_flag", u8::from(self.is_sealed)),
            gauge("dewpond_node_running_tasks", self.tasks.0),
            Sample::new("dewpond_node_panicked_tasks", Kind::Counter, self.tasks.1),
            Sample::new("dewpond_node_silenced_lines", Kind::Counter, self.left_out_lines),
            gauge("dewpond_key_newest_bytes", self.sealed_bytes.0),
            gauge("dewpond_key_sealed_bytes", self.sealed_bytes.1),
            gauge("dewpond_scrub_walked_files", self.scrub[0]),
            gauge("dewpond_scrub_damaged_tables", self.scrub[1]),
            Sample::new("dewpond_scrub_mended_tables", Kind::Counter, self.scrub[2]),
            Sample::new("dewpond_scrub_replaced_replicas", Kind::Counter, self.scrub[3]),
            Sample::new("dewpond_verify_compared_groups", Kind::Counter, self.compared[0]),
            Sample::new("dewpond_verify_compared_rows", Kind::Counter, self.compared[1]),
            gauge("dewpond_verify_differing_groups", self.compared[2]),
            gauge("dewpond_key_rewrapped_keys", self.tenant_keys.0),
            gauge("dewpond_key_tenant_keys", self.tenant_keys.1),
            gauge("dewpond_key_cluster_keys", self.cluster_keys),
            gauge("dewpond_key_unopened_keys", self.unopened_keys),
            gauge("dewpond_clock_disputed_flag", u8::from(self.clock.0)),
            gauge("dewpond_clock_ahead_ms", self.clock.1),
            gauge("dewpond_certificate_left_seconds", self.certificate_seconds),
            gauge("dewpond_disk_full_flag", u8::from(self.is_disk_full)),
            gauge("dewpond_cluster_known_tenants", self.tenants),
            gauge("dewpond_cluster_known_nodes", self.nodes.0),
            gauge("dewpond_cluster_unheard_nodes", self.nodes.1),
            gauge("dewpond_archive_lag_ms", self.archive[0]),
            Sample::new("dewpond_archive_shipped_bytes", Kind::Counter, self.archive[1]),
            Sample::new("dewpond_archive_shipped_ticks", Kind::Counter, self.archive[2]),
            Sample::new("dewpond_archive_put_markers", Kind::Counter, self.archive[3]),
            gauge("dewpond_archive_unread_groups", self.archive[4]),
            Sample::new("dewpond_archive_collected_objects", Kind::Counter, self.archive[5]),
            gauge("dewpond_archive_open_gaps", self.archive[6]),
            gauge("dewpond_archive_allowed_bytes", self.archive[7]),
            gauge("dewpond_restore_written_rows", self.restores.rows),
            gauge("dewpond_restore_written_bytes", self.restores.bytes),
            gauge("dewpond_restore_oldest_ms", self.restores.age_ms),
            gauge("dewpond_restore_still_ms", self.restores.still_ms),
        ]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fact_is_told_under_its_own_name() {
        let door =
            DoorFacts { door: "client", open_connections: 1, refused_handshakes: 2, refused_connections: 3 };
        let facts = NodeFacts {
            doors: vec![door],
            is_serving: true,
            is_sealed: true,
            findings: (4, 5),
            tasks: (6, 7),
            left_out_lines: 25,
            sealed_bytes: (8, 9),
            scrub: [21, 22, 23, 24],
            compared: [31, 32, 33],
            tenant_keys: (18, 19),
            cluster_keys: 20,
            unopened_keys: 10,
            clock: (true, -11),
            certificate_seconds: 12,
            disk_bytes: Some((13, 14)),
            is_disk_full: true,
            tenants: 15,
            nodes: (16, 17),
            archive: [26, 27, 28, 29, 30, 35, 36, 49],
            restores: Figures {
                by_state: [37, 38, 39, 40, 41, 42, 43, 44],
                rows: 45,
                bytes: 46,
                age_ms: 47,
                still_ms: 48,
            },
            is_fenced: true,
            proven_age_ms: Some(34),
        };
        let samples = facts.samples();
        let values: BTreeSet<i128> = samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [-11].into_iter().chain(1..=10).chain(12..=49).collect());
        let unknown = NodeFacts { disk_bytes: None, ..facts }.samples();
        assert_eq!(unknown.len(), samples.len() - 2, "what nobody knows is not told as 0");
    }
}
