//! Bytes are for ever: what yesterday's code wrote, today's opens, and writes again to the byte.
//!
//! Every format has a fixture `fixtures/v1/NAME.bin`, written once by the code of its version from fixed inputs. Its test
//!   * opens the stored bytes and compares every field with the values that went in,
//!   * encodes these values anew and demands the stored bytes,
//!   * opens `NAME.damaged.bin`, which is the fixture with one change, and demands the refusal that names it.
//!
//! A fixture of a format that is one object on a disk (block file, checkpoint listing, checkpoint stream) is that object. All
//! others are lists, so that one file holds every branch of its format: of each item its length, u32 big-endian, then its bytes.
//! `fixtures/v1/pool/` is a whole pool: its table files, and in `catalog.bin` its catalog as a list of key, value, key, value.
//!
//! A fixture is never changed. A new format gets its own by `DEWPOND_WRITE_FIXTURES=1 cargo test -p engine --test golden`, which
//! writes the files that do not exist and leaves all others alone; `fixtures/SHA256SUMS` then takes their sums. The stored bytes
//! of compressed blocks are also the choice of the compressor: should another version of it choose otherwise, then only the
//! demand for identical bytes fails, and only of what holds a block file.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "golden/mod.rs"]
mod golden;
