//! Tenants and their lives.

use super::{Api, allowed, codes};
use crate::access::action::Action;
use crate::api::convert::{self, Result, malformed};
use crate::api::guard::Call;
use crate::entropy::{SystemEntropy, random_id};
use crate::keys::hierarchy;
use crate::limits;
use crate::meta::command::{Change, MetaCommand};
use crate::meta::key_row;
use crate::meta::tenant_row::TenantRow;
use crate::refused::Refused;
use crate::tenants::rules::{Act, Quota, TenantState};
use engine::ids::TenantId;
use proto::errors::code;
use proto::v1;
use proto::v1::tenants_server::Tenants;
use std::sync::Arc;
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;

const CODES: (u32, u32, u32) = (code::TENANT_UNKNOWN, code::TENANT_EXISTS, code::TENANT_STATE);

fn operations(asked: u64) -> Result<u32> {
    u32::try_from(asked).map_err(|_| malformed("too many operations a second"))
}

fn history_ms(asked: u64) -> Result<u64> {
    match asked {
        0 => Ok(limits::HISTORY_MS),
        ms if ms <= limits::HISTORY_MS_MAX => Ok(ms),
        _ => Err(malformed("the history is longer than a year")),
    }
}

impl Api {
    fn tenant(&self, name: &str) -> Result<TenantRow> {
        let meta = self.backend.meta();
        meta.tenant_named(name).cloned().ok_or_else(|| {
            let is_gone = |row: &&TenantRow| row.name == name && row.state == TenantState::Purged;
            match meta.tenants.values().find(is_gone) {
                Some(_) => Refused::new(code::TENANT_SHREDDED)
                    .saying("the tenant was dropped, and its keys are destroyed: it cannot be brought back"),
                None => Self::unknown(code::TENANT_UNKNOWN),
            }
        })
    }

    fn shown(&self, row: &TenantRow) -> v1::Tenant {
        let (state, dropped_ms, purge_ms) = match row.state {
            TenantState::Active => ("active", 0, 0),
            TenantState::Frozen => ("frozen", 0, 0),
            TenantState::Dropped { since_ms, until_ms, .. } => ("dropped", since_ms, until_ms),
            TenantState::Purged => ("gone", 0, 0),
        };
        let meta = self.backend.meta();
        let origin = meta.origins.get(&row.id);
        v1::Tenant {
            clone_of: origin.map_or(0, |origin| origin.of.0),
            clone_at: origin.map_or(0, |origin| origin.at.0),
            id: row.id.0,
            name: row.name.clone(),
            state: state.to_owned(),
            quota_bytes: row.quota.bytes,
            quota_operations: u64::from(row.quota.operations_per_second),
            history_ms: row.history_ms,
            created_ms: row.created_ms,
            dropped_ms,
            purge_ms,
            group: meta.shard_of(row.id).map_or(0, |shard| shard.group.0),
        }
    }

    /// Makes changes, and shows what the tenant is then.
    async fn changed(&self, call: &Call, name: &str, changes: Vec<Change>) -> Result<v1::TenantResponse> {
        let (unknown, exists, state) = CODES;
        self.change(MetaCommand::new(changes), call.wait_ms, codes(unknown, exists, state)).await?;
        // This node may hear of the change a moment later than the one that has made it.
        for _ in 0..limits::SHOW_TRIES {
            if let Ok(row) = self.tenant(name) {
                return Ok(v1::TenantResponse { tenant: Some(self.shown(&row)) });
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(v1::TenantResponse { tenant: None })
    }

    async fn create(&self, call: &Call, asked: v1::CreateTenantRequest) -> Result<v1::TenantResponse> {
        convert::name(&asked.name)?;
        let live = self.backend.live();
        let or = |asked: u64, usual: u64| if asked == 0 { usual } else { asked };
        let quota = Quota {
            bytes: or(asked.quota_bytes, live.tenant_bytes.get()),
            operations_per_second: operations(or(asked.quota_operations, live.tenant_operations))?,
        };
        let history_ms = history_ms(or(asked.history_ms, live.tenant_history.ms()))?;
        let id = TenantId(random_id(&SystemEntropy));
        for is_last in [false, true] {
            let keys = self.backend.keys()?;
            let keys = hierarchy::make_tenant(keys.sealer(), id, Arc::new(SystemEntropy))?;
            let mut changes = vec![Change::CreateTenant { id, name: asked.name.clone(), quota, history_ms }];
            changes.extend(keys.iter().map(key_row::put));
            match self.changed(call, &asked.name, changes).await {
                // A cluster key was put in the place of the one that this node wraps with: now it has heard of that.
                Err(refused) if refused.code == code::CHANGE_REFUSED && !is_last => {
                    self.backend.refresh(call.wait_ms).await?;
                }
                made => return made,
            }
        }
        Err(Refused::new(code::CHANGE_REFUSED))
    }

    async fn act(&self, call: &Call, name: &str, act: Act) -> Result<v1::TenantResponse> {
        let row = self.tenant(name)?;
        let (window_ms, now_ms) = (self.backend.live().tenant_quarantine.ms(), self.backend.now_ms());
        let (change, next) = match act {
            Act::Drop => (Change::DropTenant(row.id, window_ms), row.state.dropped(now_ms, window_ms)),
            act => (Change::SetTenantState(row.id, act), row.state.after(act, now_ms)),
        };
        let mut response = self.changed(call, name, vec![change]).await?;
        tracing::info!(caller = ?call.caller, tenant = %row.id, ?act, "an administrator has changed the life of a tenant");
        // What was changed is told, though this node may not have heard of it yet.
        if let (Some(tenant), Ok(next)) = (&mut response.tenant, next) {
            *tenant = self.shown(&TenantRow { state: next, ..row });
        }
        Ok(response)
    }

    async fn set(&self, call: &Call, asked: v1::SetTenantRequest) -> Result<v1::TenantResponse> {
        let row = self.tenant(&asked.name)?;
        let mut changes = Vec::new();
        if asked.quota_bytes.is_some() || asked.quota_operations.is_some() {
            let mut quota = row.quota;
            quota.bytes = asked.quota_bytes.unwrap_or(quota.bytes);
            if let Some(asked) = asked.quota_operations {
                quota.operations_per_second = operations(asked)?;
            }
            changes.push(Change::SetQuota(row.id, quota));
        }
        if let Some(asked) = asked.history_ms {
            changes.push(Change::SetHistory(row.id, history_ms(asked)?));
        }
        if changes.is_empty() {
            return Err(malformed("nothing is to be set"));
        }
        self.changed(call, &asked.name, changes).await
    }

    async fn acted(&self, request: Request<v1::TenantRequest>, act: Act) -> Answer<v1::TenantResponse> {
        let acted = match allowed(&request, Action::AdminTenants) {
            Ok(call) => self.act(&call, &request.into_inner().name, act).await,
            Err(refused) => Err(refused),
        };
        self.answered(acted)
    }
}

#[tonic::async_trait]
impl Tenants for Api {
    async fn create(&self, request: Request<v1::CreateTenantRequest>) -> Answer<v1::TenantResponse> {
        let made = match allowed(&request, Action::AdminTenants) {
            Ok(call) => Self::create(self, &call, request.into_inner()).await,
            Err(refused) => Err(refused),
        };
        self.answered(made)
    }

    async fn list(&self, request: Request<v1::ListTenantsRequest>) -> Answer<v1::ListTenantsResponse> {
        let listed = allowed(&request, Action::AdminTenants).map(|_| {
            let meta = self.backend.meta();
            let tenants = meta.tenants.values().map(|row| self.shown(row)).collect();
            v1::ListTenantsResponse { tenants }
        });
        self.answered(listed)
    }

    async fn show(&self, request: Request<v1::TenantRequest>) -> Answer<v1::TenantResponse> {
        let shown = allowed(&request, Action::AdminTenants).and_then(|_| {
            let row = self.tenant(&request.get_ref().name)?;
            Ok::<_, Refused>(v1::TenantResponse { tenant: Some(self.shown(&row)) })
        });
        self.answered(shown)
    }

    async fn freeze(&self, request: Request<v1::TenantRequest>) -> Answer<v1::TenantResponse> {
        self.acted(request, Act::Freeze).await
    }

    async fn unfreeze(&self, request: Request<v1::TenantRequest>) -> Answer<v1::TenantResponse> {
        self.acted(request, Act::Unfreeze).await
    }

    async fn drop(&self, request: Request<v1::TenantRequest>) -> Answer<v1::TenantResponse> {
        self.acted(request, Act::Drop).await
    }

    async fn undrop(&self, request: Request<v1::TenantRequest>) -> Answer<v1::TenantResponse> {
        self.acted(request, Act::Undrop).await
    }

    async fn set(&self, request: Request<v1::SetTenantRequest>) -> Answer<v1::TenantResponse> {
        let set = match allowed(&request, Action::AdminTenants) {
            Ok(call) => Self::set(self, &call, request.into_inner()).await,
            Err(refused) => Err(refused),
        };
        self.answered(set)
    }
}
