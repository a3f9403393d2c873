//! What must be so in the end: the cluster serves, all replicas of a group say the same of what became of its entries, a delayed node
//! holds one cut, a tenant that is gone is gone, and nothing of a tenant can be read on any disk.

use super::client::{Why, within};
use super::operator::{DOOMED, DOOMED_WORD};
use super::stage::Stage;
use super::workload::One;
use crate::check::Violation;
use crate::processes::finals::written;
use crate::world::clock::EPOCH_MS;
use engine::Stamp;
use proto::v1;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::time::Duration;

/// After the last fault clients are served within so many milliseconds.
pub const SERVED_MS: u64 = 10_000;
/// So long replicas may take to have applied the same, in milliseconds.
const SAME_MS: u64 = 60_000;
/// A delayed node is behind by this at most beside its delay, in milliseconds: what clocks and ticks may add.
const SLACK_MS: u64 = 500;

/// What every replica of every group holds now.
type States = BTreeMap<GroupId, Vec<(u64, u64, u64)>>;

/// The cluster serves a tenant, within its time.
///
/// # Errors
/// Broken: it does not.
pub async fn serves(stage: &Stage, one: &mut One) -> Result<u64, Violation> {
    let (since, place) = (stage.ground.time.ms(), one.client.place("alive"));
    let id = one.client.write_id(EPOCH_MS + since);
    let asked = one.client.ask((SERVED_MS, true), |mut kv, left| {
        let (place, id) = (place.clone(), id.clone());
        let (key, value) = (b"here"[..].into(), b"yes"[..].into());
        let put = v1::PutRequest { place, key, value, ttl_ms: 0, condition: None, id };
        async move { kv.put(within(put, left)).await }
    });
    match asked.await {
        Ok(_) => Ok(stage.ground.time.ms() - since),
        Err(why) => {
            let tenant = &one.client.tenant;
            Err(Violation::broken(
                "liveness",
                format!("{tenant} is not served within {SERVED_MS} ms: {why:?}"),
            ))
        }
    }
}

fn states(stage: &Stage) -> States {
    let mut states = States::new();
    for node in stage.nodes.borrow().iter().filter(|node| node.late_ms == 0) {
        let Some(running) = node.server().and_then(|server| server.running().ok().cloned()) else { continue };
        for seated in running.replicas() {
            let group = seated.receiver.group();
            let note = group.machine().applied();
            let applied = note.applied.map_or(0, |id| id.index);
            states.entry(group.id()).or_default().push((node.id.0, applied, note.digest.whole()));
        }
    }
    states
}

fn are_same(states: &States) -> bool {
    let is_same = |all: &Vec<(u64, u64, u64)>| all.iter().all(|one| one.1 == all[0].1);
    !states.is_empty() && states.values().all(is_same)
}

/// All replicas of a group come to have applied the same, and say the same of it.
///
/// # Errors
/// Broken.
pub async fn agree(stage: &Stage) -> Result<u64, Violation> {
    let mut found = states(stage);
    for _ in 0..SAME_MS / 20 {
        if are_same(&found) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        found = states(stage);
    }
    if !are_same(&found) {
        let what = format!("replicas have not applied the same within {SAME_MS} ms: {found:?}");
        return Err(Violation::broken("liveness", what));
    }
    let mut compared = 0;
    for (group, all) in found {
        compared += all.len() as u64;
        if let Some(other) = all.iter().find(|one| one.2 != all[0].2) {
            let what =
                format!("{group}: node {} and node {} have applied the same and differ", all[0].0, other.0);
            return Err(Violation::broken("digest", what));
        }
    }
    Ok(compared)
}

/// Nothing is let through by a delayed node before its time, and nothing is applied beyond what is.
///
/// # Errors
/// Broken: it is early.
pub fn is_late(stage: &Stage) -> Result<bool, Violation> {
    let mut is_seen = false;
    for node in stage.nodes.borrow().iter().filter(|node| node.late_ms > 0) {
        let Some(running) = node.server().and_then(|server| server.running().ok().cloned()) else { continue };
        let Some(keeper) = running.late() else { continue };
        let (state, now_ms) = (keeper.state(), EPOCH_MS + stage.ground.time.ms());
        let gate = state.gate;
        let off_ms = node.machine.clock.worst_ms();
        let due = Stamp::end_of_ms(now_ms.saturating_sub(node.late_ms) + off_ms);
        let broken = |what: String| Err(Violation::broken("delayed", format!("{}: {what}", node.name)));
        if gate > due {
            return broken(format!("its gate is at {gate}, and only {due} is due"));
        }
        for seated in running.replicas() {
            let group = seated.receiver.group();
            let last = group.machine().applied().last;
            // A replica that had nothing takes what there is: the node says that it is no cut until the gate has passed that.
            let is_void = gate < state.void_until;
            if group.id() != GroupId::META && last > gate && !is_void {
                return broken(format!("{} has applied {last}, and the gate is at {gate}", group.id()));
            }
        }
        is_seen = true;
    }
    Ok(is_seen)
}

/// A delayed node comes to have all that was written, when its time has come.
///
/// # Errors
/// Broken: it has not, long after.
pub async fn catches_up(stage: &Stage, newest: Stamp) -> Result<u64, Violation> {
    let late: Vec<(String, u64)> = stage
        .nodes
        .borrow()
        .iter()
        .filter(|node| node.late_ms > 0)
        .map(|node| (node.name.clone(), node.late_ms))
        .collect();
    let Some(longest_ms) = late.iter().map(|(_, ms)| *ms).max() else { return Ok(0) };
    let until = stage.ground.time.ms() + 3 * longest_ms + 30_000 + SLACK_MS;
    while stage.ground.time.ms() < until {
        let has_all = stage.nodes.borrow().iter().filter(|node| node.late_ms > 0).all(|node| {
            let running = node.server().and_then(|server| server.running().ok().cloned());
            running.and_then(|running| Some(running.late()?.state().gate >= newest)).unwrap_or(false)
        });
        if has_all {
            return Ok(late.len() as u64);
        }
        is_late(stage)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Violation::broken("delayed", format!("{late:?} have not let through {newest} long after its time")))
}

/// Nothing of a tenant can be read on any disk or in any catalog.
///
/// # Errors
/// Broken: it can; or the search finds nothing where it must.
pub fn nothing_in_the_open(stage: &Stage, words: &[String]) -> Result<u64, Violation> {
    let needles: Vec<Vec<u8>> = words.iter().flat_map(|word| written(word)).collect();
    let is_in = |bytes: &[u8]| is_readable(bytes, &needles);
    if !needles.iter().all(|needle| is_in(&[b"x", &needle[..], b"y"].concat())) {
        return Err(Violation::broken("canary", "the search does not find what is there"));
    }
    let mut searched = 0;
    for node in stage.nodes.borrow().iter() {
        for (path, bytes) in node.machine.disk.files() {
            searched += bytes.len() as u64;
            if is_in(&bytes) {
                let what = format!("bytes of a tenant can be read in {}", path.display());
                return Err(Violation::broken("canary", what));
            }
        }
        for (key, value) in node.machine.catalog.all() {
            searched += value.len() as u64;
            if is_in(&value) || is_in(&key) {
                let what = format!("bytes of a tenant can be read in the catalog of {}", node.name);
                return Err(Violation::broken("canary", what));
            }
        }
    }
    Ok(searched)
}

/// Whether one of the words can be read in these bytes.
#[must_use]
pub fn is_readable(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles.iter().any(|needle| contains(bytes, needle))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        if bytes[from + at + 1..].starts_with(rest) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// A tenant that was dropped for good is served no more, by anybody.
///
/// # Errors
/// Broken: it is.
pub async fn is_gone(one: &mut One) -> Result<(), Violation> {
    one.client.tenant = DOOMED.to_owned();
    let place = one.client.place("last");
    let asked = one.client.ask((2_000, false), |mut kv, left| {
        let key = DOOMED_WORD.as_bytes().into();
        let asked = v1::GetRequest { place: place.clone(), key, consistency: None };
        async move { kv.get(within(asked, left)).await }
    });
    match asked.await {
        Err(Why::Refused(_) | Why::NotDone) => Ok(()),
        told => Err(Violation::broken("apart", format!("a tenant that is gone is answered: {told:?}"))),
    }
}
