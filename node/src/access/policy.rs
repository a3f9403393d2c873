//! Pure: who may call what. What is not said here is refused. A service reaches its own tenant and no other; an admin reaches the cluster and
//! no tenant's rows; a node speaks to nodes. The whole table is committed beside its test, `node/tests/access_matrix.txt`.

use super::action::{Action, Caller};
use raft::planted::{self, Planted};

/// A call that is allowed: there is no other way to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    action: Action,
    tenant: Option<String>,
}

impl Permit {
    /// What is allowed.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// To whose rows it is allowed, if it is about rows.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Whoever calls must show a certificate.
    #[error("this needs a client certificate")]
    Anonymous,
    /// The certificate is of another role.
    #[error("the role of this certificate may not call this")]
    Role,
    /// The certificate is of another tenant, or the call names none.
    #[error("this certificate does not reach that tenant")]
    Tenant,
}

/// Whether `caller` may do `action`; to the rows of the tenant named `tenant`, if it is done to rows.
///
/// # Errors
/// See [`Denied`].
pub fn decide(caller: &Caller, action: Action, tenant: Option<&str>) -> Result<Permit, Denied> {
    check_role(caller, &[action])?;
    if !action.is_of_tenant() {
        return Ok(Permit { action, tenant: None });
    }
    match (caller, tenant) {
        (Caller::Service(own), Some(asked)) if own == asked || planted::is(Planted::AskNobodyWhose) => {
            Ok(Permit { action, tenant: Some(own.clone()) })
        }
        _ => Err(Denied::Tenant),
    }
}

/// Whether the role of `caller` may do any of `actions` at all, to whomever: what can be asked before a request is read. It is no permit.
///
/// # Errors
/// `Anonymous`, `Role`.
pub fn check_role(caller: &Caller, actions: &[Action]) -> Result<(), Denied> {
    match actions.iter().any(|action| is_role(caller, *action)) {
        true => Ok(()),
        false if *caller == Caller::Anonymous => Err(Denied::Anonymous),
        false => Err(Denied::Role),
    }
}

fn is_role(caller: &Caller, action: Action) -> bool {
    use Action::{
        AdminBackup, AdminDelayed, AdminGroups, AdminIdentities, AdminJobs, AdminKeys, AdminNodes,
        AdminRestores, AdminStatus, AdminTenants, Health, Hello, Join, KvRead, KvWatch, KvWrite, Peer,
        Reflection, Renew, Route, RouteAll,
    };
    let allowed: &[Action] = match caller {
        Caller::Anonymous => &[Hello, Join],
        Caller::Node(_) => &[Hello, Peer, Renew, Health],
        Caller::Service(_) => &[Hello, Route, KvRead, KvWrite, KvWatch, Renew, Health, Reflection],
        Caller::Admin(_) => &[
            Hello,
            RouteAll,
            AdminStatus,
            AdminNodes,
            AdminGroups,
            AdminTenants,
            AdminKeys,
            AdminIdentities,
            AdminJobs,
            AdminDelayed,
            AdminRestores,
            AdminBackup,
            Health,
            Reflection,
            Renew,
        ],
    };
    allowed.contains(&action)
}
