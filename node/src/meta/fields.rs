//! Pure: the pieces of which rows and commands of the meta group are made.

use crate::limits;
use engine::error::{Damage, Nature};
use engine::wire::{Reader, append_bytes32};

/// Not what the format allows.
#[must_use]
pub fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

/// Appends a number.
pub fn append_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a number.
pub fn append_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a number that may be missing.
pub fn append_option(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    append_u64(out, number.unwrap_or_default());
}

/// Reads what [`append_option`] wrote.
///
/// # Errors
/// `Malformed`.
pub fn read_option(reader: &mut Reader<'_>) -> Result<Option<u64>, Damage> {
    match (reader.u8()?, reader.u64()?) {
        (0, 0) => Ok(None),
        (1, number) => Ok(Some(number)),
        _ => Err(malformed("a number that is neither there nor missing")),
    }
}

/// Appends a text. Its bound was checked before.
pub fn append_text(out: &mut Vec<u8>, text: &str) {
    append_bytes32(out, text.as_bytes());
}

/// Reads what [`append_text`] wrote, of at most `max` bytes.
///
/// # Errors
/// `Malformed`.
pub fn read_text(reader: &mut Reader<'_>, max: usize) -> Result<String, Damage> {
    text(reader.bytes32(max)?)
}

/// The name that `bytes` spell.
///
/// # Errors
/// `Malformed`.
pub fn text(bytes: &[u8]) -> Result<String, Damage> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| malformed("a text that is no UTF-8"))
}

/// Reads a name.
///
/// # Errors
/// `Malformed`: also if it is no good name.
pub fn read_name(reader: &mut Reader<'_>) -> Result<String, Damage> {
    let name = read_text(reader, limits::NAME_BYTES_MAX)?;
    if crate::tenants::rules::is_name(&name) { Ok(name) } else { Err(malformed("a name that is none")) }
}

/// Opens a row or a command of `version`.
///
/// # Errors
/// `Malformed`: another version.
pub fn read_version(reader: &mut Reader<'_>, version: u8) -> Result<(), Damage> {
    if reader.u8()? == version { Ok(()) } else { Err(malformed("an unknown version")) }
}
