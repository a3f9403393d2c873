//! Between peers: what they say to each other, as values and as bytes, and who carries it.

pub mod body;
pub mod coalesce;
pub mod envelope;
pub mod fault;
pub mod heartbeats;
pub mod inbound;
pub mod inflow;
pub mod link;
pub mod message;
pub mod no_answer;
pub mod outbound;
pub mod refusal;
pub mod replica_message;
pub mod snapshot_message;
