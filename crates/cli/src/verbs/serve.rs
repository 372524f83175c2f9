//! `serve`: one node in the foreground.

use std::path::PathBuf;

use clap::Args;
use ruvector_server::{ConfigError, ServeError, ServerOptions, parse_groups, parse_initial_nodes};

use crate::failure::{Failure, Result};
use crate::options::Common;
use crate::retention::RetentionArguments;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus serve --config node.toml
  ruvector consensus serve --cluster prod --id node-1 --data-dir /var/lib/ruvector \\
      --listen-client 127.0.0.1:7400 --listen-peer 127.0.0.1:7401 \\
      --initial-nodes node-1=127.0.0.1:7401,node-2=127.0.0.1:7411,node-3=127.0.0.1:7421
  ruvector consensus serve --config node.toml --log-level debug

Flags win over the file. --cluster is the cluster's name. On a data directory that was used before,
--initial-nodes and --groups may be left out. SIGTERM and Ctrl-C end the node cleanly.")]
pub(crate) struct Serve {
    /// A TOML file with the same settings as the flags, and more.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// This node's name, unique in the cluster.
    #[arg(long, value_name = "NODE")]
    id: Option<String>,

    /// Where the node keeps everything; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Where to listen for clients.
    #[arg(long, value_name = "HOST:PORT")]
    listen_client: Option<String>,

    /// Where to listen for other nodes.
    #[arg(long, value_name = "HOST:PORT")]
    listen_peer: Option<String>,

    /// Where clients reach this node, if that is not where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    advertise_client: Option<String>,

    /// All first members of the cluster, this node among them, with their peer addresses.
    #[arg(long, value_name = "NODE=HOST:PORT,…")]
    initial_nodes: Option<String>,

    /// The cluster's groups beside `metadata`, each with its members; without any, all nodes are.
    #[arg(long, value_name = "GROUP[=NODE+NODE],…")]
    groups: Option<String>,

    /// Listen beyond this machine although there is no encryption and no password yet.
    #[arg(long)]
    insecure: bool,

    #[command(flatten)]
    retention: RetentionArguments,

    /// What to log: error, warn, info, debug or trace, or as in RUST_LOG.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// Log to this file instead of standard error. At 8 MiB it is put aside as FILE.1; FILE.3 is the oldest that is kept.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

impl Serve {
    pub(crate) fn run(self, common: Common) -> Result {
        if !common.endpoints.is_empty() {
            return Err(Failure::usage(
                "`serve` runs a node here: give --listen-client instead of --endpoints",
            ));
        }
        let file = match &self.config {
            Some(path) => ServerOptions::from_file(path).map_err(unusable)?,
            None => ServerOptions::default(),
        };
        let config = self.into_options(&common)?.or(file).into_config().map_err(unusable)?;
        ruvector_server::serve(config).map_err(ended)
    }

    fn into_options(self, common: &Common) -> Result<ServerOptions> {
        let initial_nodes =
            self.initial_nodes.as_deref().map(parse_initial_nodes).transpose().map_err(unusable)?;
        let groups = self.groups.as_deref().map(parse_groups).transpose().map_err(unusable)?;
        Ok(ServerOptions {
            groups,
            cluster: common.cluster.as_ref().map(ToString::to_string),
            id: self.id,
            data_dir: self.data_dir,
            listen_client: self.listen_client,
            listen_peer: self.listen_peer,
            advertise_client: self.advertise_client,
            initial_nodes,
            insecure: self.insecure.then_some(true),
            retention: self.retention.options(),
            log_level: self.log_level,
            log_file: self.log_file,
            ..ServerOptions::default()
        })
    }
}

fn unusable(error: ConfigError) -> Failure {
    match error {
        ConfigError::Missing { .. } => {
            Failure::usage(format!("{error}; `ruvector consensus serve --help` has an example"))
        }
        ConfigError::Unreadable { .. } | ConfigError::Invalid { .. } | ConfigError::Value { .. } => {
            Failure::usage(error.to_string())
        }
    }
}

fn ended(error: ServeError) -> Failure {
    Failure::failed(error.to_string())
}
