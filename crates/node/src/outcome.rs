//! What is asked of a node and what comes of it.

use std::sync::Arc;

use ruvector_protocol::LogPosition;

use crate::publication::Published;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// Linearizable: leadership is confirmed by a quorum after the read arrived.
    Strong,
    /// Linearizable as long as clocks drift no more than configured: the leader's lease is trusted.
    Lease,
    /// This node's own state, if it is at most this old; `None` for however old.
    Stale {
        /// The bound, in milliseconds.
        max_staleness_ms: Option<u64>,
    },
}

/// What a read gives.
#[derive(Clone, Debug)]
pub struct ReadResult<V> {
    /// The version that may be read.
    pub published: Arc<Published<V>>,
    /// For a stale read: how old it is at most, in microseconds, if known.
    pub staleness_us: Option<u64>,
}

impl<V> ReadResult<V> {
    /// The version that may be read.
    #[must_use]
    pub fn view(&self) -> &V {
        &self.published.view
    }
}

/// What a proposal gives.
#[derive(Clone, Debug)]
pub struct Applied<R> {
    /// Where in the log it was committed.
    pub position: LogPosition,
    /// What the state machine answered.
    pub response: R,
}

/// Why a node could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Not certain: the command may have been applied or may yet be.
    #[error("timed out; whether the command was applied is unknown")]
    OutcomeUnknown,
    /// No leader could be reached in time; nothing was done.
    #[error("no leader could be reached in time")]
    NoLeader,
    /// Too much is waiting already; nothing was done.
    #[error("too many requests are waiting")]
    TooBusy,
    /// The command is larger than the log takes; nothing was done.
    #[error("the command has {bytes} bytes, at most {bytes_max} are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// This node's state is older than was asked for.
    #[error("this node's state is older than asked for: {}", age(*staleness_ms))]
    TooStale {
        /// Its age at most, in milliseconds, if known.
        staleness_ms: Option<u64>,
    },
    /// An administrative request makes no sense; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The node has stopped; the text says why.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

fn age(staleness_ms: Option<u64>) -> String {
    match staleness_ms {
        Some(milliseconds) => format!("it may be {milliseconds} ms old"),
        None => "how old it is is not known, for want of a leader".to_owned(),
    }
}
