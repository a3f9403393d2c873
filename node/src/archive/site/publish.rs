//! How a site is used: the rule by which objects are published, limits, and its byte rate.

use super::bucket::Bucket;
use super::{Created, Listed, SiteError, Store};
use crate::archive::naming::Word;
use bytes::Bytes;
use raft::time::BootClock;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long one request is waited for, in milliseconds: longer, and a stall would not show.
const REQUEST_MS: u64 = 10_000;
/// Bytes for which a second more is waited: the slowest link that is of use.
const BYTES_PER_S_MIN: u64 = 1 << 20;
/// Puts of one object before the site counts as away.
const PUTS_MAX: usize = 3;

/// What a site is made of.
pub struct SiteParts {
    /// What it is called.
    pub name: Word,
    /// Which region it lies in; a name for people.
    pub region: String,
    /// Where its objects are.
    pub store: Arc<dyn Store>,
    /// The folder of the cluster in it, with a slash at the end.
    pub root: String,
    /// Bytes a second that may go there; 0 is no limit.
    pub rate_bytes_s: u64,
    /// For the rate.
    pub clock: Arc<dyn BootClock>,
}

/// One place of an archive.
pub struct Site {
    parts: SiteParts,
    bucket: Mutex<Bucket>,
}

impl Site {
    /// A site of these parts.
    #[must_use]
    pub fn new(parts: SiteParts) -> Self {
        let bucket = Mutex::new(Bucket::new(parts.rate_bytes_s, parts.clock.monotonic_ms()));
        Self { parts, bucket }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &Word {
        &self.parts.name
    }

    /// Which region it lies in.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.parts.region
    }

    fn whole(&self, name: &str) -> String {
        format!("{}{name}", self.parts.root)
    }

    async fn pace(&self, bytes: u64) {
        let wait_ms = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(bytes, self.parts.clock.monotonic_ms())
        };
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    /// Sets another byte rate; 0 is no limit.
    pub fn set_rate(&self, rate_bytes_s: u64) {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).set_rate(rate_bytes_s);
    }

    /// Publishes an object. When this returns, the object is there, whole and durable, with exactly these bytes: put now, or earlier by
    /// whoever had the same to say.
    ///
    /// # Errors
    /// `Taken`: something else has the name. `Away`: not known to be there; the same later.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), SiteError> {
        let whole = self.whole(name);
        let mut said = SiteError::NotFound { name: name.to_owned() };
        for _ in 0..PUTS_MAX {
            self.pace(bytes.len() as u64).await;
            let store = &self.parts.store;
            let unclear =
                match within("take an object", bytes.len(), store.create(&whole, bytes.clone())).await {
                    Ok(Created::New) => return Ok(()),
                    Ok(Created::Taken) => None,
                    Err(error) => Some(error),
                };
            // The reply may be lost, and the object there all the same: by us, or by another who has the same to say.
            let found = within("give an object", bytes.len(), store.read(&whole, None)).await;
            match (found, unclear) {
                (Ok(found), _) if found == bytes => {
                    return within("keep an object", 0, store.sync(&whole)).await;
                }
                (Ok(_), _) => return Err(SiteError::Taken { name: name.to_owned() }),
                (Err(SiteError::NotFound { .. }), Some(error)) | (Err(error), _) => said = error,
            }
        }
        Err(match said {
            SiteError::NotFound { name } => {
                let cause = format!("{name} is said to be there and is not");
                SiteError::Away { what: "take an object", cause }
            }
            other => other,
        })
    }

    /// The bytes of an object of at most `bytes_max`.
    ///
    /// # Errors
    /// `NotFound`, `TooLarge`, `Away`.
    pub async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes, SiteError> {
        let bytes = self.size(name).await?;
        if bytes > bytes_max {
            return Err(SiteError::TooLarge { name: name.to_owned(), bytes, max: bytes_max });
        }
        self.pace(bytes).await;
        let whole = self.whole(name);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        within("give an object", length, self.parts.store.read(&whole, None)).await
    }

    /// Some bytes of an object.
    ///
    /// # Errors
    /// `NotFound`, `Away`.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, SiteError> {
        let bytes = range.end.saturating_sub(range.start);
        self.pace(bytes).await;
        let whole = self.whole(name);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        within("give an object", length, self.parts.store.read(&whole, Some(range))).await
    }

    /// How large an object is.
    ///
    /// # Errors
    /// `NotFound`, `Away`.
    pub async fn size(&self, name: &str) -> Result<u64, SiteError> {
        within("tell a size", 0, self.parts.store.size(&self.whole(name))).await
    }

    /// All objects whose names begin with `prefix`, which ends with a slash or is empty; sorted, named below the folder of the cluster.
    ///
    /// # Errors
    /// `Away`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, SiteError> {
        let root = &self.parts.root;
        let found = within("list", 64 << 20, self.parts.store.list(&self.whole(prefix))).await?;
        let below = |one: Listed| {
            let name = one.name.strip_prefix(root.as_str())?.to_owned();
            Some(Listed { name, ..one })
        };
        Ok(found.into_iter().filter_map(below).collect())
    }

    /// Removes an object; no error if there is none. Only who collects what retention lets go may do so.
    ///
    /// # Errors
    /// `Away`.
    pub async fn delete(&self, name: &str) -> Result<(), SiteError> {
        within("remove an object", 0, self.parts.store.delete(&self.whole(name))).await
    }
}

/// Waits for an answer, but not for ever.
async fn within<T>(
    what: &'static str,
    bytes: usize,
    answer: impl Future<Output = Result<T, SiteError>>,
) -> Result<T, SiteError> {
    let ms = REQUEST_MS + bytes as u64 * 1_000 / BYTES_PER_S_MIN;
    match tokio::time::timeout(Duration::from_millis(ms), answer).await {
        Ok(answered) => answered,
        Err(_) => Err(SiteError::Away { what, cause: format!("no answer in {ms} ms") }),
    }
}
