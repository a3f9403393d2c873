//! Retention while the node runs: whoever leads the meta group collects what each site lets go, step by step. What a step has begun another
//! one finishes, wherever it runs: everything is at the site.

use super::Server;
use crate::archive::naming::{SnapshotId, Word, root};
use crate::archive::retain::keep::Keep;
use crate::archive::retain::sweep::{Known, Step, Sweeper};
use crate::archive::site::{Site, open};
use crate::archive::sites::{Role, SiteSetting};
use crate::archive::{Error, Result};
use crate::entropy::SystemEntropy;
use crate::limits::{ARCHIVE_LOOK_MS, CHANGE_MS, SWEEP_LEASE_MS, SWEEP_LOOK_MS_MAX, SWEEP_LOOK_MS_MIN};
use crate::meta::archive_change::ArchiveChange;
use crate::meta::archive_row::SnapshotState;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::pin_row::SweepRow;
use crate::meta::view::MetaView;
use crate::restore::plan::Plan;
use crate::restore::rows::{RestoreRow, State};
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use futures_util::future::BoxFuture;
use raft::time::BootClock;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// When a site is looked at next, from one look to the next.
#[derive(Default)]
pub(super) struct Due(Option<u64>);

/// Whoever has just begun to lead waits for so long at most, in milliseconds, before it collects: the one before may not know yet.
const FIRST_MS_MAX: u64 = 60_000;

/// What a restore needs, if it may still read an archive.
fn needs(row: &RestoreRow) -> Option<Keep> {
    let is_open = row.state == State::Planned || row.state.is_open();
    if !is_open {
        return None;
    }
    let Ok(plan) = serde_json::from_slice::<Plan>(&row.plan) else {
        // A plan of another build: what it needs is not known here, so all that may be stays.
        tracing::warn!(
            restore = row.id,
            "the plan of a restore cannot be read: everything before its instant is kept"
        );
        return Some(Keep { snapshots: BTreeSet::new(), span: Some((Stamp::ZERO, row.target)) });
    };
    let base = plan.base.as_deref().and_then(SnapshotId::parse);
    let after = base.map_or(row.target, |id| id.cut.upto());
    let span = (Stamp(after.0.min(row.target.0.saturating_sub(1))), row.target);
    Some(Keep { snapshots: base.into_iter().collect(), span: Some(span) })
}

/// Pure: what the rows of the meta group say that a collector must know; `is_home`: of the site where archivers write.
fn known(meta: &MetaView, required: &[Word], is_home: bool) -> Known {
    let running = meta.snapshot.as_ref().filter(|row| is_home && row.state == SnapshotState::Running);
    Known {
        pins: meta.pins.iter().map(|(id, row)| (*id, (row.renewal, row.pin()))).collect(),
        restores: meta.restores.values().filter_map(needs).collect(),
        taking: running.map(super::snapshots::id),
        required: if is_home { required.to_vec() } else { Vec::new() },
    }
}

impl Server {
    pub(super) fn leads_meta(&self) -> bool {
        let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
        self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads))
    }

    fn required(&self) -> Vec<Word> {
        let copies =
            self.archiving.config.sites.iter().filter(|site| site.role == Role::Copy && site.is_required);
        copies.map(|site| site.name.clone()).collect()
    }

    pub(super) fn known_of(&self, meta: &MetaView, setting: &SiteSetting) -> Known {
        known(meta, &self.required(), setting.role == Role::Home)
    }

    /// Collects at the home site whenever the meta group is led here, until the tasks end.
    pub(super) async fn retain_home(self: Arc<Self>) {
        let mut due = Due::default();
        loop {
            tokio::time::sleep(Duration::from_millis(ARCHIVE_LOOK_MS)).await;
            let Some(setting) = self.archiving.config.sites.first() else { return };
            if let Ok(home) = self.archiving.home(&self) {
                self.retain(setting, &home, &mut due).await;
            }
        }
    }

    /// Makes the next step at a site, if it is time and the meta group is led here.
    pub(super) async fn retain(&self, setting: &SiteSetting, site: &Site, due: &mut Due) {
        if !self.leads_meta() || self.meta().cluster.is_none() || self.clock.is_disputed() {
            due.0 = None;
            self.archiving.note(|known| drop(known.uncollected.remove(setting.name.as_str())));
            return;
        }
        let (now, grace_ms) = (self.clock.boot_ms(), setting.policy.grace_s.saturating_mul(1_000));
        let every = (grace_ms / 24).clamp(SWEEP_LOOK_MS_MIN, SWEEP_LOOK_MS_MAX);
        let at = *due.0.get_or_insert(now + every.min(FIRST_MS_MAX));
        if now < at {
            return;
        }
        due.0 = Some(now + every);
        // Without its type, which is too deep for the compiler.
        let stepping: BoxFuture<'_, Result<Step>> = Box::pin(self.retain_once(setting, site));
        let stepped = stepping.await;
        let name = setting.name.to_string();
        let why = match stepped {
            Ok(Step::Refused(refusal)) => Some(refusal.to_string()),
            Ok(Step::Swept(deleted, kept)) => {
                tracing::info!(site = name, deleted, kept, "what retention lets go is collected");
                self.archiving.note(|known| known.collected += deleted);
                None
            }
            Ok(Step::Tombed(objects)) => {
                tracing::info!(site = name, objects, "it is written down what retention lets go");
                None
            }
            Ok(Step::Stopped(deleted)) => {
                tracing::info!(
                    site = name,
                    deleted,
                    "a sweep was ended on its way: it goes on at the next look"
                );
                self.archiving.note(|known| known.collected += deleted);
                None
            }
            Ok(Step::Nothing | Step::Waits(_)) => None,
            Err(error) => Some(with_sources(&error)),
        };
        self.archiving.note(|known| match why {
            Some(why) => drop(known.uncollected.insert(name, why)),
            None => drop(known.uncollected.remove(&name)),
        });
    }

    async fn retain_once(&self, setting: &SiteSetting, site: &Site) -> Result<Step> {
        // As the meta group is now: a pin or a restore that it has acknowledged counts.
        self.refresh(CHANGE_MS)
            .await
            .map_err(|_| engine::Error::Invalid("the meta group does not answer"))?;
        let known = self.known_of(&self.meta(), setting);
        let has_asked = AtomicBool::new(false);
        let guard = || -> BoxFuture<'_, bool> {
            has_asked.store(true, Ordering::Relaxed);
            Box::pin(self.may_sweep(setting, &known))
        };
        let stepped = self.sweeper(setting, site).step(&known, self.clock.now_ms(), &guard).await;
        // After a failure a deletion may be under way still: the lease ends by itself.
        if stepped.is_ok() && has_asked.load(Ordering::Relaxed) && setting.role == Role::Home {
            // Snapshots need not wait for the end of the lease.
            self.take_sweep(self.clock.now_ms()).await;
        }
        stepped
    }

    async fn take_sweep(&self, until_ms: u64) -> bool {
        let row = SweepRow { node: self.node, until_ms };
        let command = MetaCommand::new(vec![Change::Archive(ArchiveChange::TakeSweep(row))]);
        matches!(self.change(command, CHANGE_MS).await, Ok(MetaReply::Applied { .. }))
    }

    pub(super) fn sweeper<'a>(&'a self, setting: &SiteSetting, site: &'a Site) -> Sweeper<'a> {
        Sweeper { site, sealer: self.keys.sealer(), entropy: &SystemEntropy, policy: setting.policy }
    }

    /// Whether what was marked may be deleted now: nobody else deletes, no snapshot begins meanwhile, and nothing is kept that was not before.
    async fn may_sweep(&self, setting: &SiteSetting, before: &Known) -> bool {
        // At a copy nobody else writes.
        let is_taken =
            setting.role == Role::Copy || self.take_sweep(self.clock.now_ms() + SWEEP_LEASE_MS).await;
        let is_fresh = is_taken && self.refresh(CHANGE_MS).await.is_ok();
        is_fresh && self.leads_meta() && self.known_of(&self.meta(), setting) == *before
    }

    /// Opens a site for somebody who asks.
    pub(super) fn site_of(&self, setting: &SiteSetting) -> Result<Site> {
        open::site(setting, root(self.cluster), self.clock.clone()).map_err(Error::Site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::naming::TickEnd;
    use crate::meta::archive_row::SnapshotRow;
    use crate::meta::pin_row::PinRow;
    use crate::meta::rows::MetaRow;

    #[test]
    fn what_the_cluster_keeps_is_known_to_whoever_collects() {
        let pin = PinRow { id: [1; 8], renewal: 3, until_ms: 9, upto: Stamp(5), ..PinRow::default() };
        let snapshot =
            SnapshotRow { version: 1, state: SnapshotState::Running, cut_s: 50, ..SnapshotRow::default() };
        let base = SnapshotId { cut: TickEnd(1_767_225_600), random: [7; 4] };
        let plan = |base: Option<String>| {
            let plan = Plan { base, ..Plan::default() };
            serde_json::to_vec(&plan).expect("a plan is JSON")
        };
        let target = Stamp(base.cut.upto().0 + 1_000);
        let restore =
            |id, state, base| RestoreRow { id, state, target, plan: plan(base), ..RestoreRow::default() };
        let rows = [
            MetaRow::Pin(pin.clone()),
            MetaRow::Snapshot(snapshot),
            MetaRow::Restore(restore(1, State::Running, Some(base.to_string()))),
            MetaRow::Restore(restore(2, State::Done, Some(base.to_string()))),
            MetaRow::Restore(restore(3, State::Planned, None)),
        ];
        let meta = MetaView::of(rows, 1);
        let far = Word::parse("far").expect("a word");
        let home = known(&meta, std::slice::from_ref(&far), true);
        assert_eq!(home.pins[&[1; 8]], (3, pin.pin()));
        assert_eq!(
            (home.taking.map(|id| id.cut), &home.required[..]),
            (Some(TickEnd(50)), &[far.clone()][..])
        );
        assert_eq!(home.restores.len(), 2, "one that has ended needs nothing");
        assert_eq!(home.restores[0].span, Some((base.cut.upto(), target)));
        assert_eq!(home.restores[0].snapshots.iter().collect::<Vec<_>>(), [&base]);
        assert_eq!(home.restores[1].span, Some((Stamp(target.0 - 1), target)));
        let copy = known(&meta, &[far], false);
        assert_eq!((copy.taking, copy.required), (None, Vec::new()));
    }
}
