//! Format: gate_state.

use super::{feed, fixture};
use raft::delay::GateState;
use raft::delay::gate_state::STATE_BYTES;

pub fn run() {
    let list = fixture("gate_state.bin");
    let mut clean: Vec<Vec<u8>> = list.chunks(STATE_BYTES).map(<[u8]>::to_vec).collect();
    clean.push(fixture("gate_state.damaged.bin"));
    feed(&clean, |bytes| {
        let Ok(state) = GateState::decode(bytes) else { return };
        assert_eq!(state.encode()[..], *bytes);
        assert!(state.limit.stamp().is_none_or(|limit| limit >= state.gate), "a limit below the gate");
    });
}
