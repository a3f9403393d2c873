//! The one node of a run whose disk is lost: bytes of it rot, it is put back to an earlier time, or a copy of it is started beside it. What
//! must hold: damage is found and mended, or the node refuses; an older disk is refused; of two nodes of one disk one ends. Who is lost
//! gives way to a new node, as an operator lets it.

use super::cluster::{admit, is_whole};
use super::image::Image;
use super::nemesis::Nemesis;
use super::node::WholeNode;
use super::rot::{self, Part};
use super::stage::Stage;
use crate::check::Violation;
use crate::seed::{Dice, Fault};

/// So long damage in tables may take to be found and mended, in milliseconds.
const MENDED_MS: u64 = 14_000;
/// So long a node may take to say that it does not run on its disk, in milliseconds.
const JUDGED_MS: u64 = 8_000;
/// So long two nodes of one disk may both go on before one has heard of the other, in milliseconds.
const BOTH_MS: u64 = 3_000;
/// Between two steps of a replacement, in milliseconds.
const STEP_MS: u64 = 500;
/// How long one of them waits for the meta group, in milliseconds.
const WAIT_MS: u64 = 2_000;

/// What has become of a disk.
enum Lost {
    /// Bytes of its tables have changed under it. In which life a scrub was asked for.
    RottenTables { until_ms: u64, asked: Option<u64> },
    /// Bytes of its log or its catalog have changed while it was down.
    Rotten { until_ms: u64 },
    /// It will be put back to what it was.
    Kept { image: Box<Image>, due_ms: u64 },
    /// It was put back. Whether it lacks what others count on.
    Older { until_ms: u64, is_short: bool },
    /// There is a second node of it, and since when both go on.
    Copied { until_ms: u64, copy: Box<WholeNode>, both_since_ms: Option<u64> },
}

/// How far the replacement of a node is.
enum Step {
    Join,
    Drain,
    Remove,
}

/// What is lost in a run.
#[derive(Default)]
pub struct Losses {
    lost: Option<(usize, Lost)>,
    replaced: Option<(usize, Step, u64)>,
    /// Nodes that went for good.
    gone: Option<usize>,
    joined: u64,
}

impl Losses {
    /// Whether nothing is under way.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lost.is_none() && self.replaced.is_none()
    }

    /// Whether somebody must be able to speak now: who alone knows that a disk is older.
    #[must_use]
    pub fn is_judging(&self) -> bool {
        matches!(self.lost, Some((_, Lost::Older { .. })))
    }

    /// Whether this node may say that its disk is not what it should be.
    #[must_use]
    pub fn excuses(&self, at: usize) -> bool {
        self.lost.as_ref().is_some_and(|(lost, _)| *lost == at) || self.is_out(at)
    }

    /// Whether this node does not come back.
    #[must_use]
    pub fn is_out(&self, at: usize) -> bool {
        self.gone == Some(at) || self.replaced.as_ref().is_some_and(|(out, ..)| *out == at)
    }
}

impl Nemesis {
    /// Lets the disk of a node be lost. False: not now.
    pub(super) async fn lose(&mut self, fault: Fault, at: usize, dice: &mut Dice) -> bool {
        let now_ms = self.stage.ground.time.ms();
        let may = {
            let nodes = self.stage.nodes.borrow();
            let node = &nodes[at];
            self.losses.is_over()
                && self.losses.gone.is_none()
                && node.late_ms == 0
                && node.server().is_some_and(|server| server.running().is_ok())
                && !self.is_anyone_drained()
                && is_whole(&nodes)
        };
        if !may {
            return false;
        }
        let lost = match fault {
            Fault::Rot => self.rots(at, dice).await,
            Fault::OldDisk => {
                let image = Box::new(self.stage.nodes.borrow()[at].image());
                Some(Lost::Kept { image, due_ms: now_ms + 500 + dice.below(2_500) })
            }
            _ => self.copies(at).await,
        };
        self.losses.lost = lost.map(|lost| (at, lost));
        self.losses.lost.is_some()
    }

    async fn rots(&mut self, at: usize, dice: &mut Dice) -> Option<Lost> {
        let now_ms = self.stage.ground.time.ms();
        let part = [Part::Tables, Part::Tables, Part::Log, Part::Catalog]
            [usize::try_from(dice.below(4)).unwrap_or(0)];
        if part != Part::Tables {
            self.crash(at, 300).await;
        }
        let places = 1 + dice.below(3);
        let rotted: Vec<String> = {
            let nodes = self.stage.nodes.borrow();
            let folder = nodes[at].folder();
            (0..places).filter_map(|_| rot::rot((&nodes[at].machine, &folder), part, dice)).collect()
        };
        self.stage.ground.diary.note("nemesis", format_args!("rot: {}", rotted.join("; ")));
        if rotted.is_empty() {
            return None;
        }
        self.stage.sees("disks that rotted");
        Some(match part {
            Part::Tables => Lost::RottenTables { until_ms: now_ms + MENDED_MS, asked: None },
            _ => Lost::Rotten { until_ms: now_ms + JUDGED_MS },
        })
    }

    async fn copies(&mut self, at: usize) -> Option<Lost> {
        let copy = self.stage.nodes.borrow()[at].copied();
        let mut copy = Box::new(copy.ok()?);
        if let Err(why) = copy.start_beside().await {
            self.stage.ground.diary.note(copy.id, format_args!("its copy does not start: {why}"));
            copy.end_beside().await;
            return None;
        }
        self.stage.sees("copies of a node");
        let until_ms = self.stage.ground.time.ms() + JUDGED_MS;
        Some(Lost::Copied { until_ms, copy, both_since_ms: None })
    }

    /// Looks what has become of the disk, and goes on with a replacement.
    pub(super) async fn look_at_lost(&mut self) {
        if let Some((at, lost)) = self.losses.lost.take() {
            let lost = match lost {
                Lost::RottenTables { until_ms, asked } => self.look_at_tables(at, until_ms, asked).await,
                Lost::Rotten { until_ms } => self.look_at_rotten(at, until_ms).await,
                Lost::Kept { image, due_ms } => self.put_back(at, image, due_ms).await,
                Lost::Older { until_ms, is_short } => self.look_at_older(at, until_ms, is_short).await,
                Lost::Copied { until_ms, copy, both_since_ms } => {
                    self.look_at_copy(at, until_ms, (copy, both_since_ms)).await
                }
            };
            self.losses.lost = lost.map(|lost| (at, lost));
        }
        self.go_on_replacing().await;
    }

    /// Damage in tables is mended from a peer, or the replica is given up; else the node goes.
    async fn look_at_tables(&mut self, at: usize, until_ms: u64, asked: Option<u64>) -> Option<Lost> {
        let (life, harm) = {
            let nodes = self.stage.nodes.borrow();
            (nodes[at].life(), nodes[at].server().map(|server| server.harm()))
        };
        if let Some([0, mended, given_up]) = harm
            && mended + given_up > 0
        {
            self.stage.sees(if given_up > 0 {
                "replicas given up for damage"
            } else {
                "tables mended from a peer"
            });
            return None;
        }
        if self.stage.ground.time.ms() > until_ms {
            if harm.is_some_and(|[damaged, ..]| damaged == 0) {
                self.stage.sees("rot that nobody met");
            }
            self.give_way(at, "damage that is not mended").await;
            return None;
        }
        // A scrub that a crash has ended is not begun again by itself.
        let asked = if asked != Some(life) && self.stage.scrub().await { Some(life) } else { asked };
        Some(Lost::RottenTables { until_ms, asked })
    }

    /// A node on a rotten disk refuses, or runs; in either case another one takes its place.
    async fn look_at_rotten(&mut self, at: usize, until_ms: u64) -> Option<Lost> {
        if self.refusal(at).is_some() {
            self.stage.sees("rotten disks refused");
            self.give_way(at, "a rotten disk").await;
            return None;
        }
        if self.stage.ground.time.ms() > until_ms {
            self.stage.sees("rotten disks run on");
            self.give_way(at, "a rotten disk, that it runs on").await;
            return None;
        }
        Some(Lost::Rotten { until_ms })
    }

    /// Puts an earlier disk back, once all others would answer.
    async fn put_back(&mut self, at: usize, image: Box<Image>, due_ms: u64) -> Option<Lost> {
        if self.stage.ground.time.ms() < due_ms || !self.all_answer(at) {
            return Some(Lost::Kept { image, due_ms });
        }
        let is_short = self.stage.nodes.borrow()[at].is_beyond(&image);
        let mut node = self.stage.take(at);
        node.crash().await;
        node.put_back(*image);
        self.stage.put(at, node);
        self.start(at).await;
        self.stage.sees("older disks");
        Some(Lost::Older { until_ms: self.stage.ground.time.ms() + JUDGED_MS, is_short })
    }

    async fn look_at_older(&mut self, at: usize, until_ms: u64, is_short: bool) -> Option<Lost> {
        if let Some(why) = self.refusal(at) {
            self.stage.ground.diary.note("nemesis", format_args!("it is refused: {why}"));
            self.stage.sees("older disks refused");
            self.give_way(at, "an older disk").await;
            return None;
        }
        let runs = self.stage.nodes.borrow()[at].server().is_some_and(|server| server.running().is_ok());
        if runs && is_short {
            let what = format!("node {} runs on an older disk, that lacks what it had acknowledged", at + 1);
            self.stage.accuse(Violation::broken("older", what));
        }
        if runs || self.stage.ground.time.ms() > until_ms {
            // It lacks nothing, or too few have answered: it goes all the same, as whoever runs it should let it.
            self.give_way(at, "an older disk, that was not refused").await;
            return None;
        }
        Some(Lost::Older { until_ms, is_short })
    }

    /// Of two nodes of one disk one ends soon.
    async fn look_at_copy(
        &mut self,
        at: usize,
        until_ms: u64,
        (mut copy, since_ms): (Box<WholeNode>, Option<u64>),
    ) -> Option<Lost> {
        let now_ms = self.stage.ground.time.ms();
        let goes_on = |node: &WholeNode| {
            node.server().is_some_and(|server| {
                server.is_up() && server.running().is_ok_and(|running| running.log().fenced().is_none())
            })
        };
        let is_own = goes_on(&self.stage.nodes.borrow()[at]);
        let both_since_ms = (is_own && goes_on(&copy)).then(|| since_ms.unwrap_or(now_ms));
        if both_since_ms.is_some_and(|since_ms| since_ms + BOTH_MS < now_ms) {
            let what = format!("two nodes of the disk of node {} go on for {BOTH_MS} ms", at + 1);
            self.stage.accuse(Violation::broken("copies", what));
        }
        let is_refused = copy.server().is_some_and(|server| !server.is_up());
        if !is_refused && now_ms < until_ms {
            return Some(Lost::Copied { until_ms, copy, both_since_ms });
        }
        let has_run = copy.server().is_some_and(|server| server.running().is_ok());
        self.stage.sees(if is_refused { "copies refused" } else { "copies that were not let in" });
        copy.end_beside().await;
        if has_run || self.refusal(at).is_some() {
            // What the copy has acknowledged is not on the disk of the other one.
            self.give_way(at, "a disk that a copy went on with").await;
        }
        None
    }

    /// Why a node does not run on its disk, if it says so.
    fn refusal(&self, at: usize) -> Option<String> {
        let of_start = self.unstarted.get(&at).cloned();
        let nodes = self.stage.nodes.borrow();
        of_start.or_else(|| nodes[at].server().and_then(|server| server.why_failed()))
    }

    /// Whether all other nodes would answer this one if it started now.
    fn all_answer(&self, at: usize) -> bool {
        let nodes = self.stage.nodes.borrow();
        let id = nodes[at].id;
        nodes.iter().filter(|node| node.id != id).all(|node| {
            let runs = node.server().is_some_and(|server| server.is_up() && server.running().is_ok());
            runs && !node.machine.hardware.pause.is_paused() && self.stage.ground.net.is_linked(node.id, id)
        })
    }

    /// A node goes for good, and another one takes its place.
    async fn give_way(&mut self, at: usize, why: &str) {
        let mut node = self.stage.take(at);
        self.stage.ground.diary.note(node.id, format_args!("gives way: {why}"));
        node.crash().await;
        self.stage.put(at, node);
        self.unstarted.remove(&at);
        self.losses.replaced = Some((at, Step::Join, 0));
    }

    async fn go_on_replacing(&mut self) {
        let now_ms = self.stage.ground.time.ms();
        let Some((at, step, _)) = self.losses.replaced.take_if(|(.., due_ms)| *due_ms <= now_ms) else {
            return;
        };
        let id = self.stage.ids()[at];
        let next = match step {
            Step::Join if self.joins().await => Step::Drain,
            Step::Drain if self.stage.drain(id, true).await => Step::Remove,
            Step::Remove if self.stage.remove(id).await => {
                self.losses.gone = Some(at);
                self.stage.sees("nodes replaced");
                return;
            }
            step => step,
        };
        self.losses.replaced = Some((at, next, self.stage.ground.time.ms() + STEP_MS));
    }

    async fn joins(&mut self) -> bool {
        let (ground, number) = (self.stage.ground.clone(), 20 + self.losses.joined);
        self.losses.joined += 1;
        let by = self.stage.server(self.losses.joined);
        let Some(by) = by else { return false };
        match admit(&ground, &by, (number, 0), WAIT_MS).await {
            Ok(node) => {
                self.stage.meets(node);
                true
            }
            Err(why) => {
                ground.diary.note("nemesis", format_args!("nobody joins: {why}"));
                false
            }
        }
    }
}

impl Stage {
    /// One more node is there.
    fn meets(&self, node: WholeNode) {
        self.known.borrow_mut().push((node.name.clone(), node.id));
        self.nodes.borrow_mut().push(node);
    }
}
