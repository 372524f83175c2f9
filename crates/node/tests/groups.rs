//! Several groups on the nodes of one cluster.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use ruvector_node::{Handle, NewGroup, Node, NodeConfig, ReadLevel, Tuning};
use support::{Recorder, eventually};
use tempfile::TempDir;

/// Three nodes with the metadata group, one group of all and one of the first two.
struct Cluster {
    directory: TempDir,
    members: Vec<(String, String)>,
    nodes: Vec<Node<Recorder>>,
    tuning: Tuning,
}

const ALL: &str = "of-all";
const TWO: &str = "of-two";

fn groups() -> Vec<NewGroup> {
    let two = vec!["node-1".to_owned(), "node-2".to_owned()];
    vec![
        NewGroup { name: ALL.to_owned(), members: Vec::new() },
        NewGroup { name: TWO.to_owned(), members: two },
    ]
}

impl Cluster {
    fn start() -> Self {
        Self::start_with(Tuning::default())
    }

    fn start_with(tuning: Tuning) -> Self {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.4:0").unwrap()).collect();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let members =
            (1..).zip(&listeners).map(|(number, of)| (format!("node-{number}"), address(of))).collect();
        let mut cluster =
            Self { directory: tempfile::tempdir().unwrap(), members, nodes: Vec::new(), tuning };
        cluster.start_on(listeners);
        cluster
    }

    fn start_on(&mut self, listeners: Vec<TcpListener>) {
        for (number, listener) in listeners.into_iter().enumerate() {
            let config = self.config(number, listener, groups());
            self.nodes.push(Node::start(config, |_| Recorder::default()).unwrap());
        }
    }

    fn config(&self, number: usize, peer_listener: TcpListener, groups: Vec<NewGroup>) -> NodeConfig {
        NodeConfig {
            cluster_name: "test".to_owned(),
            node_name: self.members[number].0.clone(),
            initial_members: self.members.clone(),
            groups,
            data_directory: self.directory.path().join(&self.members[number].0),
            peer_listener,
            client_address: String::new(),
            tuning: self.tuning.clone(),
        }
    }

    fn restart_all(&mut self) {
        self.nodes.clear();
        let listeners = self.members.iter().map(|(_, address)| TcpListener::bind(address).unwrap()).collect();
        self.start_on(listeners);
    }

    fn group(&self, node: usize, name: &str) -> Handle<Recorder> {
        self.nodes[node].group(name).unwrap()
    }
}

async fn propose(handle: &Handle<Recorder>, command: &str) {
    let command = Bytes::copy_from_slice(command.as_bytes());
    eventually("a command committed", async || handle.propose(command.clone()).await.ok()).await;
}

async fn commands(handle: &Handle<Recorder>) -> Vec<Bytes> {
    let read = async || handle.read(ReadLevel::Strong).await.ok();
    eventually("a strong read", read).await.published.view.clone()
}

#[tokio::test]
async fn each_group_has_a_log_and_a_state_of_its_own_over_restarts() {
    let mut cluster = Cluster::start();
    for name in ["metadata", ALL, TWO] {
        for node in 0..2 {
            propose(&cluster.group(node, name), &format!("{name} {node}")).await;
        }
    }
    for _ in 0..2 {
        for name in ["metadata", ALL, TWO] {
            let expected: Vec<_> = (0..2).map(|node| Bytes::from(format!("{name} {node}"))).collect();
            for node in 0..2 {
                assert_eq!(commands(&cluster.group(node, name)).await, expected, "{name} at {node}");
            }
        }
        cluster.restart_all();
    }
}

#[tokio::test]
async fn a_node_has_the_groups_that_it_is_a_member_of_and_members_count_where_they_are() {
    let mut cluster = Cluster::start();
    assert!(cluster.nodes[2].group(TWO).is_none());
    let names: Vec<_> = cluster.nodes[2].groups().map(|group| group.group_name().to_owned()).collect();
    assert_eq!(names, ["metadata", ALL]);
    let status = eventually("a status", async || cluster.group(0, TWO).status().await.ok()).await;
    assert_eq!(
        (status.group.name.as_str(), status.group.voters.len(), status.group.peers.len()),
        (TWO, 2, 1)
    );
    let others = status.other_groups.iter().map(|group| (group.name.as_str(), group.voters.len()));
    assert_eq!(others.collect::<std::collections::BTreeMap<_, _>>(), [("metadata", 3), (ALL, 3)].into());
    assert_eq!(status.connections.len(), 2);
    propose(&cluster.group(0, TWO), "before").await;
    // The group of two does not miss the third node.
    cluster.nodes.truncate(2);
    propose(&cluster.group(0, TWO), "after").await;
    assert_eq!(commands(&cluster.group(1, TWO)).await.len(), 2);
}

/// Many segments of log for little data.
fn small_segments() -> Tuning {
    const SEGMENT_BYTES: u64 = 64 << 10;
    Tuning {
        segment_bytes: SEGMENT_BYTES,
        snapshot_log_bytes: 2 * SEGMENT_BYTES,
        snapshot_entries: 1_000_000,
        ..Tuning::default()
    }
}

/// Far more than a group may keep of the log.
const WRITTEN: usize = 4 << 20;

/// Groups that write a little and then nothing do not keep all that another writes. What is little is written once more, for
/// laggards; what is much goes behind a snapshot.
#[tokio::test]
async fn a_group_that_rests_does_not_keep_the_log_of_one_that_writes() {
    let mut cluster = Cluster::start_with(small_segments());
    let large = "x".repeat(16 << 10);
    propose(&cluster.group(0, ALL), "once").await;
    for _ in 0..3 {
        propose(&cluster.group(0, TWO), &large).await;
    }
    for _ in 0..WRITTEN / large.len() {
        propose(&cluster.group(0, "metadata"), &large).await;
    }
    for (node, group, has_snapshot) in
        [(0, ALL, false), (1, ALL, false), (2, ALL, false), (0, TWO, true), (1, TWO, true)]
    {
        let handle = cluster.group(node, group);
        let status = eventually("a short log", async || {
            // Each look comes with a write, without which no segment is begun.
            propose(&cluster.group(0, "metadata"), &large).await;
            let status = handle.status().await.ok()?;
            let is_released = !has_snapshot || status.group.snapshot_index.is_some();
            (status.log_bytes < WRITTEN as u64 / 2 && is_released).then_some(status)
        })
        .await;
        assert_eq!(status.group.snapshot_index.is_some(), has_snapshot, "{group} on node {node}: {status:?}");
        assert_eq!(status.group.first_index == 1, !has_snapshot, "{group} on node {node}: {status:?}");
    }
    propose(&cluster.group(0, ALL), "again").await;
    cluster.restart_all();
    assert_eq!(commands(&cluster.group(1, ALL)).await, ["once", "again"].map(Bytes::from));
    assert_eq!(commands(&cluster.group(1, TWO)).await.len(), 3);
}

/// Entries that nobody has committed can't go behind a snapshot, however many they are.
#[tokio::test]
async fn a_group_without_a_quorum_does_not_keep_the_log_of_one_that_has_it() {
    let mut cluster = Cluster::start_with(Tuning { election_timeout_ms: 2_000, ..small_segments() });
    let large = "x".repeat(16 << 10);
    propose(&cluster.group(0, TWO), "committed").await;
    let leader = eventually("a leader", async || cluster.group(0, TWO).leader()).await;
    let leads = usize::from(cluster.group(0, TWO).node_id() != leader);
    let (alone, metadata) = (cluster.group(leads, TWO), cluster.group(leads, "metadata"));
    drop(cluster.nodes.remove(1 - leads));
    // It leads for a while yet, and takes what it can't commit.
    let hopeless = alone.propose(Bytes::from(large.clone()));
    assert!(tokio::time::timeout(Duration::from_millis(100), hopeless).await.is_err());
    for _ in 0..WRITTEN / large.len() {
        propose(&metadata, &large).await;
    }
    eventually("a short log", async || {
        propose(&metadata, &large).await;
        (alone.status().await.ok()?.log_bytes < WRITTEN as u64 / 2).then_some(())
    })
    .await;
    let status = alone.group_status().await.unwrap();
    assert!(
        status.last_index > status.commit_index,
        "it was to have entries that are not committed: {status:?}"
    );
}

#[tokio::test]
async fn a_directory_keeps_its_groups_and_refuses_others() {
    let mut cluster = Cluster::start();
    propose(&cluster.group(0, TWO), "kept").await;
    cluster.nodes.clear();
    let start = |groups| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Node::start(cluster.config(0, listener, groups), |_| Recorder::default())
    };
    let mut others = groups();
    others[1].members.push("node-3".to_owned());
    let refused = start(others).map(Node::stop).unwrap_err().to_string();
    assert!(refused.contains("was made with the groups metadata,") && refused.contains(TWO), "{refused}");
    let unknown = vec![NewGroup { name: "x".to_owned(), members: vec!["node-9".to_owned()] }];
    let refused = start(unknown).map(Node::stop).unwrap_err().to_string();
    assert!(refused.contains("node-9"), "{refused}");
    for name in ["", "a b", "metadata"] {
        let bad = vec![NewGroup { name: name.to_owned(), members: Vec::new() }];
        assert!(start(bad).map(Node::stop).is_err(), "{name:?}");
    }
    let node = start(Vec::new()).unwrap();
    assert!(node.group(TWO).is_some() && node.group(ALL).is_some(), "they need not be named again");
}
