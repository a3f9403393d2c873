//! What every replica holds in the end: what was acknowledged is there, nothing else is, and range by range all hold the same.

use crate::check::ranges::{self, Told};
use crate::check::{Violation, durable};
use crate::history::Key;
use crate::workload::{Stage, group_of};
use crate::world::keys::TENANTS;
use crate::world::node::{Node, World};
use crate::world::operations::{ACCOUNTS, LISTS, REGISTERS, number};
use bytes::Bytes;
use engine::Stamp;
use engine::tablet::view::{Entry, Scan, View};
use raft::compare::question::{self, Asked, Question};
use raft::compare::tell::tell;
use raft::compare::walk::{Ask, Walk};
use raft::machine::Machine;
use raft::machine::once;
use raft::machine::range_digest::{RangeDigest, RowRange, RowSum, SeenRow};
use raft::net::message::Message;
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows read at once.
const PAGE_ROWS: usize = 500;
/// Ranges that a collection is cut into.
const RANGES: usize = 8;

/// Holds the state of every replica that runs against what was acknowledged, and against each other. Whoever calls knows that all have
/// applied the same.
pub async fn look(stage: &Stage, world: &World) {
    for group in (1..=u64::from(stage.swarm.groups)).map(GroupId) {
        let machines: Vec<_> = {
            let nodes = stage.nodes.borrow();
            let of =
                |node: &Node| Some((node.id, node.running()?.registry.get(group)?.group().machine().clone()));
            nodes.iter().filter_map(of).collect()
        };
        for (node, machine) in &machines {
            let found = registers(machine).and_then(|(at, found)| {
                let mut oracle = stage.oracle.borrow_mut();
                let keys: Vec<Key> =
                    oracle.keys().filter(|key| group_of(&stage.swarm, key.0) == group).collect();
                world.overseer.saw("replicas held against what was acknowledged");
                durable::judge(&mut oracle, at, &keys, &found)
            });
            if let Err(mut violation) = found {
                violation.what = format!("{node}, {group}: {}", violation.what);
                world.overseer.accuse(violation);
            }
        }
        let machines: Vec<_> = machines.into_iter().map(|(_, machine)| machine).collect();
        if let Err(violation) = walk(group, &machines).await {
            world.overseer.accuse(violation);
        }
        world.overseer.saw("replicas compared as a server does it");
        if let Err(violation) = compare(&machines) {
            world.overseer.accuse(violation);
        }
        world.overseer.saw("ranges compared");
    }
}

fn broken(error: impl std::fmt::Display) -> Violation {
    Violation::broken("durable", format!("the state of a replica cannot be read: {error}"))
}

/// All rows of a collection, each once.
fn rows(view: &View, collection: engine::ids::CollectionId) -> Result<Vec<Entry>, Violation> {
    let scan = Scan { limit: PAGE_ROWS, ..Scan::all(TENANTS[0], collection) };
    let (mut rows, mut resume) = (Vec::new(), None);
    loop {
        let page = view.scan(&scan, resume.as_ref()).map_err(broken)?;
        rows.extend(page.entries);
        match page.next {
            Some(next) => resume = Some(next),
            None => return Ok(rows),
        }
    }
}

type Registers = (Stamp, BTreeMap<Key, (Stamp, u64)>);

/// Every register that a replica holds, as a reader sees it now.
fn registers(machine: &Machine) -> Result<Registers, Violation> {
    let view = machine.tablet().view(0).map_err(broken)?;
    let of = |entry: &Entry| {
        let key = entry.key.as_slice().try_into().ok().map(u64::from_be_bytes)?;
        Some((Key(key), (entry.found.stamp, number(&entry.found.value)?)))
    };
    let found = rows(&view, REGISTERS)?;
    Ok((view.at(), found.iter().filter_map(of).collect()))
}

/// Every replica says of the same ranges what stands in them; and what it says is what a reader finds there.
fn compare(machines: &[Arc<Machine>]) -> Result<(), Violation> {
    let Some((first, others)) = machines.split_first() else { return Ok(()) };
    // A leader may have closed the time since: that writes nothing, and not all have heard of it.
    let at = machines.iter().map(|machine| machine.applied().last).min();
    for collection in [REGISTERS, LISTS, ACCOUNTS, once::COLLECTION] {
        let all = RowRange::all(TENANTS[0], collection);
        let cut = first.range_digest(at, &all, RANGES).map_err(broken)?;
        let asked: Vec<RowRange> = cut.ranges.iter().map(|one| one.range.clone()).collect();
        let mut told = vec![Told { ranges: cut.ranges, found: found(first, &all, cut.at)? }];
        for other in others {
            let digests = other.digests_of(Some(cut.at), &asked).map_err(broken)?;
            told.push(Told { ranges: digests.ranges, found: found(other, &all, cut.at)? });
        }
        ranges::check(&told)?;
    }
    Ok(())
}

/// Replicas that are asked as over the wire; the first is replica 1.
struct Near<'a>(GroupId, &'a [Arc<Machine>]);

fn wired(message: &Message) -> Option<Message> {
    let mut body = Vec::new();
    message.append_body(&mut body);
    Message::decode(message.kind(), &Bytes::from(body)).ok()
}

impl Ask for Near<'_> {
    async fn ask(&self, replica: ReplicaId, what: Question) -> Option<question::Told> {
        let asked = wired(&Message::AskState(Asked { group: self.0, replica, what }))?;
        let Message::AskState(asked) = asked else { return None };
        let machine = self.1.get(usize::try_from(replica.0).ok()?.checked_sub(1)?)?.clone();
        match wired(&Message::State(tell(machine, asked.what).await))? {
            Message::State(told) => Some(told),
            _ => None,
        }
    }
}

/// The comparison that a server makes of its replicas finds all of their rows, and no difference. Whoever is least far begins: the others
/// know what it says.
async fn walk(group: GroupId, machines: &[Arc<Machine>]) -> Result<(), Violation> {
    let mut machines = machines.to_vec();
    machines.sort_by_key(|machine| machine.applied().last);
    let Some(first) = machines.first() else { return Ok(()) };
    let mut rows = 0;
    for collection in [REGISTERS, LISTS, ACCOUNTS, once::COLLECTION] {
        rows += found(first, &RowRange::all(TENANTS[0], collection), first.applied().last)?.sum.rows;
    }
    let mut walk = Walk::new((1..).map(ReplicaId).take(machines.len()));
    while walk.step(&Near(group, &machines), &|tenant| tenant != TENANTS[0]).await {}
    ranges::check_report(walk.report(), machines.len(), rows)
}

/// What a reader finds in a range, added up without the help of whoever is judged.
fn found(machine: &Machine, range: &RowRange, at: Stamp) -> Result<RangeDigest, Violation> {
    let view = machine.tablet().view(at.ms()).map_err(broken)?;
    let sum = rows(&view, range.collection)?.iter().fold(RowSum::default(), |sum, entry| {
        let found = &entry.found;
        let (value, stamp, expires_ms) = (&found.value[..], found.stamp, found.expires_ms);
        sum.and(RowSum::of(range, &SeenRow { user_key: &entry.key, value, stamp, expires_ms }))
    });
    Ok(RangeDigest { range: range.clone(), sum })
}
