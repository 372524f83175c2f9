//! What every verb takes.

use clap::Args;
use ruvector_client::{Endpoint, GroupName};

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

    /// The consensus group. `status` lists those that there are.
    #[arg(long, global = true, value_name = "GROUP", default_value_t)]
    pub(crate) group: GroupName,

    /// Print JSON instead of tables and, on standard error, of what went wrong.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}
