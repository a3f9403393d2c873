//! The machine of one group, as consensus wants it.

use super::Machine;
use super::snapshot::{self, Parcel};
use crate::error::Error;
use crate::limits::APPLY_ENTRIES;
use crate::planted::{self, Planted};
use crate::type_config::{self, RaftLogId, StoredMembership, Types};
use futures_util::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::Instrument;

/// The machine of one group, as consensus wants it. Clones are the same.
#[derive(Clone)]
pub struct MachineAdapter {
    machine: Arc<Machine>,
    _token: Option<Arc<()>>,
}

impl MachineAdapter {
    /// That of `machine`.
    #[must_use]
    pub fn new(machine: Arc<Machine>) -> Self {
        Self { machine, _token: None }
    }

    /// Holds `token` for as long as it is held.
    #[must_use]
    pub fn with_token(self, token: Arc<()>) -> Self {
        Self { _token: Some(token), ..self }
    }

    /// Fences the machine: what is wrong here is wrong for good, and the group stops with it.
    fn broken(&self, error: Error) -> io::Error {
        self.machine.fence(&error);
        io::Error::other(error)
    }

    /// Consensus ends with it, and may go on in another instance.
    fn failed(&self, error: Error) -> io::Error {
        self.machine.has_failed(&error);
        io::Error::other(error)
    }

    /// Does `work`. If it panics, consensus is told that it has failed, or it would wait for ever; the machine keeps of what.
    async fn heard<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            let cause = format!("the machine panicked: {text}");
            self.machine.has_panicked(&cause);
            Err(io::Error::other(cause))
        })
    }

    async fn run<S>(&self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut pieces = entries.ready_chunks(APPLY_ENTRIES);
        while let Some(piece) = pieces.next().await {
            let mut piece = piece;
            if planted::is(Planted::ApplyOutOfOrder) && piece.len() > 1 {
                piece.swap(0, 1);
            }
            for one in piece {
                let (entry, responder) = one?;
                let id = type_config::log_id(&entry.log_id);
                let applied = async {
                    match &entry.payload {
                        EntryPayload::Blank => self.machine.apply_blank(id).await,
                        EntryPayload::Normal(proposal) => self.machine.apply_command(id, &proposal.0).await,
                        EntryPayload::Membership(theirs) => {
                            self.machine.apply_membership(id, type_config::membership(theirs)).await
                        }
                    }
                };
                let span = tracing::debug_span!("apply", group = %self.machine.group(), at = %id);
                let replies = applied.instrument(span).await.map_err(|error| self.broken(error))?;
                // An entry of many commands is worth as many turns of others: a replica that catches up keeps nobody waiting.
                for _ in 0..=replies.replies.len() {
                    tokio::task::consume_budget().await;
                }
                if let Some(responder) = responder {
                    responder.send(replies);
                }
            }
        }
        Ok(())
    }

    async fn newest(&self) -> io::Result<SnapshotOf<Types, Parcel>> {
        let failed = |error| self.failed(error);
        snapshot::of(self.machine.checkpoint().map_err(failed)?).map_err(failed)
    }
}

impl RaftStateMachine<Types> for MachineAdapter {
    type SnapshotData = Parcel;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let note = self.machine.applied();
        let members = snapshot::stored_membership(&note).map_err(|damage| self.failed(damage.into()))?;
        Ok((note.applied.map(type_config::raft_log_id), members))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        self.heard(self.run(entries)).await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, parcel: Parcel) -> io::Result<()> {
        let last = meta.last_log_id.as_ref().map(type_config::log_id);
        self.heard(async { self.machine.install(last, parcel).map_err(|error| self.broken(error)) }).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Parcel>>> {
        let failed = |error| self.failed(error);
        let newest = self.heard(async {
            let parcel = self.machine.checkpoint().map_err(failed)?;
            let has_any = parcel.note().applied.is_some();
            if has_any { snapshot::of(parcel).map(Some).map_err(failed) } else { Ok(None) }
        });
        newest.await
    }
}

impl RaftSnapshotBuilder<Types> for MachineAdapter {
    type SnapshotData = Parcel;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Parcel>> {
        self.heard(self.newest()).await
    }
}
