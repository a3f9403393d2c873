//! What nodes ask each other's wall clocks by, beside the frames of consensus: so that each notices when it is the one that is wrong. The bytes:
//! `docs/protocols/peer_link.md`.

use crate::clock::SystemClock;
use bytes::Bytes;
use engine::ids::NodeId;
use raft::net::link::{Lane, PeerLink};
use raft::time::BootClock;
use std::sync::Arc;
use std::time::Duration;

/// What question and answer begin with, and their version.
const MAGIC: [u8; 6] = *b"DPCK\0\x01";
/// Between two times that all peers are asked, in milliseconds: many within the time that an answer counts for.
const ASK_MS: u64 = 2_000;
/// An answer that takes longer says too little, in milliseconds: it may be wrong by half of that, and clocks may part by
/// [`raft::limits::CLOCK_PART_MS_MAX`].
const ANSWER_MS_MAX: u64 = 200;

const _: () = assert!(ANSWER_MS_MAX / 2 < raft::limits::CLOCK_PART_MS_MAX);

/// The answer to a body, if that asks what time it is here.
#[must_use]
pub fn answer(body: &[u8], wall_ms: u64) -> Option<Bytes> {
    (body == MAGIC).then(|| [&MAGIC[..], &wall_ms.to_be_bytes()].concat().into())
}

/// The wall clock in an answer; nothing if it is none.
#[must_use]
pub fn answered(body: &[u8]) -> Option<u64> {
    let wall_ms = body.strip_prefix(&MAGIC)?.try_into().ok()?;
    Some(u64::from_be_bytes(wall_ms))
}

/// Asks a peer what time it is, and lets `clock` hear the answer, if it comes soon. Whether it did.
pub async fn ask(link: &dyn PeerLink, clock: &SystemClock, peer: NodeId) -> bool {
    let asked_ms = clock.boot_ms();
    let said = link.call(peer, Lane::Control, Bytes::from_static(&MAGIC));
    let Ok(Ok(said)) = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), said).await else {
        return false;
    };
    let is_soon = clock.boot_ms().saturating_sub(asked_ms) <= ANSWER_MS_MAX;
    match answered(&said.frame) {
        Some(wall_ms) if is_soon && said.by.node == peer => {
            clock.hears(peer, wall_ms, asked_ms);
            true
        }
        _ => false,
    }
}

/// Asks all peers again and again, until the node ends.
pub async fn ask_for_ever(
    link: Arc<dyn PeerLink>,
    clock: Arc<SystemClock>,
    peers: impl Fn() -> Vec<NodeId> + Send,
) {
    loop {
        let asked = peers();
        futures_util::future::join_all(asked.into_iter().map(|peer| ask(&*link, &clock, peer))).await;
        tokio::time::sleep(Duration::from_millis(ASK_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Agreement;
    use engine::clock::Clock;
    use raft::log::LogName;
    use raft::net::heard::Voice;
    use raft::net::link::{BoxFuture, Said, Unreachable};

    /// Peers whose wall clocks are ahead of ours by so much, and who answer after so long, in milliseconds.
    struct Peers(Vec<(i64, u64)>);

    impl PeerLink for Peers {
        fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
            assert_eq!(lane, Lane::Control);
            let (ahead_ms, late_ms) = self.0[usize::try_from(to.0).unwrap()];
            let by = Voice { node: to, log: LogName([0; 16]), incarnation: 1, start: 0 };
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(late_ms)).await;
                let wall_ms = SystemClock::default().now_ms().checked_add_signed(ahead_ms).unwrap();
                Ok(Said { by, frame: answer(&frame, wall_ms).unwrap() })
            })
        }
    }

    async fn agreement(peers: Vec<(i64, u64)>) -> Agreement {
        let (clock, count) = (SystemClock::default(), peers.len() as u64);
        let peers = Peers(peers);
        for peer in 0..count {
            ask(&peers, &clock, NodeId(peer)).await;
        }
        clock.agreement()
    }

    #[tokio::test]
    async fn a_clock_is_as_right_as_its_peers_say() {
        let agreed = agreement(vec![(0, 0), (5_000, 0)]).await;
        assert!(matches!(agreed, Agreement::Agreed { .. }), "{agreed:?}");
        let Agreement::Disputed { ahead_ms } = agreement(vec![(-5_000, 0), (-5_000, 0)]).await else {
            panic!("it is 5 s ahead of both");
        };
        assert!((4_900..5_100).contains(&ahead_ms), "{ahead_ms}");
        assert_eq!(
            agreement(vec![(9_000, ANSWER_MS_MAX + 100)]).await,
            Agreement::Unheard,
            "it comes too late"
        );
    }

    #[test]
    fn an_answer_is_read_and_nothing_else_is_one() {
        let told = answer(&MAGIC, 77).unwrap();
        assert_eq!(answered(&told), Some(77));
        for body in [&b""[..], b"DPCK", &MAGIC, &told[..13], &[&told[..], &[0]].concat()] {
            assert_eq!(answered(body), None);
        }
        for body in [&b""[..], b"DPCK", &told, &[&MAGIC[..], &[0]].concat()] {
            assert_eq!(answer(body, 77), None);
        }
    }
}
