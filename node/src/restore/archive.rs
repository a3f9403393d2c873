//! Where the archive of this cluster is, and what of it a restore reads.

use super::fetch::{FetchError, Gathered, Reading, Sources, Workshop, clear};
use super::past::Past;
use super::runner::{Drive, Stop};
use crate::archive::load::load_among;
use crate::archive::naming::root;
use crate::archive::site::{Site, SiteError, open};
use crate::meta::CLUSTER_TENANT;
use crate::refused::Refused;
use crate::server::Server;
use crate::surroundings;
use engine::ids::{ClusterId, TenantId};
use engine::sealed::PublicKey;
use proto::errors::code;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The first site that answers, with what its archive says of itself, and the others behind it: what is damaged at one counts as another has it.
///
/// # Errors
/// No site answers, or none has this archive.
pub async fn sources_of(
    sites: Vec<Arc<Site>>,
    cluster: ClusterId,
    key: Option<PublicKey>,
) -> Result<Sources, FetchError> {
    let mut why = FetchError::Away(SiteError::Away { what: "answer", cause: "there is none".to_owned() });
    for at in 0..sites.len() {
        let mut order = sites.clone();
        order.rotate_left(at);
        match load_among(&order, cluster, key).await {
            Ok(archive) => {
                let sites = order;
                return Ok(Sources { sites, archive: Arc::new(archive) });
            }
            Err(error) => {
                tracing::warn!(site = %sites[at].name(), %error, "an archive is not read here");
                why = match error {
                    crate::archive::Error::Engine(error) => FetchError::Engine(error),
                    crate::archive::Error::Site(error) => FetchError::Away(error),
                };
            }
        }
    }
    Err(why)
}

/// The archive of this cluster, as the best of its sites has it; nothing: nothing is archived.
///
/// # Errors
/// No site answers.
pub async fn sources(server: &Server) -> Result<Option<Sources>, FetchError> {
    let settings = &server.archiving.config.sites;
    if settings.is_empty() {
        return Ok(None);
    }
    let open = |setting| open::site(setting, root(server.cluster), server.clock.clone()).map(Arc::new);
    let sites: Vec<_> = settings.iter().filter_map(|setting| open(setting).ok()).collect();
    let key = server.keys().sealer().public_key()?;
    sources_of(sites, server.cluster, Some(key)).await.map(Some)
}

/// What is fetched for a restore lies here.
fn folder(server: &Server, restore: u64) -> PathBuf {
    server.folder.join("restore").join(format!("{restore:016x}"))
}

/// The past of the tenant of a restore, as the archive has it.
///
/// # Errors
/// Nothing is archived; the archive does not reach the instant, or has lost what it takes; a key is not here.
pub(super) async fn past(drive: &Drive) -> Result<Past, Stop> {
    let server = drive.hands.server();
    let (tenant, at) = (drive.scope.tenant, drive.scope.target);
    let gathered = gathered(server, drive.row.id, tenant, at).await.map_err(|error| {
        let text = engine::error::with_sources(&error);
        if error.is_passing() { Stop::Waits(text) } else { Stop::Failed(text) }
    })?;
    Ok(Past::Archive(Arc::new(Reading::new(Arc::new(gathered), tenant, at))))
}

async fn gathered(
    server: &Server,
    restore: u64,
    tenant: TenantId,
    at: engine::Stamp,
) -> Result<Gathered, FetchError> {
    let none = || FetchError::Engine(engine::Error::Invalid("nothing is archived"));
    let sources = sources(server).await?.ok_or_else(none)?;
    let folder = folder(server, restore);
    let shop = Workshop { disk: surroundings::disk(&folder), folder, sealer: server.keys().sealer().clone() };
    sources.gather(&shop, &BTreeSet::from([CLUSTER_TENANT, tenant]), at).await
}

/// Takes away what was fetched for a restore that has ended.
pub(super) fn cleared(server: &Server, restore: u64) {
    let folder = folder(server, restore);
    if let Err(error) = clear(&*surroundings::disk(&folder), &folder) {
        tracing::warn!(restore, %error, "what was fetched for a restore is not removed");
    }
}

impl From<FetchError> for Refused {
    fn from(error: FetchError) -> Self {
        let code = match &error {
            FetchError::NotRestorable(_) => code::TARGET_UNREACHABLE,
            FetchError::TooLarge { .. } => code::READ_TOO_LARGE,
            FetchError::Lost { .. } => code::DAMAGED,
            FetchError::Away(_) => code::STARTING,
            FetchError::Engine(_) => code::INTERNAL,
        };
        match error {
            FetchError::Engine(error) => Self::from(error),
            other => Self::new(code).saying(engine::error::with_sources(&other)),
        }
    }
}
