//! Clusters whose nodes run on this machine: remembered in files, started and stopped as processes.
//!
//! [`Home`] is the registry, one JSON file for each cluster; [`process`] starts, recognises and ends a node's
//! process; [`launch`] brings a whole cluster up or down; [`ports`] says who has a port.

pub(crate) mod launch;
pub(crate) mod ports;
pub(crate) mod process;
mod registry;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use process::NodeProcess;
pub(crate) use registry::Home;

use crate::retention::RetentionArguments;

/// A cluster whose nodes run on this machine, as the registry remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalCluster {
    /// Its name.
    pub(crate) name: ClusterName,
    /// In hexadecimal, once a node has told it.
    pub(crate) cluster_id: Option<String>,
    /// Where the nodes' data directories are.
    pub(crate) directory: PathBuf,
    /// The nodes, by number.
    pub(crate) nodes: Vec<LocalNode>,
    /// How much history they keep.
    #[serde(default)]
    pub(crate) retention: RetentionArguments,
}

/// A node of a local cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalNode {
    /// `node-1` and so on.
    pub(crate) id: String,
    /// Where it listens for clients, `host:port`.
    pub(crate) client: String,
    /// Where it listens for peers, `host:port`.
    pub(crate) peer: String,
    /// Where it keeps everything.
    pub(crate) data_dir: PathBuf,
    /// The process that was started last.
    pub(crate) process: Option<NodeProcess>,
}

impl LocalCluster {
    /// Lays out a new cluster: node i listens for clients on `base_port + 10·(i − 1)`, for peers on the next port.
    pub(crate) fn lay_out(name: ClusterName, directory: PathBuf, node_count: u16, base_port: u16) -> Self {
        let nodes = (0..node_count)
            .map(|number| {
                let id = format!("node-{}", number + 1);
                let client_port = base_port + 10 * number;
                LocalNode {
                    client: format!("127.0.0.1:{client_port}"),
                    peer: format!("127.0.0.1:{}", client_port + 1),
                    data_dir: directory.join(&id),
                    process: None,
                    id,
                }
            })
            .collect();
        Self { name, cluster_id: None, directory, nodes, retention: RetentionArguments::default() }
    }

    /// `node-1=host:port,node-2=host:port`, as `serve` takes it.
    pub(crate) fn initial_nodes(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("{}={}", node.id, node.peer)).collect();
        nodes.join(",")
    }

    /// `host:port,host:port`, as `--endpoints` takes it.
    pub(crate) fn endpoints(&self) -> String {
        let clients: Vec<&str> = self.nodes.iter().map(|node| node.client.as_str()).collect();
        clients.join(",")
    }
}

impl LocalNode {
    /// What the node's process writes.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.data_dir.join("node.log")
    }

    /// Whether the process that was started last still runs.
    pub(crate) fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.runs(self))
    }

    /// Whether the process that was started last was killed and still has its ports and files.
    pub(crate) fn is_ending(&self) -> bool {
        self.process.as_ref().is_some_and(NodeProcess::is_ending)
    }

    /// Whether it neither runs nor still has its ports and files.
    pub(crate) fn has_ended(&self) -> bool {
        !self.runs() && !self.is_ending()
    }

    /// Its process id, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().filter(|process| process.runs(self)).map(|process| process.pid)
    }
}

/// The name of a local cluster: fit to be a file name everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ClusterName(String);

impl ClusterName {
    /// The name that `init` gives if none is given.
    pub(crate) fn default_name() -> Self {
        Self("default".to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default_name()
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LENGTH_MAX: usize = 63;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins_well && text.len() <= LENGTH_MAX && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a name has 1 to {LENGTH_MAX} letters, digits, `-`, `_` and `.`, and begins with a letter or digit"
            ))
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_gives_every_node_its_ports_and_directory() {
        let cluster = LocalCluster::lay_out("c".parse().unwrap(), "/d".into(), 3, 7400);
        assert_eq!(cluster.endpoints(), "127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420");
        assert_eq!(
            cluster.initial_nodes(),
            "node-1=127.0.0.1:7401,node-2=127.0.0.1:7411,node-3=127.0.0.1:7421"
        );
        assert_eq!(cluster.nodes[2].data_dir, PathBuf::from("/d/node-3"));
    }

    #[test]
    fn a_name_that_could_leave_the_registry_is_refused() {
        for name in ["", ".", "..", "../x", "a/b", "-a", "a b", "ä", &"x".repeat(64)] {
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
        for name in ["default", "a", "A.b_c-9", &"x".repeat(63)] {
            assert!(name.parse::<ClusterName>().is_ok(), "{name}");
        }
    }
}
