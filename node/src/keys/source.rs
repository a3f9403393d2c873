//! The keys that are unwrapped here: what the engine asks. Rows of the meta group bring those of tenants, in any order.

use super::hierarchy::{self, unwrap};
use super::kms::Kms;
use super::root_file::RootFile;
use super::{KeyName, Result, WrappedKey};
use engine::entropy::Entropy;
use engine::ids::{Owner, Purpose, TenantId};
use engine::sealed::{Keyring, Sealer};
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

    /// Takes the keys of tenants that the meta group has: new ones are unwrapped, of each owner and purpose the greatest epoch seals from
    /// now on, and what it has no more is forgotten. Returns those that do not open.
    pub fn learn(&self, rows: &[WrappedKey]) -> Vec<(KeyName, String)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failed = Vec::new();
        // Whoever wraps comes before what it wraps.
        let mut rows: Vec<&WrappedKey> = rows.iter().collect();
        rows.sort_by_key(|row| (row.name.purpose != Purpose::Wrap, row.name));
        let wanted: BTreeSet<KeyName> = rows.iter().map(|row| row.name).collect();
        for gone in known.difference(&wanted) {
            self.ring.forget(gone.owner, gone.purpose, gone.epoch);
        }
        known.retain(|name| wanted.contains(name));
        for row in rows {
            let name = row.name;
            if !known.contains(&name) {
                let put = unwrap(&self.sealer, row)
                    .and_then(|key| Ok(self.ring.insert(name.owner, name.purpose, name.epoch, key)?));
                match put {
                    Ok(()) => drop(known.insert(name)),
                    Err(error) => failed.push((name, error.to_string())),
                }
            }
            if known.contains(&name) {
                self.activate(&known, name);
            }
        }
        failed
    }

    /// Lets the greatest epoch of an owner and purpose seal. What one wraps must stand in the ring before, so this comes in between.
    fn activate(&self, known: &BTreeSet<KeyName>, name: KeyName) {
        let of = |epoch| KeyName { epoch, ..name };
        let all = known.range(of(engine::ids::KeyEpoch(0))..=of(engine::ids::KeyEpoch(u32::MAX)));
        if let Some(last) = all.last() {
            // It is in the ring: nothing can be wrong with that.
            let _ = self.ring.activate(last.owner, last.purpose, last.epoch);
        }
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
