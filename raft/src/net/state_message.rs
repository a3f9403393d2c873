//! Pure: what replicas are asked of their rows to compare them, and what they say, as bytes.
//! Format: peer_state, `docs/formats/peer_state.md`.

use super::body::{Body, append_bytes, append_u64, malformed};
use crate::compare::question::{Asked, Collection, Question, Sum, SumOf, Told, WhyNot};
use crate::machine::range_digest::{RowRange, RowSum};
use crate::types::GroupId;
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{CollectionId, TenantId};
use engine::limits::KEY_BYTES_MAX;

impl Asked {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_u64(out, self.group.0);
        append_u64(out, self.replica.0);
        match &self.what {
            Question::Next(after) => {
                out.push(1);
                append_maybe_collection(out, *after);
            }
            Question::Sum(SumOf { at, range, rows_max }) => {
                out.push(2);
                out.push(u8::from(at.is_some()));
                append_u64(out, at.unwrap_or_default().0);
                append_collection(out, (range.tenant, range.collection));
                append_maybe_key(out, range.start.as_deref());
                append_maybe_key(out, range.end.as_deref());
                out.extend_from_slice(&rows_max.to_be_bytes());
            }
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let (group, replica) = (GroupId(body.u64()?), body.replica()?);
        let what = match body.u8()? {
            1 => Question::Next(maybe_collection(body)?),
            2 => {
                let at = match (body.is()?, Stamp(body.u64()?)) {
                    (true, at) => Some(at),
                    (false, Stamp::ZERO) => None,
                    (false, _) => return Err(malformed("a stamp that is none, and says something")),
                };
                let (tenant, collection) = collection(body)?;
                let range = RowRange { tenant, collection, start: maybe_key(body)?, end: maybe_key(body)? };
                Question::Sum(SumOf { at, range, rows_max: body.u32()? })
            }
            _ => return Err(malformed("an unknown question about rows")),
        };
        Ok(Self { group, replica, what })
    }
}

impl Told {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::Next(next) => {
                out.push(1);
                append_maybe_collection(out, *next);
            }
            Self::Sum(Sum { at, rows, upto }) => {
                out.push(2);
                append_u64(out, at.0);
                append_u64(out, rows.rows);
                out.extend_from_slice(&rows.sum.to_be_bytes());
                append_maybe_key(out, upto.as_deref());
            }
            Self::Not(why) => out.extend_from_slice(&[3, why.number()]),
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(match body.u8()? {
            1 => Self::Next(maybe_collection(body)?),
            2 => {
                let at = Stamp(body.u64()?);
                let rows = RowSum { rows: body.u64()?, sum: u128::from_be_bytes(body.array()?) };
                Self::Sum(Sum { at, rows, upto: maybe_key(body)? })
            }
            3 => {
                let number = body.u8()?;
                let why = WhyNot::ALL.into_iter().find(|why| why.number() == number);
                Self::Not(why.ok_or_else(|| malformed("an unknown reason"))?)
            }
            _ => return Err(malformed("an unknown answer about rows")),
        })
    }
}

fn append_collection(out: &mut Vec<u8>, (tenant, collection): Collection) {
    append_u64(out, tenant.0);
    out.extend_from_slice(&collection.0.to_be_bytes());
}

fn collection(body: &mut Body<'_>) -> Result<Collection, Damage> {
    Ok((TenantId(body.u64()?), CollectionId(body.u32()?)))
}

fn append_maybe_collection(out: &mut Vec<u8>, of: Option<Collection>) {
    out.push(u8::from(of.is_some()));
    append_collection(out, of.unwrap_or((TenantId(0), CollectionId(0))));
}

fn maybe_collection(body: &mut Body<'_>) -> Result<Option<Collection>, Damage> {
    match (body.is()?, collection(body)?) {
        (true, of) => Ok(Some(of)),
        (false, (TenantId(0), CollectionId(0))) => Ok(None),
        (false, _) => Err(malformed("a collection that is none, and says something")),
    }
}

fn append_maybe_key(out: &mut Vec<u8>, key: Option<&[u8]>) {
    out.push(u8::from(key.is_some()));
    if let Some(key) = key {
        append_bytes(out, key, KEY_BYTES_MAX);
    }
}

fn maybe_key(body: &mut Body<'_>) -> Result<Option<Vec<u8>>, Damage> {
    match body.is()? {
        true => Ok(Some(body.bytes(KEY_BYTES_MAX)?.to_vec())),
        false => Ok(None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::net::message::Message;
    use crate::types::ReplicaId;
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn some_collection() -> impl Strategy<Value = Collection> {
        (any::<u64>(), any::<u32>()).prop_map(|(tenant, of)| (TenantId(tenant), CollectionId(of)))
    }

    fn some_question() -> impl Strategy<Value = Question> {
        let key = || option::of(vec(any::<u8>(), 0..9));
        let sum = (option::of(any::<u64>()), some_collection(), key(), key(), any::<u32>()).prop_map(
            |(at, (tenant, collection), start, end, rows_max)| {
                let range = RowRange { tenant, collection, start, end };
                Question::Sum(SumOf { at: at.map(Stamp), range, rows_max })
            },
        );
        prop_oneof![option::of(some_collection()).prop_map(Question::Next), sum]
    }

    fn some_told() -> impl Strategy<Value = Told> {
        let sum = (any::<[u64; 2]>(), any::<u128>(), option::of(vec(any::<u8>(), 0..9))).prop_map(
            |([at, rows], sum, upto)| Told::Sum(Sum { at: Stamp(at), rows: RowSum { rows, sum }, upto }),
        );
        prop_oneof![
            option::of(some_collection()).prop_map(Told::Next),
            sum,
            (0..WhyNot::ALL.len()).prop_map(|n| Told::Not(WhyNot::ALL[n])),
        ]
    }

    /// What is asked and said to compare replicas.
    pub(crate) fn of_rows() -> impl Strategy<Value = Message> {
        let asked = (any::<[u64; 2]>(), some_question()).prop_map(|([group, replica], what)| {
            Message::AskState(Asked { group: GroupId(group), replica: ReplicaId(replica), what })
        });
        prop_oneof![asked, some_told().prop_map(Message::State)]
    }

    fn refused(message: &Message, change: impl FnOnce(&mut Vec<u8>)) -> &'static str {
        let mut bytes = Vec::new();
        message.append_body(&mut bytes);
        change(&mut bytes);
        Message::decode(message.kind(), &Bytes::from(bytes)).unwrap_err().detail
    }

    #[test]
    fn what_has_two_forms_or_is_too_long_is_refused() {
        let range = RowRange { start: Some(vec![7]), ..RowRange::all(TenantId(1), CollectionId(2)) };
        let what = Question::Sum(SumOf { at: None, range, rows_max: 3 });
        let asked = |what| Message::AskState(Asked { group: GroupId(1), replica: ReplicaId(1), what });
        let (sum, next) = (asked(what), asked(Question::Next(None)));
        assert_eq!(refused(&sum, |bytes| bytes[25] = 1), "a stamp that is none, and says something");
        let more = u32::try_from(KEY_BYTES_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(refused(&sum, |bytes| bytes[39..43].copy_from_slice(&more)), "a length over its limit");
        assert_eq!(refused(&next, |bytes| bytes[29] = 1), "a collection that is none, and says something");
        assert_eq!(refused(&next, |bytes| bytes[16] = 3), "an unknown question about rows");
        let not = Message::State(Told::Not(WhyNot::Behind));
        assert_eq!(refused(&not, |bytes| bytes[1] = 0), "an unknown reason");
        assert_eq!(refused(&not, |bytes| bytes[0] = 4), "an unknown answer about rows");
    }
}
