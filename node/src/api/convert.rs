//! Pure: nouns of the wire, and ours. What comes from outside is checked here, once; no text names a key or a value.

use crate::limits;
use crate::refused::Refused;
use crate::shard::command::{Condition, Expected, Expiry, Operation};
use crate::shard::door::{Consistency, WriteId};
use crate::tenants::rules::is_name;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::CollectionId;
use engine::tablet::view::Found;
use proto::errors::code;
use proto::v1;

/// What comes of it, or why not.
pub type Result<T> = std::result::Result<T, Refused>;

/// Milliseconds that a stamp can hold.
const STAMP_MS_MAX: u64 = u64::MAX >> 16;

/// A field makes no sense.
#[must_use]
pub fn malformed(text: &str) -> Refused {
    Refused::new(code::MALFORMED).saying(text)
}

/// A field that must be there.
///
/// # Errors
/// `MALFORMED`.
pub fn needed<T>(field: Option<T>, name: &str) -> Result<T> {
    field.ok_or_else(|| malformed(&format!("the field {name} is missing")))
}

/// A name of a tenant, collection, node or region.
///
/// # Errors
/// `NAME_INVALID`.
pub fn name(text: &str) -> Result<()> {
    if is_name(text) { Ok(()) } else { Err(Refused::new(code::NAME_INVALID)) }
}

/// A key.
///
/// # Errors
/// `KEY_TOO_LONG`, also if it is empty.
pub fn key(key: &[u8]) -> Result<()> {
    match key.len() {
        0 => Err(Refused::new(code::KEY_TOO_LONG).saying("the key is empty")),
        bytes if bytes > limits::KEY_BYTES_MAX => Err(Refused::new(code::KEY_TOO_LONG)),
        _ => Ok(()),
    }
}

/// A value.
///
/// # Errors
/// `VALUE_TOO_LONG`.
pub fn value(value: &[u8]) -> Result<()> {
    if value.len() > limits::VALUE_BYTES_MAX { Err(Refused::new(code::VALUE_TOO_LONG)) } else { Ok(()) }
}

/// A range of keys: its first, and the first behind it.
///
/// # Errors
/// `KEY_TOO_LONG`, `RANGE_INVALID`.
pub fn range(start: Bytes, end: Bytes) -> Result<(Bytes, Option<Bytes>)> {
    if start.len().max(end.len()) > limits::KEY_BYTES_MAX {
        return Err(Refused::new(code::KEY_TOO_LONG));
    }
    match end.is_empty() {
        true => Ok((start, None)),
        false if end <= start => Err(Refused::new(code::RANGE_INVALID)),
        false => Ok((start, Some(end))),
    }
}

/// The keys of a range that begin with a prefix.
///
/// # Errors
/// As [`range`].
pub fn range_of(asked: Option<v1::Range>, prefix: &Bytes) -> Result<(Bytes, Option<Bytes>)> {
    let asked = asked.unwrap_or_default();
    let (start, end) = range(asked.start, asked.end)?;
    if prefix.is_empty() {
        return Ok((start, end));
    }
    if prefix.len() > limits::KEY_BYTES_MAX {
        return Err(Refused::new(code::KEY_TOO_LONG));
    }
    let behind = engine::key::after_prefix(prefix).map(Bytes::from);
    let end = match (end, behind) {
        (Some(end), Some(behind)) => Some(end.min(behind)),
        (end, behind) => end.or(behind),
    };
    let start = start.max(prefix.clone());
    match &end {
        Some(end) if *end <= start => Err(Refused::new(code::RANGE_INVALID)),
        _ => Ok((start, end)),
    }
}

/// How fresh a read must be.
///
/// # Errors
/// `MALFORMED`: a consistency that says nothing.
pub fn consistency(asked: Option<v1::Consistency>) -> Result<Consistency> {
    use v1::consistency::How;
    let Some(asked) = asked else { return Ok(Consistency::Linearizable) };
    match asked.how {
        None => Ok(Consistency::Linearizable),
        Some(How::Linearizable(_)) => Ok(Consistency::Linearizable),
        Some(How::BoundedMs(0)) => Err(malformed("a bound of 0 milliseconds: ask for a linearizable read")),
        Some(How::BoundedMs(ms)) => Ok(Consistency::Bounded(ms)),
        Some(How::AsOf(0)) => Err(malformed("a read as of stamp 0 sees nothing")),
        Some(How::AsOf(stamp)) => Ok(Consistency::AsOf(Stamp(stamp))),
        Some(How::Archived(_)) => Err(malformed("only single keys and scans are read in an archive")),
    }
}

/// The stamp as of which the archive is to be read, if it is.
#[must_use]
pub fn archived(asked: Option<&v1::Consistency>) -> Option<Stamp> {
    match asked?.how {
        Some(v1::consistency::How::Archived(stamp)) => Some(Stamp(stamp)),
        _ => None,
    }
}

/// What makes a write harmless when it comes again. Without one it may run twice, and must not run after `until_ms`.
///
/// # Errors
/// `MALFORMED`.
pub fn write_id(asked: Option<v1::WriteId>, until_ms: u64) -> Result<WriteId> {
    let Some(asked) = asked else {
        return Ok(WriteId { valid_until_ms: until_ms.min(STAMP_MS_MAX), ..WriteId::default() });
    };
    match write_asked(Some(asked))? {
        WriteId { valid_until_ms: 0, .. } => Err(malformed("valid_until_ms is no time")),
        id => Ok(id),
    }
}

/// The id of a write that is asked after; its `valid_until_ms` may be left out.
///
/// # Errors
/// `MALFORMED`.
pub fn write_asked(asked: Option<v1::WriteId>) -> Result<WriteId> {
    let asked = needed(asked, "id")?;
    let session: [u8; 16] =
        asked.session[..].try_into().map_err(|_| malformed("a write session has 16 bytes"))?;
    if session == [0; 16] {
        return Err(malformed("a write session is not all zeros"));
    }
    if asked.valid_until_ms > STAMP_MS_MAX {
        return Err(malformed("valid_until_ms is no time"));
    }
    Ok(WriteId { session, number: asked.number, valid_until_ms: asked.valid_until_ms })
}

/// When a value goes by itself.
///
/// # Errors
/// `MALFORMED`.
pub fn expiry(ttl_ms: u64) -> Result<Expiry> {
    match ttl_ms {
        0 => Ok(Expiry::Never),
        ttl_ms if ttl_ms > STAMP_MS_MAX => Err(malformed("ttl_ms is longer than time lasts")),
        ttl_ms => Ok(Expiry::After(ttl_ms)),
    }
}

fn expected(must: Option<v1::condition::Must>) -> Result<Expected> {
    use v1::condition::Must;
    match needed(must, "condition.must")? {
        Must::Absent(_) => Ok(Expected::Absent),
        Must::Present(_) => Ok(Expected::Present),
        Must::Stamp(0) => Err(malformed("no version has stamp 0: ask that the key is absent")),
        Must::Stamp(stamp) => Ok(Expected::Stamp(Stamp(stamp))),
    }
}

/// A condition of a batch. `place` finds the collection that it names.
///
/// # Errors
/// `MALFORMED`, `KEY_TOO_LONG`.
pub fn condition(
    asked: v1::Condition,
    place: impl Fn(&str) -> Result<CollectionId>,
) -> Result<Condition<Bytes>> {
    key(&asked.key)?;
    let collection = place(&asked.collection)?;
    Ok(Condition { collection, key: asked.key, expected: expected(asked.must)? })
}

/// The condition of a write of one key, which names no key of its own.
///
/// # Errors
/// `MALFORMED`.
pub fn own_condition(
    asked: Option<v1::Condition>,
    collection: CollectionId,
    key: &Bytes,
) -> Result<Vec<Condition<Bytes>>> {
    let Some(asked) = asked else { return Ok(Vec::new()) };
    if !asked.key.is_empty() || !asked.collection.is_empty() {
        return Err(malformed("the condition of a write of one key names no key and no collection"));
    }
    Ok(vec![Condition { collection, key: key.clone(), expected: expected(asked.must)? }])
}

/// An operation of a batch. `place` finds the collection that it names.
///
/// # Errors
/// `MALFORMED`, and what is wrong with key, value or range.
pub fn operation(
    asked: v1::Operation,
    place: impl Fn(&str) -> Result<CollectionId>,
) -> Result<Operation<Bytes>> {
    use v1::operation::What;
    let collection = place(&asked.collection)?;
    match needed(asked.what, "operation.what")? {
        What::Put(put) => put_operation(collection, put.key, put.value, put.ttl_ms),
        What::Delete(deleted) => {
            key(&deleted)?;
            Ok(Operation::Delete { collection, key: deleted })
        }
        What::DeleteRange(deleted) => {
            let (start, end) = range(deleted.start, deleted.end)?;
            Ok(Operation::DeleteRange { collection, start, end })
        }
    }
}

/// An operation that sets a key.
///
/// # Errors
/// What is wrong with key, value or time.
pub fn put_operation(
    collection: CollectionId,
    put: Bytes,
    written: Bytes,
    ttl_ms: u64,
) -> Result<Operation<Bytes>> {
    key(&put)?;
    value(&written)?;
    Ok(Operation::Put { collection, key: put, value: written, expiry: expiry(ttl_ms)? })
}

/// A version that was found.
#[must_use]
pub fn version(found: Found) -> v1::Version {
    v1::Version { stamp: found.stamp.0, value: found.value, expires_ms: found.expires_ms }
}

/// Where a scan goes on: a version of this form, the stamp of the scan, and the key of the last row.
#[must_use]
pub fn resume(at: Stamp, after: &[u8]) -> Bytes {
    [&[1][..], &at.0.to_be_bytes(), after].concat().into()
}

/// Reads what [`resume`] wrote; nothing if it is empty. It lets nobody reach more than the scan itself does, for it only says where inside its
/// range to go on.
///
/// # Errors
/// `RESUME_INVALID`.
pub fn resumed(bytes: &[u8], start: &[u8], end: Option<&[u8]>) -> Result<Option<(Stamp, Vec<u8>)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let wrong = || Refused::new(code::RESUME_INVALID);
    let rest = bytes.strip_prefix(&[1]).ok_or_else(wrong)?;
    let (at, after) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let at = Stamp(u64::from_be_bytes(*at));
    let is_inside = after >= start && end.is_none_or(|end| after < end);
    if at == Stamp::ZERO || after.len() > limits::KEY_BYTES_MAX || !is_inside {
        return Err(wrong());
    }
    Ok(Some((at, after.to_vec())))
}

/// Where a history goes on: a version of this form, and the stamp that it is read at next.
#[must_use]
pub fn history_resume(next: Stamp) -> Bytes {
    [&[1][..], &next.0.to_be_bytes()].concat().into()
}

/// Reads what [`history_resume`] wrote; nothing if it is empty.
///
/// # Errors
/// `RESUME_INVALID`.
pub fn history_resumed(bytes: &[u8]) -> Result<Option<Stamp>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let stamp = bytes.strip_prefix(&[1]).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
    let stamp = stamp.map(|stamp| Stamp(u64::from_be_bytes(stamp))).filter(|stamp| *stamp != Stamp::ZERO);
    stamp.map(Some).ok_or_else(|| Refused::new(code::RESUME_INVALID))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of<T>(result: Result<T>) -> u32 {
        result.err().map_or(0, |refused| refused.code)
    }

    fn long(bytes: usize) -> Bytes {
        vec![0; bytes].into()
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_code() {
        assert_eq!(code_of(key(b"")), code::KEY_TOO_LONG);
        assert_eq!(code_of(key(&long(limits::KEY_BYTES_MAX + 1))), code::KEY_TOO_LONG);
        assert_eq!(code_of(key(&long(limits::KEY_BYTES_MAX))), 0);
        assert_eq!(code_of(value(&long(limits::VALUE_BYTES_MAX + 1))), code::VALUE_TOO_LONG);
        assert_eq!(code_of(value(b"")), 0);
        let range = |start: &'static str, end: &'static str| range(start.into(), end.into());
        assert_eq!(range("", "").unwrap(), (Bytes::new(), None));
        assert_eq!(range("a", "b").unwrap(), ("a".into(), Some("b".into())));
        assert_eq!(code_of(range("b", "b")), code::RANGE_INVALID);
        assert_eq!(code_of(range("b", "a")), code::RANGE_INVALID);
        assert_eq!(code_of(super::range(long(limits::KEY_BYTES_MAX + 1), Bytes::new())), code::KEY_TOO_LONG);
        for wrong in ["", "a b", "a/b", ".a", &"a".repeat(64)] {
            assert_eq!(code_of(name(wrong)), code::NAME_INVALID, "{wrong}");
        }
    }

    #[test]
    fn a_write_names_its_session_whole_or_not_at_all() {
        let id = |session: usize, valid_until_ms| {
            let session = vec![7; session].into();
            write_id(Some(v1::WriteId { session, number: 1, valid_until_ms }), 5)
        };
        assert_eq!(id(16, 9).unwrap(), WriteId { session: [7; 16], number: 1, valid_until_ms: 9 });
        for (bytes, until_ms) in [(0, 9), (15, 9), (17, 9), (16, 0), (16, 1 << 48), (16, u64::MAX)] {
            assert_eq!(code_of(id(bytes, until_ms)), code::MALFORMED, "{bytes} {until_ms}");
        }
        let zeros = v1::WriteId { session: vec![0; 16].into(), number: 1, valid_until_ms: 9 };
        assert_eq!(code_of(write_id(Some(zeros), 5)), code::MALFORMED);
        assert_eq!(write_id(None, 5).unwrap(), WriteId { valid_until_ms: 5, ..WriteId::default() });
        assert_eq!(code_of(expiry(1 << 48)), code::MALFORMED);
    }

    #[test]
    fn conditions_and_operations_say_what_they_want() {
        let place = |_: &str| Ok(CollectionId(1));
        let nothing = v1::Condition { key: "k".into(), ..v1::Condition::default() };
        assert_eq!(code_of(condition(nothing.clone(), place)), code::MALFORMED);
        let must = Some(v1::condition::Must::Stamp(0));
        assert_eq!(code_of(condition(v1::Condition { must, ..nothing.clone() }, place)), code::MALFORMED);
        let must = Some(v1::condition::Must::Present(v1::Present {}));
        let named = v1::Condition { must, ..nothing };
        assert_eq!(code_of(condition(named.clone(), place)), 0);
        let own = |asked| own_condition(Some(asked), CollectionId(1), &"k".into());
        assert_eq!(code_of(own(named.clone())), code::MALFORMED);
        assert_eq!(code_of(own(v1::Condition { key: Bytes::new(), ..named })), 0);
        assert_eq!(code_of(operation(v1::Operation::default(), place)), code::MALFORMED);
        let how = |how| code_of(consistency(Some(v1::Consistency { how: Some(how) })));
        assert_eq!(how(v1::consistency::How::BoundedMs(0)), code::MALFORMED);
        assert_eq!(how(v1::consistency::How::AsOf(0)), code::MALFORMED);
        assert_eq!(how(v1::consistency::How::AsOf(1)), 0);
    }

    #[test]
    fn a_prefix_makes_a_range_smaller_and_never_larger() {
        let of = |start: &'static str, end: &'static str, prefix: &'static [u8]| {
            let range = v1::Range { start: start.into(), end: end.into() };
            range_of(Some(range), &Bytes::from_static(prefix))
        };
        assert_eq!(range_of(None, &Bytes::new()).unwrap(), (Bytes::new(), None));
        assert_eq!(of("", "", b"k").unwrap(), ("k".into(), Some("l".into())));
        assert_eq!(of("ka", "kb", b"k").unwrap(), ("ka".into(), Some("kb".into())));
        assert_eq!(of("a", "kb", b"k").unwrap(), ("k".into(), Some("kb".into())));
        assert_eq!(of("ka", "z", b"k").unwrap(), ("ka".into(), Some("l".into())));
        assert_eq!(of("", "", b"\xff\xff").unwrap(), (Bytes::from_static(b"\xff\xff"), None));
        assert_eq!(code_of(of("l", "", b"k")), code::RANGE_INVALID);
        assert_eq!(code_of(of("", "k", b"k")), code::RANGE_INVALID);
        assert_eq!(code_of(range_of(None, &long(limits::KEY_BYTES_MAX + 1))), code::KEY_TOO_LONG);
    }

    #[test]
    fn a_history_goes_on_where_it_ended() {
        let token = history_resume(Stamp::new(7, 1));
        assert_eq!(history_resumed(&token).unwrap(), Some(Stamp::new(7, 1)));
        assert_eq!(history_resumed(b"").unwrap(), None);
        for wrong in [&token[..8], &[&token[..], &[0]].concat(), &[2; 9], &history_resume(Stamp::ZERO)] {
            assert_eq!(code_of(history_resumed(wrong)), code::RESUME_INVALID);
        }
    }

    #[test]
    fn a_scan_goes_on_inside_its_range_alone() {
        let at = Stamp::new(7, 1);
        let token = resume(at, b"m");
        assert_eq!(resumed(&token, b"a", Some(b"z")).unwrap(), Some((at, b"m".to_vec())));
        assert_eq!(resumed(b"", b"a", None).unwrap(), None);
        for cut in 1..token.len() - 1 {
            assert_eq!(code_of(resumed(&token[..cut], b"", None)), 1009 * u32::from(cut < 9), "{cut}");
        }
        assert_eq!(code_of(resumed(&token, b"n", None)), code::RESUME_INVALID);
        assert_eq!(code_of(resumed(&token, b"", Some(b"m"))), code::RESUME_INVALID);
        assert_eq!(code_of(resumed(&[2; 20], b"", None)), code::RESUME_INVALID);
        assert_eq!(code_of(resumed(&resume(Stamp::ZERO, b"m"), b"", None)), code::RESUME_INVALID);
        assert_eq!(code_of(resumed(&resume(at, &[b'a'; 5_000]), b"", None)), code::RESUME_INVALID);
    }
}
