//! A replica of a consensus group in this process.
//!
//! [`Node::start`] gives a running replica of any [`StateMachine`]; its [`Handle`] proposes commands and reads.
//! Inside, one thread (`driver`) feeds a synchronous [`replica`] that owns the protocol core, the log and
//! the state machine; the simulator drives the very same replica.
//!
//! What this crate does not do: it speaks no client protocol and knows no command's meaning.

pub mod config;
pub mod handle;
pub mod status;

pub use config::{Member, NodeConfig, Tuning};
pub use handle::{Applied, Handle, Node, NodeError, Published, ReadLevel, ReadResult};
pub use ruvector_protocol::{ClusterTime, GroupId, Index, NodeId, RoleName, Term};
pub use ruvector_state_machine as state_machine;
pub use ruvector_state_machine::{Committed, RestoreError, StateMachine};
pub use ruvector_storage::{SnapshotInfo, StorageError};
pub use status::{LogRecord, NodeStatus, PeerStatus};
