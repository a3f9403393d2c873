//! A store in memory that fails when it is told to: for tests, and for the simulator.

use super::objects::Objects;
use super::{Created, Listed, SiteError, Store};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In which way a put fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and whoever asked is told so.
    Refused,
    /// The object is there, and the reply is lost.
    ReplyLost,
}

#[derive(Default)]
struct Plan {
    /// Requests so far, of any kind.
    requests: u64,
    /// Puts so far.
    puts: u64,
    /// Which puts fail, counted from 1, and how.
    faults: Vec<(u64, Fault)>,
    /// Nothing is answered.
    is_away: bool,
    /// Nothing is answered from this request on, counted from 1.
    away_from: Option<u64>,
    /// At which put, counted from 1, whoever asks dies, and how that put fails.
    dies_at: Option<(u64, Fault)>,
    /// How often the bytes of each object have come.
    came: BTreeMap<String, u64>,
    /// Names that are not listed and not found.
    hidden: BTreeSet<String>,
}

/// A store that fails when it is told to.
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
}

impl Faulty {
    /// One in memory, which does not fail yet.
    #[must_use]
    pub fn memory() -> Self {
        Self::over(Arc::new(Objects::memory()))
    }

    /// One over another store.
    #[must_use]
    pub fn over(inner: Arc<dyn Store>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the `nth` put from now on, counted from 1, fail.
    pub fn fail_put(&self, nth: u64, fault: Fault) {
        let mut plan = self.plan();
        let at = plan.puts + nth;
        plan.faults.push((at, fault));
    }

    /// From now on nothing is answered, or everything again.
    pub fn set_away(&self, is_away: bool) {
        let mut plan = self.plan();
        (plan.is_away, plan.away_from) = (is_away, None);
    }

    /// Lets whoever asks die at the `nth` put from now on, counted from 1: that put fails so, and nothing is answered from then on, until
    /// [`Faulty::set_away`] says otherwise.
    pub fn die_at_put(&self, nth: u64, fault: Fault) {
        let mut plan = self.plan();
        plan.dies_at = Some((plan.puts + nth, fault));
    }

    /// Whether that has come about.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let plan = self.plan();
        plan.dies_at.is_some_and(|(at, _)| plan.puts >= at)
    }

    /// How often the bytes of each object have come to the store, by name.
    #[must_use]
    pub fn came(&self) -> BTreeMap<String, u64> {
        self.plan().came.clone()
    }

    /// After so many requests more nothing is answered, until [`Faulty::set_away`] says otherwise: as if whoever asks had died.
    pub fn away_after(&self, requests: u64) {
        let mut plan = self.plan();
        plan.away_from = Some(plan.requests + requests + 1);
    }

    /// From now on this object is as if it were not there.
    pub fn hide(&self, name: &str) {
        self.plan().hidden.insert(name.to_owned());
    }

    /// What was hidden is there again.
    pub fn show_all(&self) {
        self.plan().hidden.clear();
    }

    /// Puts another object in the place of one, as an attacker would.
    ///
    /// # Errors
    /// As the store.
    pub async fn overwrite(&self, name: &str, bytes: Bytes) -> Result<(), SiteError> {
        self.inner.delete(name).await?;
        self.inner.create(name, bytes).await.map(drop)
    }

    /// Puts so far.
    #[must_use]
    pub fn puts(&self) -> u64 {
        self.plan().puts
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.plan().requests
    }

    fn request(&self, what: &'static str, name: &str) -> Result<(), SiteError> {
        let mut plan = self.plan();
        plan.requests += 1;
        if plan.is_away || plan.away_from.is_some_and(|from| plan.requests >= from) {
            return Err(SiteError::Away { what, cause: "it was told to be away".to_owned() });
        }
        if plan.hidden.contains(name) {
            return Err(SiteError::NotFound { name: name.to_owned() });
        }
        Ok(())
    }

    fn put(&self) -> Option<Fault> {
        let mut plan = self.plan();
        plan.puts += 1;
        let now = plan.puts;
        if let Some((_, fault)) = plan.dies_at.filter(|(at, _)| *at == now) {
            plan.is_away = true;
            return Some(fault);
        }
        plan.faults.iter().find(|(at, _)| *at == now).map(|(_, fault)| *fault)
    }
}

impl Store for Faulty {
    fn create<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Created, SiteError>> {
        Box::pin(async move {
            let what = "take an object";
            self.request(what, "")?;
            let failed = || SiteError::Away { what, cause: "it was told to fail".to_owned() };
            let fault = self.put();
            if fault != Some(Fault::Refused) {
                *self.plan().came.entry(name.to_owned()).or_default() += 1;
            }
            match fault {
                None => self.inner.create(name, bytes).await,
                Some(Fault::Refused) => Err(failed()),
                Some(Fault::ReplyLost) => {
                    self.inner.create(name, bytes).await?;
                    Err(failed())
                }
            }
        })
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), SiteError>> {
        Box::pin(async move {
            self.request("keep an object", name)?;
            self.inner.sync(name).await
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, SiteError>> {
        Box::pin(async move {
            self.request("give an object", name)?;
            self.inner.read(name, range).await
        })
    }

    fn size<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64, SiteError>> {
        Box::pin(async move {
            self.request("tell a size", name)?;
            self.inner.size(name).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SiteError>> {
        Box::pin(async move {
            self.request("list", prefix)?;
            let mut found = self.inner.list(prefix).await?;
            let plan = self.plan();
            found.retain(|one| !plan.hidden.contains(&one.name));
            Ok(found)
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), SiteError>> {
        Box::pin(async move {
            self.request("remove an object", name)?;
            self.inner.delete(name).await
        })
    }
}
