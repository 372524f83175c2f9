//! The key-value machine with etcd's semantics.
//!
//! [`KvMachine`] owns the present state and applies [`Command`]s to it; a [`KvView`] is a version of the state
//! that stays as it is, and all reads happen there. The state is made of persistent maps, so taking a view
//! copies nothing, and applying a command copies only the few tree nodes on its way.
//!
//! Semantics are those of etcd v3 (<https://etcd.io/docs/v3.6/learning/api/>): the store starts at revision 1,
//! every command that changes keys raises the revision by one, and all changes of a command share it.
//! What differs is said where it does: [`TxnRequest::check_duplicate_keys`].

mod codec;
pub mod command;
mod compaction;
mod compare;
mod decoding;
mod duplicate;
mod events;
mod hash;
mod history;
mod key;
mod lease;
mod limits;
pub mod machine;
mod planted;
mod range;
mod retention;
mod session;
mod snapshot;
mod store;
mod stored;
mod txn;
mod versions;
pub mod view;
mod visit;

pub use command::*;
pub use lease::LEASE_TTL_SECONDS_MAX;
pub use limits::{StoreLimits, TXN_DEPTH_MAX};
pub use machine::KvMachine;
pub use planted::PlantedBug;
pub use session::facts::{InSession, SessionClient, SessionId};
pub use session::table::{SESSION_ANSWERS_MAX, SESSION_BYTES_MAX};
pub use snapshot::SnapshotPart;
pub use view::{Event, EventKind, KvView, LeaseInfo};
pub use visit::{KeyValueRef, Visited};
