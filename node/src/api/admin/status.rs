//! One screen of facts.

use super::{Api, allowed};
use crate::access::action::Action;
use crate::finding::{self, Finding};
use crate::keys::coverage;
use crate::meta::node_row::NodeState;
use crate::meta::survey::Surveys;
use engine::ids::NodeId;
use proto::v1;
use proto::v1::status_server::Status as StatusService;
use raft::types::GroupId;
use tonic::{Request, Response, Status};

impl Api {
    /// What a person should know, worst first.
    fn found(surveys: &Surveys, nodes: &[v1::Node], groups: &[v1::Group]) -> Vec<v1::Finding> {
        let shown = |one: Finding| v1::Finding {
            level: one.level().to_owned(),
            text: one.text,
            command: one.command,
            name: one.name,
        };
        let mut found = Vec::new();
        for (node, survey) in &surveys.0 {
            let name = nodes.iter().find(|one| one.id == node.0).map_or("", |one| &one.name);
            let of_node = |one: &Finding| Finding { text: format!("{name}: {}", one.text), ..one.clone() };
            found.extend(survey.findings.iter().map(of_node).map(shown));
        }
        for node in nodes.iter().filter(|node| node.state != "removed" && !node.is_heard) {
            let text = format!("node {} ({}) is not heard", node.name, NodeId(node.id));
            found.push(shown(finding::NODE_UNHEARD.found(text)));
        }
        for node in nodes.iter().filter(|node| node.state == "draining") {
            let text = format!("node {} is draining: {} replicas are left", node.name, node.replicas);
            found.push(shown(finding::NODE_DRAINING.found(text)));
        }
        for group in groups {
            let id = GroupId(group.id);
            if group.leader == 0 {
                found.push(shown(finding::GROUP_LEADERLESS.found(format!("group {id} has no leader"))));
            }
            if group.replicas.iter().any(|one| one.is_coming || one.is_leaving) {
                found.push(shown(finding::GROUP_MOVING.found(format!("group {id} is moving"))));
            }
        }
        let (voters, wanted) = (nodes.iter().filter(|node| node.state == "active").count(), 3);
        if voters < wanted {
            let text = format!("{voters} of {wanted} nodes: the loss of one stops writes");
            found.push(shown(finding::NODES_FEW.found(text)));
        }
        found.sort_by_key(|one| one.level != "fail");
        found
    }
}

#[tonic::async_trait]
impl StatusService for Api {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        if let Err(refused) = allowed(&request, Action::AdminStatus) {
            return self.answered(Err(refused));
        }
        let (surveys, meta) = (self.backend.surveys().await, self.backend.meta());
        let there = meta.nodes.values().filter(|row| row.state != NodeState::Removed);
        let nodes: Vec<v1::Node> = there.map(|row| Self::node_shown(&meta, &surveys, row)).collect();
        let groups = self.groups_shown(&surveys);
        let findings = Self::found(&surveys, &nodes, &groups);
        let here =
            surveys.0.get(&self.backend.node()).map(|survey| survey.sealed.clone()).unwrap_or_default();
        self.answered(Ok(v1::StatusResponse {
            cluster: self.backend.cluster().0.to_vec().into(),
            name: meta.cluster.as_ref().map(|row| row.name.clone()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.backend.node().0,
            now_ms: self.backend.now_ms(),
            is_well: findings.iter().all(|one| one.level != "fail"),
            findings,
            nodes,
            groups,
            tenants: u32::try_from(meta.tenants.len()).unwrap_or(u32::MAX),
            coverage_permille: coverage::total(&here, &meta.key_rows()).permille(),
            archive: self.backend.archives().map(|server| server.archive_line()).unwrap_or_default(),
        }))
    }
}
