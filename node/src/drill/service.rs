//! What administrators ask of drills.

use super::rules::{Kind, kind_of};
use super::run::{Wanted, collections};
use super::schedule::{Drill, EVERY};
use crate::archive::manifest::snapshot::Proof;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::refused::Refused;
use crate::restore::archive::sources;
use crate::server::Server;
use engine::Stamp;
use engine::ids::{CollectionId, NodeId, TenantId};
use proto::errors::code;
use proto::v1;
use std::sync::Arc;

fn state(is_passed: bool) -> String {
    if is_passed { "passed" } else { "failed" }.to_owned()
}

fn certified(snapshot: &str, drill: &str, proof: &Proof) -> v1::DrillShown {
    v1::DrillShown {
        kind: drill.rsplit_once('-').map_or(drill, |(kind, _)| kind).to_owned(),
        state: state(proof.is_passed),
        target: proof.target,
        ended_ms: proof.made_ms,
        took_ms: proof.took_ms,
        bytes: proof.bytes,
        tenants: proof.tenants.len() as u64,
        certificate: format!("proof/{snapshot}/{drill}.man"),
        found: proof.found.clone(),
        ..v1::DrillShown::default()
    }
}

fn own(drill: &Drill) -> v1::DrillShown {
    let shown = v1::DrillShown {
        id: drill.id,
        kind: drill.kind.word().to_owned(),
        state: "running".to_owned(),
        begun_ms: drill.begun_ms,
        ..v1::DrillShown::default()
    };
    let Some((outcome, certificate)) = &drill.ended else { return shown };
    let found = outcome.found();
    v1::DrillShown {
        state: state(found.is_empty()),
        target: outcome.target.0,
        ended_ms: drill.begun_ms.saturating_add(outcome.took_ms),
        took_ms: outcome.took_ms,
        bytes: outcome.bytes,
        tenants: outcome.compared.len() as u64,
        certificate: certificate.clone().unwrap_or_default(),
        found,
        ..shown
    }
}

impl Server {
    /// Begins a drill here. Returns its id.
    ///
    /// # Errors
    /// `MALFORMED`, `TENANT_UNKNOWN`, `NODE_UNKNOWN`, `DRILL_BUSY`.
    pub fn run_drill(self: &Arc<Self>, asked: &v1::RunDrillRequest) -> Result<u64, Refused> {
        let malformed = |text: &str| Refused::new(code::MALFORMED).saying(text.to_owned());
        let kind = Kind::named(&asked.kind)
            .ok_or_else(|| malformed("a drill is `restore`, `tenant` or `takeover`"))?;
        if (kind == Kind::Tenant) == asked.tenant.is_empty() {
            return Err(malformed("a drill of a tenant names one, and no other does"));
        }
        let meta = self.meta();
        let tenant = match asked.tenant.as_str() {
            "" => None,
            name => Some(meta.tenant_named(name).ok_or_else(|| Refused::new(code::TENANT_UNKNOWN))?.id),
        };
        let node = Some(NodeId(asked.node)).filter(|node| node.0 != 0);
        if node.is_some_and(|node| !meta.nodes.contains_key(&node)) {
            return Err(Refused::new(code::NODE_UNKNOWN));
        }
        self.begin_drill(Wanted { kind, tenant, node })
    }

    /// Drills: those of the archive, and those here that have no certificate.
    ///
    /// # Errors
    /// The archive does not answer.
    pub async fn drills_shown(&self) -> Result<Vec<v1::DrillShown>, Refused> {
        let mut all = Vec::new();
        if let Some(sources) = sources(self).await? {
            for (id, one) in sources.archive.snapshots() {
                let of_drills = one.proofs.iter().filter(|(name, _)| kind_of(name).is_some());
                all.extend(of_drills.map(|(name, proof)| certified(&id.to_string(), name.as_str(), proof)));
            }
        }
        all.sort_by_key(|one| one.ended_ms);
        for drill in self.drills.all() {
            let shown = own(&drill);
            match all
                .iter_mut()
                .find(|one| !shown.certificate.is_empty() && one.certificate == shown.certificate)
            {
                Some(one) => (one.id, one.begun_ms) = (shown.id, shown.begun_ms),
                None => all.push(shown),
            }
        }
        Ok(all)
    }

    /// Says how often a drill takes place, and changes it if asked to.
    ///
    /// # Errors
    /// What the meta group says.
    pub(crate) async fn schedule_drills(&self, every_ms: Option<u64>, wait_ms: u64) -> Result<u64, Refused> {
        if let Some(every_ms) = every_ms {
            let value = (every_ms > 0).then(|| every_ms.to_string());
            let command = MetaCommand::new(vec![Change::PutSetting(EVERY.to_owned(), value)]);
            match Box::pin(self.change(command, wait_ms)).await? {
                MetaReply::Applied { .. } => self.refresh(wait_ms).await?,
                _ => return Err(Refused::new(code::CHANGE_REFUSED)),
            }
        }
        Ok(self.drills_every_ms())
    }

    /// What a delayed node would hold of a tenant, were it promoted as of this stamp.
    ///
    /// # Errors
    /// `NOT_RECEIVED`, `GATE_BELOW`, `TENANT_UNKNOWN`.
    pub(crate) async fn digest_late(
        &self,
        tenant: TenantId,
        upto: Stamp,
    ) -> Result<(u64, [u8; 32]), Refused> {
        let meta = self.meta();
        if !meta.tenants.contains_key(&tenant) {
            return Err(Refused::new(code::TENANT_UNKNOWN));
        }
        let all: Vec<CollectionId> = collections(&meta, tenant);
        self.digest_at(tenant, upto, &all).await
    }
}
