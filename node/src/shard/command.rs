//! Pure: what a client asks of the rows of one tenant: conditions, and operations that are done if all of them hold, or none.
//! Format: kv_command, `docs/formats/kv_command.md`.
//!
//! Conditions see what stood before the command. Operations come in their order: of two on one key the later one counts.

use crate::limits;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::ids::CollectionId;
use engine::wire::{Reader, append_bytes32};
use raft::command::Counts;
use std::fmt;

/// The first byte of the body of a kv command.
pub const KIND: u8 = 1;
/// Version of the commands this build writes.
pub const VERSION: u8 = 1;
/// The first collection that is not for clients: those from here on are the cluster's own.
pub const RESERVED: CollectionId = CollectionId(0xffff_0000);

/// How a key must stand before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It has no value.
    Absent,
    /// It has one.
    Present,
    /// It has the value of this stamp.
    Stamp(Stamp),
}

/// One condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Condition<B> {
    /// Where.
    pub collection: CollectionId,
    /// Which key.
    pub key: B,
    /// What of it.
    pub expected: Expected,
}

/// When a value goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not at all.
    Never,
    /// At this time, in milliseconds since 1970; not 0.
    At(u64),
    /// So many milliseconds after it is applied; not 0.
    After(u64),
}

impl Expiry {
    /// The time of a value written at `now_ms`; 0 never.
    #[must_use]
    pub fn ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Never => 0,
            Self::At(ms) => ms,
            Self::After(ms) => now_ms.saturating_add(ms),
        }
    }

    fn parts(self) -> (u8, u64) {
        match self {
            Self::Never => (0, 0),
            Self::At(ms) => (1, ms),
            Self::After(ms) => (2, ms),
        }
    }
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation<B> {
    /// Sets a key.
    Put {
        /// Where.
        collection: CollectionId,
        /// Which key.
        key: B,
        /// To what.
        value: B,
        /// For how long.
        expiry: Expiry,
    },
    /// Takes the value of a key away.
    Delete {
        /// Where.
        collection: CollectionId,
        /// Which key.
        key: B,
    },
    /// Takes the values of all keys of a range away.
    DeleteRange {
        /// Where.
        collection: CollectionId,
        /// The first key.
        start: B,
        /// The first key that is left; `None`: to the end of the collection.
        end: Option<B>,
    },
}

// A tenant's byte never reaches a line of the log.
impl<B> fmt::Debug for Condition<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({}, {:?})", self.collection, self.expected)
    }
}

impl<B> fmt::Debug for Operation<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { collection, expiry, .. } => write!(f, "Put({collection}, {expiry:?})"),
            Self::Delete { collection, .. } => write!(f, "Delete({collection})"),
            Self::DeleteRange { collection, .. } => write!(f, "DeleteRange({collection})"),
        }
    }
}

/// Conditions and operations of one tenant. `B` are bytes, its own or borrowed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvCommand<B> {
    /// All must hold.
    pub conditions: Vec<Condition<B>>,
    /// Then these are done.
    pub operations: Vec<Operation<B>>,
}

/// Why a command is not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing is asked.
    #[error("a batch without conditions and operations asks nothing")]
    Empty,
    /// Something is larger than its limit.
    #[error("{what} of {got} is over the limit of {max}; send less")]
    TooLarge {
        /// What, with its unit.
        what: &'static str,
        /// How large it is.
        got: usize,
        /// How large it may be.
        max: usize,
    },
    /// A collection of the cluster's own.
    #[error("collection {0} is reserved")]
    Reserved(CollectionId),
    /// A time of zero.
    #[error(
        "a value cannot expire at time 0 or after 0 milliseconds; leave the expiry out, or delete the key"
    )]
    ZeroExpiry,
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

fn bounded(what: &'static str, got: usize, max: usize) -> Result<(), Refused> {
    if got <= max { Ok(()) } else { Err(Refused::TooLarge { what, got, max }) }
}

impl<B: AsRef<[u8]>> Operation<B> {
    /// Where it is done.
    #[must_use]
    pub fn collection(&self) -> CollectionId {
        match self {
            Self::Put { collection, .. }
            | Self::Delete { collection, .. }
            | Self::DeleteRange { collection, .. } => *collection,
        }
    }

    /// Its keys, one or two, and its value.
    fn pieces(&self) -> (&[u8], &[u8], &[u8]) {
        match self {
            Self::Put { key, value, .. } => (key.as_ref(), &[], value.as_ref()),
            Self::Delete { key, .. } => (key.as_ref(), &[], &[]),
            Self::DeleteRange { start, end, .. } => {
                (start.as_ref(), end.as_ref().map_or(&[][..], AsRef::as_ref), &[])
            }
        }
    }

    fn check(&self) -> Result<(), Refused> {
        let (key, end, value) = self.pieces();
        bounded("key bytes", key.len().max(end.len()), limits::KEY_BYTES_MAX)?;
        bounded("value bytes", value.len(), limits::VALUE_BYTES_MAX)?;
        if self.collection() >= RESERVED {
            return Err(Refused::Reserved(self.collection()));
        }
        match self {
            Self::Put { expiry: Expiry::At(0) | Expiry::After(0), .. } => Err(Refused::ZeroExpiry),
            _ => Ok(()),
        }
    }

    /// Bytes it takes when it is applied, at most; a zero in a key takes two.
    fn applied_bytes(&self) -> usize {
        let (key, end, value) = self.pieces();
        let escaped = |key: &[u8]| key.len() + key.iter().filter(|byte| **byte == 0).count();
        escaped(key) + escaped(end) + value.len() + limits::OPERATION_BYTES
    }

    fn append(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Put { .. } => 1,
            Self::Delete { .. } => 2,
            Self::DeleteRange { end: Some(_), .. } => 3,
            Self::DeleteRange { end: None, .. } => 4,
        };
        out.push(kind);
        out.extend_from_slice(&self.collection().0.to_be_bytes());
        match self {
            Self::Put { key, value, expiry, .. } => {
                let (kind, ms) = expiry.parts();
                out.push(kind);
                out.extend_from_slice(&ms.to_be_bytes());
                append_key(out, key.as_ref());
                append_bytes32(out, value.as_ref());
            }
            Self::Delete { key, .. } => append_key(out, key.as_ref()),
            Self::DeleteRange { start, end, .. } => {
                append_key(out, start.as_ref());
                end.iter().for_each(|end| append_key(out, end.as_ref()));
            }
        }
    }
}

impl<'a> Operation<&'a [u8]> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Damage> {
        let (kind, collection) = (reader.u8()?, CollectionId(reader.u32()?));
        let operation = match kind {
            1 => {
                let expiry = match (reader.u8()?, reader.u64()?) {
                    (0, 0) => Expiry::Never,
                    (1, ms) => Expiry::At(ms),
                    (2, ms) => Expiry::After(ms),
                    _ => return Err(malformed("an unknown kind of expiry")),
                };
                let (key, value) = (read_key(reader)?, reader.bytes32(limits::VALUE_BYTES_MAX)?);
                Self::Put { collection, key, value, expiry }
            }
            2 => Self::Delete { collection, key: read_key(reader)? },
            3 => Self::DeleteRange { collection, start: read_key(reader)?, end: Some(read_key(reader)?) },
            4 => Self::DeleteRange { collection, start: read_key(reader)?, end: None },
            _ => return Err(malformed("an unknown kind of operation")),
        };
        operation.check().map_err(|_| malformed("an operation that no client may ask for"))?;
        Ok(operation)
    }
}

impl<B: AsRef<[u8]>> KvCommand<B> {
    /// Bytes of the keys and values that it writes; 0 if it only takes away.
    #[must_use]
    pub fn bytes_put(&self) -> u64 {
        let put = |operation: &Operation<B>| match operation {
            Operation::Put { key, value, .. } => (key.as_ref().len() + value.as_ref().len()) as u64,
            _ => 0,
        };
        self.operations.iter().map(put).sum()
    }

    /// Whether it may be proposed.
    ///
    /// # Errors
    /// The first bound or rule that it breaks.
    pub fn check(&self) -> Result<(), Refused> {
        if self.conditions.is_empty() && self.operations.is_empty() {
            return Err(Refused::Empty);
        }
        bounded("conditions of a batch", self.conditions.len(), limits::CONDITIONS_MAX)?;
        bounded("operations of a batch", self.operations.len(), limits::BATCH_OPERATIONS_MAX)?;
        for one in &self.conditions {
            bounded("key bytes", one.key.as_ref().len(), limits::KEY_BYTES_MAX)?;
            if one.collection >= RESERVED {
                return Err(Refused::Reserved(one.collection));
            }
        }
        self.operations.iter().try_for_each(Operation::check)?;
        let bytes = self.operations.iter().map(Operation::applied_bytes).sum::<usize>();
        bounded("bytes of a batch", bytes.max(self.encoded_bytes()), limits::BATCH_BYTES_MAX)
    }

    /// What it does at most.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for one in &self.operations {
            match one {
                Operation::Put { .. } => counts.puts += 1,
                Operation::Delete { .. } => counts.deletes += 1,
                Operation::DeleteRange { .. } => counts.range_deletes += 1,
            }
        }
        counts
    }

    /// How many bytes [`KvCommand::encode`] gives, at most.
    fn encoded_bytes(&self) -> usize {
        let conditions = self.conditions.iter().map(|one| one.key.as_ref().len() + 15);
        let operations = self.operations.iter().map(|one| {
            let (key, end, value) = one.pieces();
            key.len() + end.len() + value.len() + 20
        });
        6 + conditions.sum::<usize>() + operations.sum::<usize>()
    }

    /// Its bytes: the body of a command. Only what [`KvCommand::check`] lets pass.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        out.extend_from_slice(&[KIND, VERSION]);
        for n in [self.conditions.len(), self.operations.len()] {
            out.extend_from_slice(&u16::try_from(n).expect("checked before").to_be_bytes());
        }
        for one in &self.conditions {
            let (kind, stamp) = match one.expected {
                Expected::Absent => (1, None),
                Expected::Present => (2, None),
                Expected::Stamp(stamp) => (3, Some(stamp)),
            };
            out.push(kind);
            out.extend_from_slice(&one.collection.0.to_be_bytes());
            append_key(&mut out, one.key.as_ref());
            stamp.iter().for_each(|stamp| out.extend_from_slice(&stamp.0.to_be_bytes()));
        }
        self.operations.iter().for_each(|one| one.append(&mut out));
        out
    }
}

impl<'a> KvCommand<&'a [u8]> {
    /// Reads what [`KvCommand::encode`] wrote. Nothing is copied.
    ///
    /// # Errors
    /// `Malformed`: not what the format allows.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != [KIND, VERSION] {
            return Err(malformed("no kv command, or one of an unknown version"));
        }
        let (conditions, operations) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        let is_bounded = conditions <= limits::CONDITIONS_MAX && operations <= limits::BATCH_OPERATIONS_MAX;
        if !is_bounded || conditions + operations == 0 {
            return Err(malformed("a batch of nothing, or of too much"));
        }
        let conditions = (0..conditions).map(|_| read_condition(&mut reader)).collect::<Result<_, _>>()?;
        let operations = (0..operations).map(|_| Operation::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { conditions, operations })
    }
}

fn read_condition<'a>(reader: &mut Reader<'a>) -> Result<Condition<&'a [u8]>, Damage> {
    let (kind, collection, key) = (reader.u8()?, CollectionId(reader.u32()?), read_key(reader)?);
    if collection >= RESERVED {
        return Err(malformed("a condition in a collection that is reserved"));
    }
    let expected = match kind {
        1 => Expected::Absent,
        2 => Expected::Present,
        3 => Expected::Stamp(Stamp(reader.u64()?)),
        _ => return Err(malformed("an unknown kind of condition")),
    };
    Ok(Condition { collection, key, expected })
}

fn append_key(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(&u16::try_from(key.len()).expect("checked before").to_be_bytes());
    out.extend_from_slice(key);
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Damage> {
    let bytes = usize::from(reader.u16()?);
    if bytes > limits::KEY_BYTES_MAX { Err(malformed("a key over its limit")) } else { reader.take(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = KvCommand<Vec<u8>>;

    fn some_command() -> impl Strategy<Value = Owned> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..12);
        let place = || (0..RESERVED.0).prop_map(CollectionId);
        let expected = prop_oneof![
            Just(Expected::Absent),
            Just(Expected::Present),
            any::<u64>().prop_map(|n| Expected::Stamp(Stamp(n)))
        ];
        let condition = (place(), bytes(), expected).prop_map(|(collection, key, expected)| Condition {
            collection,
            key,
            expected,
        });
        let expiry = prop_oneof![
            Just(Expiry::Never),
            (1..u64::MAX).prop_map(Expiry::At),
            (1..u64::MAX).prop_map(Expiry::After)
        ];
        let put = (place(), bytes(), bytes(), expiry)
            .prop_map(|(collection, key, value, expiry)| Operation::Put { collection, key, value, expiry });
        let delete = (place(), bytes()).prop_map(|(collection, key)| Operation::Delete { collection, key });
        let range = (place(), bytes(), proptest::option::of(bytes()))
            .prop_map(|(collection, start, end)| Operation::DeleteRange { collection, start, end });
        let conditions = proptest::collection::vec(condition, 0..4);
        let operations = proptest::collection::vec(prop_oneof![put, delete, range], 1..6);
        (conditions, operations).prop_map(|(conditions, operations)| KvCommand { conditions, operations })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(command in some_command(), cut in any::<prop::sample::Index>()) {
            command.check().unwrap();
            let bytes = command.encode();
            prop_assert!(bytes.len() <= command.encoded_bytes());
            let read = KvCommand::decode(&bytes).unwrap();
            prop_assert_eq!(read.encode(), bytes.clone());
            prop_assert_eq!(read.counts(), command.counts());
            prop_assert!(KvCommand::decode(&bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(KvCommand::decode(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn applied_bytes_bound_what_is_applied(command in some_command()) {
            for one in &command.operations {
                let (key, end, value) = one.pieces();
                let row = |key: &[u8]| engine::key::row(engine::ids::TenantId(1), one.collection(), key).len();
                let rows = row(key) + if matches!(one, Operation::DeleteRange { .. }) { row(end) } else { 0 };
                prop_assert!(rows + value.len() + 64 <= one.applied_bytes());
            }
        }
    }

    fn put(key: Vec<u8>, value: Vec<u8>) -> Operation<Vec<u8>> {
        Operation::Put { collection: CollectionId(1), key, value, expiry: Expiry::Never }
    }

    fn of(operations: Vec<Operation<Vec<u8>>>) -> Owned {
        KvCommand { conditions: vec![], operations }
    }

    #[test]
    fn bounds_are_checked_before_it_is_proposed() {
        let checked = |operations| of(operations).check();
        assert_eq!(checked(vec![]), Err(Refused::Empty));
        let (key, value) = (limits::KEY_BYTES_MAX, limits::VALUE_BYTES_MAX);
        assert_eq!(checked(vec![put(vec![1; key], vec![0; value])]), Ok(()));
        let is_over =
            |refused, what| matches!(refused, Err(Refused::TooLarge { what: was, .. }) if was == what);
        assert!(is_over(checked(vec![put(vec![0; key + 1], vec![])]), "key bytes"));
        assert!(is_over(checked(vec![put(vec![], vec![0; value + 1])]), "value bytes"));
        assert!(is_over(checked(vec![put(vec![1], vec![0; value]); 7]), "bytes of a batch"));
        assert_eq!(checked(vec![put(vec![1], vec![0; value]); 6]), Ok(()));
        let many = limits::BATCH_OPERATIONS_MAX;
        assert_eq!(checked(vec![put(vec![1], vec![]); many]), Ok(()));
        assert!(is_over(checked(vec![put(vec![1], vec![]); many + 1]), "operations of a batch"));
        let range = Operation::DeleteRange {
            collection: CollectionId(1),
            start: vec![],
            end: Some(vec![0; key + 1]),
        };
        assert!(is_over(checked(vec![range]), "key bytes"));
        let reserved = Operation::Delete { collection: raft::machine::once::COLLECTION, key: vec![] };
        assert_eq!(checked(vec![reserved]), Err(Refused::Reserved(raft::machine::once::COLLECTION)));
        for expiry in [Expiry::At(0), Expiry::After(0)] {
            let put = Operation::Put { collection: CollectionId(1), key: vec![], value: vec![], expiry };
            assert_eq!(checked(vec![put]), Err(Refused::ZeroExpiry));
        }
        let condition = Condition { collection: CollectionId(1), key: vec![], expected: Expected::Absent };
        let conditions = |n| KvCommand { conditions: vec![condition.clone(); n], operations: vec![] }.check();
        assert_eq!(conditions(limits::CONDITIONS_MAX), Ok(()));
        assert!(is_over(conditions(limits::CONDITIONS_MAX + 1), "conditions of a batch"));
    }

    #[test]
    fn a_tenants_bytes_are_not_printed() {
        let command = KvCommand {
            conditions: vec![Condition {
                collection: CollectionId(1),
                key: b"secret".to_vec(),
                expected: Expected::Absent,
            }],
            operations: vec![put(b"secret".to_vec(), b"secret".to_vec())],
        };
        let printed = format!("{command:?}");
        assert!(!printed.contains("secret") && !printed.contains("115"), "{printed}");
    }
}
