//! A new cluster out of an archive and a passphrase: nothing of the old one is needed but the objects of one site, its keyring, and what opened
//! its root key. The new cluster has an id, keys and an authority of its own; its tenants have the ids, names and collections of then.
//!
//! What was destroyed stays so: a tenant whose keys are not in the newest keyring is named and not restored. A tenant that was in quarantine
//! comes back frozen.

use super::archive::sources_of;
use super::change::RestoreChange;
use super::copy::{Pour, digest};
use super::fetch::{FetchError, Gathered, Reading, Sources, Workshop};
use super::hands::Hands;
use super::past::Past;
use super::plan::Ttl;
use super::rows::{Mode, Reached, RestoreRow, State};
use super::target::Target;
use crate::archive::manifest::keyring::Keyring;
use crate::archive::manifest::{self, MANIFEST_BYTES_MAX};
use crate::archive::naming::{Name, keyring_root, root};
use crate::archive::site::{SiteError, open};
use crate::archive::sites::SiteSetting;
use crate::archive::window::{Scope, window};
use crate::entropy::{SystemEntropy, random_id};
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::FileKms;
use crate::keys::source::Keys;
use crate::keys::{KeyName, KeyRow, KeyState, WrappedKey, hierarchy};
use crate::meta::command::{Change, Reason};
use crate::meta::rows::{self, MetaRow};
use crate::meta::tenant_row::{CollectionRow, TenantRow};
use crate::meta::{CLUSTER_TENANT, key_row};
use crate::refused::Refused;
use crate::tenants::rules::{Act, TenantState};
use engine::Stamp;
use engine::error::with_sources;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, Owner, TenantId};
use engine::sealed::Sealer;
use raft::time::BootClock;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Collections that one change gives to a tenant.
const COLLECTIONS_AT_ONCE: usize = 200;

/// Why there is no new cluster.
#[derive(Debug, thiserror::Error)]
pub enum RebirthError {
    /// A site cannot be opened, or does not answer.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// What is kept of the keys does not open with this passphrase.
    #[error("the keys do not open: {0}")]
    Keys(String),
    /// The archive does not have what it takes.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The new cluster says so.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It is not what it should be.
    #[error("{0}")]
    Other(String),
}

type Result<T> = std::result::Result<T, RebirthError>;

/// Out of what.
pub struct Asked {
    /// Where its archive is.
    pub site: SiteSetting,
    /// Where its keys are kept.
    pub keyring: SiteSetting,
    /// Which cluster; `None`: the one whose keys are there, if it is one.
    pub cluster: Option<ClusterId>,
    /// As of when.
    pub target: Target,
}

/// An archive whose keys are open.
pub struct Opened {
    /// Which cluster it is of.
    pub cluster: ClusterId,
    sealer: Arc<Sealer>,
    /// Where it is, and what it says of itself.
    pub sources: Sources,
    /// As of when.
    pub at: Stamp,
}

impl Opened {
    /// The keys of the cluster, as the keyring has them.
    #[must_use]
    pub fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tenants that were restored, by name.
    pub tenants: Vec<String>,
    /// Tenants that were not, and why.
    pub left_out: Vec<String>,
    /// Rows written.
    pub rows: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// The cluster whose keys are kept there, if it is one.
async fn only_cluster(setting: &SiteSetting, clock: &Arc<dyn BootClock>) -> Result<ClusterId> {
    let site = open::site(setting, "keyring/".to_owned(), clock.clone())?;
    let names = site.list("").await?;
    let clusters: BTreeSet<ClusterId> =
        names.iter().filter_map(|one| ClusterId::parse(one.name.split('/').next()?)).collect();
    let mut all = clusters.iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(*one),
        (None, _) => Err(RebirthError::Other("no keys of any cluster are kept there".to_owned())),
        _ => {
            let all: Vec<_> = clusters.iter().map(ToString::to_string).collect();
            Err(RebirthError::Other(format!("keys of several clusters are kept there: {}", all.join(", "))))
        }
    }
}

fn key_rows(keyring: &Keyring) -> Vec<KeyRow> {
    let row = |key: &crate::archive::manifest::keyring::KeyKept| {
        let (owner, purpose, epoch) = key.name()?;
        let state = if key.state == 2 { KeyState::Active } else { KeyState::OpenOnly };
        let key = (
            WrappedKey { name: KeyName { owner, purpose, epoch }, wrapped: key.wrapped.clone() },
            key.wrapped_by,
        );
        Some(KeyRow { key: key.0, state, wrapped_by: KeyEpoch(key.1) })
    };
    keyring.keys.iter().filter_map(row).collect()
}

/// Opens an archive with the passphrase of its cluster. Nothing is written.
///
/// # Errors
/// See [`RebirthError`].
pub async fn open(asked: &Asked, passphrase: &Passphrase, clock: Arc<dyn BootClock>) -> Result<Opened> {
    let cluster = match asked.cluster {
        Some(cluster) => cluster,
        None => only_cluster(&asked.keyring, &clock).await?,
    };
    let keyrings = open::site(&asked.keyring, keyring_root(cluster), clock.clone())?;
    let site = Arc::new(open::site(&asked.site, root(cluster), clock)?);
    let bytes_max = MANIFEST_BYTES_MAX as u64;
    let genesis = site.get(&Name::Genesis.to_string(), bytes_max).await?;
    let public = manifest::open_genesis(cluster, &genesis).and_then(|genesis| genesis.key());
    let public = public.map_err(|damage| FetchError::Engine(damage.into()))?;
    let number = |name: &Name| {
        if let Name::Keyring(version, number) = name { Some((*version, *number)) } else { None }
    };
    let listed = keyrings.list("").await?;
    let newest = listed
        .iter()
        .filter_map(|one| Name::parse(&one.name))
        .filter(|name| number(name).is_some())
        .max_by_key(number);
    let newest =
        newest.ok_or_else(|| RebirthError::Other("no keys of this cluster are kept there".to_owned()))?;
    let bytes = keyrings.get(&newest.to_string(), bytes_max).await?;
    let keyring: Keyring = manifest::open(&public, cluster, &newest, &bytes)
        .map_err(|damage| FetchError::Engine(damage.into()))?;
    let keys = opened(&keyring, cluster, passphrase)?;
    if keys.sealer().public_key().ok() != Some(public) {
        return Err(RebirthError::Other(
            "the archive is signed by another key than that of the keyring".to_owned(),
        ));
    }
    let sources = sources_of(vec![site], cluster, Some(public)).await?;
    let at = match asked.target {
        Target::Upto(at) => at,
        Target::Latest => {
            let spans = window(&sources.archive, &Scope::default()).spans;
            let last = spans.last().map(|span| span.upto);
            last.ok_or_else(|| RebirthError::Other("nothing can be restored from this archive".to_owned()))?
        }
    };
    Ok(Opened { cluster, sealer: keys.sealer().clone(), sources, at })
}

/// The keys that are kept, unwrapped.
fn opened(keyring: &Keyring, cluster: ClusterId, passphrase: &Passphrase) -> Result<Keys> {
    let unwell = |error: &dyn std::error::Error| RebirthError::Keys(with_sources(error));
    let root = keyring.root().map_err(|damage| unwell(&engine::Error::from(damage)))?;
    let entropy = Arc::new(SystemEntropy);
    let kms =
        FileKms::open(cluster, passphrase, &root.kms, entropy.clone()).map_err(|error| unwell(&error))?;
    let keys = Keys::open(&root, &kms, entropy).map_err(|error| unwell(&error))?;
    for (name, why) in keys.learn(&key_rows(keyring)) {
        tracing::warn!(?name, why, "a key that is kept does not open");
    }
    Ok(keys)
}

/// Restores all tenants into the new cluster of `hands`, whose first node runs and serves nobody. What is fetched lies in `folder`.
///
/// # Errors
/// See [`RebirthError`]. The new cluster is of no use then: make it again.
pub async fn carry_out(opened: &Opened, hands: &Hands, folder: PathBuf) -> Result<Report> {
    let shop = Workshop { disk: crate::surroundings::disk(&folder), folder, sealer: opened.sealer.clone() };
    let of_cluster = opened.sources.gather(&shop, &BTreeSet::from([CLUSTER_TENANT]), opened.at).await?;
    let at = opened.at;
    let read = crate::work::aside(move || {
        let tenants = of_cluster.meta_rows(rows::TENANTS, at)?;
        Ok::<_, engine::Error>((tenants, of_cluster.meta_rows(rows::COLLECTIONS, at)?))
    });
    let read = read.await.map_err(|_| RebirthError::Other("reading an archive has panicked".to_owned()))?;
    let (tenants, collections) = read.map_err(FetchError::Engine)?;
    let mut report = Report::default();
    for row in tenants {
        let MetaRow::Tenant(row) = row else { continue };
        if row.state == TenantState::Purged {
            continue;
        }
        if opened.sealer.keys().active(Owner::Tenant(row.id), engine::ids::Purpose::Data).is_err() {
            report.left_out.push(format!("{}: its keys are destroyed", row.name));
            continue;
        }
        let own = collections.iter().filter_map(|one| match one {
            MetaRow::Collection(one) if one.tenant == row.id => Some(one.clone()),
            _ => None,
        });
        let gathered = opened.sources.gather(&shop, &BTreeSet::from([row.id]), at).await?;
        let own: Vec<CollectionRow> = own.collect();
        let (rows, bytes) = tenant(hands, &row, &own, (gathered, at)).await?;
        report.tenants.push(row.name);
        (report.rows, report.bytes) = (report.rows + rows, report.bytes + bytes);
    }
    super::fetch::clear(&*shop.disk, &shop.folder).map_err(FetchError::Engine)?;
    Ok(report)
}

async fn change(hands: &Hands, changes: Vec<RestoreChange>, keys: Vec<Change>) -> Result<()> {
    let changes: Vec<Change> = changes.into_iter().map(Change::Restoring).chain(keys).collect();
    match hands.change(changes).await? {
        Ok(()) => Ok(()),
        Err(Reason::NameTaken | Reason::Exists) => {
            Err(RebirthError::Other("the new cluster has a tenant of this name or id already".to_owned()))
        }
        Err(why) => Err(RebirthError::Other(why.to_string())),
    }
}

/// Restores one tenant. Its restore is held in a row that nobody else drives until it is whole.
async fn tenant(
    hands: &Hands,
    row: &TenantRow,
    collections: &[CollectionRow],
    (gathered, at): (Gathered, Stamp),
) -> Result<(u64, u64)> {
    let (id, now_ms) = (row.id, hands.now_ms());
    let restore = RestoreRow {
        id: random_id(&SystemEntropy),
        version: 1,
        mode: Mode::Tenant,
        tenant: id,
        other: id,
        target: at,
        created_ms: now_ms,
        changed_ms: now_ms,
        ..RestoreRow::default()
    };
    let step = |version: u64, state| {
        let next = RestoreRow { version, state, ..restore.clone() };
        RestoreChange::Put(Box::new(next), version.checked_sub(1).filter(|before| *before > 0))
    };
    let copy = RestoreChange::Copy {
        id,
        name: row.name.clone(),
        quota: row.quota,
        history_ms: row.history_ms,
        of: TenantId(0),
        at,
        restore: restore.id,
    };
    let sealer = hands.server().keys().sealer().clone();
    let keys = hierarchy::make_tenant(&sealer, id, Arc::new(SystemEntropy));
    let keys = keys.map_err(|error| RebirthError::Keys(with_sources(&error)))?;
    // One that waits is driven by nobody, and its copy is nobody's leftover.
    let begins = vec![step(1, State::Planned), step(2, State::Running), step(3, State::Paused), copy];
    change(hands, begins, keys.iter().map(key_row::put).collect()).await?;
    for some in collections.chunks(COLLECTIONS_AT_ONCE) {
        let put = |one: &CollectionRow| RestoreChange::PutCollection(id, one.name.clone(), one.id);
        change(hands, some.iter().map(put).collect(), Vec::new()).await?;
    }
    let mut all: Vec<CollectionId> = collections.iter().map(|one| one.id).collect();
    all.sort_unstable();
    let past = Past::Archive(Arc::new(Reading::new(Arc::new(gathered), id, at)));
    let mut pour = Pour::new(hands, past, (id, all.clone()), (Ttl::Keep, at), Reached::default());
    let (mut rows, mut bytes) = (0, 0);
    while let Some((_, tally)) = pour.next().await? {
        (rows, bytes) = (rows + tally.rows, bytes + tally.bytes);
    }
    let present = Past::History { hands: hands.clone(), tenant: id, at: Stamp::ZERO, keys_only: false };
    if pour.digest() != digest(&present, &all).await? {
        return Err(RebirthError::Other(format!("{}: what was written is not what was read", row.name)));
    }
    let whole = hands.reach(id).await?.newest;
    let ends = vec![RestoreChange::Whole(id, whole), step(4, State::Running), step(5, State::Done)];
    let frozen = (row.state != TenantState::Active).then_some(Change::SetTenantState(id, Act::Freeze));
    change(hands, ends, frozen.into_iter().collect()).await?;
    change(hands, vec![RestoreChange::Forget(restore.id)], Vec::new()).await?;
    tracing::info!(tenant = %id, rows, bytes, "a tenant is restored");
    Ok((rows, bytes))
}
