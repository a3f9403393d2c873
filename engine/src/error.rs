//! Pure: what can go wrong, named for the rule that was broken. The kind is an instruction to the caller.

use crate::ids::{KeyEpoch, KeyId, LogIndex, Owner, Purpose, TabletId};
use crate::stamp::Stamp;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request breaks a rule; fix it. Nothing changed.
    Invalid,
    /// Not now: the same request later. Nothing changed, unless the call says that its outcome is then unknown.
    Unavailable,
    /// The bytes asked for are damaged here: repair from a peer, then ask again.
    Damaged,
    /// A key is missing, wrong or used up: an operator or the keyring must act.
    Key,
    /// This build, directory or tablet cannot do it: stop and look.
    Stop,
}

/// In which way bytes are damaged. The way decides what to do: rot is repaired, tampering is an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nature {
    /// The checksum disagrees: bit rot or a torn write. Repair from a peer.
    Rot,
    /// The checksum agrees, the seal does not: somebody changed bytes who had no key. Alarm.
    Tampered,
    /// Whole and sealed, but made for another place: another file, block or stripe. Alarm.
    WrongPlace,
    /// The file ends too early, or is not there.
    Missing,
    /// Opened and authentic, but not what the format allows: a bug of a writer.
    Malformed,
}

impl fmt::Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rot => "ROT",
            Self::Tampered => "TAMPERED",
            Self::WrongPlace => "WRONG_PLACE",
            Self::Missing => "MISSING",
            Self::Malformed => "MALFORMED",
        })
    }
}

/// Damaged bytes: where, and in which way. Holds no byte of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which way.
    pub nature: Nature,
    /// The file or catalog row; empty until the caller that knows it has filled it in.
    pub place: String,
    /// The block inside the file, if one can be named.
    pub block: Option<u32>,
    /// What disagreed, in words.
    pub detail: &'static str,
}

impl Damage {
    /// Damage of `nature` at a place still to be named.
    #[must_use]
    pub fn of(nature: Nature, detail: &'static str) -> Self {
        Self { nature, place: String::new(), block: None, detail }
    }

    /// The same damage, its place named if it was not yet.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        if self.place.is_empty() {
            self.place = place.to_string();
        }
        self
    }

    /// The same damage, its block named if it was not yet.
    #[must_use]
    pub fn in_block(mut self, block: u32) -> Self {
        self.block.get_or_insert(block);
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.nature, if self.place.is_empty() { "bytes" } else { &self.place })?;
        if let Some(block) = self.block {
            write!(f, " block {block}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// Every error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is larger than its limit.
    #[error("{what} of {got} is over the limit of {max}; send less")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        got: u64,
        /// How large it may be.
        max: u64,
    },
    /// The request breaks another rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// A batch must come after every batch before it.
    #[error("batch at {index}, stamp {stamp} does not come after {last_index}, stamp {last_stamp}")]
    NotRising {
        /// Log index of the batch.
        index: LogIndex,
        /// Least stamp in the batch.
        stamp: Stamp,
        /// Log index applied last.
        last_index: LogIndex,
        /// Stamp applied last.
        last_stamp: Stamp,
    },
    /// A key outside the range of the tablet.
    #[error("a key lies outside the range of {tablet}; ask the shard map again")]
    OutsideRange {
        /// The tablet asked.
        tablet: TabletId,
    },
    /// The past asked for is no longer kept.
    #[error("versions before {oldest} are gone; read at {oldest} or later, or from an archive")]
    HistoryGone {
        /// The oldest stamp that can still be read.
        oldest: Stamp,
    },
    /// The stamp asked for has not been applied.
    #[error("{asked} is not applied yet, the last is {applied}; wait or read at it")]
    NotYet {
        /// The stamp asked for.
        asked: Stamp,
        /// The last applied stamp.
        applied: Stamp,
    },
    /// Memory or level 0 is full; background work must catch up first.
    #[error("{tablet} must flush or compact first; retry in {retry_ms} ms")]
    Overloaded {
        /// The tablet that is behind.
        tablet: TabletId,
        /// A hint, in milliseconds.
        retry_ms: u64,
    },
    /// Background work cannot write; reads go on, and writes resume when it can again.
    #[error("{tablet} takes no writes until its background work succeeds: {cause}")]
    WritesStopped {
        /// The tablet that is stopped.
        tablet: TabletId,
        /// What failed last.
        cause: String,
    },
    /// The tablet refuses all further work.
    #[error("{tablet} is fenced: {cause}")]
    Fenced {
        /// The tablet that is fenced.
        tablet: TabletId,
        /// What happened.
        cause: String,
    },
    /// Another process has the directory.
    #[error("{path} is in use by {holder}; stop it or choose another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// A format this build does not know.
    #[error("{what} has version {found}; this build reads {supported}")]
    Unsupported {
        /// Which format, and where.
        what: String,
        /// The version found.
        found: u32,
        /// The versions that can be read.
        supported: &'static str,
    },
    /// Damaged bytes.
    #[error("{0}")]
    Damaged(Damage),
    /// Bytes sealed under another key than the one at hand.
    #[error("WRONG_KEY {place}: have {have}, need {need} ({owner} {purpose} {epoch})")]
    WrongKey {
        /// The file or row.
        place: String,
        /// Id of the key at hand.
        have: KeyId,
        /// Id of the key that sealed the bytes.
        need: KeyId,
        /// Whose key.
        owner: Owner,
        /// What it is for.
        purpose: Purpose,
        /// Its epoch.
        epoch: KeyEpoch,
    },
    /// The key source has no such key.
    #[error("no key for {owner}, purpose {purpose}, {epoch}; unseal it or restore the keyring")]
    KeyMissing {
        /// Whose key.
        owner: Owner,
        /// What it is for.
        purpose: Purpose,
        /// Its epoch.
        epoch: KeyEpoch,
    },
    /// A key has sealed as much as it may.
    #[error("the {purpose} key {epoch} of {owner} is used up; rotate it")]
    KeyUsedUp {
        /// Whose key.
        owner: Owner,
        /// What it is for.
        purpose: Purpose,
        /// Its epoch.
        epoch: KeyEpoch,
    },
    /// A primitive does not give its known answer: nothing may be sealed or opened.
    #[error("known answer of {0} disagrees; this machine or build cannot be trusted")]
    KnownAnswer(&'static str),
    /// The disk said no.
    #[error("{verb} {path}", path = path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The catalog said no.
    #[error("catalog: {verb}: {cause}")]
    Catalog {
        /// What was tried.
        verb: &'static str,
        /// What it answered.
        cause: String,
    },
    /// The catalog was opened again after an error, and has lost a commit that it had acknowledged.
    #[error("the catalog in {path} has lost commits; stop this process and rebuild the node from a peer", path = path.display())]
    CatalogWentBack {
        /// The catalog's folder.
        path: PathBuf,
    },
    /// No tablet of this id.
    #[error("there is no {0} here")]
    NoSuchTablet(TabletId),
    /// A tablet of this id is there already.
    #[error("{0} is here already")]
    TabletExists(TabletId),
    /// The pool has been closed.
    #[error("the engine is closed")]
    Closed,
}

/// What most functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. }
            | Self::Invalid(_)
            | Self::NotRising { .. }
            | Self::OutsideRange { .. }
            | Self::HistoryGone { .. }
            | Self::NoSuchTablet(_)
            | Self::TabletExists(_) => Kind::Invalid,
            Self::NotYet { .. }
            | Self::Overloaded { .. }
            | Self::WritesStopped { .. }
            | Self::Io { .. }
            | Self::Catalog { .. } => Kind::Unavailable,
            Self::Damaged(_) => Kind::Damaged,
            Self::WrongKey { .. } | Self::KeyMissing { .. } | Self::KeyUsedUp { .. } => Kind::Key,
            Self::Fenced { .. }
            | Self::InUse { .. }
            | Self::Unsupported { .. }
            | Self::KnownAnswer(_)
            | Self::CatalogWentBack { .. }
            | Self::Closed => Kind::Stop,
        }
    }

    /// An `Io` error of `verb` on `path`.
    pub fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { verb, path: path.to_owned(), source }
    }

    /// The same error once more, for another caller. What has no copy keeps its words.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Damaged(damage) => Self::Damaged(damage.clone()),
            Self::KeyMissing { owner, purpose, epoch } => {
                Self::KeyMissing { owner: *owner, purpose: *purpose, epoch: *epoch }
            }
            Self::WrongKey { place, have, need, owner, purpose, epoch } => Self::WrongKey {
                place: place.clone(),
                have: *have,
                need: *need,
                owner: *owner,
                purpose: *purpose,
                epoch: *epoch,
            },
            Self::Unsupported { what, found, supported } => {
                Self::Unsupported { what: what.clone(), found: *found, supported }
            }
            Self::CatalogWentBack { path } => Self::CatalogWentBack { path: path.clone() },
            Self::Io { verb, path, source } => Self::Io {
                verb,
                path: path.clone(),
                source: io::Error::new(source.kind(), source.to_string()),
            },
            other => Self::Catalog { verb: "repeat", cause: other.to_string() },
        }
    }

    /// The same error; its place is named if it was not yet.
    pub(crate) fn at(self, name: impl fmt::Display) -> Self {
        match self {
            Self::Damaged(damage) => Self::Damaged(damage.at(name)),
            Self::Unsupported { what, found, supported } => {
                let name = name.to_string();
                // It may have a place already, or be named like it.
                let is_placed = what.contains(": ") || what == name;
                let what = if is_placed { what } else { format!("{name}: {what}") };
                Self::Unsupported { what, found, supported }
            }
            Self::WrongKey { place, have, need, owner, purpose, epoch } if place.is_empty() => {
                Self::WrongKey { place: name.to_string(), have, need, owner, purpose, epoch }
            }
            other => other,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// The words of an error and of everything that caused it.
#[must_use]
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
