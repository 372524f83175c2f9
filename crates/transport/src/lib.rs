//! Connections between peers: framing, handshake, reconnection and bounded queues.
//!
//! A node dials every peer and sends to it on the connection it made; it receives on the connections that
//! peers made to it. Messages may be lost, never reordered or changed within a connection: the protocol
//! repeats what matters.
//!
//! A message's way: [`Transport::send`] encodes it into the peer's queue (`sender`), where it shares a frame with what
//! else is queued (`writer`); [`Transport::flush`] writes the queue to the socket in the owner's thread; at the other
//! end the owner waits for its sockets ([`Transport::wait`]), reads them (`inbox`) and takes the messages out of the
//! frames (`reader`). A thread for each peer (`dialer`) makes the connection
//! (`handshake`), makes it again when it broke, and writes what a full socket would not take at once; one more
//! (`acceptor`) takes the connections that peers make.
//!
//! What travels between nodes is defined here ([`PeerMessage`]): consensus, which is `protocol`'s, and what replicas say
//! beside that.
//!
//! What this crate does not do: it does not look into messages beyond their addresses and sizes, it decides nothing about membership, and it
//! neither encrypts nor authenticates.

mod acceptor;
mod bell;
mod dialer;
mod event;
mod frame;
#[cfg(test)]
mod frame_tests;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
mod inbox;
mod local;
mod message;
mod notice;
mod reader;
mod sender;
mod wake;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ruvector_protocol::NodeId;

use acceptor::Acceptor;
pub use bell::Bell;
pub use event::TransportEvent;
pub use frame::FRAME_BYTES_MAX;
use inbox::Inbox;
use local::Local;
pub use message::{
    PeerMessage, ReplicaEnvelope, ReplicaMessage, SnapshotChunk, SnapshotChunkResponse, StateHash,
};
pub use notice::Notices;
use sender::Peer;
pub use sender::PeerCounters;

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

/// A running transport; stops when dropped, and waits for its threads then.
#[derive(Debug)]
pub struct Transport {
    local: Arc<Local>,
    peers: Arc<BTreeMap<NodeId, Arc<Peer>>>,
    acceptor: Arc<Acceptor>,
    inbox: Inbox,
    /// Whose connections had something to read when they were last waited for.
    readable: Vec<NodeId>,
    notices: Notices,
    threads: Vec<JoinHandle<()>>,
}

/// How long to pause if there is no waiting for sockets, so as not to spin.
const PAUSE_WITHOUT_POLL: Duration = Duration::from_millis(10);

impl Transport {
    /// Starts listening and dialling.
    ///
    /// # Errors
    /// If a thread can't be started, or the client address is longer than a handshake takes (512 bytes).
    pub fn start(config: TransportConfig) -> io::Result<Self> {
        let TransportConfig { cluster_id, node, client_address, listener, peers, queue_bytes_max } = config;
        if client_address.len() > handshake::CLIENT_ADDRESS_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the client address is too long"));
        }
        listener.set_nonblocking(true)?;
        let local = Arc::new(Local::new(cluster_id, node, client_address)?);
        let peers = peers
            .into_iter()
            .filter(|(id, _)| *id != node)
            .map(|(id, address)| Ok((id, Arc::new(Peer::new(id, address, queue_bytes_max)?))))
            .collect::<io::Result<BTreeMap<_, _>>>()?;
        let peers = Arc::new(peers);
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&local), Arc::clone(&peers))?);
        // From here on dropping it ends the threads that were started, should one fail to start.
        let mut transport = Self {
            local,
            peers,
            acceptor,
            inbox: Inbox::new(node),
            readable: Vec::new(),
            notices: Notices::default(),
            threads: Vec::new(),
        };
        let acceptor = Arc::clone(&transport.acceptor);
        transport.spawn("peers-accept".to_owned(), move || acceptor.run(&listener))?;
        for peer in transport.peers.clone().values().cloned() {
            let local = Arc::clone(&transport.local);
            transport.spawn(format!("peer-{}-out", peer.id), move || dialer::run(&local, &peer))?;
        }
        Ok(transport)
    }

    /// What ends a [`wait`](Self::wait) from other threads.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.local.bell.clone()
    }

    /// Waits until there may be something to [`receive`](Self::receive), the [`bell`](Self::bell) is rung, or `longest` is over
    /// (`None`: as long as it takes); or not at all unless `nothing_to_do`, which is asked once rings are heard. May end
    /// earlier.
    pub fn wait(&mut self, longest: Option<Duration>, nothing_to_do: impl FnOnce() -> bool) {
        let waker = self.local.bell.fall_asleep();
        let timeout = if nothing_to_do() && self.local.mail().is_empty() {
            let look = self.inbox.wants_look_within();
            longest.map_or(look, |longest| Some(look.map_or(longest, |look| look.min(longest))))
        } else {
            Some(Duration::ZERO)
        };
        self.readable.clear();
        let waited = waker.wait_for_any(self.inbox.sockets(), timeout, &mut self.readable);
        self.local.bell.awake();
        if let Err(error) = waited {
            self.notices.warn("wait", format_args!("waiting for messages of peers failed: {error}"));
            thread::sleep(PAUSE_WITHOUT_POLL);
            self.readable.extend(self.inbox.sockets().map(|(peer, _)| peer));
        }
    }

    /// Takes what has arrived when the last [`wait`](Self::wait) ended, of each peer at most what one read gives and the
    /// frame that it completes; the next wait ends at once if there is more. Never blocks.
    pub fn receive(&mut self, events: &mut Vec<TransportEvent>) {
        let mail = std::mem::take(&mut *self.local.mail());
        events.extend(mail.events);
        // First: the end of a connection that has been replaced is no loss.
        for arrival in mail.arrivals.into_values() {
            self.inbox.adopt(arrival);
        }
        for peer in self.readable.drain(..) {
            self.inbox.read(peer, events);
        }
        self.inbox.end_silent(events);
    }

    /// Queues a message for its `to`; never blocks. Dropped and counted if the peer is not connected or its
    /// queue is full; dropped if `to` is not a peer.
    pub fn send(&self, message: PeerMessage) {
        if let Some(peer) = self.peers.get(&message.to()) {
            peer.send(&message);
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
        self.local.stop();
        self.acceptor.interrupt();
        for peer in self.peers.values() {
            peer.interrupt();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}
