//! Entries of the log, as they are told to people.

use ruvector_protocol::{ClusterTime, Entry, LogPosition, NodeId, Payload};

/// A line of `log --tail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Term and index.
    pub position: LogPosition,
    /// Its cluster time.
    pub time: ClusterTime,
    /// `noop`, `tick` or `command`.
    pub kind: &'static str,
    /// The command, empty for the others.
    pub command: bytes::Bytes,
    /// The node whose client gave it, for a command.
    pub origin: Option<NodeId>,
}

impl From<Entry> for LogRecord {
    fn from(entry: Entry) -> Self {
        let (position, time) = (entry.position(), entry.time);
        let (kind, command, origin) = match entry.payload {
            Payload::Noop => ("noop", bytes::Bytes::new(), None),
            Payload::Tick => ("tick", bytes::Bytes::new(), None),
            Payload::Command(proposal) => ("command", proposal.command, Some(proposal.origin.node)),
        };
        Self { position, time, kind, command, origin }
    }
}
