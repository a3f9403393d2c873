//! Every figure moves by what was done, and by nothing else: nodes at work in one process, and what they counted.

mod commands;
mod lives;
mod log;
mod peers;
mod reads;

use crate::cluster::{GROUP, Running, leader};
use engine::stats::FigureKind;
use raft::stats::{Figures, Stats};
use std::collections::BTreeMap;
use std::time::Duration;

async fn rest(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// By name, without `dewpond_`: by how much each counter of some rooms has risen since `before`. Those that have not are left out.
fn risen(before: &Figures, stats: &Stats, rooms: &[&str]) -> BTreeMap<&'static str, u64> {
    let now = stats.read();
    let both = before.rows().zip(now.rows()).filter(|(_, now)| now.kind == FigureKind::Counter);
    let risen = both.map(|(before, now)| {
        assert!(before.value <= now.value, "{} fell", now.name);
        (now.name.strip_prefix("dewpond_").unwrap(), now.value - before.value)
    });
    let is_wanted = |name: &str| rooms.iter().any(|room| name.starts_with(room));
    risen.filter(|(name, by)| *by > 0 && is_wanted(name)).collect()
}

fn figures(running: &Running) -> Figures {
    running.offline.log.stats().read()
}

/// Where `running` was, and what it has counted since in some rooms.
fn since(before: &Figures, running: &Running, rooms: &[&str]) -> BTreeMap<&'static str, u64> {
    risen(before, running.offline.log.stats(), rooms)
}

/// The one that leads, and another.
async fn two(running: &[Running]) -> (&Running, &Running) {
    let leads = leader(&running.iter().collect::<Vec<_>>()).await;
    let other = running.iter().find(|one| !one.group(GROUP).standing().is_leader).unwrap();
    (leads, other)
}
