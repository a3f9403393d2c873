//! What may stand on the line.

use super::backup::BackupVerb;
use super::delayed::DelayedVerb;
use super::drill::DrillVerb;
use super::group::GroupVerb;
use super::output::Format;
use super::restore::RestoreVerb;
use clap::{Args as Part, Parser, Subcommand};
use clap_complete::Shell;

/// Talks to a cluster of Dewpond.
#[derive(Debug, Parser)]
#[command(name = "dew", version, disable_help_subcommand = true)]
pub struct Args {
    /// The context to use: which cluster, as whom. Else DEW_CONTEXT names it, or `dew context use`; but never a protected one.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The tenant whose data is meant.
    #[arg(long, short, global = true, env = "DEW_TENANT")]
    pub tenant: Option<String>,
    /// How to print.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// How long a call may take, in milliseconds.
    #[arg(long, global = true, default_value_t = 10_000)]
    pub deadline_ms: u64,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows how the cluster is.
    Status,
    /// Which cluster, as whom.
    #[command(subcommand)]
    Context(ContextVerb),
    /// Tenants and their lives.
    #[command(subcommand)]
    Tenant(TenantVerb),
    /// Reads a key.
    Get {
        #[command(flatten)]
        key: Key,
        /// As it was: a stamp, an RFC 3339 time, or `-90m`.
        #[arg(long, allow_hyphen_values = true)]
        as_of: Option<String>,
        /// Reads the archive, where the history of the cluster does not reach.
        #[arg(long, requires = "as_of")]
        archive: bool,
    },
    /// Writes a key.
    Put {
        #[command(flatten)]
        key: Key,
        /// The value; `-` reads it from the standard input.
        value: String,
        /// Only if the key has no value.
        #[arg(long, conflicts_with = "if_stamp")]
        if_absent: bool,
        /// Only if this is its newest version.
        #[arg(long)]
        if_stamp: Option<String>,
        /// It expires after so long: `90s`, `5m`, `1h`.
        #[arg(long)]
        ttl: Option<String>,
    },
    /// Removes a key.
    Delete {
        #[command(flatten)]
        key: Key,
        /// Only if this is its newest version.
        #[arg(long)]
        if_stamp: Option<String>,
    },
    /// Writes a key if its value is still the expected one.
    Cas {
        #[command(flatten)]
        key: Key,
        /// The value that is expected.
        expected: String,
        /// The new value.
        value: String,
    },
    /// Reads a range.
    Scan {
        #[command(flatten)]
        range: Range,
        /// At most so many rows; 0 all.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// From the end backward.
        #[arg(long)]
        reverse: bool,
        /// As it was: a stamp, an RFC 3339 time, or `-90m`.
        #[arg(long, allow_hyphen_values = true)]
        as_of: Option<String>,
        /// Reads the archive, where the history of the cluster does not reach.
        #[arg(long, requires = "as_of", conflicts_with = "reverse")]
        archive: bool,
    },
    /// Shows the versions of a key, newest first.
    History {
        #[command(flatten)]
        key: Key,
        /// At most so many; 0 all.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// Goes on in the archive, where the history of the cluster ends.
        #[arg(long)]
        archive: bool,
        /// Of the archive only what is newer: a stamp, an RFC 3339 time, or `-90m`.
        #[arg(long, requires = "archive", allow_hyphen_values = true)]
        since: Option<String>,
    },
    /// Shows changes as they happen.
    Watch {
        #[command(flatten)]
        range: Range,
        /// Those behind this stamp; else from now on.
        #[arg(long)]
        after: Option<String>,
        /// Ends after so many changes; 0 never.
        #[arg(long, default_value_t = 0)]
        count: u64,
    },
    /// Tells what became of a write whose outcome was unknown, and closes it: what was not applied by then never will be.
    Outcome {
        /// The id of the write, as the error has told it.
        id: crate::RequestId,
    },
    /// Collections.
    #[command(subcommand)]
    Collection(CollectionVerb),
    /// Writes the lines of a file, each a JSON document.
    Import(Import),
    /// Prints a collection, each row a line of JSON that `import` reads.
    Export(Range),
    /// Measures puts and gets.
    Bench(Bench),
    /// The machine room.
    #[command(subcommand)]
    Node(NodeVerb),
    /// Lets every node walk its tables for damage, and mend what it finds: `job list` says how far each is.
    Scrub,
    /// Raft groups.
    #[command(subcommand)]
    Group(GroupVerb),
    /// What takes long and goes on by itself.
    #[command(subcommand)]
    Job(JobVerb),
    /// Delayed nodes: they apply late, so that a mistake can be undone.
    #[command(subcommand)]
    Delayed(DelayedVerb),
    /// Data comes back, as it was at an instant.
    #[command(subcommand)]
    Restore(RestoreVerb),
    /// Keys.
    #[command(subcommand)]
    Key(KeyVerb),
    /// Certificates.
    #[command(subcommand)]
    Identity(IdentityVerb),
    /// Snapshots in the archive.
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Drills: whether what is archived comes back.
    #[command(subcommand)]
    Drill(DrillVerb),
    /// Shows what can be restored from the archive, and from which site.
    Window,
    /// Explains the code of an error. Needs no network.
    Explain {
        /// The code: DEW-4003.
        code: String,
    },
    /// Prints what makes a shell complete commands. Needs no network.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Prints what may stand at the end of a line, for shells.
    #[command(hide = true)]
    Complete {
        /// The words of the line behind `dew`; the last one is not finished.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Prints the version. Needs no network.
    Version,
}

/// A collection and a key in it.
#[derive(Debug, Part)]
pub struct Key {
    /// The collection.
    #[arg(long, short)]
    pub collection: String,
    /// The key.
    pub key: String,
}

/// A collection and a range of it; never bare words.
#[derive(Debug, Part)]
pub struct Range {
    /// The collection.
    #[arg(long, short)]
    pub collection: String,
    /// Keys that begin so.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub prefix: Option<String>,
    /// The first key.
    #[arg(long)]
    pub from: Option<String>,
    /// The first key behind.
    #[arg(long)]
    pub to: Option<String>,
}

/// What to import.
#[derive(Debug, Part)]
pub struct Import {
    /// The file, a JSON document a line: `{"collection", "key", "value"}`, or any with `--collection` and `--key-field`.
    pub file: String,
    /// The collection of all lines.
    #[arg(long, short, requires = "key_field")]
    pub collection: Option<String>,
    /// The field of a line that is its key; the whole line is the value.
    #[arg(long, requires = "collection")]
    pub key_field: Option<String>,
    /// Keeps the progress here, and goes on from there.
    #[arg(long)]
    pub resume: Option<String>,
    /// Lines in one batch.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=5000))]
    pub batch: u64,
    /// Batches under way at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub in_flight: u64,
}

/// What to measure.
#[derive(Debug, Part)]
pub struct Bench {
    /// What to do.
    #[arg(value_parser = ["put", "get", "mix"])]
    pub what: String,
    /// The collection that is written.
    #[arg(long, short, default_value = "bench")]
    pub collection: String,
    /// Calls under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub in_flight: u64,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Keys.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextVerb {
    /// Shows all.
    List,
    /// Makes one the default.
    Use {
        /// Its name.
        name: String,
    },
    /// Makes one hard to hurt: it is used only where the line names it, and what is dangerous is typed by a person.
    Protect {
        /// Its name.
        name: String,
    },
    /// Takes that back.
    Unprotect(Dangerous),
    /// Writes one.
    Add {
        /// Its name.
        name: String,
        /// A node for clients.
        #[arg(long = "endpoint")]
        endpoints: Vec<String>,
        /// A node for administrators.
        #[arg(long = "admin-endpoint")]
        admin_endpoints: Vec<String>,
        /// The file with the certificate of the authority.
        #[arg(long)]
        ca: String,
        /// The file with the certificate.
        #[arg(long)]
        certificate: String,
        /// The file with its key.
        #[arg(long)]
        key: String,
    },
}

/// What to do with collections.
#[derive(Debug, Subcommand)]
pub enum CollectionVerb {
    /// Shows all of a tenant.
    List,
}

/// A name, and the same again where it matters.
#[derive(Debug, Part)]
pub struct Dangerous {
    /// Its name.
    pub name: String,
    /// The name again: this is dangerous.
    #[arg(long)]
    pub confirm: Option<String>,
}

/// What a tenant may use.
#[derive(Debug, Part)]
pub struct Quota {
    /// Bytes it may hold; 0: no bound.
    #[arg(long)]
    pub quota_bytes: Option<u64>,
    /// Operations a second; 0: no bound.
    #[arg(long)]
    pub quota_operations: Option<u64>,
    /// How long versions are kept: `36h`.
    #[arg(long)]
    pub history: Option<String>,
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantVerb {
    /// Shows all.
    List,
    /// Shows one.
    Show {
        /// Its name.
        name: String,
    },
    /// Makes one.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        quota: Quota,
    },
    /// Refuses its reads and writes.
    Freeze(Dangerous),
    /// Serves it again.
    Unfreeze {
        /// Its name.
        name: String,
    },
    /// Puts it in quarantine: refused now, gone when the window has passed.
    Drop(Dangerous),
    /// Takes it out of quarantine.
    Undrop {
        /// Its name.
        name: String,
    },
    /// Changes what it may use.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        quota: Quota,
    },
}

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Shows all.
    List,
    /// Makes a token that lets one new node in.
    Add {
        /// How long it holds: `1h`.
        #[arg(long)]
        valid: Option<String>,
    },
    /// Takes all replicas away from a node, by its name.
    Drain(Dangerous),
    /// Gives replicas to a drained node again.
    Undrain {
        /// Its name.
        name: String,
    },
    /// Lets a drained node go for good.
    Remove(Dangerous),
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub enum JobVerb {
    /// Shows all.
    List,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Shows all, or those of one tenant.
    List {
        /// The tenant.
        name: Option<String>,
    },
    /// Makes new ones.
    Rotate {
        /// Which: the data keys of a tenant, the key of a tenant, or that of the cluster.
        #[arg(value_parser = ["data", "tenant", "cluster"])]
        which: String,
        /// The tenant.
        #[arg(required_if_eq_any = [("which", "data"), ("which", "tenant")])]
        name: Option<String>,
    },
}

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// Makes a key here, and has its certificate issued.
    Issue {
        /// For a service of this tenant.
        #[arg(long, conflicts_with = "admin", required_unless_present = "admin")]
        service_of: Option<String>,
        /// For an administrator of this name.
        #[arg(long)]
        admin: Option<String>,
        /// Where to write: FOLDER/NAME.crt, NAME.key and ca.crt.
        #[arg(long, default_value = ".")]
        folder: String,
        /// How long it holds: `2160h`.
        #[arg(long)]
        valid: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_line_is_consistent_and_refuses_what_is_dangerous_to_guess() {
        Args::command().debug_assert();
        let parses = |line: &str| Args::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("dew -t acme scan -c users --prefix a"));
        assert!(!parses("dew scan -c users a b"), "no positional ranges");
        assert!(!parses("dew scan -c users --prefix a --from b"));
        assert!(!parses("dew put -c users a 1 --if-absent --if-stamp 1.0"));
        assert!(parses("dew get -c users a --as-of -90m -o json"));
        assert!(!parses("dew key rotate data") && parses("dew key rotate data acme"));
        assert!(parses("dew key rotate cluster") && parses("dew tenant drop acme --confirm acme"));
        assert!(!parses("dew import f -c users") && parses("dew import f -c users --key-field id"));
        assert!(!parses("dew identity issue") && !parses("dew identity issue --admin a --service-of b"));
    }
}
