//! Pure: everything that a person should be told of by itself, each with a name for ever, whether something does not work already, and the
//! command that shows more. `docs/operations.md` says of each what causes it, what to do, and what of it ends by itself.

/// One thing that may be found.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Whether something does not work; otherwise it may soon not.
    pub is_failure: bool,
    /// The command to type first.
    pub command: &'static str,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is: the name of a [`Kind`], perhaps of a later version.
    pub name: String,
    /// Whether something does not work; otherwise it may soon not.
    pub is_failure: bool,
    /// What it is, in words.
    pub text: String,
    /// The command to type.
    pub command: String,
}

impl Kind {
    /// It was found; `text` says what.
    #[must_use]
    pub fn found(&self, text: impl Into<String>) -> Finding {
        let (name, command) = (self.name.to_owned(), self.command.to_owned());
        Finding { name, is_failure: self.is_failure, text: text.into(), command }
    }
}

impl Finding {
    /// How bad it is, in a word.
    #[must_use]
    pub fn level(&self) -> &'static str {
        if self.is_failure { "fail" } else { "warn" }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $constant:ident $name:literal $level:ident $command:literal;)+) => {
        $($(#[$doc])* pub const $constant: Kind =
            Kind { name: $name, is_failure: kinds!($level), command: $command };)+

        /// All of them.
        pub const ALL: &[&Kind] = &[$(&$constant),+];
    };
    (fail) => { true };
    (warn) => { false };
}

kinds! {
    /// A node of the cluster did not answer in time.
    NODE_UNHEARD "node_unheard" fail "dew node list";
    /// A node gives its replicas away.
    NODE_DRAINING "node_draining" warn "dew job list";
    /// The node has not gone on with its start yet.
    NODE_STARTING "node_starting" warn "dew status";
    /// The disk is too full to start on.
    NODE_UNSTARTED "node_unstarted" fail "dew status";
    /// The keys of the node do not open.
    NODE_SEALED "node_sealed" fail "dewpond config explain kms.passphrase_file";
    /// The cluster has gone on without the node.
    NODE_FENCED "node_fenced" fail "dew status";
    /// The loss of one node more stops writes.
    NODES_FEW "nodes_few" warn "dew node add";
    /// Nobody leads a group.
    GROUP_LEADERLESS "group_leaderless" fail "dew group list";
    /// Replicas of a group come or go.
    GROUP_MOVING "group_moving" warn "dew group list";
    /// A replica here does not run.
    REPLICA_DOWN "replica_down" fail "dew group list";
    /// Peers say that the wall clock here is wrong.
    CLOCK_DISPUTED "clock_disputed" fail "dew status";
    /// The wall clock here and those of peers part, and agree still.
    CLOCK_APART "clock_apart" warn "dew status";
    /// Bytes of a table here are not what was written.
    TABLE_DAMAGED "table_damaged" fail "dew job list";
    /// Replicas of a group do not hold the same rows.
    REPLICAS_DIFFER "replicas_differ" fail "dew group verify";
    /// The disk becomes full.
    DISK_TIGHT "disk_tight" warn "dew status";
    /// The disk is so full that no writes are taken.
    DISK_FULL "disk_full" fail "dew status";
    /// It is so full that nothing of other nodes is taken either.
    DISK_BRIMMING "disk_brimming" fail "dew status";
    /// It does not say how much room there is.
    DISK_SILENT "disk_silent" warn "dew status";
    /// The certificate of the node has ended.
    CERTIFICATE_ENDED "certificate_ended" fail "dew status";
    /// It ends within days.
    CERTIFICATE_ENDS "certificate_ends" warn "dew status";
    /// It was to be made anew, and was not.
    CERTIFICATE_STUCK "certificate_stuck" warn "dew status";
    /// Connections to a node fail.
    LINK_DOWN "link_down" warn "dew node list";
    /// Nodes of another cluster come to the door of peers.
    PEERS_FOREIGN "peers_foreign" warn "dew node list";
    /// A key does not open here.
    KEY_UNOPENED "key_unopened" fail "dew key list";
    /// The node cannot follow a rotation of the cluster key.
    ROOT_UNTAKEN "root_untaken" fail "dew key list";
    /// The door for metrics is taken by somebody else.
    METRICS_UNREAD "metrics_unread" warn "dewpond config explain listen.metrics";
    /// A delayed node holds its gate by itself, for what came in is suspicious.
    DELAYED_HELD "delayed_held" fail "dew delayed list";
    /// A person holds the gate of a delayed node, or has sent it to a target.
    DELAYED_PAUSED "delayed_paused" warn "dew delayed list";
    /// What a delayed node holds is not late yet.
    DELAYED_VOID "delayed_void" warn "dew delayed list";
    /// The gate of a delayed node is further than its delay allows.
    DELAYED_EARLY "delayed_early" fail "dew delayed list";
    /// It is far behind its delay.
    DELAYED_BEHIND "delayed_behind" warn "dew delayed list";
    /// Nothing comes in at a delayed node.
    DELAYED_STARVED "delayed_starved" fail "dew delayed list";
    /// A delayed node was away for longer than the log was kept for it.
    DELAYED_PARKED "delayed_parked" fail "dew delayed list";
    /// The disk of a delayed node is full: it takes nothing in.
    DELAYED_FULL "delayed_full" fail "dew delayed list";
    /// It is full within hours.
    DELAYED_RUNWAY "delayed_runway" fail "dew delayed list";
    /// The archive lies behind.
    ARCHIVE_BEHIND "archive_behind" warn "dew window";
    /// It has stood still for minutes.
    ARCHIVE_STALLED "archive_stalled" fail "dew window";
    /// A part of what is committed is not in it and never will be.
    ARCHIVE_GAP "archive_gap" fail "dew window";
    /// It is long since a drill has passed.
    DRILL_OLD "drill_old" fail "dew drill list";
    /// A site does not follow the home site.
    SITE_BEHIND "site_behind" warn "dew window";
    /// What retention lets go is not collected at a site.
    RETENTION_REFUSED "retention_refused" warn "dew backup retention";
    /// A restore does not come further.
    RESTORE_STILL "restore_still" warn "dew restore status";
    /// A restore has failed.
    RESTORE_FAILED "restore_failed" fail "dew restore status";
    /// The wrapped keys are not kept elsewhere as they are now.
    KEYRING_UNKEPT "keyring_unkept" warn "dewpond config explain archive.keyring";
    /// A snapshot does not go on.
    SNAPSHOT_STUCK "snapshot_stuck" warn "dew backup list";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// The entries of the page, by name.
    fn entries(page: &str) -> BTreeMap<&str, &str> {
        let entries = page.split("\n### `").skip(1);
        let entry = |text: &'_ str| -> Option<(usize, usize)> {
            Some((text.find('`')?, text.find("\n#").unwrap_or(text.len())))
        };
        entries.filter_map(|text| entry(text).map(|(name, end)| (&text[..name], &text[name..end]))).collect()
    }

    /// What is missing of a kind in its entry.
    fn complaints(kind: &Kind, entry: Option<&&str>) -> Vec<String> {
        let Some(entry) = entry else { return vec![format!("{} has no entry", kind.name)] };
        let level = if kind.is_failure { "(fail)" } else { "(warn)" };
        let mut parts = vec![level.to_owned(), format!("`{}`", kind.command)];
        parts.extend(["**Cause.** ", "**Look at.** ", "**Type.** ", "**By itself.** "].map(str::to_owned));
        parts.retain(|part| !entry.contains(part.as_str()));
        parts.iter().map(|part| format!("{} does not say {part}", kind.name)).collect()
    }

    #[test]
    fn every_finding_has_its_entry_in_the_runbook_and_no_entry_is_of_none() {
        let entries = entries(include_str!("../../docs/operations.md"));
        let missing: Vec<_> = ALL.iter().flat_map(|kind| complaints(kind, entries.get(kind.name))).collect();
        assert_eq!(missing, [""; 0]);
        let names: BTreeSet<_> = ALL.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name stands twice");
        assert_eq!(entries.keys().copied().collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn an_entry_that_lacks_something_is_complained_about() {
        let page = "\n### `disk_full` (fail)\n\n**Cause.** x\n**Look at.** y\n**Type.** `dew status`\n\n## More\n**By itself.** z\n";
        assert_eq!(
            complaints(&DISK_FULL, entries(page).get("disk_full")),
            ["disk_full does not say **By itself.** "]
        );
        assert_eq!(complaints(&DISK_TIGHT, entries(page).get("disk_tight")), ["disk_tight has no entry"]);
        let other = Kind { is_failure: false, command: "dew job list", ..DISK_FULL };
        assert_eq!(complaints(&other, entries(page).get("disk_full")).len(), 3);
    }
}
