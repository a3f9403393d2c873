//! What was decided: `takeover.toml` in the folder of the node that takes over. Before it is there nothing has happened; from then on each
//! start carries it out, until the meta group of the new generation knows of it. Then it lies beside, as what was done.

use crate::boot::{BootError, Result, files};
use crate::limits;
use engine::Stamp;
use raft::types::GroupId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of a decision that does not say up to when a survivor has everything.
const FIRST: u32 = 1;
const VERSION: u32 = 2;
/// Bytes of the file at most.
const BYTES_MAX: u64 = 1 << 20;

/// How the groups begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The node keeps all it has, and goes on alone.
    Survivor,
    /// The groups are born from what is at or below this stamp.
    Cut(Stamp),
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The generation that begins.
    pub generation: u64,
    /// That which it leaves.
    pub parent: u64,
    /// How.
    pub way: Way,
    /// Who decided it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub decided_ms: u64,
    /// Of a survivor: up to which stamp it has everything of every group; 0: that is not known, or it is none.
    pub whole: Stamp,
    /// Data groups there were, and as which each goes on.
    pub groups: Vec<(GroupId, GroupId)>,
}

/// The file, as it is written. Numbers that TOML has no room for are text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    generation: u64,
    parent: u64,
    /// Empty: a survivor goes on.
    cut: String,
    by: String,
    reason: String,
    decided_ms: u64,
    /// Empty: it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    whole: String,
    groups: Vec<(String, String)>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("takeover.toml")
}

/// Where the decision lies that a generation began with.
fn done(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("takeover-g{generation}.toml"))
}

fn malformed(cause: impl std::fmt::Display) -> BootError {
    BootError::malformed("takeover.toml", cause)
}

fn number(text: &str) -> Result<u64> {
    text.parse().ok().filter(|number| *number != 0).ok_or_else(|| malformed("a number that is none"))
}

impl Decision {
    /// The data group that goes on as `group`, or that goes on in its place.
    #[must_use]
    pub fn becomes(&self, group: GroupId) -> GroupId {
        let found = self.groups.iter().find(|(old, _)| *old == group);
        found.map_or(group, |(_, new)| *new)
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let cut = match self.way {
            Way::Survivor => String::new(),
            Way::Cut(stamp) => stamp.0.to_string(),
        };
        let whole = if self.whole == Stamp::ZERO { String::new() } else { self.whole.0.to_string() };
        let written = Written {
            version: if whole.is_empty() { FIRST } else { VERSION },
            generation: self.generation,
            parent: self.parent,
            cut,
            by: self.by.clone(),
            reason: self.reason.clone(),
            decided_ms: self.decided_ms,
            whole,
            groups: self.groups.iter().map(|(old, new)| (old.0.to_string(), new.0.to_string())).collect(),
        };
        let body = toml::to_string(&written).expect("plain fields are always TOML");
        format!("# This node takes over. It is carried out at the next start; do not change it.\n{body}")
    }

    /// From its text.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(text: &str) -> Result<Self> {
        let written: Written = toml::from_str(text).map_err(|error| malformed(error.message()))?;
        let Written { version, generation, parent, cut, by, reason, decided_ms, whole, groups } = written;
        if version != if whole.is_empty() { FIRST } else { VERSION } {
            return Err(malformed(format!("version {version} is not known to this build")));
        }
        let way = if cut.is_empty() { Way::Survivor } else { Way::Cut(Stamp(number(&cut)?)) };
        let whole = if whole.is_empty() { Stamp::ZERO } else { Stamp(number(&whole)?) };
        if whole != Stamp::ZERO && way != Way::Survivor {
            return Err(malformed("a cut that has everything"));
        }
        let pair = |(old, new): &(String, String)| Ok((GroupId(number(old)?), GroupId(number(new)?)));
        let groups = groups.iter().map(pair).collect::<Result<Vec<_>>>()?;
        let is_kept = |(old, new): &(GroupId, GroupId)| (old == new) == (way == Way::Survivor);
        if parent == 0 || generation <= parent || !groups.iter().all(is_kept) {
            return Err(malformed("a generation that cannot follow, or groups that cannot go on so"));
        }
        if by.len() > limits::REASON_BYTES_MAX || reason.len() > limits::REASON_BYTES_MAX {
            return Err(malformed("a name or a reason that is too long"));
        }
        Ok(Self { generation, parent, way, by, reason, decided_ms, whole, groups })
    }

    /// Decides: from here on it is carried out. After an error nothing is decided, unless that says so.
    ///
    /// # Errors
    /// As [`files::replace`]. `TakeoverInDoubt`: the file may be there, and would be carried out.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_with(folder, files::replace)
    }

    fn write_with(&self, folder: &Path, replace: impl FnOnce(&Path, &[u8]) -> Result<()>) -> Result<()> {
        let path = path(folder);
        let Err(error) = replace(&path, self.text().as_bytes()) else { return Ok(()) };
        // It may be in place, and only not known to be durable: a start would find it.
        match files::remove(&path) {
            Ok(()) => Err(error),
            Err(_) => Err(BootError::TakeoverInDoubt { path, source: Box::new(error) }),
        }
    }

    /// What was decided and is not done, if anything was.
    ///
    /// # Errors
    /// The file cannot be read; `Malformed`.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = path(folder);
        if !files::exists(&path) {
            return Ok(None);
        }
        let bytes = files::read(&path, BYTES_MAX)?;
        Self::parse(std::str::from_utf8(&bytes).map_err(malformed)?).map(Some)
    }

    /// It is done: what was decided lies beside from now on.
    ///
    /// # Errors
    /// As [`files::replace`].
    pub fn finish(&self, folder: &Path) -> Result<()> {
        files::replace(&done(folder, self.generation), self.text().as_bytes())?;
        files::remove(&path(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            generation: 2,
            parent: 1,
            way: Way::Cut(Stamp(u64::MAX - 1)),
            by: "root".into(),
            reason: "all \"three\" are gone".into(),
            decided_ms: 7,
            whole: Stamp::ZERO,
            groups: vec![(GroupId(2), GroupId(4)), (GroupId(3), GroupId(5))],
        }
    }

    #[test]
    fn what_was_decided_is_read_back_and_nonsense_is_not() {
        let one = decision();
        let survivor = Decision {
            way: Way::Survivor,
            groups: vec![(GroupId(2), GroupId(2)), (GroupId(3), GroupId(3))],
            ..one.clone()
        };
        let whole = Decision { whole: Stamp(5), ..survivor.clone() };
        for decision in [&one, &survivor, &whole] {
            assert_eq!(&Decision::parse(&decision.text()).unwrap(), decision);
        }
        assert_eq!((one.becomes(GroupId(3)), one.becomes(GroupId(9))), (GroupId(5), GroupId(9)));
        let text = one.text();
        for (from, to) in [
            ("version = 1", "version = 2"),
            ("generation = 2", "generation = 1"),
            ("parent = 1", "parent = 0"),
            ("18446744073709551614", "x"),
            ("18446744073709551614", ""),
            ("by =", "buy ="),
            ("\"5\"", "\"0\""),
            ("\"5\"", "\"3\""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(Decision::parse(&changed).is_err(), "{from} to {to}");
        }
        let of_cut = whole.text().replacen("cut = \"\"", "cut = \"9\"", 1);
        let of_first = whole.text().replacen("version = 2", "version = 1", 1);
        for changed in [of_cut, of_first, text.replacen("version = 1", "version = 2", 1)] {
            assert!(Decision::parse(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn what_could_not_be_written_durably_is_not_decided() {
        let folder = tempfile::tempdir().unwrap();
        let unsynced = |path: &Path, bytes: &[u8]| {
            files::replace(path, bytes)?;
            Err(BootError::malformed("the folder", "it is not synced"))
        };
        assert!(decision().write_with(folder.path(), unsynced).is_err());
        assert_eq!(Decision::read(folder.path()).unwrap(), None, "a start would carry it out");
        // What cannot be taken away again is said to be in doubt.
        let undone = decision().write_with(folder.path(), |path, _| {
            std::fs::create_dir(path).unwrap();
            Err(BootError::malformed("the folder", "it is not synced"))
        });
        assert!(undone.unwrap_err().to_string().contains("in doubt"));
    }

    #[test]
    fn it_is_there_until_it_is_done_and_lies_beside_then() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Decision::read(folder.path()).unwrap(), None);
        decision().write(folder.path()).unwrap();
        assert_eq!(Decision::read(folder.path()).unwrap(), Some(decision()));
        decision().finish(folder.path()).unwrap();
        assert_eq!(Decision::read(folder.path()).unwrap(), None);
        assert!(done(folder.path(), 2).exists());
    }
}
