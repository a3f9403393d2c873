//! How nodes hear that a generation has begun, and what becomes of those of an earlier one: they are fenced, and say so.
//!
//! Frames of another generation are refused as they are (`raft::net::door`), but that does not tell which of two is the later one. So nodes
//! tell each other their generation beside the frames of consensus, as they do with their clocks. The bytes: `docs/protocols/takeover.md`.

use crate::boot::{BootError, Result, files};
use bytes::Bytes;
use engine::ids::NodeId;
use raft::limits::GENERATIONS_KNOWN;
use raft::net::link::{Lane, PeerLink};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What question and answer begin with, and their version.
const MAGIC: [u8; 6] = *b"DPGN\0\x01";
/// So long one answer is waited for, in milliseconds.
const ANSWER_MS: u64 = 1_000;
/// Bytes of a fence at most.
const BYTES_MAX: u64 = 64 << 10;

/// A generation, and the node with which it began or that speaks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Its number.
    pub generation: u64,
    /// The node with which it began.
    #[serde(with = "as_text")]
    pub node: NodeId,
    /// When this node heard of it, in milliseconds since 1970; 0: it is its own.
    pub heard_ms: u64,
}

mod as_text {
    use engine::ids::NodeId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(node: &NodeId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&node.0.to_string())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<NodeId, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(NodeId).map_err(serde::de::Error::custom)
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("fenced.toml")
}

impl Told {
    /// Writes down that this node is fenced by it: it stays so until its folder is wiped.
    ///
    /// # Errors
    /// As [`files::replace`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string(self).expect("plain fields are always TOML");
        let head =
            "# The cluster has gone on without this node. Wipe this folder and let the node join anew.\n";
        files::replace(&path(folder), format!("{head}{text}").as_bytes())
    }

    /// What this node is fenced by, if it is.
    ///
    /// # Errors
    /// The file cannot be read; `Malformed`.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = path(folder);
        if !files::exists(&path) {
            return Ok(None);
        }
        let malformed = |cause: String| BootError::malformed("fenced.toml", cause);
        let bytes = files::read(&path, BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| malformed(error.to_string()))?;
        toml::from_str(text).map(Some).map_err(|error| malformed(error.to_string()))
    }

    fn encode(self) -> Bytes {
        [&MAGIC[..], &self.generation.to_be_bytes(), &self.node.0.to_be_bytes()].concat().into()
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (generation, node) = body.strip_prefix(&MAGIC)?.split_first_chunk::<8>()?;
        let node = u64::from_be_bytes(node.try_into().ok()?);
        let generation = u64::from_be_bytes(*generation);
        (generation > 0).then_some(Self { generation, node: NodeId(node), heard_ms: 0 })
    }
}

/// Whose word counts, and for what.
pub trait Judge: Send + Sync {
    /// Whether a later generation is believed that this node tells of.
    fn trusts(&self, by: NodeId) -> bool;

    /// Whether the own generation gives way to another of the same number, of which `by` tells.
    fn gives_way(&self, by: NodeId, told: Told) -> bool;
}

/// What a node knows.
#[derive(Clone, Copy)]
struct Newest {
    told: Told,
    /// It has the number of its own generation, and goes first.
    goes_first: bool,
}

/// The newest generation that a node knows of. Clones are the same.
#[derive(Clone)]
pub struct Generations {
    own: u64,
    newest: watch::Sender<Newest>,
    judge: Arc<dyn Judge>,
}

impl Generations {
    /// Those of a node in generation `own`, that was told of `newest` and is fenced by it if that is later, or `goes_first`.
    #[must_use]
    pub fn new(own: u64, (newest, goes_first): (Told, bool), judge: Arc<dyn Judge>) -> Self {
        Self { own, newest: watch::Sender::new(Newest { told: newest, goes_first }), judge }
    }

    fn fences(&self, newest: &Newest) -> bool {
        newest.told.generation > self.own || newest.goes_first
    }

    /// The one that the node is in.
    #[must_use]
    pub fn own(&self) -> u64 {
        self.own
    }

    /// The newest that it knows of.
    #[must_use]
    pub fn newest(&self) -> Told {
        self.newest.borrow().told
    }

    /// By which the node is fenced, if it is.
    #[must_use]
    pub fn fenced(&self) -> Option<Told> {
        let newest = *self.newest.borrow();
        self.fences(&newest).then_some(newest.told)
    }

    /// Waits until the node is fenced.
    pub async fn is_fenced(&self) -> Told {
        let mut heard = self.newest.subscribe();
        // The sender is here: it cannot go away meanwhile.
        let heard = heard.wait_for(|newest| self.fences(newest)).await;
        heard.map_or_else(|_| self.newest(), |newest| newest.told)
    }

    /// Tells others of this one from now on, though the node is not in it yet: it is decided.
    pub fn announce(&self, told: Told) {
        self.newest.send_if_modified(|newest| {
            let is_newer = told.generation > newest.told.generation;
            if is_newer {
                *newest = Newest { told, goes_first: false };
            }
            is_newer
        });
    }

    /// Another generation of the number of its own goes first: the node is fenced by it.
    pub fn give_way(&self, told: Told) {
        self.newest.send_if_modified(|newest| {
            let is_own = told.generation == self.own && !self.fences(newest);
            if is_own {
                *newest = Newest { told, goes_first: true };
            }
            is_own
        });
    }

    /// The answer to a body of `by`, if that tells of its generation.
    #[must_use]
    pub fn answer(&self, by: NodeId, body: &[u8]) -> Option<Bytes> {
        let told = Told::decode(body)?;
        self.hear(by, told);
        Some(self.newest().encode())
    }

    fn hear(&self, by: NodeId, told: Told) {
        if told.generation == self.own && told.node != self.newest().node && self.judge.gives_way(by, told) {
            return self.give_way(told);
        }
        if told.generation <= self.newest().generation || !self.judge.trusts(by) {
            return;
        }
        // Nobody takes over so often: who says so is not well, and would fence everybody for good.
        if told.generation - self.own > GENERATIONS_KNOWN {
            tracing::error!(%by, generation = told.generation, "a generation that far ahead is not believed");
            return;
        }
        self.announce(told);
    }

    /// Tells a node, and hears what it says. Whether it has heard it.
    pub async fn tell(&self, link: &dyn PeerLink, node: NodeId) -> bool {
        let said = link.call(node, Lane::Control, self.newest().encode());
        let Ok(Ok(said)) = tokio::time::timeout(Duration::from_millis(ANSWER_MS), said).await else {
            return false;
        };
        let Some(told) = Told::decode(&said.frame).filter(|_| said.by.node == node) else { return false };
        self.hear(node, told);
        told.generation >= self.newest().generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(generation: u64) -> Told {
        Told { generation, node: NodeId(u64::MAX), heard_ms: 0 }
    }

    #[test]
    fn what_is_told_is_read_and_nothing_else_is() {
        assert_eq!(Told::decode(&told(7).encode()), Some(told(7)));
        let bytes = told(7).encode();
        for body in [&b""[..], &bytes[..21], &[&bytes[..], &[0]].concat(), &told(0).encode(), b"DPCK\0\x01"] {
            assert_eq!(Told::decode(body), None);
        }
    }

    /// Believes one node, and gives way to lower ones than another.
    struct Believes(NodeId, NodeId);

    impl Judge for Believes {
        fn trusts(&self, by: NodeId) -> bool {
            by == self.0
        }

        fn gives_way(&self, by: NodeId, told: Told) -> bool {
            by == told.node && told.node < self.1
        }
    }

    fn own(generation: u64) -> Generations {
        let judge = Arc::new(Believes(NodeId(4), NodeId(3)));
        Generations::new(generation, (Told { node: NodeId(3), ..told(generation) }, false), judge)
    }

    #[test]
    fn a_later_generation_fences_and_only_whoever_is_known_is_believed() {
        let own_told = Told { node: NodeId(3), ..told(1) };
        let old = own(1);
        assert_eq!(old.answer(NodeId(4), b"anything else"), None);
        assert_eq!(old.answer(NodeId(4), &told(1).encode()), Some(own_told.encode()));
        assert_eq!(old.answer(NodeId(5), &told(9).encode()), Some(own_told.encode()), "a stranger");
        assert_eq!(old.fenced(), None);
        assert_eq!(old.answer(NodeId(4), &told(2).encode()), Some(told(2).encode()));
        assert_eq!(old.fenced(), Some(told(2)));
        let _ = old.answer(NodeId(4), &told(1).encode());
        assert_eq!(old.fenced(), Some(told(2)), "it never goes back");
        let new = own(2);
        let _ = new.answer(NodeId(4), &told(1).encode());
        assert_eq!(new.fenced(), None);
    }

    #[test]
    fn of_two_generations_of_one_number_one_gives_way_and_says_so() {
        let of = |node| Told { node: NodeId(node), ..told(2) };
        let one = own(2);
        for (by, node) in [(9, 9), (4, 2), (3, 3)] {
            assert_eq!(
                one.answer(NodeId(by), &of(node).encode()),
                Some(of(3).encode()),
                "{by} tells of {node}"
            );
            assert_eq!(one.fenced(), None);
        }
        assert_eq!(one.answer(NodeId(2), &of(2).encode()), Some(of(2).encode()));
        assert_eq!((one.fenced(), one.newest()), (Some(of(2)), of(2)));
        let _ = one.answer(NodeId(1), &of(1).encode());
        assert_eq!(one.fenced(), Some(of(2)), "whoever is fenced judges no more");
        let again = Generations::new(2, (of(2), true), Arc::new(Believes(NodeId(4), NodeId(3))));
        assert_eq!(again.fenced(), Some(of(2)));
        // A later one goes before all of them.
        let later = own(2);
        let _ = later.answer(NodeId(4), &told(3).encode());
        later.give_way(of(2));
        assert_eq!(later.fenced(), Some(told(3)));
    }

    #[test]
    fn a_fence_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Told::read(folder.path()).unwrap(), None);
        let fence = Told { heard_ms: 5, ..told(3) };
        fence.write(folder.path()).unwrap();
        assert_eq!(Told::read(folder.path()).unwrap(), Some(fence));
        std::fs::write(path(folder.path()), "generation = 3").unwrap();
        assert!(Told::read(folder.path()).is_err());
    }
}
