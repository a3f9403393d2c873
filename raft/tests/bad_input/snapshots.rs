//! Snapshots that are not what they should be: what is here stays as it was, and a good one is taken afterwards.

use crate::cluster::{Hub, Node, TENANT, perform};
use crate::door::{Door, GROUP, LEADER, id, membership, vote};
use crate::world::{self, World, at, put};
use bytes::Bytes;
use engine::checkpoint::Checkpoint;
use engine::disk::sim::Faults;
use engine::ids::TableId;
use engine::key::KeyRange;
use raft::group::birth::{self, Birth, FIRST};
use raft::log::store::Watch;
use raft::machine::Machine;
use raft::machine::note::Note;
use raft::machine::snapshot::Parcel;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{Append, AppendReply};
use raft::net::snapshot_message::{
    PieceReply, SnapshotDone, SnapshotFinish, SnapshotOffer, SnapshotPiece, SnapshotWants,
};
use raft::seal::{self, Times, Unsealed};
use raft::types::{GroupId, LogId, Membership, ReplicaId};
use std::sync::Arc;

/// The one that joins.
pub const JOINS: ReplicaId = ReplicaId(4);

/// A snapshot, and an offer of it as its leader makes it.
pub struct Sent {
    checkpoint: Arc<Checkpoint>,
    pub offer: SnapshotOffer,
}

impl Sent {
    pub fn of(machine: &Machine) -> Self {
        let Parcel::Here(checkpoint, note) = machine.checkpoint().unwrap() else { unreachable!() };
        let Note { applied, membership_at, membership, last, .. } = note;
        let listing = Bytes::copy_from_slice(checkpoint.listing());
        let offer =
            SnapshotOffer { vote: vote(), last: applied, stamp: last, membership_at, membership, listing };
        Self { checkpoint, offer }
    }

    /// All that is wanted, in pieces.
    fn pieces(&self, wants: &SnapshotWants) -> Vec<SnapshotPiece> {
        let piece = |file: TableId, at: u64, end: u64| {
            let mut bytes = vec![0; usize::try_from(end - at).unwrap()];
            self.checkpoint.read_file(file, at, &mut bytes).unwrap();
            SnapshotPiece::of(wants.transfer, file, at, bytes.into())
        };
        let size = |id| self.checkpoint.files().iter().find(|file| file.id == id).unwrap().bytes;
        let of = |(id, from): &(TableId, u64)| {
            let (id, from, size) = (*id, *from, size(*id));
            (from..size).step_by(1_000).map(move |at| (id, at, size.min(at + 1_000)))
        };
        wants.files.iter().flat_map(of).map(|(id, at, end)| piece(id, at, end)).collect()
    }
}

/// A group elsewhere with one row for each of `entries`, each in a file of its own.
pub async fn donor(group: GroupId, entries: &[LogId]) -> (Node, Arc<Machine>) {
    let mut node = Node::new(9, &Hub::default());
    let offline = node.open().unwrap();
    let birth = Birth { group, replica: LEADER, range: KeyRange::all(), founders: Some(membership()) };
    let machine = birth::bear(&birth, offline.parts.clone()).await.unwrap();
    for (n, log_id) in (0..).zip(entries) {
        let body = Bytes::from([&[n][..], &[0x61; 5_000]].concat());
        let (session, number, valid_until, counts) = Default::default();
        let one = Unsealed { tenant: TENANT, session, number, valid_until, counts, body };
        let times = Times { stamp: engine::Stamp::new(1_000 + log_id.index, 0), ..Times::default() };
        let entropy = engine::entropy::Seeded::new(log_id.index);
        let sealed = seal::seal(&offline.parts.sealer, &entropy, group, times, &[one]).unwrap();
        machine.apply_command(*log_id, &sealed.encode()).await.unwrap();
        Watch::durable(&*machine, *log_id);
        machine.tablet().freeze();
        offline.parts.pool.settle();
    }
    (node, machine)
}

impl Door {
    async fn offered(&self, offer: &SnapshotOffer) -> SnapshotWants {
        match self.says(Message::SnapshotOffer(offer.clone())).await {
            Message::SnapshotWants(wants) => wants,
            other => panic!("{other:?}"),
        }
    }

    async fn takes(&self, pieces: impl IntoIterator<Item = SnapshotPiece>) {
        for piece in pieces {
            let taken = self.says(Message::SnapshotPiece(piece)).await;
            assert_eq!(taken, Message::PieceReply(PieceReply::Taken));
        }
    }

    /// An offer that is taken up, and a transfer that ends in this refusal, with nothing changed.
    async fn refuses_in_the_end(&self, what: &str, sent: &Sent, harm: impl FnOnce(&mut Vec<SnapshotPiece>)) {
        let wants = self.offered(&sent.offer).await;
        let mut pieces = sent.pieces(&wants);
        harm(&mut pieces);
        self.takes(pieces).await;
        let finish = Message::SnapshotFinish(SnapshotFinish { transfer: wants.transfer });
        let tables = self.tablets();
        self.refuses_to_hear(what, finish, Refusal::Malformed).await;
        assert_eq!(self.tablets(), tables, "{what}: nothing of it stays");
    }

    pub fn tablets(&self) -> usize {
        self.running.offline.parts.pool.tablets().len()
    }

    async fn finishes(&self, transfer: u64) -> Message {
        self.says(Message::SnapshotFinish(SnapshotFinish { transfer })).await
    }

    pub async fn installs(&self, sent: &Sent) {
        let wants = self.offered(&sent.offer).await;
        self.takes(sent.pieces(&wants)).await;
        assert_eq!(self.finishes(wants.transfer).await, Message::SnapshotDone(SnapshotDone { vote: vote() }));
        assert_eq!(self.running.group(GROUP).machine().applied().applied, sent.offer.last);
    }
}

#[test]
fn a_snapshot_that_is_incomplete_or_does_not_verify_is_refused() {
    perform(async {
        let (_node, donated) = donor(GROUP, &[id(2), id(3), id(4)]).await;
        let sent = Sent::of(&donated);
        let door = Door::open(JOINS, None).await;
        assert!(sent.checkpoint.files().len() == 3);
        door.refuses_in_the_end("a file short", &sent, |pieces| drop(pieces.pop())).await;
        let last = sent.checkpoint.files().iter().map(|file| file.id).max().unwrap();
        door.refuses_in_the_end("a file missing", &sent, |pieces| pieces.retain(|one| one.file != last))
            .await;
        door.refuses_in_the_end("other bytes", &sent, |pieces| {
            let last = pieces.last_mut().unwrap();
            let other = last.bytes.iter().map(|byte| byte ^ 1).collect();
            *last = SnapshotPiece::of(last.transfer, last.file, last.at, other);
        })
        .await;
        let frame = |message| door.frame(message).encode();
        let cut = sent.offer.listing.slice(..sent.offer.listing.len() - 1);
        let offer = SnapshotOffer { listing: cut, ..sent.offer.clone() };
        door.refuses("no listing", frame(Message::SnapshotOffer(offer)), Refusal::Malformed).await;
        // A piece whose bytes were changed on the way is not even written.
        let wants = door.offered(&sent.offer).await;
        let mut piece = sent.pieces(&wants).remove(0);
        piece.crc32 ^= 1;
        door.refuses("a changed piece", frame(Message::SnapshotPiece(piece)), Refusal::Malformed).await;
        door.installs(&sent).await;
        (0..3).for_each(|key| assert!(door.running.get(GROUP, key).is_some()));
    });
}

#[test]
fn a_snapshot_of_another_group_or_cluster_is_refused() {
    let elsewhere = elsewhere();
    perform(async move {
        let (_node, donated) = donor(GROUP, &[id(2), id(3)]).await;
        let (_other, foreign) = donor(GroupId(4), &[id(2), id(3)]).await;
        let door = Door::open(JOINS, None).await;
        door.refuses_in_the_end("another group's", &Sent::of(&foreign), |_| ()).await;
        door.refuses_in_the_end("another cluster's", &elsewhere, |_| ()).await;
        door.installs(&Sent::of(&donated)).await;
    });
}

/// A snapshot of a group of the same name in another cluster, under keys that happen to be the same.
fn elsewhere() -> Sent {
    let (node, machine) = World::new(1).founded();
    node.commit(&machine, 2, &world::entry(at(0), &[world::command(&[put(b"k", b"v")])])).unwrap();
    node.flush(&machine);
    Sent::of(&machine)
}

#[test]
fn a_snapshot_whose_listing_is_not_the_one_that_was_offered_is_refused() {
    perform(async {
        let (_node, donated) = donor(GROUP, &[id(2), id(3)]).await;
        let Sent { checkpoint, offer } = Sent::of(&donated);
        let mut fewer: Membership = offer.membership.clone();
        fewer.seats.remove(&JOINS);
        let door = Door::open(JOINS, None).await;
        let offers = [
            ("an earlier entry", SnapshotOffer { last: Some(id(2)), ..offer.clone() }),
            ("a later entry", SnapshotOffer { last: Some(id(4)), ..offer.clone() }),
            ("an earlier stamp", SnapshotOffer { stamp: engine::Stamp(offer.stamp.0 - 1), ..offer.clone() }),
            ("a later stamp", SnapshotOffer { stamp: offer.stamp.next(), ..offer.clone() }),
            ("another membership", SnapshotOffer { membership: fewer, ..offer.clone() }),
            ("a membership of elsewhere", SnapshotOffer { membership_at: Some(id(2)), ..offer.clone() }),
        ];
        for (what, offer) in offers {
            let sent = Sent { checkpoint: checkpoint.clone(), offer };
            door.refuses_in_the_end(what, &sent, |_| ()).await;
        }
        door.installs(&Sent { checkpoint, offer }).await;
    });
}

#[test]
fn a_transfer_offered_twice_or_ended_without_one_ends_no_other() {
    perform(async {
        let (_node, donated) = donor(GROUP, &[id(2), id(3)]).await;
        let sent = Sent::of(&donated);
        let door = Door::open(JOINS, None).await;
        let finish = |transfer| Message::SnapshotFinish(SnapshotFinish { transfer });
        for transfer in [0, 1, u64::MAX] {
            door.refuses_to_hear("nothing was offered", finish(transfer), Refusal::Overloaded).await;
        }
        let first = door.offered(&sent.offer).await;
        let pieces = sent.pieces(&first);
        door.takes(pieces[..1].to_vec()).await;
        let second = door.offered(&sent.offer).await;
        assert!(second.transfer != first.transfer);
        let late = Message::SnapshotPiece(pieces[1].clone());
        door.refuses_to_hear("a piece of the first", late, Refusal::Overloaded).await;
        door.refuses_to_hear("the end of the first", finish(first.transfer), Refusal::Overloaded).await;
        // The second goes on where the first was, and ends.
        assert_eq!(sent.pieces(&second).len() + 1, pieces.len());
        door.takes(sent.pieces(&second)).await;
        door.refuses_to_hear("the end of the first", finish(first.transfer), Refusal::Overloaded).await;
        let done = Message::SnapshotDone(SnapshotDone { vote: vote() });
        assert_eq!(door.finishes(second.transfer).await, done);
        door.refuses_to_hear("ended twice", finish(second.transfer), Refusal::Overloaded).await;
        assert_eq!(door.running.group(GROUP).machine().applied().applied, sent.offer.last);
    });
}

#[test]
fn a_snapshot_older_than_what_is_here_or_against_it_is_refused() {
    perform(async {
        let (_node, donated) = donor(GROUP, &[id(2), id(3)]).await;
        let (_other, older) = donor(GROUP, &[id(2)]).await;
        let (older, sent) = (Sent::of(&older), Sent::of(&donated));
        let door = Door::open(JOINS, None).await;
        door.installs(&sent).await;
        let offer = Message::SnapshotOffer(older.offer.clone());
        door.refuses_to_hear("older", offer, Refusal::Overloaded).await;
        // The same again is nothing new, until entries come while it is on its way.
        let wants = door.offered(&sent.offer).await;
        assert_eq!(wants.files, []);
        let entries = vec![door.command(4, b"zgoes on"), door.command(5, b"zgoes on")];
        let append = Append { vote: vote(), prev: Some(id(3)), entries, commit: Some(id(5)) };
        let answer = door.says(Message::Append(append)).await;
        assert_eq!(answer, Message::AppendReply(AppendReply::Accepted));
        door.running.until("applied", |running| running.get(GROUP, b'z').is_some()).await;
        let finish = Message::SnapshotFinish(SnapshotFinish { transfer: wants.transfer });
        door.refuses_to_hear("older by now", finish, Refusal::Overloaded).await;
        // It says of the last place that is committed here that another entry stands there.
        let against = LogId { term: 8, ..id(5) };
        let (_third, contrary) = donor(GROUP, &[id(2), id(3), id(4), against]).await;
        let mut contrary = Sent::of(&contrary);
        contrary.offer.vote.term = 8;
        door.refuses_in_the_end("another entry of the same place", &contrary, |_| ()).await;
        let (_fourth, newer) = donor(GROUP, &[id(2), id(3), id(4), id(5), id(6)]).await;
        door.installs(&Sent::of(&newer)).await;
    });
}

/// A start takes the further of two tablets of a group: of a snapshot that is refused there never is one.
#[test]
fn a_snapshot_that_is_refused_is_not_taken_by_a_start_wherever_the_power_goes() {
    let donor = World::new(1);
    let (node, donated) = donor.founded();
    node.commit(&donated, 2, &world::entry(at(0), &[world::command(&[put(b"k", b"v")])])).unwrap();
    node.flush(&donated);
    let parcel = donated.checkpoint().unwrap();
    let base = World::new(2);
    drop(base.founded());
    for crash_at in 1.. {
        let world = base.copy(crash_at);
        let (node, machine) = world.reopen();
        let spooled = world::carry(&machine, &parcel, 4_096).unwrap();
        let Parcel::Spooled(dir, note) = spooled else { unreachable!() };
        let crash_at = Some(world.disk.operations() + crash_at);
        world.disk.set_faults(Faults { crash_at, ..Faults::default() });
        let refused = machine.stage_if(note.applied, &dir, &|_| Some("not this one"));
        assert!(refused.is_err());
        let has_crashed = world.disk.is_down();
        world.disk.crash();
        drop((node, machine));
        world.disk.restart();
        assert_eq!(world.reopen().1.applied().applied, Some(FIRST));
        if !has_crashed {
            break;
        }
    }
}
