//! Bad input and bad luck, one after the other: what becomes of each, and what holds it to that. Nothing here panics, and what is
//! refused has changed nothing.
//!
//! | what comes | what becomes of it | held by |
//! |---|---|---|
//! | a record of the log of an unknown kind or version | the log does not open, and names segment and byte | `records` |
//! | a record or a segment that rotted, is torn, missing or foreign | named, or cut off where a crash may have torn it | `log.rs`, `crash.rs`, unit tests of `log/tail.rs` |
//! | a frame of another cluster, generation, group or replica | refused by that name | `frames`; `takeover` |
//! | a frame of a replica that nobody knows | heard, for the membership here may lag; by itself it changes nothing | `frames` |
//! | a frame of an unknown version or kind, cut, flipped, oversized | refused as malformed | `frames`; unit tests of `net/envelope.rs`; `fuzz` |
//! | an answer that nobody asked for; a vote or a word that is not the sender's own | refused as malformed | `frames`; unit tests of `net/fault.rs` |
//! | an append whose entries do not decode, are of an unknown kind or over a limit | refused as malformed, whole | `appends`; unit tests of `payload.rs`, `command.rs`, `net/message.rs` |
//! | an append with a gap, with stamps or leaders that fall | refused as malformed, whole | `appends` |
//! | an append in the place of what is committed here | refused as malformed, whole | `appends`; unit tests of `net/fault.rs` |
//! | a stamp that its leader proposes too low | raised above the last | `appends`; unit tests of `machine/stamping.rs` |
//! | a proposal that is no command | refused, for good | `appends` |
//! | a snapshot with a file missing, short or changed | malformed, and thrown away | `snapshots`; `machine/spool.rs` |
//! | a snapshot of another group or cluster, or of another listing than was offered | malformed, and thrown away | `snapshots`; `machine/crash.rs` |
//! | a snapshot against what is committed here | malformed, and thrown away | `snapshots` |
//! | a snapshot offered twice | the second goes on where the first was | `snapshots`; `machine/spool.rs` |
//! | a snapshot finished without offer, or older than what is here | overloaded: the sender begins again | `snapshots`; `machine/crash.rs` |
//! | a snapshot newer than the gate of a delayed node | not a byte of it is taken: parked, until a person accepts it or entries come | `late`; `delay/clamp.rs` |
//! | entries at a replica that does not get on with applying or has no room | overloaded, and they come again; heartbeats pass | `stalled`; `upkeep.rs` |
//! | an entry for a tablet whose disk is full | it waits for room, and after a minute the group is fenced | `machine/stops.rs` |
//! | an entry that a later leader has dropped | applied nowhere: `Unknown`, and the same request runs once | `refusals.rs` |
//! | an entry whose key is missing | after a wait the group stops, and goes on after a start with the key | `entries`; `machine/stops.rs` |
//! | an entry of a tenant that is shredded | applied as nothing, the same everywhere; answered `Shredded`, counted, and said in the log lines | `entries`; `machine/stops.rs`, `seal.rs` |
//! | an entry whose body or head was changed, or is of another entry, tenant or group | the group is fenced: TAMPERED, or WRONG_KEY of another tenant's | `entries`; `machine/stops.rs`, `seal.rs` |
//! | an entry that does not follow the last, or is no command | the group is fenced | `machine/stops.rs` |
//! | a command whose evaluation panics | the group is fenced | `entries` |
//! | a command outside the range of its group | `OutsideRange`, alone | `commands` |
//! | a command over the limits | `TooLarge`, alone; not even proposed, if it can be seen | `commands`; `machine/refused.rs`, `seal.rs` |
//! | a request that comes too late, or may come for too long | `Expired`, `WindowTooLong`, alone | `commands`; `machine/once.rs` |
//! | a request that says another `valid_until` than before | `OtherWindow`, alone, while it is remembered | `commands` |

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod appends;
#[path = "../cluster/mod.rs"]
mod cluster;
mod commands;
#[path = "../machine/consensus.rs"]
mod consensus;
mod door;
mod entries;
mod frames;
mod late;
mod records;
#[path = "../rig/mod.rs"]
mod rig;
mod snapshots;
mod stalled;
#[path = "../machine/world.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod world;
