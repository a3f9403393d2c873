//! A client of one tenant: it asks one node after the other until one answers, sends the same again under its number, and knows what is
//! certain when its patience is over.

use super::calls::{At, Doors};
use super::cluster::known;
use crate::history::Outcome;
use crate::seed::Dice;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::NodeId;
use node::access::action::Caller;
use node::api::errors::failure_in;
use node::dial::Line;
use proto::errors::{self, Kind, code};
use proto::v1;
use proto::v1::kv_client::KvClient;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Status};

/// So long a request may be sent again, in milliseconds.
const VALID_MS: u64 = 180_000;
/// A node has so long to answer before another one is asked, in milliseconds.
const NODE_MS: u64 = 3_000;
/// Clients begin here, on the network.
const CLIENTS: u64 = 1_000;

/// The nodes that clients know, by name.
pub type Known = Rc<RefCell<Vec<(String, NodeId)>>>;

/// Why nothing was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was refused, for good: with this code.
    Refused(u32),
    /// Nobody has answered; it was certainly not done.
    NotDone,
    /// Nobody has answered, and it may have been done.
    Unknown,
}

impl Why {
    /// What became of a request.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) | Self::NotDone => Outcome::Failed,
            Self::Unknown => Outcome::Unknown,
        }
    }
}

/// Someone who calls for a tenant.
pub struct TenantClient {
    /// The tenant.
    pub tenant: String,
    /// Its choices.
    pub dice: Dice,
    number: NodeId,
    doors: Doors,
    nodes: Known,
    hint: usize,
    session: [u8; 16],
    next: u64,
}

impl TenantClient {
    /// The `number`th of a run.
    #[must_use]
    pub fn new((doors, nodes): (Doors, Known), tenant: &str, number: u64, mut dice: Dice) -> Self {
        let halves = [dice.number().to_be_bytes(), dice.number().to_be_bytes()];
        let session = halves.concat().try_into().unwrap_or_default();
        let (tenant, number) = (tenant.to_owned(), NodeId(CLIENTS + number));
        Self { tenant, dice, number, doors, nodes, hint: 0, session, next: 0 }
    }

    /// The doors at which it asks.
    #[must_use]
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Where it asks for.
    #[must_use]
    pub fn place(&self, collection: &str) -> Option<v1::Place> {
        Some(v1::Place {
            tenant: self.tenant.clone(),
            collection: collection.to_owned(),
            ..v1::Place::default()
        })
    }

    /// The name of a new write.
    pub fn write_id(&mut self, now_ms: u64) -> Option<v1::WriteId> {
        self.next += 1;
        let session = self.session.to_vec().into();
        Some(v1::WriteId { session, number: self.next, valid_until_ms: now_ms + VALID_MS })
    }

    /// Waits a little.
    pub async fn think(&mut self, most_ms: u64) {
        let ms = 1 + self.dice.below(most_ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn line(&self) -> (NodeId, Line) {
        let nodes = self.nodes.borrow();
        let to = nodes.get(self.hint % nodes.len().max(1)).map_or(NodeId(1), |(_, id)| *id);
        let caller = known(Caller::Service(self.tenant.clone()));
        (to, self.doors.line(self.number, to, At::Clients, Some(caller)))
    }

    /// Whom it asks next is anybody.
    pub fn goes_anywhere(&mut self) {
        self.hint = usize::try_from(self.dice.below(self.nodes.borrow().len() as u64)).unwrap_or(0);
    }

    /// A line to a node of its choice, and which that is.
    pub fn any_line(&mut self) -> (NodeId, Line) {
        self.goes_anywhere();
        self.line()
    }

    /// Whom to ask next: who is said to be the right one, else another.
    fn goes_on(&mut self, better: &str) {
        let nodes = self.nodes.borrow();
        let found = nodes.iter().position(|(name, _)| better.starts_with(&format!("{name}.")));
        self.hint = found.unwrap_or(self.hint + 1 + usize::try_from(self.dice.below(2)).unwrap_or(0));
    }

    /// Asks until somebody answers, or `patience_ms` are over. `is_write`: what was not answered may have been done.
    ///
    /// # Errors
    /// See [`Why`].
    pub async fn ask<T, F: Future<Output = Result<T, Status>>>(
        &mut self,
        (patience_ms, is_write): (u64, bool),
        asks: impl Fn(KvClient<Line>, Duration) -> F,
    ) -> Result<T, Why> {
        let until = Instant::now() + Duration::from_millis(patience_ms);
        let mut is_doubtful = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left < Duration::from_millis(2) {
                return Err(if is_doubtful { Why::Unknown } else { Why::NotDone });
            }
            let (_, line) = self.line();
            let status = match asks(KvClient::new(line), left.min(Duration::from_millis(NODE_MS))).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let failure = failure_in(&status).unwrap_or_default();
            match errors::find(failure.code).map(|entry| entry.kind) {
                None | Some(Kind::Unknown | Kind::Internal | Kind::Damaged) => is_doubtful |= is_write,
                Some(Kind::Unavailable) => {}
                Some(Kind::Conflict) if failure.code == code::CONDITION_FAILED => {
                    return Err(Why::Refused(failure.code));
                }
                Some(_) if is_doubtful => return Err(Why::Unknown),
                Some(_) => return Err(Why::Refused(failure.code)),
            }
            self.goes_on(&failure.better);
            self.think(30).await;
        }
    }
}

/// A request that is waited for so long.
pub fn within<T>(message: T, left: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(left);
    request
}

/// A version as it was told.
#[must_use]
pub fn told(version: Option<v1::Version>) -> Option<(Stamp, Bytes)> {
    version.map(|version| (Stamp(version.stamp), version.value))
}
