//! Pure: what is asked of the meta group: changes, all of them or none. Each names what must stand before it; that is looked at when the
//! command is applied, and sees the changes before it.
//! Format: meta_command, `docs/formats/meta_command.md`.

use super::archive_change::ArchiveChange;
use super::cluster_row::{ClusterRow, SettingRow};
use super::fields::{
    append_option, append_text, append_u32, append_u64, malformed, read_name, read_option, read_version,
};
use super::key_row::{DataKeyRow, KeyState, TenantKeyRow, read_name_of_key};
use super::node_row::{NodeRow, NodeState};
use super::root_row::RootRow;
use super::rows::MetaRow;
use super::shard_row::ShardRow;
use crate::limits;
use crate::restore::change::RestoreChange;
use crate::takeover::change::TakeOver;
use crate::tenants::rules::{Act, Quota};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{CollectionId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::wire::Reader;

/// The first byte of the body of a meta command.
pub const KIND: u8 = 2;
/// Version of the commands and replies this build writes.
pub const VERSION: u8 = 1;

/// One change. Where one has an `expected`, `None` is: there must be no such row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the row of the cluster, if its version is the expected one. Its id stays. Number 1.
    PutCluster(ClusterRow, Option<u64>),
    /// Sets the row of a node, if its generation is the expected one. Its state only becomes what it may. Number 2.
    PutNode(NodeRow, Option<u64>),
    /// Sets the state of a node, if it may become that. Number 3.
    SetNodeState(NodeId, NodeState),
    /// Makes a token of this hash, good until then (milliseconds since 1970). Number 4.
    MakeToken([u8; 32], u64),
    /// Uses the token of this hash, if it is good. Number 5.
    SpendToken([u8; 32]),
    /// Makes a tenant, if neither id nor name is taken. Number 6.
    CreateTenant {
        /// Its id.
        id: TenantId,
        /// Its name.
        name: String,
        /// What it may use.
        quota: Quota,
        /// How far back it may read, in milliseconds.
        history_ms: u64,
    },
    /// Goes on with the life of a tenant, if that is allowed. Number 7.
    SetTenantState(TenantId, Act),
    /// Sets what a tenant may use. Number 8.
    SetQuota(TenantId, Quota),
    /// Sets how far back a tenant may read, in milliseconds. Number 9.
    SetHistory(TenantId, u64),
    /// Makes a collection, or finds it; the reply says its number. Number 10.
    AddCollection(TenantId, String),
    /// Sets a tenant's key, if it is wrapped by the expected key. Number 11.
    PutTenantKey(TenantKeyRow, Option<KeyEpoch>),
    /// Sets a data key, if it is wrapped by the expected key; its state stays as it is. Number 12.
    PutDataKey(DataKeyRow, Option<KeyEpoch>),
    /// Sets the state of a data key, if it may become that. What is destroyed is emptied. Number 13.
    SetKeyState(Owner, Purpose, KeyEpoch, KeyState),
    /// Sets the row of a group, if its version is the expected one and the row may follow that. Number 14.
    PutShard(ShardRow, Option<u64>),
    /// Sets a setting; `None` takes it away. Number 15.
    PutSetting(String, Option<String>),
    /// Sets the row of the root file, if its version is the expected one and the row may follow that. Number 16.
    PutRoot(RootRow, Option<u64>),
    /// Says that the root file of a node follows that version of the row. Number 17.
    TakeRoot(NodeId, u64),
    /// Puts a tenant into quarantine, for so many milliseconds. Number 18.
    DropTenant(TenantId, u64),
    /// Changes what is archived, and what stays so. Numbers 40 to 49.
    Archive(ArchiveChange),
    /// What restores change. Numbers 60 to 69.
    Restoring(RestoreChange),
    /// A generation begins. Number 70.
    TakeOver(Box<TakeOver>),
}

/// Changes that are made all or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaCommand {
    /// In their order.
    pub changes: Vec<Change>,
}

fn append_row(out: &mut Vec<u8>, number: u8, row: &MetaRow, expected: Option<u64>) {
    out.push(number);
    append_option(out, expected);
    row.append(out);
}

fn append_quota(out: &mut Vec<u8>, quota: Quota) {
    append_u64(out, quota.bytes);
    append_u32(out, quota.operations_per_second);
}

fn read_quota(reader: &mut Reader<'_>) -> Result<Quota, Damage> {
    Ok(Quota { bytes: reader.u64()?, operations_per_second: reader.u32()? })
}

fn read_tenant(reader: &mut Reader<'_>) -> Result<TenantId, Damage> {
    let tenant = TenantId(reader.u64()?);
    if tenant.0 == 0 { Err(malformed("a tenant of number 0")) } else { Ok(tenant) }
}

fn read_history(reader: &mut Reader<'_>) -> Result<u64, Damage> {
    let history_ms = reader.u64()?;
    if history_ms > limits::HISTORY_MS_MAX { Err(malformed("too long a history")) } else { Ok(history_ms) }
}

fn read_window(reader: &mut Reader<'_>) -> Result<u64, Damage> {
    let window_ms = reader.u64()?;
    let is_allowed = (limits::QUARANTINE_MS_MIN..=limits::QUARANTINE_MS_MAX).contains(&window_ms);
    if is_allowed { Ok(window_ms) } else { Err(malformed("too short or too long a quarantine")) }
}

fn read_key_name(reader: &mut Reader<'_>) -> Result<(Owner, Purpose, KeyEpoch), Damage> {
    read_name_of_key(&mut Reader::new(reader.take(14)?))
}

fn epoch(expected: Option<KeyEpoch>) -> Option<u64> {
    expected.map(|epoch| u64::from(epoch.0))
}

fn read_epoch(expected: Option<u64>) -> Result<Option<KeyEpoch>, Damage> {
    let epoch = expected.map(|epoch| u32::try_from(epoch).map(KeyEpoch)).transpose();
    epoch.map_err(|_| malformed("an epoch that is none"))
}

impl Change {
    fn append(&self, out: &mut Vec<u8>) {
        match self.clone() {
            Self::PutCluster(row, expected) => append_row(out, 1, &MetaRow::Cluster(row), expected),
            Self::PutNode(row, expected) => append_row(out, 2, &MetaRow::Node(row), expected),
            Self::PutTenantKey(row, expected) => {
                append_row(out, 11, &MetaRow::TenantKey(row), epoch(expected));
            }
            Self::PutDataKey(row, expected) => append_row(out, 12, &MetaRow::DataKey(row), epoch(expected)),
            Self::PutShard(row, expected) => append_row(out, 14, &MetaRow::Shard(row), expected),
            Self::Archive(change) => change.append(out),
            Self::PutRoot(row, expected) => append_row(out, 16, &MetaRow::Root(row), expected),
            Self::TakeRoot(node, version) => {
                out.push(17);
                append_u64(out, node.0);
                append_u64(out, version);
            }
            Self::SetNodeState(node, state) => {
                out.push(3);
                append_u64(out, node.0);
                out.push(state.number());
            }
            Self::MakeToken(hash, expires_ms) => {
                out.push(4);
                out.extend_from_slice(&hash);
                append_u64(out, expires_ms);
            }
            Self::SpendToken(hash) => {
                out.push(5);
                out.extend_from_slice(&hash);
            }
            Self::SetKeyState(owner, purpose, epoch, state) => {
                out.push(13);
                out.extend_from_slice(&DataKeyRow::key(owner, purpose, epoch));
                out.push(state.number());
            }
            Self::PutSetting(name, value) => {
                out.extend_from_slice(&[15, u8::from(value.is_some())]);
                let row = SettingRow { name, value: value.unwrap_or_default() };
                MetaRow::Setting(row).append(out);
            }
            Self::Restoring(change) => change.append(out),
            Self::TakeOver(takeover) => takeover.append(out),
            of_tenant => of_tenant.append_of_tenant(out),
        }
    }

    fn append_of_tenant(&self, out: &mut Vec<u8>) {
        let mut open = |number, tenant: TenantId| {
            out.push(number);
            append_u64(out, tenant.0);
        };
        match self {
            Self::CreateTenant { id, name, quota, history_ms } => {
                open(6, *id);
                append_quota(out, *quota);
                append_u64(out, *history_ms);
                append_text(out, name);
            }
            Self::SetTenantState(tenant, act) => {
                open(7, *tenant);
                out.push(act.number());
            }
            Self::SetQuota(tenant, quota) => {
                open(8, *tenant);
                append_quota(out, *quota);
            }
            Self::SetHistory(tenant, history_ms) => {
                open(9, *tenant);
                append_u64(out, *history_ms);
            }
            Self::AddCollection(tenant, name) => {
                open(10, *tenant);
                append_text(out, name);
            }
            Self::DropTenant(tenant, window_ms) => {
                open(18, *tenant);
                append_u64(out, *window_ms);
            }
            _ => {}
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let number = reader.u8()?;
        match number {
            1 | 2 | 11 | 12 | 14 | 16 => Self::read_row(number, reader),
            3 => Ok(Self::SetNodeState(NodeId(reader.u64()?), NodeState::from_number(reader.u8()?)?)),
            4 => Ok(Self::MakeToken(reader.array()?, reader.u64()?)),
            5 => Ok(Self::SpendToken(reader.array()?)),
            6 => {
                let id = read_tenant(reader)?;
                let (quota, history_ms) = (read_quota(reader)?, read_history(reader)?);
                Ok(Self::CreateTenant { id, name: read_name(reader)?, quota, history_ms })
            }
            7 => {
                let (tenant, act) = (read_tenant(reader)?, reader.u8()?);
                let act = Act::ALL.into_iter().find(|known| known.number() == act);
                Ok(Self::SetTenantState(tenant, act.ok_or_else(|| malformed("an unknown act"))?))
            }
            8 => Ok(Self::SetQuota(read_tenant(reader)?, read_quota(reader)?)),
            9 => Ok(Self::SetHistory(read_tenant(reader)?, read_history(reader)?)),
            10 => Ok(Self::AddCollection(read_tenant(reader)?, read_name(reader)?)),
            13 => {
                let (owner, purpose, epoch) = read_key_name(reader)?;
                Ok(Self::SetKeyState(owner, purpose, epoch, KeyState::from_number(reader.u8()?)?))
            }
            15 => {
                let is_there = reader.u8()?;
                match (is_there, MetaRow::read(reader)?) {
                    (1, MetaRow::Setting(SettingRow { name, value })) => {
                        Ok(Self::PutSetting(name, Some(value)))
                    }
                    (0, MetaRow::Setting(row)) if row.value.is_empty() => {
                        Ok(Self::PutSetting(row.name, None))
                    }
                    _ => Err(malformed("a setting that is none")),
                }
            }
            17 => Ok(Self::TakeRoot(NodeId(reader.u64()?), reader.u64()?)),
            18 => Ok(Self::DropTenant(read_tenant(reader)?, read_window(reader)?)),
            40..=49 => ArchiveChange::read(number, reader).map(Self::Archive),
            60..=69 => RestoreChange::read(number, reader).map(Self::Restoring),
            70 => TakeOver::read(number, reader).map(|takeover| Self::TakeOver(Box::new(takeover))),
            _ => Err(malformed("an unknown change")),
        }
    }

    fn read_row(number: u8, reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let expected = read_option(reader)?;
        match (number, MetaRow::read(reader)?) {
            (1, MetaRow::Cluster(row)) => Ok(Self::PutCluster(row, expected)),
            (2, MetaRow::Node(row)) => Ok(Self::PutNode(row, expected)),
            (11, MetaRow::TenantKey(row)) => Ok(Self::PutTenantKey(row, read_epoch(expected)?)),
            (12, MetaRow::DataKey(row)) => Ok(Self::PutDataKey(row, read_epoch(expected)?)),
            (14, MetaRow::Shard(row)) => Ok(Self::PutShard(row, expected)),
            (16, MetaRow::Root(row)) => Ok(Self::PutRoot(row, expected)),
            _ => Err(malformed("a change with a row of another kind")),
        }
    }
}

impl MetaCommand {
    /// A command of these changes.
    #[must_use]
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// Its bytes: the body of a command. `None`: no changes, or more than a command may have, or one that cannot be read again: a bad
    /// name, a row that cannot be.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = vec![KIND, VERSION];
        if !(1..=limits::META_CHANGES_MAX).contains(&self.changes.len()) {
            return None;
        }
        out.extend_from_slice(&u16::try_from(self.changes.len()).ok()?.to_be_bytes());
        self.changes.iter().for_each(|change| change.append(&mut out));
        (Self::decode(&out).as_ref() == Ok(self)).then_some(out)
    }

    /// Reads what [`MetaCommand::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != [KIND, VERSION] {
            return Err(malformed("no meta command, or one of an unknown version"));
        }
        let count = usize::from(reader.u16()?);
        if !(1..=limits::META_CHANGES_MAX).contains(&count) {
            return Err(malformed("a meta command of nothing, or of too much"));
        }
        let changes = (0..count).map(|_| Change::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { changes })
    }
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no such row. Number 1.
    #[error("there is no such thing")]
    NotFound,
    /// There is one already. Number 2.
    #[error("it exists already")]
    Exists,
    /// The name is another tenant's. Number 3.
    #[error("the name is taken")]
    NameTaken,
    /// It has changed since it was looked at. Number 4.
    #[error("it has changed meanwhile; look again")]
    Stale,
    /// Its state does not allow it. Number 5.
    #[error("its state does not allow that")]
    State,
    /// The window of the drop is over. Number 6.
    #[error("the drop can no longer be undone")]
    WindowOver,
    /// The drop can still be undone. Number 7.
    #[error("the drop can still be undone")]
    WindowOpen,
    /// The token was used. Number 8.
    #[error("the token was used before")]
    TokenSpent,
    /// The token has ended. Number 9.
    #[error("the token has expired")]
    TokenExpired,
    /// The new row may not follow the old one. Number 10.
    #[error("the new row may not follow the old one")]
    Impossible,
    /// There is no number left to give. Number 11.
    #[error("there are as many as there may be")]
    Full,
    /// Another restore holds the tenant. Number 12.
    #[error("another restore of the tenant is under way")]
    Held,
}

impl Reason {
    const ALL: [Self; 12] = [
        Self::NotFound,
        Self::Exists,
        Self::NameTaken,
        Self::Stale,
        Self::State,
        Self::WindowOver,
        Self::WindowOpen,
        Self::TokenSpent,
        Self::TokenExpired,
        Self::Impossible,
        Self::Full,
        Self::Held,
    ];

    fn number(self) -> u8 {
        (1..).zip(Self::ALL).find(|(_, one)| *one == self).map_or(0, |(number, _)| number)
    }
}

/// What a meta command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaReply {
    /// It made no sense.
    Malformed,
    /// All is done, at this stamp: also when it is told again.
    Applied {
        /// When.
        stamp: Stamp,
        /// The numbers of the collections that were asked for, in order.
        collections: Vec<CollectionId>,
    },
    /// Nothing is done: this change, counted from 0, is the first that cannot be made.
    Refused {
        /// Which.
        change: u16,
        /// Why.
        reason: Reason,
    },
}

impl MetaReply {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Malformed => vec![VERSION, 0],
            Self::Applied { stamp, collections } => {
                let mut out = vec![VERSION, 1];
                append_u64(&mut out, stamp.0);
                let count = u16::try_from(collections.len()).expect("META_CHANGES_MAX fits u16");
                out.extend_from_slice(&count.to_be_bytes());
                collections.iter().for_each(|id| append_u32(&mut out, id.0));
                out
            }
            Self::Refused { change, reason } => {
                let [high, low] = change.to_be_bytes();
                vec![VERSION, 2, high, low, reason.number()]
            }
        }
    }

    /// Reads what [`MetaReply::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader, VERSION)?;
        let reply = match reader.u8()? {
            0 => Self::Malformed,
            1 => {
                let (stamp, count) = (Stamp(reader.u64()?), usize::from(reader.u16()?));
                if count > limits::META_CHANGES_MAX {
                    return Err(malformed("more collections than were asked for"));
                }
                let ids = (0..count).map(|_| reader.u32().map(CollectionId)).collect::<Result<_, _>>()?;
                Self::Applied { stamp, collections: ids }
            }
            2 => {
                let (change, number) = (reader.u16()?, reader.u8()?);
                let reason = Reason::ALL.into_iter().find(|one| one.number() == number);
                Self::Refused { change, reason: reason.ok_or_else(|| malformed("an unknown reason"))? }
            }
            _ => return Err(malformed("an unknown kind of reply")),
        };
        reader.end()?;
        Ok(reply)
    }
}
