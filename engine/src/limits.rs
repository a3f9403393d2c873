//! Pure: every bound of the engine, with its unit and its reason.

/// Bytes of a user key. Keys are compared and indexed all the time; long ones belong into the value.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// Bytes of a value. Larger objects belong into an object store; one block must hold one value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Bytes of an encoded batch: one log entry's worth, held in memory several times over.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Operations of a batch.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// Bytes of the opaque note a batch carries for the layer above (its log id, membership, registers).
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Bytes of an encoded version key: every byte of the user key escaped, prefix, end and stamp.
pub const VERSION_KEY_BYTES_MAX: usize = 12 + 2 * KEY_BYTES_MAX + 2 + 8;

/// Bytes of a bound between rows: at most what stands right after the longest row key.
pub const BOUND_BYTES_MAX: usize = VERSION_KEY_BYTES_MAX + 1;

/// Bytes of a block before sealing (`docs/formats/block_file.md`).
pub const RAW_BLOCK_BYTES_MAX: usize = 2 << 20;
/// Raw bytes at which a data block is closed, at most: one may grow to twice as much.
pub const BLOCK_BYTES_MAX: usize = 512 << 10;
/// Blocks of a file: half of the 2^21 after which a 64-bit random nonce part would be a worry.
pub const FILE_BLOCKS_MAX: u32 = 1 << 20;
/// Stripes of a file.
pub const FILE_STRIPES_MAX: u32 = 65_535;
/// Bytes of a file.
pub const FILE_BYTES_MAX: u64 = 4 << 30;
/// Bytes by which directory and footer may carry a file over [`FILE_BYTES_MAX`].
pub const FILE_ENDS_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the plaintext of an envelope.
pub const ENVELOPE_BYTES_MAX: usize = 16 << 20;
/// Envelopes sealed by one data key in one process, after which it is refused. No counter rests on disk: a restart begins anew,
/// and 2^40 envelopes are more than a process lives to seal.
pub const ENVELOPES_PER_KEY_MAX: u64 = 1 << 40;
/// Bytes sealed by one data key in one process, after which rotation is asked for.
pub const SEALED_BYTES_PER_KEY_MAX: u64 = 4 << 40;

/// A stripe whose entries are smaller than this is one block (type solo).
pub const SOLO_BYTES_MAX: usize = 4 << 10;
/// Data blocks in a row that are not tried for compression after many that did not compress.
pub const UNTRIED_BLOCKS_MAX: u32 = 15;
/// Entries between two whole keys in a block: more saves bytes, fewer saves comparisons.
pub const RESTART_ENTRIES: usize = 16;
/// Bits of filter a key: 10 gives about one false answer in a hundred.
pub const FILTER_BITS_PER_KEY: usize = 10;
/// Raw bytes at which a block of range tombstones ends and the next begins.
pub const TOMBSTONE_BLOCK_BYTES: usize = 256 << 10;
/// Raw bytes an index block or filter block of one stripe may reach before the writer begins the next file.
pub const STRIPE_INDEX_BYTES_MAX: usize = 1 << 20;

/// Levels of a tablet; level 0 may overlap.
pub const LEVELS: usize = 7;
/// Each level may hold this many times the bytes of the one above.
pub const LEVEL_RATIO: u64 = 10;
/// Tables in level 0 that ask for a compaction.
pub const LEVEL0_COMPACT_TABLES: usize = 4;
/// Tables in level 0 from which writers are asked to slow down.
pub const LEVEL0_SLOW_TABLES: usize = 12;
/// Tables in level 0 from which writes are refused: reads must look into each of them.
pub const LEVEL0_STOP_TABLES: usize = 24;
/// Frozen memtables of one tablet from which writes are refused.
pub const FROZEN_MEMTABLES_MAX: usize = 4;
/// Bytes a memtable entry costs beside its key and value: node, towers, handles, the head of the key.
pub const MEMTABLE_ENTRY_OVERHEAD_BYTES: usize = 144;
/// Range tombstones of one memtable; then it is frozen. Readers look at all that cover a key.
pub const MEMTABLE_RANGE_TOMBSTONES_MAX: usize = 1_000;

/// Edits a tablet's journal may hold before it is written anew as one.
pub const JOURNAL_EDITS_MAX: u64 = 64;
/// Bytes of one manifest edit.
pub const EDIT_BYTES_MAX: usize = 15 << 20;
/// Bytes of one row of a whole picture: larger rows of the catalog would each be a file of their own.
pub const EDIT_PIECE_BYTES: usize = 64 << 10;
/// Tables of one tablet.
pub const TABLES_MAX: usize = 65_536;
/// Tablets of one pool.
pub const TABLETS_MAX: usize = 16_384;

/// Entries one scan call returns at most.
pub const SCAN_ENTRIES_MAX: usize = 10_000;
/// Bytes of keys and values one scan call returns at most (at least one entry is).
pub const SCAN_BYTES_MAX: usize = 8 << 20;
/// Versions one scan call steps over at most, a KiB of a value counted like one: what bounds the time of a page where most rows
/// are deleted.
pub const SCAN_STEPS_MAX: usize = 100_000;
/// Versions one history call returns at most.
pub const HISTORY_ENTRIES_MAX: usize = 1_000;
/// Bytes of values one history call returns at most (at least one event is).
pub const HISTORY_BYTES_MAX: usize = 8 << 20;
/// Changes that one walk tells of at most, beside those of its oldest stamp.
pub const CHANGES_MAX: usize = 64_000;
/// Keys of one multi-get.
pub const MULTI_GET_KEYS_MAX: usize = 10_000;
/// Bytes of values one multi-get may return. Over it the call is refused: half an answer would look like a whole one.
pub const MULTI_GET_BYTES_MAX: usize = 16 << 20;

/// Bytes of a checkpoint listing: a file takes 64 bytes, and 32 a stripe.
pub const LISTING_BYTES_MAX: u64 = 64 << 20;

/// Keys a keyring holds in memory.
pub const KEYRING_KEYS_MAX: usize = 65_536;
/// Files that a read of table files outside tablets keeps open: an archive of a day has thousands, and a process few handles.
pub const LOOSE_HANDLES_MAX: usize = 256;
/// Bytes of opened blocks that such a read keeps: ends of stripes and range tombstones, which every walk needs again.
pub const LOOSE_CACHE_BYTES: usize = 16 << 20;
/// Milliseconds after which failed background work is tried again.
pub const RETRY_MS: u64 = 1_000;
/// Milliseconds for which compaction goes around tables whose key was missing.
pub const KEYLESS_RETRY_MS: u64 = 60_000;
/// Milliseconds that tables whose history has passed, or that hold what has expired, wait for a compaction that touches them
/// anyway before they are merged for that alone: an hour costs no promise, and a busy tablet nothing.
pub const TIDY_MS: u64 = 3_600_000;
/// What has expired waits for this part of the time over which its table was written, or of its life, so that what expires one by
/// one is taken out by the many.
pub const TIDY_SPREAD_PART: u64 = 4;
/// Milliseconds that it waits at most.
pub const TIDY_MS_MAX: u64 = 7 * 24 * TIDY_MS;
/// Milliseconds between two looks at a tablet that time alone may give something to compact.
pub const TIDY_LOOK_MS: u64 = 60_000;
/// Milliseconds that count as passed between two looks at the clock, at most: one that jumps ahead drops no history.
pub const CLOCK_STEP_MS_MAX: u64 = 600_000;
/// How often the time between two tries is doubled: a disk that stays full is asked every half minute.
pub const RETRY_DOUBLINGS_MAX: u32 = 5;
/// Damaged places one scrub report lists; the count goes on.
pub const SCRUB_FINDINGS_MAX: usize = 1_000;

const _: () = {
    assert!(BOUND_BYTES_MAX <= u16::MAX as usize); // stored as u16
    assert!(VERSION_KEY_BYTES_MAX * 2 + VALUE_BYTES_MAX + 64 < RAW_BLOCK_BYTES_MAX); // one entry fits one block
    assert!(BLOCK_BYTES_MAX * 3 <= RAW_BLOCK_BYTES_MAX); // twice, and what a block says of its entries
    assert!(VERSION_KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(STRIPE_INDEX_BYTES_MAX + 2 * VERSION_KEY_BYTES_MAX < RAW_BLOCK_BYTES_MAX);
    assert!(EDIT_BYTES_MAX < ENVELOPE_BYTES_MAX);
    assert!(MULTI_GET_BYTES_MAX > VALUE_BYTES_MAX); // one value can be had
    assert!(SCAN_STEPS_MAX > SCAN_ENTRIES_MAX);
    assert!(TIDY_MS < TIDY_MS_MAX);
    assert!(TIDY_LOOK_MS <= KEYLESS_RETRY_MS); // both are waited for by one clock that may go back
    assert!(LEVEL0_COMPACT_TABLES < LEVEL0_SLOW_TABLES && LEVEL0_SLOW_TABLES < LEVEL0_STOP_TABLES);
    assert!(SOLO_BYTES_MAX < RAW_BLOCK_BYTES_MAX);
    assert!(TOMBSTONE_BLOCK_BYTES + 2 * BOUND_BYTES_MAX + 16 < RAW_BLOCK_BYTES_MAX);
};
