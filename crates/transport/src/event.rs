//! What a transport tells.

use ruvector_protocol::NodeId;

use crate::message::PeerMessage;

/// What the transport tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// A message arrived. Its sender and receiver have been checked against the connection's handshake.
    Received(PeerMessage),
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
