//! Reads of one key and of several: the same whether they come alone or on a stream.

use super::{aside, unheard_of};
use crate::access::action::Action;
use crate::access::policy::decide;
use crate::api::Api;
use crate::api::convert::{self, Result};
use crate::api::guard::Call;
use crate::limits;
use crate::refused::Refused;
use crate::restore::look::Look;
use proto::errors::code;
use proto::v1;

impl Api {
    /// The names of a tenant's collections, all of those that were made before.
    pub(super) async fn collections(&self, call: &Call, tenant: &str) -> Result<v1::CollectionsResponse> {
        decide(&call.caller, Action::KvRead, Some(tenant))?;
        self.backend.refresh(call.wait_ms).await?;
        let meta = self.backend.meta();
        let row = meta.tenant_named(tenant).ok_or_else(unheard_of)?;
        Ok(v1::CollectionsResponse {
            names: meta.collections(row.id).map(|(name, _)| name.to_owned()).collect(),
        })
    }

    /// Reads one key.
    pub(super) async fn get(&self, call: &Call, asked: v1::GetRequest) -> Result<v1::GetResponse> {
        let at = self.enter(call, asked.place, Action::KvRead)?;
        convert::key(&asked.key)?;
        if let Some(stamp) = convert::archived(asked.consistency.as_ref()) {
            let seen = self.backend.look(at.tenant, Look::AsOf(stamp), call.wait_ms).await?;
            let Some(collection) = self.collection(&at, call.wait_ms).await? else {
                return Ok(v1::GetResponse { version: None, at: stamp.0 });
            };
            let found = aside(move || seen.get((at.tenant, collection), &asked.key)).await?;
            return Ok(v1::GetResponse { version: found.map(convert::version), at: stamp.0 });
        }
        let how = convert::consistency(asked.consistency)?;
        let view = self.backend.view(at.tenant, how, call.wait_ms).await?;
        // One key is read from memory, or from one block of a disk: handing it to somebody else costs more.
        let found = match self.collection(&at, call.wait_ms).await? {
            Some(collection) => view.get(at.tenant, collection, &asked.key)?,
            None => None,
        };
        Ok(v1::GetResponse { version: found.map(convert::version), at: view.at().0 })
    }

    /// Reads several keys at one stamp.
    pub(super) async fn multi_get(
        &self,
        call: &Call,
        asked: v1::MultiGetRequest,
    ) -> Result<v1::MultiGetResponse> {
        let at = self.enter(call, asked.place, Action::KvRead)?;
        if asked.keys.len() > engine::limits::MULTI_GET_KEYS_MAX {
            return Err(Refused::new(code::BATCH_TOO_LARGE).saying("too many keys at once"));
        }
        asked.keys.iter().try_for_each(|key| convert::key(key))?;
        let how = convert::consistency(asked.consistency)?;
        let view = self.backend.view(at.tenant, how, call.wait_ms).await?;
        let stamp = view.at().0;
        let Some(collection) = self.collection(&at, call.wait_ms).await? else {
            let versions = vec![v1::MaybeVersion::default(); asked.keys.len()];
            return Ok(v1::MultiGetResponse { versions, at: stamp });
        };
        let found = aside(move || {
            let keys: Vec<&[u8]> = asked.keys.iter().map(|key| &key[..]).collect();
            view.multi_get(at.tenant, collection, &keys)
        });
        let found = found.await?;
        let bytes: usize = found.iter().flatten().map(|found| found.value.len()).sum();
        if bytes > limits::ANSWER_BYTES_MAX {
            return Err(Refused::new(code::BATCH_TOO_LARGE).saying("the values do not fit one answer"));
        }
        let maybe = |found: Option<_>| v1::MaybeVersion { version: found.map(convert::version) };
        Ok(v1::MultiGetResponse { versions: found.into_iter().map(maybe).collect(), at: stamp })
    }
}
