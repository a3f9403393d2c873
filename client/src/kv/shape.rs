//! What keys and values of a collection are for the caller: documents with text as keys, or bytes.

use crate::error::{Error, Result, code};
use crate::stamp::Stamp;
use bytes::Bytes;
use proto::v1::Version;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;

/// A document: a value that knows its collection and its key.
pub trait Doc: Serialize + DeserializeOwned + Send + 'static {
    /// The collection that holds them.
    const COLLECTION: &'static str;
    /// What a key is made from.
    type Key: Into<String>;

    /// The key of this one.
    fn key(&self) -> Self::Key;
}

/// What keys and values are.
pub trait Shape: Send + Sync + 'static {
    /// A key.
    type Key: Send + 'static;
    /// A value.
    type Value: Send + 'static;

    /// Reads a key.
    ///
    /// # Errors
    /// Invalid, if it is none.
    fn open_key(bytes: Bytes) -> Result<Self::Key>;

    /// Reads a value.
    ///
    /// # Errors
    /// Invalid, if it is none.
    fn open_value(bytes: Bytes) -> Result<Self::Value>;
}

/// Documents as JSON, with text as keys.
pub struct Docs<D>(PhantomData<fn() -> D>);

/// Bytes as they are.
#[derive(Clone, Copy, Debug)]
pub struct Raw;

impl<D: Doc> Shape for Docs<D> {
    type Key = String;
    type Value = D;

    fn open_key(bytes: Bytes) -> Result<String> {
        String::from_utf8(bytes.into()).map_err(|_| {
            Error::new(
                code::INPUT,
                format!("a key of the collection {} is no text: read it raw", D::COLLECTION),
            )
        })
    }

    fn open_value(bytes: Bytes) -> Result<D> {
        // The error of serde may quote the value, so only its place is told.
        serde_json::from_slice(&bytes).map_err(|cause| {
            let (line, column) = (cause.line(), cause.column());
            let what = format!("a value of the collection {} is no such document", D::COLLECTION);
            Error::new(code::INPUT, format!("{what} (line {line}, column {column})"))
        })
    }
}

impl Shape for Raw {
    type Key = Bytes;
    type Value = Bytes;

    fn open_key(bytes: Bytes) -> Result<Bytes> {
        Ok(bytes)
    }

    fn open_value(bytes: Bytes) -> Result<Bytes> {
        Ok(bytes)
    }
}

pub(crate) fn written<D: Doc>(document: &D) -> Result<Bytes> {
    let bytes = serde_json::to_vec(document).map_err(|_| {
        Error::new(
            code::INPUT,
            format!("a document of the collection {} cannot be written as JSON", D::COLLECTION),
        )
    })?;
    Ok(bytes.into())
}

/// A value and when it was written.
#[derive(Clone)]
#[non_exhaustive]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was written.
    pub stamp: Stamp,
    /// When it expires, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// The value stays unseen.
impl<T> fmt::Debug for Versioned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Versioned({})", self.stamp)
    }
}

pub(crate) fn opened<S: Shape>(version: Version) -> Result<Versioned<S::Value>> {
    let expires_ms = (version.expires_ms != 0).then_some(version.expires_ms);
    Ok(Versioned { value: S::open_value(version.value)?, stamp: Stamp(version.stamp), expires_ms })
}
