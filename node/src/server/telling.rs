//! What the node tells of itself: findings for a person, and metrics.

use super::Server;
use super::disk::{Level, Room};
use crate::api::listener::Attendance;
use crate::clock::Agreement;
use crate::delayed::state::Late;
use crate::finding::{self, Finding};
use crate::keys::coverage::{self, Coverage};
use crate::limits::{BIND_MS, CHANGE_MS, CLOCK_APART_MS, DISK_HAND_OVER_MS, DISK_MS};
use crate::meta::node_row::{NodeRow, NodeState};
use crate::peer::PeerServer;
use crate::running::replicas::Seated;
use crate::telemetry::node::{DoorFacts, NodeFacts};
use crate::telemetry::samples::{Sample, exposition, times};
use crate::telemetry::{door, logs};
use engine::clock::Clock;
use engine::ids::NodeId;
use raft::limits::CLOCK_PART_MS_MAX;
use raft::time::BootClock;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A node was heard if it was this short a time ago, in milliseconds.
const HEARD_MS: u64 = 5_000;

/// A node of another cluster that came is told for so long, in milliseconds: one that goes on comes several times meanwhile.
const FOREIGN_MS: u64 = 60_000;

fn door(door: &'static str, attendance: &Attendance) -> DoorFacts {
    DoorFacts {
        door,
        open_connections: attendance.connections() as u64,
        refused_handshakes: attendance.refused_handshakes(),
        refused_connections: attendance.refused_connections(),
    }
}

impl Server {
    /// Whether clients are well served here.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let meta = self.meta();
        let answers = |row: &NodeRow| row.state == NodeState::Active && !row.is_delayed();
        let is_active = meta.nodes.get(&self.node).is_some_and(answers);
        self.is_up()
            && is_active
            && self.fenced().is_none()
            && self.running().is_ok_and(|running| running.check().is_ok())
    }

    /// Whether it answers at all.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.is_ending.load(Ordering::Relaxed) && self.failed.borrow().is_none()
    }

    /// How much of what is in tables here is sealed with the newest keys.
    fn coverage(&self) -> Coverage {
        let Ok(running) = self.running() else { return Coverage::default() };
        let sealed = coverage::sum(running.pool().tablets().iter().map(|tablet| tablet.coverage()));
        coverage::total(&sealed, &self.meta().key_rows())
    }

    /// Whether nodes of another cluster came lately.
    fn is_met_by_foreigners(&self) -> bool {
        let (count, now_ms) = (self.told.peers.get().map_or(0, PeerServer::foreign), self.clock.boot_ms());
        let mut known = self.told.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        if count > known.0 {
            *known = (count, now_ms);
        }
        known.0 > 0 && now_ms.saturating_sub(known.1) < FOREIGN_MS
    }

    /// Whether a node was heard lately.
    fn hears(&self, node: NodeId) -> bool {
        let Ok(running) = self.running() else { return false };
        let hears = |seated: &Arc<Seated>| {
            let known = seated.receiver.group().standing();
            let Some(replica) = known.membership.1.replica_at(node) else { return false };
            let age_ms = known.heard_ms.get(&replica).copied().flatten();
            age_ms.is_some_and(|age_ms| age_ms <= HEARD_MS) || known.leader == Some(replica)
        };
        node == self.node || running.replicas().iter().any(hears)
    }

    /// What a person should know that is not seen from groups and nodes.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(clock_finding(self.clock.agreement()));
        findings.extend(self.disk.finding());
        findings.extend(self.certificate_finding());
        findings.extend(self.archive_findings());
        findings.extend(self.drill_finding());
        findings.extend(self.restore_findings());
        let meta = self.meta();
        for (node, why) in self.told.link.get().map(|link| link.troubles()).unwrap_or_default() {
            // Whoever was removed need not be reached.
            if let Some(row) = meta.nodes.get(&node).filter(|row| row.state != NodeState::Removed) {
                findings
                    .push(finding::LINK_DOWN.found(format!("no link to node {} ({node}): {why}", row.name)));
            }
        }
        if self.is_met_by_foreigners() {
            let text = "connections of another cluster come to the door of peers: look at their addresses";
            findings.push(finding::PEERS_FOREIGN.found(text));
        }
        if let Some(why) = self.untaken.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            findings.push(
                finding::ROOT_UNTAKEN.found(format!("the root file of the cluster is not taken here: {why}")),
            );
        }
        findings.extend(self.verified.findings());
        findings.extend(self.scrubbed.told().into_iter().map(|text| finding::TABLE_DAMAGED.found(text)));
        for name in self.unopened.read().unwrap_or_else(PoisonError::into_inner).iter() {
            findings.push(finding::KEY_UNOPENED.found(format!("a key does not open here: {name}")));
        }
        if let Some(why) = self.unread.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            findings.push(finding::METRICS_UNREAD.found(format!("metrics cannot be read: {why}")));
        }
        let name = meta.nodes.get(&self.node).map_or("", |row| &row.name);
        findings.extend(self.late().iter().flat_map(|late| late.findings(name)));
        if let Some(refused) = self.fenced() {
            findings.push(finding::NODE_FENCED.found(refused.text));
        }
        match self.running() {
            Err(_) if self.fenced().is_some() => {}
            Err(_) => findings.push(match &*self.unstarted.read().unwrap_or_else(PoisonError::into_inner) {
                Some(why) => {
                    let text = format!("the node does not start while its disk is full: {why}");
                    finding::NODE_UNSTARTED.found(text)
                }
                None => finding::NODE_STARTING.found("the node is starting: it waits for its peers"),
            }),
            Ok(running) => {
                for (group, why) in running.failed() {
                    let text = format!("the replica of group {group} does not run: {why}");
                    findings.push(finding::REPLICA_DOWN.found(text));
                }
            }
        }
        findings
    }

    /// What it counts and measures beside log, replicas and tablets.
    #[must_use]
    pub fn facts(&self) -> NodeFacts {
        let told = &self.told;
        let mut doors = vec![door("client", &told.clients), door("admin", &told.admins)];
        doors.extend(told.peers.get().map(|peers| DoorFacts {
            door: "peer",
            open_connections: peers.strangers() as u64,
            refused_handshakes: peers.refused(),
            refused_connections: peers.foreign(),
        }));
        let findings = self.findings();
        let failures = findings.iter().filter(|finding| finding.is_failure).count();
        let (meta, disk, coverage) = (self.meta(), self.disk.known(), self.coverage());
        let there: Vec<NodeId> =
            meta.nodes.values().filter(|row| row.state != NodeState::Removed).map(|row| row.id).collect();
        let clock = match self.clock.agreement() {
            Agreement::Disputed { ahead_ms } => (true, ahead_ms),
            Agreement::Agreed { ahead_ms } => (false, ahead_ms),
            Agreement::Unheard => (false, 0),
        };
        let cluster_keys = self.held.versions();
        let newest = cluster_keys.last().copied().unwrap_or(0);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let ends_s = signed(self.tls.current().own.ends_s);
        NodeFacts {
            doors,
            is_serving: self.is_serving(),
            is_sealed: false,
            findings: ((findings.len() - failures) as u64, failures as u64),
            tasks: (self.tasks.count() as u64, told.panicked.read()),
            left_out_lines: logs::left_out(),
            sealed_bytes: (coverage.active_bytes, coverage.bytes),
            scrub: self.scrubbed.figures(),
            compared: self.verified.figures(),
            tenant_keys: {
                let of = coverage::of_cluster(&meta.key_rows(), newest);
                (of.active_bytes, of.bytes)
            },
            cluster_keys: cluster_keys.len() as u64,
            unopened_keys: self.unopened.read().unwrap_or_else(PoisonError::into_inner).len() as u64,
            clock,
            certificate_seconds: ends_s.saturating_sub(signed(self.clock.now_ms() / 1_000)),
            disk_bytes: disk.room.map(|room| (room.free_bytes, room.whole_bytes)),
            is_disk_full: disk.level >= Level::Full,
            archive: self.archive_figures(),
            restores: self.restore_figures(),
            is_fenced: self.fenced().is_some(),
            proven_age_ms: self.drills.proven_age_ms(self.clock.now_ms()),
            tenants: meta.tenants.len() as u64,
            nodes: (there.len() as u64, there.iter().filter(|node| !self.hears(**node)).count() as u64),
        }
    }

    /// Its metrics, as Prometheus reads them.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut samples = self.facts().samples();
        samples.extend(self.told.calls.samples());
        samples.extend(self.late().unwrap_or_else(Late::nobody).samples());
        if let Ok(running) = self.running() {
            samples.extend(running.pool().stats().rows().map(Sample::from));
            samples.extend(running.log().stats().rows().map(Sample::from));
            samples.extend(times(running.log().stats()));
        }
        exposition(samples)
    }

    /// Serves metrics at `at`. A door that is taken keeps no node from serving: it says so, and tries again.
    pub(super) async fn tell_metrics(self: Arc<Self>, at: SocketAddr) {
        let listener = loop {
            match door::bind(at).await {
                Ok(listener) => break listener,
                Err(error) => {
                    let why = format!("{at}: {error}");
                    let mut unread = self.unread.write().unwrap_or_else(PoisonError::into_inner);
                    if unread.as_ref() != Some(&why) {
                        tracing::warn!(%at, %error, "metrics cannot be read");
                    }
                    *unread = Some(why);
                }
            }
            tokio::time::sleep(Duration::from_millis(BIND_MS)).await;
        };
        *self.unread.write().unwrap_or_else(PoisonError::into_inner) = None;
        let told = Arc::downgrade(&self);
        let exposes = Arc::new(move || told.upgrade().map(|server| server.metrics()).unwrap_or_default());
        let spawner = self.tasks.spawner();
        drop(self);
        door::serve(listener, exposes, spawner).await;
    }

    /// Looks after the disk, until the tasks end. Leads go over when it becomes full, and those that come to it while it is full: not at once
    /// again, for who takes them may be full too.
    pub(super) async fn look_after_disk(self: Arc<Self>) {
        let mut handed_ms = None;
        loop {
            let disk = self.disk.clone();
            // A disk that hangs keeps nobody else waiting.
            if let Ok((before, now)) = crate::work::aside(move || disk.look()).await {
                if now < Level::Full {
                    handed_ms = None;
                }
                let now_ms = self.clock.boot_ms();
                let is_due = handed_ms.is_none_or(|at: u64| now_ms.saturating_sub(at) >= DISK_HAND_OVER_MS);
                if self.follow_disk(before, now, is_due).await {
                    handed_ms = Some(now_ms);
                }
            }
            tokio::time::sleep(Duration::from_millis(DISK_MS)).await;
        }
    }

    /// Does what follows from how full it is. Tells whether leads were to go over: `is_due` says that they may.
    async fn follow_disk(&self, before: Level, now: Level, is_due: bool) -> bool {
        let used_percent = self.disk.known().room.map(Room::used_percent);
        match now {
            _ if now == before => {}
            Level::Roomy => tracing::info!(used_percent, "the disk has room again"),
            Level::Tight => tracing::warn!(used_percent, "the disk becomes full"),
            Level::Full => tracing::error!(used_percent, "the disk is full: no writes are taken here"),
            Level::Brimming => {
                tracing::error!(used_percent, "the disk is full: nothing of other nodes is taken")
            }
        }
        let Ok(running) = self.running() else { return false };
        running.log().set_short_of_space(now == Level::Brimming);
        let leads = running.replicas().iter().any(|seated| seated.receiver.group().leads());
        if now < Level::Full || !is_due || !leads {
            return false;
        }
        // What nobody takes in time stays here: it answers reads.
        let within = Duration::from_millis(CHANGE_MS);
        let _ = tokio::time::timeout(within, running.hand_over_all()).await;
        true
    }
}

/// What a person should know of the clock.
fn clock_finding(agreement: Agreement) -> Option<Finding> {
    match agreement {
        Agreement::Disputed { ahead_ms } => {
            let text = format!("the clock is {ahead_ms} ms ahead of its peers: the node leads nothing");
            Some(finding::CLOCK_DISPUTED.found(text))
        }
        Agreement::Agreed { ahead_ms } if ahead_ms.unsigned_abs() > CLOCK_APART_MS => {
            let text = format!(
                "the clock is {ahead_ms} ms ahead of its peers: from {CLOCK_PART_MS_MAX} ms on the node leads nothing"
            );
            Some(finding::CLOCK_APART.found(text))
        }
        Agreement::Agreed { .. } | Agreement::Unheard => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_before_it_costs_the_lead() {
        let named = |agreement| clock_finding(agreement).map(|found| (found.name, found.is_failure));
        let apart = Some(("clock_apart".to_owned(), false));
        for (ahead_ms, wanted) in [(0, None), (125, None), (-125, None), (126, apart.clone()), (-126, apart)]
        {
            assert_eq!(named(Agreement::Agreed { ahead_ms }), wanted, "{ahead_ms}");
        }
        assert_eq!(named(Agreement::Disputed { ahead_ms: 251 }), Some(("clock_disputed".to_owned(), true)));
        assert_eq!(named(Agreement::Unheard), None);
    }
}
