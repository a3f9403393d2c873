//! The life of one replica on this node: where it stands, and what happens to it, as [`super::lifecycle`] says. Shared by everything that
//! works for the replica, from its birth to its end, through all its instances.

use super::lifecycle::{Event, Impossible, Stage};
use crate::types::GroupId;
use std::sync::{Arc, Mutex, PoisonError};

/// One replica's life.
#[derive(Debug)]
pub struct Life {
    group: GroupId,
    stage: Mutex<Stage>,
}

impl Life {
    /// A replica that is asked for.
    #[must_use]
    pub fn created(group: GroupId) -> Arc<Self> {
        Arc::new(Self { group, stage: Mutex::default() })
    }

    /// Where it stands.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happens to it.
    ///
    /// # Errors
    /// `Impossible`: it cannot happen now, and nothing changed.
    pub fn happens(&self, event: Event) -> Result<Stage, Impossible> {
        let (before, after) = {
            let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, after) = (*stage, stage.after(event)?);
            *stage = after;
            (before, after)
        };
        if before != after {
            tracing::info!(group = %self.group, %before, %after, ?event, "a replica goes on in its life");
        }
        Ok(after)
    }

    /// The same where it says nothing new if it cannot happen: it was so before, or nobody asks any more.
    pub(crate) fn may_happen(&self, event: Event) {
        let _ = self.happens(event);
    }
}
