//! Pure: every bound of replication, with its unit and its reason.

/// Bytes of an entry's payload: a batch of commands at its largest, sealed, with room for what sealing adds.
pub const ENTRY_BYTES_MAX: usize = 10 << 20;
/// Bytes of a record's body.
pub const RECORD_BYTES_MAX: usize = 12 << 20;
/// Groups that live or have ever lived on one node: what a state record can list. Of those that are gone the greatest replica id is
/// kept for ever, so that none is born twice.
pub const GROUPS_MAX: usize = 65_536;
/// Peers a record of marks can list.
pub const MARKS_MAX: usize = 1_024;
/// Logs that are remembered of one node: it gets another when it is wiped. One is enough to refuse whoever comes with an unknown one.
pub const LOGS_OF_A_NODE_MAX: usize = 4;
/// Groups in the claim of a node that starts, and in an answer to it: all that may live there.
pub const CLAIM_GROUPS_MAX: usize = GROUPS_MAX;
/// How long the word of a replica counts, in milliseconds: it is asked for once a second.
pub const WORD_MS_MAX: u64 = 5_000;
/// How often a node that starts asks a peer that does not answer, before it goes on without: that one alone may know what it forgot.
pub const CLAIM_ROUNDS: u32 = 3;
/// How often the older of two starts of one node must have made its claim after the newer one did, until it is believed that both live:
/// what one said that has ended may come late.
pub const CLONE_RETURNS: u32 = 3;
/// Logs of which one note tells that passes on what was heard.
pub const HEARSAY_MARKS_MAX: usize = 64;
/// Replicas whose manifests it tells.
pub const HEARSAY_MANIFESTS_MAX: usize = 256;
/// Peers that are told in one round.
pub const HEARSAY_PEERS_MAX: usize = 32;
/// Replicas elsewhere whose manifests are remembered: more than a node ever meets.
pub const HEARSAY_MANIFESTS_KEPT_MAX: usize = 65_536;
/// Between two times that a node that starts asks its peers, in milliseconds.
pub const CLAIM_AGAIN_MS: u64 = 250;
/// Milliseconds for which proposals pause at most before the lead is handed over: a client hardly sees it.
pub const HANDOVER_PAUSE_MS: u64 = 200;
/// Milliseconds for which they wait at most afterwards until somebody else leads, before they are told so.
pub const HANDOVER_HOLD_MS: u64 = 500;
/// Seats of a group: every one is asked or told of every entry.
pub const MEMBERS_MAX: usize = 64;

/// Bytes of records gathered into one write, after which the rest waits for the next: enough to keep a disk busy, and few enough that
/// whoever waits for a sync does not wait long behind one who catches up.
pub const WRITE_BYTES: usize = 2 << 20;
/// Bytes of a segment: zero-filled ahead, so that a sync writes no file system metadata.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of a segment as small as a test may want it.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Segments kept for being written again.
pub const SPARE_SEGMENTS_MAX: usize = 4;
/// Segments filled before they are wanted: one is written while the next is filled. One more for a burst would be 64 MiB on every node, of
/// which most never see one; a node that purges keeps what it may write again beside.
pub const SPARES_AHEAD: usize = 1;
/// Milliseconds between two pieces, of 256 KiB, of a segment that is filled: ten MiB a second, in pieces for which no sync of the log waits
/// long. If more is written, segments begin in files without blocks.
pub const FILL_PAUSE_MS: u64 = 25;
/// Segments from which on the oldest is emptied if little of it lives.
pub const SEGMENTS_KEPT: usize = 8;
/// Bytes of entries kept in memory beside those that are not written yet.
pub const CACHE_BYTES: usize = 64 << 20;
/// Bytes of entries one read returns at most; one entry always is. What is sent to a follower at once is copied and summed on a thread
/// that others need: half a millisecond of it.
pub const READ_BYTES_MAX: u64 = 1 << 20;
/// Reads of a log's segments at once: a follower that is far behind must not take the disk from those who write.
pub const COLD_READS_MAX: usize = 2;
/// Bytes that wait to be written from which receivers stop reading what brings more.
pub const QUEUE_BYTES_SLOW: usize = 64 << 20;

/// Bytes that the commands of one entry may write together, with what the rows for retries take.
pub const APPLY_BYTES_MAX: usize = 7 << 20;
/// Operations that the commands of one entry may come to; the rows for retries come on top.
pub const APPLY_OPERATIONS_MAX: usize = 8_000;
/// Commands of one entry: all their stamps fit one millisecond, and their replies one batch.
pub const COMMANDS_MAX: usize = 512;
/// Entries applied between two looks at whether the group is to stop.
pub const APPLY_ENTRIES: usize = 256;
/// Bytes of what a command answers, which is kept for as long as it may be asked for again.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// How long after its first try a request may come again, in milliseconds: so long its reply is kept.
pub const RETRY_WINDOW_MS_MAX: u64 = 15 * 60 * 1_000;
/// How long an entry waits for a key that is not here, in milliseconds, before its group is fenced.
pub const KEY_WAIT_MS_MAX: u64 = 30_000;
/// How long an entry waits for the meta group here to apply what it needs of it, in milliseconds, before its group is fenced.
pub const META_WAIT_MS_MAX: u64 = 30_000;
/// Ranges of which one digest of the state tells: their bounds take 8 MiB at most, and five of them find a row among 10^12.
pub const RANGE_DIGESTS_MAX: usize = 1_024;
/// Rows read at once for such a digest.
pub const DIGEST_PAGE_ENTRIES: usize = 1_000;
/// Their bytes; one row always is.
pub const DIGEST_PAGE_BYTES: usize = 1 << 20;
/// Rows that one answer of a replica about its state goes over: some milliseconds of one thread.
pub const STATE_ROWS_MAX: usize = 4_000;
/// Pages of `DIGEST_PAGE_ENTRIES` and `DIGEST_PAGE_BYTES` that it reads, be there rows in them or not.
pub const STATE_PAGES_MAX: usize = 8;
/// How long it waits for the stamp that is asked for, in milliseconds: less than the deadline of any request.
pub const STATE_WAIT_MS: u64 = 200;
/// How often a replica is asked that is behind, or does not answer, before it is left out.
pub const STATE_TRIES_MAX: usize = 10;
/// Between two such tries, in milliseconds.
pub const STATE_AGAIN_MS: u64 = 250;
/// Ranges in which replicas differ that are looked into and told; of more it is told that there are.
pub const DIFFERENCES_MAX: usize = 16;
/// Questions by which one such range is made narrower.
pub const NARROWING_MAX: usize = 64;
/// Bytes of one command: a client's batch at its largest.
pub const COMMAND_BYTES_MAX: usize = 8 << 20;
/// Bytes of commands from which an entry takes no more.
pub const GATHER_BYTES: usize = 1 << 20;
/// How long commands are gathered behind an entry that is on its way, in milliseconds.
pub const GATHER_MS: u64 = 2;
/// Entries of one batcher on their way at once: one is written while the next is made.
pub const ENTRIES_IN_FLIGHT: usize = 4;
/// Appends to one peer that are not answered yet: the line is never idle, and what may be in memory is bounded.
pub const APPENDS_IN_FLIGHT: usize = 8;
/// Bytes of a frame: the largest entry with all that stands around it.
pub const FRAME_BYTES_MAX: usize = 12 << 20;
/// Terms of a group: at one election a millisecond it takes 146 million years to come here, and behind it there is always another.
pub const TERM_MAX: u64 = 1 << 62;
/// Generations of a cluster, before and behind its own, by which a stray frame is told from one of another cluster. A disaster makes one.
pub const GENERATIONS_KNOWN: u64 = 64;
/// Entries of one message: more gain nothing, and an answer covers them all.
pub const APPEND_ENTRIES_MAX: usize = 1_024;
/// Groups whose heartbeats, or answers to them, go in one message.
pub const HEARTBEATS_MAX: usize = 4_096;
/// Milliseconds for which heartbeats to one peer are gathered: far below the interval between two of a group.
pub const HEARTBEAT_GATHER_MS: u64 = 5;
/// Milliseconds a follower of one group may take to answer a heartbeat; whoever is slower is told to be overloaded, and holds up no
/// other group's answer.
pub const HEARTBEAT_ANSWER_MS: u64 = 50;
/// Messages of heartbeats that wait to be taken by the connection to one peer. One that is so far behind is as good as cut.
pub const HEARTBEAT_MESSAGES_MAX: usize = 32;
/// Bytes of a snapshot's listing: a file takes at least 64.
pub const SNAPSHOT_LISTING_BYTES_MAX: usize = 4 << 20;
/// Files of a snapshot: as many as a tablet may have.
pub const SNAPSHOT_FILES_MAX: usize = engine::limits::TABLES_MAX;
/// Bytes of a piece of a snapshot: large enough to keep a disk busy, small enough to be sent again.
pub const SNAPSHOT_PIECE_BYTES: usize = 512 << 10;
/// Entries between two anchors of a short log: six questions more to the log, and one anchor for so many places of its index.
pub const STAMP_SPACING: u64 = 64;
/// Anchors of one group: 40 KiB, so that a thousand groups stay below 40 MiB.
pub const STAMP_ANCHORS_MAX: usize = 1_024;
/// Milliseconds by which the wall clock may part from the boot clock, or from peers, before it is believed no more.
pub const CLOCK_PART_MS_MAX: u64 = 250;
/// Milliseconds of a step of the gate, and between two closers of an idle group.
pub const TICK_MS: u64 = 5_000;
/// Milliseconds of a step of a gate that is behind by more: long enough to catch up, short enough that the node is one cut often.
pub const GATE_STEP_MS_MAX: u64 = 60_000;
/// Milliseconds that the closed stamp of a group may lie below now before the group is told as silent: three closers.
pub const SILENT_MS: u64 = 3 * TICK_MS;
/// Milliseconds of the longest delay: with a day offline on top it stays inside the week of history that the meta group keeps.
pub const DELAY_MS_MAX: u64 = 6 * 24 * 3_600_000;

/// Milliseconds that a delayed replica may be away before it holds back no purge any more: a day.
pub const OUTAGE_BUDGET_MS: u64 = 24 * 3_600_000;
/// Bytes of a group's log worth a snapshot and a purge: a segment.
pub const PURGE_BYTES: u64 = SEGMENT_BYTES;
/// Milliseconds after which less is purged too, so that an idle group keeps no old segment: ten minutes.
pub const PURGE_MS: u64 = 600_000;
/// Percent of the longest election timeout before a replica that was just built gives a vote: a lease, and a tenth for clocks of
/// different rate.
pub const GUARD_PERCENT: u64 = 110;
/// Percent of the longest election timeout for which a leader believes its lease: a fifth is left for clocks of different rate.
pub const LEASE_PERCENT: u64 = 80;
/// Milliseconds by which monotonic and boot clock may part before the machine counts as suspended.
pub const SUSPEND_MS: u64 = 20;
/// Times a group is built again after a panic, within [`RESTARTS_WITHIN_MS`].
pub const RESTARTS_MAX: usize = 3;
/// Milliseconds in which panics are counted together: ten minutes.
pub const RESTARTS_WITHIN_MS: u64 = 600_000;
/// Replicas that are built at once at a start: each reads and applies again what is committed, and more would only wait for the disk.
pub const BUILDS_AT_ONCE: usize = 32;
/// Milliseconds after which a part of a dead group that lives on is told.
pub const TOKEN_LATE_MS: u64 = 60_000;

/// Commands of one group that wait for a proposal; more are told to come later.
pub const PROPOSE_COMMANDS_MAX: u64 = 10_000;
/// Their bytes.
pub const PROPOSE_BYTES_MAX: u64 = 32 << 20;
/// Entries that fit between consensus and state machine; when it is full, heartbeats and votes stand still too.
pub const APPLY_CHANNEL_ENTRIES: u64 = 1_024;
/// Bytes of entries of one group that are not applied.
pub const UNAPPLIED_BYTES_MAX: u64 = 64 << 20;
/// Percent of what the engine may have to do, as which it counts when it asks for fewer writes and has not stopped them.
pub const ENGINE_SLOW_PERCENT: u64 = 75;
/// Milliseconds a writer is asked to wait at most before it is refused.
pub const SLOW_MS_MAX: u64 = 50;
/// Milliseconds after which a refused writer may try again; more if there is a multiple of what may be.
pub const RETRY_MS: u64 = 100;
/// Milliseconds it is sent away for at most.
pub const RETRY_MS_MAX: u64 = 5_000;
/// Milliseconds after which a command may come again whose tenant's key is away: whoever brings keys is far.
pub const KEY_RETRY_MS: u64 = 1_000;

/// Entries a learner that has caught up may be behind: a second of a busy group.
pub const CAUGHT_UP_ENTRIES: u64 = 1_000;
/// Milliseconds that what it has applied may be old: of an idle group, whose leader has just proposed the next closer, a tick, the time
/// between two looks whether one is due, and that until its word is asked again.
pub const CAUGHT_UP_AGE_MS: u64 = TICK_MS * 3 / 2;
/// Milliseconds for which it must have been that near at least, however soon it was: it is looked at several times meanwhile.
pub const CAUGHT_UP_FOR_MS_MIN: u64 = 1_000;
/// Milliseconds for which it must have been that near at most, however long it had needed for that.
pub const CAUGHT_UP_FOR_MS_MAX: u64 = 10_000;
/// Milliseconds after which the seat of a delayed replica is written again: a start looks for memberships in the entries not applied,
/// and the log of a delayed replica holds hours of them.
pub const SEAT_AGAIN_MS: u64 = 300_000;

const _: () = {
    assert!(COMMANDS_MAX < 1 << 16);
    assert!(SPARES_AHEAD <= SPARE_SEGMENTS_MAX); // a start keeps no more
    assert!(COMMAND_BYTES_MAX + (64 << 10) < ENTRY_BYTES_MAX); // with its head and what sealing adds
    assert!(APPLY_BYTES_MAX < engine::limits::BATCH_BYTES_MAX);
    assert!(APPLY_OPERATIONS_MAX + COMMANDS_MAX < engine::limits::BATCH_OPERATIONS_MAX);
    assert!(ENTRY_BYTES_MAX + 64 < RECORD_BYTES_MAX);
    assert!(GROUPS_MAX * 128 + 64 < RECORD_BYTES_MAX);
    assert!(MARKS_MAX * 32 + 64 < RECORD_BYTES_MAX);
    assert!(MEMBERS_MAX <= u8::MAX as usize); // stored as u8
    assert!(LEASE_PERCENT < 100 && GUARD_PERCENT > 100);
    assert!(TICK_MS < GATE_STEP_MS_MAX && STAMP_SPACING.is_power_of_two());
    // A write, at most one record longer than it should be, fits a segment with its header and the state before it.
    assert!(
        (WRITE_BYTES + ENTRY_BYTES_MAX + GROUPS_MAX * 272 + MARKS_MAX * 32) as u64 + (1 << 16)
            < SEGMENT_BYTES
    );
    // What goes into one message fits its frame; around each there is less than a KiB more, and a membership.
    assert!(ENTRY_BYTES_MAX + APPEND_ENTRIES_MAX * 48 + 1_024 < FRAME_BYTES_MAX);
    assert!(READ_BYTES_MAX as usize + APPEND_ENTRIES_MAX * 48 + 1_024 < FRAME_BYTES_MAX);
    assert!(HEARTBEATS_MAX * 96 + 1_024 < FRAME_BYTES_MAX);
    assert!(SNAPSHOT_LISTING_BYTES_MAX + MEMBERS_MAX * 64 + 1_024 < FRAME_BYTES_MAX);
    assert!(SNAPSHOT_FILES_MAX * 24 + 1_024 < FRAME_BYTES_MAX);
    assert!(SNAPSHOT_PIECE_BYTES + 1_024 < FRAME_BYTES_MAX);
};

/// How long an entry waits for a tablet whose background work fails, in milliseconds; then its group is fenced. A disk that was full has room
/// again by then, or somebody has to come anyway.
pub const STOPPED_MS_MAX: u64 = 60_000;
/// Between two looks meanwhile, in milliseconds.
pub const STOPPED_LOOK_MS: u64 = 200;
