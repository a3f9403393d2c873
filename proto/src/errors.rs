//! Pure: the one table of errors. The kind says what to do and is closed; the code says what happened and grows for ever: it is never
//! given to anything else, and never taken away. `docs/errors.md` is made from this table.

/// What the caller should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Correct the request.
    Invalid,
    /// Stop.
    Denied,
    /// Read again, and decide again.
    Conflict,
    /// Send the same again, after the time that is told.
    Unavailable,
    /// Ask for the outcome first.
    Unknown,
    /// Begin from a newer state, or stop.
    Gone,
    /// Ask another replica: this one does not verify.
    Damaged,
    /// Report it.
    Internal,
}

/// Whether the same may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RetryClass {
    /// It fails again.
    Never,
    /// Only after reading what there is now.
    Reread,
    /// The same, after a while.
    Same,
    /// The same: it is applied once at most, and answered with its outcome.
    Ask,
}

/// One error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub code: u32,
    /// Its name.
    pub name: &'static str,
    /// What the caller should do.
    pub kind: Kind,
    /// Whether the same may be sent again.
    pub retry: RetryClass,
    /// The version that has it first.
    pub since: &'static str,
    /// What has happened.
    pub says: &'static str,
    /// Why it does.
    pub cause: &'static str,
    /// What to do.
    pub action: &'static str,
}

impl Kind {
    /// The status of gRPC that goes with it, as its number.
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Self::Invalid => 3,
            Self::Unknown => 4,
            Self::Denied => 7,
            Self::Gone => 9,
            Self::Conflict => 10,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Damaged => 15,
        }
    }
}

impl Entry {
    /// How it is written: `DEW-4003`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("DEW-{:04}", self.code)
    }
}

/// The entry of a code.
#[must_use]
pub fn find(code: u32) -> Option<&'static Entry> {
    TABLE.binary_search_by_key(&code, |entry| entry.code).ok().and_then(|at| TABLE.get(at))
}

/// The page of all errors.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Errors\n\nMade from `proto/src/errors.rs`. `dew explain CODE` prints the same.\n\n\
         | code | name | kind | again | what happened | cause | what to do |\n|---|---|---|---|---|---|---|\n",
    );
    for entry in TABLE {
        let Entry { name, kind, retry, says, cause, action, .. } = entry;
        let label = entry.label();
        out.push_str(&format!("| {label} | {name} | {kind:?} | {retry:?} | {says} | {cause} | {action} |\n"));
    }
    out
}

/// The codes, by name.
pub mod code {
    /// The request makes no sense.
    pub const MALFORMED: u32 = 1001;
    /// The key is too long.
    pub const KEY_TOO_LONG: u32 = 1002;
    /// The value is too long.
    pub const VALUE_TOO_LONG: u32 = 1003;
    /// The batch is too large.
    pub const BATCH_TOO_LARGE: u32 = 1004;
    /// The name is not allowed.
    pub const NAME_INVALID: u32 = 1005;
    /// The range is empty or ends before it begins.
    pub const RANGE_INVALID: u32 = 1006;
    /// This server lacks a feature that the request depends on.
    pub const FEATURE_MISSING: u32 = 1007;
    /// The batch touches more than one shard.
    pub const TWO_SHARDS: u32 = 1008;
    /// This is no place to resume this scan from.
    pub const RESUME_INVALID: u32 = 1009;
    /// A condition does not hold.
    pub const CONDITION_FAILED: u32 = 1010;
    /// This needs a certificate.
    pub const CERTIFICATE_NEEDED: u32 = 2001;
    /// This identity may not do that.
    pub const NOT_ALLOWED: u32 = 2002;
    /// The token is worth nothing.
    pub const TOKEN_INVALID: u32 = 2003;
    /// The certificate is worth nothing any more.
    pub const CERTIFICATE_REVOKED: u32 = 2004;
    /// The server does not prove that it is a node of the cluster.
    pub const SERVER_STRANGE: u32 = 2005;
    /// There is no such tenant.
    pub const TENANT_UNKNOWN: u32 = 3001;
    /// There is a tenant of this name.
    pub const TENANT_EXISTS: u32 = 3002;
    /// The tenant is frozen.
    pub const TENANT_FROZEN: u32 = 3003;
    /// The tenant is dropped.
    pub const TENANT_DROPPED: u32 = 3004;
    /// The tenant is not in a state that allows this.
    pub const TENANT_STATE: u32 = 3005;
    /// The tenant does more operations a second than it may.
    pub const QUOTA_RATE: u32 = 3006;
    /// The tenant holds as many bytes as it may.
    pub const QUOTA_BYTES: u32 = 3007;
    /// A key of the tenant is not here just now.
    pub const KEY_AWAY: u32 = 3008;
    /// The keys of the tenant are gone for good.
    pub const TENANT_SHREDDED: u32 = 3009;
    /// The tenant has as many collections as it may.
    pub const COLLECTIONS_FULL: u32 = 3010;
    /// Another node serves this shard.
    pub const WRONG_NODE: u32 = 4001;
    /// Nobody leads the shard just now.
    pub const NO_LEADER: u32 = 4002;
    /// The shard takes no more just now.
    pub const OVERLOADED: u32 = 4003;
    /// The node is starting.
    pub const STARTING: u32 = 4004;
    /// The node is stopping.
    pub const STOPPING: u32 = 4005;
    /// The disk of the node is nearly full.
    pub const DISK_FULL: u32 = 4006;
    /// There is no such node.
    pub const NODE_UNKNOWN: u32 = 4007;
    /// The node is not in a state that allows this.
    pub const NODE_STATE: u32 = 4008;
    /// There is no such group.
    pub const GROUP_UNKNOWN: u32 = 4009;
    /// The lead cannot be handed over now.
    pub const TRANSFER_REFUSED: u32 = 4010;
    /// It is not known whether the write was applied.
    pub const UNKNOWN_OUTCOME: u32 = 4011;
    /// The time of the call has run out.
    pub const DEADLINE: u32 = 4012;
    /// The change was made on an old state.
    pub const CHANGE_REFUSED: u32 = 4013;
    /// The cluster has as many nodes as it may.
    pub const NODES_FULL: u32 = 4014;
    /// No node can be reached.
    pub const UNREACHABLE: u32 = 4015;
    /// The history does not reach so far back.
    pub const HISTORY_GONE: u32 = 5001;
    /// The stamp lies in the future.
    pub const STAMP_AHEAD: u32 = 5002;
    /// There are as many watches here as there may be.
    pub const WATCH_LIMIT: u32 = 5003;
    /// The request came after its time.
    pub const REQUEST_EXPIRED: u32 = 5004;
    /// The request number was used for something else.
    pub const REQUEST_REUSED: u32 = 5005;
    /// The configuration is not valid.
    pub const CONFIG_INVALID: u32 = 8001;
    /// The passphrase does not open the root key.
    pub const PASSPHRASE: u32 = 8002;
    /// Others may read a file that holds a secret.
    pub const FILE_MODE: u32 = 8003;
    /// The disk of the node is older than what it once acknowledged.
    pub const NOT_ADMITTED: u32 = 8004;
    /// Another process uses the folder.
    pub const IN_USE: u32 = 8005;
    /// The folder holds no node.
    pub const NOT_INITIALISED: u32 = 8006;
    /// An address cannot be used.
    pub const ADDRESS: u32 = 8007;
    /// The input cannot be read.
    pub const INPUT: u32 = 8008;
    /// Stored bytes do not verify.
    pub const DAMAGED: u32 = 9001;
    /// The server has failed in a way that it should not.
    pub const INTERNAL: u32 = 9002;
}

/// Every error, in the order of the codes.
pub const TABLE: &[Entry] = &[
    entry(
        code::MALFORMED,
        "MALFORMED",
        (Kind::Invalid, RetryClass::Never),
        [
            "the request makes no sense",
            "a field is missing, or of a kind that the request does not allow",
            "correct the request; the text names the field",
        ],
    ),
    entry(
        code::KEY_TOO_LONG,
        "KEY_TOO_LONG",
        (Kind::Invalid, RetryClass::Never),
        ["the key is too long", "a key has at most 4 KiB, and at least one byte", "shorten the key"],
    ),
    entry(
        code::VALUE_TOO_LONG,
        "VALUE_TOO_LONG",
        (Kind::Invalid, RetryClass::Never),
        [
            "the value is too long",
            "a value has at most 1 MiB",
            "keep large values elsewhere, or cut them into several keys",
        ],
    ),
    entry(
        code::BATCH_TOO_LARGE,
        "BATCH_TOO_LARGE",
        (Kind::Invalid, RetryClass::Never),
        [
            "the batch is too large",
            "a batch has at most 8 MiB and 10,000 operations",
            "cut it into several batches",
        ],
    ),
    entry(
        code::NAME_INVALID,
        "NAME_INVALID",
        (Kind::Invalid, RetryClass::Never),
        [
            "the name is not allowed",
            "a name has 1 to 63 letters of a-z, 0-9, - or _, and begins with a letter",
            "choose another name",
        ],
    ),
    entry(
        code::RANGE_INVALID,
        "RANGE_INVALID",
        (Kind::Invalid, RetryClass::Never),
        [
            "the range is empty or ends before it begins",
            "start and end are not in order",
            "correct the range",
        ],
    ),
    entry(
        code::FEATURE_MISSING,
        "FEATURE_MISSING",
        (Kind::Invalid, RetryClass::Never),
        [
            "this server lacks a feature that the request depends on",
            "the server is older than the client",
            "upgrade the server, or do without the feature",
        ],
    ),
    entry(
        code::TWO_SHARDS,
        "TWO_SHARDS",
        (Kind::Invalid, RetryClass::Never),
        [
            "the batch touches more than one shard",
            "one batch is one entry of one shard",
            "split the batch by shard",
        ],
    ),
    entry(
        code::RESUME_INVALID,
        "RESUME_INVALID",
        (Kind::Invalid, RetryClass::Never),
        [
            "this is no place to resume this scan from",
            "it is of another scan, or was changed",
            "begin the scan again",
        ],
    ),
    entry(
        code::CONDITION_FAILED,
        "CONDITION_FAILED",
        (Kind::Conflict, RetryClass::Reread),
        [
            "a condition does not hold",
            "somebody else has written the key since it was read",
            "read again and decide again",
        ],
    ),
    entry(
        code::CERTIFICATE_NEEDED,
        "CERTIFICATE_NEEDED",
        (Kind::Denied, RetryClass::Never),
        [
            "this needs a certificate",
            "no certificate was shown, or none of this cluster",
            "connect with a certificate that this cluster has issued",
        ],
    ),
    entry(
        code::NOT_ALLOWED,
        "NOT_ALLOWED",
        (Kind::Denied, RetryClass::Never),
        [
            "this identity may not do that",
            "who calls has no right to this, or the tenant is another's",
            "use the identity that this belongs to, or ask an administrator",
        ],
    ),
    entry(
        code::TOKEN_INVALID,
        "TOKEN_INVALID",
        (Kind::Denied, RetryClass::Never),
        [
            "the token is worth nothing",
            "it was spent, has expired, or is of another cluster",
            "make a new one with `dew node add`",
        ],
    ),
    entry(
        code::CERTIFICATE_REVOKED,
        "CERTIFICATE_REVOKED",
        (Kind::Denied, RetryClass::Never),
        ["the certificate is worth nothing any more", "its node was removed", "join again, under a new id"],
    ),
    entry(
        code::SERVER_STRANGE,
        "SERVER_STRANGE",
        (Kind::Denied, RetryClass::Never),
        [
            "the server does not prove that it is a node of the cluster",
            "its certificate is of another authority or another cluster, is no node's, or has expired",
            "correct the address or the authority; if both are right, somebody stands in between",
        ],
    ),
    entry(
        code::TENANT_UNKNOWN,
        "TENANT_UNKNOWN",
        (Kind::Invalid, RetryClass::Never),
        [
            "there is no such tenant",
            "the name is wrong, or the tenant was dropped long ago",
            "look at `dew tenant list`",
        ],
    ),
    entry(
        code::TENANT_EXISTS,
        "TENANT_EXISTS",
        (Kind::Conflict, RetryClass::Reread),
        ["there is a tenant of this name", "names are given once", "choose another name"],
    ),
    entry(
        code::TENANT_FROZEN,
        "TENANT_FROZEN",
        (Kind::Denied, RetryClass::Never),
        ["the tenant is frozen", "an administrator has frozen it", "unfreeze it with `dew tenant unfreeze`"],
    ),
    entry(
        code::TENANT_DROPPED,
        "TENANT_DROPPED",
        (Kind::Denied, RetryClass::Never),
        [
            "the tenant is dropped",
            "an administrator has dropped it; it can be undropped until the window has passed",
            "take it back with `dew tenant undrop`",
        ],
    ),
    entry(
        code::TENANT_STATE,
        "TENANT_STATE",
        (Kind::Conflict, RetryClass::Reread),
        [
            "the tenant is not in a state that allows this",
            "it is frozen, dropped, or active already",
            "look at `dew tenant show`",
        ],
    ),
    entry(
        code::QUOTA_RATE,
        "QUOTA_RATE",
        (Kind::Unavailable, RetryClass::Same),
        [
            "the tenant does more operations a second than it may",
            "its quota of operations a second is used up",
            "wait as told, or raise the quota with `dew tenant set`",
        ],
    ),
    entry(
        code::QUOTA_BYTES,
        "QUOTA_BYTES",
        (Kind::Invalid, RetryClass::Never),
        [
            "the tenant holds as many bytes as it may",
            "its quota of bytes is used up",
            "delete data, or raise the quota with `dew tenant set`",
        ],
    ),
    entry(
        code::KEY_AWAY,
        "KEY_AWAY",
        (Kind::Unavailable, RetryClass::Same),
        [
            "a key of the tenant is not here just now",
            "the node has not learnt of it yet, or cannot unwrap it",
            "wait as told; if it lasts, read the findings of `dew status`",
        ],
    ),
    entry(
        code::TENANT_SHREDDED,
        "TENANT_SHREDDED",
        (Kind::Gone, RetryClass::Never),
        [
            "the keys of the tenant are gone for good",
            "the tenant was shredded",
            "nothing can be read any more",
        ],
    ),
    entry(
        code::COLLECTIONS_FULL,
        "COLLECTIONS_FULL",
        (Kind::Invalid, RetryClass::Never),
        [
            "the tenant has as many collections as it may",
            "collections are numbered and never removed",
            "use fewer collections, and keys with a prefix",
        ],
    ),
    entry(
        code::WRONG_NODE,
        "WRONG_NODE",
        (Kind::Unavailable, RetryClass::Same),
        [
            "another node serves this shard",
            "the lead has moved, or the map is old",
            "ask the node that is named",
        ],
    ),
    entry(
        code::NO_LEADER,
        "NO_LEADER",
        (Kind::Unavailable, RetryClass::Same),
        [
            "nobody leads the shard just now",
            "an election is under way, or a quorum is away",
            "wait as told; if it lasts, read the findings of `dew status`",
        ],
    ),
    entry(
        code::OVERLOADED,
        "OVERLOADED",
        (Kind::Unavailable, RetryClass::Same),
        [
            "the shard takes no more just now",
            "its leader has more to do than it may keep waiting",
            "wait as told; if it lasts a minute, read the findings of `dew status`",
        ],
    ),
    entry(
        code::STARTING,
        "STARTING",
        (Kind::Unavailable, RetryClass::Same),
        [
            "the node is starting",
            "it waits for its peers or applies its log",
            "ask another node, or wait as told",
        ],
    ),
    entry(
        code::STOPPING,
        "STOPPING",
        (Kind::Unavailable, RetryClass::Same),
        ["the node is stopping", "it was told to", "ask another node"],
    ),
    entry(
        code::DISK_FULL,
        "DISK_FULL",
        (Kind::Unavailable, RetryClass::Same),
        [
            "the disk of the node is nearly full",
            "less space is free than the node needs to stay safe",
            "free space, or add a node; reads go on",
        ],
    ),
    entry(
        code::NODE_UNKNOWN,
        "NODE_UNKNOWN",
        (Kind::Invalid, RetryClass::Never),
        ["there is no such node", "the id is wrong, or the node was removed", "look at `dew node list`"],
    ),
    entry(
        code::NODE_STATE,
        "NODE_STATE",
        (Kind::Conflict, RetryClass::Reread),
        [
            "the node is not in a state that allows this",
            "it is draining, holds replicas, or was removed",
            "look at `dew node list`",
        ],
    ),
    entry(
        code::GROUP_UNKNOWN,
        "GROUP_UNKNOWN",
        (Kind::Invalid, RetryClass::Never),
        ["there is no such group", "the id is wrong", "look at `dew status`"],
    ),
    entry(
        code::TRANSFER_REFUSED,
        "TRANSFER_REFUSED",
        (Kind::Unavailable, RetryClass::Same),
        [
            "the lead cannot be handed over now",
            "the replica is behind, silent, or its clock is not agreed",
            "wait, and look at `dew status`",
        ],
    ),
    entry(
        code::UNKNOWN_OUTCOME,
        "UNKNOWN_OUTCOME",
        (Kind::Unknown, RetryClass::Ask),
        [
            "it is not known whether the write was applied",
            "the answer of the quorum was not heard in time",
            "send the same request again: it is applied once at most",
        ],
    ),
    entry(
        code::DEADLINE,
        "DEADLINE",
        (Kind::Unknown, RetryClass::Ask),
        [
            "the time of the call has run out",
            "the server did not finish within the deadline",
            "send the same request again, or give it more time",
        ],
    ),
    entry(
        code::CHANGE_REFUSED,
        "CHANGE_REFUSED",
        (Kind::Conflict, RetryClass::Reread),
        [
            "the change was made on an old state",
            "somebody else has changed the same since",
            "look again and decide again",
        ],
    ),
    entry(
        code::NODES_FULL,
        "NODES_FULL",
        (Kind::Invalid, RetryClass::Never),
        [
            "the cluster has as many nodes as it may",
            "more than the limit have joined",
            "remove nodes that are gone",
        ],
    ),
    entry(
        code::UNREACHABLE,
        "UNREACHABLE",
        (Kind::Unavailable, RetryClass::Same),
        [
            "no node can be reached",
            "none listens at the addresses that are known, or the connection was cut before the request was sent",
            "look at the addresses, the network and the nodes; then send the same again",
        ],
    ),
    entry(
        code::HISTORY_GONE,
        "HISTORY_GONE",
        (Kind::Gone, RetryClass::Reread),
        [
            "the history does not reach so far back",
            "the tenant's history window has passed that moment",
            "read a newer moment, or restore from an archive",
        ],
    ),
    entry(
        code::STAMP_AHEAD,
        "STAMP_AHEAD",
        (Kind::Invalid, RetryClass::Never),
        ["the stamp lies in the future", "the clock of who asks is wrong", "correct the clock"],
    ),
    entry(
        code::WATCH_LIMIT,
        "WATCH_LIMIT",
        (Kind::Unavailable, RetryClass::Same),
        [
            "there are as many watches here as there may be",
            "the node serves no more",
            "wait, or ask another node",
        ],
    ),
    entry(
        code::REQUEST_EXPIRED,
        "REQUEST_EXPIRED",
        (Kind::Gone, RetryClass::Never),
        [
            "the request came after its time",
            "it was sent again after its retry window",
            "read what became of it, then send a new request",
        ],
    ),
    entry(
        code::REQUEST_REUSED,
        "REQUEST_REUSED",
        (Kind::Invalid, RetryClass::Never),
        [
            "the request number was used for something else",
            "the same session and number came with another time or body",
            "use every number once",
        ],
    ),
    entry(
        code::CONFIG_INVALID,
        "CONFIG_INVALID",
        (Kind::Invalid, RetryClass::Never),
        [
            "the configuration is not valid",
            "a key is unknown, or a value is out of its range",
            "correct it; `dewpond config explain KEY` tells more",
        ],
    ),
    entry(
        code::PASSPHRASE,
        "PASSPHRASE",
        (Kind::Denied, RetryClass::Never),
        [
            "the passphrase does not open the root key",
            "it is another one, or the file was changed",
            "use the passphrase that the cluster was made with",
        ],
    ),
    entry(
        code::FILE_MODE,
        "FILE_MODE",
        (Kind::Denied, RetryClass::Never),
        ["others may read a file that holds a secret", "its mode is wider than 0600", "chmod 600 the file"],
    ),
    entry(
        code::NOT_ADMITTED,
        "NOT_ADMITTED",
        (Kind::Gone, RetryClass::Never),
        [
            "the disk of the node is older than what it once acknowledged",
            "a copy or an old state of it was put back",
            "wipe the folder and join again",
        ],
    ),
    entry(
        code::IN_USE,
        "IN_USE",
        (Kind::Conflict, RetryClass::Never),
        ["another process uses the folder", "a server runs on it", "stop that one first"],
    ),
    entry(
        code::NOT_INITIALISED,
        "NOT_INITIALISED",
        (Kind::Invalid, RetryClass::Never),
        [
            "the folder holds no node",
            "neither `init` nor `join` was run on it",
            "run `dewpond init` or `dewpond join`",
        ],
    ),
    entry(
        code::ADDRESS,
        "ADDRESS",
        (Kind::Invalid, RetryClass::Never),
        ["an address cannot be used", "it is taken, or no address", "choose another one"],
    ),
    entry(
        code::INPUT,
        "INPUT",
        (Kind::Invalid, RetryClass::Never),
        ["the input cannot be read", "a line is not what it should be", "correct the line that is named"],
    ),
    entry(
        code::DAMAGED,
        "DAMAGED",
        (Kind::Damaged, RetryClass::Same),
        [
            "stored bytes do not verify",
            "rot or tampering on the disk of the node",
            "ask another replica; replace the disk of this node",
        ],
    ),
    entry(
        code::INTERNAL,
        "INTERNAL",
        (Kind::Internal, RetryClass::Never),
        ["the server has failed in a way that it should not", "a bug", "report it with the request id"],
    ),
];

const fn entry(
    code: u32,
    name: &'static str,
    (kind, retry): (Kind, RetryClass),
    [says, cause, action]: [&'static str; 3],
) -> Entry {
    Entry { code, name, kind, retry, since: "0.1", says, cause, action }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_error_says_why_and_what_to_do() {
        let names: BTreeSet<_> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TABLE.len(), "a name is given twice");
        assert!(TABLE.is_sorted_by(|one, next| one.code < next.code), "codes are unique and in order");
        for entry in TABLE {
            let texts = [entry.says, entry.cause, entry.action];
            assert!(texts.iter().all(|text| text.len() > 3 && !text.contains('|')), "{}", entry.label());
            assert!((1000..10_000).contains(&entry.code) && find(entry.code) == Some(entry));
        }
        assert_eq!(find(1), None);
    }

    #[test]
    fn a_kind_that_may_be_sent_again_says_so() {
        for entry in TABLE {
            let may = matches!(entry.retry, RetryClass::Same | RetryClass::Ask);
            let should = matches!(entry.kind, Kind::Unavailable | Kind::Damaged | Kind::Unknown);
            assert_eq!(may, should, "{}", entry.label());
        }
    }
}
