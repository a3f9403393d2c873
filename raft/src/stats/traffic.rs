//! Figures of what is asked and answered: commands, reads, and frames between nodes.

use crate::group::outcome::{NotApplied, NotNow};
use crate::group::pressure::Quantity;
use crate::net::message::Message;
use crate::net::refusal::Refusal;
use engine::stats::Counter;

figures! {
    /// Figures of the commands that were handed to this node, all groups together.
    "proposal", ProposalStats, ProposalFigures;
    /// Commands that came.
    asked_commands: Counter,
    /// Entries made for commands or to close the time, and handed to consensus.
    sent_entries: Counter,
    /// Commands that were applied, whatever came of them there.
    applied_commands: Counter,
    /// Commands for another replica, which leads.
    not_leader_commands: Counter,
    /// Commands that came while the lead was handed over.
    transferring_commands: Counter,
    /// Commands that break a rule, and never will be taken.
    refused_commands: Counter,
    /// Commands of which it is not known whether they are applied.
    unknown_commands: Counter,
    /// Sent away: too many commands wait for a proposal.
    retry_crowded_commands: Counter,
    /// Sent away: commands that wait are too large together.
    retry_bulky_commands: Counter,
    /// Sent away: too many entries are not applied here.
    retry_unapplied_commands: Counter,
    /// Sent away: entries that are not applied here are too large together.
    retry_unapplied_bytes_commands: Counter,
    /// Sent away: too many bytes wait to be written to the log.
    retry_log_commands: Counter,
    /// Sent away: the engine asks its writers to wait.
    retry_engine_commands: Counter,
    /// Sent away: the wall clock here is such that it must not lead.
    retry_clock_commands: Counter,
    /// Sent away: the leader has not heard its quorum for too long.
    retry_quorum_commands: Counter,
    /// Sent away: the key of their tenant is away.
    retry_key_commands: Counter,
    /// Sent away: the replica ends, or is built again.
    retry_closed_commands: Counter,
}

figures! {
    /// Figures of reads at the replicas of this node. A read that whoever asked did not await counts nowhere.
    "read", ReadStats, ReadFigures;
    /// Linearizable, by the lease of a leader.
    lease_reads: Counter,
    /// Linearizable, by a round to the quorum.
    round_reads: Counter,
    /// Linearizable at another replica, by what the leader named.
    follower_reads: Counter,
    /// Of a bounded age, at a leader.
    bounded_leader_reads: Counter,
    /// Of a bounded age, at another replica.
    bounded_follower_reads: Counter,
    /// As of a stamp.
    as_of_reads: Counter,
    /// Times that the leader here closed the time for a read at another replica.
    closed_times: Counter,
    /// Entries named to other replicas that asked their leader for a read.
    named_reads: Counter,
    /// Refused: another replica leads, or none.
    not_leader_reads: Counter,
    /// Refused: not within the time allowed.
    late_reads: Counter,
    /// Refused: the replica is not read at this stage of its life.
    not_serving_reads: Counter,
    /// Refused: the leader that was asked refuses.
    leader_refused_reads: Counter,
    /// Refused: the leader that was asked does not answer.
    leader_silent_reads: Counter,
    /// Refused: this replica has no proof, and named another if it knew one.
    elsewhere_reads: Counter,
    /// Refused: as of a stamp that lies too far ahead.
    too_far_ahead_reads: Counter,
    /// Refused: the replica has stopped.
    stopped_reads: Counter,
}

figures! {
    /// Figures of what this node says to others, and hears.
    "net", NetStats, NetFigures;
    /// Frames sent that ask a peer something.
    asked_frames: Counter,
    /// Frames of peers that answered what was asked.
    answered_frames: Counter,
    /// Frames of peers that refused what was asked.
    denied_frames: Counter,
    /// Frames sent to which nothing came in time, or nothing that answers.
    lost_frames: Counter,
    /// Frames of peers that asked something, each answered by a frame.
    served_frames: Counter,
    /// Refused here: of another cluster.
    refused_other_cluster_messages: Counter,
    /// Refused here: of another generation of the cluster.
    refused_other_generation_messages: Counter,
    /// Refused here: for a group without a replica here.
    refused_no_such_group_messages: Counter,
    /// Refused here: for another replica than lives here.
    refused_other_replica_messages: Counter,
    /// Refused here: the node was starting.
    refused_not_ready_messages: Counter,
    /// Refused here: for a parked replica.
    refused_parked_messages: Counter,
    /// Refused here: more waits here than may.
    refused_overloaded_messages: Counter,
    /// Refused here: not what the format allows, or what nobody can say.
    refused_malformed_messages: Counter,
    /// Refused here: for a replica that has stopped.
    refused_stopped_messages: Counter,
    /// Refused here: stamped ahead of the clock here.
    refused_ahead_messages: Counter,
    /// Refused here: of a start of a node after which another was heard.
    refused_outlived_messages: Counter,
    /// Heartbeats that left.
    sent_heartbeats: Counter,
    /// Messages in which heartbeats left together.
    heartbeat_messages: Counter,
    /// Heartbeats that did not leave, because too many messages waited.
    crowded_heartbeats: Counter,
    /// Heartbeats that were sent again, because they were not answered for as long as one leaves after the other.
    repeated_heartbeats: Counter,
    /// Snapshots that a peer has to its end.
    sent_snapshots: Counter,
    /// Bytes of snapshots that peers took.
    sent_snapshot_bytes: Counter,
    /// Files of offered snapshots that need not be sent: the peer had them.
    skipped_snapshot_files: Counter,
    /// Bytes of snapshots taken from peers.
    received_snapshot_bytes: Counter,
}

/// Why a command is sent away that may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// There is too much of something.
    Full(Quantity),
    /// The wall clock is such that the replica must not lead.
    Clock,
    /// The quorum was not heard for too long.
    Quorum,
    /// The key of their tenant is away.
    Key,
    /// Nothing more is taken here.
    Closed,
}

impl ProposalStats {
    /// Commands that are sent away.
    fn retry(&self, why: Retry) -> &Counter {
        match why {
            Retry::Full(Quantity::Commands) => &self.retry_crowded_commands,
            Retry::Full(Quantity::CommandBytes) => &self.retry_bulky_commands,
            Retry::Full(Quantity::Unapplied) => &self.retry_unapplied_commands,
            Retry::Full(Quantity::UnappliedBytes) => &self.retry_unapplied_bytes_commands,
            Retry::Full(Quantity::LogQueueBytes) => &self.retry_log_commands,
            Retry::Full(Quantity::Engine) => &self.retry_engine_commands,
            Retry::Clock => &self.retry_clock_commands,
            Retry::Quorum => &self.retry_quorum_commands,
            Retry::Key => &self.retry_key_commands,
            Retry::Closed => &self.retry_closed_commands,
        }
    }

    /// Commands that are not applied; of those that may come again, why. Consensus says so of its quorum alone.
    pub(crate) fn not_applied(&self, error: &NotApplied, retry: Option<Retry>) -> &Counter {
        match error {
            NotApplied::NotLeader { .. } => &self.not_leader_commands,
            NotApplied::Transferring { .. } => &self.transferring_commands,
            NotApplied::RetryLater { .. } => self.retry(retry.unwrap_or(Retry::Quorum)),
            NotApplied::Refused { .. } => &self.refused_commands,
            NotApplied::Unknown { .. } => &self.unknown_commands,
        }
    }
}

impl ReadStats {
    /// Reads that are not answered.
    pub(crate) fn refused(&self, why: &NotNow) -> &Counter {
        match why {
            NotNow::NotLeader { .. } => &self.not_leader_reads,
            NotNow::RetryLater { .. } => &self.late_reads,
            NotNow::NotServing { .. } => &self.not_serving_reads,
            NotNow::LeaderRefuses { .. } => &self.leader_refused_reads,
            NotNow::LeaderSilent { .. } => &self.leader_silent_reads,
            NotNow::Elsewhere { .. } => &self.elsewhere_reads,
            NotNow::TooFarAhead { .. } => &self.too_far_ahead_reads,
            NotNow::Stopped { .. } => &self.stopped_reads,
        }
    }
}

impl NetStats {
    /// Messages that are refused here.
    pub(crate) fn refused(&self, refusal: Refusal) -> &Counter {
        match refusal {
            Refusal::OtherCluster => &self.refused_other_cluster_messages,
            Refusal::OtherGeneration => &self.refused_other_generation_messages,
            Refusal::NoSuchGroup => &self.refused_no_such_group_messages,
            Refusal::OtherReplica => &self.refused_other_replica_messages,
            Refusal::NotReady => &self.refused_not_ready_messages,
            Refusal::Parked => &self.refused_parked_messages,
            Refusal::Overloaded => &self.refused_overloaded_messages,
            Refusal::Malformed => &self.refused_malformed_messages,
            Refusal::Stopped => &self.refused_stopped_messages,
            Refusal::Ahead => &self.refused_ahead_messages,
            Refusal::Outlived => &self.refused_outlived_messages,
        }
    }

    /// Counts what an answer refuses: all of what was asked, or some of many heartbeats.
    pub(crate) fn answers(&self, answer: &Message) {
        match answer {
            Message::Refused(refusal) => self.refused(*refusal).add(1),
            Message::HeartbeatReplies(replies) => {
                let refused = replies.iter().filter_map(|one| one.reply.err());
                refused.for_each(|refusal| self.refused(refusal).add(1));
            }
            _ => {}
        }
    }
}
