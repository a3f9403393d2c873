//! The network of a run: delay, loss, duplicates, cuts. Frames of one lane between two nodes keep their order unless one is lost.

use super::diary::Diary;
use crate::seed::{Dice, Seed, Swarm};
use bytes::Bytes;
use engine::ids::NodeId;
use raft::net::heard::Voice;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

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
    /// Directions in which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
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
            cut: BTreeSet::new(),
            is_calm: false,
            slow_ms: 0,
            nodes: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            sent: 0,
            lost: 0,
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
        rules.slow_ms = 0;
    }

    /// Everything takes longer.
    pub fn slow(&self, ms: u64) {
        self.rules().slow_ms = ms;
    }

    /// Whether two nodes hear each other, but for what gets lost.
    #[must_use]
    pub fn is_linked(&self, a: NodeId, b: NodeId) -> bool {
        let rules = self.rules();
        !rules.cut.contains(&(a, b)) && !rules.cut.contains(&(b, a))
    }

    /// No frame is lost or doubled any more.
    pub fn calm(&self) {
        let mut rules = self.rules();
        (rules.loss_permille, rules.duplicate_permille) = (0, 0);
        rules.is_calm = true;
    }

    /// Whether faults have ended.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.rules().is_calm
    }

    /// Frames sent and lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let rules = self.rules();
        (rules.sent, rules.lost)
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
        let at = Instant::now() + Duration::from_millis(ms);
        let last = rules.arrivals.entry((from, to, lane)).or_insert(at);
        *last = at.max(*last);
        Some((*last, rules.dice.is_lucky(rules.duplicate_permille)))
    }

    fn server(&self, node: NodeId) -> Option<(u64, Arc<dyn Serve>)> {
        self.rules().nodes.get(&node).cloned()
    }

    /// Who serves at a node, if it is in this life still.
    fn living(&self, node: NodeId, life: u64) -> Option<Arc<dyn Serve>> {
        self.server(node).filter(|(now, _)| *now == life).map(|(_, server)| server)
    }

    async fn carry(self, from: NodeId, life: u64, to: NodeId, lane: Lane, frame: Bytes) -> Option<Said> {
        let asker = self.living(from, life)?;
        let (at, is_twice) = self.fate(from, to, lane)?;
        sleep_until(at).await;
        let (there, server) = self.server(to)?;
        let hash = xxhash_rust::xxh3::xxh3_64(&frame);
        self.diary.note(to, format_args!("from {from}: {} bytes, {hash:016x}", frame.len()));
        if is_twice {
            server.serve(asker.voice(), frame.clone()).await;
        }
        let answer = server.serve(asker.voice(), frame.clone()).await?;
        self.living(to, there)?;
        let (at, _) = self.fate(to, from, lane)?;
        sleep_until(at).await;
        self.living(from, life)?;
        server.is_heard(&frame, &answer);
        Some(Said { by: server.voice(), frame: answer })
    }
}

impl PeerLink for Plug {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let (net, from, life) = (self.net.clone(), self.node, self.life);
        Box::pin(async move {
            match net.carry(from, life, to, lane, frame).await {
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
