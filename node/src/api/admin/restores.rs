//! Restores: plans, and what carries them out.

use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::convert::{Result, malformed};
use crate::limits;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::restore::plan::{OnConflict, Route, Ttl, sha256};
use crate::restore::rows::RestoreRow;
use crate::restore::service::{Act, PlanAsked, Restores, permille};
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use proto::v1;
use proto::v1::restore_server::Restore;
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;

fn asked(asked: v1::PlanRequest) -> Result<PlanAsked> {
    let keys = [&asked.from, &asked.to, &asked.key];
    if keys.iter().any(|key| key.len() > limits::KEY_BYTES_MAX) {
        return Err(Refused::new(proto::errors::code::KEY_TOO_LONG));
    }
    if !asked.to.is_empty() && asked.to <= asked.from {
        return Err(Refused::new(proto::errors::code::RANGE_INVALID));
    }
    let on_conflict = match asked.on_conflict.as_str() {
        "" | "list" => OnConflict::List,
        "skip" => OnConflict::Skip,
        "overwrite" => OnConflict::Overwrite,
        _ => return Err(malformed("on_conflict is list, skip or overwrite")),
    };
    let ttl = match asked.ttl.as_str() {
        "" | "keep" => Ttl::Keep,
        "shift" => Ttl::Shift,
        _ => return Err(malformed("ttl is keep or shift")),
    };
    let route = match asked.route.as_str() {
        "" => None,
        "history" => Some(Route::History),
        "archive" => Some(Route::Archive),
        _ => return Err(malformed("route is history or archive")),
    };
    Ok(PlanAsked {
        tenant: asked.tenant,
        collection: asked.collection,
        from: asked.from.to_vec(),
        to: asked.to.to_vec(),
        key: asked.key.to_vec(),
        at: asked.at,
        before: asked.before,
        into: asked.into,
        in_place: asked.in_place,
        on_conflict,
        mirror: asked.mirror,
        ttl,
        route,
    })
}

/// A restore, as it is shown.
fn state(meta: &MetaView, row: &RestoreRow) -> v1::RestoreState {
    let name = |id: TenantId| meta.tenants.get(&id).map(|row| row.name.clone()).unwrap_or_default();
    let collection = |id: CollectionId| {
        let all = meta.collections(row.tenant).find(|(_, of)| *of == id);
        all.map(|(name, _)| name.to_owned()).unwrap_or_default()
    };
    let key = |(of, key): &(CollectionId, Vec<u8>)| v1::RestoreKey {
        collection: collection(*of),
        key: key.clone().into(),
    };
    v1::RestoreState {
        id: row.id,
        state: row.state.word().to_owned(),
        step: row.step.word().to_owned(),
        tenant: name(row.tenant),
        mode: row.mode.word().to_owned(),
        other: name(row.other),
        target: row.target.0,
        created_ms: row.created_ms,
        changed_ms: row.changed_ms,
        rows: row.tally.rows,
        bytes: row.tally.bytes,
        removed: row.tally.removed,
        conflicts: row.tally.conflicts,
        conflicting: row.conflicting.iter().map(key).collect(),
        expired: row.tally.expired,
        text: row.text.clone(),
        left_behind: row.tally.left_behind,
        undo_until_ms: row.undo_until_ms,
        done_permille: permille(row),
    }
}

impl Api {
    fn restored(&self, row: &RestoreRow) -> v1::RestoreResponse {
        v1::RestoreResponse { restore: Some(state(&self.backend.meta(), row)) }
    }
}

#[tonic::async_trait]
impl Restore for Api {
    async fn window(&self, request: Request<v1::WindowRequest>) -> Answer<v1::WindowResponse> {
        let found = match allowed(&request, Action::AdminRestores) {
            Ok(call) => {
                let name = request.into_inner().tenant;
                Restores::new(&*self.backend).windows(&name, call.wait_ms).await
            }
            Err(refused) => Err(refused),
        };
        self.answered(found.map(|windows| {
            let hole = |pair: &[(Stamp, Stamp)]| v1::Hole {
                before: pair[0].1.0,
                behind: pair[1].0.0,
                why: "nothing that is archived leads there".to_owned(),
            };
            let windows = windows.into_iter().map(|one| v1::Window {
                tenant: one.tenant,
                source: one.source,
                oldest: one.spans.first().map_or(0, |span| span.0.0),
                newest: one.spans.last().map_or(0, |span| span.1.0),
                holes: one.spans.windows(2).map(hole).collect(),
            });
            v1::WindowResponse { windows: windows.collect() }
        }))
    }

    async fn plan(&self, request: Request<v1::PlanRequest>) -> Answer<v1::PlanResponse> {
        let planned = match allowed(&request, Action::AdminRestores) {
            Ok(call) => match asked(request.into_inner()) {
                Ok(asked) => Restores::new(&*self.backend).plan(asked, call.wait_ms).await,
                Err(refused) => Err(refused),
            },
            Err(refused) => Err(refused),
        };
        self.answered(planned.map(|plan| {
            let sha256 = sha256(&plan).to_vec().into();
            v1::PlanResponse { plan: plan.into(), sha256 }
        }))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Answer<v1::RestoreResponse> {
        let begun = match allowed(&request, Action::AdminRestores) {
            Ok(call) => {
                let v1::ApplyRequest { plan, confirm } = request.into_inner();
                Restores::new(&*self.backend).apply(&plan, &confirm, call.wait_ms).await
            }
            Err(refused) => Err(refused),
        };
        self.answered(begun.map(|row| self.restored(&row)))
    }

    async fn list(&self, request: Request<v1::ListRestoresRequest>) -> Answer<v1::ListRestoresResponse> {
        let listed = match allowed(&request, Action::AdminRestores) {
            Ok(call) => Restores::new(&*self.backend).list(request.get_ref().restore, call.wait_ms).await,
            Err(refused) => Err(refused),
        };
        let meta = self.backend.meta();
        let restores = |rows: Vec<RestoreRow>| rows.iter().map(|row| state(&meta, row)).collect();
        self.answered(listed.map(|rows| v1::ListRestoresResponse { restores: restores(rows) }))
    }

    async fn act(&self, request: Request<v1::ActRequest>) -> Answer<v1::RestoreResponse> {
        use v1::act_request::Act as Asked;
        let acted = match allowed(&request, Action::AdminRestores) {
            Ok(call) => {
                let asked = request.into_inner();
                let act = match asked.act() {
                    Asked::Pause => Ok(Act::Pause),
                    Asked::Resume => Ok(Act::Resume),
                    Asked::Cancel => Ok(Act::Cancel),
                    Asked::Undo => Ok(Act::Undo),
                    Asked::Unspecified => Err(malformed("nothing is to be done")),
                };
                match act {
                    Ok(act) => Restores::new(&*self.backend).act(asked.restore, act, call.wait_ms).await,
                    Err(refused) => Err(refused),
                }
            }
            Err(refused) => Err(refused),
        };
        self.answered(acted.map(|row| self.restored(&row)))
    }
}
