//! Pure: every bound of the server, with its unit and its reason.

/// Bytes of a client's key.
pub const KEY_BYTES_MAX: usize = engine::limits::KEY_BYTES_MAX;
/// Bytes of a client's value.
pub const VALUE_BYTES_MAX: usize = engine::limits::VALUE_BYTES_MAX;
/// Operations of one batch: what one entry applies, less the row that keeps its reply.
pub const BATCH_OPERATIONS_MAX: usize = raft::limits::APPLY_OPERATIONS_MAX - 1;
/// Bytes of one batch as it is applied, keys escaped: what one entry applies, less the row that keeps its reply.
pub const BATCH_BYTES_MAX: usize = raft::limits::APPLY_BYTES_MAX - REPLY_ROW_BYTES;
/// Conditions of one batch: each is a read while everybody waits.
pub const CONDITIONS_MAX: usize = 1_000;
/// Bytes that the row of a kept reply takes at most: of ours no reply comes near it.
pub const REPLY_ROW_BYTES: usize = 4 << 10;
/// Bytes an operation costs beside its key and value when it is applied.
pub const OPERATION_BYTES: usize = 96;

/// Changes of one meta command: a tenant with all its keys, or a cluster with its shards.
pub const META_CHANGES_MAX: usize = 256;
/// Bytes of a name: of a tenant, a node, a region, a collection, a setting.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of an address: the longest name of DNS and a port.
pub const ADDRESS_BYTES_MAX: usize = 262;
/// Bytes of a certificate, or of a key that is wrapped or sealed.
pub const SECRET_BYTES_MAX: usize = 16 << 10;
/// Bytes of the value of a setting.
pub const SETTING_BYTES_MAX: usize = 4 << 10;
/// Bytes of a certificate's serial number: twenty, by its standard.
pub const SERIAL_BYTES_MAX: usize = 20;
/// How long a token is kept after it has ended, in milliseconds, so that whoever comes late is told why: a week.
pub const TOKEN_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Collections up to this number are a tenant's own.
pub const COLLECTIONS_MAX: u32 = 0xffff;

/// For how long the drop of a tenant can be undone if nobody says otherwise, in milliseconds: 30 days.
pub const QUARANTINE_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Between two looks for dropped tenants whose time is over, in milliseconds: nobody waits for it.
pub const PURGE_LOOK_MS: u64 = 1_000;
/// So many of these looks in a row find the cluster key due before it is rotated: tenants that go one after the other take one rotation.
pub const PURGE_TURN_LOOKS: u32 = 5;
/// For how long it can be undone at least, in milliseconds: a second, so that whoever drops the wrong one in a test can take it back.
pub const QUARANTINE_MS_MIN: u64 = 1_000;
/// For how long it can be undone at most, in milliseconds: a year, then what was to go must be gone.
pub const QUARANTINE_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// The longest history window of a tenant, in milliseconds: a year.
pub const HISTORY_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// The history window of a tenant if nobody says otherwise, in milliseconds: a day.
pub const HISTORY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Voters of a data group: one may be lost.
pub const DATA_VOTERS: usize = 3;
/// Voters of the meta group, at most: two may be lost; more only make it slower.
pub const META_VOTERS_MAX: usize = 5;
/// Shards of a new cluster, at most: a thousand groups are the practical limit of a node.
pub const FIRST_SHARDS_MAX: u32 = 1_024;

/// Memory that one derivation of a passphrase may take, in KiB: 1 GiB, so that a file that was tampered with takes no more.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Passes of one derivation: at the greatest memory a minute.
pub const KDF_PASSES_MAX: u32 = 16;
/// Lanes of one derivation.
pub const KDF_LANES_MAX: u32 = 16;
/// Bytes of a passphrase at least.
pub const PASSPHRASE_BYTES_MIN: usize = 8;
/// Bytes of a passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;
/// Root keys at one service: two are needed while one takes the place of the other.
pub const ROOTS_MAX: usize = 64;
/// Versions of the cluster key in a root file.
pub const CLUSTER_KEYS_MAX: usize = 64;
/// System keys and keys of the node in a root file: a few purposes, with all epochs that may still be needed.
pub const ROOT_KEYS_MAX: usize = 4_096;
/// Bytes of one wrapped key.
pub const WRAPPED_BYTES_MAX: usize = 1_024;
/// Bytes of what a key service keeps in a root file.
pub const KMS_BYTES_MAX: usize = 64 << 10;
/// Bytes of a root file.
pub const ROOT_FILE_BYTES_MAX: u64 = 8 << 20;
/// Bytes of the part of a root file that all nodes have alike, as a row of the meta group: some kilobytes, of which two versions of the cluster
/// key are a few hundred.
pub const ROOT_ROW_BYTES_MAX: usize = 48 << 10;
/// Keys of tenants that one step of a rotation of the cluster key wraps anew: a command of a few kilobytes, and a few milliseconds.
pub const REWRAPPED_KEYS_MAX: usize = 64;
/// Between two steps of a rotation of the cluster key, in milliseconds: a thousand tenants take eight seconds, and nobody notices.
pub const TURN_MS: u64 = 500;

/// Bytes of the name of a setting; longer ones are not compared when the nearest is looked for.
pub const SETTING_KEY_BYTES_MAX: usize = 64;
/// Bytes of a configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an identity, key or certificate file.
pub const IDENTITY_FILE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a certificate that a peer shows.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a certificate request of a node that joins.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Bytes of a join token, as text.
pub const TOKEN_TEXT_BYTES_MAX: usize = 4 << 10;
/// Addresses in a join token.
pub const TOKEN_ADDRESSES_MAX: usize = 16;
/// Seconds that a certificate is valid: 30 days. It is renewed after two thirds.
pub const CERTIFICATE_SECONDS: u64 = 30 * 86_400;
/// When a certificate ends in less than so many seconds, somebody should look why it was not renewed: a week, after three of trying.
pub const CERTIFICATE_WARN_SECONDS: u64 = 7 * 86_400;
/// Between two looks at the certificate, in milliseconds; a try that failed comes again so.
pub const CERTIFICATE_LOOK_MS: u64 = 10_000;
/// Seconds that the certificate of an authority is valid: ten years.
pub const AUTHORITY_SECONDS: u64 = 3_650 * 86_400;
/// Seconds by which a certificate is valid before it was issued: clocks of nodes differ.
pub const CERTIFICATE_EARLY_SECONDS: u64 = 3_600;

/// Bytes of a message of clients, in either direction: a batch of the greatest size, and its frame.
pub const MESSAGE_BYTES_MAX: usize = 12 << 20;
/// Bytes of a message that somebody without a certificate may send.
pub const STRANGER_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of values that one answer to a read of several keys has: it must fit a message.
pub const ANSWER_BYTES_MAX: usize = 10 << 20;
/// Bytes of keys and values of a page of a scan: large enough to be worth a message, small enough to wait for.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Rows of a page of a scan.
pub const PAGE_ROWS_MAX: u64 = 2_000;
/// How long one call of a scan goes on, in milliseconds: it pins what it reads. Whoever wants more goes on from where it ended.
pub const SCAN_MS_MAX: u64 = 10 * 60_000;
/// How long a call waits that does not say how long, in milliseconds.
pub const CALL_MS: u64 = 10_000;
/// How long a call waits at most, in milliseconds.
pub const CALL_MS_MAX: u64 = 60_000;
/// Calls under way on one stream; more wait in the connection.
pub const STREAM_CALLS_MAX: usize = 1_024;
/// Streams of one connection that are open at once.
pub const CONNECTION_STREAMS_MAX: u32 = 512;
/// Bytes of the headers of a request.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Connections of administrators and health checks: those of clients have a setting.
pub const ADMIN_CONNECTIONS_MAX: usize = 1_024;
/// Of those, connections from one source.
pub const SOURCE_ADMIN_CONNECTIONS_MAX: usize = 256;
/// Connections without a certificate: they ask one thing and go; of more, the oldest must go.
pub const STRANGERS_MAX: usize = 256;
/// Of those, connections from one source: nodes that join behind one gateway.
pub const SOURCE_STRANGERS_MAX: usize = 64;
/// How long a connection without a certificate lasts, in milliseconds.
pub const STRANGER_MS: u64 = 60_000;
/// Connections that are in their handshake; of more, the oldest must go.
pub const HANDSHAKES_MAX: usize = 256;
/// Of those, connections from one source: what a gateway with many clients begins at once.
pub const SOURCE_HANDSHAKES_MAX: usize = 128;
/// How long a handshake takes at most, in milliseconds.
pub const HANDSHAKE_MS: u64 = 10_000;
/// After so long without a word a connection is asked whether it is there, in milliseconds; and so long it may take to say so.
pub const KEEPALIVE_MS: u64 = 20_000;
/// How often it is looked whether the node serves, in milliseconds: whoever balances load by it asks less often.
pub const HEALTH_MS: u64 = 200;
/// Milliseconds between the wall clock here and the middle of all from which on a person is told: half of what costs the lead.
pub const CLOCK_APART_MS: u64 = raft::limits::CLOCK_PART_MS_MAX / 2;
/// Between two looks at how full the disk is, in milliseconds: at a gigabyte a second the rest of a small disk is not used up meanwhile.
pub const DISK_MS: u64 = 1_000;
/// Between two times that a node whose disk is full hands over what it leads, in milliseconds: whoever takes it may be full too.
pub const DISK_HAND_OVER_MS: u64 = 60_000;
/// Between two looks at what a scrub has found, in milliseconds.
pub const SCRUB_LOOK_MS: u64 = 1_000;
/// Between two looks whether replicas are to be compared, in milliseconds.
pub const VERIFY_LOOK_MS: u64 = 1_000;
/// When a group in which replicas differ is compared again, in milliseconds: soon enough that nobody waits for it after mending.
pub const VERIFY_AGAIN_MS: u64 = 10 * 60 * 1_000;
/// So many times longer than it works a comparison in the background rests: it takes a quarter of one thread.
pub const VERIFY_REST: u64 = 3;
/// How often whoever asks for a comparison hears how far it is, in milliseconds.
pub const VERIFY_TELL_MS: u64 = 500;
/// Between two tries to mend a damaged table, in milliseconds: whoever has a copy of it may be away.
pub const MEND_MS: u64 = 10_000;
/// Bytes of one piece of a table that a peer reads to mend its own.
pub const TABLE_PIECE_BYTES: usize = 1 << 20;
/// Damaged places that are told one by one; of more, how many.
pub const DAMAGE_TOLD_MAX: usize = 8;
/// So much more room, in percent of the disk, must there be before a level is left than when it was entered.
pub const DISK_BACK_PERCENT: u64 = 2;
/// When whoever writes to a node whose disk is full is asked to come again, in milliseconds.
pub const DISK_RETRY_MS: u64 = 5_000;
/// Between two tries to take an address for metrics that somebody else has, in milliseconds.
pub const BIND_MS: u64 = 5_000;
/// Watches of a node: each looks at whatever is applied to its group.
pub const WATCHES_MAX: usize = 1_024;
/// Bytes of what was applied last to a group that is watched, kept for watchers that are a little behind. Further behind they read what the
/// tablet keeps.
pub const FEED_BYTES_MAX: usize = 16 << 20;
/// The same of all groups of a node together.
pub const FEEDS_BYTES_MAX: usize = 256 << 20;
/// A replica that does not lead tells of what is applied to it as long as that is not older, in milliseconds: an idle group closes its time
/// every five seconds, and one of these may come late.
pub const WATCH_BEHIND_MS: u64 = 15_000;
/// Changes that a watch reads at once: each time all that was written since is looked at.
pub const WATCH_CHANGES_MAX: usize = 4_000;
/// Bytes of the changes that a watch reads at once, for they wait here for credit; those of one stamp are always read.
pub const WATCH_BYTES_MAX: usize = 1 << 20;
/// The same for one that has taken what was read before and is not done: so it looks at all of it again less often.
pub const WATCH_LARGE_CHANGES_MAX: usize = 64_000;
/// Bytes of these.
pub const WATCH_LARGE_BYTES_MAX: usize = 16 << 20;
/// Watches of a node that read so much at once; what they keep together is 128 MiB.
pub const WATCHES_LARGE_MAX: usize = 8;
/// After so long without a word a watcher is told how far it has heard all, in milliseconds: half of what the schema promises.
pub const WATCH_PROGRESS_MS: u64 = 2_500;
/// Changes after which a watcher is told so at the latest: it remembers what it has heard since.
pub const WATCH_UNTOLD_MAX: usize = 2_000;
/// Between two looks of a watch at whether it may and can go on here, in milliseconds.
pub const WATCH_LOOK_MS: u64 = 500;
/// Changes that a watcher may have given credit for at once; beyond, more does not count.
pub const WATCH_CREDIT_MAX: u64 = 1 << 20;
/// Delays that a node may have, in milliseconds: shorter than a second nobody stops a mistake, longer than six days the history of the
/// meta group does not reach.
pub const DELAY_MS: std::ops::RangeInclusive<u64> = 1_000..=raft::limits::DELAY_MS_MAX;
/// Between two looks of a delayed node at what came in and at its gate, in milliseconds: a hold is there within two.
pub const LATE_LOOK_MS: u64 = 100;
/// Bytes of entries whose heads a delayed node reads at once, of one group: they are in memory meanwhile.
pub const HEADS_BYTES_MAX: u64 = 4 << 20;
/// Milliseconds of a slot in which a delayed node sums what a tenant does: a tick.
pub const SUSPECT_SLOT_MS: u64 = raft::limits::TICK_MS;
/// Slots that it remembers, about 100 bytes each: beyond, those of the fewest keys go.
pub const SUSPECT_SLOTS_MAX: usize = 100_000;
/// Bursts that are told at once.
pub const BURSTS_MAX: usize = 20;
/// For how long it is believed how many keys a tenant has, in milliseconds: counting walks over them.
pub const COUNTED_MS: u64 = 600_000;
/// Bytes of the name of whoever holds a gate.
pub const HOLDER_BYTES_MAX: usize = 256;
/// Bytes of the reason.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Rows of what a takeover cut off of one group, at most: one a tenant.
pub const TAIL_ROWS_MAX: usize = 100_000;
/// Rows of it that one answer tells, at most; how many it does not tell is said.
pub const TAIL_TOLD_MAX: usize = 10_000;
/// Bytes of rows of the meta group that are not applied and are looked at in memory, when a takeover is planned, at most.
pub const META_AHEAD_BYTES_MAX: usize = 256 << 20;
/// Whoever comes to a fenced node may come again after so long, in milliseconds; the node that took over is named.
pub const FENCED_AGAIN_MS: u64 = 1_000;
/// Between two looks whether a drill is due, in milliseconds.
pub const DRILL_LOOK_MS: u64 = 5_000;
/// Bytes that a drill fetches for one tenant, at most: the scratch folder lies on the disk of a node that serves.
pub const SCRATCH_BYTES_MAX: u64 = 64 << 30;
/// Generations that one promotion tries to take in an archive, at most: those before are of tries that were not decided.
pub const GENERATIONS_TRIED: u64 = 8;
/// A delayed node that has heard nothing for so long protects nobody, in milliseconds.
pub const STARVED_MS: u64 = 120_000;
/// So far behind its delay a gate is a finding, in milliseconds.
pub const GAP_MS_MAX: u64 = 600_000;
/// A disk that suffices for less than this is a finding, in milliseconds: a person needs the time to make room.
pub const RUNWAY_MS_MIN: u64 = 4 * 60 * 60 * 1_000;
/// How fast a delayed node is thought to apply before it was measured, in bytes a second.
pub const APPLY_BYTES_PER_SECOND: u64 = 30 << 20;
/// Over so long it is measured how fast bytes come in and are applied, in milliseconds.
pub const RATE_MS: u64 = 10_000;
/// Donations of a node at once; as many that have ended are remembered. Each may look ahead.
pub const DONATIONS_MAX: usize = 4;
/// Bytes of what is not applied yet over which a donation looks ahead, in memory: beyond, the gate must be moved first.
pub const AHEAD_BYTES_MAX: usize = 64 << 20;
/// Rows that a donation compares at once, of the cut and of the live cluster each: what is written then is one batch.
pub const DONATED_ROWS: usize = 200;
/// Bytes of these.
pub const DONATED_BYTES: usize = 1 << 20;
/// Commits that a donation names as being in conflict.
pub const CONFLICTS_TOLD_MAX: usize = 100;
/// Keys that one donation may name.
pub const DONATED_KEYS_MAX: usize = 1_000;
/// How often a donation tries a stretch of rows again that is not there for the moment, or changes meanwhile.
pub const DONATION_TRIES: u32 = 100;
/// Between two of these tries, in milliseconds.
pub const DONATION_PAUSE_MS: u64 = 200;
/// Nodes of a cluster: each has a replica of the meta group.
pub const NODES_MAX: usize = raft::limits::MEMBERS_MAX;
/// How long a token holds at most, in milliseconds: a week.
pub const TOKEN_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// How long a token holds if nobody says otherwise, in milliseconds: an hour.
pub const TOKEN_MS: u64 = 60 * 60 * 1_000;
/// How often a node looks whether it has heard of a change that it has made, before it answers without.
pub const SHOW_TRIES: u32 = 50;
/// How long a change of the meta group is waited for, in milliseconds.
pub const CHANGE_MS: u64 = 10_000;
/// How long a certificate of a service or an administrator holds if nobody says otherwise, in seconds: 90 days.
pub const IDENTITY_SECONDS: u64 = 90 * 24 * 60 * 60;
/// How long it holds at most, in seconds: a year.
pub const IDENTITY_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;
/// Within which a node says what it knows best, in milliseconds; one that does not is shown as not heard.
pub const SURVEY_MS: u64 = 1_000;

/// How long a plan of a restore holds, in milliseconds: a day, then it is planned again.
pub const PLAN_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long a restore that has ended is remembered, in milliseconds: a week.
pub const RESTORE_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// How long what a restore in place has put aside is kept, in milliseconds: a week, in which it can be taken back.
pub const ASIDE_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Between two times that another node is asked for the row of the meta group, in milliseconds: what is wanted of a node that hears nothing of
/// it is done within half a minute, in the largest cluster that has the replica elsewhere.
pub const STRAY_MS: u64 = 3_000;
/// So long whoever still asks for a tenant that was put aside is told to look again, in milliseconds: what was under way then has ended.
pub const ASIDE_ASKED_MS: u64 = CALL_MS_MAX;
/// Bytes of a plan: two keys, and a page of text.
pub const PLAN_BYTES_MAX: usize = 32 << 10;
/// Keys that a restore names of those it has left as they are; the count goes on.
pub const CONFLICTS_KEPT_MAX: usize = 32;
/// Bytes of these keys.
pub const CONFLICTS_TOLD_BYTES_MAX: usize = 8 << 10;
/// Bytes of what a restore says of itself.
pub const RESTORE_TEXT_BYTES_MAX: usize = 1 << 10;
/// Restores that are remembered at once: each is a row that every node reads whenever one changes.
pub const RESTORES_MAX: usize = 64;
/// Bytes of keys and values of a batch that a restore writes: large enough that few wait for a quorum, small enough that others go between.
pub const RESTORE_BATCH_BYTES: usize = 1 << 20;
/// Rows of such a batch.
pub const RESTORE_BATCH_ROWS: usize = 1_000;
/// Batches of a restore that are under way at once.
pub const RESTORE_IN_FLIGHT: usize = 4;
/// Between two notes of how far a restore is, in milliseconds: so much is written once more after a crash.
pub const RESTORE_NOTE_MS: u64 = 1_000;
/// Between two looks for restores that are to go on, in milliseconds.
pub const RESTORE_LOOK_MS: u64 = 100;
/// For how long a restore under way may come no further before a person is told, in milliseconds: ten minutes, for so long it may fetch.
pub const RESTORE_STILL_MS: u64 = 10 * 60 * 1_000;
/// For how long one may be paused before a person is told, in milliseconds: a day, for its tenant is held.
pub const RESTORE_PAUSED_TOLD_MS: u64 = 24 * 60 * 60 * 1_000;
/// For how long it is told that one has failed, in milliseconds: a day, unless another of the tenant is done.
pub const RESTORE_FAILED_TOLD_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long one piece of a restore is waited for, in milliseconds.
pub const RESTORE_WAIT_MS: u64 = 10_000;
/// How long a node is waited for before a tenant is put in the place of another, in milliseconds: while that lasts neither is served.
pub const RESTORE_SETTLE_MS: u64 = 1_500;
/// How often a piece of a restore is tried again before it fails; between two tries it waits for longer and longer, seconds in the end.
pub const RESTORE_TRIES: u32 = 60;

const _: () = {
    assert!(2 * DONATED_ROWS <= CONDITIONS_MAX && DONATED_KEYS_MAX <= CONDITIONS_MAX);
    assert!(3 * DONATED_BYTES + 2 * VALUE_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(
        PLAN_BYTES_MAX + CONFLICTS_TOLD_BYTES_MAX + 2 * KEY_BYTES_MAX + RESTORE_TEXT_BYTES_MAX < 60 << 10
    ); // one row
    assert!(RESTORE_BATCH_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(RESTORE_BATCH_ROWS <= CONDITIONS_MAX && RESTORE_BATCH_ROWS <= BATCH_OPERATIONS_MAX);
    assert!(KEY_BYTES_MAX <= u16::MAX as usize); // stored as u16
    assert!(BATCH_OPERATIONS_MAX <= u16::MAX as usize); // stored as u16
    assert!(CONDITIONS_MAX <= u16::MAX as usize); // stored as u16
    assert!(2 * KEY_BYTES_MAX + VALUE_BYTES_MAX + OPERATION_BYTES < BATCH_BYTES_MAX);
    assert!(BATCH_BYTES_MAX <= raft::limits::COMMAND_BYTES_MAX);
    assert!(BATCH_BYTES_MAX + (1 << 20) < MESSAGE_BYTES_MAX);
    assert!(ANSWER_BYTES_MAX + (1 << 20) < MESSAGE_BYTES_MAX);
    assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + PAGE_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(TABLE_PIECE_BYTES + (1 << 20) < MESSAGE_BYTES_MAX);
    assert!(WATCH_CHANGES_MAX < WATCH_LARGE_CHANGES_MAX && WATCH_BYTES_MAX < WATCH_LARGE_BYTES_MAX);
    assert!(WATCH_LARGE_CHANGES_MAX <= engine::limits::CHANGES_MAX);
    assert!(2 * raft::limits::TICK_MS < WATCH_BEHIND_MS);
    assert!(engine::limits::BATCH_BYTES_MAX < FEED_BYTES_MAX && FEED_BYTES_MAX < FEEDS_BYTES_MAX);
    assert!(QUARANTINE_MS_MIN < QUARANTINE_MS && QUARANTINE_MS < QUARANTINE_MS_MAX);
    assert!(REWRAPPED_KEYS_MAX < META_CHANGES_MAX);
    assert!(ROOT_ROW_BYTES_MAX < 64 << 10); // as a row that is told whole
    assert!(META_VOTERS_MAX % 2 == 1 && META_VOTERS_MAX <= raft::limits::MEMBERS_MAX);
};

/// Bytes of the archive that one read of it may fetch: a gibibyte; who needs more restores.
pub const LOOK_BYTES_MAX: u64 = 1 << 30;
/// Reads of the archive whose files are kept for the next one.
pub const LOOKS_MAX: usize = 2;
/// Folders of such reads: those that are kept, and as many that somebody still reads; each holds a gibibyte at most.
pub const LOOK_SLOTS: usize = 4;
/// When one is sent away for whom there is no such folder, it comes again after so many milliseconds.
pub const LOOK_RETRY_MS: u64 = 1_000;
/// How long they are kept after they were last used, in milliseconds: ten minutes, while somebody looks around.
pub const LOOK_KEPT_MS: u64 = 10 * 60_000;
/// From how far behind on the archive is told of, in milliseconds: a minute, a dozen ticks.
pub const ARCHIVE_BEHIND_MS: u64 = 60_000;
/// From how far behind on it counts as standing still, in milliseconds: five minutes, as a page to a person.
pub const ARCHIVE_STALLED_MS: u64 = 5 * 60_000;
/// Between two looks at what a snapshot still needs, in milliseconds: nobody waits for it.
pub const SNAPSHOT_LOOK_MS: u64 = 500;
/// Between two looks at which gaps the home site has, in milliseconds: a gap is rare, and a person is told within seconds.
pub const GAP_LOOK_MS: u64 = 5_000;
/// Between two looks at what a site may let go, in milliseconds: a 24th of the time it is announced before, but not more often than this,
pub const SWEEP_LOOK_MS_MIN: u64 = 1_000;
/// nor less often than this: a look reads what the archive says of itself.
pub const SWEEP_LOOK_MS_MAX: u64 = 3_600_000;
/// For how long nobody begins a snapshot while objects are deleted, in milliseconds: longer than one batch of deletions can take.
pub const SWEEP_LEASE_MS: u64 = 60_000;
/// How long a snapshot may take, in milliseconds: a day, then somebody should know why.
pub const SNAPSHOT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Between two looks at what is to be archived, in milliseconds: a tick is a second at least.
pub const ARCHIVE_LOOK_MS: u64 = 100;
/// Bytes of entries of one group that are heard and not archived yet: with more, the tablet is asked instead.
pub const ARCHIVE_HEARD_BYTES_MAX: usize = 32 << 20;
/// How long nobody else may archive a group, in milliseconds: two ticks, so that one that is slow keeps it, and one that is dead is noticed.
pub const ARCHIVE_LEASE_MS: u64 = 10_000;
/// The longest of such leases, in milliseconds: that of slow ticks.
pub const ARCHIVE_LEASE_MS_MAX: u64 = 10 * 60_000;
