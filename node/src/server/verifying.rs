//! Do the replicas of a group hold the same rows? Who leads a group has that compared now and then, slowly; a person asks with
//! `dew group verify`. What differs is told, and who is the odd one; nothing is mended, for nobody knows what else is wrong there. A group in
//! which something differs is compared again soon, so that what is told ends when it is over.
//!
//! The protocol: `docs/protocols/comparison.md`.

use super::Server;
use super::scrubbing::is_due;
use crate::boot::files;
use crate::finding::{Finding, REPLICAS_DIFFER};
use crate::limits::{VERIFY_AGAIN_MS, VERIFY_LOOK_MS, VERIFY_REST};
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::running::replicas::Running;
use crate::tenants::rules::TenantState;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::{NodeId, TenantId};
use proto::errors::code;
use raft::compare::question::{Asked, Question, Told};
use raft::compare::walk::{Ask, Report, Walk};
use raft::time::BootClock;
use raft::types::{GroupId, ReplicaId, Role};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The file in the data directory that says when the groups were compared last, in milliseconds since 1970.
const BEGUN_FILE: &str = "verify.begun";
/// Bytes of that file.
const BEGUN_BYTES_MAX: u64 = 32;

/// What comparisons have found.
#[derive(Default)]
pub struct Verified(Mutex<State>);

#[derive(Default)]
struct State {
    /// Groups in which something differs.
    differing: BTreeMap<GroupId, Differing>,
    groups: u64,
    rows: u64,
}

struct Differing {
    text: String,
    /// When it is looked at again, by the clock that nobody sets.
    due_ms: u64,
}

/// The replicas of one group, as this node asks them.
struct Replicas {
    running: Arc<Running>,
    group: GroupId,
    seats: BTreeMap<ReplicaId, NodeId>,
}

/// A comparison of the replicas of one group, under way.
pub struct Comparing {
    server: Arc<Server>,
    replicas: Replicas,
    walk: Walk,
}

impl Ask for Replicas {
    async fn ask(&self, replica: ReplicaId, what: Question) -> Option<Told> {
        let node = *self.seats.get(&replica)?;
        self.running.told(node, Asked { group: self.group, replica, what }).await
    }
}

impl Comparing {
    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.replicas.group
    }

    /// Where a replica lives.
    #[must_use]
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.replicas.seats.get(&replica).copied()
    }

    /// What came of it so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.walk.report()
    }

    /// Goes on for a moment. False: it is at its end, and what it has found is told by this node.
    pub async fn step(&mut self) -> bool {
        let meta = self.server.meta();
        let goes_on = self.walk.step(&self.replicas, &|tenant| is_over(&meta, tenant)).await;
        if !goes_on {
            self.ends();
        }
        goes_on
    }

    fn ends(&self) {
        let (group, report) = (self.group(), self.report());
        let (meta, now_ms) = (self.server.meta(), self.server.clock.boot_ms());
        let name =
            |node: NodeId| meta.nodes.get(&node).map_or_else(|| node.to_string(), |row| row.name.clone());
        let odd = report.odd();
        let named: Vec<String> = odd
            .iter()
            .map(|odd| format!("{odd} on node {}", self.node_of(*odd).map_or_else(String::new, &name)))
            .collect();
        let has_majority = odd.len() * 2 < report.replicas.len();
        let text = told(group, &named, has_majority, report);
        if report.differs() {
            tracing::error!(%group, replicas = named.join(", "), rows = report.rows, "replicas hold other rows than they should: {text}");
        } else {
            let left = report.out.len();
            tracing::debug!(%group, rows = report.rows, compared = report.replicas.len(), left, "replicas were compared");
        }
        self.server.verified.learn(group, report, text, now_ms + VERIFY_AGAIN_MS);
    }
}

/// Pure: what a person is told of a group in which something differs.
fn told(group: GroupId, named: &[String], has_majority: bool, report: &Report) -> String {
    let ranges = report.differences.len() as u64 + report.more;
    let first = report.differences.first().map(|one| (one.range.tenant, one.range.collection));
    let place = first.map_or_else(String::new, |(tenant, collection)| {
        format!(", the first in collection {} of {tenant}", collection.0)
    });
    match has_majority {
        true => format!(
            "group {group}: replica {} holds other rows than most in {ranges} ranges{place}",
            named.join(" and replica ")
        ),
        false => format!(
            "group {group}: replicas hold different rows in {ranges} ranges{place}, and none has a majority"
        ),
    }
}

/// Whether the rows of a tenant are on their way out: some replicas may have less of them than others.
fn is_over(meta: &MetaView, tenant: TenantId) -> bool {
    let state = meta.tenants.get(&tenant).map(|row| row.state);
    matches!(state, Some(TenantState::Dropped { .. } | TenantState::Purged))
}

impl Verified {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A comparison is done. One in which not everybody could be asked takes back nothing.
    fn learn(&self, group: GroupId, report: &Report, text: String, due_ms: u64) {
        let mut state = self.lock();
        if report.out.is_empty() {
            state.groups += 1;
        } else {
            let out: Vec<_> =
                report.out.iter().map(|(replica, why)| format!("{replica}: {}", why.words())).collect();
            tracing::warn!(%group, out = out.join(", "), "not all replicas of a group were compared");
        }
        state.rows += report.rows;
        if report.differs() {
            state.differing.insert(group, Differing { text, due_ms });
        } else if report.out.is_empty() {
            state.differing.remove(&group);
        } else if let Some(known) = state.differing.get_mut(&group) {
            known.due_ms = due_ms;
        }
    }

    /// What a person should know.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.lock().differing.values().map(|one| REPLICAS_DIFFER.found(one.text.clone())).collect()
    }

    /// Groups and rows compared since the start, and groups in which something differs.
    #[must_use]
    pub fn figures(&self) -> [u64; 3] {
        let state = self.lock();
        [state.groups, state.rows, state.differing.len() as u64]
    }

    /// Groups that are to be looked at again at `now_ms`; those that are gone are forgotten.
    fn due(&self, meta: &MetaView, now_ms: u64) -> Vec<GroupId> {
        let mut state = self.lock();
        state.differing.retain(|group, _| meta.shards.contains_key(group));
        state.differing.iter().filter(|(_, one)| one.due_ms <= now_ms).map(|(group, _)| *group).collect()
    }
}

/// When all that is led here was compared last; nothing if it never was.
fn begun(folder: &Path) -> Option<u64> {
    let bytes = files::read(&folder.join(BEGUN_FILE), BEGUN_BYTES_MAX).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

fn note_begun(folder: &Path, now_ms: u64) {
    if let Err(error) = files::replace(&folder.join(BEGUN_FILE), now_ms.to_string().as_bytes()) {
        tracing::warn!(cause = with_sources(&error), "when groups were compared is not written down");
    }
}

/// Pure: when a node that has never compared anything is as good as one that has: they come one after the other, not all at once.
fn first_begun(node: NodeId, interval_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(interval_ms / 8 * (node.0 % 8))
}

impl Server {
    /// Begins to compare the replicas of a group. Those that are delayed are left out: what they hold is old.
    ///
    /// # Errors
    /// `STARTING`; `GROUP_UNKNOWN`.
    pub fn comparison(self: &Arc<Self>, group: GroupId) -> Result<Comparing, Refused> {
        let (running, meta) = (self.running()?.clone(), self.meta());
        let row = meta.shards.get(&group).ok_or_else(|| Refused::new(code::GROUP_UNKNOWN))?;
        let seats = row.seats.iter().filter(|(_, seat)| seat.role != Role::Delayed);
        let seats: BTreeMap<_, _> = seats.map(|(replica, seat)| (*replica, seat.node)).collect();
        let walk = Walk::new(seats.keys().copied());
        Ok(Comparing { server: self.clone(), replicas: Replicas { running, group, seats }, walk })
    }

    /// Compares what is led here when it is time, and what differs again and again, until the tasks end.
    pub(super) async fn compare_replicas(self: Arc<Self>) {
        let mut begun_ms = begun(&self.folder).unwrap_or_else(|| {
            let begun_ms = first_begun(self.node, self.live().verify_interval.ms(), self.clock.now_ms());
            note_begun(&self.folder, begun_ms);
            begun_ms
        });
        loop {
            tokio::time::sleep(Duration::from_millis(VERIFY_LOOK_MS)).await;
            let Ok(running) = self.running() else { continue };
            let now_ms = self.clock.now_ms();
            let mut groups = self.verified.due(&self.meta(), self.clock.boot_ms());
            if is_due(begun_ms, 0, self.live().verify_interval.ms(), now_ms) {
                begun_ms = now_ms;
                note_begun(&self.folder, begun_ms);
                let led = running.replicas();
                let led = led.iter().map(|seated| seated.receiver.group()).filter(|group| group.leads());
                groups.extend(led.map(|group| group.id()));
            }
            for group in groups {
                self.compare_slowly(group).await;
            }
        }
    }

    /// Compares a group, and rests longer than it works.
    async fn compare_slowly(self: &Arc<Self>, group: GroupId) {
        let Ok(mut comparing) = self.comparison(group) else { return };
        loop {
            let since_ms = self.clock.monotonic_ms();
            if !comparing.step().await {
                return;
            }
            let took_ms = self.clock.monotonic_ms().saturating_sub(since_ms);
            tokio::time::sleep(Duration::from_millis(took_ms * VERIFY_REST)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Stamp;
    use engine::ids::CollectionId;
    use raft::compare::verdict::Difference;
    use raft::compare::walk::Out;
    use raft::machine::range_digest::{RowRange, RowSum};

    const G: GroupId = GroupId(5);

    fn report(sums: &[u128]) -> Report {
        let said = (1..).map(ReplicaId).zip(sums.iter().map(|sum| RowSum { rows: 1, sum: *sum }));
        let range = RowRange::all(TenantId(7), CollectionId(3));
        let difference = Difference { range, at: Stamp(1), said: said.collect() };
        let replicas = difference.said.keys().copied().collect();
        Report { replicas, rows: 4, differences: vec![difference], ..Report::default() }
    }

    fn view() -> MetaView {
        let mut view = MetaView::default();
        view.shards.insert(G, crate::meta::shard_row::ShardRow::default());
        view
    }

    #[test]
    fn what_differs_is_told_until_all_were_asked_and_are_equal() {
        let (verified, bad) = (Verified::default(), report(&[1, 2, 1]));
        verified.learn(G, &bad, "text".to_owned(), 100);
        let found = verified.findings();
        assert_eq!((found.len(), found[0].name.as_str(), found[0].is_failure), (1, "replicas_differ", true));
        assert_eq!(verified.due(&view(), 99), []);
        assert_eq!(verified.due(&view(), 100), [G]);
        let mut good = Report { differences: Vec::new(), out: [(ReplicaId(2), Out::Silent)].into(), ..bad };
        verified.learn(G, &good, String::new(), 200);
        assert_eq!((verified.findings().len(), verified.due(&view(), 199)), (1, vec![]), "one was not asked");
        good.out.clear();
        verified.learn(G, &good, String::new(), 300);
        assert_eq!(
            (verified.findings().len(), verified.figures()),
            (0, [2, 12, 0]),
            "one that missed a replica counts for nothing"
        );
    }

    #[test]
    fn a_group_that_is_gone_differs_no_more() {
        let verified = Verified::default();
        verified.learn(G, &report(&[1, 2]), "text".to_owned(), 100);
        assert_eq!(verified.due(&MetaView::default(), 100), []);
        assert_eq!(verified.figures(), [1, 4, 0]);
    }

    #[test]
    fn the_odd_one_is_named_where_there_is_one() {
        let odd = ["2 on node b".to_owned()];
        assert_eq!(
            told(G, &odd, true, &report(&[1, 2, 1])),
            "group g-5: replica 2 on node b holds other rows than most in 1 ranges, the first in collection 3 of t-0000000000000007"
        );
        let none = told(G, &odd, false, &report(&[1, 2]));
        assert!(none.ends_with("and none has a majority") && !none.contains("node b"), "{none}");
    }

    #[test]
    fn nodes_that_begin_together_compare_one_after_the_other() {
        let due = |node| first_begun(NodeId(node), 80, 1_000) + 80;
        assert_eq!([1, 2, 7, 8].map(due), [1_070, 1_060, 1_010, 1_080]);
        assert_eq!(first_begun(NodeId(3), 0, 1_000), 1_000);
    }
}
