//! Carries out what was decided, before anything of the node runs: its consensus is down, its log and its tablets are open. Done again after a
//! crash, it finishes what it began.

use super::decision::{Decision, Way};
use super::tail;
use crate::delayed::note::NOTE_ROW;
use crate::limits;
use crate::meta::CLUSTER_TENANT;
use crate::meta::rows::{self, MetaRow};
use crate::meta::view::MetaView;
use crate::running::opening::Ground;
use crate::running::{Result, RunningParts};
use engine::Stamp;
use engine::catalog::Change;
use engine::catalog::rows::RowKey;
use engine::tablet::view::Scan;
use raft::delay::keeper::GATE_ROW;
use raft::group::birth::{self, Here};
use raft::group::takeover::{Cut, Survivor, bear_from_cut, greatest_stamp, survive, waits_behind};
use raft::log::{Log, LogThread};
use raft::machine::overlay::Overlay;
use raft::machine::{Machine, MachineParts, NoFeed};
use raft::types::{GroupId, LogId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The only replica of a group that begins again.
const FIRST: ReplicaId = ReplicaId(1);

/// What the disk of a node holds, open, and nothing of it runs.
pub struct Offline {
    parts: MachineParts,
    node: engine::ids::NodeId,
    folder: PathBuf,
    log: Arc<Log>,
    machines: BTreeMap<GroupId, Arc<Machine>>,
    thread: Option<LogThread>,
}

impl Offline {
    /// Opens it. Takes long, and must not run on a thread that serves.
    ///
    /// # Errors
    /// As a start that finds the disk so.
    pub fn open(parts: RunningParts) -> Result<Self> {
        let Ground { disk, log, pool, .. } = Ground::read(&parts)?;
        let log = log.begin()?;
        let thread = LogThread::start(log.clone())?;
        let spool = parts.spool();
        let machine = MachineParts {
            meta: Arc::default(),
            pool,
            disk,
            spool,
            sealer: parts.sealer,
            entropy: parts.entropy,
            log: log.clone(),
            operations: parts.operations,
            feed: Arc::new(NoFeed),
            shredded: parts.shredded,
        };
        let Here { machines, .. } = birth::find(&machine, &BTreeSet::new())?;
        let machines = machines.into_iter().map(|machine| (machine.group(), machine)).collect();
        Ok(Self { parts: machine, node: parts.node, folder: parts.dir, log, machines, thread: Some(thread) })
    }

    /// Ends it in order.
    pub fn close(mut self) {
        self.machines.clear();
        self.parts.pool.close();
        self.log.close();
        drop(self.thread.take());
    }

    /// Its tablets.
    #[must_use]
    pub fn pool(&self) -> &Arc<engine::tablet::pool::Pool> {
        &self.parts.pool
    }

    /// Whether it holds something of a group.
    #[must_use]
    pub fn holds(&self, group: GroupId) -> bool {
        self.machines.get(&group).is_some_and(|machine| machine.applied().applied.is_some())
    }

    /// The greatest stamp that it has of anything.
    ///
    /// # Errors
    /// Of the log.
    pub fn seen(&self) -> raft::Result<Stamp> {
        greatest_stamp(&self.log, self.machines.values())
    }

    /// Up to which stamp nothing that is stored waits for an entry of the meta group that never came here; `None`: nothing waits.
    ///
    /// # Errors
    /// Of the log.
    pub fn waits(&self) -> raft::Result<Option<Stamp>> {
        waits_behind(&self.log, self.machines.values())
    }

    /// The last entry that a group has applied here.
    #[must_use]
    pub fn applied_in(&self, group: GroupId) -> Option<LogId> {
        self.machines.get(&group)?.applied().applied
    }

    /// The last entry that is stored of a group.
    ///
    /// # Errors
    /// Of the log.
    pub fn stored_in(&self, group: GroupId) -> raft::Result<Option<LogId>> {
        Ok(self.log.state(group)?.last)
    }

    /// The data groups here.
    pub fn data(&self) -> impl Iterator<Item = &Arc<Machine>> {
        self.machines.values().filter(|machine| machine.group() != GroupId::META)
    }

    /// Up to which stamp all data groups have what was written: the least of the last stamps of their logs.
    ///
    /// # Errors
    /// Of the log.
    pub fn received(&self) -> Result<Option<Stamp>> {
        let all = self.data().map(|machine| self.last(machine)).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().min())
    }

    /// Up to which stamp every group, the meta group too, has what was written.
    ///
    /// # Errors
    /// Of the log.
    pub fn whole(&self) -> Result<Stamp> {
        let all = self.machines.values().map(|machine| self.last(machine)).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().min().unwrap_or_default())
    }

    fn last(&self, machine: &Arc<Machine>) -> Result<Stamp> {
        let stored = self.log.last_stamp(machine.group())?.map_or(Stamp::ZERO, Stamp);
        Ok(stored.max(machine.applied().last))
    }

    /// The greatest stamp that was applied in any data group.
    #[must_use]
    pub fn applied(&self) -> Stamp {
        self.data().map(|machine| machine.applied().last).max().unwrap_or_default()
    }

    fn meta_machine(&self) -> Result<&Arc<Machine>> {
        let meta = self.machines.get(&GroupId::META);
        let absent = "no replica of the meta group is here: this node cannot take over";
        Ok(meta.ok_or(raft::Error::Invalid(absent))?)
    }

    /// The rows of the meta group as they will be once all that is in its log is applied. Nothing is: what was not committed may never be, if
    /// it comes to no takeover.
    ///
    /// # Errors
    /// `Invalid`: no replica of it is here. What an apply may stop with.
    pub fn meta_ahead(&self) -> Result<MetaView> {
        let meta = self.meta_machine()?;
        let mut ahead = Overlay::build(meta, &self.log, Stamp::MAX, limits::META_AHEAD_BYTES_MAX)?;
        let mut all = Vec::new();
        for collection in rows::ALL {
            let mut scan = Scan::all(CLUSTER_TENANT, collection);
            loop {
                let (page, next) = ahead.page(&scan)?;
                for (key, row) in page {
                    all.push(MetaRow::decode(collection, &key, &row.value).map_err(engine::Error::from)?);
                }
                match next {
                    Some(next) => scan.start = Some(next),
                    None => break,
                }
            }
        }
        let version = self.stored_in(GroupId::META)?.map_or(0, |id| id.index);
        Ok(MetaView::of(all, version))
    }

    /// The rows of the meta group, with all that is in its log applied: nobody else has a later one that could be asked.
    ///
    /// # Errors
    /// `Invalid`: no replica of it is here. What an apply may stop with.
    pub async fn meta(&self) -> Result<MetaView> {
        let meta = self.meta_machine()?;
        meta.replay(&self.log, None).await?;
        let version = meta.applied().applied.map_or(0, |id| id.index);
        Ok(MetaView::read(&meta.tablet().view(0)?, version)?)
    }

    /// Lets the groups begin again. The keys of tenants must be learnt by then.
    ///
    /// # Errors
    /// See `raft::group::takeover`; the tail cannot be kept.
    pub async fn carry_out(&self, decision: &Decision) -> Result<()> {
        let mut step = 0;
        while self.step(decision, step).await? {
            step += 1;
        }
        Ok(())
    }

    /// One step of it, counted from 0: a group each, the meta group behind the others, then what held the node late. Each is the same done
    /// twice. False: there are no more.
    ///
    /// # Errors
    /// As [`Offline::carry_out`].
    pub async fn step(&self, decision: &Decision, step: usize) -> Result<bool> {
        let seen = self.seen()?;
        let data = decision.groups.len();
        if matches!(decision.way, Way::Cut(_)) {
            // All of the meta group that there is is applied. What was let through the gate and needs more waits for what nobody has.
            self.parts.meta.reaches(u64::MAX);
        }
        match (decision.groups.get(step), decision.way) {
            // What is not here goes on already, from a try before this one.
            (Some((was, is)), way) => match (self.machines.get(was), way) {
                (Some(machine), Way::Survivor) => self.survive(machine, (seen, 0)).await?,
                (Some(machine), Way::Cut(cut)) => {
                    self.go_on_as(*is, machine, (cut, seen), decision.generation).await?;
                }
                (None, _) => {}
            },
            (None, _) if step == data => {
                if let Some(meta) = self.machines.get(&GroupId::META) {
                    // Behind a cut nothing waits any more, and the groups that did have ended.
                    let reach = if decision.way == Way::Survivor { self.needed()? } else { 0 };
                    self.survive(meta, (seen, reach)).await?;
                }
            }
            (None, Way::Cut(_)) if step == data + 1 => {
                // What held the node late ends with the groups that it held.
                let gone = [GATE_ROW, NOTE_ROW]
                    .map(|name| Change::Remove { key: RowKey::NodeLocal { name }.encode() });
                self.parts.pool.catalog().commit(&gone)?;
            }
            (None, _) => return Ok(false),
        }
        Ok(true)
    }

    /// The last entry of the meta group that entries here which are not applied wait for.
    fn needed(&self) -> Result<u64> {
        let most = |machine: &Arc<Machine>| Ok(machine.needs(&self.log, u64::MAX)?.most);
        let all = self.data().map(most).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().max().unwrap_or(0))
    }

    async fn survive(&self, machine: &Machine, (seen, reach): (Stamp, u64)) -> Result<()> {
        let wanted = Survivor { group: machine.group(), node: self.node, upto: None, seen, reach };
        let at = survive(&self.log, &machine.durable()?, &*self.parts.entropy, &wanted).await?;
        tracing::warn!(group = %machine.group(), %at, "the group goes on with this replica alone");
        Ok(())
    }

    /// The group at the cut goes on as another; what lies behind the cut is kept, and belongs to neither.
    async fn go_on_as(
        &self,
        group: GroupId,
        machine: &Arc<Machine>,
        (cut, seen): (Stamp, Stamp),
        generation: u64,
    ) -> Result<()> {
        let was = machine.group();
        let count = machine.replay(&self.log, Some(cut)).await?;
        let upto = machine.applied();
        if upto.last > cut {
            let applied = upto.applied.unwrap_or_default();
            return Err(raft::Error::BelowApplied { group: was, wanted: applied, applied }.into());
        }
        let left = upto.applied.map_or(0, |id| id.index + 1);
        let kept = tail::keep(&tail::folder(&self.folder, generation), &self.log, was, left)?;
        let wanted = Cut { group, replica: FIRST, node: self.node, seen };
        drop(bear_from_cut(machine, &wanted, self.parts.clone()).await?);
        let replica = self.log.state(was)?.replica;
        birth::end((was, replica), &self.log, &self.parts.pool).await?;
        tracing::warn!(%was, is = %group, applied = count, kept, "the group goes on from the cut as another");
        Ok(())
    }
}
