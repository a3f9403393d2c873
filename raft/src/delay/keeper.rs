//! The gate of a node at work: every change of it is stored before it holds, in the catalog of the node.
//!
//! The newest change is the only one that is stored: it has all that came before it in it. One that could not be stored is stored
//! with the next, and until then the gate stands.

use super::gate::{Gate, GroupProgress, Next, Rest};
use super::gate_state::{GateState, Limit};
use super::receive::GateStamp;
use crate::error::Result;
use crate::stats::Stats;
use crate::types::GroupId;
use engine::Stamp;
use engine::catalog::rows::RowKey;
use engine::catalog::{Change, sealer};
use engine::ids::NodeId;
use engine::sealed::Sealer;
use engine::tablet::pool::Pool;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Name of the node-local catalog row that holds the gate. For ever; see `docs/formats/README.md`.
pub const GATE_ROW: u32 = 2;

/// Where the gate rests.
pub trait GateStore: Send + Sync + 'static {
    /// What was stored last; `None` on a node that was never delayed.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`.
    fn load(&self) -> Result<Option<GateState>>;

    /// Makes `state` what a start finds. Durable when it returns.
    ///
    /// # Errors
    /// `Unavailable`: it is not known whether it is stored; storing it again is safe. `Key`.
    fn store(&self, state: &GateState) -> Result<()>;
}

/// The gate in a row of the node's catalog, sealed as every value there is.
pub struct CatalogGate {
    pool: Arc<Pool>,
    sealer: Arc<Sealer>,
    node: NodeId,
}

impl CatalogGate {
    /// In the catalog of `pool`, under the key of `node`.
    #[must_use]
    pub fn new(pool: Arc<Pool>, sealer: Arc<Sealer>, node: NodeId) -> Self {
        Self { pool, sealer, node }
    }

    fn key() -> Vec<u8> {
        RowKey::NodeLocal { name: GATE_ROW }.encode()
    }
}

impl GateStore for CatalogGate {
    fn load(&self) -> Result<Option<GateState>> {
        let key = Self::key();
        let Some(sealed) = self.pool.catalog().get(&key)? else { return Ok(None) };
        let opened = sealer::open_row(&self.sealer, self.node, &key, 0, &[0; sealer::TAG_BYTES], &sealed)?;
        Ok(Some(GateState::decode(&opened)?))
    }

    fn store(&self, state: &GateState) -> Result<()> {
        let (key, plain) = (Self::key(), state.encode());
        let value = sealer::seal_row(&self.sealer, self.node, &key, 0, &[0; sealer::TAG_BYTES], &plain)?;
        Ok(self.pool.catalog().commit(&[Change::Put { key, value }])?)
    }
}

/// The gate of a node at work.
pub struct Keeper {
    gate: Mutex<Gate>,
    store: Arc<dyn GateStore>,
    /// Held while something is stored, so that an older change never comes to lie over a newer one.
    storing: Mutex<()>,
    stats: Arc<Stats>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// The gate as it is stored; if none is, that of a node that becomes delayed at `now`, by `delay_ms`. That is stored first. It is
    /// counted in `stats`.
    ///
    /// # Errors
    /// As [`GateStore`].
    pub fn open(
        store: Arc<dyn GateStore>,
        (now, delay_ms): (Stamp, u64),
        stats: Arc<Stats>,
    ) -> Result<Arc<Self>> {
        let state = match store.load()? {
            Some(state) => state,
            None => {
                let born = Gate::born(now, delay_ms);
                store.store(&born)?;
                born
            }
        };
        let gate = Mutex::new(Gate::new(state));
        let own = Self { gate, store, storing: Mutex::default(), stats };
        own.measure();
        Ok(Arc::new(own))
    }

    /// What holds now.
    #[must_use]
    pub fn state(&self) -> GateState {
        lock(&self.gate).state()
    }

    /// From when on nothing taken over is newer than the delay allows, in ms of the wall; 0 if that is so now.
    #[must_use]
    pub fn void_until_ms(&self) -> u64 {
        lock(&self.gate).void_until_ms()
    }

    /// Takes the next step, if it is time for one; the replicas must hear of it then. `groups` are all data groups of the node, each as
    /// [`super::receive::Delayed::progress`] tells it; `safe_now_ms` is what [`super::SafeNow`] says. Call it at every tick or more often.
    ///
    /// # Errors
    /// As [`GateStore`]: the gate stands where it stood, and what could not be stored is stored by the next call.
    pub fn step(&self, safe_now_ms: Option<u64>, groups: &BTreeMap<GroupId, GroupProgress>) -> Result<Step> {
        let step = self.rise(safe_now_ms, groups);
        if let Some(now_ms) = safe_now_ms {
            self.stats.delay.lag_ms.set(now_ms.saturating_sub(self.stamp().ms()));
        }
        step
    }

    fn rise(&self, safe_now_ms: Option<u64>, groups: &BTreeMap<GroupId, GroupProgress>) -> Result<Step> {
        self.settle()?;
        let next = lock(&self.gate).next(safe_now_ms, groups);
        match next {
            Next::Rest(rest) => Ok(Step::Rest(rest)),
            Next::Store(_) => self.settle().map(|()| Step::To(self.state().gate)),
        }
    }

    /// Tells what is asked for: it holds at once, stored or not.
    fn measure(&self) {
        let asked = {
            let gate = lock(&self.gate);
            gate.storing().unwrap_or(gate.state())
        };
        self.stats.delay.set_ms.set(asked.delay_ms);
        self.stats.delay.held_flag.set(u64::from(matches!(asked.limit, Limit::Hold(_))));
    }

    /// Stops where it is, at once, stored or not.
    ///
    /// # Errors
    /// As [`GateStore`]: it is held all the same, for as long as this process runs, and stored by the next step.
    pub fn hold(&self) -> Result<GateState> {
        self.change(Gate::hold)
    }

    /// Goes on as the delay says.
    ///
    /// # Errors
    /// As [`GateStore`]; then it is stored by the next step.
    pub fn release(&self) -> Result<GateState> {
        self.change(Gate::release)
    }

    /// Goes to just before the commit at `commit`, and stands there.
    ///
    /// # Errors
    /// `ForwardRefused`, with what is possible. As [`GateStore`]; then it is stored by the next step.
    pub fn forward_before(
        &self,
        commit: Stamp,
        groups: &BTreeMap<GroupId, GroupProgress>,
    ) -> Result<GateState> {
        let state = lock(&self.gate).forward_before(commit, groups)?;
        self.settle().map(|()| state)
    }

    /// Another delay, in ms; 0 to become one of the cluster.
    ///
    /// # Errors
    /// As [`GateStore`]; then it is stored by the next step.
    pub fn set_delay(&self, delay_ms: u64) -> Result<GateState> {
        self.change(|gate| gate.set_delay(delay_ms))
    }

    /// Whether the clamps may be lifted.
    ///
    /// # Errors
    /// `NotLifted`, with what is in the way.
    pub fn may_lift(&self) -> Result<()> {
        Ok(lock(&self.gate).may_lift()?)
    }

    fn change(&self, change: impl FnOnce(&mut Gate) -> GateState) -> Result<GateState> {
        let state = change(&mut lock(&self.gate));
        self.settle().map(|()| state)
    }

    /// Stores what waits to be, until nothing does.
    fn settle(&self) -> Result<()> {
        self.measure();
        let _alone = lock(&self.storing);
        loop {
            let Some(state) = lock(&self.gate).storing() else { return Ok(()) };
            self.store.store(&state)?;
            let mut gate = lock(&self.gate);
            let before = gate.stamp();
            gate.stored(state);
            self.stats.delay.gate_steps.add(u64::from(gate.stamp() > before));
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The gate stays, and why.
    Rest(Rest),
    /// It is open up to here now.
    To(Stamp),
}

impl GateStamp for Keeper {
    fn stamp(&self) -> Stamp {
        lock(&self.gate).stamp()
    }

    fn will_take(&self, stamp: Stamp) -> Result<()> {
        self.change(|gate| gate.set_void_until(stamp)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    const NOW_MS: u64 = 1_700_000_000_000;
    const DELAY_MS: u64 = 60_000;

    /// What is stored, and whether storing fails.
    #[derive(Default)]
    struct Shelf {
        stored: Mutex<Vec<GateState>>,
        is_broken: Mutex<bool>,
    }

    impl GateStore for Shelf {
        fn load(&self) -> Result<Option<GateState>> {
            Ok(lock(&self.stored).last().copied())
        }

        fn store(&self, state: &GateState) -> Result<()> {
            if *lock(&self.is_broken) {
                return Err(Error::Invalid("a broken shelf"));
            }
            lock(&self.stored).push(*state);
            Ok(())
        }
    }

    fn opened(shelf: &Arc<Shelf>) -> Arc<Keeper> {
        Keeper::open(shelf.clone(), (Stamp::new(NOW_MS, 0), DELAY_MS), Arc::default()).unwrap()
    }

    fn all() -> BTreeMap<GroupId, GroupProgress> {
        let far = Some(Stamp::end_of_ms(NOW_MS + 1_000_000));
        let progress =
            GroupProgress { closed: far, told_at: Some(Stamp::MAX), told: Some(3), applied: Some(3) };
        BTreeMap::from([(GroupId(1), progress)])
    }

    #[test]
    fn nothing_opens_that_is_not_stored() {
        let shelf = Arc::new(Shelf::default());
        let keeper = opened(&shelf);
        assert_eq!(shelf.load().unwrap(), Some(keeper.state()));
        let before = keeper.stamp();
        *lock(&shelf.is_broken) = true;
        assert!(keeper.step(Some(NOW_MS + 20_000), &all()).is_err());
        assert_eq!(keeper.stamp(), before, "opened, and a crash forgets it");
        *lock(&shelf.is_broken) = false;
        // What could not be stored is stored first; then there is room for one step more.
        let Step::To(gate) = keeper.step(Some(NOW_MS + 20_000), &all()).unwrap() else { panic!("it rests") };
        assert_eq!(gate.ms(), before.ms() + 10_000);
        assert_eq!((shelf.load().unwrap(), keeper.stamp()), (Some(keeper.state()), gate));
        assert_eq!(opened(&shelf).state(), keeper.state(), "a start finds it");
    }

    #[test]
    fn a_hold_holds_though_it_cannot_be_stored() {
        let shelf = Arc::new(Shelf::default());
        let keeper = opened(&shelf);
        *lock(&shelf.is_broken) = true;
        assert!(keeper.hold().is_err());
        assert!(keeper.step(Some(NOW_MS + 20_000), &all()).is_err());
        *lock(&shelf.is_broken) = false;
        let rests = keeper.step(Some(NOW_MS + 20_000), &all()).unwrap();
        assert!(matches!(rests, Step::Rest(Rest::At(super::super::Bound::Held))), "{rests:?}");
        assert!(keeper.release().is_ok());
        assert!(matches!(keeper.step(Some(NOW_MS + 20_000), &all()), Ok(Step::To(_))));
    }

    #[test]
    fn what_is_newer_than_the_gate_is_stored_before_it_is_taken() {
        let shelf = Arc::new(Shelf::default());
        let keeper = opened(&shelf);
        let newer = Stamp::new(NOW_MS + 5_000, 2);
        *lock(&shelf.is_broken) = true;
        assert!(keeper.will_take(newer).is_err());
        *lock(&shelf.is_broken) = false;
        keeper.will_take(newer).unwrap();
        assert_eq!(shelf.load().unwrap().unwrap().void_until, newer);
        assert_eq!(keeper.void_until_ms(), NOW_MS + 5_000 + DELAY_MS + 1);
    }

    #[test]
    fn clamps_are_lifted_once_the_delay_is_stored_as_none() {
        let shelf = Arc::new(Shelf::default());
        let keeper = opened(&shelf);
        assert!(matches!(keeper.may_lift(), Err(Error::NotLifted(_))));
        let beyond = Stamp::end_of_ms(NOW_MS + 2_000_000);
        assert!(matches!(keeper.forward_before(beyond, &all()), Err(Error::ForwardRefused(_))));
        keeper.forward_before(Stamp::new(NOW_MS, 7), &all()).unwrap();
        assert!(keeper.may_lift().is_err());
        keeper.set_delay(0).unwrap();
        keeper.release().unwrap();
        keeper.may_lift().unwrap();
        opened(&shelf).may_lift().unwrap();
    }
}
