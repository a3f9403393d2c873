//! Between peers: what they say to each other, as values and as bytes, and who carries it.

pub mod body;
pub mod claim_message;
pub mod coalesce;
pub mod door;
pub mod envelope;
pub mod fault;
pub mod heard;
pub mod hearsay;
pub mod hearsay_message;
pub mod heartbeats;
pub mod inbound;
pub mod inflow;
pub mod link;
pub mod message;
pub mod no_answer;
pub mod outbound;
mod pipeline;
pub mod refusal;
pub mod replica_message;
pub mod request;
pub mod snapshot_message;
pub mod state_message;
pub mod word_message;
pub mod words;
