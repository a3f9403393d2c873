//! The door of a node: whose frame is this, and may it come in? And the frame that answers it.

use super::envelope::{Frame, cluster_tag};
use super::heard::{Heard, Voice};
use super::message::Message;
use super::refusal::Refusal;
use super::request::Address;
use crate::limits;
use crate::stats::Stats;
use bytes::Bytes;
use engine::ids::ClusterId;
use std::sync::Arc;

/// What an answer must name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who asked, and whom.
    pub address: Address,
    /// The number of the question.
    pub sequence: u64,
}

/// The door of a node of one cluster, in one generation of it.
#[derive(Clone)]
pub struct Door {
    tag: u64,
    /// Tags of the generations before and behind, for whoever lags to be told so.
    relatives: Vec<u64>,
    heard: Arc<Heard>,
    stats: Arc<Stats>,
}

impl Door {
    /// The door of a node of a cluster in one generation of it, which keeps in mind in `heard` how far the logs of its peers are durable,
    /// and counts in `stats`.
    #[must_use]
    pub fn new((cluster, generation): (ClusterId, u64), heard: Arc<Heard>, stats: Arc<Stats>) -> Self {
        let first = generation.saturating_sub(limits::GENERATIONS_KNOWN);
        let others =
            (first..=generation.saturating_add(limits::GENERATIONS_KNOWN)).filter(|n| *n != generation);
        let relatives = others.map(|other| cluster_tag(cluster, other)).collect();
        Self { tag: cluster_tag(cluster, generation), relatives, heard, stats }
    }

    /// What is remembered of peers.
    #[must_use]
    pub fn heard(&self) -> &Arc<Heard> {
        &self.heard
    }

    /// The frame that `bytes` are, if somebody of this cluster and generation says it: what it says of the log of `by` is kept in mind.
    /// What it asks stands beside it, for the answer.
    ///
    /// # Errors
    /// Why it is to be refused, and who is to hear it: the frame cannot be read, or its sender is a stranger. Nothing has changed.
    pub fn open(&self, by: &Voice, bytes: &Bytes) -> Result<(Asked, Message), (Asked, Refusal)> {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(damage) => {
                tracing::warn!(%damage, "a frame that cannot be read");
                return Err((Asked::default(), Refusal::Malformed));
            }
        };
        let Frame { tag, group, from, to, sequence, durable, message } = frame;
        let asked = Asked { address: Address { group, from, to }, sequence };
        if tag != self.tag {
            let is_relative = self.relatives.contains(&tag);
            let refusal = if is_relative { Refusal::OtherGeneration } else { Refusal::OtherCluster };
            return Err((asked, refusal));
        }
        if !message.proves_nothing() {
            self.heard.hears(by, durable).map_err(|refusal| (asked, refusal))?;
        }
        Ok((asked, message))
    }

    /// The frame that answers `asked`, from a node whose log is durable up to `durable`.
    #[must_use]
    pub fn answer(&self, asked: &Asked, durable: u64, message: Message) -> Bytes {
        self.stats.net.served_frames.add(1);
        self.stats.net.answers(&message);
        if matches!(message, Message::ClaimAnswer(_)) {
            self.stats.rejoin.served_claims.add(1);
        }
        let Asked { address: Address { group, from, to }, sequence } = *asked;
        Frame { tag: self.tag, group, from: to, to: from, sequence, durable, message }.encode()
    }
}
