//! A replica of a consensus group in this process.
//!
//! [`Node::start`] gives a running replica of any [`StateMachine`]; its [`Handle`] proposes commands and reads.
//! Inside, one thread (`driver`) feeds a synchronous [`replica`] that owns the protocol core, the log and
//! the state machine; the simulator drives the very same replica.
//!
//! What this crate does not do: it speaks no client protocol and knows no command's meaning.

mod answer;
mod batch;
mod budget;
mod clock;
pub mod config;
mod driver;
mod flusher;
pub mod handle;
pub mod host;
mod identity;
mod jobs;
mod journal;
mod mailbox;
mod metrics;
mod node;
mod outcome;
mod publication;
pub mod replica;
mod request;
pub mod restore;
mod ringer;
mod shared;
pub mod status;
mod stretch;

pub use batch::{Answer, Answers, Batch, Hold};
pub use budget::{Budget, Exhausted, Permit, Share};
pub use config::{METADATA, Member, NewGroup, NodeConfig, Tuning};
pub use handle::Handle;
pub use journal::{FlushJob, Flushed};
pub use node::Node;
pub use outcome::{Applied, NodeError, ReadLevel, ReadResult};
pub use publication::Published;
pub use replica::ReplicaError;
pub use ruvector_protocol::{ClusterTime, GroupId, Index, LogPosition, NodeId, RoleName, Term};
pub use ruvector_state_machine as state_machine;
pub use ruvector_state_machine::{Committed, RestoreError, StateMachine};
pub use ruvector_storage::{SnapshotInfo, SnapshotListing, StorageError, UnusableSnapshot};
pub use ruvector_transport::Notices;
pub use status::{LogRecord, NodeStatus, PeerStatus};
