//! A counter on which three nodes agree, all in this process.

use std::iter::zip;
use std::net::TcpListener;

use ruvector_node::{Node, NodeConfig, ReadLevel, Simple, SimpleMachine, block_on};
use serde::{Deserialize, Serialize};

/// The sum of all numbers that were given to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counter(i64);

impl SimpleMachine for Counter {
    type Command = i64;
    type Response = i64;

    fn apply(&mut self, number: i64) -> i64 {
        self.0 = self.0.saturating_add(number);
        self.0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().expect("it is bound"));
    let members: Vec<_> = zip(["one", "two", "three"], addresses).collect();
    let mut nodes = Vec::new();
    for (&(name, _), listener) in zip(&members, listeners) {
        let data = directory.path().join(name);
        let config = NodeConfig::with_listener("counters", name, &members, data, listener);
        nodes.push(Node::start(config, |_| Simple::new(Counter::default()))?);
    }
    // Any node takes commands: a follower sends them to the leader.
    for (node, number) in zip(nodes.iter().cycle(), [1, 20, 300, -4000]) {
        println!("{number} makes it {}", block_on(node.handle().apply(&number))?);
    }
    for node in &nodes {
        assert_eq!(block_on(node.handle().read(ReadLevel::Strong))?.view().0, -3679);
    }
    Ok(())
}
