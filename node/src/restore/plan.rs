//! Pure: a plan of a restore: all that was decided when it was made, as a file that a person reads. Whoever applies it hands in these very
//! bytes, so what is approved is what is done.

use super::rows::{Mode, RestoreRow};
use super::target;
use crate::limits;
use engine::Stamp;
use engine::ids::{ClusterId, CollectionId, TenantId};
use engine::sealed::derive::Sha256;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands at the head of every plan.
const SCHEMA: &str = "dew.restore.plan/1";

/// What is done with a key that somebody has written since the plan was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// It is left as it is, and named.
    #[default]
    List,
    /// It is left as it is, and counted.
    Skip,
    /// It is written all the same.
    Overwrite,
}

/// What becomes of values that expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ttl {
    /// They expire when they would have: what has since is not brought back.
    #[default]
    Keep,
    /// They live on for as long as they had left.
    Shift,
}

/// Where the past is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// In the cluster itself.
    #[default]
    History,
    /// In an archive.
    Archive,
}

/// A plan. Ids and stamps are texts, and keys are in hexadecimal.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Which kind of document it is.
    pub schema: String,
    /// Id of the restore.
    pub restore: String,
    /// The cluster.
    pub cluster: String,
    /// Its generation.
    pub generation: u64,
    /// When it was made.
    pub made: String,
    /// Until when it holds.
    pub holds_until: String,
    /// Name of the tenant.
    pub tenant: String,
    /// Its id.
    pub tenant_id: String,
    /// What is made: `tenant`, `in-place`, `range`, `key`.
    pub mode: String,
    /// Name of the tenant that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into_id: Option<String>,
    /// Name of the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_id: Option<u32>,
    /// The first key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first key behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it goes to: everything at or before this stamp.
    pub target: String,
    /// The same as a time.
    pub target_time: String,
    /// Where it comes from.
    pub route: Route,
    /// Of an archive: the site that is asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Of an archive: the snapshot that is begun from; none is the beginning of everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Of an archive: tick files that are read behind that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticks: Option<usize>,
    /// The first stamp that can be restored.
    pub oldest: String,
    /// The last one.
    pub newest: String,
    /// The stamp at which the plan has looked at what is there now: what was written later is a conflict.
    pub seen: String,
    /// What is done with conflicts.
    pub on_conflict: OnConflict,
    /// Keys that were not there then go.
    pub mirror: bool,
    /// What becomes of values that expire.
    pub ttl: Ttl,
    /// Bytes of the tenant in tables, older versions among them: an upper bound of what is read.
    pub bytes_at_most: String,
    /// What stays as it is now.
    pub keeps: Vec<String>,
}

// Keys of a tenant never reach a line of the log.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restore, tenant_id, mode, target, .. } = self;
        write!(f, "Plan({restore}: {mode} of {tenant_id} to {target})")
    }
}

/// Why a plan is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// Its bytes are not those of a plan.
    #[error("that is no plan of a restore, or it was changed")]
    Unreadable,
    /// It is longer than any.
    #[error("no plan is so long")]
    TooLong,
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The bytes that a text spells in lower-case hexadecimal.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The first key behind a key, or of all keys if there is none. No key is longer than the longest: what is behind one of those differs in it.
#[must_use]
pub fn behind(key: &[u8]) -> Option<Vec<u8>> {
    match key.len() < limits::KEY_BYTES_MAX {
        true => Some([key, &[0]].concat()),
        false => engine::key::after_prefix(key),
    }
}

/// SHA-256 of the bytes of a plan.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// What a plan is about, in our own nouns.
#[derive(Clone, PartialEq, Eq)]
pub struct Scope {
    /// Id of the restore.
    pub restore: u64,
    /// What is made.
    pub mode: Mode,
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant that is made.
    pub into: Option<(TenantId, String)>,
    /// The collection.
    pub collection: Option<CollectionId>,
    /// The first key.
    pub from: Vec<u8>,
    /// The first key behind.
    pub to: Option<Vec<u8>>,
    /// What it goes to.
    pub target: Stamp,
    /// The stamp at which the plan has looked.
    pub seen: Stamp,
}

impl Plan {
    /// An empty one of this build.
    #[must_use]
    pub fn new(restore: u64, cluster: ClusterId, generation: u64, now_ms: u64) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            restore: format!("{restore:016x}"),
            cluster: cluster.to_string(),
            generation,
            made: target::time(now_ms),
            holds_until: target::time(now_ms.saturating_add(limits::PLAN_MS)),
            ..Self::default()
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn encode(&self) -> Result<Vec<u8>, NoPlan> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|_| NoPlan::Unreadable)?;
        bytes.push(b'\n');
        if bytes.len() > limits::PLAN_BYTES_MAX { Err(NoPlan::TooLong) } else { Ok(bytes) }
    }

    /// Reads what [`Plan::encode`] wrote.
    ///
    /// # Errors
    /// See [`NoPlan`].
    pub fn decode(bytes: &[u8]) -> Result<Self, NoPlan> {
        if bytes.len() > limits::PLAN_BYTES_MAX {
            return Err(NoPlan::TooLong);
        }
        let plan: Self = serde_json::from_slice(bytes).map_err(|_| NoPlan::Unreadable)?;
        if plan.schema != SCHEMA {
            return Err(NoPlan::Unreadable);
        }
        plan.scope().map(|_| plan)
    }

    /// What it is about.
    ///
    /// # Errors
    /// `Unreadable`: a field of it is none.
    pub fn scope(&self) -> Result<Scope, NoPlan> {
        let none = NoPlan::Unreadable;
        let id = |text: &str| u64::from_str_radix(text, 16).map_err(|_| none);
        let tenant = |text: &str| id(text.strip_prefix("t-").ok_or(none)?).map(TenantId);
        let bytes = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => unhex(text).filter(|key| key.len() <= limits::KEY_BYTES_MAX).map(Some).ok_or(none),
        };
        let stamp = |text: &str| Stamp::parse(text).ok_or(none);
        let mode = Mode::ALL.iter().find(|mode| mode.word() == self.mode).copied().ok_or(none)?;
        let into = match (&self.into, &self.into_id) {
            (Some(name), Some(id)) => Some((tenant(id)?, name.clone())),
            (None, None) => None,
            _ => return Err(none),
        };
        let (mut from, mut to) = (bytes(&self.from)?.unwrap_or_default(), bytes(&self.to)?);
        if let Some(key) = bytes(&self.key)? {
            to = behind(&key);
            from = key;
        }
        let collection = self.collection_id.map(CollectionId);
        let needs_made = matches!(mode, Mode::Tenant | Mode::InPlace);
        if needs_made != into.is_some() || (mode == Mode::Key) != self.key.is_some() {
            return Err(none);
        }
        let scope = Scope {
            restore: id(&self.restore)?,
            mode,
            tenant: tenant(&self.tenant_id)?,
            into,
            collection,
            from,
            to,
            target: stamp(&self.target)?,
            seen: stamp(&self.seen)?,
        };
        if scope.restore == 0 || scope.tenant.0 == 0 { Err(none) } else { Ok(scope) }
    }

    /// The row of this plan, whose bytes are `bytes`.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn row(&self, bytes: &[u8], now_ms: u64) -> Result<RestoreRow, NoPlan> {
        let scope = self.scope()?;
        Ok(RestoreRow {
            id: scope.restore,
            version: 1,
            mode: scope.mode,
            tenant: scope.tenant,
            other: scope.into.map(|(id, _)| id).unwrap_or_default(),
            target: scope.target,
            created_ms: now_ms,
            changed_ms: now_ms,
            sha256: sha256(bytes),
            plan: bytes.to_vec(),
            ..RestoreRow::default()
        })
    }
}

/// What a tenant that is put back keeps of today.
#[must_use]
pub fn keeps(mode: Mode) -> Vec<String> {
    let kept: &[&str] = match mode {
        Mode::InPlace => &[
            "quotas, the history window, and whether it is frozen",
            "its certificates: they name it by its name",
            "what it is now, aside for seven days",
        ],
        Mode::Tenant => {
            &["the tenant itself, as it is", "quotas and the history window, copied as they are now"]
        }
        Mode::Range | Mode::Key => &["every older version, in the history of its key"],
    };
    kept.iter().map(|text| (*text).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reads_a_key_in_what_is_printed() {
        let plan =
            Plan { key: Some("6b6579".to_owned()), from: Some("6b6579".to_owned()), ..Plan::default() };
        assert!(!format!("{plan:?}").contains("6b6579"));
    }

    fn plan() -> Plan {
        Plan {
            tenant: "acme".into(),
            tenant_id: TenantId(0x1122).to_string(),
            mode: "range".into(),
            collection: Some("users".into()),
            collection_id: Some(3),
            from: Some(hex(b"a")),
            to: Some(hex(b"b")),
            target: Stamp::new(5, 6).to_string(),
            seen: Stamp::new(7, 0).to_string(),
            ..Plan::new(0xabc, ClusterId([7; 16]), 1, 1_000)
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_and_not_when_it_was_changed() {
        let bytes = plan().encode().unwrap();
        let read = Plan::decode(&bytes).unwrap();
        assert_eq!(read, plan());
        let scope = read.scope().unwrap();
        assert_eq!((scope.restore, scope.tenant, scope.mode), (0xabc, TenantId(0x1122), Mode::Range));
        assert_eq!((scope.from, scope.to), (b"a".to_vec(), Some(b"b".to_vec())));
        assert_eq!((scope.target, scope.seen), (Stamp::new(5, 6), Stamp::new(7, 0)));
        let row = read.row(&bytes, 9).unwrap();
        assert_eq!((row.sha256, row.created_ms, &row.plan), (sha256(&bytes), 9, &bytes));
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("dew.restore.plan/1", "dew.restore.plan/2"),
            ("\"range\"", "\"all\""),
            ("t-", "x-"),
            ("\"61\"", "\"6g\""),
            ("\"5.6\"", "\"5\""),
            ("\"mirror\"", "\"mirrors\""),
        ] {
            assert!(text.contains(from), "{from}");
            assert_eq!(Plan::decode(text.replace(from, to).as_bytes()), Err(NoPlan::Unreadable), "{to}");
        }
        assert_eq!(Plan::decode(b""), Err(NoPlan::Unreadable));
        assert_eq!(Plan::decode(&vec![b' '; limits::PLAN_BYTES_MAX + 1]), Err(NoPlan::TooLong));
    }

    #[test]
    fn one_key_is_a_range_of_one() {
        let of = |key: &[u8]| {
            let plan = Plan { mode: "key".into(), key: Some(hex(key)), from: None, to: None, ..plan() };
            plan.scope().map(|scope| (scope.from, scope.to)).unwrap()
        };
        assert_eq!(of(b"a"), (b"a".to_vec(), Some(b"a\0".to_vec())));
        let long = vec![7; limits::KEY_BYTES_MAX];
        let next = [&long[1..], &[8]].concat();
        assert_eq!(of(&long), (long, Some(next)));
        assert_eq!(behind(&vec![255; limits::KEY_BYTES_MAX]), None);
        assert!(Plan { mode: "key".into(), ..plan() }.scope().is_err());
        assert!(Plan { mode: "tenant".into(), ..plan() }.scope().is_err());
    }

    #[test]
    fn hexadecimal_comes_back() {
        assert_eq!(unhex(&hex(&[0, 0xff, 7])), Some(vec![0, 0xff, 7]));
        assert_eq!((unhex(""), unhex("0"), unhex("0G"), unhex("AA")), (Some(vec![]), None, None, None));
    }
}
