//! Three replicas of a machine of one's own, in one process: a counter that every node agrees on.
//!
//! Run it with `cargo run --release -p ruvector-node --example embedded`.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use bytes::Bytes;
use ruvector_node::{Committed, Node, NodeConfig, ReadLevel, RestoreError, StateMachine, Tuning};

/// Adds up the numbers that it is given.
#[derive(Debug, Default)]
struct Counter {
    total: i64,
}

impl StateMachine for Counter {
    type Response = Result<i64, String>;
    type View = i64;
    type Part = i64;

    fn apply(&mut self, entry: &Committed) -> Self::Response {
        let text = std::str::from_utf8(&entry.command).map_err(|error| error.to_string())?;
        let number: i64 = text.parse().map_err(|error| format!("{text:?} is no number: {error}"))?;
        self.total = self.total.checked_add(number).ok_or("the total would overflow")?;
        Ok(self.total)
    }

    fn advance_time(&mut self, _index: u64, _time_ms: u64) {}

    fn wake_at_ms(&self) -> Option<u64> {
        None
    }

    fn view(&self) -> i64 {
        self.total
    }

    fn state_hash(&self) -> u128 {
        u128::from(self.total.unsigned_abs()) << 1 | u128::from(self.total < 0)
    }

    fn write_snapshot(view: &i64, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&view.to_le_bytes())
    }

    fn read_snapshot(
        reader: &mut (dyn Read + Send),
    ) -> impl Iterator<Item = Result<i64, RestoreError>> + Send {
        let mut total = [0; 8];
        let read = reader.read_exact(&mut total);
        std::iter::once(read.map(|()| i64::from_le_bytes(total)).map_err(RestoreError::from))
    }

    fn restore_parts(
        &mut self,
        parts: impl Iterator<Item = Result<i64, RestoreError>>,
    ) -> Result<(), RestoreError> {
        for total in parts {
            self.total = total?;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut members = Vec::new();
    for (number, listener) in (1..).zip(&listeners) {
        members.push((format!("node-{number}"), listener.local_addr()?.to_string()));
    }
    let mut nodes = Vec::new();
    for (listener, (name, _)) in listeners.into_iter().zip(&members) {
        let config = NodeConfig {
            cluster_name: "counters".to_owned(),
            node_name: name.clone(),
            initial_members: members.clone(),
            groups: Vec::new(),
            data_directory: directory.path().join(name),
            peer_listener: listener,
            client_address: String::new(),
            tuning: Tuning::default(),
        };
        nodes.push(Node::start(config, |_| Counter::default())?);
    }
    // Any node takes commands: a follower forwards them to the leader.
    for (node, number) in nodes.iter().cycle().zip(["1", "20", "300", "-4000", "many"]) {
        let applied = node.handle().propose(Bytes::from_static(number.as_bytes())).await?;
        let name = node.handle().node_name().to_owned();
        println!("{name} proposed {number}: {:?} at index {}", applied.response, applied.position.index);
    }
    for node in &nodes {
        let total = node.handle().read(ReadLevel::Strong).await?.published.view;
        println!("{} reads {total}", node.handle().node_name());
    }
    Ok(())
}
