//! The connections that peers made to this node, read by the transport's owner in its own thread.
//!
//! A message costs no hop from a thread that reads to one that acts on it: such a hop takes longer than the message's way
//! through the kernel. What the owner does not come to read waits in the sockets, and in the end at the peer.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ruvector_protocol::NodeId;

use crate::event::TransportEvent;
use crate::frame::FrameError;
use crate::reader::FrameReader;
use crate::sender::Peer;

/// A peer sends a keep-alive at least every 3 s; one that is silent for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How often to look for peers that are silent.
const SILENCE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The newest connection of each peer.
#[derive(Debug)]
pub(crate) struct Inbox {
    node: NodeId,
    connections: BTreeMap<NodeId, Connection>,
    looked_for_silence: Instant,
}

/// A connection whose handshake is over.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) peer: Arc<Peer>,
    /// Does not block.
    pub(crate) stream: Arc<TcpStream>,
    pub(crate) address: SocketAddr,
}

#[derive(Debug)]
struct Connection {
    arrival: Arrival,
    reader: FrameReader,
    heard: Instant,
}

/// Why reading from a peer ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Closed,
    #[error("nothing was heard for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a message from node {:x} to node {:x} came", from.0, to.0)]
    Address { from: NodeId, to: NodeId },
}

impl Inbox {
    pub(crate) fn new(node: NodeId) -> Self {
        let connections = BTreeMap::new();
        Self { node, connections, looked_for_silence: Instant::now() }
    }

    /// Reads from `arrival` from now on, in place of an older connection of the same peer.
    pub(crate) fn adopt(&mut self, arrival: Arrival) {
        arrival.peer.arrived();
        let connection = Connection { arrival, reader: FrameReader::new(), heard: Instant::now() };
        // Dropping the older one closes it.
        self.connections.insert(connection.arrival.peer.id, connection);
    }

    /// The sockets to wait for, and whose they are.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (NodeId, &TcpStream)> {
        self.connections.iter().map(|(peer, connection)| (*peer, &*connection.arrival.stream))
    }

    /// Reads once from the connection of `peer`, if it has one, and passes on every message of the frames that are complete.
    pub(crate) fn read(&mut self, peer: NodeId, events: &mut Vec<TransportEvent>) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        if let Err(end) = connection.read(self.node, events) {
            self.end(peer, &end, events);
        }
    }

    /// Within what time [`end_silent`](Self::end_silent) wants to be called; `None` if there is nobody to be silent.
    pub(crate) fn wants_look_within(&self) -> Option<Duration> {
        (!self.connections.is_empty()).then_some(SILENCE_LOOK_INTERVAL)
    }

    /// Ends the connections of peers that have long been silent; looks for them now and then, however often it is called.
    pub(crate) fn end_silent(&mut self, events: &mut Vec<TransportEvent>) {
        let now = Instant::now();
        if now.duration_since(self.looked_for_silence) < SILENCE_LOOK_INTERVAL {
            return;
        }
        self.looked_for_silence = now;
        let is_silent = |connection: &Connection| now.duration_since(connection.heard) >= SILENCE_MAX;
        let silent: Vec<NodeId> = self
            .connections
            .iter()
            .filter(|(_, connection)| is_silent(connection))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in silent {
            self.end(peer, &End::Silent, events);
        }
    }

    fn end(&mut self, peer: NodeId, end: &End, events: &mut Vec<TransportEvent>) {
        let connection = self.connections.remove(&peer).expect("only what is there ends");
        report(&connection.arrival, end);
        if connection.arrival.peer.loss_is_news() {
            events.push(TransportEvent::PeerLost(peer));
        }
    }
}

fn report(arrival: &Arrival, end: &End) {
    let Arrival { peer, address, .. } = arrival;
    let id = peer.id.0;
    let kind = match end {
        End::Closed => "inbound closed",
        End::Silent => "inbound silent",
        End::Io(_) => "inbound io",
        End::Frame(_) | End::Address { .. } => {
            let text = format_args!("closed the connection from peer node {id:x} at {address}: {end}");
            return peer.notices.warn("inbound frame", text);
        }
    };
    peer.notices.info(kind, format_args!("connection from peer node {id:x} at {address} ended: {end}"));
}

impl Connection {
    fn read(&mut self, node: NodeId, events: &mut Vec<TransportEvent>) -> Result<(), End> {
        match self.reader.fill(&mut &*self.arrival.stream) {
            Ok(0) => return Err(End::Closed),
            Ok(count) => self.arrival.peer.received_bytes.fetch_add(count as u64, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(End::Io(error)),
        };
        self.heard = Instant::now();
        while let Some(message) = self.reader.next_message()? {
            let (from, to) = (message.from(), message.to());
            if from != self.arrival.peer.id || to != node {
                return Err(End::Address { from, to });
            }
            events.push(TransportEvent::Received(message));
        }
        Ok(())
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // The accepting side may still hold the stream. An error means that it is closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
