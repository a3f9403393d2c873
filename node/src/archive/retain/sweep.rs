//! Collects at one site. Each step follows from what is there: a tomb without its end is waited for, marked again, and swept; without one
//! a new tomb is written if anything may go.

use super::keep::{Keep, keeps};
use super::mark::{Facts, Marking, Refusal, collected, mark};
use super::policy::Policy;
use crate::archive::Result;
use crate::archive::chain::Archive;
use crate::archive::load::load;
use crate::archive::manifest::keep::{Pin, Tomb, TombDone};
use crate::archive::manifest::snapshot::SnapshotPart;
use crate::archive::manifest::{self, MANIFEST_BYTES_MAX};
use crate::archive::naming::{Name, SnapshotId, TickEnd, Word, prefix};
use crate::archive::site::{Site, SiteError};
use engine::Stamp;
use engine::entropy::Entropy;
use engine::error::Damage;
use engine::sealed::Sealer;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};

/// Names in a tomb, at most: what is over goes with the next.
const NAMES_MAX: usize = 50_000;
/// Objects that are deleted before the guard is asked again.
const BATCH: usize = 64;
/// Requests at once.
const AT_ONCE: usize = 16;

/// What the cluster knows, and the site does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Pins and holds by id, each with the number of its last renewal.
    pub pins: BTreeMap<[u8; 8], (u32, Pin)>,
    /// What restores that are planned or go on need.
    pub restores: Vec<Keep>,
    /// A snapshot that is being taken.
    pub taking: Option<SnapshotId>,
    /// Sites that must have everything before it goes here.
    pub required: Vec<Word>,
}

/// Asked before every batch of deletions; false ends the sweep, which goes on later.
pub type Guard<'a> = dyn Fn() -> BoxFuture<'a, bool> + Send + Sync + 'a;

/// Collects at one site.
pub struct Sweeper<'a> {
    /// Where.
    pub site: &'a Site,
    /// Signs tombs.
    pub sealer: &'a Sealer,
    /// Names them.
    pub entropy: &'a dyn Entropy,
    /// What the site keeps.
    pub policy: Policy,
}

/// What was found at a site.
pub struct Looked {
    /// What the archive says.
    pub archive: Archive,
    /// What may go, or why nothing does.
    pub marking: Result<Marking, Refusal>,
    /// The pins that count, each with the number of its renewal.
    pub pins: BTreeMap<[u8; 8], u32>,
    /// The names of pins that are there.
    pins_there: BTreeSet<String>,
}

/// What a step has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing may go.
    Nothing,
    /// It was written down that so many objects go.
    Tombed(u64),
    /// What is written down waits until then: milliseconds since 1970.
    Waits(u64),
    /// So many objects were deleted, so many of those written down were kept after all.
    Swept(u64, u64),
    /// The guard has ended a sweep after so many objects.
    Stopped(u64),
    /// Nothing is collected, and why.
    Refused(Refusal),
}

impl Sweeper<'_> {
    /// Looks at the site and marks, without changing anything.
    ///
    /// # Errors
    /// `Site`: it is away. `Engine`: its beginning does not verify.
    pub async fn look(&self, known: &Known, now_ms: u64) -> Result<Looked> {
        let (cluster, key) = (self.sealer.cluster(), self.sealer.public_key()?);
        let mut archive = load(self.site, cluster, Some(key)).await?;
        let listed = self.site.list("").await?;
        let there: BTreeSet<Name> = listed.iter().filter_map(|one| Name::parse(&one.name)).collect();
        let data = self.parts(&mut archive, &there).await?;
        let pins = keeps(archive.pins().iter().chain(&known.pins), now_ms);
        let mut keeps: Vec<Keep> = pins.values().map(|(_, keep)| keep.clone()).collect();
        keeps.extend(known.restores.iter().cloned());
        let facts = Facts {
            archive: &archive,
            data: &data,
            there: &there,
            keeps: &keeps,
            taking: known.taking,
            carried: carried(&there, &known.required),
            now_s: now_ms / 1_000,
        };
        let marking = mark(&facts, &self.policy);
        let pins = pins.into_iter().map(|(id, (renewal, _))| (id, renewal)).collect();
        let is_pin = |name: &&Name| matches!(name, Name::Pin(..));
        let pins_there = there.iter().filter(is_pin).map(ToString::to_string).collect();
        Ok(Looked { archive, marking, pins, pins_there })
    }

    /// The table files that the parts which are there name. A part that is no good is a fault.
    async fn parts(
        &self,
        archive: &mut Archive,
        there: &BTreeSet<Name>,
    ) -> Result<BTreeMap<SnapshotId, BTreeSet<[u8; 32]>>> {
        let (cluster, key) = (self.sealer.cluster(), self.sealer.public_key()?);
        let wanted: Vec<Name> =
            there.iter().filter(|name| matches!(name, Name::SnapshotPart(..))).cloned().collect();
        let fetch = |name: Name| async move {
            let found = self.site.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await;
            (name, found)
        };
        let mut fetched = futures_util::stream::iter(wanted.into_iter().map(fetch)).buffer_unordered(AT_ONCE);
        let mut data: BTreeMap<SnapshotId, BTreeSet<[u8; 32]>> = BTreeMap::new();
        while let Some((name, found)) = fetched.next().await {
            let Name::SnapshotPart(id, _) = &name else { continue };
            let part: std::result::Result<SnapshotPart, Damage> = match found {
                Ok(bytes) => manifest::open(&key, cluster, &name, &bytes),
                Err(SiteError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            match part {
                Ok(part) => {
                    let files = part.files.iter().filter_map(|file| file.digest().ok());
                    data.entry(*id).or_default().extend(files);
                }
                // Whoever cannot be read may name anything.
                Err(damage) => {
                    archive.fault(damage);
                    archive.lose(name);
                }
            }
        }
        Ok(data)
    }

    /// Makes the next step. What it has begun another one can finish.
    ///
    /// # Errors
    /// `Site`: it is away; the same later. `Engine`: no signing key.
    pub async fn step(&self, known: &Known, now_ms: u64, guard: &Guard<'_>) -> Result<Step> {
        self.publish(known, now_ms).await?;
        if self.policy.keeps_all {
            return Ok(Step::Nothing);
        }
        let looked = self.look(known, now_ms).await?;
        let marking = match &looked.marking {
            Ok(marking) => marking,
            Err(refusal) => return Ok(Step::Refused(refusal.clone())),
        };
        let oldest = looked.archive.open_tombs().min_by_key(|(at, tomb)| (tomb.made_ms, **at));
        let Some((at, tomb)) = oldest else {
            return self.bury(&looked.archive, marking, now_ms).await;
        };
        let due_ms = tomb.made_ms.saturating_add(self.policy.grace_s.saturating_mul(1_000));
        if now_ms < due_ms {
            return Ok(Step::Waits(due_ms));
        }
        self.sweep((*at, tomb), &looked, marking, (now_ms, guard)).await
    }

    /// Puts the pins of the cluster, as far as they are not there.
    async fn publish(&self, known: &Known, now_ms: u64) -> Result<()> {
        let there = if known.pins.is_empty() { BTreeSet::new() } else { self.pins_now().await? };
        for (id, (renewal, pin)) in &known.pins {
            let name = Name::Pin(*id, *renewal);
            if there.contains(&name.to_string()) || self.policy.forgets(pin.until_ms, now_ms / 1_000) {
                continue;
            }
            match self.site.put(&name.to_string(), manifest::seal(self.sealer, &name, pin)?.into()).await {
                Ok(()) => {}
                // Of a generation that was left: it counts as it is, beside what the cluster knows.
                Err(SiteError::Taken { .. }) => {
                    tracing::warn!(%name, "a pin is there already, and is another one")
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes down what goes.
    async fn bury(&self, archive: &Archive, marking: &Marking, now_ms: u64) -> Result<Step> {
        let is_worth = |name: &&Name| !matches!(name, Name::Tomb(..) | Name::TombDone(..));
        if marking.go.iter().find(is_worth).is_none() {
            return Ok(Step::Nothing);
        }
        let names: BTreeSet<Name> = in_order(&marking.go).into_iter().take(NAMES_MAX).collect();
        let day = TickEnd(now_ms / 1_000 / 86_400 * 86_400);
        let name = Name::Tomb(day, crate::entropy::random(self.entropy));
        let mut texts: Vec<String> = names.iter().map(ToString::to_string).collect();
        texts.sort_unstable();
        let tomb = Tomb { made_ms: now_ms, names: texts, collected: collected(archive, &names) };
        self.site.put(&name.to_string(), manifest::seal(self.sealer, &name, &tomb)?.into()).await?;
        Ok(Step::Tombed(names.len() as u64))
    }

    /// Deletes what was written down, and is marked still.
    async fn sweep(
        &self,
        ((day, id), tomb): ((TickEnd, [u8; 8]), &Tomb),
        looked: &Looked,
        marking: &Marking,
        (now_ms, guard): (u64, &Guard<'_>),
    ) -> Result<Step> {
        let named: BTreeSet<Name> = tomb.names().collect();
        let go: BTreeSet<Name> = named.intersection(&marking.go).cloned().collect();
        let mut deleted = 0;
        for batch in batches(&go) {
            // What was there may have gone, by this very sweep; only what is new counts. The guard comes last: its time runs from there.
            if !looked.pins_there.is_superset(&self.pins_now().await?) || !guard().await {
                return Ok(Step::Stopped(deleted));
            }
            let delete = |name: Name| async move { self.site.delete(&name.to_string()).await };
            let mut deleting =
                futures_util::stream::iter(batch.into_iter().map(delete)).buffer_unordered(AT_ONCE);
            while let Some(gone) = deleting.next().await {
                gone?;
                deleted += 1;
            }
        }
        let kept = named.difference(&go).count() as u64;
        let markers = looked.archive.markers();
        let is_gone = |name: &&Name| match name {
            Name::Marker(end, generation) => {
                go.contains(*name) || !markers.contains_key(&(*generation, *end))
            }
            _ => false,
        };
        let collected = collected(&looked.archive, &named.iter().filter(is_gone).cloned().collect());
        let done = TombDone { made_ms: now_ms, deleted, kept, collected };
        let name = Name::TombDone(day, id);
        match self.site.put(&name.to_string(), manifest::seal(self.sealer, &name, &done)?.into()).await {
            // Whoever swept before has said so, and was not heard.
            Ok(()) | Err(SiteError::Taken { .. }) => Ok(Step::Swept(deleted, kept)),
            Err(error) => Err(error.into()),
        }
    }

    /// Names of the pins that are there now.
    async fn pins_now(&self) -> Result<BTreeSet<String>> {
        let listed = self.site.list(prefix::PINS).await?;
        Ok(listed.iter().filter_map(|one| Name::parse(&one.name)).map(|name| name.to_string()).collect())
    }
}

/// Up to where every required site has the markers, as its receipts say; `None`: no site is required.
fn carried(there: &BTreeSet<Name>, required: &[Word]) -> Option<Stamp> {
    let last = |site: &Word| {
        let ends = there.iter().filter_map(|name| match name {
            Name::Receipt(of, end, _) if of == site => Some(end.upto()),
            _ => None,
        });
        ends.max().unwrap_or(Stamp::ZERO)
    };
    required.iter().map(last).min()
}

/// In which turn an object is deleted: what names others before those, so that whatever is left after a crash is whole or is nothing.
fn rank(name: &Name) -> u8 {
    match name {
        Name::SnapshotDone(_) => 0,
        Name::Marker(..) => 1,
        Name::Gap(_) | Name::Proof(..) | Name::SnapshotPart(..) | Name::Receipt(..) | Name::Roll(..) => 2,
        Name::GapAck(_) | Name::SnapshotOpen(_) | Name::TickFile(_) => 3,
        Name::Data(_) => 4,
        Name::Tomb(..) => 6,
        Name::TombDone(..) => 7,
        // Of pins the last renewal at last.
        _ => 5,
    }
}

/// What is deleted at once, in turn: nothing of one rank together with something of another.
fn batches(names: &BTreeSet<Name>) -> Vec<Vec<Name>> {
    let order = in_order(names);
    let of_rank = order.chunk_by(|a, b| rank(a) == rank(b));
    of_rank.flat_map(|all| all.chunks(BATCH)).map(<[Name]>::to_vec).collect()
}

fn in_order(names: &BTreeSet<Name>) -> Vec<Name> {
    let mut order: Vec<Name> = names.iter().cloned().collect();
    order.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    order
}
