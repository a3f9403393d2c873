//! Keys: what there is, how much is under the newest, and new ones.

use super::jobs::CLUSTER_TURN_JOB;
use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::convert::{Result, malformed};
use crate::api::guard::Call;
use crate::entropy::SystemEntropy;
use crate::keys::{KeyRow, KeyState, coverage, hierarchy, rotation, turn};
use crate::meta::command::{Change, MetaCommand};
use crate::meta::key_row;
use crate::meta::node_row::NodeState;
use crate::meta::survey::Surveys;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use proto::errors::code;
use proto::v1;
use proto::v1::keys_server::Keys;
use proto::v1::rotate_request::What;
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// How the owner of the cluster key is called.
const CLUSTER: &str = "cluster";

type Answer<T> = std::result::Result<Response<T>, Status>;

impl Api {
    fn keys_shown(&self, of: &str, surveys: &Surveys) -> Result<v1::ListKeysResponse> {
        let meta = self.backend.meta();
        let only = match of {
            "" => None,
            name => Some(meta.tenant_named(name).ok_or_else(|| Self::unknown(code::TENANT_UNKNOWN))?.id),
        };
        let name = |tenant: TenantId| match (tenant, meta.tenants.get(&tenant)) {
            (TenantId(0), _) => CLUSTER.to_owned(),
            (_, Some(row)) => row.name.clone(),
            (tenant, None) => tenant.to_string(),
        };
        let (rows, sealed) = (meta.key_rows(), surveys.sealed());
        // A node that is silent may hold what is not seen.
        let there = meta.nodes.values().filter(|row| row.state != NodeState::Removed);
        let most = if there.into_iter().all(|row| surveys.hears(row.id)) { 1_000 } else { 999 };
        let mut active: BTreeMap<TenantId, KeyEpoch> = BTreeMap::new();
        let (mut keys, mut of_cluster) = (Vec::new(), None);
        if only.is_none() {
            let (shown, permille) = self.cluster_shown(&meta, &rows, most);
            (keys, of_cluster) = (shown, Some((CLUSTER.to_owned(), permille)));
        }
        for row in &rows {
            let Owner::Tenant(tenant) = row.key.name.owner else { continue };
            if only.is_some_and(|only| only != tenant) {
                continue;
            }
            let is_data = row.key.name.purpose == Purpose::Data;
            if is_data && row.state == KeyState::Active {
                active.insert(tenant, row.key.name.epoch);
            }
            let bytes = if is_data { sealed.get(&(tenant, row.key.name.epoch)).copied() } else { None };
            keys.push(v1::Key {
                owner: name(tenant),
                purpose: format!("{:?}", row.key.name.purpose).to_lowercase(),
                epoch: row.key.name.epoch.0,
                state: state(row.state).to_owned(),
                bytes: bytes.unwrap_or(0),
                created_ms: 0,
            });
        }
        let of_tenants = coverage::by_tenant(&sealed, &active).into_iter();
        let wanted = of_tenants.filter(|(tenant, _)| active.contains_key(tenant));
        let of_tenants = wanted.map(|(tenant, one)| (name(tenant), most.min(u32::from(one.percent()) * 10)));
        let coverage_permille = of_tenants.chain(of_cluster).collect();
        Ok(v1::ListKeysResponse { keys, coverage_permille })
    }

    async fn rotate(&self, call: &Call, asked: v1::RotateRequest) -> Result<v1::RotateResponse> {
        let meta = self.backend.meta();
        let owner = |name: &str| -> Result<Owner> {
            let row = meta.tenant_named(name).ok_or_else(|| Self::unknown(code::TENANT_UNKNOWN))?;
            Ok(Owner::Tenant(row.id))
        };
        let rows = meta.key_rows();
        let (epoch, changes) = match &asked.what {
            Some(What::Data(name)) => self.data_keys(&rows, owner(name)?)?,
            Some(What::Tenant(name)) => self.tenant_key(&rows, owner(name)?)?,
            Some(What::Cluster(_)) => return self.rotate_cluster(call).await,
            None => return Err(malformed("it does not say which key")),
        };
        self.change(MetaCommand::new(changes), call.wait_ms, |_| code::CHANGE_REFUSED).await?;
        Ok(v1::RotateResponse { epoch: epoch.0, ..v1::RotateResponse::default() })
    }

    /// A new cluster key, by which the keys of all tenants are wrapped then.
    async fn rotate_cluster(&self, call: &Call) -> Result<v1::RotateResponse> {
        let epoch = self.backend.rotate_cluster(call.wait_ms).await?;
        tracing::info!(caller = ?call.caller, epoch, "an administrator has begun a rotation of the cluster key");
        Ok(v1::RotateResponse { epoch, job: CLUSTER_TURN_JOB })
    }

    /// The versions of the cluster key, and how far the newest is: a thousand of a thousand once the others are gone everywhere.
    fn cluster_shown(&self, meta: &MetaView, rows: &[KeyRow], most: u32) -> (Vec<v1::Key>, u32) {
        let versions = self.backend.cluster_keys();
        let newest = versions.last().copied().unwrap_or(0);
        let is_through = versions.len() == 1 && meta.without_root().next().is_none();
        let most = if is_through { most } else { most.min(999) };
        let state_of = |version| if version == newest { KeyState::Active } else { KeyState::OpenOnly };
        let key = |version: &u32| v1::Key {
            owner: CLUSTER.to_owned(),
            purpose: "wrap".to_owned(),
            epoch: *version,
            state: state(state_of(*version)).to_owned(),
            ..v1::Key::default()
        };
        (versions.iter().map(key).collect(), most.min(coverage::of_cluster(rows, newest).permille()))
    }

    /// New data keys of an owner, for every purpose. They wait until every node has them.
    fn data_keys(&self, rows: &[KeyRow], owner: Owner) -> Result<(KeyEpoch, Vec<Change>)> {
        let keys = self.backend.keys()?;
        let (mut epoch, mut changes) = (KeyEpoch(0), Vec::new());
        for purpose in hierarchy::TENANT_PURPOSES {
            let name = rotation::next(rows, owner, purpose);
            let name = name.map_err(|why| Refused::new(code::CHANGE_REFUSED).saying(why.to_string()))?;
            epoch = name.epoch;
            changes.push(key_row::put(&turn::data_key(keys.sealer(), name)?));
        }
        Ok((epoch, changes))
    }

    /// A new tenant key, with the data keys wrapped by it.
    fn tenant_key(&self, rows: &[KeyRow], owner: Owner) -> Result<(KeyEpoch, Vec<Change>)> {
        let keys = self.backend.keys()?;
        let name = rotation::next(rows, owner, Purpose::Wrap);
        let name = name.map_err(|why| Refused::new(code::CHANGE_REFUSED).saying(why.to_string()))?;
        let turned = turn::tenant_key(keys.sealer(), name, rows, Arc::new(SystemEntropy))?;
        let before = |row: &KeyRow| {
            let same = rows.iter().find(|other| other.key.name == row.key.name);
            same.map(|other| other.wrapped_by)
        };
        let changes = turned.iter().map(|row| match key_row::put(row) {
            Change::PutTenantKey(key, _) => Change::PutTenantKey(key, before(row)),
            Change::PutDataKey(key, _) => Change::PutDataKey(key, before(row)),
            other => other,
        });
        // The key before is there already, and only its state would change: that follows from its place.
        let is_new =
            |change: &Change| !matches!(change, Change::PutTenantKey(key, Some(_)) if key.epoch < name.epoch);
        Ok((name.epoch, changes.filter(is_new).collect()))
    }
}

fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Pending => "pending",
        KeyState::Active => "active",
        KeyState::OpenOnly => "open-only",
        KeyState::Disabled => "disabled",
        KeyState::Destroyed => "destroyed",
    }
}

#[tonic::async_trait]
impl Keys for Api {
    async fn list(&self, request: Request<v1::ListKeysRequest>) -> Answer<v1::ListKeysResponse> {
        let listed = match allowed(&request, Action::AdminKeys) {
            Ok(_) => self.keys_shown(&request.get_ref().tenant, &self.backend.surveys().await),
            Err(refused) => Err(refused),
        };
        self.answered(listed)
    }

    async fn rotate(&self, request: Request<v1::RotateRequest>) -> Answer<v1::RotateResponse> {
        let turned = match allowed(&request, Action::AdminKeys) {
            Ok(call) => Self::rotate(self, &call, request.into_inner()).await,
            Err(refused) => Err(refused),
        };
        self.answered(turned)
    }
}
