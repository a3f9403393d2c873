//! What clients call: reads and writes of one tenant's rows, and what is asked before anything else.

pub mod hello;
pub mod join;
pub mod kv;
pub mod outcome;
pub mod read;
pub mod scan;
pub mod stream;
pub mod watch;
pub mod write;

use super::Api;
use super::convert::{self, Result, needed};
use super::guard::Call;
use crate::access::action::Action;
use crate::access::policy::decide;
use crate::limits;
use crate::meta::command::{Change, MetaCommand, Reason};
use crate::refused::Refused;
use engine::ids::{CollectionId, TenantId};
use proto::errors::code;
use proto::v1;
use raft::planted::{self, Planted};
use std::collections::BTreeMap;

/// Where a call that is allowed goes: whose rows, and which of them by name.
pub(super) struct Entered {
    pub tenant: TenantId,
    /// The name of its collection.
    pub collection: String,
}

impl Api {
    /// Lets a call in to the place that it names, if the caller may do `action` there. That comes first: who may not come in does not hear
    /// whether anything is there.
    pub(super) fn enter(&self, call: &Call, place: Option<v1::Place>, action: Action) -> Result<Entered> {
        let v1::Place { tenant, collection, features, .. } = needed(place, "place")?;
        tracing::debug_span!("access").in_scope(|| decide(&call.caller, action, Some(&tenant)))?;
        if features & !proto::version::FEATURES != 0 {
            return Err(Refused::new(code::FEATURE_MISSING));
        }
        convert::name(&collection)?;
        let meta = self.backend.meta();
        let row = meta.tenant_named(&tenant).ok_or_else(unheard_of)?;
        tracing::Span::current().record("tenant", tracing::field::display(row.id));
        Ok(Entered { tenant: row.id, collection })
    }

    /// The number of a collection; nothing if there is none of that name. A node that knows none may only not have heard of it yet, so it
    /// asks first: to a reader "there is none" means that its rows are not there.
    pub(super) async fn collection(&self, at: &Entered, wait_ms: u64) -> Result<Option<CollectionId>> {
        let known = self.backend.meta().collection(at.tenant, &at.collection);
        if known.is_some() || planted::is(Planted::TakeUnheardForEmpty) {
            return Ok(known);
        }
        self.backend.refresh(wait_ms).await?;
        Ok(self.backend.meta().collection(at.tenant, &at.collection))
    }

    /// The numbers of collections by name. Those that are not there are made.
    pub(super) async fn make_collections(
        &self,
        tenant: TenantId,
        names: impl IntoIterator<Item = String>,
        wait_ms: u64,
    ) -> Result<BTreeMap<String, CollectionId>> {
        let meta = self.backend.meta();
        let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
        for name in names {
            match meta.collection(tenant, &name) {
                _ if found.contains_key(&name) || missing.contains(&name) => {}
                Some(id) => drop(found.insert(name, id)),
                None => missing.push(name),
            }
            if missing.len() > limits::META_CHANGES_MAX {
                return Err(Refused::new(code::BATCH_TOO_LARGE).saying("it names too many new collections"));
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let add = |name: &String| Change::AddCollection(tenant, name.clone());
        let command = MetaCommand::new(missing.iter().map(add).collect());
        let made = self.change(command, wait_ms, refused_collection).await?;
        if made.len() != missing.len() {
            return Err(Refused::new(code::INTERNAL));
        }
        found.extend(missing.into_iter().zip(made));
        Ok(found)
    }
}

/// The certificate of a service names a tenant that was there when it was issued: a node that does not know it lags behind.
pub(super) fn unheard_of() -> Refused {
    Refused::new(code::STARTING).saying("this node has not heard of the tenant yet")
}

fn refused_collection(reason: Reason) -> u32 {
    match reason {
        Reason::Full => code::COLLECTIONS_FULL,
        Reason::NotFound => code::TENANT_UNKNOWN,
        Reason::State => code::TENANT_DROPPED,
        _ => code::CHANGE_REFUSED,
    }
}

/// Runs what may read from the disk where it keeps nobody else waiting.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> engine::Result<T> + Send + 'static,
) -> Result<T> {
    let done = crate::work::aside(work).await;
    Ok(done.map_err(|_| Refused::new(code::INTERNAL).saying("a read has panicked"))??)
}
