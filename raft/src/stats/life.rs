//! Figures of the lives of replicas, and of how their node came in.

use crate::group::restart::Death;
use engine::stats::Counter;

figures! {
    /// Figures of the replicas of a node.
    "group", GroupStats, GroupFigures;
    /// Replicas that run.
    running_replicas: Gauge,
    /// Replicas that are down until a person acts.
    down_replicas: Gauge,
    /// Replicas that found something broken which they must rely on, and refuse all work.
    fenced_replicas: Counter,
    /// Deaths by a panic.
    panicked_replicas: Counter,
    /// Deaths by an error of storage.
    broken_replicas: Counter,
    /// Deaths after the lead was handed over and nobody led.
    leaderless_replicas: Counter,
    /// Replicas that were built again, and run.
    rebuilt_replicas: Counter,
    /// Dead replicas of which parts lived on for so long that a person was told.
    lingering_replicas: Counter,
    /// Replicas that were removed, and whose files are gone.
    ended_replicas: Counter,
    /// Ends of removed replicas that failed, and are tried again.
    unended_replicas: Counter,
}

figures! {
    /// Figures of the admission of a node: of what it asked when it started, and of what it answers others that start.
    "rejoin", RejoinStats, RejoinFigures;
    /// Claims sent, one a peer and round.
    asked_claims: Counter,
    /// Claims that a peer answered with what it knows.
    answered_claims: Counter,
    /// Claims that a peer refused.
    refused_claims: Counter,
    /// Claims that nobody answered in time, or not with an answer to a claim.
    lost_claims: Counter,
    /// Claims of other nodes answered here.
    served_claims: Counter,
    /// 1 if the last round said that the node must not run: its disk is older than what it acknowledged, or a copy of it lives; else 0.
    refused_flag: Gauge,
}

impl GroupStats {
    /// Of what a replica died.
    pub(crate) fn died(&self, death: Death) -> &Counter {
        match death {
            Death::Panic => &self.panicked_replicas,
            Death::Storage => &self.broken_replicas,
            Death::Leaderless => &self.leaderless_replicas,
        }
    }
}
