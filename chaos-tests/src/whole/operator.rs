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
const ACT_MS: u64 = 3_000;
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

/// What an administrator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Data,
    Tenant,
    Cluster,
    Doom,
    Away,
}

/// All of it, in an order of its own: each comes before any comes again.
fn dealt(dice: &mut Dice) -> Vec<Act> {
    let (mut left, mut dealt) =
        (vec![Act::Data, Act::Tenant, Act::Cluster, Act::Doom, Act::Away], Vec::new());
    while !left.is_empty() {
        let at = usize::try_from(dice.below(left.len() as u64)).unwrap_or(0);
        dealt.push(left.swap_remove(at));
    }
    dealt
}

/// Acts until the run is over.
pub async fn work(stage: Rc<Stage>, mut dice: Dice, is_over: Rc<Cell<bool>>, mut doomed: TenantClient) {
    let (mut is_dropped, mut acts) = (false, Vec::new());
    while !is_over.get() {
        doomed.think(ACT_MS).await;
        if acts.is_empty() {
            acts = dealt(&mut dice);
        }
        let ids = stage.ids();
        let (Some(node), Some(act)) = (dice.pick(&ids).copied(), acts.pop()) else { return };
        match act {
            Act::Data => {
                rotate(&stage, node, What::Data(["birch", "cedar"][dice.below(2) as usize].to_owned())).await
            }
            Act::Tenant => rotate(&stage, node, What::Tenant("birch".to_owned())).await,
            Act::Cluster => rotate(&stage, node, What::Cluster(v1::RotateCluster {})).await,
            Act::Away if stage.ground.is_archived => {
                let site = stage.ground.outside.place(std::path::Path::new(super::node::ARCHIVE));
                site.set_away(true);
                stage.sees("sites away");
                doomed.think(3_000).await;
                site.set_away(false);
            }
            Act::Doom if !is_dropped => {
                is_dropped = doom(&stage, node, &mut doomed).await;
                if !is_dropped {
                    acts.push(Act::Doom);
                }
            }
            Act::Away | Act::Doom => {}
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
