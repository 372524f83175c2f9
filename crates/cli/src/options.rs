//! What every verb takes.

use clap::{Args, ValueEnum};
use ruvector_client::Endpoint;

use crate::local::ClusterName;

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
