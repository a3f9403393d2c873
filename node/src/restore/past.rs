//! What a tenant was, row by row, wherever that is read.

use super::asked::{Page, PageAsked, PageRow};
use super::fetch::Reading;
use super::hands::Hands;
use crate::refused::Refused;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use proto::errors::code;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where the rows of a tenant are read.
#[derive(Clone)]
pub enum Past {
    /// In the cluster itself.
    History {
        /// Who reads.
        hands: Hands,
        /// Whose.
        tenant: TenantId,
        /// As of this stamp; [`Stamp::ZERO`]: as they are now.
        at: Stamp,
        /// Values are left out.
        keys_only: bool,
    },
    /// In what was brought here of an archive.
    Archive(Arc<Reading>),
}

impl Past {
    /// Some rows of a range, behind a key or from its start.
    ///
    /// # Errors
    /// `HISTORY_GONE`, and what reading says.
    pub async fn page(&self, range: &KeyRange, after: Option<Bytes>) -> Result<Page, Refused> {
        let KeyRange { collection, start, end } = range.clone();
        match self {
            Self::History { hands, tenant, at, keys_only } => {
                let (tenant, at, keys_only) = (*tenant, *at, *keys_only);
                hands.page(PageAsked { tenant, collection, start, end, after, at, keys_only }).await
            }
            Self::Archive(reading) => {
                let (reading, range) = (reading.clone(), range.clone());
                let read = crate::work::aside(move || reading.page(&range, after.as_ref())).await;
                let read =
                    read.map_err(|_| Refused::new(code::INTERNAL).saying("reading an archive has panicked"))?;
                Ok(read?)
            }
        }
    }

    /// The rows of a range, those behind a key if one is given.
    #[must_use]
    pub fn rows(&self, range: KeyRange, after: Option<Bytes>) -> Rows {
        Rows { past: self.clone(), range, after, here: VecDeque::new(), is_over: false }
    }
}

/// Keys of a collection.
#[derive(Clone)]
pub struct KeyRange {
    /// The collection.
    pub collection: CollectionId,
    /// The first key.
    pub start: Bytes,
    /// The first key behind; `None`: all that follow.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// All of a collection.
    #[must_use]
    pub fn all(collection: CollectionId) -> Self {
        Self { collection, start: Bytes::new(), end: None }
    }

    /// One key.
    #[must_use]
    pub fn one(collection: CollectionId, key: &Bytes) -> Self {
        let end = super::plan::behind(key).map(Bytes::from);
        Self { collection, start: key.clone(), end }
    }
}

/// Rows, one after the other; a page is read when the one before was taken.
pub struct Rows {
    past: Past,
    range: KeyRange,
    after: Option<Bytes>,
    here: VecDeque<PageRow>,
    is_over: bool,
}

impl Rows {
    /// The next row, which stays; nothing: there are no more.
    ///
    /// # Errors
    /// As [`Past::page`].
    pub async fn peek(&mut self) -> Result<Option<&PageRow>, Refused> {
        while self.here.is_empty() && !self.is_over {
            let page = self.past.page(&self.range, self.after.take()).await?;
            self.is_over = page.next.is_none();
            self.after = page.next;
            self.here = page.rows.into();
        }
        Ok(self.here.front())
    }

    /// The next row.
    ///
    /// # Errors
    /// As [`Past::page`].
    pub async fn next(&mut self) -> Result<Option<PageRow>, Refused> {
        self.peek().await?;
        Ok(self.here.pop_front())
    }
}
