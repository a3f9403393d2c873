//! The delayed replica: it stores everything at once, and applies nothing before its time. Its rules, as plain values, and what drives them.
//!
//! * `stamp_index.rs`: which entry of a group is the last at or below a stamp;
//! * `clamp.rs`: which commit may the replica of one group be told;
//! * `gate.rs`: up to which stamp may anything on this node be applied, and `gate_state.rs`, what of it a crash must leave;
//! * `safe_now.rs`: what time it surely is;
//! * `receive.rs`: the replica of one group at work, and `keeper.rs`, the gate at work.
//!
//! What must hold: no entry behind the gate is told, none that is not proven committed; gate and telling only rise; whenever all
//! groups have applied a gate, the node is one cut. The protocol: `docs/protocols/delayed_replica.md`.

pub mod clamp;
pub mod gate;
pub mod gate_state;
pub mod keeper;
pub mod receive;
pub mod safe_now;
pub mod stamp_index;

pub use clamp::{Accepted, Clamp, Offer};
pub use gate::{Bound, ForwardRefused, Gate, GroupProgress, Next, Rest};
pub use gate_state::{GateState, Limit};
pub use keeper::{CatalogGate, GateStore, Keeper, Step};
pub use safe_now::SafeNow;
pub use stamp_index::{StampIndex, Stamped};
