//! Nodes with real threads, sockets and files, in this process.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ruvector_node::restore::restore_data_directory;
use ruvector_node::{Answers, Batch, Budget, Hold, Index, Node, NodeConfig, NodeError, ReadLevel, Tuning};
use support::recorder::{BREAKS_SNAPSHOTS, SNAPSHOTS_THAT_BREAK_OFF};
use support::{Cluster, eventually};
use tokio::sync::{Semaphore, mpsc};

fn command(number: u64) -> Bytes {
    Bytes::from(format!("command {number}"))
}

async fn propose_all(cluster: &Cluster, node: usize, numbers: std::ops::Range<u64>) {
    for number in numbers {
        cluster.handle(node).propose(command(number)).await.unwrap();
    }
}

#[tokio::test]
async fn every_node_takes_commands_and_all_agree() {
    let cluster = Cluster::start(3, Tuning::default());
    for node in 0..3 {
        propose_all(&cluster, node, (node as u64 * 10)..(node as u64 * 10 + 10)).await;
    }
    let expected: Vec<_> = (0..30).map(command).collect();
    for node in 0..3 {
        for level in [ReadLevel::Strong, ReadLevel::Lease] {
            let result = cluster.handle(node).read(level).await.unwrap();
            assert_eq!(result.published.view, expected, "node {node} at level {level:?}");
        }
    }
}

#[tokio::test]
async fn a_single_node_is_a_cluster() {
    let mut cluster = Cluster::start(1, Tuning::default());
    propose_all(&cluster, 0, 0..5).await;
    cluster.stop(0);
    cluster.restart(0);
    propose_all(&cluster, 0, 5..6).await;
    let read = cluster.handle(0).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view, (0..6).map(command).collect::<Vec<_>>());
}

#[tokio::test]
async fn commands_survive_the_leader() {
    commands_survive(Tuning::default()).await;
}

#[tokio::test]
async fn commands_survive_the_leader_when_all_syncs_run_beside_the_drivers() {
    commands_survive(Tuning { inline_sync_max_us: 0, ..Tuning::default() }).await;
}

async fn commands_survive(tuning: Tuning) {
    let mut cluster = Cluster::start(3, tuning);
    propose_all(&cluster, 0, 0..10).await;
    let leader = cluster.leader().await;
    let survivor = (leader + 1) % 3;
    cluster.stop(leader);
    propose_all(&cluster, survivor, 10..20).await;
    cluster.restart(leader);
    let read = cluster.handle(leader).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view, (0..20).map(command).collect::<Vec<_>>());
}

#[tokio::test]
async fn all_stopped_and_started_know_everything() {
    let mut cluster = Cluster::start(3, Tuning::default());
    propose_all(&cluster, 1, 0..50).await;
    for node in 0..3 {
        cluster.stop(node);
    }
    for node in 0..3 {
        cluster.restart(node);
    }
    let read = cluster.handle(2).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view, (0..50).map(command).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_a_quorum_nothing_is_acknowledged_and_stale_reads_go_on() {
    // The leader is left alone, and then a follower.
    for behind_leader in [0, 1] {
        let tuning = Tuning { request_timeout_ms: 800, ..Tuning::default() };
        let mut cluster = Cluster::start(3, tuning);
        propose_all(&cluster, 0, 0..3).await;
        let left = (cluster.leader().await + behind_leader) % 3;
        eventually("all to be applied", async || {
            (cluster.handle(left).published().await.expect("it runs").view.len() == 3).then_some(())
        })
        .await;
        cluster.stop((left + 1) % 3);
        cluster.stop((left + 2) % 3);
        let alone = cluster.handle(left);
        let error = alone.propose(command(3)).await.unwrap_err();
        assert!(matches!(error, NodeError::OutcomeUnknown | NodeError::NoLeader), "{error}");
        let error = alone.read(ReadLevel::Strong).await.unwrap_err();
        assert_eq!(error, NodeError::NoLeader);
        let stale = alone.read(ReadLevel::Stale { max_staleness_ms: None }).await.unwrap();
        assert_eq!(stale.published.view.len(), 3);
        let error = alone.read(ReadLevel::Stale { max_staleness_ms: Some(1) }).await.unwrap_err();
        assert!(matches!(error, NodeError::TooStale { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_a_node_has_answered_is_in_what_it_publishes() {
    let cluster = Cluster::start(3, Tuning::default());
    for hundred in 0..4 {
        // Nobody reads for long enough that nothing is published any more.
        propose_all(&cluster, 1, hundred * 100..(hundred + 1) * 100).await;
        let published = cluster.handle(1).published().await.expect("it runs");
        assert_eq!(published.view.len() as u64, (hundred + 1) * 100);
    }
}

#[tokio::test]
async fn a_node_behind_the_log_catches_up_by_snapshot() {
    let tuning = Tuning {
        snapshot_entries: 50,
        retained_entries: 5,
        snapshot_chunk_bytes: 512,
        segment_bytes: 64 << 10,
        // What is compacted must not be in memory either.
        tail_bytes_max: 1,
        ..Tuning::default()
    };
    let mut cluster = Cluster::start(3, tuning);
    propose_all(&cluster, 0, 0..10).await;
    cluster.stop(2);
    propose_all(&cluster, 0, 10..400).await;
    for node in 0..2 {
        eventually("the log to be compacted", async || {
            let status = cluster.handle(node).status().await.ok()?;
            (status.group.first_index > 300).then_some(())
        })
        .await;
    }
    cluster.restart(2);
    let read = cluster.handle(2).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view, (0..400).map(command).collect::<Vec<_>>());
    // It is told so much of its log when that is written. It would be the first entry for ever if it was sent entries.
    eventually("a log that begins behind a snapshot", async || {
        (cluster.handle(2).status().await.ok()?.group.first_index > 300).then_some(())
    })
    .await;
    let hashes = eventually("equal applied indexes", async || {
        let mut states = Vec::new();
        for node in 0..3 {
            let status = cluster.handle(node).status().await.ok()?;
            states.push((status.group.applied_index, status.group.state_hash));
        }
        states.iter().all(|state| state.0 == states[0].0).then_some(states)
    })
    .await;
    assert!(hashes.iter().all(|state| state.1 == hashes[0].1), "{hashes:?}");
}

#[tokio::test]
async fn a_follower_sends_on_more_at_once_than_a_message_takes() {
    // However slow the disk is, no leader is taken for lost over it.
    let tuning = Tuning {
        heartbeat_interval_ms: 200,
        election_timeout_ms: 2_000,
        request_timeout_ms: 300_000,
        ..Tuning::default()
    };
    let cluster = Cluster::start(3, tuning);
    let leader = cluster.leader().await;
    let follower = cluster.handle((leader + 1) % 3);
    let (sender, mut answers) = mpsc::unbounded_channel();
    let window = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let permit = Budget::new(1 << 20).share().take(0).unwrap();
    let hold = Arc::new(Hold { window, permit });
    let commands = (0..50).map(|number| (number, Bytes::from(vec![b'x'; 1_500_000]))).collect();
    follower.propose_batch(Batch { commands, answers: Answers { sender, hold } });
    for _ in 0..50 {
        let answer = answers.recv().await.unwrap();
        assert!(answer.result.is_ok(), "{}: {:?}", answer.number, answer.result);
    }
}

#[tokio::test]
async fn a_snapshot_that_breaks_off_is_told_to_who_asked_for_it_and_taken_again() {
    let tuning = Tuning {
        heartbeat_interval_ms: 5,
        election_timeout_ms: 30,
        snapshot_entries: 10,
        retained_entries: 1,
        ..Tuning::default()
    };
    let cluster = Cluster::start(1, tuning);
    let handle = cluster.handle(0);
    SNAPSHOTS_THAT_BREAK_OFF.store(1, Ordering::Relaxed);
    handle.propose(Bytes::from(BREAKS_SNAPSHOTS)).await.unwrap();
    let error = answered(handle.create_snapshot("mine")).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(text) if text.contains("mine")), "{error}");
    SNAPSHOTS_THAT_BREAK_OFF.store(2, Ordering::Relaxed);
    let error = answered(handle.compact_log(Index(2))).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(text) if text.contains("failed")), "{error}");
    propose_all(&cluster, 0, 0..20).await;
    eventually("the log to be cut behind another snapshot", async || {
        (handle.status().await.unwrap().group.first_index > 5).then_some(())
    })
    .await;
    assert_eq!(SNAPSHOTS_THAT_BREAK_OFF.load(Ordering::Relaxed), 0);
    answered(handle.create_snapshot("mine")).await.unwrap();
}

/// What comes of a call that must be answered.
async fn answered<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), call).await.expect("an answer")
}

#[tokio::test]
async fn large_commands_do_not_make_the_log_grow_without_bound() {
    let limit = 1 << 20;
    let tuning = Tuning { snapshot_log_bytes: limit, segment_bytes: 256 << 10, ..Tuning::default() };
    let cluster = Cluster::start(1, tuning);
    let handle = cluster.handle(0);
    for number in 0..40 {
        handle.propose(Bytes::from(vec![number; 100 << 10])).await.unwrap();
    }
    eventually("the log to be cut", async || {
        let status = handle.status().await.ok()?;
        (status.group.first_index > 10 && status.log_bytes < 4 * limit).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_differs_from_the_majority_stops_and_says_so() {
    let tuning = Tuning { hash_check_entries: 4, ..Tuning::default() };
    let mut cluster = Cluster::start(3, tuning);
    propose_all(&cluster, 0, 0..1).await;
    cluster.stop(2);
    cluster.restart_with(2, support::Recorder { is_damaged: true, ..support::Recorder::default() });
    let damaged = cluster.handle(2);
    propose_all(&cluster, 0, 1..20).await;
    let reason = damaged.stopped().await.unwrap();
    assert!(reason.contains("this replica's state at index"), "{reason}");
    let error = damaged.propose(command(99)).await.unwrap_err();
    assert!(matches!(error, NodeError::Stopped(_)), "{error}");
    propose_all(&cluster, 1, 20..25).await;
    let read = cluster.handle(0).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view.len(), 25, "the others go on");
}

#[tokio::test]
async fn replicas_that_differ_say_so_while_no_majority_can_decide() {
    let tuning = Tuning { hash_check_entries: 4, ..Tuning::default() };
    let mut cluster = Cluster::start(3, tuning);
    propose_all(&cluster, 0, 0..1).await;
    for node in 0..3 {
        assert_eq!(cluster.handle(node).status().await.unwrap().group.trouble, None);
    }
    cluster.stop(1);
    cluster.stop(2);
    cluster.restart_with(2, support::Recorder { is_damaged: true, ..support::Recorder::default() });
    let both = [0, 2].map(|node| cluster.handle(node));
    for number in 1..20 {
        // Most are not answered: two that differ have no leader.
        let proposing = both[0].clone();
        tokio::spawn(async move { drop(proposing.propose(command(number)).await) });
    }
    for handle in &both {
        let trouble =
            eventually("what is wrong to be told", async || handle.group_status().await.ok()?.trouble);
        let trouble = trouble.await;
        assert!(trouble.contains("its state differs from a peer's since index"), "{trouble}");
    }
}

#[tokio::test]
async fn the_log_is_compacted_on_request() {
    let cluster = Cluster::start(3, Tuning::default());
    propose_all(&cluster, 0, 0..100).await;
    let handle = cluster.handle(0);
    assert_eq!(handle.compact_log(Index(50)).await.unwrap(), Index(50));
    assert_eq!(handle.compact_log(Index(10)).await.unwrap(), Index(50), "what is gone stays gone");
    let error = handle.compact_log(Index(10_000)).await.unwrap_err();
    assert!(matches!(error, NodeError::Refused(_)), "{error}");
    let tail = handle.log_tail(3).await.unwrap();
    assert_eq!(tail.len(), 3);
    assert_eq!(tail[2].command, command(99));
}

#[tokio::test]
async fn one_command_on_an_idle_cluster_costs_one_sync_a_node() {
    let cluster = Cluster::start(3, Tuning::default());
    propose_all(&cluster, 0, 0..1).await;
    let leader = cluster.leader().await;
    let syncs = async || {
        let mut syncs = Vec::new();
        for node in 0..3 {
            syncs.push(cluster.handle(node).status().await.unwrap().log_syncs);
        }
        syncs
    };
    let before = eventually("the counts to rest", async || {
        let first = syncs().await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        (syncs().await == first).then_some(first)
    })
    .await;
    for number in 1..11 {
        propose_all(&cluster, leader, number..number + 1).await;
        // On each, before the next comes: a node that is late would sync two at once.
        eventually("one sync more on each", async || {
            let after = syncs().await;
            (after == before.iter().map(|count| count + number).collect::<Vec<_>>()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_named_snapshot_restores_a_cluster() {
    let mut cluster = Cluster::start(3, Tuning::default());
    propose_all(&cluster, 0, 0..20).await;
    let handle = cluster.handle(0);
    let info = handle.create_snapshot("before-the-mistake").await.unwrap();
    let error = handle.create_snapshot("before-the-mistake").await.unwrap_err();
    assert!(matches!(error, NodeError::Refused(_)), "{error}");
    assert!(handle.list_snapshots().await.unwrap().usable.contains(&info));
    propose_all(&cluster, 0, 20..30).await;
    let old_cluster_id = handle.cluster_id();
    for node in 0..3 {
        cluster.stop(node);
    }
    let source = cluster.directory.path().join("old");
    std::fs::rename(cluster.directory.path().join("node-1"), &source).unwrap();
    for number in 1..=3 {
        let name = format!("node-{number}");
        let target = cluster.directory.path().join(&name);
        if target.exists() {
            std::fs::remove_dir_all(&target).unwrap();
        }
        restore_data_directory(&source, "before-the-mistake", &target, &name, "first restore").unwrap();
    }
    for node in 0..3 {
        cluster.restart(node);
    }
    propose_all(&cluster, 1, 30..31).await;
    let read = cluster.handle(2).read(ReadLevel::Strong).await.unwrap();
    assert_eq!(read.published.view, (0..20).chain(30..31).map(command).collect::<Vec<_>>());
    assert_ne!(cluster.handle(0).cluster_id(), old_cluster_id);
}

#[tokio::test]
async fn a_directory_is_used_by_one_node_and_for_one_node() {
    let mut cluster = Cluster::start(1, Tuning::default());
    propose_all(&cluster, 0, 0..1).await;
    let directory = cluster.directory.path().join("node-1");
    let refusal = |cluster_name: &str, node_name: &str, members: &[(&str, &str)]| {
        let config = NodeConfig {
            cluster_name: cluster_name.to_owned(),
            node_name: node_name.to_owned(),
            initial_members: members.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            groups: Vec::new(),
            data_directory: directory.clone(),
            peer_listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            client_address: String::new(),
            tuning: Tuning::default(),
        };
        Node::start(config, |_| support::Recorder::default()).map(Node::stop).unwrap_err().to_string()
    };
    assert!(refusal("test", "node-1", &[]).contains("in use"));
    cluster.stop(0);
    assert!(refusal("other", "node-1", &[]).contains("belongs to node node-1 of cluster test"));
    assert!(refusal("test", "node-2", &[]).contains("belongs to node node-1 of cluster test"));
    assert!(refusal("test", "node-1", &[("node-1", "127.0.0.1:1")]).contains("was made with the members"));
}
