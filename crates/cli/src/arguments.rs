//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use ruvector_client::Endpoint;

use crate::local::ClusterName;
use crate::verbs::{init, kv, lifecycle, log, quorum, read, serve, snapshot, status, txn, watch};

#[derive(Debug, Parser)]
#[command(
    name = "ruvector",
    version,
    about = "Replicated state, leader election and quorum decisions, as one program.",
    after_help = "Examples:
  ruvector consensus init                    a three-node cluster on this machine
  ruvector consensus put greeting hello
  ruvector consensus status --detailed
  ruvector completion bash > ~/.local/share/bash-completion/completions/ruvector"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) area: Area,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Area {
    /// Run and operate consensus clusters.
    Consensus(Box<Consensus>),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  ruvector completion zsh > ~/.zfunc/_ruvector")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages.
    #[command(
        hide = true,
        after_help = "Example:
  ruvector man ~/.local/share/man/man1"
    )]
    Man {
        /// Where to.
        directory: std::path::PathBuf,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus init --nodes 3          make a cluster on this machine and start it
  ruvector consensus put greeting hello      use it
  ruvector consensus get greeting
  ruvector consensus watch --prefix \"\"       see every change as it happens
  ruvector consensus status --detailed       see how every node does
  ruvector consensus stop                    end it; `start` goes on, `destroy` removes it")]
pub(crate) struct Consensus {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Nodes to talk to. Without it: RUVECTOR_ENDPOINTS, or a cluster that `init` made on this machine.
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT,…")]
    pub(crate) endpoints: Vec<Endpoint>,

    /// A cluster that `init` made on this machine; the only one, or `default`, if not given.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,

    /// The consensus group.
    #[arg(long, global = true, value_name = "GROUP", default_value = "metadata")]
    pub(crate) group: Group,

    /// Print JSON instead of tables and, on standard error, of what went wrong.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A consensus group. There is one so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    Metadata,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a cluster on this machine and start it.
    Init(init::Init),
    /// Start the nodes of a cluster of this machine that do not run.
    Start(lifecycle::Start),
    /// Stop the nodes of a cluster of this machine; their data stays.
    Stop(lifecycle::Stop),
    /// Stop a cluster of this machine and remove its data.
    Destroy(lifecycle::Destroy),
    /// Run one node in the foreground.
    Serve(serve::Serve),
    /// Show how the nodes do.
    Status(status::Status),
    /// Show who leads.
    Leader(quorum::Leader),
    /// Check whether the cluster can decide anything; fails if it can't.
    Quorum(quorum::Quorum),
    /// Write a key.
    Put(kv::Put),
    /// Read keys.
    Get(kv::Get),
    /// Delete keys.
    Del(kv::Del),
    /// See keys change, as it happens.
    Watch(watch::Watch),
    /// Compare keys, and do one thing or another depending on it, in one step.
    Txn(txn::Txn),
    /// Read a key at a chosen level of freshness.
    Read(read::Read),
    /// Show the newest entries of the replicated log.
    Log(log::Log),
    /// Drop old entries of the replicated log.
    CompactLog(log::CompactLog),
    /// Take, list or restore snapshots.
    Snapshot(snapshot::Snapshot),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
