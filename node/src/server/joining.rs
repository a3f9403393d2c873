//! Lets a new node in: its token is spent and its row is made in one change, so a token lets one node in, once.

use super::Server;
use super::founding::node_row;
use crate::boot::authority::Authority;
use crate::boot::join::Admittance;
use crate::boot::subject::Identity;
use crate::boot::token;
use crate::entropy::{SystemEntropy, random};
use crate::limits;
use crate::meta::command::{Change, MetaCommand, MetaReply, Reason};
use crate::meta::node_row::NodeRow;
use crate::refused::Refused;
use engine::clock::Clock;
use engine::ids::NodeId;
use proto::errors::code;

/// A new node, as it asks to be let in.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The secret of its token.
    pub secret: Vec<u8>,
    /// Its certificate request, PEM.
    pub request: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// How late it is to apply what it stores, in milliseconds; 0: it is not delayed.
    pub delay_ms: u64,
}

/// A change of the meta group that was refused, as the caller hears of it.
fn refused(reason: Reason) -> Refused {
    let code = match reason {
        Reason::TokenSpent | Reason::TokenExpired | Reason::NotFound => code::TOKEN_INVALID,
        Reason::Full => code::NODES_FULL,
        _ => code::CHANGE_REFUSED,
    };
    Refused::new(code).saying(reason.to_string())
}

impl Server {
    /// The authority of the cluster, unsealed.
    ///
    /// # Errors
    /// `STARTING`: the meta group is not here yet. `DAMAGED`.
    pub fn authority(&self) -> Result<Authority, Refused> {
        let meta = self.meta();
        let row = meta.cluster.as_ref().ok_or_else(|| Refused::new(code::STARTING))?;
        let pem = std::str::from_utf8(&row.ca_certificate).map_err(|_| Refused::new(code::DAMAGED))?;
        let opened = super::certificate::authority(&self.keys, self.cluster, pem, &row.sealed_ca_key);
        opened.map_err(|why| Refused::new(code::DAMAGED).saying(why))
    }

    /// Lets a node in.
    ///
    /// # Errors
    /// `TOKEN_INVALID`. `MALFORMED`: its certificate request, or a delay that none may have.
    pub async fn admit(&self, newcomer: &Newcomer, wait_ms: u64) -> Result<Admittance, Refused> {
        if newcomer.delay_ms != 0 && !limits::DELAY_MS.contains(&newcomer.delay_ms) {
            return Err(Refused::new(code::MALFORMED).saying("a delay is between a second and six days"));
        }
        let authority = self.authority()?;
        // Ids are never given twice, nor near one another: nobody can guess the next.
        let node = NodeId(u64::from_be_bytes(random(&SystemEntropy)) >> 16 | 1 << 32);
        let hosts = [&newcomer.client_address, &newcomer.peer_address].map(|at| reached_by(at));
        let now_s = self.clock.now_ms() / 1_000;
        let identity = Identity::node(self.cluster, node);
        let issued = authority.issue(&identity, &hosts, &newcomer.request, now_s, &SystemEntropy);
        let issued = issued.map_err(|error| Refused::new(code::MALFORMED).saying(error.to_string()))?;
        let names = (newcomer.name.as_str(), newcomer.region.as_str());
        let at = (newcomer.peer_address.as_str(), newcomer.client_address.as_str());
        let row = NodeRow { delay_ms: newcomer.delay_ms, ..node_row(node, names, at, &issued.peer.serial) };
        let changes = vec![Change::SpendToken(token::hash(&newcomer.secret)), Change::PutNode(row, None)];
        match self.change(MetaCommand::new(changes), wait_ms).await? {
            MetaReply::Applied { .. } => {}
            MetaReply::Refused { reason, .. } => return Err(refused(reason)),
            MetaReply::Malformed => return Err(Refused::new(code::MALFORMED)),
        }
        // Read after the row of the node is there: an old cluster key stays until this one has taken the file without it.
        self.refresh(wait_ms).await?;
        let root = self.meta().root.as_ref().map_or_else(|| self.held.shared(), |row| row.root.clone());
        Ok(Admittance {
            cluster: self.cluster,
            generation: self.running()?.parts().cluster.1,
            node,
            authority: authority.pem().to_owned(),
            certificate: issued.pem,
            root: root.encode(),
            peers: self.known(),
        })
    }
}

/// The running of an address.
#[must_use]
pub fn reached_by(address: &str) -> String {
    let running = address.rsplit_once(':').map_or(address, |(running, _)| running);
    running.trim_start_matches('[').trim_end_matches(']').to_owned()
}
