//! Writes: the same whether they come alone or on a stream.

use crate::access::action::Action;
use crate::api::Api;
use crate::api::convert::{self, Result};
use crate::api::guard::Call;
use crate::limits;
use crate::refused::Refused;
use crate::shard::command::{KvCommand, Operation};
use crate::shard::door::WriteId;
use bytes::Bytes;
use engine::ids::{CollectionId, TenantId};
use proto::errors::code;
use proto::v1;
use std::collections::BTreeMap;

impl Api {
    /// Sets one key.
    pub(super) async fn put(&self, call: &Call, asked: v1::PutRequest) -> Result<v1::WriteResponse> {
        let at = self.enter(call, asked.place, Action::KvWrite)?;
        let id = self.write_id(call, asked.id)?;
        convert::key(&asked.key)?;
        convert::value(&asked.value)?;
        let place = self.place(at.tenant, at.collection, call).await?;
        let conditions = convert::own_condition(asked.condition, place, &asked.key)?;
        let operations = vec![convert::put_operation(place, asked.key, asked.value, asked.ttl_ms)?];
        self.write(call, at.tenant, KvCommand { conditions, operations }, id).await
    }

    /// Removes one key.
    pub(super) async fn delete(&self, call: &Call, asked: v1::DeleteRequest) -> Result<v1::WriteResponse> {
        let at = self.enter(call, asked.place, Action::KvWrite)?;
        let id = self.write_id(call, asked.id)?;
        convert::key(&asked.key)?;
        let collection = self.place(at.tenant, at.collection, call).await?;
        let conditions = convert::own_condition(asked.condition, collection, &asked.key)?;
        let operations = vec![Operation::Delete { collection, key: asked.key }];
        self.write(call, at.tenant, KvCommand { conditions, operations }, id).await
    }

    /// Removes all keys of a range.
    pub(super) async fn delete_range(
        &self,
        call: &Call,
        asked: v1::DeleteRangeRequest,
    ) -> Result<v1::WriteResponse> {
        let at = self.enter(call, asked.place, Action::KvWrite)?;
        let id = self.write_id(call, asked.id)?;
        let (start, end) = convert::range(asked.start, asked.end)?;
        let collection = self.place(at.tenant, at.collection, call).await?;
        let operations = vec![Operation::DeleteRange { collection, start, end }];
        self.write(call, at.tenant, KvCommand { conditions: Vec::new(), operations }, id).await
    }

    /// Writes all or nothing.
    pub(super) async fn batch(&self, call: &Call, asked: v1::BatchRequest) -> Result<v1::WriteResponse> {
        let at = self.enter(call, asked.place, Action::KvWrite)?;
        let id = self.write_id(call, asked.id)?;
        if asked.conditions.len() > limits::CONDITIONS_MAX
            || asked.operations.len() > limits::BATCH_OPERATIONS_MAX
        {
            return Err(Refused::new(code::BATCH_TOO_LARGE));
        }
        if asked.conditions.is_empty() && asked.operations.is_empty() {
            return Err(convert::malformed("a batch without conditions and operations asks nothing"));
        }
        // Everything is looked at before a collection is made for it.
        let of_request = at.collection.as_str();
        let named = |name: &str| if name.is_empty() { of_request.to_owned() } else { name.to_owned() };
        let conditions = asked.conditions.iter().map(|one| named(&one.collection));
        let names: Vec<String> =
            conditions.chain(asked.operations.iter().map(|one| named(&one.collection))).collect();
        names.iter().try_for_each(|name| convert::name(name))?;
        let nowhere = |_: &str| Ok(CollectionId(1));
        drop(command(asked.conditions.clone(), asked.operations.clone(), nowhere)?);
        let places = self.make_collections(at.tenant, names, call.wait_ms).await?;
        let place = |name: &str| found(&places, &named(name));
        let command = command(asked.conditions, asked.operations, place)?;
        self.write(call, at.tenant, command, id).await
    }

    fn write_id(&self, call: &Call, asked: Option<v1::WriteId>) -> Result<WriteId> {
        convert::write_id(asked, self.backend.now_ms().saturating_add(call.wait_ms))
    }

    async fn place(&self, tenant: TenantId, name: String, call: &Call) -> Result<CollectionId> {
        if let Some(id) = self.backend.meta().collection(tenant, &name) {
            return Ok(id);
        }
        let places = self.make_collections(tenant, [name.clone()], call.wait_ms).await?;
        found(&places, &name)
    }

    async fn write(
        &self,
        call: &Call,
        tenant: TenantId,
        command: KvCommand<Bytes>,
        id: WriteId,
    ) -> Result<v1::WriteResponse> {
        let stamp = self.backend.write(tenant, command, id, call.wait_ms).await?;
        Ok(v1::WriteResponse { stamp: stamp.0 })
    }
}

fn found(places: &BTreeMap<String, CollectionId>, name: &str) -> Result<CollectionId> {
    places.get(name).copied().ok_or_else(|| Refused::new(code::INTERNAL))
}

fn command(
    conditions: Vec<v1::Condition>,
    operations: Vec<v1::Operation>,
    place: impl Fn(&str) -> Result<CollectionId>,
) -> Result<KvCommand<Bytes>> {
    let conditions = conditions.into_iter().map(|one| convert::condition(one, &place));
    let conditions = conditions.collect::<Result<_>>()?;
    let operations = operations.into_iter().map(|one| convert::operation(one, &place));
    Ok(KvCommand { conditions, operations: operations.collect::<Result<_>>()? })
}
