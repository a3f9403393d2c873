//! One drill: the newest point is fetched into the scratch folder and read there, or a delayed node is asked what it would hold; both are
//! compared, tenant by tenant, with the cluster as of the same stamp.

use super::rules::{Compared, Digest, Kind, Outcome};
use super::scratch::Scratch;
use crate::archive::window::{Scope, window};
use crate::delayed::order::{Answer, Order};
use crate::limits;
use crate::meta::CLUSTER_TENANT;
use crate::meta::node_row::NodeState;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::restore::archive::sources;
use crate::restore::copy::digest;
use crate::restore::fetch::{Gathered, Reading, Sources, Workshop};
use crate::restore::hands::Hands;
use crate::restore::past::Past;
use crate::server::Server;
use crate::takeover::order::{self as takeover, Ask, Target};
use crate::tenants::rules::TenantState;
use engine::Stamp;
use engine::disk::RealDisk;
use engine::error::with_sources;
use engine::ids::{CollectionId, NodeId, TenantId};
use proto::errors::code;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a drill is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub kind: Kind,
    /// One tenant alone.
    pub tenant: Option<TenantId>,
    /// The delayed node that is to take over.
    pub node: Option<NodeId>,
}

/// Tenants that can be compared: those that nobody restores just now, and that were there before `at`.
fn tenants(meta: &MetaView, wanted: &Wanted, at: Stamp) -> Vec<TenantId> {
    let is_still = |id: TenantId| !meta.held.contains_key(&id) && !meta.aside.contains_key(&id);
    let is_whole = |id: TenantId| meta.origins.get(&id).is_none_or(|origin| origin.whole <= at);
    let all =
        meta.tenants.values().filter(|row| row.state == TenantState::Active && row.created_ms < at.ms());
    let all = all.map(|row| row.id).filter(|id| is_still(*id) && is_whole(*id));
    all.filter(|id| wanted.tenant.is_none_or(|one| one == *id)).collect()
}

/// Collections of a tenant, in the order of their numbers.
pub(super) fn collections(meta: &MetaView, tenant: TenantId) -> Vec<CollectionId> {
    let mut all: Vec<CollectionId> = meta.collections(tenant).map(|(_, id)| id).collect();
    all.sort_unstable();
    all
}

impl Server {
    /// Does one. Whatever stands in its way is what it found.
    pub(super) async fn drilled(self: &Arc<Self>, wanted: &Wanted) -> Outcome {
        let mut outcome = Outcome::default();
        let done = match wanted.kind {
            Kind::Restore | Kind::Tenant => self.restore_in_scratch(wanted, &mut outcome).await,
            Kind::TakeOver => self.take_over_in_mind(wanted, &mut outcome).await,
        };
        if let Err(why) = done {
            outcome.faults.push(why);
        }
        outcome
    }

    async fn restore_in_scratch(
        self: &Arc<Self>,
        wanted: &Wanted,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let told = |error: &dyn std::error::Error| with_sources(error);
        let sources = sources(self).await.map_err(|error| told(&error))?;
        let sources = sources.ok_or("nothing is archived")?;
        outcome.faults.extend(sources.archive.faults().iter().map(ToString::to_string));
        let window = window(&sources.archive, &Scope::default());
        let at =
            window.spans.last().map(|span| span.upto).ok_or("nothing can be restored from this archive")?;
        if window.frontier.is_some_and(|frontier| frontier > at) {
            outcome
                .faults
                .push(format!("the archive reaches {:?}, and can be restored to {at} only", window.frontier));
        }
        outcome.target = at;
        let meta = self.meta();
        let all = tenants(&meta, wanted, at);
        outcome.wanted = all.len();
        let scratch = Scratch::new(&self.folder).map_err(|error| told(&error))?;
        for tenant in all {
            self.restore_one((&sources, &scratch), (&meta, tenant, at), outcome).await?;
        }
        Ok(())
    }

    /// One tenant after the other, so that the scratch folder never holds more than one of them.
    async fn restore_one(
        self: &Arc<Self>,
        (sources, scratch): (&Sources, &Scratch),
        (meta, tenant, at): (&MetaView, TenantId, Stamp),
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let folder = scratch.path().join(tenant.to_string());
        let tenants = BTreeSet::from([CLUSTER_TENANT, tenant]);
        let needed = sources.bytes_needed(&tenants, at).await.map_err(|error| with_sources(&error))?;
        // Half of what is free stays to those who write.
        let free = self.disk.known().room.map_or(u64::MAX, |room| room.free_bytes / 2);
        let most = limits::SCRATCH_BYTES_MAX.min(free);
        if needed > most {
            return Err(format!(
                "tenant {tenant} needs {needed} bytes of scratch, over the {most} there may be"
            ));
        }
        let shop =
            Workshop { disk: Arc::new(RealDisk), folder: folder.clone(), sealer: self.keys.sealer().clone() };
        let gathered = sources.gather(&shop, &tenants, at).await.map_err(|error| with_sources(&error))?;
        outcome.bytes += gathered.bytes;
        let found = self.found_in(gathered, meta, tenant, at).await;
        let found = found.map_err(|refused| refused.to_string())?;
        let wanted = self.wanted(meta, tenant, at).await.map_err(|refused| refused.to_string())?;
        outcome.compared.push(Compared { tenant, found, wanted });
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
        removed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn found_in(
        &self,
        gathered: Gathered,
        meta: &MetaView,
        tenant: TenantId,
        at: Stamp,
    ) -> Result<Digest, Refused> {
        let past = Past::Archive(Arc::new(Reading::new(Arc::new(gathered), tenant, at)));
        digest(&past, &collections(meta, tenant)).await
    }

    /// What the cluster holds of it, as of the same stamp.
    async fn wanted(
        self: &Arc<Self>,
        meta: &MetaView,
        tenant: TenantId,
        at: Stamp,
    ) -> Result<Digest, Refused> {
        let live = Past::History { hands: Hands::new(self.clone()), tenant, at, keys_only: false };
        digest(&live, &collections(meta, tenant)).await
    }

    /// A takeover that nobody notices: as of the newest that a delayed node could be promoted to, by the rules of a promotion.
    async fn take_over_in_mind(
        self: &Arc<Self>,
        wanted: &Wanted,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let meta = self.meta();
        let is_late = |node: &NodeId| {
            let row = meta.nodes.get(node);
            row.is_some_and(|row| row.is_delayed() && row.state != NodeState::Removed)
        };
        let node = wanted.node.or_else(|| meta.nodes.keys().copied().find(is_late));
        let node = node.ok_or("there is no delayed node")?;
        let plan = Ask::Promote { target: Target::Newest, reason: "drill".to_owned(), is_plan: true };
        let plan = match self.ask_late(node, plan).await? {
            takeover::Answer::Plan(plan) => plan,
            _ => return Err("the delayed node answered another question".to_owned()),
        };
        outcome.target = plan.upto;
        let all = tenants(&meta, wanted, plan.upto);
        outcome.wanted = all.len();
        for tenant in all {
            let found = match self.ask_late(node, Ask::Digest(tenant, plan.upto)).await? {
                takeover::Answer::Digest(rows, sha256) => (rows, sha256),
                _ => return Err("the delayed node answered another question".to_owned()),
            };
            let wanted =
                self.wanted(&meta, tenant, plan.upto).await.map_err(|refused| refused.to_string())?;
            outcome.compared.push(Compared { tenant, found, wanted });
        }
        outcome.bytes = plan.pending_bytes;
        Ok(())
    }

    async fn ask_late(self: &Arc<Self>, node: NodeId, ask: Ask) -> Result<takeover::Answer, String> {
        let order = Order::TakeOver(ask);
        let asked = Box::pin(self.order(node, "drill", order, limits::CALL_MS_MAX)).await;
        match asked.map_err(|refused| refused.to_string())? {
            Answer::TakeOver(answer) => Ok(answer),
            _ => Err(Refused::new(code::INTERNAL).to_string()),
        }
    }
}
