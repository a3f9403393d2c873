//! What a node tells of itself: its log, and its metrics, which `docs/metrics.md` lists.

pub mod bound;
pub mod calls;
pub mod door;
pub mod limits;
pub mod logs;
pub mod node;
pub mod samples;
pub mod trace;

use crate::api::listener::Attendance;
use crate::limits as bounds;
use crate::peer::{PeerServer, TlsLink};
use crate::work::crowd::Bounds;
use calls::Calls;
use engine::stats::Counter;
use std::sync::{Arc, Mutex, OnceLock};

/// Where a node counts what comes to its doors, from one start to its end.
pub struct Told {
    /// Calls.
    pub calls: Calls,
    /// The door of clients.
    pub clients: Arc<Attendance>,
    /// The door of administrators.
    pub admins: Arc<Attendance>,
    /// The door of other nodes.
    pub peers: OnceLock<PeerServer>,
    /// What calls other nodes.
    pub link: OnceLock<Arc<TlsLink>>,
    /// Connections of another cluster that were counted last, and when that last rose, by the clock that nobody sets.
    pub foreign: Mutex<(u64, u64)>,
    /// Tasks that have panicked.
    pub panicked: Counter,
}

impl Told {
    /// Nothing yet; `clients` is how many connections of clients there may be.
    #[must_use]
    pub fn new(clients: Bounds) -> Self {
        let admins =
            Bounds { all: bounds::ADMIN_CONNECTIONS_MAX, of_source: bounds::SOURCE_ADMIN_CONNECTIONS_MAX };
        Self {
            calls: Calls::default(),
            clients: Arc::new(Attendance::new(clients)),
            admins: Arc::new(Attendance::new(admins)),
            peers: OnceLock::new(),
            link: OnceLock::new(),
            foreign: Mutex::default(),
            panicked: Counter::default(),
        }
    }
}
