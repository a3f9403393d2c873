//! Pure: the row of a restore: what it is and how far.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use crate::limits;
use crate::meta::fields::{append_text, append_u32, append_u64, malformed, read_text, read_version};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{CollectionId, TenantId};
use engine::wire::{Reader, append_bytes32};
use std::fmt;

pub use super::standing::{AsideRow, HeldRow, OriginRow};

/// Version of the rows this build writes.
const VERSION: u8 = 1;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$of:meta])* $one:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $one,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$one),+];

            fn number(self) -> u8 {
                match self {
                    $(Self::$one => $number,)+
                }
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
                let number = reader.u8()?;
                let found = Self::ALL.iter().find(|one| one.number() == number).copied();
                found.ok_or_else(|| malformed($what))
            }

            /// The word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$one => $text,)+
                }
            }
        }
    };
}

numbered! {
    /// Where a restore is in its life.
    State, "an unknown state of a restore" {
        /// It is a plan.
        #[default]
        Planned = 1, "planned";
        /// It goes on.
        Running = 2, "running";
        /// It waits until it is told to go on.
        Paused = 3, "paused";
        /// All of it is done.
        Done = 4, "done";
        /// It cannot be done.
        Failed = 5, "failed";
        /// It was ended.
        Cancelled = 6, "cancelled";
        /// It is taken back.
        Undoing = 7, "undoing";
        /// It was taken back.
        Undone = 8, "undone";
    }
}

numbered! {
    /// What a restore does now.
    Step, "an unknown step of a restore" {
        /// A tenant is made for it.
        #[default]
        Make = 1, "make";
        /// Rows are written.
        Write = 2, "write";
        /// What was written is compared with where it came from.
        Compare = 3, "compare";
        /// The tenant is put in the place of another.
        Switch = 4, "switch";
    }
}

numbered! {
    /// What a restore makes.
    Mode, "an unknown mode of a restore" {
        /// A new tenant.
        #[default]
        Tenant = 1, "tenant";
        /// The tenant itself, as it was.
        InPlace = 2, "in-place";
        /// Keys of a range, as they were.
        Range = 3, "range";
        /// One key, as it was.
        Key = 4, "key";
    }
}

impl State {
    /// Whether its tenant is held by it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Undoing)
    }

    /// Whether it may become that.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Done, Failed, Paused, Planned, Running, Undoing, Undone};
        matches!(
            (self, next),
            (Planned, Running | Cancelled)
                | (Running, Running | Paused | Done | Failed | Cancelled)
                | (Paused, Running | Cancelled)
                | (Done, Undoing)
                | (Undoing, Undoing | Undone | Done)
        )
    }
}

/// How far a restore has written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// The collection.
    pub collection: CollectionId,
    /// Up to this key, with it; empty: nothing of the collection.
    pub after: Vec<u8>,
    /// Batches that were written before.
    pub batches: u64,
}

// Keys of a tenant never reach a line of the log.
impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reached({} batches, in {})", self.batches, self.collection)
    }
}

/// What a restore has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows written.
    pub rows: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Rows taken away.
    pub removed: u64,
    /// Rows left as they are, because somebody had written them since the plan was made.
    pub conflicts: u64,
    /// Values not brought back, because their time is over.
    pub expired: u64,
    /// Of one that was taken back: writes left behind.
    pub left_behind: u64,
}

/// A restore.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RestoreRow {
    /// Its id: random, never 0.
    pub id: u64,
    /// Counts its changes, from 1.
    pub version: u64,
    /// Where it is in its life.
    pub state: State,
    /// What it does now.
    pub step: Step,
    /// What it makes.
    pub mode: Mode,
    /// The tenant it is about.
    pub tenant: TenantId,
    /// The tenant it makes; 0: none.
    pub other: TenantId,
    /// What it goes to.
    pub target: Stamp,
    /// When it was planned, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it last moved, in milliseconds since 1970.
    pub changed_ms: u64,
    /// Until when it can be taken back, in milliseconds since 1970; 0: it cannot.
    pub undo_until_ms: u64,
    /// How far it has written.
    pub reached: Reached,
    /// What it has done.
    pub tally: Tally,
    /// Some keys that were left as they are.
    pub conflicting: Vec<(CollectionId, Vec<u8>)>,
    /// SHA-256 of the plan.
    pub sha256: [u8; 32],
    /// The plan; empty once it has ended.
    pub plan: Vec<u8>,
    /// Why it failed, or what it waits for.
    pub text: String,
}

impl fmt::Debug for RestoreRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, version, state, step, mode, tenant, other, target, tally, text, .. } = self;
        write!(f, "RestoreRow({id:x} v{version}: {mode:?} of {tenant} to {target}, {state:?} {step:?}, ")?;
        write!(f, "other {other}, {tally:?}, {text:?})")
    }
}

impl RestoreRow {
    /// The key of its row.
    #[must_use]
    pub fn key(id: u64) -> Vec<u8> {
        id.to_be_bytes().to_vec()
    }

    /// When it is forgotten, in milliseconds since 1970; 0: not before it has ended.
    #[must_use]
    pub fn forgotten_ms(&self) -> u64 {
        match self.state {
            State::Running | State::Paused | State::Undoing => 0,
            State::Planned => self.created_ms.saturating_add(2 * limits::PLAN_MS),
            _ => self.changed_ms.max(self.undo_until_ms).saturating_add(limits::RESTORE_KEPT_MS),
        }
    }

    /// Whether the row may follow `old`.
    #[must_use]
    pub fn follows(&self, old: Option<&Self>) -> bool {
        let Some(old) = old else { return self.version == 1 && self.state == State::Planned };
        let of = |row: &Self| (row.id, row.mode, row.tenant, row.target, row.created_ms, row.sha256);
        of(self) == of(old)
            && self.version == old.version + 1
            && old.state.may_become(self.state)
            && (self.plan.is_empty() || self.plan == old.plan)
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.state.number(), self.step.number(), self.mode.number()];
        let numbers = [
            self.version,
            self.tenant.0,
            self.other.0,
            self.target.0,
            self.created_ms,
            self.changed_ms,
            self.undo_until_ms,
        ];
        numbers.into_iter().for_each(|number| append_u64(&mut out, number));
        append_u32(&mut out, self.reached.collection.0);
        append_bytes32(&mut out, &self.reached.after);
        append_u64(&mut out, self.reached.batches);
        let Tally { rows, bytes, removed, conflicts, expired, left_behind } = self.tally;
        for number in [rows, bytes, removed, conflicts, expired, left_behind] {
            append_u64(&mut out, number);
        }
        append_u32(&mut out, u32::try_from(self.conflicting.len()).unwrap_or(u32::MAX));
        for (collection, key) in &self.conflicting {
            append_u32(&mut out, collection.0);
            append_bytes32(&mut out, key);
        }
        out.extend_from_slice(&self.sha256);
        append_bytes32(&mut out, &self.plan);
        append_text(&mut out, &self.text);
        out
    }

    /// Reads what [`RestoreRow::key`] and [`RestoreRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let id = key.u64()?;
        key.end()?;
        read_version(&mut reader, VERSION)?;
        let (state, step, mode) =
            (State::read(&mut reader)?, Step::read(&mut reader)?, Mode::read(&mut reader)?);
        let row = Self {
            id,
            state,
            step,
            mode,
            version: reader.u64()?,
            tenant: TenantId(reader.u64()?),
            other: TenantId(reader.u64()?),
            target: Stamp(reader.u64()?),
            created_ms: reader.u64()?,
            changed_ms: reader.u64()?,
            undo_until_ms: reader.u64()?,
            reached: Reached {
                collection: CollectionId(reader.u32()?),
                after: reader.bytes32(limits::KEY_BYTES_MAX)?.to_vec(),
                batches: reader.u64()?,
            },
            tally: Tally {
                rows: reader.u64()?,
                bytes: reader.u64()?,
                removed: reader.u64()?,
                conflicts: reader.u64()?,
                expired: reader.u64()?,
                left_behind: reader.u64()?,
            },
            conflicting: read_keys(&mut reader)?,
            sha256: reader.array()?,
            plan: reader.bytes32(limits::PLAN_BYTES_MAX)?.to_vec(),
            text: read_text(&mut reader, limits::RESTORE_TEXT_BYTES_MAX)?,
        };
        reader.end()?;
        let is_possible = id != 0 && row.version != 0 && row.tenant.0 != 0 && row.target != Stamp::ZERO;
        if is_possible { Ok(row) } else { Err(malformed("a restore that cannot be")) }
    }
}

fn read_keys(reader: &mut Reader<'_>) -> Result<Vec<(CollectionId, Vec<u8>)>, Damage> {
    let count = reader.u32()?;
    if count as usize > limits::CONFLICTS_KEPT_MAX {
        return Err(malformed("more keys than are told"));
    }
    let mut one = || {
        let collection = CollectionId(reader.u32()?);
        Ok((collection, reader.bytes32(limits::KEY_BYTES_MAX)?.to_vec()))
    };
    (0..count).map(|_| one()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_restore_is_this_table() {
        use State::{Cancelled, Done, Failed, Paused, Planned, Running, Undoing, Undone};
        let allowed = [
            (Planned, Running),
            (Planned, Cancelled),
            (Running, Running),
            (Running, Paused),
            (Running, Done),
            (Running, Failed),
            (Running, Cancelled),
            (Paused, Running),
            (Paused, Cancelled),
            (Done, Undoing),
            (Undoing, Undoing),
            (Undoing, Undone),
            (Undoing, Done),
        ];
        for from in State::ALL {
            for to in State::ALL {
                assert_eq!(from.may_become(*to), allowed.contains(&(*from, *to)), "{from:?} {to:?}");
            }
            let holds = matches!(from, Running | Paused | Undoing);
            assert_eq!(from.is_open(), holds);
            let row = RestoreRow { state: *from, created_ms: 5, changed_ms: 7, ..RestoreRow::default() };
            assert_eq!(row.forgotten_ms() == 0, holds, "what goes on is not forgotten");
        }
        assert_eq!(Failed.word(), "failed");
    }

    #[test]
    fn a_restore_stays_what_it_was_planned_as() {
        let old = RestoreRow {
            id: 7,
            version: 1,
            tenant: TenantId(3),
            target: Stamp(5),
            plan: vec![1],
            ..RestoreRow::default()
        };
        assert!(old.follows(None));
        let next = RestoreRow { version: 2, state: State::Running, ..old.clone() };
        assert!(next.follows(Some(&old)) && !next.follows(None));
        let others = [
            RestoreRow { version: 3, ..next.clone() },
            RestoreRow { target: Stamp(6), ..next.clone() },
            RestoreRow { tenant: TenantId(4), ..next.clone() },
            RestoreRow { mode: Mode::Key, ..next.clone() },
            RestoreRow { sha256: [1; 32], ..next.clone() },
            RestoreRow { plan: vec![2], ..next.clone() },
            RestoreRow { state: State::Done, ..next.clone() },
        ];
        for other in others {
            assert!(!other.follows(Some(&old)), "{other:?}");
        }
        assert!(RestoreRow { plan: vec![], ..next.clone() }.follows(Some(&old)));
    }
}
