//! Links between nodes, over real TLS on the loopback.

mod hostile;
mod loss;
mod order;
mod pace;
mod rig;
mod strangers;
