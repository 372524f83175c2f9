//! A replica of a consensus group in this process.
//!
//! A program says what its state is and what a command does to it. Nodes of this crate agree on the order of the
//! commands, keep them on disk, and apply each once on every node. This is a whole program, `examples/embedded.rs`:
//!
//! ```
#![doc = include_str!("../examples/embedded.rs")]
//! ```
//!
//! - [`NodeConfig::new`] binds the address that the members name for the node, as one wants it on machines of their
//!   own. Its other fields have defaults; [`Tuning`] has the intervals and limits.
//! - [`Node::start`] starts the node, on an empty data directory or one it used before. Dropping the node stops it.
//! - [`Node::handle`] proposes and reads. Its futures run on any executor; [`block_on`] waits for one without.
//! - [`ReadLevel`] says how fresh a read must be. [`NodeError`] says which errors leave an outcome open.
//! - [`SimpleMachine`] is for a state that serde can write. [`StateMachine`] is for a larger one, which shares what
//!   versions have in common, writes its snapshots piece by piece, or wants to be told of time.
//!
//! Inside, one thread feeds a [`host`] of synchronous replicas, each of which owns the protocol core and the state
//! machine of a group; the simulator drives the very same host. [`daemon`] has what servers want beside all this,
//! with the types of their runtime and their metrics.
//!
//! What this crate does not do: it speaks no client protocol and knows no command's meaning.

mod answer;
mod batch;
mod blocking;
mod budget;
mod clock;
pub mod config;
pub mod daemon;
mod driver;
mod flusher;
mod handle;
pub mod host;
mod identity;
mod jobs;
mod journal;
mod log_record;
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
mod simple;
mod stretch;

pub use blocking::block_on;
#[doc(inline)]
pub use config::{METADATA, Member, NewGroup, NodeConfig, Tuning};
pub use handle::Handle;
pub use log_record::LogRecord;
pub use node::Node;
pub use outcome::{Applied, NodeError, ReadLevel, ReadResult};
pub use publication::Published;
#[doc(inline)]
pub use replica::ReplicaError;
pub use ruvector_protocol::{ClusterTime, GroupId, Index, LogPosition, NodeId, RoleName, Term};
pub use ruvector_state_machine as state_machine;
pub use ruvector_state_machine::machine::simple::{CommandError, Simple, SimpleMachine};
pub use ruvector_state_machine::{Committed, RestoreError, StateMachine};
pub use ruvector_status as status;
#[doc(inline)]
pub use ruvector_status::{GroupStatus, NodeStatus};
pub use ruvector_storage::{SnapshotInfo, SnapshotListing, StorageError, UnusableSnapshot};

#[doc(hidden)]
pub use daemon::{Answer, Answers, Batch, Budget, Exhausted, Hold, Notices, Permit, Share};
#[doc(hidden)]
pub use host::{FlushJob, Flushed};
