//! A stream without a connection, step by step: what it may say of its progress, and what it leaves behind.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpListener};

use ruvector_node::daemon::Budget;
use ruvector_node::state_machine::kv::KvMachine;
use ruvector_node::{Node, NodeConfig, ReadLevel, Tuning};
use tempfile::TempDir;

use super::*;
use crate::config::Limits;
use crate::service::context::Context;
use crate::service::counters::Counters;
use crate::service::principal::Principal;
use crate::service::renewals::Renewals;
use crate::service::watch::hub::WatchHub;

/// Nothing takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that leads itself, and what its streams share.
struct Fixture {
    context: Arc<Context>,
    _node: Node<KvMachine>,
    _directory: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            cluster_name: "test".to_owned(),
            node_name: "node-1".to_owned(),
            initial_members: vec![("node-1".to_owned(), "127.0.0.1:1".to_owned())],
            groups: Vec::new(),
            data_directory: directory.path().join("node-1"),
            peer_listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            client_address: String::new(),
            tuning: Tuning { heartbeat_interval_ms: 20, election_timeout_ms: 100, ..Tuning::default() },
        };
        let node = Node::start(config, |_| KvMachine::default()).unwrap();
        let handle = node.handle();
        let led = async {
            while handle.read(ReadLevel::Strong).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, led).await.expect("it leads in time");
        let watch_hub = Arc::new(WatchHub::new(1_000));
        tokio::spawn(Arc::clone(&watch_hub).run(handle.clone()));
        let (limits, budget) = (Limits::default(), Budget::new(64 << 20));
        let context = Context {
            renewals: Renewals::new(handle.clone(), 1).0,
            handle,
            counters: Counters::default(),
            budget,
            limits,
            watch_hub,
            client_address: String::new(),
            election_timeout: Duration::from_millis(100),
        };
        Self { context: Arc::new(context), _node: node, _directory: directory }
    }

    /// A stream whose caller has nothing to ask for but what the test does.
    fn stream(&self) -> WatchStream {
        WatchStream::new(Caller {
            share: self.context.budget.share(),
            context: Arc::clone(&self.context),
            principal: Principal::Everybody,
            address: Ipv4Addr::LOCALHOST.into(),
        })
    }
}

/// Adds a watch that wants to be told of its progress.
fn watch(stream: &mut WatchStream, key: &'static str, start: Option<i64>) {
    let start = start.map(Revision);
    let asked = NewWatch { key: key.into(), start, progress_notify: true, ..Default::default() };
    stream.create_at(asked, stream.looked_through).unwrap();
}

/// Does what there is to do, and forgets what was told.
async fn settle(stream: &mut WatchStream) {
    let told = async {
        while stream.tell().await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it comes to an end");
    stream.ready.clear();
}

/// How many watches are told their progress, when all of them were told nothing for a while.
fn idle_watches_told(stream: &mut WatchStream) -> usize {
    stream.watchers.values_mut().for_each(|watcher| watcher.told = false);
    stream.tell_idle();
    stream.ready.drain(..).count()
}

#[tokio::test]
async fn an_idle_watch_is_told_no_progress_while_something_waits_to_be_told() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.stream();
    watch(&mut stream, "a", None);
    watch(&mut stream, "b", None);
    settle(&mut stream).await;
    assert_eq!(idle_watches_told(&mut stream), 2);
    stream.looked_through = Revision(9);
    stream.unread = Some(Unread { next: Revision(9), through: Revision(9) });
    assert_eq!(idle_watches_told(&mut stream), 0, "it may be a change for any of them");
    stream.unread = None;
    assert_eq!(idle_watches_told(&mut stream), 2);
    watch(&mut stream, "c", Some(2));
    stream.ready.clear();
    assert_eq!(idle_watches_told(&mut stream), 2, "the third has not caught up");
}

#[tokio::test]
async fn a_watch_of_the_future_is_told_no_progress() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.stream();
    watch(&mut stream, "a", Some(100));
    settle(&mut stream).await;
    assert_eq!((fixture.context.watch_hub.holds(), idle_watches_told(&mut stream)), ((true, 1), 0));
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_nothing_at_the_hub() {
    let fixture = Fixture::start().await;
    let hub = &fixture.context.watch_hub;
    let mut stream = fixture.stream();
    for key in ["a", "b"] {
        watch(&mut stream, key, None);
    }
    settle(&mut stream).await;
    watch(&mut stream, "c", Some(2));
    assert_eq!((hub.holds(), hub.counts()), ((true, 1), (3, 1)));
    drop(stream);
    assert_eq!((hub.holds(), hub.counts()), ((false, 0), (0, 0)));
}
