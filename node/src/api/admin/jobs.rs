//! What takes long and goes on by itself: nodes that are drained, keys that are rotated, tenants that wait for their end. Each is read off
//! what the meta group and the nodes say, so a job is never remembered otherwise than it is.

use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::convert::Result;
use crate::delayed::donate::Progress;
use crate::delayed::suspects::Commit;
use crate::keys::coverage::{self, Sealed};
use crate::keys::{KeyRow, KeyState};
use crate::meta::node_row::NodeState;
use crate::meta::survey::{Scrub, Survey, Surveys};
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::restore;
use crate::tenants::rules::TenantState;
use engine::ids::{KeyEpoch, NodeId, Owner, Purpose, TenantId};
use proto::errors::code;
use proto::v1;
use proto::v1::jobs_server::Jobs;
use raft::types::GroupId;
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

/// The id of the rotation of the cluster key, of which there is one at a time. Those of others are random.
pub(super) const CLUSTER_TURN_JOB: u64 = 1;
/// A job is as good as done only when nothing of it is left.
const DONE_PERMILLE: u32 = 1_000;

/// Nodes that give their replicas away.
fn drains(meta: &MetaView) -> impl Iterator<Item = v1::Job> {
    meta.nodes.values().filter(|row| row.state == NodeState::Draining).map(|row| {
        let (left, all) = (meta.replicas_on(row.id), meta.shards.len().max(1));
        let (state, text) = match left {
            0 => ("done", "it has no replicas any more: dew node remove".to_owned()),
            left => ("running", format!("{left} replicas are left")),
        };
        let done = DONE_PERMILLE as usize * all.saturating_sub(left) / all;
        v1::Job {
            id: row.id.0,
            kind: "drain".to_owned(),
            subject: row.name.clone(),
            state: state.to_owned(),
            text,
            done_permille: u32::try_from(done).unwrap_or(0),
            ..v1::Job::default()
        }
    })
}

/// Rotations that are under way: a new key that is not active yet, or bytes under an old one.
fn rotations(meta: &MetaView, rows: &[KeyRow], sealed: &Sealed) -> Vec<v1::Job> {
    let data = rows.iter().filter(|row| row.key.name.purpose == Purpose::Data);
    let mut active: BTreeMap<TenantId, KeyEpoch> = BTreeMap::new();
    let mut pending: BTreeMap<TenantId, KeyEpoch> = BTreeMap::new();
    for row in data {
        let (Owner::Tenant(tenant), epoch) = (row.key.name.owner, row.key.name.epoch) else { continue };
        match row.state {
            KeyState::Active => drop(active.insert(tenant, epoch)),
            KeyState::Pending => drop(pending.insert(tenant, epoch)),
            _ => {}
        }
    }
    let covered = coverage::by_tenant(sealed, &active);
    let of = |tenant: &TenantId| {
        let one = covered.get(tenant).copied().unwrap_or_default();
        let (state, text, done) = match (pending.get(tenant), one.left_bytes()) {
            (Some(_), _) => ("waiting", "the new key waits until every node has it".to_owned(), 0),
            (None, 0) => return None,
            (None, left) => {
                ("running", format!("{left} bytes are under an old key"), u32::from(one.percent()) * 10)
            }
        };
        Some(v1::Job {
            id: tenant.0,
            kind: "rotate".to_owned(),
            subject: meta.tenants.get(tenant)?.name.clone(),
            state: state.to_owned(),
            text,
            done_permille: done.min(DONE_PERMILLE - 1),
            ..v1::Job::default()
        })
    };
    active.keys().filter_map(of).collect()
}

/// The rotation of the cluster key, if one is under way.
fn cluster_turn(meta: &MetaView, rows: &[KeyRow]) -> Option<v1::Job> {
    let row = meta.root.as_ref()?;
    let covered = coverage::of_cluster(rows, row.newest());
    let left = covered.left_bytes();
    let without: Vec<&str> = meta.without_root().map(|row| row.name.as_str()).collect();
    let (state, text) = match (left, &without[..], row.versions().len()) {
        (0, [], 1) => return None,
        (0, [], _) => ("running", "the old cluster key goes".to_owned()),
        (0, without, _) => {
            ("waiting", format!("nodes that have not taken the root file: {}", without.join(", ")))
        }
        (left, ..) => ("running", format!("{left} keys of tenants are wrapped by an old cluster key")),
    };
    Some(v1::Job {
        id: CLUSTER_TURN_JOB,
        kind: "rotate".to_owned(),
        subject: "cluster".to_owned(),
        state: state.to_owned(),
        text,
        done_permille: covered.permille().min(DONE_PERMILLE - 1),
        ..v1::Job::default()
    })
}

/// Tenants that were dropped, and those of which bytes are left after their keys were destroyed.
fn purges(meta: &MetaView, sealed: &Sealed) -> impl Iterator<Item = v1::Job> {
    meta.tenants.values().filter_map(|row| {
        let (state, text, begun_ms) = match row.state {
            TenantState::Dropped { since_ms, until_ms, .. } => {
                let text = format!(
                    "it can be taken back until {until_ms} ms since 1970, then its keys are destroyed"
                );
                ("waiting", text, since_ms)
            }
            TenantState::Purged => {
                let of = sealed.iter().filter(|((tenant, _), _)| *tenant == row.id).map(|(_, bytes)| *bytes);
                let left: u64 = of.sum();
                let text = format!("its keys are destroyed; {left} bytes leave the tables of nodes");
                (Some("running").filter(|_| left > 0)?, text, 0)
            }
            _ => return None,
        };
        Some(v1::Job {
            id: row.id.0,
            kind: "purge".to_owned(),
            subject: row.name.clone(),
            state: state.to_owned(),
            text,
            begun_ms,
            ..v1::Job::default()
        })
    })
}

/// Scrubs under way, of each node its newest.
fn scrubs(meta: &MetaView, surveys: &Surveys) -> Vec<v1::Job> {
    let of = |(node, survey): (&NodeId, &Survey)| {
        let Scrub { begun_ms, files, files_left, damaged } = survey.scrub?;
        let text = match (files_left, damaged) {
            (0, 0) => return None,
            (left, 0) => format!("{left} files are to be walked"),
            (left, damaged) => {
                format!("{left} files are to be walked; damaged tables that are mended: {damaged}")
            }
        };
        let permille = u64::from(DONE_PERMILLE) * files / (files + files_left).max(1);
        Some(v1::Job {
            // That of the node itself is the job that drains it.
            id: !node.0,
            kind: "scrub".to_owned(),
            subject: meta.nodes.get(node)?.name.clone(),
            state: "running".to_owned(),
            text,
            done_permille: u32::try_from(permille).unwrap_or(0).min(DONE_PERMILLE - 1),
            begun_ms,
            ..v1::Job::default()
        })
    };
    surveys.0.iter().filter_map(of).collect()
}

/// Rows that go back from delayed nodes into the cluster, and those that have gone lately.
fn donations(meta: &MetaView, surveys: &Surveys) -> Vec<v1::Job> {
    let all = surveys.0.values().filter_map(|survey| survey.late.as_ref()).flat_map(|late| &late.donations);
    let of = |one: &Progress| {
        let state = match (one.ended_ms, one.failure.is_empty()) {
            (0, _) => "running",
            (_, true) => "done",
            (_, false) => "failed",
        };
        let group = meta.shard_of(one.tenant).map_or(GroupId(0), |row| row.group);
        let named = one.conflicts.iter().map(|stamp| Commit { stamp: *stamp, group }.to_string());
        let named: Vec<String> = named.collect();
        let conflicts = if named.is_empty() {
            String::new()
        } else {
            format!("; keys that were written since, by {}", named.join(" "))
        };
        let why = if one.failure.is_empty() { String::new() } else { format!("{}: ", one.failure) };
        v1::Job {
            id: one.job,
            kind: "donate".to_owned(),
            subject: meta.tenants.get(&one.tenant).map_or_else(String::new, |row| row.name.clone()),
            state: state.to_owned(),
            text: format!("{why}{}{conflicts}", one.tally),
            done_permille: if state == "done" { DONE_PERMILLE } else { 0 },
            begun_ms: one.begun_ms,
            ended_ms: one.ended_ms,
        }
    };
    all.map(of).collect()
}

/// Restores, those that were planned only left out.
fn restores(meta: &MetaView) -> impl Iterator<Item = v1::Job> {
    let begun = meta.restores.values().filter(|row| row.state != restore::rows::State::Planned);
    begun.map(|row| {
        let subject = meta.tenants.get(&row.tenant).map(|row| row.name.clone()).unwrap_or_default();
        let state = match row.state {
            restore::rows::State::Running | restore::rows::State::Undoing => "running",
            restore::rows::State::Paused => "waiting",
            restore::rows::State::Failed => "failed",
            _ => "done",
        };
        let text = match (&row.text[..], row.state) {
            ("", restore::rows::State::Running) => format!("{}: {} rows", row.step.word(), row.tally.rows),
            ("", state) => state.word().to_owned(),
            (text, _) => text.to_owned(),
        };
        v1::Job {
            id: row.id,
            kind: "restore".to_owned(),
            subject,
            state: state.to_owned(),
            text,
            done_permille: restore::service::permille(row),
            begun_ms: row.created_ms,
            ..v1::Job::default()
        }
    })
}

/// Pure: all of them, those that began last first.
fn jobs(meta: &MetaView, surveys: &Surveys) -> Vec<v1::Job> {
    let sealed = &surveys.sealed();
    let mut all: Vec<v1::Job> = drains(meta).collect();
    let rows = meta.key_rows();
    all.extend(cluster_turn(meta, &rows));
    all.extend(rotations(meta, &rows, sealed));
    all.extend(purges(meta, sealed));
    all.extend(scrubs(meta, surveys));
    all.extend(donations(meta, surveys));
    all.extend(restores(meta));
    all.sort_by_key(|job| std::cmp::Reverse(job.begun_ms));
    all
}

impl Api {
    async fn all_jobs(&self) -> Vec<v1::Job> {
        jobs(&self.backend.meta(), &self.backend.surveys().await)
    }

    async fn job(&self, id: u64) -> Result<v1::JobResponse> {
        Ok(v1::JobResponse { job: Some(of_id(self.all_jobs().await, id)?) })
    }
}

/// Whether a job is told of, where those that are done may be left out.
fn is_asked(job: &v1::Job, running_only: bool) -> bool {
    !running_only || job.state != "done"
}

fn of_id(jobs: Vec<v1::Job>, id: u64) -> Result<v1::Job> {
    jobs.into_iter().find(|job| job.id == id).ok_or_else(|| Refused::new(code::JOB_UNKNOWN))
}

#[tonic::async_trait]
impl Jobs for Api {
    async fn list(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> std::result::Result<Response<v1::ListJobsResponse>, Status> {
        let listed = match allowed(&request, Action::AdminJobs) {
            Ok(_) => {
                let mut jobs = self.all_jobs().await;
                jobs.retain(|job| is_asked(job, request.get_ref().running_only));
                Ok(v1::ListJobsResponse { jobs })
            }
            Err(refused) => Err(refused),
        };
        self.answered(listed)
    }

    async fn show(
        &self,
        request: Request<v1::JobRequest>,
    ) -> std::result::Result<Response<v1::JobResponse>, Status> {
        let shown = match allowed(&request, Action::AdminJobs) {
            Ok(_) => self.job(request.get_ref().job).await,
            Err(refused) => Err(refused),
        };
        self.answered(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delayed::donate::Tally;
    use crate::delayed::state::Late;
    use crate::keys::{KeyName, WrappedKey};
    use crate::meta::node_row::NodeRow;
    use crate::meta::rows::MetaRow;
    use crate::meta::shard_row::ShardRow;
    use crate::meta::tenant_row::TenantRow;
    use engine::Stamp;
    use raft::types::{ReplicaId, Role, Seat};

    fn view(leaves: bool) -> MetaView {
        let node =
            NodeRow { id: NodeId(7), name: "n7".into(), state: NodeState::Draining, ..NodeRow::default() };
        let seat = Seat { node: NodeId(if leaves { 7 } else { 8 }), role: Role::Voter };
        let shard = |group, seat| ShardRow {
            group: GroupId(group),
            seats: [(ReplicaId(1), seat)].into(),
            ..ShardRow::default()
        };
        let stays = Seat { node: NodeId(8), role: Role::Voter };
        let state = TenantState::Dropped { since_ms: 5, until_ms: 9, was_frozen: false };
        let tenant = TenantRow { id: TenantId(9), name: "acme".into(), state, ..TenantRow::default() };
        MetaView::of(
            [
                MetaRow::Node(node),
                MetaRow::Shard(shard(2, seat)),
                MetaRow::Shard(shard(3, stays)),
                MetaRow::Tenant(tenant),
            ],
            1,
        )
    }

    fn key(tenant: u64, epoch: u32, purpose: Purpose, state: KeyState) -> KeyRow {
        let (owner, epoch) = (Owner::Tenant(TenantId(tenant)), KeyEpoch(epoch));
        let key = WrappedKey { name: KeyName { owner, purpose, epoch }, wrapped: Vec::new() };
        KeyRow { key, state, wrapped_by: KeyEpoch(1) }
    }

    fn told(jobs: &[v1::Job]) -> Vec<(&str, &str, &str, u32)> {
        jobs.iter().map(|job| (&*job.kind, &*job.subject, &*job.state, job.done_permille)).collect()
    }

    #[test]
    fn a_rotation_goes_on_while_a_byte_is_under_an_old_key() {
        let meta = view(true);
        let sealed = |old: u64, new: u64| -> Sealed {
            let of = |epoch| (TenantId(9), KeyEpoch(epoch));
            [(of(1), old), (of(2), new)].into_iter().filter(|(_, bytes)| *bytes > 0).collect()
        };
        let rotated =
            [key(9, 1, Purpose::Data, KeyState::OpenOnly), key(9, 2, Purpose::Data, KeyState::Active)];
        let of = |rows: &[KeyRow], sealed: &Sealed| {
            let jobs = rotations(&meta, rows, sealed);
            assert!(jobs.iter().all(|job| job.id == 9));
            jobs.iter()
                .map(|job| (job.state.clone(), job.done_permille, job.text.clone()))
                .collect::<Vec<_>>()
        };
        let running = |permille, left: &str| {
            vec![("running".to_owned(), permille, format!("{left} bytes are under an old key"))]
        };
        assert_eq!(of(&rotated, &sealed(250, 750)), running(750, "250"));
        assert_eq!(of(&rotated, &sealed(1, 1_000_000)), running(990, "1"), "one byte is not nothing");
        assert_eq!(of(&rotated, &sealed(0, 5)), []);
        assert_eq!(of(&rotated, &Sealed::new()), [], "of nothing all is done");
        // Before every node has the new key nothing is sealed with it, whatever there is.
        let waits = [key(9, 1, Purpose::Data, KeyState::Active), key(9, 2, Purpose::Data, KeyState::Pending)];
        for sealed in [sealed(5, 0), Sealed::new()] {
            let jobs = of(&waits, &sealed);
            assert!(matches!(&jobs[..], [(state, 0, _)] if state == "waiting"), "{jobs:?}");
        }
        // Other keys of a tenant are no rotation of its data; a tenant that nobody knows has no name to tell.
        assert_eq!(of(&[key(9, 1, Purpose::Wrap, KeyState::Active)], &sealed(5, 5)), []);
        assert_eq!(
            of(&[key(8, 2, Purpose::Data, KeyState::Active)], &[((TenantId(8), KeyEpoch(1)), 5)].into()),
            []
        );
    }

    #[test]
    fn what_is_done_may_be_left_out_and_a_job_is_found_by_its_id() {
        let all = jobs(&view(false), &Surveys::default());
        let asked = |running_only| all.iter().filter(|job| is_asked(job, running_only)).count();
        assert_eq!((all.len(), asked(false), asked(true)), (2, 2, 1));
        assert_eq!(of_id(all.clone(), 7).unwrap().kind, "drain");
        assert_eq!(of_id(all.clone(), 9).unwrap().kind, "purge");
        assert_eq!(of_id(all, 8).unwrap_err().code, code::JOB_UNKNOWN);
    }

    #[test]
    fn rows_that_go_back_are_a_job() {
        let of = |ended_ms, failure: &str| {
            let tally = Tally { restored: 12, conflicts: 1, ..Tally::default() };
            let one = Progress {
                job: 3,
                tenant: TenantId(9),
                before: Stamp(7),
                tally,
                conflicts: vec![Stamp(0x10)],
                begun_ms: 4,
                ended_ms,
                failure: failure.to_owned(),
            };
            let late = Some(Late { donations: vec![one], ..Late::default() });
            let surveys = Surveys([(NodeId(7), Survey { late, ..Survey::default() })].into());
            donations(&view(true), &surveys).remove(0)
        };
        let job = of(0, "");
        assert_eq!((&*job.kind, &*job.subject, &*job.state), ("donate", "acme", "running"));
        assert!(
            job.text.starts_with("12 brought back") && job.text.contains("c-0000000000000010-"),
            "{}",
            job.text
        );
        assert_eq!((of(5, "").state, of(5, "").done_permille), ("done".to_owned(), 1_000));
        let failed = of(5, "the tenant is dropped");
        assert!(failed.state == "failed" && failed.text.starts_with("the tenant is dropped: 12"));
    }

    #[test]
    fn what_goes_on_is_read_off_what_is_there() {
        let scrub = Some(Scrub { begun_ms: 3, files: 3, files_left: 1, damaged: 0 });
        let survey = Survey { scrub, ..Survey::default() };
        let surveys = Surveys([(NodeId(7), survey)].into());
        let all = jobs(&view(true), &surveys);
        let wanted = [
            ("purge", "acme", "waiting", 0),
            ("scrub", "n7", "running", 750),
            ("drain", "n7", "running", 500),
        ];
        assert_eq!(told(&all), wanted);
        assert_eq!((all[0].begun_ms, all[0].id, all[2].id), (5, 9, 7), "the last first");
        assert!(all[0].text.contains("until ") && all[2].text.contains("1 replicas"));
        let all = jobs(&view(false), &Surveys::default());
        assert_eq!(told(&all)[1], ("drain", "n7", "done", 1_000));
        // Who lives in order has no job.
        let node = NodeRow { id: NodeId(7), name: "n7".into(), ..NodeRow::default() };
        let tenant = TenantRow { id: TenantId(9), name: "acme".into(), ..TenantRow::default() };
        let quiet = MetaView::of([MetaRow::Node(node), MetaRow::Tenant(tenant)], 1);
        assert!(jobs(&quiet, &Surveys::default()).is_empty());
    }
}
