//! What goes wrong with nodes, one thing after the other. Each leaves all nodes running again.

use super::cluster::{Cluster, LOOK};
use super::events::{Events, Lane};
use super::fault::{Deck, FAULTS, Fault, Tally};
use super::rot;
use crate::seed::Dice;
use node::cmd::Failure;
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Within which a cluster is whole again after one fault, so that the next one begins with something to break, in milliseconds.
const WHOLE_MS: u64 = 60_000;
/// After which links are left alone until it is, in milliseconds.
const FINE_MS: u64 = 10_000;
/// Milliseconds between two faults.
const REST_MS: std::ops::RangeInclusive<u64> = 200..=2_500;
/// How long a node that runs on rotten files is left alone, in milliseconds.
const ROTTEN_MS: u64 = 6_000;
/// How long all replicas of a node may take to leave it, in milliseconds.
const DRAINED_MS: u64 = 90_000;
/// Words with which a node says that its files are not what they were.
const DAMAGE: [&str; 6] = ["amage", "checksum", "tamper", "rotten", "malformed", "does not verify"];

/// Breaks nodes.
pub struct Nemesis<'a> {
    /// Whose.
    pub cluster: &'a mut Cluster,
    /// What has happened.
    pub tally: Tally,
    /// Keeps links well while it is held.
    pub fine: Arc<Mutex<()>>,
    dice: Dice,
    deck: Deck,
}

impl<'a> Nemesis<'a> {
    /// One with these dice.
    #[must_use]
    pub fn new(cluster: &'a mut Cluster, dice: Dice) -> Self {
        if cluster.small.is_empty() {
            cluster.skipped.entry(Fault::Full).or_insert_with(|| "no small file system".to_owned());
        }
        let tally = Tally { skipped: cluster.skipped.clone(), ..Tally::default() };
        let is_possible = |fault: &Fault| !fault.is_of_links() && !tally.skipped.contains_key(fault);
        let deck = Deck::new(FAULTS.into_iter().filter(is_possible).collect(), dice.clone());
        Self { cluster, tally, fine: Arc::default(), dice, deck }
    }

    fn events(&self) -> Events {
        self.cluster.events.clone()
    }

    /// Breaks nodes until `fault_ms` have passed and each kind has come, or half as much again has passed. In between, once, all nodes
    /// go on with `newer`.
    ///
    /// # Errors
    /// Something that must go well does not.
    pub async fn run(&mut self, fault_ms: u64, newer: Option<PathBuf>) -> Result<(), Failure> {
        let (since, begun_ms) = (self.cluster.events.since, self.cluster.events.since.ms());
        let mut newer = newer;
        loop {
            let passed_ms = since.ms() - begun_ms;
            let is_enough = passed_ms >= fault_ms && self.deck.is_through() && newer.is_none();
            if is_enough || passed_ms >= fault_ms + fault_ms / 2 {
                return Ok(());
            }
            let rest_ms = self.dice.within(&REST_MS);
            tokio::time::sleep(Duration::from_millis(rest_ms)).await;
            if passed_ms >= fault_ms / 3
                && let Some(program) = newer.take()
            {
                self.upgrade(program).await?;
            } else if let Some(fault) = self.deck.draw() {
                self.strike(fault).await?;
            }
            self.mend().await?;
        }
    }

    /// Does one.
    async fn strike(&mut self, fault: Fault) -> Result<(), Failure> {
        match fault {
            Fault::Crash => self.crash(1, false).await?,
            Fault::CrashAll => self.crash(usize::MAX, false).await?,
            Fault::LosePower => self.crash(1, true).await?,
            Fault::LosePowerAll => self.crash(usize::MAX, true).await?,
            Fault::Pause => self.pause().await?,
            Fault::Restart => self.restart(1).await?,
            Fault::Rolling => self.restart(usize::MAX).await?,
            Fault::Storm => self.storm().await?,
            Fault::Full => self.fill().await?,
            Fault::Rot => self.rot().await?,
            Fault::Clock => self.clock().await?,
            _ => return Ok(()),
        }
        self.tally.hit(fault);
        Ok(())
    }

    /// So many places, in any order.
    fn some(&mut self, count: usize) -> Vec<usize> {
        let mut rest: Vec<usize> = self.cluster.places.iter().copied().collect();
        let mut some = vec![];
        while !rest.is_empty() && some.len() < count {
            let at = self.dice.below(rest.len() as u64) as usize;
            some.push(rest.swap_remove(at));
        }
        some
    }

    async fn wait(&mut self, most_ms: u64) {
        let ms = self.dice.below(most_ms + 1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Stops some short, with their power or without, and starts them again.
    async fn crash(&mut self, count: usize, loses_power: bool) -> Result<(), Failure> {
        let places = self.some(count);
        for place in &places {
            self.stop_short(*place, loses_power)?;
        }
        self.wait(2_500).await;
        for place in places {
            self.cluster.start(place)?;
            self.wait(200).await;
        }
        Ok(())
    }

    fn stop_short(&mut self, place: usize, loses_power: bool) -> Result<(), Failure> {
        self.tally.kills += 1;
        if !loses_power {
            self.events().note(Lane::Node(place), "stopped short");
            return self.cluster.crash(place);
        }
        let lost = self.cluster.lose_power(place, &mut self.dice)?;
        let what =
            format!("loses power, and {} bytes of {} files, {} names", lost.bytes, lost.files, lost.names);
        self.events().note(Lane::Node(place), what);
        self.tally.lost_syncs += u64::from(lost.is_something());
        self.tally.lost_bytes += lost.bytes;
        self.tally.lost_names += lost.names;
        Ok(())
    }

    /// One after the other, also while they start.
    async fn storm(&mut self) -> Result<(), Failure> {
        let storm = self.events().begin(Lane::Run, "a storm of restarts");
        for _ in 0..3 + self.dice.below(5) {
            let count = 1 + self.dice.below(2) as usize;
            for place in self.some(count) {
                let loses_power = self.dice.is_lucky(300);
                self.stop_short(place, loses_power)?;
                self.wait(300).await;
                self.cluster.start(place)?;
            }
            self.wait(1_200).await;
        }
        self.events().end(storm);
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), Failure> {
        let count = 1 + self.dice.below(2) as usize;
        let places = self.some(count);
        let mut begun = vec![];
        for place in &places {
            begun.push(self.events().begin(Lane::Node(*place), "stands still"));
            self.cluster.world.nodes[*place].signal(Signal::STOP)?;
        }
        let most_ms = if self.dice.is_lucky(500) { 800 } else { 6_000 };
        self.wait(most_ms).await;
        for place in places {
            self.cluster.world.nodes[place].signal(Signal::CONT)?;
        }
        begun.into_iter().for_each(|one| self.events().end(one));
        Ok(())
    }

    /// Stops nodes in order, one after the other, each when the one before is back.
    async fn restart(&mut self, count: usize) -> Result<(), Failure> {
        for place in self.some(count) {
            let begun = self.events().begin(Lane::Node(place), "is told to stop, and started again");
            self.cluster.stop(place).await?;
            self.cluster.start(place)?;
            self.events().end(begun);
            self.mend().await?;
        }
        Ok(())
    }

    async fn upgrade(&mut self, program: PathBuf) -> Result<(), Failure> {
        for place in self.some(usize::MAX) {
            let begun = self.events().begin(Lane::Node(place), "is upgraded");
            self.cluster.stop(place).await?;
            self.cluster.programs.insert(place, program.clone());
            self.cluster.start(place)?;
            self.mend().await?;
            self.events().end(begun);
            self.tally.upgraded += 1;
        }
        self.cluster.world.program = program;
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let Some((place, disk)) = self.cluster.small.first_key_value() else { return Ok(()) };
        let (place, begun) = (*place, self.cluster.events.begin(Lane::Node(*place), "has a full disk"));
        disk.fill()?;
        self.wait(6_000).await;
        if let Some(disk) = self.cluster.small.get(&place) {
            disk.empty()?;
        }
        self.events().end(begun);
        // A log that met the full disk is fenced, and its node ends: an operator starts it again.
        if !self.cluster.world.nodes[place].runs() {
            self.events().note(Lane::Node(place), "has ended, and is started again");
            self.cluster.crash(place)?;
            self.cluster.start(place)?;
        }
        Ok(())
    }

    async fn clock(&mut self) -> Result<(), Failure> {
        let Some(place) = self.some(1).pop() else { return Ok(()) };
        let most_ms = if self.dice.is_lucky(500) { 600 } else { 20_000 };
        let ahead_ms = i64::try_from(self.dice.below(most_ms)).unwrap_or(0)
            * if self.dice.is_lucky(500) { 1 } else { -1 };
        let begun = self.events().begin(Lane::Node(place), format!("its clock is {ahead_ms} ms ahead"));
        fs::write(self.cluster.clock_file(place), ahead_ms.to_string())?;
        self.wait(8_000).await;
        fs::write(self.cluster.clock_file(place), "0")?;
        self.events().end(begun);
        Ok(())
    }

    /// Lets files of a stopped node rot, lets it run, and replaces it.
    async fn rot(&mut self) -> Result<(), Failure> {
        let safe = |place: &usize| !self.cluster.small.contains_key(place);
        let places: Vec<usize> = self.cluster.places.iter().copied().filter(safe).collect();
        let Some(place) = self.dice.pick(&places).copied() else { return Ok(()) };
        self.cluster.stop(place).await?;
        let told_before = self.cluster.log(place).len();
        let data = self.cluster.world.nodes[place].data.clone();
        for _ in 0..1 + self.dice.below(3) {
            if let Some(rotted) = rot::rot(&data, &mut self.dice)? {
                let file = rotted.file.strip_prefix(&data).unwrap_or(&rotted.file).display();
                let what = format!("{} bytes of {file} rot at {}", rotted.bytes, rotted.offset);
                self.events().note(Lane::Node(place), what);
            }
        }
        self.cluster.start(place)?;
        let mut left_ms = ROTTEN_MS;
        while left_ms > 0 && self.cluster.world.nodes[place].runs() {
            tokio::time::sleep(LOOK).await;
            left_ms = left_ms.saturating_sub(100);
        }
        let log = self.cluster.log(place);
        let told = DAMAGE.iter().any(|word| log.get(told_before..).unwrap_or_default().contains(word));
        let (count, what) = match (self.cluster.world.nodes[place].runs(), told) {
            (false, _) => (&mut self.tally.rot_refused, "refuses to run on it"),
            (true, true) => (&mut self.tally.rot_told, "runs, and tells of it"),
            (true, false) => (&mut self.tally.rot_unmet, "runs, and has not met it"),
        };
        *count += 1;
        self.events().note(Lane::Node(place), what);
        self.replace(place).await
    }

    /// Lets a new node take the place of one, which goes for good.
    async fn replace(&mut self, place: usize) -> Result<(), Failure> {
        let fine = self.fine.clone();
        let _fine = fine.lock().await;
        let begun = self.events().begin(Lane::Node(place), "is replaced");
        let id = self.cluster.id(place).await?;
        self.cluster.crash(place)?;
        self.cluster.places.remove(&place);
        let new = self.cluster.join(false).await?;
        self.events().note(Lane::Node(new), "joins in its place");
        let others: Vec<usize> = self.cluster.places.iter().copied().collect();
        let admin = self.cluster.admin(&others)?;
        let drains = async |_: &mut Cluster| admin.admin().drain(id).await.ok();
        self.cluster.until("the node is drained", DRAINED_MS, drains).await?;
        let removes = async |_: &mut Cluster| admin.admin().remove(id).await.ok();
        self.cluster.until("the node is empty, and removed", DRAINED_MS, removes).await?;
        self.events().end(begun);
        self.tally.replaced += 1;
        Ok(())
    }

    /// Waits until all groups have a leader and their voters again.
    async fn mend(&mut self) -> Result<(), Failure> {
        let begun_ms = self.cluster.events.since.ms();
        let (fine, mut held) = (self.fine.clone(), None);
        loop {
            if held.is_none() && self.cluster.events.since.ms() > begun_ms + FINE_MS {
                held = fine.try_lock().ok();
            }
            if let Some(place) = self.cluster.ended().first() {
                return Err(format!("n{} has ended by itself: see its log", place + 1).into());
            }
            if self.cluster.settled().await.is_some() {
                return Ok(());
            }
            if self.cluster.events.since.ms() > begun_ms + WHOLE_MS {
                return Err("the cluster is not whole again".into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
