//! Pure: what a reader trusts of an archive: what signed markers and snapshots name, in the order of the chain they make.
//!
//! Whoever reads puts every manifest in with [`Archive::add`], in any order, and then asks. What does not verify is a fault, which names
//! the object; it is never used, and hides nothing of the others. Which instants can be restored is told by [`super::window`].

use super::manifest::keep::{CollectedSpan, Pin, Tomb, TombDone};
use super::manifest::log::{CloseMarker, Gap, GapAck, GenerationRegister, Genesis};
use super::manifest::snapshot::{Proof, SnapshotDone, SnapshotOpen, SnapshotPart};
use super::manifest::{self, sha256};
use super::naming::{GapId, Generation, Name, SnapshotId, TickEnd, Word};
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::sealed::PublicKey;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};

/// A marker, and what it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// What it says.
    pub marker: CloseMarker,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// A gap, and whether a person knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gapped {
    /// What it says.
    pub gap: Gap,
    /// Who has accepted it.
    pub accepted_by: Option<String>,
}

/// A snapshot that is whole, as far as its manifests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshotted {
    /// What it set out to hold.
    pub open: SnapshotOpen,
    /// That it is whole.
    pub done: SnapshotDone,
    /// SHA-256 of `done.man`.
    pub sha256: [u8; 32],
    /// What drills have proved of it.
    pub proofs: BTreeMap<Word, Proof>,
}

impl Snapshotted {
    /// Whether some drill has restored it, and none has failed.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        !self.proofs.is_empty() && self.proofs.values().all(|proof| proof.is_passed)
    }
}

/// What is known of an archive.
#[derive(Clone, Debug)]
pub struct Archive {
    cluster: ClusterId,
    key: PublicKey,
    genesis: Genesis,
    generations: BTreeMap<Generation, GenerationRegister>,
    markers: BTreeMap<(Generation, TickEnd), Marked>,
    gaps: BTreeMap<GapId, Gapped>,
    acks: BTreeMap<GapId, GapAck>,
    opens: BTreeMap<SnapshotId, (SnapshotOpen, [u8; 32])>,
    dones: BTreeMap<SnapshotId, (SnapshotDone, [u8; 32])>,
    proofs: BTreeMap<SnapshotId, BTreeMap<Word, Proof>>,
    pins: BTreeMap<[u8; 8], (u32, Pin)>,
    tombs: BTreeMap<(TickEnd, [u8; 8]), Tomb>,
    tombs_done: BTreeMap<(TickEnd, [u8; 8]), TombDone>,
    lost: BTreeSet<Name>,
    faults: Vec<Damage>,
}

impl Archive {
    /// What `genesis.man` begins. `known` is the cluster's key, if whoever reads has it from elsewhere.
    ///
    /// # Errors
    /// `Damage`: it does not verify, or is signed by another key than the cluster's.
    pub fn begin(cluster: ClusterId, known: Option<PublicKey>, bytes: &[u8]) -> Result<Self, Damage> {
        let genesis = manifest::open_genesis(cluster, bytes)?;
        let key = genesis.key()?;
        if known.is_some_and(|known| known != key) {
            let damage =
                Damage::of(Nature::Tampered, "the archive begins with another key than the cluster's");
            return Err(damage.at(Name::Genesis));
        }
        Ok(Self {
            cluster,
            key,
            genesis,
            generations: BTreeMap::new(),
            markers: BTreeMap::new(),
            gaps: BTreeMap::new(),
            acks: BTreeMap::new(),
            opens: BTreeMap::new(),
            dones: BTreeMap::new(),
            proofs: BTreeMap::new(),
            pins: BTreeMap::new(),
            tombs: BTreeMap::new(),
            tombs_done: BTreeMap::new(),
            lost: BTreeSet::new(),
            faults: Vec::new(),
        })
    }

    /// Whether [`Archive::add`] wants the bytes of an object: parts of snapshots and receipts are read by those who need them.
    #[must_use]
    pub fn wants(name: &Name) -> bool {
        matches!(
            name,
            Name::Generation(_)
                | Name::Marker(..)
                | Name::Gap(_)
                | Name::GapAck(_)
                | Name::SnapshotOpen(_)
                | Name::SnapshotDone(_)
                | Name::Proof(..)
                | Name::Pin(..)
                | Name::Tomb(..)
                | Name::TombDone(..)
        )
    }

    /// Takes a manifest that was found as `name`. What does not verify becomes a fault.
    pub fn add(&mut self, name: &Name, bytes: &[u8]) {
        if let Err(damage) = self.take(name, bytes) {
            self.fault(damage.at(name));
        }
    }

    /// Takes a manifest as another site has it, in the place of one that is damaged or missing here. Whether it verifies.
    pub fn mend(&mut self, name: &Name, bytes: &[u8]) -> bool {
        let is_taken = Self::wants(name) && self.take(name, bytes).is_ok();
        if is_taken {
            self.forgive(name);
        }
        is_taken
    }

    /// What is lost here another site has.
    pub fn found_elsewhere(&mut self, name: &Name) {
        self.lost.remove(name);
        self.forgive(name);
    }

    fn forgive(&mut self, name: &Name) {
        let place = name.to_string();
        self.faults.retain(|fault| fault.place != place);
    }

    /// Everything that was found to be of no use.
    pub fn lost(&self) -> impl Iterator<Item = &Name> {
        self.lost.iter()
    }

    /// Whether a manifest of this name was taken.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        match name {
            Name::Generation(generation) => self.generations.contains_key(generation),
            Name::Marker(end, generation) => self.markers.contains_key(&(*generation, *end)),
            Name::Gap(id) => self.gaps.contains_key(id),
            Name::GapAck(id) => self.acks.contains_key(id),
            Name::SnapshotOpen(id) => self.opens.contains_key(id),
            Name::SnapshotDone(id) => self.dones.contains_key(id),
            _ => false,
        }
    }

    /// Notes what is there, by name: what markers and snapshots name and is not there is lost. Call it once all manifests are added.
    pub fn listed(&mut self, there: &BTreeSet<Name>) {
        let files = self.markers.values().flat_map(|marked| &marked.marker.files);
        let ticks = files.filter_map(|file| file.name().ok().map(Name::TickFile));
        let parts = self.dones.iter().flat_map(|(id, (done, _))| {
            done.parts.iter().map(|part| Name::SnapshotPart(*id, GroupId(part.group)))
        });
        let is_new = |name: &Name| !there.contains(name) && !self.lost.contains(name);
        let lost: Vec<Name> = ticks.chain(parts).filter(is_new).collect();
        for name in lost {
            self.fault(Damage::of(Nature::Missing, "a manifest names it").at(&name));
            self.lose(name);
        }
    }

    /// Notes that an object is of no use: it is not there, or not what its manifest says.
    pub fn lose(&mut self, name: Name) {
        self.lost.insert(name);
    }

    /// Whether an object was found to be of no use.
    #[must_use]
    pub fn is_lost(&self, name: &Name) -> bool {
        self.lost.contains(name)
    }

    /// Notes damage that whoever reads has found.
    pub fn fault(&mut self, damage: Damage) {
        self.faults.push(damage);
    }

    fn open<B: manifest::Body>(&self, name: &Name, bytes: &[u8]) -> Result<B, Damage> {
        manifest::open(&self.key, self.cluster, name, bytes)
    }

    fn take(&mut self, name: &Name, bytes: &[u8]) -> Result<(), Damage> {
        match name {
            Name::Generation(generation) => {
                let register: GenerationRegister = self.open(name, bytes)?;
                self.generations.insert(*generation, register);
            }
            Name::Marker(end, generation) => {
                let marker: CloseMarker = self.open(name, bytes)?;
                if (marker.end(), marker.generation()) != (*end, *generation) {
                    return Err(Damage::of(Nature::Malformed, "a marker of another tick"));
                }
                self.markers.insert((*generation, *end), Marked { marker, sha256: sha256(bytes) });
            }
            Name::Gap(id) => {
                let gap: Gap = self.open(name, bytes)?;
                self.gaps.insert(*id, Gapped { gap, accepted_by: None });
            }
            Name::GapAck(id) => {
                let ack: GapAck = self.open(name, bytes)?;
                self.acks.insert(*id, ack);
            }
            Name::SnapshotOpen(id) => {
                let open: SnapshotOpen = self.open(name, bytes)?;
                self.opens.insert(*id, (open, sha256(bytes)));
            }
            Name::SnapshotDone(id) => {
                let done: SnapshotDone = self.open(name, bytes)?;
                self.dones.insert(*id, (done, sha256(bytes)));
            }
            Name::Proof(id, drill) => {
                let proof: Proof = self.open(name, bytes)?;
                self.proofs.entry(*id).or_default().insert(drill.clone(), proof);
            }
            Name::Pin(id, renewal) => {
                let pin: Pin = self.open(name, bytes)?;
                let kept = self.pins.entry(*id).or_insert((*renewal, pin.clone()));
                if kept.0 <= *renewal {
                    *kept = (*renewal, pin);
                }
            }
            Name::Tomb(day, id) => {
                let tomb: Tomb = self.open(name, bytes)?;
                self.tombs.insert((*day, *id), tomb);
            }
            Name::TombDone(day, id) => {
                let done: TombDone = self.open(name, bytes)?;
                self.tombs_done.insert((*day, *id), done);
            }
            _ => {}
        }
        Ok(())
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The key that has signed everything in it.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// How it begins.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Its life lines.
    #[must_use]
    pub fn generations(&self) -> &BTreeMap<Generation, GenerationRegister> {
        &self.generations
    }

    /// Its markers.
    #[must_use]
    pub fn markers(&self) -> &BTreeMap<(Generation, TickEnd), Marked> {
        &self.markers
    }

    /// Pins, each by its last renewal and the number of that; those that have ended too.
    #[must_use]
    pub fn pins(&self) -> &BTreeMap<[u8; 8], (u32, Pin)> {
        &self.pins
    }

    /// What is going to be collected and was not yet.
    pub fn open_tombs(&self) -> impl Iterator<Item = (&(TickEnd, [u8; 8]), &Tomb)> {
        self.tombs.iter().filter(|(at, _)| !self.tombs_done.contains_key(*at))
    }

    /// What was collected.
    #[must_use]
    pub fn done_tombs(&self) -> &BTreeMap<(TickEnd, [u8; 8]), TombDone> {
        &self.tombs_done
    }

    /// Of the log, what was collected, or is being collected: ascending, and no two touch.
    #[must_use]
    pub fn collected(&self) -> Vec<CollectedSpan> {
        let open = self.open_tombs().flat_map(|(_, tomb)| &tomb.collected);
        join_spans(open.chain(self.tombs_done.values().flat_map(|done| &done.collected)).copied().collect())
    }

    /// Whether an object is being collected.
    #[must_use]
    pub fn is_tombed(&self, name: &Name) -> bool {
        let text = name.to_string();
        self.open_tombs().any(|(_, tomb)| tomb.names.binary_search(&text).is_ok())
    }

    /// The same archive without these objects, of which the log's are collected.
    #[must_use]
    pub fn without(&self, gone: &BTreeSet<Name>, collected: Vec<CollectedSpan>) -> Self {
        let mut rest = self.clone();
        rest.markers.retain(|(generation, end), _| !gone.contains(&Name::Marker(*end, *generation)));
        rest.gaps.retain(|id, _| !gone.contains(&Name::Gap(*id)));
        rest.dones.retain(|id, _| !gone.contains(&Name::SnapshotDone(*id)));
        rest.opens.retain(|id, _| !gone.contains(&Name::SnapshotOpen(*id)));
        rest.lost.extend(gone.iter().filter(|name| !matches!(name, Name::Marker(..))).cloned());
        let names = gone.iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect();
        rest.tombs.insert((TickEnd::default(), [0; 8]), Tomb { made_ms: 0, names, collected });
        rest
    }

    /// Gaps that were declared.
    #[must_use]
    pub fn gaps(&self) -> BTreeMap<GapId, Gapped> {
        let accepted = |id: &GapId| self.acks.get(id).map(|ack| ack.by.clone());
        let each =
            |(id, gapped): (&GapId, &Gapped)| (*id, Gapped { accepted_by: accepted(id), ..gapped.clone() });
        self.gaps.iter().map(each).collect()
    }

    /// Snapshots that are whole: those whose `done.man` names the `open.man` that is there.
    #[must_use]
    pub fn snapshots(&self) -> BTreeMap<SnapshotId, Snapshotted> {
        let each = |(id, (done, sha256)): (&SnapshotId, &(SnapshotDone, [u8; 32]))| {
            let (open, _) = self.opens.get(id).filter(|(_, digest)| done.open == digest)?;
            let is_whole = |part: &super::manifest::snapshot::PartRow| {
                !self.is_lost(&Name::SnapshotPart(*id, GroupId(part.group)))
            };
            let of_all =
                open.groups.iter().map(|home| home.group).eq(done.parts.iter().map(|part| part.group));
            let proofs = self.proofs.get(id).cloned().unwrap_or_default();
            let whole = Snapshotted { open: open.clone(), done: done.clone(), sha256: *sha256, proofs };
            (of_all && done.parts.iter().all(is_whole)).then_some((*id, whole))
        };
        self.dones.iter().filter_map(each).collect()
    }

    /// Opens a part that was fetched, if it is what `done.man` names.
    ///
    /// # Errors
    /// `Damage`, which names the part.
    pub fn part(&self, snapshot: SnapshotId, group: GroupId, bytes: &[u8]) -> Result<SnapshotPart, Damage> {
        let name = Name::SnapshotPart(snapshot, group);
        let row = self
            .dones
            .get(&snapshot)
            .and_then(|(done, _)| done.parts.iter().find(|part| part.group == group.0));
        let row = row.ok_or_else(|| Damage::of(Nature::Missing, "no snapshot names this part").at(&name))?;
        super::tick::check_content(&name, bytes, row.bytes, &manifest::array(&row.sha256)?)?;
        let part: SnapshotPart = self.open(&name, bytes)?;
        if part.group() != group {
            return Err(Damage::of(Nature::Malformed, "a part of another group").at(&name));
        }
        Ok(part)
    }

    /// The life lines that lead to the newest one, oldest first, each with the last stamp that counts of it.
    #[must_use]
    pub fn lineage(&self) -> Vec<(Generation, Stamp)> {
        let newest = self.markers.keys().map(|(generation, _)| *generation);
        let of_snapshots = self.dones.values().map(|(done, _)| done.generation());
        let newest = newest.chain(self.generations.keys().copied()).chain(of_snapshots).max();
        let (mut line, mut next) = (Vec::new(), newest.map(|generation| (generation, Stamp::MAX)));
        while let Some((generation, upto)) = next {
            line.push((generation, upto));
            // A parent's number is smaller: the walk ends.
            next = self
                .generations
                .get(&generation)
                .filter(|register| register.parent > 0)
                .map(|register| (Generation(register.parent), upto.min(Stamp(register.parent_upto))));
        }
        line.reverse();
        line
    }

    /// Everything that is wrong: what did not verify, links of the chain that do not hold, markers that are missing, snapshots that are not
    /// what they say.
    #[must_use]
    pub fn faults(&self) -> Vec<Damage> {
        let mut all = self.faults.clone();
        let collected = self.collected();
        for ((generation, _), marked) in &self.markers {
            let Ok(Some((end, digest))) = marked.marker.before() else { continue };
            let before = Name::Marker(end, *generation);
            match self.markers.get(&(*generation, end)) {
                None if is_in(&collected, end.upto()) => {}
                None => all.push(Damage::of(Nature::Missing, "the next marker names it").at(&before)),
                Some(found) if found.sha256 != digest => {
                    all.push(Damage::of(Nature::Tampered, "the next marker names another").at(&before));
                }
                Some(_) => {}
            }
        }
        all.extend(self.ends_of_collected(&collected));
        let belongs = |id: &SnapshotId, done: &SnapshotDone| {
            self.opens.get(id).is_some_and(|(_, digest)| done.open == digest)
        };
        for (id, _) in self.dones.iter().filter(|(id, (done, _))| !belongs(id, done)) {
            let detail = "it does not belong to the `open.man` beside it";
            all.push(Damage::of(Nature::WrongPlace, detail).at(Name::SnapshotDone(*id)));
        }
        // What retention lets go goes whole: where a later one names it and its beginning is there, it was whole once.
        for (done, _) in self.dones.values() {
            let Ok(Some((id, digest))) = done.before() else { continue };
            let before = Name::SnapshotDone(id);
            match self.dones.get(&id) {
                None if self.opens.contains_key(&id) && !self.is_tombed(&before) => {
                    all.push(Damage::of(Nature::Missing, "the next snapshot names it").at(&before));
                }
                Some((_, found)) if *found != digest => {
                    all.push(Damage::of(Nature::Tampered, "the next snapshot names another").at(&before));
                }
                _ => {}
            }
        }
        all.dedup();
        all
    }

    /// Where something was collected, the marker before it stays: nobody else names that one any more.
    fn ends_of_collected(&self, collected: &[CollectedSpan]) -> Vec<Damage> {
        let there: BTreeSet<Stamp> = self.markers.keys().map(|(_, end)| end.upto()).collect();
        let absent = collected.iter().filter(|span| span.after > 0 && !there.contains(&Stamp(span.after)));
        let name = |span: &CollectedSpan| {
            let end = TickEnd(Stamp(span.after).next().ms() / 1_000);
            let generation = self.markers.keys().find(|(_, other)| *other > end);
            Name::Marker(end, generation.map_or(Generation(1), |(generation, _)| *generation))
        };
        let missing = |span| {
            Damage::of(Nature::Missing, "what is behind it is collected, and it is not").at(name(span))
        };
        absent.map(missing).collect()
    }
}

/// Puts together what touches, ascending.
#[must_use]
pub fn join_spans(mut spans: Vec<CollectedSpan>) -> Vec<CollectedSpan> {
    spans.sort_unstable_by_key(|span| (span.after, span.upto));
    let mut whole: Vec<CollectedSpan> = Vec::new();
    for span in spans {
        match whole.last_mut() {
            Some(last) if span.after <= last.upto => last.upto = last.upto.max(span.upto),
            _ => whole.push(span),
        }
    }
    whole
}

/// Whether a stamp lies in one of these spans.
#[must_use]
pub fn is_in(spans: &[CollectedSpan], at: Stamp) -> bool {
    let behind = spans.partition_point(|span| span.upto < at.0);
    spans.get(behind).is_some_and(|span| span.after < at.0)
}
