//! What an administrator does meanwhile: keys of tenants are rotated, and a tenant comes, writes, and is dropped for good.

use super::client::{TenantClient, within};
use super::stage::Stage;
use crate::seed::Dice;
use proto::v1;
use proto::v1::keys_client::KeysClient;
use proto::v1::rotate_request::What;
use proto::v1::tenants_client::TenantsClient;
use std::cell::Cell;
use std::rc::Rc;

/// Between two acts, about, in milliseconds.
const ACT_MS: u64 = 6_000;
/// The tenant that is to go.
pub const DOOMED: &str = "elder";
/// The word in all that it writes.
pub const DOOMED_WORD: &str = "canaryofthedoomed";

/// Makes a tenant, at whichever node answers.
///
/// # Errors
/// Nobody does, within a minute.
pub async fn make_tenant(stage: &Stage, name: &str) -> Result<(), String> {
    let mut why = String::new();
    for turn in 0..20 {
        let ids = stage.ids();
        let mut tenants = TenantsClient::new(stage.admin(ids[turn % ids.len()]));
        let asked = v1::CreateTenantRequest { name: name.to_owned(), ..v1::CreateTenantRequest::default() };
        match tenants.create(within(asked, Stage::patience())).await {
            Ok(_) => return Ok(()),
            Err(status) => why = status.to_string(),
        }
        if list(stage).await.is_some_and(|all| all.iter().any(|one| one.name == name)) {
            return Ok(());
        }
    }
    Err(why)
}

async fn list(stage: &Stage) -> Option<Vec<v1::Tenant>> {
    for id in stage.ids() {
        let asked = within(v1::ListTenantsRequest {}, Stage::patience());
        if let Ok(answer) = TenantsClient::new(stage.admin(id)).list(asked).await {
            return Some(answer.into_inner().tenants);
        }
    }
    None
}

/// Acts until the run is over.
pub async fn work(stage: Rc<Stage>, mut dice: Dice, is_over: Rc<Cell<bool>>, mut doomed: TenantClient) {
    let mut is_dropped = false;
    while !is_over.get() {
        doomed.think(ACT_MS).await;
        let ids = stage.ids();
        let Some(node) = dice.pick(&ids).copied() else { return };
        match dice.below(6) {
            0..3 => {
                rotate(&stage, node, What::Data(["birch", "cedar"][dice.below(2) as usize].to_owned())).await
            }
            3 => rotate(&stage, node, What::Tenant("birch".to_owned())).await,
            4 if stage.ground.is_archived && is_dropped => {
                let site = stage.ground.outside.place(std::path::Path::new(super::node::ARCHIVE));
                site.set_away(true);
                stage.sees("sites away");
                doomed.think(3_000).await;
                site.set_away(false);
            }
            4 if !is_dropped => is_dropped = doom(&stage, node, &mut doomed).await,
            _ => rotate(&stage, node, What::Cluster(v1::RotateCluster {})).await,
        }
    }
}

async fn rotate(stage: &Stage, node: engine::ids::NodeId, what: What) {
    let mut keys = KeysClient::new(stage.admin(node));
    let asked = within(v1::RotateRequest { what: Some(what) }, Stage::patience());
    if keys.rotate(asked).await.is_ok() {
        stage.sees("keys rotated");
    }
}

/// A tenant writes, and is dropped: after its quarantine nothing of it can be read any more.
async fn doom(stage: &Stage, node: engine::ids::NodeId, doomed: &mut TenantClient) -> bool {
    let (place, id) = (doomed.place("last"), doomed.write_id(u64::MAX / 2));
    let written = doomed.ask((2_000, true), |mut kv, left| {
        let (place, id) = (place.clone(), id.clone());
        let (key, value) = (DOOMED_WORD.as_bytes().into(), DOOMED_WORD.as_bytes().into());
        let put = v1::PutRequest { place, key, value, ttl_ms: 0, condition: None, id };
        async move { kv.put(within(put, left)).await }
    });
    let _ = written.await;
    let asked = within(v1::TenantRequest { name: DOOMED.to_owned() }, Stage::patience());
    let is_dropped = TenantsClient::new(stage.admin(node)).drop(asked).await.is_ok();
    if is_dropped {
        stage.sees("tenants dropped");
    }
    is_dropped
}
