//! Pure: the command line of the server.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A replicated, sharded, sealed key-value store.
#[derive(Debug, Parser)]
#[command(name = "dewpond", version, about)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the node that lives in a folder.
    Serve(Serve),
    /// Makes the folder of a new cluster's first node.
    Init(Init),
    /// Makes the folder of a node that a cluster lets in.
    Join(Join),
    /// Looks at a configuration; touches nothing.
    #[command(subcommand)]
    Config(Config),
    /// Runs a cluster of three nodes on this machine, with data to play with.
    Demo(Demo),
    /// Lets the cluster go on from the node in this folder, which does not run, when the others are gone for good.
    Takeover(TakeOver),
}

/// Runs a node.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where its configuration comes from.
    #[command(flatten)]
    pub from: From,
    /// Stops when the standard input ends, as it does when whoever started the node is gone.
    #[arg(long)]
    pub end_with_stdin: bool,
}

/// Runs a cluster to play with.
#[derive(Debug, Args)]
pub struct Demo {
    /// Goes through a tour by itself, breaks things on the way, and prints what it found as one line of JSON.
    #[arg(long, value_name = "TOUR", num_args = 0..=1, default_missing_value = "serving")]
    pub check: Option<Check>,
    /// Keeps everything in this folder, which must not exist yet. Otherwise it is gone at the end.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// What the demo goes through by itself.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Check {
    /// Imports, loses a leader, restarts, grows, reads the past, rotates keys, and searches all files.
    Serving,
    /// Deletes data and brings it back in three ways, then loses the whole cluster and brings that back.
    Recovery,
}

/// Where the configuration comes from: file, then environment (`DEWPOND_...`), then flags.
#[derive(Clone, Debug, Args)]
pub struct From {
    /// The file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, before file and environment; may come several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Makes a cluster.
#[derive(Debug, Args)]
pub struct Init {
    /// Where the configuration of its first node comes from.
    #[command(flatten)]
    pub from: From,
    /// What people call the cluster.
    #[arg(long, default_value = "dewpond")]
    pub cluster: String,
    /// The first administrator.
    #[arg(long, default_value = "admin")]
    pub admin: String,
    /// The folder for the certificate and key of that administrator.
    #[arg(long, value_name = "DIR")]
    pub admin_dir: PathBuf,
    /// Restores all tenants of another cluster from this site of its archive, as `archive.sites` has it: `NAME=file:///FOLDER`.
    #[arg(long, value_name = "SITE", requires_all = ["keyring", "at"])]
    pub restore: Option<String>,
    /// Where the keys of that cluster are kept, as `archive.keyring` has it.
    #[arg(long, value_name = "SITE", requires = "restore")]
    pub keyring: Option<String>,
    /// As of when: a time with its zone, a stamp, a commit, or `latest`.
    #[arg(long, value_name = "INSTANT", requires = "restore")]
    pub at: Option<String>,
    /// As what it comes back: a `clone` has an id, keys and an authority of its own.
    #[arg(long = "as", value_name = "WHAT", requires = "restore", value_parser = ["clone"], default_value = "clone")]
    pub comes_as: String,
    /// Which cluster, where keys of several are kept.
    #[arg(long, value_name = "ID", requires = "restore")]
    pub of_cluster: Option<String>,
    /// The file with the passphrase of that cluster, if it is another one than that of the new cluster.
    #[arg(long, value_name = "FILE", requires = "restore")]
    pub of_passphrase_file: Option<PathBuf>,
}

/// Joins a cluster.
#[derive(Debug, Args)]
pub struct Join {
    /// Where the configuration of the node comes from.
    #[command(flatten)]
    pub from: From,
    /// The token, as `dew node add` gives it.
    #[arg(long)]
    pub token: String,
    /// Makes it a delayed node, which applies what it stores so much later: `1h`. The setting `delayed.delay` says the same.
    #[arg(long, value_name = "TIME")]
    pub delay: Option<String>,
}

/// Takes over. Without `--confirm` it is only told what would be.
#[derive(Debug, Args)]
pub struct TakeOver {
    /// Where the configuration of the node comes from.
    #[command(flatten)]
    pub from: From,
    /// With all that the node has.
    #[arg(long, conflicts_with_all = ["at", "before"], required_unless_present_any = ["at", "before"])]
    pub newest: bool,
    /// As of this instant, itself included: a time with its zone, a stamp or a commit. Delayed nodes alone.
    #[arg(long, value_name = "INSTANT", conflicts_with = "before")]
    pub at: Option<String>,
    /// As of just before this instant. Delayed nodes alone.
    #[arg(long, value_name = "INSTANT")]
    pub before: Option<String>,
    /// Why: it stands in the log and in the rows of the cluster.
    #[arg(long)]
    pub reason: Option<String>,
    /// The name of the node, typed again: the cluster of before ends with it.
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// Looks at a configuration.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Whether it is valid.
    Check(From),
    /// Default, range and reason of a setting.
    Explain {
        /// The setting.
        key: String,
    },
    /// Every value, and the layer that set it.
    Show(From),
}
