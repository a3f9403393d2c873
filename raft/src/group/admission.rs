//! A node that has read its disk and waits for the word of its peers: it says what it has, answers others that wait as well, and learns
//! whether it may go on. Nothing of it runs, and of its log nothing is written.

use super::birth;
use super::rejoin::{Answer, Claim, GroupClaim, GroupWord, Verdict, Voters, judge};
use crate::error::{Error, Result};
use crate::limits::{CLAIM_AGAIN_MS, CLAIM_ROUNDS};
use crate::log::{Log, RecoveredLog};
use crate::machine::note::Note;
use crate::machine::read_note;
use crate::machine::spool::Spool;
use crate::net::door::Door;
use crate::net::heard::{Heard, Voice};
use crate::net::link::Lane;
use crate::net::message::Message;
use crate::net::no_answer::NoAnswer;
use crate::net::refusal::Refusal;
use crate::net::request::{Address, Requests};
use crate::payload;
use crate::planted::{self, Planted};
use crate::stats::Stats;
use crate::types::{GroupId, LogId, Membership, ReplicaId};
use bytes::Bytes;
use engine::checkpoint::listing::UnverifiedListing;
use engine::disk::Disk;
use engine::ids::{ClusterId, NodeId};
use engine::sealed::Sealer;
use engine::tablet::pool::Pool;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where a node that starts finds what it is.
pub struct Whereabouts<'a> {
    /// The node.
    pub node: NodeId,
    /// Its cluster, and the generation it is in.
    pub cluster: (ClusterId, u64),
    /// Other nodes that it was told of: a replica that has just come knows nobody yet.
    pub others: &'a BTreeSet<NodeId>,
    /// Its tablets.
    pub pool: &'a Pool,
    /// The disk of the pool.
    pub disk: &'a Arc<dyn Disk>,
    /// The folder in which snapshots arrive, all groups' of the node.
    pub spool: &'a Path,
    /// Opens what is sealed.
    pub sealer: &'a Sealer,
}

/// A node that waits.
pub struct Admission {
    /// Until it is begun.
    log: Mutex<Option<RecoveredLog>>,
    claim: Claim,
    voice: Voice,
    /// By group, who belongs to it, as far as its log and its tablet here know.
    memberships: BTreeMap<GroupId, Membership>,
    peers: BTreeSet<NodeId>,
    door: Door,
    stats: Arc<Stats>,
    answers: Mutex<BTreeMap<NodeId, Answer>>,
    /// How often all peers were asked.
    rounds: AtomicU32,
}

impl Admission {
    /// The node whose log was read. Its tablets are looked at, and nothing is written.
    ///
    /// # Errors
    /// `Damaged`: a note.
    pub fn new(log: RecoveredLog, at: &Whereabouts<'_>) -> Result<Self> {
        let found = log.found();
        let tablets = birth::tablets_by_group(at.pool)?.0;
        let (mut groups, mut memberships) = (BTreeMap::new(), BTreeMap::new());
        for (group, state) in log.groups() {
            let manifest_noted = found.manifests.get(&group).map_or(0, |(index, _)| *index);
            let (manifest, note) = match tablets.get(&group).map(|tablet| tablet.durable()) {
                Some(durable) => (durable.index.0, read_note(group, &durable.note)?),
                // Its tablet is gone: it has to be replaced.
                None if birth::has_lived(&state, manifest_noted) => (0, Note::empty(group)),
                // A replica that is only half born has promised nothing yet.
                None => continue,
            };
            let Note { applied, mut membership, .. } = note;
            // A replica is what the last membership in its log makes it, committed or not: the tablet may be far behind, and with all
            // nodes down nobody would have a quorum.
            if let Some(newest) = log.membership_behind(group, applied.map(|id| id.index)) {
                membership = payload::decode_membership(&newest)?;
            }
            let is_short =
                applied.is_some_and(|applied| state.last.is_none_or(|last| last.index < applied.index));
            let here = GroupClaim {
                replica: state.replica,
                vote: state.vote,
                last: state.last,
                applied,
                manifest,
                manifest_noted,
                is_from_snapshot: is_short && came(group, applied, at),
            };
            groups.insert(group, here);
            memberships.insert(group, membership);
        }
        let claim = Claim {
            node: at.node,
            log: found.log.0,
            log_end: found.end,
            // This start is not one that anybody can have heard of.
            incarnation: found.incarnation - 1,
            boot_nonce: found.boot_nonce,
            groups,
        };
        let (heard, stats) = (Arc::new(Heard::found(&found.marks)), log.stats().clone());
        let door = Door::new(at.cluster, heard, stats.clone());
        let voice = Voice { node: at.node, log: found.log, incarnation: claim.incarnation, start: 0 };
        let log = Mutex::new(Some(log));
        let seats = memberships.values().flat_map(|membership: &Membership| membership.seats.values());
        let peers = seats.map(|seat| seat.node).chain(at.others.iter().copied());
        let peers = peers.filter(|node| *node != at.node).collect();
        Ok(Self {
            log,
            claim,
            voice,
            memberships,
            peers,
            door,
            stats,
            answers: Mutex::default(),
            rounds: AtomicU32::new(0),
        })
    }

    /// What it says of its disk.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// What it remembers of its peers.
    #[must_use]
    pub fn heard(&self) -> &Arc<Heard> {
        self.door.heard()
    }

    /// What speaks in its frames.
    #[must_use]
    pub fn voice(&self) -> Voice {
        self.voice
    }

    /// Who may know something of it: those it was told of, and every node with a replica of a group that has one here.
    #[must_use]
    pub fn peers(&self) -> &BTreeSet<NodeId> {
        &self.peers
    }

    /// What it knows of another node that starts: from disk, for a whole cluster may start at once.
    #[must_use]
    pub fn answer(&self, about: NodeId) -> Answer {
        let word = |(group, membership): (&GroupId, &Membership)| {
            let own = self.claim.groups.get(group).map_or(ReplicaId(0), |here| here.replica);
            let is_voter = membership.is_voter(own);
            let replica = membership.replica_at(about).unwrap_or_default();
            (*group, GroupWord { replica, is_voter, ..GroupWord::default() })
        };
        let groups: BTreeMap<_, _> = self.memberships.iter().map(word).collect();
        let is_meta_voter = groups.get(&GroupId::META).is_some_and(|word| word.is_voter);
        Answer { is_meta_voter, logs: self.heard().logs_of(about), alive: None, groups }
    }

    /// Answers a frame: claims of others that start. Whoever asks anything else is told to come again.
    #[must_use]
    pub fn serve(&self, by: &Voice, frame: &Bytes) -> Bytes {
        let (asked, answer) = match self.door.open(by, frame) {
            Ok((asked, Message::Claim(claim))) if claim.node == by.node => {
                let alive = self.heard().claims(claim.node, claim.boot_nonce);
                (asked, Message::ClaimAnswer(Answer { alive, ..self.answer(claim.node) }))
            }
            Ok((asked, Message::Claim(_))) => (asked, Message::Refused(Refusal::Malformed)),
            Ok((asked, _)) => (asked, Message::Refused(Refusal::NotReady)),
            Err((asked, refusal)) => (asked, Message::Refused(refusal)),
        };
        self.door.answer(&asked, self.claim.log_end, answer)
    }

    /// Asks all peers once, and judges by what each has answered last: who has answered before may lead by now. Whoever must wait asks
    /// again after [`CLAIM_AGAIN_MS`]: see [`Admission::wait`].
    pub async fn ask(&self, requests: &Requests) -> Verdict {
        let stats = &self.stats.rejoin;
        let ask = async |node: NodeId| {
            stats.asked_claims.add(1);
            let message = (self.claim.log_end, Message::Claim(self.claim.clone()));
            let answer = requests.call(node, Lane::Control, Address::default(), message).await;
            (node, answer)
        };
        for (node, answer) in join_all(self.peers.iter().copied().map(ask)).await {
            match answer {
                Ok(Message::ClaimAnswer(answer)) => {
                    stats.answered_claims.add(1);
                    self.answers().insert(node, answer);
                    continue;
                }
                Ok(_) => tracing::warn!(%node, "an answer that answers no claim"),
                Err(cause) => {
                    tracing::debug!(%node, %cause, "no answer to a claim");
                    if matches!(cause, NoAnswer::Refused { .. }) {
                        stats.refused_claims.add(1);
                        continue;
                    }
                }
            }
            stats.lost_claims.add(1);
        }
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let verdict = self.verdict();
        stats.refused_flag.set(u64::from(matches!(verdict, Verdict::Refused(_) | Verdict::Cloned)));
        verdict
    }

    /// Asks until it is known what becomes of the node: never [`Verdict::Waits`].
    pub async fn wait(&self, requests: &Requests) -> Verdict {
        loop {
            match self.ask(requests).await {
                Verdict::Waits { meta, groups } => {
                    tracing::info!(?meta, ?groups, "waits for the word of more peers");
                    tokio::time::sleep(Duration::from_millis(CLAIM_AGAIN_MS)).await;
                }
                verdict => return verdict,
            }
        }
    }

    /// What becomes of the node, by what was answered so far. Without the word of every peer it may run only after it has asked
    /// [`CLAIM_ROUNDS`] times.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if planted::is(Planted::AcceptOlderDisk) {
            return Verdict::Runs { replace: BTreeSet::new() };
        }
        let voters = |(group, membership): (&GroupId, &Membership)| {
            let all: BTreeSet<&ReplicaId> = membership.voters.iter().flatten().collect();
            let own = self.claim.groups.get(group).map(|here| here.replica);
            (*group, (all.len(), own.is_some_and(|own| all.contains(&own))))
        };
        let groups: BTreeMap<_, _> = self.memberships.iter().map(voters).collect();
        let (meta, is_meta_voter) = groups.get(&GroupId::META).copied().unwrap_or_default();
        let answers = self.answers();
        let verdict = judge(&self.claim, &answers, &Voters { meta, is_meta_voter, groups });
        let is_early = answers.len() < self.peers.len() && self.rounds.load(Ordering::Relaxed) < CLAIM_ROUNDS;
        match verdict {
            Verdict::Runs { .. } if is_early => {
                Verdict::Waits { meta: (answers.len() + 1, self.peers.len() + 1), groups: BTreeSet::new() }
            }
            verdict => verdict,
        }
    }

    fn answers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up: the folder of its log is free again, whoever may still hold this.
    pub fn end(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Begins the log, if the node may go on, and says which groups' replicas here must be replaced.
    ///
    /// # Errors
    /// `NotAdmitted`: the verdict is another than [`Verdict::Runs`], or the log was begun before; nothing is written. Disk.
    pub fn begin(&self) -> Result<(Arc<Log>, BTreeSet<GroupId>)> {
        let replace = match self.verdict() {
            Verdict::Runs { replace } => replace,
            other => return Err(Error::NotAdmitted { verdict: other.to_string() }),
        };
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begun = || Error::NotAdmitted { verdict: "its log was begun before".to_owned() };
        Ok((log.ok_or_else(begun)?.begin()?, replace))
    }
}

/// Whether what is applied came by a snapshot of which the log does not know yet: only then may the log end before it.
fn came(group: GroupId, applied: Option<LogId>, at: &Whereabouts<'_>) -> bool {
    let spool = Spool::new(at.disk.clone(), at.spool.join(group.to_string()));
    spool.listings().iter().any(|listing| {
        let listing = UnverifiedListing::decode(listing).and_then(|listing| listing.verify(at.sealer));
        let note = listing.ok().and_then(|listing| read_note(group, &listing.levels.applied.note).ok());
        note.is_some_and(|note| note.applied == applied)
    })
}
