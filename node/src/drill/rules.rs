//! Pure: what a drill has proved, when one is due, and when the newest proof is too old.

use crate::archive::chain::Snapshotted;
use crate::archive::manifest::snapshot::{Proof, TenantDigest};
use crate::archive::naming::{SnapshotId, Word};
use engine::Stamp;
use engine::ids::TenantId;
use std::collections::BTreeMap;

/// What a drill goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All tenants, out of the archive.
    Restore,
    /// One tenant, out of the archive.
    Tenant,
    /// All tenants, at the newest cut of a delayed node.
    TakeOver,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Restore, Self::Tenant, Self::TakeOver];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Tenant => "tenant",
            Self::TakeOver => "takeover",
        }
    }

    /// The one of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Rows that never expire: how many, and one number for all of them.
pub type Digest = (u64, [u8; 32]);

/// A tenant, as it was found and as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Which.
    pub tenant: TenantId,
    /// What the drill found.
    pub found: Digest,
    /// What the cluster holds as of the same stamp.
    pub wanted: Digest,
}

impl Compared {
    /// What is wrong with it, if anything is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Self { tenant, found, wanted } = self;
        if found == wanted {
            return None;
        }
        let text = match found.0.cmp(&wanted.0) {
            std::cmp::Ordering::Less => format!("{} rows of {} are missing", wanted.0 - found.0, wanted.0),
            std::cmp::Ordering::Greater => {
                format!("{} rows are there beside {}", found.0 - wanted.0, wanted.0)
            }
            std::cmp::Ordering::Equal => format!("{} rows, and not the same", found.0),
        };
        Some(format!("tenant {tenant}: {text}"))
    }
}

/// What has come of a drill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// As of when.
    pub target: Stamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What was compared.
    pub compared: Vec<Compared>,
    /// What was wrong before anything could be compared.
    pub faults: Vec<String>,
    /// Tenants that were to be compared.
    pub wanted: usize,
}

impl Outcome {
    /// Everything that is wrong. A drill that compared nothing has proved nothing.
    #[must_use]
    pub fn found(&self) -> Vec<String> {
        let mut all = self.faults.clone();
        all.extend(self.compared.iter().filter_map(Compared::fault));
        if all.is_empty() && self.compared.len() < self.wanted {
            all.push(format!("{} of {} tenants were compared", self.compared.len(), self.wanted));
        }
        if all.is_empty() && self.wanted == 0 {
            all.push("there is no tenant that could be compared".to_owned());
        }
        all
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self, made_ms: u64) -> Proof {
        let found = self.found();
        let tenant = |one: &Compared| TenantDigest {
            tenant: one.tenant.0,
            keys: one.found.0,
            sum: one.found.1[..16].to_vec(),
            epoch: 0,
        };
        Proof {
            is_passed: found.is_empty(),
            target: self.target.0,
            took_ms: self.took_ms,
            bytes: self.bytes,
            tenants: self.compared.iter().map(tenant).collect(),
            made_ms,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            found,
        }
    }
}

/// The name of the certificate of a drill that ended then.
#[must_use]
pub fn name(kind: Kind, made_ms: u64) -> Option<Word> {
    Word::parse(&format!("{}-{made_ms}", kind.word()))
}

/// What the name of a certificate says: the kind of its drill.
#[must_use]
pub fn kind_of(name: &Word) -> Option<Kind> {
    Kind::named(name.as_str().rsplit_once('-')?.0)
}

/// The newest certificate of a drill of the whole archive, and the newest that it passed: when, in milliseconds since 1970.
#[must_use]
pub fn newest(snapshots: &BTreeMap<SnapshotId, Snapshotted>) -> (Option<u64>, Option<u64>) {
    let all = snapshots.values().flat_map(|one| &one.proofs);
    let of_archive = all.filter(|(name, _)| matches!(kind_of(name), Some(Kind::Restore)));
    of_archive.fold((None, None), |(last, proven): (Option<u64>, Option<u64>), (_, proof)| {
        let passed = proof.is_passed.then_some(proof.made_ms);
        (last.max(Some(proof.made_ms)), proven.max(passed))
    })
}

/// Whether a drill is due: `every_ms` after the last, or after it was first looked.
#[must_use]
pub fn is_due(every_ms: u64, last_ms: Option<u64>, since_ms: u64, now_ms: u64) -> bool {
    every_ms > 0 && now_ms.saturating_sub(last_ms.unwrap_or(since_ms)) >= every_ms
}

/// Whether the newest proof is too old: two drills in a row have not passed, or did not take place.
#[must_use]
pub fn is_old(every_ms: u64, proven_ms: Option<u64>, since_ms: u64, now_ms: u64) -> bool {
    every_ms > 0 && now_ms.saturating_sub(proven_ms.unwrap_or(since_ms)) > every_ms.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(found: Digest, wanted: Digest) -> Compared {
        Compared { tenant: TenantId(7), found, wanted }
    }

    #[test]
    fn what_is_missing_more_or_other_is_a_fault_and_so_is_nothing_at_all() {
        let (one, other) = ([1; 32], [2; 32]);
        let found = |outcome: &Outcome| outcome.found().join("; ");
        let of = |compared: Vec<Compared>| Outcome { wanted: compared.len(), compared, ..Outcome::default() };
        let good = of(vec![compared((5, one), (5, one))]);
        assert!(good.found().is_empty() && good.certificate(9).is_passed);
        for (compared, text) in [
            (compared((4, one), (5, other)), "1 rows of 5 are missing"),
            (compared((6, one), (5, other)), "1 rows are there beside 5"),
            (compared((5, one), (5, other)), "not the same"),
        ] {
            let bad = of(vec![compared]);
            assert!(found(&bad).contains(text), "{}", found(&bad));
            assert!(!bad.certificate(9).is_passed && !bad.certificate(9).found.is_empty());
        }
        assert!(found(&Outcome::default()).contains("no tenant"));
        assert!(found(&Outcome { wanted: 2, ..good.clone() }).contains("1 of 2 tenants"));
        let lost = Outcome { faults: vec!["data/x is gone".into()], ..good };
        assert_eq!(found(&lost), "data/x is gone");
    }

    #[test]
    fn a_certificate_is_named_by_its_drill() {
        for kind in Kind::ALL {
            assert_eq!(kind_of(&name(kind, 1_700_000_000_000).unwrap()), Some(kind));
            assert_eq!(Kind::named(kind.word()), Some(kind));
        }
        assert_eq!(kind_of(&Word::parse("other-1").unwrap()), None);
    }

    #[test]
    fn one_is_due_in_time_and_old_proofs_are_told() {
        assert!(is_due(10, Some(5), 0, 15) && !is_due(10, Some(6), 0, 15) && !is_due(0, None, 0, 99));
        assert!(is_due(10, None, 5, 15) && !is_due(10, None, 6, 15));
        assert!(is_old(10, Some(5), 0, 26) && !is_old(10, Some(5), 0, 25) && !is_old(0, None, 0, 99));
        assert!(is_old(10, None, 0, 21), "one that never passed");
    }
}
