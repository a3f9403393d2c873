//! What administrators do. No data of a tenant is in any of it.

use crate::call::{Link, timed};
use crate::clock::Deadline;
use crate::entropy;
use crate::error::{Error, Result, code};
use crate::retry::{Next, Outcome, decide};
use crate::route::plain;
use crate::stamp::Stamp;
use crate::trace::TraceId;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use proto::errors::{Kind, RetryClass};
use proto::v1::act_request::Act;
use proto::v1::delayed_client::DelayedClient;
use proto::v1::groups_client::GroupsClient;
use proto::v1::identities_client::IdentitiesClient;
use proto::v1::jobs_client::JobsClient;
use proto::v1::keys_client::KeysClient;
use proto::v1::nodes_client::NodesClient;
use proto::v1::restore_client::RestoreClient;
use proto::v1::status_client::StatusClient;
use proto::v1::tenants_client::TenantsClient;
use proto::v1::{
    ActRequest, AddNodeRequest, AddNodeResponse, ApplyRequest, CreateTenantRequest, DelayedNode,
    DonateRequest, ForwardRequest, Group, HoldRequest, IssueRequest, IssueResponse, Job, ListDelayedRequest,
    ListGroupsRequest, ListJobsRequest, ListKeysRequest, ListKeysResponse, ListNodesRequest,
    ListRestoresRequest, ListTenantsRequest, Node, NodeRequest, PlanRequest, PlanResponse, PromoteRequest,
    PromoteResponse, RestoreState, RotateRequest, RotateResponse, ScrubRequest, SetTenantRequest,
    StatusRequest, StatusResponse, Suspect, SuspectsRequest, TailRequest, TailResponse, Tenant,
    TenantRequest, TransferRequest, VerifyGroupRequest, VerifyGroupResponse, Window, WindowRequest,
};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

type Called<R> = BoxFuture<'static, std::result::Result<Response<R>, Status>>;

/// The admin service of a cluster.
#[derive(Clone)]
pub struct Admin {
    link: Arc<Link>,
    time: Duration,
}

macro_rules! call {
    ($self:ident, $repeat:expr, $client:ident . $method:ident, $message:expr) => {
        $self.call($repeat, $message, |channel, request| {
            Box::pin(async move { $client::new(channel).$method(request).await })
        })
    };
}

/// For so long a comparison may say nothing: as long as a replica that is down is asked again and again.
const VERIFY_SILENCE: Duration = Duration::from_secs(120);

/// May it be sent again when its answer was lost?
const AGAIN: bool = true;
const ONCE: bool = false;

macro_rules! tenant_verbs {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Invalid, if there is no such tenant; conflict, if its state does not allow it.
        pub async fn $name(&self, name: &str) -> Result<Tenant> {
            let request = TenantRequest { name: name.to_owned() };
            whole(call!(self, AGAIN, TenantsClient.$name, request).await?.tenant)
        }
    )*};
}

macro_rules! node_verbs {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Invalid, if there is no such node; conflict, if its state does not allow it.
        pub async fn $name(&self, node: u64) -> Result<Node> {
            whole(call!(self, AGAIN, NodesClient.$name, NodeRequest { node }).await?.node)
        }
    )*};
}

macro_rules! delayed_verbs {
    ($($(#[$doc:meta])* $name:ident = $method:ident),*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Invalid, if the node is not delayed; conflict, if there is nothing to do.
        pub async fn $name(&self, node: u64, reason: &str) -> Result<DelayedNode> {
            let request = HoldRequest { node, reason: reason.to_owned() };
            whole(call!(self, AGAIN, DelayedClient.$method, request).await?.node)
        }
    )*};
}

// Behind the macros, which it uses.
mod backup;

impl Admin {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let time = link.deadline;
        Self { link, time }
    }

    /// The same, with another deadline.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// How the cluster is.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn status(&self) -> Result<StatusResponse> {
        call!(self, AGAIN, StatusClient.status, StatusRequest {}).await
    }

    /// All nodes.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(call!(self, AGAIN, NodesClient.list, ListNodesRequest {}).await?.nodes)
    }

    /// Makes a token that lets one new node in.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn add_node(&self, valid_ms: u64) -> Result<AddNodeResponse> {
        call!(self, ONCE, NodesClient.add, AddNodeRequest { valid_ms }).await
    }

    node_verbs!(
        /// Takes all replicas away from a node.
        drain,
        /// Gives replicas to a drained node again.
        undrain,
        /// Lets a drained node go for good.
        remove
    );

    /// Lets every node walk its tables for damage now; each has a job of its own. Returns when it was asked, in milliseconds since 1970.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn scrub(&self) -> Result<u64> {
        Ok(call!(self, AGAIN, NodesClient.scrub, ScrubRequest {}).await?.asked_ms)
    }

    /// All groups.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn groups(&self) -> Result<Vec<Group>> {
        Ok(call!(self, AGAIN, GroupsClient.list, ListGroupsRequest {}).await?.groups)
    }

    /// Hands the lead of a group to the replica on a node.
    ///
    /// # Errors
    /// Unavailable, if that one is not ready to lead.
    pub async fn transfer(&self, group: u64, node: u64) -> Result<()> {
        call!(self, AGAIN, GroupsClient.transfer, TransferRequest { group, node }).await.map(|_| ())
    }

    /// Has the replicas of a group say what they hold, and holds it against each other, row by row: it takes as long as it takes, and ends
    /// when it is dropped. Returns what came of it once all is compared.
    ///
    /// # Errors
    /// Invalid, if there is no such group; unavailable, if the node that compares is lost on the way: begin anew.
    pub async fn verify_group(&self, group: u64) -> Result<VerifyGroupResponse> {
        let mut told = call!(self, AGAIN, GroupsClient.verify, VerifyGroupRequest { group }).await?;
        let within = self.time.max(VERIFY_SILENCE);
        loop {
            let late = |_| Error::new(code::DEADLINE, "nothing more was heard of the comparison");
            let next = tokio::time::timeout(within, told.message()).await.map_err(late)?;
            match next.map_err(Error::from_status)? {
                Some(last) if last.is_done => return Ok(last),
                Some(_) => {}
                None => return Err(Error::lost()),
            }
        }
    }

    /// What takes long and goes on by itself: drains, rotations, tenants in quarantine.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn jobs(&self) -> Result<Vec<Job>> {
        Ok(call!(self, AGAIN, JobsClient.list, ListJobsRequest { running_only: false }).await?.jobs)
    }

    /// All tenants.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn tenants(&self) -> Result<Vec<Tenant>> {
        Ok(call!(self, AGAIN, TenantsClient.list, ListTenantsRequest {}).await?.tenants)
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// Conflict, if there is one of this name; invalid, if the name is none.
    pub async fn create(&self, request: CreateTenantRequest) -> Result<Tenant> {
        whole(call!(self, ONCE, TenantsClient.create, request).await?.tenant)
    }

    tenant_verbs!(
        /// Tells of one tenant.
        show,
        /// Refuses its reads and writes.
        freeze,
        /// Serves it again.
        unfreeze,
        /// Puts it in quarantine: gone when the window has passed.
        drop,
        /// Takes it out of quarantine.
        undrop
    );

    /// Changes what a tenant may use.
    ///
    /// # Errors
    /// Invalid, if there is no such tenant.
    pub async fn set(&self, request: SetTenantRequest) -> Result<Tenant> {
        whole(call!(self, AGAIN, TenantsClient.set, request).await?.tenant)
    }

    /// The keys of a tenant, or of all and of the cluster.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn keys(&self, tenant: Option<&str>) -> Result<ListKeysResponse> {
        let request = ListKeysRequest { tenant: tenant.unwrap_or("").to_owned() };
        call!(self, AGAIN, KeysClient.list, request).await
    }

    /// Makes new keys.
    ///
    /// # Errors
    /// Invalid, if there is no such tenant.
    pub async fn rotate(&self, request: RotateRequest) -> Result<RotateResponse> {
        call!(self, ONCE, KeysClient.rotate, request).await
    }

    /// Signs a certificate request.
    ///
    /// # Errors
    /// Invalid, if there is no such tenant, or the request is none.
    pub async fn issue(&self, request: IssueRequest) -> Result<IssueResponse> {
        call!(self, AGAIN, IdentitiesClient.issue, request).await
    }

    /// Delayed nodes, and how they stand.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn delayed(&self) -> Result<Vec<DelayedNode>> {
        Ok(call!(self, AGAIN, DelayedClient.list, ListDelayedRequest {}).await?.nodes)
    }

    delayed_verbs!(
        /// Stops what a delayed node applies, at once.
        hold_delayed = hold,
        /// Lets a delayed node go on as its delay says.
        release_delayed = release,
        /// Lets parked replicas of a delayed node take a fresh copy.
        accept_delayed = accept
    );

    /// Lets a delayed node apply up to just before a stamp, whatever its delay says, and stand there.
    ///
    /// # Errors
    /// Gone, if it has applied more; conflict, if it does not have everything up to there yet.
    pub async fn forward_delayed(&self, node: u64, before: Stamp, reason: &str) -> Result<DelayedNode> {
        let request = ForwardRequest { node, before: before.0, reason: reason.to_owned() };
        whole(call!(self, AGAIN, DelayedClient.forward, request).await?.node)
    }

    /// What came in at a delayed node that is suspicious and is not applied yet, the most suspicious first.
    ///
    /// # Errors
    /// Invalid, if the node is not delayed.
    pub async fn suspects(&self, node: u64) -> Result<Vec<Suspect>> {
        Ok(call!(self, AGAIN, DelayedClient.suspects, SuspectsRequest { node }).await?.suspects)
    }

    /// Brings rows of a tenant as a delayed node has them back into the cluster. Returns the job that does it.
    ///
    /// # Errors
    /// Conflict, if the node does not have everything up to that moment yet.
    pub async fn donate(&self, request: DonateRequest) -> Result<u64> {
        Ok(call!(self, ONCE, DelayedClient.donate, request).await?.job)
    }

    /// Lets a delayed node become the cluster, or plans it.
    ///
    /// # Errors
    /// Gone, if it has applied more; conflict, if it does not have everything up to there, or another node takes over; invalid, if it is
    /// not said as of when, or not confirmed.
    pub async fn promote(&self, request: PromoteRequest) -> Result<PromoteResponse> {
        call!(self, ONCE, DelayedClient.promote, request).await
    }

    /// What was cut off when a generation began with a node.
    ///
    /// # Errors
    /// Invalid, if there is no such node; damaged, if what it kept cannot be read.
    pub async fn tail(&self, node: u64, generation: u64) -> Result<TailResponse> {
        call!(self, AGAIN, DelayedClient.tail, TailRequest { node, generation }).await
    }

    /// What can be restored of a tenant, or of all.
    ///
    /// # Errors
    /// Invalid, if there is no such tenant.
    pub async fn window(&self, tenant: &str) -> Result<Vec<Window>> {
        let request = WindowRequest { tenant: tenant.to_owned() };
        Ok(call!(self, AGAIN, RestoreClient.window, request).await?.windows)
    }

    /// Plans a restore, and does nothing yet.
    ///
    /// # Errors
    /// Invalid, if the instant cannot be restored: the text names the nearest that can.
    pub async fn plan_restore(&self, request: PlanRequest) -> Result<PlanResponse> {
        call!(self, AGAIN, RestoreClient.plan, request).await
    }

    /// Does what a plan says, and exactly that. Of a plan in place the name of the tenant is given again.
    ///
    /// # Errors
    /// Conflict, if the plan holds no more, or another restore of the tenant is under way.
    pub async fn apply_restore(&self, plan: Bytes, confirm: &str) -> Result<RestoreState> {
        let request = ApplyRequest { plan, confirm: confirm.to_owned() };
        whole(call!(self, AGAIN, RestoreClient.apply, request).await?.restore)
    }

    /// Restores, those that moved last first; or one, by its id.
    ///
    /// # Errors
    /// Invalid, if there is no such restore.
    pub async fn restores(&self, restore: u64) -> Result<Vec<RestoreState>> {
        let request = ListRestoresRequest { restore };
        Ok(call!(self, AGAIN, RestoreClient.list, request).await?.restores)
    }

    /// Has a restore wait, go on or end, or takes one back.
    ///
    /// # Errors
    /// Conflict, if its state does not allow it.
    pub async fn act_on_restore(&self, restore: u64, act: Act) -> Result<RestoreState> {
        let request = ActRequest { restore, act: act.into() };
        whole(call!(self, ONCE, RestoreClient.act, request).await?.restore)
    }

    async fn call<Q: Clone + Send + 'static, R>(
        &self,
        may_repeat: bool,
        message: Q,
        send: impl Fn(Channel, Request<Q>) -> Called<R>,
    ) -> Result<R> {
        let (deadline, trace) = (Deadline::after(self.time), self.link.traces.next());
        let (mut attempt, mut hops, mut better) = (0, 0, None);
        loop {
            let next = self.link.admins.lock().unwrap_or_else(PoisonError::into_inner).any();
            let Some(address) = better.take().or(next) else {
                return Err(Error::new(code::ADDRESS, "this client was given no admin endpoints"));
            };
            let error = match tokio::time::timeout(
                deadline.left(),
                self.once(&address, &message, (deadline, trace), &send),
            )
            .await
            {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => error,
                Err(_) => Error::new(code::DEADLINE, format!("{address} did not answer in time")),
            };
            let error = error.of_trace(trace);
            if error.is_lost() {
                self.link.pool.forget(&address);
            }
            attempt += 1;
            let named = plain(&error.failure().better).to_owned();
            let is_elsewhere = !named.is_empty() && named != address;
            let is_doubtful = error.is_lost() || error.kind() == Kind::Unknown;
            let class = if is_doubtful && !may_repeat { RetryClass::Never } else { error.class() };
            let told_ms = error.failure().retry_after_ms;
            let outcome = Outcome { class, attempt, hops, is_elsewhere, told_ms };
            match decide(outcome, deadline.left(), entropy::number()) {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Stop if is_doubtful && !may_repeat => {
                    let text =
                        "it is not known whether the command was carried out: look before it is given again";
                    return Err(Error::new(code::UNKNOWN_OUTCOME, text).because(error).of_trace(trace));
                }
                Next::Stop => return Err(error),
            }
            if is_elsewhere {
                (better, hops) = (Some(named), hops + 1);
            }
        }
    }

    async fn once<Q: Clone, R>(
        &self,
        address: &str,
        message: &Q,
        (deadline, trace): (Deadline, TraceId),
        send: &impl Fn(Channel, Request<Q>) -> Called<R>,
    ) -> Result<R> {
        let channel = self.link.pool.channel(address).await?;
        let response = send(channel, timed(message.clone(), deadline, trace)).await;
        response.map(Response::into_inner).map_err(Error::from_status)
    }
}

fn whole<T>(part: Option<T>) -> Result<T> {
    part.ok_or_else(|| Error::new(code::INTERNAL, "the answer is empty"))
}
