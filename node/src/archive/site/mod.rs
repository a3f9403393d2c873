//! One place of an archive. Nothing there is overwritten or appended to: an object is put once, whole, under its final name, and whoever
//! finds the name taken compares. A [`Store`] is what a place can do; a [`Site`] is how it is used.

pub mod bucket;
pub mod faulty;
pub mod objects;
pub mod open;
mod publish;
#[cfg(feature = "s3")]
pub mod s3;
pub mod suite;

pub use publish::{Site, SiteParts};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::ops::Range;

/// Why a site did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// There is no such object.
    #[error("there is no object {name}")]
    NotFound {
        /// Its name.
        name: String,
    },
    /// Something else has the name: somebody else was first.
    #[error("{name} is there with other bytes")]
    Taken {
        /// The name.
        name: String,
    },
    /// The site cannot be asked now, or does not answer. The same later.
    #[error("the site does not {what}: {cause}")]
    Away {
        /// What it does not do.
        what: &'static str,
        /// What it says.
        cause: String,
    },
    /// An object is larger than whoever asks will take.
    #[error("{name} has {bytes} bytes, over the limit of {max}")]
    TooLarge {
        /// Its name.
        name: String,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        max: u64,
    },
}

impl SiteError {
    /// Whether the same may go well later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is there now.
    New,
    /// The name is taken: by whatever.
    Taken,
}

/// An object, as a listing tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What a place can do. Checked for every implementation by [`suite`].
pub trait Store: Send + Sync + 'static {
    /// Puts an object under a name that is free. After an error it may be there or not.
    fn create<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Created, SiteError>>;

    /// Makes what has the name durable, whoever put it there.
    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), SiteError>>;

    /// The bytes of an object, all or some of them.
    fn read<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, SiteError>>;

    /// How large an object is.
    fn size<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64, SiteError>>;

    /// All objects whose names begin with `prefix`, which ends with a slash or is empty; sorted.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SiteError>>;

    /// Removes an object; no error if there is none.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), SiteError>>;
}

/// Whoever moves a snapshot asks before each object.
pub trait Pace: Send + Sync {
    /// Waits until so many bytes may be moved. False: nothing more is moved now, and the same may go well later.
    fn wait(&self, bytes: u64) -> BoxFuture<'_, bool>;
}

/// As fast as it goes.
pub struct AtOnce;

impl Pace for AtOnce {
    fn wait(&self, _: u64) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

#[cfg(test)]
mod tests;
