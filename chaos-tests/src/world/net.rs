//! The network of a run: delay, loss, duplicates, reordering, cuts, links that are half open or stand still. Frames with entries keep
//! their order in their lane unless one is lost: consensus leans on it. What has left a node travels on, whatever becomes of the node.

use super::diary::Diary;
use crate::seed::{Dice, Seed, Swarm};
use bytes::Bytes;
use engine::ids::NodeId;
use raft::net::heard::Voice;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use raft::pause::outside;
use raft::type_config::spawn;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// So much later a frame comes that others overtake, in milliseconds: behind a few heartbeats.
const OVERTAKEN_MS: u64 = 400;

/// Who takes frames at a node.
pub trait Serve: Send + Sync + 'static {
    /// Answers a frame of a peer; no answer is one too.
    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Option<Bytes>>;

    /// The log that speaks in its frames.
    fn voice(&self) -> Voice;

    /// An answer of this node has come to whoever asked: from now on its promise counts.
    fn is_heard(&self, asked: &Bytes, answer: &Bytes);
}

struct Rules {
    dice: Dice,
    delay_ms: RangeInclusive<u64>,
    loss_permille: u32,
    duplicate_permille: u32,
    reorder_permille: u32,
    /// Directions in which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Who hears no answers of whom, though what it says arrives.
    half_open: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which nothing moves before a moment: then all of it arrives.
    still: BTreeMap<(NodeId, NodeId), Instant>,
    /// No faults any more.
    is_calm: bool,
    /// Everything takes this much longer, in milliseconds.
    slow_ms: u64,
    /// Who listens, and in which life of its node.
    nodes: BTreeMap<NodeId, (u64, Arc<dyn Serve>)>,
    /// When the last frame of a lane arrives.
    arrivals: BTreeMap<(NodeId, NodeId, Lane), Instant>,
    sent: u64,
    lost: u64,
    doubled: u64,
    overtaken: u64,
}

/// The network of a run. Clones are the same.
#[derive(Clone)]
pub struct Net {
    rules: Arc<Mutex<Rules>>,
    diary: Diary,
}

/// One node's way into it, for one life of the node.
pub struct Plug {
    net: Net,
    node: NodeId,
    life: u64,
}

impl Net {
    /// The network of this configuration.
    #[must_use]
    pub fn new(swarm: &Swarm, diary: Diary) -> Self {
        let rules = Rules {
            dice: Dice::new(swarm.seed, "net"),
            delay_ms: swarm.delay_ms.clone(),
            loss_permille: swarm.loss_permille,
            duplicate_permille: swarm.duplicate_permille,
            reorder_permille: swarm.reorder_permille,
            cut: BTreeSet::new(),
            half_open: BTreeSet::new(),
            still: BTreeMap::new(),
            is_calm: false,
            slow_ms: 0,
            nodes: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            sent: 0,
            lost: 0,
            doubled: 0,
            overtaken: 0,
        };
        Self { rules: Arc::new(Mutex::new(rules)), diary }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way in of a node's next life.
    #[must_use]
    pub fn plug(&self, node: NodeId, life: u64) -> Arc<Plug> {
        Arc::new(Plug { net: self.clone(), node, life })
    }

    /// A node listens.
    pub fn listen(&self, node: NodeId, life: u64, serve: Arc<dyn Serve>) {
        self.rules().nodes.insert(node, (life, serve));
    }

    /// It is gone: what is on its way to it, and from it, never arrives.
    pub fn unplug(&self, node: NodeId) {
        self.rules().nodes.remove(&node);
    }

    /// Nothing passes from one to the other.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.rules().cut.insert((from, to));
    }

    /// Everything passes again, at its usual pace.
    pub fn heal(&self) {
        let mut rules = self.rules();
        rules.cut.clear();
        rules.half_open.clear();
        rules.still.clear();
        rules.slow_ms = 0;
    }

    /// What `from` says arrives at `to`, and no answer comes back.
    pub fn half_open(&self, from: NodeId, to: NodeId) {
        self.rules().half_open.insert((from, to));
    }

    /// Nothing moves from one to the other for so many milliseconds. Nobody is told, and nothing is lost.
    pub fn stand_still(&self, from: NodeId, to: NodeId, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        self.rules().still.insert((from, to), until);
    }

    /// Everything takes longer.
    pub fn slow(&self, ms: u64) {
        self.rules().slow_ms = ms;
    }

    /// Whether two nodes hear each other, but for what gets lost.
    #[must_use]
    pub fn is_linked(&self, a: NodeId, b: NodeId) -> bool {
        let (rules, now) = (self.rules(), Instant::now());
        let passes = |way| {
            let moves = rules.still.get(&way).is_none_or(|until| *until <= now);
            moves && !rules.cut.contains(&way) && !rules.half_open.contains(&way)
        };
        passes((a, b)) && passes((b, a))
    }

    /// No frame is lost, doubled or overtaken any more.
    pub fn calm(&self) {
        let mut rules = self.rules();
        (rules.loss_permille, rules.duplicate_permille, rules.reorder_permille) = (0, 0, 0);
        rules.is_calm = true;
    }

    /// Whether faults have ended.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.rules().is_calm
    }

    /// What became of frames, and how often.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let rules = self.rules();
        [
            ("frames sent", rules.sent),
            ("frames lost", rules.lost),
            ("frames doubled", rules.doubled),
            ("frames overtaken in their lane", rules.overtaken),
        ]
    }

    /// When a frame arrives, and whether it comes twice; never if it is lost.
    fn fate(&self, from: NodeId, to: NodeId, lane: Lane) -> Option<(Instant, bool)> {
        let mut guard = self.rules();
        let rules = &mut *guard;
        rules.sent += 1;
        let is_lost = rules.cut.contains(&(from, to)) || rules.dice.is_lucky(rules.loss_permille);
        if is_lost {
            rules.lost += 1;
            return None;
        }
        let ms = rules.dice.within(&rules.delay_ms) + rules.slow_ms;
        let now = Instant::now();
        let moves = rules.still.get(&(from, to)).map_or(now, |until| now.max(*until));
        let at = moves + Duration::from_millis(ms);
        let is_twice = rules.dice.is_lucky(rules.duplicate_permille);
        rules.doubled += u64::from(is_twice);
        // A leader that hears of entries in another order than it sent them takes it for a log that went back.
        let keeps_order = matches!(lane, Lane::Data(_)) || !rules.dice.is_lucky(rules.reorder_permille);
        if !keeps_order {
            rules.overtaken += 1;
            return Some((at + Duration::from_millis(rules.dice.below(OVERTAKEN_MS)), is_twice));
        }
        let last = rules.arrivals.entry((from, to, lane)).or_insert(at);
        *last = at.max(*last);
        Some((*last, is_twice))
    }

    /// When something that is no frame of a peer comes from one to the other; never if it is lost.
    pub(crate) fn comes(&self, from: NodeId, to: NodeId) -> Option<Instant> {
        self.fate(from, to, Lane::Control).map(|(at, _)| at)
    }

    /// Whether an answer comes back to whoever asked.
    pub(crate) fn answers(&self, from: NodeId, to: NodeId) -> Option<Instant> {
        let at = self.comes(from, to)?;
        (!self.rules().half_open.contains(&(from, to))).then_some(at)
    }

    fn server(&self, node: NodeId) -> Option<(u64, Arc<dyn Serve>)> {
        self.rules().nodes.get(&node).cloned()
    }

    /// Who serves at a node, if it is in this life still.
    fn living(&self, node: NodeId, life: u64) -> Option<Arc<dyn Serve>> {
        self.server(node).filter(|(now, _)| *now == life).map(|(_, server)| server)
    }

    /// Lets a frame arrive, be answered, and the answer come back: who answered, and what.
    async fn carry(self, way: Way, (at, is_twice): (Instant, bool), voice: Voice) -> Option<Answered> {
        let Way { from, to, lane, frame } = way;
        sleep_until(at).await;
        let (there, server) = self.server(to)?;
        let hash = xxhash_rust::xxh3::xxh3_64(&frame);
        self.diary.note(to, format_args!("from {from}: {} bytes, {hash:016x}", frame.len()));
        if is_twice {
            server.serve(voice, frame.clone()).await;
        }
        let answer = server.serve(voice, frame).await?;
        self.living(to, there)?;
        let (at, _) = self.fate(to, from, lane).filter(|_| !self.rules().half_open.contains(&(from, to)))?;
        sleep_until(at).await;
        Some((server, answer))
    }

    /// What was sent is on its way, whether the one who sent it waits, stands still or ends; only its answer needs somebody who hears it.
    async fn ask(self, life: u64, way: Way) -> Option<Said> {
        let (from, to, frame) = (way.from, way.to, way.frame.clone());
        let voice = self.living(from, life)?.voice();
        let fate = self.fate(from, to, way.lane)?;
        let (told, heard) = tokio::sync::oneshot::channel();
        let carried = self.clone().carry(way, fate, voice);
        outside(|| {
            spawn(async move {
                let _ = told.send(carried.await);
            })
        });
        let (server, answer) = heard.await.ok().flatten()?;
        self.living(from, life)?;
        server.is_heard(&frame, &answer);
        Some(Said { by: server.voice(), frame: answer })
    }
}

/// Who answered, and what.
type Answered = (Arc<dyn Serve>, Bytes);

/// A frame on its way.
struct Way {
    from: NodeId,
    to: NodeId,
    lane: Lane,
    frame: Bytes,
}

impl PeerLink for Plug {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let (net, from, life) = (self.net.clone(), self.node, self.life);
        Box::pin(async move {
            match net.ask(life, Way { from, to, lane, frame }).await {
                Some(answer) => Ok(answer),
                // Whoever waits for what was lost waits for its own deadline.
                None => std::future::pending().await,
            }
        })
    }
}

/// The seed a disk of a node has in one of its lives.
#[must_use]
pub fn disk_seed(seed: Seed, node: NodeId, life: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&[seed.0, node.0, life].map(u64::to_be_bytes).concat())
}
