//! A node whose thread stands still, as in a system call that does not return, while the others go on.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use ruvector_node::{Answers, Batch, Budget, Hold, NodeError, ReadLevel, ReadResult, Tuning};
use support::{Cluster, Recorder, eventually};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// So many that nothing is published any more, as nobody reads: the next read has the node make a view.
const COMMANDS: usize = 200;

/// A cluster that can be told which node is to stand still.
struct Pausing {
    cluster: Cluster,
    switches: Vec<Arc<AtomicBool>>,
}

type Read = JoinHandle<Result<ReadResult<Vec<Bytes>>, NodeError>>;

impl Pausing {
    async fn start(tuning: Tuning) -> Self {
        let switches: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let machine =
            |node: usize| Recorder { is_paused: Arc::clone(&switches[node]), ..Recorder::default() };
        let cluster = Cluster::start_with(3, tuning, machine);
        let this = Self { cluster, switches };
        this.propose(0, 0..COMMANDS).await;
        this
    }

    async fn propose(&self, node: usize, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.cluster.handle(node).propose(Bytes::from(number.to_string())).await.unwrap();
        }
    }

    /// Has a node read, and stand still as soon as it has found that it may.
    fn pause_in_read(&self, node: usize, level: ReadLevel) -> Read {
        self.switches[node].store(true, Ordering::Relaxed);
        let handle = self.cluster.handle(node);
        tokio::spawn(async move { handle.read(level).await })
    }

    fn go_on(&self, node: usize) {
        self.switches[node].store(false, Ordering::Relaxed);
    }
}

impl Drop for Pausing {
    fn drop(&mut self) {
        (0..3).for_each(|node| self.go_on(node));
    }
}

#[tokio::test]
async fn a_lease_that_ended_before_the_read_was_made_is_not_trusted() {
    let tuning = Tuning { heartbeat_interval_ms: 50, election_timeout_ms: 1_000, ..Tuning::default() };
    let nodes = Pausing::start(tuning).await;
    let leader = nodes.cluster.leader().await;
    let other = (leader + 1) % 3;
    let read = nodes.pause_in_read(leader, ReadLevel::Lease);
    let old_leader = nodes.cluster.handle(leader).node_id();
    eventually("another leader", async || {
        nodes.cluster.handle(other).leader().filter(|leader| *leader != old_leader)
    })
    .await;
    nodes.propose(other, COMMANDS..COMMANDS + 1).await;
    nodes.go_on(leader);
    let read = read.await.unwrap().unwrap();
    assert_eq!(read.published.view.len(), COMMANDS + 1, "it was read under a lease that was over");
}

#[tokio::test]
async fn a_follower_that_stands_still_holds_up_nobody() {
    // Far less than what is written may be under way to one follower.
    let tuning = Tuning { inflight_bytes_max: 4 << 10, tail_bytes_max: 8 << 10, ..Tuning::default() };
    let nodes = Pausing::start(tuning).await;
    let leader = nodes.cluster.leader().await;
    let follower = (leader + 1) % 3;
    // It waits for the view as it would for a sync that does not end.
    let stale = nodes.pause_in_read(follower, ReadLevel::Stale { max_staleness_ms: None });
    nodes.propose(leader, COMMANDS..2 * COMMANDS).await;
    nodes.propose((leader + 2) % 3, 2 * COMMANDS..3 * COMMANDS).await;
    assert!(!stale.is_finished(), "it did not stand still");
    nodes.go_on(follower);
    assert!(stale.await.unwrap().unwrap().published.view.len() <= COMMANDS, "nor wrote meanwhile");
    let read = nodes.cluster.handle(follower).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view.len(), 3 * COMMANDS);
}

#[tokio::test]
async fn a_leader_with_a_long_backlog_of_dear_commands_is_heard_and_hears() {
    let tuning = Tuning {
        heartbeat_interval_ms: 100,
        election_timeout_ms: 2_000,
        request_timeout_ms: 120_000,
        ..Tuning::default()
    };
    let costs: Vec<_> = (0..3).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let machine = |node: usize| Recorder { apply_ms: Arc::clone(&costs[node]), ..Recorder::default() };
    let cluster = Cluster::start_with(3, tuning, machine);
    let leader = cluster.leader().await;
    let handle = cluster.handle(leader);
    let term = handle.term();
    // Several election timeouts in all.
    costs[leader].store(15, Ordering::Relaxed);
    let (sender, mut answers) = mpsc::unbounded_channel();
    let window = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let permit = Budget::new(1 << 20).share().take(0).unwrap();
    let hold = Arc::new(Hold { window, permit });
    let commands = (0..400).map(|number: u64| (number, Bytes::from(number.to_string()))).collect();
    handle.propose_batch(Batch { commands, answers: Answers { sender, hold } });
    eventually("an answer in the middle of the backlog", async || {
        let status = handle.group_status().await.unwrap();
        (status.applied_index + 100 < status.commit_index).then_some(())
    })
    .await;
    for _ in 0..400 {
        let applied = answers.recv().await.unwrap().result.unwrap();
        assert_eq!(applied.position.term, term);
    }
    for node in 0..3 {
        assert_eq!(cluster.handle(node).term(), term, "node {node} took the leader for lost");
    }
}
