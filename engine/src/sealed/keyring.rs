//! Where data keys come from: the trait the engine asks, and a bounded ring of keys in memory that answers.

use super::secret::SecretKey;
use crate::error::{Error, Result};
use crate::ids::{KeyEpoch, Owner, Purpose};
use crate::limits;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Where data keys come from.
pub trait KeySource: Send + Sync {
    /// The epoch under which new bytes are sealed.
    ///
    /// # Errors
    /// `KeyMissing` with epoch 0 if the owner has no active key for the purpose.
    fn active(&self, owner: Owner, purpose: Purpose) -> Result<KeyEpoch>;

    /// The key itself.
    ///
    /// # Errors
    /// `KeyMissing`.
    fn key(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> Result<Arc<SecretKey>>;
}

/// Keys held in memory, filled and emptied by whoever unwraps them.
#[derive(Debug, Default)]
pub struct Keyring(RwLock<Held>);

#[derive(Debug, Default)]
struct Held {
    keys: BTreeMap<(Owner, Purpose, KeyEpoch), Arc<SecretKey>>,
    active: BTreeMap<(Owner, Purpose), KeyEpoch>,
}

impl Keyring {
    /// A ring without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a key. It opens from now on, and seals once it is activated.
    ///
    /// # Errors
    /// `TooLarge` if the ring is full; `Invalid` for epoch 0 or a key that is there already.
    pub fn insert(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch, key: SecretKey) -> Result<()> {
        self.change(|held| {
            if held.keys.len() >= limits::KEYRING_KEYS_MAX {
                let max = limits::KEYRING_KEYS_MAX as u64;
                return Err(Error::TooLarge { what: "keys in the keyring", got: max + 1, max });
            }
            if epoch == KeyEpoch(0) || held.keys.contains_key(&(owner, purpose, epoch)) {
                return Err(Error::Invalid("a key needs an epoch above 0 that the keyring does not have"));
            }
            held.keys.insert((owner, purpose, epoch), Arc::new(key));
            Ok(())
        })
    }

    /// From now on new bytes of `owner` and `purpose` are sealed under `epoch`.
    ///
    /// # Errors
    /// `KeyMissing`.
    pub fn activate(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> Result<()> {
        self.change(|held| {
            if !held.keys.contains_key(&(owner, purpose, epoch)) {
                return Err(Error::KeyMissing { owner, purpose, epoch });
            }
            held.active.insert((owner, purpose), epoch);
            Ok(())
        })
    }

    /// Forgets one key. Work that holds it finishes with it.
    pub fn forget(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) {
        self.change(|held| {
            held.keys.remove(&(owner, purpose, epoch));
            if held.active.get(&(owner, purpose)) == Some(&epoch) {
                held.active.remove(&(owner, purpose));
            }
        });
    }

    /// Forgets every key of `owner`.
    pub fn forget_owner(&self, owner: Owner) {
        self.change(|held| {
            held.keys.retain(|(of, _, _), _| *of != owner);
            held.active.retain(|(of, _), _| *of != owner);
        });
    }
}

impl KeySource for Keyring {
    fn active(&self, owner: Owner, purpose: Purpose) -> Result<KeyEpoch> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let missing = Error::KeyMissing { owner, purpose, epoch: KeyEpoch(0) };
        held.active.get(&(owner, purpose)).copied().ok_or(missing)
    }

    fn key(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> Result<Arc<SecretKey>> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.keys.get(&(owner, purpose, epoch)).cloned().ok_or(Error::KeyMissing { owner, purpose, epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    #[test]
    fn a_missing_key_is_named_whole() {
        let ring = Keyring::new();
        let (owner, purpose) = (Owner::Tenant(TenantId(7)), Purpose::Data);
        let error = ring.key(owner, purpose, KeyEpoch(3)).unwrap_err().to_string();
        assert!(
            error.contains("t-0000000000000007") && error.contains("data") && error.contains("e3"),
            "{error}"
        );
        assert!(ring.activate(owner, purpose, KeyEpoch(3)).is_err());
        ring.insert(owner, purpose, KeyEpoch(3), SecretKey::new([1; 32])).unwrap();
        assert!(ring.insert(owner, purpose, KeyEpoch(3), SecretKey::new([2; 32])).is_err());
        assert!(ring.insert(owner, purpose, KeyEpoch(0), SecretKey::new([2; 32])).is_err());
        assert!(ring.active(owner, purpose).is_err(), "inserted is not activated");
        ring.activate(owner, purpose, KeyEpoch(3)).unwrap();
        assert_eq!(ring.active(owner, purpose).unwrap(), KeyEpoch(3));
        ring.forget_owner(owner);
        assert!(ring.active(owner, purpose).is_err() && ring.key(owner, purpose, KeyEpoch(3)).is_err());
    }
}
