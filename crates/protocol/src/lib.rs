//! The Raft protocol core: inputs in, effects out.
//!
//! Start reading at [`Raft`]: its [`step`](Raft::step) takes one [`Input`] and appends
//! the [`Effect`]s that follow from it. The vocabulary is in three files: [`types`] (terms, indexes,
//! entries), [`message`] (what cores say to each other) and [`io`] (inputs and effects).
//!
//! What this crate does not do: it reads no clock, opens no file, starts no thread, draws no random
//! number that is not seeded by its configuration, and knows nothing of what a command means, or of what
//! replicas say to each other beside consensus. The same inputs give the same effects, byte for byte; the
//! simulator rests on that.

pub mod io;
mod log;
pub mod message;
mod progress;
mod quorum;
pub mod raft;
mod random;
pub mod types;

pub use io::{Contradiction, Effect, Input, ReadId, ReadLevel, RejectReason, Write};
pub use log::Unread;
pub use message::{Envelope, Message};
pub use raft::{Config, FollowerStatus, LeaderQueues, PlantedBug, Raft, RaftStatus, Restored, RoleName};
pub use types::{
    ClusterTime, ENTRY_OVERHEAD_BYTES, Entry, GroupId, HardState, Incarnation, Index, LogPosition,
    Membership, NodeId, Origin, Payload, Proposal, Reign, SnapshotMeta, Term, Timestamp, WriteId,
};
