//! The connections: one a node, made when it is needed, with one stream of calls on each.

use crate::connect::Connector;
use crate::error::Result;
use crate::limits::NODES_MAX;
use crate::stream::CallStream;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::transport::Channel;

/// A node that is connected.
#[derive(Clone)]
pub(crate) struct Connected {
    /// For calls of their own.
    pub channel: Channel,
    /// For many calls on one stream.
    pub calls: Arc<CallStream>,
}

/// Filled by whoever comes first; who comes meanwhile waits.
type Seat = Arc<tokio::sync::Mutex<Option<Connected>>>;

/// The connections to all nodes.
pub(crate) struct Pool {
    connector: Connector,
    seats: Mutex<BTreeMap<String, Seat>>,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Pool {
    /// One without connections yet.
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector, seats: Mutex::default(), channels: Mutex::default() }
    }

    /// The connection to a node; a stream that has ended is opened anew.
    pub(crate) async fn node(&self, address: &str) -> Result<Connected> {
        let seat = self.seat(address);
        let mut seat = seat.lock().await;
        match &mut *seat {
            Some(node) if !node.calls.is_over() => Ok(node.clone()),
            seat => {
                // Its stream has ended, and mostly that is since the connection has.
                let channel = self.connector.connect(address).await?;
                let calls = Arc::new(CallStream::open(channel.clone()));
                Ok(seat.insert(Connected { channel, calls }).clone())
            }
        }
    }

    /// The connection to a node that is asked for calls of their own alone, as administrators do.
    pub(crate) async fn channel(&self, address: &str) -> Result<Channel> {
        let known = self.channels.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        if let Some(channel) = known {
            return Ok(channel);
        }
        let channel = self.connector.connect(address).await?;
        self.channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Lets go of a connection that fails: the next call makes a new one.
    pub(crate) fn forget(&self, address: &str) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }

    fn seat(&self, address: &str) -> Seat {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= NODES_MAX && !seats.contains_key(address) {
            seats.pop_first();
        }
        seats.entry(address.to_owned()).or_default().clone()
    }
}
