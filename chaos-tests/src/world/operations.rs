//! What commands mean in a run: registers with compare-and-set, lists that grow, and accounts between which money moves.

use bytes::Bytes;
use engine::ids::{CollectionId, TenantId};
use engine::wire::Reader;
use raft::machine::operations::{Operations, Rows};
use raft::planted::{self, Planted};

/// Where registers stand.
pub const REGISTERS: CollectionId = CollectionId(1);
/// Where lists stand.
pub const LISTS: CollectionId = CollectionId(2);
/// Where accounts stand.
pub const ACCOUNTS: CollectionId = CollectionId(3);

/// One command of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Sets a register; `None` empties it.
    Write(u64, Option<u64>),
    /// Sets a register if it holds what is expected.
    Cas(u64, Option<u64>, Option<u64>),
    /// Appends to a list.
    Append(u64, u64),
    /// Moves money, if there is enough.
    Move(u64, u64, u64),
    /// Gives an account its first money.
    Fund(u64, u64),
    /// Panics, as no command may.
    Panic,
}

/// What a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is done.
    Done,
    /// What it asked for was not so: nothing changed.
    Not,
    /// It made no sense.
    Malformed,
}

fn option(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    out.extend_from_slice(&value.unwrap_or_default().to_be_bytes());
}

fn read_option(reader: &mut Reader<'_>) -> Option<Option<u64>> {
    let is_there = reader.u8().ok()?;
    let value = reader.u64().ok()?;
    Some((is_there == 1).then_some(value))
}

impl Do {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match *self {
            Self::Write(key, value) => {
                out.push(1);
                out.extend_from_slice(&key.to_be_bytes());
                option(&mut out, value);
            }
            Self::Cas(key, expected, value) => {
                out.push(2);
                out.extend_from_slice(&key.to_be_bytes());
                option(&mut out, expected);
                option(&mut out, value);
            }
            Self::Append(key, element) => {
                out.push(3);
                [key, element].iter().for_each(|n| out.extend_from_slice(&n.to_be_bytes()));
            }
            Self::Move(from, to, amount) => {
                out.push(4);
                [from, to, amount].iter().for_each(|n| out.extend_from_slice(&n.to_be_bytes()));
            }
            Self::Panic => out.extend_from_slice(&[6; 9]),
            Self::Fund(account, amount) => {
                out.push(5);
                [account, amount].iter().for_each(|n| out.extend_from_slice(&n.to_be_bytes()));
            }
        }
        out.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let what = reader.u8().ok()?;
        let key = reader.u64().ok()?;
        let done = match what {
            1 => Self::Write(key, read_option(&mut reader)?),
            2 => Self::Cas(key, read_option(&mut reader)?, read_option(&mut reader)?),
            3 => Self::Append(key, reader.u64().ok()?),
            4 => Self::Move(key, reader.u64().ok()?, reader.u64().ok()?),
            5 => Self::Fund(key, reader.u64().ok()?),
            6 => Self::Panic,
            _ => return None,
        };
        reader.end().ok()?;
        Some(done)
    }
}

impl Said {
    /// From the bytes of a reply.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        match bytes {
            [1] => Self::Done,
            [0] => Self::Not,
            _ => Self::Malformed,
        }
    }

    fn encode(self) -> Bytes {
        match self {
            Self::Done => Bytes::from_static(&[1]),
            Self::Not => Bytes::from_static(&[0]),
            Self::Malformed => Bytes::new(),
        }
    }
}

/// The number that stands in a row.
#[must_use]
pub fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// The elements of a list.
#[must_use]
pub fn elements(value: &[u8]) -> Vec<u64> {
    value.as_chunks::<8>().0.iter().map(|n| u64::from_be_bytes(*n)).collect()
}

/// Evaluates [`Do`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Meaning;

impl Meaning {
    fn get(
        rows: &Rows<'_>,
        tenant: TenantId,
        collection: CollectionId,
        key: u64,
    ) -> raft::Result<Option<Bytes>> {
        Ok(rows.get(tenant, collection, &key.to_be_bytes())?.map(|row| row.value))
    }

    fn set(rows: &mut Rows<'_>, tenant: TenantId, key: u64, value: Option<u64>) -> raft::Result<()> {
        let key = key.to_be_bytes();
        match value {
            Some(value) => rows.put(tenant, REGISTERS, &key, &value.to_be_bytes(), 0),
            None => rows.delete(tenant, REGISTERS, &key),
        }
    }
}

impl Operations for Meaning {
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> raft::Result<Bytes> {
        let said = match Do::decode(body) {
            None => Said::Malformed,
            Some(Do::Panic) => panic!("a command that panics"),
            Some(Do::Write(key, value)) => {
                Self::set(rows, tenant, key, value)?;
                Said::Done
            }
            Some(Do::Cas(key, expected, value)) => {
                let now = Self::get(rows, tenant, REGISTERS, key)?.and_then(|bytes| number(&bytes));
                if now == expected || planted::is(Planted::IgnoreExpected) {
                    Self::set(rows, tenant, key, value)?;
                    Said::Done
                } else {
                    Said::Not
                }
            }
            Some(Do::Append(key, element)) => {
                let mut list = Self::get(rows, tenant, LISTS, key)?.unwrap_or_default().to_vec();
                list.extend_from_slice(&element.to_be_bytes());
                rows.put(tenant, LISTS, &key.to_be_bytes(), &list, 0)?;
                Said::Done
            }
            Some(Do::Fund(account, amount)) => {
                let has = Self::get(rows, tenant, ACCOUNTS, account)?.is_some();
                if !has {
                    rows.put(tenant, ACCOUNTS, &account.to_be_bytes(), &amount.to_be_bytes(), 0)?;
                }
                if has { Said::Not } else { Said::Done }
            }
            Some(Do::Move(from, to, amount)) => {
                let of = |account| -> raft::Result<u64> {
                    Ok(Self::get(rows, tenant, ACCOUNTS, account)?
                        .and_then(|bytes| number(&bytes))
                        .unwrap_or(0))
                };
                let (left, other) = (of(from)?, of(to)?);
                if from == to || left < amount {
                    Said::Not
                } else {
                    for (account, money) in [(from, left - amount), (to, other + amount)] {
                        rows.put(tenant, ACCOUNTS, &account.to_be_bytes(), &money.to_be_bytes(), 0)?;
                    }
                    Said::Done
                }
            }
        };
        Ok(said.encode())
    }
}
