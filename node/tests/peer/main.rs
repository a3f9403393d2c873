//! Links between nodes, over real TLS on the loopback.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod hostile;
mod loss;
mod order;
mod pace;
mod rig;
mod strangers;
