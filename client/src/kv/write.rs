//! Writes. Each has an id, so that it is applied once however often it is sent.

use super::range::KeyRange;
use crate::call::{Aim, odd};
use crate::clock::{Deadline, ms, now_ms};
use crate::error::{Result, code};
use crate::request_id::RequestId;
use crate::stamp::Stamp;
use crate::tenant::Spot;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use proto::v1::condition::Must;
use proto::v1::operation::What;
use proto::v1::stream_request::What as Request;
use proto::v1::stream_response::What as Answer;
use proto::v1::{
    Absent, BatchRequest, Condition, DeleteRangeRequest, DeleteRequest, Operation, Present, PutRequest,
    WriteId,
};
use std::time::Duration;

/// Writes one key when it is awaited.
#[must_use = "nothing is written before it is awaited"]
pub struct Put {
    spot: Spot,
    key: Bytes,
    value: Result<Bytes>,
    ttl_ms: u64,
    must: Option<Must>,
    id: Name,
}

/// Removes one key when it is awaited.
#[must_use = "nothing is removed before it is awaited"]
pub struct Delete {
    spot: Spot,
    key: Bytes,
    must: Option<Must>,
    id: Name,
}

/// Removes a range when it is awaited.
#[must_use = "nothing is removed before it is awaited"]
pub struct DeleteRange {
    spot: Spot,
    range: KeyRange,
    id: Name,
}

/// Writes all or nothing when it is awaited.
#[must_use = "nothing is written before it is awaited"]
pub struct Batch {
    spot: Spot,
    conditions: Vec<Condition>,
    operations: Vec<Operation>,
    id: Name,
}

/// What a write is sent as.
#[derive(Clone, Debug, Default)]
enum Name {
    /// Under a new id.
    #[default]
    New,
    /// Under this one.
    Id(RequestId),
    /// Under a key of the caller's own.
    Key(Vec<u8>),
}

macro_rules! identified {
    ($($name:ident),*) => {$(
        impl $name {
            /// Sends it under this id, of an earlier sending of the same: it is applied once, and answered as it was.
            pub fn request_id(mut self, id: RequestId) -> Self {
                self.id = Name::Id(id);
                self
            }

            /// Sends it under a name of the caller's own, unique among all writes of the tenant: whoever sends it again under the same name,
            /// after a restart of its own too, within ten minutes, has it applied once, and hears the first answer.
            pub fn idempotency_key(mut self, key: impl AsRef<[u8]>) -> Self {
                self.id = Name::Key(key.as_ref().to_vec());
                self
            }
        }

        impl IntoFuture for $name {
            type Output = Result<Stamp>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.run())
            }
        }
    )*};
}
identified!(Put, Delete, DeleteRange, Batch);

macro_rules! conditional {
    ($($name:ident),*) => {$(
        impl $name {
            /// Only if the newest version of the key is this one.
            pub fn if_stamp(mut self, stamp: Stamp) -> Self {
                self.must = Some(Must::Stamp(stamp.0));
                self
            }

            /// Only if the key has a value.
            pub fn if_present(mut self) -> Self {
                self.must = Some(Must::Present(Present {}));
                self
            }
        }
    )*};
}
conditional!(Put, Delete);

async fn send(spot: &Spot, name: Name, what: impl Fn(Option<WriteId>) -> Request) -> Result<Stamp> {
    let deadline = Deadline::after(spot.time);
    let ids: Box<dyn Iterator<Item = RequestId> + Send> = match name {
        Name::New => Box::new([spot.link.session.next(spot.time)].into_iter()),
        Name::Id(id) => Box::new([id].into_iter()),
        Name::Key(key) => Box::new(RequestId::named(&key, now_ms())),
    };
    let mut answered = Err(odd());
    for id in ids {
        let asked = (Aim::Leader, deadline.left(), Some(id));
        answered = spot.link.call(&spot.tenant, what(Some(id.into())), asked).await;
        // It was sent before, and is remembered under another end of its time.
        if !matches!(&answered, Err(error) if error.code() == code::REQUEST_REUSED) {
            break;
        }
    }
    match answered? {
        Answer::Write(response) => Ok(Stamp(response.stamp)),
        _ => Err(odd()),
    }
}

fn condition(must: Option<Must>) -> Option<Condition> {
    must.map(|must| Condition { must: Some(must), ..Condition::default() })
}

impl Put {
    pub(crate) fn new(spot: Spot, key: Bytes, value: Result<Bytes>) -> Self {
        Self { spot, key, value, ttl_ms: 0, must: None, id: Name::New }
    }

    /// Only if the key has no value.
    pub fn if_absent(mut self) -> Self {
        self.must = Some(Must::Absent(Absent {}));
        self
    }

    /// It expires after so long.
    pub fn ttl(mut self, time: Duration) -> Self {
        self.ttl_ms = ms(time).max(1);
        self
    }

    async fn run(self) -> Result<Stamp> {
        let Self { spot, key, value, ttl_ms, must, id } = self;
        let (place, value, condition) = (spot.place(), value?, condition(must));
        let request = PutRequest { place, key, value, ttl_ms, condition, id: None };
        send(&spot, id, |id| Request::Put(PutRequest { id, ..request.clone() })).await
    }
}

impl Delete {
    pub(crate) fn new(spot: Spot, key: Bytes) -> Self {
        Self { spot, key, must: None, id: Name::New }
    }

    async fn run(self) -> Result<Stamp> {
        let Self { spot, key, must, id } = self;
        let (place, condition) = (spot.place(), condition(must));
        let request = DeleteRequest { place, key, condition, id: None };
        send(&spot, id, |id| Request::Delete(DeleteRequest { id, ..request.clone() })).await
    }
}

impl DeleteRange {
    pub(crate) fn new(spot: Spot, range: KeyRange) -> Self {
        Self { spot, range, id: Name::New }
    }

    async fn run(self) -> Result<Stamp> {
        let Self { spot, range: KeyRange { start, end }, id } = self;
        let place = spot.place();
        let request = DeleteRangeRequest { place, start, end, id: None };
        send(&spot, id, |id| Request::DeleteRange(DeleteRangeRequest { id, ..request.clone() })).await
    }
}

impl Batch {
    pub(crate) fn new(spot: Spot) -> Self {
        Self { spot, conditions: vec![], operations: vec![], id: Name::New }
    }

    /// Writes a key.
    pub fn put(self, collection: &str, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.operation(collection, What::Put(proto::v1::Put { key, value: value.into(), ttl_ms: 0 }))
    }

    /// Removes a key.
    pub fn delete(self, collection: &str, key: impl AsRef<[u8]>) -> Self {
        self.operation(collection, What::Delete(Bytes::copy_from_slice(key.as_ref())))
    }

    /// Removes a range.
    pub fn delete_range(self, collection: &str, range: impl Into<KeyRange>) -> Self {
        self.operation(collection, What::DeleteRange(range.into().sent()))
    }

    /// All of it only if the newest version of this key is that one, or if there is none.
    pub fn if_version(mut self, collection: &str, key: impl AsRef<[u8]>, stamp: Option<Stamp>) -> Self {
        let must = Some(stamp.map_or(Must::Absent(Absent {}), |stamp| Must::Stamp(stamp.0)));
        let key = Bytes::copy_from_slice(key.as_ref());
        self.conditions.push(Condition { key, collection: collection.to_owned(), must });
        self
    }

    /// How many writes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn operation(mut self, collection: &str, what: What) -> Self {
        self.operations.push(Operation { collection: collection.to_owned(), what: Some(what) });
        self
    }

    async fn run(self) -> Result<Stamp> {
        let Self { mut spot, conditions, operations, id } = self;
        if let Some(first) = operations.first() {
            spot.collection = first.collection.as_str().into();
        }
        let place = spot.place();
        let request = BatchRequest { place, conditions, operations, id: None };
        send(&spot, id, |id| Request::Batch(BatchRequest { id, ..request.clone() })).await
    }
}
