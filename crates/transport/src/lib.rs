//! Connections between peers: framing, handshake, reconnection and bounded queues.
//!
//! A node dials every peer and sends to it on the connection it made; it receives on the connections that
//! peers made to it. Messages may be lost, never reordered or changed within a connection: the protocol
//! repeats what matters.
//!
//! What this crate does not do: it does not look into messages, and it decides nothing about membership.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use ruvector_protocol::{Envelope, NodeId};

/// What the transport needs to know.
#[derive(Debug)]
pub struct TransportConfig {
    /// The cluster; a peer of another cluster is refused.
    pub cluster_id: u64,
    /// This node.
    pub node: NodeId,
    /// Where clients reach this node, told to peers in the handshake; `host:port`, may be empty.
    pub client_address: String,
    /// The bound listener for peers.
    pub listener: TcpListener,
    /// All other members and where they listen, `host:port`.
    pub peers: BTreeMap<NodeId, String>,
    /// How many bytes may wait to be sent to one peer; beyond it messages to that peer are dropped and counted.
    pub queue_bytes_max: usize,
}

/// What the transport tells its owner, from threads of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// A message arrived. Its `from` and `to` have been checked against the connection's handshake.
    Received(Envelope),
    /// A connection to a peer was established (the one this node dialled).
    PeerConnected {
        /// The peer.
        peer: NodeId,
        /// Where clients reach it, as it said; empty if it did not say.
        client_address: String,
    },
    /// The connection to a peer broke, or the peer's to us.
    PeerLost(NodeId),
}

/// Counters, all since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Messages dropped because the queue was full or the peer not connected.
    pub dropped_messages: u64,
    /// Whether the connection to it stands.
    pub connected: bool,
}

/// A running transport; stops when dropped.
#[derive(Debug)]
pub struct Transport {}

impl Transport {
    /// Starts listening and dialling. `events` is called from the transport's threads and must not block
    /// for long.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn start(
        config: TransportConfig,
        events: Arc<dyn Fn(TransportEvent) + Send + Sync>,
    ) -> std::io::Result<Self> {
        let _ = (config, events);
        todo!()
    }

    /// Queues a message for its `to`; never blocks.
    pub fn send(&self, envelope: Envelope) {
        let _ = envelope;
        todo!()
    }

    /// Hands everything queued to the network, once for all messages since the last call.
    pub fn flush(&self) {
        todo!()
    }

    /// The counters by peer.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<NodeId, PeerCounters> {
        todo!()
    }
}
