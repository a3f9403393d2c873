//! Pure: a sorted run of entries in one block: keys share their prefixes, and every few entries one stands whole.
//! Format: data_block, `docs/formats/data_block.md`.
//!
//! The walk is total: whatever the bytes are, it answers or tells damage.

use super::heads::Heads;
use crate::error::{Damage, Nature};
use crate::limits;
use crate::read::Slot;
use crate::sealed::SecretBytes;
use std::sync::Arc;

const DELETE: u8 = 0;
const PUT: u8 = 1;
const PUT_EXPIRING: u8 = 2;

/// Builds a block entry by entry.
#[derive(Default)]
pub struct BlockBuilder {
    bytes: SecretBytes,
    restarts: Vec<u32>,
    since_restart: usize,
    last: SecretBytes,
}

/// Bytes of an entry beside its key and value, at most: three varints, kind, expiry.
const ENTRY_BYTES_MAX: usize = 3 * 5 + 1 + 8;

impl BlockBuilder {
    /// Adds an entry; keys must ascend.
    pub fn add(&mut self, version: &[u8], slot: Slot<'_>) {
        let value_bytes = if let Slot::Put { value, .. } = slot { value.len() } else { 0 };
        self.reserve(ENTRY_BYTES_MAX + version.len() + value_bytes);
        let mut shared = 0;
        if self.since_restart == 0 {
            self.restarts.push(u32::try_from(self.bytes.len()).expect("RAW_BLOCK_BYTES_MAX fits u32"));
        } else {
            shared = self.last.iter().zip(version).take_while(|(a, b)| a == b).count();
        }
        self.since_restart = (self.since_restart + 1) % limits::RESTART_ENTRIES;
        append_varint(&mut self.bytes, shared);
        append_varint(&mut self.bytes, version.len() - shared);
        let value = match slot {
            Slot::Delete => {
                self.bytes.push(DELETE);
                None
            }
            Slot::Put { value, expires_ms: 0 } => {
                self.bytes.push(PUT);
                Some(value)
            }
            Slot::Put { value, expires_ms } => {
                self.bytes.push(PUT_EXPIRING);
                self.bytes.extend_from_slice(&expires_ms.to_be_bytes());
                Some(value)
            }
        };
        if let Some(value) = value {
            append_varint(&mut self.bytes, value.len());
        }
        self.bytes.extend_from_slice(&version[shared..]);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.last.clear();
        self.last.extend_from_slice(version);
    }

    /// Makes room. A vector that grows leaves its bytes behind in freed memory; one that is dropped here is wiped.
    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            let room = (self.bytes.len() + more).next_power_of_two();
            let mut larger = SecretBytes::from(Vec::with_capacity(room));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
    }

    /// Bytes of the block if it ended now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.restarts.len() * 4 + 4
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// The key added last.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// Ends the block: its bytes, until [`BlockBuilder::clear`] begins the next.
    pub fn finish(&mut self) -> &[u8] {
        self.reserve(self.restarts.len() * 4 + 4);
        let count = u32::try_from(self.restarts.len()).expect("fewer than bytes");
        self.restarts.drain(..).for_each(|restart| self.bytes.extend_from_slice(&restart.to_be_bytes()));
        self.bytes.extend_from_slice(&count.to_be_bytes());
        &self.bytes
    }

    /// Begins the next block.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.restarts.clear();
        self.since_restart = 0;
        self.last.clear();
    }
}

/// An opened block. Its bytes are wiped when the last reader lets go.
pub struct Block {
    bytes: SecretBytes,
    /// First byte of the block inside `bytes`: a solo stripe has something before it.
    start: usize,
    /// Where entries end and restarts begin.
    entries_end: usize,
    restarts: usize,
    /// Of the keys at restarts, if there are many.
    heads: Heads,
}

/// Restarts from which their heads are kept apart.
const HEADS_RESTARTS_MIN: usize = 16;

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

impl Block {
    /// The block that stands in `bytes` from `start` on.
    ///
    /// # Errors
    /// `Damaged` if it has no room for its restarts. Entries are checked as they are walked.
    pub fn new(bytes: SecretBytes, start: usize) -> Result<Self, Damage> {
        let body = bytes.get(start..).ok_or_else(|| malformed("a block that begins past its end"))?;
        let (rest, count) =
            body.split_last_chunk::<4>().ok_or_else(|| malformed("a block without its end"))?;
        let restarts = u32::from_be_bytes(*count) as usize;
        let entries_end = restarts.checked_mul(4).and_then(|bytes| rest.len().checked_sub(bytes));
        let entries_end =
            start + entries_end.ok_or_else(|| malformed("more restarts than the block has room for"))?;
        let mut block = Self { bytes, start, entries_end, restarts, heads: Heads::default() };
        if restarts >= HEADS_RESTARTS_MIN {
            block.heads = block.read_heads().unwrap_or_default();
        }
        Ok(block)
    }

    /// The heads of the keys at restarts. Damage is for whoever walks there.
    fn read_heads(&self) -> Result<Heads, Damage> {
        let keys: Result<Vec<&[u8]>, Damage> = (0..self.restarts).map(|n| self.key_at_restart(n)).collect();
        let keys = keys?;
        let (first, last) =
            (keys.first().copied().unwrap_or_default(), keys.last().copied().unwrap_or_default());
        Ok(Heads::new(first, last, keys.len(), keys.iter().copied()))
    }

    fn key_at_restart(&self, n: usize) -> Result<&[u8], Damage> {
        let entry = self.entry(self.restart(n)?)?;
        Ok(self.piece(entry.suffix.0, entry.suffix.1))
    }

    /// Bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.heads.bytes() + size_of::<Self>()
    }

    fn restart(&self, n: usize) -> Result<usize, Damage> {
        let at = self.entries_end + n * 4;
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let offset =
            self.start + u32::from_be_bytes(bytes.ok_or_else(|| malformed("no such restart"))?) as usize;
        if offset < self.entries_end { Ok(offset) } else { Err(malformed("a restart past the entries")) }
    }

    fn entry(&self, at: usize) -> Result<Entry, Damage> {
        let bytes = self.bytes.get(at..self.entries_end).ok_or_else(|| malformed("an entry past the end"))?;
        parse_entry(bytes, at).ok_or_else(|| malformed("an entry that does not parse"))
    }

    fn piece(&self, from: usize, to: usize) -> &[u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Walks the whole block and tells of each entry: every one parses, keys ascend, and restarts stand where the writer puts
    /// them, at entries that share nothing.
    ///
    /// # Errors
    /// `Damaged`, or what `tell` returns.
    pub fn verify(
        self: &Arc<Self>,
        mut tell: impl FnMut(&[u8], Slot<'_>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let mut cursor = BlockCursor::new(self.clone());
        cursor.seek_first()?;
        let (mut last, mut entries, mut restarts) = (Vec::new(), 0_usize, 0_usize);
        while let Some(key) = cursor.key() {
            if entries > 0 && key <= &last[..] {
                return Err(malformed("keys out of order"));
            }
            if entries.is_multiple_of(limits::RESTART_ENTRIES) {
                let stands_here = restarts < self.restarts && Some(self.restart(restarts)?) == cursor.at;
                if !stands_here || cursor.entry.shared != 0 {
                    return Err(malformed("a restart is missing or stands elsewhere"));
                }
                restarts += 1;
            }
            tell(key, cursor.slot())?;
            last.clear();
            last.extend_from_slice(key);
            entries += 1;
            cursor.step()?;
        }
        if restarts == self.restarts { Ok(()) } else { Err(malformed("restarts without entries")) }
    }
}

#[derive(Clone, Copy, Default)]
struct Entry {
    shared: usize,
    suffix: (usize, usize),
    is_put: bool,
    expires_ms: u64,
    value: (usize, usize),
}

/// Appends a length in groups of seven bits, least first.
fn append_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(usize::from(first));
    }
    let mut value = usize::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The entry at the front of `bytes`, which stand at `base` in their block.
fn parse_entry(bytes: &[u8], base: usize) -> Option<Entry> {
    let mut at = 0;
    let shared = varint(bytes, &mut at)?;
    let unshared = varint(bytes, &mut at)?;
    let kind = *bytes.get(at)?;
    at += 1;
    let mut expires_ms = 0;
    if kind == PUT_EXPIRING {
        expires_ms = u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
        at += 8;
    }
    let value_bytes = match kind {
        DELETE => 0,
        PUT | PUT_EXPIRING => varint(bytes, &mut at)?,
        _ => return None,
    };
    let suffix_end = at.checked_add(unshared)?;
    let end = suffix_end.checked_add(value_bytes)?;
    let is_possible = end <= bytes.len() && shared + unshared <= limits::VERSION_KEY_BYTES_MAX;
    is_possible.then_some(Entry {
        shared,
        suffix: (base + at, base + suffix_end),
        is_put: kind != DELETE,
        expires_ms,
        value: (base + suffix_end, base + end),
    })
}

/// Walks over a block's entries, both ways.
pub struct BlockCursor {
    block: Arc<Block>,
    /// Where the entry here begins; `None` off either end.
    at: Option<usize>,
    entry: Entry,
    key: Vec<u8>,
}

impl BlockCursor {
    /// A walk over `block` that stands nowhere yet.
    #[must_use]
    pub fn new(block: Arc<Block>) -> Self {
        Self { block, at: None, entry: Entry::default(), key: Vec::new() }
    }

    /// The same walk over another block, reusing its memory; stands nowhere.
    pub fn reset(&mut self, block: Arc<Block>) {
        self.block = block;
        self.at = None;
    }

    /// The key here.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.at.map(|_| &self.key[..])
    }

    /// The value here; empty for a tombstone.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.block.piece(self.entry.value.0, self.entry.value.1)
    }

    /// What stands here.
    #[must_use]
    pub fn slot(&self) -> Slot<'_> {
        match self.entry.is_put {
            true => Slot::Put { value: self.value(), expires_ms: self.entry.expires_ms },
            false => Slot::Delete,
        }
    }

    /// Stands at `offset`; `self.key` must hold the key before it.
    fn stand(&mut self, offset: usize) -> Result<(), Damage> {
        if offset >= self.block.entries_end {
            self.at = None;
            return Ok(());
        }
        let entry = self.block.entry(offset)?;
        if entry.shared > self.key.len() {
            self.at = None;
            return Err(malformed("a key that shares more than there is"));
        }
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(self.block.piece(entry.suffix.0, entry.suffix.1));
        self.entry = entry;
        self.at = Some(offset);
        Ok(())
    }

    fn stand_at_restart(&mut self, n: usize) -> Result<(), Damage> {
        self.key.clear();
        let offset = self.block.restart(n)?;
        self.stand(offset)
    }

    /// To the first entry.
    ///
    /// # Errors
    /// `Damaged`, here and in the other steps.
    pub fn seek_first(&mut self) -> Result<(), Damage> {
        self.key.clear();
        let start = self.block.start;
        self.stand(start)
    }

    /// To the last entry.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn seek_last(&mut self) -> Result<(), Damage> {
        let Some(last) = self.block.restarts.checked_sub(1) else {
            self.at = None;
            return Ok(());
        };
        self.stand_at_restart(last)?;
        while self.at.is_some() && self.entry.value.1 < self.block.entries_end {
            self.stand(self.entry.value.1)?;
        }
        Ok(())
    }

    /// To the first entry at or after `target`.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn seek(&mut self, target: &[u8]) -> Result<(), Damage> {
        // The last restart whose key is below the target, or the first.
        let (mut low, mut high) = (0, self.block.restarts);
        if self.block.heads.bytes() > 0 {
            let near = self.block.heads.near(target);
            (low, high) = (near.start.saturating_sub(1), near.end);
        }
        while high.saturating_sub(low) > 1 {
            let middle = low + (high - low) / 2;
            match self.block.key_at_restart(middle)? < target {
                true => low = middle,
                false => high = middle,
            }
        }
        if self.block.restarts == 0 {
            self.at = None;
            return Ok(());
        }
        self.stand_at_restart(low)?;
        while self.key().is_some_and(|key| key < target) {
            self.step()?;
        }
        Ok(())
    }

    /// One forward.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn step(&mut self) -> Result<(), Damage> {
        match self.at {
            Some(_) => self.stand(self.entry.value.1),
            None => Ok(()),
        }
    }

    /// One back.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn step_back(&mut self) -> Result<(), Damage> {
        let Some(here) = self.at else { return Ok(()) };
        // The last restart before this entry; from there forward again.
        let (mut low, mut high) = (0, self.block.restarts);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.block.restart(middle)? < here {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let Some(before) = low.checked_sub(1) else {
            self.at = None;
            return Ok(());
        };
        self.stand_at_restart(before)?;
        while self.at.is_some() && self.entry.value.1 < here {
            self.stand(self.entry.value.1)?;
        }
        Ok(())
    }
}
