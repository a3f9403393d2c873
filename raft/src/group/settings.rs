//! How consensus must be set, and why. Every group is built with what [`Pace::config`] makes, and checks it again.

use crate::error::{Error, Result};
use crate::limits::HEARTBEAT_GATHER_MS;
use crate::planted::{self, Planted};
use openraft::{Config, SnapshotPolicy};
use std::sync::Arc;

/// The times of a group, in milliseconds. One value a cluster, but for the least election time: a preferred replica has a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A leader is heard at least this often.
    pub heartbeat_ms: u64,
    /// A heartbeat is not sent if one was, or an append, this short a time ago.
    pub heartbeat_min_ms: u64,
    /// A replica that hears no leader waits at least this long beyond the lease.
    pub election_min_ms: u64,
    /// And at most this long. It is the leader's lease too, on both sides: the same on every node of the cluster.
    pub election_max_ms: u64,
    /// A leader that hears no quorum for so long stops its heartbeats, which would keep a connected quorum from electing another.
    pub quorum_loss_ms: u64,
    /// Entries of one append.
    pub append_entries: u64,
    /// Pieces of committed entries that wait to be applied; when full, the group stands still.
    pub apply_pieces: u64,
    /// Requests that wait for the group.
    pub requests: u64,
    /// How long a snapshot may travel.
    pub snapshot_ms: u64,
}

impl Pace {
    /// For production: voters in one region.
    pub const PRODUCTION: Self = Self {
        heartbeat_ms: 400,
        heartbeat_min_ms: 300,
        election_min_ms: 1_200,
        election_max_ms: 1_800,
        quorum_loss_ms: 4_000,
        append_entries: 1_024,
        apply_pieces: 1_024,
        requests: 1_024,
        snapshot_ms: 3_600_000,
    };

    /// For production if voters are far apart, or a node has more than 500 groups.
    pub const FAR: Self = Self {
        heartbeat_ms: 1_000,
        heartbeat_min_ms: 300,
        election_min_ms: 3_000,
        election_max_ms: 5_000,
        quorum_loss_ms: 10_000,
        ..Self::PRODUCTION
    };

    /// For tests and simulation.
    pub const TEST: Self = Self {
        heartbeat_ms: 50,
        heartbeat_min_ms: 0,
        election_min_ms: 300,
        election_max_ms: 600,
        quorum_loss_ms: 1_300,
        append_entries: 16,
        apply_pieces: 64,
        requests: 64,
        snapshot_ms: 60_000,
    };

    /// How long the answer to a heartbeat counts, in milliseconds. Consensus takes its heartbeat interval for that as well, and sends
    /// none to a peer while one is under way to it: were it as short as the interval between two heartbeats, a leader whose peers are
    /// further away than that would hear none of them while nothing is written, and lose the lead for nothing. So consensus gets as long
    /// as it takes, and `beat.rs` sees to the heartbeats between.
    #[must_use]
    pub const fn answer_ms(&self) -> u64 {
        self.election_min_ms.saturating_sub(self.heartbeat_min_ms) * 4 / 5
    }

    /// Whether the times fit one another.
    ///
    /// # Errors
    /// `Invalid` names the rule.
    pub fn check(&self) -> Result<()> {
        let rules = [
            (
                self.heartbeat_ms > 0 && self.heartbeat_min_ms <= self.heartbeat_ms,
                "heartbeat_min <= heartbeat",
            ),
            (
                self.heartbeat_ms >= 4 * HEARTBEAT_GATHER_MS,
                "heartbeats are gathered for a quarter of their interval at most",
            ),
            (self.heartbeat_ms * 3 <= self.election_min_ms, "three heartbeats fit the least election time"),
            (self.election_min_ms < self.election_max_ms, "election_min < election_max"),
            (self.quorum_loss_ms >= 2 * self.election_max_ms, "quorum_loss >= 2 x election_max"),
            (self.append_entries > 0 && self.apply_pieces > 0 && self.requests > 0, "bounds are above zero"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Invalid(rule)),
            None => Ok(()),
        }
    }

    /// The settings of a group with these times.
    ///
    /// # Errors
    /// `Invalid`: the times do not fit one another.
    pub fn config(&self) -> Result<Arc<Config>> {
        self.check()?;
        let config = Config {
            cluster_name: "dewpond".to_owned(),
            // How long the answer to a heartbeat counts.
            heartbeat_interval: self.answer_ms(),
            heartbeat_min_interval: Some(self.heartbeat_min_ms),
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            quorum_loss_probe_interval: Some(self.quorum_loss_ms),
            max_payload_entries: self.append_entries,
            state_machine_channel_size: Some(self.apply_pieces),
            api_channel_size: Some(self.requests),
            install_snapshot_timeout: self.snapshot_ms,
            // A leader that lost unsynced entries in a power cut would come back as leader of the same term, and give the same
            // log ids to other payloads: followers compare ids only, and acknowledged writes are lost. The default is on.
            enable_leader_restore: Some(planted::is(Planted::RestoreLeader)),
            // A restarted follower has forgotten the lease it granted. The start guard opens elections once that has ended.
            enable_elect: false,
            // A returning replica raises no term.
            enable_pre_vote: Some(true),
            // A follower that lost what it had acknowledged must never be filled again as if nothing had happened.
            allow_log_reversion: Some(false),
            // Only our own scheduler makes snapshots and purges: openraft knows neither archives nor delayed replicas.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            // Followers sync while the leader does.
            broadcast_submitted_on_append: Some(true),
            ..Config::default()
        };
        let config = config.validate().map_err(|_| Error::Invalid("settings that consensus refuses"))?;
        assert_mandatory(&config)?;
        Ok(Arc::new(config))
    }
}

/// Refuses settings that lose acknowledged writes, whoever made them.
///
/// # Errors
/// `Invalid` names the setting.
pub fn assert_mandatory(config: &Config) -> Result<()> {
    let rules = [
        (
            config.enable_leader_restore == Some(planted::is(Planted::RestoreLeader)),
            "leader restore must be off",
        ),
        (!config.enable_elect, "elections begin when the start guard opens"),
        (config.enable_pre_vote == Some(true), "pre-vote must be on"),
        (config.allow_log_reversion == Some(false), "a log must not be allowed to go back"),
        (config.snapshot_policy == SnapshotPolicy::Never, "snapshots are made by our scheduler alone"),
        (config.max_in_snapshot_log_to_keep == u64::MAX, "logs are purged by our scheduler alone"),
        (
            config.quorum_loss_probe_interval.is_some_and(|ms| ms >= 2 * config.election_timeout_max),
            "a leader without quorum must fall silent",
        ),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(Error::Invalid(rule)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pace_makes_settings_that_hold_the_rules() {
        for pace in [Pace::PRODUCTION, Pace::FAR, Pace::TEST] {
            let config = pace.config().unwrap();
            assert_eq!(config.election_timeout_max, pace.election_max_ms);
            assert!(
                config.heartbeat_interval >= 3 * pace.heartbeat_ms / 2,
                "an answer may take longer than a beat"
            );
        }
        let odd = Pace { quorum_loss_ms: 1_000, ..Pace::TEST };
        assert!(matches!(odd.config(), Err(Error::Invalid("quorum_loss >= 2 x election_max"))));
        assert!(Pace { election_min_ms: 100, ..Pace::TEST }.config().is_err());
        let fast = Pace { heartbeat_ms: 4 * HEARTBEAT_GATHER_MS - 1, ..Pace::TEST };
        assert!(matches!(fast.config(), Err(Error::Invalid(rule)) if rule.contains("gathered")));
    }

    #[test]
    fn every_mandatory_setting_is_missed() {
        let good = Config::clone(&Pace::TEST.config().unwrap());
        let breaks: [fn(&mut Config); 7] = [
            |config| config.enable_leader_restore = None,
            |config| config.enable_elect = true,
            |config| config.enable_pre_vote = None,
            |config| config.allow_log_reversion = None,
            |config| config.snapshot_policy = SnapshotPolicy::LogsSinceLast(5_000),
            |config| config.max_in_snapshot_log_to_keep = 1_000,
            |config| config.quorum_loss_probe_interval = None,
        ];
        for break_one in breaks {
            let mut config = good.clone();
            break_one(&mut config);
            assert!(assert_mandatory(&config).is_err());
        }
    }
}
