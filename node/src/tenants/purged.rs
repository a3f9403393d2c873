//! The tenants that are gone for good: what of theirs is still in a log is applied as nothing, for nobody can open it.

use engine::ids::TenantId;
use raft::machine::Shredded;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Tenants whose keys are destroyed, as the rows of the meta group say.
#[derive(Debug, Default)]
pub struct Purged(RwLock<BTreeSet<TenantId>>);

impl Purged {
    /// From now on it is these. Returns those that were not known before. Nobody comes back: one that is missing now stays.
    pub fn learn(&self, tenants: impl IntoIterator<Item = TenantId>) -> Vec<TenantId> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tenants.into_iter().filter(|tenant| known.insert(*tenant)).collect()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeSet<TenantId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shredded for Purged {
    fn is_shredded(&self, tenant: TenantId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_back() {
        let purged = Purged::default();
        assert_eq!(purged.learn([TenantId(7)]), [TenantId(7)]);
        assert_eq!(purged.learn([TenantId(7), TenantId(8)]), [TenantId(8)]);
        assert_eq!(purged.learn([]), []);
        assert!(purged.is_shredded(TenantId(7)) && !purged.is_shredded(TenantId(9)));
        assert_eq!(purged.all(), [TenantId(7), TenantId(8)].into());
    }
}
