//! Connections between peers: framing, handshake, reconnection and bounded queues.
//!
//! A node dials every peer and sends to it on the connection it made; it receives on the connections that
//! peers made to it. Messages may be lost, never reordered or changed within a connection: the protocol
//! repeats what matters.
//!
//! A message's way: [`Transport::send`] encodes it (`frame`) into the peer's queue (`sender`),
//! [`Transport::flush`] writes the queue to the socket in the caller's thread; at the other end a thread for each
//! connection reads (`receiver`) and calls the owner. A thread for each peer (`dialer`) makes the connection
//! (`handshake`), makes it again when it broke, and writes what a full socket would not take at once.
//!
//! What this crate does not do: it does not look into messages, it decides nothing about membership, and it
//! neither encrypts nor authenticates.

mod dialer;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
mod notice;
mod receiver;
mod sender;
mod wake;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use ruvector_protocol::{Envelope, NodeId};

pub use frame::FRAME_BYTES_MAX;
use receiver::Receiver;
use sender::Peer;

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

/// A running transport; stops when dropped, and waits for its threads then: do not drop it in `events`.
#[derive(Debug)]
pub struct Transport {
    local: Arc<Local>,
    peers: Arc<BTreeMap<NodeId, Arc<Peer>>>,
    receiver: Arc<Receiver>,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads know of this node.
struct Local {
    cluster_id: u64,
    node: NodeId,
    client_address: String,
    events: Arc<dyn Fn(TransportEvent) + Send + Sync>,
    stopping: AtomicBool,
}

impl Transport {
    /// Starts listening and dialling. `events` is called from the transport's threads and must not block
    /// for long.
    ///
    /// # Errors
    /// If a thread can't be started, or the client address is longer than a handshake takes (512 bytes).
    pub fn start(
        config: TransportConfig,
        events: Arc<dyn Fn(TransportEvent) + Send + Sync>,
    ) -> io::Result<Self> {
        let TransportConfig { cluster_id, node, client_address, listener, peers, queue_bytes_max } = config;
        if client_address.len() > handshake::CLIENT_ADDRESS_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the client address is too long"));
        }
        listener.set_nonblocking(true)?;
        let local =
            Arc::new(Local { cluster_id, node, client_address, events, stopping: AtomicBool::new(false) });
        let peers = peers
            .into_iter()
            .filter(|(id, _)| *id != node)
            .map(|(id, address)| Ok((id, Arc::new(Peer::new(id, address, queue_bytes_max)?))))
            .collect::<io::Result<BTreeMap<_, _>>>()?;
        let peers = Arc::new(peers);
        let receiver = Arc::new(Receiver::new(Arc::clone(&local), Arc::clone(&peers))?);
        // From here on dropping it ends the threads that were started, should one fail to start.
        let mut transport = Self { local, peers, receiver, threads: Vec::new() };
        let receiver = Arc::clone(&transport.receiver);
        transport.spawn("peers-accept".to_owned(), move || receiver.run(&listener))?;
        for peer in transport.peers.clone().values().cloned() {
            let local = Arc::clone(&transport.local);
            transport.spawn(format!("peer-{}-out", peer.id), move || dialer::run(&local, &peer))?;
        }
        Ok(transport)
    }

    /// Queues a message for its `to`; never blocks. Dropped and counted if the peer is not connected or its
    /// queue is full; dropped if `to` is not a peer.
    pub fn send(&self, envelope: Envelope) {
        if let Some(peer) = self.peers.get(&envelope.to) {
            peer.send(&envelope);
        }
    }

    /// Hands everything queued to the network, once for all messages since the last call; never blocks.
    pub fn flush(&self) {
        for peer in self.peers.values() {
            peer.flush();
        }
    }

    /// The counters by peer.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<NodeId, PeerCounters> {
        self.peers.iter().map(|(id, peer)| (*id, peer.counters())).collect()
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.local.stopping.store(true, Ordering::SeqCst);
        self.receiver.interrupt();
        for peer in self.peers.values() {
            peer.interrupt();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked (in the owner's callback) has said so itself.
            let _ = thread.join();
        }
    }
}

impl Local {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("cluster_id", &self.cluster_id)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
