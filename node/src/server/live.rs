//! Settings that are read again while the node runs, and where each of them holds.

use super::Server;
use super::disk::Marks;
use crate::config::{Config, Live};
use crate::telemetry::logs;
use crate::work::crowd::Bounds;
use std::sync::Arc;

/// How many connections of clients there may be.
pub(super) fn places(live: &Live) -> Bounds {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Bounds { all: count(live.connections), of_source: count(live.connections_per_source) }
}

/// From how full a disk on what follows.
pub(super) fn marks(live: &Live) -> Marks {
    Marks { warn: live.disk_warn_percent, stop: live.disk_stop_percent }
}

/// Pure: settings that differ and hold only from the next start on, or never.
#[must_use]
pub fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut differ = Vec::new();
    if before.cluster != after.cluster {
        differ.push("those of the cluster, which are fixed when it is made");
    }
    if before.node != after.node {
        differ.push("those of the node, which are read at its start");
    }
    differ
}

impl Server {
    /// The settings that hold now.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// From now on these hold.
    pub fn set_live(&self, live: Live) {
        self.disk.set_marks(marks(&live));
        self.told.clients.set_known(places(&live));
        logs::set_level(&live.log_level);
        self.live.store(Arc::new(live));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    fn config(values: &[(&str, &str)]) -> Config {
        let usual = [
            ("name", "a"),
            ("advertise.client", "a:1"),
            ("advertise.admin", "a:2"),
            ("advertise.peer", "a:3"),
        ];
        let all = usual.iter().chain(values).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        file::load(None, [], all).unwrap()
    }

    #[test]
    fn what_is_read_only_at_a_start_is_told() {
        let before = config(&[]);
        assert_eq!(
            needs_restart(&before, &config(&[("quota.connections", "77"), ("log_level", "debug")])),
            [""; 0]
        );
        assert_eq!(needs_restart(&before, &config(&[("shards", "5"), ("region", "x")])).len(), 2);
    }

    #[test]
    fn live_settings_say_where_they_hold() {
        let values = [
            ("quota.connections", "9"),
            ("quota.connections_per_source", "8"),
            ("disk.warn_percent", "7"),
            ("disk.stop_percent", "60"),
        ];
        let live = config(&values).live;
        assert_eq!(places(&live), Bounds { all: 9, of_source: 8 });
        assert_eq!(marks(&live), Marks { warn: 7, stop: 60 });
    }
}
