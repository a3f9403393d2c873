//! When drills take place by themselves, and what is known of them.

use super::rules::{self, Kind, Outcome};
use super::run::Wanted;
use crate::archive::manifest;
use crate::archive::naming::Name;
use crate::entropy::{SystemEntropy, random_id};
use crate::finding::{self, Finding};
use crate::limits::DRILL_LOOK_MS;
use crate::refused::Refused;
use crate::restore::archive::sources;
use crate::server::Server;
use engine::clock::Clock;
use engine::error::with_sources;
use proto::errors::code;
use raft::time::BootClock;
use raft::types::GroupId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The setting of the cluster that says how often a drill takes place, in milliseconds.
pub const EVERY: &str = "drill.every_ms";

/// A drill that goes on, or has ended here since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// Its id.
    pub id: u64,
    /// What it goes through.
    pub kind: Kind,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// What came of it, and as which object that stands in the archive, if it does.
    pub ended: Option<(Outcome, Option<String>)>,
}

/// What a node knows of drills.
#[derive(Default)]
pub struct Drills(Mutex<Known>);

#[derive(Default)]
struct Known {
    drills: Vec<Drill>,
    /// When the newest drill out of the archive took place, and the newest that passed.
    newest: (Option<u64>, Option<u64>),
    /// Since when it is looked, in milliseconds since 1970; 0: not yet.
    since_ms: u64,
}

/// Drills that are remembered.
const KEPT: usize = 32;

impl Drills {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Drill> {
        self.known().drills.clone()
    }

    /// Begins one, unless one goes on.
    fn begin(&self, drill: Drill) -> bool {
        let mut known = self.known();
        if known.drills.iter().any(|one| one.ended.is_none()) {
            return false;
        }
        let over = (known.drills.len() + 1).saturating_sub(KEPT);
        known.drills.drain(..over);
        known.drills.push(drill);
        true
    }

    /// One has ended. The next one by itself counts from here, also if it is not certified: the archive may be away for long.
    fn end(&self, id: u64, ended: (Outcome, Option<String>), now_ms: u64) {
        let mut known = self.known();
        if let Some(one) = known.drills.iter_mut().find(|one| one.id == id) {
            let is_whole = one.kind == Kind::Restore;
            one.ended = Some(ended);
            if is_whole {
                known.newest.0 = known.newest.0.max(Some(now_ms));
            }
        }
    }

    /// How old the newest proof is, in milliseconds; `None`: it is not looked here.
    #[must_use]
    pub fn proven_age_ms(&self, now_ms: u64) -> Option<u64> {
        let known = self.known();
        let from_ms = known.newest.1.unwrap_or(known.since_ms);
        (known.since_ms > 0).then(|| now_ms.saturating_sub(from_ms))
    }
}

impl Server {
    /// How often a drill takes place, in milliseconds; 0: only when somebody asks.
    #[must_use]
    pub fn drills_every_ms(&self) -> u64 {
        self.meta().settings.get(EVERY).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Begins a drill here. Returns its id.
    ///
    /// # Errors
    /// `DRILL_BUSY`: one goes on here.
    pub(super) fn begin_drill(self: &Arc<Self>, wanted: Wanted) -> Result<u64, Refused> {
        let (id, begun_ms) = (random_id(&SystemEntropy), self.clock.now_ms());
        let drill = Drill { id, kind: wanted.kind, begun_ms, ended: None };
        if !self.drills.begin(drill) {
            return Err(Refused::new(code::DRILL_BUSY));
        }
        tracing::info!(id, kind = wanted.kind.word(), "a drill begins");
        let server = self.clone();
        self.tasks.spawn("drill", async move {
            let from_ms = server.clock.boot_ms();
            let outcome = Box::pin(server.drilled(&wanted)).await;
            let outcome = Outcome { took_ms: server.clock.boot_ms().saturating_sub(from_ms), ..outcome };
            let found = outcome.found();
            let certificate = server.certify(wanted.kind, &outcome).await;
            match &certificate {
                Ok(object) => tracing::info!(id, object, "a drill is certified"),
                Err(why) => tracing::warn!(id, why, "a drill is not certified"),
            }
            if found.is_empty() {
                tracing::info!(
                    id,
                    took_ms = outcome.took_ms,
                    tenants = outcome.compared.len(),
                    "a drill has passed"
                );
            } else {
                tracing::error!(id, found = found.join("; "), "a drill has failed");
            }
            server.drills.end(id, (outcome, certificate.ok()), server.clock.now_ms());
        });
        Ok(id)
    }

    /// Puts the certificate beside the newest snapshot. Returns its name.
    async fn certify(&self, kind: Kind, outcome: &Outcome) -> Result<String, String> {
        let sources =
            sources(self).await.map_err(|error| with_sources(&error))?.ok_or("nothing is archived")?;
        let snapshots = sources.archive.snapshots();
        let newest =
            snapshots.keys().next_back().ok_or("there is no snapshot beside which it could stand")?;
        let made_ms = self.clock.now_ms();
        let word = rules::name(kind, made_ms).ok_or("a drill without a name")?;
        let name = Name::Proof(*newest, word);
        let bytes = manifest::seal(self.keys.sealer(), &name, &outcome.certificate(made_ms));
        let bytes = bytes.map_err(|error| with_sources(&error))?;
        let home = self.archiving.home(self).map_err(|error| with_sources(&error))?;
        home.put(&name.to_string(), bytes.into()).await.map_err(|error| with_sources(&error))?;
        Ok(name.to_string())
    }

    /// Begins drills when they are due and the meta group is led here, until the tasks end.
    pub(crate) async fn drill_when_due(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(DRILL_LOOK_MS)).await;
            let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
            let is_led_here =
                self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads));
            let every_ms = self.drills_every_ms();
            if !is_led_here || every_ms == 0 {
                self.drills.known().since_ms = 0;
                continue;
            }
            self.look_at_proofs().await;
            let now_ms = self.clock.now_ms();
            let (last_ms, since_ms) = {
                let known = self.drills.known();
                (known.newest.0, known.since_ms)
            };
            if rules::is_due(every_ms, last_ms, since_ms, now_ms) {
                let wanted = Wanted { kind: Kind::Restore, tenant: None, node: None };
                if let Err(why) = self.begin_drill(wanted) {
                    tracing::debug!(%why, "no drill is begun now");
                }
            }
        }
    }

    async fn look_at_proofs(&self) {
        let now_ms = self.clock.now_ms();
        let newest = match sources(self).await {
            Ok(Some(sources)) => Some(rules::newest(&sources.archive.snapshots())),
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "the proofs of the archive are not read now");
                None
            }
        };
        let mut known = self.drills.known();
        if let Some(newest) = newest {
            // One that was not certified counts as well.
            known.newest = (known.newest.0.max(newest.0), newest.1);
        }
        if known.since_ms == 0 {
            known.since_ms = now_ms;
        }
    }

    /// What a person should know of drills.
    #[must_use]
    pub(crate) fn drill_finding(&self) -> Option<Finding> {
        let (every_ms, now_ms) = (self.drills_every_ms(), self.clock.now_ms());
        let (proven_ms, since_ms) = {
            let known = self.drills.known();
            (known.newest.1, known.since_ms)
        };
        let is_old = since_ms > 0 && rules::is_old(every_ms, proven_ms, since_ms, now_ms);
        is_old.then(|| {
            let age = self.drills.proven_age_ms(now_ms).unwrap_or(0) / 60_000;
            finding::DRILL_OLD.found(format!("no drill has passed for {age} minutes: dew drill list"))
        })
    }
}
