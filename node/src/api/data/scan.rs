//! Scans and histories: streams of pages. A page is read when the one before was taken, and not earlier.

use super::aside;
use crate::access::action::Action;
use crate::api::convert::{self, Result};
use crate::api::guard::Call;
use crate::api::{Api, Consistency};
use crate::limits;
use crate::refused::Refused;
use crate::restore::look::{Look, Seen};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use engine::tablet::history::{Event, History};
use engine::tablet::view::{Entry, Page, Scan, ScanCursor, View};
use futures_util::stream::unfold;
use futures_util::{FutureExt, Stream};
use proto::errors::code;
use proto::v1;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Where it is read.
#[derive(Clone)]
enum Source {
    /// In the cluster.
    Cluster(Arc<View>),
    /// In its archive.
    Archive(Arc<Seen>),
}

impl Source {
    fn at(&self) -> Stamp {
        match self {
            Self::Cluster(view) => view.at(),
            Self::Archive(seen) => seen.at(),
        }
    }

    fn scan(&self, scan: &Scan, cursor: Option<&ScanCursor>) -> engine::Result<Page> {
        match self {
            Self::Cluster(view) => view.scan(scan, cursor),
            Self::Archive(seen) => seen.scan(scan, cursor),
        }
    }
}

/// A scan under way.
pub(super) struct Scanning {
    source: Source,
    scan: Scan,
    cursor: Option<ScanCursor>,
    /// Rows that may still come; `None`: any.
    left: Option<u64>,
    keys_only: bool,
    /// When it must end.
    until: Pin<Box<Sleep>>,
    is_over: bool,
}

impl Api {
    /// Begins a scan, or goes on with one.
    pub(super) async fn scan(&self, call: &Call, asked: v1::ScanRequest) -> Result<Scanning> {
        let at = self.enter(call, asked.place, Action::KvRead)?;
        let (start, end) = convert::range_of(asked.range, &asked.prefix)?;
        let resumed = convert::resumed(&asked.resume, &start, end.as_deref())?;
        let source = match (convert::archived(asked.consistency.as_ref()), &resumed) {
            (Some(stamp), _) => {
                if asked.reverse {
                    return Err(convert::malformed("an archive is scanned forward only"));
                }
                Source::Archive(self.backend.look(at.tenant, Look::AsOf(stamp), call.wait_ms).await?)
            }
            (None, resumed) => {
                let how = match resumed {
                    Some((at, _)) => Consistency::AsOf(*at),
                    None => convert::consistency(asked.consistency)?,
                };
                Source::Cluster(Arc::new(self.backend.view(at.tenant, how, call.wait_ms).await?))
            }
        };
        let collection = self.collection(&at, call.wait_ms).await?;
        let scan = Scan {
            start: (!start.is_empty()).then(|| start.to_vec()),
            end: end.map(|end| end.to_vec()),
            is_reverse: asked.reverse,
            bytes_max: limits::PAGE_BYTES_MAX,
            ..Scan::all(at.tenant, collection.unwrap_or_default())
        };
        let cursor = resumed.map(|(at, after)| ScanCursor { at, now_ms: at.ms(), after });
        let left = (asked.limit > 0).then_some(asked.limit);
        let until = Box::pin(sleep(Duration::from_millis(limits::SCAN_MS_MAX)));
        let is_over = false;
        let mut scanning =
            Scanning { source, scan, cursor, left, keys_only: asked.keys_only, until, is_over };
        if collection.is_none() {
            // Nothing was ever written there.
            scanning.left = Some(0);
        }
        Ok(scanning)
    }

    /// Begins to read the versions of a key.
    pub(super) async fn history(&self, call: &Call, asked: v1::HistoryRequest) -> Result<Remembering> {
        let at = self.enter(call, asked.place, Action::KvRead)?;
        convert::key(&asked.key)?;
        let resumed = convert::history_resumed(&asked.resume)?;
        let behind = match asked.is_archived {
            true => Some(self.backend.look(at.tenant, Look::Since(Stamp(asked.since)), call.wait_ms).await?),
            false => None,
        };
        let how = resumed.map_or(Consistency::Linearizable, Consistency::AsOf);
        let source = match (&behind, resumed) {
            // What comes next stands in the archive alone.
            (Some(seen), Some(at)) if at <= seen.at() => Events::Archive(seen.clone(), at),
            _ => Events::Cluster(self.backend.view(at.tenant, how, call.wait_ms).await?),
        };
        if let (Some(seen), Events::Cluster(view)) = (&behind, &source)
            && view.floor(at.tenant) > seen.at()
        {
            return Err(Refused::new(code::HISTORY_GONE)
                .saying("the archive does not reach to where the history of the cluster begins"));
        }
        Ok(Remembering {
            api: self.clone(),
            place: (at.tenant, self.collection(&at, call.wait_ms).await?),
            key: asked.key,
            source: Some(source),
            behind,
            since: Stamp(asked.since),
            is_resumed: resumed.is_some(),
            left: if asked.limit == 0 { u64::MAX } else { asked.limit },
            wait_ms: call.wait_ms,
        })
    }
}

impl Scanning {
    /// Its pages.
    pub(super) fn pages(self) -> impl Stream<Item = Result<v1::ScanPage>> + Send + use<> {
        unfold(Some(self), |state| async move {
            let mut state = state?;
            let page = state.next().await;
            let goes_on = page.is_ok() && !state.is_over;
            Some((page, goes_on.then_some(state)))
        })
    }

    /// The next page.
    pub(super) async fn next(&mut self) -> Result<v1::ScanPage> {
        let at = self.source.at().0;
        if self.left == Some(0) {
            self.is_over = true;
            return Ok(v1::ScanPage { rows: Vec::new(), resume: Bytes::new(), at });
        }
        loop {
            if self.until.as_mut().now_or_never().is_some() {
                return Err(Refused::new(code::DEADLINE)
                    .saying("a scan ends after a while: go on from its last page"));
            }
            let page = self.read().await?;
            let more = page.next.is_some();
            self.cursor = page.next.or_else(|| self.cursor.take());
            // Where much was deleted a page may be empty and not the last.
            if page.entries.is_empty() && more {
                continue;
            }
            let rows: Vec<v1::Row> =
                page.entries.into_iter().map(|entry| row(entry, self.keys_only)).collect();
            self.left = self.left.map(|left| left.saturating_sub(rows.len() as u64));
            self.is_over = !more || self.left == Some(0);
            let resume =
                self.cursor.as_ref().filter(|_| more).map(|next| convert::resume(next.at, &next.after));
            return Ok(v1::ScanPage { rows, resume: resume.unwrap_or_default(), at });
        }
    }

    async fn read(&self) -> Result<Page> {
        let limit = self.left.unwrap_or(u64::MAX).min(limits::PAGE_ROWS_MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (source, cursor) = (self.source.clone(), self.cursor.clone());
        let scan = Scan { limit, ..self.scan.clone() };
        aside(move || source.scan(&scan, cursor.as_ref())).await
    }
}

fn row(entry: Entry, keys_only: bool) -> v1::Row {
    let mut version = convert::version(entry.found);
    if keys_only {
        version.value = Bytes::new();
    }
    v1::Row { key: entry.key.into(), version: Some(version) }
}

/// Where the next versions are read.
enum Events {
    /// In the cluster.
    Cluster(View),
    /// In its archive, at or before a stamp.
    Archive(Arc<Seen>, Stamp),
}

/// The versions of a key, page by page, newest first.
pub(super) struct Remembering {
    api: Api,
    place: (TenantId, Option<CollectionId>),
    key: Bytes,
    /// What the next page is read from.
    source: Option<Events>,
    /// What is read behind what the cluster has.
    behind: Option<Arc<Seen>>,
    /// Of that only what is newer.
    since: Stamp,
    /// It goes on from a page that came before.
    is_resumed: bool,
    left: u64,
    wait_ms: u64,
}

impl Remembering {
    /// Its pages.
    pub(super) fn pages(self) -> impl Stream<Item = Result<v1::HistoryPage>> + Send + use<> {
        unfold(Some(self), |state| async move {
            let mut state = state?;
            let page = state.next().await;
            let goes_on = page.is_ok() && state.source.is_some();
            Some((page, goes_on.then_some(state)))
        })
    }

    /// The next page.
    pub(super) async fn next(&mut self) -> Result<v1::HistoryPage> {
        let nothing = |at| v1::HistoryPage { is_last: true, at, ..v1::HistoryPage::default() };
        let Some(source) = self.source.take() else { return Ok(nothing(0)) };
        let at = match &source {
            Events::Cluster(view) => view.at().0,
            Events::Archive(_, at) => at.0,
        };
        let (tenant, Some(collection)) = self.place else { return Ok(nothing(at)) };
        let (key, limit) = (self.key.clone(), usize::try_from(self.left).unwrap_or(usize::MAX));
        let is_here = matches!(source, Events::Cluster(_));
        let read = aside(move || match source {
            Events::Cluster(view) => view.history(tenant, collection, &key, limit),
            Events::Archive(seen, at) => seen.history((tenant, collection), &key, (at, limit)),
        });
        let mut page = match read.await {
            // Meanwhile nothing older is kept.
            Err(refused)
                if refused.code == code::HISTORY_GONE && self.is_resumed && self.behind.is_none() =>
            {
                History::default()
            }
            page => page?,
        };
        self.is_resumed = true;
        self.bound(&mut page, is_here);
        let mut events = page.events;
        events.truncate(limit);
        self.left -= events.len() as u64;
        if let Some(next) = page.next.filter(|_| self.left > 0) {
            self.source = Some(self.before(next).await?);
        }
        let versions = events.into_iter().map(past).collect();
        let resume = page.next.map(convert::history_resume).unwrap_or_default();
        Ok(v1::HistoryPage { versions, is_last: page.next.is_none(), resume, at })
    }

    /// Where the archive has what the cluster has as well, it is told of once: by the archive.
    fn bound(&self, page: &mut History, is_here: bool) {
        let Some(seen) = &self.behind else { return };
        let floor = if is_here { seen.at() } else { self.since };
        page.events.retain(|event| event.stamp > floor);
        page.next = match page.next.filter(|next| *next > floor) {
            None if is_here => Some(floor),
            next => next,
        };
    }

    async fn before(&self, at: Stamp) -> Result<Events> {
        match &self.behind {
            Some(seen) if at <= seen.at() => Ok(Events::Archive(seen.clone(), at)),
            _ => {
                let view = self.api.backend.view(self.place.0, Consistency::AsOf(at), self.wait_ms).await?;
                Ok(Events::Cluster(view))
            }
        }
    }
}

fn past(event: Event) -> v1::PastVersion {
    let is_removed = event.value.is_none();
    let (value, expires_ms) = event.value.unwrap_or_default();
    let version = v1::Version { stamp: event.stamp.0, value, expires_ms };
    v1::PastVersion { version: Some(version), is_removed }
}
