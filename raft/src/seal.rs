//! Commands become an entry, sealed tenant by tenant; and an entry commands again.

use crate::command::{Command, CommandRow, Counts, Session, TenantPart, join_bodies, split_bodies};
use crate::error::{Error, Result};
use crate::limits;
use crate::types::GroupId;
use bytes::Bytes;
use engine::entropy::Entropy;
use engine::ids::{Purpose, TenantId};
use engine::sealed::{EnvelopeKind, Sealer};
use engine::table::owner_of;
use engine::{Kind, Stamp};
use std::collections::BTreeMap;
use std::fmt;

/// A command that waits to be proposed.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsealed {
    /// Whose.
    pub tenant: TenantId,
    /// Whose request; all zeros if it may run twice.
    pub session: Session,
    /// Which of the session's.
    pub number: u64,
    /// After this stamp it must not run.
    pub valid_until: Stamp,
    /// What it does at most.
    pub counts: Counts,
    /// What it means, in clear.
    pub body: Bytes,
}

impl fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsealed({}, {} bytes)", self.tenant, self.body.len())
    }
}

/// What one command is, opened.
#[derive(Clone, PartialEq, Eq)]
pub enum Opened {
    /// Its body.
    Body(Bytes),
    /// Its tenant is shredded: nobody can open it, and nobody need.
    Shredded,
}

/// The times of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The stamp proposed for the first command.
    pub stamp: Stamp,
    /// No stamp at or below is given out any more.
    pub closed: Stamp,
    /// What the meta group must have applied before.
    pub meta_index: u64,
}

/// Tenants whose commands cannot be sealed, and why not. Those of all others in the entry can.
#[derive(Debug)]
pub struct NotSealed(pub BTreeMap<TenantId, engine::Error>);

impl NotSealed {
    fn first(&self) -> Option<(&TenantId, &engine::Error)> {
        self.0.first_key_value()
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.first().map_or(Kind::Invalid, |(_, error)| error.kind())
    }
}

impl fmt::Display for NotSealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the commands of {} tenants cannot be sealed", self.0.len())?;
        self.first().map_or(Ok(()), |(tenant, _)| write!(f, ", among them those of {tenant}"))
    }
}

impl std::error::Error for NotSealed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.first().map(|(_, error)| error as _)
    }
}

/// Makes one entry of commands, in their order.
///
/// # Errors
/// `TooLarge`: over `COMMANDS_MAX`, or over what an entry holds. `NotSealed`: the keys of tenants are missing or used up.
pub fn seal(
    sealer: &Sealer,
    entropy: &dyn Entropy,
    group: GroupId,
    times: Times,
    commands: &[Unsealed],
) -> Result<Command> {
    let (got, max) = (commands.len() as u64, limits::COMMANDS_MAX as u64);
    if got > max {
        return Err(Error::TooLarge { what: "commands of an entry", got, max });
    }
    let mut by_tenant: BTreeMap<TenantId, Vec<&Unsealed>> = BTreeMap::new();
    for command in commands {
        by_tenant.entry(command.tenant).or_default().push(command);
    }
    let mut entry = [0; 16];
    entropy.fill(&mut entry);
    let place = |tenant: TenantId| by_tenant.keys().take_while(|other| **other < tenant).count();
    let rows = commands.iter().map(|command| {
        let Unsealed { session, number, valid_until, .. } = *command;
        let part = u16::try_from(place(command.tenant)).expect("no more parts than commands");
        CommandRow { part, session, number, valid_until }
    });
    let parts = by_tenant.iter().map(|(tenant, commands)| {
        let sum =
            |of: fn(&Counts) -> u32| commands.iter().fold(0_u32, |n, one| n.saturating_add(of(&one.counts)));
        let counts = Counts {
            puts: sum(|counts| counts.puts),
            deletes: sum(|counts| counts.deletes),
            range_deletes: sum(|counts| counts.range_deletes),
        };
        TenantPart { tenant: *tenant, counts, sealed: Bytes::new() }
    });
    let Times { stamp, closed, meta_index } = times;
    let (rows, parts) = (rows.collect(), parts.collect());
    let mut command = Command { entry, stamp, closed, meta_index, rows, parts };
    let mut unsealed = BTreeMap::new();
    for n in 0..command.parts.len() {
        let tenant = command.parts[n].tenant;
        let plain = join_bodies(by_tenant[&tenant].iter().map(|one| &one.body[..]));
        let name = command.name(group, tenant);
        let (owner, purpose) = (owner_of(tenant), Purpose::Log);
        match sealer.seal_envelope(owner, purpose, EnvelopeKind::LogBody, &name, &plain) {
            Ok(sealed) => command.parts[n].sealed = sealed.into(),
            Err(error) => drop(unsealed.insert(tenant, error)),
        }
    }
    if !unsealed.is_empty() {
        return Err(NotSealed(unsealed).into());
    }
    let (got, max) = (command.encoded_bytes() as u64, limits::ENTRY_BYTES_MAX as u64);
    if got > max {
        return Err(Error::TooLarge { what: "bytes of an entry", got, max });
    }
    Ok(command)
}

/// The commands of an entry, in their order.
///
/// # Errors
/// `Key`: the key of a tenant that is not shredded is missing. `Damaged`: `Tampered` if a body was changed or made for another entry;
/// `Malformed` if it is not what it should be.
pub fn open(
    sealer: &Sealer,
    group: GroupId,
    command: &Command,
    is_shredded: &dyn Fn(TenantId) -> bool,
) -> Result<Vec<Opened>> {
    let mut opened = vec![Opened::Shredded; command.rows.len()];
    for (n, part) in command.parts.iter().enumerate() {
        if is_shredded(part.tenant) {
            continue;
        }
        let rows = || command.rows.iter().enumerate().filter(|(_, row)| usize::from(row.part) == n);
        let name = command.name(group, part.tenant);
        let owner = owner_of(part.tenant);
        let plain = sealer.open_envelope(owner, Purpose::Log, EnvelopeKind::LogBody, &name, &part.sealed)?;
        let bodies = split_bodies(&plain, rows().count())?;
        for ((row, _), body) in rows().zip(bodies) {
            opened[row] = Opened::Body(Bytes::copy_from_slice(body));
        }
    }
    Ok(opened)
}
