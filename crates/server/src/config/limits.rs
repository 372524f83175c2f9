//! What clients may ask at most.

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, check_bounds};

/// What clients may ask at most. The first two are etcd's limits with etcd's defaults; the others bound
/// what etcd leaves unbounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one command. (etcd's `--max-request-bytes`)
    pub request_bytes: usize,
    /// Operations in one list of a transaction, those of transactions inside it counted too. (etcd's
    /// `--max-txn-ops`)
    pub txn_operations: usize,
    /// Bytes that all clients together may make the node hold: messages that arrive, commands that wait, answers that are not
    /// taken. More is refused, to be tried again.
    pub held_bytes: usize,
    /// Open connections.
    pub connections: usize,
    /// Calls that one connection may have open at a time.
    pub streams_per_connection: u32,
    /// Watches that one stream may have.
    pub watches_per_stream: usize,
    /// Watches of all clients of this node.
    pub watches: usize,
    /// Renewals of leases that may wait to be proposed together.
    pub pending_renewals: usize,
    /// Seconds that a new connection has to send its first bytes, and a request of HTTP/1 its header.
    pub handshake_seconds: u64,
    /// Seconds after which an idle watch that asked for it is told the revision.
    pub watch_progress_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 1_572_864,
            txn_operations: 128,
            held_bytes: 512 << 20,
            connections: 16_384,
            streams_per_connection: 16_384,
            watches_per_stream: 131_072,
            watches: 1_048_576,
            pending_renewals: 65_536,
            handshake_seconds: 10,
            watch_progress_seconds: 600,
        }
    }
}

impl Limits {
    /// How much larger than a command a message may be before it is refused unread, as in etcd.
    const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;
    /// The log holds an entry in one record; far below that, memory and latency suffer.
    const REQUEST_BYTES_MAX: u64 = 16 << 20;
    /// More of anything than this does not fit into one process.
    const COUNT_MAX: u64 = 1 << 24;
    const HELD_BYTES_MAX: u64 = 1 << 48;
    const SECONDS_MAX: u64 = 24 * 60 * 60;

    /// The largest message that is read from the wire, in bytes.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.request_bytes + Self::MESSAGE_OVERHEAD_BYTES
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("limits.request_bytes", self.request_bytes as u64, Self::REQUEST_BYTES_MAX),
            ("limits.txn_operations", self.txn_operations as u64, Self::COUNT_MAX),
            ("limits.connections", self.connections as u64, Self::COUNT_MAX),
            ("limits.streams_per_connection", self.streams_per_connection.into(), Self::COUNT_MAX),
            ("limits.watches_per_stream", self.watches_per_stream as u64, Self::COUNT_MAX),
            ("limits.watches", self.watches as u64, Self::COUNT_MAX),
            ("limits.pending_renewals", self.pending_renewals as u64, Self::COUNT_MAX),
            ("limits.handshake_seconds", self.handshake_seconds, Self::SECONDS_MAX),
            ("limits.watch_progress_seconds", self.watch_progress_seconds, Self::SECONDS_MAX),
        ];
        for (key, given, most) in bounds {
            check_bounds(key, given, 1, most)?;
        }
        // Half of it is the most that one client gets, and it must be able to send and to get one value.
        let least = 8 * self.message_bytes() as u64;
        check_bounds("limits.held_bytes", self.held_bytes as u64, least, Self::HELD_BYTES_MAX)
    }
}
