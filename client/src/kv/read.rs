//! Reads of keys that are named.

use super::shape::{Shape, Versioned, opened};
use crate::call::{Aim, odd};
use crate::clock::ms;
use crate::error::Result;
use crate::stamp::Stamp;
use crate::tenant::{Moment, Spot};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use proto::v1::consistency::How;
use proto::v1::stream_request::What as Request;
use proto::v1::stream_response::What as Answer;
use proto::v1::{Consistency, GetRequest, MultiGetRequest, Version};
use std::marker::PhantomData;
use std::time::Duration;

/// Reads one key when it is awaited.
#[must_use = "nothing is read before it is awaited"]
pub struct Get<S> {
    spot: Spot,
    key: Bytes,
    how: Option<Consistency>,
    aim: Aim,
    shape: PhantomData<fn() -> S>,
}

/// Reads several keys when it is awaited.
#[must_use = "nothing is read before it is awaited"]
pub struct MultiGet<S> {
    spot: Spot,
    keys: Vec<Bytes>,
    how: Option<Consistency>,
    aim: Aim,
    shape: PhantomData<fn() -> S>,
}

macro_rules! freshness {
    ($name:ident) => {
        impl<S> $name<S> {
            /// May miss what is younger than this, and is answered by any replica.
            pub fn bounded(mut self, age: Duration) -> Self {
                self.how = Some(Consistency { how: Some(How::BoundedMs(ms(age))) });
                self.aim = Aim::Replica;
                self
            }

            pub(crate) fn at(mut self, at: Moment) -> Self {
                self.how = at.asked();
                self
            }
        }
    };
}
freshness!(Get);
freshness!(MultiGet);

impl<S: Shape> Get<S> {
    pub(crate) fn new(spot: Spot, key: Bytes) -> Self {
        Self { spot, key, how: None, aim: Aim::Leader, shape: PhantomData }
    }

    async fn run(self) -> Result<Option<Versioned<S::Value>>> {
        let (version, _) = get(&self.spot, self.key, self.how, self.aim).await?;
        version.map(opened::<S>).transpose()
    }
}

/// What was found, and the stamp it was read at.
pub(crate) async fn get(
    spot: &Spot,
    key: Bytes,
    consistency: Option<Consistency>,
    aim: Aim,
) -> Result<(Option<Version>, Stamp)> {
    let what = Request::Get(GetRequest { place: spot.place(), key, consistency });
    match spot.link.call(&spot.tenant, what, (aim, spot.time, None)).await? {
        Answer::Get(response) => Ok((response.version, Stamp(response.at))),
        _ => Err(odd()),
    }
}

impl<S: Shape> MultiGet<S> {
    pub(crate) fn new(spot: Spot, keys: Vec<Bytes>) -> Self {
        Self { spot, keys, how: None, aim: Aim::Leader, shape: PhantomData }
    }

    async fn run(self) -> Result<Vec<Option<Versioned<S::Value>>>> {
        let count = self.keys.len();
        let Self { spot, keys, how: consistency, aim, .. } = self;
        let what = Request::MultiGet(MultiGetRequest { place: spot.place(), keys, consistency });
        match spot.link.call(&spot.tenant, what, (aim, spot.time, None)).await? {
            Answer::MultiGet(response) if response.versions.len() == count => response
                .versions
                .into_iter()
                .map(|found| found.version.map(opened::<S>).transpose())
                .collect(),
            _ => Err(odd()),
        }
    }
}

impl<S: Shape> IntoFuture for Get<S> {
    type Output = Result<Option<Versioned<S::Value>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<S: Shape> IntoFuture for MultiGet<S> {
    type Output = Result<Vec<Option<Versioned<S::Value>>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
