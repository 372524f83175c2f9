//! A cluster of nodes in this process, over a machine that records what it was told.
#![allow(dead_code)]

pub(crate) mod recorder;

use std::net::TcpListener;
use std::time::Duration;

use ruvector_node::{Handle, Node, NodeConfig, Tuning};
use tempfile::TempDir;

pub(crate) use recorder::Recorder;

/// Nodes that can be stopped and started again on their directories.
pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
    pub(crate) nodes: Vec<Option<Node<Recorder>>>,
    members: Vec<(String, String)>,
    tuning: Tuning,
}

impl Cluster {
    pub(crate) fn start(count: usize, tuning: Tuning) -> Self {
        Self::start_with(count, tuning, |_| Recorder::default())
    }

    /// Starts each node with a machine of the test's choice.
    pub(crate) fn start_with(count: usize, tuning: Tuning, machine: impl Fn(usize) -> Recorder) -> Self {
        // Not at 127.0.0.1: a peer that dials a node that is stopped could be given its port to dial from.
        let listeners: Vec<_> =
            (0..count).map(|_| TcpListener::bind("127.0.0.2:0").expect("a free port")).collect();
        let members: Vec<_> = (1..)
            .zip(&listeners)
            .map(|(number, listener)| {
                (format!("node-{number}"), listener.local_addr().expect("bound").to_string())
            })
            .collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self { directory, nodes: Vec::new(), members, tuning };
        for (number, listener) in listeners.into_iter().enumerate() {
            let node = Node::start(cluster.config(number, listener), |_| machine(number));
            cluster.nodes.push(Some(node.expect("the node starts")));
        }
        cluster
    }

    fn config(&self, number: usize, peer_listener: TcpListener) -> NodeConfig {
        NodeConfig {
            cluster_name: "test".to_owned(),
            node_name: self.members[number].0.clone(),
            initial_members: self.members.clone(),
            groups: Vec::new(),
            data_directory: self.directory.path().join(&self.members[number].0),
            peer_listener,
            client_address: format!("127.0.0.1:{}", number + 1),
            tuning: self.tuning.clone(),
        }
    }

    pub(crate) fn handle(&self, number: usize) -> Handle<Recorder> {
        self.nodes[number].as_ref().expect("the node runs").handle()
    }

    pub(crate) fn stop(&mut self, number: usize) {
        self.nodes[number] = None;
    }

    pub(crate) fn restart(&mut self, number: usize) {
        self.restart_with(number, Recorder::default());
    }

    /// Starts a node with a machine other than a good one.
    pub(crate) fn restart_with(&mut self, number: usize, machine: Recorder) {
        let listener = TcpListener::bind(&self.members[number].1).expect("its port is free again");
        let mut machine = Some(machine);
        let only = |_: &str| machine.take().expect("one group");
        let node = Node::start(self.config(number, listener), only);
        self.nodes[number] = Some(node.expect("the node starts"));
    }

    /// Which node leads, once one does and all running nodes say so.
    pub(crate) async fn leader(&self) -> usize {
        eventually("a leader that all know", async || {
            let running: Vec<_> = self.nodes.iter().flatten().map(Node::handle).collect();
            let leader = running.first()?.leader()?;
            running.iter().all(|handle| handle.leader() == Some(leader)).then_some(())?;
            self.nodes
                .iter()
                .position(|node| node.as_ref().is_some_and(|node| node.handle().node_id() == leader))
        })
        .await
    }
}

/// Asks until there is an answer, patiently.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited a minute for {what}");
}
