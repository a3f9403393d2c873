//! Pure: every error, once. From each row come its constant and its entry, so that no code is without either. A row is: number, name,
//! kind, whether it may be sent again, the version that has it first; what happened; why; what to do; and a runbook, where there is one.

use super::{Entry, Kind, RetryClass};

macro_rules! table {
    ($($code:literal $name:ident $kind:ident $retry:ident $since:literal $says:literal, $cause:literal, $action:literal $(, $runbook:literal)?;)+) => {
        /// The codes, by name.
        pub mod code {
            $(#[doc = $says] pub const $name: u32 = $code;)+
        }

        /// Every error, in the order of the codes.
        pub const TABLE: &[Entry] = &[$(Entry {
            code: $code,
            name: stringify!($name),
            kind: Kind::$kind,
            retry: RetryClass::$retry,
            since: $since,
            says: $says,
            cause: $cause,
            action: $action,
            runbook: runbook!($($runbook)?),
        },)+];
    };
}

macro_rules! runbook {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

table! {
    1001 MALFORMED Invalid Never "0.1"
        "the request makes no sense",
        "a field is missing, or of a kind that the request does not allow",
        "correct the request; the text names the field";
    1002 KEY_TOO_LONG Invalid Never "0.1"
        "the key is too long",
        "a key has at most 4 KiB, and at least one byte",
        "shorten the key";
    1003 VALUE_TOO_LONG Invalid Never "0.1"
        "the value is too long",
        "a value has at most 1 MiB",
        "keep large values elsewhere, or cut them into several keys";
    1004 BATCH_TOO_LARGE Invalid Never "0.1"
        "the batch is too large",
        "a batch has at most 8 MiB and 10,000 operations",
        "cut it into several batches";
    1005 NAME_INVALID Invalid Never "0.1"
        "the name is not allowed",
        "a name has 1 to 63 letters of a-z, 0-9, - or _, and begins with a letter",
        "choose another name";
    1006 RANGE_INVALID Invalid Never "0.1"
        "the range is empty or ends before it begins",
        "start and end are not in order",
        "correct the range";
    1007 FEATURE_MISSING Invalid Never "0.1"
        "this server lacks a feature that the request depends on",
        "the server is older than the client",
        "upgrade the server, or do without the feature";
    1008 TWO_SHARDS Invalid Never "0.1"
        "the batch touches more than one shard",
        "one batch is one entry of one shard",
        "split the batch by shard";
    1009 RESUME_INVALID Invalid Never "0.1"
        "this is no place to resume this scan from",
        "it is of another scan, or was changed",
        "begin the scan again";
    1010 CONDITION_FAILED Conflict Reread "0.1"
        "a condition does not hold",
        "somebody else has written the key since it was read",
        "read again and decide again";
    2001 CERTIFICATE_NEEDED Denied Never "0.1"
        "this needs a certificate",
        "no certificate was shown, or none of this cluster",
        "connect with a certificate that this cluster has issued";
    2002 NOT_ALLOWED Denied Never "0.1"
        "this identity may not do that",
        "who calls has no right to this, or the tenant is another's",
        "use the identity that this belongs to, or ask an administrator";
    2003 TOKEN_INVALID Denied Never "0.1"
        "the token is worth nothing",
        "it was spent, has expired, or is of another cluster",
        "make a new one with `dew node add`";
    2004 CERTIFICATE_REVOKED Denied Never "0.1"
        "the certificate is worth nothing any more",
        "its node was removed",
        "join again, under a new id";
    2005 SERVER_STRANGE Denied Never "0.1"
        "the server does not prove that it is a node of the cluster",
        "its certificate is of another authority or another cluster, is no node's, or has expired",
        "correct the address or the authority; if both are right, somebody stands in between";
    2006 CLUSTER_OTHER Denied Never "0.1"
        "this is another cluster",
        "the certificate, the token or the peer belongs to a cluster of another id",
        "look at the address, and use what the cluster there has issued";
    2007 CERTIFICATE_EXPIRED Denied Never "0.1"
        "the certificate has expired",
        "it was not renewed in time, or a clock is wrong",
        "have a new one issued; a node renews its own while it can reach the cluster";
    3001 TENANT_UNKNOWN Invalid Never "0.1"
        "there is no such tenant",
        "the name is wrong, or the tenant was dropped long ago",
        "look at `dew tenant list`";
    3002 TENANT_EXISTS Conflict Reread "0.1"
        "there is a tenant of this name",
        "names are given once",
        "choose another name";
    3003 TENANT_FROZEN Denied Never "0.1"
        "the tenant is frozen",
        "an administrator has frozen it",
        "unfreeze it with `dew tenant unfreeze`";
    3004 TENANT_DROPPED Denied Never "0.1"
        "the tenant is dropped",
        "an administrator has dropped it; it can be undropped until the window has passed",
        "take it back with `dew tenant undrop`";
    3005 TENANT_STATE Conflict Reread "0.1"
        "the tenant is not in a state that allows this",
        "it is frozen, dropped, or active already",
        "look at `dew tenant show`";
    3006 QUOTA_RATE Unavailable Same "0.1"
        "the tenant does more operations a second than it may",
        "its quota of operations a second is used up",
        "wait as told, or raise the quota with `dew tenant set`";
    3007 QUOTA_BYTES Invalid Never "0.1"
        "the tenant holds as many bytes as it may",
        "its quota of bytes is used up",
        "delete data, or raise the quota with `dew tenant set`";
    3008 KEY_AWAY Unavailable Same "0.1"
        "a key of the tenant is not here just now",
        "the node has not learnt of it yet, or cannot unwrap it",
        "wait as told; if it lasts, read the findings of `dew status`";
    3009 TENANT_SHREDDED Gone Never "0.1"
        "the keys of the tenant are gone for good",
        "the tenant was shredded",
        "nothing can be read any more";
    3010 COLLECTIONS_FULL Invalid Never "0.1"
        "the tenant has as many collections as it may",
        "collections are numbered and never removed",
        "use fewer collections, and keys with a prefix";
    4001 WRONG_NODE Unavailable Same "0.1"
        "another node serves this shard",
        "the lead has moved, or the map is old",
        "ask the node that is named";
    4002 NO_LEADER Unavailable Same "0.1"
        "nobody leads the shard just now",
        "an election is under way, or a quorum is away",
        "wait as told; if it lasts, read the findings of `dew status`";
    4003 OVERLOADED Unavailable Same "0.1"
        "the shard takes no more just now",
        "its leader has more to do than it may keep waiting",
        "wait as told; if it lasts a minute, read the findings of `dew status`";
    4004 STARTING Unavailable Same "0.1"
        "the node is starting",
        "it waits for its peers or applies its log",
        "ask another node, or wait as told";
    4005 STOPPING Unavailable Same "0.1"
        "the node is stopping",
        "it was told to",
        "ask another node";
    4006 DISK_FULL Unavailable Same "0.1"
        "the disk of the node is nearly full",
        "less space is free than the node needs to stay safe",
        "free space, or add a node; reads go on";
    4007 NODE_UNKNOWN Invalid Never "0.1"
        "there is no such node",
        "the id is wrong, or the node was removed",
        "look at `dew node list`";
    4008 NODE_STATE Conflict Reread "0.1"
        "the node is not in a state that allows this",
        "it is draining, holds replicas, or was removed",
        "look at `dew node list`";
    4009 GROUP_UNKNOWN Invalid Never "0.1"
        "there is no such group",
        "the id is wrong",
        "look at `dew status`";
    4010 TRANSFER_REFUSED Unavailable Same "0.1"
        "the lead cannot be handed over now",
        "the replica is behind, silent, or its clock is not agreed",
        "wait, and look at `dew status`";
    4011 UNKNOWN_OUTCOME Unknown Ask "0.1"
        "it is not known whether the write was applied",
        "the answer of the quorum was not heard in time",
        "send the same request again: it is applied once at most";
    4012 DEADLINE Unknown Ask "0.1"
        "the time of the call has run out",
        "the server did not finish within the deadline",
        "send the same request again, or give it more time";
    4013 CHANGE_REFUSED Conflict Reread "0.1"
        "the change was made on an old state",
        "somebody else has changed the same since",
        "look again and decide again";
    4014 NODES_FULL Invalid Never "0.1"
        "the cluster has as many nodes as it may",
        "more than the limit have joined",
        "remove nodes that are gone";
    4015 UNREACHABLE Unavailable Same "0.1"
        "no node can be reached",
        "none listens at the addresses that are known, or the connection was cut before the request was sent",
        "look at the addresses, the network and the nodes; then send the same again";
    4016 JOB_UNKNOWN Invalid Never "0.1"
        "there is no such job",
        "the id is wrong, or the job ended long ago",
        "look at `dew job list`";
    4017 CLOCK_UNSURE Unavailable Same "0.1"
        "the node's clock does not agree with its peers",
        "it was set, or the machine slept; a node that is unsure of the time leads nothing and promises no age of a read",
        "ask another node; if it lasts, set the clock by a time service";
    4018 VERSION_APART Invalid Never "0.1"
        "client and server speak no common protocol",
        "one is more than two minor releases older than the other",
        "upgrade the older one";
    5001 HISTORY_GONE Gone Reread "0.1"
        "the history does not reach so far back",
        "the tenant's history window has passed that moment",
        "read a newer moment, or restore from an archive";
    5002 STAMP_AHEAD Invalid Never "0.1"
        "the stamp lies in the future",
        "the clock of who asks is wrong",
        "correct the clock";
    5003 WATCH_LIMIT Unavailable Same "0.1"
        "there are as many watches here as there may be",
        "the node serves no more",
        "wait, or ask another node";
    5004 REQUEST_EXPIRED Gone Never "0.1"
        "the request came after its time",
        "it was sent again after its retry window",
        "read what became of it, then send a new request";
    5005 REQUEST_REUSED Invalid Never "0.1"
        "the request number was used for something else",
        "the same session and number came with another time or body",
        "use every number once";
    6080 NOT_DELAYED Invalid Never "0.1"
        "the node is not delayed",
        "it applies everything at once, or no node of that name is there",
        "look at `dew delayed list`";
    6081 GATE_PASSED Gone Never "0.1"
        "the gate of the delayed node is past that moment",
        "what was asked for lies below what the node has applied already",
        "use a delayed node with a longer delay, or an archive";
    6082 NOT_RECEIVED Conflict Reread "0.1"
        "the delayed node does not have everything up to that moment yet",
        "it lags behind the cluster, or the moment lies in the future",
        "wait until `dew delayed list` says that it was received, or name an earlier moment";
    6083 GATE_BELOW Conflict Never "0.1"
        "too much lies between the gate of the delayed node and that moment",
        "it looks ahead of its gate in memory, over 64 MiB of writes at most",
        "move the gate first: `dew delayed forward`; the text names the commit";
    6084 NOT_PARKED Conflict Never "0.1"
        "no replica of the delayed node is parked",
        "there is nothing to accept: its log goes on without a hole",
        "look at `dew delayed list`";
    6085 DONATIONS_FULL Unavailable Same "0.1"
        "the delayed node gives back as much as it may at once",
        "donations are under way",
        "wait until `dew job list` says that one has ended";
    6086 PIN_UNKNOWN Invalid Never "0.1"
        "no such pin or legal hold is there",
        "it was never made, or it is of the other kind: `unpin` ends pins, `release` ends legal holds",
        "look at `dew backup pins`";
    6087 PIN_ENDED Conflict Never "0.1"
        "the pin or legal hold has ended",
        "its time is over, or somebody has ended it",
        "make a new one, while what it should keep is still there";
    6088 PIN_LESS Conflict Never "0.1"
        "a pin is only ever renewed to more",
        "what was asked for ends sooner, or keeps less than it does now",
        "end it instead: `dew backup unpin`, `dew backup release`";
    6089 GAP_UNKNOWN Invalid Never "0.1"
        "no such gap is in the log of the home site, or several are",
        "the id is wrong, or its last piece fits several",
        "look at `dew backup gap list`, and name it in full";
    6090 SCHEDULE_INVALID Invalid Never "0.1"
        "that is no schedule of snapshots",
        "a schedule is `every 6h`, `cron` with five fields or `off`, and times in which it is quiet; the text says what is wrong with this one",
        "correct it: `dew backup schedule --help` shows how it is written";
    6101 TARGET_UNREACHABLE Invalid Never "0.1"
        "the instant cannot be restored",
        "what is kept does not reach it, or it has not come yet; the text names the nearest ones that can",
        "choose one of the instants that the text names, or see `dew restore window`";
    6102 PLAN_STALE Conflict Reread "0.1"
        "the plan holds no more",
        "it is too old, was changed, or what it rests on is not as it was",
        "plan again, and look at what is different";
    6103 RESTORE_BUSY Conflict Reread "0.1"
        "another restore of this tenant is under way",
        "one at a time keeps each of them exact",
        "wait for it, or end it: `dew restore status`";
    6104 RESTORE_UNKNOWN Invalid Never "0.1"
        "there is no such restore",
        "its id is wrong, or it was forgotten a week after it ended",
        "see `dew restore status`";
    6105 RESTORE_STATE Conflict Reread "0.1"
        "the state of the restore does not allow that",
        "it has ended, or has not begun, or can no longer be taken back",
        "see `dew restore status`";
    6106 CONFIRM Invalid Never "0.1"
        "the name of the tenant was not typed again",
        "a restore in place puts aside what the tenant is now",
        "give the name once more: --confirm NAME";
    6107 TENANT_SWITCHING Unavailable Same "0.1"
        "a restore just puts the tenant in its place",
        "what was there goes aside, and for a moment neither is served",
        "wait as told: a client looks up the tenant again by itself";
    6110 DISK_FOREIGN Conflict Never "0.1"
        "the folder holds what belongs to another node, cluster or log",
        "a disk or folder of another node was put here",
        "put the right one back; nothing was touched";
    6111 LOG_DAMAGED Damaged Same "0.1"
        "the log has lost what it had made durable",
        "rot, or a file that is missing, before what later writes prove to have been there; the text names segment and byte",
        "look at the disk; remove the node, wipe its folder, and let it join anew";
    6112 REPLICA_DAMAGED Damaged Same "0.1"
        "bytes of a replica do not verify",
        "rot or tampering in its tables or in its note",
        "restart the node once; if it comes again, drain the node, remove it, and let it join anew on a disk that is sound";
    6113 NODE_COPIED Gone Never "0.1"
        "two starts of this node live",
        "its disk was copied, and both copies were started",
        "stop the one whose disk is the copy, and wipe that one";
    6114 KEY_LACKING Unavailable Same "0.1"
        "a key that is needed to go on is not here",
        "the key is missing, is another one, or has sealed as much as it may",
        "see `dew key list`; bring the key or rotate it, then start the node again";
    6115 START_FULL Unavailable Same "0.1"
        "there is no room for what must be written",
        "the disk or a quota on it is full",
        "make room outside the folder, and delete nothing in it; then start the node again";
    6116 DISK_FAILED Unavailable Same "0.1"
        "the disk, or the catalog on it, gives errors",
        "a read, a write or a sync failed; after a failed sync nothing on it is believed",
        "start the node once more; if it comes again, replace the disk, remove the node, and let it join anew";
    6117 REPLICA_BROKEN Internal Never "0.1"
        "something does not hold which must",
        "an entry that does not follow, that was changed, or that no replica can apply",
        "keep the log lines and report it; drain the node, remove it, and let it join anew";
    6118 REPLICA_WAITS Unavailable Same "0.1"
        "what a replica needs is not here yet",
        "the meta group on this node is behind, or too few peers answer",
        "see to the peers and to the replica of the meta group here, then start the node again";
    6119 MACHINE_UNFIT Internal Never "0.1"
        "this machine or build computes wrongly",
        "a cipher does not give its known answer",
        "use another machine, or the build that was released";
    6120 FENCED Unavailable Same "0.1"
        "the cluster has gone on without this node",
        "another node has taken over, and this one is of an earlier generation",
        "ask the node that is named; of the fenced one wipe the folder and let it join anew";
    6121 GENERATION_TAKEN Conflict Never "0.1"
        "another node takes over",
        "the archive knows of another takeover of this cluster, and two would be two clusters",
        "look which node it is, and join that one; the text names it";
    6122 PLAN_FIRST Invalid Never "0.1"
        "the name of the node was not typed again",
        "a takeover cuts off what was written behind its target, and ends the cluster that was",
        "look at --plan, then give the name once more: --confirm NAME";
    6123 DRILL_BUSY Unavailable Same "0.1"
        "a drill goes on at this node",
        "one at a time has the scratch folder",
        "wait until `dew drill list` says that it has ended, or ask another node";
    6150 READ_TOO_LARGE Invalid Never "0.1"
        "a read of the archive would fetch too much",
        "one reads at most a gibibyte of it, with everything of other tenants that lies in the same files",
        "restore the key or range instead: `dew restore plan`; or name a later moment to begin with";
    8001 CONFIG_INVALID Invalid Never "0.1"
        "the configuration is not valid",
        "a key is unknown, or a value is out of its range",
        "correct it; `dewpond config explain KEY` tells more";
    8002 PASSPHRASE Denied Never "0.1"
        "the passphrase does not open the root key",
        "it is another one, or the file was changed",
        "use the passphrase that the cluster was made with";
    8003 FILE_MODE Denied Never "0.1"
        "others may read a file that holds a secret",
        "its mode is wider than 0600",
        "chmod 600 the file";
    8004 NOT_ADMITTED Gone Never "0.1"
        "the disk of the node is older than what it once acknowledged",
        "a copy or an old state of it was put back",
        "wipe the folder and join again";
    8005 IN_USE Conflict Never "0.1"
        "another process uses the folder",
        "a server runs on it",
        "stop that one first";
    8006 NOT_INITIALISED Invalid Never "0.1"
        "the folder holds no node",
        "neither `init` nor `join` was run on it",
        "run `dewpond init` or `dewpond join`";
    8007 ADDRESS Invalid Never "0.1"
        "an address cannot be used",
        "it is taken, or no address",
        "choose another one";
    8008 INPUT Invalid Never "0.1"
        "the input cannot be read",
        "a line, a file or an argument is not what it should be",
        "correct what is named";
    8009 KMS_AWAY Unavailable Same "0.1"
        "the keeper of the root key does not answer",
        "it is down, or out of reach; it is needed at start and to rotate, never to read or write",
        "wait as told; a node that runs goes on serving";
    8010 DATA_NEWER Invalid Never "0.1"
        "the folder was written by a newer version",
        "the node was taken back to an older build after the upgrade was finished",
        "start the version that is named; nothing was touched";
    8011 SEALED Unavailable Same "0.1"
        "the node is sealed",
        "its keys do not open: the passphrase is missing or another one, or the keeper of the root key does not answer",
        "ask another node; put the passphrase in its file: the node looks again by itself";
    8020 ARCHIVE_AWAY Unavailable Same "0.1"
        "a site of the archive cannot be asked",
        "it is down, out of reach, full, or refuses the credentials",
        "look at the site that is named; what is committed meanwhile is kept by the nodes";
    8021 ARCHIVE_STALLED Unavailable Same "0.1"
        "the archive stands still and the disk is nearly full: no writes are taken",
        "the home site has been away for long, and history that is not archived is kept on the nodes",
        "bring the home site back, or make room; `archive.protect = availability` goes on without";
    9001 DAMAGED Damaged Same "0.1"
        "stored bytes do not verify",
        "rot or tampering on the disk of the node",
        "ask another replica; replace the disk of this node";
    9002 INTERNAL Internal Never "0.1"
        "the server has failed in a way that it should not",
        "a bug",
        "report it with the request id";
}
