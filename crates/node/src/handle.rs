//! What the rest of a program holds of a running node.

use std::sync::Arc;

use bytes::Bytes;
use ruvector_protocol::{Index, LogPosition, NodeId, Term};
use ruvector_state_machine::StateMachine;
use ruvector_storage::SnapshotInfo;
use tokio::sync::watch;

use crate::config::{Member, NodeConfig};
use crate::status::{LogRecord, NodeStatus};

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

/// A version of the state that may be read.
#[derive(Clone, Debug)]
pub struct Published<V> {
    /// The version.
    pub view: V,
    /// The entry it is the state after.
    pub applied: LogPosition,
}

/// What a read gives.
#[derive(Clone, Debug)]
pub struct ReadResult<V> {
    /// The version that may be read.
    pub published: Arc<Published<V>>,
    /// For a stale read: how old it is at most, in microseconds, if known.
    pub staleness_us: Option<u64>,
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
    #[error("this node's state may be {staleness_ms:?} ms old")]
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

/// A running node.
#[derive(Debug)]
pub struct Node<M: StateMachine> {
    handle: Handle<M>,
}

impl<M: StateMachine> Node<M> {
    /// Starts a node on a new or used data directory.
    ///
    /// # Errors
    /// If the directory is locked, damaged or another node's, or the configuration contradicts it.
    pub fn start(config: NodeConfig, machine: M) -> Result<Self, crate::StorageError> {
        let _ = (config, machine);
        todo!()
    }

    /// What to propose and read with.
    #[must_use]
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// Stops the node and waits for its threads.
    pub fn stop(self) {}
}

/// A cheap, cloneable way to use a running node from any thread.
#[derive(Debug)]
pub struct Handle<M: StateMachine> {
    marker: std::marker::PhantomData<fn() -> M>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { marker: std::marker::PhantomData }
    }
}

impl<M: StateMachine> Handle<M> {
    /// Has a command committed and applied, through the leader, wherever it is. Proposes again by itself
    /// when the leader changes; applied at most once.
    ///
    /// # Errors
    /// Any [`NodeError`]; only [`NodeError::OutcomeUnknown`] and [`NodeError::Stopped`] leave it open whether
    /// the command was or will be applied.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, NodeError> {
        let _ = command;
        todo!()
    }

    /// A version of the state that is as fresh as asked.
    ///
    /// # Errors
    /// [`NodeError::NoLeader`], [`NodeError::TooStale`], [`NodeError::TooBusy`], [`NodeError::Stopped`].
    pub async fn read(&self, level: ReadLevel) -> Result<ReadResult<M::View>, NodeError> {
        let _ = level;
        todo!()
    }

    /// The newest version of this node's own state, at once.
    #[must_use]
    pub fn published(&self) -> Arc<Published<M::View>> {
        todo!()
    }

    /// Changes whenever a newer version is published; the value is the applied index.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Index> {
        todo!()
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        todo!()
    }

    /// This node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        todo!()
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        todo!()
    }

    /// The members, by name, with the client addresses known so far.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        todo!()
    }

    /// The term, as last published.
    #[must_use]
    pub fn term(&self) -> Term {
        todo!()
    }

    /// The leader this node knows of, as last published.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        todo!()
    }

    /// Everything there is to know.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub async fn status(&self) -> Result<NodeStatus, NodeError> {
        todo!()
    }

    /// The newest entries of this node's log, oldest first.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub async fn log_tail(&self, count: usize) -> Result<Vec<LogRecord>, NodeError> {
        let _ = count;
        todo!()
    }

    /// Drops this node's log entries below an index, taking a snapshot first if none covers them. Answers
    /// with the first index then held.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if the index is not applied yet.
    pub async fn compact_log(&self, before: Index) -> Result<Index, NodeError> {
        let _ = before;
        todo!()
    }

    /// Takes a snapshot of this node's present state under a name that no snapshot has.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if the name is taken or not a plain file name.
    pub async fn create_snapshot(&self, name: &str) -> Result<SnapshotInfo, NodeError> {
        let _ = name;
        todo!()
    }

    /// This node's snapshots.
    ///
    /// # Errors
    /// [`NodeError::Refused`] with the disk's error.
    pub async fn list_snapshots(&self) -> Result<Vec<SnapshotInfo>, NodeError> {
        todo!()
    }

    /// Waits until the node stops by itself, which it does only on a failed disk, corrupt data or a broken
    /// invariant, and says why; or after [`Node::stop`], with `None`.
    pub async fn stopped(&self) -> Option<String> {
        todo!()
    }

    /// The node's metrics in Prometheus' text format are registered here under etcd's names where those exist.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        let _ = registry;
    }
}
