//! Key bytes in memory: locked, out of core dumps and forks, wiped on drop, unprintable.
//!
//! Keys live in slots of pages of their own. A page is locked into memory where the system lets us; how many are not is
//! told by [`secret_memory`], so that a server can refuse to start.
#![allow(unsafe_code)]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::{Zeroize, zeroize_bytes};

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;
const PAGE_BYTES: usize = 4096;
const SLOTS: usize = PAGE_BYTES / KEY_BYTES;

/// Pages that hold keys, and how many of them the system has locked into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretMemory {
    /// Pages in use.
    pub pages: usize,
    /// Those that cannot be swapped out.
    pub locked_pages: usize,
}

/// A 256-bit key. Cannot be printed, cloned or serialised; wiped when dropped.
///
/// ```
/// fn copy<T: Clone>(secret: &T) -> T {
///     secret.clone()
/// }
/// let key = engine::sealed::SecretKey::new(copy(&[1; 32]));
/// let _only = &key;
/// ```
///
/// ```compile_fail,E0277
/// fn copy<T: Clone>(secret: &T) -> T {
///     secret.clone()
/// }
/// let key = engine::sealed::SecretKey::new([1; 32]);
/// let _second = copy(&key);
/// ```
pub struct SecretKey(NonNull<[u8; KEY_BYTES]>);

// SAFETY: the slot is owned by this value alone and only read through `&self`.
unsafe impl Send for SecretKey {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for SecretKey {}

struct Arena {
    free: Vec<usize>,
    memory: SecretMemory,
}

static ARENA: Mutex<Arena> =
    Mutex::new(Arena { free: Vec::new(), memory: SecretMemory { pages: 0, locked_pages: 0 } });

fn arena() -> MutexGuard<'static, Arena> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much key memory there is, and how much of it is locked.
#[must_use]
pub fn secret_memory() -> SecretMemory {
    arena().memory
}

impl Arena {
    fn add_page(&mut self) {
        let flags = MapFlags::PRIVATE;
        // SAFETY: a new anonymous mapping at an address the system chooses; it is never unmapped.
        let page =
            unsafe { mmap_anonymous(ptr::null_mut(), PAGE_BYTES, ProtFlags::READ | ProtFlags::WRITE, flags) };
        let page = page.expect("the system has no page for keys");
        // SAFETY: the page was just mapped with this length.
        let is_locked = unsafe { mlock(page, PAGE_BYTES) }.is_ok();
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            // SAFETY: the page was just mapped with this length; both advices leave its content alone. An old kernel may
            // refuse, which changes nothing here.
            let _ = unsafe { madvise(page, PAGE_BYTES, advice) };
        }
        self.memory.pages += 1;
        self.memory.locked_pages += usize::from(is_locked);
        self.free.extend((0..SLOTS).map(|slot| page as usize + slot * KEY_BYTES));
    }
}

impl SecretKey {
    /// Takes the bytes of a key, and wipes the copy it was given.
    #[must_use]
    pub fn new(mut bytes: [u8; KEY_BYTES]) -> Self {
        let key = Self::from_slice(&bytes);
        bytes.zeroize();
        key
    }

    /// A copy of `bytes`, which the caller wipes.
    #[must_use]
    pub(crate) fn from_slice(bytes: &[u8; KEY_BYTES]) -> Self {
        let mut arena = arena();
        if arena.free.is_empty() {
            arena.add_page();
        }
        let slot = arena.free.pop().expect("a page was just added");
        let slot = NonNull::new(slot as *mut [u8; KEY_BYTES]).expect("a mapped page is not at zero");
        // SAFETY: the slot is inside a mapped page, aligned for bytes, and was free, so nobody else refers to it.
        unsafe { slot.as_ptr().write(*bytes) };
        Self(slot)
    }

    /// The key's bytes, for the cipher and derivation in this room only.
    pub(in crate::sealed) fn expose(&self) -> &[u8; KEY_BYTES] {
        // SAFETY: the slot is valid and initialised for as long as `self` lives.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        // SAFETY: `self` is the only reference to its slot.
        unsafe { self.0.as_mut() }.zeroize();
        arena().free.push(self.0.as_ptr() as usize);
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Opened bytes, or bytes that will be sealed. All they had room for is wiped when they are dropped; printed only as a length.
/// One that grows leaves its bytes behind in freed memory, so give it its room before.
///
/// ```
/// fn copy<T: Clone>(secret: &T) -> T {
///     secret.clone()
/// }
/// let bytes = engine::sealed::SecretBytes::from(copy(&vec![1; 3]));
/// let _only = &bytes;
/// ```
///
/// ```compile_fail,E0277
/// fn copy<T: Clone>(secret: &T) -> T {
///     secret.clone()
/// }
/// let bytes = engine::sealed::SecretBytes::from(vec![1; 3]);
/// let _second = copy(&bytes);
/// ```
#[derive(Default)]
pub struct SecretBytes(Vec<u8>);

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for SecretBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl SecretBytes {
    /// Fills all there is room for with zeros, what lies behind the end included.
    fn wipe(&mut self) {
        // In one sweep: wiping byte by byte is a tenth of the time of a read.
        self.0.resize(self.0.capacity(), 0);
        zeroize_bytes(&mut self.0);
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_nothing_of_itself() {
        assert_eq!(format!("{:?}", SecretKey::new([7; 32])), "SecretKey(..)");
        assert_eq!(format!("{:?}", SecretBytes::from(vec![7; 3])), "SecretBytes(3 bytes)");
    }

    #[test]
    fn bytes_are_wiped_with_all_they_had_room_for() {
        for kept in [0, 1, 3, 99, 100] {
            let mut bytes = SecretBytes::from(vec![7; 100]);
            bytes.truncate(kept);
            bytes.wipe();
            assert!(
                bytes.len() >= 100 && bytes.len() == bytes.capacity(),
                "{bytes:?} of {}",
                bytes.capacity()
            );
            assert!(bytes.iter().all(|byte| *byte == 0), "{kept} kept: {} bytes are left", bytes.len());
        }
    }

    #[test]
    fn a_dropped_key_is_wiped_and_its_slot_used_again() {
        let keys: Vec<SecretKey> = (0..300).map(|n| SecretKey::new([(n % 251 + 1) as u8; 32])).collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(key.expose(), &[(n % 251 + 1) as u8; 32]);
        }
        let slots: Vec<usize> = keys.iter().map(|key| key.0.as_ptr() as usize).collect();
        drop(keys);
        let arena = arena();
        assert!(arena.memory.pages >= 3 && arena.memory.locked_pages <= arena.memory.pages);
        for slot in slots.iter().filter(|slot| arena.free.contains(slot)) {
            // SAFETY: key pages are never unmapped, and the arena is locked, so no free slot is being written.
            assert_eq!(unsafe { ptr::read(*slot as *const [u8; 32]) }, [0; 32]);
        }
    }
}
