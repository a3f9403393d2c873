//! Pure: the identities the engine speaks of. Each is its own type with one printed form,
//! so that two bare numbers never share a signature.

use std::fmt;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:0", $digits, "x}"), self.0)
            }
        }
    };
}

number_id!(
    /// One customer's isolated data. Random, so it leaks no name; 0 is the cluster itself.
    TenantId, u64, "t-", "16"
);
number_id!(
    /// A named keyspace inside a tenant.
    CollectionId, u32, "c-", "8"
);
number_id!(
    /// One shard replica's store on this node.
    TabletId, u64, "tablet-", "1"
);
number_id!(
    /// A running server.
    NodeId, u64, "n-", "1"
);
number_id!(
    /// Which data key of an owner and purpose; 0 is never used.
    KeyEpoch, u32, "e", "1"
);
number_id!(
    /// Position of an entry in its group's Raft log; 0 is before the first.
    LogIndex, u64, "i", "1"
);

/// The cluster a byte was sealed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// A table file: 16 random bytes, also its name on disk. Never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub [u8; 16]);

/// Eight public bytes derived from a key and its scope: names a key without telling it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// The bytes that `text` spells in lower-case hexadecimal, if it spells exactly `N`.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (at, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *at = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(out)
}

impl TableId {
    /// The id that `text`, as printed by `Display`, names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl ClusterId {
    /// The id that `text`, as printed by `Display`, names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Whose key seals a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The cluster itself (system rows, footers). Owner kind 1, id 0.
    Cluster,
    /// This node (its catalog and log frames). Owner kind 2.
    Node(NodeId),
    /// A tenant. Owner kind 3.
    Tenant(TenantId),
}

impl Owner {
    /// The byte that stands for the kind in every format.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            Self::Cluster => 1,
            Self::Node(_) => 2,
            Self::Tenant(_) => 3,
        }
    }

    /// The number that stands for the owner in every format; 0 for the cluster.
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::Cluster => 0,
            Self::Node(node) => node.0,
            Self::Tenant(tenant) => tenant.0,
        }
    }

    /// The owner that `kind` and `id` stand for, if any does.
    #[must_use]
    pub fn from_parts(kind: u8, id: u64) -> Option<Self> {
        match (kind, id) {
            (1, 0) => Some(Self::Cluster),
            (2, id) => Some(Self::Node(NodeId(id))),
            (3, id) => Some(Self::Tenant(TenantId(id))),
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(node) => write!(f, "{node}"),
            Self::Tenant(tenant) => write!(f, "{tenant}"),
        }
    }
}

/// What a data key is for. The numbers are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Wrapping other keys.
    Wrap = 0,
    /// Table files.
    Data = 1,
    /// Log entry bodies.
    Log = 2,
    /// Archive ticks.
    Tick = 3,
    /// Rows of the meta group, checkpoint listings.
    Meta = 4,
    /// Account secrets.
    Account = 5,
    /// Audit payloads.
    Audit = 6,
    /// Catalog values.
    Catalog = 7,
    /// Message authentication: footers, log chains.
    Mac = 8,
    /// Blind indexes and log tags.
    Index = 9,
    /// Masking pseudonyms.
    Mask = 10,
    /// Single fields.
    Field = 11,
    /// Exports.
    Export = 12,
    /// State digests; never rotated.
    Digest = 13,
    /// Signatures of what the cluster publishes; never rotated.
    Sign = 14,
}

impl Purpose {
    /// Every purpose, by number.
    pub const ALL: [Self; 15] = [
        Self::Wrap,
        Self::Data,
        Self::Log,
        Self::Tick,
        Self::Meta,
        Self::Account,
        Self::Audit,
        Self::Catalog,
        Self::Mac,
        Self::Index,
        Self::Mask,
        Self::Field,
        Self::Export,
        Self::Digest,
        Self::Sign,
    ];

    /// The purpose that `number` stands for, if any does.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Wrap => "wrap",
            Self::Data => "data",
            Self::Log => "log",
            Self::Tick => "tick",
            Self::Meta => "meta",
            Self::Account => "account",
            Self::Audit => "audit",
            Self::Catalog => "catalog",
            Self::Mac => "mac",
            Self::Index => "index",
            Self::Mask => "mask",
            Self::Field => "field",
            Self::Export => "export",
            Self::Digest => "digest",
            Self::Sign => "sign",
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_ids_parse_back() {
        let id = TableId([0xa5; 16]);
        assert_eq!(TableId::parse(&id.to_string()), Some(id));
        assert_eq!(TableId::parse("xyz"), None);
        let cluster = ClusterId([0xc1; 16]);
        assert_eq!(ClusterId::parse(&cluster.to_string()), Some(cluster));
        assert_eq!(TableId::parse(&"A5".repeat(16)), None, "one printed form each");
    }

    #[test]
    fn owners_and_purposes_survive_their_numbers() {
        for owner in [Owner::Cluster, Owner::Node(NodeId(7)), Owner::Tenant(TenantId(9))] {
            assert_eq!(Owner::from_parts(owner.kind(), owner.id()), Some(owner));
        }
        assert_eq!(Owner::from_parts(1, 5), None);
        assert_eq!(Owner::from_parts(4, 0), None);
        for (number, purpose) in (0..).zip(Purpose::ALL) {
            assert_eq!(purpose as u8, number);
            assert_eq!(Purpose::from_number(number), Some(purpose));
        }
        assert_eq!(Purpose::from_number(15), None);
    }
}
