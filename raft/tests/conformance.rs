//! Consensus has a suite of its own for whoever stores its logs and its state. It runs here on the log of a node and the machine of a
//! group, as they are.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use bytes::Bytes;
use engine::catalog::MemoryCatalog;
use engine::clock::ManualClock;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::{LogIndex, TabletId, TenantId};
use engine::key::KeyRange;
use engine::manifest::edit::Applied;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use futures_util::stream::{self, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use raft::log::store::GroupStore;
use raft::log::{Log, LogConfig, LogParts, LogThread};
use raft::machine::adapter::MachineAdapter;
use raft::machine::note::Note;
use raft::machine::operations::{Operations, Rows};
use raft::machine::snapshot::Parcel;
use raft::machine::{AppliedEntry, Feed, Machine, MachineParts, NobodyShredded};
use raft::type_config::Types;
use raft::types::{GroupId, LogId, ReplicaId};
use rig::{NODE, sealer};
use std::io;
use std::sync::Arc;

const GROUP: GroupId = GroupId(5);

struct Builder;

/// No command means anything.
struct Nothing;

impl Operations for Nothing {
    fn evaluate(&self, _: TenantId, _: &[u8], _: &mut Rows<'_>) -> raft::Result<Bytes> {
        Ok(Bytes::new())
    }
}

/// The suite applies what is in no log, and purges what no snapshot holds: so everything applied is made durable at once.
struct Flush(Arc<Pool>);

impl Feed for Flush {
    fn applied(&self, _: GroupId, _: &AppliedEntry<'_>) {
        for tablet in self.0.tablets() {
            tablet.set_log_durable(LogIndex(u64::MAX));
            tablet.freeze();
        }
        self.0.settle();
    }
}

/// The suite applies entries with gaps between them, which a machine refuses: they are filled with blank ones here.
struct Filled {
    adapter: MachineAdapter,
    machine: Arc<Machine>,
}

impl Filled {
    /// What a transfer does: every file into the spool of whoever installs, piece by piece.
    fn carry(&self, parcel: Parcel) -> raft::Result<Parcel> {
        let Parcel::Here(checkpoint, note) = parcel else { return Ok(parcel) };
        let spool = self.machine.spool();
        for (id, from) in spool.offer(checkpoint.listing(), &self.machine.present())? {
            let file = checkpoint.files().into_iter().find(|file| file.id == id).unwrap();
            for at in (from..file.bytes).step_by(100) {
                let mut piece = vec![0; usize::try_from((file.bytes - at).min(100)).unwrap()];
                checkpoint.read_file(id, at, &mut piece)?;
                spool.write(id, at, &piece)?.unwrap();
            }
        }
        spool.finish(checkpoint.listing())?;
        Ok(Parcel::Spooled(spool.dir().to_owned(), note))
    }
}

impl RaftStateMachine<Types> for Filled {
    type SnapshotData = Parcel;
    type SnapshotBuilder = MachineAdapter;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        self.adapter.applied_state().await
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(one) = entries.next().await {
            let (entry, responder) = one?;
            while let Some(last) = self.machine.applied().applied
                && last.index + 1 < entry.log_id.index
            {
                let id = LogId { index: last.index + 1, ..last };
                self.machine.apply_blank(id).await.map_err(io::Error::other)?;
            }
            self.adapter.apply(stream::iter([Ok((entry, responder))])).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> MachineAdapter {
        self.adapter.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, parcel: Parcel) -> io::Result<()> {
        let parcel = self.carry(parcel).map_err(io::Error::other)?;
        self.adapter.install_snapshot(meta, parcel).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Parcel>>> {
        self.adapter.get_current_snapshot().await
    }
}

impl StoreBuilder<Types, GroupStore, Filled, LogThread> for Builder {
    async fn build(&self) -> Result<(LogThread, GroupStore, Filled), openraft::StorageError<Types>> {
        let disk = Arc::new(SimDisk::new(1));
        let (sealer, entropy) = (sealer(), Arc::new(Seeded::new(1)));
        let parts = LogParts {
            disk: disk.clone(),
            sealer: sealer.clone(),
            entropy: entropy.clone(),
            node: NODE,
            stats: Arc::default(),
        };
        let config = LogConfig {
            segment_bytes: 1 << 20,
            write_bytes: 64 << 10,
            entry_bytes_max: 64 << 10,
            groups_max: 12,
            ..LogConfig::new("/log")
        };
        let log = Log::open(config, parts).unwrap();
        let thread = LogThread::start(log.clone()).unwrap();
        log.open_replica(GROUP, ReplicaId(1), Box::new(|_| ())).unwrap();
        let parts = Parts {
            disk: disk.clone(),
            catalog: MemoryCatalog::new().opener(),
            sealer: sealer.clone(),
            clock: Arc::new(ManualClock::new(1_000)),
            node: NODE,
        };
        let pool = Pool::open(PoolConfig { threads: 0, ..PoolConfig::new("/data") }, parts).unwrap();
        let note = Note::empty(GROUP).encode();
        let applied = Applied { index: LogIndex(0), note, ..Applied::default() };
        let tablet =
            pool.create(&[NewTablet { id: TabletId(1), range: KeyRange::all(), applied }]).unwrap().remove(0);
        let parts = MachineParts {
            meta: Arc::default(),
            pool: pool.clone(),
            disk,
            spool: "/spool".into(),
            sealer,
            entropy,
            log: log.clone(),
            operations: Arc::new(Nothing),
            feed: Arc::new(Flush(pool.clone())),
            shredded: Arc::new(NobodyShredded),
        };
        let machine = Machine::open(GROUP, tablet, parts).unwrap();
        let store = GroupStore::new(log, GROUP, machine.clone());
        Ok((thread, store, Filled { adapter: MachineAdapter::new(machine.clone()), machine }))
    }
}

#[tokio::test]
async fn log_and_machine_pass_the_suite_of_consensus() {
    Suite::test_all(Builder).await.unwrap();
}
