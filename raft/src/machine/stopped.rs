//! What keeps a machine from going on: something broke, it panicked, or its instance was let go. Each is kept in its own words, and what a
//! person does about it beside them.

use super::{Machine, lock};
use crate::error::{Error, Result};
use crate::group::lifecycle::Event;
use crate::group::start_fault::StartFault;
use engine::error::with_sources;

impl Machine {
    /// What has broken, if anything has: it refuses all work.
    #[must_use]
    pub fn fenced(&self) -> Option<String> {
        lock(&self.fenced).clone()
    }

    /// Whether it refuses all work: it is fenced, or was let go.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.allows().is_err()
    }

    /// Refuses all further work of this group, and of no other. That an instance was let go breaks nothing, whoever meets it.
    pub fn fence(&self, error: &Error) {
        if matches!(error, Error::Stopped { .. }) && lock(&self.retired).is_some() {
            return;
        }
        let cause = with_sources(error);
        tracing::error!(group = %self.group, cause, "a group is fenced");
        let is_first = {
            let mut fenced = lock(&self.fenced);
            let is_first = fenced.is_none();
            if is_first {
                *lock(&self.fault) = Some(StartFault::of(error));
            }
            fenced.get_or_insert(cause);
            is_first
        };
        if is_first {
            self.stats().group.fenced_replicas.add(1);
        }
        self.life.may_happen(Event::Broke);
    }

    /// Of what kind that is which keeps consensus from going on, if anything has.
    #[must_use]
    pub fn fault(&self) -> Option<StartFault> {
        *lock(&self.fault)
    }

    /// Consensus is told of an error, and ends with it. What has broken before stands.
    pub(crate) fn has_failed(&self, error: &Error) {
        let fenced = lock(&self.fenced);
        if fenced.is_none() {
            *lock(&self.fault) = Some(StartFault::of(error));
        }
    }

    /// Refuses all further work of this instance, whose consensus has ended, so that no call that is still under way here meets the one
    /// that comes after it. Nothing is broken.
    pub(crate) fn retire(&self, cause: &str) {
        lock(&self.retired).get_or_insert_with(|| cause.to_owned());
    }

    /// Of what it has panicked, if it has.
    #[must_use]
    pub fn panicked(&self) -> Option<String> {
        lock(&self.panicked).clone()
    }

    /// It has panicked: whoever supervises the group is told of what.
    pub(crate) fn has_panicked(&self, cause: &str) {
        lock(&self.panicked).get_or_insert_with(|| cause.to_owned());
    }

    /// Whether it may work.
    pub(super) fn allows(&self) -> Result<()> {
        let group = self.group;
        if let Some(cause) = self.fenced() {
            return Err(Error::GroupFenced { group, cause });
        }
        let retired = lock(&self.retired).clone();
        retired.map_or(Ok(()), |cause| Err(Error::Stopped { group, cause }))
    }
}
