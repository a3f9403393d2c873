//! Pure: do replicas that applied the same entries hold the same state? Each tells the digest of its state with the last entry it
//! applied; of one group and one entry there is one digest, whoever tells it and when.

use super::Violation;
use raft::types::{GroupId, LogId, ReplicaId};
use std::collections::BTreeMap;

const JUDGE: &str = "digest";

/// What was told so far: by group and entry, who told first, and what.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    told: BTreeMap<(GroupId, LogId), (ReplicaId, Vec<u8>)>,
    compared: u64,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Digests {
    /// A replica tells the digest of its state after it applied `applied` and nothing later.
    ///
    /// # Errors
    /// Broken: another replica, or this one before, told another digest.
    pub fn told(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
        applied: LogId,
        digest: &[u8],
    ) -> Result<(), Violation> {
        let Some((first, other)) = self.told.get(&(group, applied)) else {
            self.told.insert((group, applied), (replica, digest.to_vec()));
            return Ok(());
        };
        self.compared += 1;
        if other == digest {
            return Ok(());
        }
        let what = format!("{group}: two states after entry {applied}");
        let lines = [format!("{first}: {}", hex(other)), format!("{replica}: {}", hex(digest))];
        Err(Violation::broken(JUDGE, what).with(lines))
    }

    /// How many digests were held against another one: none means that nothing was shown.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_has_one_digest_in_its_group() {
        let mut digests = Digests::default();
        let entry = |index| LogId { term: 1, replica: ReplicaId(1), index };
        let (g1, g2, r1, r2) = (GroupId(1), GroupId(2), ReplicaId(1), ReplicaId(2));
        for (group, replica, index, digest) in
            [(g1, r1, 5, 7), (g1, r1, 6, 8), (g1, r2, 5, 7), (g2, r2, 5, 9)]
        {
            assert_eq!(digests.told(group, replica, entry(index), &[digest]), Ok(()));
        }
        assert_eq!(digests.compared(), 1);
        let violation = digests.told(g1, r2, entry(6), &[9]).unwrap_err();
        assert_eq!(violation.to_string(), "digest: g-1: two states after entry 1.1.6\n  r-1: 08\n  r-2: 09");
        assert!(digests.told(g1, r1, entry(6), &[7]).is_err(), "nor does one replica change its mind");
    }
}
