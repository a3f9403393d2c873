//! Pure: reading numbers and bytes from untrusted input, big-endian, never past its end.

use crate::error::{Damage, Nature};

/// Takes pieces off the front of a slice. Every way to read too far is an error.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// `Malformed`: they end early.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let (piece, rest) = self.0.split_at_checked(n).ok_or_else(short)?;
        self.0 = rest;
        Ok(piece)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Malformed`: they end early.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (piece, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*piece)
    }

    /// The next byte.
    ///
    /// # Errors
    /// `Malformed`: they end early.
    pub fn u8(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    /// `Malformed`: they end early.
    pub fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes as a number.
    ///
    /// # Errors
    /// `Malformed`: they end early.
    pub fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes as a number.
    ///
    /// # Errors
    /// `Malformed`: they end early.
    pub fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length of at most `max`, then that many bytes.
    ///
    /// # Errors
    /// `Malformed`: over `max`, or they end early.
    pub fn bytes32(&mut self, max: usize) -> Result<&'a [u8], Damage> {
        let n = self.u32()? as usize;
        if n > max { Err(malformed("a length over its limit")) } else { self.take(n) }
    }

    /// All must have been read.
    ///
    /// # Errors
    /// `Malformed`: some are left.
    pub fn end(&self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("bytes after the end")) }
    }
}

fn short() -> Damage {
    malformed("the bytes end early")
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

/// Appends a length as u32, then the bytes. The caller has checked the bound.
///
/// # Panics
/// Over 4 GiB.
pub fn append_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    let n = u32::try_from(bytes.len()).expect("bounded far below 4 GiB by limits.rs");
    out.extend_from_slice(&n.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut reader = Reader::new(&[0, 0, 0, 5, 1, 2]);
        assert!(reader.bytes32(9).is_err());
        assert!(Reader::new(&[0, 0, 0, 5, 1, 2]).bytes32(4).is_err());
        assert!(Reader::new(&[1]).u16().is_err() && Reader::new(&[1]).end().is_err());
    }
}
