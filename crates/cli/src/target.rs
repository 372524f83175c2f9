//! Which nodes a verb is about.

use std::time::Duration;

use ruvector_client::{Client, ClientOptions, Endpoint, GroupName};

use crate::failure::{Failure, Result};
use crate::local::{Home, LocalCluster, ports};
use crate::options::Common;

/// The nodes that a verb is about, and the group.
#[derive(Debug)]
pub(crate) struct Target {
    nodes: Nodes,
    group: GroupName,
}

/// The nodes that a verb is about.
#[derive(Debug)]
enum Nodes {
    /// Given by address.
    Endpoints(Vec<Endpoint>),
    /// A remembered cluster of this machine.
    Local(Box<LocalCluster>),
}

/// How long the nodes may take to answer a verb.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to go on trying while no node can be connected to.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(1);

impl Target {
    /// By `--endpoints`, `--cluster`, the environment, or a remembered cluster, in this order.
    ///
    /// # Errors
    /// If both flags are given, or nothing is given and it is not clear which cluster is meant.
    pub(crate) fn find(common: &Common) -> Result<Self> {
        let nodes = match (common.endpoints.is_empty(), &common.cluster) {
            (false, Some(_)) => {
                return Err(Failure::usage(
                    "--endpoints and --cluster both say which nodes are meant: give one of them",
                ));
            }
            (false, None) => Nodes::Endpoints(common.endpoints.clone()),
            (true, Some(name)) => Nodes::Local(Box::new(Home::find()?.cluster(name)?)),
            (true, None) => match endpoints_of_environment()? {
                Some(endpoints) => Nodes::Endpoints(endpoints),
                None => Nodes::Local(Box::new(Home::find()?.cluster_meant()?)),
            },
        };
        Ok(Self { nodes, group: common.group.clone() })
    }

    /// A cluster of this machine.
    pub(crate) fn of_cluster(cluster: &LocalCluster) -> Self {
        Self { nodes: Nodes::Local(Box::new(cluster.clone())), group: GroupName::default() }
    }

    /// The same group at other nodes.
    pub(crate) fn at(&self, endpoints: Vec<Endpoint>) -> Self {
        Self { nodes: Nodes::Endpoints(endpoints), group: self.group.clone() }
    }

    /// A client of all these nodes.
    pub(crate) fn client(&self) -> Result<Client> {
        self.client_with_timeout(REQUEST_TIMEOUT)
    }

    /// What to call the node at an endpoint: its name, if the registry knows it.
    pub(crate) fn label<'a>(&'a self, endpoint: &'a Endpoint) -> &'a str {
        let address = endpoint.as_str();
        match &self.nodes {
            Nodes::Endpoints(_) => address,
            Nodes::Local(cluster) => {
                let node = cluster.nodes.iter().find(|node| node.client == address);
                node.map_or(address, |node| &node.id)
            }
        }
    }

    /// A client of all these nodes that waits no longer than this for an answer.
    ///
    /// # Errors
    /// If it is a cluster of this machine that does not run at all.
    pub(crate) fn client_with_timeout(&self, request_timeout: Duration) -> Result<Client> {
        self.require_running()?;
        let options = ClientOptions {
            request_timeout,
            unreachable_timeout: UNREACHABLE_TIMEOUT,
            group: self.group.clone(),
            ..ClientOptions::default()
        };
        Ok(match &self.nodes {
            Nodes::Endpoints(endpoints) => Client::new(endpoints, options)?,
            Nodes::Local(cluster) => {
                Client::new(cluster.nodes.iter().map(|node| node.client.as_str()), options)?
            }
        })
    }
}

impl Target {
    fn require_running(&self) -> Result {
        let Nodes::Local(cluster) = &self.nodes else { return Ok(()) };
        // A node may also have been started by hand, with `serve`: then its port is taken.
        if cluster.nodes.iter().any(|node| node.runs() || !ports::is_free(&node.client)) {
            return Ok(());
        }
        let name = &cluster.name;
        let chosen = if name.is_default() { String::new() } else { format!(" --cluster {name}") };
        Err(Failure::failed(format!(
            "cluster `{name}` does not run: start it with `ruvector consensus start{chosen}`"
        )))
    }
}

/// For verbs that act on processes and files of this machine.
///
/// # Errors
/// If `--endpoints` was given, or it is not clear which cluster is meant.
pub(crate) fn local_cluster(common: &Common, verb: &str) -> Result<(Home, LocalCluster)> {
    if !common.endpoints.is_empty() {
        return Err(Failure::usage(format!(
            "`{verb}` acts on a cluster of this machine, not on endpoints: name it with --cluster"
        )));
    }
    let home = Home::find()?;
    let cluster = match &common.cluster {
        Some(name) => home.cluster(name)?,
        None => home.cluster_meant()?,
    };
    Ok((home, cluster))
}

fn endpoints_of_environment() -> Result<Option<Vec<Endpoint>>> {
    let Ok(text) = std::env::var("RUVECTOR_ENDPOINTS") else { return Ok(None) };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let endpoints = text.split(',').map(|part| part.trim().parse()).collect::<std::result::Result<_, _>>();
    endpoints.map(Some).map_err(|error| Failure::usage(format!("RUVECTOR_ENDPOINTS: {error}")))
}
