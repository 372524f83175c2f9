//! A cluster of this machine and its nodes, as the registry remembers them.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::name::ClusterName;
use super::process::NodeProcess;
use crate::failure::{Doing, Result};
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
    /// The groups beside the metadata group, as `serve` takes them.
    #[serde(default)]
    pub(crate) groups: Option<String>,
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
        Self {
            name,
            cluster_id: None,
            directory,
            nodes,
            groups: None,
            retention: RetentionArguments::default(),
        }
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
        self.process.as_ref().is_some_and(|process| process.runs(&self.data_dir))
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
        self.process.as_ref().filter(|process| process.runs(&self.data_dir)).map(|process| process.pid)
    }

    /// Sends a signal to the process that was started last, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) -> Result {
        let Some(process) = &self.process else { return Ok(()) };
        process
            .signal(&self.data_dir, signal)
            .doing(|| format!("signal {} (process {})", self.id, process.pid))
    }

    /// The last lines of its log.
    pub(crate) fn last_log_lines(&self, line_count: usize) -> Vec<String> {
        const TAIL_BYTES: u64 = 16 << 10;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(self.log_file())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        let Ok(tail) = read() else { return Vec::new() };
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(line_count)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn node(data_directory: &Path) -> LocalNode {
        LocalNode {
            id: "node-1".to_owned(),
            client: String::new(),
            peer: String::new(),
            data_dir: data_directory.to_owned(),
            process: None,
        }
    }

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
    fn the_last_lines_of_a_log_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let node = node(directory.path());
        assert!(node.last_log_lines(2).is_empty());
        let text: String = (0..5_000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(node.log_file(), text).unwrap();
        assert_eq!(node.last_log_lines(2), ["line 4998", "line 4999"]);
    }
}
