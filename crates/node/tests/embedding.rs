//! A program embeds nodes with little, and with types of this crate alone.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use ruvector_node::{Node, NodeConfig, NodeError, ReadLevel, Simple, SimpleMachine, Tuning, block_on};
use serde::{Deserialize, Serialize};

/// The words that were given to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Words(Vec<String>);

impl SimpleMachine for Words {
    type Command = String;
    type Response = usize;

    fn apply(&mut self, word: String) -> usize {
        self.0.push(word);
        self.0.len()
    }
}

/// The configuration of a node that is alone, with snapshots every few entries.
fn alone(address: &str, directory: &std::path::Path) -> NodeConfig {
    let tuning = Tuning { snapshot_entries: 4, retained_entries: 2, ..Tuning::default() };
    NodeConfig { tuning, ..NodeConfig::new("words", "one", &[("one", address)], directory).unwrap() }
}

#[test]
fn the_whole_example_has_forty_lines_at_most_and_no_runtime() {
    let text = include_str!("../examples/embedded.rs");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = text.lines().filter(is_code).count();
    assert!(lines <= 40, "{lines} lines");
    for foreign in ["tokio", "prometheus", "async", "bytes::"] {
        assert!(!text.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_simple_machine_is_there_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    // Whoever dials gets no port of this address.
    let address = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap().to_string();
    let start = || Node::start(alone(&address, directory.path()), |_| Simple::new(Words::default())).unwrap();
    let node = start();
    for count in 1..=20 {
        assert_eq!(block_on(node.handle().apply(&format!("word {count}"))), Ok(count));
    }
    node.stop();
    let node = start();
    assert_eq!(block_on(node.handle().apply(&"the last".to_owned())), Ok(21));
    let read = block_on(node.handle().read(ReadLevel::Strong)).unwrap();
    assert_eq!((read.view().0.len(), read.view().0[19].as_str()), (21, "word 20"));
}

#[test]
fn bytes_that_are_no_command_are_answered_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node =
        Node::start(alone("127.0.0.3:0", directory.path()), |_| Simple::new(Words::default())).unwrap();
    let applied = block_on(node.handle().propose("\u{5}abc".into())).unwrap();
    assert!(applied.response.unwrap_err().to_string().starts_with("no command of this machine"));
    assert_eq!(block_on(node.handle().apply(&"first".to_owned())), Ok(1));
    let handle = node.handle();
    node.stop();
    let refusal = block_on(handle.apply(&"too late".to_owned())).unwrap_err();
    assert!(matches!(refusal, NodeError::Stopped(_)), "{refusal}");
}

#[test]
fn a_node_that_the_members_do_not_name_has_nowhere_to_listen() {
    let error = NodeConfig::new("words", "two", &[("one", "127.0.0.3:0")], "nowhere").unwrap_err();
    assert!(error.to_string().contains("two, is not among the members"), "{error}");
    let taken = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind(taken).unwrap();
    let error = NodeConfig::new("words", "one", &[("one", taken)], "nowhere").unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    drop(held);
}
