//! The keys that are unwrapped here: what the engine asks. Rows of the meta group bring those of tenants, in any order.

use super::hierarchy::{self, unwrap};
use super::kms::Kms;
use super::root_file::RootFile;
use super::{KeyName, KeyRow, KeyState, Result};
use engine::entropy::Entropy;
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use engine::sealed::{KeySource, Keyring, Sealer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The keys of a node.
pub struct Keys {
    ring: Arc<Keyring>,
    sealer: Arc<Sealer>,
    /// Of tenants: which are in the ring.
    known: Mutex<BTreeSet<KeyName>>,
}

impl Keys {
    /// Unwraps what stands in the root file.
    ///
    /// # Errors
    /// `Kms`. `Engine`: an envelope does not open, or a primitive of this machine gives wrong answers.
    pub fn open(root: &RootFile, kms: &dyn Kms, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let ring = Arc::new(Keyring::new());
        let sealer = Arc::new(Sealer::new(root.cluster, ring.clone(), entropy)?);
        hierarchy::open_into(&ring, &sealer, root, kms)?;
        Ok(Self { ring, sealer, known: Mutex::default() })
    }

    /// Seals and opens with them.
    #[must_use]
    pub fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }

    /// Takes the keys of tenants that the meta group has, in any order: new ones are unwrapped, and what it has no more, or refuses, is
    /// forgotten. Of each owner and purpose the active one seals from now on. Returns those that do not open.
    pub fn learn(&self, rows: &[KeyRow]) -> Vec<(KeyName, String)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failed = Vec::new();
        let mut rows: Vec<&KeyRow> = rows.iter().filter(|row| row.state <= KeyState::OpenOnly).collect();
        // Whoever wraps comes before what it wraps.
        rows.sort_by_key(|row| (row.key.name.purpose != Purpose::Wrap, row.key.name));
        let wanted: BTreeSet<KeyName> = rows.iter().map(|row| row.key.name).collect();
        for gone in known.difference(&wanted) {
            self.ring.forget(gone.owner, gone.purpose, gone.epoch);
        }
        known.retain(|name| wanted.contains(name));
        for row in rows {
            let name = row.key.name;
            if !known.contains(&name) {
                let put = unwrap(&self.sealer, &row.key)
                    .and_then(|key| Ok(self.ring.insert(name.owner, name.purpose, name.epoch, key)?));
                match put {
                    Ok(()) => drop(known.insert(name)),
                    Err(error) => failed.push((name, error.to_string())),
                }
            }
            if known.contains(&name) && row.state == KeyState::Active {
                // It is in the ring: nothing can be wrong with that.
                let _ = self.ring.activate(name.owner, name.purpose, name.epoch);
            }
        }
        failed
    }

    /// Takes one row more, as [`Keys::learn`] does, and forgets nothing for want of it: for rows that come one by one.
    ///
    /// # Errors
    /// `Engine`: it does not open; whoever wraps it may still be missing.
    pub fn learn_one(&self, row: &KeyRow) -> Result<()> {
        let name = row.key.name;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if row.state > KeyState::OpenOnly {
            known.remove(&name);
            self.ring.forget(name.owner, name.purpose, name.epoch);
            return Ok(());
        }
        if !known.contains(&name) {
            let key = unwrap(&self.sealer, &row.key)?;
            self.ring.insert(name.owner, name.purpose, name.epoch, key)?;
            known.insert(name);
        }
        if row.state == KeyState::Active {
            self.ring.activate(name.owner, name.purpose, name.epoch)?;
        }
        Ok(())
    }

    /// Takes the versions of the cluster key that a new root file has and the ring has not: the last wraps from now on. Versions it has no
    /// more are forgotten.
    ///
    /// # Errors
    /// `Kms`: one does not open; those before it are taken.
    pub fn follow(&self, before: &RootFile, now: &RootFile, kms: &dyn Kms) -> Result<()> {
        let wrap = (Owner::Cluster, Purpose::Wrap);
        // One that an earlier try has put there is not put there again.
        let is_here = |version| self.ring.key(wrap.0, wrap.1, KeyEpoch(version)).is_ok();
        let versions =
            |root: &RootFile| root.cluster_keys.iter().map(|key| key.version).collect::<BTreeSet<u32>>();
        let (old, new) = (versions(before), versions(now));
        for key in now.cluster_keys.iter().filter(|key| !is_here(key.version)) {
            hierarchy::open_cluster_key(&self.ring, now.cluster, key, kms)?;
        }
        if let Some(newest) = now.cluster_keys.last() {
            self.ring.activate(wrap.0, wrap.1, KeyEpoch(newest.version))?;
        }
        for version in old.difference(&new) {
            self.ring.forget(wrap.0, wrap.1, KeyEpoch(*version));
        }
        Ok(())
    }

    /// Tenants whose keys are here, with the greatest epoch of each purpose.
    #[must_use]
    pub fn tenants(&self) -> BTreeMap<TenantId, BTreeMap<Purpose, u32>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out: BTreeMap<TenantId, BTreeMap<Purpose, u32>> = BTreeMap::new();
        for name in known.iter() {
            if let Owner::Tenant(tenant) = name.owner {
                out.entry(tenant).or_default().insert(name.purpose, name.epoch.0);
            }
        }
        out
    }
}
